"""The XOR index and its twin, driven by the same operations over names of every shape."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from routing._xor import XorIndex
from routing.errors import UsageError
from routing.names import flip_bit
from tests.twin.xor_twin import XorIndexTwin

__all__: list[str] = []

ROOT = b"\x5a" * 32


def crowded(number: int) -> bytes:
    """Return one of few names: high bits make far runs, low ones very near neighbours."""
    return bytes([number >> 8]) + bytes(30) + bytes([number & 255])


# Names anywhere; many in a few dense runs; and a comb, where each name leaves the rest at a bit of
# its own, so that runs nest as deep as they can.
NAMES = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**10 - 1).map(crowded),
    st.integers(0, 255).map(lambda index: flip_bit(ROOT, index, ROOT)),
)
GOALS = st.one_of(NAMES, st.sampled_from([ROOT, bytes(32), b"\xff" * 32]))
COUNTS = st.one_of(st.integers(0, 40), st.sampled_from([10**6, 2**70]))
TOKENS = st.one_of(st.integers(1, 12), st.integers(1, 2**64 - 1))


class XorMachine(RuleBasedStateMachine):
    @initialize(capacity=st.sampled_from([1, 7, 40, 10_000]))
    def make(self, capacity: int) -> None:
        self.index = XorIndex(capacity)
        self.twin = XorIndexTwin()

    def enter(self, name: bytes, token: int) -> None:
        if name in self.twin.tokens or len(self.twin.tokens) == self.index.capacity:
            with pytest.raises(UsageError):
                self.index.add(name, token)
            return
        self.index.add(name, token)
        self.twin.add(name, token)

    @rule(names=st.lists(NAMES, min_size=1, max_size=20), token=TOKENS)
    def add(self, names: list[bytes], token: int) -> None:
        for more, name in enumerate(names):
            self.enter(name, max(token - more, 1))

    @rule(first=st.integers(0, 900), count=st.integers(13, 120), step=st.sampled_from([1, 3, 64]))
    def add_crowd(self, first: int, count: int, step: int) -> None:
        for number in range(first, first + count):
            self.enter(crowded(number * step % 2**10), number + 1)

    @rule(first=st.integers(0, 200))
    def add_comb(self, first: int) -> None:
        for index in range(first, 256):
            self.enter(flip_bit(ROOT, index, ROOT), index + 1)

    @precondition(lambda self: self.twin.tokens)
    @rule(pick=st.integers(0, 10_000), count=st.integers(1, 60))
    def remove_held(self, pick: int, count: int) -> None:
        for name in self.twin.in_order()[pick % len(self.twin.tokens) :][:count]:
            assert self.index.remove(name) == self.twin.remove(name)

    @rule(name=NAMES)
    def remove_any(self, name: bytes) -> None:
        assert self.index.remove(name) == self.twin.remove(name)

    @rule(name=NAMES)
    def look_up(self, name: bytes) -> None:
        assert self.index.token(name) == self.twin.token(name)
        assert (name in self.index) == (name in self.twin.tokens)

    @rule(goal=GOALS, count=COUNTS)
    def ask_closest(self, goal: bytes, count: int) -> None:
        assert self.index.closest(goal, count) == self.twin.closest(goal, count)
        assert self.index.closest_tokens(goal, count) == self.twin.closest_tokens(goal, count)

    @rule(own=GOALS, goal=GOALS, excluded=st.integers(0, 40), other=NAMES)
    def ask_next_hop(self, own: bytes, goal: bytes, excluded: int, other: bytes) -> None:
        names = [*self.twin.hops(own, goal)[:excluded], other]
        assert self.index.next_hop(own, goal) == self.twin.next_hop(own, goal, ())
        assert self.index.next_hop(own, goal, names) == self.twin.next_hop(own, goal, names)
        tokens = [self.twin.token(name) for name in names if name in self.twin.tokens]
        found = self.index.next_hop_token(own, goal, tokens)
        assert found == self.twin.next_hop_token(own, goal, tokens)

    @invariant()
    def alike(self) -> None:
        if not hasattr(self, "index"):
            return
        self.index._check()
        assert len(self.index) == len(self.twin.tokens)
        assert list(self.index) == self.twin.in_order()
        for target in (ROOT, b"\xff" * 32, crowded(77)):
            whole = self.twin.closest(target, len(self.twin.tokens))
            assert self.index.closest(target, len(whole)) == whole


TestXor = XorMachine.TestCase
TestXor.settings = settings(max_examples=250, stateful_step_count=30)
