"""What a simulated host does not read because it could not pass it on; as `service.feeding` has it.

A frame that this host passes on to a lane on which too much waits is on the account of the lane it
came over. Who has its share of the room waiting is not read on, until half of that is free or
`feed_pause_ns` is over; then a little is read all the same. A record is one frame here, so nobody
stops within one. It draws nothing and, where no queue is half full, does nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from routing.hop_shares import Shares
from routing.limits import Limits
from routing.simulation.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from routing.simulation.wires import End, Lane

__all__ = ["Holding"]


class Wait:
    """A lane that its target does not read, and whose share of which hop it waits for."""

    __slots__ = ("hop", "lane")

    def __init__(self, lane: Lane, hop: Lane) -> None:
        self.lane, self.hop = lane, hop


class Holding:
    """Who feeds whom on one simulated host.

    Args:
        clock: Of the world.
        limits: Of the world.
        counts: Of the host.
        flow: Has what came on a lane while it waited be read.
    """

    def __init__(
        self, clock: Clock, limits: Limits, counts: Counter[str], flow: Callable[[Lane], None]
    ) -> None:
        self.source: Lane | None = None
        """Whose frame the core is told of this moment."""
        self._clock, self._limits, self._counts, self._flow = clock, limits, counts, flow
        self._room = limits.write_bytes_max // 2
        rounds = max(1, limits.slow_reader_ns // limits.feed_pause_ns)
        self._excused = max(1, (limits.write_bytes_max - self._room) // rounds)
        self._hops: dict[int, tuple[Lane, Shares]] = {}
        """Number of a wire -> our way out on it, as long as something of others waits there."""
        self._waits: dict[int, Wait] = {}
        """Number of a wire -> the way in on it that is not read."""

    def __len__(self) -> int:
        """Return how many lanes are not read."""
        return len(self._waits)

    def passed_on(self, out: Lane, size: int) -> None:
        """The core has put so many bytes on a way out; of our own nobody is charged with any."""
        feeder, waiting = self.source, out.backlog
        if feeder is None or not waiting:
            return
        shares = self._hops.setdefault(_number(out), (out, Shares(self._room)))[1]
        size = min(size, waiting)
        shares.drain(waiting - size)
        full = shares.add(_number(feeder), size)
        if feeder.excused > 0:
            feeder.excused -= size
        elif full and not feeder.waits:
            self._pause(feeder, out, shares)

    def drained(self, out: Lane) -> None:
        """A way out has taken some: whose share is half free is read, longest waiting first."""
        if _number(out) not in self._hops:
            return
        _, shares = self._hops[_number(out)]
        waiting = out.backlog
        if not shares.waiting:
            if waiting <= self._room // 8:
                del self._hops[_number(out)]
            return
        shares.drain(waiting)
        for number in shares.waiting:
            if shares.may_go(number, waiting):
                self._resume(self._waits[number], 0)

    def forget(self, end: End) -> None:
        """A connection ends: nobody waits for it, and it waits for nobody."""
        number = end.wire.number
        if number in self._waits:
            self._resume(self._waits[number], 0)
        _, shares = self._hops.pop(number, (None, None))
        for each in [] if shares is None else shares.waiting:
            self._resume(self._waits[each], 0)

    def _pause(self, feeder: Lane, out: Lane, shares: Shares) -> None:
        wait = self._waits[_number(feeder)] = Wait(feeder, out)
        feeder.waits = True
        shares.wait(_number(feeder))
        self._counts["feeding.pauses"] += 1
        self._clock.at(self._clock.now + self._limits.feed_pause_ns, self._overdue, wait)

    def _overdue(self, wait: Wait) -> None:
        if self._waits.get(_number(wait.lane)) is wait:
            self._counts["feeding.overdue"] += 1
            _, shares = self._hops[_number(wait.hop)]
            self._resume(wait, max(1, self._excused // len(shares.waiting)))

    def _resume(self, wait: Wait, excused: int) -> None:
        del self._waits[_number(wait.lane)]
        hop = self._hops.get(_number(wait.hop))
        if hop is not None:
            hop[1].go(_number(wait.lane))
        wait.lane.waits, wait.lane.excused = False, excused
        self._flow(wait.lane)


def _number(lane: Lane) -> int:
    return lane.source.wire.number
