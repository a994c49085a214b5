"""Authenticated channels in a second, so many under way at once, beside what they are made of.

Two processes, one core each: an acceptor and a dialler, whole hosts with all they do for a node.
Only the making is timed, not the letting go of. Ours are measured twice: with an end whose proof
is remembered, as on the second channel of a pair, and with strangers, whose proof is verified. The
floor is what one end must compute: 3 key agreements, 1 signature, 1 verification, by the libraries
that we use, in the same rounds. Beside ours: TLS 1.3 on uvloop, both ends with a certificate, and
py-libp2p (Noise, Yamux) where there is one. Certificates of names are no part of a channel;
checking one is reported apart. So is a whole two-way connect: networks are formed in which each
node has more and more pairs, and what a pair more takes is told apart from what joining takes.

Where others use the machine, the clock counts their work too: each rate by the clock has the CPU
time of both ends beside it.

    python -m bench.handshake [--channels 500] [--rounds 5] [--nodes 9] [--libp2p PYTHON]
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
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.ends import (
    IN_FLIGHT,
    TAG,
    End,
    Still,
    answer,
    contexts,
    hosted,
    load,
    pin,
    raise_descriptors,
)
from routing import actions as do
from routing.certificates import is_valid
from routing.config import Config
from routing.errors import CloseCode
from routing.identity import Identity, IdentitySigner, verify
from routing.limits import Limits
from routing.messages import Certificate, SignedKind, Vote, signed_text, vote_body
from routing.node import Node
from routing.service import Host
from routing.state import Token

__all__ = ["main", "measured"]

LET_GO = "let go"
"""Said to a dialler whose channels have been counted."""

STRANGERS, KNOWN = "strangers", "known"
"""Said to both ends: whether the far end's proof, found good once, is remembered."""

GROUP = 8
"""Nodes of the group that votes on a name."""

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


def _meet(core: Still, host: Host, word: str) -> bool:
    """Tell whether a word says whom we meet; strangers are forgotten at once."""
    if word in (STRANGERS, KNOWN):
        core.on_met = host.proofs.forget if word == STRANGERS else bool
    return word in (STRANGERS, KNOWN)


async def accept_ours() -> None:
    host, core = hosted(listen=("127.0.0.1:0",))
    await host.start()

    async def told(word: str) -> dict[str, float]:
        _meet(core, host, word)
        return {"open": host.stats()["connections.sockets"], "cpu": time.process_time()}

    await answer(host.endpoints[0], told)


async def dial_ours(endpoint: str) -> None:
    host, core = hosted()
    await host.start()

    async def told(word: str) -> dict[str, float]:
        if _meet(core, host, word):
            return {}
        if word == LET_GO:
            core.close_all(host, _let_go)
            while host.stats()["connections.sockets"]:  # noqa: ASYNC110 - not measured
                await asyncio.sleep(0.01)
            return {}
        cpu, began = time.process_time(), time.perf_counter()
        await core.dial(host, [endpoint] * int(word))
        return {"took": time.perf_counter() - began, "cpu": time.process_time() - cpu}

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

    async def one() -> asyncio.Transport:
        async with places:
            heard: asyncio.Future[None] = loop.create_future()
            _, greeting = await loop.create_connection(
                lambda: Greeting(heard), "127.0.0.1", int(port), ssl=context
            )
            assert greeting.transport is not None
            greeting.transport.write(b"?")
            await heard
            return greeting.transport

    made: list[asyncio.Transport] = []

    async def told(word: str) -> dict[str, float]:
        if word in (STRANGERS, KNOWN):
            return {}
        if word == LET_GO:
            for transport in made:
                transport.abort()
            made.clear()
            await asyncio.sleep(0.1)
            return {}
        cpu, began = time.process_time(), time.perf_counter()
        made.extend(await asyncio.gather(*(one() for _ in range(int(word)))))
        return {"took": time.perf_counter() - began, "cpu": time.process_time() - cpu}

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

    def round(self, count: int, whom: str = KNOWN) -> dict[str, float]:
        """Make so many channels; return their rate, and what each took of either CPU."""
        self.acceptor.ask(whom)
        self.dialler.ask(whom)
        before = self.acceptor.ask()
        made = self.dialler.ask(str(count))
        after = self.acceptor.ask()
        self.dialler.ask(LET_GO)
        return {
            "per second": count / made["took"],
            "dialler, CPU us": made["cpu"] / count * 1e6,
            "acceptor, CPU us": (after["cpu"] - before["cpu"]) / count * 1e6,
        }


def libp2p(python: str, count: int) -> dict[str, Any]:
    """Have another interpreter measure py-libp2p, as it has its own loop and its own demands."""
    try:
        done = subprocess.run(
            [python, str(LIBP2P), str(count), str(IN_FLIGHT)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "PYTHONPATH": ""},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"not measured": str(error)}
    if done.returncode:
        return {"not measured": (done.stderr.strip().splitlines() or ["it said nothing"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def certificate_us() -> float:
    """Return what checking the certificate of a name takes, with the votes of a group."""
    own = Identity.generate()
    n1, n2 = bytes(32), bytes([1]) * 32
    text = signed_text(SignedKind.VOTE, TAG, vote_body(own.key, n1, n2, GROUP))
    voters = [Identity.generate() for _ in range(GROUP // 2 + 1)]
    held = Certificate(n1, n2, [Vote(each.key, GROUP, each.sign(text)) for each in voters])

    def checked() -> bool:
        # Of a signer that has not seen it yet.
        return is_valid(own.key, held, signer=IdentitySigner(own), tag=TAG)

    assert checked()
    return timed(checked, 50)


async def form(nodes: int) -> float:
    """Form a network in this process until all are pairs; return seconds of CPU after the first."""

    def pairs() -> int:
        return sum(len(node.peers()) for node in running) // 2

    limits, running = Limits.local(), list[Node]()
    first = Node(Config(listen=["127.0.0.1:0"], first=True, limits=limits))
    async with AsyncExitStack() as stack:
        running.append(await stack.enter_async_context(first))
        config = Config(listen=["127.0.0.1:0"], contacts=first.endpoints, limits=limits)
        joining = [Node(config) for _ in range(nodes - 1)]
        began = time.process_time()
        for node in joining:
            running.append(await stack.enter_async_context(node))
        await asyncio.gather(*(node.joined() for node in joining))
        async with asyncio.timeout(60):
            while pairs() < nodes * (nodes - 1) // 2:  # noqa: ASYNC110 - nothing tells of all
                await asyncio.sleep(0.02)
        return time.process_time() - began


def two_way(nodes: int, rounds: int) -> dict[str, float]:
    """Return what a consolidated pair takes of the CPU, both ends, in microseconds.

    A pair is two channels, request, response, hellos, acknowledgement and confirmation. Who joins
    must also find contacts and be given a name, which it does once: in networks of 3 to `nodes`
    nodes, n - 1 of which join, one that joins makes n / 2 pairs. What takes it more with each pair
    more is what a pair takes; what is left with none is what joining takes.
    """
    sizes = range(3, nodes + 1)
    found = []
    for size in sizes:
        took = median(uvloop.run(form(size)) for _ in range(rounds))
        found.append(took / (size - 1) * 1e6)
    fit = linear_regression([size / 2 for size in sizes], found)
    return {
        "CPU us": fit.slope,
        "to join, CPU us": fit.intercept,
        "pairs of the largest": nodes * (nodes - 1) // 2,
        "all of the largest, CPU us a pair": found[-1] * 2 / nodes,
    }


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {what: median(each[what] for each in rounds) for what in rounds[0]}


def _both(figures: dict[str, float]) -> float:
    return figures["dialler, CPU us"] + figures["acceptor, CPU us"]


def measured(count: int, rounds: int, nodes: int, python: str) -> dict[str, Any]:
    """Return the medians of all, everybody in turn, and their ratios."""
    names = ("floor", "routing", "strangers", "TLS")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    said: dict[str, Any] = {"load before": load(), "in flight": IN_FLIGHT}
    with tempfile.TemporaryDirectory() as folder:
        contexts(Path(folder))
        pairs = {name: Pair(name, folder) for name in ("routing", "TLS")}
        try:
            for number in range(rounds + 1):
                each = {name: pair.round(count) for name, pair in pairs.items()}
                each["strangers"] = pairs["routing"].round(count, STRANGERS)
                each["floor"] = primitives()
                if number:  # the first warms up
                    for name, figures in each.items():
                        found[name].append(figures)
        finally:
            for pair in pairs.values():
                pair.close()
    parts, ours, strangers, tls = (medians(found[name]) for name in names)
    least = floor_us(parts)
    peer = libp2p(python, max(16, count // 16))
    said["routing, strangers"] = strangers
    said["routing"], said["TLS 1.3, mutual, uvloop"], said["py-libp2p"] = ours, tls, peer
    pair_us = said["two-way connects"] = two_way(nodes, rounds)
    said["certificate of a name, CPU us"] = certificate_us()
    said["floor"] = {**parts, "an end, us": least, "per second": 1e6 / least}
    slower, slower_strangers = (
        max(each["dialler, CPU us"], each["acceptor, CPU us"]) for each in (ours, strangers)
    )
    said["ratios"] = {
        "routing : floor": ours["per second"] * least / 1e6,
        "floor : CPU of the slower end": least / slower,
        "floor : CPU of the slower end, strangers": least / slower_strangers,
        "routing : TLS": ours["per second"] / tls["per second"],
        "routing : TLS, by CPU": _both(tls) / _both(ours),
        "two-way connects : channels, by CPU": _both(ours) / pair_us["CPU us"],
        "two-way connects : channels of strangers, by CPU": _both(strangers) / pair_us["CPU us"],
    }
    if "per second" in peer:
        said["ratios"]["routing : py-libp2p"] = ours["per second"] / peer["per second"]
    said["load after"] = load()
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description="authenticated channels in a second")
    parser.add_argument("--channels", type=int, default=500, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--nodes", type=int, default=9, choices=range(4, 10), help="of the largest network formed"
    )
    parser.add_argument("--libp2p", default=sys.executable, help="a Python that has py-libp2p")
    parser.add_argument("--be", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be:
        be(arguments.be[0], arguments.be[1], arguments.be[2:])
        return
    found = measured(arguments.channels, arguments.rounds, arguments.nodes, arguments.libp2p)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
