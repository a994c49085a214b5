"""What bad input gets: a reason where somebody waits for one, a counter, and nothing is left over.

Here are the kinds that no concern of its own has a test for; the others are with their concern.
"""

from __future__ import annotations

import msgspec
import pytest

from routing.actions import Deliver, Failed, Send
from routing.bodies import GroupIs, Unroutable
from routing.errors import CloseCode, UsageError
from routing.inputs import Submitted
from routing.limits import ROUTES_MAX, SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Direct,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.outbox import checked_destination
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
MESSAGE, REQUEST, UNROUTABLE = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.UNROUTABLE


def pair() -> tuple[Stage, list[Wire]]:
    return Stage.among(ONE, TWO)


def submit(stage: Stage, to: NodeAddress | GroupAddress, payload: bytes = b"text") -> Said:
    return stage.hear(Submitted(7, MESSAGE, to, payload, bytes(16), False, 60 * SECOND, True))


def assert_nothing_left(stage: Stage) -> None:
    core = stage.core
    assert core.delivery.underway == {} and core.delivery.bytes == 0
    assert core.parts.open == {} and core.messaging.pending == {}


def test_unknown_destination_is_counted_and_told_with_the_reason() -> None:
    stage, wires = pair()
    said = submit(stage, NodeAddress(FAR.name))
    (first,) = [each for wire in wires for each in said.envelopes(wire, MESSAGE)]
    told, here = Unroutable(opened(Signed, first.signed).id), NodeAddress(stage.name)
    for route in range(4):
        wires[0].routed(TWO.seal(UNROUTABLE, here, told, route=route))
    failed = stage.wait(5 * SECOND).of(Failed)
    assert failed == [Failed(7, "unroutable: nobody has this name")]
    assert stage.core.counters["delivery.unroutable"] == 1
    assert_nothing_left(stage)


def test_destination_that_left_without_a_word_is_counted_and_told_with_the_reason() -> None:
    stage, _ = pair()
    submit(stage, NodeAddress(FAR.name))
    failed = stage.wait(40 * SECOND).of(Failed)
    reason = f"undeliverable: no acknowledgement after {ROUTES_MAX} routes"
    assert failed == [Failed(7, reason)]
    assert stage.core.counters["delivery.undeliverable"] == 1
    assert_nothing_left(stage)


@pytest.mark.parametrize(
    "to", [NodeAddress(FAR.name), GroupAddress(FAR.name)], ids=["node", "group"]
)
def test_payload_over_the_limit_is_refused_with_the_limit(to: NodeAddress | GroupAddress) -> None:
    stage, _ = pair()
    limits, group = Limits(), isinstance(to, GroupAddress)
    most = limits.payload_bytes_max if group else limits.large_bytes_max
    (failed,) = submit(stage, to, bytes(most + 1)).of(Failed)
    bound = "payload_bytes_max" if group else "large_bytes_max"
    assert failed.reason.startswith("refused: payload of ") and failed.reason.endswith(bound)
    assert stage.core.counters["large.refused"] == 1
    assert_nothing_left(stage)


@pytest.mark.parametrize("way", ["routed", "direct", "group copy"])
def test_payload_that_looks_like_a_control_message_is_only_a_payload(way: str) -> None:
    stage, (wire, _) = pair()
    control = encode(GroupIs(stage.name, [FAR.name]))
    payload = encode(FAR.seal(MessageKind.GROUP_IS, NodeAddress(stage.name), control))
    if way == "routed":
        said = wire.routed(FAR.seal(MESSAGE, NodeAddress(stage.name), payload))
    elif way == "direct":
        said = wire.say(FrameKind.DIRECT, Direct(MESSAGE, bytes(16), payload))
    else:
        sealed = FAR.seal(MESSAGE, GroupAddress(stage.name), payload)
        said = wire.say(FrameKind.GROUP_COPY, sealed)
    (delivered,) = said.of(Deliver)
    assert delivered.message.payload == payload and len(said) == 1, "and nothing else happened"
    assert "consumed.group_is" not in stage.core.counters


@pytest.mark.parametrize("size", [0, 31, 33])
@pytest.mark.parametrize("what", ["destination", "source", "key"])
def test_name_of_another_size_from_a_peer_closes_and_is_counted(what: str, size: int) -> None:
    stage, (wire, _) = pair()
    right = FAR.seal(MESSAGE, NodeAddress(stage.name), b"text", flags=ACKNOWLEDGE)
    fields = msgspec.msgpack.decode(right.signed)
    at = Signed.__struct_fields__.index(what)
    fields[at] = bytes(size) if what == "key" else [fields[at][0], bytes(size)]
    wrong = type(right)(0, 0, msgspec.msgpack.encode(fields), right.signature)
    said = wire.routed(wrong)
    assert said.closed(wire) is CloseCode.BAD_FRAME and said.of(Deliver) == []
    assert stage.core.counters["frame.malformed"] == 1
    assert [each for each in said.of(Send) if each.kind is FrameKind.ROUTED] == []


def test_name_of_31_bytes_is_refused_to_our_own_caller_with_the_bound() -> None:
    with pytest.raises(UsageError, match="must hold names of 32 bytes"):
        checked_destination(NodeAddress(bytes(31)))


def test_control_message_in_a_direct_frame_closes_and_is_counted() -> None:
    stage, (wire, _) = pair()
    said = wire.say(FrameKind.DIRECT, Direct(MessageKind.GROUP_IS, bytes(16), b""))
    assert said.closed(wire) is CloseCode.BAD_FRAME
    assert stage.core.counters["frame.malformed"] == 1
