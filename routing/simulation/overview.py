"""What matters of one core to those who explore pairs of them; worked out once for each state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from routing.core import Core
from routing.limits import Nanos
from routing.state import LinkRole

__all__ = ["Due", "Held", "Trial", "View", "fire_early", "view_of"]

ATTEMPT: Final = "attempt"
HELLO: Final = "hello"

PENDING: Final = {
    "admit": "a contact",
    "dial": "the next dial",
    "felt": "its feeler",
    "primary": "the primary",
    "probe": "its probe",
    "reach": "a check",
    "relay": "a joiner",
    "resend": "sending again",
    "secondary": "the secondary",
    "vouch": "an inquiry",
}
"""Alarms of what is pending; others are a node's daily business."""


@dataclass(frozen=True, slots=True)
class Held:
    """One connection as its core sees it."""

    role: LinkRole
    key: bytes
    attempt: bytes


@dataclass(frozen=True, slots=True)
class Trial:
    """One live attempt."""

    id: bytes
    name: bytes
    requester: bool
    expected: bool
    deadline: int


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """One deadline of something pending."""

    at: int
    kind: str
    subject: bytes
    what: str
    """For people."""


@dataclass(frozen=True, slots=True)
class View:
    """One core."""

    table: tuple[tuple[bytes, bytes, int], ...]
    """(name, key, token)."""
    links: dict[int, Held]
    trials: tuple[Trial, ...]
    due: tuple[Due, ...]
    """Everything pending, the first due first."""
    next_due: int | None
    """The next deadline of anything at all."""
    pending: tuple[str, ...]
    """What keeps the core from being at rest."""

    @property
    def names(self) -> tuple[bytes, ...]:
        """Those in the table."""
        return tuple(name for name, _, _ in self.table)

    @property
    def attempted(self) -> tuple[bytes, ...]:
        """Those with whom an attempt is under way."""
        return tuple(trial.name for trial in self.trials)


def view_of(core: Core) -> View:
    """Return what matters of a core."""
    attempts, dials = core.attempts, core.dials
    rows = [(name, core.table.key(name), core.table.token(name)) for name in core.table.names()]
    live = attempts.live()
    unknown = attempts.unknown.deadlines(now=core.now)
    due = [Due(each.deadline, ATTEMPT, each.id, "an attempt") for each in live]
    due += [Due(int(at), HELLO, c.token.to_bytes(8, "big"), "a Hello") for c, _, at in unknown]
    due += [
        Due(at, kind, subject, PENDING[kind])
        for at, kind, subject in core.alarms.export()
        if kind in PENDING
    ]
    pending = [f"attempt {attempts.describe(attempt)}" for attempt in live]
    pending += ["unknown connection" for _ in unknown]
    pending += [f"dial {number}" for number in dials.flights]
    pending += ["plan of dials" for _ in dials.plans]
    return View(
        table=tuple((name, key or b"", token or 0) for name, key, token in rows),
        links={
            token: Held(link.role, link.key, link.attempt) for token, link in core.links.items()
        },
        trials=tuple(
            Trial(each.id, each.name, each.requester, each.expected, each.deadline) for each in live
        ),
        due=tuple(sorted(due)),
        next_due=core.next_deadline(),
        pending=tuple(pending),
    )


def fire_early(core: Core, due: Due, now: Nanos) -> None:
    """Let a deadline fire at once, as with a timer that is wrong; nothing else is early."""
    core.on_deadline(now)
    attempts = core.attempts
    if due.kind == ATTEMPT:
        attempt = attempts.get(due.subject)
        if attempt is not None:
            attempts.extend(attempt, 1)
    elif due.kind == HELLO:
        link = core.links.get(int.from_bytes(due.subject, "big"))
        if link is not None:
            attempts.known = False
            attempts.unknown.touch(link.connection, now=core.now, ttl=1)
    else:
        core.alarm(due.kind, due.subject, 1)
    core.on_deadline(Nanos(core.now + 1))
