"""The way of a routed message: passed on once, consumed once, verified, never silently dropped."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.actions import Deliver, Send
from routing.bodies import FindGroup, GroupIs, Unroutable
from routing.errors import CloseCode
from routing.events import Proof
from routing.inputs import Submitted
from routing.limits import ROUTES_MAX, SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
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
    ViaAddress,
)
from routing.names import closer, nearest
from routing.state import JOINER_KINDS, LinkRole
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, THREE = Person(1), Person(2), Person(3)
FAR = Person(50)
ONE_MORE = Person(60)
MESSAGE = MessageKind.MESSAGE


def among(*persons: Person) -> tuple[Stage, list[Wire]]:
    return Stage.among(*(persons or (ONE, TWO, THREE)))


def carried(said: Said, wire: Wire) -> list[Envelope]:
    return said.frames(wire, FrameKind.ROUTED, Envelope)


def near(person: Person) -> bytes:
    """Return a name that is nobody's, right beside that of a person."""
    return bytes([*person.name[:31], person.name[31] ^ 1])


# -- passing on


def test_message_goes_on_to_the_entry_of_exactly_that_name() -> None:
    stage, (one, two, _) = among()
    envelope = ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text")
    said = one.routed(envelope)
    assert carried(said, two) == [structs.replace(envelope, hops=1)]
    assert stage.core.counters["routed.forwarded"] == 1


def test_message_goes_on_to_the_entry_nearest_to_a_name_it_does_not_know() -> None:
    _, (one, two, _) = among()
    said = one.routed(ONE.seal(MESSAGE, NodeAddress(near(TWO)), b"text"))
    assert len(carried(said, two)) == 1


def test_relay_does_not_touch_what_is_signed_nor_check_its_signature() -> None:
    stage, (one, two, _) = among()
    forged = structs.replace(ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text"), signature=bytes(64))
    (onward,) = carried(one.routed(forged), two)
    assert (onward.signed, onward.signature) == (forged.signed, forged.signature)
    assert "routed.forged" not in stage.core.counters


def test_second_copy_of_a_message_on_the_same_route_is_not_passed_on() -> None:
    stage, (one, _, three) = among()
    envelope = ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text")
    one.routed(envelope)
    for wire in (one, three):
        assert wire.routed(structs.replace(envelope, hops=5)) == []
    assert stage.core.counters["routed.duplicate"] == 2


def test_retry_on_another_route_is_passed_on() -> None:
    _, (one, two, _) = among()
    envelope = ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text")
    one.routed(envelope)
    said = one.routed(structs.replace(envelope, route=1))
    assert [each.route for each in carried(said, two)] == [1]


def test_other_content_under_the_same_id_is_passed_on() -> None:
    _, (one, two, _) = among()
    chosen = bytes(16)
    one.routed(THREE.seal(MESSAGE, NodeAddress(TWO.name), b"first come", message_id=chosen))
    said = one.routed(ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text", message_id=chosen))
    assert len(carried(said, two)) == 1, "a stranger cannot use up an id"


@pytest.mark.parametrize("route", range(10))
def test_route_numbers_above_seven_close(route: int) -> None:
    stage, (one, two, _) = among()
    said = one.routed(ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text", route=route))
    if route < 8:
        assert len(carried(said, two)) == 1 and one.open
    else:
        assert said.closed(one) is CloseCode.BAD_FRAME and carried(said, two) == []
        assert stage.core.counters["envelope.route"] == 1


def test_message_beyond_32_hops_ends_and_its_source_is_told() -> None:
    _, (one, two, _) = among()
    last = ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text", hops=30)
    assert [each.hops for each in carried(one.routed(last), two)] == [31]
    beyond = ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text", hops=31)
    said = one.routed(beyond)
    assert carried(said, two) == []
    told = said.messages(one, MessageKind.UNROUTABLE, Unroutable)
    assert told == [Unroutable(opened(Signed, beyond.signed).id)]


@pytest.mark.parametrize("hops", [32, 33, 255])
def test_hop_number_that_no_relay_gives_closes(hops: int) -> None:
    stage, (one, two, _) = among()
    said = one.routed(ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text", hops=hops))
    assert carried(said, two) == []
    if hops == 32:
        assert one.open and stage.core.counters["routed.hops"] == 1
    else:
        assert said.closed(one) is CloseCode.BAD_FRAME
        assert stage.core.counters["envelope.hops"] == 1


def test_flood_over_one_connection_leaves_what_others_brought_remembered() -> None:
    stage, (one, two, three) = Stage.among(
        ONE, TWO, THREE, limits=Limits.recommended().but(message_filter_entries=256)
    )
    honest = ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text")
    assert len(carried(one.routed(honest), two)) == 1
    for _ in range(300):
        three.routed(THREE.seal(MESSAGE, NodeAddress(TWO.name), b"flood"))
    assert carried(one.routed(honest), two) == []
    assert stage.core.relay.seen.held(three.token) <= 256 // 8


@pytest.mark.parametrize("body", [b"", b"rubbish", b"\x94\x00\x00\xc4\x00\xc4\x00"])
def test_malformed_envelope_closes(body: bytes) -> None:
    _, (one, *_) = among()
    assert one.say(FrameKind.ROUTED, body).closed(one) is CloseCode.BAD_FRAME


def test_envelope_around_rubbish_closes() -> None:
    _, (one, *_) = among()
    envelope = Envelope(0, 0, b"rubbish", bytes(64))
    assert one.routed(envelope).closed(one) is CloseCode.BAD_FRAME


def test_peer_closed_for_a_malformed_envelope_leaves_the_table() -> None:
    stage, (one, *_) = among()
    one.say(FrameKind.ROUTED, b"")
    assert ONE.name not in stage.core.table


# -- nobody there


def test_message_for_a_node_that_nobody_knows_is_answered_unroutable() -> None:
    stage, (one, *_) = among()
    own = bytes([*stage.name[:31], stage.name[31] ^ 1])
    envelope = ONE.seal(MESSAGE, NodeAddress(own), b"text")
    said = one.routed(envelope)
    (told,) = said.messages(one, MessageKind.UNROUTABLE, Unroutable)
    assert told.id == opened(Signed, envelope.signed).id
    assert said.of(Deliver) == []


def test_unroutable_about_an_unroutable_is_never_sent() -> None:
    stage, (one, *_) = among()
    own = bytes([*stage.name[:31], stage.name[31] ^ 1])
    said = one.routed(ONE.seal(MessageKind.UNROUTABLE, NodeAddress(own), Unroutable(bytes(16))))
    assert said.of(Send) == []
    assert stage.core.counters["routed.unroutable"] == 1


# -- answers to newcomers


def test_via_address_is_handed_over_by_its_first_hop() -> None:
    stage, (one, two, _) = among()
    said = one.routed(ONE.seal(MESSAGE, ViaAddress(stage.name, TWO.name), b"text"))
    assert len(carried(said, two)) == 1


def test_via_address_goes_by_its_hop_even_past_one_who_holds_the_name() -> None:
    _, (one, two, three) = among()
    said = one.routed(ONE.seal(MESSAGE, ViaAddress(THREE.name, TWO.name), b"text"))
    assert len(carried(said, three)) == 1 and carried(said, two) == []


def test_via_address_goes_towards_its_first_hop_while_the_name_is_unknown() -> None:
    _, (one, two, _) = among()
    said = one.routed(ONE.seal(MESSAGE, ViaAddress(TWO.name, FAR.name), b"text"))
    assert len(carried(said, two)) == 1


def test_first_hop_that_has_lost_the_newcomer_says_unroutable() -> None:
    stage, (one, *_) = among()
    said = one.routed(ONE.seal(MESSAGE, ViaAddress(stage.name, FAR.name), b"text"))
    assert len(said.messages(one, MessageKind.UNROUTABLE, Unroutable)) == 1


def test_via_address_of_ours_is_for_us() -> None:
    stage, (one, *_) = among()
    said = one.routed(ONE.seal(MESSAGE, ViaAddress(TWO.name, stage.name), b"text"))
    assert len(said.of(Deliver)) == 1


@pytest.mark.parametrize("role", [HelloRole.JOIN, HelloRole.CLIENT, HelloRole.FEEL])
def test_client_address_is_handed_to_the_one_that_hangs_on_us(role: HelloRole) -> None:
    stage, (one, *_) = among()
    hanger = stage.accept(FAR)
    hanger.hello(role)
    envelope = ONE.seal(MESSAGE, ClientAddress(stage.name, FAR.key), b"text")
    assert len(carried(one.routed(envelope), hanger)) == 1


def test_client_address_of_a_joiner_that_has_become_a_peer_still_reaches_it() -> None:
    stage, (one, *_) = among()
    peer = stage.befriend(FAR)
    envelope = ONE.seal(MESSAGE, ClientAddress(stage.name, FAR.key), b"text")
    assert len(carried(one.routed(envelope), peer)) == 1


def test_repeats_of_one_that_hangs_on_us_leave_by_different_ways() -> None:
    persons = [Person(number) for number in range(1, 9)]
    stage, wires = Stage.among(*persons)
    nearer = [p for p in persons if closer(FAR.name, p.name, stage.name)]
    assert len(nearer) >= 2, "the persons are chosen so that there is more than one way"
    client = stage.accept(ONE_MORE)
    client.hello(HelloRole.CLIENT)
    ways = nearest(FAR.name, [person.name for person in nearer], len(nearer))
    for route in range(ROUTES_MAX):
        envelope = ONE_MORE.seal(
            MESSAGE, NodeAddress(FAR.name), b"text", proxy=stage.name, message_id=b"i" * 16
        )
        said = client.routed(structs.replace(envelope, route=route))
        taken = [wire.person.name for wire in wires if carried(said, wire)]
        assert taken == [ways[route % len(ways)]]


def test_client_address_of_nobody_is_answered_unroutable() -> None:
    stage, (one, *_) = among()
    said = one.routed(ONE.seal(MESSAGE, ClientAddress(stage.name, FAR.key), b"text"))
    assert len(said.messages(one, MessageKind.UNROUTABLE, Unroutable)) == 1


def test_client_address_at_another_proxy_goes_there() -> None:
    _, (one, two, _) = among()
    said = one.routed(ONE.seal(MESSAGE, ClientAddress(TWO.name, FAR.key), b"text"))
    assert len(carried(said, two)) == 1


# -- consumed


@pytest.mark.parametrize("fault", ["signature", "name", "no origin", "client", "via", "group"])
def test_forged_source_is_not_delivered(fault: str) -> None:
    stage, (one, *_) = among()
    here = NodeAddress(stage.name)
    sources: dict[str, Address] = {
        "name": NodeAddress(TWO.name),
        "client": ClientAddress(ONE.name, TWO.key),
        "via": ViaAddress(ONE.name, ONE.name),
        "group": GroupAddress(ONE.name),
    }
    if fault == "signature":
        envelope = structs.replace(ONE.seal(MESSAGE, here, b"text"), signature=bytes(64))
    elif fault == "no origin":
        envelope = ONE.seal(MESSAGE, here, b"text", origin=b"")
    else:
        origin = opened(Signed, ONE.seal(MESSAGE, here, b"").signed).origin
        envelope = ONE.seal(MESSAGE, here, b"text", source=sources[fault], origin=origin)
    said = one.routed(envelope)
    assert said.of(Deliver) == []
    assert stage.core.counters["routed.forged"] == 1
    assert one.open, "the relay that brought it is not to blame"


def test_changed_content_is_not_delivered() -> None:
    stage, (one, *_) = among()
    envelope = ONE.seal(MESSAGE, NodeAddress(stage.name), b"text")
    changed = envelope.signed[:-1] + bytes([envelope.signed[-1] ^ 1])
    assert one.routed(structs.replace(envelope, signed=changed)).of(Deliver) == []


def test_message_of_another_network_is_not_delivered() -> None:
    stage, (one, *_) = among()
    stage.core.tag = b"12345678"
    said = one.routed(ONE.seal(MESSAGE, NodeAddress(stage.name), b"text"))
    assert said.of(Deliver) == [] and stage.core.counters["routed.forged"] == 1


def test_proxy_hands_us_only_what_is_for_our_key() -> None:
    stage, wire = Stage.named(ONE)
    said = wire.routed(TWO.seal(MESSAGE, ClientAddress(ONE.name, TWO.key), b"text"))
    assert said.of(Deliver) == [] and stage.core.counters["routed.not_for_us"] == 1
    wire.routed(TWO.seal(MessageKind.UNROUTABLE, ClientAddress(ONE.name, stage.core.key), b"text"))
    assert stage.core.counters["consumed.unroutable"] == 1


@pytest.mark.parametrize("kind", [MESSAGE, MessageKind.REQUEST, MessageKind.PART])
def test_joiner_takes_no_message_that_it_could_not_acknowledge(kind: MessageKind) -> None:
    """Its proxy would close it for the acknowledgement."""
    stage, wire = Stage.named(ONE)
    here = ClientAddress(ONE.name, stage.core.key)
    said = wire.routed(TWO.seal(kind, here, b"text", flags=ACKNOWLEDGE))
    said += stage.wait(SECOND)
    assert said.of(Deliver) == [] and stage.core.counters["routed.to_joiner"] == 1
    assert {opened(Signed, each.signed).kind for each in carried(said, wire)} <= JOINER_KINDS


def test_who_joins_again_sends_nothing_left_over_that_its_proxy_would_close_it_for() -> None:
    stage, wires = Stage.among(ONE, TWO)
    to = NodeAddress(Person(50).name)
    stage.hear(Submitted(7, MESSAGE, to, b"text", bytes(16), False, SECOND, True))
    for wire in wires:
        wire.lose(CloseCode.IO_ERROR)
    stage.wait(SECOND // 2)
    proxy = next(stage.connect(each) for each in (ONE, TWO) if each.address in stage.said.dials())
    proxy.admit()
    stage.wait(3 * SECOND)
    sent = [opened(Signed, each.signed) for each in carried(stage.said, proxy)]
    assert sent and {each.kind for each in sent} <= JOINER_KINDS
    assert stage.core.counters["send.joining"] >= 1 and len(stage.core.delivery.underway) == 1


# -- groups


def group_of(stage: Stage, wires: list[Wire], target: bytes) -> list[bytes]:
    return nearest(target, [stage.name, *(wire.person.name for wire in wires)], 8)


def own_target(stage: Stage) -> bytes:
    """Return a name to which the stage is the nearest of all."""
    return bytes([*stage.name[:31], stage.name[31] ^ 1])


def test_message_to_a_group_goes_on_until_none_is_nearer() -> None:
    _, (one, two, _) = among()
    said = one.routed(ONE.seal(MESSAGE, GroupAddress(near(TWO)), b"text"))
    assert len(carried(said, two)) == 1 and said.of(Deliver) == []


def test_nearest_member_delivers_and_copies_once_to_each_other_member() -> None:
    persons = [Person(number) for number in range(1, 13)]
    stage, wires = Stage.among(*persons)
    target = own_target(stage)
    said = wires[0].routed(ONE.seal(MESSAGE, GroupAddress(target), b"text"))
    assert len(said.of(Deliver)) == 1
    members = group_of(stage, wires, target)
    for wire in wires:
        copies = said.bodies(wire, FrameKind.GROUP_COPY)
        assert len(copies) == (wire.person.name in members), "once to each member, and no other"


def test_copy_is_delivered_and_never_fanned_out() -> None:
    stage, (one, *_) = among()
    envelope = ONE.seal(MESSAGE, GroupAddress(own_target(stage)), b"text")
    said = one.say(FrameKind.GROUP_COPY, envelope)
    assert len(said.of(Deliver)) == 1 and said.of(Send) == []


def test_copy_that_comes_twice_is_delivered_once() -> None:
    stage, (one, two, _) = among()
    envelope = ONE.seal(MESSAGE, GroupAddress(own_target(stage)), b"text")
    one.say(FrameKind.GROUP_COPY, envelope)
    assert two.say(FrameKind.GROUP_COPY, envelope).of(Deliver) == []
    assert stage.core.counters["message.duplicate"] == 1


@pytest.mark.parametrize("kind", [MessageKind.CONNECT_REQUEST, MessageKind.GROUP_IS])
def test_copy_of_a_kind_that_is_never_copied_closes(kind: MessageKind) -> None:
    stage, (one, *_) = among()
    envelope = ONE.seal(kind, GroupAddress(stage.name), b"")
    assert one.say(FrameKind.GROUP_COPY, envelope).closed(one) is CloseCode.BAD_FRAME


@pytest.mark.parametrize(
    ("route", "hops", "counter"),
    [(8, 0, "envelope.route"), (0, 33, "envelope.hops")],
    ids=["route 8", "33 hops"],
)
def test_copy_with_a_number_that_no_relay_gives_closes(route: int, hops: int, counter: str) -> None:
    stage, (one, *_) = among()
    envelope = TWO.seal(MESSAGE, GroupAddress(stage.name), b"text", route=route, hops=hops)
    said = one.say(FrameKind.GROUP_COPY, envelope)
    assert said.closed(one) is CloseCode.BAD_FRAME and said.of(Deliver) == []
    assert stage.core.counters[counter] == 1


def test_forged_copy_is_not_delivered() -> None:
    stage, (one, *_) = among()
    envelope = structs.replace(
        ONE.seal(MESSAGE, GroupAddress(stage.name), b"text"), signature=bytes(64)
    )
    assert one.say(FrameKind.GROUP_COPY, envelope).of(Deliver) == []


def test_copy_of_a_message_for_one_other_node_is_not_delivered_here() -> None:
    _, (one, *_) = among()
    letter = ONE.seal(MESSAGE, NodeAddress(TWO.name), b"for TWO alone")
    assert one.say(FrameKind.GROUP_COPY, letter).of(Deliver) == []


def test_find_group_leaves_its_asker_out_at_every_hop() -> None:
    _, (one, two) = among(ONE, TWO)
    find = FindGroup(TWO.name, ViaAddress(ONE.name, TWO.name))
    said = one.routed(TWO.seal(MessageKind.FIND_GROUP, GroupAddress(TWO.name), find))
    assert said.envelopes(two, MessageKind.FIND_GROUP) == [], "it does not come straight back"
    answers = [a for wire in (one, two) for a in said.messages(wire, MessageKind.GROUP_IS, GroupIs)]
    onward = said.envelopes(one, MessageKind.FIND_GROUP)
    assert len(answers) + len(onward) == 1


def test_direct_frame_needs_no_signature_for_the_channel_proves_its_source() -> None:
    _, (one, *_) = among()
    said = one.say(FrameKind.DIRECT, Direct(MESSAGE, bytes(16), b"text"))
    (delivered,) = said.of(Deliver)
    assert delivered.message.proof is Proof.CHANNEL
    assert delivered.message.source == NodeAddress(ONE.name)
    assert delivered.message.key == ONE.key


def test_forged_copy_does_not_use_up_the_way_of_the_right_one() -> None:
    _, (one, two, three) = among()
    right = ONE.seal(MESSAGE, NodeAddress(TWO.name), b"text")
    three.routed(structs.replace(right, signature=bytes(64)))
    assert carried(one.routed(right), two) == [structs.replace(right, hops=1)]


def test_seen_messages_are_remembered_for_20_minutes() -> None:
    stage, (one, two, _) = among()
    client = stage.accept(FAR)
    client.hello(HelloRole.CLIENT)
    assert client.role() is LinkRole.CLIENT
    envelope = FAR.seal(MESSAGE, NodeAddress(TWO.name), b"text", proxy=stage.name)
    assert len(carried(client.routed(envelope), two)) == 1
    stage.wait(1_199 * SECOND)
    assert carried(client.routed(envelope), two) == []
    stage.wait(2 * SECOND)
    assert len(carried(client.routed(envelope), two)) == 1
    assert one.open
