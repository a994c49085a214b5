"""What the flight recorder costs: the same work with and without it, in turns, in CPU time.

A relay runs in a process of its own and a sender here, both with a recorder that is put in and
taken out again between slices of some milliseconds: two processes with the same work differ by more
than it costs. Four slices (without, with, with, without, or the other way round) give one ratio,
from which a steady drift of the machine falls out; stated is the median of all ratios, and between
which bounds the true one lies with 95 % certainty. Alone on the machine it tells 1 % apart.

    python -m bench.recorder [--rounds 60] [--work direct,routed,forward]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from math import sqrt
from statistics import median
from typing import Any

import uvloop

from bench.forward import AT_ONCE, PAYLOAD, core_of, counting, drive, pin, sealed, unpinned
from routing.blanking import blank_digest, blank_state
from routing.config import Config
from routing.core import Core, CoreConfig
from routing.events import Message
from routing.identity import Identity, IdentitySigner
from routing.limits import ROUTES_MAX, Limits
from routing.messages import Envelope, NodeAddress, encode
from routing.node import Node
from routing.service.connection import Line

__all__ = ["main"]

MESSAGES = {"direct": 160 * AT_ONCE, "routed": 256, "forward": 64 * AT_ONCE}
"""In a slice: some 10 ms of work at each end."""

PATTERNS = ((False, True, True, False), (True, False, False, True))

LISTS_UNDERWAY = 20

WAIT_S = 60


class Switch:
    """Takes the recorder of a running node out, and puts it in again. Its file is useless."""

    def __init__(self, node: Node) -> None:
        recording, self._core, self._host = node._recording, core_of(node), node._serving()
        assert recording is not None
        assert self._host._corridor is not None
        self._recorder, self._inbound = recording.recorder, self._host._corridor._inbound
        core = self._core
        self._noted, self._plain = core.signer, core.config.signer

    def set(self, *, recorded: bool) -> None:
        """Record, or do not."""
        core, recorder = self._core, self._recorder
        core.dice.note = recorder.tape.drawn if recorded else None
        core.signer = self._noted if recorded else self._plain
        core.passing.tap = self._inbound.tried = recorder.tape if recorded else None
        self._host.core = recorder if recorded else core


# -- B


class Taken:
    """How many messages have come, and who waits for how many."""

    def __init__(self) -> None:
        self.count = self.wanted = 0
        self.reached = asyncio.Event()

    def __call__(self, messages: list[Message]) -> None:
        self.count += len(messages)
        if self.count >= self.wanted:
            self.reached.set()

    async def until(self, wanted: int) -> None:
        """Return when so many have come."""
        self.wanted = wanted
        self.reached.clear()
        if self.count < wanted:
            async with asyncio.timeout(WAIT_S):
                await self.reached.wait()


async def relay(folder: str) -> None:
    """Be B: print the endpoint, then obey lines and answer each with what was spent and counted.

    A line is "on" or "off", or how many messages shall have come before it is answered.
    """
    pin(1)
    loop, reader, taken = asyncio.get_running_loop(), asyncio.StreamReader(), Taken()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    limits = Limits.recommended()
    config = Config(listen=["127.0.0.1:0"], first=True, limits=limits, record=f"{folder}/b")
    async with Node(config) as node:
        node.on_messages(taken)
        print(node.endpoints[0], flush=True)
        switch: Switch | None = None
        while line := (await reader.readline()).decode().strip():
            if line in ("on", "off"):
                switch = switch or Switch(node)
                switch.set(recorded=line == "on")
                gc.collect()
            else:
                await taken.until(int(line))
            cpu = time.process_time()
            stats = node.stats()
            told = {
                "cpu": cpu,
                "taken": taken.count,
                "recorded": stats["recorder.bytes"],
                "gaps": stats.get("recorder.gaps", 0),
            }
            print(json.dumps(told), flush=True)


class Relay:
    """The process of B."""

    def __init__(self, process: asyncio.subprocess.Process, hello: str) -> None:
        self._process = process
        self.hello = hello

    @classmethod
    async def start(cls) -> Relay:
        """Start it and wait until it listens."""
        with unpinned():
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.recorder", "--role", "relay"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert process.stdout is not None
        return cls(process, (await process.stdout.readline()).decode().strip())

    async def ask(self, wish: object) -> dict[str, float]:
        """Return what it has spent and counted, once the wish is done; the loop goes on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{wish}\n".encode())
        told: dict[str, float] = json.loads(await self._process.stdout.readline())
        return told

    async def close(self) -> None:
        """Have it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


# -- A and C


class Trio:
    """A sender A and a counter C here, and B between them in a process of its own."""

    def __init__(self, relay: Relay, a: Node, c: Node) -> None:
        self.relay, self.a, self.c = relay, a, c
        self._switch = Switch(a)
        assert c.name is not None
        self.b = next(bytes(peer.name) for peer in a.peers() if peer.name != c.name)
        token = core_of(a).table.token(self.b)
        assert token is not None
        line: Line | None = a._serving().tokens.get(token)
        assert line is not None
        self.line = line
        self.arrived = counting(c)

    async def record(self, *, wanted: bool) -> None:
        """Have A and B recorded, or not."""
        self._switch.set(recorded=wanted)
        await self.relay.ask("on" if wanted else "off")
        gc.collect()

    async def forward(self, count: int) -> tuple[float, float]:
        """Frames for C through B: CPU seconds of B and of nobody else."""
        assert self.c.name is not None
        bodies = [
            encode(Envelope(0, route, each.signed, each.signature))
            for each in sealed(self.a, bytes(self.c.name), -(-count // ROUTES_MAX))
            for route in range(ROUTES_MAX)
        ]
        before = await self.relay.ask(0)
        await drive(self.line, bodies, self.arrived)
        return ((await self.relay.ask(0))["cpu"] - before["cpu"]) / len(bodies), 0.0

    async def direct(self, count: int) -> tuple[float, float]:
        """Direct messages in lists: CPU seconds of B, and of A."""
        before, began = await self.relay.ask(0), time.process_time()
        for number in range(1, count // AT_ONCE + 1):
            await self.a.send_many(NodeAddress(self.b), [PAYLOAD] * AT_ONCE)
            await asyncio.sleep(0)
            if number % LISTS_UNDERWAY == 0:
                # A full socket would make the next slice pay for what this one has sent.
                await self.relay.ask(int(before["taken"]) + number * AT_ONCE)
        sent = count // AT_ONCE * AT_ONCE
        after = await self.relay.ask(int(before["taken"]) + sent)
        own = time.process_time() - began
        return (after["cpu"] - before["cpu"]) / sent, own / sent

    async def routed(self, count: int) -> tuple[float, float]:
        """Messages signed by A, verified by B: CPU seconds of B, and of A."""
        before, began = await self.relay.ask(0), time.process_time()
        for number in range(1, count + 1):
            await self.a.send(NodeAddress(self.b), PAYLOAD, signed=True)
            if number % 128 == 0:
                await self.relay.ask(int(before["taken"]) + number - 64)
        after = await self.relay.ask(int(before["taken"]) + count)
        own = time.process_time() - began
        return (after["cpu"] - before["cpu"]) / count, own / count


async def trio(stack: AsyncExitStack, folder: str) -> Trio:
    """Start three nodes, of which B and A write recordings."""
    relay = await Relay.start()
    stack.push_async_callback(relay.close)
    base: dict[str, Any] = {
        "listen": ["127.0.0.1:0"],
        "contacts": [relay.hello],
        "limits": Limits.recommended(),
    }
    a = await stack.enter_async_context(Node(Config(**base, record=f"{folder}/a")))
    c = await stack.enter_async_context(Node(Config(**base)))
    await asyncio.gather(a.joined(), c.joined())
    async with asyncio.timeout(20):
        while len(a.peers()) < 2 or len(c.peers()) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return Trio(relay, a, c)


Quad = tuple[float, float]
"""Cost without and with it, each of two slices."""


async def measured(rounds: int, works: list[str]) -> dict[str, Any]:
    """Return, by kind of work, what the recorder adds in per cent, and the plain figures."""
    found: dict[str, list[Quad]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            nodes = await trio(stack, folder)
            # One work after the other: what one has left to be written is not paid by the next.
            for what in works:
                for number in range(rounds + 1):
                    costs = await four(nodes, what, PATTERNS[number % 2])
                    for end, quad in costs.items():
                        if number and quad[0]:  # the first warms up
                            found.setdefault(f"{what}, {end}", []).append(quad)
            told, own = await nodes.relay.ask(0), nodes.a.stats()
    return {
        "load": os.getloadavg()[0],
        "added_percent": {what: spread(quads) for what, quads in found.items()},
        "plain_per_cpu_s": {
            what: round(1 / median(quad[0] for quad in quads)) for what, quads in found.items()
        },
        "recorded_bytes": {"at B": told["recorded"], "at A": own["recorder.bytes"]},
        "gaps": {"at B": told["gaps"], "at A": own.get("recorder.gaps", 0)},
        "state_ms": state_ms(),
    }


async def four(nodes: Trio, what: str, pattern: tuple[bool, ...]) -> dict[str, Quad]:
    """Do a work four times and return the costs of both ends."""
    work: Callable[[int], Awaitable[tuple[float, float]]] = getattr(nodes, what)
    spent = {False: [0.0, 0.0], True: [0.0, 0.0]}
    for recorded in pattern:
        await nodes.record(wanted=recorded)
        for place, cost in enumerate(await work(MESSAGES[what])):
            spent[recorded][place] += cost / 2
    return {
        end: (spent[False][place], spent[True][place]) for place, end in enumerate(("at B", "at A"))
    }


def spread(quads: list[Quad]) -> dict[str, float]:
    """Return the median of what was added, and the bounds of a 95 % interval for it, in per cent.

    The bounds are order statistics, which hold whatever the distribution is.
    """
    added = sorted(100 * (with_ / without - 1) for without, with_ in quads)
    off = round(0.98 * sqrt(len(added)))
    middle = len(added) // 2
    return {
        "median": round(median(added), 2),
        "from": round(added[max(0, middle - off)], 2),
        "to": round(added[min(len(added) - 1, middle + off)], 2),
    }


def state_ms() -> dict[int, float]:
    """Return what a state and its digest cost, by how many messages a relay remembers."""
    found = {}
    for count in (0, 4_096, 131_072):
        identity = IdentitySigner(Identity.from_seed(bytes(32)))
        core = Core(CoreConfig(signer=identity, secret=bytes(32), tag=bytes(8)))
        for number in range(count):
            core.relay.seen.insert(number.to_bytes(16, "big"), number % 8, 0)
        took = []
        for _ in range(5):
            began = time.process_time()
            blank_digest(blank_state(core))
            took.append(time.process_time() - began)
        found[count] = round(1e3 * min(took), 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="what the flight recorder costs")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--work", default=",".join(MESSAGES))
    parser.add_argument("--role", choices=["all", "relay"], default="all")
    arguments = parser.parse_args()
    if arguments.role == "relay":
        with tempfile.TemporaryDirectory() as folder:
            uvloop.run(relay(folder))
        return
    pin(0)
    works = arguments.work.split(",")
    if unknown := [each for each in works if each not in MESSAGES]:
        parser.error(f"work {unknown[0]!r} is unknown; there are {', '.join(MESSAGES)}")
    print(json.dumps(uvloop.run(measured(arguments.rounds, works)), indent=1))


if __name__ == "__main__":
    main()
