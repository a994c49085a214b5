"""The timed filter and its twin, driven by the same operations, time steps included."""

from __future__ import annotations

from struct import iter_unpack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routing._filter import MessageFilter, TimedFilter
from routing._tokens import ByToken
from tests.twin.filter_twin import MessageFilterTwin, TimedFilterTwin

__all__: list[str] = []


class Line(ByToken):
    """A key that is compared in C."""

    def __init__(self, token: int) -> None:
        self.token = token


# Few keys, so that the same ones come again; equal ints and floats are one key.
KEYS = st.sampled_from(
    [1, 2, 3, 1.0, b"x" * 32, b"y" * 32, b"x", None, (1, 2), Line(7), Line(7), Line(8)]
)
# The steps are fractions of the ttl of 8, so deadlines often meet exactly.
STEPS = st.sampled_from([1, 4, 8, 3, 20, -3])
TTLS = st.sampled_from([None, None, None, 4, 8, 20, 1e-300, 1e300, float("inf")])


def source_of(key: object, value: int) -> bytes | str | int | None:
    """Spread the values over a few groups of uneven size, and some entries over none."""
    return [None, b"a", "b", 3, 3, 3][value % 6]


class FilterMachine(RuleBasedStateMachine):
    """Both answer alike at every step, and nothing leaves unseen or twice."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.value = 0
        self.inserted = 0
        self.replaced = 0
        self.removed = 0
        self.expired: list[int] = []

    @initialize(capacity=st.sampled_from([None, 1, 2, 5, 9]), grouped=st.booleans())
    def make(self, capacity: int | None, grouped: bool) -> None:
        sources = source_of if grouped else None
        self.room: TimedFilter[object, int] = TimedFilter(
            8, capacity=capacity, sources=sources, clock=lambda: self.now
        )
        self.twin: TimedFilterTwin[object, int] = TimedFilterTwin(
            8, capacity=capacity, sources=sources, clock=lambda: self.now
        )

    @rule(step=STEPS)
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule(key=KEYS, ttl=TTLS, given=st.booleans(), spread=st.integers(0, 5))
    def put(self, key: object, ttl: float | None, given: bool, spread: int) -> None:
        self.insert(key, ttl, given, spread)

    def insert(self, key: object, ttl: float | None, given: bool, spread: int) -> None:
        # Each value comes once, so that what is handed back twice shows.
        self.value += 6
        value = self.value + spread
        now = self.now if given else None
        old = self.room.insert(key, value, now=now, ttl=ttl)
        assert old == self.twin.insert(key, value, now=now, ttl=ttl)
        self.inserted += 1
        self.replaced += old is not None

    @rule(keys=st.lists(st.integers(4, 20), max_size=8), step=st.sampled_from([0, 1, 4]))
    def fill(self, keys: list[int], step: int) -> None:
        """Many at once, as a flood comes."""
        for key in keys:
            self.insert(key, None, False, key % 6)
            self.now += step

    @rule(key=KEYS)
    def look(self, key: object) -> None:
        expected = self.twin.get(key, now=self.now)
        assert self.room.get(key) == expected
        assert self.room.contains(key, now=self.now) == (key in self.room)
        assert (key in self.room) == self.twin.contains(key)
        if expected is not None:
            assert self.room[key] == expected

    @rule(key=KEYS, spread=st.integers(0, 5))
    def set_item(self, key: object, spread: int) -> None:
        self.value += 6
        value = self.value + spread
        self.replaced += self.twin.insert(key, value) is not None
        self.room[key] = value
        self.inserted += 1

    @rule(key=KEYS, spread=st.integers(0, 5))
    def set_default(self, key: object, spread: int) -> None:
        self.value += 6
        value = self.value + spread
        held = self.twin.get(key)
        assert self.room.setdefault(key, value) == (value if held is None else held)
        if held is None:
            assert self.twin.insert(key, value) is None
            self.inserted += 1

    @rule(key=KEYS, way=st.sampled_from(["del", "pop", "popitem"]))
    def take_live(self, key: object, way: str) -> None:
        """What is live leaves by the mapping face; what has departed stays for `expire`."""
        live = self.twin.deadlines(now=self.now)
        if way == "popitem":
            expected = live[0][:2] if live else None
            found = self.room.popitem() if len(self.room) else None
            assert found == expected
            key = found[0] if found is not None else key
        else:
            value = self.twin.get(key, now=self.now)
            expected = None if value is None else (key, value)
            if way == "pop":
                assert self.room.pop(key, None) == value
            elif value is not None:
                del self.room[key]
            else:
                with pytest.raises(KeyError):
                    del self.room[key]
        if expected is not None:
            assert self.twin.remove(key) == expected[1]
            self.removed += 1

    @rule()
    def numbers_run_out(self) -> None:
        self.room._wear(2**32 - 3)

    @rule(key=KEYS)
    def remove(self, key: object) -> None:
        value = self.room.remove(key)
        assert value == self.twin.remove(key)
        self.removed += value is not None

    @rule(key=KEYS, ttl=TTLS)
    def touch(self, key: object, ttl: float | None) -> None:
        assert self.room.touch(key, ttl=ttl) == self.twin.touch(key, ttl=ttl)

    @rule(later=st.sampled_from([0, 0, 1, 5, -2]))
    def expire(self, later: int) -> None:
        left = self.room.expire(self.now + later)
        assert left == self.twin.expire(self.now + later)
        self.expired += [value for _, value in left]

    @rule()
    def clear(self) -> None:
        left = self.room.clear()
        assert left == self.twin.clear()
        self.expired += [value for _, value in left]

    @rule(key=KEYS)
    def refused_ttl_changes_nothing(self, key: object) -> None:
        before = self.room.deadlines(), self.room.backlog
        for bad in (0, -1, float("nan")):
            try:
                self.room.insert(key, -1, ttl=bad)
            except ValueError:
                continue
            raise AssertionError(f"ttl {bad} was accepted")
        assert (self.room.deadlines(), self.room.backlog) == before

    @invariant()
    def alike(self) -> None:
        if not hasattr(self, "room"):
            return
        self.room._check()
        assert self.room.backlog == self.twin.backlog
        assert self.room.deadlines() == self.twin.deadlines()
        assert list(self.room) == [key for key, _, _ in self.twin.deadlines()]
        assert len(self.room) == len(self.twin)
        assert self.room.items() == [(key, value) for key, value, _ in self.twin.deadlines()]
        assert self.room.next_expiry() == self.twin.next_expiry()
        assert self.room.backlog == self.twin.backlog
        assert len(self.expired) == len(set(self.expired)), "something was handed back twice"
        held = len(self.room) + self.room.backlog
        assert self.inserted == held + self.replaced + self.removed + len(self.expired)


class MessageFilterMachine(RuleBasedStateMachine):
    """Both know the same ids in the same order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0

    @initialize(
        capacity=st.sampled_from([1, 2, 7, 40, None]), bytes_max=st.sampled_from([None, 1_024])
    )
    def make(self, capacity: int | None, bytes_max: int | None) -> None:
        bounds = {"capacity": capacity, "bytes_max": bytes_max}
        if bounds == {"capacity": None, "bytes_max": None}:
            bounds["bytes_max"] = 1_500
        self.room = MessageFilter(8, clock=lambda: self.now, **bounds)
        self.twin = MessageFilterTwin(8, capacity=self.room.capacity, clock=lambda: self.now)

    @rule(step=STEPS)
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule(first=st.integers(0, 60), count=st.sampled_from([1, 1, 1, 30]))
    def insert(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            id = number.to_bytes(16, "big")
            assert self.room.insert(id, now=self.now) == self.twin.insert(id, now=self.now)

    @rule(first=st.integers(0, 60), count=st.sampled_from([1, 1, 30]))
    def add(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            id = number.to_bytes(16, "big")
            assert self.room.add(id) == self.twin.add(id)

    @rule(number=st.integers(0, 60))
    def look(self, number: int) -> None:
        id = number.to_bytes(16, "big")
        assert self.room.contains(id, now=self.now) == self.twin.contains(id, now=self.now)
        assert (id in self.room) == self.twin.contains(id)

    @rule()
    def refill(self) -> None:
        """What a snapshot holds can be put back."""
        entries = self.room.deadlines(now=self.now)
        self.now = int(max(self.now, self.twin.latest))
        self.room.clear()
        for id, expires in entries:
            assert self.room.insert(id, now=self.now, ttl=expires - self.now)
        assert self.room.deadlines() == entries

    @rule()
    def reload(self) -> None:
        packed = self.room.packed(now=self.now)
        assert [*iter_unpack(">16sd", packed)] == self.twin.deadlines(now=self.now)
        self.now = int(max(self.now, self.twin.latest))
        self.room.clear()
        self.room.load(packed, self.now)
        assert self.room.packed() == packed

    @invariant()
    def alike(self) -> None:
        if not hasattr(self, "room"):
            return
        self.room._check()
        assert self.room.deadlines(now=self.now) == self.twin.deadlines(now=self.now)
        assert len(self.room) == len(self.twin)
        assert self.room.evicted == self.twin.evicted


TestFilter = FilterMachine.TestCase
TestFilter.settings = settings(max_examples=400, stateful_step_count=50)
TestMessageFilter = MessageFilterMachine.TestCase
TestMessageFilter.settings = settings(max_examples=150, stateful_step_count=40)
