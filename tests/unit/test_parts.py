"""A large message leaves in parts: few at a time, each until acknowledged, and fails as one."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from msgspec import structs

from routing.actions import BULK, Answered, Deliver, Failed, Progress, Send
from routing.bodies import Acknowledged, Busy, Part, Reply, Unroutable
from routing.core import Core
from routing.errors import CloseCode
from routing.events import Proof
from routing.inputs import StopRequested, Submitted, Withdrawn
from routing.limits import ROUTES_MAX, SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.messaging import token_of
from routing.names import nearest
from routing.parts import REPLY_BYTES, part_bounds
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
PEERS = (ONE, TWO)
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY
PART, ACKNOWLEDGED, BUSY = MessageKind.PART, MessageKind.ACKNOWLEDGED, MessageKind.BUSY

SMALL = Limits().but(
    payload_bytes_max=1_000,
    part_bytes=100,
    parts_max=64,
    large_bytes_max=4_000,
    large_waiting_bytes=8_000,
    reassembly_bytes=16_000,
)
BODY = bytes(n * n % 251 for n in range(1_901))
"""In 20 parts of 96 bytes, the last of which has 77."""


def submit(
    stage: Stage,
    kind: MessageKind = MESSAGE,
    *,
    to: Address | None = None,
    body: bytes = BODY,
    reference: int = 7,
    seconds: int = 300,
    failed: bool = False,
) -> Said:
    wait, to = seconds * SECOND, to or NodeAddress(FAR.name)
    token = bytes(16)
    return stage.hear(Submitted(reference, kind, to, body, token, failed, wait, False, token=token))


def pair(limits: Limits = SMALL) -> tuple[Stage, list[Wire]]:
    """Return a stage and its ways towards FAR, the best first."""
    stage, wires = Stage.among(*PEERS, limits=limits)
    ways = nearest(FAR.name, [peer.name for peer in PEERS], 2)
    names = [peer.name for peer in PEERS]
    return stage, [wires[names.index(name)] for name in ways]


class Far:
    """The far end of a large message: what has reached it, and what it says to that."""

    def __init__(self, wires: list[Wire]) -> None:
        self.wires = wires
        self.stage = wires[0].stage
        self.waiting: list[Signed] = []
        """Parts that came and were not answered, oldest first."""

    def hear(self, said: Said) -> Said:
        """Take in the parts among what the core did."""
        for wire in self.wires:
            envelopes = said.envelopes(wire, PART)
            self.waiting += [opened(Signed, each.signed) for each in envelopes]
        return said

    @property
    def indices(self) -> list[int]:
        return [opened(Part, each.body).index for each in self.waiting]

    def answer(self, body: Acknowledged | Busy, person: Person = FAR) -> Said:
        kind = ACKNOWLEDGED if isinstance(body, Acknowledged) else BUSY
        sealed = person.seal(kind, NodeAddress(self.stage.name), body)
        return self.hear(self.wires[0].routed(sealed))

    def acknowledge(self) -> Said:
        """Acknowledge the oldest part."""
        return self.answer(Acknowledged(self.waiting.pop(0).id))

    def refuse(self, wait_ms: int = 1_000) -> Said:
        """Have no room for the oldest part."""
        return self.answer(Busy(self.waiting.pop(0).id, wait_ms))


def begun(kind: MessageKind = MESSAGE, limits: Limits = SMALL) -> tuple[Stage, Far]:
    stage, wires = pair(limits)
    far = Far(wires)
    far.hear(submit(stage, kind))
    return stage, far


def is_idle(core: Core) -> bool:
    """Nothing of a large message is left."""
    parts, left = core.parts, core.delivery.underway
    alarms = [kind for _, kind, _ in core.alarms.export() if kind in ("parts", "request", "retry")]
    return not (parts.open or parts.whole_of or parts.bytes or left or alarms)


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
    assert times[:3] == [SECOND, 3 * SECOND, 7 * SECOND]


def test_round_trips_of_parts_leave_the_patience_with_small_messages_alone() -> None:
    stage, far = begun()
    stage.wait(SECOND // 2)
    far.acknowledge()
    (outgoing,) = stage.core.parts.open.values()
    assert (outgoing.average, stage.core.delivery.average) == (SECOND // 2, 0)
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
    body = Unroutable(far.waiting[1].id)
    said = far.wires[0].routed(TWO.seal(MessageKind.UNROUTABLE, NodeAddress(stage.name), body))
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
