"""Before a key that is new is dialled for, those who answer for it are asked about its name."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.bodies import ConnectResponse, FindGroup
from routing.core import Core
from routing.errors import CloseCode, Outcome, Refusal
from routing.inputs import StopRequested
from routing.limits import SECOND, Limits
from routing.messages import Ack, FrameKind, HelloRole, MessageKind, Signed, ViaAddress, encode
from routing.names import nearest
from routing.state import LinkRole
from tests.asked import Asked
from tests.inquest import Inquest
from tests.persons import Person, opened
from tests.support import Said, Stage

__all__: list[str] = []

MINUTE = 60 * SECOND
YES = (True,) * 5


# -- nothing is dialled before


def test_responder_neither_answers_nor_dials_before_the_name_is_vouched_for() -> None:
    i = Inquest()
    said = i.asked()
    assert said.dials() == [] and i.sent(said, MessageKind.CONNECT_RESPONSE) == []
    said = i.views(said)
    assert said.dials() == []
    said = i.voices(said, *YES)
    assert said.dials() == [i.subject.address]
    assert len(i.sent(said, MessageKind.CONNECT_RESPONSE)) == 1


def test_requester_does_not_dial_before_the_name_is_vouched_for() -> None:
    i = Inquest()
    said = i.answered()
    assert said.dials() == []
    said = i.voices(i.views(said), *YES)
    assert said.dials() == [i.subject.address]


def test_four_of_eight_are_too_few_and_five_are_enough() -> None:
    i = Inquest()
    asked = i.views(i.asked())
    assert i.voices(asked, *YES[:4]).dials() == []
    (wire, vouch) = i.vouches(asked)[4]
    assert i.voice(wire, vouch).dials() == [i.subject.address]


def test_attempt_goes_on_to_its_end_as_any_other() -> None:
    i = Inquest()
    i.voices(i.views(i.asked()), *YES)
    primary = i.stage.connect(i.subject)
    primary.say(FrameKind.ACK, Ack(i.request.attempt))
    i.stage.accept(i.subject).hello(HelloRole.SECONDARY, i.request.attempt)
    assert primary.role() is LinkRole.CONSOLIDATED


def test_primary_that_comes_while_the_requester_asks_is_acknowledged() -> None:
    i = Inquest()
    said = i.friend.names(i.subject.name)
    (asked,) = i.sent(said, MessageKind.CONNECT_REQUEST)
    answer = i.subject.answers(asked)
    attempt = opened(ConnectResponse, opened(Signed, answer.signed).body).attempt
    primary = i.stage.accept(i.subject)
    said = primary.hello(HelloRole.PRIMARY, attempt, response=encode(answer))
    assert len(said.bodies(primary, FrameKind.ACK)) == 1 and said.dials() == []
    assert i.voices(i.views(said), *YES).dials() == [i.subject.address]


def test_requester_whose_answerer_nobody_vouches_for_ends_the_attempt() -> None:
    i = Inquest()
    i.voices(i.views(i.answered()), False, False, False, False)
    assert i.outcomes() == [Outcome.NAME_UNKNOWN]
    assert i.stage.dialling == {} and not i.stage.core.attempts.live()


# -- what needs no asking


def test_with_fewer_than_eight_peers_arithmetic_suffices() -> None:
    a = Asked()
    assert len(a.ask().dials()) == 1
    assert a.count("vouch.arithmetic") == 1 and a.count("vouch.begun") == 0


def test_who_was_vouched_for_is_not_asked_about_again_for_20_minutes() -> None:
    i = Inquest()
    i.voices(i.views(i.asked()), *YES)
    core = i.stage.core
    i.stage.wait(20 * MINUTE - 1)
    assert core.vouching.is_known(i.subject.key, i.subject.name)
    i.stage.wait(1)
    assert not core.vouching.is_known(i.subject.key, i.subject.name)


def test_name_of_another_key_and_another_name_of_the_key_are_not_known_with_it() -> None:
    i = Inquest()
    i.voices(i.views(i.asked()), *YES)
    vouching = i.stage.core.vouching
    other = i.subject.renamed(i.wires[0].person)
    assert not vouching.is_known(i.subject.key, other.name)
    assert not vouching.is_known(i.wires[0].person.key, i.subject.name)


def test_peer_is_known_while_connected_and_for_20_minutes_after() -> None:
    i = Inquest()
    i.voices(i.views(i.asked()), *YES)
    primary = i.stage.connect(i.subject)
    primary.say(FrameKind.ACK, Ack(i.request.attempt))
    i.stage.accept(i.subject).hello(HelloRole.SECONDARY, i.request.attempt)
    i.stage.wait(40 * MINUTE)
    known = i.stage.core.vouching.is_known
    assert known(i.subject.key, i.subject.name)
    primary.lose()
    i.stage.wait(20 * MINUTE - 1)
    assert known(i.subject.key, i.subject.name)
    i.stage.wait(1)
    assert not known(i.subject.key, i.subject.name)


# -- who answers for a key


def test_two_are_asked_who_answers_for_the_key_by_first_hops_of_their_own() -> None:
    i = Inquest()
    finds = i.finds(i.asked())
    assert len(finds) == 2 and finds[0][0] is not finds[1][0]
    for wire, find in finds:
        assert find.reply_to == ViaAddress(wire.person.name, i.stage.name)


def test_one_view_is_not_enough() -> None:
    i = Inquest()
    (one, _) = i.finds(i.asked())
    assert i.vouches(i.view(*one)) == []
    assert i.vouches(i.view(*one)) == [], "nor the same twice"


def test_those_that_both_views_name_are_asked_and_no_others() -> None:
    i = Inquest()
    strangers = [person.name for person in map(Person, range(3_000, 3_003))]
    views = ([*i.members[:5], *strangers], i.members)
    said = i.views(i.asked(), *views)
    asked = [wire.person.name for wire, _ in i.vouches(said)]
    assert asked and set(asked) <= set(i.members[:5])
    assert i.voices(said, True, True, True).dials() == [i.subject.address], "3 of 5"


def test_views_that_agree_on_half_or_less_count_for_nothing() -> None:
    i = Inquest()
    nobody = [person.name for person in map(Person, range(3_000, 3_008))]
    half = [*i.members[:4], *nearest(i.target, nobody, 4)]
    assert i.vouches(i.views(i.asked(), half, i.members)) == []
    assert i.count("vouch.views_differ") == 1


def test_next_best_first_hops_are_asked_until_two_views_agree() -> None:
    i = Inquest()
    nobody = [person.name for person in map(Person, range(3_000, 3_008))]
    said = i.asked()
    tried = [wire for wire, _ in i.finds(said)]
    i.views(said, nobody, i.members)
    again = i.stage.wait(SECOND)
    ((wire, find),) = i.finds(again)
    assert wire not in tried
    assert len(i.vouches(i.view(wire, find))) >= 5


def test_silent_first_hops_are_passed_by() -> None:
    i = Inquest()
    tried = [wire for wire, _ in i.finds(i.asked())]
    others = [wire for wire, _ in i.finds(i.stage.wait(SECOND))]
    assert len(others) == 2 and not any(wire in tried for wire in others)


def test_answer_to_a_question_that_was_not_asked_by_this_way_is_none() -> None:
    i = Inquest()
    said = i.asked()
    ((wire, find), _) = i.finds(said)
    other = next(each for each in i.wires if each not in [w for w, _ in i.finds(said)])
    forged = structs.replace(find, reply_to=ViaAddress(other.person.name, i.stage.name))
    i.view(wire, find)
    assert i.vouches(i.view(other, forged)) == []
    assert i.count("group.unasked") == 1


def test_where_the_group_is_known_exactly_nobody_is_asked_who_it_is() -> None:
    i = Inquest(known=True)
    said = i.asked()
    assert i.finds(said) == [] and i.count("vouch.group_known") == 1
    assert len(i.asked_peers(said)) == 4, "four of the seven others, with our own voice enough"
    assert i.tell_all(said, *YES[:4]).dials() == [i.subject.address]


def test_own_node_of_the_key_does_not_answer_for_it() -> None:
    i = Inquest()
    said = i.views(i.asked(), [i.subject.name, *i.members], [i.subject.name, *i.members])
    asked = [wire.person.name for wire, _ in i.vouches(said)]
    assert len(asked) == 5 and set(asked) <= set(i.members)


# -- voices


def test_as_many_as_must_vouch_are_asked_at_first() -> None:
    i = Inquest()
    assert len(i.vouches(i.views(i.asked()))) == 5


def test_another_is_asked_for_each_that_refuses() -> None:
    i = Inquest()
    said = i.views(i.asked())
    first = [wire for wire, _ in i.vouches(said)]
    (other, _), *_ = i.vouches(i.voices(said, False))
    assert other not in first


def test_as_many_as_are_missing_and_one_to_spare_are_asked_again_those_first_that_were_not() -> (
    None
):
    i = Inquest()
    asked = i.vouches(i.views(i.asked()))
    i.voice(*asked[0])
    again = [wire.person.name for wire, _ in i.vouches(i.stage.wait(SECOND))]
    assert len(again) == 5, "four are missing"
    before = [wire.person.name for wire, _ in asked]
    assert [name for name in again if name not in before] == again[:3]
    assert before[0] not in again


def test_member_counts_once_however_often_and_under_however_many_names_it_speaks() -> None:
    i = Inquest()
    said = i.views(i.asked())
    (wire, asked), *_ = i.vouches(said)
    for _ in range(5):
        assert i.voice(wire, asked).dials() == []
    assert i.count("vouched.not_counted") == 4
    key, other = wire.person, i.vouches(said)[1][0].person
    wire.person = key.renamed(other)
    assert i.voice(wire, asked).dials() == []


def test_voice_of_one_that_was_not_asked_is_none() -> None:
    i = Inquest()
    said = i.views(i.asked())
    (wire, asked), *_ = i.vouches(said)
    stranger = next(each for each in i.wires if each.person.name not in i.members)
    i.voice(stranger, asked)
    assert i.count("vouched.not_counted") == 1
    i.voice(wire, asked, name=bytes(32))
    assert i.count("vouched.unasked") == 1


def test_name_that_half_refuse_is_unknown_at_once() -> None:
    i = Inquest()
    said = i.views(i.asked())
    assert i.refusals(i.voices(said, False, False, False)) == []
    (wire, asked) = i.vouches(said)[3]
    said = i.voice(wire, asked, vouched=False)
    assert i.refusals(said) == [Refusal.NAME_UNKNOWN] and i.stage.dialling == {}
    assert i.count("request.refused.name_unknown") == 1
    assert any("vouch for this name" in line for line in i.stage.core.explain(i.subject.name))


def test_refusal_for_want_of_vouchers_is_repeated_like_any_other() -> None:
    i = Inquest()
    i.voices(i.views(i.asked()), False, False, False, False)
    again = i.friend.routed(structs.replace(i.envelope, route=1))
    assert i.refusals(again) == [Refusal.NAME_UNKNOWN]


def test_when_nobody_answers_the_name_is_unknown_after_nine_seconds() -> None:
    i = Inquest()
    i.asked()
    assert i.refusals(i.stage.wait(9 * SECOND - 1)) == []
    assert i.refusals(i.stage.wait(1)) == [Refusal.NAME_UNKNOWN]
    assert i.stage.core.vouching.open == {}
    assert "nobody agrees" in i.stage.core.explain(i.subject.name)[-1]


def test_members_that_say_nothing_are_looked_for_anew() -> None:
    i = Inquest()
    i.views(i.asked())
    quiet, loud = i.stage.wait(SECOND), i.stage.wait(SECOND)
    assert i.finds(quiet) == [] and len(i.finds(loud)) == 2
    others = [wire.person.name for wire in i.wires if wire.person.name not in i.members]
    said = i.views(loud, [*i.members[:2], *others], [*i.members[:2], *others])
    asked = {wire.person.name for wire, _ in i.asked_peers(said)}
    assert asked & set(others)


def test_group_that_we_thought_we_knew_is_looked_for_by_others_when_it_says_nothing() -> None:
    i = Inquest(known=True)
    i.asked()
    assert i.finds(i.stage.wait(SECOND)) == []
    said = i.stage.wait(SECOND)
    assert len(i.finds(said)) == 2 and i.count("vouch.group_known") == 1
    others = [each.person.name for each in i.wires if each.person.name not in i.members]
    asked = {wire.person.name for wire, _ in i.asked_peers(i.views(said, others, others))}
    assert asked & set(others)


# -- what happens meanwhile


def test_repeat_of_a_request_while_its_name_is_asked_about_changes_nothing() -> None:
    i = Inquest()
    i.asked()
    said = i.friend.routed(structs.replace(i.envelope, route=1))
    assert i.sent(said, MessageKind.CONNECT_RESPONSE) == [] and i.finds(said) == []
    assert i.count("request.being_vouched") == 1


def test_newest_request_of_a_key_is_the_one_that_is_answered() -> None:
    i = Inquest()
    said = i.asked()
    i.asked(i.subject)
    said = i.voices(i.views(said), *YES)
    (envelope,) = i.sent(said, MessageKind.CONNECT_RESPONSE)
    response = opened(ConnectResponse, opened(Signed, envelope.signed).body)
    assert response.attempt != i.request.attempt and len(said.dials()) == 1


def test_node_whose_request_waits_is_not_asked_for_a_connection_besides() -> None:
    i = Inquest()
    said = i.asked()
    i.friend.names(i.subject.name)
    assert i.stage.core.attempts.with_name(i.subject.name) is None
    assert i.count("attempt.expected") == 1
    assert i.voices(i.views(said), *YES).dials() == [i.subject.address]
    assert i.count("vouch.begun") == 1


def test_node_whose_request_came_to_nothing_is_asked_for_a_connection() -> None:
    i = Inquest()
    i.voices(i.views(i.asked()), False, False, False, False)
    i.friend.names(i.subject.name)
    assert i.stage.core.attempts.with_name(i.subject.name) is not None


def test_who_has_been_connected_with_meanwhile_is_not_dialled_again() -> None:
    i = Inquest()
    said = i.views(i.asked())
    i.stage.befriend(i.subject)
    said = i.voices(said, *YES)
    assert said.dials() == [] and i.count("request.overtaken") == 1
    assert i.sent(said, MessageKind.CONNECT_RESPONSE) == []


def test_attempt_that_ended_meanwhile_is_not_dialled_for() -> None:
    i = Inquest()
    asked = i.views(i.answered())
    attempt = i.stage.core.attempts.with_name(i.subject.name)
    assert attempt is not None
    i.stage.core.attempts.end(attempt, Outcome.EXPIRED, CloseCode.EXPIRED)
    assert i.voices(asked, *YES).dials() == []


def test_inquiry_ends_where_fewer_than_eight_peers_are_left() -> None:
    i = Inquest()
    i.asked()
    said = Said()
    for wire in i.wires[1:9]:
        said.extend(wire.lose())
    said.extend(i.stage.wait(SECOND))
    assert i.subject.address in said.dials() and i.stage.core.vouching.open == {}


def test_node_that_loses_its_network_asks_no_longer() -> None:
    i = Inquest()
    i.asked()
    for wire in i.wires:
        wire.lose()
    assert i.stage.core.vouching.open == {}
    said = i.stage.wait(MINUTE)
    assert (
        i.sent(said, MessageKind.CONNECT_RESPONSE) == [] and i.subject.address not in said.dials()
    )


def test_stop_ends_every_inquiry() -> None:
    i = Inquest()
    i.asked()
    i.stage.hear(StopRequested())
    assert i.stage.core.vouching.open == {} and i.stage.core.next_deadline() is None


# -- bounds


def crowd(i: Inquest, count: int, network: int) -> Said:
    said = Said()
    for number in range(count):
        address = f"{network}.1.1.{number + 1}:4000"
        person = Person(10_000 * network + number, address=address)
        said.extend(i.asked(person))
    return said


def test_request_beyond_what_may_wait_is_refused_busy() -> None:
    i = Inquest(limits=Limits().but(vouches_max=3))
    assert i.refusals(crowd(i, 5, 20)) == [Refusal.BUSY] * 2
    assert len(i.stage.core.vouching.open) == 3 and i.count("vouch.no_room") == 2


def test_crowd_of_one_network_gives_way_to_another() -> None:
    i = Inquest(limits=Limits().but(vouches_max=3))
    crowd(i, 3, 20)
    assert i.refusals(crowd(i, 1, 30)) == [Refusal.BUSY], "the oldest of the crowd"
    sources = [each.source for each in i.stage.core.vouching.open.values()]
    assert len(sources) == 3 and len(set(sources)) == 2
    assert i.count("vouch.displaced") == 1


def test_place_of_a_request_is_not_taken_from_an_attempt_of_ours() -> None:
    i = Inquest(limits=Limits().but(vouches_max=1))
    crowd(i, 1, 20)
    i.answered()
    assert len(i.stage.core.vouching.open) == 2


def test_names_remembered_are_bounded() -> None:
    i = Inquest(limits=Limits().but(vouched_max=4))
    i.stage.trust(*map(Person, range(600, 620)))
    assert len(i.stage.core.vouching.trusted) == 4


# -- restored


@pytest.mark.parametrize("ours", [False, True], ids=["their attempt", "our attempt"])
@pytest.mark.parametrize("far", [0, 1, 2], ids=["asked", "viewed", "heard"])
def test_restored_core_asks_on_where_the_first_was(far: int, ours: bool) -> None:
    i = Inquest()
    said = i.answered() if ours else i.asked()
    if far:
        said = i.views(said)
    if far > 1:
        i.voices(said, True, False)
    other = Core(i.stage.config)
    other.restore(i.stage.core.snapshot())
    assert other.digest() == i.stage.core.digest()
    assert other.vouching.open == i.stage.core.vouching.open
    for core in (i.stage.core, other):
        core.take_actions()
        core.on_deadline(core.next_deadline() or 0)  # type: ignore[arg-type]
    assert other.take_actions() == i.stage.core.take_actions()
    assert other.digest() == i.stage.core.digest()


def test_question_who_is_nearest_leaves_the_asker_out() -> None:
    i = Inquest()
    said = i.asked()
    for wire, _ in i.finds(said):
        for envelope in said.envelopes(wire, MessageKind.FIND_GROUP):
            signed = opened(Signed, envelope.signed)
            assert signed.leave_out == i.stage.name
            assert opened(FindGroup, signed.body).target == i.target


def test_node_that_has_just_begun_to_route_does_not_ask() -> None:
    stage = Stage.founder()
    for person in map(Person, range(30, 38)):
        stage.befriend(person)
    assert not stage.core.vouching.is_known(Person(99).key, Person(99).name)
    stage.open[stage.core.link_to(Person(30).name).token].lose()
    assert stage.core.vouching.is_known(Person(99).key, Person(99).name)
