"""The slow twin of `routing._frames`: the same promises in the plainest Python there is."""

from __future__ import annotations

from routing._frames import FrameError
from routing.errors import CloseCode

__all__ = ["FrameWriter", "RecordReader", "split_frames"]

GATHER = 262_144


def split_frames(plaintext: bytes, frame_max: int = 1_048_576) -> list[tuple[int, bytes]]:
    """Return the frames as (kind, body), or raise FrameError."""
    frames = []
    rest = plaintext
    while True:
        if len(rest) < 5:
            raise FrameError(CloseCode.BAD_FRAME, "cut header")
        length = int.from_bytes(rest[:4], "big")
        if length > frame_max:
            raise FrameError(CloseCode.TOO_LARGE, "frame too large")
        if len(rest) < 5 + length:
            raise FrameError(CloseCode.BAD_FRAME, "cut body")
        frames.append((rest[4], rest[5 : 5 + length]))
        rest = rest[5 + length :]
        if rest and len(plaintext) > GATHER:
            raise FrameError(CloseCode.BAD_FRAME, "several frames in a long record")
        if not rest:
            return frames


class FrameWriter:
    """One list, sorted by priority whenever somebody takes from it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, bytes]] = []

    @property
    def queued(self) -> int:
        return sum(5 + len(body) for _, _, body in self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, kind: int, body: bytes, priority: int = 0) -> None:
        self._waiting.append((priority, kind, body))
        self._waiting.sort(key=lambda frame: frame[0])

    def take(self, room: int = -1) -> list[bytes]:
        taken: list[bytes] = []
        while self._waiting and (room < 0 or sum(map(len, taken)) < room):
            record = b""
            while self._waiting:
                _, kind, body = self._waiting[0]
                frame = len(body).to_bytes(4, "big") + bytes([kind]) + body
                if record and len(record) + len(frame) > GATHER:
                    break
                record += frame
                del self._waiting[0]
            taken.append(record)
        return taken


class RecordReader:
    """Everything that ever came, in one bytes object."""

    def __init__(self, record_max: int) -> None:
        self.record_max = record_max
        self._unread = b""

    def feed(self, arrived: bytes) -> None:
        self._unread += arrived

    def next_record(self) -> bytes | None:
        if len(self._unread) < 4:
            return None
        length = int.from_bytes(self._unread[:4], "big")
        if length > self.record_max:
            raise FrameError(CloseCode.TOO_LARGE, "record too large")
        if length < 21:
            raise FrameError(CloseCode.BAD_FRAME, "record too short")
        if len(self._unread) < 4 + length:
            return None
        record, self._unread = self._unread[4 : 4 + length], self._unread[4 + length :]
        return record
