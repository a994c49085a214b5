"""A message to a group is acknowledged by the first of its nodes, once all have their copies."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.actions import Deliver, Failed
from routing.bodies import Acknowledged, Ballot, Busy
from routing.errors import CloseCode
from routing.inputs import Submitted
from routing.limits import ROUTES_MAX, SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Authority,
    AuthorityKind,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.names import distance
from tests.persons import Person, opened
from tests.resolving import SOURCE, Resolving
from tests.support import Said, Stage, Wire

__all__: list[str] = []

MESSAGE, REQUEST, BALLOT = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.BALLOT
ACKNOWLEDGED = MessageKind.ACKNOWLEDGED
GATHER = SECOND // 1_000
ONE, TWO = Person(1), Person(2)


# -- the first node


def resolving(*, forged: bool = False) -> tuple[Resolving, Envelope]:
    """Return a node that a message wanting an acknowledgement reached first, still asking."""
    r = Resolving()
    to = GroupAddress(r.target)
    letter = SOURCE.seal(MESSAGE, to, b"kept", message_id=b"g" * 16, flags=ACKNOWLEDGE)
    if forged:
        letter = structs.replace(letter, signature=bytes(64))
    r.wires[0].routed(letter)
    return r, letter


def told(said: Said, wires: list[Wire]) -> list[bytes]:
    """Return the ids that are acknowledged."""
    found = [each for wire in wires for each in said.messages(wire, ACKNOWLEDGED, Acknowledged)]
    return [message_id for each in found for message_id in (each.id, *each.others)]


def test_first_node_acknowledges_once_every_member_has_its_copy_on_the_way() -> None:
    r, _ = resolving()
    assert told(r.stage.wait(SECOND), r.wires) == [], "who the members are is not known yet"
    r.answer_all()
    assert told(r.stage.wait(GATHER), r.wires) == [b"g" * 16]


@pytest.mark.parametrize("forged", [False, True], ids=["genuine", "forged"])
def test_first_node_that_is_no_member_acknowledges_what_is_genuine(forged: bool) -> None:
    r, _ = resolving(forged=forged)
    nearer = [
        person
        for person in map(Person, range(100, 60_000))
        if distance(person.name, r.target) < distance(r.stage.name, r.target)
    ][:8]
    assert len(nearer) == 8, "eight that are nearer than the node itself"
    names = [each.name for each in nearer]
    for name in r.group:
        if name in r.by_name:
            r.answer(r.by_name[name], r.by_name[name].person, *names)
    said = Said()
    for person in nearer:
        said += r.answer(r.wires[0], person, *names)
    copies = [each for wire in r.wires for each in said.envelopes(wire, MessageKind.COPY)]
    assert len(copies) >= 8 and said.of(Deliver) == []
    assert told(said, r.wires) == ([] if forged else [b"g" * 16])


def test_forged_message_to_a_group_is_acknowledged_by_nobody() -> None:
    stage, wires = Stage.among(ONE, TWO)
    sealed = SOURCE.seal(MESSAGE, GroupAddress(stage.name), b"text", flags=ACKNOWLEDGE)
    said = wires[0].routed(structs.replace(sealed, signature=bytes(64)))
    said += stage.wait(SECOND)
    assert told(said, wires) == [] and said.of(Deliver) == []
    assert stage.core.counters["routed.forged"] == 1


def test_member_that_gets_a_copy_acknowledges_nothing() -> None:
    stage, wires = Stage.among(ONE, TWO)
    sealed = SOURCE.seal(MESSAGE, GroupAddress(stage.name), b"text", flags=ACKNOWLEDGE)
    said = wires[0].say(FrameKind.GROUP_COPY, sealed)
    said += wires[1].say(FrameKind.GROUP_COPY, structs.replace(sealed, route=1))
    said += wires[1].routed(
        TWO.seal(
            MessageKind.COPY, NodeAddress(stage.name), encode(structs.replace(sealed, route=2))
        )
    )
    said += stage.wait(SECOND)
    assert len(said.of(Deliver)) == 1 and told(said, wires) == []


def test_repeat_that_reaches_another_member_first_is_handed_on_and_acknowledged_there() -> None:
    stage, wires = Stage.among(ONE, TWO)
    sealed = Person(50).seal(MESSAGE, GroupAddress(stage.name), b"text", flags=ACKNOWLEDGE)
    assert len(wires[0].say(FrameKind.GROUP_COPY, sealed).of(Deliver)) == 1
    said = wires[1].routed(structs.replace(sealed, route=1))
    copies = [each for w in wires for each in said.bodies(w, FrameKind.GROUP_COPY)]
    assert len(copies) == 2, "the first node may have died before it sent them"
    assert said.of(Deliver) == [], "handed over once, whichever came first"
    assert set(told(said, wires)) == {opened(Signed, sealed.signed).id}


def test_repeat_that_comes_while_the_members_are_sought_takes_the_place_of_the_first() -> None:
    r, letter = resolving()
    r.wires[1].routed(structs.replace(letter, route=1))
    assert r.stage.core.counters["group.repeated"] == 1
    said = r.answer_all()
    sent = [e for w in r.wires for e in said.frames(w, FrameKind.GROUP_COPY, Envelope)]
    routes = [each.route for each in sent if each.signed == letter.signed]
    assert routes == [1] * 7, "one copy to each, of the later one"


def test_first_node_without_room_says_busy() -> None:
    limits = Limits().but(consumed_entries=1)
    stage, wires = Stage.among(ONE, TWO, limits=limits)
    far, to = Person(50), GroupAddress(stage.name)
    wires[0].routed(far.seal(MESSAGE, to, b"first", flags=ACKNOWLEDGE))
    sealed = far.seal(MESSAGE, to, b"second", flags=ACKNOWLEDGE)
    said = wires[0].routed(sealed)
    refused = [each for w in wires for each in said.messages(w, MessageKind.BUSY, Busy)]
    assert len(refused) == 1 and refused[0].id == opened(Signed, sealed.signed).id


def test_ballot_for_a_group_is_acknowledged_by_the_first_node_only() -> None:
    stage, wires = Stage.among(ONE, TWO)
    claim = Authority(AuthorityKind.ELEMENT_GROUP, ONE.name)
    ballot = Ballot(bytes(16), bytes(32), b"")
    sealed = ONE.seal(BALLOT, GroupAddress(stage.name), ballot, flags=ACKNOWLEDGE, authority=claim)
    said = wires[0].routed(sealed) + stage.wait(GATHER)
    assert told(Said(said), wires) == [opened(Signed, sealed.signed).id]
    other, others = Stage.among(ONE, TWO)
    said = others[0].say(FrameKind.GROUP_COPY, sealed) + other.wait(GATHER)
    assert told(Said(said), others) == []


# -- the source


def source(
    *, acknowledged: bool = True, kind: MessageKind = MESSAGE
) -> tuple[Stage, list[Wire], Said]:
    """Return a stage that has sent to the group around TARGET, and its ways there, best first."""
    stage, wires = Stage.among(ONE, TWO)
    wires.sort(key=lambda wire: distance(wire.person.name, TARGET))
    to = GroupAddress(TARGET)
    fact = Submitted(7, kind, to, b"text", bytes(16), False, 60 * SECOND, False, acknowledged)
    return stage, wires, stage.hear(fact)


TARGET = bytes([*ONE.name[:31], ONE.name[31] ^ 1])


def sent(said: Said, wires: list[Wire], kind: MessageKind = MESSAGE) -> list[tuple[int, Envelope]]:
    return [(at, each) for at, wire in enumerate(wires) for each in said.envelopes(wire, kind)]


def acknowledge(wire: Wire, message_id: bytes, person: Person, *, proxy: bytes = b"") -> Said:
    here = NodeAddress(wire.stage.name)
    return wire.routed(person.seal(ACKNOWLEDGED, here, Acknowledged(message_id), proxy=proxy))


def test_message_to_a_group_leaves_again_by_the_next_best_hop_on_the_next_route() -> None:
    stage, wires, said = source()
    ((at, first),) = sent(said, wires)
    assert at == 0 and opened(Signed, first.signed).flags == ACKNOWLEDGE
    assert sent(stage.wait(17 * SECOND // 10 - 1), wires) == [], (
        "the first node may have to ask first"
    )
    ((at, again),) = sent(stage.wait(1), wires)
    assert at == 1 and again == structs.replace(first, route=1)


def test_message_to_a_group_that_nobody_acknowledges_fails_once_with_its_reason() -> None:
    stage, wires, said = source()
    said += stage.wait(40 * SECOND)
    assert [each.route for _, each in sent(said, wires)] != []
    assert sorted(each.route for _, each in sent(said, wires)) == list(range(ROUTES_MAX))
    reason = "undeliverable: no acknowledgement after 8 routes"
    assert said.of(Failed) == [Failed(7, reason)] and stage.core.delivery.underway == {}


def test_acknowledgement_of_a_node_near_the_group_ends_the_repeats() -> None:
    stage, wires, said = source()
    ((_, first),) = sent(said, wires)
    acknowledge(wires[0], opened(Signed, first.signed).id, ONE)
    assert sent(stage.wait(40 * SECOND), wires) == []
    assert stage.core.delivery.underway == {} and stage.core.hops.trips == {}


@pytest.mark.parametrize("liar", ["farther than the first hop", "a client"])
def test_acknowledgement_for_a_group_is_not_believed_from(liar: str) -> None:
    stage, wires, said = source()
    ((_, first),) = sent(said, wires)
    proxy = ONE.name if liar == "a client" else b""
    acknowledge(wires[1], opened(Signed, first.signed).id, TWO, proxy=proxy)
    assert stage.core.counters["acknowledged.forged"] == 1
    assert len(stage.core.delivery.underway) == 1


def test_message_to_a_group_sent_at_most_once_leaves_once() -> None:
    stage, wires, said = source(acknowledged=False)
    ((_, first),) = sent(said, wires)
    assert opened(Signed, first.signed).flags == 0 and stage.core.delivery.underway == {}
    assert sent(stage.wait(40 * SECOND), wires) == []


def test_own_message_that_waits_for_its_members_when_the_network_is_lost_fails() -> None:
    r = Resolving()
    to = GroupAddress(r.target)
    r.stage.hear(Submitted(3, MESSAGE, to, b"ours", b"", False, SECOND, False))
    failed: list[Failed] = []
    for wire in r.wires:
        failed += wire.lose(CloseCode.IO_ERROR).of(Failed)
    assert failed == [Failed(3, "undeliverable: the network was lost")]


def test_node_does_not_acknowledge_its_own_message_to_a_group_around_it() -> None:
    stage, wires = Stage.among(ONE, TWO)
    to = GroupAddress(stage.name)
    said = stage.hear(Submitted(3, MESSAGE, to, b"ours", b"", False, SECOND, False))
    said += stage.wait(SECOND)
    assert len(said.of(Deliver)) == 1 and told(said, wires) == []
    assert stage.core.delivery.underway == {}
