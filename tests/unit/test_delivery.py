"""Acknowledged delivery: again by another way until the consumer has it, or a failure by name."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.actions import Deliver, Failed
from routing.bodies import Acknowledged, Reply, Unroutable
from routing.core import Core, CoreConfig
from routing.inputs import StopRequested, Submitted
from routing.limits import ROUTES_MAX, SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    ClientAddress,
    Envelope,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.messaging import token_of
from routing.names import nearest
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
PEERS = (ONE, TWO)
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY
ACKNOWLEDGED = MessageKind.ACKNOWLEDGED


def submit(
    stage: Stage,
    kind: MessageKind = MESSAGE,
    *,
    to: Address | None = None,
    acknowledged: bool = True,
    seconds: int = 60,
) -> Said:
    asked, wait, to = bytes(16), seconds * SECOND, to or NodeAddress(FAR.name)
    return stage.hear(Submitted(7, kind, to, b"text", asked, False, wait, True, acknowledged))


def pair(limits: Limits | None = None) -> tuple[Stage, list[Wire]]:
    """Return a stage and its ways towards FAR, the best first."""
    stage, wires = Stage.among(*PEERS, limits=limits)
    ways = nearest(FAR.name, [peer.name for peer in PEERS], 2)
    names = [peer.name for peer in PEERS]
    return stage, [wires[names.index(name)] for name in ways]


def copies(said: Said, wire: Wire, kind: MessageKind = MESSAGE) -> list[Envelope]:
    return said.envelopes(wire, kind)


def acknowledge(wire: Wire, message_id: bytes, person: Person = FAR) -> Said:
    here = NodeAddress(wire.stage.name)
    return wire.routed(person.seal(ACKNOWLEDGED, here, Acknowledged(message_id)))


def sent_id(envelope: Envelope) -> bytes:
    return opened(Signed, envelope.signed).id


def test_unacknowledged_message_leaves_again_by_the_next_best_hop_on_the_next_route() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage), best)
    said = stage.wait(SECOND - 1)
    assert copies(said, best) == copies(said, other) == []
    said = stage.wait(1)
    assert copies(said, best) == []
    assert copies(said, other) == [structs.replace(first, route=1)]


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST, REPLY])
def test_acknowledged_message_is_not_sent_again(kind: MessageKind) -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage, kind), best, kind)
    assert acknowledge(best, sent_id(first)) == []
    said = stage.wait(30 * SECOND)
    assert copies(said, best, kind) == copies(said, other, kind) == []
    assert stage.core.delivery.underway == {} and stage.core.delivery.bytes == 0


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST, REPLY])
def test_message_that_no_route_gets_acknowledged_fails_once_with_its_reason(
    kind: MessageKind,
) -> None:
    stage, (best, other) = pair()
    said = submit(stage, kind)
    seen = copies(said, best, kind)
    failed = said.of(Failed)
    for _ in range(40):
        said = stage.wait(SECOND)
        seen += copies(said, best, kind) + copies(said, other, kind)
        failed += said.of(Failed)
    assert sorted(each.route for each in seen) == list(range(ROUTES_MAX))
    assert failed == [Failed(7, "undeliverable: no acknowledgement after 8 routes")]
    assert stage.core.messaging.pending == {} and stage.core.delivery.bytes == 0


def test_acknowledgement_of_another_is_not_believed() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage), best)
    acknowledge(best, sent_id(first), TWO)
    forged = FAR.seal(ACKNOWLEDGED, NodeAddress(stage.name), Acknowledged(sent_id(first)))
    other.routed(structs.replace(forged, signature=bytes(64)))
    assert stage.core.counters["acknowledged.forged"] == 1
    assert stage.core.counters["routed.forged"] == 1
    assert len(copies(stage.wait(SECOND), other)) == 1


def test_client_acknowledges_by_its_key() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage, to=ClientAddress(FAR.name, Person(9).key)), best)
    here, body = NodeAddress(stage.name), Acknowledged(sent_id(first))
    best.routed(FAR.seal(ACKNOWLEDGED, here, body))
    assert stage.core.counters["acknowledged.forged"] == 1, "the proxy is not the client"
    best.routed(Person(9).seal(ACKNOWLEDGED, here, body, proxy=FAR.name))
    assert stage.core.counters["delivery.acknowledged"] == 1
    assert copies(stage.wait(SECOND), other) == []


@pytest.mark.parametrize("body", [b"rubbish", encode(Acknowledged(bytes(16)))])
def test_acknowledgement_of_nothing_is_counted(body: bytes) -> None:
    stage, (best, _) = pair()
    assert best.routed(FAR.seal(ACKNOWLEDGED, NodeAddress(stage.name), body)) == []
    counters = stage.core.counters
    assert counters.get("acknowledged.malformed", 0) + counters.get("acknowledged.unasked", 0) == 1


def test_repeat_is_delivered_once_and_acknowledged_again() -> None:
    stage, (best, other) = pair()
    first = FAR.seal(
        MESSAGE, NodeAddress(stage.name), b"text", message_id=b"m" * 16, flags=ACKNOWLEDGE
    )
    said = best.routed(first)
    assert len(said.of(Deliver)) == 1
    assert said.messages(best, ACKNOWLEDGED, Acknowledged) == [Acknowledged(b"m" * 16)]
    said = other.routed(structs.replace(first, route=1))
    assert said.of(Deliver) == []
    assert said.messages(other, ACKNOWLEDGED, Acknowledged) == [Acknowledged(b"m" * 16)]


def test_message_to_a_group_is_not_acknowledged() -> None:
    stage, (best, other) = pair()
    said = best.routed(FAR.seal(MESSAGE, GroupAddress(stage.name), b"text"))
    assert len(said.of(Deliver)) == 1
    assert copies(said, best, ACKNOWLEDGED) == copies(said, other, ACKNOWLEDGED) == []


def test_message_sent_at_most_once_is_not_sent_again() -> None:
    stage, (best, other) = pair()
    assert len(copies(submit(stage, acknowledged=False), best)) == 1
    assert copies(stage.wait(30 * SECOND), other) == []


def test_patience_follows_the_measured_round_trips() -> None:
    stage, (best, other) = pair()
    for _ in range(12):
        (first,) = copies(submit(stage), best)
        stage.wait(SECOND // 2)
        acknowledge(best, sent_id(first))
    assert SECOND // 2 <= stage.core.delivery.patience(0) < SECOND * 6 // 10
    submit(stage)
    assert len(copies(stage.wait(SECOND * 6 // 10), other)) == 1


def test_reply_is_an_acknowledgement_too() -> None:
    stage, (best, _) = pair()
    (first,) = copies(submit(stage, REQUEST), best, REQUEST)
    body = Reply(sent_id(first), token_of(sent_id(first), b"text"), False, b"answer")
    said = best.routed(FAR.seal(REPLY, NodeAddress(stage.name), body))
    assert said.answers() == [(7, b"answer")]
    assert stage.core.delivery.underway == {}


def test_request_that_has_arrived_does_not_fail_for_a_late_copy() -> None:
    stage, (best, _) = pair()
    (first,) = copies(submit(stage, REQUEST), best, REQUEST)
    acknowledge(best, sent_id(first))
    told = Unroutable(sent_id(first))
    said = best.routed(TWO.seal(MessageKind.UNROUTABLE, NodeAddress(stage.name), told))
    assert said.of(Failed) == []


def test_request_that_times_out_is_not_sent_again() -> None:
    stage, (_, other) = pair()
    submit(stage, REQUEST, seconds=2)
    assert stage.wait(2 * SECOND).of(Failed) == [Failed(7, "timed out")]
    assert copies(stage.wait(30 * SECOND), other, REQUEST) == []


def test_stop_fails_what_is_under_way() -> None:
    stage, _ = pair()
    submit(stage)
    assert stage.hear(StopRequested()).of(Failed) == [Failed(7, "stopped")]


def test_more_than_the_bound_under_way_is_refused_by_name() -> None:
    stage, _ = pair(Limits.recommended().but(unacknowledged_max=2))
    assert submit(stage).of(Failed) == submit(stage).of(Failed) == []
    busy = "busy: too many messages wait to be acknowledged"
    assert submit(stage).of(Failed) == [Failed(7, busy)]
    assert submit(stage, acknowledged=False).of(Failed) == []


def test_what_is_under_way_survives_a_snapshot() -> None:
    stage, (best, _) = pair()
    (first,) = copies(submit(stage), best)
    config = stage.core.config
    core = Core(
        CoreConfig(signer=config.signer, secret=config.secret, tag=config.tag, limits=config.limits)
    )
    core.restore(stage.core.snapshot())
    assert core.delivery.underway[sent_id(first)].envelope == first
    assert core.delivery.bytes == len(first.signed)
    assert core.digest() == stage.core.digest()
