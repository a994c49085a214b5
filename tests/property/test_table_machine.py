"""Any history of the routing table gives what a sorted list gives."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from routing.table import RoutingTable
from tests.twin.table_twin import TableTwin

__all__: list[str] = []


def crowded(number: int) -> bytes:
    """Return one of few names: high bits make far buckets, low ones very near neighbours."""
    return bytes([number >> 4]) + bytes(30) + bytes([number & 15])


# Some names anywhere, and many that fall into the same few buckets: both shapes occur in life.
NAMES = st.one_of(st.binary(min_size=32, max_size=32), st.integers(0, 4095).map(crowded))


class TableMachine(RuleBasedStateMachine):
    table: RoutingTable
    twin: TableTwin

    @initialize(own=NAMES)
    def start(self, own: bytes) -> None:
        self.table = RoutingTable(own)
        self.twin = TableTwin(own)
        self.token = 0

    def enter(self, name: bytes) -> None:
        if name == self.twin.own or name in self.table:
            return
        self.token += 1
        key = self.token.to_bytes(32, "little")
        self.table.add(name, key, self.token)
        self.twin.add(name, key, self.token)

    @rule(names=st.lists(NAMES, min_size=1, max_size=12))
    def add(self, names: list[bytes]) -> None:
        for name in names:
            self.enter(name)

    @precondition(lambda self: self.twin.entries)
    @rule(pick=st.integers(0, 10_000))
    def remove_held(self, pick: int) -> None:
        name = self.twin.entries[pick % len(self.twin.entries)][0]
        assert self.table.remove(name) == self.twin.remove(name)
        assert name not in self.table

    @rule(name=NAMES)
    def remove_any(self, name: bytes) -> None:
        assert self.table.remove(name) == self.twin.remove(name)

    @rule(goal=NAMES, count=st.integers(0, 12), ours=st.booleans())
    def ask_group(self, goal: bytes, count: int, ours: bool) -> None:
        expected = self.twin.sorted_to(goal, including_self=ours)[:count]
        assert self.table.group(goal, count, ours) == expected

    @rule(goal=NAMES, excluded=st.integers(0, 3))
    def ask_next_hop(self, goal: bytes, excluded: int) -> None:
        exclude = self.twin.sorted_to(goal)[:excluded]
        hops = self.twin.next_hops(goal, exclude)
        assert self.table.next_hops(goal, exclude) == hops
        assert self.table.next_hop(goal, exclude) == (hops[0] if hops else None)

    @rule(name=NAMES)
    def ask_wanted(self, name: bytes) -> None:
        assert self.table.wanted(name) == self.twin.wanted(name)

    @precondition(lambda self: self.twin.entries)
    @rule(pick=st.integers(0, 10_000))
    def ask_surplus(self, pick: int) -> None:
        name = self.twin.entries[pick % len(self.twin.entries)][0]
        assert self.table.is_surplus(name) == (not self.twin.wanted(name))

    @rule(size=st.integers(0, 12))
    def ask_beyond(self, size: int) -> None:
        assert self.table.beyond(size) == self.twin.beyond(size)

    @rule(name=NAMES)
    def ask_is_near(self, name: bytes) -> None:
        if name != self.twin.own:
            assert self.table.is_near(name) == self.twin.is_near(name)

    @rule(index=st.one_of(st.integers(0, 8), st.integers(0, 255), st.integers(250, 255)))
    def ask_bucket(self, index: int) -> None:
        assert self.table.bucket(index) == self.twin.bucket(index)
        assert self.table.bucket_size(index) == len(self.twin.bucket(index))

    @invariant()
    def agrees(self) -> None:
        table, twin = self.table, self.twin
        names = twin.names()
        assert table.names() == names
        assert table.close_group() == names[:8]
        assert len(table) == len(names)
        assert table.snapshot() == sorted(twin.entries)
        assert table.by_age() == twin.unsorted_names()
        assert table.surplus() == twin.surplus()
        for name, key, token in twin.entries:
            assert table.key(name) == key
            assert table.token(name) == token
            assert table.name_of_key(key) == name
            assert table.name_of_token(token) == name


TableMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
test_table_agrees_with_its_twin = TableMachine.TestCase
