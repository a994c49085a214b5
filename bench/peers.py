"""What the rooms are measured against, as the very statements that a user would write.

`dict` and `set` are the floor: they forget nothing. The peers forget in their own ways. Statements
become the body of a loop, so that no call of ours is measured along with them.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Any: the peers share no type.
from typing import Any

import cachebox
import cachetools

from routing._filter import MessageFilter, TimedFilter
from routing._tokens import TokenTable
from tests.twin.filter_twin import TimedFilterTwin

__all__ = ["SEED", "SEENS", "TABLES", "TOKENS", "TTL", "Peer", "keys_of", "loop"]

SEED = 20_260_101
TTL = 1_000_000.0

Loop = Callable[[Any, Sequence[object]], None]


@dataclass(frozen=True)
class Peer:
    """One implementation: how to make it, and each operation as a statement on `table`, `key`."""

    make: Callable[[int], Any]
    statements: dict[str, str]
    size_max: int = 10**9


def _mapping(make: Callable[[int], Any]) -> Peer:
    return Peer(
        make,
        {
            "insert": "table[key] = None",
            "get": "table.get(key)",
            "contains": "key in table",
            "delete": "del table[key]",
        },
    )


_FILTER = {
    "insert": "table.insert(key, None)",
    "get": "table.get(key)",
    "contains": "key in table",
    "delete": "table.remove(key)",
}
_FILTER_NOW = {
    "insert": "table.insert(key, None, now=5.0)",
    "get": "table.get(key, now=5.0)",
    "contains": "table.contains(key, now=5.0)",
    "delete": "table.remove(key)",
}

TABLES = {
    "dict": _mapping(lambda size: {}),
    "OrderedDict": _mapping(lambda size: OrderedDict()),
    "cachetools": _mapping(lambda size: cachetools.TTLCache(2 * size, TTL)),
    "cachebox": _mapping(lambda size: cachebox.TTLCache(2 * size, TTL)),
    "routing": Peer(lambda size: TimedFilter(TTL, capacity=2 * size), _FILTER),
    "routing, now given": Peer(
        lambda size: TimedFilter(TTL, capacity=2 * size, clock=None), _FILTER_NOW
    ),
    "routing, own ttl": Peer(
        lambda size: TimedFilter(TTL, capacity=2 * size, clock=None),
        _FILTER_NOW | {"insert": "table.insert(key, None, now=5.0, ttl=9.0)"},
    ),
    "twin": Peer(
        lambda size: TimedFilterTwin(TTL, capacity=2 * size),
        _FILTER_NOW,
        size_max=100,
    ),
}

SEENS = {
    "set": Peer(
        lambda size: set(),
        {"check and insert": "if key not in table: table.add(key)", "contains": "key in table"},
    ),
    "routing": Peer(
        lambda size: MessageFilter(TTL, capacity=2 * size, clock=None),
        {"check and insert": "table.insert(key, 5.0)", "contains": "table.contains(key, 5.0)"},
    ),
}

TOKENS = {
    "dict": Peer(
        lambda size: {},
        {
            "add": "table[key] = None",
            "get": "table.get(key)",
            "add, remove": "table[key] = None; del table[key]",
        },
    ),
    "routing": Peer(
        lambda size: TokenTable(2 * size),
        {
            "add": "table.add(table)",
            "get": "table.get(key)",
            "add, remove": "table.remove(table.add(table))",
        },
    ),
}


def loop(statement: str) -> Loop:
    """Compile a statement on `table` and `key` into a loop over keys."""
    names: dict[str, Loop] = {}
    exec(f"def run(table, keys):\n    for key in keys:\n        {statement}", names)
    return names["run"]


def keys_of(size: int, width: int = 32) -> list[bytes]:
    """Return so many keys of `width` bytes, the same ones every time."""
    source = random.Random(SEED)
    return [source.randbytes(width) for _ in range(size)]
