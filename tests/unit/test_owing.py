"""A request is acknowledged by its reply where that is quick, and by itself where it is not."""

from __future__ import annotations

import pytest

from routing.actions import Deliver
from routing.bodies import Acknowledged
from routing.inputs import StopRequested, Submitted
from routing.limits import SECOND
from routing.messages import ACKNOWLEDGE, MessageKind, NodeAddress, Signed
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
REQUEST, REPLY, ACKNOWLEDGED = MessageKind.REQUEST, MessageKind.REPLY, MessageKind.ACKNOWLEDGED
DELAY = SECOND // 20


def asked(*, flags: int = ACKNOWLEDGE) -> tuple[Stage, list[Wire], Said]:
    """Return a stage that FAR has just asked something, by the first wire."""
    stage, wires = Stage.among(ONE, TWO)
    sealed = FAR.seal(REQUEST, NodeAddress(stage.name), b"?", message_id=b"q" * 16, flags=flags)
    return stage, wires, wires[0].routed(sealed)


def acknowledged(said: Said, wires: list[Wire]) -> list[Acknowledged]:
    return [each for wire in wires for each in said.messages(wire, ACKNOWLEDGED, Acknowledged)]


def reply(stage: Stage, *, to: Person = FAR, asked: bytes = b"q" * 16) -> Said:
    fact = Submitted(9, REPLY, NodeAddress(to.name), b"!", asked, False, 0, False, token=bytes(16))
    return stage.hear(fact)


def test_request_that_is_answered_at_once_is_not_acknowledged_besides() -> None:
    stage, wires, said = asked()
    assert len(said.of(Deliver)) == 1 and acknowledged(said, wires) == []
    said = reply(stage)
    assert sum(len(said.envelopes(wire, REPLY)) for wire in wires) == 1
    assert acknowledged(stage.wait(SECOND // 10), wires) == []
    assert stage.core.owing.open == {} and stage.core.counters["acknowledged.by_reply"] == 1


def test_request_whose_handler_takes_its_time_is_acknowledged() -> None:
    stage, wires, _ = asked()
    assert acknowledged(stage.wait(DELAY - 1), wires) == []
    assert acknowledged(stage.wait(1), wires) == [Acknowledged(b"q" * 16)]
    assert acknowledged(reply(stage), wires) == []


def test_repeat_of_a_request_is_acknowledged_at_once() -> None:
    stage, wires, _ = asked()
    again = FAR.seal(
        REQUEST,
        NodeAddress(stage.name),
        b"?",
        message_id=b"q" * 16,
        flags=ACKNOWLEDGE,
        route=1,
    )
    said = wires[1].routed(again)
    assert acknowledged(said, wires)[0] == Acknowledged(b"q" * 16)
    assert said.of(Deliver) == []


@pytest.mark.parametrize("fault", ["another request", "another asker"])
def test_reply_to_another_settles_nothing(fault: str) -> None:
    stage, wires, _ = asked()
    if fault == "another request":
        reply(stage, asked=b"r" * 16)
    else:
        reply(stage, to=Person(51))
    assert acknowledged(stage.wait(DELAY), wires) == [Acknowledged(b"q" * 16)]


def test_request_that_wants_no_acknowledgement_gets_none() -> None:
    stage, wires, _ = asked(flags=0)
    assert acknowledged(stage.wait(SECOND), wires) == [] and stage.core.owing.open == {}


def test_reply_measures_and_ends_the_repeats_of_its_request() -> None:
    stage, wires = Stage.among(ONE, TWO)
    fact = Submitted(7, REQUEST, NodeAddress(FAR.name), b"?", bytes(16), False, SECOND, True)
    said = stage.hear(fact)
    (envelope,) = [each for wire in wires for each in said.envelopes(wire, REQUEST)]
    stage.wait(SECOND // 10)
    stage.core.delivery.on_replied(opened(Signed, envelope.signed).id)
    assert stage.core.hops.usual.average == SECOND // 10
    assert stage.core.delivery.underway == {}


def test_what_is_owed_survives_a_snapshot_and_ends_with_the_core() -> None:
    stage, _, _ = asked()
    other = Stage(0, first=True)
    other.core.restore(stage.core.snapshot())
    assert other.core.owing.open == stage.core.owing.open != {}
    assert other.core.digest() == stage.core.digest()
    stage.hear(StopRequested())
    assert stage.core.owing.open == {}
