"""Two names of one key among its members: who gives way, when, and who never does."""

from __future__ import annotations

import pytest

from routing.bodies import NameVote, Record, Records, RequestName
from routing.core import Core
from routing.limits import SECOND
from routing.messages import (
    Certificate,
    ClientAddress,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
)
from routing.names import client_name
from routing.registrar import Word
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []

MEMBERS = [Person(number) for number in range(50, 57)]
LOWER, HIGHER = sorted((Person(70), Person(70).renamed(MEMBERS[0])), key=lambda person: person.name)
PROPOSED = [b"1" * 32, b"2" * 32]
KIND = MessageKind.REQUEST_NAME


def recorded(certificate: Certificate) -> tuple[Stage, list[Wire]]:
    """Return one of 8 who answer for a key, by whose own word it has this name, and the others."""
    stage, wires = Stage.among(*MEMBERS)
    assert stage.core.registrar.record(LOWER.key, certificate, Word.OWN)
    return stage, wires


def tell(wires: list[Wire], certificate: Certificate) -> None:
    """Let peers say that they hold this name."""
    for wire in wires:
        body = Records([Record(LOWER.key, certificate, 60)])
        here = NodeAddress(wire.stage.name)
        wire.routed(wire.person.seal(MessageKind.RECORDS, here, body))


def ask(wires: list[Wire], *, first: bool = False) -> Said:
    """Let the key ask, through a member, for the first time or once more."""
    wire, joiner = wires[0], Person(70)
    proxy = wire.person.name
    body = RequestName(ClientAddress(proxy, joiner.key), None, [] if first else PROPOSED)
    to = GroupAddress(client_name(joiner.key))
    return wire.say(FrameKind.GROUP_COPY, joiner.seal(KIND, to, body, proxy=proxy))


def votes(wires: list[Wire], *, first: bool = False) -> list[tuple[bytes, bytes]]:
    """Return what the node votes for when the key asks."""
    said = ask(wires, first=first)
    return [(v.n1, v.n2) for v in said.messages(wires[0], MessageKind.NAME_VOTE, NameVote)]


def halves(person: Person) -> list[tuple[bytes, bytes]]:
    return [(person.certificate.n1, person.certificate.n2)]


def test_member_that_is_outnumbered_gives_way_when_the_key_asks_again() -> None:
    stage, wires = recorded(LOWER.certificate)
    tell(wires[:5], HIGHER.certificate)
    assert votes(wires, first=True) == halves(LOWER), "perhaps a name has a majority"
    assert votes(wires) == halves(HIGHER)
    assert stage.core.counters["record.gave_way"] == 1
    assert stage.core.registrar.live_name(LOWER.key) == HIGHER.name


@pytest.mark.parametrize(
    ("own", "other", "kept"), [(LOWER, HIGHER, True), (HIGHER, LOWER, False)], ids=["low", "high"]
)
def test_of_as_many_members_those_with_the_higher_name_give_way(
    own: Person, other: Person, kept: bool
) -> None:
    _, wires = recorded(own.certificate)
    tell(wires[:4], other.certificate)
    tell(wires[4:], own.certificate)
    assert votes(wires) == halves(own if kept else other)


def test_fewer_do_not_make_anybody_give_way() -> None:
    _, wires = recorded(HIGHER.certificate)
    tell(wires[:3], LOWER.certificate)
    tell(wires[3:], HIGHER.certificate)
    assert votes(wires) == halves(HIGHER)


def test_too_few_voices_make_nobody_give_way() -> None:
    _, wires = recorded(HIGHER.certificate)
    tell(wires[:3], LOWER.certificate)
    assert votes(wires) == halves(HIGHER), "four of eight have not been heard, or hold ours"


def test_member_is_counted_once_however_often_it_speaks() -> None:
    _, wires = recorded(LOWER.certificate)
    for _ in range(5):
        tell(wires[:1], HIGHER.certificate)
    tell(wires[1:5], LOWER.certificate)
    assert votes(wires) == halves(LOWER)


def test_what_members_said_a_while_ago_does_not_count() -> None:
    stage, wires = recorded(LOWER.certificate)
    tell(wires, HIGHER.certificate)
    stage.wait(10 * SECOND)
    assert votes(wires) == halves(LOWER)


def test_name_that_we_are_connected_with_gives_way_to_none() -> None:
    stage, wires = Stage.among(*MEMBERS, LOWER)
    assert stage.core.registrar.record(LOWER.key, LOWER.certificate, Word.OWN)
    tell(wires[:7], HIGHER.certificate)
    ask(wires)
    assert stage.core.registrar.live_name(LOWER.key) == LOWER.name


def test_members_are_told_what_we_hold_and_not_at_every_asking() -> None:
    stage, wires = recorded(LOWER.certificate)
    said = ask(wires)
    told = [said.messages(each, MessageKind.RECORDS, Records) for each in wires]
    assert [[each.records for each in one] for one in told] == [
        [[Record(LOWER.key, LOWER.certificate, 0)]]
    ] * len(wires)
    said = ask(wires)
    assert all(said.envelopes(each, MessageKind.RECORDS) == [] for each in wires)
    stage.wait(3 * SECOND)
    said = ask(wires)
    assert all(len(said.envelopes(each, MessageKind.RECORDS)) == 1 for each in wires)


def test_forged_certificate_makes_nobody_give_way() -> None:
    stage, wires = recorded(LOWER.certificate)
    forged = Certificate(HIGHER.certificate.n1, HIGHER.certificate.n2, [])
    tell(wires, forged)
    assert votes(wires) == halves(LOWER)
    assert stage.core.counters["record.bad_certificate"] > 0


def test_what_was_heard_is_part_of_the_state() -> None:
    stage, wires = recorded(LOWER.certificate)
    tell(wires[:2], HIGHER.certificate)
    votes(wires)
    memory = stage.core.rivals.export()
    assert len(memory.heard) == 2 and len(memory.told) == 1
    twin = Core(stage.config)
    twin.restore(stage.core.snapshot())
    assert twin.digest() == stage.core.digest()
