"""The second depth of the simulator: frames travel as the bytes that a service would write.

A `Pipe` is one lane's way from frame to frame: the compiled writer gathers, the channel seals each
record with AES-256-GCM, the stream is cut at drawn places, the compiled reader finds the records,
the channel opens them, the compiled splitter takes the frames out, all under the size limits that
hold before and after the Hello. The keys follow from the connection: the handshake that would make
real ones is not run, and nothing here is secret. When a frame arrives is decided by `links`; a
pipe only carries what is sent, and it must come out as it went in.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from random import Random

from routing._frames import RECORD_OVERHEAD_MAX, FrameWriter, RecordReader, split_frames
from routing.channel import Channel
from routing.limits import Limits
from routing.messages import FrameKind
from routing.noise import Cipher

__all__ = ["Pipe"]

_GATHER_MAX = 8
"""Frames of one instant that share a record, at most; how many is drawn."""

_HEARTBEAT_SHARE = 0.05
"""Of the records: so many begin with a heartbeat, which the far end has to leave out."""

_CUTS_MAX = 3
"""A stretch of the stream is read in so many pieces, at most, and one more."""


class Pipe:
    """One direction of one connection, from frames to frames through bytes.

    Args:
        binding: Of the connection, 32 bytes; the key follows from it.
        forward: From the dialler to the acceptor, or back.
        limits: Of both ends.
        random: Says where to cut and what to gather; nothing else depends on it.
    """

    __slots__ = (
        "_arrived",
        "_limits",
        "_random",
        "_reader",
        "_receiving",
        "_sending",
        "_tail",
        "_trusted",
        "_waiting",
        "_writer",
    )

    def __init__(self, binding: bytes, *, forward: bool, limits: Limits, random: Random) -> None:
        person = b"sim ahead" if forward else b"sim back"
        key = blake2b(binding, digest_size=32, person=person).digest()
        self._sending, self._receiving = _channel(binding, key), _channel(binding, key)
        self._limits = limits
        self._random = random
        self._trusted = False
        self._writer = FrameWriter()
        self._reader = RecordReader(limits.frame_bytes_before_hello + RECORD_OVERHEAD_MAX)
        self._waiting: deque[tuple[int, FrameKind, bytes]] = deque()
        """Frames that are not sealed yet, with the time at which each arrives."""
        self._tail = b""
        """What is sealed and has not arrived: never without the end of a record."""
        self._arrived: deque[tuple[FrameKind, bytes]] = deque()

    def write(self, kind: FrameKind, body: bytes, due: int) -> None:
        """Take a frame that will arrive at `due`; nothing sent later arrives earlier."""
        self._waiting.append((due, kind, body))

    def read(self, *, trusted: bool) -> tuple[FrameKind, bytes]:
        """Return the next frame, which is due by now.

        Args:
            trusted: The reading end has authenticated the Hello: larger frames may come.

        Raises:
            FrameError: what came is not what a peer may send.
        """
        limits = self._limits
        if trusted and not self._trusted:
            self._trusted = True
            self._reader.limit(limits.frame_bytes_max + RECORD_OVERHEAD_MAX)
        if not self._arrived:
            stream = self._tail or self._sealed()
            # A part of what is due later may come along with what is due now.
            later = self._sealed() if self._waiting else b""
            some = self._random.randrange(len(later)) if later else 0
            self._tail = later[some:]
            self._take_in(stream + later[:some])
        return self._arrived.popleft()

    def _sealed(self) -> bytes:
        """Seal some of the frames that arrive at the same time as the first."""
        random, waiting, writer = self._random, self._waiting, self._writer
        if random.random() < _HEARTBEAT_SHARE:
            writer.append(FrameKind.HEARTBEAT, b"")
        due = waiting[0][0]
        for _ in range(random.randint(1, _GATHER_MAX)):
            if not waiting or waiting[0][0] != due:
                break
            _, kind, body = waiting.popleft()
            writer.append(kind, body)
        return b"".join(self._sending.seal(plaintext) for plaintext in writer.take())

    def _take_in(self, stream: bytes) -> None:
        """Read a stretch of the stream in pieces."""
        cuts = sorted(self._random.randrange(len(stream)) for _ in range(_CUTS_MAX))
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            if end > begin:
                self._reader.feed(memoryview(stream)[begin:end])
                self._open_records()

    def _open_records(self) -> None:
        limits = self._limits
        frame_max = limits.frame_bytes_max if self._trusted else limits.frame_bytes_before_hello
        while (sealed := self._reader.next_record()) is not None:
            for kind, body in split_frames(self._receiving.open(sealed), frame_max):
                if kind != FrameKind.HEARTBEAT:
                    self._arrived.append((FrameKind(kind), body))


def _channel(binding: bytes, key: bytes) -> Channel:
    """Return one end of a channel of which only one direction is used."""
    return Channel(key=b"", binding=binding, version=1, sending=Cipher(key), receiving=Cipher(key))
