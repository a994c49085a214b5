"""The timed filter's promises one by one, at the edges above all."""

from __future__ import annotations

import gc
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import get_origin

import pytest

from routing._filter import TimedFilter, coarse
from routing.errors import UsageError

__all__: list[str] = []


def filter_of(ttl: float = 10, capacity: int | None = None) -> TimedFilter[object, object]:
    return TimedFilter(ttl, capacity=capacity, clock=None)


# -- time


def test_entry_is_live_until_its_deadline_and_not_at_it() -> None:
    room = filter_of()
    room.insert("a", 1, now=0)
    assert room.get("a", now=9.999) == 1
    assert room.get("a", now=10) is None
    assert room.expire() == [("a", 1)]


def test_looking_does_not_extend_life() -> None:
    room = filter_of()
    room.insert("a", 1, now=0)
    assert room.get("a", now=9) == 1 and room.contains("a", now=9) and "a" in room
    assert room.expire(now=10) == [("a", 1)]


def test_insert_and_touch_restart_the_age() -> None:
    room = filter_of()
    assert room.insert("a", 1, now=0) is None
    assert room.insert("b", 2, now=0) is None
    assert room.insert("a", 3, now=5) == 1
    assert room.touch("b", now=6)
    assert room.deadlines() == [("a", 3, 15.0), ("b", 2, 16.0)]
    assert not room.touch("c", now=6)


def test_touch_does_not_raise_the_dead() -> None:
    room = filter_of()
    room.insert("a", 1, now=0)
    assert not room.touch("a", now=10)
    assert room.expire() == [("a", 1)]


def test_clock_that_stands_still_or_steps_back_ages_nothing() -> None:
    moments = iter([5.0, 5.0, 3.0, -100.0, 5.0])
    room: TimedFilter[str, int] = TimedFilter(1, clock=lambda: next(moments))
    room.insert("a", 1)
    assert [room.get("a"), room.get("a"), room.get("a")] == [1, 1, 1]
    room.insert("b", 2)
    assert room.deadlines(now=0) == [("a", 1, 6.0), ("b", 2, 6.0)]


def test_given_now_reads_no_clock() -> None:
    def never() -> float:
        raise AssertionError("the clock was read")

    room: TimedFilter[str, int] = TimedFilter(10, clock=never)
    room.insert("a", 1, now=0)
    room.touch("a", now=1)
    assert room.get("a", now=2) == 1 and room.contains("a", now=2)
    assert room.next_expiry(now=2) == 11 and room.deadlines(now=2) == [("a", 1, 11.0)]
    assert room.backlog == 0 and room.remove("a") == 1
    assert room.expire(now=20) == [] and room.clear() == []


def test_clock_by_default_is_the_monotonic_one_at_its_last_tick() -> None:
    room: TimedFilter[str, int] = TimedFilter(1_000)
    before = coarse()
    room.insert("a", 1)
    after = coarse()
    expiry = room.next_expiry()
    assert expiry is not None and before + 1_000 <= expiry <= after + 1_000
    assert coarse() <= time.monotonic()


def test_integer_times_are_exact_below_two_to_the_53() -> None:
    room = filter_of(1)
    room.insert("a", 1, now=2**53 - 2)
    assert room.deadlines() == [("a", 1, 2**53 - 1)]
    assert room.get("a", now=2**53 - 2) == 1
    assert room.get("a", now=2**53 - 1) is None


def test_tiny_ttl_still_comes_out_of_expire_once() -> None:
    room = filter_of(5e-324)
    room.insert("a", 1, now=1e18)
    assert room.get("a", now=1e18) is None and room.backlog == 1
    assert room.expire() == [("a", 1)] and room.expire() == []


@pytest.mark.parametrize("ttl", [1e308, math.inf])
def test_huge_ttl_never_ends(ttl: float) -> None:
    room = filter_of(ttl)
    room.insert("a", 1, now=1e308)
    assert room.get("a", now=1.7e308) == 1
    if ttl == math.inf:
        assert room.next_expiry() is None


def test_ttl_of_its_own_is_for_one_entry_and_one_time() -> None:
    room = filter_of()
    room.insert("long", 1, now=0, ttl=100)
    room.insert("short", 2, now=0, ttl=1)
    room.insert("usual", 3, now=0)
    assert list(room) == ["short", "usual", "long"]
    room.insert("long", 4, now=0)
    assert room.deadlines() == [("short", 2, 1.0), ("usual", 3, 10.0), ("long", 4, 10.0)]


def test_equal_deadlines_go_by_insertion() -> None:
    room = filter_of()
    room.insert("own", 1, now=0, ttl=10)
    room.insert("usual", 2, now=0)
    room.insert("own too", 3, now=0, ttl=10.0)
    room.touch("own", now=0)
    assert [key for key, _ in room.expire(now=10)] == ["usual", "own too", "own"]


# -- what leaves


def test_evicted_and_aged_and_replaced_entries_are_handed_back_once() -> None:
    room = filter_of(capacity=2)
    for moment, key in enumerate("abc"):
        room.insert(key, moment, now=moment)
    assert room.backlog == 1 and len(room) == 2
    assert room.insert("b", 7, now=11) is None
    assert room.backlog == 2
    assert room.expire(now=12) == [("a", 0), ("b", 1), ("c", 2)]
    assert room.backlog == 0 and room.expire() == [] and room.deadlines() == [("b", 7, 21.0)]


def test_removed_entry_is_not_handed_back_even_if_it_had_aged() -> None:
    room = filter_of()
    room.insert("a", 1, now=0)
    room.insert("b", 2, now=0)
    assert room.remove("a") == 1 and room.remove("a") is None
    assert room.get("b", now=50) is None
    assert room.remove("b") == 2
    assert room.expire() == [] and room.backlog == 0


def test_evicted_entry_cannot_be_removed_any_more() -> None:
    room = filter_of(capacity=1)
    room.insert("a", 1, now=0)
    room.insert("b", 2, now=0)
    assert room.remove("a") is None
    assert room.expire() == [("a", 1)]


def test_capacity_one_holds_the_newest() -> None:
    room = filter_of(capacity=1)
    for number in range(100):
        room.insert(number, str(number), now=number)
        assert list(room) == [number]
        room._check()
    assert room.expire() == [(number, str(number)) for number in range(99)]


def test_aged_entries_make_room_before_live_ones_are_evicted() -> None:
    room = filter_of(capacity=2)
    room.insert("short", 1, now=0, ttl=1)
    room.insert("a", 2, now=0)
    room.insert("b", 3, now=5)
    assert list(room) == ["a", "b"]


def test_same_key_again_and_again_keeps_one_entry() -> None:
    room = filter_of(capacity=1)
    for number in range(1_000):
        assert room.insert("a", number, now=0) == (number - 1 if number else None)
    assert room.backlog == 0 and len(room) == 1


def test_clear_hands_back_everything_in_order_and_forgets_the_time() -> None:
    room = filter_of(capacity=2)
    for moment, key in enumerate("abc"):
        room.insert(key, moment, now=100 + moment)
    room.insert("d", 3, now=111)
    assert room.clear() == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert room.backlog == 0 and room.clear() == []
    room.insert("a", 1, now=0)
    assert room.deadlines() == [("a", 1, 10.0)]


def test_next_expiry_is_never_late() -> None:
    room = filter_of(capacity=2)
    assert room.next_expiry(now=0) is None
    room.insert("a", 1, now=0)
    room.insert("b", 2, now=3, ttl=2)
    assert room.next_expiry() == 5
    room.insert("c", 3, now=4)
    assert room.next_expiry() == 4, "an evicted entry waits: due at once"
    assert room.expire(now=4) == [("b", 2)]
    assert room.next_expiry() == 10


def test_iteration_shows_the_keys_of_its_beginning() -> None:
    room = filter_of()
    for key in "abc":
        room.insert(key, 1, now=0)
    seen: list[object] = []
    for held in room:
        seen.append(held)
        room.expire(now=10)
        room.insert("new", 2, now=10)
    assert seen == ["a", "b", "c"] and list(room) == ["new"]


def test_subscript_raises_for_what_is_not_live() -> None:
    room = filter_of()
    room.insert("a", 1, now=0)
    assert room["a"] == 1
    with pytest.raises(KeyError, match="b"):
        room["b"]
    room.get("a", now=10)
    with pytest.raises(KeyError, match="a"):
        room["a"]


def test_default_is_returned_for_what_is_not_live() -> None:
    room = filter_of()
    assert room.get("a", 5, now=0) == 5
    room.insert("a", None, now=0)
    assert room.get("a", 5) is None


def test_keys_compare_as_in_a_dict() -> None:
    room = filter_of()
    room.insert(1, "int", now=0)
    assert room.insert(1.0, "float", now=0) == "int"
    assert list(room) == [1] and isinstance(next(iter(room)), int)


def test_large_table_survives_growth_shrinking_and_strides() -> None:
    room = filter_of()
    for number in range(20_000):
        room.insert(number << 32, number, now=number / 10_000)
    room._check()
    assert len(room) == 20_000
    assert all(room.remove(number << 32) == number for number in range(0, 20_000, 2))
    room._check()
    assert [value for _, value in room.expire(now=100)] == list(range(1, 20_000, 2))
    room._check()
    room.insert("a", 1)
    assert room.deadlines() == [("a", 1, 110.0)]


# -- source groups


def test_flood_pays_for_the_flood() -> None:
    room: TimedFilter[str, str] = TimedFilter(
        100, capacity=10, sources=lambda key, value: value, clock=None
    )
    for number in range(3):
        room.insert(f"honest {number}", f"host {number}", now=0)
    for number in range(1_000):
        room.insert(f"bogus {number}", "attacker", now=1)
    room._check()
    assert [f"honest {number}" in room for number in range(3)] == [True] * 3
    assert [key for key, _ in room.expire()] == [f"bogus {number}" for number in range(993)]


def test_ungrouped_entries_leave_only_when_there_is_no_other() -> None:
    room: TimedFilter[str, str | None] = TimedFilter(
        100, capacity=3, sources=lambda key, value: value, clock=None
    )
    room.insert("ours", None, now=0)
    room.insert("ours too", None, now=0)
    room.insert("stranger", "x", now=0)
    room.insert("other", "y", now=0)
    assert room.expire() == [("stranger", "x")]
    room.insert("ours three", None, now=0)
    assert room.expire() == [("other", "y")]
    room.insert("stranger", "x", now=0)
    assert room.expire() == [("ours", None)]


def test_of_equal_groups_the_one_with_the_older_entry_loses() -> None:
    room: TimedFilter[str, str] = TimedFilter(
        100, capacity=3, sources=lambda key, value: value, clock=None
    )
    room.insert("a", "A", now=0)
    room.insert("b", "B", now=1)
    room.insert("c", "C", now=2)
    room.touch("a", now=3)
    room.insert("d", "D", now=4)
    assert room.expire() == [("b", "B")]


def test_source_that_could_run_code_is_refused() -> None:
    room: TimedFilter[str, int] = TimedFilter(
        1,
        sources=lambda key, value: (1, 2),  # type: ignore[arg-type, return-value]
        clock=None,
    )
    with pytest.raises(TypeError, match="tuple"):
        room.insert("a", 1, now=0)
    assert len(room) == 0


# -- misuse


@pytest.mark.parametrize("ttl", [0, -1, math.nan, -math.inf, -(10**400)])
def test_bad_ttl_is_refused(ttl: float) -> None:
    with pytest.raises(UsageError, match=r"ttl=.*above 0"):
        TimedFilter(ttl)
    room = filter_of()
    with pytest.raises(UsageError, match=r"ttl=.*above 0"):
        room.insert("a", 1, now=0, ttl=ttl)
    assert len(room) == 0


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="ttl='1'"):
        TimedFilter("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="capacity='1'"):
        TimedFilter(1, capacity="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="clock=5"):
        TimedFilter(1, clock=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="now='1'"):
        filter_of().get("a", now="1")  # type: ignore[call-overload]


@pytest.mark.parametrize("capacity", [0, -1, 2**30 + 1, 10**30])
def test_bad_capacity_is_refused(capacity: int) -> None:
    with pytest.raises(UsageError, match="capacity="):
        TimedFilter(1, capacity=capacity)


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf, 10**400])
def test_bad_now_is_refused_and_changes_nothing(now: float) -> None:
    room = filter_of()
    room.insert("a", 1, now=5)
    with pytest.raises(UsageError, match="now="):
        room.expire(now=now)
    assert room.deadlines() == [("a", 1, 15.0)]


def test_unhashable_key_is_refused_by_every_method() -> None:
    room = filter_of()
    calls: list[Callable[[], object]] = [
        lambda: room.insert([], 1, now=0),
        lambda: room.get([], now=0),
        lambda: [] in room,
        lambda: room[[]],
        lambda: room.remove([]),
        lambda: room.touch([], now=0),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="unhashable type: 'list'"):
            call()
    room._check()


def test_cycle_through_the_filter_is_collected() -> None:
    class Owner:
        def __init__(self) -> None:
            self.room: TimedFilter[str, Owner] = TimedFilter(10, clock=None)
            self.room.insert("me", self)

    owner = Owner()
    watch = weakref.ref(owner)
    del owner
    gc.collect()
    assert watch() is None


def test_subscription_is_for_type_checkers() -> None:
    assert get_origin(TimedFilter[int, str]) is TimedFilter


def test_repr_shows_what_matters() -> None:
    room = filter_of(2.5, capacity=3)
    room.insert("a", 1, now=0)
    assert repr(room) == "<TimedFilter ttl=2.5 capacity=3 live=1 departed=0>"


@pytest.mark.skipif(not os.environ.get("ROUTING_EXPECT_SANITIZED"), reason="not a debug build")
def test_debug_build_refuses_another_thread() -> None:
    room = filter_of()
    refused: list[str] = []

    def use() -> None:
        try:
            room.get(1)
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(refused) == 1 and "outside the thread" in refused[0]
