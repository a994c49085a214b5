"""How long a control ping takes beside a saturated bulk stream: `python -m bench.priorities`.

A and B are nodes in processes of their own, each on a core of its own where there are two. A pings
B over their connection, as a node that wants to know whether a peer lives, first on the quiet
connection and then while `send_many` keeps it full; the p90 of both is told, and their ratio, of
several runs. Pings are measured from the frame being queued to the pong being heard.

    python -m bench.priorities [--runs 3] [--pings 500] [--size 64 1024 65536]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time

import routing
from routing.links import Link
from routing.messages import FrameKind, Ping, encode
from routing.node import Node
from routing.service.connection import Line

__all__ = ["main"]

PATIENCE_S = 30.0
PAUSE_S = 0.002
MANY_BYTES = 1 << 20
GOAL = 3.0


def pin(core: int) -> None:
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


async def be_far() -> None:
    """Be B: take whatever comes."""
    config = routing.Config(listen=["127.0.0.1:0"], first=True, limits=routing.Limits.local())
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with Node(config) as node:
        node.on_messages(lambda messages: None)
        print(node.endpoints[0], flush=True)
        asyncio.get_running_loop().add_reader(
            sys.stdin, lambda: None if over.done() else over.set_result(None)
        )
        await over


class Pinger:
    """Pings the only peer of a node, one at a time."""

    def __init__(self, node: Node) -> None:
        self._host, core = node._serving(), node._running()
        (peer,) = node.peers()
        line: Line | None = self._host.tokens.get(core.link_to(bytes(peer.name)).token)
        assert line is not None
        self._line = line
        self._came: asyncio.Future[float] | None = None
        handlers = core.frames._handlers
        kind, usual = handlers[FrameKind.PONG]

        def heard(link: Link, pong: Ping) -> None:
            if pong.nonce != self._nonce:
                usual(link, pong)
            elif self._came is not None and not self._came.done():
                self._came.set_result(time.perf_counter())

        handlers[FrameKind.PONG] = (kind, heard)
        self._nonce = b""

    async def once(self) -> float:
        """Return the seconds from a ping to its pong."""
        self._nonce = os.urandom(8)
        self._came = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._line.send(FrameKind.PING, encode(Ping(self._nonce)), 0)
        self._host.flush_later(self._line)
        async with asyncio.timeout(PATIENCE_S):
            return await self._came - began

    async def p90(self, count: int) -> float:
        """Return the ninth decile of so many pings, in microseconds."""
        took = []
        for _ in range(count):
            took.append(await self.once())
            await asyncio.sleep(PAUSE_S)
        return statistics.quantiles(took, n=10)[-1] * 1e6


async def compare(size: int, pings: int) -> dict[str, float]:
    """Return both p90, in microseconds, and what went past meanwhile."""
    pipe = asyncio.subprocess.PIPE
    far = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.priorities", "--be", "far", stdin=pipe, stdout=pipe
    )
    assert far.stdout is not None
    try:
        endpoint = (await far.stdout.readline()).decode().strip()
        config = routing.Config(
            listen=["127.0.0.1:0"], contacts=[endpoint], limits=routing.Limits.local()
        )
        async with Node(config) as node:
            await node.joined()
            (peer,) = node.peers()
            to, sent = routing.NodeAddress(peer.name), 0

            async def press() -> None:
                nonlocal sent
                many = [bytes(size)] * max(1, MANY_BYTES // max(size, 256))
                while True:
                    await node.send_many(to, many)
                    sent += len(many)
                    await asyncio.sleep(0)

            pinger = Pinger(node)
            await pinger.p90(pings // 5)
            idle = await pinger.p90(pings)
            task, began, before = asyncio.create_task(press()), time.perf_counter(), sent
            await pinger.p90(pings // 5)
            busy = await pinger.p90(pings)
            rate = (sent - before) / (time.perf_counter() - began)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return {"idle": idle, "busy": busy, "ratio": busy / idle, "messages": rate}
    finally:
        far.kill()
        await far.wait()


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.priorities", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pings", type=int, default=500)
    parser.add_argument("--size", type=int, nargs="+", default=[64, 1_024, 65_536])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be", choices=["far"], help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    pin(0 if given.be else 1)
    if given.be:
        routing.run(be_far())
        return 0
    for size in given.size:
        for _ in range(given.runs):
            found = routing.run(compare(size, given.pings))
            if given.json:
                print(json.dumps({"size": size, **found}), flush=True)
                continue
            print(
                f"{size:6} bytes: p90 idle {found['idle']:7.0f} µs, beside "
                f"{found['messages']:9,.0f} messages/s {found['busy']:7.0f} µs: "
                f"{found['ratio']:5.1f} x, goal {GOAL:.0f} x",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
