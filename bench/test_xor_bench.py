"""The XOR index beside what one would write without it; each figure is for 1,000 targets.

The peers hold and return names as integers, which favours them; the routing table, which holds an
index, is there to show what it adds. Names and targets are uniform, as hashes are, but for the
shape `afar`, where the targets lie in the half without names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nsmallest
from itertools import pairwise
from timeit import repeat

# Any: the peers share no type.
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sortedcontainers import SortedList

from bench.peers import keys_of, loop
from routing._xor import XorIndex
from routing.table import RoutingTable

__all__: list[str] = []

TARGETS = 1_000
OWN = b"\x5a" * 32
SIZES = [
    pytest.param(100, id="100"),
    pytest.param(256, id="smoke-256"),
    pytest.param(1_000, id="1e3"),
    pytest.param(10_000, id="1e4"),
]

# Any: names as bytes or as numbers, or tokens.
Ask = Callable[[bytes, int], Sequence[Any]]


def index_of(names: Sequence[bytes]) -> XorIndex:
    index = XorIndex(len(names) + 1)
    for token, name in enumerate(names, 1):
        # No token is small enough for the interpreter to have it ready.
        index.add(name, (token << 32) | token)
    return index


def table_of(names: Sequence[bytes]) -> RoutingTable:
    table = RoutingTable(OWN)
    for token, name in enumerate(names, 1):
        table.add(name, name, token)
    return table


def numbers_of(names: Sequence[bytes]) -> list[int]:
    return [int.from_bytes(name, "big") for name in names]


def by_sorting(names: Sequence[bytes]) -> Ask:
    numbers = numbers_of(names)

    def ask(target: bytes, count: int) -> list[int]:
        return sorted(numbers, key=int.from_bytes(target, "big").__xor__)[:count]

    return ask


def by_heap(names: Sequence[bytes]) -> Ask:
    numbers = numbers_of(names)

    def ask(target: bytes, count: int) -> list[int]:
        return nsmallest(count, numbers, key=int.from_bytes(target, "big").__xor__)

    return ask


def by_window(names: Sequence[bytes]) -> Ask:
    """Take those of one prefix out of the sorted order, a longer one if they are too few."""
    numbers = SortedList(numbers_of(names))

    def ask(target: bytes, count: int) -> list[int]:
        aim = int.from_bytes(target, "big")
        shift = 256 - max((len(numbers) // (2 * count)).bit_length() - 1, 0)
        while True:
            low = aim >> shift << shift
            found = list(numbers.irange(low, low + (1 << shift), (True, False)))
            if len(found) >= count or shift == 256:
                found.sort(key=aim.__xor__)
                return found[:count]
            shift += 1

    return ask


PEERS: dict[str, Callable[[Sequence[bytes]], Ask]] = {
    "routing": lambda names: index_of(names).closest,
    "routing, tokens": lambda names: index_of(names).closest_tokens,
    "sortedcontainers, window": by_window,
    "routing table": lambda names: _without_self(table_of(names)),
    "heapq.nsmallest": by_heap,
    "sorted": by_sorting,
}


def _without_self(table: RoutingTable) -> Ask:
    return lambda target, count: table.group(target, count, False)


def names_and_targets(size: int, targets: int = TARGETS) -> tuple[list[bytes], list[bytes]]:
    made = keys_of(size + targets)
    return made[:size], made[size:]


def set_apart(names: Sequence[bytes], targets: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Move the names into the upper half and the targets into the lower one."""
    return (
        [bytes([name[0] | 128]) + name[1:] for name in names],
        [bytes([target[0] & 127]) + target[1:] for target in targets],
    )


def rounds_for(name: str, size: int) -> int:
    """Return fewer rounds for the slower peers, fewest for those that read all names."""
    if name in ("sorted", "heapq.nsmallest", "min"):
        return max(2, 5_000 // size)
    return 100


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [8, 20])
@pytest.mark.parametrize("name", PEERS)
def test_closest(benchmark: BenchmarkFixture, name: str, count: int, size: int) -> None:
    names, targets = names_and_targets(size)
    ask = PEERS[name](names)
    right = by_sorting(names)
    for target in targets[:3]:
        expected = right(target, count)
        found = ask(target, count)
        assert len(found) == len(expected)
        if name in ("routing", "routing table"):
            assert found == [number.to_bytes(32, "big") for number in expected]
        elif name.endswith(("window", "nsmallest")):
            assert found == expected
    run = loop(f"table(key, {count})")
    benchmark.group = f"xor closest {count} of {size}"
    benchmark.extra_info["operations"] = TARGETS
    benchmark.pedantic(run, (ask, targets), rounds=rounds_for(name, size))


@pytest.mark.parametrize("size", SIZES)
def test_closest_afar(benchmark: BenchmarkFixture, size: int) -> None:
    names, targets = set_apart(*names_and_targets(size))
    benchmark.group = f"xor closest 20 of {size}, afar"
    benchmark.extra_info["operations"] = TARGETS
    run = loop("table.closest(key, 20)")
    benchmark.pedantic(run, (index_of(names), targets), rounds=100)


LOOKUPS = {
    "closest": "key, 20",
    "closest_tokens": "key, 20",
    "next_hop_token": f"{OWN!r}, key",
}

HOPS: dict[str, tuple[Callable[[Sequence[bytes]], Any], str]] = {
    "routing": (index_of, f"table.next_hop({OWN!r}, key)"),
    "routing, tokens": (index_of, f"table.next_hop_token({OWN!r}, key)"),
    "routing table": (table_of, "table.next_hop(key)"),
    "min": (numbers_of, "min(table, key=int.from_bytes(key, 'big').__xor__)"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", HOPS)
def test_next_hop(benchmark: BenchmarkFixture, name: str, size: int) -> None:
    names, targets = names_and_targets(size)
    make, statement = HOPS[name]
    benchmark.group = f"xor next hop / {size}"
    benchmark.extra_info["operations"] = TARGETS
    run = loop(statement)
    benchmark.pedantic(run, (make(names), targets), rounds=rounds_for(name, size))


CHANGES: dict[str, tuple[Callable[[Sequence[bytes]], Any], str]] = {
    "routing": (index_of, "table.add(key, table.remove(key))"),
    "sortedcontainers": (
        lambda names: SortedList(numbers_of(names)),
        "n = int.from_bytes(key, 'big'); table.remove(n); table.add(n)",
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CHANGES)
def test_change(benchmark: BenchmarkFixture, name: str, size: int) -> None:
    names = keys_of(size)
    changed = (names * (TARGETS // size + 1))[:TARGETS]
    make, statement = CHANGES[name]
    benchmark.group = f"xor remove, add / {size}"
    benchmark.extra_info["operations"] = TARGETS
    run = loop(statement)
    benchmark.pedantic(run, (make(names), changed), rounds=100)


@pytest.mark.parametrize("afar", [False, True], ids=["among", "afar"])
@pytest.mark.parametrize("operation", ["closest", "closest_tokens", "next_hop_token"])
def test_lookup_is_flat(benchmark: BenchmarkFixture, operation: str, afar: bool) -> None:
    """Ten times the names may add a bit of searching; what reads them all takes ten times."""
    best: list[float] = []
    run = loop(f"table.{operation}({LOOKUPS[operation]})")
    for size in (100, 1_000, 10_000, 100_000):
        # So many that the processor cannot learn their branches by heart.
        names, targets = names_and_targets(size, 10_000)
        if afar:
            names, targets = set_apart(names, targets)
        index = index_of(names)
        seconds = repeat("run(index, targets)", number=1, repeat=20, globals=locals())
        best.append(min(seconds) / len(targets) * 1e9)
    slope = f"ns over 100, 1e3, 1e4, 1e5 names: {[round(each) for each in best]}"
    # Printed with `-s`: the table shows only the largest size.
    print(f"\n{operation} {'afar' if afar else 'among'}, {slope}")
    benchmark.group = f"xor flat {operation}, {'afar' if afar else 'among'}, 1e5"
    benchmark.extra_info["operations"] = len(targets)
    benchmark.pedantic(run, (index, targets), rounds=20)
    assert all(more < 2 * fewer for fewer, more in pairwise(best)), slope
    assert best[-1] < 3 * best[0], slope
