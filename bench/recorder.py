"""What the flight recorder costs: the same work with and without it, in turns, in CPU time.

Two relays run in processes of their own, one of them recorded, and two senders here, one of them
recorded. Each round does every kind of work with the one and with the other; what is stated is the
median over the rounds of the ratio within a round.

    python -m bench.recorder [--messages 40000] [--rounds 9]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
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
    sealed,
)
from routing.config import Config
from routing.limits import ROUTES_MAX, Limits
from routing.messages import Envelope, NodeAddress, encode
from routing.node import Node
from routing.service.connection import Line

__all__ = ["main"]

ROUTED_SHARE = 100
"""A signed message costs the CPU of so many direct ones: there are fewer of them."""


class Trio:
    """A sender A and a counter C here, and B between them in a process of its own."""

    def __init__(self, relay: Relay, a: Node, c: Node) -> None:
        self.relay, self.a, self.c = relay, a, c
        assert c.name is not None
        names = [bytes(peer.name) for peer in a.peers() if peer.name != c.name]
        self.b = names[0]
        token = core_of(a).table.token(self.b)
        assert token is not None
        line: Line | None = a._serving().tokens.get(token)
        assert line is not None
        self.line = line
        self.arrived = counting(c)

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


async def trio(stack: AsyncExitStack, folder: Path, *, recorded: bool) -> Trio:
    """Start three nodes; with `recorded`, B and A write recordings."""
    more = ["--record", str(folder / "b")] if recorded else []
    relay = Relay("relay", *more)
    stack.callback(relay.close)
    base: dict[str, Any] = {
        "listen": ["127.0.0.1:0"],
        "contacts": [relay.hello],
        "limits": Limits.recommended(),
    }
    a = await stack.enter_async_context(
        Node(Config(**base, record=str(folder / "a") if recorded else None))
    )
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
            plain = await trio(stack, Path(folder), recorded=False)
            taped = await trio(stack, Path(folder), recorded=True)
            for number in range(rounds + 1):
                order = [plain, taped] if number % 2 else [taped, plain]
                for what in ("forward", "direct", "routed"):
                    costs: dict[Trio, tuple[float, float]] = {}
                    for each in order:
                        work: Callable[[int], Awaitable[tuple[float, float]]] = getattr(each, what)
                        costs[each] = await work(count)
                    if not number:  # the first warms up
                        continue
                    for place, end in enumerate(("at B", "at A")):
                        if costs[plain][place]:
                            pair = costs[plain][place], costs[taped][place]
                            found.setdefault(f"{what}, {end}", []).append(pair)
            told = taped.relay.ask()
            own = taped.a.stats()
    return {
        "added_percent": {
            what: round(100 * (median(with_ / without for without, with_ in pairs) - 1), 2)
            for what, pairs in found.items()
        },
        "spread_percent": {
            what: [
                round(100 * (with_ / without - 1), 1)
                for without, with_ in sorted(pairs, key=lambda pair: pair[1] / pair[0])
            ]
            for what, pairs in found.items()
        },
        "plain_per_cpu_s": {
            what: round(1 / median(without for without, _ in pairs))
            for what, pairs in found.items()
        },
        "recorded_bytes": {"at B": told["recorded"], "at A": own["recorder.bytes"]},
        "gaps": {"at B": told["gaps"], "at A": own.get("recorder.gaps", 0)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="what the flight recorder costs")
    parser.add_argument("--messages", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    pin(0)
    print(json.dumps(uvloop.run(measured(arguments.messages, arguments.rounds)), indent=1))


if __name__ == "__main__":
    main()
