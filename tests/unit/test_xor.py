"""The XOR index's promises one by one: what enters, what is nearest, who is the next hop."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from hashlib import sha256

import pytest

from routing._xor import XorIndex
from routing.errors import UsageError
from routing.limits import NAME_BYTES
from routing.names import Name, flip_bit, nearest
from tests.twin.xor_twin import XorIndexTwin

__all__: list[str] = []

FULL = b"\xff" * 32
NONE = bytes(32)


def at(number: int) -> bytes:
    """Return the name at this distance from `NONE`."""
    return number.to_bytes(32, "big")


def filled(*numbers: int) -> XorIndex:
    index = XorIndex(max(len(numbers), 1))
    for number in numbers:
        index.add(at(number), number or 2**64 - 1)
    return index


def hashes(count: int, word: bytes = b"") -> list[bytes]:
    return [sha256(word + number.to_bytes(4, "big")).digest() for number in range(count)]


def test_name_of_the_packages_length_enters() -> None:
    index = XorIndex(1)
    index.add(bytes(NAME_BYTES), 5)
    assert index.token(bytes(NAME_BYTES)) == 5
    index._check()


def test_added_name_is_found_with_its_token() -> None:
    index = filled(5, 3, 9)
    assert [index.token(at(number)) for number in (3, 5, 9, 4)] == [3, 5, 9, 0]
    assert at(5) in index and at(4) not in index
    assert len(index) == 3
    assert list(index) == [at(3), at(5), at(9)]


def test_removed_name_is_gone_and_its_token_comes_back_once() -> None:
    index = filled(5, 3, 9)
    assert index.remove(at(5)) == 5
    assert index.remove(at(5)) == 0
    assert index.token(at(5)) == 0 and at(5) not in index
    assert index.closest(at(5), 9) == [at(3), at(9)]
    index.add(at(5), 6)
    assert index.token(at(5)) == 6


def test_name_enters_once() -> None:
    index = filled(5)
    with pytest.raises(UsageError, match="name 00000000 is in the index; remove it first"):
        index.add(at(5), 7)
    assert index.token(at(5)) == 5 and len(index) == 1


def test_full_index_takes_no_more_until_one_leaves() -> None:
    index = filled(1, 2)
    with pytest.raises(UsageError, match=r"the index holds 2 names, capacity=2: remove one first"):
        index.add(at(3), 3)
    index.remove(at(1))
    index.add(at(3), 3)
    assert list(index) == [at(2), at(3)]


def test_two_names_may_have_one_token() -> None:
    index = XorIndex(2)
    index.add(at(1), 7)
    index.add(at(2), 7)
    assert index.closest_tokens(at(1), 2) == [7, 7]


def test_empty_index_answers_with_nothing() -> None:
    index = XorIndex(1)
    assert index.closest(at(1), 20) == [] and index.closest_tokens(at(1), 20) == []
    assert index.next_hop(NONE, FULL) is None and index.next_hop_token(NONE, FULL) == 0
    assert index.remove(at(1)) == 0 and index.token(at(1)) == 0
    assert list(index) == [] and len(index) == 0
    index._check()


def test_single_name_is_nearest_to_everything() -> None:
    index = filled(6)
    for target in (NONE, at(6), at(7), FULL):
        assert index.closest(target, 1) == index.closest(target, 20) == [at(6)]
        assert index.closest_tokens(target, 20) == [6]


def test_nearest_come_first_on_both_sides_of_the_target() -> None:
    index = filled(0, 1, 2, 3, 4, 5, 6, 7, 8)
    assert index.closest(at(5), 9) == [at(number ^ 5) for number in range(8)] + [at(8)]
    assert index.closest_tokens(at(5), 3) == [5, 4, 7]


def test_target_that_is_here_comes_first() -> None:
    names = hashes(300)
    index = XorIndex(300)
    for token, name in enumerate(names, 1):
        index.add(name, token)
    assert [index.closest(name, 1) for name in names] == [[name] for name in names]
    assert [index.closest_tokens(name, 1) for name in names] == [[t] for t in range(1, 301)]


@pytest.mark.parametrize("count", [0, 1, 8, 31, 32, 33, 100, 101, 2**62, 2**70])
def test_count_is_an_upper_bound(count: int) -> None:
    names = hashes(100)
    index = XorIndex(100)
    for token, name in enumerate(names, 1):
        index.add(name, token)
    expected = nearest(FULL, names, min(count, 100))
    assert index.closest(FULL, count) == expected
    assert index.closest_tokens(FULL, count) == [names.index(name) + 1 for name in expected]


def test_names_that_share_255_bits_are_told_apart() -> None:
    other = flip_bit(FULL, 255, FULL)
    index = XorIndex(2)
    index.add(FULL, 1)
    index.add(other, 2)
    assert index.closest(FULL, 2) == [FULL, other]
    assert index.closest(other, 2) == [other, FULL]
    assert index.closest(NONE, 2) == [other, FULL]
    assert index.closest_tokens(at(1), 2) == [1, 2]
    assert index.next_hop(other, FULL) == FULL and index.next_hop(FULL, other) == other
    assert index.next_hop(FULL, FULL) is None


@pytest.mark.parametrize("shared", [0, 1, 63, 64, 65, 127, 128, 191, 192, 240])
@pytest.mark.parametrize("flipped", [False, True])
def test_dense_names_behind_any_common_prefix_come_in_order(shared: int, flipped: bool) -> None:
    root = hashes(1)[0]
    names = {flip_bit(root, shared, low) for low in hashes(200, b"low")}
    index = XorIndex(200)
    for token, name in enumerate(names, 1):
        index.add(name, token)
    for target in (root, FULL, NONE, *list(names)[:5]):
        aim = flip_bit(target, 0, target) if flipped else target
        assert index.closest(aim, 20) == nearest(aim, names, 20)
        assert index.closest(aim, len(names)) == nearest(aim, names, len(names))


@pytest.mark.parametrize("target", [NONE, FULL, b"\x55" * 32, b"\xaa" * 32])
def test_runs_nested_as_deep_as_names_are_long_come_in_order(target: bytes) -> None:
    root = b"\x55" * 32
    names = [root, *(flip_bit(root, index, root) for index in range(256))]
    index = XorIndex(257)
    twin = XorIndexTwin()
    for token, name in enumerate(names, 1):
        index.add(name, token)
        twin.add(name, token)
    for count in (1, 20, 257):
        assert index.closest(target, count) == twin.closest(target, count)


def test_whole_order_is_right_for_a_thousand_names() -> None:
    names = hashes(1_000)
    index = XorIndex(1_000)
    for token, name in enumerate(names, 1):
        index.add(name, token)
    index._check()
    for target in hashes(20, b"target"):
        assert index.closest(target, 1_000) == nearest(target, names, 1_000)


def test_next_hop_is_the_nearest_if_strictly_nearer_than_we_are() -> None:
    index = filled(4, 5, 6, 8)
    assert index.next_hop(NONE, at(7)) == at(6) and index.next_hop_token(NONE, at(7)) == 6
    assert index.next_hop(NONE, at(5)) == at(5)
    assert index.next_hop(at(6), at(7)) is None and index.next_hop_token(at(6), at(7)) == 0
    assert index.next_hop(NONE, at(1)) is None
    assert index.next_hop(NONE, NONE) is None


def test_next_hop_leaves_out_the_excluded() -> None:
    index = filled(4, 5, 6, 8)
    assert index.next_hop(NONE, at(7), [at(6)]) == at(5)
    assert index.next_hop(NONE, at(7), {at(6), at(5), at(4)}) is None
    assert index.next_hop(NONE, at(7), (at(200),)) == at(6)
    assert index.next_hop_token(NONE, at(7), [6]) == 5
    assert index.next_hop_token(NONE, at(7), {6, 5, 4}) == 0
    assert index.next_hop_token(NONE, at(7), (200,)) == 6


def test_next_hop_passes_over_more_than_a_handful() -> None:
    names = nearest(FULL, hashes(200), 200)
    index = XorIndex(200)
    for token, name in enumerate(names, 1):
        index.add(name, token)
    own = names[150]
    for excluded in (20, 40, 149):
        assert index.next_hop(own, FULL, names[:excluded]) == names[excluded]
        assert index.next_hop_token(own, FULL, range(1, excluded + 1)) == excluded + 1
    assert index.next_hop(own, FULL, names[:150]) is None
    assert index.next_hop_token(own, FULL, range(1, 151)) == 0


def test_name_type_of_users_serves_as_a_name_and_plain_bytes_come_back() -> None:
    index = XorIndex(1)
    index.add(Name(at(5)), 5)
    assert index.token(Name(at(5))) == 5
    assert type(index.closest(Name(at(4)), 1)[0]) is bytes
    assert index.next_hop(Name(NONE), at(5), [Name(at(5))]) is None


@pytest.mark.parametrize("name", [b"", bytes(31), bytes(33)])
def test_name_of_another_length_is_refused(name: bytes) -> None:
    index = filled(1)
    match = f"name of {len(name)} bytes must have exactly 32"
    for call in (index.remove, index.token, index.__contains__):
        with pytest.raises(UsageError, match=match):
            call(name)
    for arguments in ((name, FULL), (FULL, name), (NONE, FULL, [FULL, name])):
        with pytest.raises(UsageError, match=match):
            index.next_hop(*arguments)
    with pytest.raises(UsageError, match=match):
        index.add(name, 1)
    with pytest.raises(UsageError, match=match):
        index.closest(name, 1)
    with pytest.raises(UsageError, match=match):
        index.closest_tokens(name, 1)
    with pytest.raises(UsageError, match=match):
        index.next_hop_token(name, FULL)
    with pytest.raises(UsageError, match=match):
        index.next_hop_token(FULL, name)


@pytest.mark.parametrize("name", [None, "a" * 32, bytearray(32), 5])
def test_what_is_no_bytes_is_refused(name: object) -> None:
    index = filled(1)
    with pytest.raises(TypeError, match="name of type"):
        index.add(name, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name of type"):
        index.closest(name, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name of type"):
        index.next_hop(NONE, FULL, [name])  # type: ignore[list-item]


@pytest.mark.parametrize("token", [0, -1, 2**64, 2**200])
def test_token_out_of_bounds_is_refused(token: int) -> None:
    index = XorIndex(1)
    with pytest.raises(UsageError, match=r"must be from 1 to 2\*\*64 - 1"):
        index.add(NONE, token)
    with pytest.raises(UsageError, match=r"must be from 1 to 2\*\*64 - 1"):
        index.next_hop_token(NONE, FULL, [token])
    assert len(index) == 0


def test_token_of_64_bits_comes_back_whole() -> None:
    index = filled(0)
    assert index.token(NONE) == 2**64 - 1
    assert index.closest_tokens(NONE, 1) == [2**64 - 1]
    assert index.next_hop_token(FULL, NONE) == 2**64 - 1
    assert index.remove(NONE) == 2**64 - 1


@pytest.mark.parametrize("count", [-1, -(2**70)])
def test_negative_count_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"count={count} is refused; it must be 0 or more"):
        filled(1).closest(NONE, count)
    with pytest.raises(UsageError, match=f"count={count} is refused"):
        filled(1).closest_tokens(NONE, count)


def test_what_is_no_integer_is_refused() -> None:
    with pytest.raises(TypeError, match="count of type float"):
        filled(1).closest(NONE, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="token of type str"):
        XorIndex(1).add(NONE, "1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="capacity=True"):
        XorIndex(True)
    with pytest.raises(TypeError, match=r"capacity=1\.5"):
        XorIndex(1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [0, -1, 2**30 + 1, 2**80])
def test_bad_capacity_is_refused(capacity: int) -> None:
    with pytest.raises(UsageError, match=f"capacity={capacity} is refused"):
        XorIndex(capacity)


def test_exclusion_that_empties_the_index_on_the_way_is_survived() -> None:
    index = filled(4, 5, 6)

    class Emptying(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            for name in list(index):
                index.remove(name)
            return super().__iter__()

    assert index.next_hop(NONE, at(7), Emptying([at(1)])) is None
    assert len(index) == 0
    index._check()


def test_names_compare_by_their_bytes_alone() -> None:
    class Loud(bytes):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("foreign code ran")

        def __hash__(self) -> int:
            raise AssertionError("foreign code ran")

        def __bytes__(self) -> bytes:
            raise AssertionError("foreign code ran")

    index = XorIndex(2)
    index.add(Loud(at(5)), 5)
    assert index.token(at(5)) == 5
    assert index.next_hop(NONE, Loud(at(5)), [Loud(at(5))]) is None


def test_growth_and_shrinking_keep_every_name() -> None:
    names = hashes(500)
    index = XorIndex(500)
    for token, name in enumerate(names, 1):
        index.add(name, token)
        index._check()
    for token, name in enumerate(names, 1):
        assert index.remove(name) == token
        index._check()
        assert len(index) == 500 - token


def test_index_is_not_watched_by_the_collector() -> None:
    assert not gc.is_tracked(filled(1))


@pytest.mark.skipif(not os.environ.get("ROUTING_EXPECT_SANITIZED"), reason="not a debug build")
def test_debug_build_refuses_another_thread() -> None:
    index = filled(1)
    told: list[object] = []

    def use() -> None:
        for call in (lambda: index.token(at(1)), lambda: index.closest(at(1), 1)):
            try:
                told.append(call())
            except RuntimeError as error:
                told.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert told == ["an XorIndex was used outside the thread that made it"] * 2


def test_repr_shows_what_matters() -> None:
    assert repr(filled(1, 2)) == "<XorIndex capacity=2 names=2>"
