"""A core that a scripted peer asks for a connection, through a neighbour of both."""

from __future__ import annotations

from routing.bodies import ConnectRefused, ConnectRequest
from routing.errors import Outcome, Refusal
from routing.events import ConnectFailed
from routing.limits import Limits
from routing.messages import Ack, Envelope, FrameKind, HelloRole, MessageKind
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__ = ["FRIEND", "PEER", "STRANGER", "VICTIM", "Asked"]

FRIEND, PEER, STRANGER, VICTIM = Person(1), Person(2), Person(3), Person(4)


class Asked:
    """A core connected with FRIEND, through whom PEER asks it for a connection."""

    def __init__(self, *, limits: Limits | None = None) -> None:
        self.stage, (self.friend,) = Stage.among(FRIEND, limits=limits)
        self.request = self.make()
        self.envelope = PEER.asks(self.request)
        self.attempt = self.request.attempt

    def make(
        self, person: Person = PEER, *, endpoints: list[str] | None = None, urgent: bool = True
    ) -> ConnectRequest:
        return person.request(self.stage.name, hop=FRIEND.name, endpoints=endpoints, urgent=urgent)

    def ask(self) -> Said:
        return self.friend.routed(self.envelope)

    def ask_as(self, person: Person, request: ConnectRequest) -> Said:
        return self.friend.routed(person.asks(request))

    def responses(self, said: Said) -> list[Envelope]:
        return said.envelopes(self.friend, MessageKind.CONNECT_RESPONSE)

    def refusals(self, said: Said) -> list[Refusal]:
        sent = said.messages(self.friend, MessageKind.CONNECT_REFUSED, ConnectRefused)
        return [Refusal(each.reason) for each in sent]

    def secondary(self, person: Person = PEER) -> Wire:
        wire = self.stage.accept(person)
        wire.opening = wire.hello(HelloRole.SECONDARY, self.attempt)
        return wire

    def ack(self, wire: Wire) -> Said:
        return wire.say(FrameKind.ACK, Ack(self.attempt))

    def outcomes(self) -> list[Outcome]:
        return [each.outcome for each in self.stage.said.events(ConnectFailed)]

    def count(self, what: str) -> int:
        return self.stage.core.counters.get(what, 0)
