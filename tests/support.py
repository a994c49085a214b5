"""A real core and somebody to talk to it, for tests that read as dialogues; no network, no clock.

`Stage` drives one core as a host would and watches that it keeps its contract (no dead token is
named, every dial has a fresh number). `Wire` is one connection between it and a scripted `Person`.
`Said` is what the core did in return. Time stands still until `Stage.wait`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

from msgspec import Struct

from routing import actions as do
from routing.actions import Action
from routing.bodies import GroupIs
from routing.book import ContactBook
from routing.core import Core, CoreConfig
from routing.errors import CloseCode, DialFailure
from routing.inputs import (
    Accepted,
    BootstrapRequested,
    DialFailed,
    Dialled,
    FrameReceived,
    Input,
    Listening,
    Lost,
)
from routing.limits import Limits, Nanos
from routing.links import Link
from routing.messages import (
    NO_ATTEMPT,
    Ack,
    Admit,
    ClientAddress,
    Envelope,
    FrameKind,
    HelloRole,
    MessageKind,
    Neighbours,
    Signed,
    encode,
)
from routing.reachability import Unreachable
from routing.state import Connection, Direction, LinkRole, Token
from tests.persons import TAG, Person, opened

__all__ = ["Said", "Stage", "Wire", "strict"]

LOCAL = "127.0.0.1:4000"

T = TypeVar("T")
S = TypeVar("S", bound=Struct)


def strict(**changes: object) -> Limits:
    """Return the recommended limits with quotas per address also on loopback."""
    return Limits().but(exempt_networks=(), **changes)


class Said(list[Action]):
    """What a core did in one or more steps, in order."""

    def of(self, kind: type[T]) -> list[T]:
        """Return the actions of one kind."""
        return [action for action in self if isinstance(action, kind)]

    def answers(self) -> list[tuple[int, bytes]]:
        """Return (reference, payload) of every request that was answered."""
        return [(each.reference, each.payload) for each in self.of(do.Answered)]

    def events(self, kind: type[T]) -> list[T]:
        """Return the events of one kind that the application was told."""
        return [each.event for each in self.of(do.Tell) if isinstance(each.event, kind)]

    def bodies(self, wire: Wire, kind: FrameKind) -> list[bytes]:
        """Return the bodies of the frames of one kind sent on a wire."""
        sent = self.of(do.Send)
        return [each.body for each in sent if each.token == wire.token and each.kind is kind]

    def frames(self, wire: Wire, kind: FrameKind, record: type[S]) -> list[S]:
        """Return the records of the frames of one kind sent on a wire."""
        return [opened(record, body) for body in self.bodies(wire, kind)]

    def envelopes(self, wire: Wire, kind: MessageKind) -> list[Envelope]:
        """Return the routed messages of one kind sent on a wire."""
        found = self.frames(wire, FrameKind.ROUTED, Envelope)
        return [each for each in found if opened(Signed, each.signed).kind is kind]

    def messages(self, wire: Wire, kind: MessageKind, record: type[S]) -> list[S]:
        """Return the bodies of the routed messages of one kind sent on a wire."""
        found = self.envelopes(wire, kind)
        return [opened(record, opened(Signed, each.signed).body) for each in found]

    def closed(self, wire: Wire) -> CloseCode | None:
        """Return the code with which a wire was closed, or None."""
        codes = [each.code for each in self.of(do.Close) if each.token == wire.token]
        assert len(codes) <= 1, f"closed {len(codes)} times"
        return codes[0] if codes else None

    def dials(self) -> list[str]:
        """Return the endpoints dialled, in order."""
        return [each.endpoint for each in self.of(do.Dial)]


class Wire:
    """One connection between the core of a stage and a person."""

    def __init__(
        self, stage: Stage, person: Person, connection: Connection, binding: bytes
    ) -> None:
        self.stage = stage
        self.person = person
        self.connection = connection
        self.binding = binding
        self.opening = Said()
        """What the core did when it came up."""

    @property
    def token(self) -> Token:
        return self.connection.token

    @property
    def link(self) -> Link | None:
        """What the core knows of it, None once it is closed or lost."""
        return self.stage.core.links.get(self.token)

    def role(self) -> LinkRole | None:
        """Return what it is to the core, None once it is closed or lost."""
        link = self.link
        return None if link is None else link.role

    @property
    def open(self) -> bool:
        return self.token in self.stage.open

    def say(self, kind: FrameKind, record: Struct | bytes) -> Said:
        """Let the person send one frame."""
        body = record if isinstance(record, bytes) else encode(record)
        return self.stage.hear(FrameReceived(self.token, kind, body))

    def hello(
        self,
        role: HelloRole,
        attempt: bytes = NO_ATTEMPT,
        *,
        endpoints: Sequence[str] | None = None,
        response: bytes = b"",
        lowest: bytes = b"",
    ) -> Said:
        """Let the person say a right Hello."""
        record = self.person.hello(
            role,
            attempt,
            to=self.stage.core.key,
            binding=self.binding,
            endpoints=endpoints,
            response=response,
            lowest=lowest,
        )
        return self.say(FrameKind.HELLO, record)

    def routed(self, envelope: Envelope) -> Said:
        """Let the person send a routed message, its own or another's."""
        return self.say(FrameKind.ROUTED, envelope)

    def names(self, *names: bytes) -> Said:
        """Let a neighbour tell the core of these names."""
        own = self.stage.core.name
        assert own is not None
        return self.say(FrameKind.NEIGHBOURS, Neighbours(own, bytes(8), list(names)))

    def admit(self, *, observed: str = "127.0.0.1") -> Said:
        """Let a proxy admit the core."""
        return self.say(FrameKind.ADMIT, Admit(self.person.name, observed, 0, 0))

    def group_is(self, target: bytes, *names: bytes, proxy: bytes = b"") -> Said:
        """Let the person answer a FindGroup of the core, over this wire."""
        core = self.stage.core
        destination = ClientAddress(proxy or self.person.name, core.key)
        body = GroupIs(target, list(names))
        return self.routed(self.person.seal(MessageKind.GROUP_IS, destination, body))

    def lose(self, code: CloseCode = CloseCode.IO_ERROR) -> Said:
        """Let the connection end from the far end, or by itself."""
        del self.stage.open[self.token]
        return self.stage.hear(Lost(self.token, code, ""))


class Stage:
    """One real core, driven as a host drives it."""

    def __init__(
        self,
        number: int = 0,
        *,
        limits: Limits | None = None,
        contacts: Sequence[str] = (),
        first: bool = False,
        client: bool = False,
        certificate: bytes | None = None,
        book: ContactBook | None = None,
        endpoints: Sequence[str] | None = None,
        relaxed: bool = False,
        unreachable: Unreachable = Unreachable.ERROR,
    ) -> None:
        self.person = Person(number)
        self.config = CoreConfig(
            signer=self.person.signer,
            secret=number.to_bytes(32, "little"),
            tag=TAG,
            limits=limits or Limits(),
            client=client,
            first=first,
            contacts=tuple(contacts),
            certificate=certificate,
            book=book,
            relaxed=relaxed,
            unreachable=unreachable,
        )
        self.core = Core(self.config)
        self.now = 0
        self.said = Said()
        """Everything since the beginning."""
        self.open: dict[Token, Wire] = {}
        self.dialling: dict[int, do.Dial] = {}
        self.cancelled: list[int] = []
        self.listener: Callable[[Action], None] | None = None
        self._tokens = 0
        self._dialled: set[int] = set()
        if not client:
            self.hear(Listening([self.person.address] if endpoints is None else [*endpoints]))

    # -- the host's half of the contract

    def hear(self, fact: Input) -> Said:
        """Hand the core a fact now and return what it does."""
        self.core.handle(fact, Nanos(self.now))
        return self._collect()

    def wait(self, nanoseconds: int) -> Said:
        """Let time pass, waking the core exactly when it wants to be."""
        target = self.now + nanoseconds
        said = Said()
        while True:
            due = self.core.next_deadline()
            if due is None or due > target:
                break
            self.now = max(self.now, due)
            self.core.on_deadline(Nanos(self.now))
            said.extend(self._collect())
        self.now = target
        self.core.on_deadline(Nanos(target))
        said.extend(self._collect())
        return said

    def _collect(self) -> Said:
        said = Said(self.core.take_actions())
        for action in said:
            self._execute(action)
        self.said.extend(said)
        self.core.check()
        return said

    def _execute(self, action: Action) -> None:
        match action:
            case do.Dial(dial=dial):
                assert dial not in self._dialled, f"dial {dial} is used twice"
                self._dialled.add(dial)
                self.dialling[dial] = action
            case do.CancelDial(dial=dial):
                assert dial in self.dialling, f"dial {dial} is answered and cannot be cancelled"
                self.cancelled.append(dial)
            case do.Send(token=token) | do.Trust(token=token) | do.Bind(token=token):
                assert token in self.open, f"{action} names a dead token"
            case do.Close(token=token):
                assert token in self.open, f"{action} names a dead token"
                del self.open[token]
            case _:
                pass
        if self.listener is not None:
            self.listener(action)

    # -- connections

    def _connection(self, peer: str, direction: Direction, local: str) -> Connection:
        self._tokens += 1
        return Connection(Token(1 << 32 | self._tokens), "tcp", peer, local, direction)

    def _wire(
        self, person: Person, direction: Direction, peer: str, local: str, binding: bytes
    ) -> Wire:
        connection = self._connection(peer, direction, local)
        drawn = blake2b(connection.token.to_bytes(8, "big"), digest_size=32).digest()
        wire = Wire(self, person, connection, binding or drawn)
        self.open[wire.token] = wire
        return wire

    def accept(
        self, person: Person, *, source: str = "", binding: bytes = b"", age: int = 0
    ) -> Wire:
        """Let a person dial the core, from `source`; the socket was accepted `age` ago."""
        peer = source or person.address.rpartition(":")[0] + ":50000"
        wire = self._wire(person, Direction.INBOUND, peer, self.person.address, binding)
        at = Nanos(self.now - age)
        wire.opening = self.hear(Accepted(wire.connection, person.key, wire.binding, at))
        return wire

    def dial_to(self, endpoint: str) -> int:
        """Return the dial under way, and not called off, to an endpoint."""
        found = [
            number
            for number, dial in self.dialling.items()
            if dial.endpoint == endpoint and number not in self.cancelled
        ]
        assert len(found) == 1, f"{len(found)} dials to {endpoint}"
        return found[0]

    def connect(self, person: Person, dial: int = 0, *, binding: bytes = b"") -> Wire:
        """Let a dial of the core reach a person: the one under way to its address, or `dial`."""
        number = dial or self.dial_to(person.address)
        endpoint = self.dialling.pop(number).endpoint
        wire = self._wire(person, Direction.OUTBOUND, endpoint, LOCAL, binding)
        wire.opening = self.hear(Dialled(number, wire.connection, person.key, wire.binding))
        return wire

    def fail(self, dial: int, reason: DialFailure = DialFailure.CONNECTION_REFUSED) -> Said:
        """Let a dial of the core come to nothing."""
        del self.dialling[dial]
        return self.hear(DialFailed(dial, reason))

    # -- how a node gets where the test wants it

    @property
    def name(self) -> bytes:
        name = self.core.name
        assert name is not None, "it has a name by now"
        return name

    def start(self) -> Said:
        """Let the core look for a network."""
        return self.hear(BootstrapRequested())

    @classmethod
    def founder(
        cls, number: int = 0, *, limits: Limits | None = None, relaxed: bool = False
    ) -> Stage:
        """Return a node that has founded: RELOCATED, nobody there yet."""
        stage = cls(number, limits=limits, first=True, relaxed=relaxed)
        stage.start()
        return stage

    def trust(self, *persons: Person) -> None:
        """Let the names of these be vouched for: who does so is no matter of most tests."""
        for person in persons:
            self.core.vouching.trust(person.key, person.name)

    def befriend(self, person: Person) -> Wire:
        """Let a person join through this node and be consolidated; return that connection."""
        relay = self.accept(person)
        said = relay.hello(HelloRole.JOIN)
        assert relay.role() is LinkRole.RELAY, "admitted"
        for check in said.of(do.Dial):
            self.connect(person, check.dial)
        self.trust(person)
        request = person.request(self.name, proxy=self.name)
        relay.routed(person.asks(request, proxy=self.name))
        primary = self.connect(person)
        primary.say(FrameKind.ACK, Ack(request.attempt))
        self.accept(person).hello(HelloRole.SECONDARY, request.attempt)
        assert primary.role() is LinkRole.CONSOLIDATED, "consolidated"
        if relay.open:
            relay.lose(CloseCode.JOINED)
        return primary

    @classmethod
    def among(
        cls, *persons: Person, limits: Limits | None = None, relaxed: bool = False
    ) -> tuple[Stage, list[Wire]]:
        """Return a node connected with these persons, and the connections."""
        stage = cls.founder(limits=limits, relaxed=relaxed)
        return stage, [stage.befriend(person) for person in persons]

    @classmethod
    def admitted(
        cls, proxy: Person, *, client: bool = False, limits: Limits | None = None
    ) -> tuple[Stage, Wire]:
        """Return a node, or a client, that a proxy has just admitted."""
        stage = cls(contacts=[proxy.address], client=client, limits=limits)
        stage.start()
        wire = stage.connect(proxy)
        wire.admit()
        return stage, wire

    @classmethod
    def named(cls, proxy: Person, *, limits: Limits | None = None) -> tuple[Stage, Wire]:
        """Return a node to which its proxy, alone in the network, has given a name."""
        stage, wire = cls.admitted(proxy, limits=limits)
        wire.routed(proxy.votes(stage.core.key, proxy.name, proxy.name, 1))
        assert stage.core.name is not None
        return stage, wire
