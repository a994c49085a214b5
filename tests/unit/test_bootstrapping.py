"""Looking for a network: contacts, rounds, back-off, and what follows a total loss."""

from __future__ import annotations

import pytest

from routing.actions import Dial, KeepCertificate, Tell
from routing.bodies import RequestName
from routing.endpoints import parse
from routing.errors import CloseCode, DialFailure, Outcome, Refusal
from routing.events import (
    BootstrapFinished,
    Bootstrapped,
    BootstrapStarted,
    Connected,
    ConnectFailed,
    Disconnected,
    PeerDown,
    RoundOutcome,
    StateChanged,
)
from routing.inputs import ContactsLearnt, DialFailed, StopRequested
from routing.limits import SECOND, Nanos
from routing.messages import FrameKind, Hello, HelloRole, MessageKind, Refuse
from routing.state import Detail, LinkRole, Phase
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []

PERSONS = [Person(number) for number in range(1, 8)]
ONE, TWO, THREE = PERSONS[:3]


def looking(*persons: Person, client: bool = False) -> Stage:
    stage = Stage(contacts=[person.address for person in persons], client=client)
    stage.start()
    return stage


def refuse(wire: Wire, reason: Refusal = Refusal.NOT_CONNECTED, *contacts: str) -> Said:
    said = wire.say(FrameKind.REFUSE, Refuse(reason, wire.person.key, list(contacts)))
    if wire.open:
        said += wire.lose(CloseCode.NOT_CONNECTED)
    return said


def fail_all(stage: Stage) -> None:
    for dial in list(stage.dialling):
        stage.fail(dial)


def finishes(stage: Stage) -> list[RoundOutcome]:
    return [each.outcome for each in stage.said.events(BootstrapFinished)]


def next_round(stage: Stage, within: int) -> int:
    """Let time pass until the next round has started; return how long that took."""
    rounds, began = stage.core.bootstrapping.rounds, stage.now
    while stage.core.bootstrapping.rounds == rounds:
        due = stage.core.next_deadline()
        assert due is not None and due - began <= within, "a round must start"
        stage.wait(max(0, due - stage.now))
    return stage.now - began


# -- one round


def test_fresh_process_starts_a_round_at_once() -> None:
    stage = looking(ONE)
    assert stage.said.events(BootstrapStarted) == [BootstrapStarted(1, 1)]
    assert stage.said.dials() == [ONE.address]
    assert stage.core.state.phase is Phase.BOOTSTRAPPING


def test_second_request_to_bootstrap_changes_nothing() -> None:
    stage = looking(ONE)
    assert stage.start() == []


def test_hello_is_said_to_a_contact_that_answers() -> None:
    stage = looking(ONE)
    wire = stage.connect(ONE)
    (hello,) = wire.opening.frames(wire, FrameKind.HELLO, Hello)
    assert hello.role is HelloRole.JOIN and hello.endpoints == stage.core.endpoints
    assert hello.incarnation == stage.core.incarnation and hello.lowest == stage.core.key


def test_client_says_so_and_lists_no_endpoints() -> None:
    stage = looking(ONE, client=True)
    wire = stage.connect(ONE)
    (hello,) = wire.opening.frames(wire, FrameKind.HELLO, Hello)
    assert hello.role is HelloRole.CLIENT and hello.endpoints == []


def test_three_contacts_are_dialled_in_parallel_a_quarter_of_a_second_apart() -> None:
    stage = looking(*PERSONS)
    times = {0: len(stage.said.dials())}
    for _ in range(8):
        said = stage.wait(SECOND // 8)
        times[stage.now] = len(said.dials())
    dialled = [at for at, count in times.items() for _ in range(count)]
    assert dialled == [0, SECOND // 4, SECOND // 2]


def test_failed_contact_makes_room_for_the_next() -> None:
    stage = looking(*PERSONS[:4])
    stage.wait(SECOND)
    assert len(stage.dialling) == 3
    said = stage.fail(min(stage.dialling))
    assert len(said.dials()) == 1


def test_first_admitted_wins_and_the_rest_are_closed_or_called_off() -> None:
    stage = looking(*PERSONS[:3])
    stage.wait(SECOND)
    first, second = stage.connect(ONE), stage.connect(TWO)
    said = second.admit()
    assert said.closed(first) is CloseCode.NORMAL and second.open
    assert stage.cancelled == list(stage.dialling)
    late = stage.connect(THREE, next(iter(stage.dialling)))
    assert late.opening.closed(late) is CloseCode.NORMAL
    assert said.events(Bootstrapped) == [Bootstrapped(TWO.name, TWO.address)]
    assert said.events(BootstrapFinished) == [BootstrapFinished(1, RoundOutcome.ADMITTED)]
    assert stage.core.state.detail is Detail.BOOTSTRAPPED


def test_second_admit_on_one_connection_closes() -> None:
    _, wire = Stage.admitted(ONE)
    assert wire.admit().closed(wire) is CloseCode.BAD_FRAME


def test_contact_that_says_nothing_is_closed_after_ten_seconds() -> None:
    stage = looking(ONE)
    wire = stage.connect(ONE)
    stage.wait(10 * SECOND - 1)
    assert wire.open
    said = stage.wait(1)
    assert said.closed(wire) is CloseCode.EXPIRED
    assert finishes(stage) == [RoundOutcome.NO_ANSWER]


def test_contact_that_closes_ends_the_round() -> None:
    stage = looking(ONE)
    stage.connect(ONE).lose()
    assert finishes(stage) == [RoundOutcome.NO_ANSWER]


def test_round_without_anybody_to_ask_says_so() -> None:
    stage = looking()
    assert stage.said.events(BootstrapStarted) == [BootstrapStarted(1, 0)]
    assert finishes(stage) == [RoundOutcome.NO_CONTACTS]


def test_refusal_ends_a_round_refused_and_its_contacts_are_asked_in_the_same_round() -> None:
    stage = looking(ONE)
    said = refuse(stage.connect(ONE), Refusal.FULL, TWO.address)
    assert finishes(stage) == []
    said += stage.wait(SECOND // 4)
    assert said.dials() == [TWO.address]
    refuse(stage.connect(TWO), Refusal.FULL)
    assert finishes(stage) == [RoundOutcome.REFUSED]


def test_nonsense_among_the_contacts_of_a_refusal_is_passed_over() -> None:
    stage = looking(ONE)
    listed = ["nonsense", stage.person.address, "", TWO.address]
    said = refuse(stage.connect(ONE), Refusal.FULL, *listed)
    said += stage.wait(SECOND)
    assert said.dials() == [TWO.address]


def test_contact_that_is_ourselves_is_dropped_for_good() -> None:
    stage = looking(ONE)
    stage.fail(stage.dial_to(ONE.address), DialFailure.SELF)
    assert parse(ONE.address) not in stage.core.book
    refuse_again = ContactsLearnt([ONE.address])
    stage.hear(refuse_again)
    assert stage.wait(300 * SECOND).dials() == []


def test_own_endpoint_among_the_contacts_is_never_dialled() -> None:
    stage = Stage(contacts=["127.0.0.1:4000"])
    stage.start()
    assert stage.wait(10 * SECOND).dials() == []


# -- between rounds


def test_failing_contact_rests_5_10_20_40_60_seconds() -> None:
    stage = looking(ONE)
    gaps = []
    for _ in range(7):
        stage.fail(stage.dial_to(ONE.address))
        failed_at = stage.now
        while not stage.dialling:
            stage.wait(SECOND // 10)
        gaps.append((stage.now - failed_at) / SECOND)
    for gap, least in zip(gaps, (5, 10, 20, 40, 60, 60, 60), strict=True):
        assert gap >= least, gaps
    # A round is due within its own back-off of at most 60 s after the contact is ready.
    assert all(gap <= 121 for gap in gaps)


def test_rounds_go_on_for_ever_with_a_bounded_pause() -> None:
    stage = looking()
    pauses = [next_round(stage, within=60 * SECOND) for _ in range(40)]
    bounds = [min(SECOND << number, 60 * SECOND) for number in range(40)]
    assert all(pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    assert max(pauses) > 30 * SECOND, "it backs off"
    assert min(pauses[6:]) < 20 * SECOND, "with full jitter"


def test_one_round_at_a_time() -> None:
    stage = looking(ONE)
    stage.hear(ContactsLearnt([TWO.address]))
    stage.wait(60 * SECOND)
    started = len(stage.said.events(BootstrapStarted))
    assert started - len(stage.said.events(BootstrapFinished)) <= 1


def test_contact_learnt_while_there_was_nobody_to_ask_is_asked_at_once() -> None:
    stage = looking()
    said = stage.hear(ContactsLearnt([ONE.address, "nonsense"]))
    said += stage.wait(1)
    assert said.dials() == [ONE.address]
    assert stage.core.counters["contact.unparsable"] == 1


# -- losing everything


def test_proxy_lost_before_a_name_starts_a_new_round_within_a_second() -> None:
    stage, wire = Stage.admitted(ONE)
    said = wire.lose()
    assert [d.cause for d in said.events(Disconnected)]
    assert stage.core.state.detail is Detail.DISCONNECTED
    assert next_round(stage, within=SECOND) <= SECOND


def test_last_peer_lost_starts_a_new_round_within_a_second() -> None:
    stage, (wire,) = Stage.among(ONE)
    said = wire.lose(CloseCode.SILENT)
    assert len(said.events(Disconnected)) == 1
    assert next_round(stage, within=SECOND) <= SECOND
    stage.wait(1)
    assert ONE.address in stage.said.dials()


def test_mass_loss_starts_its_round_within_15_seconds_and_jittered() -> None:
    waits = []
    for number in range(40, 52):
        stage = Stage.founder(number)
        wires = [stage.befriend(person) for person in map(Person, range(1, 9))]
        for wire in wires:
            wire.lose()
        waits.append(next_round(stage, within=15 * SECOND))
    assert max(waits) > 2 * SECOND, "not the second of a total loss"
    assert len(set(waits)) == len(waits), "each at a time of its own"


def test_becoming_disconnected_empties_everything_and_closes_its_sockets() -> None:
    stage, (wire,) = Stage.among(ONE)
    joiner, stranger = stage.accept(TWO), stage.accept(THREE)
    joiner.hello(HelloRole.JOIN)
    wire.names(Person(8).name)
    assert len(stage.core.attempts.live()) == 1
    said = wire.lose()
    assert said.closed(stranger) is CloseCode.NOT_CONNECTED
    assert said.closed(joiner) is CloseCode.NOT_CONNECTED
    (refused,) = said.frames(joiner, FrameKind.REFUSE, Refuse)
    assert refused.reason == Refusal.NOT_CONNECTED
    assert [each.outcome for each in said.events(ConnectFailed)] == [Outcome.DISCONNECTED]
    assert stage.open == {} and stage.core.attempts.live() == []


def test_dial_of_an_attempt_that_outlives_the_network_is_closed() -> None:
    stage, (wire,) = Stage.among(ONE)
    request = TWO.request(stage.name, hop=ONE.name)
    wire.routed(TWO.asks(request))
    dial = stage.dial_to(TWO.address)
    wire.lose()
    late = stage.connect(TWO, dial)
    assert late.opening.closed(late) is CloseCode.NORMAL


def test_events_follow_each_other_through_loss_and_return() -> None:
    stage, (wire,) = Stage.among(ONE)
    wire.lose()
    stage.wait(SECOND)
    stage.connect(ONE).admit()
    told = [type(each.event).__name__ for each in stage.said.of(Tell)]
    order = [PeerDown, Disconnected, BootstrapStarted, BootstrapFinished, Bootstrapped]
    places = [told.index(kind.__name__, told.index("PeerDown")) for kind in order]
    assert places == sorted(places)


def test_held_name_is_offered_to_the_next_proxy() -> None:
    stage, (wire,) = Stage.among(ONE)
    certificate, name = stage.core.certificate, stage.name
    wire.lose()
    assert stage.core.name is None
    stage.wait(SECOND)
    proxy = stage.connect(ONE)
    said = proxy.admit()
    (asked,) = said.messages(proxy, MessageKind.REQUEST_NAME, RequestName)
    assert asked.held == certificate
    assert name != stage.core.client_name


def test_harmless_loss_of_the_proxy_once_there_is_a_routing_connection() -> None:
    stage, (wire,) = Stage.among(ONE)
    joiner = stage.accept(TWO)
    joiner.hello(HelloRole.JOIN)
    joiner.lose(CloseCode.JOINED)
    assert stage.core.state.detail is Detail.CONNECTED and wire.open


# -- clients


def test_client_is_connected_when_admitted_and_disconnected_when_its_proxy_goes() -> None:
    stage, wire = Stage.admitted(ONE, client=True)
    assert stage.core.state.phase is Phase.CONNECTED
    assert len(stage.said.events(Connected)) == 1
    said = wire.lose()
    assert len(said.events(Disconnected)) == 1
    next_round(stage, within=SECOND)
    stage.wait(6 * SECOND)
    changes = [each.new.detail for each in stage.said.events(StateChanged)]
    assert changes == [Detail.BOOTSTRAPPED, Detail.DISCONNECTED]


def test_client_never_asks_for_a_name() -> None:
    stage, wire = Stage.admitted(ONE, client=True)
    assert stage.said.envelopes(wire, MessageKind.REQUEST_NAME) == []
    assert stage.said.of(KeepCertificate) == []


def test_client_closes_whatever_dials_it() -> None:
    stage, _ = Stage.admitted(ONE, client=True)
    wire = stage.accept(TWO)
    assert wire.opening.closed(wire) is CloseCode.NORMAL


def test_proxy_that_refuses_a_client_it_had_admitted_is_left() -> None:
    stage, wire = Stage.admitted(ONE, client=True)
    said = wire.say(FrameKind.REFUSE, Refuse(Refusal.NOT_CONNECTED, ONE.key, [TWO.address]))
    assert said.closed(wire) is CloseCode.NORMAL
    assert stage.core.state.detail is Detail.DISCONNECTED
    stage.wait(2 * SECOND)
    assert TWO.address in stage.said.dials()


# -- the promise that each dial is answered once


def test_stop_during_a_round_ends_it_and_calls_off_its_dials() -> None:
    stage = looking(*PERSONS[:3])
    stage.wait(SECOND)
    wire = stage.connect(ONE)
    said = stage.hear(StopRequested())
    assert said.closed(wire) is not None
    assert said.events(BootstrapFinished) == [BootstrapFinished(1, RoundOutcome.STOPPED)]
    assert sorted(stage.cancelled) == sorted(stage.dialling)


@pytest.mark.parametrize("reason", DialFailure)
def test_every_reason_of_a_failed_dial_ends_its_turn(reason: DialFailure) -> None:
    stage = looking(ONE)
    stage.fail(stage.dial_to(ONE.address), reason)
    assert len(stage.said.events(BootstrapFinished)) >= 1


def test_answer_to_a_dial_that_was_never_made_is_harmless() -> None:
    stage = looking(ONE)
    stage.core.handle(DialFailed(99, DialFailure.TIMED_OUT), Nanos(0))
    assert stage.core.take_actions() == []
    stage.dialling[77] = Dial(77, TWO.address, None, SECOND)
    wire = stage.connect(TWO, 77)
    assert wire.opening.closed(wire) is CloseCode.NORMAL and wire.role() is not LinkRole.BOOTSTRAP
