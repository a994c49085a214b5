"""What a payload of 16 MiB takes over real sockets on loopback, in time and memory.

Everything runs in one process and one thread: sealing, signing, forwarding, verifying and putting
together share one core. The rate, and how much the resident set of a fresh process grows at most
over a payload that is held already, are in `extra_info` and printed with `-s`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from routing.limits import Limits
from routing.messages import Address, ClientAddress
from routing.node import Client, Node
from tests.service.nodes import address, local, network

__all__: list[str] = []

SIZE = Limits().large_bytes_max
PAYLOAD = Random(1).randbytes(SIZE)
MEBI = 1 << 20

WAYS = {"node to node": 1, "client to node": 2, "client to client": 3}
"""What sends to what, and over how many connections."""


@asynccontextmanager
async def ends(way: str, limits: Limits) -> AsyncIterator[tuple[Node | Client, Address]]:
    """Who sends, and to where, in a network of three nodes."""
    async with AsyncExitStack() as stack:
        one, two, _ = await stack.enter_async_context(network(3, limits=limits))
        source: Node | Client = one
        target: Node | Client = two
        to: Address = address(two)
        if way != "node to node":
            source = Client(local(contacts=one.endpoints, limits=limits))
            await (await stack.enter_async_context(source)).joined()
        if way == "client to client":
            target = Client(local(contacts=two.endpoints, limits=limits))
            await (await stack.enter_async_context(target)).joined()
            to = ClientAddress(address(two).name, target.key)
        target.on_messages(lambda messages: None)
        yield source, to


def resident(name: str) -> int:
    """Return VmRSS, or VmHWM since it was last reset, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def forget_peak() -> int:
    """Let VmHWM begin anew and return VmRSS."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return resident("VmRSS")


def growth(way: str) -> float:
    """Send one payload; return by how many mebibytes the resident set grew at most."""

    async def once() -> float:
        async with ends(way, Limits.local()) as (source, to):
            before = forget_peak()
            await source.send(to, PAYLOAD)
            return round((resident("VmHWM") - before) / MEBI, 1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(once())


def measure(benchmark: BenchmarkFixture, way: str, limits: Limits) -> None:
    """Send the payload again and again and note the rate."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        source, to = runner.run(stack.enter_async_context(ends(way, limits)))

        async def once() -> None:
            await source.send(to, PAYLOAD)

        try:
            benchmark.pedantic(lambda: runner.run(once()), rounds=5, warmup_rounds=1)
            median = benchmark.stats.stats.median if benchmark.stats is not None else 0.0
            if median:
                benchmark.extra_info["mib_per_s"] = round(SIZE / median / MEBI, 1)
            print(f"\n{way}, parts of {limits.part_bytes}: {benchmark.extra_info}")
        finally:
            runner.run(stack.aclose())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.benchmark(group="parts.16MiB")
def test_large_payload(benchmark: BenchmarkFixture, way: str) -> None:
    measure(benchmark, way, Limits.local())


@pytest.mark.parametrize("part_kib", [32, 64, 128, 256, 512])
@pytest.mark.benchmark(group="parts.size")
def test_size_of_parts(benchmark: BenchmarkFixture, part_kib: int) -> None:
    limits = Limits.local().but(part_bytes=part_kib << 10)
    measure(benchmark, "client to client", limits)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.benchmark(group="parts.memory")
def test_memory_of_a_fresh_process(benchmark: BenchmarkFixture, way: str) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        grown = benchmark.pedantic(lambda: pool.submit(growth, way).result(), rounds=1)
    benchmark.extra_info["rss_growth_mib"] = grown
    print(f"\n{way}: resident set + {grown} MiB at most")
