"""Heartbeats out, silence and slowness noticed; all connections behind one alarm.

A connection that was quiet for `heartbeat_ns` gets a HEARTBEAT frame; one that said nothing for
`silence_ns` is lost SILENT; one that takes nothing for `slow_reader_ns` is lost SLOW_READER. Time
goes by in strokes, `STROKES` to a heartbeat, and each connection is looked at on the stroke by
which something may be due, and what has happened since is seen then: a message costs a store and
no alarm, and 10,000 quiet connections cost one alarm a stroke.
"""

from __future__ import annotations

import random
from heapq import heappop, heappush
from typing import Protocol

from routing.errors import CloseCode
from routing.limits import Limits, Nanos
from routing.noise import NONCES_MAX
from routing.service.connection import PROGRESS_BYTES_MIN, Line, Stage
from routing.service.wakeup import WakeUp

__all__ = ["LOOKS", "Pulse"]

RECORDS_LEFT_MIN = 1 << 32
"""A connection is closed while its key could still seal so many records."""

STROKES = 256
"""To a heartbeat, which is late by one of them at most: 59 ms of 15 s."""

LOOKS = 8
"""At a reader that stands still, in `slow_reader_ns`: what it took at first, into the buffers of
its kernel, excuses it for an eighth longer and not for as long again."""


class Body(Protocol):
    """What a pulse needs of the host."""

    limits: Limits

    @property
    def reading(self) -> bool:
        """Whether peers are being listened to."""


class Pulse:
    """The pulse of all open lines of one host."""

    __slots__ = (
        "_body",
        "_count",
        "_limits",
        "_order",
        "_stalled",
        "_stroke_ns",
        "_strokes",
        "_wakeup",
    )

    def __init__(self, body: Body, wakeup: WakeUp) -> None:
        self._body = body
        self._limits = body.limits
        self._wakeup = wakeup
        self._stroke_ns = max(1, body.limits.heartbeat_ns // STROKES)
        self._strokes: dict[int, dict[int, Line]] = {}
        """Number of a stroke -> serial -> the line that is looked at then."""
        self._order: list[int] = []
        """The numbers of these strokes, as a heap."""
        self._count = 0
        self._stalled: dict[int, tuple[int, Nanos]] = {}
        """Serial -> bytes that waited when it was last seen to take some, and when that was."""

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
        self._count += 1
        self._arm(line, now + self._limits.heartbeat_ns)

    def stop(self, line: Line) -> None:
        """The line is over; nothing happens if its pulse was not taken."""
        if line.beat_at:
            self._disarm(line)
            self._count -= 1
            if not self._count:
                self._strokes.clear()
                self._order.clear()
                self._wakeup.cancel("beat", 0)
        if self._stalled.pop(line.serial, None) is not None:
            self._wakeup.cancel("slow", line.serial)

    def on_paused(self, line: Line, paused: bool) -> None:
        """The kernel takes nothing more for this line, or has taken all."""
        if not line.beat_at:
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
        lines = [line for stroke in self._strokes.values() for line in stroke.values()]
        for line in lines:
            line.heard_at = Nanos(max(line.heard_at, grace))
            line.sent_at = Nanos(now - limits.heartbeat_ns)
            self._arm(line, now + random.randrange(max(1, limits.heartbeat_ns // 5)))
            if line.serial in self._stalled:
                self._watch(line)

    def _arm(self, line: Line, at: int) -> None:
        """Have a line looked at on the first stroke that is not before `at`."""
        self._disarm(line)
        number = line.beat_at = max(1, -(-at // self._stroke_ns))
        stroke = self._strokes.get(number)
        if stroke is None:
            stroke = self._strokes[number] = {}
            heappush(self._order, number)
            if self._order[0] == number:
                self._wakeup.set("beat", 0, number * self._stroke_ns, self._strike)
        stroke[line.serial] = line

    def _disarm(self, line: Line) -> None:
        stroke = self._strokes.get(line.beat_at)
        if stroke is not None:
            stroke.pop(line.serial, None)
        line.beat_at = 0

    def _strike(self) -> None:
        """Look at everybody whose stroke has come."""
        now = self._wakeup.clock.now()
        while self._order and self._order[0] * self._stroke_ns <= now:
            stroke = self._strokes[self._order[0]]
            while stroke:
                # One by one: a line that is lost may take others of its stroke with it.
                self._beat(stroke.popitem()[1])
            # All of them may have been the last ones, and with them the strokes are gone.
            if self._order and self._strokes.get(self._order[0]) is stroke:
                del self._strokes[heappop(self._order)]
        if self._order:
            self._wakeup.set("beat", 0, self._order[0] * self._stroke_ns, self._strike)

    def _watch(self, line: Line) -> None:
        since = self._wakeup.clock.now()
        self._stalled[line.serial] = line.transport_bytes, since
        self._look_later(line, since)

    def _look_later(self, line: Line, since: Nanos) -> None:
        slow_ns = self._limits.slow_reader_ns
        at = min(since + slow_ns, self._wakeup.clock.now() + max(1, slow_ns // LOOKS))
        self._wakeup.set("slow", line.serial, at, lambda: self._look(line))

    def _look(self, line: Line) -> None:
        left, since = self._stalled[line.serial]
        if left - line.transport_bytes >= PROGRESS_BYTES_MIN:
            self._watch(line)
            return
        if self._wakeup.clock.now() - since < self._limits.slow_reader_ns:
            self._look_later(line, since)
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
            line.beat(now)
            if not line.beat_at:
                return
        self._arm(line, min(line.sent_at + limits.heartbeat_ns, line.heard_at + limits.silence_ns))
