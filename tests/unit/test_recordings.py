"""The format of recordings: what was written is read, and what was not is refused in words."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing._batch import pack
from routing._lengths import lengths
from routing.blanking import PAYLOADS_MAX, payloads_of
from routing.errors import CloseCode, DialFailure, UsageError
from routing.inputs import (
    Accepted,
    ContactsLearnt,
    DialFailed,
    FrameReceived,
    Input,
    Lost,
    StopRequested,
    Submitted,
    SubmittedMany,
)
from routing.limits import Nanos
from routing.messages import ClientAddress, FrameKind, MessageKind, NodeAddress
from routing.recordings import (
    BLOCK_BYTES_MAX,
    BLOCK_HEAD,
    FACTS,
    Batched,
    Damaged,
    Drawn,
    Fact,
    Many,
    Passed,
    block_size,
    new_tape,
    note,
    records_of,
    seal_block,
)
from routing.state import Connection, Direction, Token

__all__: list[str] = []

CONNECTION = Connection(Token(7), "tcp", "10.0.0.1:5", "10.0.0.2:6", Direction.INBOUND)
EXAMPLES: list[Input] = [
    ContactsLearnt(["10.0.0.1:5"]),
    Accepted(CONNECTION, bytes(32), b"b" * 32, Nanos(12)),
    DialFailed(3, DialFailure.BLOCKED),
    FrameReceived(Token(7), FrameKind.ROUTED, b"body"),
    Lost(Token(1 << 40), CloseCode.IO_ERROR, "gone"),
    Submitted(
        1, MessageKind.REQUEST, ClientAddress(bytes(32), bytes(32)), b"x", b"", False, 5, True
    ),
    SubmittedMany(4, ClientAddress(bytes(32), bytes(32)), [b"a", b""], acknowledged=True),
    StopRequested(),
]


def read(block: bytes) -> list[object]:
    return [*records_of(block[:BLOCK_HEAD], block[BLOCK_HEAD:])]


def block_of(*facts: Input, in_batches: bool = False) -> bytes:
    """Have facts go through a tape as a host has them, at 0, 1, 2."""
    tape, nothing = new_tape(), lambda *_: None
    tape.attach(
        handle=lambda *_: tape.leaves_in_batches() if in_batches else None,
        on_deadline=nothing,
        after=nothing,
        fallen=nothing,
    )
    for now, fact in enumerate(facts):
        tape.handle(fact, now)
    return bytes(seal_block(tape.take()))


def test_facts_read_as_they_were_written() -> None:
    assert read(block_of(*EXAMPLES)) == [Fact(at, fact) for at, fact in enumerate(EXAMPLES)]


def test_every_kind_of_fact_has_its_tag() -> None:
    assert set(FACTS) == set(Input.__args__)


def test_other_records_read_as_they_were_written() -> None:
    tape = new_tape()
    records = [Drawn(b"12345678"), Passed(7, 99, bytes(32))]
    for record in records:
        note(tape, record)
    assert len(tape) > 40
    block = bytes(seal_block(tape.take()))
    assert len(tape) == 0
    assert read(block) == records


@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    block = bytearray(block_of(*EXAMPLES))
    at = data.draw(st.integers(4, len(block) - 1))
    block[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        read(bytes(block))


def test_what_fits_its_checksum_and_is_no_list_of_records_is_refused() -> None:
    for content in (b"", b"\xdd\0\0\0\1", b"\x91\x92\x63\xc0", b"\x91\x92\x00\xc0"):
        with pytest.raises(Damaged):
            read(len(content).to_bytes(4, "big") + crc32(content).to_bytes(4, "big") + content)


def test_size_of_a_block_is_bounded() -> None:
    assert block_size(BLOCK_BYTES_MAX.to_bytes(4, "big") + bytes(4)) == BLOCK_BYTES_MAX
    with pytest.raises(Damaged, match="at most"):
        block_size((BLOCK_BYTES_MAX + 1).to_bytes(4, "big") + bytes(4))


@given(st.lists(st.integers(0, 300).map(bytes), max_size=60))
def test_lengths_are_those_of_the_payloads(payloads: list[bytes]) -> None:
    assert payloads_of(lengths(payloads)) == payloads
    if payloads:
        body, end = pack(bytes(16), payloads)
        frame = FrameReceived(Token(7), FrameKind.BATCH, body)
        (record,) = read(block_of(frame))
        assert isinstance(record, Batched)
        assert (record.now, record.token, record.id) == (0, 7, bytes(16))
        assert payloads_of(record.lengths) == payloads[:end]


def test_of_a_list_that_leaves_in_batches_only_the_lengths_are_noted() -> None:
    payloads = [bytes(number % 7 * 90) for number in range(100)]
    fact = SubmittedMany(1 << 40, NodeAddress(b"n" * 32), payloads, acknowledged=True)
    (record,) = read(block_of(fact, in_batches=True))
    assert isinstance(record, Many)
    assert (record.now, record.reference, record.acknowledged) == (0, 1 << 40, True)
    assert record.destination == fact.destination
    assert payloads_of(record.lengths) == payloads
    assert read(block_of(fact)) == [Fact(0, fact)]


def test_equal_lengths_take_no_room() -> None:
    assert len(lengths([bytes(100)] * 1_000)) == 8


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(16),
        bytes(12) + b"\0\0\0\1" + bytes(4),
        bytes(19),
        bytes(16) + b"\0\0\0\5abcd",
        bytes(16) + (bytes(3) + b"\1x") * 60_000,
    ],
)
def test_what_is_no_batch_is_noted_whole(body: bytes) -> None:
    frame = FrameReceived(Token(7), FrameKind.BATCH, body)
    assert read(block_of(frame)) == [Fact(0, frame)]


def test_lengths_of_a_forged_recording_are_bounded() -> None:
    for runs in (
        (PAYLOADS_MAX + 1).to_bytes(4, "big") + bytes(4),
        b"\0\0\0\1\xff\xff\xff\xff",
        b"\xff" * 8,
        b"odd",
    ):
        with pytest.raises(UsageError):
            payloads_of(runs)


def test_a_node_address_is_kept() -> None:
    fact = SubmittedMany(4, NodeAddress(bytes(32)), [b"a"], acknowledged=False)
    assert read(block_of(fact)) == [Fact(0, fact)]
