"""Authenticated channels in a second, so many under way at once, beside what they are made of.

Two processes, one core each: an acceptor and a dialler, whole hosts with all they do for a node.
Only the making is timed, not the letting go of. The floor is what one end must compute: 3 key
agreements, 1 signature, 1 verification, by the libraries that we use, in the same rounds. Beside
ours: TLS 1.3 on uvloop, both ends with a certificate, and py-libp2p (Noise, Yamux) where there is
one. Certificates of names are no part of a channel; checking one is reported apart.

    python -m bench.handshake [--channels 500] [--rounds 5] [--libp2p PYTHON]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.ends import IN_FLIGHT, End, answer, contexts, hosted, load, pin, raise_descriptors
from routing import actions as do
from routing.errors import CloseCode
from routing.identity import Identity, verify
from routing.state import Token

__all__ = ["main", "measured"]

LIBP2P = Path(__file__).with_name("handshake_libp2p.py")
PRIMITIVES = {"agreement": 3, "signature": 1, "verification": 1}
"""What the floor counts, at each end."""


# -- the floor


def timed(run: Callable[[], object], times: int) -> float:
    """Return microseconds of CPU for one."""
    began = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - began) / times * 1e6


def primitives(times: int = 200) -> dict[str, float]:
    """Return what each takes now, in microseconds of CPU."""
    own, theirs = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
    identity, text = Identity.generate(), bytes(48)
    signature = identity.sign(text)
    return {
        "agreement": timed(lambda: own.exchange(theirs), times),
        "signature": timed(lambda: identity.sign(text), times),
        "verification": timed(lambda: verify(identity.key, text, signature), times),
    }


def floor_us(found: dict[str, float]) -> float:
    return sum(found[name] * count for name, count in PRIMITIVES.items())


# -- ours


def _let_go(token: Token) -> do.Action:
    return do.Close(token, CloseCode.NORMAL, "measured")


async def accept_ours() -> None:
    host, core = hosted(listen=("127.0.0.1:0",))
    await host.start()

    async def told(word: str) -> dict[str, float]:
        return {"open": host.stats()["connections.sockets"], "cpu": time.process_time()}

    await answer(host.endpoints[0], told)


async def dial_ours(endpoint: str) -> None:
    host, core = hosted()
    await host.start()

    async def told(word: str) -> dict[str, float]:
        count = int(word)
        cpu, began = time.process_time(), time.perf_counter()
        await core.dial(host, [endpoint] * count)
        took, spent = time.perf_counter() - began, time.process_time() - cpu
        core.close_all(host, _let_go)
        while host.stats()["connections.sockets"]:  # noqa: ASYNC110 - not measured
            await asyncio.sleep(0.01)
        return {"took": took, "cpu": spent}

    await answer(0, told)


# -- TLS


class Greeting(asyncio.Protocol):
    """The least that can be done with a connection: the dialler says a byte, which is said back.

    A handshake of TLS 1.3 is over for the dialler before the acceptor has seen his certificate;
    what comes back shows that it was good.
    """

    def __init__(self, heard: asyncio.Future[None] | None = None) -> None:
        self.heard = heard
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio`."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """See `asyncio`."""
        assert self.transport is not None
        if self.heard is None:
            self.transport.write(data)
        elif not self.heard.done():
            self.heard.set_result(None)


async def accept_tls(context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Greeting, "127.0.0.1", 0, ssl=context, backlog=512)

    async def told(word: str) -> dict[str, float]:
        return {"open": 0, "cpu": time.process_time()}

    await answer(server.sockets[0].getsockname()[1], told)


async def dial_tls(port: str, context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> asyncio.BaseTransport:
        async with places:
            heard = loop.create_future()
            transport, _ = await loop.create_connection(
                lambda: Greeting(heard), "127.0.0.1", int(port), ssl=context
            )
            transport.write(b"?")
            await heard
            return transport

    async def told(word: str) -> dict[str, float]:
        cpu, began = time.process_time(), time.perf_counter()
        made = await asyncio.gather(*(one() for _ in range(int(word))))
        took, spent = time.perf_counter() - began, time.process_time() - cpu
        for transport in made:
            transport.abort()
        await asyncio.sleep(0.1)
        return {"took": took, "cpu": spent}

    await answer(0, told)


def be(role: str, name: str, rest: list[str]) -> None:
    """Be one end, until killed."""
    raise_descriptors()
    pin(0 if role == "accept" else 1)
    if name == "routing":
        uvloop.run(accept_ours() if role == "accept" else dial_ours(rest[0]))
    else:
        server, client = contexts(Path(rest[-1]))
        uvloop.run(accept_tls(server) if role == "accept" else dial_tls(rest[0], client))


# -- all of it


class Pair:
    """An acceptor and a dialler of one contestant."""

    def __init__(self, name: str, folder: str) -> None:
        self.acceptor = End("bench.handshake", "--be", "accept", name, folder)
        try:
            words = ("--be", "dial", name, str(self.acceptor.hello), folder)
            self.dialler = End("bench.handshake", *words)
        except BaseException:
            self.acceptor.close()
            raise

    def close(self) -> None:
        """End both."""
        self.dialler.close()
        self.acceptor.close()

    def round(self, count: int) -> dict[str, float]:
        """Make so many channels; return their rate, and what each took of either CPU."""
        before = self.acceptor.ask()
        made = self.dialler.ask(str(count))
        after = self.acceptor.ask()
        return {
            "per second": count / made["took"],
            "dialler, CPU us": made["cpu"] / count * 1e6,
            "acceptor, CPU us": (after["cpu"] - before["cpu"]) / count * 1e6,
        }


def libp2p(python: str, count: int) -> dict[str, Any]:
    """Have another interpreter measure py-libp2p, as it has its own loop and its own demands."""
    done = subprocess.run(
        [python, str(LIBP2P), str(count), str(IN_FLIGHT)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    if done.returncode:
        return {"not measured": done.stderr.strip().splitlines()[-1:]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def certificate_us() -> float:
    """Return what checking the certificate of a name takes, one verification for each vouch."""
    from bench.certificates import checked

    return timed(checked(), 50)


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {what: median(each[what] for each in rounds) for what in rounds[0]}


def measured(count: int, rounds: int, python: str) -> dict[str, Any]:
    """Return the medians of all, everybody in turn, and their ratios."""
    found: dict[str, list[dict[str, float]]] = {"floor": [], "routing": [], "TLS": []}
    said: dict[str, Any] = {"load before": load(), "in flight": IN_FLIGHT}
    with tempfile.TemporaryDirectory() as folder:
        contexts(Path(folder))
        pairs = {name: Pair(name, folder) for name in ("routing", "TLS")}
        try:
            for number in range(rounds + 1):
                each = {name: pair.round(count) for name, pair in pairs.items()}
                each["floor"] = primitives()
                if number:  # the first warms up
                    for name, figures in each.items():
                        found[name].append(figures)
        finally:
            for pair in pairs.values():
                pair.close()
    ours, tls, parts = (medians(found[name]) for name in ("routing", "TLS", "floor"))
    least = floor_us(parts)
    peer = libp2p(python, max(16, count // 16))
    said["routing"], said["TLS 1.3, mutual, uvloop"], said["py-libp2p"] = ours, tls, peer
    said["floor"] = {**parts, "an end, us": least, "per second": 1e6 / least}
    slower = max(ours["dialler, CPU us"], ours["acceptor, CPU us"])
    said["ratios"] = {
        "routing : floor": ours["per second"] * least / 1e6,
        "floor : CPU of the slower end": least / slower,
        "routing : TLS": ours["per second"] / tls["per second"],
    }
    if "per second" in peer:
        said["ratios"]["routing : py-libp2p"] = ours["per second"] / peer["per second"]
    said["load after"] = load()
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description="authenticated channels in a second")
    parser.add_argument("--channels", type=int, default=500, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--libp2p", default=sys.executable, help="a Python that has py-libp2p")
    parser.add_argument("--be", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be:
        be(arguments.be[0], arguments.be[1], arguments.be[2:])
        return
    print(json.dumps(measured(arguments.channels, arguments.rounds, arguments.libp2p), indent=1))


if __name__ == "__main__":
    main()
