"""The compiled reader and writer against their twins, streams cut at random places."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from routing import _frames
from tests.twin import frames_twin

__all__ = ["Stream", "Writer"]

SIZES = st.one_of(
    st.integers(0, 40), st.sampled_from([4_090, 4_096, 30_000, 262_134, 262_139, 262_140, 270_000])
)


class Writer(RuleBasedStateMachine):
    """The same frames go into both writers; the same plaintexts come out."""

    def __init__(self) -> None:
        super().__init__()
        self.writer = _frames.FrameWriter()
        self.twin = frames_twin.FrameWriter()
        self.number = 0

    @rule(size=SIZES, priority=st.integers(0, 3), times=st.integers(1, 5))
    def append(self, size: int, priority: int, times: int) -> None:
        for _ in range(times):
            self.number += 1
            body = bytes([self.number % 251]) * size
            self.writer.append(self.number % 256, body, priority)
            self.twin.append(self.number % 256, body, priority)

    @rule(room=st.sampled_from([-1, 0, 1, 5, 65_536, 262_144, 800_000]))
    def take(self, room: int) -> None:
        taken = self.writer.take(room)
        assert taken == self.twin.take(room)
        for plaintext in taken:
            frames = _frames.split_frames(plaintext)
            assert frames == frames_twin.split_frames(plaintext)

    @invariant()
    def counts_agree(self) -> None:
        assert self.writer.queued == self.twin.queued
        assert len(self.writer) == len(self.twin)


class Stream(RuleBasedStateMachine):
    """Records of a good or a bad peer, cut anywhere; both readers see the same."""

    LIMIT = 70_000

    def __init__(self) -> None:
        super().__init__()
        spare = _frames.SpareBlock()
        self.reader = _frames.RecordReader(self.LIMIT, spare)
        self.neighbour = _frames.RecordReader(self.LIMIT, spare)
        self.twin = frames_twin.RecordReader(self.LIMIT)
        self.line = b""
        self.number = 0
        self.over = False

    @rule(size=st.one_of(st.integers(21, 200), st.sampled_from([4_092, 8_192, 69_999, 70_000])))
    def write(self, size: int) -> None:
        self.number += 1
        self.line += size.to_bytes(4, "big") + bytes([self.number % 256]) * size

    @rule(length=st.sampled_from([0, 20, 70_001, 2**31, 2**32 - 1]))
    def write_bad(self, length: int) -> None:
        self.line += length.to_bytes(4, "big")

    @rule(size=st.one_of(st.integers(1, 100), st.sampled_from([4_096, 50_000, 200_000])))
    def arrive(self, size: int) -> None:
        while size and self.line and not self.over:
            room = self.reader.get_buffer(-1)
            step = min(size, len(room), len(self.line))
            room[:step] = self.line[:step]
            self.reader.buffer_updated(step)
            self.twin.feed(self.line[:step])
            self.line = self.line[step:]
            size -= step
            self._drain()

    @rule()
    def quiet(self) -> None:
        self.reader.rest()

    @rule(sizes=st.lists(st.sampled_from([21, 200, 4_092, 9_000]), min_size=1, max_size=3))
    def hear_neighbour(self, sizes: list[int]) -> None:
        for size in sizes:
            self.neighbour.feed(size.to_bytes(4, "big") + bytes([0xEE]) * size)
            heard = self.neighbour.next_record()
            assert heard is not None and bytes(heard) == bytes([0xEE]) * size
        assert self.neighbour.next_record() is None

    def _drain(self) -> None:
        while True:
            ours, theirs = _outcome(self.reader), _outcome(self.twin)
            assert ours == theirs
            if not isinstance(ours, bytes):
                self.over = ours is not None
                return

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.reader.memory <= max(4_096, 2 * (self.LIMIT + 4))
        assert self.reader.unread <= self.LIMIT + 4 or self.over


def _outcome(reader: _frames.RecordReader | frames_twin.RecordReader) -> bytes | int | None:
    try:
        found = reader.next_record()
    except _frames.FrameError as error:
        return int(error.code)
    return None if found is None else bytes(found)


Writer.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
Stream.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestWriter = Writer.TestCase
TestStream = Stream.TestCase


def _split(room: object, plaintext: bytes, limit: int) -> object:
    split = getattr(room, "split_frames")  # noqa: B009 - two modules of one shape
    try:
        return split(plaintext, limit)
    except _frames.FrameError as error:
        return error.code


@settings(max_examples=300)
@given(
    parts=st.lists(
        st.one_of(
            st.binary(max_size=12),
            st.tuples(st.integers(0, 60), st.integers(0, 255), st.binary(max_size=60)).map(
                lambda part: part[0].to_bytes(4, "big") + bytes([part[1]]) + part[2]
            ),
            st.binary(max_size=40).map(lambda body: len(body).to_bytes(4, "big") + b"\1" + body),
        ),
        max_size=8,
    ),
    limit=st.sampled_from([10, 40, 1_048_576]),
)
def test_any_bytes_split_alike_or_fail_alike(parts: list[bytes], limit: int) -> None:
    plaintext = b"".join(parts)
    assert _split(_frames, plaintext, limit) == _split(frames_twin, plaintext, limit)
