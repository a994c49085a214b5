"""The batch room at its edges."""

from __future__ import annotations

import pytest

from routing._batch import BATCH_BYTES_MAX, pack, survey, unpack
from routing.errors import UsageError

__all__: list[str] = []

FIRST = b"f" * 12 + bytes(4)


def read(body: bytes) -> list[bytes] | None:
    return unpack(body, lambda *fields: fields[2], None, None, b"", None)


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
    assert pack(FIRST, [bytes(200_000), b"x"])[1] == 1, "what does not fit goes alone"


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


def test_failure_of_the_maker_is_the_caller_s() -> None:
    def fails(*_: object) -> None:
        raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        unpack(pack(FIRST, [b"x"])[0], fails, None, None, b"", None)


def test_survey_takes_at_least_one() -> None:
    assert survey([bytes(10), b""], 0, 0) == (1, 10)
    assert survey([], 0, 10) == (0, 0)
