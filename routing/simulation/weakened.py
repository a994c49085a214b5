"""Cores with one lock taken off, for showing that a search finds what the lock keeps out.

Each is the production core with one rule overridden from outside; production code knows nothing of
them, and nothing but a simulation makes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from routing.attempts import Attempt
from routing.bodies import ConnectResponse
from routing.certificates import certified_name
from routing.connecting import Connecting
from routing.core import Core
from routing.dials import Dials
from routing.frames import Frames
from routing.inputs import Accepted, Dialled, Input, changed
from routing.limits import Nanos
from routing.links import Link
from routing.responding import Responding
from routing.simulation.attack import Breach, Setting

__all__ = [
    "WEAKENED",
    "AnyResponder",
    "Unacknowledged",
    "Unbound",
    "Unbudgeted",
    "Weakness",
]

CONSTANT: Final = b"the same on every connection".ljust(32)


class Unbound(Core):
    """Signs and checks a Hello over a constant in place of this connection's channel binding."""

    def handle(self, fact: Input, now: Nanos) -> None:
        """Take in one fact, with the constant for a binding."""
        if isinstance(fact, Accepted | Dialled):
            fact = changed(fact, binding=CONSTANT)
        super().handle(fact, now)


class _Hasty(Responding):
    """B does not wait for the Ack."""

    def match(self, attempt: Attempt) -> None:
        attempt.acked = True
        super().match(attempt)


class _HastyConnecting(Connecting):
    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.responding = _Hasty(core)

    def on_primary_dialled(self, attempt_id: bytes, link: Link) -> None:
        super().on_primary_dialled(attempt_id, link)
        attempt = self.core.attempts.get(attempt_id)
        if attempt is not None:
            self.responding.match(attempt)


class Unacknowledged(Core):
    """Consolidates as responder with its primary up and Hello(SECONDARY) seen, without an Ack."""

    def _make_concerns(self) -> None:
        super()._make_concerns()
        self.connecting = _HastyConnecting(self)
        self.frames = Frames(self)


class _Credulous(Connecting):
    """A takes a response from anybody for one of the target it named."""

    def _accept_response(self, attempt: Attempt, key: bytes, response: ConnectResponse) -> bool:
        asked, attempt.name = attempt.name, certified_name(key, response.certificate)
        try:
            return super()._accept_response(attempt, key, response)
        finally:
            attempt.name = asked


class AnyResponder(Core):
    """Does not compare who answers a request with the name the request was for."""

    def _make_concerns(self) -> None:
        super()._make_concerns()
        self.connecting = _Credulous(self)
        self.frames = Frames(self)


class _Lavish(Dials):
    """No bound for one address."""

    def is_exempt(self, host: str) -> bool:
        return True


class Unbudgeted(Core):
    """Dials an address as often as anybody asks."""

    def _make_concerns(self) -> None:
        super()._make_concerns()
        self.dials = _Lavish(self)


@dataclass(frozen=True, slots=True)
class Weakness:
    """One lock that is off, and the setting in which the next lock does not hide it."""

    setting: Setting
    breach: Breach
    """What comes of it."""


WEAKENED: Final = {
    "binding": Weakness(
        Setting(make_core=Unbound, scene="asking", moves=2, claimed=True, sniff=True),
        Breach.FAR_END,
    ),
    "ack": Weakness(
        Setting(make_core=Unacknowledged, scene="quiet", moves=2, claimed=True),
        Breach.FAR_END,
    ),
    "responder": Weakness(Setting(make_core=AnyResponder, scene="asking", moves=2), Breach.FAR_END),
    "budget": Weakness(Setting(make_core=Unbudgeted, scene="quiet", moves=3), Breach.DIALS),
}
"""By what each lacks."""
