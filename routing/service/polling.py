"""Busy polling: a loop that looks again for a while, instead of sleeping until it is woken.

A process that sleeps is woken by the kernel some 20 microseconds after there is something to read,
twice in a round trip, and waking it costs who writes a few more. Where the next thing mostly comes
at once, as amid round trips on a short way and amid streams, it is cheaper not to sleep: after
anything was read or written, the loop turns without waiting for a moment. Other callbacks get every
turn.

Where looking does not find anything, because the far end is slow or wants the very core that we
keep, most of it is left out until it does again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from routing.limits import MICROSECOND, Nanos

__all__ = ["ADAPTIVE_NS", "CREDIT_MAX", "TRIED_ADAPTIVE", "TRIED_TOLD", "BusyPoll"]

ADAPTIVE_NS: Final = 100 * MICROSECOND
"""For how long the loop looks if it is not told."""

CREDIT_MAX: Final = 8
"""Of looks that may find nothing. A look that does costs one, and two if nobody asked for looking.
One that finds something restores them all, and gains one if nobody asked: then two of three looks
have to find something."""

TRIED_TOLD: Final = 8
TRIED_ADAPTIVE: Final = 32
"""Without credit one of so many chances to look is taken."""


class BusyPoll:
    """Keeps one loop from sleeping for a while after there was something to do.

    Args:
        loop: Whose turns it keeps going.
        now: Monotonic nanoseconds.
        budget_ns: For how long it looks, counted from what was read or written last; 0 for never,
            None for `ADAPTIVE_NS` where two of three looks find something.
    """

    __slots__ = (
        "_budget_ns",
        "_cost",
        "_credit",
        "_gain",
        "_loop",
        "_now",
        "_skipped",
        "_tried",
        "_until",
        "found",
        "vain",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, now: Callable[[], Nanos], budget_ns: int | None
    ) -> None:
        self._loop, self._now = loop, now
        if budget_ns is None:
            self._budget_ns, self._tried = ADAPTIVE_NS, TRIED_ADAPTIVE
            self._gain, self._cost = 1, 2
        else:
            self._budget_ns, self._tried = budget_ns, TRIED_TOLD
            self._gain, self._cost = CREDIT_MAX, 1
        self._until = 0
        """When looking ends; 0 while nobody looks."""
        self._credit = CREDIT_MAX
        self._skipped = 0
        self.found = self.vain = 0
        """How often something was read while we looked, and how often nothing was."""

    def heard(self) -> Nanos:
        """Return the time, at which something was read: look for more."""
        now = self._now()
        if self._until:
            self.found += 1
            self._credit = min(CREDIT_MAX, self._credit + self._gain)
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
        if not self._credit:
            self._skipped += 1
            if self._skipped % self._tried:
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
            self._credit = max(0, self._credit - self._cost)
