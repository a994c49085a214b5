"""Memory along a relay whose next hop stands still, A -> B -> C, and that nothing is lost.

A sends as fast as it is let to C by way of B alone; all three have a process each. C reads nothing
for some seconds, then everything. Told is by how much each process grew, what waited at A and B,
and how many messages were accepted, had arrived, and were handed over twice. `bench.standstill`
draws what it was over time.

    python -m bench.relay_stalled [--seconds 5] [--size 1000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

import routing
from bench.stalled import PATIENCE_S, STEP_S, resident
from routing import sending
from routing.core import Core
from routing.events import Message
from routing.messages import Address
from routing.node import Node
from routing.pressure import ways_out
from routing.state import Token

__all__ = ["COLUMNS", "main", "press"]

LIMITS = routing.Limits.local()

COLUMNS = ("at", "a_grew", "b_grew", "c_grew", "a_queued", "b_queued", "accepted", "arrived")
"""Of `curve`: seconds, bytes, and numbers of messages."""


async def be(contact: str) -> None:
    """Be B, or C with a contact: answer each line with what there is; C is told "still", "read"."""
    contacts = [contact] if contact else []
    config = routing.Config(
        listen=["127.0.0.1:0"], first=not contact, contacts=contacts, limits=LIMITS
    )
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    came: list[int] = []

    def take(messages: list[Message]) -> None:
        came.extend(int.from_bytes(message.payload[:8], "big") for message in messages)

    async with Node(config) as node:
        node.on_messages(take)
        await node.joined() if contact else None
        print(json.dumps({"endpoint": node.endpoints[0]}), flush=True)
        while line := (await lines.get()).strip():
            if line == "still":
                node._serving().pause_reading()
            elif line == "read":
                node._serving().resume_reading()
            stats = node.stats()
            told = {
                "resident": resident(),
                "name": bytes(node.name or b"").hex(),
                "peers": len(node.peers()),
                "queued": stats["bytes.queued"],
                "pauses": stats.get("feeding.pauses", 0),
                "lost": stats.get("lost.slow_reader", 0),
                "came": len(came),
                "distinct": len(set(came)),
            }
            print(json.dumps(told), flush=True)


class Far:
    """Another process."""

    def __init__(self, process: asyncio.subprocess.Process, endpoint: str) -> None:
        self._process = process
        self.endpoint = endpoint

    @classmethod
    async def start(cls, contact: str = "") -> Far:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", "bench.relay_stalled", "--be", contact or "first"]
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            return cls(process, str(json.loads(await process.stdout.readline())["endpoint"]))

    async def ask(self, line: str = "look") -> dict[str, int]:
        """Say a line and return the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            said: dict[str, int] = json.loads(await self._process.stdout.readline())
        return said

    async def stop(self) -> None:
        """End it, and wait for that."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


def by_way_of(node: Node, name: bytes) -> None:
    """Have all that a node sends, signed, go by way of one other, as if it knew nobody else."""
    core = node._running()

    def ways(target: bytes) -> list[bytes]:
        return [name] if name in core.table else []

    def tokens(of: Core, destination: Address, *, routed: bool) -> list[Token]:
        if of is not core:
            return ways_out(of, destination, routed=routed)
        return [Token(core.link_to(each).token) for each in ways(b"")]

    core.hops.ways = ways  # type: ignore[method-assign]
    setattr(sending, "ways_out", tokens)  # noqa: B010 - a bench looks behind the doors


async def press(seconds: float, size: int) -> dict[str, Any]:
    """Send by way of B to C, which stands still and then reads; return what was seen."""
    far: list[Far] = []
    try:
        far.append(await Far.start())
        far.append(await Far.start(far[0].endpoint))
        config = routing.Config(listen=["127.0.0.1:0"], contacts=[far[0].endpoint], limits=LIMITS)
        async with Node(config) as node:
            await node.joined()
            async with asyncio.timeout(PATIENCE_S):
                while len(node.peers()) < 2:  # noqa: ASYNC110 - nothing tells of all others
                    await asyncio.sleep(STEP_S)
            return await _press(node, far[0], far[1], seconds, size)
    finally:
        for each in far:
            await each.stop()


async def _press(node: Node, b: Far, c: Far, seconds: float, size: int) -> dict[str, Any]:
    to = routing.NodeAddress(bytes.fromhex(str((await c.ask())["name"])))
    by_way_of(node, bytes.fromhex(str((await b.ask())["name"])))
    sent, going = 0, True

    async def send() -> None:
        nonlocal sent
        while going:
            await node.send(to, sent.to_bytes(8, "big").ljust(size), signed=True)
            sent += 1

    own, relay, end = resident(), (await b.ask())["resident"], (await c.ask("still"))["resident"]
    task, began = asyncio.create_task(send()), time.monotonic()
    curve: list[tuple[float, int, int, int, int, int, int, int]] = []

    async def look() -> dict[str, int]:
        seen, far = await b.ask(), await c.ask()
        grew = resident() - own, seen["resident"] - relay, far["resident"] - end
        queued = node.stats()["bytes.queued"], seen["queued"]
        at = round(time.monotonic() - began, 2)
        curve.append((at, *grew, *queued, sent, far["distinct"]))
        return far

    while time.monotonic() - began < seconds:
        await look()
        await asyncio.sleep(STEP_S)
    still, going = sent, False
    stood = len(curve)
    await c.ask("read")
    read_at = round(time.monotonic() - began, 2)
    await task
    async with asyncio.timeout(PATIENCE_S):
        while (last := await look())["distinct"] < sent:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(STEP_S)
    seen = await b.ask()
    most = {name: max(each[COLUMNS.index(name)] for each in curve[:stood]) for name in COLUMNS[1:6]}
    return {
        "size": size,
        "seconds": seconds,
        **most,
        "room": LIMITS.write_bytes_max // 2,
        "queued_bound": LIMITS.write_bytes_max,
        "accepted_while_still": still,
        "sent": sent,
        "arrived": last["distinct"],
        "twice": last["came"] - last["distinct"],
        "pauses": seen["pauses"],
        "lost_as_slow": seen["lost"] + node.stats().get("lost.slow_reader", 0),
        "read_at": read_at,
        "columns": COLUMNS,
        "curve": curve,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 if a message is missing or was handed over twice."""
    parser = argparse.ArgumentParser(prog="python -m bench.relay_stalled", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=1_000)
    parser.add_argument("--json", action="store_true", help="all on one line, with the curve")
    parser.add_argument("--be", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.be:
        routing.run(be("" if given.be == "first" else given.be))
        return 0
    found = routing.run(press(given.seconds, given.size))
    if given.json:
        print(json.dumps(found))
    else:
        short = {name: each for name, each in found.items() if name not in ("columns", "curve")}
        print(json.dumps(short, indent=1))
    return 0 if found["arrived"] == found["sent"] and not found["twice"] else 1


if __name__ == "__main__":
    sys.exit(main())
