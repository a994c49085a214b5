"""Looking for a network: contacts, rounds, back-off, and what follows a total loss.

One round at a time, for ever; the first contact that admits us wins and the others are closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from routing import events as told
from routing.book import ContactBook
from routing.dials import Purpose
from routing.endpoints import parse, select
from routing.errors import CloseCode, DialFailure, Outcome, Refusal, UsageError
from routing.events import RoundOutcome
from routing.limits import Limits
from routing.links import Link
from routing.messages import Admit, HelloRole, Refuse
from routing.names import short
from routing.state import Detail, LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Bootstrapping", "fresh_book"]

BACKOFF_DOUBLINGS_MAX = 16


class Round(Struct):
    """One round under way."""

    number: int
    waiting: list[str]
    tried: list[str]
    answers: list[int]
    """Reasons of the refusals that came."""


class Bootstrapping:
    """Rounds of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.round: Round | None = None
        self.rounds = 0
        self.begun = False
        self.backoff = 0
        """Rounds in a row that came to nothing."""
        self.disconnected_at = 0
        self.configured: list[str] = []

    @property
    def running(self) -> bool:
        """A round is under way."""
        return self.round is not None

    def configure(self, contacts: tuple[str, ...]) -> None:
        """Take in the configured contacts; they are never forgotten."""
        for contact in contacts:
            endpoint = parse(contact)
            self.configured.append(str(endpoint))
            self.core.book.configure(endpoint)

    def has_contacts(self) -> bool:
        """Tell whether there is anybody we could ever ask."""
        return bool(self._candidates(ready_only=False))

    def _candidates(self, *, ready_only: bool = True) -> list[str]:
        core = self.core
        book = core.book
        listed = book.candidates(core.now) if ready_only else book.all_contacts()
        return [str(endpoint) for endpoint in listed if str(endpoint) not in core.endpoints]

    def proxy(self) -> Link | None:
        """Return the connection to a proxy that has admitted us, or None."""
        for link in self.core.links.values():
            if link.role is LinkRole.BOOTSTRAP and link.admitted:
                return link
        return None

    def admitted_count(self) -> int:
        """Return how many proxies have admitted us (feelers do not count)."""
        # A loop and no generator: the state of a core is computed at every step.
        count = 0
        for link in self.core.links.values():
            if link.role is LinkRole.BOOTSTRAP and link.admitted:
                count += 1
        return count

    # -- rounds

    def begin(self) -> None:
        """The host is ready: a fresh process starts at once."""
        if self.begun:
            return
        self.begun = True
        self.disconnected_at = self.core.now
        self.core.naming.on_begun()
        if self.core.founding.may_found_at_start():
            self.core.founding.found("first, without contacts")
            return
        self._start_round()

    def on_contacts_learnt(self, endpoints: list[str]) -> None:
        """The user names endpoints: they count as configured."""
        core = self.core
        for text in endpoints:
            try:
                endpoint = parse(text)
            except UsageError:
                core.count("contact.unparsable")
                continue
            if not self._configure(str(endpoint)):
                core.count("contact.too_many")
                continue
            core.feelers.hint(str(endpoint))
        if not self.begun or core.detail is not Detail.DISCONNECTED:
            return
        if self.round is None:
            core.alarm("round", b"", 1)

    def _configure(self, text: str) -> bool:
        if text in self.configured:
            return True
        if len(self.configured) >= self.core.limits.contacts_max:
            return False
        self.configured.append(text)
        self.core.book.configure(parse(text))
        return True

    def on_round_due(self, _subject: bytes) -> None:
        """Alarm: the pause between two rounds is over."""
        if self.round is None and self.core.detail is Detail.DISCONNECTED:
            self._start_round()

    def _start_round(self) -> None:
        core = self.core
        core.alarms.cancel(("round", b""))
        contacts = self._candidates()
        if not contacts and self.has_contacts():
            ready = core.book.next_ready(core.now)
            wait = (ready or core.now) - core.now
            core.alarm("round", b"", max(core.limits.round_stagger_ns, wait))
            return
        self.rounds += 1
        self.round = Round(self.rounds, contacts, [], [])
        core.cause = f"round {self.rounds}"
        core.count("round.started")
        core.tell(told.BootstrapStarted(self.rounds, len(contacts)))
        self._pump()

    def _pump(self) -> None:
        """Keep up to three contacts under way, 250 ms apart; end the round when none is left."""
        core, round_ = self.core, self.round
        if round_ is None:
            return
        while round_.waiting and self._under_way() < core.limits.round_dials:
            if ("stagger", b"") in core.alarms:
                return
            contact = round_.waiting.pop(0)
            if contact in round_.tried:
                continue
            round_.tried.append(contact)
            core.alarm("stagger", b"", core.limits.round_stagger_ns)
            core.dials.start(Purpose.BOOTSTRAP, contact.encode(), [contact])
            if self.round is not round_:
                return
        if not round_.waiting and not self._under_way():
            self._finish_unadmitted()

    def on_stagger(self, _subject: bytes) -> None:
        """Alarm: the next contact may be dialled."""
        self._pump()

    def _under_way(self) -> int:
        core = self.core
        dialling = sum(
            1
            for flight in core.dials.flights.values()
            if flight.purpose is Purpose.BOOTSTRAP and not flight.cancelled
        )
        asked = sum(
            1
            for link in core.links.values()
            if link.role is LinkRole.BOOTSTRAP and not link.admitted
        )
        return dialling + asked

    def _finish(self, outcome: RoundOutcome) -> None:
        """End the round: whatever it still has under way is given up."""
        core = self.core
        if self.round is None:
            return
        number, self.round = self.round.number, None
        core.alarms.cancel(("stagger", b""))
        for plan in list(core.dials.plans):
            if plan[0] == Purpose.BOOTSTRAP:
                core.dials.cancel(Purpose.BOOTSTRAP, plan[1:])
        for link in core.links_of(LinkRole.BOOTSTRAP):
            if not link.admitted:
                self._hang_up(link, CloseCode.NORMAL)
        core.count(f"round.{outcome.name.lower()}")
        core.tell(told.BootstrapFinished(number, outcome))

    def _finish_unadmitted(self) -> None:
        core, round_ = self.core, self.round
        assert round_ is not None
        if not round_.tried:
            outcome = RoundOutcome.NO_CONTACTS
        elif not round_.answers:
            outcome = RoundOutcome.NO_ANSWER
        else:
            outcome = RoundOutcome.REFUSED
        lost = round_.answers and all(reason == Refusal.NOT_CONNECTED for reason in round_.answers)
        self._finish(outcome)
        weighed = (
            RoundOutcome.NO_ANSWER if outcome is RoundOutcome.REFUSED and not lost else outcome
        )
        if core.founding.after_round(weighed):
            return
        self._pause()

    def _pause(self) -> None:
        """Full jitter: a time drawn from nothing up to the back-off, which doubles to a minute."""
        core, limits = self.core, self.core.limits
        doublings = min(self.backoff, BACKOFF_DOUBLINGS_MAX)
        top = min(limits.bootstrap_backoff_first_ns << doublings, limits.bootstrap_backoff_last_ns)
        self.backoff += 1
        core.alarm("round", b"", core.dice.between(1, top))

    # -- one contact

    def on_dialled(self, link: Link) -> None:
        """A contact answered the dial: say Hello, wait for Admit."""
        core = self.core
        link.role = LinkRole.BOOTSTRAP
        core.addresses.learn_local(link)
        core.reachability.on_hello_said()
        core.connecting.say_hello(link, HelloRole.CLIENT if core.client else HelloRole.JOIN)
        core.alarm("admit", link.token.to_bytes(8, "big"), core.limits.admit_timeout_ns)

    def on_dials_failed(self, contact: str, reason: DialFailure) -> None:
        """A contact cannot be dialled."""
        if reason is not DialFailure.SELF:
            self.core.book.failed(parse(contact), self.core.now)
        self._pump()

    def on_admit_timeout(self, subject: bytes) -> None:
        """Alarm: the contact neither admits nor refuses."""
        link = self.core.links.get(int.from_bytes(subject, "big"))
        if link is None or link.role is not LinkRole.BOOTSTRAP or link.admitted:
            return
        self.core.book.failed(parse(link.endpoint), self.core.now)
        self._hang_up(link, CloseCode.EXPIRED)
        self._pump()

    def on_admit(self, link: Link, admit: Admit) -> None:
        """The first that admits us wins."""
        core = self.core
        core.alarms.cancel(("admit", link.token.to_bytes(8, "big")))
        if self.round is None or self.proxy() is not None:
            self._hang_up(link, CloseCode.NORMAL)
            return
        link.admitted = True
        link.name = admit.name
        core.throttling.on_admitted(link, admit)
        core.addresses.learn_observed(admit.observed)
        core.book.proved(parse(link.endpoint), core.now)
        core.cause = f"admitted by {short(admit.name)}"
        core.founding.on_admitted()
        core.reachability.on_admitted(link)
        self._finish(RoundOutcome.ADMITTED)
        core.tell(told.Bootstrapped(admit.name, link.endpoint))
        if core.client:
            self.backoff = 0
            core.moving.on_admitted(link)
        else:
            core.naming.begin()

    def on_refuse(self, link: Link, refuse: Refuse) -> None:
        """A contact refuses and names others; both note each other."""
        core = self.core
        core.alarms.cancel(("admit", link.token.to_bytes(8, "big")))
        core.count("refused_by_contact")
        core.note(link.key, f"refused us: {refuse.reason}")
        fresh = self.learn_peer(refuse.contacts, link)
        admitted = link.admitted
        if self.round is not None:
            self.round.answers.append(refuse.reason)
            self.round.waiting[:0] = [c for c in fresh if c not in self.round.waiting]
            del self.round.waiting[64:]
        self._hang_up(link, CloseCode.NORMAL)
        if not admitted:
            self._pump()

    def on_lost(self, link: Link, _code: CloseCode) -> None:
        """A bootstrap connection is gone: harmless once there is a routing connection."""
        core = self.core
        core.alarms.cancel(("admit", link.token.to_bytes(8, "big")))
        if not link.admitted:
            core.book.failed(parse(link.endpoint), core.now)
            self._pump()

    def let_go(self, code: CloseCode) -> None:
        """Close the bootstrap connection: it has served, or has not."""
        for link in self.core.links_of(LinkRole.BOOTSTRAP):
            self._hang_up(link, code)

    def give_up_proxy(self, why: str) -> None:
        """The proxy cannot get us a name or a connection: another contact is next."""
        core = self.core
        for link in core.links_of(LinkRole.BOOTSTRAP):
            core.book.disappointed(parse(link.endpoint), core.now)
        core.cause = why
        self.let_go(CloseCode.NORMAL)

    def _hang_up(self, link: Link, code: CloseCode) -> None:
        self.core.alarms.cancel(("admit", link.token.to_bytes(8, "big")))
        self.core.close(link, code)

    # -- what we learn of others

    def learn_peer(self, endpoints: list[str], link: Link) -> list[str]:
        """Note endpoints told over a connection; return those we may dial and are not ours."""
        core = self.core
        own = core.addresses.own(link)
        allowed, refused = select(endpoints, own, low_ports=core.limits.low_ports)
        if refused:
            core.count("contact.refused")
        fresh = []
        for endpoint in allowed:
            if str(endpoint) in core.endpoints:
                continue
            core.book.learn(endpoint)
            fresh.append(str(endpoint))
        return fresh

    def on_peer_lost(self, endpoints: list[str]) -> None:
        """A peer is gone: the first to feel for later."""
        self.core.feelers.remember_lost(endpoints)

    def contacts_for_others(self) -> list[str]:
        """Return up to 8 endpoints for somebody we refuse, our own proxy first."""
        core = self.core
        proxy = self.proxy()
        listed = [] if proxy is None else [proxy.endpoint]
        for name in core.table.names():
            listed.extend(core.peers.endpoints.get(name, [])[:1])
        listed.extend(self._candidates(ready_only=False))
        unique = list(dict.fromkeys(listed))
        return unique[: core.limits.refuse_contacts]

    # -- losing, founding, stopping

    def on_disconnected(self) -> None:
        """The last connection is gone: hold the name, empty everything, start anew in a while."""
        core, limits = self.core, self.core.limits
        self.disconnected_at = core.now
        core.count("disconnected")
        core.naming.hold_own()
        core.founding.on_disconnected()
        core.attempts.empty(Outcome.DISCONNECTED, CloseCode.NOT_CONNECTED)
        core.proxying.on_disconnected()
        core.feelers.on_disconnected()
        core.membership.on_disconnected()
        core.registrar.on_disconnected()
        core.vouching.on_disconnected()
        core.letting_go.on_disconnected()
        core.filling.on_disconnected()
        core.churning.on_disconnected()
        core.groups.on_disconnected()
        self.let_go(CloseCode.NORMAL)
        mass = core.peers.lost_lately() >= limits.mass_loss_peers
        jitter = limits.mass_loss_jitter_ns if mass else limits.total_loss_jitter_ns
        core.alarm("round", b"", core.dice.between(1, jitter))

    def on_connected(self) -> None:
        """The first routing connection: the back-off starts anew next time."""
        self.backoff = 0

    def on_founded(self) -> None:
        """We founded: no more rounds."""
        self.backoff = 0
        self.core.alarms.cancel(("round", b""))
        self._finish(RoundOutcome.FOUNDED)

    def on_stop(self) -> None:
        """Stopping: the round ends."""
        self._finish(RoundOutcome.STOPPED)


def fresh_book(limits: Limits) -> ContactBook:
    """Return a contact book that knows nobody yet."""
    return ContactBook(
        limits.contacts_max,
        limits.contacts_per_group,
        exempt=limits.exempt_networks,
        backoff_first=limits.contact_backoff_first_ns,
        backoff_last=limits.contact_backoff_last_ns,
    )
