"""Who may name himself, and when."""

from __future__ import annotations

import pytest

from routing.actions import KeepCertificate
from routing.certificates import certified_name, founding_certificate
from routing.errors import CloseCode, Refusal
from routing.events import BootstrapFinished, BootstrapStarted, Founded, RoundOutcome
from routing.limits import SECOND, Limits
from routing.messages import Certificate, FrameKind, HelloRole, Refuse, decode
from routing.names import client_name
from routing.state import Detail, LinkRole
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO = Person(1), Person(2)


def lower_and_higher(own: bytes) -> tuple[Person, Person]:
    persons = [Person(number) for number in range(10, 60)]
    return (
        next(each for each in persons if each.key < own),
        next(each for each in persons if each.key > own),
    )


LOWER, HIGHER = lower_and_higher(Person(0).key)


def founded(stage: Stage) -> bool:
    return bool(stage.said.events(Founded))


def refuse(wire: Wire, reason: Refusal = Refusal.NOT_CONNECTED, *, lowest: bytes = b"") -> Said:
    return wire.say(FrameKind.REFUSE, Refuse(reason, lowest or wire.person.key, []))


def play_rounds(
    stage: Stage, person: Person, seconds: int, answer: Refusal | None, *, lowest: bytes = b""
) -> None:
    """Let a contact answer every dial in the same way for a while; None: it cannot be dialled."""
    end = stage.now + seconds * SECOND
    while stage.now < end and not founded(stage):
        for dial in [each for each in stage.dialling if each not in stage.cancelled]:
            if answer is None:
                stage.fail(dial)
            else:
                refuse(stage.connect(person, dial), answer, lowest=lowest)
        stage.wait(SECOND // 2)


# -- (a) first


def test_first_node_without_contacts_founds_at_once() -> None:
    stage = Stage(first=True)
    said = stage.start()
    name = certified_name(stage.core.key, founding_certificate(stage.core.key))
    assert said.events(Founded) == [Founded(name)] and stage.name == name
    assert stage.core.state.detail is Detail.RELOCATED
    assert said.events(BootstrapStarted) == []


def test_founders_certificate_is_kept() -> None:
    stage = Stage(first=True)
    (kept,) = stage.start().of(KeepCertificate)
    own = client_name(stage.core.key)
    assert decode(Certificate, kept.certificate) == Certificate(own, own, [])


def test_first_node_with_contacts_founds_after_two_rounds_without_an_answer() -> None:
    stage = Stage(first=True, contacts=[ONE.address])
    stage.start()
    stage.fail(stage.dial_to(ONE.address))
    assert not founded(stage)
    play_rounds(stage, ONE, 60, None)
    assert founded(stage)
    outcomes = [each.outcome for each in stage.said.events(BootstrapFinished)]
    assert outcomes == [RoundOutcome.NO_ANSWER] * 2


@pytest.mark.parametrize("reason", [Refusal.NOT_CONNECTED, Refusal.FULL])
def test_first_node_whose_contacts_only_refuse_founds_after_two_rounds(reason: Refusal) -> None:
    stage = Stage(first=True, contacts=[ONE.address])
    stage.start()
    play_rounds(stage, ONE, 60, reason)
    assert founded(stage) and stage.core.bootstrapping.rounds == 2


def test_first_node_that_is_admitted_does_not_found() -> None:
    stage = Stage(first=True, contacts=[ONE.address])
    stage.start()
    stage.connect(ONE).admit()
    stage.wait(10 * SECOND)
    assert not founded(stage)


def test_client_never_founds() -> None:
    stage = Stage(first=True, client=True)
    stage.start()
    stage.wait(300 * SECOND)
    assert not founded(stage) and stage.core.name is None


# -- (b) the first to be asked


@pytest.mark.parametrize("role", [HelloRole.JOIN, HelloRole.FEEL])
def test_node_without_contacts_founds_when_it_is_asked(role: HelloRole) -> None:
    stage = Stage()
    stage.start()
    wire = stage.accept(ONE)
    assert not founded(stage)
    said = wire.hello(role)
    assert founded(stage)
    assert len(said.bodies(wire, FrameKind.ADMIT)) == 1
    assert stage.core.state.detail is Detail.RELOCATED


def test_node_without_contacts_that_a_client_asks_founds_and_is_too_small_for_it() -> None:
    stage = Stage()
    stage.start()
    wire = stage.accept(ONE)
    said = wire.hello(HelloRole.CLIENT)
    assert founded(stage)
    (refused,) = said.frames(wire, FrameKind.REFUSE, Refuse)
    assert refused.reason == Refusal.NETWORK_TOO_SMALL


def test_node_with_contacts_does_not_found_when_it_is_asked() -> None:
    stage = Stage(contacts=[ONE.address])
    stage.start()
    wire = stage.accept(TWO)
    said = wire.hello(HelloRole.JOIN)
    assert not founded(stage)
    assert said.closed(wire) is CloseCode.NOT_CONNECTED


def test_node_that_is_asked_twice_founds_once() -> None:
    stage = Stage()
    stage.start()
    stage.accept(ONE).hello(HelloRole.JOIN)
    second = stage.accept(TWO)
    second.hello(HelloRole.JOIN)
    assert len(stage.said.events(Founded)) == 1 and second.role() is LinkRole.RELAY


def test_node_that_nobody_can_dial_does_not_found() -> None:
    stage = Stage(endpoints=[])
    stage.start()
    stage.accept(ONE).hello(HelloRole.JOIN)
    assert not founded(stage)


# -- (c) founding anew


def test_lost_node_whose_contacts_are_all_lost_founds_if_its_key_is_the_lowest() -> None:
    stage = Stage(contacts=[HIGHER.address])
    stage.start()
    play_rounds(stage, HIGHER, 29, Refusal.NOT_CONNECTED)
    assert not founded(stage), "not before 30 s"
    play_rounds(stage, HIGHER, 120, Refusal.NOT_CONNECTED)
    assert founded(stage)


def test_lost_node_that_hears_of_a_lower_key_leaves_the_founding_to_it() -> None:
    stage = Stage(contacts=[LOWER.address])
    stage.start()
    play_rounds(stage, LOWER, 60, Refusal.NOT_CONNECTED)
    assert not founded(stage)


def test_lower_key_counts_also_when_it_was_only_heard_of() -> None:
    stage = Stage(contacts=[HIGHER.address])
    stage.start()
    play_rounds(stage, HIGHER, 60, Refusal.NOT_CONNECTED, lowest=bytes(32))
    assert not founded(stage)


def test_lower_key_in_a_hello_counts_too() -> None:
    stage = Stage(contacts=[HIGHER.address])
    stage.start()
    stage.accept(LOWER).hello(HelloRole.JOIN)
    play_rounds(stage, HIGHER, 60, Refusal.NOT_CONNECTED)
    assert not founded(stage)


def test_liar_about_the_lowest_key_cannot_block_for_ever() -> None:
    stage = Stage(contacts=[HIGHER.address])
    stage.start()
    play_rounds(stage, HIGHER, 1_200, Refusal.NOT_CONNECTED, lowest=bytes(32))
    assert founded(stage)
    assert stage.core.bootstrapping.rounds >= 10


def test_answer_other_than_not_connected_means_there_is_a_network() -> None:
    stage = Stage(contacts=[HIGHER.address])
    stage.start()
    play_rounds(stage, HIGHER, 600, Refusal.FULL)
    assert not founded(stage)


def test_silent_world_never_founds() -> None:
    stage = Stage(contacts=[HIGHER.address])
    stage.start()
    play_rounds(stage, HIGHER, 1_200, None)
    assert not founded(stage)
    assert stage.core.bootstrapping.rounds > 10


def test_three_refused_rounds_must_be_the_last_three() -> None:
    stage = Stage(contacts=[HIGHER.address])
    stage.start()
    play_rounds(stage, HIGHER, 20, Refusal.NOT_CONNECTED)
    play_rounds(stage, HIGHER, 80, None)
    rounds = stage.core.bootstrapping.rounds
    play_rounds(stage, HIGHER, 400, Refusal.NOT_CONNECTED)
    assert founded(stage) and stage.core.bootstrapping.rounds >= rounds + 3


def test_founder_that_lost_its_network_takes_its_held_name_again() -> None:
    stage, (wire,) = Stage.among(HIGHER, limits=Limits())
    name = stage.name
    wire.lose()
    before = len(stage.said.events(Founded))
    while len(stage.said.events(Founded)) == before and stage.now < 400 * SECOND:
        for dial in [each for each in stage.dialling if each not in stage.cancelled]:
            refuse(stage.connect(HIGHER, dial))
        stage.wait(SECOND)
    assert stage.said.events(Founded)[-1] == Founded(name) and stage.name == name


def test_both_ends_of_a_refusal_note_each_other() -> None:
    stage = Stage(contacts=[ONE.address])
    stage.start()
    stage.accept(TWO).hello(HelloRole.JOIN)
    wire = stage.connect(ONE)
    wire.say(FrameKind.REFUSE, Refuse(Refusal.NOT_CONNECTED, ONE.key, [HIGHER.address]))
    known = {str(each) for each in stage.core.book.all_contacts()}
    assert {ONE.address, TWO.address, HIGHER.address} <= known


# -- the founder's right ends


def test_founder_is_one_until_its_first_routing_connection() -> None:
    stage = Stage.founder()
    rights = [stage.core.founding.founder]
    stage.befriend(ONE)
    rights.append(stage.core.founding.founder)
    assert rights == [True, False]
    assert stage.core.state.detail is Detail.CONNECTED


def test_founder_admits_joiners() -> None:
    stage = Stage.founder()
    wire = stage.accept(ONE)
    assert len(wire.hello(HelloRole.JOIN).bodies(wire, FrameKind.ADMIT)) == 1


def test_founder_asks_its_contacts_no_more() -> None:
    stage = Stage.founder()
    assert stage.wait(30 * SECOND).events(BootstrapStarted) == []
