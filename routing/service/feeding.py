"""Who feeds a connection that takes less than it is given, and who of them waits until it took it.

What one relay cannot write it does not read: a connection whose messages fill the queue of their
next hop is not read on, and its own far end is held up by its kernel, back to whoever sends. Each
has an equal share of the queue, so that the greedy wait and the modest do not. Nobody waits longer
than `feed_pause_ns` at a time; then a little goes to the core all the same, which knows other ways.
Now and then some is read and kept, so that nobody who waits takes us for who holds it up; where
that is at its end, the hop is given up, which takes too little for all who wait for it.
It writes nothing and drops nothing, and a queue that is taken costs nothing here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from routing.errors import CloseCode
from routing.hop_shares import Shares
from routing.limits import Limits, Nanos
from routing.service.connection import PROGRESS_BYTES_MIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from routing._inbound import Way
    from routing.service.connection import Line
    from routing.service.wakeup import WakeUp

__all__ = ["SIPS", "Feeding"]

SIPS = 4
"""Times in `slow_reader_ns` that a connection of which nothing else is taken is read all the same,
to be looked at later. Its far end looks for 64 KiB taken in that time, and our own clock for the
hop began before its clock for us: by its own sips, the hop is given up before we are."""

SEEN_BYTES_MIN = 2 * PROGRESS_BYTES_MIN
"""Of what a far end sends, so much taken is progress, wherever its own count of it began."""

log = logging.getLogger("routing")


class Hop:
    """A connection that others feed, as long as something waits there."""

    __slots__ = ("late", "line", "shares")

    def __init__(self, line: Line, room: int) -> None:
        self.line = line
        self.shares = Shares(room)
        self.late = False
        """Somebody has waited for it as long as anybody may, and it has taken nothing since."""


class Wait:
    """A connection that is not read on; `rest` is what has been read of it and not looked at."""

    __slots__ = ("hop", "is_last", "line", "rest", "since")

    def __init__(self, line: Line, hop: Hop, rest: bytes, since: Nanos) -> None:
        self.line, self.hop, self.rest, self.since = line, hop, rest, since
        self.is_last = False
        """Nothing more of the line can be read, and what its far end saw taken is long ago."""


class Seen(NamedTuple):
    """How much had been read of a connection, and when."""

    read_bytes: int
    at: Nanos


class Table(Protocol):
    """What feeding needs of the host."""

    limits: Limits
    counters: Counter[str]
    wakeup: WakeUp

    def now(self) -> Nanos:
        """Return the time."""


class Feeding:
    """Who feeds whom on one host.

    Args:
        table: The host.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.room = table.limits.write_bytes_max // 2
        """Bytes that may wait on one connection for others."""
        self.source: Line | None = None
        """Whose frame the core is told of this moment."""
        self.go_on: Callable[[Line, bytes, int], None] = _read_on
        """Takes a line, what is left of its last record, and how much of it must not wait."""
        self._hops: dict[int, Hop] = {}
        self._waits: dict[int, Wait] = {}
        """Serial of a line -> what it waits for."""
        limits = table.limits
        # Until a hop is given up, what may wait there beside the room is used up by this.
        rounds = max(1, limits.slow_reader_ns // limits.feed_pause_ns)
        self._excused = max(1, (limits.write_bytes_max - self.room) // rounds)
        # Who waits is not to take us for a slow reader before we know who is one.
        self._sip_ns = max(1, limits.slow_reader_ns // SIPS)
        self._seen: dict[int, Seen] = {}
        """Serial of a line that has waited -> when its far end was last sure to see some taken."""

    def __len__(self) -> int:
        """Return how many connections wait."""
        return len(self._waits)

    def fed(self, feeder: Line, line: Line, size: int) -> None:
        """Note that a feeder has put `size` bytes on a line that has not taken all it was given."""
        hop = self._hop(line)
        size = min(size, line.backlog)
        hop.shares.drain(line.backlog - size)
        if hop.shares.add(feeder.serial, size) and feeder.serial not in self._waits:
            self._pause(feeder, hop, b"")

    def passed_on(self, line: Line, size: int) -> None:
        """The core has put a message on a line, which is on the account of whom it has just heard.

        A message of our own is on nobody's: who sends it waits before.
        """
        if self.source is not None and line.is_stalled:
            self.fed(self.source, line, size)

    def bounds(self, feeder: Line) -> list[tuple[Way, int]]:
        """Return with how much waiting there each way is full for a feeder, where others feed it.

        So a record that is larger than its share does not go there at once.
        """
        if not self._hops:
            return []
        bounds = []
        for hop in self._hops.values():
            if hop.line.is_stalled and hop.shares.has_others(feeder.serial):
                waiting = hop.line.backlog
                hop.shares.drain(waiting)
                most = max(1, waiting + hop.shares.left(feeder.serial))
                bounds.append((hop.line.way_in(), most))
        return bounds

    def hold(self, feeder: Line, line: Line, rest: bytes) -> None:
        """Have a feeder wait with the rest of a record, which begins with a frame for this line."""
        wait = self._waits.get(feeder.serial)
        if wait is None:
            self._pause(feeder, self._hop(line), rest)
        else:
            assert not wait.rest, "a line that waits takes in nothing"
            wait.rest = rest

    def drained(self, line: Line) -> None:
        """A line has taken something: whose share is half free goes on, longest waiting first."""
        hop = self._hops.get(line.serial)
        if hop is None:
            return
        hop.late = False
        if not hop.shares.waiting:
            # What is left of a small queue is written now, and whose it was is nobody's concern.
            if line.backlog <= self.room // 8:
                del self._hops[line.serial]
            return
        asyncio.get_running_loop().call_soon(self._let_on, hop)

    def forget(self, line: Line) -> None:
        """A line ends: nobody waits for it, and it waits for nobody."""
        wait = self._waits.get(line.serial)
        if wait is not None:
            # What was not looked at goes the way of what was not read.
            self._table.counters["feeding.cut_off_bytes"] += len(wait.rest)
            self._end(wait)
        self._seen.pop(line.serial, None)
        hop = self._hops.pop(line.serial, None)
        if hop is not None:
            # Not from here: the core may be in the middle of a step.
            asyncio.get_running_loop().call_soon(self._let_all_on, hop)

    def _hop(self, line: Line) -> Hop:
        hop = self._hops.get(line.serial)
        if hop is None:
            hop = self._hops[line.serial] = Hop(line, self.room)
        return hop

    def _pause(self, feeder: Line, hop: Hop, rest: bytes) -> None:
        table = self._table
        wait = self._waits[feeder.serial] = Wait(feeder, hop, rest, table.now())
        hop.shares.wait(feeder.serial)
        feeder.hold_up(True)
        table.counters["feeding.pauses"] += 1
        wait.is_last = not self._shows(wait)
        # At once, but not from here: the core may be in the middle of a step.
        patience_ns = 0 if wait.is_last else table.limits.feed_pause_ns
        at = wait.since + patience_ns
        table.wakeup.set("feed", feeder.serial, at, lambda: self._overdue(wait))

    def _shows(self, wait: Wait) -> bool:
        """See to it that the far end of a line that waits sees some taken in time.

        False if it will not: as much lies here as may, and less than it looks for goes on.
        """
        line, now = wait.line, wait.since
        seen = self._seen.get(line.serial)
        if seen is None or line.read_bytes - seen.read_bytes >= SEEN_BYTES_MIN:
            self._seen[line.serial] = Seen(line.read_bytes, now)
        elif now - seen.at >= self._sip_ns:
            if line.sip():
                self._table.counters["feeding.sips"] += 1
            else:
                return now - seen.at < (SIPS - 1) * self._sip_ns
        return True

    def _overdue(self, wait: Wait) -> None:
        """Nobody waits longer: what is next goes to the core, as if nothing could wait."""
        hop = wait.hop
        if wait.is_last:
            self._give_up(hop)
            return
        self._table.counters["feeding.overdue"] += 1
        if not hop.late:
            hop.late = True
            log.info(
                "%s has taken nothing for %s ns, and who feeds it waited: the core takes some",
                hop.line.peer,
                self._table.limits.feed_pause_ns,
            )
        self._resume(wait, max(1, self._excused // len(hop.shares.waiting)))

    def _give_up(self, hop: Hop) -> None:
        """Close a connection that takes too little, before those who wait for it give us up."""
        if hop.line.is_open():
            self._table.counters["feeding.given_up"] += 1
            hop.line.fault(CloseCode.SLOW_READER, "too little is taken for all who feed it")
        # Whoever does not read will not read the Close either.
        hop.line.abort()

    def _let_on(self, hop: Hop) -> None:
        line, shares = hop.line, hop.shares
        shares.drain(line.backlog)
        for serial in shares.waiting:
            if line.backlog > self.room:
                return
            wait = self._waits.get(serial)
            if wait is not None and wait.hop is hop and shares.may_go(serial, line.backlog):
                self._resume(wait, 0)
        if not line.backlog and not shares.waiting and self._hops.get(line.serial) is hop:
            del self._hops[line.serial]

    def _let_all_on(self, hop: Hop) -> None:
        for serial in hop.shares.waiting:
            wait = self._waits.get(serial)
            if wait is not None and wait.hop is hop:
                self._resume(wait, 0)

    def _resume(self, wait: Wait, excused: int) -> None:
        self._end(wait)
        self.go_on(wait.line, wait.rest, excused)

    def _end(self, wait: Wait) -> None:
        table, line = self._table, wait.line
        del self._waits[line.serial]
        wait.hop.shares.go(line.serial)
        table.wakeup.cancel("feed", line.serial)
        now = table.now()
        table.counters["feeding.paused_ns"] += now - wait.since
        # Nobody is called silent for what we did not read.
        line.heard_at = now
        line.hold_up(False)


def _read_on(line: Line, rest: bytes, excused: int) -> None:
    """Where no record is interrupted."""
    assert not rest, "no record is interrupted here"
    line.read_on()
