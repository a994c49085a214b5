"""Messages in a routed list arrive all and in order, or fail each by its number."""

from __future__ import annotations

import struct

import pytest

from routing._batch import LIST_BYTES_MAX, list_fault, pack_list, unpack_list
from routing.actions import Deliver, DeliverMany, Failed, Relieved, Send
from routing.batching import nth_id
from routing.bodies import Acknowledged, Unroutable
from routing.events import Message, Proof
from routing.inputs import StopRequested, SubmittedMany
from routing.limits import SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    Authority,
    AuthorityKind,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.window import WINDOW_BYTES
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
MESSAGES = MessageKind.MESSAGES
TEXTS = [b"one", b"", b"three"]
FIRST = b"l" * 12 + bytes(4)


def pair(limits: Limits | None = None) -> tuple[Stage, Wire, Wire]:
    stage, (one, two) = Stage.among(ONE, TWO, limits=limits)
    return stage, one, two


def submit(
    stage: Stage,
    payloads: list[bytes] = TEXTS,
    *,
    to: Address | None = None,
    acknowledged: bool = True,
    signed: bool = False,
    reference: int = 7,
) -> Said:
    destination = NodeAddress(FAR.name) if to is None else to
    return stage.hear(SubmittedMany(reference, destination, list(payloads), acknowledged, signed))


def sealed(said: Said, *wires: Wire) -> list[Signed]:
    """Return the lists that left on these wires."""
    return [
        opened(Signed, each.signed) for wire in wires for each in said.envelopes(wire, MESSAGES)
    ]


def texts(signed: Signed) -> list[bytes]:
    assert list_fault(signed.id, signed.body) == ""
    here = NodeAddress(bytes(32))
    found = unpack_list(signed.id, signed.body, here, here, b"", Proof.SIGNATURE)
    assert found is not None
    return [message.payload for message in found]


def listed(
    stage: Stage, payloads: list[bytes] = TEXTS, *, flags: int = ACKNOWLEDGE, route: int = 0
) -> Envelope:
    """Return a list from far away to the stage."""
    body, end = pack_list(payloads)
    assert end == len(payloads)
    to = NodeAddress(stage.name)
    return FAR.seal(MESSAGES, to, body, message_id=FIRST, flags=flags, route=route)


# -- as a source


def test_where_no_connection_leads_they_leave_under_one_signature() -> None:
    stage, one, two = pair()
    said = submit(stage)
    (signed,) = sealed(said, one, two)
    assert texts(signed) == TEXTS and signed.flags == ACKNOWLEDGE
    assert signed.id[12:] == bytes(4) and signed.authority is None
    counters = stage.core.counters
    assert (counters["list.sent"], counters["message.routed"]) == (1, 3)
    assert [each.count for each in stage.core.delivery.underway.values()] == [3]


def test_signed_ones_to_a_neighbour_leave_in_a_list() -> None:
    stage, one, _ = pair()
    said = submit(stage, to=NodeAddress(ONE.name), signed=True)
    assert said.bodies(one, FrameKind.BATCH) == said.bodies(one, FrameKind.DIRECT) == []
    assert [texts(each) for each in sealed(said, one)] == [TEXTS]


def test_more_than_a_list_holds_leaves_in_several_in_order() -> None:
    stage, one, two = pair()
    payloads = [bytes([number]) * 20_000 for number in range(10)]
    lists = sealed(submit(stage, payloads), one, two)
    assert [len(texts(each)) for each in lists] == [3, 3, 3]
    assert all(len(each.body) <= LIST_BYTES_MAX for each in lists)
    alone = [
        opened(Signed, each.signed).body
        for wire in (one, two)
        for each in stage.said.envelopes(wire, MessageKind.MESSAGE)
    ]
    assert [text for each in lists for text in texts(each)] + alone == payloads


def test_what_no_list_holds_goes_alone() -> None:
    stage, one, two = pair()
    large = bytes(LIST_BYTES_MAX - 3)
    said = submit(stage, [b"a", b"b", large, b"c", b"d"])
    assert [texts(each) for each in sealed(said, one, two)] == [[b"a", b"b"], [b"c", b"d"]]
    (alone,) = [each for wire in (one, two) for each in said.envelopes(wire, MessageKind.MESSAGE)]
    assert opened(Signed, alone.signed).body == large


@pytest.mark.parametrize("signed", [True, False])
def test_one_alone_is_a_plain_message(signed: bool) -> None:
    stage, one, two = pair()
    said = submit(stage, [b"only"], signed=signed)
    assert sealed(said, one, two) == []
    (alone,) = [each for wire in (one, two) for each in said.envelopes(wire, MessageKind.MESSAGE)]
    assert opened(Signed, alone.signed).body == b"only"


def test_to_ourselves_they_come_one_by_one() -> None:
    stage, _, _ = pair()
    said = submit(stage, to=NodeAddress(stage.name), signed=True)
    assert [each.message.payload for each in said.of(Deliver)] == TEXTS


def test_acknowledgement_of_the_list_ends_it_for_all() -> None:
    stage, one, two = pair()
    (signed,) = sealed(submit(stage), one, two)
    to = NodeAddress(stage.name)
    one.routed(FAR.seal(MessageKind.ACKNOWLEDGED, to, Acknowledged(signed.id)))
    assert stage.core.delivery.underway == {} and stage.core.delivery.bytes == 0
    assert stage.wait(60 * SECOND).of(Failed) == []


def test_unacknowledged_list_is_repeated_and_fails_by_each_number() -> None:
    stage, one, two = pair()
    said = submit(stage)
    said += stage.wait(60 * SECOND)
    lists = sealed(said, one, two)
    assert len(lists) == 8 and len({each.id for each in lists}) == 1
    failed = said.of(Failed)
    assert [each.reference for each in failed] == [7, 8, 9]
    assert {each.reason for each in failed} == {"undeliverable: no acknowledgement after 8 routes"}
    assert stage.core.counters["message.failed"] == 3


def test_unroutable_fails_each_that_was_sent_at_most_once() -> None:
    stage, one, two = pair()
    (signed,) = sealed(submit(stage, acknowledged=False), one, two)
    assert signed.flags == 0 and stage.core.delivery.underway == {}
    unroutable = ONE.seal(MessageKind.UNROUTABLE, NodeAddress(stage.name), Unroutable(signed.id))
    failed = one.routed(unroutable).of(Failed)
    reason = "unroutable: nobody has this name"
    assert failed == [Failed(number, reason) for number in (7, 8, 9)]
    assert len(stage.core.lists.unwatched) == 0


def test_each_fails_at_the_stop() -> None:
    stage, _, _ = pair()
    submit(stage)
    assert stage.hear(StopRequested()).of(Failed) == [Failed(n, "stopped") for n in (7, 8, 9)]
    assert submit(stage).of(Failed) == [Failed(n, "stopped") for n in (7, 8, 9)]


def test_without_a_network_all_are_refused() -> None:
    stage = Stage()
    assert submit(stage).of(Failed) == [Failed(7, "not connected")]


def test_too_many_are_refused_as_one_and_there_is_word_when_there_is_room() -> None:
    stage, one, two = pair(Limits.recommended().but(unacknowledged_max=2))
    first = sealed(submit(stage), one, two) + sealed(submit(stage, reference=20), one, two)
    refused = submit(stage, reference=50)
    assert refused.of(Failed) == [Failed(50, "busy: too many messages wait to be acknowledged")]
    assert sealed(refused, one, two) == [] and stage.core.counters["message.busy"] == 1
    to, said = NodeAddress(stage.name), Said()
    for signed in first:
        said += one.routed(FAR.seal(MessageKind.ACKNOWLEDGED, to, Acknowledged(signed.id)))
    assert said.of(Relieved) == [Relieved()] and not stage.core.delivery.window.pressed
    assert len(sealed(submit(stage, reference=50), one, two)) == 1


def test_room_is_counted_in_bytes_too() -> None:
    limits = Limits.recommended().but(unacknowledged_bytes=1_100_000)
    stage, _, _ = pair(limits)
    payloads = [bytes(10_000)] * 100
    assert submit(stage, payloads).of(Failed) == []
    (failed,) = submit(stage, payloads, reference=200).of(Failed)
    assert failed.reference == 200 and failed.reason.startswith("busy")


def test_source_waits_for_acknowledgements_before_the_way_is_full() -> None:
    stage, one, two = pair()
    many, sent = [bytes(1_000)] * 64, list[Signed]()
    while not (said := submit(stage, many)).of(Failed):
        sent += sealed(said, one, two)
    assert len(sent) == WINDOW_BYTES // len(encode(sent[0])) == 8
    (failed,) = said.of(Failed)
    assert failed == Failed(7, "busy: too many messages wait to be acknowledged")
    said = submit(stage, many, to=NodeAddress(ONE.name), signed=True)
    assert said.of(Failed) == [], "another destination has a window of its own"
    to, relieved = NodeAddress(stage.name), []
    for signed in sent:
        told = FAR.seal(MessageKind.ACKNOWLEDGED, to, Acknowledged(signed.id))
        relieved.append(len(one.routed(told).of(Relieved)))
    assert relieved == [0, 0, 0, 1, 0, 0, 0, 0], "once half of it is free"
    assert submit(stage, many).of(Failed) == []
    assert list(stage.core.delivery.window.flying) == [ONE.name, FAR.name]


@pytest.mark.parametrize(
    ("flags", "route", "priority"), [(ACKNOWLEDGE, 0, 0), (ACKNOWLEDGE, 1, 3), (0, 0, 3)]
)
def test_list_that_may_be_lost_is_passed_on_as_bulk(flags: int, route: int, priority: int) -> None:
    stage, one, two = pair()
    to, body = NodeAddress(TWO.name), pack_list(TEXTS)[0]
    envelope = FAR.seal(MESSAGES, to, body, message_id=FIRST, flags=flags, route=route)
    sends = [each for each in one.routed(envelope).of(Send) if each.token == two.token]
    assert [each.priority for each in sends if each.kind is FrameKind.ROUTED] == [priority]
    assert stage.core.counters["routed.forwarded"] >= 1


# -- as a client, and its proxy


def test_client_sends_a_list_and_pays_for_each_message() -> None:
    stage, wire = Stage.admitted(ONE, client=True)
    said = submit(stage, to=NodeAddress(FAR.name))
    (signed,) = sealed(said, wire)
    assert texts(signed) == TEXTS
    assert signed.source == ClientAddress(ONE.name, stage.core.key)


def test_client_sends_its_own_proxy_direct_messages() -> None:
    stage, wire = Stage.admitted(ONE, client=True)
    said = submit(stage, to=NodeAddress(ONE.name))
    assert sealed(said, wire) == [] and len(said.bodies(wire, FrameKind.DIRECT)) == 3


# -- as a consumer


def test_list_is_delivered_in_order_and_proved_by_its_signature() -> None:
    stage, one, _ = pair()
    (delivered,) = one.routed(listed(stage)).of(DeliverMany)
    here, there = NodeAddress(stage.name), NodeAddress(FAR.name)
    assert delivered.messages == [
        Message(there, here, text, FAR.key, Proof.SIGNATURE, nth_id(FIRST, place), False)
        for place, text in enumerate(TEXTS)
    ]
    assert delivered.size == sum(map(len, TEXTS)) + 3 * 4
    counters = stage.core.counters
    assert (counters["message.delivered"], counters["list.delivered"]) == (3, 1)


def test_list_is_acknowledged_once_for_all() -> None:
    stage, one, two = pair()
    said = one.routed(listed(stage)) + stage.wait(SECOND)
    told = [
        each
        for wire in (one, two)
        for each in Said(said).messages(wire, MessageKind.ACKNOWLEDGED, Acknowledged)
    ]
    assert [(each.id, each.others) for each in told] == [(FIRST, [])]


def test_list_that_comes_again_is_acknowledged_and_not_delivered() -> None:
    stage, one, two = pair()
    one.routed(listed(stage))
    said = two.routed(listed(stage, route=1))
    assert said.of(DeliverMany) == [] and stage.core.counters["message.duplicate"] == 1
    told = [
        each
        for wire in (one, two)
        for each in said.messages(wire, MessageKind.ACKNOWLEDGED, Acknowledged)
    ]
    assert {each.id for each in told} == {FIRST}


def test_list_sent_at_most_once_is_taken_as_a_first_copy_only() -> None:
    stage, one, two = pair()
    assert len(one.routed(listed(stage, flags=0)).of(DeliverMany)) == 1
    assert two.routed(listed(stage, flags=0, route=1)).of(DeliverMany) == []
    assert stage.core.counters["message.replayed"] == 1


def test_without_room_the_list_is_refused_as_one() -> None:
    stage, one, two = pair(Limits.recommended().but(consumed_entries=16))
    for number in range(16):
        envelope = FAR.seal(
            MESSAGES,
            NodeAddress(stage.name),
            pack_list(TEXTS)[0],
            message_id=bytes([number]) * 12 + bytes(4),
            flags=ACKNOWLEDGE,
        )
        one.routed(envelope)
    said = one.routed(listed(stage))
    assert said.of(DeliverMany) == [] and stage.core.counters["consumed.busy"] == 1
    assert (
        len([each for wire in (one, two) for each in said.envelopes(wire, MessageKind.BUSY)]) == 1
    )


WRONG: dict[str, tuple[bytes, bytes]] = {
    "empty": (FIRST, b""),
    "single": (FIRST, struct.pack(">I", 3) + b"one"),
    "trailing": (FIRST, pack_list(TEXTS)[0] + bytes(3)),
    "overrun": (FIRST, pack_list(TEXTS)[0][:-1]),
    "oversized": (FIRST, (struct.pack(">I", 1_020) + bytes(1_020)) * 64),
    "id": (b"l" * 16, pack_list(TEXTS)[0]),
}


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_list_is_refused_with_a_reason_and_counted(fault: str) -> None:
    stage, one, two = pair()
    first, body = WRONG[fault]
    assert list_fault(first, body) == fault
    envelope = FAR.seal(
        MESSAGES, NodeAddress(stage.name), body, message_id=first, flags=ACKNOWLEDGE
    )
    said = one.routed(envelope) + stage.wait(SECOND)
    assert Said(said).of(DeliverMany) == [] and Said(said).of(Deliver) == []
    assert stage.core.counters[f"list.{fault}"] == 1
    assert any(f"list refused: {fault}" in line for line in stage.core.explain(FAR.key))
    for wire in (one, two):
        assert Said(said).envelopes(wire, MessageKind.ACKNOWLEDGED) == []
    assert one.open, "it is not the neighbour's doing"
    here = NodeAddress(stage.name)
    assert unpack_list(first, body, here, here, FAR.key, Proof.SIGNATURE) is None


def test_list_to_a_group_is_refused() -> None:
    stage, one, _ = pair()
    body = pack_list(TEXTS)[0]
    envelope = FAR.seal(
        MESSAGES, GroupAddress(stage.name), body, message_id=FIRST, flags=ACKNOWLEDGE
    )
    assert one.routed(envelope).of(DeliverMany) == []
    assert stage.core.counters["list.group"] == 1


def test_list_has_no_authority() -> None:
    stage, one, _ = pair()
    envelope = FAR.seal(
        MESSAGES,
        NodeAddress(stage.name),
        pack_list(TEXTS)[0],
        message_id=FIRST,
        flags=ACKNOWLEDGE,
        authority=Authority(AuthorityKind.NODE, FAR.name),
    )
    assert one.routed(envelope).of(DeliverMany) == []
    assert stage.core.counters["authority.refused"] == 1


def test_forged_list_is_not_looked_at() -> None:
    stage, one, _ = pair()
    envelope = listed(stage)
    forged = Envelope(0, 0, envelope.signed[:-1] + b"?", envelope.signature)
    assert one.routed(forged).of(DeliverMany) == []
    assert stage.core.counters["routed.forged"] == 1


# -- for others, and for later


def test_list_is_passed_on_as_one_frame() -> None:
    _stage, one, two = pair()
    envelope = FAR.seal(
        MESSAGES, NodeAddress(TWO.name), pack_list(TEXTS)[0], message_id=FIRST, flags=ACKNOWLEDGE
    )
    said = one.routed(envelope)
    assert [each.signed for each in said.envelopes(two, MESSAGES)] == [envelope.signed]
    assert said.of(DeliverMany) == []


def test_everything_survives_a_snapshot() -> None:
    stage, one, _ = pair(Limits.recommended().but(unacknowledged_max=1))
    submit(stage)
    submit(stage, acknowledged=False, reference=20)
    submit(stage, reference=30)
    one.routed(listed(stage))
    other = Stage(0, first=True, limits=Limits.recommended().but(unacknowledged_max=1))
    other.core.restore(stage.core.snapshot())
    assert other.core.digest() == stage.core.digest()
    window = other.core.delivery.window
    assert window.pressed and len(other.core.lists.unwatched) == 1
    assert window.flying == stage.core.delivery.window.flying != {}
    assert [each.count for each in other.core.delivery.underway.values()] == [3]
