"""Dials: staggered, bounded, called off, and each answered once."""

from __future__ import annotations

from itertools import pairwise

from routing.actions import Dial
from routing.errors import CloseCode, DialFailure, Outcome
from routing.events import ConnectFailed
from routing.inputs import DialFailed
from routing.limits import SECOND, Limits
from routing.messages import FrameKind
from routing.state import LinkRole
from tests.asked import PEER, STRANGER, Asked
from tests.persons import Person
from tests.support import Said, Stage

__all__: list[str] = []

LISTED = [f"127.0.0.{70 + number}:4000" for number in range(4)]


def asked(*endpoints: str, limits: Limits | None = None) -> tuple[Asked, Said]:
    a = Asked(limits=limits)
    request = a.make(endpoints=list(endpoints))
    a.attempt = request.attempt
    return a, a.ask_as(PEER, request)


def test_dial_names_the_key_it_expects() -> None:
    _, said = asked(LISTED[0])
    (dial,) = said.of(Dial)
    assert dial.expect == PEER.key


def test_private_and_loopback_endpoints_get_the_short_timeout() -> None:
    _, said = asked(LISTED[0])
    assert said.of(Dial)[0].timeout_ns == 5 * SECOND


def test_global_endpoint_gets_the_long_timeout() -> None:
    stage = Stage(contacts=["8.8.8.8:4000"])
    (dial,) = stage.start().of(Dial)
    assert dial.timeout_ns == 15 * SECOND


def test_bootstrap_dial_expects_nobody_in_particular() -> None:
    stage = Stage(contacts=[PEER.address])
    (dial,) = stage.start().of(Dial)
    assert dial.expect is None


def test_endpoints_are_dialled_a_quarter_of_a_second_apart() -> None:
    a, said = asked(*LISTED)
    counts = [len(said.dials())]
    counts += [len(a.stage.wait(SECOND // 4).dials()) for _ in range(5)]
    assert counts == [1, 1, 1, 1, 0, 0]


def test_failed_dial_brings_the_next_at_once() -> None:
    a, said = asked(*LISTED)
    said = a.stage.fail(a.stage.dial_to(said.dials()[0]))
    assert len(said.dials()) == 1
    assert a.stage.wait(SECOND // 4 - 1).dials() == [], "and the stagger starts anew"
    assert len(a.stage.wait(1).dials()) == 1


def test_first_that_connects_wins_and_the_rest_are_called_off() -> None:
    a, said = asked(*LISTED)
    said += a.stage.wait(SECOND // 4)
    first, second = said.dials()
    wire = a.stage.connect(PEER, a.stage.dial_to(second))
    assert wire.role() is LinkRole.PRIMARY
    assert [a.stage.dialling[dial].endpoint for dial in a.stage.cancelled] == [first]
    assert a.stage.wait(SECOND).dials() == []


def test_dial_that_was_called_off_and_connects_all_the_same_is_closed() -> None:
    a, said = asked(*LISTED)
    said += a.stage.wait(SECOND // 4)
    winner = a.stage.connect(PEER, a.stage.dial_to(said.dials()[1]))
    late = a.stage.connect(PEER, a.stage.cancelled[0])
    assert late.opening.closed(late) is CloseCode.NORMAL
    assert late.opening.bodies(late, FrameKind.HELLO) == []
    assert winner.open


def test_answer_to_a_dial_that_was_called_off_changes_nothing() -> None:
    a, said = asked(*LISTED)
    said += a.stage.wait(SECOND // 4)
    a.stage.connect(PEER, a.stage.dial_to(said.dials()[1]))
    assert a.stage.fail(a.stage.cancelled[0], DialFailure.CANCELLED) == []
    assert a.stage.core.dials.flights == {}


def test_all_dials_failed_ends_the_attempt_once() -> None:
    a, _ = asked(*LISTED)
    a.stage.wait(SECOND)
    for dial in list(a.stage.dialling):
        a.stage.fail(dial)
    failed = a.stage.said.events(ConnectFailed)
    assert [each.outcome for each in failed] == [Outcome.PRIMARY_FAILED]
    assert a.stage.core.dials.plans == {}


def test_attempt_lives_while_one_of_its_dials_is_in_flight() -> None:
    a, said = asked(LISTED[0], LISTED[1])
    said += a.stage.wait(SECOND // 4)
    a.stage.fail(a.stage.dial_to(said.dials()[0]))
    assert a.stage.said.events(ConnectFailed) == []
    assert a.stage.connect(PEER, a.stage.dial_to(said.dials()[1])).role() is LinkRole.PRIMARY


def test_dials_in_flight_are_bounded_in_all() -> None:
    a = Asked(limits=Limits().but(dials_max=3))
    dialled = []
    for number in range(20, 26):
        person = Person(number)
        dialled += a.ask_as(person, a.make(person)).dials()
    assert len(dialled) == 3 and a.count("dial.budget") == 3
    assert len(a.stage.core.dials.flights) == 3


def test_place_of_an_answered_dial_is_free_again() -> None:
    a = Asked(limits=Limits().but(dials_max=1))
    a.ask()
    a.stage.fail(a.stage.dial_to(PEER.address))
    assert len(a.ask_as(STRANGER, a.make(STRANGER)).dials()) == 1


def test_dial_called_off_holds_its_place_until_the_host_has_answered() -> None:
    a = Asked(limits=Limits().but(dials_max=1))
    a.ask()
    dial = a.stage.dial_to(PEER.address)
    a.stage.wait(30 * SECOND)
    assert a.stage.cancelled == [dial]
    assert a.ask_as(STRANGER, a.make(STRANGER)).dials() == []
    a.stage.fail(dial, DialFailure.CANCELLED)
    other = Person(30)
    assert len(a.ask_as(other, a.make(other)).dials()) == 1


def test_back_off_of_an_endpoint_doubles_up_to_five_minutes() -> None:
    a = Asked(limits=Limits().but(attempts_per_key_per_minute=1_000))
    gaps = []
    for _ in range(9):
        while not a.ask_as(PEER, a.make()).dials():
            a.stage.wait(SECOND)
        gaps.append(a.stage.now)
        a.stage.fail(a.stage.dial_to(PEER.address))
    rests = [(after - before) // SECOND for before, after in pairwise(gaps)]
    assert rests == [5, 10, 20, 40, 80, 160, 300, 300]


def test_numbers_of_dials_are_never_used_again() -> None:
    a, said = asked(*LISTED)
    said += a.stage.wait(SECOND)
    numbers = [dial.dial for dial in a.stage.said.of(Dial)]
    assert numbers == sorted(set(numbers)) and 0 not in numbers


def test_second_answer_to_a_dial_changes_nothing() -> None:
    a = Asked()
    a.ask()
    dial = a.stage.dial_to(PEER.address)
    primary = a.stage.connect(PEER)
    assert a.stage.hear(DialFailed(dial, DialFailure.TIMED_OUT)) == []
    assert primary.role() is LinkRole.PRIMARY
