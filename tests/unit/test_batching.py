"""Messages sent many at once arrive once and in order, or fail each by its number."""

from __future__ import annotations

import pytest

from routing._batch import pack, unpack
from routing.actions import Deliver, DeliverMany, Failed, Relieved
from routing.batching import nth_id
from routing.bodies import Acknowledged
from routing.errors import CloseCode
from routing.events import Message, Proof
from routing.inputs import StopRequested, Submitted, SubmittedMany
from routing.limits import SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Ping,
    Signed,
)
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
MESSAGE = MessageKind.MESSAGE
TEXTS = [b"one", b"", b"three"]


def pair(limits: Limits | None = None) -> tuple[Stage, Wire, Wire]:
    stage, (one, two) = Stage.among(ONE, TWO, limits=limits)
    return stage, one, two


def submit(
    stage: Stage,
    payloads: list[bytes] = TEXTS,
    *,
    to: Address | None = None,
    acknowledged: bool = True,
    reference: int = 7,
) -> Said:
    destination = NodeAddress(ONE.name) if to is None else to
    return stage.hear(SubmittedMany(reference, destination, list(payloads), acknowledged))


def sent(said: Said, wire: Wire) -> list[list[bytes]]:
    bodies = said.bodies(wire, FrameKind.BATCH)
    return [read(body) for body in bodies]


def read(body: bytes) -> list[bytes]:
    here = NodeAddress(bytes(32))
    found = unpack(body, here, here, b"", Proof.CHANNEL)
    assert found is not None
    return [message.payload for message in found]


def confirm(said: Said, wire: Wire) -> Said:
    said = Said([*said, *wire.stage.wait(SECOND // 50)])
    (ping,) = said.frames(wire, FrameKind.PING, Ping)
    return wire.say(FrameKind.PONG, ping)


# -- as a source


def test_messages_for_a_neighbour_leave_in_one_frame_behind_which_a_ping_asks() -> None:
    stage, one, two = pair()
    said = submit(stage)
    assert sent(said, one) == [TEXTS] and said.bodies(two, FrameKind.BATCH) == []
    assert stage.core.batching.count == 3 and stage.core.counters["message.direct"] == 3
    confirm(said, one)
    assert stage.core.batching.handed == {} and stage.core.batching.count == 0
    assert stage.core.batching.bytes == 0 and stage.core.counters["batch.confirmed"] == 1


def test_more_than_a_record_holds_goes_in_several_frames_in_order() -> None:
    stage, one, _ = pair()
    payloads = [bytes([number]) * 80_000 for number in range(10)]
    frames = sent(submit(stage, payloads), one)
    assert len(frames) == 4 and [each for frame in frames for each in frame] == payloads


def test_at_most_once_is_not_watched() -> None:
    stage, one, _ = pair()
    said = submit(stage, acknowledged=False)
    assert sent(said, one) == [TEXTS] and said.bodies(one, FrameKind.PING) == []
    assert one.lose(CloseCode.IO_ERROR).of(Failed) == []
    assert stage.wait(SECOND).of(Failed) == []


def test_to_a_group_they_go_one_by_one() -> None:
    stage, one, two = pair()
    said = submit(stage, to=GroupAddress(FAR.name))
    assert said.bodies(one, FrameKind.BATCH) == said.bodies(two, FrameKind.BATCH) == []
    routed = [each for wire in (one, two) for each in said.envelopes(wire, MESSAGE)]
    assert [opened(Signed, each.signed).body for each in routed][:3] == TEXTS


def test_client_sends_them_one_by_one_within_its_allowance() -> None:
    stage, wire = Stage.admitted(ONE, client=True)
    said = submit(stage, to=NodeAddress(ONE.name))
    assert said.bodies(wire, FrameKind.BATCH) == []
    assert len(said.bodies(wire, FrameKind.DIRECT)) == 3


def test_after_the_stop_every_one_fails() -> None:
    stage, _, _ = pair()
    stage.hear(StopRequested())
    assert submit(stage).of(Failed) == [Failed(number, "stopped") for number in (7, 8, 9)]


def test_what_is_unknown_at_the_stop_fails_by_its_number() -> None:
    stage, _, _ = pair()
    submit(stage)
    assert stage.hear(StopRequested()).of(Failed) == [Failed(n, "stopped") for n in (7, 8, 9)]
    assert stage.core.batching.count == stage.core.batching.bytes == 0


def test_connection_that_breaks_has_them_sent_again_each_with_its_id() -> None:
    stage, one, two = pair()
    said = submit(stage)
    (body,) = said.bodies(one, FrameKind.BATCH)
    said = one.lose(CloseCode.IO_ERROR)
    said += stage.wait(SECOND // 10)
    again = [opened(Signed, each.signed) for each in said.envelopes(two, MESSAGE)]
    assert [each.body for each in again] == TEXTS
    assert [each.id for each in again] == [nth_id(body[:16], place) for place in range(3)]
    assert all(each.flags == ACKNOWLEDGE for each in again) and said.of(Failed) == []
    assert stage.core.batching.again == {} and stage.core.batching.count == 0


def test_thousands_are_sent_again_a_few_at_a_time() -> None:
    """To sign them all at once would hold up everything else for a second."""
    stage, one, two = pair()
    submit(stage, [b"x"] * 1_000)
    said = one.lose(CloseCode.IO_ERROR)
    said += stage.wait(2)
    assert len(said.envelopes(two, MESSAGE)) == 64
    said = stage.wait(5 * SECOND // 1_000)
    assert len(said.envelopes(two, MESSAGE)) == 64
    assert stage.core.batching.count == 1_000 - 128
    stage.wait(SECOND // 10)
    assert stage.core.batching.again == {} and len(stage.core.delivery.underway) == 1_000


def test_what_cannot_be_sent_again_in_time_has_failed() -> None:
    stage, one, _ = pair(Limits.recommended().but(unacknowledged_max=10))
    submit(stage, [b"x"] * 30)
    one.lose(CloseCode.IO_ERROR)
    said = stage.wait(33 * SECOND)
    assert stage.core.batching.again == {}, "not for longer than the far end remembers"
    said += stage.wait(60 * SECOND)
    assert sorted(each.reference for each in said.of(Failed)) == list(range(7, 37))


def test_what_the_far_end_would_not_know_again_has_failed() -> None:
    stage, one, two = pair()
    submit(stage, [b"old"])
    for number in range(1_024):
        submit(stage, [b"new"], reference=100 + number)
    said = one.lose(CloseCode.IO_ERROR)
    said += stage.wait(2)
    reason = "undeliverable: the connection to the destination was lost"
    assert said.of(Failed) == [Failed(7, reason)]
    assert stage.core.batching.count == 1_024 - 64 and len(said.envelopes(two, MESSAGE)) == 64


def test_too_many_are_refused_as_one_and_there_is_word_when_there_is_room() -> None:
    stage, one, _ = pair(Limits.recommended().but(unconfirmed_max=10))
    said = submit(stage, [b"x"] * 8)
    refused = submit(stage, [b"y"] * 3, reference=50)
    reason = "busy: too many messages wait to be acknowledged"
    assert refused.of(Failed) == [Failed(50, reason)] and refused.of(Relieved) == []
    assert confirm(said, one).of(Relieved) == [Relieved()]
    said = submit(stage, [b"y"] * 3, reference=50)
    assert sent(said, one) == [[b"y"] * 3]
    assert confirm(said, one).of(Relieved) == [], "nobody waits"


def test_singles_and_batches_share_one_bound() -> None:
    stage, one, _ = pair(Limits.recommended().but(unconfirmed_max=10))
    submit(stage, [b"x"] * 10)
    fact = Submitted(60, MESSAGE, NodeAddress(ONE.name), b"z", bytes(16), False, 0, False)
    (failed,) = stage.hear(fact).of(Failed)
    assert failed.reference == 60 and failed.reason.startswith("busy")
    assert one.open


# -- as a consumer


def test_batch_is_delivered_in_order_and_proved_by_the_channel() -> None:
    stage, one, _ = pair()
    said = one.say(FrameKind.BATCH, pack(b"b" * 12 + bytes(4), TEXTS)[0])
    (delivered,) = said.of(DeliverMany)
    here, there = NodeAddress(stage.name), NodeAddress(ONE.name)
    assert delivered.messages == [
        Message(there, here, text, ONE.key, Proof.CHANNEL, nth_id(b"b" * 12, place), False)
        for place, text in enumerate(TEXTS)
    ]
    assert stage.core.counters["message.delivered"] == 3


def test_malformed_batch_closes_and_delivers_nothing() -> None:
    stage, one, _ = pair()
    said = one.say(FrameKind.BATCH, pack(bytes(16), TEXTS)[0][:-1])
    assert said.closed(one) is CloseCode.BAD_FRAME and said.of(DeliverMany) == []
    assert stage.core.counters["frame.malformed"] == 1


@pytest.mark.parametrize("ended", [True, False])
def test_message_of_a_batch_that_comes_again_is_known(ended: bool) -> None:
    stage, one, two = pair()
    one.say(FrameKind.BATCH, pack(b"b" * 12 + bytes(4), TEXTS)[0])
    if ended:
        one.lose(CloseCode.IO_ERROR)
    sealed = ONE.seal(
        MESSAGE,
        NodeAddress(stage.name),
        b"three",
        message_id=nth_id(b"b" * 12, 2),
        flags=ACKNOWLEDGE,
    )
    said = two.routed(sealed)
    assert said.of(Deliver) == [] and stage.core.counters["message.duplicate"] == 1
    wire = two if ended else one
    (told,) = said.messages(wire, MessageKind.ACKNOWLEDGED, Acknowledged)
    assert told.id == nth_id(b"b" * 12, 2)


def test_everything_survives_a_snapshot() -> None:
    stage, one, two = pair()
    submit(stage)
    submit(stage, to=NodeAddress(TWO.name))
    two.lose(CloseCode.IO_ERROR)
    one.say(FrameKind.BATCH, pack(b"b" * 12 + bytes(4), TEXTS)[0])
    other = Stage(0, first=True)
    other.core.restore(stage.core.snapshot())
    assert other.core.digest() == stage.core.digest()
    batching = other.core.batching
    assert (batching.count, batching.bytes) == (6, 2 * (8 + 3 * 4))
    assert batching.handed == stage.core.batching.handed != {}
    assert other.core.receipts.has(ONE.key, nth_id(b"b" * 12, 1))
