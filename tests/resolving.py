"""A node that asks who the group around a name is, with a message that waits for the answer."""

from __future__ import annotations

from hashlib import sha256

from routing.bodies import FindGroup, GroupIs
from routing.messages import FrameKind, GroupAddress, MessageKind, NodeAddress, Signed
from routing.names import distance, nearest
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__ = ["MESSAGE", "PERSONS", "SOURCE", "STRANGER", "Resolving"]

PERSONS = [Person(number) for number in range(10, 50)]
SOURCE, STRANGER = Person(1), Person(2)
MESSAGE = MessageKind.MESSAGE


class Resolving:
    """A node that a message to the group around a name reached first; it asks who that group is."""

    def __init__(self) -> None:
        self.stage, self.wires = Stage.among(*PERSONS)
        table = self.stage.core.table
        radius = distance(self.stage.name, table.close_group()[-1]).bit_length()
        drawn = (sha256(number.to_bytes(4, "big")).digest() for number in range(10_000))
        # We are the nearest to it that we know, yet its group may reach beyond what we know.
        self.target = next(
            name
            for name in drawn
            if table.next_hop(name) is None
            and distance(name, table.group(name)[-1]).bit_length() >= radius
        )
        self.by_name = {wire.person.name: wire for wire in self.wires}
        self.letter = SOURCE.seal(MESSAGE, GroupAddress(self.target), b"text")
        self.said = self.wires[0].routed(self.letter)
        self.group = nearest(self.target, [self.stage.name, *self.by_name], 8)

    def asked(self, said: Said) -> list[bytes]:
        """Return the names that are asked for the group."""
        found = []
        for wire in self.wires:
            for envelope in said.envelopes(wire, MessageKind.FIND_GROUP):
                signed = opened(Signed, envelope.signed)
                assert isinstance(signed.destination, NodeAddress)
                assert opened(FindGroup, signed.body).target == self.target
                found.append(signed.destination.name)
        return found

    def answer(self, wire: Wire, person: Person, *names: bytes) -> Said:
        body = GroupIs(self.target, [person.name, *names])
        return wire.routed(person.seal(MessageKind.GROUP_IS, NodeAddress(self.stage.name), body))

    def answer_all(self) -> Said:
        """Let every member that is asked answer with what the node holds itself."""
        said = Said()
        listed = nearest(self.target, self.by_name, 15)
        for name in self.group:
            if name in self.by_name:
                wire = self.by_name[name]
                said += self.answer(wire, wire.person, *listed)
        return said

    def copied(self, said: Said) -> set[bytes]:
        copies = {name: said.bodies(w, FrameKind.GROUP_COPY) for name, w in self.by_name.items()}
        assert all(len(bodies) <= 1 for bodies in copies.values()), "once to each"
        return {name for name, bodies in copies.items() if bodies}
