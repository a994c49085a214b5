"""What a connection costs that has nothing to say: memory of its process, and heartbeats.

One process holds the measured ends, another one the far ends. Stated is what the resident set of
the first grows by for each connection, all authenticated and quiet, and what share of a core its
heartbeats take; the kernel's memory for sockets is not in it. Beside ours in the same run: streams
of TLS 1.3 on uvloop and plain ones on asyncio and uvloop.

    python -m bench.idle [--connections 1000 10000] [--beats 2]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from bench.ends import IN_FLIGHT, End, answer, contexts, hosted, load, pin, raise_descriptors
from routing.limits import SECOND, Limits

__all__ = ["main", "measured"]

WARM = 64
"""Connections made before the count begins: the first bring code and tables into memory."""

SPARE_DESCRIPTORS = 256

ADDRESSES = 4
"""Of loopback, listened on: the ports of one would not do for 30,000."""

NAMES = ("routing", "uvloop, TLS 1.3 streams", "asyncio, streams", "uvloop, streams")


def resident() -> int:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def figures(held: int, **more: float) -> dict[str, float]:
    return {"held": held, "resident": resident(), "cpu": time.process_time(), **more}


def bounds(heartbeat_s: float) -> Limits:
    beat = int(heartbeat_s * SECOND)
    most = raise_descriptors() - SPARE_DESCRIPTORS // 2
    return Limits.recommended().but(
        heartbeat_ns=beat, silence_ns=3 * beat, established_max=max(most, 1_000)
    )


# -- the measured ends


async def hold_ours(heartbeat_s: float) -> None:
    listen = tuple(f"127.0.0.{1 + number}:0" for number in range(ADDRESSES))
    host, core = hosted(listen=listen, limits=bounds(heartbeat_s), looks=True)
    await host.start()

    async def told(word: str) -> dict[str, float]:
        return figures(len(core.open), lost=core.lost, alarms=len(host.wakeup))

    await answer(host.endpoints, told)


async def hold_streams(context: ssl.SSLContext | None) -> None:
    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append((reader, writer))
        await reader.read(1)

    endpoints = []
    for number in range(ADDRESSES):
        server = await asyncio.start_server(
            take, f"127.0.0.{1 + number}", 0, ssl=context, backlog=512
        )
        host, port = server.sockets[0].getsockname()
        endpoints.append(f"{host}:{port}")

    async def told(word: str) -> dict[str, float]:
        return figures(len(held), lost=0, alarms=0)

    await answer(endpoints, told)


# -- the far ends


async def reach_ours(endpoints: list[str], heartbeat_s: float) -> None:
    host, core = hosted(limits=bounds(heartbeat_s), looks=True)
    await host.start()

    async def told(word: str) -> int:
        count = int(word)
        await core.dial(host, [endpoints[number % ADDRESSES] for number in range(count)])
        return len(core.open)

    await answer(0, told)


async def reach_streams(endpoints: list[str], context: ssl.SSLContext | None) -> None:
    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(number: int) -> None:
        host, _, port = endpoints[number % ADDRESSES].rpartition(":")
        async with places:
            held.append(await asyncio.open_connection(host, int(port), ssl=context))

    async def told(word: str) -> int:
        await asyncio.gather(*(one(number) for number in range(int(word))))
        return len(held)

    await answer(0, told)


# -- all of it


def be(role: str, name: str, rest: list[str]) -> None:
    """Be one end, until killed."""
    raise_descriptors()
    pin(0 if role == "hold" else 1)
    folder, heartbeat_s = Path(rest[0]), float(rest[1])
    run: Callable[..., Any] = asyncio.run if name.startswith("asyncio") else uvloop.run
    server, client = contexts(folder) if "TLS" in name else (None, None)
    if role == "hold":
        run(hold_ours(heartbeat_s) if name == "routing" else hold_streams(server))
    else:
        endpoints = rest[2].split()
        far = reach_ours(endpoints, heartbeat_s) if name == "routing" else None
        run(far or reach_streams(endpoints, client))


def until_held(end: End, count: int) -> Any:
    """Wait until the measured process, too, has all that were made."""
    until = time.monotonic() + 60
    while (said := end.ask())["held"] < count:
        if time.monotonic() > until:
            raise RuntimeError(f"{said['held']} of {count} connections came")
        time.sleep(0.02)
    return said


def one(name: str, count: int, folder: Path, beats: float, heartbeat_s: float) -> dict[str, Any]:
    """Measure one contestant with so many connections."""
    held = End("bench.idle", "--be", "hold", name, str(folder), str(heartbeat_s))
    try:
        far = End(
            "bench.idle",
            *("--be", "far", name, str(folder), str(heartbeat_s), " ".join(held.hello)),
        )
        try:
            far.ask(str(WARM))
            before = until_held(held, WARM)
            far.ask(str(count))
            made = until_held(held, WARM + count)
            found = {"bytes when made": (made["resident"] - before["resident"]) / count}
            if name == "routing":
                # One beat to become quiet in, then those that count.
                time.sleep(1.2 * heartbeat_s)
                began, start = time.monotonic(), held.ask()
                time.sleep(beats * heartbeat_s)
                end = held.ask()
                assert end["held"] == WARM + count, f"{end['lost']} connections were lost"
                found["heartbeats, % of a core"] = (
                    100 * (end["cpu"] - start["cpu"]) / (time.monotonic() - began)
                )
                made = end
            found["bytes when idle"] = (made["resident"] - before["resident"]) / count
            return found
        finally:
            far.close()
    finally:
        held.close()


def measured(
    counts: list[int], *, beats: float, heartbeat_s: float, names: tuple[str, ...] = NAMES
) -> dict[str, Any]:
    """Return what was found, contestant by contestant, and what could not be measured."""
    most = raise_descriptors() - SPARE_DESCRIPTORS
    found: dict[str, Any] = {"load before": load(), "connections": {}}
    with tempfile.TemporaryDirectory() as made:
        contexts(Path(made))
        for count in counts:
            told: dict[str, Any] = found["connections"].setdefault(str(count), {})
            if count + WARM > most:
                told["not measured"] = f"{most} descriptors are to be had (ulimit -Hn)"
                continue
            for name in names:
                print(f"{count} x {name}", file=sys.stderr)
                told[name] = one(name, count, Path(made), beats, heartbeat_s)
    found["load after"] = load()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="memory and heartbeats of idle connections")
    parser.add_argument("--connections", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--beats", type=float, default=2.0, help="heartbeats to measure over")
    parser.add_argument("--heartbeat", type=float, default=15.0, help="seconds between two")
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--be", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be:
        be(arguments.be[0], arguments.be[1], arguments.be[2:])
        return
    found = measured(
        arguments.connections,
        beats=arguments.beats,
        heartbeat_s=arguments.heartbeat,
        names=tuple(arguments.only),
    )
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
