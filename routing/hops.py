"""The first hops of messages of ours: which to take, and how long an answer through them takes.

A hop behind which an acknowledgement was missed comes after all others until one arrives through
it, or a minute has passed. Only sources do this: a relay cannot tell what became of what it passed
on. It sends nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct

from routing.limits import ROUTES_MAX

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Hops", "RoundTrip", "smoothed"]


class RoundTrip(Struct):
    """Of measured round trips, nanoseconds; all 0 before the first."""

    average: int = 0
    deviation: int = 0
    heard: int = 0
    """When a first copy was last acknowledged."""
    reached: int = 0
    """When the latest of the first copies that were acknowledged had left."""

    def take(self, took: int) -> None:
        """Take in one more."""
        self.average, self.deviation = smoothed(self.average, self.deviation, took)


def smoothed(average: int, deviation: int, took: int) -> tuple[int, int]:
    """Return average and deviation of round trips with one more taken in; RFC 6298's weights."""
    if not average:
        return took, took // 2
    error = took - average
    return max(1, average + error // 8), deviation + (abs(error) - deviation) // 4


class Hops:
    """First hops of one core, and the times of its destinations."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.missed: OrderedDict[bytes, int] = OrderedDict()
        """Name of a first hop -> when an acknowledgement through it was missed, oldest first."""
        self.usual = RoundTrip()
        """Of all destinations."""
        self.trips: OrderedDict[bytes, RoundTrip] = OrderedDict()
        """Name, or key, of a destination -> its own; the one longest not used first."""

    # -- which

    def ways(self, target: bytes) -> list[bytes]:
        """Return the at most 8 entries nearest to `target`, the best first hop first.

        Nearest first; those that missed an acknowledgement last, the longest ago first.
        """
        core = self.core
        ways = core.table.group(target, ROUTES_MAX, including_self=False)
        self._forgive()
        silent = core.suspects.names
        if self.missed or silent:
            ways.sort(key=lambda name: (name in silent, self.missed.get(name, -1)))
        return ways

    def miss(self, name: bytes) -> None:
        """An acknowledgement that should have come through this first hop did not."""
        core = self.core
        if name not in core.table:
            return
        if name not in self.missed:
            core.count("hop.demoted")
            core.note(name, "an acknowledgement through it was missed; others come first")
        self.missed[name] = core.now
        self.missed.move_to_end(name)
        core.suspects.ask(core.link_to(name))

    def praise(self, name: bytes) -> None:
        """A message through this first hop was acknowledged."""
        if self.missed.pop(name, None) is not None:
            self.core.count("hop.restored")

    def on_peer_down(self, name: bytes) -> None:
        """It is no longer in the table."""
        self.missed.pop(name, None)

    def _forgive(self) -> None:
        since = self.core.now - self.core.limits.demoted_ns
        while self.missed:
            name, at = next(iter(self.missed.items()))
            if at > since:
                return
            del self.missed[name]

    # -- how long

    def patience(self, target: bytes, silences: int, least: int = 0) -> int:
        """Return how long to wait for the acknowledgement of a copy to `target`.

        An acknowledgement may be held back at the far end, which no measured trip contains. Half as
        long again for each earlier copy that nothing came of: the network may be busy.
        `least` is what it takes in any case, also above the usual bound.
        """
        limits = self.core.limits
        trip = self.trips.get(target, self.usual)
        usual = trip.average + 4 * trip.deviation + limits.acknowledge_delay_ns
        if not trip.average:
            usual = limits.acknowledge_first_ns
        usual = max(usual, limits.acknowledge_low_ns, least)
        for _ in range(silences):
            usual += usual // 2
        return min(usual, max(limits.acknowledge_high_ns, least))

    def lasts(self, target: bytes, sent: int) -> int:
        """Return for how much longer a first copy is waited for that left at `sent`; 0 if it was.

        As long as its destination acknowledges what left before, it has not come to this one: the
        time begins anew with each acknowledgement (RFC 6298, 5.3). Once one that left later is
        acknowledged, this one is missing. In all no longer than any copy is waited for.
        """
        trip = self.trips.get(target)
        if trip is None or not trip.heard or trip.reached > sent:
            return 0
        until = min(
            trip.heard + self.patience(target, 0), sent + self.core.limits.acknowledge_high_ns
        )
        return max(0, until - self.core.now)

    def reach(self, target: bytes, sent: int) -> None:
        """A first copy to `target` that left at `sent` was acknowledged, and measured."""
        trip = self.trips[target]
        trip.heard, trip.reached = self.core.now, max(trip.reached, sent)

    def measure(self, target: bytes, took: int) -> None:
        """Take in the round trip of a copy to `target` that is known to be the one answered."""
        self.usual.take(took)
        trip = self.trips.get(target)
        if trip is None:
            trip = self.trips[target] = RoundTrip()
            if len(self.trips) > self.core.limits.round_trips_max:
                self.trips.popitem(last=False)
        trip.take(took)
        self.trips.move_to_end(target)
