"""The timed filter and the message filter beside their peers, by operation and size."""

from __future__ import annotations

from collections.abc import Sequence

# Any: the peers share no type.
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import suites
from bench.peers import OPERATIONS, SEENS, TABLES, TTL, Peer, connections_of, keys_of, loop
from bench.promises import geometric_mean
from routing._filter import TimedFilter

__all__: list[str] = []

SIZES = [
    pytest.param(100, id="100"),
    pytest.param(1_000, id="smoke-1e3"),
    pytest.param(100_000, id="1e5"),
]


def rounds_for(size: int) -> int:
    return max(5, min(50, 200_000 // size))


def filled(peer: Peer, size: int, keys: Sequence[object]) -> Any:
    table = peer.make(size)
    loop(peer.statements["insert"])(table, keys)
    return table


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", TABLES)
def test_timed_filter(benchmark: BenchmarkFixture, name: str, operation: str, size: int) -> None:
    peer = TABLES[name]
    if size > peer.size_max:
        pytest.skip(f"{name} is not for {size} entries")
    keys = keys_of(size)
    # Equal to the keys but not the same objects, as ids from a wire are.
    others = keys_of(2 * size)[size:] if operation == "get miss" else keys_of(size)
    measure(benchmark, f"filter {operation} / {size}", peer, operation, keys, others)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ["dict", "routing", "routing, now given", "routing, own ttl"])
def test_connections(benchmark: BenchmarkFixture, name: str, operation: str, size: int) -> None:
    keys = connections_of(size)
    others = connections_of(2 * size)[size:] if operation == "get miss" else connections_of(size)
    group = f"filter of connections {operation} / {size}"
    measure(benchmark, group, TABLES[name], operation, keys, others)


def measure(
    benchmark: BenchmarkFixture,
    group: str,
    peer: Peer,
    operation: str,
    keys: Sequence[object],
    others: Sequence[object],
) -> None:
    others = others[: peer.few.get(operation, len(others))]
    for key in others:
        hash(key)
    run = loop(peer.statements[OPERATIONS[operation]])
    fresh = operation == "insert"

    def prepare() -> tuple[tuple[Any, Sequence[object]], dict[str, Any]]:
        table = peer.make(len(keys)) if fresh else filled(peer, len(keys), keys)
        return (table, others), {}

    benchmark.group = group
    benchmark.extra_info["operations"] = len(others)
    benchmark.pedantic(run, setup=prepare, rounds=rounds_for(len(keys)))


def test_cost_grows_as_that_of_dict_does(benchmark: BenchmarkFixture) -> None:
    """From a thousand entries to a million, beyond what the bare dict itself grows."""
    means = []
    for size, rounds in ((1_000, 50), (1_000_000, 3)):
        groups = suites.tables(size, rounds, ["dict", "routing"])
        means.append(geometric_mean(group.ratio("routing") for group in groups))
    benchmark.group = "filter slope"
    benchmark.extra_info["ratios to dict at 1e3 and 1e6"] = means
    benchmark.pedantic(lambda: None)
    assert means[1] < 1.5 * means[0], f"ratios to dict at 1e3 and 1e6: {means}"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["cachetools", "routing, now given", "routing, own ttl"])
def test_expire_everything(benchmark: BenchmarkFixture, name: str, size: int) -> None:
    peer = TABLES[name]
    keys = keys_of(size)

    def expire(table: Any) -> None:
        left = table.expire(3 * TTL) if name == "cachetools" else table.expire(now=3 * TTL)
        assert len(left) == size

    def prepare() -> tuple[tuple[Any], dict[str, Any]]:
        if name == "cachetools":
            import cachetools

            table: Any = cachetools.TTLCache(2 * size, TTL, timer=lambda: 0.0)
            loop("table[key] = None")(table, keys)
        else:
            table = filled(peer, size, keys)
        return (table,), {}

    benchmark.group = f"filter expire all / {size}"
    benchmark.extra_info["operations"] = size
    benchmark.pedantic(expire, setup=prepare, rounds=rounds_for(size))


@pytest.mark.parametrize("size", SIZES)
def test_eviction_under_flood(benchmark: BenchmarkFixture, size: int) -> None:
    """Each insertion evicts, with 512 groups to choose from."""
    room: TimedFilter[bytes, int] = TimedFilter(
        TTL, capacity=size, sources=lambda key, value: value, clock=None
    )
    keys = keys_of(size)
    for number, key in enumerate(keys):
        room.insert(key, number % 512, now=0)
    flood = keys_of(2 * size)[size:]

    def run() -> None:
        for number, key in enumerate(flood):
            room.insert(key, number % 512, now=0)
        room.expire()

    benchmark.group = f"filter evict / {size}"
    benchmark.extra_info["operations"] = size
    benchmark.pedantic(run, rounds=5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation", ["check and insert", "insert", "contains"])
@pytest.mark.parametrize("name", SEENS)
def test_message_filter(benchmark: BenchmarkFixture, name: str, operation: str, size: int) -> None:
    peer = SEENS[name]
    keys = keys_of(size, 16)
    run, fill = loop(peer.statements[operation]), loop(peer.statements["check and insert"])

    def prepare() -> tuple[tuple[Any, Sequence[object]], dict[str, Any]]:
        table = peer.make(size)
        if operation == "contains":
            fill(table, keys)
        # Copies, so that no hash is known beforehand: a message brings its id as fresh bytes.
        return (table, [bytes(bytearray(key)) for key in keys]), {}

    benchmark.group = f"messages {operation} / {size}"
    benchmark.extra_info["operations"] = size
    benchmark.pedantic(run, setup=prepare, rounds=rounds_for(size))
