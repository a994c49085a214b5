"""Foreign code that runs in the middle of a timed filter: it may raise, change it, or die in it."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from routing._filter import TimedFilter

__all__: list[str] = []


class Key:
    """A key whose hash is fixed, so that its `__eq__` is asked; the test says what it does."""

    def __init__(self, name: str, equal: Callable[[], object] | None = None) -> None:
        self.name = name
        self.equal = equal

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        if self.equal is not None:
            self.equal()
        return isinstance(other, Key) and other.name == self.name


class Noisy:
    """A value that does something when it dies."""

    def __init__(self, last_words: Callable[[], object]) -> None:
        self.last_words = last_words

    def __del__(self) -> None:
        self.last_words()


def filter_of(ttl: float = 10, capacity: int | None = None) -> TimedFilter[object, object]:
    return TimedFilter(ttl, capacity=capacity, clock=None)


def test_eq_that_raises_loses_nothing() -> None:
    room = filter_of(capacity=3)

    def refuse() -> None:
        raise ZeroDivisionError

    room.insert(Key("a", refuse), 1, now=0)
    calls: list[Callable[[], object]] = [
        lambda: room.insert(Key("b"), 2, now=1),
        lambda: room.get(Key("b"), now=1),
        lambda: room.remove(Key("b")),
        lambda: room.touch(Key("b"), now=1),
    ]
    for call in calls:
        with pytest.raises(ZeroDivisionError):
            call()
        room._check()
    assert [value for _, value in room.expire(now=10)] == [1], "ageing asks no key"


def test_hash_that_raises_is_never_asked_again_after_insert() -> None:
    class Moody:
        calm = True

        def __hash__(self) -> int:
            if not self.calm:
                raise ZeroDivisionError
            return 1

    key = Moody()
    room = filter_of(capacity=1)
    room.insert(key, 1, now=0)
    key.calm = False
    with pytest.raises(ZeroDivisionError):
        room.get(key, now=0)
    room.insert("other", 2, now=0)
    assert room.expire() == [(key, 1)]


@pytest.mark.parametrize("what", ["insert", "remove", "clear", "expire", "grow"])
def test_eq_that_changes_the_filter_is_survived(what: str) -> None:
    room = filter_of()
    changes: dict[str, Callable[[], object]] = {
        "insert": lambda: room.insert("inner", 0, now=0),
        "remove": lambda: room.remove("z"),
        "clear": room.clear,
        "expire": lambda: room.expire(now=100),
        "grow": lambda: [room.insert(number, 0, now=0) for number in range(1_000)],
    }
    done: list[bool] = []

    def once() -> None:
        if not done:
            done.append(True)
            changes[what]()

    room.insert(Key("a", once), 1, now=0)
    room.insert("z", 2, now=0)
    room.insert(Key("b"), 3, now=0)
    room._check()
    assert room.get(Key("b")) == 3
    assert done


def test_eq_that_always_changes_the_filter_ends_with_an_error() -> None:
    room = filter_of()
    room.insert(Key("a", lambda: room.insert(object(), 0, now=0)), 1, now=0)
    with pytest.raises(RuntimeError, match="__eq__ changes the filter"):
        room.insert(Key("b"), 2, now=0)
    room._check()


@pytest.mark.parametrize("leave", ["remove", "replace", "expire", "clear"])
def test_del_that_uses_the_filter_is_survived(leave: str) -> None:
    room = filter_of(capacity=5)
    told: list[object] = []

    def last_words() -> None:
        told.append(room.get("other"))
        room.insert("from the grave", 1)
        room.remove("other")
        room.expire(now=3)
        room._check()

    room.insert("a", Noisy(last_words), now=0, ttl=2)
    room.insert("other", 2, now=0)
    if leave == "remove":
        room.remove("a")
    elif leave == "replace":
        room.insert("a", 1, now=0)
    elif leave == "expire":
        room.expire(now=2)
    else:
        room.clear()
    gc.collect()
    room._check()
    assert told == [2 if leave != "clear" else None]
    assert "from the grave" in room and "other" not in room


def test_key_that_dies_during_a_lookup_is_survived() -> None:
    room = filter_of()
    lookups: list[str] = []

    def clear_once() -> None:
        if not lookups:
            lookups.append("eq")
            room.clear()

    # The only reference to the key is the table's; its own __eq__ drops it.
    room.insert(Key("a", clear_once), Noisy(lambda: room.insert("b", 1)), now=0)
    gc.collect()
    assert room.get(Key("c")) is None
    room._check()
    assert room.get("b") == 1


def test_clock_and_sources_may_use_the_filter() -> None:
    inner: list[object] = []

    def clock() -> float:
        room.insert("clock", 1, now=1)
        return 2

    def sources(key: object, value: object) -> str:
        if key == "a":
            inner.append(room.insert("source", 1, now=5))
        return "group"

    room: TimedFilter[object, object] = TimedFilter(10, capacity=2, sources=sources, clock=clock)
    room.insert("a", 1)
    room._check()
    assert inner == [None] and room.backlog == 1
    assert room.deadlines(now=5) == [("clock", 1, 15.0), ("a", 1, 15.0)]
