"""The batch room at its edges."""

from __future__ import annotations

import pytest

from routing._batch import (
    BATCH_BYTES_MAX,
    LIST_BYTES_MAX,
    list_count,
    pack,
    pack_list,
    survey,
    unpack,
    unpack_list,
    volume,
)
from routing.errors import UsageError
from routing.events import Proof
from routing.messages import NodeAddress

__all__: list[str] = []

FIRST = b"f" * 12 + bytes(4)
HERE = NodeAddress(bytes(32))


def read(body: bytes) -> list[bytes] | None:
    found = unpack(body, HERE, HERE, b"", Proof.CHANNEL)
    return None if found is None else [message.payload for message in found]


@pytest.mark.parametrize("first", [b"", b"f" * 15, b"f" * 16, b"f" * 12 + bytes(3) + b"\x01"])
def test_first_id_has_16_bytes_and_ends_in_zeros(first: bytes) -> None:
    with pytest.raises(UsageError, match="16 bytes that end in 4 zeros"):
        pack(first, [b"x"])


@pytest.mark.parametrize("start", [-1, 1, 9])
def test_start_is_a_place_of_the_list(start: int) -> None:
    with pytest.raises(UsageError, match=f"start={start} must be 0 to 0"):
        pack(FIRST, [b"x"], start)


def test_no_payloads_are_no_batch() -> None:
    with pytest.raises(UsageError, match="start=0"):
        pack(FIRST, [])


def test_what_is_not_bytes_is_refused_and_found_by_survey() -> None:
    mixed: list[bytes] = [b"x", bytearray(b"y")]  # type: ignore[list-item]
    with pytest.raises(UsageError, match="payload of type bytearray must be bytes"):
        pack(FIRST, mixed)
    assert survey(mixed, 0, 100) == (1, -1)


def test_batch_fills_one_gathered_record_and_no_more() -> None:
    full = BATCH_BYTES_MAX - 16 - 2 * 4
    assert pack(FIRST, [bytes(full), b""])[1] == 2
    assert pack(FIRST, [bytes(full), b"x"])[1] == 1
    assert pack(FIRST, [bytes(300_000), b"x"])[1] == 1, "what does not fit goes alone"


def test_large_body_may_hold_one_message_only() -> None:
    """Or a frame of a megabyte would become a quarter of a million objects."""
    body, _ = pack(FIRST, [bytes(BATCH_BYTES_MAX)])
    assert read(body) == [bytes(BATCH_BYTES_MAX)]
    assert read(body + bytes(4)) is None


@pytest.mark.parametrize(
    "body",
    [b"", bytes(15), bytes(16), bytes(19), b"f" * 16 + bytes(4), FIRST + b"\x00\x00\x00\x02x"],
    ids=["empty", "no id", "no message", "cut header", "id without zeros", "cut payload"],
)
def test_what_is_no_batch_makes_nothing(body: bytes) -> None:
    assert read(body) is None


def test_list_leaves_room_for_its_envelope_and_no_more() -> None:
    full = LIST_BYTES_MAX - 2 * 4
    assert pack_list([bytes(full), b""]) == (b"\0\0\xfd\xf8" + bytes(full + 4), 2)
    assert pack_list([bytes(full), b"x"])[1] == 1
    assert pack_list([bytes(200_000), b"x"])[1] == 1, "what does not fit goes alone"
    assert LIST_BYTES_MAX + 512 == 65_536


def test_list_is_made_of_bytes_from_a_place_of_it() -> None:
    with pytest.raises(UsageError, match="payload of type bytearray must be bytes"):
        pack_list([b"x", bytearray(b"y")])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="start=2 must be 0 to 0"):
        pack_list([b"x"], 2)


def test_full_list_of_nothing_is_read_and_one_more_is_not() -> None:
    most = LIST_BYTES_MAX // 4
    found = unpack_list(FIRST, bytes(4 * most), HERE, HERE, b"", Proof.SIGNATURE)
    assert found is not None and len(found) == most == list_count(bytes(4 * most))
    assert list_count(bytes(4 * most + 4)) == 0
    assert unpack_list(FIRST, bytes(4 * most + 4), HERE, HERE, b"", Proof.SIGNATURE) is None


def test_volume_is_of_bytes_only() -> None:
    assert volume([]) == 0 and volume([b"abc", b""]) == 3
    with pytest.raises(TypeError):
        volume([b"abc", bytearray(b"d")])  # type: ignore[list-item]


def test_survey_takes_at_least_one() -> None:
    assert survey([bytes(10), b""], 0, 0) == (1, 10)
    assert survey([], 0, 10) == (0, 0)
