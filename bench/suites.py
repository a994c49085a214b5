"""What is measured in turns: each suite gives figures by group, and who its floor is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

# Any: the peers share no type.
from typing import Any

import cachebox
import cachetools

from bench import _calls
from bench.measure import Figure, Round, in_turns, timed
from bench.peers import (
    OPERATIONS,
    SEENS,
    TABLES,
    TOKENS,
    TTL,
    Peer,
    connections_of,
    copies_of,
    keys_of,
    loop,
)
from routing._filter import MessageFilter, TimedFilter
from routing._tokens import TokenTable

__all__ = ["Group", "connections", "expiry", "flood", "ids", "tables", "tokens"]

GROUPS = 512


@dataclass(frozen=True)
class Group:
    """One operation at one size: everybody's figure, and whose is the floor."""

    suite: str
    operation: str
    size: int
    floor: str
    figures: Mapping[str, Figure]

    @property
    def key(self) -> str:
        return f"{self.suite}/{self.operation}/{self.size}"

    def ratio(self, name: str) -> float:
        """Return how often the floor's least time goes into this one's."""
        return self.figures[name].least / self.figures[self.floor].least


def _groups(
    suite: str, size: int, floor: str, contestants: Mapping[str, Round], rounds: int
) -> list[Group]:
    found = in_turns(contestants, rounds)
    return [Group(suite, operation, size, floor, each) for operation, each in found.items()]


def _table_round(
    peer: Peer, keys: Sequence[object], others: Sequence[object], missing: Sequence[object]
) -> dict[str, float]:
    """One life of a table: all are inserted, refreshed, looked for, and deleted."""
    table = peer.make(len(keys))
    found = {}
    for operation, statement in OPERATIONS.items():
        asked = {"insert": keys, "get miss": missing}.get(operation, others)
        asked = asked[: peer.few.get(operation, len(asked))]
        run = loop(peer.statements[statement])
        found[operation] = timed(partial(run, table, asked), len(asked))
    return found


def tables(size: int, rounds: int, names: Sequence[str]) -> list[Group]:
    """The six operations on keys of 32 bytes; each lookup by another object that is equal."""
    made = keys_of(2 * size)
    keys, missing = made[:size], made[size:]
    others = copies_of(keys)
    for key in (*made, *others):
        hash(key)
    return _groups(
        "table",
        size,
        "dict",
        {name: partial(_table_round, TABLES[name], keys, others, missing) for name in names},
        rounds,
    )


def connections(size: int, rounds: int, names: Sequence[str]) -> list[Group]:
    """The same on connections, which are hashed by their token."""
    made = connections_of(2 * size)
    keys, missing, others = made[:size], made[size:], connections_of(size)
    return _groups(
        "connection",
        size,
        "dict",
        {name: partial(_table_round, TABLES[name], keys, others, missing) for name in names},
        rounds,
    )


def _steady(table: Any, keys: Sequence[object], more: Sequence[object], statement: str) -> float:
    """One comes and one goes, for the table is full."""
    for key in keys:
        table[key] = None
    return timed(partial(loop(statement), table, more), len(more))


def _expiry_of_cachetools(keys: Sequence[object], more: Sequence[object]) -> dict[str, float]:
    size, now = len(keys), 0.0
    table: Any = cachetools.TTLCache(2 * size, size, timer=lambda: now)
    for key in keys:
        table[key] = None
        now += 1.0

    def by_age() -> None:
        nonlocal now
        for key in more:
            table[key] = None
            now += 1.0

    found = {"steady by age": timed(by_age, size)}
    now += 2 * size
    found["expire all"] = timed(table.expire, size)
    full: Any = cachetools.TTLCache(size, TTL)
    found["steady"] = _steady(full, keys, more, "table[key] = None")
    return found


def _expiry_of_ours(keys: Sequence[object], more: Sequence[object]) -> dict[str, float]:
    size, moment = len(keys), 0.0
    table: TimedFilter[object, None] = TimedFilter(size, clock=None)
    for key in keys:
        table.insert(key, None, now=moment)
        moment += 1.0

    def by_age(moment: float) -> None:
        for key in more:
            table.insert(key, None, now=moment)
            table.expire()
            moment += 1.0

    found = {"steady by age": timed(partial(by_age, moment), size)}
    assert len(table) == size
    left: list[object] = []
    found["expire all"] = timed(lambda: left.extend(table.expire(10.0 * size)), size)
    assert len(left) == size
    full: TimedFilter[object, None] = TimedFilter(TTL, capacity=size)
    found["steady"] = _steady(full, keys, more, "table[key] = None; table.expire()")
    assert len(full) == size
    return found


def _expiry_of_cachebox(keys: Sequence[object], more: Sequence[object]) -> dict[str, float]:
    size = len(keys)
    # It takes no clock from us, so only of a full one can one go for each that comes.
    full: Any = cachebox.TTLCache(size, TTL)
    found = {"steady": _steady(full, keys, more, "table[key] = None")}
    # It hands nothing back.
    short: Any = cachebox.TTLCache(2 * size, 0.05)
    for key in keys:
        short[key] = None
    time.sleep(0.06)
    found["expire all"] = timed(short.expire, size)
    return found


def expiry(size: int, rounds: int) -> list[Group]:
    """All expire at once and are handed back; one comes for each that goes, by age or capacity.

    Ours hands back what goes. The peers forget it.
    """
    made = keys_of(2 * size)
    contestants: dict[str, Round] = {
        "cachetools": partial(_expiry_of_cachetools, made[:size], made[size:]),
        "cachebox": partial(_expiry_of_cachebox, made[:size], made[size:]),
        "routing": partial(_expiry_of_ours, made[:size], made[size:]),
    }
    return _groups("expiry", size, "cachetools", contestants, rounds)


def ids(size: int, rounds: int) -> list[Group]:
    """Ids of 16 bytes that come once, each a fresh object, as a message brings it."""
    keys = keys_of(size, 16)

    def play(peer: Peer) -> dict[str, float]:
        found = {}
        for operation in ("insert", "check and insert"):
            table = peer.make(size)
            run = loop(peer.statements[operation])
            found[operation] = timed(partial(run, table, copies_of(keys)), size)
        run = loop(peer.statements["contains"])
        found["contains"] = timed(partial(run, table, copies_of(keys)), size)
        return found

    def from_c() -> dict[str, float]:
        table = MessageFilter(TTL, capacity=2 * size, clock=None)
        fresh, again = copies_of(keys), copies_of(keys)
        found = {"check and insert": timed(lambda: _calls.insert_ids(table, fresh, 5.0), size)}
        found["insert"] = found["check and insert"]
        found["contains"] = timed(lambda: _calls.contains_ids(table, again, 5.0), size)
        assert len(table) == size
        return found

    contestants: dict[str, Round] = {name: partial(play, peer) for name, peer in SEENS.items()}
    return _groups("ids", size, "set", contestants | {"routing, from C": from_c}, rounds)


def tokens(size: int, rounds: int) -> list[Group]:
    """Tokens as the table itself gives them out."""
    made = [1 << 32 | slot for slot in range(size)]

    def play(peer: Peer) -> dict[str, float]:
        found = {}
        table = peer.make(size)
        for operation in ("add", "get"):
            run = loop(peer.statements[operation])
            found[operation] = timed(partial(run, table, made), size)
        run = loop(peer.statements["add, remove"])
        found["add, remove"] = timed(partial(run, peer.make(size), made), size)
        return found

    def from_c() -> dict[str, float]:
        table: TokenTable[object] = TokenTable(size)
        for _ in made:
            table.add(table)
        return {"get": timed(lambda: _calls.get_tokens(table, 1 << 32, (1 << 32) + size), size)}

    contestants: dict[str, Round] = {name: partial(play, peer) for name, peer in TOKENS.items()}
    return _groups("tokens", size, "dict", contestants | {"routing, from C": from_c}, rounds)


def flood(size: int, rounds: int) -> list[Group]:
    """Each insertion evicts, with 512 groups to choose from; beside an LRU that looks at none."""
    keys, more = keys_of(size), keys_of(2 * size)[size:]

    def ours(sources: Callable[[bytes, int], int] | None) -> dict[str, float]:
        table: TimedFilter[bytes, int] = TimedFilter(
            TTL, capacity=size, sources=sources, clock=None
        )
        for number, key in enumerate(keys):
            table.insert(key, number % GROUPS, now=0.0)

        def run() -> None:
            for number, key in enumerate(more):
                table.insert(key, number % GROUPS, now=0.0)
            table.expire()

        return {"evict": timed(run, size)}

    contestants: dict[str, Round] = {
        "routing, no groups": partial(ours, None),
        "routing": partial(ours, lambda key, value: value),
    }
    return _groups("flood", size, "routing, no groups", contestants, rounds)
