"""What waits to be acknowledged: requests for their reply, messages and replies for company."""

from __future__ import annotations

import pytest

from routing.actions import Deliver
from routing.bodies import ACKNOWLEDGED_MAX, Acknowledged
from routing.inputs import StopRequested, Submitted
from routing.limits import SECOND
from routing.messages import ACKNOWLEDGE, MessageKind, NodeAddress, Signed
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY
ACKNOWLEDGED = MessageKind.ACKNOWLEDGED
DELAY, GATHER = SECOND // 20, SECOND // 1_000


def asked(*, flags: int = ACKNOWLEDGE) -> tuple[Stage, list[Wire], Said]:
    """Return a stage that FAR has just asked something, by the first wire."""
    stage, wires = Stage.among(ONE, TWO)
    sealed = FAR.seal(REQUEST, NodeAddress(stage.name), b"?", message_id=b"q" * 16, flags=flags)
    return stage, wires, wires[0].routed(sealed)


def acknowledged(said: Said, wires: list[Wire]) -> list[Acknowledged]:
    return [each for wire in wires for each in said.messages(wire, ACKNOWLEDGED, Acknowledged)]


def told(
    stage: Stage, wire: Wire, number: int, *, sender: Person = FAR, kind: MessageKind = MESSAGE
) -> bytes:
    """Have a sender's message arrive; return its id."""
    message_id = bytes([number]) * 16
    here = NodeAddress(stage.name)
    wire.routed(sender.seal(kind, here, b"!", message_id=message_id, flags=ACKNOWLEDGE))
    return message_id


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
    assert acknowledged(stage.wait(1), wires) == [Acknowledged(b"q" * 16, 50_000)]
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
    assert acknowledged(stage.wait(DELAY), wires) == [Acknowledged(b"q" * 16, 50_000)]


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


def test_same_id_of_two_sources_is_owed_to_both() -> None:
    stage, wires, _ = asked()
    other = Person(51).seal(
        REQUEST, NodeAddress(stage.name), b"?", message_id=b"q" * 16, flags=ACKNOWLEDGE
    )
    wires[1].routed(other)
    reply(stage, to=Person(51))
    said = stage.wait(DELAY)
    (envelope,) = [each for wire in wires for each in said.envelopes(wire, ACKNOWLEDGED)]
    assert opened(Signed, envelope.signed).destination == NodeAddress(FAR.name)


def test_messages_that_come_together_are_acknowledged_together_the_latest_first() -> None:
    stage, wires = Stage.among(ONE, TWO)
    ids = [told(stage, wires[0], number) for number in (1, 2, 3)]
    assert acknowledged(stage.wait(GATHER - 1), wires) == []
    (said,) = acknowledged(stage.wait(1), wires)
    assert said == Acknowledged(ids[2], 1_000, [ids[1], ids[0]])
    assert stage.core.counters["acknowledged.together"] == 1
    assert acknowledged(stage.wait(SECOND), wires) == [] and stage.core.owing.bundles == {}


def test_full_bundle_does_not_wait() -> None:
    stage, wires = Stage.among(ONE, TWO)
    for number in range(ACKNOWLEDGED_MAX):
        told(stage, wires[0], number)
    (said,) = acknowledged(stage.said, wires)
    assert len(said.others) == ACKNOWLEDGED_MAX - 1 and said.waited_us == 0
    assert acknowledged(stage.wait(SECOND), wires) == []


def test_sources_are_acknowledged_apart() -> None:
    stage, wires = Stage.among(ONE, TWO)
    told(stage, wires[0], 1)
    told(stage, wires[0], 2, sender=Person(51))
    said = stage.wait(GATHER)
    answers = [each for wire in wires for each in said.envelopes(wire, ACKNOWLEDGED)]
    to = [opened(Signed, each.signed).destination for each in answers]
    assert to == [NodeAddress(FAR.name), NodeAddress(Person(51).name)]


def test_replies_wait_as_long_as_requests_but_not_longer_than_a_message_with_them() -> None:
    stage, wires = Stage.among(ONE, TWO)
    first = told(stage, wires[0], 1, kind=REPLY)
    assert acknowledged(stage.wait(DELAY - 1), wires) == []
    assert acknowledged(stage.wait(1), wires) == [Acknowledged(first, 50_000)]
    first = told(stage, wires[0], 2, kind=REPLY)
    second = told(stage, wires[0], 3)
    assert acknowledged(stage.wait(GATHER), wires) == [Acknowledged(second, 1_000, [first])]


def test_sources_beyond_the_bound_are_acknowledged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routing.owing.BUNDLES_MAX", 1)
    stage, wires = Stage.among(ONE, TWO)
    told(stage, wires[0], 1)
    second = told(stage, wires[0], 2, sender=Person(51))
    assert acknowledged(stage.said, wires) == [Acknowledged(second)]


def test_who_stops_acknowledges_what_it_has_taken() -> None:
    stage, wires = Stage.among(ONE, TWO)
    first = told(stage, wires[0], 1)
    assert acknowledged(stage.hear(StopRequested()), wires) == [Acknowledged(first, 0)]


def test_bundles_survive_a_snapshot() -> None:
    stage, wires = Stage.among(ONE, TWO)
    told(stage, wires[0], 1)
    other = Stage(0, first=True)
    other.core.restore(stage.core.snapshot())
    assert other.core.owing.bundles == stage.core.owing.bundles != {}
    assert other.core.digest() == stage.core.digest()


def test_time_held_back_is_no_part_of_the_round_trip() -> None:
    stage, wires = Stage.among(ONE, TWO)
    ids = []
    for number in (1, 2):
        fact = Submitted(number, MESSAGE, NodeAddress(FAR.name), b"!", bytes(16), False, 0, True)
        said = stage.hear(fact)
        (envelope,) = [each for wire in wires for each in said.envelopes(wire, MESSAGE)]
        ids.append(opened(Signed, envelope.signed).id)
    stage.wait(SECOND // 10)
    body = Acknowledged(ids[1], 30_000, [ids[0]])
    wires[0].routed(FAR.seal(ACKNOWLEDGED, NodeAddress(stage.name), body))
    assert stage.core.delivery.underway == {}, "one word for both"
    assert stage.core.hops.usual.average == SECOND * 70 // 1_000, "measured once"


def test_bundle_of_another_s_messages_is_forged_one_by_one() -> None:
    stage, wires = Stage.among(ONE, TWO)
    fact = Submitted(1, MESSAGE, NodeAddress(FAR.name), b"!", bytes(16), False, 0, True)
    said = stage.hear(fact)
    (envelope,) = [each for wire in wires for each in said.envelopes(wire, MESSAGE)]
    body = Acknowledged(b"x" * 16, 0, [opened(Signed, envelope.signed).id])
    wires[0].routed(Person(51).seal(ACKNOWLEDGED, NodeAddress(stage.name), body))
    counters = stage.core.counters
    assert (counters["acknowledged.unasked"], counters["acknowledged.forged"]) == (1, 1)
    assert len(stage.core.delivery.underway) == 1
