"""What a responder refuses, and the budgets that keep it from being used against a third."""

from __future__ import annotations

from routing.bodies import ConnectRefused
from routing.errors import DialFailure, Outcome, Refusal
from routing.limits import SECOND
from routing.messages import HelloRole, MessageKind
from tests.asked import PEER, STRANGER, Asked
from tests.persons import Person
from tests.support import Stage, strict

__all__: list[str] = []


# -- what is refused


def test_request_of_which_no_endpoint_may_be_dialled_is_refused() -> None:
    a = Asked()
    listed = ["10.0.0.1:4000", "8.8.8.8:53", "224.0.0.1:4000", "127.0.0.9:0"]
    said = a.ask_as(PEER, a.make(endpoints=listed))
    assert said.dials() == [] and a.refusals(said) == [Refusal.NO_ENDPOINT]


def test_loopback_is_not_dialled_by_a_node_that_listens_elsewhere() -> None:
    stage = Stage(first=True, endpoints=["8.8.4.4:4000"])
    stage.start()
    relay = stage.accept(PEER)
    relay.hello(HelloRole.JOIN)
    request = PEER.request(stage.name, proxy=stage.name)
    assert relay.routed(PEER.asks(request, proxy=stage.name)).dials() == []
    assert stage.core.counters["request.refused.no_endpoint"] == 1


def test_fifth_attempt_of_a_key_within_a_minute_is_refused_busy() -> None:
    a = Asked()
    for _ in range(4):
        said = a.ask_as(PEER, a.make())
        assert len(a.responses(said)) == 1
        for dial in list(a.stage.dialling):
            a.stage.fail(dial, DialFailure.CANCELLED)
        a.stage.wait(SECOND)
    assert a.refusals(a.ask_as(PEER, a.make())) == [Refusal.BUSY]


def test_budget_of_a_key_is_renewed_after_a_minute() -> None:
    a = Asked()
    for _ in range(4):
        a.ask_as(PEER, a.make())
    a.stage.wait(60 * SECOND)
    assert len(a.responses(a.ask_as(PEER, a.make()))) == 1


def test_refusals_of_a_key_beyond_four_a_minute_are_silent() -> None:
    a = Asked()
    sent = [a.refusals(a.ask_as(PEER, a.make(endpoints=["10.0.0.1:4000"]))) for _ in range(6)]
    # Attempts count towards the first budget whether they come to a dial or not.
    assert [len(each) for each in sent] == [1, 1, 1, 1, 0, 0]
    assert a.count("request.refusal_budget") == 2


def test_name_that_fits_nowhere_is_refused_not_wanted_unless_it_is_urgent() -> None:
    persons = [Person(number) for number in range(10, 60)]
    stage, wires = Stage.among(*persons)
    unwanted = [p for p in map(Person, range(60, 90)) if not stage.core.table.wanted(p.name)]
    person, friend = unwanted[0], wires[0]
    stage.trust(person)
    hop = friend.person.name
    said = friend.routed(person.asks(person.request(stage.name, hop=hop, urgent=False)))
    (refused,) = said.messages(friend, MessageKind.CONNECT_REFUSED, ConnectRefused)
    assert refused.reason == Refusal.NOT_WANTED and said.dials() == []
    said = friend.routed(person.asks(person.request(stage.name, hop=hop, urgent=True)))
    assert said.dials() == [person.address]


# -- budgets of dials, with loopback no longer exempt


def test_ninth_dial_in_flight_to_one_address_does_not_leave() -> None:
    a = Asked(limits=strict())
    a.stage.wait(61 * SECOND)
    dialled = []
    for number in range(10, 20):
        person = Person(number, address=f"127.9.9.9:{4000 + number}")
        dialled += a.ask_as(person, a.make(person)).dials()
    assert len(dialled) == 8
    assert a.count("dial.address_budget") == 2


def test_thirteenth_dial_within_a_minute_to_one_address_does_not_leave() -> None:
    a = Asked(limits=strict())
    dialled = []
    for number in range(10, 25):
        person = Person(number, address=f"127.9.9.9:{4000 + number}")
        dialled += a.ask_as(person, a.make(person)).dials()
        for dial in list(a.stage.dialling):
            a.stage.fail(dial)
    assert len(dialled) == 12
    a.stage.wait(60 * SECOND)
    assert len(a.ask_as(PEER, a.make(endpoints=["127.9.9.9:5000"])).dials()) == 1


def test_loopback_is_exempt_from_the_budgets_by_default() -> None:
    a = Asked()
    dialled = []
    for number in range(10, 30):
        person = Person(number, address=f"127.9.9.9:{4000 + number}")
        dialled += a.ask_as(person, a.make(person)).dials()
    assert len(dialled) == 20


def test_endpoint_that_failed_rests_for_this_key_only() -> None:
    a = Asked()
    a.ask()
    a.stage.fail(a.stage.dial_to(PEER.address))
    said = a.ask_as(PEER, a.make())
    assert said.dials() == [] and a.outcomes()[-1] is Outcome.PRIMARY_FAILED
    shared = a.make(STRANGER, endpoints=[PEER.address])
    assert a.ask_as(STRANGER, shared).dials() == [PEER.address]


def test_endpoint_that_failed_is_tried_again_after_5_seconds() -> None:
    a = Asked()
    a.ask()
    a.stage.fail(a.stage.dial_to(PEER.address))
    a.stage.wait(5 * SECOND - 1)
    assert a.ask_as(PEER, a.make()).dials() == []
    a.stage.wait(1)
    assert a.ask_as(PEER, a.make()).dials() == [PEER.address]


def test_failure_is_forgiven_when_the_key_authenticates_from_that_address() -> None:
    a = Asked()
    a.ask()
    a.stage.fail(a.stage.dial_to(PEER.address))
    a.stage.accept(PEER).hello(HelloRole.JOIN)
    assert a.ask_as(PEER, a.make()).dials() == [PEER.address]
