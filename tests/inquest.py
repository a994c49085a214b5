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
from routing.messages import (
    Certificate,
    Envelope,
    FrameKind,
    IsName,
    MessageKind,
    NameIs,
    NodeAddress,
    Signed,
)
from routing.names import bucket_index, client_name, nearest
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__ = ["Inquest"]

PEERS = 14


class Far:
    """Somebody who is no peer of the node: what he says comes by a friend."""

    def __init__(self, person: Person, friend: Wire) -> None:
        self.person = person
        self._friend = friend

    def routed(self, envelope: Envelope) -> Said:
        """Let him send a routed message."""
        return self._friend.routed(envelope)


Question = tuple[Wire | Far, Vouch]


class Inquest:
    """A node that does not answer for the `subject` itself, and that nobody has vouched to it.

    Args:
        known: The node knows exactly who answers for the subject, and is one of them.
        near: Those who answer for the subject are peers of the node, which is none of them;
            otherwise, unless they are known, they are strangers in the other half of all names.
        limits: Of the node.
    """

    def __init__(
        self, *, known: bool = False, near: bool = False, limits: Limits | None = None
    ) -> None:
        far = not (known or near)
        for start in range(10, 2_000, PEERS + 1):
            subject = Person(start + PEERS)
            target = client_name(subject.key)
            own = Stage(limits=limits).person.name
            numbers = range(start, start + 100 if far else start + PEERS)
            pool = [Person(number) for number in numbers if number != subject.number]
            beyond = [each for each in pool if not bucket_index(own, each.name)]
            if far and bucket_index(own, target):
                continue
            persons = [each for each in pool if not far or each not in beyond][:PEERS]
            stage, wires = Stage.among(*persons, limits=limits)
            near_ones = beyond if far else persons
            group = nearest(target, [stage.name, *(each.name for each in near_ones)], 8)
            exact = stage.core.groups.known(target) is not None
            needed = stage.core.membership.needs(subject.name)
            if needed and exact is known and (stage.name in group) is known:
                break
        else:
            raise AssertionError("no such network was drawn")
        self.stage, self.wires, self.subject, self.target = stage, wires, subject, target
        self.members = [name for name in group if name != stage.name]
        self.friend = wires[0]
        self.by_name: dict[bytes, Wire | Far] = {
            each.name: Far(each, self.friend) for each in (*pool, subject)
        }
        self.by_name |= {wire.person.name: wire for wire in wires}
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

    def vouches(self, said: Said) -> list[Question]:
        """Return the routed questions whether the subject's name is right, with who is asked."""
        found: list[Question] = []
        for envelope in self.sent(said, MessageKind.VOUCH):
            signed = opened(Signed, envelope.signed)
            assert isinstance(signed.destination, NodeAddress)
            found.append((self.by_name[signed.destination.name], opened(Vouch, signed.body)))
        return found

    def voice(
        self,
        wire: Wire | Far,
        asked: Vouch,
        *,
        vouched: bool = True,
        answers: bool = True,
        name: bytes | None = None,
    ) -> Said:
        """Let the person at a wire say whether it vouches."""
        body = Vouched(asked.key, self.subject.name if name is None else name, answers, vouched)
        return wire.routed(wire.person.seal(MessageKind.VOUCHED, asked.reply_to, body))

    def voices(self, said: Said, *answers: bool) -> Said:
        """Let those who are asked vouch in turn, or refuse, as many as there are answers."""
        found = Said()
        for (wire, asked), vouched in zip(self.vouches(said), answers, strict=False):
            found.extend(self.voice(wire, asked, vouched=vouched))
        return found

    # -- who vouches over a connection of its own

    def asked_peers(self, said: Said) -> list[tuple[Wire, IsName]]:
        """Return the questions that peers were asked over their connections."""
        return [
            (wire, each)
            for wire in self.wires
            for each in said.frames(wire, FrameKind.IS_NAME, IsName)
        ]

    def tell(
        self,
        wire: Wire,
        *,
        answers: bool = True,
        vouched: bool = True,
        names: Sequence[bytes] = (),
        name: bytes | None = None,
    ) -> Said:
        """Let a peer answer over its connection."""
        key = self.subject.key
        name = self.subject.name if name is None else name
        return wire.say(FrameKind.NAME_IS, NameIs(key, name, answers, vouched, list(names)))

    def tell_all(self, said: Said, *answers: bool) -> Said:
        """Let the peers that are asked vouch in turn, or refuse; those asked to list members do."""
        found = Said()
        for (wire, asked), vouched in zip(self.asked_peers(said), answers, strict=False):
            listed = self.members if asked.listed else []
            found.extend(self.tell(wire, vouched=vouched, names=listed))
        return found

    def count(self, what: str) -> int:
        return self.stage.core.counters.get(what, 0)
