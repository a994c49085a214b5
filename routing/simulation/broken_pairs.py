"""Cores with one rule of the two-way connect taken off, for showing that exploring finds it.

Each is the production core with one rule overridden from outside; production code knows nothing of
them, and nothing but a simulation makes one. That a stranger gets nowhere is another matter: the
rules that keep him out are taken off in `weakened`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from routing.attempts import Attempt, Attempts
from routing.bodies import ConnectRequest, ConnectResponse
from routing.connecting import Connecting
from routing.core import Core, CoreConfig
from routing.dials import Dials, Purpose
from routing.errors import CloseCode, Outcome, Refusal
from routing.frames import Frames
from routing.inputs import Dialled
from routing.letting_go import LettingGo
from routing.links import Arrival, Link
from routing.messages import FrameKind, Hello, Signed
from routing.responding import Responding
from routing.simulation.explore import Breach, Setting
from routing.simulation.moments import Budget
from routing.simulation.weakened import Unacknowledged
from routing.state import LinkRole

__all__ = ["BROKEN", "Broken"]


def _with_connecting(
    connecting: type[Connecting] = Connecting, responding: type[Responding] = Responding
) -> Callable[[CoreConfig], Core]:
    """Return a maker of cores with these halves of the two-way connect."""

    class Altered(Core):
        def _make_concerns(self) -> None:
            super()._make_concerns()
            self.connecting = connecting(self)
            self.connecting.responding = responding(self)
            self.frames = Frames(self)

    return Altered


def _with_attempts(attempts: type[Attempts]) -> Callable[[CoreConfig], Core]:
    class Altered(Core):
        def _make_concerns(self) -> None:
            super()._make_concerns()
            self.attempts = attempts(self)

    return Altered


# -- crossing requests


class _BothYield(Responding):
    """Whoever is asked while asking drops its own attempt."""

    def _has_precedence(self, signed: Signed, request: ConnectRequest, name: bytes) -> bool:
        ours = self.core.attempts.with_name(name)
        if ours is not None:
            self.core.attempts.end(ours, Outcome.LOST_PRIORITY, CloseCode.LOST_PRIORITY)
        return True


class _NeitherYields(Responding):
    """Whoever is asked while asking does not answer."""

    def _has_precedence(self, signed: Signed, request: ConnectRequest, name: bytes) -> bool:
        ours = self.core.attempts.with_name(name)
        if ours is not None and ours.requester:
            return False
        return super()._has_precedence(signed, request, name)


class _Forgetful(Responding):
    """A request that was answered is a new one when it comes again."""

    def on_request(self, arrival: Arrival) -> None:
        self.given.clear()
        super().on_request(arrival)


# -- restarted peers


class _Incurious(Responding):
    """A key that is held is refused at once, whether or not the old connection lives."""

    def _weigh(self, arrival: Arrival, request: ConnectRequest, name: bytes) -> None:
        if self.core.table.name_of_key(arrival.signed.key) is not None:
            self.refuse(arrival.signed, request, Refusal.ALREADY_CONNECTED)
            return
        super()._weigh(arrival, request, name)


class _Undiscerning(Responding):
    """The incarnation of whoever asks is not looked at: an attempt under way goes on."""

    def _has_precedence(self, signed: Signed, request: ConnectRequest, name: bytes) -> bool:
        ours = self.core.attempts.with_name(name)
        if ours is not None and ours.incarnation and ours.incarnation != request.incarnation:
            return False
        return super()._has_precedence(signed, request, name)


class _Unordered(Responding):
    """What arrives later counts as younger."""

    def _is_outdated(
        self, ours: Attempt | None, key: bytes, request: ConnectRequest, name: bytes
    ) -> bool:
        return False


class _Loyal(Connecting):
    """A keeps to the process that answered first."""

    def _accept_response(self, attempt: Attempt, key: bytes, response: ConnectResponse) -> bool:
        if attempt.incarnation not in (b"", response.incarnation):
            return False
        return super()._accept_response(attempt, key, response)


# -- matching and confirming


class _Silent(Responding):
    """B consolidates and does not say so."""

    def match(self, attempt: Attempt) -> None:
        primary = self.core.links.get(attempt.primary)
        if primary is not None and attempt.acked and attempt.proved:
            self.core.connecting.consolidate(attempt, primary, one_way=False)


class _Unproved(Responding):
    """B confirms without having been dialled."""

    def match(self, attempt: Attempt) -> None:
        attempt.proved = True
        super().match(attempt)


class _Hasty(Connecting):
    """A does not wait for the Confirmation."""

    def _greet_primary(self, link: Link, attempt: Attempt, hello: Hello) -> None:
        super()._greet_primary(link, attempt, hello)
        if link.role is LinkRole.PRIMARY:
            self.consolidate(attempt, link, one_way=False)


class _Unridden(Connecting):
    """A takes no response from a Hello: it must have come as a routed message."""

    def _rides(self, link: Link, attempt: Attempt, hello: Hello) -> bool:
        return attempt.response is not None and super()._rides(link, attempt, hello)


# -- losses, repeats, deadlines


class _Fragile(Connecting):
    """Losing the secondary ends the attempt at A."""

    def on_lost(self, link: Link, code: CloseCode = CloseCode.BAD_FRAME) -> None:
        attempt = self.core.attempts.get(link.attempt)
        if attempt is not None and attempt.requester and link.token == attempt.secondary:
            self.core.attempts.end(attempt, Outcome.PRIMARY_LOST, CloseCode.NORMAL)
            return
        super().on_lost(link, code)


class _Oblivious(Connecting):
    """Losing the primary is no matter."""

    def on_lost(self, link: Link, code: CloseCode = CloseCode.BAD_FRAME) -> None:
        attempt = self.core.attempts.get(link.attempt)
        if attempt is None or link.token != attempt.primary:
            super().on_lost(link, code)


class _Once(Connecting):
    """A request is sent once."""

    def on_resend(self, attempt_id: bytes) -> None:
        self.core.count("attempt.not_resent")


class _Impatient(Connecting):
    """A gives up before B does."""

    def _accept_response(self, attempt: Attempt, key: bytes, response: ConnectResponse) -> bool:
        first = attempt.response is None
        accepted = super()._accept_response(attempt, key, response)
        if accepted and first:
            self.core.attempts.extend(attempt, self.core.limits.responder_attempt_ns // 2)
        return accepted


# -- what is left behind


class _LeavesAll(Attempts):
    """An attempt that expires closes nothing."""

    def end(
        self,
        attempt: Attempt,
        outcome: Outcome,
        code: CloseCode,
        refusal: Refusal | None = None,
    ) -> None:
        if outcome is Outcome.EXPIRED:
            attempt.primary = attempt.secondary = 0
        super().end(attempt, outcome, code, refusal)


class _LeavesSecondary(Attempts):
    """An attempt that consolidates keeps its secondary."""

    def end(
        self,
        attempt: Attempt,
        outcome: Outcome,
        code: CloseCode,
        refusal: Refusal | None = None,
    ) -> None:
        if outcome is Outcome.CONSOLIDATED:
            attempt.secondary = 0
        super().end(attempt, outcome, code, refusal)


class _Hospitable(Attempts):
    """Who says no Hello may stay for ever."""

    def hold(self, link: Link, accepted_at: int) -> None:
        super().hold(link, accepted_at)
        self.unknown.remove(link.connection)


class _Tireless(Dials):
    """The end of an attempt does not call off its dials."""

    def cancel(self, purpose: Purpose, owner: bytes) -> None:
        self.plans.pop(bytes((purpose,)) + owner, None)


class _KeepsDialling(Core):
    def _make_concerns(self) -> None:
        super()._make_concerns()
        self.dials = _Tireless(self)


class _KeepsLate(Core):
    """A dial that connects after it was called off is kept open."""

    def _dispatch(self, fact: object) -> None:
        flight = self.dials.flights.get(fact.dial) if isinstance(fact, Dialled) else None
        late = flight is not None and flight.cancelled
        super()._dispatch(fact)  # type: ignore[arg-type]
        if late and isinstance(fact, Dialled):
            token = fact.connection.token
            self._actions = [a for a in self._actions if getattr(a, "token", None) != token]


class _Roomy(LettingGo):
    """Nobody goes when the table is over its cap."""

    def on_peer_up(self, name: bytes) -> None:
        self.core.count("surplus.ignored")


class _Overfull(Core):
    def _make_concerns(self) -> None:
        super()._make_concerns()
        self.letting_go = _Roomy(self)


class _Late(Core):
    """The Confirmation goes out on the secondary, which is about to be closed."""

    def send(self, link: Link, kind: FrameKind, record: object, priority: int = 0) -> None:
        attempt = self.attempts.get(link.attempt)
        if kind is FrameKind.CONFIRMATION and attempt is not None and attempt.secondary:
            link = self.links[attempt.secondary]
        super().send(link, kind, record, priority)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule that is off, and the setting in which it shows."""

    text: str
    setting: Setting
    breach: Breach
    """What comes of it."""


def _at(
    scene: str, make_core: Callable[[CoreConfig], Core], budget: Budget | None = None
) -> Setting:
    return Setting(scene=scene, make_core=make_core, budget=budget or Budget())


_CROSSING: Final = Budget(asks=(0, 1))

BROKEN: Final = {
    "both-yield": Broken(
        "no rule for crossing requests: each drops its own",
        _at("crossing", _with_connecting(responding=_BothYield), _CROSSING),
        Breach.APART,
    ),
    "neither-yields": Broken(
        "no rule for crossing requests: each ignores the other's",
        _at("crossing", _with_connecting(responding=_NeitherYields), _CROSSING),
        Breach.APART,
    ),
    "no-ack": Broken(
        "B consolidates without the Ack", _at("one", Unacknowledged), Breach.UNGREETED
    ),
    "no-confirmation": Broken(
        "B does not confirm", _at("one", _with_connecting(responding=_Silent)), Breach.APART
    ),
    "no-proof": Broken(
        "B confirms before it has been dialled",
        _at("one", _with_connecting(responding=_Unproved)),
        Breach.APART,
    ),
    "hasty-requester": Broken(
        "A consolidates without the Confirmation",
        _at("one", _with_connecting(_Hasty)),
        Breach.APART,
    ),
    "misplaced-confirmation": Broken(
        "the Confirmation goes out on the secondary", _at("one", _Late), Breach.APART
    ),
    "secondary-lost": Broken(
        "losing the secondary ends the attempt at A",
        _at("one", _with_connecting(_Fragile)),
        Breach.APART,
    ),
    "primary-lost": Broken(
        "losing the primary does not end the attempt",
        _at("one", _with_connecting(_Oblivious), Budget(breaks=1)),
        Breach.LOCAL,
    ),
    "deadlines": Broken(
        "A's deadline is before B's", _at("one", _with_connecting(_Impatient)), Breach.OUTLIVED
    ),
    "no-resend": Broken(
        "a request is sent once",
        _at("one", _with_connecting(_Once), Budget(losses=1)),
        Breach.APART,
    ),
    "no-riding": Broken(
        "the response does not ride in Hello(PRIMARY)",
        _at("one", _with_connecting(_Unridden), Budget(losses=1)),
        Breach.APART,
    ),
    "forgetful": Broken(
        "a request that comes again is a new one",
        _at("crossing", _with_connecting(responding=_Forgetful), _CROSSING),
        Breach.APART,
    ),
    "expiry": Broken(
        "an attempt that expires closes nothing",
        _at("one", _with_attempts(_LeavesAll), Budget(expiries=1)),
        Breach.LOCAL,
    ),
    "secondary-left": Broken(
        "an attempt that consolidates keeps its secondary",
        _at("one", _with_attempts(_LeavesSecondary)),
        Breach.LOCAL,
    ),
    "no-hello-deadline": Broken(
        "who says no Hello may stay", _at("one", _with_attempts(_Hospitable)), Breach.LOCAL
    ),
    "dials-go-on": Broken(
        "the end of an attempt does not call off its dials",
        _at("one", _KeepsDialling, Budget(expiries=1)),
        Breach.LOCAL,
    ),
    "late-dial": Broken(
        "a dial that connects when it was called off stays open",
        _at("one", _KeepsLate, Budget(expiries=1)),
        Breach.OWNER,
    ),
    "no-probe": Broken(
        "who is held is refused, though the old connection is dead",
        _at("kept", _with_connecting(responding=_Incurious), Budget(crashes=1)),
        Breach.APART,
    ),
    "incarnation": Broken(
        "an attempt with a process that is gone goes on",
        _at("kept", _with_connecting(responding=_Undiscerning), Budget(crashes=1)),
        Breach.APART,
    ),
    "no-order": Broken(
        "a late request of a process that is gone ends the attempt of the younger one",
        _at("kept", _with_connecting(responding=_Unordered), Budget(crashes=1)),
        Breach.APART,
    ),
    "no-heir": Broken(
        "A keeps to the process that answered, though a younger one answers too",
        _at("kept", _with_connecting(_Loyal), Budget(crashes=1)),
        Breach.APART,
    ),
    "over-full": Broken(
        "nobody goes when the table is over its cap",
        _at("full", _Overfull, Budget(fills=1)),
        Breach.LOCAL,
    ),
}
"""By what each lacks."""
