"""A node that is told things by a group: persons who vote, and the words they vote for."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from routing.actions import Deliver
from routing.bodies import Ballot, Content, FindGroup, GroupIs, Reply, WholeWanted
from routing.events import Message
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    Authority,
    AuthorityKind,
    Envelope,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.names import nearest
from routing.requests import token_of
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__ = ["ID", "Asking", "Council", "digest_of"]

ID = b"the id of it all"


def digest_of(content: Content) -> bytes:
    return sha256(encode(content)).digest()


class Council:
    """A node and the group around `element`.

    By default the node is a member itself and knows all others for sure; with `far` the element
    lies elsewhere, and the node has to ask who its group is.
    """

    def __init__(self, *, far: bool = False, limits: Limits | None = None, size: int = 14) -> None:
        for start in range(10, 2_000, size):
            persons = [Person(number) for number in range(start, start + size)]
            self.stage, self.wires = Stage.among(*persons, limits=limits)
            own = self.stage.name
            beside = bytes([*own[:31], own[31] ^ 1])
            self.element = bytes(byte ^ 255 for byte in own) if far else beside
            self.group = nearest(self.element, [own, *(p.name for p in persons)], 8)
            known = self.stage.core.groups.known(self.element)
            if (known is None) is far and (own in self.group) is not far:
                break
        else:
            raise AssertionError("no such network was drawn")
        self.by_name = {wire.person.name: wire for wire in self.wires}
        self.members = [self.by_name[name].person for name in self.group if name in self.by_name]
        self.outsiders = [p for p in persons if p.name not in self.group]
        self.authority = Authority(AuthorityKind.ELEMENT_GROUP, self.element)

    def count(self, what: str) -> int:
        return self.stage.core.counters.get(what, 0)

    def content(
        self,
        payload: bytes = b"so be it",
        *,
        chosen: bytes = ID,
        to: Address | None = None,
        authority: Authority | None = None,
    ) -> Content:
        here = NodeAddress(self.stage.name)
        return Content(chosen, authority or self.authority, to or here, payload)

    def ballot(
        self,
        person: Person,
        content: Content,
        *,
        whole: bool | bytes = False,
        digest: bytes = b"",
        authority: Authority | None = None,
        **sealing: object,
    ) -> Envelope:
        """Return a person's vote, for the node; `whole` may be other bytes than the right ones."""
        body = Ballot(
            content.id,
            digest or digest_of(content),
            whole if isinstance(whole, bytes) else encode(content) if whole else b"",
        )
        return person.seal(
            MessageKind.BALLOT,
            NodeAddress(self.stage.name),
            body,
            flags=ACKNOWLEDGE,
            authority=authority or content.authority,
            **sealing,  # type: ignore[arg-type]
        )

    def vote(self, person: Person, content: Content, **how: object) -> Said:
        """Let a person vote, over whatever connection."""
        return self.wires[-1].routed(self.ballot(person, content, **how))  # type: ignore[arg-type]

    def votes(self, persons: Sequence[Person], content: Content, *, whole: int = 0) -> Said:
        """Let persons vote one after the other; the one of this number sends the whole."""
        said = Said()
        for number, person in enumerate(persons):
            said += self.vote(person, content, whole=number == whole)
        return said

    def delivered(self, said: Said) -> list[Message]:
        return [each.message for each in said.of(Deliver)]

    def wanted(self, said: Said) -> list[tuple[bytes, WholeWanted]]:
        """Return who is asked for a ballot, and the question."""
        found = []
        for wire in self.wires:
            for envelope in said.envelopes(wire, MessageKind.WHOLE_WANTED):
                signed = opened(Signed, envelope.signed)
                assert isinstance(signed.destination, NodeAddress)
                found.append((signed.destination.name, opened(WholeWanted, signed.body)))
        return found

    def asked(self, said: Said) -> list[bytes]:
        """Return the names that are asked who the group is."""
        found = []
        for wire in self.wires:
            for envelope in said.envelopes(wire, MessageKind.FIND_GROUP):
                signed = opened(Signed, envelope.signed)
                find = opened(FindGroup, signed.body)
                if find.target == self.element and isinstance(signed.destination, NodeAddress):
                    found.append(signed.destination.name)
        return found

    def answer(self, person: Person, *names: bytes, wire: Wire | None = None) -> Said:
        """Let a person answer who the group is."""
        body = GroupIs(self.element, [person.name, *names])
        here = NodeAddress(self.stage.name)
        return (wire or self.wires[0]).routed(person.seal(MessageKind.GROUP_IS, here, body))

    def answer_all(self, *silent: Person) -> Said:
        """Let every member but the silent say that the group is what it is."""
        said = Said()
        for person in self.members:
            if person not in silent:
                said += self.answer(person, *self.group)
        return said

    @property
    def group_address(self) -> GroupAddress:
        return GroupAddress(self.element)


class Asking(Council):
    """A node that asks the group something and wants a quorum."""

    def __init__(self, *, far: bool = False, agree: bool = True, replies: int = 1) -> None:
        super().__init__(far=far)
        kind = MessageKind.REQUEST
        self.said = self.stage.hear(
            Submitted(
                7,
                kind,
                GroupAddress(self.element),
                b"?",
                b"",
                False,
                9 * SECOND,
                False,
                replies=replies,
                agree=agree,
            )
        )
        (self.id,) = self.stage.core.messaging.pending

    def reply(self, person: Person, payload: bytes = b"yes", *, failed: bool = False) -> Said:
        body = Reply(self.id, token_of(self.id, b"?"), failed, payload)
        here = NodeAddress(self.stage.name)
        return self.wires[0].routed(person.seal(MessageKind.REPLY, here, body))

    def replies(self, persons: list[Person], payload: bytes = b"yes") -> Said:
        said = Said()
        for person in persons:
            said += self.reply(person, payload)
        return said
