"""Messages of the application: once each, answered or failed with a reason, never silence."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.actions import Deliver, Failed, Send
from routing.bodies import Reply, Unroutable
from routing.errors import CloseCode
from routing.events import Message, Proof
from routing.inputs import StopRequested, Submitted, Withdrawn
from routing.limits import SECOND, Limits
from routing.messages import (
    Address,
    ClientAddress,
    Direct,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.requests import token_of
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY


def submit(
    stage: Stage,
    destination: Address,
    kind: MessageKind = MESSAGE,
    *,
    reference: int = 7,
    payload: bytes = b"text",
    reply_to: bytes = b"",
    failed: bool = False,
    seconds: int = 5,
    signed: bool = False,
    token: bytes = b"",
    acknowledged: bool = True,
) -> Said:
    timeout = seconds * SECOND
    return stage.hear(
        Submitted(
            reference,
            kind,
            destination,
            payload,
            reply_to,
            failed,
            timeout,
            signed,
            acknowledged,
            token=token,
        )
    )


def pair() -> tuple[Stage, Wire, Wire]:
    stage, (one, two) = Stage.among(ONE, TWO)
    return stage, one, two


def routed(said: Said, wire: Wire, kind: MessageKind) -> Signed:
    (envelope,) = said.envelopes(wire, kind)
    return opened(Signed, envelope.signed)


def way(stage: Stage, *wires: Wire, said: Said) -> Wire:
    """Return the wire on which a routed message left."""
    (found,) = [wire for wire in wires if said.bodies(wire, FrameKind.ROUTED)]
    assert found.stage is stage
    return found


# -- direct


def test_message_to_a_peer_goes_straight_to_it_unsigned() -> None:
    stage, one, _ = pair()
    said = submit(stage, NodeAddress(ONE.name))
    (direct,) = said.frames(one, FrameKind.DIRECT, Direct)
    assert (direct.kind, direct.payload) == (MESSAGE, b"text")
    assert said.bodies(one, FrameKind.ROUTED) == []


def test_message_to_a_peer_is_signed_and_routed_if_asked_for() -> None:
    stage, one, _ = pair()
    said = submit(stage, NodeAddress(ONE.name), signed=True)
    assert said.bodies(one, FrameKind.DIRECT) == []
    assert routed(said, one, MESSAGE).source == NodeAddress(stage.name)


def test_message_to_ourselves_is_delivered_at_once() -> None:
    stage, _, _ = pair()
    (delivered,) = submit(stage, NodeAddress(stage.name)).of(Deliver)
    assert delivered.message.key == stage.core.key and delivered.message.payload == b"text"


def test_direct_request_is_answered_by_a_direct_reply() -> None:
    stage, one, _ = pair()
    said = submit(stage, NodeAddress(ONE.name), REQUEST)
    (asked,) = said.frames(one, FrameKind.DIRECT, Direct)
    reply = encode(Reply(asked.id, token_of(asked.id, b"text"), False, b"answer"))
    said = one.say(FrameKind.DIRECT, Direct(REPLY, bytes(16), reply))
    assert said.answers() == [(7, b"answer")]


def test_request_that_comes_directly_is_delivered_with_what_a_reply_needs() -> None:
    stage, one, _ = pair()
    said = one.say(FrameKind.DIRECT, Direct(REQUEST, b"i" * 16, b"question"))
    (delivered,) = said.of(Deliver)
    here = NodeAddress(stage.name)
    assert delivered.message == Message(
        NodeAddress(ONE.name),
        here,
        b"question",
        ONE.key,
        Proof.CHANNEL,
        b"i" * 16,
        True,
        token_of(b"i" * 16, b"question"),
    )
    said = submit(
        stage, NodeAddress(ONE.name), REPLY, payload=b"answer", reply_to=b"i" * 16, token=b"t" * 16
    )
    (direct,) = said.frames(one, FrameKind.DIRECT, Direct)
    assert opened(Reply, direct.payload) == Reply(b"i" * 16, b"t" * 16, False, b"answer")


def test_control_message_in_a_direct_frame_closes() -> None:
    _, one, _ = pair()
    said = one.say(FrameKind.DIRECT, Direct(MessageKind.GROUP_IS, bytes(16), b""))
    assert said.closed(one) is CloseCode.BAD_FRAME


def test_direct_messages_have_a_lower_priority_than_control() -> None:
    stage, _, _ = pair()
    (send,) = submit(stage, NodeAddress(ONE.name)).of(Send)
    (ping,) = stage.wait(SECOND // 50).of(Send)
    assert ping.priority == send.priority, "it asks about what went before"
    assert send.priority > 0


# -- routed


def test_message_to_a_stranger_is_signed_and_leaves_by_the_nearest_way() -> None:
    stage, one, two = pair()
    said = submit(stage, NodeAddress(FAR.name))
    signed = routed(said, way(stage, one, two, said=said), MESSAGE)
    assert signed.destination == NodeAddress(FAR.name) and signed.body == b"text"
    assert signed.key == stage.core.key


def test_routed_message_is_delivered_once_for_each_key_and_id() -> None:
    stage, one, two = pair()
    envelope = FAR.seal(MESSAGE, NodeAddress(stage.name), b"text", message_id=b"m" * 16)
    (delivered,) = one.routed(envelope).of(Deliver)
    assert delivered.message.proof is Proof.SIGNATURE and delivered.message.key == FAR.key
    assert two.routed(structs.replace(envelope, route=1)).of(Deliver) == []
    other = TWO.seal(MESSAGE, NodeAddress(stage.name), b"text", message_id=b"m" * 16)
    assert len(two.routed(other).of(Deliver)) == 1, "an id is a source's own"


def test_forged_message_does_not_use_up_the_id_of_the_right_one() -> None:
    stage, one, two = pair()
    right = FAR.seal(MESSAGE, NodeAddress(stage.name), b"text", message_id=b"m" * 16)
    one.routed(structs.replace(right, signature=bytes(64), route=1))
    assert len(two.routed(right).of(Deliver)) == 1


def test_message_sent_again_by_its_source_under_another_id_is_delivered_again() -> None:
    stage, one, _ = pair()
    for _ in range(2):
        said = one.routed(FAR.seal(MESSAGE, NodeAddress(stage.name), b"text"))
        assert len(said.of(Deliver)) == 1


def ask_far(stage: Stage, *wires: Wire, seconds: int = 5) -> tuple[Wire, bytes]:
    """Ask FAR something; return the way it left by and the id of the request."""
    said = submit(stage, NodeAddress(FAR.name), REQUEST, seconds=seconds)
    wire = way(stage, *wires, said=said)
    return wire, routed(said, wire, REQUEST).id


def reply(
    wire: Wire,
    person: Person,
    asked: bytes,
    *,
    failed: bool = False,
    payload: bytes = b"answer",
    token: bytes = b"",
    acknowledged: bool = True,
) -> Said:
    body = Reply(asked, token or token_of(asked, b"text"), failed, payload)
    return wire.routed(person.seal(REPLY, NodeAddress(wire.stage.name), body))


def test_reply_of_the_one_who_was_asked_answers_the_request() -> None:
    stage, one, two = pair()
    wire, asked = ask_far(stage, one, two)
    assert reply(wire, FAR, asked).answers() == [(7, b"answer")]
    assert stage.core.messaging.pending == {}


def test_request_is_answered_once() -> None:
    stage, one, two = pair()
    wire, asked = ask_far(stage, one, two)
    reply(wire, FAR, asked)
    assert reply(wire, FAR, asked).answers() == []
    assert stage.core.counters["reply.unasked"] == 1
    assert stage.wait(10 * SECOND).of(Failed) == []


def test_reply_about_another_request_is_ignored() -> None:
    stage, one, two = pair()
    wire, asked = ask_far(stage, one, two)
    assert reply(wire, FAR, asked, token=token_of(asked, b"another")).answers() == []
    assert stage.core.counters["reply.forged"] == 1
    assert reply(wire, FAR, asked).answers() == [(7, b"answer")]


def test_reply_of_another_is_ignored() -> None:
    stage, one, two = pair()
    wire, asked = ask_far(stage, one, two)
    assert reply(wire, TWO, asked).answers() == []
    assert stage.core.counters["reply.forged"] == 1
    assert reply(wire, FAR, asked).answers() == [(7, b"answer")]


def test_reply_to_nothing_is_ignored() -> None:
    stage, one, _ = pair()
    assert reply(one, FAR, bytes(16)).answers() == []
    assert stage.core.counters["reply.unasked"] == 1


def test_failed_handler_at_the_far_end_fails_the_request_with_its_words() -> None:
    stage, one, two = pair()
    wire, asked = ask_far(stage, one, two)
    said = reply(wire, FAR, asked, failed=True, payload=b"KeyError \xff")
    assert said.of(Failed) == [Failed(7, "handler failed: KeyError \N{REPLACEMENT CHARACTER}")]


def test_request_times_out_when_its_time_is_up() -> None:
    stage, one, two = pair()
    ask_far(stage, one, two, seconds=5)
    assert stage.wait(5 * SECOND - 1).of(Failed) == []
    assert stage.wait(1).of(Failed) == [Failed(7, "timed out")]


def test_withdrawn_request_is_sent_no_more_and_leaves_nothing() -> None:
    stage, one, two = pair()
    wire, asked = ask_far(stage, one, two)
    core = stage.core
    assert stage.hear(Withdrawn(8)) == [] and len(core.messaging.pending) == 1
    assert stage.hear(Withdrawn(7)) == []
    assert core.counters["request.withdrawn"] == 1
    assert core.messaging.pending == {} and core.messaging.asked == {}
    assert core.delivery.underway == {} and ("request", asked) not in core.alarms
    assert reply(wire, FAR, asked).answers() == []
    assert core.counters["reply.unasked"] == 1
    later = stage.wait(300 * SECOND)
    assert later.of(Failed) == [] and all(
        later.envelopes(each, REQUEST) == [] for each in (one, two)
    )


def test_what_has_ended_is_withdrawn_no_more() -> None:
    stage, one, two = pair()
    wire, asked = ask_far(stage, one, two)
    assert len(reply(wire, FAR, asked).answers()) == 1
    assert stage.hear(Withdrawn(7)) == [] and stage.core.messaging.asked == {}
    assert "request.withdrawn" not in stage.core.counters


def test_reply_after_the_time_out_is_ignored() -> None:
    stage, one, two = pair()
    wire, asked = ask_far(stage, one, two)
    stage.wait(5 * SECOND)
    assert reply(wire, FAR, asked).answers() == []


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST])
def test_message_that_ended_nowhere_fails_unroutable(kind: MessageKind) -> None:
    stage, one, two = pair()
    said = submit(stage, NodeAddress(FAR.name), kind)
    wire = way(stage, one, two, said=said)
    told, here = Unroutable(routed(said, wire, kind).id), NodeAddress(stage.name)
    for route in range(4):
        said = wire.routed(TWO.seal(MessageKind.UNROUTABLE, here, told, route=route))
        assert said.of(Failed) == [], "another way may end elsewhere"
    (failed,) = stage.wait(4 * SECOND).of(Failed)
    assert failed == Failed(7, "unroutable: nobody has this name")


def test_message_sent_once_that_ended_nowhere_fails_at_once() -> None:
    stage, one, two = pair()
    said = submit(stage, NodeAddress(FAR.name), acknowledged=False)
    wire = way(stage, one, two, said=said)
    told = Unroutable(routed(said, wire, MESSAGE).id)
    said = wire.routed(TWO.seal(MessageKind.UNROUTABLE, NodeAddress(stage.name), told))
    assert said.of(Failed) == [Failed(7, "unroutable: nobody has this name")]


def test_unroutable_about_what_we_never_sent_is_ignored() -> None:
    stage, one, _ = pair()
    told = Unroutable(bytes(16))
    said = one.routed(TWO.seal(MessageKind.UNROUTABLE, NodeAddress(stage.name), told))
    assert said == []


def test_message_is_told_unroutable_once() -> None:
    stage, one, two = pair()
    said = submit(stage, NodeAddress(FAR.name))
    wire = way(stage, one, two, said=said)
    told = Unroutable(routed(said, wire, MESSAGE).id)
    here = NodeAddress(stage.name)
    failed: list[Failed] = []
    for route in (0, 1, 2, 3, 3, 0):
        failed += wire.routed(TWO.seal(MessageKind.UNROUTABLE, here, told, route=route)).of(Failed)
    failed += stage.wait(30 * SECOND).of(Failed)
    failed += wire.routed(TWO.seal(MessageKind.UNROUTABLE, here, told)).of(Failed)
    assert len(failed) == 1


# -- groups


def test_message_to_our_own_group_is_delivered_here_and_copied_to_the_others() -> None:
    stage, one, two = pair()
    target = bytes([*stage.name[:31], stage.name[31] ^ 1])
    said = submit(stage, GroupAddress(target))
    (delivered,) = said.of(Deliver)
    assert delivered.message.destination == GroupAddress(target)
    for wire in (one, two):
        assert len(said.frames(wire, FrameKind.GROUP_COPY, Envelope)) == 1


def test_message_to_a_group_elsewhere_leaves_towards_it() -> None:
    stage, one, _ = pair()
    target = bytes([*ONE.name[:31], ONE.name[31] ^ 1])
    said = submit(stage, GroupAddress(target))
    assert len(said.envelopes(one, MESSAGE)) == 1 and said.of(Deliver) == []


def test_request_to_a_group_may_be_answered_by_any_node() -> None:
    stage, one, _ = pair()
    target = bytes([*ONE.name[:31], ONE.name[31] ^ 1])
    said = submit(stage, GroupAddress(target), REQUEST)
    asked = routed(said, one, REQUEST).id
    assert reply(one, FAR, asked).answers() == [(7, b"answer")]


def test_request_to_a_group_is_not_answered_by_a_client() -> None:
    stage, one, _ = pair()
    target = bytes([*ONE.name[:31], ONE.name[31] ^ 1])
    said = submit(stage, GroupAddress(target), REQUEST)
    body = Reply(routed(said, one, REQUEST).id, bytes(16), False, b"answer")
    envelope = FAR.seal(REPLY, NodeAddress(stage.name), body, proxy=ONE.name)
    assert one.routed(envelope).answers() == []


# -- clients


def test_client_sends_through_its_proxy_as_its_own_client_address() -> None:
    stage, wire = Stage.admitted(ONE, client=True)
    said = submit(stage, NodeAddress(FAR.name), REQUEST)
    signed = routed(said, wire, REQUEST)
    assert signed.source == ClientAddress(ONE.name, stage.core.key)
    body = Reply(signed.id, token_of(signed.id, b"text"), False, b"answer")
    said = wire.routed(FAR.seal(REPLY, signed.source, body))
    assert said.answers() == [(7, b"answer")]


def test_client_and_its_proxy_talk_directly() -> None:
    stage, wire = Stage.admitted(ONE, client=True)
    said = submit(stage, NodeAddress(ONE.name))
    assert len(said.frames(wire, FrameKind.DIRECT, Direct)) == 1
    said = wire.say(FrameKind.DIRECT, Direct(MESSAGE, bytes(16), b"text"))
    (delivered,) = said.of(Deliver)
    assert delivered.message.source == NodeAddress(ONE.name)
    assert delivered.message.destination == ClientAddress(ONE.name, stage.core.key)


def test_proxy_talks_directly_to_its_client() -> None:
    stage, _, _ = pair()
    client = stage.accept(FAR)
    client.hello(HelloRole.CLIENT)
    said = submit(stage, ClientAddress(stage.name, FAR.key))
    assert len(said.frames(client, FrameKind.DIRECT, Direct)) == 1
    (delivered,) = client.say(FrameKind.DIRECT, Direct(MESSAGE, bytes(16), b"text")).of(Deliver)
    assert delivered.message.source == ClientAddress(stage.name, FAR.key)


def test_message_of_a_client_is_routed_on_for_it() -> None:
    stage, one, _ = pair()
    client = stage.accept(FAR)
    client.hello(HelloRole.CLIENT)
    envelope = FAR.seal(MESSAGE, NodeAddress(ONE.name), b"text", proxy=stage.name)
    assert len(client.routed(envelope).frames(one, FrameKind.ROUTED, Envelope)) == 1


def test_joiner_is_sent_no_direct_message_and_may_send_none() -> None:
    stage, _, _ = pair()
    joiner = stage.accept(FAR)
    joiner.hello(HelloRole.JOIN)
    said = joiner.say(FrameKind.DIRECT, Direct(MESSAGE, bytes(16), b"text"))
    assert said.closed(joiner) is CloseCode.BAD_FRAME


# -- no way out


def test_message_of_a_node_that_is_not_connected_fails_at_once() -> None:
    stage = Stage(contacts=[ONE.address])
    stage.start()
    for kind in (MESSAGE, REQUEST):
        (failed,) = submit(stage, NodeAddress(FAR.name), kind).of(Failed)
        assert failed.reason.startswith("not connected")


def test_message_of_a_lonely_founder_fails_at_once() -> None:
    stage = Stage.founder()
    said = submit(stage, NodeAddress(FAR.name), REQUEST)
    assert [each.reason.partition(":")[0] for each in said.of(Failed)] == ["not connected"]
    assert stage.core.messaging.pending == {}
    assert stage.wait(10 * SECOND).of(Failed) == [], "told once"


def test_request_to_the_group_of_a_lonely_founder_reaches_itself() -> None:
    stage = Stage.founder()
    (delivered,) = submit(stage, GroupAddress(FAR.name), REQUEST).of(Deliver)
    assert delivered.message.request


def test_requests_under_way_fail_when_the_node_stops() -> None:
    stage, one, two = pair()
    ask_far(stage, one, two)
    said = stage.hear(StopRequested())
    assert said.of(Failed) == [Failed(7, "stopped")]
    assert submit(stage, NodeAddress(FAR.name)).of(Failed) == [Failed(7, "stopped")]


def test_request_outlives_the_loss_of_its_way_and_times_out() -> None:
    stage, one, two = pair()
    ask_far(stage, one, two)
    one.lose()
    two.lose()
    assert stage.wait(5 * SECOND).of(Failed) == [Failed(7, "timed out")]


def test_requests_under_way_are_bounded() -> None:
    stage, _ = Stage.among(ONE, limits=Limits().but(consumed_entries=2))
    said = [submit(stage, NodeAddress(FAR.name), REQUEST, reference=n) for n in range(3)]
    assert [each.of(Failed) for each in said[:2]] == [[], []]
    (failed,) = said[2].of(Failed)
    assert failed.reference == 2 and failed.reason.startswith("busy")


def test_malformed_unroutable_is_counted() -> None:
    stage, one, _ = pair()
    here = NodeAddress(stage.name)
    assert one.routed(TWO.seal(MessageKind.UNROUTABLE, here, b"rubbish")) == []
    assert stage.core.counters["unroutable.malformed"] == 1


def test_request_to_a_client_is_answered_by_that_client_alone() -> None:
    stage, one, _ = pair()
    said = submit(stage, ClientAddress(ONE.name, FAR.key), REQUEST)
    asked = routed(said, one, REQUEST).id
    body = Reply(asked, token_of(asked, b"text"), False, b"answer")
    here = NodeAddress(stage.name)
    assert one.routed(TWO.seal(REPLY, here, body, proxy=ONE.name)).answers() == []
    said = one.routed(FAR.seal(REPLY, here, body, proxy=ONE.name))
    assert said.answers() == [(7, b"answer")]
