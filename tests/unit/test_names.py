"""Names and their arithmetic, against values worked out by hand."""

from __future__ import annotations

import pickle
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import UsageError
from routing.names import (
    Name,
    bucket_index,
    client_name,
    closer,
    distance,
    flip_bit,
    nearest,
    network_name,
    network_tag,
    short,
)

__all__: list[str] = []

ZERO = bytes(32)
ONE = bytes(31) + b"\x01"
TOP = b"\x80" + bytes(31)
FULL = b"\xff" * 32

names = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_name_of_another_length_is_refused_with_both_numbers(size: int) -> None:
    with pytest.raises(UsageError, match=f"name of {size} bytes must have exactly 32"):
        Name(bytes(size))


@pytest.mark.parametrize("value", [32, "a" * 32, [0] * 32, bytearray(32)])
def test_name_is_made_of_bytes_only(value: object) -> None:
    with pytest.raises(UsageError, match="must be bytes"):
        Name(value)  # type: ignore[arg-type]


def test_name_is_equal_to_its_bytes_and_hashes_alike() -> None:
    raw = bytes(range(32))
    assert Name(raw) == raw
    assert {raw: 1}[Name(raw)] == 1


def test_name_is_shown_by_its_first_eight_digits() -> None:
    name = Name(bytes.fromhex("1a2b3c4d") + bytes(28))
    assert repr(name) == "Name(1a2b3c4d)"
    assert str(name) == f"{name}" == short(name) == "1a2b3c4d"


def test_name_survives_hex_and_pickle() -> None:
    name = Name(bytes(range(32)))
    assert Name.from_hex(name.hex()) == name
    back = pickle.loads(pickle.dumps(name))
    assert back == name
    assert type(back) is Name


def test_name_takes_no_further_attributes() -> None:
    with pytest.raises(AttributeError):
        Name(ZERO).label = "x"  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["", "ab", "zz" * 32, "00" * 33, " " * 64])
def test_from_hex_refuses_other_text(text: str) -> None:
    with pytest.raises(UsageError, match="name"):
        Name.from_hex(text)


def test_distance_is_the_exclusive_or_as_a_number() -> None:
    assert distance(ZERO, ZERO) == 0
    assert distance(ONE, ZERO) == 1
    assert distance(TOP, ZERO) == 1 << 255
    assert distance(TOP, FULL) == (1 << 255) - 1


@pytest.mark.parametrize(
    ("a", "b", "index"),
    [
        (ZERO, ZERO, 256),
        (FULL, FULL, 256),
        (ZERO, ONE, 255),
        (ZERO, TOP, 0),
        (ZERO, b"\x00\x01" + bytes(30), 15),
        (ZERO, b"\x00\x80" + bytes(30), 8),
    ],
)
def test_bucket_index_counts_shared_leading_bits(a: bytes, b: bytes, index: int) -> None:
    assert bucket_index(a, b) == bucket_index(b, a) == index


@given(names, names)
def test_bucket_index_agrees_with_the_written_bits(a: bytes, b: bytes) -> None:
    left, right = (f"{int.from_bytes(each):0256b}" for each in (a, b))
    shared = next((i for i, (x, y) in enumerate(zip(left, right, strict=True)) if x != y), 256)
    assert bucket_index(a, b) == shared


@given(names, names, names)
def test_closer_is_strict(target: bytes, a: bytes, b: bytes) -> None:
    assert closer(target, a, b) == (distance(target, a) < distance(target, b))
    assert not closer(target, a, a)


@given(names, st.lists(names, max_size=20), st.integers(0, 25))
def test_nearest_is_the_head_of_the_sorted_list(
    target: bytes, pool: list[bytes], count: int
) -> None:
    expected = sorted(pool, key=lambda name: distance(target, name))[:count]
    assert nearest(target, pool, count) == expected
    assert nearest(target, reversed(pool), count) == expected


def test_client_name_is_the_hash_of_the_key() -> None:
    key = bytes(range(32))
    assert client_name(key).hex() == (
        "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
    )


def test_network_name_binds_client_and_the_two_nearest_in_order() -> None:
    name = network_name(ZERO, ONE, TOP)
    assert name == sha256(b"routing:name:1" + ZERO + ONE + TOP).digest()
    assert name != network_name(ZERO, TOP, ONE)


def test_network_tag_is_eight_bytes_of_the_hash_of_the_id() -> None:
    assert network_tag("local") == sha256(b"routing:network:1local").digest()[:8]
    assert network_tag("é") == sha256("routing:network:1é".encode()).digest()[:8]
    assert len(network_tag("")) == 8


@given(names, st.integers(0, 255), names)
def test_flipped_name_lies_in_that_bucket_with_the_low_bits_given(
    name: bytes, index: int, low: bytes
) -> None:
    flipped = flip_bit(name, index, low)
    assert bucket_index(name, flipped) == index
    written, given_low = f"{int.from_bytes(flipped):0256b}", f"{int.from_bytes(low):0256b}"
    assert written[index + 1 :] == given_low[index + 1 :]


@pytest.mark.parametrize("index", [-1, 256])
def test_flip_of_a_bit_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(UsageError, match=f"bit index {index} must be 0 to 255"):
        flip_bit(ZERO, index, ZERO)
