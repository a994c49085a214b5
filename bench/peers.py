"""What the rooms are measured against, as the very statements that a user would write.

`dict` and `set` are the floor: they forget nothing. The peers forget in their own ways. Statements
become the body of a loop, so that no call of ours is measured along with them.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# Any: the peers share no type.
from typing import Any

import cachebox
import cachetools
import moka_py

from routing._filter import MessageFilter, TimedFilter
from routing._tokens import TokenTable
from routing.state import Connection, Direction, Token
from tests.twin.filter_twin import TimedFilterTwin

__all__ = [
    "OPERATIONS",
    "SEED",
    "SEENS",
    "TABLES",
    "TOKENS",
    "TTL",
    "Peer",
    "connections_of",
    "copies_of",
    "keys_of",
    "loop",
]

SEED = 20_260_101
TTL = 1_000_000.0

OPERATIONS = {
    "insert": "insert",
    "refresh": "insert",
    "get hit": "get",
    "get miss": "get",
    "contains": "contains",
    "delete": "delete",
}
"""The six operations that a table is judged by, and the statement that each is."""

Loop = Callable[[Any, Sequence[object]], None]


@dataclass(frozen=True)
class Peer:
    """One implementation: how to make it, and each operation as a statement on `table`, `key`."""

    make: Callable[[int], Any]
    statements: dict[str, str]
    size_max: int = 10**9
    few: dict[str, int] = field(default_factory=dict)
    """Of an operation so slow that all keys would take minutes: how many are measured."""


def _mapping(make: Callable[[int], Any], **few: int) -> Peer:
    return Peer(
        make,
        {
            "insert": "table[key] = None",
            "get": "table.get(key)",
            "contains": "key in table",
            "delete": "del table[key]",
        },
        few=few,
    )


_NOW = {
    "insert": "table.insert(key, None, now=5.0)",
    "get": "table.get(key, now=5.0)",
    "contains": "table.contains(key, now=5.0)",
    "delete": "table.remove(key)",
}


def _filter(size: int) -> TimedFilter[object, object]:
    return TimedFilter(TTL, capacity=2 * size)


def _filter_told(size: int) -> TimedFilter[object, object]:
    return TimedFilter(TTL, capacity=2 * size, clock=None)


TABLES = {
    "dict": _mapping(lambda size: {}),
    "OrderedDict": _mapping(lambda size: OrderedDict()),
    "cachetools": _mapping(lambda size: cachetools.TTLCache(2 * size, TTL)),
    # It searches for the entry to delete from one end.
    "cachebox": _mapping(lambda size: cachebox.TTLCache(2 * size, TTL), delete=500),
    "moka-py": Peer(
        lambda size: moka_py.Moka(2 * size, ttl=TTL),
        {
            "insert": "table.set(key, None)",
            "get": "table.get(key)",
            "contains": "table.get(key)",
            "delete": "table.remove(key)",
        },
    ),
    "routing": _mapping(_filter),
    "routing, no clock": _mapping(_filter_told),
    "routing, now given": Peer(_filter_told, _NOW),
    "routing, own ttl": Peer(
        _filter_told, _NOW | {"insert": "table.insert(key, None, now=5.0, ttl=9.0)"}
    ),
    "twin": Peer(
        lambda size: TimedFilterTwin(TTL, capacity=2 * size),
        _NOW,
        size_max=100,
    ),
}

SEENS = {
    "set": Peer(
        lambda size: set(),
        {
            "check and insert": "if key not in table: table.add(key)",
            "insert": "table.add(key)",
            "contains": "key in table",
        },
    ),
    "routing": Peer(
        lambda size: MessageFilter(TTL, capacity=2 * size),
        {
            "check and insert": "table.add(key)",
            "insert": "table.add(key)",
            "contains": "key in table",
        },
    ),
    "routing, now given": Peer(
        lambda size: MessageFilter(TTL, capacity=2 * size, clock=None),
        {
            "check and insert": "table.insert(key, 5.0)",
            "insert": "table.insert(key, 5.0)",
            "contains": "table.contains(key, 5.0)",
        },
    ),
}

TOKENS = {
    "dict": Peer(
        lambda size: {},
        {
            "add": "table[key] = table",
            "get": "table.get(key)",
            "add, remove": "table[key] = table; del table[key]",
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


def connections_of(size: int) -> list[Connection]:
    """Return so many connections of one host."""
    return [
        Connection(Token(1 << 32 | slot), "tcp", "192.0.2.7:1", "192.0.2.8:2", Direction.INBOUND)
        for slot in range(size)
    ]


def copies_of(keys: Sequence[bytes]) -> list[bytes]:
    """Return other objects that are equal, as ids from a wire are; their hashes are not known."""
    return [bytes(bytearray(key)) for key in keys]
