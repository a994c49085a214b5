"""The virtual clock: a heap of (time, sequence), so that equal times keep the order of scheduling.

It starts at 0 and jumps from one event to the next; it never reads a real clock and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from routing.limits import Nanos

__all__ = ["INSTANT_EVENTS_MAX", "Clock", "ClockStuck"]

INSTANT_EVENTS_MAX = 200_000
"""Events at one instant before the run is called stuck; a crowd of 200 needs 10,000."""


class ClockStuck(AssertionError):
    """Events keep coming at one instant: something answers itself for ever."""


class Clock:
    """Virtual nanoseconds and what is due when."""

    __slots__ = ("_heap", "_instant", "_sequence", "events", "now")

    def __init__(self) -> None:
        self.now = Nanos(0)
        self.events = 0
        self._instant = 0
        self._sequence = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []

    def at(self, when: int, call: Callable[..., None], *arguments: object) -> None:
        """Call `call(*arguments)` at `when`, or at once after all else of this instant if past."""
        self._sequence += 1
        heappush(self._heap, (max(when, self.now), self._sequence, call, arguments))

    def step(self, until: int) -> bool:
        """Run the next event if it is due at or before `until`; tell whether one ran.

        Raises:
            ClockStuck: time does not move on.
        """
        heap = self._heap
        if not heap or heap[0][0] > until:
            return False
        when, _, call, arguments = heappop(heap)
        if when > self.now:
            self.now = Nanos(when)
            self._instant = 0
        self._instant += 1
        if self._instant > INSTANT_EVENTS_MAX:
            raise ClockStuck(f"more than {INSTANT_EVENTS_MAX} events at {when} ns: {call.__name__}")
        self.events += 1
        call(*arguments)
        return True

    def run(self, until: int) -> None:
        """Run everything due at or before `until`; the time is `until` afterwards."""
        while self.step(until):
            pass
        self.now = Nanos(max(self.now, until))
