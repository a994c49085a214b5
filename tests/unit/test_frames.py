"""Frames and records at their edges: sizes, cuts, order, memory."""

from __future__ import annotations

import struct

import pytest

from routing._frames import (
    FRAME_HEADER_BYTES,
    GATHER_BYTES_MAX,
    FrameError,
    FrameWriter,
    RecordReader,
    SpareBlock,
    split_frames,
)
from routing.errors import CloseCode, UsageError

__all__: list[str] = []

MEBI = 1_048_576
RECORD_MAX = MEBI + 64


def frame(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body), kind) + body


def record(sealed: bytes) -> bytes:
    return struct.pack(">I", len(sealed)) + sealed


def read(reader: RecordReader, arrived: bytes) -> list[bytes]:
    """Feed bytes the way a loop does and return the records that came out."""
    records = []
    while arrived:
        room = reader.get_buffer(-1)
        size = min(len(room), len(arrived))
        room[:size] = arrived[:size]
        reader.buffer_updated(size)
        arrived = arrived[size:]
        while (view := reader.next_record()) is not None:
            records.append(bytes(view))
    return records


# -- frames


def test_frame_is_written_byte_for_byte() -> None:
    writer = FrameWriter()
    writer.append(9, b"body")
    assert writer.queued == FRAME_HEADER_BYTES + 4
    assert writer.take() == [b"\0\0\0\4\x09body"]
    assert (writer.queued, len(writer)) == (0, 0)


def test_tick_is_gathered_into_one_record() -> None:
    writer = FrameWriter()
    for kind in range(100):
        writer.append(kind, bytes(kind))
    (plaintext,) = writer.take()
    assert split_frames(plaintext) == [(kind, bytes(kind)) for kind in range(100)]


def test_gathered_record_ends_exactly_at_its_limit() -> None:
    writer = FrameWriter()
    writer.append(1, bytes(GATHER_BYTES_MAX - 2 * FRAME_HEADER_BYTES))
    writer.append(2, b"")
    writer.append(3, b"")
    assert [len(plaintext) for plaintext in writer.take()] == [GATHER_BYTES_MAX, 5]


def test_large_frame_takes_a_record_of_its_own() -> None:
    writer = FrameWriter()
    writer.append(1, b"small")
    writer.append(2, bytes(MEBI))
    writer.append(3, b"small")
    sizes = [[(kind, len(body)) for kind, body in split_frames(part)] for part in writer.take()]
    assert sizes == [[(1, 5)], [(2, MEBI)], [(3, 5)]]


def test_control_never_waits_behind_bulk() -> None:
    writer = FrameWriter()
    for number, priority in enumerate([3, 1, 0, 2, 0, 3]):
        writer.append(number, b"", priority)
    (plaintext,) = writer.take()
    assert [kind for kind, _ in split_frames(plaintext)] == [2, 4, 1, 3, 0, 5]


def test_take_stops_when_the_room_is_used() -> None:
    writer = FrameWriter()
    for _ in range(4):
        writer.append(1, bytes(200_000))
    assert len(writer.take(200_006)) == 2
    assert writer.queued == 2 * 200_005
    assert writer.take(0) == []
    assert len(writer.take()) == 2


def test_long_queue_keeps_its_order() -> None:
    writer = FrameWriter()
    written: list[int] = []
    for number in range(5_000):
        writer.append(1, struct.pack(">I", number) + bytes(996))
        if number % 3 == 0:
            for plaintext in writer.take(1):
                written += [int.from_bytes(body[:4], "big") for _, body in split_frames(plaintext)]
    for plaintext in writer.take():
        written += [int.from_bytes(body[:4], "big") for _, body in split_frames(plaintext)]
    assert written == list(range(5_000))


@pytest.mark.parametrize(
    ("kind", "size", "priority", "message"),
    [
        (-1, 0, 0, "frame kind -1 must be 0 to 255"),
        (256, 0, 0, "frame kind 256 must be 0 to 255"),
        (1, MEBI + 1, 0, "frame of 1048577 bytes exceeds frame_bytes_max=1048576; split it"),
        (1, 0, -1, "priority -1 must be 0 to 3"),
        (1, 0, 4, "priority 4 must be 0 to 3"),
    ],
)
def test_frame_that_cannot_be_sent_is_the_callers_fault(
    kind: int, size: int, priority: int, message: str
) -> None:
    writer = FrameWriter()
    with pytest.raises(UsageError, match=message):
        writer.append(kind, bytes(size), priority)
    assert (writer.queued, len(writer)) == (0, 0)


def test_limits_that_make_no_sense_are_the_callers_fault() -> None:
    for bound in (0, MEBI + 1):
        with pytest.raises(UsageError, match="frame_max"):
            FrameWriter(bound)
    for bound in (20, RECORD_MAX + 1):
        with pytest.raises(UsageError, match="record_max"):
            RecordReader(bound)


@pytest.mark.parametrize(
    ("plaintext", "code"),
    [
        (b"", CloseCode.BAD_FRAME),
        (b"\0\0\0\0", CloseCode.BAD_FRAME),
        (frame(1, b"whole") + b"\0", CloseCode.BAD_FRAME),
        (struct.pack(">IB", 1, 1), CloseCode.BAD_FRAME),
        (frame(1, b"whole")[:-1], CloseCode.BAD_FRAME),
        (struct.pack(">IB", MEBI + 1, 1), CloseCode.TOO_LARGE),
        (struct.pack(">IB", 0xFFFF_FFFF, 1) + bytes(100), CloseCode.TOO_LARGE),
        (frame(1, bytes(GATHER_BYTES_MAX)) + frame(2, b""), CloseCode.BAD_FRAME),
    ],
    ids=["none", "cut header", "cut second", "no body", "cut body", "large", "huge", "two in long"],
)
def test_malformed_plaintext_is_refused(plaintext: bytes, code: CloseCode) -> None:
    with pytest.raises(FrameError) as caught:
        split_frames(plaintext)
    assert caught.value.code is code


def test_frame_limit_can_be_lower() -> None:
    assert split_frames(frame(1, bytes(4_096)), 4_096) == [(1, bytes(4_096))]
    with pytest.raises(FrameError, match="frame of 4097 bytes exceeds frame_bytes_max=4096"):
        split_frames(frame(1, bytes(4_097)), 4_096)


# -- records


def test_record_comes_out_once_it_is_whole() -> None:
    reader = RecordReader(4_160)
    whole = record(b"s" * 100)
    for size in range(1, len(whole)):
        assert read(reader, whole[size - 1 : size]) == []
    assert read(reader, whole[-1:]) == [b"s" * 100]
    assert reader.unread == 0


def test_view_of_a_record_is_read_only() -> None:
    reader = RecordReader(4_160)
    reader.feed(record(b"s" * 100))
    view = reader.next_record()
    assert view is not None and view.readonly


def test_late_view_shows_other_bytes_but_never_freed_ones() -> None:
    reader = RecordReader(RECORD_MAX)
    reader.feed(record(b"s" * 100))
    view = reader.next_record()
    assert view is not None
    read(reader, b"".join(record(b"t" * 60_000) for _ in range(8)))
    reader.rest()
    assert len(bytes(view)) == 100


@pytest.mark.parametrize("limit", [4_160, RECORD_MAX])
def test_record_above_its_limit_is_refused_before_it_comes(limit: int) -> None:
    reader = RecordReader(limit)
    assert read(reader, record(bytes(limit))) == [bytes(limit)]
    held = reader.memory
    with pytest.raises(FrameError, match=f"record of {limit + 1} bytes exceeds") as caught:
        read(reader, struct.pack(">I", limit + 1))
    assert caught.value.code is CloseCode.TOO_LARGE
    assert reader.memory <= held
    # It stays refused, whatever comes.
    with pytest.raises(FrameError, match="exceeds"):
        reader.next_record()


@pytest.mark.parametrize("length", [0, 16, 20])
def test_record_that_can_hold_no_frame_is_refused(length: int) -> None:
    with pytest.raises(FrameError) as caught:
        read(RecordReader(4_160), record(bytes(length)))
    assert caught.value.code is CloseCode.BAD_FRAME


def test_limit_rises_once_the_peer_is_authenticated() -> None:
    reader = RecordReader(4_160)
    reader.limit(RECORD_MAX)
    assert read(reader, record(bytes(RECORD_MAX))) == [bytes(RECORD_MAX)]


def test_memory_grows_with_bytes_that_came_not_with_those_announced() -> None:
    reader = RecordReader(RECORD_MAX)
    read(reader, struct.pack(">I", RECORD_MAX) + bytes(10))
    assert reader.memory == 4_096
    read(reader, bytes(100_000))
    assert reader.memory <= 2 * 131_072


def test_stranger_costs_at_most_8_kib_of_read_buffer() -> None:
    reader = RecordReader(4_160)
    for size in (4_160, 100, 4_160, 4_159, 21):
        read(reader, record(bytes(size)) * 3)
        assert reader.memory <= 8_192


def test_memory_is_given_back_after_a_burst() -> None:
    reader = RecordReader(RECORD_MAX)
    read(reader, record(bytes(RECORD_MAX)))
    assert reader.memory >= RECORD_MAX
    for _ in range(200):
        read(reader, record(bytes(100)))
    assert reader.memory == 4_096
    reader.rest()
    assert reader.memory == 0
    assert read(reader, record(bytes(100))) == [bytes(100)]


def test_rest_keeps_what_is_unread() -> None:
    reader = RecordReader(4_160)
    whole = record(b"s" * 100)
    read(reader, whole[:50])
    reader.rest()
    assert read(reader, whole[50:]) == [b"s" * 100]


def test_readers_in_turn_share_one_block() -> None:
    spare = SpareBlock()
    one, other = RecordReader(4_160, spare), RecordReader(4_160, spare)
    assert read(one, record(b"1" * 100)) == [b"1" * 100]
    assert one.memory == 0
    block = other.get_buffer().obj
    assert other.memory == 4_096
    assert read(other, record(b"2" * 100)) == [b"2" * 100]
    assert one.get_buffer().obj is block


def test_reader_amid_a_record_keeps_its_block_from_the_others() -> None:
    spare = SpareBlock()
    one, other = RecordReader(4_160, spare), RecordReader(4_160, spare)
    whole = record(b"1" * 100)
    assert read(one, whole[:50]) == []
    assert read(other, record(b"2" * 100) * 3) == [b"2" * 100] * 3
    assert read(one, whole[50:]) == [b"1" * 100]
    assert (one.memory, other.memory) == (0, 0)


def test_reader_that_has_handed_out_its_bytes_plain_holds_no_block() -> None:
    reader = RecordReader(4_160, SpareBlock())
    reader.feed(b"preamble")
    assert reader.take() == b"preamble"
    assert reader.memory == 0


def test_reader_grows_past_the_shared_block_when_more_is_waiting() -> None:
    reader = RecordReader(RECORD_MAX, SpareBlock())
    assert read(reader, record(bytes(4_092))) == [bytes(4_092)]
    assert len(reader.get_buffer()) == 8_192
    for _ in range(20):
        read(reader, record(bytes(100)))
    assert reader.memory == 0


def test_writer_at_rest_keeps_what_waits_and_writes_on() -> None:
    writer = FrameWriter()
    writer.append(1, b"one", 2)
    writer.rest()
    assert writer.take() == [b"\0\0\0\3\x01one"]
    writer.rest()
    writer.append(2, b"two", 1)
    assert writer.take() == [b"\0\0\0\3\x02two"]


def test_take_returns_what_is_no_record_yet() -> None:
    reader = RecordReader(4_160)
    assert reader.take() == b""
    room = reader.get_buffer(100)
    room[:5] = b"RTNG\0"
    reader.buffer_updated(5)
    assert reader.take() == b"RTNG\0"
    reader.feed(record(b"s" * 30))
    view = reader.next_record()
    assert view is not None and bytes(view) == b"s" * 30


def test_more_bytes_than_there_was_room_for_are_a_bug_of_the_caller() -> None:
    reader = RecordReader(4_160)
    room = len(reader.get_buffer(-1))
    for count in (-1, room + 1):
        with pytest.raises(UsageError, match="cannot have come"):
            reader.buffer_updated(count)


def test_reading_on_without_taking_records_is_a_bug_of_the_caller() -> None:
    reader = RecordReader(4_160)
    with pytest.raises(AssertionError, match="read the records"):
        reader.feed(record(bytes(21)) * 1_000)
