"""What the flight recorder costs: the same work with and without it, in turns, in CPU time.

A relay runs in a process of its own and a sender here, both with a recorder that is put in and
taken out again between the rounds: two processes with the same work differ by more than it costs.
Stated is the ratio of the least costs of all rounds: what else runs on the machine only ever adds.

    python -m bench.recorder [--messages 100000] [--rounds 25]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import uvloop

from bench.forward import (
    AT_ONCE,
    PAYLOAD,
    UNDERWAY_MAX,
    Relay,
    core_of,
    counting,
    drive,
    pin,
    relay,
    sealed,
)
from routing.blanking import blank_digest, blank_state
from routing.config import Config
from routing.core import Core, CoreConfig
from routing.dice import Dice
from routing.identity import Identity, IdentitySigner
from routing.limits import ROUTES_MAX, Limits
from routing.messages import Envelope, NodeAddress, encode
from routing.node import Node
from routing.service.connection import Line

__all__ = ["main"]

ROUTED_SHARE = 100
"""A signed message costs the CPU of so many direct ones: there are fewer of them."""


class Switch:
    """Takes the recorder of a running node out, and puts it in again. Its file is useless."""

    def __init__(self, node: Node) -> None:
        recording, self._core, self._host = node._recording, core_of(node), node._serving()
        assert recording is not None
        assert self._host._corridor is not None
        self._recorder, self._inbound = recording.recorder, self._host._corridor._inbound
        core = self._core
        self._noted = core.dice, core.signer, core.relay.digest_of
        dice = Dice(core.dice._secret)
        self._plain = dice, core.config.signer, core.relay._digest_of

    def set(self, *, recorded: bool) -> None:
        """Record, or do not."""
        core, recorder = self._core, self._recorder
        counter = core.dice.counter
        core.dice, core.signer, core.relay.digest_of = self._noted if recorded else self._plain
        core.dice.counter = counter
        core.passing.tap = recorder if recorded else None
        self._inbound.tried = recorder.tried if recorded else None
        self._host.core = recorder if recorded else core


def switching() -> Callable[[Node, str], None]:
    """Return what obeys "on" and "off" for the one node that it is called with."""
    switches: list[Switch] = []

    def hear(node: Node, wish: str) -> None:
        if wish:
            if not switches:
                switches.append(Switch(node))
            switches[0].set(recorded=wish == "on")

    return hear


class Trio:
    """A sender A and a counter C here, and B between them in a process of its own."""

    def __init__(self, relay: Relay, a: Node, c: Node) -> None:
        self.relay, self.a, self.c = relay, a, c
        self._switch = Switch(a)
        assert c.name is not None
        names = [bytes(peer.name) for peer in a.peers() if peer.name != c.name]
        self.b = names[0]
        token = core_of(a).table.token(self.b)
        assert token is not None
        line: Line | None = a._serving().tokens.get(token)
        assert line is not None
        self.line = line
        self.arrived = counting(c)

    def record(self, *, wanted: bool) -> None:
        """Have A and B recorded, or not."""
        self._switch.set(recorded=wanted)
        self.relay.ask("on" if wanted else "off")

    async def forward(self, count: int) -> tuple[float, float]:
        """Frames for C through B: CPU seconds of B and of nobody else."""
        assert self.c.name is not None
        bodies = [
            encode(Envelope(0, route, each.signed, each.signature))
            for each in sealed(self.a, bytes(self.c.name), -(-count // ROUTES_MAX))
            for route in range(ROUTES_MAX)
        ]
        before = self.relay.ask()
        await drive(self.line, bodies, self.arrived)
        return (self.relay.ask()["cpu"] - before["cpu"]) / len(bodies), 0.0

    async def direct(self, count: int) -> tuple[float, float]:
        """Direct messages in lists: CPU seconds of B, and of A."""
        before, began = self.relay.ask(), time.process_time()
        for _ in range(count // AT_ONCE):
            await self.a.send_many(NodeAddress(self.b), [PAYLOAD] * AT_ONCE)
            await asyncio.sleep(0)
        sent = count // AT_ONCE * AT_ONCE
        after = await self._taken(before["taken"] + sent)
        own = time.process_time() - began
        return (after["cpu"] - before["cpu"]) / sent, own / sent

    async def routed(self, count: int) -> tuple[float, float]:
        """Messages signed by A, verified by B: CPU seconds of B, and of A."""
        sent = max(AT_ONCE, count // ROUTED_SHARE)
        before, began = self.relay.ask(), time.process_time()
        for number in range(sent):
            await self.a.send(NodeAddress(self.b), PAYLOAD, signed=True)
            if number % 64 == 63:
                await self._taken(before["taken"] + number - UNDERWAY_MAX // 2)
        after = await self._taken(before["taken"] + sent)
        own = time.process_time() - began
        return (after["cpu"] - before["cpu"]) / sent, own / sent

    async def _taken(self, wanted: float) -> dict[str, float]:
        async with asyncio.timeout(60):
            while (after := self.relay.ask())["taken"] < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return after


async def trio(stack: AsyncExitStack, folder: str) -> Trio:
    """Start three nodes, of which B and A write recordings."""
    relay = Relay("relay", "bench.recorder")
    stack.callback(relay.close)
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


async def measured(count: int, rounds: int) -> dict[str, Any]:
    """Return, by kind of work, what the recorder adds in per cent, and the plain figures."""
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            nodes = await trio(stack, folder)
            for number in range(rounds + 1):
                for what in ("forward", "direct", "routed"):
                    costs: dict[bool, tuple[float, float]] = {}
                    work: Callable[[int], Awaitable[tuple[float, float]]] = getattr(nodes, what)
                    for recorded in (False, True) if number % 2 else (True, False):
                        nodes.record(wanted=recorded)
                        costs[recorded] = await work(count)
                    if not number:  # the first warms up
                        continue
                    for place, end in enumerate(("at B", "at A")):
                        if costs[False][place]:
                            pair = costs[False][place], costs[True][place]
                            found.setdefault(f"{what}, {end}", []).append(pair)
            told, own = nodes.relay.ask(), nodes.a.stats()
    return {
        "added_percent": {
            what: round(100 * (least(pairs, 1) / least(pairs, 0) - 1), 2)
            for what, pairs in found.items()
        },
        "plain_per_cpu_s": {what: round(1 / least(pairs, 0)) for what, pairs in found.items()},
        "half_of_the_rounds_within_percent": {
            what: [round(100 * (each - 1), 1) for each in quartiles(pairs)]
            for what, pairs in found.items()
        },
        "recorded_bytes": {"at B": told["recorded"], "at A": own["recorder.bytes"]},
        "gaps": {"at B": told["gaps"], "at A": own.get("recorder.gaps", 0)},
        "state_ms": state_ms(),
    }


def least(pairs: list[tuple[float, float]], place: int) -> float:
    """Return the least cost of all rounds: what other loads add to a round is not ours."""
    return min(pair[place] for pair in pairs)


def quartiles(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Return between which ratios half of the rounds lie."""
    ratios = sorted(with_ / without for without, with_ in pairs)
    return ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]


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
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--role", choices=["all", "relay"], default="all")
    arguments = parser.parse_args()
    if arguments.role == "relay":
        with tempfile.TemporaryDirectory() as folder:
            uvloop.run(relay(f"{folder}/b", switching()))
        return
    pin(0)
    print(json.dumps(uvloop.run(measured(arguments.messages, arguments.rounds)), indent=1))


if __name__ == "__main__":
    main()
