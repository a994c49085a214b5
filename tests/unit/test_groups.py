"""A message to a group reaches every member once, also those its first node does not hold."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.actions import Deliver
from routing.errors import CloseCode
from routing.inputs import Submitted
from routing.limits import SECOND
from routing.messages import (
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.names import nearest
from tests.persons import Person, opened
from tests.resolving import MESSAGE, PERSONS, SOURCE, STRANGER, Resolving
from tests.support import Said, Stage

__all__: list[str] = []


def test_members_are_asked_who_the_group_is_before_anything_is_handed_out() -> None:
    r = Resolving()
    assert set(r.asked(r.said)) == set(r.group) - {r.stage.name}
    assert r.copied(r.said) == set() and r.said.of(Deliver) == []


def test_message_is_handed_to_every_member_once_all_have_answered() -> None:
    r = Resolving()
    said = r.answer_all()
    assert r.copied(said) == set(r.group) - {r.stage.name}
    assert len(said.of(Deliver)) == 1


def test_member_that_only_others_hold_is_asked_and_gets_its_copy_routed() -> None:
    r = Resolving()
    near = next(
        person
        for person in map(Person, range(100, 5_000))
        if person.name in nearest(r.target, [*r.group, person.name], 7)
    )
    members = [each for each in r.group if each in r.by_name]
    said = Said()
    for number, name in enumerate(members):
        wire = r.by_name[name]
        said += r.answer(wire, wire.person, *([near.name] if number == 0 else []))
    assert near.name in r.asked(said) and r.copied(said) == set()
    said = r.answer(r.wires[0], near, *r.group)
    group = nearest(r.target, [*r.group, near.name], 8)
    assert r.copied(said) == set(group) - {r.stage.name, near.name}
    routed = [e for wire in r.wires for e in said.envelopes(wire, MessageKind.COPY)]
    (copy,) = (opened(Signed, each.signed) for each in routed)
    assert copy.destination == NodeAddress(near.name)
    assert opened(Envelope, copy.body).signed == r.letter.signed


def test_member_that_does_not_answer_is_waited_for_no_longer_than_one_and_a_half_seconds() -> None:
    r = Resolving()
    assert r.copied(r.stage.wait(3 * SECOND // 2 - 1)) == set()
    said = r.stage.wait(1)
    assert r.copied(said) == set(r.group) - {r.stage.name}, "those we hold are alive"
    assert len(said.of(Deliver)) == 1


def test_second_message_waits_for_the_same_answer() -> None:
    r = Resolving()
    second = SOURCE.seal(MESSAGE, GroupAddress(r.target), b"more")
    assert r.asked(r.wires[0].routed(second)) == []
    assert len(r.answer_all().of(Deliver)) == 2


def test_answer_is_remembered_for_a_minute() -> None:
    r = Resolving()
    r.answer_all()
    said = r.wires[0].routed(SOURCE.seal(MESSAGE, GroupAddress(r.target), b"more"))
    assert r.asked(said) == [] and len(said.of(Deliver)) == 1
    r.stage.wait(60 * SECOND)
    said = r.wires[0].routed(SOURCE.seal(MESSAGE, GroupAddress(r.target), b"third"))
    assert r.asked(said) != []


def test_change_of_the_own_table_makes_it_ask_again() -> None:
    r = Resolving()
    r.answer_all()
    far = next(w for w in r.wires[1:] if w.person.name not in r.group)
    far.lose()
    said = r.wires[0].routed(SOURCE.seal(MESSAGE, GroupAddress(r.target), b"more"))
    assert r.asked(said) != []


def test_answer_of_one_that_was_not_asked_is_none() -> None:
    r = Resolving()
    before = r.stage.core.counters.get("group.unasked", 0)
    r.answer(r.wires[0], STRANGER, STRANGER.name)
    assert r.stage.core.counters["group.unasked"] == before + 1
    assert STRANGER.name not in r.stage.core.groups.open[r.target].known


def test_same_message_over_another_route_is_not_handed_out_twice_to_ourselves() -> None:
    r = Resolving()
    r.answer_all()
    said = r.wires[1].routed(structs.replace(r.letter, route=1))
    assert said.of(Deliver) == []


def test_group_in_a_network_that_we_know_whole_is_served_at_once() -> None:
    stage, wires = Stage.among(*PERSONS[:7])
    target = bytes([*stage.name[:31], stage.name[31] ^ 1])
    said = wires[0].routed(SOURCE.seal(MESSAGE, GroupAddress(target), b"text"))
    assert len(said.of(Deliver)) == 1
    assert [e for w in wires for e in said.envelopes(w, MessageKind.FIND_GROUP)] == []


def test_own_message_to_a_group_around_us_is_resolved_too() -> None:
    r = Resolving()
    r.answer_all()
    r.stage.wait(61 * SECOND)
    fact = Submitted(1, MESSAGE, GroupAddress(r.target), b"ours", b"", False, SECOND, False)
    assert r.asked(r.stage.hear(fact)) != []
    assert len(r.answer_all().of(Deliver)) == 1


# -- copies that come routed


def routed_copy(stage: Stage, inner: Envelope) -> Envelope:
    here = NodeAddress(stage.name)
    return STRANGER.seal(MessageKind.COPY, here, encode(inner))


def test_routed_copy_is_delivered_once_and_never_fanned_out() -> None:
    stage, (wire,) = Stage.among(PERSONS[0])
    letter = SOURCE.seal(MESSAGE, GroupAddress(bytes(32)), b"text")
    said = wire.routed(routed_copy(stage, letter))
    (delivered,) = said.of(Deliver)
    assert delivered.message.key == SOURCE.key and len(said) == 1
    assert wire.say(FrameKind.GROUP_COPY, letter).of(Deliver) == []


def test_routed_copy_of_anything_but_a_message_to_a_group_is_not_delivered() -> None:
    stage, (wire,) = Stage.among(PERSONS[0])
    wrongs = [
        SOURCE.seal(MESSAGE, NodeAddress(STRANGER.name), b"for another"),
        SOURCE.seal(MessageKind.GROUP_IS, GroupAddress(bytes(32)), b""),
        structs.replace(SOURCE.seal(MESSAGE, GroupAddress(bytes(32)), b""), signature=bytes(64)),
    ]
    for wrong in wrongs:
        assert wire.routed(routed_copy(stage, wrong)) == []
    rubbish = STRANGER.seal(MessageKind.COPY, NodeAddress(stage.name), b"rubbish")
    assert wire.routed(rubbish) == [] and wire.open


@pytest.mark.parametrize(
    ("route", "hops", "counter"),
    [(8, 0, "envelope.route"), (0, 33, "envelope.hops")],
    ids=["route 8", "33 hops"],
)
def test_routed_copy_with_a_number_that_no_relay_gives_is_counted_and_forgotten(
    route: int, hops: int, counter: str
) -> None:
    stage, (wire,) = Stage.among(PERSONS[0])
    letter = SOURCE.seal(MESSAGE, GroupAddress(bytes(32)), b"text", route=route, hops=hops)
    assert wire.routed(routed_copy(stage, letter)) == []
    assert stage.core.counters[counter] == 1 and wire.open, "the teller may be another"


def test_group_message_that_waits_when_the_network_is_lost_is_counted() -> None:
    r = Resolving()
    for wire in r.wires:
        wire.lose(CloseCode.IO_ERROR)
    assert r.stage.core.counters["group.abandoned"] == 1
    assert r.stage.core.groups.open == {}
