"""The message filter's promises one by one."""

from __future__ import annotations

from collections.abc import Callable
from struct import pack

import pytest

from routing._filter import MessageFilter
from routing.errors import UsageError

__all__: list[str] = []


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_id_is_new_once_within_the_ttl() -> None:
    room = MessageFilter(10, capacity=5, clock=None)
    assert room.insert(id_of(1), now=0)
    assert not room.insert(id_of(1), now=9)
    assert id_of(1) in room and room.contains(id_of(1), 9.99)
    assert not room.contains(id_of(1), now=10)
    assert room.insert(id_of(1), 10)


def test_hit_does_not_extend_life() -> None:
    room = MessageFilter(10, capacity=5, clock=None)
    room.insert(id_of(1), now=0)
    room.insert(id_of(1), now=5)
    assert room.deadlines() == [(id_of(1), 10.0)]


def test_oldest_is_forgotten_at_capacity_and_counted() -> None:
    room = MessageFilter(10, capacity=3, clock=None)
    assert [room.insert(id_of(number), now=0) for number in range(5)] == [True] * 5
    assert (len(room), room.evicted) == (3, 2)
    assert [id for id, _ in room.deadlines()] == [id_of(2), id_of(3), id_of(4)]
    assert room.insert(id_of(0), now=0)
    room._check()


def test_capacity_one_remembers_the_last() -> None:
    room = MessageFilter(10, capacity=1, clock=None)
    for number in range(50):
        assert room.insert(id_of(number), now=0) and not room.insert(id_of(number), now=0)
        room._check()


def test_many_ids_through_growth_and_wrapping() -> None:
    room = MessageFilter(1_000, capacity=5_000, clock=None)
    for number in range(20_000):
        assert room.insert(id_of(number), now=number / 4)
    room._check()
    assert [id for id, _ in room.deadlines()] == [id_of(number) for number in range(16_000, 20_000)]
    assert all(not room.insert(id_of(number)) for number in range(16_000, 20_000))


def test_clear_forgets_ids_and_time() -> None:
    room = MessageFilter(10, capacity=5, clock=None)
    room.insert(id_of(1), now=100)
    room.clear()
    assert len(room) == 0 and room.insert(id_of(1), now=0)
    assert room.deadlines() == [(id_of(1), 10.0)]


def test_packed_ids_are_loaded_again_in_order() -> None:
    room = MessageFilter(10, capacity=5, clock=None)
    for number in range(7):
        room.insert(id_of(number), now=number)
    packed = room.packed(7)
    assert len(packed) == 24 * 5
    assert packed[:24] == id_of(2) + pack(">d", 12)
    other = MessageFilter(10, capacity=5, clock=None)
    other.load(packed, 7)
    assert other.deadlines() == room.deadlines()
    assert MessageFilter(10, capacity=5).packed() == b""


def test_what_is_not_packed_ids_is_refused() -> None:
    room = MessageFilter(10, capacity=5, clock=None)
    one = id_of(1)
    with pytest.raises(UsageError, match="23 bytes are refused; each id has 24"):
        room.load(bytes(23), 0)
    for at in (7.0, 6.0, float("nan"), float("-inf")):
        with pytest.raises(UsageError, match="must be above 0"):
            room.load(one + pack(">d", at), 7)
    with pytest.raises(UsageError, match="kept in order"):
        room.load(one + pack(">d", 9) + id_of(2) + pack(">d", 8), 7)
    room._check()


def test_deadline_before_the_last_one_is_refused() -> None:
    room = MessageFilter(10, capacity=5, clock=None)
    assert room.insert(id_of(1), now=0, ttl=5)
    assert room.insert(id_of(2), now=0, ttl=5)
    with pytest.raises(UsageError, match="kept in order"):
        room.insert(id_of(3), now=0, ttl=4)
    assert not room.insert(id_of(2), now=0, ttl=4), "a known id needs no place"
    room._check()


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_id_of_another_size_is_refused(size: int) -> None:
    room = MessageFilter(10, capacity=5, clock=None)
    with pytest.raises(UsageError, match=f"id of {size} bytes must have exactly 16"):
        room.insert(bytes(size), now=0)


def test_what_is_no_bytes_is_refused() -> None:
    room = MessageFilter(10, capacity=5, clock=None)
    for id in ("x" * 16, bytearray(16), 5):
        with pytest.raises(TypeError, match="must be bytes"):
            room.insert(id, now=0)  # type: ignore[arg-type]


def test_bad_bounds_are_refused() -> None:
    with pytest.raises(UsageError, match="capacity=0"):
        MessageFilter(10, capacity=0)
    with pytest.raises(TypeError, match="capacity='5'"):
        MessageFilter(10, capacity="5")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="ttl=0"):
        MessageFilter(0, capacity=1)


def test_add_tells_what_insert_tells_by_the_clock() -> None:
    moments = iter([0.0, 5.0, 10.0])
    room = MessageFilter(10, capacity=5, clock=lambda: next(moments))
    assert [room.add(id_of(1)), room.add(id_of(1)), room.add(id_of(1))] == [True, False, True]
    own = MessageFilter(1_000, capacity=5)
    assert own.add(id_of(1)) and not own.add(id_of(1)) and id_of(1) in own
    with pytest.raises(UsageError, match="id of 15 bytes"):
        own.add(bytes(15))


def test_memory_is_bounded_by_bytes_too() -> None:
    room = MessageFilter(10, bytes_max=1_024, clock=None)
    assert room.capacity == 32, "24 bytes each in the ring, and 64 slots of 4"
    for number in range(200):
        room.insert(id_of(number), now=0)
    room._check()
    assert len(room) == 32 and room.evicted == 168
    assert MessageFilter(10, capacity=9, bytes_max=2**20).capacity == 9
    large = MessageFilter(10, bytes_max=40_000_000).capacity
    assert large >= 1_000_000, "an id takes at most 40 bytes"


def test_a_filter_without_a_bound_is_refused() -> None:
    with pytest.raises(UsageError, match="needs a bound"):
        MessageFilter(10)
    for bad in (0, 1_023, 2**36 + 1):
        with pytest.raises(UsageError, match="bytes_max="):
            MessageFilter(10, bytes_max=bad)
    with pytest.raises(TypeError, match="bytes_max="):
        MessageFilter(10, bytes_max=1e6)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "chosen",
    [
        lambda number: number.to_bytes(16, "big"),
        lambda number: number.to_bytes(16, "little"),
        lambda number: (number << 32).to_bytes(16, "big"),
        lambda number: (number << 64).to_bytes(16, "big"),
        lambda number: number.to_bytes(8, "big") * 2,
        lambda number: ((2**64 - 1 - number) << 64 | number).to_bytes(16, "little"),
    ],
)
def test_ids_that_a_stranger_chooses_do_not_meet(chosen: Callable[[int], bytes]) -> None:
    room = MessageFilter(10, capacity=20_000, clock=None)
    for number in range(20_000):
        room.insert(chosen(number), now=0)
    room._check()
    assert room._farthest() < 200, "as for random ids; under one hash it would be thousands"


def test_ids_that_meet_in_one_filter_do_not_in_another() -> None:
    def order(room: MessageFilter) -> list[int]:
        farthest = []
        for number in range(400):
            room.insert(id_of(number), now=0)
            farthest.append(room._farthest())
        return farthest

    ways = {tuple(order(MessageFilter(10, capacity=400, clock=None))) for _ in range(8)}
    assert len(ways) > 1, "the secret of each filter is its own"


def test_clock_is_read_when_no_now_is_given() -> None:
    moments = iter([0.0, 5.0, 10.0, 10.0])
    room = MessageFilter(10, capacity=5, clock=lambda: next(moments))
    assert [room.insert(id_of(1)), room.insert(id_of(1)), room.insert(id_of(1))] == [
        True,
        False,
        True,
    ]
    assert len(room) == 1
