"""What a client may send in a second: told, kept by itself, refused by name, and closed at last."""

from __future__ import annotations

import pytest

from routing._batch import pack_list
from routing.actions import Deliver, Failed
from routing.batching import batch_id
from routing.bodies import Acknowledged, Part
from routing.errors import CloseCode
from routing.inputs import Submitted, SubmittedMany
from routing.limits import SECOND, Limits
from routing.messages import (
    Address,
    Admit,
    ClientAddress,
    Direct,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
    Ping,
    Signed,
    Throttled,
    encode,
)
from routing.state import LinkRole
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

FRIEND, CLIENT, FAR = Person(1), Person(2), Person(50)
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY
FEW = Limits().but(client_messages_per_s=10, client_bytes_per_s=20_000)


# -- the proxy


def proxy(limits: Limits = FEW) -> tuple[Stage, Wire, Wire]:
    """Return a proxy, its connection to a friend, and that of a client."""
    stage, (friend,) = Stage.among(FRIEND, limits=limits)
    wire = stage.accept(CLIENT)
    wire.hello(HelloRole.CLIENT)
    assert wire.role() is LinkRole.CLIENT
    return stage, friend, wire


def speak(wire: Wire, size: int = 1, kind: MessageKind = MESSAGE, *, body: bytes = b"") -> Said:
    to = NodeAddress(FRIEND.name)
    return wire.routed(CLIENT.seal(kind, to, body or bytes(size), proxy=wire.stage.name))


def throttled(said: Said, wire: Wire) -> list[Throttled]:
    return said.frames(wire, FrameKind.THROTTLED, Throttled)


def test_client_is_told_its_bound_when_it_is_admitted() -> None:
    stage, _ = Stage.among(FRIEND, limits=FEW)
    wire = stage.accept(CLIENT)
    said = wire.hello(HelloRole.CLIENT)
    (admit,) = said.frames(wire, FrameKind.ADMIT, Admit)
    assert (admit.messages_per_s, admit.bytes_per_s) == (10, 20_000)


def test_list_costs_a_client_as_much_as_its_messages() -> None:
    stage, friend, wire = proxy()
    body = pack_list([b"x"] * 10)[0]
    for _ in range(2):
        said = wire.routed(list_of(stage, body))
        assert len(said.envelopes(friend, MessageKind.MESSAGES)) == 1
        assert throttled(said, wire) == []
    said = wire.routed(list_of(stage, body))
    (told,) = throttled(said, wire)
    assert told.wait_ms == 1_000 and said.envelopes(friend, MessageKind.MESSAGES) == []
    assert stage.core.counters["client.throttled"] == 1


def test_what_is_no_list_costs_a_client_one_message() -> None:
    stage, friend, wire = proxy()
    for _ in range(20):
        said = wire.routed(list_of(stage, pack_list([b"x"] * 10)[0] + b"?"))
        assert throttled(said, wire) == [], "whom it is for refuses it"
        assert len(said.envelopes(friend, MessageKind.MESSAGES)) == 1
    assert len(throttled(wire.routed(list_of(stage, b"")), wire)) == 1


def list_of(stage: Stage, body: bytes) -> Envelope:
    first = batch_id(stage.core.dice.bytes(16))
    to = NodeAddress(FRIEND.name)
    return CLIENT.seal(MessageKind.MESSAGES, to, body, proxy=stage.name, message_id=first)


def test_what_is_beyond_the_bound_is_not_passed_on_and_its_sender_is_told_when_it_would_be() -> (
    None
):
    stage, friend, wire = proxy()
    passed = [len(speak(wire).envelopes(friend, MESSAGE)) for _ in range(20)]
    assert passed == [1] * 20, "two seconds' worth, for what the network bunches"
    said = speak(wire)
    assert said.envelopes(friend, MESSAGE) == []
    (told,) = throttled(said, wire)
    assert told.wait_ms == 100
    assert stage.core.counters["client.throttled"] == 1
    stage.wait(SECOND // 10)
    assert len(speak(wire).envelopes(friend, MESSAGE)) == 1


def test_throttled_is_about_the_very_message_and_the_same_copy_passes_later() -> None:
    stage, friend, wire = proxy()
    for _ in range(20):
        speak(wire)
    to = NodeAddress(FRIEND.name)
    envelope = CLIENT.seal(MESSAGE, to, b"again", proxy=stage.name, message_id=b"m" * 16)
    (told,) = throttled(wire.routed(envelope), wire)
    assert told.id == b"m" * 16
    stage.wait(told.wait_ms * SECOND // 1_000)
    assert wire.routed(envelope).envelopes(friend, MESSAGE) != []


def test_bytes_are_bounded_too() -> None:
    _, _, wire = proxy()
    assert [len(throttled(speak(wire, 15_000), wire)) for _ in range(3)] == [0, 0, 1]


def test_direct_frames_count_as_well() -> None:
    stage, _, wire = proxy()
    for number in range(20):
        said = wire.say(FrameKind.DIRECT, Direct(MESSAGE, bytes(15) + bytes((number,)), b"x"))
        assert len(said.of(Deliver)) == 1
    said = wire.say(FrameKind.DIRECT, Direct(REQUEST, b"d" * 16, b"x"))
    assert said.of(Deliver) == []
    assert [told.id for told in throttled(said, wire)] == [b"d" * 16]
    assert stage.core.counters["client.throttled"] == 1


@pytest.mark.parametrize("kind", [REPLY, MessageKind.PART, MessageKind.FIND_GROUP])
def test_other_kinds_count_as_well(kind: MessageKind) -> None:
    _, _, wire = proxy()
    for _ in range(20):
        speak(wire)
    body = b"x"
    if kind is MessageKind.PART:
        body = encode(Part(bytes(16), MESSAGE, 2, 0, 2, bytes(32), b"x"))
    assert len(throttled(speak(wire, kind=kind, body=body), wire)) == 1


def test_acknowledgements_of_what_was_passed_on_cost_nothing() -> None:
    stage, friend, wire = proxy()
    here = ClientAddress(stage.name, CLIENT.key)
    for _ in range(50):
        friend.routed(FRIEND.seal(MESSAGE, here, b"text"))
    for _ in range(20):
        speak(wire)
    acknowledged = encode(Acknowledged(bytes(16)))
    for _ in range(50):
        said = speak(wire, kind=MessageKind.ACKNOWLEDGED, body=acknowledged)
        assert len(said.envelopes(friend, MessageKind.ACKNOWLEDGED)) == 1
    said = speak(wire, kind=MessageKind.ACKNOWLEDGED, body=acknowledged)
    assert len(throttled(said, wire)) == 1, "one more than there was to acknowledge"


def test_client_that_floods_in_spite_of_being_told_is_closed() -> None:
    stage, friend, wire = proxy()
    codes = []
    for _ in range(40):
        said = speak(wire)
        codes.append(said.closed(wire))
        if not wire.open:
            break
    assert codes[-1] is CloseCode.BUSY and len(codes) == 20 + 10 + 1
    assert stage.core.counters["client.flooded"] == 1
    assert friend.open


def test_client_slightly_above_the_bound_is_told_for_ever_and_never_closed() -> None:
    stage, _, wire = proxy()
    for _ in range(600):
        speak(wire)
        stage.wait(SECOND // 15)
    assert wire.open and stage.core.counters["client.throttled"] > 100


def test_one_client_does_not_use_up_the_bound_of_another() -> None:
    stage, friend, wire = proxy()
    for _ in range(21):
        speak(wire)
    other = stage.accept(FAR)
    other.hello(HelloRole.CLIENT)
    envelope = FAR.seal(MESSAGE, NodeAddress(FRIEND.name), b"x", proxy=stage.name)
    assert other.routed(envelope).envelopes(friend, MESSAGE) != []


def test_joiner_has_no_bound() -> None:
    stage, _ = Stage.among(FRIEND, limits=FEW)
    wire = stage.accept(CLIENT)
    (admit,) = wire.hello(HelloRole.JOIN).frames(wire, FrameKind.ADMIT, Admit)
    assert (admit.messages_per_s, admit.bytes_per_s) == (0, 0)
    request = CLIENT.request(stage.name, proxy=stage.name)
    for route in range(8):
        assert (
            throttled(wire.routed(CLIENT.asks(request, proxy=stage.name, route=route)), wire) == []
        )


# -- the client


def client(messages: int = 10, size: int = 20_000) -> tuple[Stage, Wire]:
    stage = Stage(contacts=[FRIEND.address], client=True)
    stage.start()
    wire = stage.connect(FRIEND)
    wire.say(FrameKind.ADMIT, Admit(FRIEND.name, "127.0.0.1", messages, size))
    return stage, wire


def submit(
    stage: Stage,
    kind: MessageKind = MESSAGE,
    *,
    to: Address | None = None,
    payload: bytes = b"x",
    acknowledged: bool = True,
    asked: bytes = b"",
) -> Said:
    to = to or NodeAddress(FAR.name)
    fact = Submitted(7, kind, to, payload, asked, False, 60 * SECOND, False, acknowledged)
    return stage.hear(fact)


def ids(said: Said, wire: Wire, kind: MessageKind = MESSAGE) -> list[bytes]:
    return [opened(Signed, each.signed).id for each in said.envelopes(wire, kind)]


def test_client_keeps_its_bound_by_itself_and_says_how_long_to_wait() -> None:
    stage, wire = client()
    for _ in range(10):
        assert submit(stage, acknowledged=False).of(Failed) == []
    (failed,) = submit(stage).of(Failed)
    assert failed.reason == "throttled: our proxy allows no more now; wait 100 ms"
    (failed,) = submit(stage, to=NodeAddress(FRIEND.name)).of(Failed)
    assert failed.reason.startswith("throttled"), "straight to the proxy as well"
    assert stage.core.throttling.must_wait(1, stage.now) == SECOND // 10
    stage.wait(SECOND // 10)
    assert len(ids(submit(stage), wire)) == 1


def test_client_of_a_proxy_that_names_no_bound_has_none() -> None:
    stage, wire = client(0, 0)
    for _ in range(200):
        assert len(ids(submit(stage, acknowledged=False), wire)) == 1


def test_reply_waits_its_turn_and_leaves_by_itself() -> None:
    stage, wire = client()
    for _ in range(10):
        submit(stage, acknowledged=False)
    said = submit(stage, REPLY, asked=bytes(16))
    assert said.of(Failed) == [] and ids(said, wire, REPLY) == []
    assert ids(stage.wait(SECOND // 10 - 1), wire, REPLY) == []
    assert len(ids(stage.wait(1), wire, REPLY)) == 1


def test_reply_to_the_proxy_itself_waits_too() -> None:
    stage, wire = client()
    for _ in range(10):
        submit(stage, acknowledged=False)
    said = submit(stage, REPLY, to=NodeAddress(FRIEND.name), asked=bytes(16))
    assert said.bodies(wire, FrameKind.DIRECT) == []
    assert len(ids(stage.wait(SECOND // 10), wire, REPLY)) == 1, "routed: it is acknowledged"


def test_copies_that_are_sent_again_are_paid_for_too() -> None:
    stage, wire = client(messages=1)
    assert len(ids(submit(stage), wire)) == 1
    stage.wait(SECOND - 1)
    assert stage.core.throttling.must_wait(1, stage.now) > 0
    assert len(ids(stage.wait(1), wire)) == 1
    assert stage.core.throttling.must_wait(1, stage.now) == SECOND


def test_acknowledged_message_that_the_proxy_puts_off_leaves_again_under_the_same_route() -> None:
    stage, wire = client()
    (first,) = submit(stage).envelopes(wire, MESSAGE)
    message_id = opened(Signed, first.signed).id
    wire.say(FrameKind.THROTTLED, Throttled(message_id, 300))
    assert stage.wait(300 * SECOND // 1_000 - 1).envelopes(wire, MESSAGE) == []
    assert stage.wait(1).envelopes(wire, MESSAGE) == [first]
    assert stage.core.delivery.underway[message_id].envelope.route == 0


def test_message_put_off_for_ever_fails_in_the_end() -> None:
    stage, wire = client()
    (message_id,) = ids(submit(stage), wire)
    said = Said()
    for _ in range(20):
        said.extend(wire.say(FrameKind.THROTTLED, Throttled(message_id, 2**32 - 1)))
        said.extend(stage.wait(10 * SECOND))
    (failed,) = said.of(Failed)
    assert failed == Failed(7, "throttled: our proxy has put the message off 8 times")


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST])
def test_what_is_not_acknowledged_is_reported_when_the_proxy_did_not_pass_it_on(
    kind: MessageKind,
) -> None:
    stage, wire = client()
    to: Address = NodeAddress(FAR.name) if kind is MESSAGE else GroupAddress(bytes(32))
    (message_id,) = ids(submit(stage, kind, to=to, acknowledged=False), wire, kind)
    (failed,) = wire.say(FrameKind.THROTTLED, Throttled(message_id, 40)).of(Failed)
    assert failed == Failed(7, "throttled: our proxy has not passed it on; wait 40 ms")
    assert stage.core.messaging.pending == {}


def test_direct_message_that_the_proxy_did_not_take_is_sent_again_routed() -> None:
    stage, wire = client()
    said = submit(stage, REQUEST, to=NodeAddress(FRIEND.name))
    (direct,) = said.frames(wire, FrameKind.DIRECT, Direct)
    (ping,) = stage.wait(SECOND // 50).frames(wire, FrameKind.PING, Ping)
    assert wire.say(FrameKind.THROTTLED, Throttled(direct.id, 40)) == []
    wire.say(FrameKind.PONG, ping)
    assert ids(stage.wait(SECOND // 25), wire, REQUEST) == [direct.id], "not taken, in spite of it"


def test_direct_message_to_be_sent_once_fails_if_the_proxy_did_not_take_it() -> None:
    stage, wire = client()
    said = submit(stage, to=NodeAddress(FRIEND.name), acknowledged=False)
    (direct,) = said.frames(wire, FrameKind.DIRECT, Direct)
    (failed,) = wire.say(FrameKind.THROTTLED, Throttled(direct.id, 40)).of(Failed)
    assert failed.reason.startswith("throttled")


def test_throttled_about_nothing_of_ours_is_counted() -> None:
    stage, wire = client()
    assert wire.say(FrameKind.THROTTLED, Throttled(bytes(16), 40)) == []
    assert stage.core.counters["throttled.unasked"] == 1


def test_parts_of_a_large_message_keep_the_bound() -> None:
    limits = Limits().but(part_bytes=10_000, payload_bytes_max=15_000, parts_max=8_192)
    stage = Stage(contacts=[FRIEND.address], client=True, limits=limits)
    stage.start()
    wire = stage.connect(FRIEND)
    wire.say(FrameKind.ADMIT, Admit(FRIEND.name, "127.0.0.1", 100, 20_000))
    there, parts = ClientAddress(FRIEND.name, stage.core.key), 0
    said = submit(stage, payload=bytes(100_000))
    began = stage.now
    while parts < 10:
        for message_id in ids(said, wire, MessageKind.PART):
            parts += 1
            body = Acknowledged(message_id)
            said.extend(wire.routed(FAR.seal(MessageKind.ACKNOWLEDGED, there, body)))
        said = stage.wait(SECOND // 100)
    assert 3 * SECOND < stage.now - began < 6 * SECOND, "100,000 bytes at 20,000 a second"


def test_client_is_refused_lists_beyond_its_allowance_as_one() -> None:
    stage, wire = client()
    to = NodeAddress(FAR.name)
    said = stage.hear(SubmittedMany(7, to, [b"x"] * 10, True))
    assert len(said.envelopes(wire, MessageKind.MESSAGES)) == 1
    said = stage.hear(SubmittedMany(20, to, [b"x"] * 5, True))
    assert said.envelopes(wire, MessageKind.MESSAGES) == []
    reason = "throttled: our proxy allows no more now; wait 500 ms"
    assert said.of(Failed) == [Failed(20, reason)]
    stage.wait(SECOND // 2)
    said = stage.hear(SubmittedMany(20, to, [b"x"] * 5, False))
    assert len(said.envelopes(wire, MessageKind.MESSAGES)) == 1 and said.of(Failed) == []


def test_list_that_the_proxy_has_put_off_leaves_again_or_fails_each() -> None:
    stage, wire = client()
    to = NodeAddress(FAR.name)
    said = stage.hear(SubmittedMany(7, to, [b"x"] * 3, True))
    (first,) = said.envelopes(wire, MessageKind.MESSAGES)
    kept = opened(Signed, first.signed).id
    wire.say(FrameKind.THROTTLED, Throttled(kept, 100))
    (again,) = stage.wait(SECOND // 5).envelopes(wire, MessageKind.MESSAGES)
    assert again == first
    said = stage.hear(SubmittedMany(20, to, [b"x"] * 3, False))
    (once,) = said.envelopes(wire, MessageKind.MESSAGES)
    said = wire.say(FrameKind.THROTTLED, Throttled(opened(Signed, once.signed).id, 100))
    assert [each.reference for each in said.of(Failed)] == [20, 21, 22]
