"""Feeling for more network than we know: short dials that move no state."""

from __future__ import annotations

from itertools import pairwise

from routing.bodies import ConnectRequest, FindGroup, NameVote, RequestName
from routing.errors import CloseCode, DialFailure, Refusal
from routing.events import StateChanged
from routing.inputs import ContactsLearnt
from routing.limits import SECOND
from routing.messages import (
    ClientAddress,
    Confirmation,
    Contacts,
    FrameKind,
    GroupAddress,
    Hello,
    HelloRole,
    MessageKind,
    Refuse,
    Signed,
    encode,
)
from routing.names import client_name
from routing.state import LinkRole
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

FRIEND, FAR, NEWS, OTHER = Person(1), Person(2), Person(3), Person(4)


def hinted() -> tuple[Stage, Wire, Said]:
    """Return a node whose neighbour has just told it of FAR, when it dials there."""
    stage, (friend,) = Stage.among(FRIEND)
    friend.say(FrameKind.CONTACTS, Contacts([FAR.address]))
    return stage, friend, stage.wait(10 * SECOND)


def feeling() -> tuple[Stage, Wire, Wire]:
    """Return a node with a feeler to FAR, not yet admitted."""
    stage, friend, _ = hinted()
    return stage, friend, stage.connect(FAR)


def asking() -> tuple[Stage, Wire, Wire]:
    stage, friend, feeler = feeling()
    feeler.opening = feeler.admit()
    return stage, friend, feeler


# -- when


def test_node_feels_at_a_contact_outside_its_table_every_minute_or_so() -> None:
    stage, _ = Stage.among(FRIEND)
    stage.hear(ContactsLearnt([FAR.address]))
    times = []
    while stage.now < 600 * SECOND:
        for dial in list(stage.dialling):
            stage.fail(dial)
        for endpoint in stage.wait(SECOND // 2).dials():
            assert endpoint == FAR.address
            times.append(stage.now)
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) > 5 and all(gap >= 30 * SECOND - SECOND for gap in gaps), gaps


def test_contact_the_user_names_is_felt_at_at_once() -> None:
    stage, _ = Stage.among(FRIEND)
    said = stage.hear(ContactsLearnt([FAR.address]))
    said += stage.wait(SECOND // 10)
    assert said.dials() == [FAR.address]


def test_founder_feels_for_other_founders() -> None:
    stage = Stage.founder()
    said = stage.hear(ContactsLearnt([FAR.address]))
    said += stage.wait(SECOND)
    assert said.dials() == [FAR.address]


def test_node_that_knows_only_its_peers_does_not_feel() -> None:
    stage, _ = Stage.among(FRIEND)
    assert stage.wait(600 * SECOND).dials() == []


def test_disconnected_node_does_not_feel() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    friend.say(FrameKind.CONTACTS, Contacts([FAR.address]))
    friend.lose()
    said = stage.wait(30 * SECOND)
    for dial in list(stage.dialling):
        wire = stage.connect(FAR if stage.dialling[dial].endpoint == FAR.address else FRIEND, dial)
        hellos = wire.opening.frames(wire, FrameKind.HELLO, Hello)
        assert all(hello.role is HelloRole.JOIN for hello in hellos)
    assert said.dials()


def test_at_most_three_feelers_a_minute() -> None:
    stage, _ = Stage.among(FRIEND)
    dialled = 0
    for number in range(20):
        said = stage.hear(ContactsLearnt([f"127.0.9.{number + 1}:4000"]))
        said += stage.wait(SECOND)
        dialled += len(said.dials())
        for dial in list(stage.dialling):
            stage.fail(dial)
    assert dialled == 3


def test_one_feeler_at_a_time() -> None:
    stage, _, feeler = feeling()
    said = stage.hear(ContactsLearnt([OTHER.address]))
    said += stage.wait(5 * SECOND)
    assert said.dials() == [] and feeler.open


# -- the feeler


def test_feeler_says_hello_and_moves_no_state() -> None:
    stage, _, feeler = feeling()
    (hello,) = feeler.opening.frames(feeler, FrameKind.HELLO, Hello)
    assert hello.role is HelloRole.FEEL and hello.endpoints == stage.core.endpoints
    assert feeler.role() is LinkRole.FEELER
    before = len(stage.said.events(StateChanged))
    feeler.admit()
    feeler.lose()
    assert len(stage.said.events(StateChanged)) == before


def test_feeler_that_reaches_a_peer_of_ours_closes_without_a_word() -> None:
    stage, _, _ = hinted()
    wire = stage.connect(FRIEND, stage.dial_to(FAR.address))
    assert wire.opening.closed(wire) is CloseCode.NORMAL
    assert wire.opening.bodies(wire, FrameKind.HELLO) == []


def test_feeler_nobody_answers_closes_after_ten_seconds() -> None:
    stage, _, feeler = feeling()
    stage.wait(10 * SECOND - 1)
    assert feeler.open
    assert stage.wait(1).closed(feeler) is CloseCode.NORMAL


def test_refused_feeler_closes_and_notes_the_contacts() -> None:
    stage, _, feeler = feeling()
    refuse = Refuse(Refusal.NOT_CONNECTED, FAR.key, [OTHER.address])
    assert feeler.say(FrameKind.REFUSE, refuse).closed(feeler) is CloseCode.NORMAL
    assert OTHER.address in {str(each) for each in stage.core.book.all_contacts()}


def test_admitted_feeler_asks_for_our_own_name_over_itself() -> None:
    stage, friend, feeler = asking()
    (find,) = feeler.opening.messages(feeler, MessageKind.FIND_GROUP, FindGroup)
    assert find.target == stage.name
    assert find.reply_to == ClientAddress(FAR.name, stage.core.key)
    assert feeler.opening.bodies(friend, FrameKind.ROUTED) == []


def test_answer_that_brings_nothing_new_closes_the_feeler() -> None:
    stage, _, feeler = asking()
    said = feeler.group_is(stage.name, FRIEND.name, stage.name)
    assert said.closed(feeler) is CloseCode.NORMAL


def news() -> tuple[Stage, Wire, Wire, Said]:
    stage, friend, feeler = asking()
    said = feeler.group_is(stage.name, NEWS.name)
    return stage, friend, feeler, said


def test_news_start_attempts_through_the_feeler_and_keep_it() -> None:
    stage, _, feeler, said = news()
    (request,) = said.messages(feeler, MessageKind.CONNECT_REQUEST, ConnectRequest)
    assert request.target == NEWS.name
    assert request.reply_to == ClientAddress(FAR.name, stage.core.key)
    assert feeler.open


def test_news_have_our_name_confirmed_on_the_other_side() -> None:
    stage, _, feeler, said = news()
    (asked,) = said.messages(feeler, MessageKind.REQUEST_NAME, RequestName)
    assert asked.held == stage.core.certificate


def test_kept_feeler_closes_after_a_minute_at_the_latest() -> None:
    stage, _, feeler, _ = news()
    stage.wait(60 * SECOND - 1)
    assert feeler.open
    assert stage.wait(1).closed(feeler) is CloseCode.NORMAL


def win(stage: Stage, feeler: Wire, said: Said) -> Wire:
    """Let NEWS answer the attempt that goes through the feeler, and be consolidated."""
    (envelope,) = said.envelopes(feeler, MessageKind.CONNECT_REQUEST)
    request = opened(ConnectRequest, opened(Signed, envelope.signed).body)
    answer = NEWS.answers(envelope)
    feeler.routed(answer)
    stage.connect(NEWS)
    primary = stage.accept(NEWS)
    primary.hello(HelloRole.PRIMARY, request.attempt, response=encode(answer))
    primary.opening = primary.say(FrameKind.CONFIRMATION, Confirmation(request.attempt, False))
    assert primary.role() is LinkRole.CONSOLIDATED
    return primary


def confirm(stage: Stage, feeler: Wire) -> Said:
    certificate = stage.core.certificate
    assert certificate is not None
    vote = FAR.votes(stage.core.key, certificate.n1, certificate.n2, 1, proxy=FAR.name)
    return feeler.routed(vote)


def test_feeler_that_has_served_closes_when_its_attempts_and_the_name_are_decided() -> None:
    stage, _, feeler, said = news()
    win(stage, feeler, said)
    assert feeler.open, "the name is not confirmed yet"
    assert confirm(stage, feeler).closed(feeler) is CloseCode.NORMAL


def test_neighbours_hear_of_a_peer_won_three_seconds_after_the_name_is_confirmed() -> None:
    stage, friend, feeler, said = news()
    won = win(stage, feeler, said)
    confirm(stage, feeler)
    assert stage.wait(3 * SECOND - 1).bodies(friend, FrameKind.CONTACTS) == []
    said = stage.wait(1)
    assert said.frames(friend, FrameKind.CONTACTS, Contacts) == [Contacts([NEWS.address])]
    assert said.bodies(won, FrameKind.CONTACTS) == [], "who was won knows his side"


def test_nobody_hears_of_news_while_the_name_is_not_confirmed() -> None:
    stage, friend, feeler, said = news()
    win(stage, feeler, said)
    assert stage.wait(30 * SECOND).bodies(friend, FrameKind.CONTACTS) == []


def test_lost_feeler_is_forgotten_and_the_next_may_go() -> None:
    stage, _, feeler = feeling()
    feeler.lose()
    said = stage.hear(ContactsLearnt([OTHER.address]))
    said += stage.wait(SECOND)
    assert said.dials() == [OTHER.address]


def test_feeler_that_cannot_be_dialled_makes_room_for_the_next() -> None:
    stage, _, _ = hinted()
    stage.fail(stage.dial_to(FAR.address), DialFailure.TIMED_OUT)
    said = stage.hear(ContactsLearnt([OTHER.address]))
    said += stage.wait(SECOND)
    assert said.dials() == [OTHER.address]


# -- hints


def test_hint_is_followed_within_ten_seconds() -> None:
    _, _, said = hinted()
    assert said.dials() == [FAR.address]


def test_second_hint_within_20_seconds_is_only_noted() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    friend.say(FrameKind.CONTACTS, Contacts([FAR.address]))
    stage.wait(10 * SECOND)
    stage.fail(stage.dial_to(FAR.address))
    friend.say(FrameKind.CONTACTS, Contacts([OTHER.address]))
    assert stage.wait(10 * SECOND - 1).dials() == []
    assert OTHER.address in {str(each) for each in stage.core.book.all_contacts()}


def test_hint_at_a_peer_or_ourselves_or_nonsense_is_passed_over() -> None:
    stage, (friend, _) = Stage.among(FRIEND, OTHER)
    listed = [OTHER.address, stage.person.address, "nonsense"]
    friend.say(FrameKind.CONTACTS, Contacts(listed))
    assert stage.wait(20 * SECOND).dials() == []


# -- felt


def test_one_that_feels_at_us_is_closed_in_the_end() -> None:
    stage, _ = Stage.among(FRIEND)
    felt = stage.accept(FAR)
    felt.hello(HelloRole.FEEL)
    assert felt.role() is LinkRole.FELT
    assert stage.wait(120 * SECOND).closed(felt) is CloseCode.EXPIRED


def test_one_that_feels_at_us_has_its_name_confirmed() -> None:
    stage = Stage.founder()
    felt = stage.accept(FAR)
    felt.hello(HelloRole.FEEL)
    body = RequestName(ClientAddress(stage.name, FAR.key), FAR.certificate, [])
    destination = GroupAddress(client_name(FAR.key))
    said = felt.routed(FAR.seal(MessageKind.REQUEST_NAME, destination, body, proxy=stage.name))
    (vote,) = said.messages(felt, MessageKind.NAME_VOTE, NameVote)
    assert (vote.n1, vote.n2) == (FAR.certificate.n1, FAR.certificate.n2)
