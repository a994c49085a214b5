"""Acknowledged delivery: again by another way until the consumer has it, or a failure by name."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.actions import Deliver, Failed
from routing.bodies import Acknowledged, Busy, Reply, Unroutable
from routing.core import Core, CoreConfig
from routing.inputs import StopRequested, Submitted
from routing.limits import ROUTES_MAX, SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Ping,
    Signed,
    encode,
)
from routing.names import nearest
from routing.requests import token_of
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

GATHER = SECOND // 1_000

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


def acknowledge(wire: Wire, message_id: bytes, person: Person = FAR, *, route: int = 0) -> Said:
    here = NodeAddress(wire.stage.name)
    return wire.routed(person.seal(ACKNOWLEDGED, here, Acknowledged(message_id), route=route))


def refuse(wire: Wire, message_id: bytes, *, route: int, person: Person = TWO) -> Said:
    """Let somebody say that this copy of a message ended with him."""
    here = NodeAddress(wire.stage.name)
    told = Unroutable(message_id)
    return wire.routed(person.seal(MessageKind.UNROUTABLE, here, told, route=route))


def busy(
    wire: Wire, message_id: bytes, *, route: int = 0, wait_ms: int = 2_000, person: Person = FAR
) -> Said:
    here, told = NodeAddress(wire.stage.name), Busy(message_id, wait_ms)
    return wire.routed(person.seal(MessageKind.BUSY, here, told, route=route))


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


def test_unroutable_copy_is_followed_by_the_next_at_once_and_by_another_hop() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage), best)
    said = refuse(best, sent_id(first), route=0)
    assert copies(said, other) == [structs.replace(first, route=1)]
    assert copies(said, best) == [] and said.of(Failed) == []
    assert stage.core.counters["delivery.reroute"] == 1


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST, REPLY])
def test_name_that_nobody_has_fails_long_before_the_last_wait(kind: MessageKind) -> None:
    stage, (best, _) = pair()
    (first,) = copies(submit(stage, kind), best, kind)
    for route in range(4):
        assert refuse(best, sent_id(first), route=route).of(Failed) == []
    failed = [Failed(7, "unroutable: nobody has this name")]
    assert stage.wait(4 * SECOND).of(Failed) == failed
    assert stage.core.messaging.pending == {} and stage.core.delivery.underway == {}


def test_message_that_was_unroutable_everywhere_may_still_be_acknowledged() -> None:
    stage, (best, _) = pair()
    (first,) = copies(submit(stage), best)
    for route in range(4):
        refuse(best, sent_id(first), route=route)
    acknowledge(best, sent_id(first), route=2)
    assert stage.wait(30 * SECOND).of(Failed) == []


def test_unroutable_told_again_brings_about_nothing() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage), best)
    refuse(best, sent_id(first), route=0)
    for route in (0, 5):
        said = refuse(best, sent_id(first), route=route, person=ONE)
        assert copies(said, best) == copies(said, other) == []
    assert stage.core.counters["unroutable.repeated"] == 2


def test_one_route_without_an_answer_leaves_hope_for_all_eight() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage), best)
    stage.wait(SECOND)
    seen: list[Envelope] = []
    for route in range(1, ROUTES_MAX):
        said = refuse(best, sent_id(first), route=route)
        seen += copies(said, best) + copies(said, other)
    failed = stage.wait(4 * SECOND).of(Failed)
    assert [each.route for each in seen] == list(range(2, ROUTES_MAX))
    assert failed == [Failed(7, "undeliverable: no acknowledgement after 8 routes")]


def test_unroutable_of_a_client_is_not_believed() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage), best)
    told = Unroutable(sent_id(first))
    client = TWO.seal(MessageKind.UNROUTABLE, NodeAddress(stage.name), told, proxy=ONE.name)
    assert copies(best.routed(client), other) == []
    assert stage.core.counters["unroutable.forged"] == 1


def test_hop_that_misses_an_acknowledgement_comes_last_for_a_minute() -> None:
    stage, (best, other) = pair()
    assert len(copies(submit(stage), best)) == 1
    acknowledge(best, sent_id(copies(stage.wait(SECOND), other)[0]), route=1)
    assert stage.core.counters["hop.demoted"] == 1
    assert len(copies(submit(stage, acknowledged=False), other)) == 1
    stage.wait(60 * SECOND)
    for wire in (best, other):
        wire.say(FrameKind.PONG, Ping(bytes(8)))
    assert len(copies(submit(stage, acknowledged=False), best)) == 1


def test_demoted_hop_is_restored_by_an_acknowledgement_through_it() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage), best)
    stage.wait(SECOND)
    acknowledge(other, sent_id(first), route=0)
    assert stage.core.counters["hop.restored"] == 1
    assert len(copies(submit(stage, acknowledged=False), best)) == 1


def test_demoted_hop_is_forgotten_with_its_connection() -> None:
    stage, (best, _) = pair()
    submit(stage)
    stage.wait(SECOND)
    assert list(stage.core.hops.missed) == [best.person.name]
    best.lose()
    assert stage.core.hops.missed == {}


def test_repeated_message_is_measured_by_the_copy_that_was_answered() -> None:
    stage, (best, _) = pair()
    (first,) = copies(submit(stage), best)
    stage.wait(SECOND + SECOND // 4)
    acknowledge(best, sent_id(first), route=1)
    assert stage.core.hops.usual.average == SECOND // 4


def test_each_destination_has_round_trips_of_its_own() -> None:
    stage, (best, _) = pair()
    for person, took in ((FAR, 4), (Person(51), 400)):
        said = submit(stage, to=NodeAddress(person.name))
        (first,) = [each for wire in stage.open.values() for each in copies(said, wire)]
        stage.wait(took * SECOND // 1_000)
        acknowledge(best, sent_id(first), person)
    hops = stage.core.hops
    assert hops.patience(FAR.name, 0) == stage.core.limits.acknowledge_low_ns
    held_back = stage.core.limits.acknowledge_delay_ns
    assert hops.patience(Person(51).name, 0) == SECOND * 1_200 // 1_000 + held_back
    assert hops.patience(Person(52).name, 0) < SECOND, "all together, until it has its own"


def test_round_trips_of_no_more_than_so_many_destinations_are_remembered() -> None:
    stage, _ = pair(Limits.recommended().but(round_trips_max=2))
    for number in range(51, 56):
        stage.core.hops.measure(Person(number).name, SECOND)
    assert list(stage.core.hops.trips) == [Person(54).name, Person(55).name]


def test_busy_destination_is_asked_again_when_it_said_and_by_the_next_route() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage), best)
    assert busy(best, sent_id(first), wait_ms=2_000) == []
    assert copies(stage.wait(SECOND * 3 // 2 - 1), other) == []
    assert copies(stage.wait(SECOND + 1), other) == [structs.replace(first, route=1)]
    assert stage.core.counters["delivery.busy"] == 1
    assert best.person.name not in stage.core.hops.missed, "it did its part"


def test_destination_that_stays_busy_fails_as_busy() -> None:
    stage, (best, _) = pair()
    (first,) = copies(submit(stage), best)
    failed: list[Failed] = []
    for route in range(ROUTES_MAX):
        assert failed == []
        busy(best, sent_id(first), route=route, wait_ms=2**32 - 1)
        failed += stage.wait(4 * SECOND).of(Failed)
    assert failed == [Failed(7, "busy: the destination had no room for any of 8 copies")]


def test_busy_is_believed_from_the_destination_about_the_last_copy_only() -> None:
    stage, (best, other) = pair()
    (first,) = copies(submit(stage), best)
    busy(best, sent_id(first), person=TWO)
    busy(best, bytes(16))
    busy(best, sent_id(first), route=1)
    best.routed(FAR.seal(MessageKind.BUSY, NodeAddress(stage.name), b"rubbish"))
    counters = stage.core.counters
    assert [counters[f"busy.{why}"] for why in ("forged", "unasked", "late", "malformed")] == [
        1
    ] * 4
    assert len(copies(stage.wait(SECOND), other)) == 1


def test_source_without_room_at_the_consumer_is_told_busy() -> None:
    stage, (best, _) = pair(Limits.recommended().but(consumed_entries=2))
    said = Said()
    for number in range(3):
        sealed = FAR.seal(
            MESSAGE,
            NodeAddress(stage.name),
            b"text",
            message_id=bytes((number,)) * 16,
            flags=ACKNOWLEDGE,
        )
        said = best.routed(sealed)
        stage.wait(SECOND)
    assert said.of(Deliver) == []
    assert said.messages(best, MessageKind.BUSY, Busy) == [Busy(b"\x02" * 16, 30_000)]
    said = best.routed(TWO.seal(MESSAGE, NodeAddress(stage.name), b"text", flags=ACKNOWLEDGE))
    assert len(said.of(Deliver)) == 1, "a smaller source has its place"
    assert stage.core.counters["consumed.busy"] == stage.core.counters["consumed.evicted"] == 1


def test_answer_to_a_repeat_also_goes_back_the_way_the_repeat_came() -> None:
    stage, wires = Stage.among(*(Person(number) for number in range(1, 5)))
    last = nearest(FAR.name, [wire.person.name for wire in wires], 4)[3]
    (way,) = [wire for wire in wires if wire.person.name == last]
    sealed = FAR.seal(MESSAGE, NodeAddress(stage.name), b"text", flags=ACKNOWLEDGE)
    assert copies(way.routed(sealed), way, ACKNOWLEDGED) == []
    said = way.routed(structs.replace(sealed, route=1))
    sent = [each for wire in wires for each in copies(said, wire, ACKNOWLEDGED)]
    assert len(sent) == 2 and sent[0] == sent[1], "signed once"
    assert copies(said, way, ACKNOWLEDGED) == [sent[0]] and sent[0].route == 1


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
    said = stage.wait(GATHER)
    assert said.messages(best, ACKNOWLEDGED, Acknowledged) == [Acknowledged(b"m" * 16, 1_000)]
    said = other.routed(structs.replace(first, route=1))
    assert said.of(Deliver) == []
    assert said.messages(other, ACKNOWLEDGED, Acknowledged) == [Acknowledged(b"m" * 16)]


def test_message_to_a_group_without_the_flag_is_not_acknowledged() -> None:
    stage, (best, other) = pair()
    said = best.routed(FAR.seal(MESSAGE, GroupAddress(stage.name), b"text"))
    assert len(said.of(Deliver)) == 1
    said += stage.wait(SECOND)
    assert copies(said, best, ACKNOWLEDGED) == copies(said, other, ACKNOWLEDGED) == []


def test_message_sent_at_most_once_is_not_sent_again() -> None:
    stage, (best, other) = pair()
    assert len(copies(submit(stage, acknowledged=False), best)) == 1
    assert copies(stage.wait(30 * SECOND), other) == []


def test_copy_of_a_message_sent_at_most_once_is_not_believed_under_another_route() -> None:
    stage, (best, other) = pair()
    sealed = FAR.seal(MESSAGE, NodeAddress(stage.name), b"text")
    assert len(best.routed(sealed).of(Deliver)) == 1
    assert best.routed(sealed).of(Deliver) == []
    assert other.routed(structs.replace(sealed, route=1)).of(Deliver) == []
    assert stage.core.counters["message.replayed"] == 1
    assert len(stage.core.messaging.consumed) == 0


def test_message_to_a_group_is_delivered_once_however_often_it_comes() -> None:
    stage, (best, other) = pair()
    sealed = FAR.seal(MESSAGE, GroupAddress(stage.name), b"text")
    assert len(best.say(FrameKind.GROUP_COPY, sealed).of(Deliver)) == 1
    assert other.say(FrameKind.GROUP_COPY, sealed).of(Deliver) == []
    assert other.routed(structs.replace(sealed, route=3)).of(Deliver) == []
    assert stage.core.counters["message.duplicate"] == 2


def test_patience_follows_the_measured_round_trips() -> None:
    stage, (best, other) = pair()
    for _ in range(12):
        (first,) = copies(submit(stage), best)
        stage.wait(SECOND // 2)
        acknowledge(best, sent_id(first))
    assert SECOND // 2 <= stage.core.hops.patience(FAR.name, 0) < SECOND * 6 // 10
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
    stage.core.hops.measure(FAR.name, SECOND)
    stage.core.hops.miss(best.person.name)
    stage.core._actions.clear()
    core.restore(stage.core.snapshot())
    assert core.hops.missed == stage.core.hops.missed and core.hops.trips == stage.core.hops.trips
    assert core.delivery.underway[sent_id(first)].envelope == first
    assert core.delivery.bytes == len(first.signed)
    assert core.digest() == stage.core.digest()
