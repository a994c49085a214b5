"""One simulated host: drives one real core exactly as a service would, on the virtual clock.

It hands in facts, executes the actions in order, and keeps one wake-up for the deadline. It decides
nothing; what a core may not do (name a dead token, dial twice under one number, leave a deadline in
the past) is a `Violation` at once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from routing import actions as do
from routing._tokens import TokenTable
from routing.core import Core
from routing.errors import CloseCode, NameBound, TokenTableFull
from routing.events import BootstrapFinished, BootstrapStarted, Disconnected, Event, Message
from routing.hop_shares import sent_again
from routing.inputs import (
    BootstrapRequested,
    DescriptorsRanShort,
    DialFailed,
    Dialled,
    Input,
    Listening,
    StopRequested,
)
from routing.limits import SECOND, Limits, Nanos
from routing.messages import FrameKind
from routing.simulation.clock import Clock
from routing.simulation.dialling import Dialling, PendingDial
from routing.simulation.holding import Holding
from routing.simulation.links import Links
from routing.simulation.trace import Trace
from routing.simulation.wires import KERNEL_BYTES, End, Lane
from routing.state import Connection, Direction, Token

__all__ = ["Host", "Network", "Violation", "Witness"]

TOKENS_MAX = 2_048
"""Connections of one simulated host."""

TELL_SHORT_NS = 10 * SECOND
"""A shortage of descriptors is told at most so often."""

TOLD_MAX = 256
"""Events, messages and answers remembered of each host, for tests and reports."""


class Violation(AssertionError):
    """A core, or the network of them, did what must never be.

    `reported` says that the text already tells seed, time, last events and how to see it again.
    """

    def __init__(self, text: str, *, reported: bool = False) -> None:
        super().__init__(text)
        self.reported = reported


class Witness(Protocol):
    """Somebody who looks on at all messages of applications, and changes nothing."""

    def sent(self, end: End, kind: FrameKind, body: bytes) -> None:
        """A host puts a frame on a connection."""

    def delivered(self, host: Host, message: Message) -> None:
        """A host hands a message to its application."""

    def answered(self, host: Host, action: do.Answered | do.Failed) -> None:
        """A host tells its application what came of a message."""


class Network:
    """What all hosts of one world share."""

    __slots__ = (
        "acting",
        "after",
        "clock",
        "dialling",
        "holds_up",
        "limits",
        "links",
        "trace",
        "witness",
    )

    def __init__(self, clock: Clock, links: Links, limits: Limits, trace: Trace) -> None:
        self.clock = clock
        self.links = links
        self.dialling = Dialling(links)
        self.limits = limits
        self.trace = trace
        self.holds_up = False
        """Relays do not read what they cannot pass on, and copies give way, as in the service."""
        self.after: Callable[[Host], None] = _nothing
        """Called after every step of a host: the invariants."""
        self.acting: Host | None = None
        """Whose step is under way, for the report of what goes wrong in it."""
        self.witness: Witness | None = None


class Host:
    """One node or client of the simulated network."""

    def __init__(
        self,
        network: Network,
        index: int,
        address: str,
        core: Core,
        *,
        tag: bytes,
        client: bool,
        identity: int,
    ) -> None:
        self.network = network
        self.index = index
        self.address = address
        self.core = core
        self.tag = tag
        self.client = client
        self.identity = identity
        """Which key it has; a restarted node keeps that of its former life."""
        self.alive = self.gone = self.asleep = False
        self.online = True
        self.honest = True
        """Its core is one; false for a liar, of whom nothing is required."""
        self.side = 0
        self.lag = 0
        """How far its clock is behind that of the world: it has stood still for so long."""
        self.read_bytes_s = 0
        self.descriptors: int | None = None
        """How many connections and dials its system allows; None for any number."""
        self.waiting: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self.unread: deque[Lane] = deque()
        self._failing: list[tuple[End, str]] = []
        self._told_short_at = -TELL_SHORT_NS
        self.tokens = TokenTable(TOKENS_MAX)
        self.ends: dict[Token, End] = {}
        self.dials: dict[int, PendingDial] = {}
        self.certificate: bytes | None = None
        self.events: deque[tuple[Nanos, Event]] = deque(maxlen=TOLD_MAX)
        self.messages: deque[Message] = deque(maxlen=TOLD_MAX)
        self.answers: deque[do.Answered | do.Failed] = deque(maxlen=TOLD_MAX)
        self.progress: dict[int, tuple[int, int]] = {}
        """Reference of a large message -> (bytes acknowledged, of how many)."""
        self.counts: Counter[str] = Counter()
        read_on = network.links.read_on
        self.holding = Holding(network.clock, network.limits, self.counts, read_on)
        self.steps = 0
        self.started_at = Nanos(0)
        self.idle_since = Nanos(0)
        """When it last began or ended a bootstrap round, lost its network, or woke."""
        self.changes = 0
        """Counts what may change who is connected with whom."""
        self._due = 0
        """The deadline that the wake-up is for."""
        self._wake_at: int | None = None
        self._ports = 0
        self._answering: int | None = None
        self._execute = self._verbs()

    def _verbs(self) -> dict[type, Callable[..., None]]:
        return {
            do.Dial: self._dial,
            do.CancelDial: self._cancel_dial,
            do.Send: self._send,
            do.Trust: self._trust,
            do.Bind: self._bind,
            do.Close: self._close,
            do.Unlisten: self._unlisten,
            do.Tell: self._tell,
            do.Deliver: self._deliver,
            do.DeliverMany: lambda action: action.to(self._take),
            do.Answered: self._answered,
            do.Failed: self._answered,
            do.Relieved: lambda action: None,
            do.Progress: self._progressed,
            do.KeepCertificate: self._keep,
        }

    @property
    def key(self) -> bytes:
        """The key of the core."""
        return self.core.key

    @property
    def now(self) -> Nanos:
        """What its clock shows."""
        return Nanos(self.network.clock.now - self.lag)

    @property
    def short(self) -> bool:
        """It has no descriptor left."""
        used = len(self.ends) + len(self.dials)
        return self.descriptors is not None and used >= self.descriptors

    # -- a host's life

    def start(self) -> None:
        """Listen, unless it is a client, and look for a network."""
        self.listen()
        self.hear(BootstrapRequested())

    def listen(self) -> None:
        """Run, and listen unless it is a client."""
        self.alive = True
        self.started_at = self.idle_since = self.network.clock.now
        if not self.client:
            self.network.dialling.listening[self.address] = self
            self.hear(Listening([self.address]))

    def settle_in(self) -> None:
        """Go on from where the core has been placed: its state follows from what it holds."""
        self.network.acting = self
        self.core.bootstrapping.begun = True
        self.core.on_deadline(self.now)
        self._settle()

    def stop(self) -> None:
        """Stop in good order: everything is closed with a code."""
        self.hear(StopRequested())
        if self.ends or self.core.next_deadline() is not None:
            raise self.violation(f"stopped with {len(self.ends)} connections or a deadline left")
        self.leave()

    def leave(self) -> None:
        """Run no more; the address is free again."""
        self.alive = False
        listening = self.network.dialling.listening
        if not self.gone and listening.get(self.address) is self:
            del listening[self.address]
        self.dials.clear()
        self.waiting.clear()

    def fall_asleep(self) -> None:
        """Do nothing more, and answer nobody, until `wake_up`."""
        self.asleep = True
        self.network.links.fall_asleep(self)

    def wake_up(self, slept_ns: int, *, counted: bool) -> None:
        """Go on after a sleep of so long, in which the own clock has gone on (`counted`) or not."""
        self.asleep = False
        if not counted:
            self.lag += slept_ns
        if not self.alive:
            return
        clock = self.network.clock
        self.idle_since = clock.now
        while self.waiting:
            call, arguments = self.waiting.popleft()
            clock.at(clock.now, call, *arguments)
        self.network.links.wake(self, slept_ns, counted=counted)
        due = self.core.next_deadline()
        if due is not None:
            self._arm(due)

    def turned_away(self) -> None:
        """Somebody knocked who could not be accepted: the core hears of it now and then."""
        self.counts["turned away"] += 1
        now = self.network.clock.now
        if now >= self._told_short_at + TELL_SHORT_NS:
            self._told_short_at = now
            used = len(self.ends) + len(self.dials)
            self.hear(DescriptorsRanShort(used, self.descriptors or used))

    # -- facts in, actions out

    def hear(self, fact: Input) -> None:
        """Hand a fact to the core and do what it says; the dead hear nothing."""
        if not self.alive:
            return
        if self.asleep:
            self.waiting.append((self.hear, (fact,)))
            return
        network = self.network
        network.acting = self
        now = network.clock.now
        network.trace.fact(now, self.index, fact)
        self._answering = fact.dial if isinstance(fact, Dialled | DialFailed) else None
        self.core.handle(fact, Nanos(now - self.lag))
        self._settle()

    def _wake(self, at: int) -> None:
        if not self.alive or at != self._wake_at:
            return
        self._wake_at = None
        if self.asleep:
            return
        due = self.core.next_deadline()
        now = self.now
        if due is None:
            return
        if due > now:
            self._arm(due)
            return
        self.network.acting = self
        self.network.trace.wake(self.network.clock.now, self.index)
        self.core.on_deadline(now)
        self._settle()
        due = self.core.next_deadline()
        if due is not None and due <= now:
            raise self.violation(f"deadline {due} is not after {now} although it was just served")

    def _settle(self) -> None:
        self.steps += 1
        actions = self.core.take_actions()
        now, trace = self.network.clock.now, self.network.trace
        for action in actions:
            trace.action(now, self.index, action)
            self._execute[type(action)](action)
        if self.core.take_actions():
            raise self.violation("actions appear without an input")
        due = self.core.next_deadline()
        if due is not None and (self._wake_at is None or due < self._due):
            self._arm(due)
        self.network.after(self)
        while self._failing:
            end, text = self._failing.pop()
            self.network.links.abort(end, CloseCode.SLOW_READER, text)

    def _arm(self, due: int) -> None:
        self._due = due
        links, clock = self.network.links, self.network.clock
        late = links.random.randint(0, links.weather.lateness_ns)
        self._wake_at = max(due + self.lag, clock.now) + late
        clock.at(self._wake_at, self._wake, self._wake_at)

    # -- connections

    def adopt(self, end: End, direction: Direction, peer: str) -> Connection | None:
        """Give an end its token; None if the table is full."""
        try:
            token = Token(self.tokens.add(end))
        except TokenTableFull:
            return None
        end.token = token
        self.ends[token] = end
        local = self.address
        if direction is Direction.OUTBOUND:
            self._ports += 1
            local = f"{self.address.rpartition(':')[0]}:{32_768 + self._ports % 28_000}"
        return Connection(token, "tcp", peer, local, direction)

    def release(self, end: End) -> None:
        """Take the token back."""
        if end.open:
            self.tokens.remove(end.token)
            del self.ends[end.token]
            end.token = Token(0)
            self.holding.forget(end)
            self.changes += 1

    def _end(self, token: Token, action: str) -> End:
        end = self.tokens.get(token)
        if not isinstance(end, End):
            raise self.violation(f"{action} names token {token:#x}, which is dead or never was")
        return end

    # -- actions

    def _dial(self, action: do.Dial) -> None:
        if action.dial in self.dials:
            raise self.violation(f"dial {action.dial} is begun twice")
        self.network.dialling.dial(self, action)

    def _cancel_dial(self, action: do.CancelDial) -> None:
        pending = self.dials.get(action.dial)
        if pending is None and action.dial == self._answering:
            # A deadline that was late is run first and gives up what has just been answered.
            return
        if pending is None:
            raise self.violation(f"dial {action.dial} is cancelled but answered or never begun")
        self.network.dialling.cancel(pending)

    def _send(self, action: do.Send) -> None:
        end, limits = self._end(action.token, "Send"), self.network.limits
        if len(action.body) > limits.frame_bytes_max:
            raise self.violation(f"frame of {len(action.body)} bytes exceeds frame_bytes_max")
        if not end.far.trusted and len(action.body) > limits.frame_bytes_before_hello:
            raise self.violation(f"{len(action.body)} bytes exceed frame_bytes_before_hello")
        if end.out.bytes > KERNEL_BYTES and not self._may_queue(end, action):
            return
        if self.network.witness is not None:
            self.network.witness.sent(end, action.kind, action.body)
        self.network.links.send(end, action.kind, action.body)
        if action.kind is FrameKind.ROUTED and self.network.holds_up:
            self.holding.passed_on(end.out, len(action.body))

    def _may_queue(self, end: End, action: do.Send) -> bool:
        """Tell whether there is memory for a frame that waits for a slow reader.

        Whoever needs more than his share is lost as soon as this step is done.
        """
        bound = self.network.limits.write_bytes_max
        if end.failing:
            self.counts["late.send"] += 1
            return False
        again = sent_again(action)
        gives_way = again == "bulk" or (again and self.network.holds_up)
        if gives_way and end.out.backlog > bound // 2:
            self.counts[f"{again}.dropped"] += 1
            return False
        if end.out.backlog <= bound:
            return True
        self.counts["slow.queue_full"] += 1
        end.failing = True
        self._failing.append((end, "more is queued than one peer may have"))
        return False

    def _trust(self, action: do.Trust) -> None:
        self._end(action.token, "Trust").trusted = True

    def _bind(self, action: do.Bind) -> None:
        end = self._end(action.token, "Bind")
        self.changes += 1
        try:
            self.tokens.bind(action.token, action.name)
        except NameBound as error:
            raise self.violation(f"Bind: another connection holds the name: {error}") from error
        if not end.trusted:
            raise self.violation(f"token {action.token:#x} is bound before it is trusted")

    def _close(self, action: do.Close) -> None:
        self.network.links.close(self._end(action.token, "Close"), action.code, action.text)

    def _unlisten(self, action: do.Unlisten) -> None:
        self.client = True
        if self.network.dialling.listening.get(self.address) is self:
            del self.network.dialling.listening[self.address]

    def _tell(self, action: do.Tell) -> None:
        self.changes += 1
        self.counts[type(action.event).__name__] += 1
        if isinstance(action.event, BootstrapStarted | BootstrapFinished | Disconnected):
            self.idle_since = self.network.clock.now
        self.events.append((self.network.clock.now, action.event))

    def _deliver(self, action: do.Deliver) -> None:
        self._take(action.message)

    def _take(self, message: Message) -> None:
        self.counts["Deliver"] += 1
        self.messages.append(message)
        if self.network.witness is not None:
            self.network.witness.delivered(self, message)

    def _answered(self, action: do.Answered | do.Failed) -> None:
        self.counts[type(action).__name__] += 1
        self.answers.append(action)
        if self.network.witness is not None:
            self.network.witness.answered(self, action)

    def _progressed(self, action: do.Progress) -> None:
        self.counts["Progress"] += 1
        self.progress[action.reference] = (action.done, action.total)
        if len(self.progress) > TOLD_MAX:
            del self.progress[next(iter(self.progress))]

    def _keep(self, action: do.KeepCertificate) -> None:
        self.certificate = action.certificate

    def violation(self, text: str) -> Violation:
        """Return a violation at this host; the caller raises it."""
        return Violation(f"node {self.index}: {text}")


def _nothing(host: Host) -> None:
    """Before a world looks on."""
