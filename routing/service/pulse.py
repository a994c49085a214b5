"""Heartbeats out, silence and slowness noticed; one alarm a connection, all behind one timer.

A connection that was quiet for `heartbeat_ns` gets a HEARTBEAT frame; one that said nothing for
`silence_ns` is lost SILENT; one that takes nothing for `slow_reader_ns` is lost SLOW_READER. The
alarm of a connection is set once and, when it comes, looks at what has happened since: a message
costs a store and no alarm.
"""

from __future__ import annotations

import random
from typing import Protocol

from routing.errors import CloseCode
from routing.limits import Limits, Nanos
from routing.messages import FrameKind
from routing.noise import NONCES_MAX
from routing.service.connection import PROGRESS_BYTES_MIN, Line, Stage
from routing.service.wakeup import WakeUp

__all__ = ["Pulse"]

RECORDS_LEFT_MIN = 1 << 32
"""A connection is closed while its key could still seal so many records."""


class Body(Protocol):
    """What a pulse needs of the host."""

    limits: Limits

    @property
    def reading(self) -> bool:
        """Whether peers are being listened to."""


class Pulse:
    """The pulse of all open lines of one host."""

    __slots__ = ("_beating", "_body", "_limits", "_stalled", "_wakeup")

    def __init__(self, body: Body, wakeup: WakeUp) -> None:
        self._body = body
        self._limits = body.limits
        self._wakeup = wakeup
        self._beating: dict[int, Line] = {}
        self._stalled: dict[int, int] = {}

    @property
    def gap_ns(self) -> int:
        """A wake-up that is later than this means that we, not our peers, were silent.

        A peer may have been heard a heartbeat before the last alarm, which may lie another one
        back; so every gap above `clock_gap_ns`, or above what silence forgives, is noticed.
        """
        limits = self._limits
        forgiven = min(limits.clock_gap_ns, limits.silence_ns - limits.heartbeat_ns)
        return max(limits.heartbeat_ns // 2, forgiven - limits.heartbeat_ns)

    def start(self, line: Line) -> None:
        """Take the pulse of an open line from now on."""
        now = self._wakeup.clock.now()
        line.heard_at = line.sent_at = now
        self._beating[line.serial] = line
        self._arm(line, now + self._limits.heartbeat_ns)

    def stop(self, line: Line) -> None:
        """The line is over; nothing happens if its pulse was not taken."""
        if self._beating.pop(line.serial, None) is not None:
            self._wakeup.cancel("beat", line.serial)
        if self._stalled.pop(line.serial, None) is not None:
            self._wakeup.cancel("slow", line.serial)

    def on_paused(self, line: Line, paused: bool) -> None:
        """The kernel takes nothing more for this line, or has taken all."""
        if line.serial not in self._beating:
            return
        if paused:
            self._watch(line)
        elif self._stalled.pop(line.serial, None) is not None:
            self._wakeup.cancel("slow", line.serial)

    def probe_all(self, now: Nanos) -> None:
        """Our own clock has jumped: everybody gets two heartbeats of time, and one from us soon.

        What we did not hear while we did not run is no silence of theirs.
        """
        limits = self._limits
        grace = now - limits.silence_ns + min(2 * limits.heartbeat_ns, limits.silence_ns)
        for line in self._beating.values():
            line.heard_at = Nanos(max(line.heard_at, grace))
            line.sent_at = Nanos(now - limits.heartbeat_ns)
            self._arm(line, now + random.randrange(max(1, limits.heartbeat_ns // 5)))
            if line.serial in self._stalled:
                self._watch(line)

    def _arm(self, line: Line, at: int) -> None:
        self._wakeup.set("beat", line.serial, at, lambda: self._beat(line))

    def _watch(self, line: Line) -> None:
        self._stalled[line.serial] = line.transport_bytes
        at = self._wakeup.clock.now() + self._limits.slow_reader_ns
        self._wakeup.set("slow", line.serial, at, lambda: self._look(line))

    def _look(self, line: Line) -> None:
        if self._stalled[line.serial] - line.transport_bytes >= PROGRESS_BYTES_MIN:
            self._watch(line)
            return
        line.fault(CloseCode.SLOW_READER, "bytes stayed unwritten for too long")
        # Whoever does not read will not read the Close either.
        line.abort()

    def _beat(self, line: Line) -> None:
        now, limits = self._wakeup.clock.now(), self._limits
        if not self._body.reading:
            line.heard_at = now
        if now >= line.heard_at + limits.silence_ns:
            line.fault(CloseCode.SILENT, "nothing was heard for too long")
            return
        channel = line.channel
        if channel is not None and channel.sealed > NONCES_MAX - RECORDS_LEFT_MIN:
            line.fault(CloseCode.EXPIRED, "the key of the connection is used up")
            return
        if now >= line.sent_at + limits.heartbeat_ns and line.stage is Stage.OPEN:
            line.send(FrameKind.HEARTBEAT, b"", 0)
            line.flush()
            line.sent_at = now
            line.rest()
        self._arm(line, min(line.sent_at + limits.heartbeat_ns, line.heard_at + limits.silence_ns))
