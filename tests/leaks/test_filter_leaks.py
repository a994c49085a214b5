"""The filters give back all they took, over a million operations, each in a process of its own."""

from __future__ import annotations

import pytest

from tests.leaks.growth import hold_flat

__all__: list[str] = []

TIMED = """
from routing._filter import TimedFilter

now = 0
marks = [object() for _ in range(64)]
key = (1, 2, 3)
room = TimedFilter(100, capacity=500, sources=lambda k, v: k[0] % 5 or None, clock=None)
plain = TimedFilter(100, clock=None)
counts = [sys.getrefcount(mark) for mark in marks]

class Refuses:
    def __hash__(self):
        return hash(key)
    def __eq__(self, other):
        raise ZeroDivisionError

def work():
    global now
    for number in range(1_000):
        now += 1
        k = (number % 700, number)
        room.insert(k, marks[number % 64], now=now, ttl=None if number % 3 else 50 + number)
        room.get(k, now=now)
        if number % 5 == 0:
            room.remove((number % 350, number // 2))
        if number % 7 == 0:
            room.touch(k, now=now, ttl=70)
        plain.insert(number, marks[number % 64], now=now)
        plain.expire(now=now)
        room[k] = marks[number % 64]
        if number % 3 == 0:
            assert room.pop(k) is marks[number % 64] and k not in room
        elif number % 11 == 0:
            del room[k]
        elif number % 13 == 0:
            room.popitem()
            room.setdefault(k, marks[0])
    plain.insert(key, 1, now=now)
    for refused in (Refuses(), [], Refuses()):
        for call in (plain.get, plain.remove, plain.touch, plain.__getitem__, plain.pop):
            try:
                call(refused)
            except (TypeError, ZeroDivisionError):
                continue
            raise AssertionError("was not refused")
    room.expire(now=now)
    room.deadlines()
    list(room)
    room.items()

def after():
    room.clear()
    plain.clear()
    assert [sys.getrefcount(mark) for mark in marks] == counts
"""

BURST = """
from routing._filter import TimedFilter

room = TimedFilter(10, clock=None)
now = 0

def work():
    global now
    now += 20
    for number in range(100_000):
        room.insert(number, None, now=now)
    assert len(room.expire(now=now + 10)) == 100_000
"""

MESSAGES = """
from routing._filter import MessageFilter

room = MessageFilter(500, capacity=400, clock=None)
small = MessageFilter(500, bytes_max=9_000)
now = 0

def work():
    global now
    for number in range(5_000):
        now += 1
        room.insert((now * 7919 % 2**64).to_bytes(16, "big"), now=now)
        room.contains(number.to_bytes(16, "big"), now=now)
        small.add(number.to_bytes(16, "little"))
    room.deadlines()
    if now % 10_000 == 0:
        room.clear()
        now = 0
"""


@pytest.mark.leaks
def test_timed_filter_does_not_grow() -> None:
    hold_flat(TIMED, warm_up=20, rounds=250)


@pytest.mark.leaks
def test_memory_of_a_burst_is_given_back_or_used_again() -> None:
    hold_flat(BURST, warm_up=2, rounds=8)


@pytest.mark.leaks
def test_message_filter_does_not_grow() -> None:
    hold_flat(MESSAGES, warm_up=10, rounds=100)
