"""Peers are asked over their own connections whether a name is right, and nothing is signed."""

from __future__ import annotations

import pytest

from routing.core import Core
from routing.errors import CloseCode
from routing.limits import SECOND, Limits
from routing.messages import FrameKind, IsName, MessageKind, NameIs
from routing.names import client_name, nearest
from tests.inquest import Inquest
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []


def answers(wire: Wire, asked: IsName) -> list[NameIs]:
    """Let a peer ask the node of a stage; return what it is told."""
    return wire.say(FrameKind.IS_NAME, asked).frames(wire, FrameKind.NAME_IS, NameIs)


# -- who asks


def test_peers_near_the_client_name_are_asked_without_a_signature() -> None:
    i = Inquest(near=True)
    said = i.asked()
    asked = i.asked_peers(said)
    assert len(asked) == 2 and all(each.listed for _, each in asked)
    assert [wire.person.name for wire, _ in asked] == nearest(i.target, list(i.by_name), 2)
    assert i.finds(said) == [] and i.vouches(said) == []


def test_voices_of_peers_decide_and_none_to_spare_is_asked() -> None:
    i = Inquest(near=True)
    more = i.tell_all(i.asked(), True, True)
    asked = i.asked_peers(more)
    assert len(asked) == 3 and not any(each.listed for _, each in asked), "five of eight, two have"
    assert i.vouches(more) == []
    assert i.tell_all(more, True, True).dials() == []
    assert i.tell(asked[2][0]).dials() == [i.subject.address]


def test_one_list_is_not_enough_whoever_tells_it() -> None:
    i = Inquest(near=True)
    (wire, _), _ = i.asked_peers(i.asked())
    assert i.asked_peers(i.tell(wire, names=i.members)) == []
    i.tell(wire, names=i.members)
    assert i.count("name_is.unasked") == 1, "nor the same twice"


def test_peers_of_our_own_are_members_though_nobody_lists_them() -> None:
    i = Inquest(near=True)
    first, second = (wire for wire, _ in i.asked_peers(i.asked()))
    nobody = [person.name for person in map(Person, range(3_000, 3_002))]
    i.tell(first, names=nobody)
    asked = [wire.person.name for wire, _ in i.asked_peers(i.tell(second, names=nobody))]
    assert asked and set(asked) <= set(i.members)


def test_lists_of_invented_names_nearer_than_all_agree_with_no_honest_one() -> None:
    i = Inquest(near=True)
    first, second = (wire for wire, _ in i.asked_peers(i.asked()))
    invented = [i.target[:-1] + bytes([number ^ i.target[-1]]) for number in range(1, 9)]
    i.tell(first, names=invented)
    ((third, asked),) = i.asked_peers(i.tell(second, names=i.members))
    assert asked.listed and i.count("vouch.views_differ") == 1, "a third is asked at once"
    assert not any(each.listed for _, each in i.asked_peers(i.tell(third, names=i.members)))
    (inquiry,) = i.stage.core.vouching.open.values()
    assert set(inquiry.members) <= set(i.members) and i.stage.dialling == {}


def test_peer_that_does_not_answer_for_the_key_is_taken_as_a_first_hop() -> None:
    i = Inquest(near=True)
    (wire, _), _ = i.asked_peers(i.asked())
    said = i.tell(wire, answers=False)
    assert [each for each, _ in i.finds(said)] == [wire]
    assert i.count("vouch.passed_by") == 1


def test_list_of_one_that_does_not_answer_for_the_key_is_no_view() -> None:
    i = Inquest(near=True)
    for wire, _ in i.asked_peers(i.asked()):
        i.tell(wire, answers=False, names=i.members)
    (inquiry,) = i.stage.core.vouching.open.values()
    assert inquiry.views == {} and inquiry.voices == {}


def test_another_is_asked_for_a_member_that_refuses_or_does_not_answer() -> None:
    i = Inquest(near=True)
    more = i.tell_all(i.asked(), True, True)
    one, other, _ = (wire for wire, _ in i.asked_peers(more))
    before = [wire for wire, _ in i.asked_peers(more)]
    ((third, _),) = i.asked_peers(i.tell(one, vouched=False))
    ((fourth, _),) = i.asked_peers(i.tell(other, answers=False))
    assert third is not fourth and third not in before and fourth not in before


def test_peers_that_say_nothing_are_asked_again_by_messages() -> None:
    i = Inquest(near=True)
    more = i.tell_all(i.asked(), True, True)
    before = {wire.person.name for wire, _ in i.asked_peers(more)}
    others = {wire.person.name for wire, _ in i.asked_peers(i.stage.wait(SECOND))}
    assert len(others) == 3 and not others & before, "first those that were not asked yet"
    said = i.stage.wait(SECOND)
    again = {wire.person.name for wire, _ in i.vouches(said)}
    assert len(again) == 4 and again & before, "as many as are missing, and one to spare"
    asked = {wire.person.name for wire, _ in i.asked_peers(said)}
    assert not asked & (before | others)


def test_peer_answers_once_and_only_what_it_was_asked() -> None:
    i = Inquest(near=True)
    more = i.tell_all(i.asked(), True, True)
    (wire, _), *_ = i.asked_peers(more)
    i.tell(wire)
    i.tell(wire)
    assert i.count("name_is.unasked") == 1
    stranger = next(each for each in i.wires if each.person.name not in i.members)
    i.tell(stranger)
    i.tell(i.wires[0], name=bytes(32))
    assert i.count("name_is.unasked") == 3


def test_voice_counts_once_though_it_came_by_both_ways() -> None:
    i = Inquest(near=True)
    more = i.tell_all(i.asked(), True, True)
    i.stage.wait(SECOND)
    said = i.stage.wait(SECOND)
    asked = [each for each, _ in i.asked_peers(more)]
    wire, body = next(each for each in i.vouches(said) if each[0] in asked)
    assert isinstance(wire, Wire)
    i.tell(wire)
    i.voice(wire, body)
    (inquiry,) = i.stage.core.vouching.open.values()
    assert len(inquiry.voices) == 3 and i.count("vouched.not_counted") == 1


def test_name_that_half_refuse_is_unknown_at_once() -> None:
    i = Inquest(near=True)
    said = i.tell_all(i.asked(), False, False)
    said = i.tell_all(said, False)
    (wire, _), *_ = i.asked_peers(said)
    assert len(i.refusals(i.tell(wire, vouched=False))) == 1
    assert i.stage.dialling == {} and i.count("request.refused.name_unknown") == 1


def test_member_of_the_other_half_of_all_names_is_asked_by_a_message() -> None:
    i = Inquest()
    said = i.asked()
    assert i.asked_peers(said) == [] and len(i.finds(said)) == 2


def test_member_that_says_by_a_message_that_it_is_none_is_not_asked_again() -> None:
    i = Inquest()
    said = i.views(i.asked())
    (far, asked), *rest = i.vouches(said)
    ((other, _),) = i.vouches(i.voice(far, asked, answers=False, vouched=True))
    assert other.person.name not in [each.person.name for each, _ in rest]
    again = i.stage.wait(SECOND)
    assert far.person.name not in [each.person.name for each, _ in i.vouches(again)]
    (inquiry,) = i.stage.core.vouching.open.values()
    assert inquiry.voices == {}, "what it says beside it is no voice"


def test_where_too_many_are_no_members_others_are_asked_who_they_are_at_once() -> None:
    i = Inquest()
    said = i.views(i.asked())
    looked = []
    for number in range(4):
        (far, asked), *_ = i.vouches(said)
        more = i.voice(far, asked, answers=False)
        looked.append(len(i.finds(more)))
        said = Said([*said[1:], *more]) if number else more
    assert looked == [0, 0, 0, 2] and i.count("vouch.members_wrong") == 1
    said = i.voices(i.views(more), *(True,) * 5)
    assert said.dials() == [i.subject.address]


def test_each_first_hop_is_asked_once_for_the_members_however_their_answers_differ() -> None:
    i = Inquest(near=True)
    said, told = i.asked(), 0
    while i.asked_peers(said):
        more = Said()
        for wire, asked in i.asked_peers(said):
            assert asked.listed
            nobody = [each.name for each in map(Person, range(3_000 + told, 3_008 + told))]
            more.extend(i.tell(wire, names=[i.target[:2] + name[2:] for name in nobody]))
            told += 8
        said = more
    assert told == 8 * 8 and i.count("vouch.views_differ") == 7
    assert i.refusals(i.stage.wait(9 * SECOND)) != []


def test_restored_core_counts_the_answers_of_peers_on() -> None:
    i = Inquest(near=True)
    more = i.tell_all(i.asked(), True, True)
    other = Core(i.stage.config)
    other.restore(i.stage.core.snapshot())
    assert other.digest() == i.stage.core.digest()
    (one,), (two,) = other.vouching.open.values(), i.stage.core.vouching.open.values()
    assert one.peers == two.peers and len(one.peers) == 3 == len(i.asked_peers(more))


# -- who is asked


def test_member_answers_who_the_others_are_if_it_is_asked_for_them() -> None:
    friends = [Person(number) for number in range(10, 22)]
    stage, wires = Stage.among(*friends)
    subject = answered(stage, friends, member=True)
    asker = wires[0]
    (told,) = answers(asker, IsName(subject.key, subject.certificate, True))
    assert told.answers and told.vouched and told.name == subject.name
    held = [stage.name, *(each.name for each in friends[1:])]
    assert told.names[:8] == nearest(client_name(subject.key), held, 8)
    assert asker.person.name not in told.names
    (told,) = answers(asker, IsName(subject.key, subject.certificate, False))
    assert told.names == []


def answered(stage: Stage, friends: list[Person], *, member: bool) -> Person:
    """Return somebody for whom the node of a stage answers, or does not."""
    names = [stage.name, *(each.name for each in friends)]
    return next(
        person
        for person in map(Person, range(400, 900))
        if (stage.name in nearest(client_name(person.key), names, 8)) is member
    )


def test_who_is_not_of_the_group_says_so_and_names_nobody() -> None:
    friends = [Person(number) for number in range(10, 40)]
    stage, wires = Stage.among(*friends)
    far = answered(stage, friends, member=False)
    (told,) = answers(wires[0], IsName(far.key, far.certificate, True))
    assert (told.answers, told.vouched, told.names) == (False, False, [])
    assert stage.core.registrar.records.get(far.key, now=stage.now) is None
    assert stage.core.counters["vouch.not_ours"] == 1


def test_second_name_of_a_key_is_refused_over_a_connection_too() -> None:
    friends = [Person(number) for number in range(10, 22)]
    stage, wires = Stage.among(*friends)
    subject = answered(stage, friends, member=True)
    answers(wires[0], IsName(subject.key, subject.certificate, False))
    other = subject.renamed(friends[3])
    (told,) = answers(wires[1], IsName(subject.key, other.certificate, False))
    assert (told.answers, told.vouched) == (True, False) and told.name == other.name


def test_peer_is_answered_so_often_a_minute_by_whatever_way_it_asks() -> None:
    friends = [Person(number) for number in range(10, 22)]
    stage, wires = Stage.among(*friends, limits=Limits().but(vouches_per_key_per_minute=3))
    subject = answered(stage, friends, member=True)
    asked = IsName(subject.key, subject.certificate, False)
    assert [len(answers(wires[0], asked)) for _ in range(5)] == [1, 1, 1, 0, 0]
    assert stage.core.counters["vouch.too_often"] == 2
    assert len(answers(wires[1], asked)) == 1, "of one key"
    stage.wait(60 * SECOND)
    assert len(answers(wires[0], asked)) == 1


@pytest.mark.parametrize("kind", [FrameKind.IS_NAME, FrameKind.NAME_IS])
def test_malformed_question_or_answer_closes(kind: FrameKind) -> None:
    _, wires = Stage.among(*[Person(number) for number in range(10, 20)])
    said = wires[0].say(kind, b"rubbish")
    assert said.closed(wires[0]) is CloseCode.BAD_FRAME


def test_no_message_is_signed_between_peers() -> None:
    i = Inquest(near=True)
    said = i.asked()
    said.extend(i.tell_all(said, True, True))
    kinds = (MessageKind.FIND_GROUP, MessageKind.VOUCH, MessageKind.VOUCHED)
    assert [i.sent(said, kind) for kind in kinds] == [[], [], []]
