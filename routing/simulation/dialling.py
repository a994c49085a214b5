"""Dials of the simulated network: a packet there, a handshake back, exactly one answer each.

The dialler's channel is complete after two round trips, the acceptor's half a trip later. A host
that is gone, asleep, parted or offline does not answer; a port nobody listens on refuses; a host
without a free descriptor leaves who knocks unanswered or closes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from routing.actions import Dial
from routing.errors import DialFailure
from routing.inputs import DialFailed, Dialled
from routing.limits import Nanos
from routing.simulation.links import Links
from routing.simulation.wires import Place
from routing.state import Direction

__all__ = ["Dialler", "Dialling", "PendingDial"]

_CANCEL_NS_MAX = 1_000_000
"""A cancelled dial may still win this race, as it may on a real loop."""

_LOCAL_NS = 50_000
"""What the own machine needs to refuse."""

_QUEUED_SHARE = 0.5
"""Of those who knock where descriptors are short; the others are accepted and closed."""


class PendingDial:
    """One dial that has not been answered."""

    __slots__ = ("accepted_at", "action", "deadline", "host", "latency_ns")

    def __init__(self, host: Dialler, action: Dial, latency_ns: int, now: Nanos) -> None:
        self.host = host
        self.action = action
        self.latency_ns = latency_ns
        self.deadline = now + action.timeout_ns
        self.accepted_at = Nanos(0)


class Dialler(Place, Protocol):
    """A host that dials."""

    dials: dict[int, PendingDial]

    @property
    def short(self) -> bool:
        """It has no descriptor left."""

    def turned_away(self) -> None:
        """Somebody knocked, and there was no descriptor for him."""

    @property
    def tag(self) -> bytes:
        """The network it is of."""


class Dialling:
    """All dials between the hosts of one world."""

    def __init__(self, links: Links) -> None:
        self.links = links
        self.clock = links.clock
        self.listening: dict[str, Dialler] = {}
        """Who listens where; a vanished host keeps its address, a crashed one loses it."""
        self.blocked: set[tuple[int, int]] = set()
        """(dialler, acceptor) whose packets vanish, one way: a firewall."""
        self.shielded: set[int] = set()
        """Hosts that nobody can dial, and that can dial everybody: behind a NAT."""

    def dial(self, host: Dialler, action: Dial) -> None:
        """Begin a dial; the answer comes later, whatever it is."""
        pending = PendingDial(host, action, self.links.latency(), self.clock.now)
        short = host.short
        host.dials[action.dial] = pending
        if not host.online:
            self._fail(pending, DialFailure.UNREACHABLE, self.clock.now + _LOCAL_NS)
        elif short:
            self._fail(pending, DialFailure.NO_DESCRIPTORS, self.clock.now + _LOCAL_NS)
        else:
            self._next(pending, 1, self._knock)

    def cancel(self, pending: PendingDial) -> None:
        """Give it up; what comes first within a moment answers it."""
        delay = self.links.random.randint(0, _CANCEL_NS_MAX)
        self._fail(pending, DialFailure.CANCELLED, self.clock.now + delay)

    def _next(self, pending: PendingDial, trips: int, call: Callable[[PendingDial], None]) -> None:
        at = self.clock.now + trips * pending.latency_ns
        if at > pending.deadline:
            self._fail(pending, DialFailure.TIMED_OUT, pending.deadline)
        else:
            self.clock.at(at, call, pending)

    def _target(self, pending: PendingDial) -> Dialler | None:
        """Return who is there; None where nobody is or packets vanish: the failure is arranged."""
        host, target = pending.host, self.listening.get(pending.action.endpoint)
        if target is None:
            self._fail(pending, DialFailure.CONNECTION_REFUSED, self.clock.now + pending.latency_ns)
            return None
        blocked = (host.index, target.index) in self.blocked or target.index in self.shielded
        away = target.gone or target.asleep
        if blocked or away or not self.links.reaches(host, target):
            self._fail(pending, DialFailure.TIMED_OUT, pending.deadline)
            return None
        return target

    def _knock(self, pending: PendingDial) -> None:
        if self._answered(pending):
            return
        target = self._target(pending)
        if target is None:
            return
        if target.short and target is not pending.host:
            self._turn_away(pending, target)
            return
        pending.accepted_at = target.now
        self._next(pending, 3, self._complete)

    def _turn_away(self, pending: PendingDial, target: Dialler) -> None:
        """Its kernel holds him in the queue of those it never accepts, or it closes on him."""
        target.turned_away()
        if self.links.random.random() < _QUEUED_SHARE:
            self._fail(pending, DialFailure.TIMED_OUT, pending.deadline)
        else:
            self._fail(pending, DialFailure.CLOSED, self.clock.now + pending.latency_ns)

    def _complete(self, pending: PendingDial) -> None:
        if self._answered(pending):
            return
        if pending.host.asleep:
            pending.host.waiting.append((self._complete, (pending,)))
            return
        target = self._target(pending)
        if target is None:
            return
        host, expect = pending.host, pending.action.expect
        if target is host or target.key == host.key:
            self._answer(pending, DialFailed(pending.action.dial, DialFailure.SELF))
        elif target.tag != host.tag:
            self._answer(pending, DialFailed(pending.action.dial, DialFailure.WRONG_NETWORK))
        elif expect is not None and expect != target.key:
            self._answer(pending, DialFailed(pending.action.dial, DialFailure.WRONG_IDENTITY))
        else:
            self._succeed(pending, target)

    def _succeed(self, pending: PendingDial, target: Dialler) -> None:
        host = pending.host
        wire = self.links.connect(host, target, pending.latency_ns, pending.accepted_at)
        end = wire.dialler
        connection = host.adopt(end, Direction.OUTBOUND, pending.action.endpoint)
        if connection is None:
            self._answer(pending, DialFailed(pending.action.dial, DialFailure.NO_DESCRIPTORS))
            return
        end.connection = connection
        end.trusted = True
        self._answer(pending, Dialled(pending.action.dial, connection, target.key, wire.binding))

    def _fail(self, pending: PendingDial, reason: DialFailure, at: int) -> None:
        self.clock.at(at, self._answer, pending, DialFailed(pending.action.dial, reason))

    def _answered(self, pending: PendingDial) -> bool:
        return pending.host.dials.get(pending.action.dial) is not pending

    def _answer(self, pending: PendingDial, fact: Dialled | DialFailed) -> None:
        if pending.host.asleep:
            pending.host.waiting.append((self._answer, (pending, fact)))
        elif not self._answered(pending):
            del pending.host.dials[pending.action.dial]
            pending.host.hear(fact)
