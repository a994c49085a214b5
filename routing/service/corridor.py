"""What passes through a host from peer to peer: the compiled corridor between its lines.

It tells the corridor how things stand in the core, hands up to the core whatever the corridor does
not decide, in order, and has what was passed on counted, charged and written. It decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from routing._frames import GATHER_BYTES_MAX, FrameWriter, split_frames
from routing._inbound import Inbound, Way
from routing._meter import Meter
from routing.inputs import Heard, Input
from routing.limits import HOPS_MAX, ROUTES_MAX, Limits, Nanos
from routing.messages import MessageKind
from routing.service.connection import Line, Stage

if TYPE_CHECKING:
    from routing._tokens import TokenTable
    from routing.passing import Passing, View
    from routing.service.feeding import Feeding

__all__ = ["Corridor"]


class Building(Protocol):
    """What a corridor needs of the host."""

    limits: Limits
    meter: Meter
    tokens: TokenTable
    feeding: Feeding
    acting: bool
    """A fact is being handed over this moment."""

    def now(self) -> Nanos:
        """Return the time."""

    def submit(self, fact: Input) -> None:
        """Hand a fact to the core."""

    def flush_later(self, line: Line) -> None:
        """Write what a line has queued, together with the rest of this tick."""


class Corridor:
    """The corridor of one host."""

    def __init__(self, house: Building, passing: Passing) -> None:
        self._house = house
        self._feeding = house.feeding
        self._feeding.go_on = self._go_on
        self._passing = passing
        self._inbound = Inbound(
            passing.secret,
            hops_max=HOPS_MAX,
            routes_max=ROUTES_MAX,
            kind_max=max(MessageKind),
            kind_bulk=MessageKind.PART,
            quiet_ns=house.limits.quiet_ns,
            room=self._feeding.room,
        )
        self._inbound.excused = 0
        self._inbound.tried = passing.tap
        self._view: View | None = None
        self._ways: dict[int, Way] = {}
        """Token of every peer that things are passed on from and to -> its way."""

    def takes(self, line: Line, plaintext: bytes, frame_max: int) -> bool:
        """Go through a record if there is something in it to be passed on; False if not.

        Raises:
            FrameError: the record is not made of frames; none has been looked at.
        """
        if self._house.acting:
            return False
        self._look()
        inbound = self._inbound
        if line.token not in self._ways or not inbound.open(plaintext, frame_max):
            inbound.shut()
            return False
        bounded = self._feeding.bounds(line)
        for way, most in bounded:
            way.most = most
        try:
            self._go_through(line)
        finally:
            inbound.shut()
            for way, _ in bounded:
                way.most = 0
            self._settle(line)
        return True

    def _go_through(self, line: Line) -> None:
        passing, inbound = self._passing, self._inbound
        token = line.token
        self._hear(line)
        while line.is_open():
            self._look()
            now = self._house.now()
            if token in self._ways:
                grant = passing.grant(token)
                inbound.grant(grant.window.filter, grant.others, grant.most)
                passed, repeats = inbound.forwarded, inbound.duplicates
                entered = inbound.pass_on(now)
                self._house.meter.took(inbound.forwarded - passed + inbound.duplicates - repeats)
                passing.took(
                    token,
                    grant,
                    at=now,
                    entered=entered,
                    passed=inbound.forwarded - passed,
                    repeats=inbound.duplicates - repeats,
                )
                if grant.most and not inbound.left:
                    continue  # all that was granted is used up
            else:
                inbound.grant(None, (), 0)
            frames = inbound.up(now)
            self._house.meter.took(len(frames))
            for kind, body in frames:
                line.take_frame(kind, body)
                if not line.is_open():
                    return
            self._forgive()
            if inbound.done or (not frames and self._holds(line)):
                return

    def _holds(self, line: Line) -> bool:
        """Have a line wait with what is left if its next frame must; tell whether it does."""
        if self._inbound.full is None:
            return False
        other = self._inbound.full.line
        assert isinstance(other, Line)
        other.flush()
        if not other.backlog:
            self._inbound.full.most = 0
            return False
        self._feeding.hold(line, other, self._inbound.rest)
        return True

    def _go_on(self, line: Line, rest: bytes, excused: int) -> None:
        """Go on with a line that has waited: with what is left of a record, then with the next.

        So many bytes of what is left do not wait again, and what of it is too much is the core's.
        """
        if rest and line.is_open():
            self._inbound.excused = excused
            try:
                if not self.takes(line, rest, self._house.limits.frame_bytes_max):
                    for kind, body in split_frames(rest):
                        if line.is_open():
                            line.take_frame(kind, body)
            finally:
                self._inbound.excused = 0
        line.read_on()

    def _hear(self, line: Line) -> None:
        """As with any frame: what is due is done first, and its sender lives."""
        passing, token = self._passing, line.token
        if not passing.hear(token, self._house.now()):
            self._house.submit(Heard(token))
        way = self._ways.get(token)
        if way is not None:
            way.heard = passing.heard(token)

    def _forgive(self) -> None:
        """A message was held up by a quiet peer: it may have been heard, as the core knows."""
        quiet = self._inbound.quiet
        if quiet is not None:
            other = quiet.line
            assert isinstance(other, Line)
            self._inbound.forgive(self._passing.heard(other.token))

    def _look(self) -> None:
        """Tell the corridor how things stand, if they stand otherwise than they did."""
        if self._view is not None and self._passing.is_as(self._view):
            return
        view = self._view = self._passing.view()
        self._ways = {}
        entries: dict[bytes, Way] = {}
        for entry in view.entries:
            line: Line | None = self._house.tokens.get(entry.token)
            if line is None or line.stage is not Stage.OPEN:
                # An entry all the same: what would go there is not for others.
                way = Way(None, FrameWriter())
                way.blocked = True
            else:
                way = line.way_in()
                way.doubted, way.heard = entry.doubted, entry.heard
                self._ways[entry.token] = way
            entries[entry.name] = way
        self._inbound.retable(view.own, self._passing.key, entries)

    def _settle(self, feeder: Line) -> None:
        """Charge and write what was put on lines; what fills a record is written at once."""
        for way in self._inbound.touched():
            line = way.line
            assert isinstance(line, Line)
            size = Inbound.settle(way)
            if line.stage is Stage.GONE:
                continue
            line.settle_charge()
            if line.backlog >= GATHER_BYTES_MAX:
                line.flush()
            else:
                self._house.flush_later(line)
            if line.is_stalled:
                self._feeding.fed(feeder, line, size)
