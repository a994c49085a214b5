"""Our own clock and the one loop timer of a node; it knows when, never why.

The clock counts nanoseconds from 0 and never runs back. A loop's timer may fire early (uvloop's
ticks in whole milliseconds), so a wake-up first moves the clock to the deadline it was armed for:
whoever is called at a deadline finds that it has come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from routing.alarms import Alarms
from routing.limits import SECOND, Nanos

__all__ = ["Clock", "WakeUp"]

FURTHEST_NS = 3_600 * SECOND
"""A timer is never armed for longer: the system's clock arithmetic stays far from its bounds."""

EARLY_NS = 1_000_000
"""By so much a timer may fire early, and our clock be ahead of the ticks."""


class Clock:
    """Monotonic nanoseconds since construction.

    Args:
        ticks: A monotonic clock in nanoseconds; tests give their own.
    """

    __slots__ = ("_latest", "_origin", "_ticks")

    def __init__(self, ticks: Callable[[], int] = time.monotonic_ns) -> None:
        self._ticks = ticks
        self._origin = ticks()
        self._latest = 0

    def now(self) -> Nanos:
        """Return the time, never less than any returned before."""
        now = self._ticks() - self._origin
        self._latest = max(self._latest, now)
        return Nanos(self._latest)

    def until(self, at: int) -> int:
        """Return how far off `at` is by the ticks alone; negative if it is past."""
        return at - (self._ticks() - self._origin)

    def reach(self, at: int) -> None:
        """Let it be `at` or later."""
        self._latest = max(self._latest, at)


class WakeUp:
    """All deadlines of one node behind one timer, re-armed only when the earliest moves earlier.

    Args:
        loop: Where the timer runs.
        clock: What `at` means.
        external: Returns a further deadline (the core's), or None.
        due: Called with (now, lateness) when the external deadline may have come, after the alarms
            that were due. Spurious calls happen.
    """

    __slots__ = ("_alarms", "_calls", "_due", "_external", "_loop", "_timer", "_timer_at", "clock")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        external: Callable[[], Nanos | None],
        due: Callable[[Nanos, int], None],
    ) -> None:
        self._loop = loop
        self.clock = clock
        self._external = external
        self._due = due
        self._alarms = Alarms()
        self._calls: dict[tuple[str, bytes], Callable[[], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0

    def __len__(self) -> int:
        """Return how many alarms are set."""
        return len(self._alarms)

    def set(self, kind: str, serial: int, at: int, call: Callable[[], None]) -> None:
        """Call `call` at `at`; set again under the same (kind, serial) it moves."""
        name = (kind, serial.to_bytes(8, "big"))
        self._alarms.set(name, at)
        self._calls[name] = call
        self._want(at)

    def cancel(self, kind: str, serial: int) -> None:
        """Forget an alarm; nothing happens if there is none."""
        name = (kind, serial.to_bytes(8, "big"))
        self._alarms.cancel(name)
        self._calls.pop(name, None)

    def refresh(self) -> None:
        """The external deadline may have moved."""
        at = self._external()
        if at is not None and (self._timer is None or at < self._timer_at):
            self._want(at)

    def close(self) -> None:
        """Forget everything and disarm."""
        self._alarms.clear()
        self._calls.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _want(self, at: int) -> None:
        if self._timer is not None:
            if at >= self._timer_at:
                return
            self._timer.cancel()
        # Armed by what is left, never by the loop's clock, whose milliseconds are not ours.
        now = self.clock.now()
        self._timer_at = min(at, now + FURTHEST_NS)
        delay = max(0, self._timer_at - now) / 1e9
        self._timer = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        early = self.clock.until(self._timer_at)
        if early > EARLY_NS:
            # Of many deadlines close together each would move the clock on a little further.
            self._timer = self._loop.call_later(early / 1e9, self._fire)
            return
        lateness = self.clock.now() - self._timer_at
        self.clock.reach(self._timer_at)
        now = self.clock.now()
        self._due(now, max(0, lateness))
        while (name := self._alarms.pop_due(now)) is not None:
            self._calls.pop(name)()
        at, external = self._alarms.first, self._external()
        if external is not None and (at is None or external < at):
            at = external
        if at is not None:
            self._want(at)
