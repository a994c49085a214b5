"""The deterministic heart of a node: facts in, actions out; no clock, no socket.

`Core` owns what all concerns share (links, alarms, the table, the name, the state) and hands every
fact to the one concern it belongs to. The same facts at the same times give the same actions, byte
for byte. A peer's fault is data: `handle` never raises for what a far end did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from msgspec import Struct

from routing import actions as do
from routing import events as told
from routing.addresses import Addresses
from routing.agreement import Agreement
from routing.alarms import Alarms
from routing.answers import Answers
from routing.assembly import Assembling
from routing.attempts import Attempts
from routing.ballots import Ballots
from routing.batching import Batching
from routing.book import ContactBook
from routing.bootstrapping import Bootstrapping, fresh_book
from routing.casting import Casting
from routing.certificates import certified_name, origin_of
from routing.churning import Churning
from routing.connecting import Connecting
from routing.delivery import Delivery
from routing.dials import Dials
from routing.dice import Dice
from routing.errors import CloseCode
from routing.feelers import Feelers
from routing.filling import Filling
from routing.founding import Founding
from routing.frames import Frames
from routing.groups import Groups
from routing.hearers import alarm_handlers, message_handlers
from routing.hops import Hops
from routing.identity import Signer
from routing.inputs import (
    ANSWERED_AT_THE_END,
    ENDINGS,
    Accepted,
    BootstrapRequested,
    ContactsLearnt,
    DescriptorsRanShort,
    DialFailed,
    Dialled,
    FrameReceived,
    Heard,
    Input,
    ListenerLost,
    Listening,
    Lost,
    ReadingHeld,
    StopRequested,
    Submitted,
    SubmittedMany,
    Withdrawn,
)
from routing.journal import Journal
from routing.letting_go import LettingGo
from routing.limits import Limits, Nanos
from routing.links import Link
from routing.lists import Lists
from routing.membership import Membership
from routing.messages import Certificate, FrameKind, decode, encode
from routing.messaging import Messaging
from routing.moving import Moving
from routing.names import client_name
from routing.naming import Naming
from routing.owing import Owing
from routing.parts import Parts
from routing.passing import Passing
from routing.peers import Peers
from routing.probing import Probing
from routing.proxying import Proxying
from routing.reachability import Reachability, Unreachable
from routing.receipts import Receipts
from routing.registrar import Registrar
from routing.relay import Relay
from routing.rivals import Rivals
from routing.seniority import numbered
from routing.snapshots import capture, digest_of, restore
from routing.state import Detail, LinkRole, Phase, State
from routing.suspects import Suspects
from routing.table import RoutingTable
from routing.throttling import Throttling
from routing.vouching import Vouching

__all__ = ["Core", "CoreConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreConfig:
    """What a core is born with; everything random follows from `secret` (32 bytes)."""

    signer: Signer
    secret: bytes
    tag: bytes
    limits: Limits = field(default_factory=Limits)
    client: bool = False
    first: bool = False
    contacts: tuple[str, ...] = ()
    certificate: bytes | None = None
    book: ContactBook | None = None
    relaxed: bool = False
    unreachable: Unreachable = Unreachable.ERROR
    born_ms: int = 0
    """When this process began, milliseconds since 1970: others tell it from earlier ones by it."""


class Core:
    """One node or client. See `handle`, `on_deadline`, `take_actions`, `next_deadline`."""

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        self.limits = config.limits
        self.signer = config.signer
        self.tag = config.tag
        self.client = config.client
        self.key = config.signer.key
        self.client_name = client_name(self.key)
        self.dice = Dice(config.secret)
        self.incarnation = numbered(config.born_ms, self.dice.bytes(8))
        self.filter_secret = self.dice.bytes(32)
        self.now = 0
        self.stopped = False
        self.reading_held = False
        self.cause = "start"
        self.alarms = Alarms()
        self.journal = Journal()
        self.book = config.book if config.book is not None else fresh_book(config.limits)
        self.links: dict[int, Link] = {}
        self.certificate: Certificate | None = None
        self.name: bytes | None = None
        self.table = RoutingTable(self.client_name)
        self._actions: list[do.Action] = []
        self._make_concerns()
        self._alarm_handlers = alarm_handlers(self)
        self.message_handlers = message_handlers(self)
        self.bootstrapping.configure(config.contacts)
        if config.certificate is not None:
            self.naming.hold(decode(Certificate, config.certificate))
        self._settled = self._state_facts()
        self.state = State.of(*self._settled)

    def _make_concerns(self) -> None:
        """Make the parts, one concern each; they find each other through the core."""
        self.addresses = Addresses(self)
        self.dials = Dials(self)
        self.attempts = Attempts(self)
        self.connecting = Connecting(self)
        self.peers = Peers(self)
        self.probing = Probing(self)
        self.bootstrapping = Bootstrapping(self)
        self.founding = Founding(self)
        self.proxying = Proxying(self)
        self.reachability = Reachability(self)
        self.naming = Naming(self)
        self.registrar = Registrar(self)
        self.rivals = Rivals(self)
        self.vouching = Vouching(self)
        self.membership = Membership(self)
        self.letting_go = LettingGo(self)
        self.filling = Filling(self)
        self.churning = Churning(self)
        self.feelers = Feelers(self)
        self.groups = Groups(self)
        self.hops = Hops(self)
        self.suspects = Suspects(self)
        self.relay = Relay(self)
        self.messaging = Messaging(self)
        self.answers = Answers(self)
        self.moving = Moving(self)
        self.throttling = Throttling(self)
        self.delivery = Delivery(self)
        self.owing = Owing(self)
        self.receipts = Receipts(self)
        self.batching, self.lists = Batching(self), Lists(self)
        self.parts = Parts(self)
        self.assembly = Assembling(self)
        self.casting = Casting(self)
        self.ballots = Ballots(self)
        self.agreement = Agreement(self)
        self.frames = Frames(self)
        self.passing = Passing(self)

    # -- the contract

    def handle(self, fact: Input, now: Nanos) -> None:
        """Take in one fact. Deadlines that lie before it are run first, each at its own time."""
        due, target = self.next_deadline(), max(self.now, now)
        if due is not None and due <= target:
            self._advance(now)
        else:
            self.now = target
        self._dispatch(fact)
        self._settle()
        if type(fact) in ENDINGS:
            self._drop_answered(fact)

    def on_deadline(self, now: Nanos) -> None:
        """Run everything due at or before `now`; a spurious call is harmless."""
        self._advance(now)
        self._settle()

    def take_actions(self) -> list[do.Action]:
        """Hand over what the host must do, in order; the next call starts empty."""
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> Nanos | None:
        """Return when `on_deadline` is wanted next, or None: the only timer there is."""
        if self.stopped:
            return None
        alarm, attempts = self.alarms.first, self.attempts
        expiry = attempts.due if attempts.known else attempts.next_expiry()
        if alarm is None or (expiry is not None and expiry < alarm):
            alarm = expiry
        return None if alarm is None else Nanos(alarm)

    def snapshot(self) -> bytes:
        """Return the whole state, canonically; `restore` on a fresh core takes it back."""
        return capture(self)

    def restore(self, state: bytes) -> None:
        """Become what `snapshot` described; this core must be of the same configuration."""
        restore(self, state)
        self._settled = self._state_facts()

    def digest(self) -> bytes:
        """Return 32 bytes; equal states have equal digests."""
        return digest_of(self)

    # -- views

    @property
    def endpoints(self) -> list[str]:
        """Where we say we can be dialled, best first."""
        return self.addresses.advertised

    @property
    def counters(self) -> dict[str, int]:
        """What was counted, by name; refusals and drops each have one."""
        return self.journal.counters

    def explain(self, subject: bytes) -> list[str]:
        """Return the last decisions about a name or key, oldest first, each with its time."""
        return self.journal.explain(subject)

    def links_of(self, *roles: LinkRole) -> list[Link]:
        """Return the open connections of these roles, oldest first."""
        return [link for link in self.links.values() if link.role in roles]

    def link_to(self, name: bytes) -> Link:
        """Return the consolidated connection with a name that is in the table."""
        token = self.table.token(name)
        assert token is not None, "a name in the table has a connection"
        return self.links[token]

    # -- what the concerns share

    def act(self, action: do.Action) -> None:
        """Append one action for the host."""
        self._actions.append(action)

    def tell(self, event: told.Event) -> None:
        """Tell the application."""
        self._actions.append(do.Tell(event))

    def send(self, link: Link, kind: FrameKind, record: Struct | bytes, priority: int = 0) -> None:
        """Queue one frame on an open connection."""
        body = record if isinstance(record, bytes) else encode(record)
        self._actions.append(do.Send(link.token, kind, body, priority))

    def close(self, link: Link, code: CloseCode, text: str = "") -> None:
        """Close a connection and forget it; its owner has let go of it already, or does now."""
        if self.links.pop(link.token, None) is not None:
            self._actions.append(do.Close(link.token, code, text))
            self.attempts.forget_link(link)
            self.receipts.on_closed(link)

    def alarm(self, kind: str, subject: bytes, delay: int) -> None:
        """Make an alarm due `delay` nanoseconds from now, at the earliest one from now."""
        self.alarms.set((kind, subject), self.now + max(1, delay))

    def count(self, what: str) -> None:
        """Count one."""
        self.journal.count(what)

    def note(self, subject: bytes, text: str) -> None:
        """Remember a decision about a name or a key."""
        self.journal.note(subject, self.now, text)

    @property
    def detail(self) -> Detail:
        """The detail as the facts stand this instant, also in the middle of a step."""
        return State.of(*self._state_facts()).detail

    def take_name(self, certificate: Certificate) -> None:
        """Go by the name of this certificate from now on; the table starts anew around it."""
        self.certificate = certificate
        self.name = certified_name(self.key, certificate)
        self.table = RoutingTable(self.name)

    def drop_name(self) -> None:
        """Have no name; the table is empty by now."""
        assert not len(self.table), "a name is dropped with an empty table only"
        self.certificate = None
        self.name = None
        self.table = RoutingTable(self.client_name)

    @property
    def origin(self) -> bytes:
        """What an envelope carries to prove our name, empty while we have none."""
        return b"" if self.certificate is None else origin_of(self.certificate)

    def check(self) -> None:
        """Assert the local invariants; hosts of tests call it after every step."""
        from routing.invariants import check

        check(self)

    # -- the step

    def _advance(self, now: Nanos) -> None:
        target = max(self.now, now)
        while not self.stopped:
            due = self.next_deadline()
            if due is None or due > target:
                break
            self.now = max(self.now, due)
            self.attempts.sweep()
            alarm = self.alarms.pop_due(self.now)
            if alarm is not None:
                self._alarm_handlers[alarm[0]](alarm[1])
            self._settle()
        self.now = target

    def _drop_answered(self, fact: Input) -> None:
        """Drop what a deadline run before the fact wanted of a thing that had ended already.

        A late timer makes the core speak to a connection in the same step in which it hears that
        the connection is lost, or call off a dial that has been answered.
        """
        if isinstance(fact, Lost):
            ended = [a for a in self._actions if getattr(a, "token", None) == fact.token]
        else:
            assert isinstance(fact, Dialled | DialFailed), "other facts end nothing"
            ended = [a for a in self._actions if a == do.CancelDial(fact.dial)]
        if ended:
            self.count("action.too_late")
            self._actions = [a for a in self._actions if not any(a is other for other in ended)]

    def _dispatch(self, fact: Input) -> None:
        if self.stopped and not isinstance(fact, ANSWERED_AT_THE_END):
            return
        match fact:
            case FrameReceived():
                self.frames.on_frame(fact)
            case Submitted():
                self.messaging.on_submitted(fact)
            case Heard():
                self.passing.on_heard(fact)
            case Accepted():
                self.connecting.on_accepted(fact)
            case Dialled():
                self.dials.on_dialled(fact)
            case DialFailed():
                self.dials.on_failed(fact)
            case Lost():
                self._on_lost(fact)
            case SubmittedMany():
                self.batching.on_submitted(fact)
            case Withdrawn():
                self.messaging.on_withdrawn(fact.reference)
            case ReadingHeld():
                self.reading_held = fact.held
            case Listening():
                self.addresses.on_listening(fact.endpoints)
            case DescriptorsRanShort():
                self.count("descriptors.short")
                self.tell(told.DescriptorsShort(fact.used, fact.limit))
            case ListenerLost():
                self.addresses.on_listener_lost(fact.endpoint)
                self.tell(told.ListenerFailed(fact.endpoint, fact.reason))
            case BootstrapRequested():
                self.bootstrapping.begin()
            case ContactsLearnt():
                self.bootstrapping.on_contacts_learnt(fact.endpoints)
            case StopRequested():
                self.stop("stop requested")
            case _:
                assert_never(fact)

    def _on_lost(self, fact: Lost) -> None:
        link = self.links.pop(fact.token, None)
        if link is None:
            self.count("lost.dead_token")
            return
        self.cause = f"lost {link.role.name.lower()} connection: {fact.code.name}"
        self.attempts.forget_link(link)
        self.receipts.on_closed(link)
        self.tell_owner(link, fact.code)

    def tell_owner(self, link: Link, code: CloseCode) -> None:
        """Tell the concern a connection belonged to that it has ended."""
        match link.role:
            case LinkRole.CONSOLIDATED:
                self.peers.on_lost(link, code)
            case LinkRole.PRIMARY | LinkRole.SECONDARY:
                self.connecting.on_lost(link, code)
            case LinkRole.BOOTSTRAP:
                self.bootstrapping.on_lost(link, code)
            case LinkRole.RELAY | LinkRole.CLIENT | LinkRole.FELT:
                self.proxying.on_lost(link)
            case LinkRole.FEELER:
                self.feelers.on_lost(link)
            case LinkRole.UNKNOWN:
                self.count("unknown.ended")
            case _:
                assert_never(link.role)

    def _settle(self) -> None:
        attempts = self.attempts
        if not attempts.known or (attempts.due is not None and attempts.due <= self.now):
            attempts.sweep()
        settled, routing = self._settled, self.table.size
        if routing and (self.client, self.stopped, routing) == settled[:3]:
            return  # with a routing connection the other facts are of no account
        for _ in range(8):
            facts = self._state_facts()
            if facts == self._settled:
                break
            self._settled = facts
            new = State.of(*facts)
            if new == self.state:
                break
            old, self.state = self.state, new
            self._on_state(old, new)
            self.attempts.sweep()
        else:
            raise AssertionError(f"the state does not settle: {self.state}")

    def _state_facts(self) -> tuple[bool, bool, int, int, bool, bool, bool]:
        """Return what the state is a function of, as `State.of` takes it."""
        routing = len(self.table)
        return (
            self.client,
            self.stopped,
            routing,
            # Of no account with a routing connection, and at every step it would be counted.
            0 if routing else self.bootstrapping.admitted_count(),
            self.name is not None,
            self.founding.founder,
            self.bootstrapping.running,
        )

    def _on_state(self, old: State, new: State) -> None:
        if new.detail is not old.detail:
            self.tell(told.StateChanged(old, new, self.cause))
        if new.phase is Phase.CONNECTED and old.phase is not Phase.CONNECTED:
            self.tell(told.Connected())
        if new.phase is Phase.TERMINATED:
            self.tell(told.Terminated())
        elif new.detail is Detail.DISCONNECTED and old.detail is not Detail.DISCONNECTED:
            self.tell(told.Disconnected(self.cause))
            self.bootstrapping.on_disconnected()
        if new.phase is Phase.CONNECTED and old.phase is not Phase.CONNECTED and not self.client:
            self.membership.on_connected()
            self.feelers.on_connected()

    def stop(self, cause: str) -> None:
        """Close everything; nothing more happens here."""
        self.cause = cause
        self.bootstrapping.on_stop()
        self.vouching.on_disconnected()
        self.rivals.on_disconnected()
        self.messaging.on_stop()
        self.parts.on_stop()
        self.assembly.on_stop()
        self.moving.on_stop()
        self.delivery.on_stop()
        self.ballots.on_stop()
        self.casting.on_stop()
        self.receipts.on_stop()
        self.batching.on_stop()
        self.owing.on_stop()
        self.stopped = True
        self.attempts.on_stop()
        self.dials.on_stop()
        for link in list(self.links.values()):
            self.close(link, CloseCode.STOPPING, "stopping")
        self.peers.on_stop()
        self.founding.founder = False
        self.alarms.clear()
