"""A node with many peers that asks who vouches for a name, and those whom it asks."""

from __future__ import annotations

from collections.abc import Sequence

from routing.bodies import (
    ConnectRefused,
    FindGroup,
    GroupIs,
    Vouch,
    Vouched,
)
from routing.errors import Outcome, Refusal
from routing.events import ConnectFailed
from routing.limits import Limits
from routing.messages import Certificate, Envelope, MessageKind
from routing.names import client_name, nearest
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__ = ["Inquest"]

PEERS = 14


class Inquest:
    """A node that does not answer for the `subject` itself, and that nobody has vouched to it.

    Args:
        known: The node knows exactly who answers for the subject, and is one of them.
        limits: Of the node.
    """

    def __init__(self, *, known: bool = False, limits: Limits | None = None) -> None:
        for start in range(10, 2_000, PEERS + 1):
            persons = [Person(number) for number in range(start, start + PEERS)]
            subject = Person(start + PEERS)
            target = client_name(subject.key)
            stage, wires = Stage.among(*persons, limits=limits)
            group = nearest(target, [stage.name, *(each.name for each in persons)], 8)
            exact = stage.core.groups.known(target) is not None
            needed = stage.core.membership.needs(subject.name)
            if needed and exact is known and (stage.name in group) is known:
                break
        else:
            raise AssertionError("no such network was drawn")
        self.stage, self.wires, self.subject, self.target = stage, wires, subject, target
        self.members = [name for name in group if name != stage.name]
        self.by_name = {wire.person.name: wire for wire in wires}
        self.friend = wires[0]
        self.request = subject.request(stage.name, hop=self.friend.person.name)
        self.envelope = subject.asks(self.request)

    # -- the two ends of an attempt

    def asked(self, person: Person | None = None) -> Said:
        """Let the subject, or somebody else, ask for a connection."""
        if person is None:
            return self.friend.routed(self.envelope)
        request = person.request(self.stage.name, hop=self.friend.person.name)
        return self.friend.routed(person.asks(request))

    def answered(self, certificate: Certificate | None = None) -> Said:
        """Let the node ask the subject for a connection, and be answered."""
        name = self.subject.name
        said = self.friend.names(name)
        (asked,) = self.sent(said, MessageKind.CONNECT_REQUEST)
        return self.friend.routed(self.subject.answers(asked, certificate=certificate))

    def sent(self, said: Said, kind: MessageKind) -> list[Envelope]:
        return [each for wire in self.wires for each in said.envelopes(wire, kind)]

    def refusals(self, said: Said) -> list[Refusal]:
        found = [
            each
            for wire in self.wires
            for each in said.messages(wire, MessageKind.CONNECT_REFUSED, ConnectRefused)
        ]
        return [Refusal(each.reason) for each in found]

    def outcomes(self) -> list[Outcome]:
        return [each.outcome for each in self.stage.said.events(ConnectFailed)]

    # -- who answers for the subject

    def finds(self, said: Said) -> list[tuple[Wire, FindGroup]]:
        """Return the questions who answers for the subject, each with the way it has taken."""
        return [
            (wire, find)
            for wire in self.wires
            for find in said.messages(wire, MessageKind.FIND_GROUP, FindGroup)
            if find.target == self.target
        ]

    def view(self, wire: Wire, find: FindGroup, names: Sequence[bytes] | None = None) -> Said:
        """Let the person at a wire answer such a question."""
        listed = list(self.members if names is None else names)
        return wire.routed(
            wire.person.seal(MessageKind.GROUP_IS, find.reply_to, GroupIs(find.target, listed))
        )

    def views(self, said: Said, *answers: Sequence[bytes] | None) -> Said:
        """Let the questions be answered in turn, rightly unless it is said otherwise."""
        found = Said()
        for number, (wire, find) in enumerate(self.finds(said)):
            found.extend(self.view(wire, find, answers[number] if answers else None))
        return found

    # -- who vouches

    def vouches(self, said: Said) -> list[tuple[Wire, Vouch]]:
        """Return the questions whether the subject's name is right."""
        return [
            (wire, each)
            for wire in self.wires
            for each in said.messages(wire, MessageKind.VOUCH, Vouch)
        ]

    def voice(
        self, wire: Wire, asked: Vouch, *, vouched: bool = True, name: bytes | None = None
    ) -> Said:
        """Let the person at a wire say whether it vouches."""
        body = Vouched(asked.key, self.subject.name if name is None else name, vouched)
        return wire.routed(wire.person.seal(MessageKind.VOUCHED, asked.reply_to, body))

    def voices(self, said: Said, *answers: bool) -> Said:
        """Let those who are asked vouch in turn, or refuse, as many as there are answers."""
        found = Said()
        for (wire, asked), vouched in zip(self.vouches(said), answers, strict=False):
            found.extend(self.voice(wire, asked, vouched=vouched))
        return found

    def count(self, what: str) -> int:
        return self.stage.core.counters.get(what, 0)
