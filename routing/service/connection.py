"""One socket with its channel: bytes in and out, the handshake, the Close; no decisions.

A `Line` lives through at most four stages: GREETING (the handshake runs), OPEN (records pass),
CLOSING (our Close is on its way, what comes in is thrown away) and GONE. What happens on it is told
to its `Owner`, which also decides when queued frames are flushed: once per tick, one write.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Final, cast

from routing._frames import (
    RECORD_OVERHEAD_MAX,
    FrameError,
    FrameWriter,
    RecordReader,
    split_frames,
)
from routing._inbound import Way
from routing.channel import Channel, ChannelError, Handshake
from routing.errors import CloseCode, DialFailure
from routing.limits import Nanos
from routing.messages import Close, FrameKind, decode, encode
from routing.service.owner import AT_A_TIME, Owner, Stage, close_code
from routing.state import Direction, Token

__all__ = ["Line", "Owner", "Stage"]

CLOSE_TEXT_BYTES_MAX = 64
"""Of the text in a Close frame."""

PROGRESS_BYTES_MIN = 65_536
"""A reader that took this much since it was last looked at is slow, but not a slow reader."""

READS_IN_A_ROW: Final = 2
"""That fill the whole of a read buffer; uvloop would go on with 32 of them before all else."""

_HEARTBEAT: Final = bytes([0, 0, 0, 0, FrameKind.HEARTBEAT])
"""The plaintext of a record that says nothing but that we live."""


class Line(asyncio.BufferedProtocol):
    """See the module. `serial` is unique and rises; `token` is 0 until the owner gives one."""

    __slots__ = (
        "_charged",
        "_full_reads",
        "_handshake",
        "_held_up",
        "_ledger",
        "_owner",
        "_paused",
        "_reader",
        "_sip",
        "_transport",
        "_waits",
        "_way",
        "_writer",
        "beat_at",
        "binding",
        "channel",
        "dial",
        "direction",
        "dirty",
        "ended",
        "heard_at",
        "held",
        "key",
        "local",
        "peer",
        "read_bytes",
        "sent_at",
        "serial",
        "since",
        "stage",
        "token",
        "trusted",
        "written_bytes",
    )

    def __init__(
        self,
        owner: Owner,
        handshake: Handshake,
        *,
        direction: Direction,
        serial: int,
        since: Nanos,
        dial: int = 0,
    ) -> None:
        self._owner = owner
        self._ledger = owner.ledger
        self._handshake: Handshake | None = handshake
        self._transport: asyncio.Transport | None = None
        record_max = owner.limits.frame_bytes_before_hello + RECORD_OVERHEAD_MAX
        self._reader = RecordReader(record_max, owner.spare)
        self._writer = FrameWriter()
        self._way: Way | None = None
        self._paused = self._held_up = self._waits = False
        self._charged = self._full_reads = self._sip = 0
        self.channel: Channel | None = None
        self.stage = Stage.GREETING
        self.direction = direction
        self.serial = serial
        self.since = since
        """When the socket was accepted, or its dial began."""
        self.dial = dial
        self.token = Token(0)
        self.trusted = self.ended = False
        self.dirty = False
        """The owner has it on the list of lines to flush."""
        self.held: socket.socket | None = None
        """The socket object that uvloop was given; see `_let_go`."""
        self.key = self.binding = b""
        self.peer = self.local = ""
        self.heard_at = self.sent_at = since
        self.beat_at = 0
        """Where in its round the pulse looks at us again; 0 before and after."""
        self.read_bytes = self.written_bytes = 0

    # -- what the owner asks for

    @property
    def queued(self) -> int:
        """Bytes that wait to be written, here or in the transport."""
        waiting = self._writer.queued
        if self._transport is not None and self.stage is not Stage.GONE:
            waiting += self._transport.get_write_buffer_size()
        return waiting

    @property
    def transport_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self.queued - self._writer.queued

    @property
    def backlog(self) -> int:
        """Bytes of frames that were not even sealed yet."""
        return self._writer.queued

    @property
    def is_stalled(self) -> bool:
        """The kernel takes no more for the time being."""
        return self._paused

    def trust(self) -> None:
        """Lift the size limits that hold before the Hello is authenticated."""
        self.trusted = True
        self._reader.limit(self._owner.limits.frame_bytes_max + RECORD_OVERHEAD_MAX)

    def way_in(self) -> Way:
        """Return what the corridor of the host puts frames on this line by."""
        if self._way is None:
            self._way = Way(self, self._writer)
        self._gate()
        return self._way

    def _gate(self) -> None:
        """The corridor adds nothing when we say goodbye; how much may wait it knows itself."""
        if self._way is not None:
            self._way.blocked = self.stage is not Stage.OPEN

    def send(self, kind: int, body: bytes, priority: int) -> None:
        """Queue a frame on an OPEN line; `flush` writes it."""
        before = self._writer.queued
        self._writer.append(kind, body, priority)
        self._charge(self._writer.queued - before)

    def flush(self, most: int = sys.maxsize) -> None:
        """Seal and write what the kernel takes; after `most` bytes the rest has its turn later."""
        self.dirty = False
        transport, channel = self._transport, self.channel
        if transport is None or channel is None or self.stage is Stage.GONE:
            return
        room = self._owner.limits.record_bytes_max
        waiting = len(self._writer)
        while len(self._writer) and not self._paused and most > 0:
            written = channel.seal_all(self._writer.take(room))
            self.written_bytes += len(written)
            most -= len(written)
            # It writes at once (high-water mark 0), and calls `pause_writing` if some is left.
            transport.write(written)
        self._owner.meter.gave(waiting - len(self._writer))
        self.sent_at = self._owner.poll.said()
        self.settle_charge()
        if len(self._writer) and not self._paused:
            self._owner.flush_later(self)
        if self.stage is Stage.CLOSING and not len(self._writer):
            self._finish_writing()

    def is_behind(self, bound: int) -> bool:
        """Tell whether more than `bound` bytes wait although the kernel has what it takes."""
        if self.queued > bound:
            self.flush()
        return self.queued > bound

    def close(self, code: CloseCode, text: str) -> None:
        """Write what is queued, then Close, then FIN; the owner cuts it off if it takes long."""
        if self.stage is not Stage.OPEN:
            self.abort()
            return
        short = text.encode()[:CLOSE_TEXT_BYTES_MAX].decode(errors="ignore")
        self.send(FrameKind.CLOSE, encode(Close(code, short)), 3)
        self.stage = Stage.CLOSING
        self._gate()
        self._owner.on_closing(self)
        self.flush()

    def abort(self) -> None:
        """Close the socket at once; what is queued is lost."""
        if self.stage is Stage.GONE:
            return
        self.stage = max(self.stage, Stage.CLOSING)
        self._gate()
        self._handshake = None
        if self._transport is not None:
            self._transport.abort()

    def beat(self, now: Nanos) -> None:
        """Say that we live, and give memory back while nothing happens."""
        transport, channel = self._transport, self.channel
        if len(self._writer) or self._paused or transport is None or channel is None:
            self.send(FrameKind.HEARTBEAT, b"", 0)
            self.flush()
        else:
            # Nothing waits and the kernel takes what comes: as `flush`, without the way there.
            record = channel.seal(_HEARTBEAT)
            self._owner.meter.gave(1)
            self.written_bytes += len(record)
            transport.write(record)
            if transport.get_write_buffer_size():
                self.settle_charge()
        self.sent_at = now
        self._reader.rest()
        self._writer.rest()
        if channel is not None:
            channel.rest_sending()

    def pause_reading(self, pause: bool) -> None:
        """Stop or go on reading; the far end is then held up by its own kernel."""
        if self._transport is None or self.stage is not Stage.OPEN:
            return
        self._held_up = pause
        if not self._waits:
            (self._transport.pause_reading if pause else self._transport.resume_reading)()

    def hold_up(self, wait: bool) -> None:
        """Take in nothing more, also of what has been read, until what it brings has room."""
        self._waits = wait
        transport = self._transport
        if transport is not None and not self._held_up and not transport.is_closing():
            (transport.pause_reading if wait else transport.resume_reading)()

    def sip(self) -> bool:
        """Read some while we wait, to be looked at later; False if as much lies here as may."""
        transport, self._sip = self._transport, 2 * PROGRESS_BYTES_MIN
        may = self._reader.unread < self._reader.record_max
        if may and transport is not None and not (self._held_up or transport.is_closing()):
            transport.resume_reading()
        return may

    def read_on(self) -> None:
        """Take in what was read while we waited, as far as nothing waits again."""
        if self.stage is Stage.OPEN:
            self._read_records()

    # -- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop hands over the socket; a dialler speaks."""
        # uvloop's transports are asyncio's by duty, not by descent.
        self._transport = transport = cast(asyncio.Transport, transport)
        if self.stage is not Stage.GREETING:
            # Not at once: uvloop would close the descriptor before it has made our socket object
            # let go of it, and that object would later close whoever has the number by then.
            asyncio.get_running_loop().call_soon(transport.abort)
            return
        transport.set_write_buffer_limits(high=0)
        assert self._handshake is not None, "a line is greeted once"
        self._write(self._handshake.start() + self._handshake.early())

    def get_buffer(self, sizehint: int) -> memoryview:
        """The loop wants memory to read into."""
        return self._reader.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        self._reader.buffer_updated(nbytes)
        if self._waits and self._transport is not None:
            self._sip -= nbytes
            if self._sip <= 0 or self._reader.unread >= self._reader.record_max:
                self._transport.pause_reading()
        elif self._reader.full:
            self._give_way()
        else:
            self._full_reads = 0
        self.read_bytes += nbytes
        self.heard_at = self._owner.poll.heard()
        if self.stage is Stage.OPEN:
            self._read_records()
        elif self.stage is Stage.GREETING:
            self._greet()
        else:
            self._reader.take()

    def eof_received(self) -> bool:
        """The far end says no more, but may still read what we owe it, and a Close behind that."""
        self.ended = True
        self.fault(CloseCode.IO_ERROR, "the far end closed without a word")
        if self.backlog and self.channel is not None:
            return True  # it is written as the far end reads, and cut off if that takes long
        self._lose(CloseCode.IO_ERROR, "")
        return False

    def connection_lost(self, exc: Exception | None = None) -> None:
        """The socket is closed, by whomever; told again it is no news."""
        if self.stage is Stage.GONE:
            return
        text = "connection lost" if exc is None else str(exc) or type(exc).__name__
        self._lose(CloseCode.IO_ERROR, text)
        self.stage = Stage.GONE
        self._gate()
        self._way = None
        self._let_go()
        self._charge(-self._charged)
        self._transport = None
        self._reader.take()
        self._reader.rest()
        self._owner.on_gone(self)

    def pause_writing(self) -> None:
        """The kernel takes no more."""
        self._paused = True
        self._gate()
        self._owner.on_paused(self, True)

    def resume_writing(self) -> None:
        """The kernel has taken all that the transport held."""
        self._paused = False
        self._gate()
        self._owner.on_paused(self, False)
        self.flush(AT_A_TIME)

    # -- inside

    def _give_way(self) -> None:
        """So much has come at once that what else there is to do gets its turn first."""
        self._full_reads += 1
        if self._full_reads >= READS_IN_A_ROW and self._transport is not None:
            self._full_reads = 0
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        transport, held_up = self._transport, self._held_up or self._waits
        if transport is not None and not held_up and not transport.is_closing():
            transport.resume_reading()

    def _greet(self) -> None:
        handshake = self._handshake
        assert handshake is not None
        try:
            self._write(handshake.receive(self._reader.take()))
        except ChannelError as error:
            self._write(error.answer)
            self._fail(error.reason)
            return
        channel = handshake.channel
        if channel is None:
            return
        self._handshake = None
        channel.meter = self._owner.meter
        self.channel = channel
        self.key, self.binding = channel.key, channel.binding
        self.stage = Stage.OPEN
        self._reader.feed(handshake.leftover)
        self._owner.on_channel(self)
        self._read_records()

    def _read_records(self) -> None:
        channel, owner, reader = self.channel, self._owner, self._reader
        assert channel is not None
        try:
            while self.is_open() and not self._waits:
                sealed = reader.next_record()
                if sealed is None:
                    return
                most = owner.limits
                frame_max = most.frame_bytes_max if self.trusted else most.frame_bytes_before_hello
                plaintext = channel.open(sealed)
                if plaintext == _HEARTBEAT:
                    channel.rest_receiving()
                    owner.meter.took(1)
                    continue
                if self.trusted and owner.passes_on(self, plaintext, frame_max):
                    continue
                frames = split_frames(plaintext, frame_max)
                owner.meter.took(len(frames))
                for kind, body in frames:
                    self.take_frame(kind, body)
                    if not self.is_open():
                        break
        except FrameError as error:
            self.fault(error.code, str(error))
            return
        if not self._waits:
            self._reader.take()

    def is_open(self) -> bool:
        """Asked anew after all that the owner was told, which may have closed us."""
        return self.stage is Stage.OPEN

    def take_frame(self, kind: int, body: bytes) -> None:
        """Take in one frame, which has just come on an OPEN line."""
        if kind == FrameKind.HEARTBEAT:
            if body:
                self.fault(CloseCode.BAD_FRAME, "heartbeat with a body")
        elif kind == FrameKind.CLOSE:
            close = decode(Close, body)
            if close is None:
                self.fault(CloseCode.BAD_FRAME, "malformed Close")
                return
            self._lose(close_code(close.code), close.text)
        else:
            self._owner.on_frame(self, kind, body)

    def fault(self, code: CloseCode, text: str) -> None:
        """End an OPEN line for what its far end did or failed to do: tell both sides why."""
        if self.stage is not Stage.OPEN:
            return
        self.close(code, text)
        self._owner.on_lost(self, code, text)

    def _lose(self, code: CloseCode, text: str) -> None:
        """The far end is done: nothing more of ours would be read."""
        if self.stage is Stage.GREETING:
            self._fail(DialFailure.CLOSED)
        elif self.stage is Stage.OPEN:
            self.stage = Stage.CLOSING
            self._gate()
            self._writer = FrameWriter()
            self.settle_charge()
            self._owner.on_closing(self)
            self._hang_up()
            self._owner.on_lost(self, code, text)
        elif self.stage is Stage.CLOSING:
            self._hang_up()

    def _fail(self, reason: DialFailure) -> None:
        self.stage = Stage.CLOSING
        self._handshake = None
        self._owner.on_closing(self)
        self._hang_up()
        self._owner.on_greeting_failed(self, reason)

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _finish_writing(self) -> None:
        """Send FIN behind the Close and wait for the far end's, so that it reads the Close.

        Closing outright while its bytes are still coming in would answer them with a reset, and a
        reset throws away what the far end has not read yet.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self.ended:
            # Not at once: asyncio looks at its transport again after `resume_writing`.
            asyncio.get_running_loop().call_soon(self._hang_up)
            return
        try:
            transport.write_eof()
        except OSError:
            # asyncio does this at once, and the far end may have reset the connection by now.
            transport.abort()

    def _write(self, plain: bytes) -> None:
        if plain and self._transport is not None:
            self.written_bytes += len(plain)
            self._transport.write(plain)

    def _let_go(self) -> None:
        """Have the socket object forget a descriptor that uvloop has closed, as uvloop does itself
        only before its maker goes on; else it would later close whoever has the number by then."""
        held, self.held = self.held, None
        if held is not None and held.fileno() >= 0:
            held.detach()

    def _charge(self, size: int) -> None:
        self._charged += size
        self._ledger.charge(size)

    def settle_charge(self) -> None:
        """Have the ledger know what really waits."""
        self._charge(self.queued - self._charged)
