"""Busy polling: a loop that looks again for a while, instead of sleeping until it is woken.

A process that sleeps is woken by the kernel some 20 microseconds after there is something to read,
twice in a round trip. Who has a core to spare need not sleep: after anything was read or written,
the loop turns without waiting for as long as the user allows. Other callbacks get every turn.

Where looking does not find anything, because the far end is slow or wants the very core that we
keep, most of it is left out until it does again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from routing.limits import Nanos

__all__ = ["VAIN_MAX", "BusyPoll"]

VAIN_MAX: Final = 8
"""Looks in a row that found nothing; after them but every eighth chance to look is taken."""


class BusyPoll:
    """Keeps one loop from sleeping for a while after there was something to do.

    Args:
        loop: Whose turns it keeps going.
        now: Monotonic nanoseconds.
        budget_ns: For how long it looks, counted from what was read or written last; 0 for never.
    """

    __slots__ = ("_budget_ns", "_loop", "_now", "_skipped", "_until", "_vain", "found", "vain")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, now: Callable[[], Nanos], budget_ns: int
    ) -> None:
        self._loop, self._now, self._budget_ns = loop, now, budget_ns
        self._until = 0
        """When looking ends; 0 while nobody looks."""
        self._vain = self._skipped = 0
        self.found = self.vain = 0
        """How often something was read while we looked, and how often nothing was."""

    def heard(self) -> Nanos:
        """Return the time, at which something was read: look for more."""
        now = self._now()
        if self._until:
            self.found += 1
            self._vain = 0
            self._until = now + self._budget_ns
        elif self._budget_ns:
            self._begin(now)
        return now

    def said(self) -> Nanos:
        """Return the time, at which something was written: look for an answer."""
        now = self._now()
        if self._until:
            self._until = now + self._budget_ns
        elif self._budget_ns:
            self._begin(now)
        return now

    def counts(self) -> dict[str, int]:
        """Return how often looking found something to read, and how often it did not."""
        return {"busy_poll.found": self.found, "busy_poll.vain": self.vain}

    def stop(self) -> None:
        """Look no more."""
        self._budget_ns = self._until = 0

    def _begin(self, now: Nanos) -> None:
        if self._vain >= VAIN_MAX:
            self._skipped += 1
            if self._skipped % VAIN_MAX:
                return
        self._until = now + self._budget_ns
        self._loop.call_soon(self._look)

    def _look(self) -> None:
        # Each turn of the loop asks the kernel what there is to read before it calls us again.
        if self._now() < self._until:
            self._loop.call_soon(self._look)
        elif self._until:
            self._until = 0
            self.vain += 1
            self._vain += 1
