"""Messages for others through a relay, A -> B -> C: how many B passes on in a second of its CPU.

A and C share one process and one core, B has another process and the other core. The messages are
sealed beforehand, and C only counts them: what is stated is B's work alone, records opened and
sealed, duplicates and next hop looked up; it sleeps when there is nothing to do, for to look again
is no work. They go alone, each with a signature, and in lists, each under one signature; both are
counted in messages. Beside it in the same run: what B takes in of direct messages of A, in batches,
and what a PULL socket of pyzmq CURVE does, where it is installed.

    python -m bench.forward [--messages 40000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import IO, Any

import uvloop

from routing._batch import BATCH_ID_BYTES, LIST_BYTES_MAX, MESSAGE_HEADER_BYTES, pack_list
from routing.batching import batch_id
from routing.config import Config
from routing.core import Core
from routing.events import Message
from routing.limits import ROUTES_MAX, Limits
from routing.messages import Envelope, FrameKind, MessageKind, NodeAddress, encode
from routing.node import Node
from routing.service.connection import Line

__all__ = ["main"]

CORES = os.sched_getaffinity(0)
PAYLOAD = bytes(200)
AT_ONCE = 256
"""Frames that A queues before it lets the loop run."""

UNDERWAY_MAX = 1_000
"""Messages on their way: with more, B would close C as a slow reader, C having half a core."""

LISTS_AT_ONCE = 4
LISTS_UNDERWAY_MAX = 8
"""The same of frames with a list: with the next few together less than a megabyte."""

LIST = [PAYLOAD] * (LIST_BYTES_MAX // (len(PAYLOAD) + MESSAGE_HEADER_BYTES))
"""As many messages as a list holds."""

TIMES = 10
"""So many times as many messages go in lists as alone: what is to be timed must take some time."""

CURVE_PORTS = "tcp://127.0.0.1:*"


def pin(core: int) -> None:
    """Keep to one core, if there is more than one."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


@contextmanager
def unpinned() -> Iterator[None]:
    """Start processes that choose their core themselves: they would inherit the one we keep to."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def core_of(node: Node) -> Core:
    return node._running()


# -- B


async def relay(record: str | None = None, hear: Callable[[Node, str], None] | None = None) -> None:
    """Be B: print the endpoint, then answer each line with the CPU seconds spent and counters.

    With `record` B is recorded; `hear` is called with each line.
    """
    pin(1)
    taken = 0

    def count(messages: list[Message]) -> None:
        nonlocal taken
        taken += len(messages)

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    config = Config(
        listen=["127.0.0.1:0"],
        first=True,
        limits=Limits.recommended(),
        record=record,
        busy_poll_us=0,
    )
    async with Node(config) as node:
        node.on_messages(count)
        print(node.endpoints[0], flush=True)
        while line := await reader.readline():
            if hear is not None:
                hear(node, line.decode().strip())
            stats = node.stats()
            told = {
                "cpu": time.process_time(),
                "forwarded": stats.get("routed.forwarded", 0),
                "duplicates": stats.get("routed.duplicate", 0),
                "taken": taken,
                "recorded": stats.get("recorder.bytes", 0),
                "gaps": stats.get("recorder.gaps", 0),
            }
            print(json.dumps(told), flush=True)


class Relay:
    """The process of B, or of a PULL socket."""

    def __init__(self, role: str, module: str = "bench.forward") -> None:
        command = [sys.executable, "-m", module, "--role", role]
        with unpinned():
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to: IO[str] = self._process.stdin
        self._from: IO[str] = self._process.stdout
        self.hello = self._from.readline().strip()

    def ask(self, wish: str = "") -> dict[str, float]:
        """Return what it has counted, after it has heard a wish."""
        self._to.write(f"{wish}\n")
        self._to.flush()
        told: dict[str, float] = json.loads(self._from.readline())
        return told

    def close(self) -> None:
        self._to.close()
        self._process.wait(20)


# -- A and C


def counting(node: Node) -> list[int]:
    """Have a node throw away, and count, the routed frames that come."""
    host, arrived = node._serving(), [0]
    usual = host.on_frame

    def on_frame(line: Line, kind: int, body: bytes) -> None:
        if kind == FrameKind.ROUTED:
            arrived[0] += 1
        else:
            usual(line, kind, body)

    host.on_frame = on_frame  # type: ignore[method-assign]
    return arrived


def sealed_lists(source: Node, name: bytes, count: int) -> list[Envelope]:
    """Return so many envelopes, each of a list."""
    core, (body, end) = core_of(source), pack_list(LIST)
    assert end == len(LIST)
    return [
        core.relay.seal(
            MessageKind.MESSAGES,
            NodeAddress(name),
            body,
            message_id=batch_id(core.dice.bytes(BATCH_ID_BYTES)),
            flags=1,
        )
        for _ in range(count)
    ]


def sealed(source: Node, name: bytes, count: int) -> list[Envelope]:
    relay = core_of(source).relay
    return [
        relay.seal(MessageKind.MESSAGE, NodeAddress(name), PAYLOAD, flags=1) for _ in range(count)
    ]


async def arrival(arrived: list[int], wanted: int) -> None:
    """Return when so many have arrived."""
    async with asyncio.timeout(60):
        while arrived[0] < wanted:  # noqa: ASYNC110 - nothing tells of each arrival
            await asyncio.sleep(0.0002)


async def drive(
    line: Line,
    bodies: list[bytes],
    arrived: list[int],
    at_once: int = AT_ONCE,
    underway_max: int = UNDERWAY_MAX,
) -> float:
    """Send frames on a line and return how many seconds passed until all had arrived."""
    before = arrived[0]
    wanted = before + len(bodies)
    began = time.perf_counter()
    for start in range(0, len(bodies), at_once):
        for body in bodies[start : start + at_once]:
            line.send(FrameKind.ROUTED, body, 0)
        line.flush()
        await asyncio.sleep(0)
        await arrival(arrived, before + start + at_once - underway_max)
    await arrival(arrived, wanted)
    return time.perf_counter() - began


async def one_hop(source: Node, name: bytes, count: int, relay: Relay) -> dict[str, float]:
    """Direct messages to B, in lists."""
    before = relay.ask()
    payloads = [PAYLOAD] * AT_ONCE
    began = time.perf_counter()
    for _ in range(count // AT_ONCE):
        await source.send_many(NodeAddress(name), payloads, delivery="at_most_once")
        await asyncio.sleep(0)
    sent = count // AT_ONCE * AT_ONCE
    async with asyncio.timeout(60):
        while (after := relay.ask())["taken"] - before["taken"] < sent:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    took = time.perf_counter() - began
    return {"per_cpu_s": sent / (after["cpu"] - before["cpu"]), "per_s": sent / took}


def copies(envelopes: list[Envelope]) -> list[bytes]:
    """Return the frames of all copies that a source may send of each: no two are the same."""
    return [
        encode(Envelope(0, route, each.signed, each.signature))
        for each in envelopes
        for route in range(ROUTES_MAX)
    ]


async def passed_on(
    relay: Relay,
    line: Line,
    bodies: list[bytes],
    arrived: list[int],
    messages: int = 1,
    pace: tuple[int, int] = (AT_ONCE, UNDERWAY_MAX),
) -> dict[str, float]:
    """Have B pass on frames with so many messages in each."""
    before = relay.ask()
    took = await drive(line, bodies, arrived, *pace)
    after = relay.ask()
    passed = after["forwarded"] - before["forwarded"]
    assert passed >= len(bodies), f"{passed} of {len(bodies)} passed on"
    sent = len(bodies) * messages
    return {"per_cpu_s": sent / (after["cpu"] - before["cpu"]), "per_s": sent / took}


async def forwarded(count: int, rounds: int) -> list[dict[str, float]]:
    """Measure, round after round, both ways of using B."""
    relay = Relay("relay")
    config = Config(
        listen=["127.0.0.1:0"],
        contacts=[relay.hello],
        limits=Limits.recommended(),
        busy_poll_us=0,
    )
    found: list[dict[str, float]] = []
    try:
        async with Node(config) as a, Node(config) as c:
            await asyncio.gather(a.joined(), c.joined())
            async with asyncio.timeout(20):
                while len(a.peers()) < 2 or len(c.peers()) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert c.name is not None
            others = [bytes(peer.name) for peer in a.peers() if peer.name != c.name]
            token = core_of(a).table.token(others[0])
            assert token is not None
            line: Line | None = a._serving().tokens.get(token)
            assert line is not None
            arrived = counting(c)
            to = bytes(c.name)
            for number in range(rounds + 1):
                bodies = copies(sealed(a, to, -(-count // ROUTES_MAX)))
                single = await passed_on(relay, line, bodies, arrived)
                lists = -(-count * TIMES // len(LIST) // ROUTES_MAX)
                bodies = copies(sealed_lists(a, to, lists))
                pace = LISTS_AT_ONCE, LISTS_UNDERWAY_MAX
                listed = await passed_on(relay, line, bodies, arrived, len(LIST), pace)
                del bodies
                direct = await one_hop(a, others[0], count * TIMES, relay)
                if number:  # the first warms up
                    found.append(
                        {
                            f"{name}_{what}": value
                            for name, told in (
                                ("forward", single),
                                ("forward_lists", listed),
                                ("one_hop", direct),
                            )
                            for what, value in told.items()
                        }
                    )
    finally:
        relay.close()
    return found


# -- pyzmq, one hop


def pull() -> None:
    """Be a PULL socket of CURVE: print endpoint and key, answer each line as B does."""
    import threading

    import zmq

    pin(1)
    public, secret = zmq.curve_keypair()
    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.curve_server, socket.curve_secretkey, socket.curve_publickey = True, secret, public
    socket.bind(CURVE_PORTS)
    print(socket.getsockopt_string(zmq.LAST_ENDPOINT), public.decode(), flush=True)
    taken = 0

    def take() -> None:
        nonlocal taken
        while True:
            socket.recv()
            taken += 1

    threading.Thread(target=take, daemon=True).start()
    while sys.stdin.readline():
        print(json.dumps({"cpu": time.process_time(), "taken": taken}), flush=True)
    os._exit(0)


def curve(count: int, rounds: int) -> list[dict[str, float]]:
    """Measure what a PULL socket takes in."""
    import zmq

    puller = Relay("pull")
    endpoint, key = puller.hello.split()
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    public, secret = zmq.curve_keypair()
    socket.curve_serverkey, socket.curve_publickey = key.encode(), public
    socket.curve_secretkey = secret
    socket.connect(endpoint)
    found: list[dict[str, float]] = []
    for number in range(rounds + 1):
        before = puller.ask()
        began = time.perf_counter()
        for _ in range(count):
            socket.send(PAYLOAD)
        while (after := puller.ask())["taken"] - before["taken"] < count:
            time.sleep(0.005)
        took = time.perf_counter() - began
        cpu = after["cpu"] - before["cpu"]
        if number:
            found.append({"curve_per_cpu_s": count / cpu, "curve_per_s": count / took})
    socket.close(0)
    context.term()
    puller.close()
    return found


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {what: median(each[what] for each in rounds) for what in rounds[0]} if rounds else {}


def measured(count: int, rounds: int) -> dict[str, Any]:
    """Return the medians of all, and their ratios."""
    pin(0)
    figures = medians(uvloop.run(forwarded(count, rounds)))
    if importlib.util.find_spec("zmq") is not None:
        figures |= medians(curve(count, rounds))
    ratios = {}
    for way in ("forward", "forward_lists"):
        rate = figures[f"{way}_per_cpu_s"]
        ratios[f"{way}/one_hop"] = rate / figures["one_hop_per_cpu_s"]
        if "curve_per_cpu_s" in figures:
            ratios[f"{way}/curve_per_cpu"] = rate / figures["curve_per_cpu_s"]
            ratios[f"{way}/curve"] = rate / figures["curve_per_s"]
    return {"figures": figures, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description="forwarding, in messages per CPU second of B")
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--role", choices=["all", "relay", "pull"], default="all")
    arguments = parser.parse_args()
    if arguments.role == "relay":
        uvloop.run(relay())
    elif arguments.role == "pull":
        pull()
    else:
        figures = measured(arguments.messages, arguments.rounds)
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
