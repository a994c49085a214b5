"""The three timed filters of the two-way connect, and the one way an attempt ends.

`attempts` by id, `expected` by connection we dialled, `unknown` by connection we accepted: each
bounded, each entry with a deadline, and leaving a filter closes what the entry owned. A name has at
most one attempt alive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from routing import actions as do
from routing import events as told
from routing._filter import TimedFilter
from routing.bodies import ConnectRequest, ConnectResponse
from routing.dials import Purpose
from routing.endpoints import source_group
from routing.errors import CloseCode, Outcome, Refusal
from routing.links import Link, host_of
from routing.messages import Certificate, Envelope, Hello
from routing.names import short
from routing.state import Connection, ExpectedConnection, LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Attempt", "Attempts"]


class Attempt(Struct):
    """One try of a pair to connect both ways, at one of its ends."""

    id: bytes
    requester: bool
    name: bytes
    """The peer's."""
    key: bytes
    """The peer's; empty at the requester until a valid response."""
    request: ConnectRequest
    envelope: Envelope
    """The signed request (requester), or the signed response we gave (responder)."""
    request_hash: bytes
    certificate: Certificate | None = None
    """The peer's."""
    endpoints: list[str] = []
    """The peer's, for the contact book."""
    incarnation: bytes = b""
    """The peer's."""
    response: ConnectResponse | None = None
    primary: int = 0
    """Token of the primary, 0 while there is none."""
    secondary: int = 0
    acked: bool = False
    """Responder: the requester's Ack came on the primary."""
    proved: bool = False
    """Responder: Hello(SECONDARY) came, so we can be reached."""
    secondary_failed: bool = False
    """The time for the secondary has run out in full; the responder has been told so."""
    relaxed: bool = False
    """Both ends have signed that they do with one way, if the other cannot be had."""
    sendings: int = 0
    via: int = 0
    """Requester: the token of the proxy it goes through; 0 is our own table."""
    teller: bytes = b""
    """Requester: who told us of the name; the first hop of the first sending."""
    disowned: bool = False
    """Requester: the responder, dialled, knew of no such attempt; so it is asked again."""
    inherited: bool = False
    """Requester: a younger process of the responder has taken it over, which happens once."""
    deadline: int = 0
    """When it expires; one that leaves earlier was evicted."""

    @property
    def expected(self) -> bool:
        """EXPECTED rather than REQUESTED: both sides' statements are in hand."""
        return not self.requester or self.response is not None

    @property
    def unanswered(self) -> bool:
        """Requester: nobody who is there has answered yet."""
        return self.response is None or self.disowned


class Attempts:
    """Store of attempts, expected and unknown connections of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        limits = core.limits
        self.by_id: TimedFilter[bytes, Attempt] = TimedFilter(
            limits.responder_attempt_ns,
            capacity=limits.attempts_max,
            sources=_group_of,
            clock=None,
        )
        self.by_name: dict[bytes, bytes] = {}
        self.expected: TimedFilter[Connection, ExpectedConnection] = TimedFilter(
            limits.responder_attempt_ns + limits.requester_slack_ns,
            capacity=limits.attempts_max,
            clock=None,
        )
        self.unknown: TimedFilter[Connection, Hello | None] = TimedFilter(
            limits.hello_deadline_ns,
            capacity=limits.unauthenticated_max,
            sources=_source_of,
            clock=None,
        )
        self.known = False
        """The filters are as they were when `due` was worked out; who changes them says so."""
        self.due: int | None = None
        """When the earliest of them may expire, while `known`."""
        self.failed: dict[bytes, tuple[int, int]] = {}
        """name -> (failures in a row, when it may be tried again)."""

    # -- looking up

    def get(self, attempt: bytes) -> Attempt | None:
        """Return the live attempt of this id."""
        return self.by_id.get(attempt, now=self.core.now)

    def with_name(self, name: bytes) -> Attempt | None:
        """Return the live attempt with this peer."""
        attempt = self.by_name.get(name)
        return None if attempt is None else self.get(attempt)

    def with_key(self, key: bytes) -> Attempt | None:
        """Return the live attempt whose peer has shown this key."""
        for attempt in self.live():
            if attempt.key == key:
                return attempt
        return None

    def live(self) -> list[Attempt]:
        """Return the live attempts, the one due first first."""
        return [attempt for _, attempt, _ in self.by_id.deadlines(now=self.core.now)]

    def requested_count(self) -> int:
        """Return how many attempts of our own are under way."""
        return sum(1 for attempt in self.live() if attempt.requester)

    def may_try(self, name: bytes) -> bool:
        """Tell whether no attempt with this name is alive and none failed lately."""
        return self.with_name(name) is None and not self.rests(name)

    def rests(self, name: bytes) -> bool:
        """Tell whether attempts with this name failed lately, so that none is begun just now."""
        _, until = self.failed.get(name, (0, 0))
        return self.core.now < until

    # -- coming and going

    def add(self, attempt: Attempt, ttl: int) -> None:
        """Take in a new attempt; the pair has none alive."""
        assert self.with_name(attempt.name) is None, "one attempt per pair"
        self.known = False
        attempt.deadline = self.core.now + ttl
        self.by_id.insert(attempt.id, attempt, now=self.core.now, ttl=ttl)
        self.by_name[attempt.name] = attempt.id

    def extend(self, attempt: Attempt, ttl: int) -> None:
        """Give a live attempt a new deadline."""
        self.known = False
        attempt.deadline = self.core.now + ttl
        self.by_id.touch(attempt.id, now=self.core.now, ttl=ttl)

    def expect(self, link: Link, what: ExpectedConnection, attempt: Attempt) -> None:
        """Enter a connection we dialled for an attempt; it leaves with it at the latest."""
        self.known = False
        link.attempt = attempt.id
        self.expected.insert(link.connection, what, now=self.core.now)

    def hold(self, link: Link, accepted_at: int) -> None:
        """Hold an accepted connection until its Hello; the deadline runs from the accept."""
        self.known = False
        left = accepted_at + self.core.limits.hello_deadline_ns - self.core.now
        self.unknown.insert(link.connection, None, now=self.core.now, ttl=max(1, left))

    def greeted(self, link: Link) -> None:
        """The Hello has come: the connection is unknown no longer."""
        self.known = False
        self.unknown.remove(link.connection)
        self.core.act(do.Trust(link.token))

    def forget_link(self, link: Link) -> None:
        """A connection has been closed or lost: neither filter holds it any longer."""
        self.known = False
        self.expected.remove(link.connection)
        self.unknown.remove(link.connection)

    def end(
        self,
        attempt: Attempt,
        outcome: Outcome,
        code: CloseCode,
        refusal: Refusal | None = None,
    ) -> None:
        """End an attempt: cancel its dials, close its sockets, tell why; the only way out."""
        self.known = False
        self.by_id.remove(attempt.id)
        if self.by_name.get(attempt.name) == attempt.id:
            del self.by_name[attempt.name]
        core = self.core
        core.dials.cancel(Purpose.PRIMARY, attempt.id)
        core.dials.cancel(Purpose.SECONDARY, attempt.id)
        for kind in ("resend", "primary", "secondary"):
            core.alarms.cancel((kind, attempt.id))
        consolidated = outcome is Outcome.CONSOLIDATED
        for token, keep in ((attempt.primary, consolidated), (attempt.secondary, False)):
            link = core.links.get(token)
            if link is not None and not keep:
                core.close(link, CloseCode.SECONDARY_DONE if consolidated else code)
        side = "requester" if attempt.requester else "responder"
        core.count(f"attempt.{side}.{outcome.name.lower()}")
        reason = f" ({refusal.name})" if refusal is not None else ""
        core.note(attempt.name, f"attempt as {side} ended: {outcome.name}{reason}")
        if consolidated:
            self.failed.pop(attempt.name, None)
            return
        if attempt.requester and outcome is not Outcome.LOST_PRIORITY:
            if attempt.request.urgent:
                self.back_off(attempt.name)
            elif refusal is not None:
                core.filling.on_refused(attempt.name, refusal)
            else:
                core.filling.on_failed(attempt.name)
        core.tell(told.ConnectFailed(attempt.name, outcome, refusal, attempt.requester))
        if attempt.requester and not core.stopped:
            core.membership.on_attempt_ended()
            core.feelers.on_attempt_ended()

    def start_over(self, attempt: Attempt) -> None:
        """A younger process of the responder has taken over: let go of what was with the old."""
        core = self.core
        core.dials.cancel(Purpose.SECONDARY, attempt.id)
        core.alarms.cancel(("secondary", attempt.id))
        for token in (attempt.primary, attempt.secondary):
            link = core.links.get(token)
            if link is not None:
                core.close(link, CloseCode.REPLACED)
        attempt.primary = attempt.secondary = 0
        # Proved stays: our Hello may have reached the younger process, which then confirms it.
        attempt.secondary_failed = False
        attempt.disowned, attempt.inherited = False, True
        core.count("attempt.inherited")
        core.note(attempt.name, "a younger process has answered")

    def back_off(self, name: bytes) -> None:
        """Try this name again only after a while, longer each time in a row."""
        limits = self.core.limits
        count, _ = self.failed.pop(name, (0, 0))
        delay = min(limits.retry_name_first_ns << count, limits.retry_name_last_ns)
        self.failed[name] = (min(count + 1, 8), self.core.now + self.core.dice.around(delay, 10))
        if len(self.failed) > limits.attempts_max:
            del self.failed[next(iter(self.failed))]

    def sweep(self) -> None:
        """Close what has aged or been evicted; nothing departed stays behind."""
        core, now = self.core, self.core.now
        if self.known and (self.due is None or now < self.due):
            return
        self.known = False
        for _, attempt in self.by_id.expire(now=now):
            evicted = now < attempt.deadline
            outcome = Outcome.EVICTED if evicted else Outcome.EXPIRED
            self.end(attempt, outcome, CloseCode.EXPIRED)
        for connection, _ in self.expected.expire(now=now):
            link = core.links.get(connection.token)
            if link is not None and link.role in (LinkRole.PRIMARY, LinkRole.SECONDARY):
                core.close(link, CloseCode.EXPIRED)
        for connection, _ in self.unknown.expire(now=now):
            link = core.links.get(connection.token)
            if link is None or link.role is not LinkRole.UNKNOWN:
                continue
            if now < link.since + core.limits.hello_deadline_ns:
                core.count("unknown.evicted")
                core.close(link, CloseCode.FULL, "too many that have not said Hello")
            else:
                core.count("unknown.expired")
                core.close(link, CloseCode.BAD_HELLO, "no Hello in time")

    def empty(self, outcome: Outcome, code: CloseCode) -> None:
        """End every attempt and close every unknown connection."""
        for attempt in self.live():
            self.end(attempt, outcome, code)
        for link in self.core.links_of(LinkRole.UNKNOWN):
            self.core.close(link, code)
        self.sweep()

    def on_stop(self) -> None:
        """End all, silently for the network: the sockets go with code STOPPING."""
        self.empty(Outcome.STOPPED, CloseCode.STOPPING)
        self.by_name.clear()
        self.failed.clear()

    def next_expiry(self) -> int | None:
        """Return when the earliest entry of the three filters may be due."""
        if not self.known:
            self.known, self.due = True, self.earliest()
        return self.due

    def earliest(self) -> int | None:
        """Ask the filters themselves for what `next_expiry` remembers."""
        now = self.core.now
        due = self.by_id.next_expiry(now)
        for each in (self.expected, self.unknown):
            at = each.next_expiry(now)
            if at is not None and (due is None or at < due):
                due = at
        return None if due is None else int(due)

    @property
    def backlog(self) -> int:
        """Return how many departed entries wait; 0 after every step."""
        return self.by_id.backlog + self.expected.backlog + self.unknown.backlog

    def describe(self, attempt: Attempt) -> str:
        """Return one line for people."""
        side = "->" if attempt.requester else "<-"
        return f"{side} {short(attempt.name)} {'expected' if attempt.expected else 'requested'}"


def _group_of(_attempt_id: bytes, attempt: Attempt) -> str | None:
    """Attempts of our own are of no group and go last; others count by where we would dial."""
    if attempt.requester:
        return None
    return source_group(host_of(attempt.endpoints[0])) if attempt.endpoints else ""


def _source_of(connection: Connection, _hello: Hello | None) -> str:
    return source_group(host_of(connection.peer))
