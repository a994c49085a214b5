"""Memory of both ends while a reader stands still, and that nothing is lost.

A sends as fast as it is let to B, in a process of its own, whose application does not read; then it
reads all. Told is by how much the resident memory of each grew, beside what `Limits` allows to
wait: at the sender what is not known to have arrived, at the reader its inbox; and the most that
`send_many` had handed over by then. What the kernel holds for the socket is not in it.
`bench.standstill` draws it.

    python -m bench.stalled [--seconds 5] [--size 65536] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time

import routing

__all__ = ["COLUMNS", "PATIENCE_S", "STEP_S", "main", "press", "resident"]

COLUMNS = ("at", "sender_grew", "reader_grew", "handed_over", "sender_queued", "reader_inbox")
"""Of `curve`: seconds, then bytes."""

STEP_S = 0.1
PATIENCE_S = 60.0
MANY = 64
"""Messages of one `send_many`."""


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# -- the reader, which stands still until it is told to go on


async def stand_still() -> None:
    """Answer each line with the own memory; "read" reads to the end of what has come."""
    config = routing.Config(listen=["127.0.0.1:0"], first=True, limits=routing.Limits.local())
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    async with routing.Node(config) as node:
        reading = node.messages()
        print(json.dumps({"endpoint": node.endpoints[0]}), flush=True)
        while line := await lines.get():
            count = 0
            if line.startswith("read"):
                wanted = int(line.split()[1])
                while count < wanted:
                    await anext(reading)
                    count += 1
            told = {"resident": resident(), "inbox": node.stats()["inbox.bytes"], "read": count}
            print(json.dumps(told), flush=True)


class Reader:
    """The other process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> Reader:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.stalled", "--be", "reader", stdin=pipe, stdout=pipe
            )
        )

    async def told(self) -> dict[str, int]:
        """Return what it says next."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            said: dict[str, int] = json.loads(await self._process.stdout.readline())
        return said

    async def ask(self, line: str) -> dict[str, int]:
        """Say a line and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return await self.told()

    async def stop(self) -> None:
        """End it, and wait for that."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


# -- the sender


async def press(seconds: float, size: int) -> dict[str, object]:
    """Send to a reader that stands still, then let it read; return what was seen."""
    limits = routing.Limits.local()
    reader = await Reader.start()
    try:
        endpoint = str((await reader.told())["endpoint"])
        config = routing.Config(listen=["127.0.0.1:0"], contacts=[endpoint], limits=limits)
        async with routing.Node(config) as node:
            await node.joined()
            (peer,) = node.peers()
            return await _press(node, routing.NodeAddress(peer.name), reader, seconds, size)
    finally:
        await reader.stop()


async def _press(
    node: routing.Node, to: routing.NodeAddress, reader: Reader, seconds: float, size: int
) -> dict[str, object]:
    sent, going = 0, True

    async def send() -> None:
        nonlocal sent
        while going:
            await node.send_many(to, [os.urandom(size) for _ in range(MANY)])
            sent += MANY

    gc.collect()
    own, theirs = resident(), (await reader.ask("look"))["resident"]
    task, began = asyncio.create_task(send()), time.monotonic()
    curve: list[tuple[float, int, int, int, int, int]] = []
    while (passed := time.monotonic() - began) < seconds:
        far = await reader.ask("look")
        grew, queued = resident() - own, node.stats()["bytes.queued"]
        theirs_grew, inbox = far["resident"] - theirs, far["inbox"]
        curve.append((round(passed, 2), grew, theirs_grew, sent * size, queued, inbox))
        await asyncio.sleep(STEP_S)
    going = False
    # What is being sent goes through as soon as there is a reader.
    waiting = asyncio.create_task(reader.ask(f"read {sent + MANY}"))
    await task
    arrived = (await waiting)["read"]
    limits = node.config.limits
    return {
        "size": size,
        "seconds": seconds,
        "sent": sent,
        "arrived": arrived,
        "sender_grew": max(point[1] for point in curve),
        "sender_bound": limits.unacknowledged_bytes + limits.write_bytes_max,
        "reader_grew": max(point[2] for point in curve),
        "reader_bound": limits.inbox_bytes,
        "queued_bound": limits.write_bytes_max,
        "lasted": round(curve[-1][0], 1),
        "columns": COLUMNS,
        "curve": curve,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 if a message is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.stalled", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=65_536)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be", choices=["reader"], help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.be:
        routing.run(stand_still())
        return 0
    found = routing.run(press(given.seconds, given.size))
    if given.json:
        print(json.dumps(found))
    else:
        for who in ("sender", "reader"):
            grew, bound = found[f"{who}_grew"], found[f"{who}_bound"]
            assert isinstance(grew, int) and isinstance(bound, int)
            print(f"{who:8} grew by {grew / 2**20:6.1f} MiB; may hold {bound / 2**20:.1f} MiB")
        print(f"sent {found['sent']} of {found['size']} bytes, arrived {found['arrived']}")
    return 0 if found["arrived"] == found["sent"] else 1


if __name__ == "__main__":
    sys.exit(main())
