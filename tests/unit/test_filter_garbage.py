"""The filter and the garbage collector: it sees keys and values, and takes them at any moment."""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from routing._filter import TimedFilter

__all__: list[str] = []


class Thing:
    """What can be watched, and be part of a cycle."""

    def __init__(self) -> None:
        self.held: object = None


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def filled(key: object, value: object, aged: bool = False) -> TimedFilter[object, object]:
    room: TimedFilter[object, object] = TimedFilter(10, capacity=2, clock=None)
    room.insert(key, value, now=0)
    if aged:
        room.next_expiry(now=20)
    return room


def test_keys_and_values_are_shown_to_the_collector() -> None:
    key, value, aged, evicted = Thing(), Thing(), Thing(), Thing()
    room: TimedFilter[object, object] = TimedFilter(10, capacity=1, clock=None)
    room.insert("evicted", evicted, now=0)
    room.insert(aged, "aged", now=0)
    room.insert(key, value, now=20)
    seen = gc.get_referents(room)
    for each in (key, value, aged, evicted):
        assert sum(one is each for one in seen) == 1
    room.remove(key)
    room.expire()
    assert not {id(key), id(value), id(aged), id(evicted)} & {*map(id, gc.get_referents(room))}


@pytest.mark.parametrize("aged", [False, True])
@pytest.mark.parametrize("by", ["key", "value"])
@pytest.mark.usefixtures("collector_off")
def test_cycle_through_a_key_or_a_value_is_collected(by: str, aged: bool) -> None:
    thing = Thing()
    room = filled(thing, 1, aged) if by == "key" else filled(1, thing, aged)
    thing.held = room
    watch = weakref.ref(thing)
    del thing
    gc.collect()
    assert watch() is not None and room.backlog == aged
    del room
    gc.collect()
    assert watch() is None


@pytest.mark.usefixtures("collector_off")
def test_cycle_of_filters_alone_is_collected() -> None:
    last = Thing()
    watch = weakref.ref(last)
    one, two = filled(1, last), filled(2, None)
    one.insert(2, two, now=0)
    two.insert(1, one, now=0)
    del one, two, last
    gc.collect()
    assert watch() is None


CALLS: dict[str, Callable[[TimedFilter[object, object]], object]] = {
    "insert": lambda room: room.insert(2, 2, now=0),
    "set": lambda room: room.__setitem__(2, 2),
    "get": lambda room: room.get(1),
    "in": lambda room: 1 in room,
    "remove": lambda room: room.remove(1),
    "touch": lambda room: room.touch(1),
    "popitem": lambda room: room.popitem(),
    "len": len,
    "list": list,
    "expire": lambda room: room.expire(50),
    "clear": lambda room: room.clear(),
    "next_expiry": lambda room: room.next_expiry(),
    "backlog": lambda room: room.backlog,
    "deadlines": lambda room: room.deadlines(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("collector_off")
def test_filter_that_the_collector_has_emptied_refuses(call: str) -> None:
    told: list[str] = []

    # What is no garbage of its own, as a capsule is, dies when a filter lets go of it. Of two in
    # one cycle, that which is emptied first is found by what the other one held.
    def last_words(_: object) -> None:
        for each in gc.get_objects():
            if id(each) in wanted:
                try:
                    CALLS[call](each)
                except RuntimeError as error:
                    told.append(str(error))

    destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(last_words)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = (
        ctypes.py_object,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
    )
    one, two = (filled(1, new(1, None, ctypes.cast(destructor, ctypes.c_void_p))) for _ in "ab")
    wanted = (id(one), id(two))
    cycle: list[object] = [one, two]
    one.insert(2, cycle, now=0)
    two.insert(2, cycle, now=0)
    del one, two, cycle
    gc.collect()
    assert told == ["a __del__ uses a filter that the garbage collector destroys"]


@pytest.mark.usefixtures("collector_off")
def test_long_chain_of_filters_is_let_go_of() -> None:
    innermost = Thing()
    watch = weakref.ref(innermost)
    room = filled(0, innermost)
    del innermost
    for number in range(100_000):
        room = filled(number, room)
    del room
    assert watch() is None


def test_collector_may_come_while_the_filter_grows() -> None:
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        room: TimedFilter[object, object] = TimedFilter(10, clock=None)
        for number in range(1_000):
            room.insert((number,), [number], now=number / 100)
            if number % 3 == 0:
                room.remove((number // 2,))
            if number % 100 == 0:
                room._check()
        assert len(room.items()) == len(room) > 600
        room.expire(now=1_000)
    finally:
        gc.set_threshold(*before)
    room._check()
    assert len(room) == 0
