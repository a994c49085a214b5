"""Late words of a process that is gone, or of an attempt given up, do not harm the younger one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing.bodies import ConnectRequest
from routing.core import Core
from routing.errors import CloseCode, Outcome, Refusal
from routing.limits import MILLISECOND, SECOND
from routing.messages import Envelope, HelloRole, MessageKind, Signed, encode
from routing.seniority import NUMBER_BYTES, is_older, numbered
from routing.state import LinkRole
from tests.asked import FRIEND, PEER, Asked
from tests.persons import Person, opened
from tests.support import Stage, Wire
from tests.unit.test_connecting import Asking

__all__: list[str] = []


# -- the numbers


def test_later_number_is_the_younger_whatever_chance_follows() -> None:
    early, late = numbered(1_000, b"\xff" * 8), numbered(1_001, bytes(8))
    assert is_older(early, late) and not is_older(late, early)
    assert len(early) == 8 and early[NUMBER_BYTES:] == b"\xff\xff"


def test_two_of_the_same_millisecond_have_no_order() -> None:
    one, other = numbered(5, bytes(16)), numbered(5, b"\xff" * 16)
    assert not is_older(one, other) and not is_older(other, one)


def test_process_and_its_attempts_are_numbered_by_time() -> None:
    config = Stage(1).config
    first, second = Core(replace(config, born_ms=7)), Core(replace(config, born_ms=8))
    assert is_older(first.incarnation, second.incarnation)
    stage, (friend,) = Stage.among(FRIEND)
    ids = []
    for number in (40, 41):
        said = friend.names(Person(number).name)
        (asked,) = said.envelopes(friend, MessageKind.CONNECT_REQUEST)
        ids.append(opened(ConnectRequest, opened(Signed, asked.signed).body).attempt)
        stage.wait(MILLISECOND)
    assert is_older(*ids)


# -- requests


@pytest.mark.parametrize("gone", [True, False], ids=["of a dead process", "given up"])
def test_late_request_does_not_end_the_younger_attempt(gone: bool) -> None:
    a = Asked()
    newer = PEER.restarted() if gone else PEER
    request = a.make(newer)
    a.ask_as(newer, request)
    primary = a.stage.connect(newer)
    said = a.ask()
    assert said.closed(primary) is None and a.outcomes() == []
    assert a.refusals(said) == [Refusal.OUTDATED] and said.dials() == []
    assert a.count("request.refused.outdated") == 1


def test_late_request_does_not_end_our_own_attempt_with_the_younger_process() -> None:
    a = Asked()
    newer = PEER.restarted()
    (asked,) = a.friend.names(PEER.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST)
    a.friend.routed(newer.answers(asked))
    secondary = a.stage.connect(newer)
    said = a.ask()
    assert said.closed(secondary) is None and a.outcomes() == []
    assert a.refusals(said) == [Refusal.OUTDATED]


def test_younger_attempt_of_the_same_process_takes_the_place_of_the_older() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    said = a.ask_as(PEER, a.make())
    assert said.closed(primary) is not None and a.outcomes() == [Outcome.RESTARTED]
    assert len(a.responses(said)) == 1


def test_process_whose_clock_was_set_back_is_heard_once_the_older_attempt_is_over() -> None:
    a = Asked()
    newer = PEER.restarted()
    a.ask_as(newer, a.make(newer))
    assert a.refusals(a.ask()) == [Refusal.OUTDATED]
    a.stage.wait(30 * SECOND)
    assert len(a.responses(a.ask_as(PEER, a.make()))) == 1


def test_late_request_does_not_take_the_place_of_one_that_waits_for_a_probe() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    a.ack(primary)
    a.secondary()
    newer = PEER.restarted()
    late = a.make()
    a.ask_as(newer, a.make(newer))
    assert a.refusals(a.ask_as(PEER, late)) == [Refusal.OUTDATED]
    said = a.stage.wait(2 * SECOND)
    assert len(a.responses(said)) == 1
    attempt = a.stage.core.attempts.with_name(PEER.name)
    assert attempt is not None and attempt.incarnation == newer.incarnation


# -- answers


def answered_by(a: Asking, person: Person) -> Envelope:
    return person.answers(a.asked)


def greet(a: Asking, person: Person, answer: Envelope) -> Wire:
    wire = a.stage.accept(person)
    wire.opening = wire.hello(HelloRole.PRIMARY, a.attempt, response=encode(answer))
    return wire


def test_late_primary_of_a_dead_process_does_not_hold_up_the_younger_one() -> None:
    a, newer = Asking(), PEER.restarted()
    a.friend.routed(answered_by(a, newer))
    late = greet(a, PEER, answered_by(a, PEER))
    assert late.opening.closed(late) is CloseCode.BAD_HELLO
    assert a.stage.core.counters["response.outdated"] == 1
    primary = greet(a, newer, answered_by(a, newer))
    assert primary.role() is LinkRole.PRIMARY
    a.stage.connect(newer)
    a.confirm(primary)
    assert primary.role() is LinkRole.CONSOLIDATED


def test_younger_process_takes_over_from_a_dead_one_that_had_dialled_already() -> None:
    a, newer = Asking(), PEER.restarted()
    late = greet(a, PEER, answered_by(a, PEER))
    assert late.role() is LinkRole.PRIMARY
    secondary = a.stage.connect(PEER)
    primary = greet(a, newer, answered_by(a, newer))
    said = primary.opening
    assert said.closed(late) is CloseCode.REPLACED
    assert said.closed(secondary) is CloseCode.REPLACED
    assert primary.role() is LinkRole.PRIMARY and said.dials() == [newer.address]
    a.stage.connect(newer)
    a.confirm(primary)
    assert primary.role() is LinkRole.CONSOLIDATED


def test_attempt_is_taken_over_once_and_then_ends_in_time() -> None:
    a, second = Asking(), PEER.restarted()
    third = second.restarted()
    a.friend.routed(answered_by(a, PEER))
    a.stage.wait(30 * SECOND)
    a.friend.routed(answered_by(a, second))
    a.stage.wait(20 * SECOND)
    assert a.friend.routed(answered_by(a, third)).dials() == []
    assert a.stage.core.counters["response.outdated"] == 1
    assert a.outcomes() == []
    a.stage.wait(15 * SECOND)
    assert a.outcomes() == [Outcome.EXPIRED]


def test_requester_told_that_its_attempt_is_not_known_asks_the_younger_process() -> None:
    a, newer = Asking(), PEER.restarted()
    greet(a, PEER, answered_by(a, PEER))
    secondary = a.stage.connect(newer)
    said = secondary.lose(CloseCode.BAD_HELLO)
    (again,) = said.envelopes(a.friend, MessageKind.CONNECT_REQUEST)
    assert again.signed == a.asked.signed and again.route != a.asked.route
    primary = greet(a, newer, answered_by(a, newer))
    a.stage.connect(newer)
    a.confirm(primary)
    assert primary.role() is LinkRole.CONSOLIDATED
    assert a.stage.core.counters["attempt.disowned"] == 1


def test_secondary_that_is_merely_lost_asks_nothing() -> None:
    a = Asking()
    a.respond()
    said = a.stage.connect(PEER).lose(CloseCode.SECONDARY_DONE)
    assert said.envelopes(a.friend, MessageKind.CONNECT_REQUEST) == []
