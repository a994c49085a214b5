"""How a large message ends before all of it has left: answered, refused, withdrawn, stopped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from routing.actions import Answered, Failed, Progress
from routing.bodies import Acknowledged, Part, Reply
from routing.core import Core
from routing.errors import CloseCode
from routing.inputs import StopRequested, Withdrawn
from routing.limits import SECOND
from routing.messages import (
    Address,
    ClientAddress,
    Envelope,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.parts import REPLY_BYTES, part_bounds
from routing.requests import token_of
from tests.parting import BODY, FAR, ONE, SMALL, Far, begun, is_idle, pair, submit
from tests.persons import Person, opened
from tests.support import Said, Stage

__all__: list[str] = []

PART, ACKNOWLEDGED, BUSY = MessageKind.PART, MessageKind.ACKNOWLEDGED, MessageKind.BUSY
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY


# -- requests and replies


def reply_to(stage: Stage, message_id: bytes, payload: bytes = b"reply") -> Envelope:
    token = token_of(message_id, BODY)
    return FAR.seal(REPLY, NodeAddress(stage.name), Reply(message_id, token, False, payload))


def test_reply_that_overtakes_the_last_acknowledgement_ends_the_request() -> None:
    stage, far = begun(REQUEST)
    message_id = opened(Part, far.waiting[0].body).id
    while far.indices != [19]:
        far.acknowledge()
    said = far.wires[0].routed(reply_to(stage, message_id))
    assert said.of(Answered)[0].payload == b"reply"
    assert is_idle(stage.core)


def test_request_that_times_out_on_its_way_stops_there() -> None:
    stage, wires = pair()
    far = Far(wires)
    far.hear(submit(stage, REQUEST, seconds=2))
    far.acknowledge()
    assert far.hear(stage.wait(2 * SECOND)).of(Failed) == [Failed(7, "timed out")]
    assert is_idle(stage.core)


def test_large_reply_is_larger_than_its_payload_by_its_fields() -> None:
    for size in (70_000, 4_000_000):
        assert len(encode(Reply(bytes(16), bytes(16), True, bytes(size)))) == size + REPLY_BYTES


def test_progress_is_not_told_of_replies() -> None:
    stage, far = begun(REPLY)
    while far.waiting:
        far.acknowledge()
    assert stage.said.of(Progress) == []
    assert stage.core.counters["large.through"] == 1


# -- refused, withdrawn, stopped


@pytest.mark.parametrize(
    ("to", "size", "reason"),
    [
        (GroupAddress(bytes(32)), 1_001, "refused: payload of 1001 bytes to a group exceeds"),
        (NodeAddress(FAR.name), 4_001, "refused: payload of 4001 bytes exceeds large_bytes_max"),
        (ClientAddress(FAR.name, FAR.key), 4_001, "refused: payload of 4001 bytes exceeds"),
    ],
)
def test_what_may_not_go_in_parts_is_refused_with_its_size(
    to: Address, size: int, reason: str
) -> None:
    stage, _ = pair()
    for kind in (MESSAGE, REQUEST):
        (failed,) = submit(stage, kind, to=to, body=bytes(size)).of(Failed)
        assert failed.reason.startswith(reason)
    assert is_idle(stage.core)


def test_large_messages_under_way_are_bounded_in_bytes() -> None:
    stage, _ = pair()
    for reference in range(3):
        said = submit(stage, reference=reference, body=bytes(4_000))
    reason = "busy: too many large messages are under way"
    assert said.of(Failed) == [Failed(2, reason)]
    assert len(stage.core.parts.open) == 2


def test_who_waits_for_a_reply_that_cannot_be_sent_is_told_why() -> None:
    stage, (best, _) = pair()
    said = submit(stage, REPLY, body=bytes(4_001))
    (reply,) = said.messages(best, REPLY, Reply)
    assert reply.failed and reply.payload.startswith(b"refused: payload of 4001 bytes")
    assert said.of(Failed) == []


def test_large_message_without_a_way_out_fails_at_once() -> None:
    stage, (best, other) = pair()
    best.lose(CloseCode.IO_ERROR)
    other.lose(CloseCode.IO_ERROR)
    (failed,) = submit(stage).of(Failed)
    assert failed.reason.startswith("not connected")
    assert is_idle(stage.core)


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST])
def test_withdrawn_message_sends_no_further_part_and_is_told_of_no_more(kind: MessageKind) -> None:
    stage, far = begun(kind)
    far.acknowledge()
    assert stage.hear(Withdrawn(8)) == []
    assert not is_idle(stage.core)
    assert stage.hear(Withdrawn(7)) == []
    assert is_idle(stage.core)
    assert far.acknowledge() == []
    assert stage.wait(300 * SECOND).of(Failed) == []


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST, REPLY])
@pytest.mark.parametrize("refused", [False, True])
def test_stop_fails_what_is_under_way_once(kind: MessageKind, refused: bool) -> None:
    stage, far = begun(kind)
    for _ in range(3):
        far.acknowledge()
    if refused:
        while far.waiting:
            far.refuse()
    assert stage.hear(StopRequested()).of(Failed) == [Failed(7, "stopped")]
    assert is_idle(stage.core)


def test_client_sends_parts_through_its_proxy() -> None:
    stage, wire = Stage.admitted(ONE, client=True, limits=SMALL)
    (first,) = submit(stage).envelopes(wire, PART)
    assert opened(Signed, first.signed).source == ClientAddress(ONE.name, stage.core.key)


def test_proxy_passes_the_parts_and_refusals_of_its_client_on() -> None:
    stage, (best, _) = pair()
    person = Person(9)
    wire = stage.accept(person)
    wire.hello(HelloRole.CLIENT)
    there = NodeAddress(best.person.name)
    for kind in (PART, BUSY):
        said = wire.routed(person.seal(kind, there, b"some body", proxy=stage.name))
        assert len(said.envelopes(best, kind)) == 1


@pytest.mark.parametrize("index", range(7))
def test_bounds_of_parts_cover_a_body_without_overlap(index: int) -> None:
    for size in (7, 8, 13, 14, 100):
        first, end = part_bounds(size, 7, index)
        before = part_bounds(size, 7, index - 1)[1] if index else 0
        assert first == before and end <= size
        assert part_bounds(size, 7, 6)[1] == size


def refused_once(far: Far) -> None:
    far.refuse()


def two_acknowledged(far: Far) -> None:
    far.acknowledge()
    far.acknowledge()


@pytest.mark.parametrize("reach", [two_acknowledged, refused_once])
def test_restored_core_sends_the_same_parts(reach: Callable[[Far], None]) -> None:
    stage, far = begun(REQUEST)
    reach(far)
    other = Core(stage.core.config)
    other.restore(stage.core.snapshot())
    assert other.digest() == stage.core.digest()
    sealed = [
        FAR.seal(ACKNOWLEDGED, NodeAddress(stage.name), Acknowledged(each.id))
        for each in far.waiting
    ]
    said = Said()
    for envelope in sealed:
        said += far.wires[0].routed(envelope)
    said += stage.wait(5 * SECOND)
    follow = Stage(0, limits=SMALL, first=True)
    follow.core, follow.now, follow.open = other, 0, {w.token: w for w in far.wires}
    for wire in far.wires:
        wire.stage = follow
    again = Said()
    for envelope in sealed:
        again += far.wires[0].routed(envelope)
    again += follow.wait(5 * SECOND)
    assert again == said and said != []
    assert other.digest() == stage.core.digest()
