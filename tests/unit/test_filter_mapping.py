"""The timed filter as a mapping: what somebody who only wants a map that forgets relies on."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, MutableMapping
from fractions import Fraction

import pytest

from routing._filter import TimedFilter
from routing._tokens import ByToken

__all__: list[str] = []


class Line(ByToken):
    """Something that is known by its token."""

    def __init__(self, token: int) -> None:
        self.token = token


class Clock:
    """Time that goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def room(clock: Clock) -> TimedFilter[str, int]:
    return TimedFilter(10, clock=clock)


def test_it_is_a_mutable_mapping(room: TimedFilter[str, int]) -> None:
    assert issubclass(type(room), MutableMapping)
    room["a"] = 1
    assert "a" in room and room["a"] == 1 and len(room) == 1
    del room["a"]
    assert "a" not in room and len(room) == 0


def test_what_is_taken_out_by_hand_does_not_come_out_of_expire(
    room: TimedFilter[str, int], clock: Clock
) -> None:
    room.update({"a": 1, "b": 2, "c": 3, "d": 4})
    del room["a"]
    assert room.pop("b") == 2 and room.popitem() == ("c", 3)
    clock.now = 10
    assert room.expire() == [("d", 4)]


def test_the_aged_are_not_there_and_stay_for_expire(
    room: TimedFilter[str, int], clock: Clock
) -> None:
    room["a"] = 1
    clock.now = 10
    for refused in (lambda: room["a"], lambda: room.pop("a"), room.popitem):
        with pytest.raises(KeyError):
            refused()
    with pytest.raises(KeyError, match="a"):
        del room["a"]
    assert room.pop("a", 7) == 7 and len(room) == 0 and list(room) == []
    assert not room.keys() and not room.values() and not room.items()
    assert room.expire() == [("a", 1)]


def test_set_item_restarts_the_age_and_replaces(room: TimedFilter[str, int], clock: Clock) -> None:
    room["a"] = 1
    clock.now = 9
    room["a"] = 2
    clock.now = 18
    assert room["a"] == 2
    clock.now = 19
    assert room.expire() == [("a", 2)]


def test_setdefault_holds_only_what_is_not_there(room: TimedFilter[str, int], clock: Clock) -> None:
    assert room.setdefault("a", 1) == 1 and room.setdefault("a", 2) == 1
    clock.now = 10
    assert room.setdefault("a", 3) == 3
    assert room.expire() == [("a", 1)]
    empty: TimedFilter[str, int | None] = TimedFilter(10, clock=None)
    assert empty.setdefault("b") is None and "b" in empty


def test_keys_values_and_items_are_in_order_of_deadline(room: TimedFilter[str, int]) -> None:
    room["a"] = 1
    room.insert("b", 2, ttl=5)
    room.update([("c", 3)], d=4)
    assert room.keys() == ["b", "a", "c", "d"] and room.values() == [2, 1, 3, 4]
    assert room.items() == [("b", 2), ("a", 1), ("c", 3), ("d", 4)]
    assert dict(room) == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_pop_takes_one_default_and_no_more(room: TimedFilter[str, int]) -> None:
    with pytest.raises(TypeError, match="one default"):
        room.pop("a", 1, 2)  # type: ignore[call-overload]


def test_at_capacity_the_first_to_expire_makes_room(clock: Clock) -> None:
    room: TimedFilter[int, None] = TimedFilter(10, capacity=2, clock=clock)
    for number in range(4):
        room[number] = None
    assert room.keys() == [2, 3] and room.expire() == [(0, None), (1, None)]


def test_sources_are_asked_by_set_item_too() -> None:
    room: TimedFilter[str, str] = TimedFilter(
        10, capacity=3, sources=lambda key, value: value, clock=None
    )
    room["honest"] = "host"
    for number in range(50):
        room[f"bogus {number}"] = "attacker"
    room._check()
    assert "honest" in room


# -- the index


@pytest.mark.parametrize("stride", [1, 3, 8, 64, 1_000, 1_024, 2**20, 2**31, 2**32, 2**45, 2**60])
def test_no_stride_of_numbers_makes_lookups_long(stride: int) -> None:
    room: TimedFilter[int, None] = TimedFilter(10, clock=None)
    # The most that an index of its size holds.
    for number in range(26_620):
        room[number * stride] = None
    room._check()
    assert room._farthest() < 50, "as for random keys; in one heap it would be thousands"


def test_fullest_index_finds_what_it_holds_and_nothing_else() -> None:
    source = random.Random(5)
    room: TimedFilter[bytes, int] = TimedFilter(10, clock=None)
    keys = [source.randbytes(32) for _ in range(13_312)]
    for number, key in enumerate(keys):
        room[key] = number
    room._check()
    assert 0 < room._farthest() < 50, "some stand away from home, none far"
    assert not any(source.randbytes(32) in room for _ in range(20_000))
    for key in keys[::3]:
        del room[key]
    room._check()
    assert not any(key in room for key in keys[::3])
    assert all(room[key] == number for number, key in enumerate(keys) if number % 3)


def test_large_index_with_its_tags_is_let_go_of_when_the_table_empties() -> None:
    room: TimedFilter[int, None] = TimedFilter(10, clock=None)
    for _ in range(2):
        for number in range(850_000):
            room[hash((number,))] = None
        assert hash((849_999,)) in room and hash((850_000,)) not in room
        for number in range(0, 850_000, 2):
            del room[hash((number,))]
        assert hash((849_998,)) not in room and hash((849_999,)) in room
        room._check()
        assert len(room.clear()) == 425_000
        assert hash((849_999,)) not in room
        room._check()


def test_fractions_and_floats_are_found_as_in_a_dict() -> None:
    room: TimedFilter[float | Fraction, int] = TimedFilter(10, clock=None)
    for number in range(5_000):
        room[number / 8] = number
    assert all(room[Fraction(number, 8)] == number for number in range(5_000))
    assert room._farthest() < 50


@pytest.mark.parametrize("generations", [2, 7, 100])
def test_generations_of_one_number_do_not_make_lookups_long(generations: int) -> None:
    room: TimedFilter[int, None] = TimedFilter(10, clock=None)
    made = [
        generation << 32 | slot
        for generation in range(1, generations + 1)
        for slot in range(50_000 // generations)
    ]
    for token in made:
        room[token] = None
    room._check()
    assert room._farthest() < 50
    for token in made[::2]:
        del room[token]
    room._check()
    assert all(token in room for token in made[1::2])
    assert not any(token in room for token in made[::2])


@pytest.mark.parametrize("stride", [1, 4, 256, 0])
def test_churn_leaves_every_entry_where_a_lookup_finds_it(stride: int) -> None:
    source = random.Random(stride)
    room: TimedFilter[int, int] = TimedFilter(10, clock=None)
    model: dict[int, int] = {}
    for number in range(6_000):
        key = number * stride if stride else source.getrandbits(60)
        room[key] = model[key] = number
        # About the most that an index of its size holds, so that buckets are full.
        while len(model) > 825:
            left = source.choice(list(model)) if number % 3 else next(iter(model))
            assert room.pop(left) == model.pop(left)
        if number % 100 == 0:
            room._check()
            assert dict(room.items()) == model and all(room[each] == model[each] for each in model)
    assert room._farthest() < 50


def test_keys_equal_by_token_are_one_key() -> None:
    room: TimedFilter[ByToken, int] = TimedFilter(10, clock=None)
    for generation in (1, 2**31, 2**32 - 1):
        for slot in range(500):
            room[Line(generation << 32 | slot)] = slot
    assert len(room) == 1_500
    for slot in range(500):
        assert room[Line(1 << 32 | slot)] == slot
        assert Line(2 << 32 | slot) not in room
        del room[Line(1 << 32 | slot)]
    room._check()
    assert len(room) == 1_000


def test_class_with_an_eq_of_its_own_is_asked() -> None:
    class Contrary(Line):
        def __eq__(self, other: object) -> bool:
            return False

        def __hash__(self) -> int:
            return super().__hash__()

    room: TimedFilter[ByToken, int] = TimedFilter(10, clock=None)
    room[Contrary(7)] = 1
    assert Contrary(7) not in room and Line(8) not in room
    room[Contrary(7)] = 2
    assert len(room) == 2


# -- foreign code


class Noisy:
    """A value that does something when it dies."""

    def __init__(self, last_words: Callable[[], object]) -> None:
        self.last_words = last_words

    def __del__(self) -> None:
        self.last_words()


@pytest.mark.parametrize("leave", ["del", "pop", "popitem", "set"])
def test_value_that_uses_the_filter_as_it_leaves_is_survived(leave: str) -> None:
    room: TimedFilter[str, object] = TimedFilter(10, clock=None)
    told: list[object] = []

    def last_words() -> None:
        told.append("a" in room)
        room["from the grave"] = 1
        room.pop("other")
        room._check()

    room["a"] = Noisy(last_words)
    room["other"] = 2
    ways: dict[str, Callable[[], object]] = {
        "del": lambda: room.__delitem__("a"),
        "pop": lambda: room.pop("a"),
        "popitem": room.popitem,
        "set": lambda: room.__setitem__("a", 1),
    }
    ways[leave]()
    room._check()
    assert told == [leave == "set"]
    assert "from the grave" in room and "other" not in room


def test_garbage_that_uses_the_filter_is_survived_wherever_it_is_collected() -> None:
    room: TimedFilter[int, object] = TimedFilter(10, capacity=5_000, clock=None)
    died = [0]

    class Garbage:
        def __init__(self, number: int) -> None:
            self.itself, self.number = self, number

        def __del__(self) -> None:
            died[0] += 1
            room[-self.number] = None
            room.pop(self.number, None)
            room.get(0)
            if self.number % 50 == 0:
                room.expire()

    before = gc.get_threshold()
    gc.set_threshold(7)
    try:
        for number in range(1, 3_000):
            Garbage(number)
            room[number] = [number]
            if number % 100 == 0:
                room._check()
    finally:
        gc.set_threshold(*before)
    gc.collect()
    room._check()
    assert died[0] == 2_999


def test_numbers_of_insertions_start_again_without_a_trace() -> None:
    room: TimedFilter[str, int] = TimedFilter(10, capacity=4, clock=None)
    for number, key in enumerate("abcdef"):
        room.insert(key, number, ttl=None if number % 2 else 10)
    room._wear(2**32 - 2)
    for number, key in enumerate("efgh"):
        room.insert(key, number, now=1)
        room._check()
    room.touch("e", now=1)
    room._check()
    assert room.keys() == ["f", "g", "h", "e"]
    assert [key for key, _ in room.expire(now=11)] == ["a", "b", "c", "d", "f", "g", "h", "e"]
