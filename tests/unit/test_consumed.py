"""What was handed over is remembered, fair by source: a flood loses its own oldest only."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from routing.consumed import Consumed

__all__: list[str] = []


def subject(source: int, number: int) -> bytes:
    return bytes((source,)) * 32 + number.to_bytes(16, "big")


def filled(*sources: int, capacity: int = 8) -> Consumed:
    """Return one at its bound; one message a tick, from these sources in turn."""
    consumed = Consumed(capacity, window_ns=1_000, repeat_ns=100)
    for number in range(capacity):
        assert consumed.admit(subject(sources[number % len(sources)], number), number) == 0
    return consumed


def test_taken_message_is_held_until_the_window_has_passed() -> None:
    consumed = Consumed(8, window_ns=1_000, repeat_ns=100)
    assert consumed.admit(subject(1, 0), 0) == 0
    assert subject(1, 0) in consumed and subject(2, 0) not in consumed
    assert consumed.admit(subject(1, 99), 999) == 0 and subject(1, 0) in consumed
    assert consumed.admit(subject(1, 100), 1_000) == 0 and subject(1, 0) not in consumed


def test_lonely_source_at_the_bound_waits_until_its_oldest_may_go() -> None:
    consumed = filled(1)
    assert consumed.admit(subject(1, 99), 10) == 90
    assert subject(1, 99) not in consumed and len(consumed) == 8 and consumed.evicted == 0
    assert consumed.admit(subject(1, 99), 100) == 0
    assert subject(1, 0) not in consumed and subject(1, 1) in consumed


def test_smaller_source_takes_the_place_of_the_oldest_of_the_largest() -> None:
    consumed = filled(1, 1, 1, 2)
    assert consumed.admit(subject(3, 99), 10) == 0
    assert subject(1, 0) not in consumed and subject(2, 3) in consumed
    assert consumed.evicted == 1


def test_flood_of_one_source_leaves_the_others_their_share() -> None:
    consumed = filled(2, 3, capacity=4)
    for number in range(100):
        consumed.admit(subject(1, number), 4 + number)
    for number in range(100):
        consumed.admit(subject(9, number), 110 + number)
    assert [consumed.of_source(bytes((source,)) * 32) for source in (2, 3)] == [1, 1]
    assert len(consumed) == 4


def test_export_and_load_are_the_same() -> None:
    consumed, other = filled(1, 2, 2, 3), Consumed(8, window_ns=1_000, repeat_ns=100)
    other.load(consumed.export())
    assert other.export() == consumed.export()
    for source in (1, 2, 3, 4):
        new = subject(source, 50)
        assert other.admit(new, 20) == consumed.admit(new, 20)
        assert other.export() == consumed.export()


class Model(RuleBasedStateMachine):
    """Against a list of (subject, when) and counting by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.real = Consumed(12, window_ns=200, repeat_ns=50)
        self.held: list[tuple[bytes, int]] = []
        self.now = 0
        self.number = 0

    @rule(ticks=st.integers(0, 60))
    def wait(self, ticks: int) -> None:
        self.now += ticks

    @rule(source=st.integers(1, 4))
    def take(self, source: int) -> None:
        self.number += 1
        new = subject(source, self.number)
        self.held = [each for each in self.held if each[1] + 200 > self.now]
        counts = Counter(each[0][:32] for each in self.held)
        wait = 0
        if len(self.held) == 12:
            count, largest = max((count, key) for key, count in counts.items())
            if counts[new[:32]] >= count:
                largest = new[:32]
            oldest = next(each for each in self.held if each[0][:32] == largest)
            if largest == new[:32] and oldest[1] + 50 > self.now:
                wait = oldest[1] + 50 - self.now
            else:
                self.held.remove(oldest)
        assert self.real.admit(new, self.now) == wait
        if not wait:
            self.held.append((new, self.now))

    @invariant()
    def same_as_by_hand(self) -> None:
        live = [each for each in self.held if each[1] + 200 > self.now]
        held = [(subject, at) for subject, at, _ in self.real.export()]
        assert held[len(held) - len(live) :] == live
        assert len(self.real) <= 12


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
