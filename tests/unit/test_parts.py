"""A large message leaves in parts: few at a time, each until acknowledged, and fails as one."""

from __future__ import annotations

from hashlib import sha256

import pytest
from msgspec import structs

from routing.actions import BULK, Deliver, Failed, Progress, Send
from routing.bodies import Acknowledged, Busy, Part, Unroutable
from routing.events import Proof
from routing.limits import ROUTES_MAX, SECOND
from routing.messages import (
    ACKNOWLEDGE,
    FrameKind,
    MessageKind,
    NodeAddress,
    Signed,
)
from tests.parting import BODY, FAR, SMALL, TWO, Far, begun, is_idle, pair, submit
from tests.persons import opened

__all__: list[str] = []

PART, ACKNOWLEDGED, BUSY = MessageKind.PART, MessageKind.ACKNOWLEDGED, MessageKind.BUSY
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY


# -- the way of parts


def test_first_part_travels_alone_and_what_follows_fits_the_window() -> None:
    stage, far = begun()
    assert far.indices == [0]
    far.hear(stage.wait(SECOND // 2))
    assert far.indices == [0]
    for flying in (2, 3, 4, 4, 4):
        far.acknowledge()
        assert len(far.waiting) == flying
    assert len(stage.core.delivery.underway) == SMALL.part_window


def test_parts_together_are_the_body_and_each_says_the_same_of_it() -> None:
    stage, far = begun()
    parts = list[Part]()
    while far.waiting:
        assert far.waiting[0].flags == ACKNOWLEDGE
        assert far.waiting[0].destination == NodeAddress(FAR.name)
        parts.append(opened(Part, far.waiting[0].body))
        far.acknowledge()
    assert b"".join(each.chunk for each in parts) == BODY
    assert [each.index for each in parts] == list(range(20))
    digest = sha256(BODY).digest()
    assert {(p.kind, p.size, p.count, p.digest) for p in parts} == {(MESSAGE, 1_901, 20, digest)}
    assert [len(each.chunk) for each in parts] == [96] * 19 + [77]
    assert is_idle(stage.core)


def test_progress_is_told_with_every_acknowledgement_and_ends_at_the_size() -> None:
    stage, far = begun()
    told = list[Progress]()
    while far.waiting:
        told += far.acknowledge().of(Progress)
    done = [min(96 * (index + 1), 1_901) for index in range(20)]
    assert told == [Progress(7, each, 1_901) for each in done]
    assert stage.said.of(Failed) == []
    assert stage.core.counters["large.through"] == 1


@pytest.mark.parametrize("size", [1_001, 1_100, 1_101, 3_999, 4_000])
def test_every_size_above_a_frame_up_to_the_bound_is_cut_into_parts_of_some_bytes(
    size: int,
) -> None:
    stage, wires = pair()
    far = Far(wires)
    far.hear(submit(stage, body=bytes(size)))
    sizes = list[int]()
    while far.waiting:
        sizes.append(len(opened(Part, far.waiting[0].body).chunk))
        far.acknowledge()
    assert sum(sizes) == size
    assert max(sizes) <= SMALL.part_bytes and min(sizes) > 0
    assert len(set(sizes[:-1])) == 1


def test_payload_of_the_size_of_a_frame_goes_whole() -> None:
    stage, (best, _) = pair()
    said = submit(stage, body=bytes(1_000))
    assert len(said.envelopes(best, MESSAGE)) == 1
    assert said.envelopes(best, PART) == []


def test_parts_are_bulk_also_when_they_are_repeated() -> None:
    stage, _ = pair()
    said = submit(stage)
    said += stage.wait(SECOND)
    sent = [each for each in said.of(Send) if each.kind is FrameKind.ROUTED]
    assert [each.priority for each in sent if len(each.body) > 96] == [BULK, BULK]


def test_part_passed_on_for_others_is_bulk() -> None:
    _, (best, other) = pair()
    there = NodeAddress(best.person.name)
    said = other.routed(FAR.seal(PART, there, b"whatever it says"))
    said += other.routed(FAR.seal(MESSAGE, there, b"text"))
    assert [each.priority for each in said.of(Send)] == [BULK, 0]


def test_large_message_to_a_peer_goes_in_parts_too() -> None:
    stage, (best, other) = pair()
    said = submit(stage, to=NodeAddress(best.person.name))
    assert len(said.envelopes(best, PART)) == 1
    assert said.bodies(best, FrameKind.DIRECT) == said.bodies(other, FrameKind.ROUTED) == []


def test_large_message_to_ourselves_is_delivered_whole() -> None:
    stage, _ = pair()
    (deliver,) = submit(stage, to=NodeAddress(stage.name)).of(Deliver)
    assert (deliver.message.payload, deliver.message.proof) == (BODY, Proof.CHANNEL)
    assert is_idle(stage.core)


# -- losses


def test_lost_part_leaves_again_by_the_next_best_hop_and_the_others_wait_for_nothing() -> None:
    stage, wires = pair()
    far = Far(wires)
    best, other = wires
    (first,) = submit(stage).envelopes(best, PART)
    said = stage.wait(SECOND)
    assert said.envelopes(best, PART) == []
    assert said.envelopes(other, PART) == [structs.replace(first, route=1)]
    assert far.hear(far.answer(Acknowledged(opened(Signed, first.signed).id))) != []
    assert far.indices[:2] == [1, 2]


def test_window_closes_when_parts_are_lost_and_opens_again() -> None:
    stage, far = begun()
    for _ in range(4):
        far.acknowledge()
    (outgoing,) = stage.core.parts.open.values()
    assert outgoing.window == 4
    stage.wait(SECOND)
    assert outgoing.window == 1, "four parts were lost"
    far.acknowledge()
    assert outgoing.window == 2


def test_patience_grows_with_every_repeat_so_that_a_slow_connection_is_not_flooded() -> None:
    stage, far = begun()
    (outgoing,) = stage.core.parts.open.values()
    times, waits = list[int](), [outgoing.patience]
    while stage.core.parts.open:
        if stage.wait(SECOND // 10).bodies(far.wires[0], FrameKind.ROUTED) or waits[-1] != (
            outgoing.patience
        ):
            times.append(stage.now)
            waits.append(outgoing.patience)
    assert waits[:5] == [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND]
    assert max(waits) == 4 * SMALL.acknowledge_high_ns
    assert times[:3] == [SECOND, 5 * SECOND // 2, 48 * SECOND // 10]


def test_round_trips_of_parts_leave_the_patience_with_small_messages_alone() -> None:
    stage, far = begun()
    stage.wait(SECOND // 2)
    far.acknowledge()
    (outgoing,) = stage.core.parts.open.values()
    assert (outgoing.average, stage.core.hops.usual.average) == (SECOND // 2, 0)
    assert outgoing.patience == 3 * SECOND // 2


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST, REPLY])
@pytest.mark.parametrize("through", [0, 5])
def test_part_that_fails_fails_the_whole_once(kind: MessageKind, through: int) -> None:
    stage, far = begun(kind)
    for _ in range(through):
        far.acknowledge()
    last = max(far.indices)
    failed = list[Failed]()
    for _ in range(300):
        failed += far.hear(stage.wait(SECOND)).of(Failed)
    assert failed == [Failed(7, "undeliverable: no acknowledgement after 8 routes")]
    assert max(far.indices) == last, "nothing new is sent into a void"
    assert far.indices.count(last) == ROUTES_MAX
    assert is_idle(stage.core)


def test_part_that_nobody_is_there_for_fails_the_whole_as_unroutable() -> None:
    stage, far = begun()
    for _ in range(3):
        far.acknowledge()
    body, here = Unroutable(far.waiting[1].id), NodeAddress(stage.name)
    for route in range(4):
        far.wires[0].routed(TWO.seal(MessageKind.UNROUTABLE, here, body, route=route))
    said = stage.wait(4 * SECOND)
    assert said.of(Failed) == [Failed(7, "unroutable: nobody has this name")]
    assert is_idle(stage.core)
    assert far.acknowledge() == []
    assert stage.core.counters["acknowledged.unasked"] == 1


# -- no room at the far end


def test_part_that_is_not_taken_is_sent_again_after_the_wait_as_a_new_message() -> None:
    stage, far = begun()
    (first,) = far.waiting
    assert far.refuse(2_000) == []
    assert far.hear(stage.wait(1_499_000_000)).envelopes(far.wires[0], PART) == []
    far.hear(stage.wait(1_002_000_000))
    (again,) = far.waiting
    assert again.body == first.body and again.id != first.id
    while far.waiting:
        far.acknowledge()
    assert stage.core.counters["large.through"] == 1
    assert is_idle(stage.core)


def test_refused_parts_of_a_window_all_leave_again() -> None:
    stage, far = begun()
    for _ in range(4):
        far.acknowledge()
    refused = far.indices
    for _ in refused:
        far.refuse()
    far.hear(stage.wait(2 * SECOND))
    seen = list[int]()
    while far.waiting:
        seen.append(far.indices[0])
        far.acknowledge()
    assert sorted(seen) == list(range(4, 20))
    assert is_idle(stage.core)


@pytest.mark.parametrize(("wait_ms", "low_ms", "high_ms"), [(0, 75, 125), (2**32 - 1, 7500, 12500)])
def test_nobody_makes_us_wait_for_ever_or_repeat_at_once(
    wait_ms: int, low_ms: int, high_ms: int
) -> None:
    stage, far = begun()
    far.refuse(wait_ms)
    far.hear(stage.wait(low_ms * 1_000_000 - 1))
    assert far.waiting == []
    far.hear(stage.wait((high_ms - low_ms) * 1_000_000 + 1))
    assert far.indices[0] == 0


def test_message_that_is_refused_for_too_long_fails_with_that_reason() -> None:
    stage, far = begun()
    failed = list[Failed]()
    for _ in range(120):
        if far.waiting:
            failed += far.refuse().of(Failed)
        failed += far.hear(stage.wait(SECOND)).of(Failed)
    reason = "busy: the destination has had no room for the message for too long"
    assert failed == [Failed(7, reason)]
    assert 60 * SECOND <= SMALL.large_idle_ns <= stage.now
    assert is_idle(stage.core)


def test_busy_is_believed_from_the_destination_only_and_about_parts_of_ours() -> None:
    stage, far = begun()
    far.answer(Busy(far.waiting[0].id, 1_000), TWO)
    far.answer(Busy(bytes(16), 1_000))
    here = NodeAddress(stage.name)
    far.wires[0].routed(FAR.seal(BUSY, here, b"rubbish"))
    counters = stage.core.counters
    found = [counters[f"busy.{what}"] for what in ("forged", "unasked", "malformed")]
    assert found == [1, 1, 1]
    far.acknowledge()
    assert far.indices == [1, 2]
