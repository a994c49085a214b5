"""A client that changes its proxy: it tells who must know, and loses nothing."""

from __future__ import annotations

import pytest

from routing.actions import Deliver, Failed
from routing.bodies import Acknowledged, Moved, Reply, Unroutable
from routing.core import Core
from routing.errors import CloseCode
from routing.inputs import ReadingHeld, Submitted
from routing.limits import SECOND, Limits, Nanos
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    ClientAddress,
    Direct,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Ping,
    Signed,
    encode,
)
from routing.names import short
from routing.requests import token_of
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

FRIEND, CLIENT, NEW, STRANGER, FAR = (Person(number) for number in (1, 2, 3, 4, 50))
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY
MOVED, FORWARDED, UNROUTABLE = MessageKind.MOVED, MessageKind.FORWARDED, MessageKind.UNROUTABLE
ACKNOWLEDGED = MessageKind.ACKNOWLEDGED
HOLD = Limits().client_hold_ns


def client(*others: Person, limits: Limits | None = None) -> tuple[Stage, Wire]:
    """Return a client that hangs on FRIEND and knows the others."""
    contacts = [each.address for each in (FRIEND, *others)]
    stage = Stage(contacts=contacts, client=True, limits=limits)
    stage.start()
    return stage, hang(stage, FRIEND)


def hang(stage: Stage, person: Person) -> Wire:
    """Let a person be the first that admits the client."""
    for _ in range(100):
        under_way = {each.endpoint: number for number, each in stage.dialling.items()}
        if person.address in under_way and under_way[person.address] not in stage.cancelled:
            break
        for number in list(stage.dialling):
            stage.fail(number)
        stage.wait(SECOND // 4)
    wire = stage.connect(person)
    wire.opening.extend(wire.admit())
    assert stage.core.moving.proxy == person.name, short(person.name)
    return wire


def move(stage: Stage, wire: Wire, to: Person) -> Wire:
    wire.lose()
    return hang(stage, to)


def submit(
    stage: Stage, kind: MessageKind = MESSAGE, to: Address | None = None, *, payload: bytes = b"x"
) -> Said:
    to = to or NodeAddress(FAR.name)
    return stage.hear(Submitted(7, kind, to, payload, b"", False, 600 * SECOND, False))


def passing(stage: Stage, wire: Wire, seconds: int) -> Said:
    """Let time pass; the proxy of the client answers when it is asked whether it is there."""
    said = Said()
    for _ in range(seconds):
        said.extend(stage.wait(SECOND))
        for ping in said.frames(wire, FrameKind.PING, Ping)[-1:]:
            wire.say(FrameKind.PONG, ping)
    return said


def announced(said: Said, wire: Wire) -> list[tuple[Address, bytes]]:
    found = [opened(Signed, each.signed) for each in said.envelopes(wire, MOVED)]
    return [(each.destination, opened(Moved, each.body).proxy) for each in found]


def test_client_tells_the_proxy_it_has_left_where_it_is_signed_and_acknowledged() -> None:
    stage, wire = client(NEW)
    now = move(stage, wire, NEW)
    (envelope,) = now.opening.envelopes(now, MOVED)
    signed = opened(Signed, envelope.signed)
    assert signed.source == ClientAddress(NEW.name, stage.core.key)
    assert (signed.destination, signed.flags) == (NodeAddress(FRIEND.name), ACKNOWLEDGE)
    there = ClientAddress(NEW.name, stage.core.key)
    now.routed(FRIEND.seal(ACKNOWLEDGED, there, Acknowledged(signed.id)))
    assert stage.core.moving.announced == {} and stage.core.delivery.underway == {}
    assert stage.wait(60 * SECOND).envelopes(now, MOVED) == []


def test_client_that_moves_twice_tells_both() -> None:
    stage, wire = client(NEW, STRANGER)
    now = move(stage, move(stage, wire, NEW), STRANGER)
    assert announced(now.opening, now) == [
        (NodeAddress(FRIEND.name), STRANGER.name),
        (NodeAddress(NEW.name), STRANGER.name),
    ]


def test_client_that_comes_back_tells_only_where_it_was_meanwhile() -> None:
    stage, wire = client(NEW)
    now = move(stage, move(stage, wire, NEW), FRIEND)
    assert announced(now.opening, now) == [(NodeAddress(NEW.name), FRIEND.name)]


def test_client_whose_old_proxy_admits_it_again_tells_nobody() -> None:
    stage, wire = client()
    now = move(stage, wire, FRIEND)
    assert announced(now.opening, now) == [] and stage.core.moving.left == {}


def test_proxies_left_long_ago_are_told_no_more_and_there_are_few() -> None:
    people = [Person(100 + number) for number in range(12)]
    stage, wire = client(*people)
    stage.wait(400 * SECOND)
    for person in people:
        wire = move(stage, wire, person)
    assert len(announced(wire.opening, wire)) == 8
    passing(stage, wire, 301)
    wire = move(stage, wire, FRIEND)
    assert announced(wire.opening, wire) == [(NodeAddress(people[-1].name), FRIEND.name)]


def test_old_proxy_that_is_gone_is_nobodys_failure() -> None:
    stage, wire = client(NEW)
    now = move(stage, wire, NEW)
    assert passing(stage, now, 120).of(Failed) == []
    assert stage.core.counters["moved.unheard"] == 1
    assert stage.core.moving.announced == {} and stage.core.delivery.underway == {}
    now = move(stage, now, FRIEND)
    (envelope,) = now.opening.envelopes(now, MOVED)
    there = ClientAddress(FRIEND.name, stage.core.key)
    body = Unroutable(opened(Signed, envelope.signed).id)
    assert now.routed(FAR.seal(UNROUTABLE, there, body)).of(Failed) == []


def test_message_under_way_leaves_again_from_the_new_address_under_the_same_id() -> None:
    stage, wire = client(NEW)
    (first,) = submit(stage).envelopes(wire, MESSAGE)
    now = move(stage, wire, NEW)
    (again,) = stage.wait(1).envelopes(now, MESSAGE)
    before, after = opened(Signed, first.signed), opened(Signed, again.signed)
    assert (after.id, after.body, after.destination) == (before.id, b"x", before.destination)
    assert after.source == ClientAddress(NEW.name, stage.core.key) != before.source
    assert again.route == 0
    there = ClientAddress(NEW.name, stage.core.key)
    now.routed(FAR.seal(ACKNOWLEDGED, there, Acknowledged(after.id)))
    assert stage.core.delivery.underway.keys() == stage.core.moving.announced.keys()


def test_request_that_has_arrived_is_asked_again_from_the_new_address() -> None:
    stage, wire = client(NEW)
    (first,) = submit(stage, REQUEST).envelopes(wire, REQUEST)
    asked = opened(Signed, first.signed).id
    here = ClientAddress(FRIEND.name, stage.core.key)
    wire.routed(FAR.seal(ACKNOWLEDGED, here, Acknowledged(asked)))
    now = move(stage, wire, NEW)
    (again,) = stage.wait(1).envelopes(now, REQUEST)
    assert opened(Signed, again.signed).id == asked
    there = ClientAddress(NEW.name, stage.core.key)
    reply = Reply(asked, token_of(asked, b"x"), False, b"answer")
    assert now.routed(FAR.seal(REPLY, there, reply)).answers() == [(7, b"answer")]
    assert stage.core.moving.asked == {} and stage.core.moving.asked_bytes == 0


def test_request_to_a_group_is_asked_again_at_once() -> None:
    stage, wire = client(NEW)
    (first,) = submit(stage, REQUEST, GroupAddress(bytes(32))).envelopes(wire, REQUEST)
    now = move(stage, wire, NEW)
    (again,) = stage.wait(1).envelopes(now, REQUEST)
    assert opened(Signed, again.signed).id == opened(Signed, first.signed).id


def test_request_that_was_answered_is_not_asked_again() -> None:
    stage, wire = client(NEW)
    (first,) = submit(stage, REQUEST).envelopes(wire, REQUEST)
    asked = opened(Signed, first.signed).id
    here = ClientAddress(FRIEND.name, stage.core.key)
    wire.routed(FAR.seal(REPLY, here, Reply(asked, token_of(asked, b"x"), False, b"answer")))
    now = move(stage, wire, NEW)
    assert now.opening.envelopes(now, REQUEST) == stage.wait(60 * SECOND).envelopes(now, REQUEST)


def test_direct_request_to_the_old_proxy_is_asked_again_from_the_new_address() -> None:
    stage, wire = client(NEW)
    said = submit(stage, REQUEST, NodeAddress(FRIEND.name))
    (direct,) = said.frames(wire, FrameKind.DIRECT, Direct)
    now = move(stage, wire, NEW)
    (again,) = stage.wait(SECOND - 1).envelopes(now, REQUEST)
    signed = opened(Signed, again.signed)
    assert (signed.id, signed.destination) == (direct.id, NodeAddress(FRIEND.name))
    assert signed.source == ClientAddress(NEW.name, stage.core.key)


def test_no_more_requests_are_kept_than_may_be_unacknowledged() -> None:
    limits = Limits().but(
        unacknowledged_bytes=2_000, payload_bytes_max=1_000, part_bytes=1_000, parts_max=32_768
    )
    stage, _ = client(NEW, limits=limits)
    to, asked = GroupAddress(bytes(32)), bytes(600)
    for _ in range(4):
        stage.hear(Submitted(7, REQUEST, to, asked, b"", False, SECOND, False, acknowledged=False))
    assert len(stage.core.moving.asked) == 2
    assert stage.core.counters["request.not_kept"] == 2


def wrap(stage: Stage, inner: Envelope, old: Person = FRIEND) -> Envelope:
    there = ClientAddress(NEW.name, stage.core.key)
    return old.seal(FORWARDED, there, encode(inner))


def test_client_takes_what_its_old_proxy_passes_on_and_acknowledges_it_itself() -> None:
    stage, wire = client(NEW)
    now = move(stage, wire, NEW)
    old = ClientAddress(FRIEND.name, stage.core.key)
    inner = FAR.seal(MESSAGE, old, b"late", flags=ACKNOWLEDGE)
    said = now.routed(wrap(stage, inner))
    (delivered,) = said.of(Deliver)
    assert (delivered.message.payload, delivered.message.key) == (b"late", FAR.key)
    assert delivered.message.source == NodeAddress(FAR.name)
    (answer,) = stage.wait(SECOND // 100).envelopes(now, ACKNOWLEDGED)
    assert opened(Signed, answer.signed).source == ClientAddress(NEW.name, stage.core.key)
    assert now.routed(wrap(stage, inner)).of(Deliver) == [], "once"


def test_reply_to_the_old_address_answers_the_request() -> None:
    stage, wire = client(NEW)
    (first,) = submit(stage, REQUEST).envelopes(wire, REQUEST)
    asked = opened(Signed, first.signed).id
    now = move(stage, wire, NEW)
    old = ClientAddress(FRIEND.name, stage.core.key)
    inner = FAR.seal(REPLY, old, Reply(asked, token_of(asked, b"x"), False, b"answer"))
    assert now.routed(wrap(stage, inner)).answers() == [(7, b"answer")]


@pytest.mark.parametrize(
    ("fault", "counter"),
    [
        ("by a stranger", "forwarded.stranger"),
        ("for another", "forwarded.malformed"),
        ("not for the old address", "forwarded.malformed"),
        ("no envelope", "forwarded.malformed"),
        ("passed on twice", "forwarded.twice"),
        ("altered", "routed.forged"),
        ("route 8", "envelope.route"),
        ("33 hops", "envelope.hops"),
    ],
)
def test_what_an_old_proxy_must_not_pass_on_is_not_taken(fault: str, counter: str) -> None:
    stage, wire = client(NEW)
    now = move(stage, wire, NEW)
    old = ClientAddress(FRIEND.name, stage.core.key)
    right = FAR.seal(MESSAGE, old, b"text")
    there = ClientAddress(NEW.name, stage.core.key)
    other = ClientAddress(FRIEND.name, STRANGER.key)
    envelope = {
        "by a stranger": wrap(stage, right, STRANGER),
        "for another": wrap(stage, FAR.seal(MESSAGE, other, b"text")),
        "not for the old address": wrap(stage, FAR.seal(MESSAGE, there, b"text")),
        "no envelope": FRIEND.seal(FORWARDED, there, b"text"),
        "passed on twice": wrap(stage, FRIEND.seal(FORWARDED, old, encode(right))),
        "altered": wrap(stage, Envelope(0, 0, right.signed, bytes(64))),
        "route 8": wrap(stage, Envelope(0, 8, right.signed, right.signature)),
        "33 hops": wrap(stage, Envelope(33, 0, right.signed, right.signature)),
    }[fault]
    assert now.routed(envelope).of(Deliver) == []
    assert stage.core.counters[counter] == 1


def test_client_takes_nothing_from_its_old_proxy_after_five_minutes() -> None:
    stage, wire = client(NEW)
    now = move(stage, wire, NEW)
    passing(stage, now, 300)
    old = ClientAddress(FRIEND.name, stage.core.key)
    assert now.routed(wrap(stage, FAR.seal(MESSAGE, old, b"text"))).of(Deliver) == []
    assert stage.core.counters["forwarded.stranger"] == 1


def test_node_that_is_sent_what_was_passed_on_does_not_take_it() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    inner = FAR.seal(MESSAGE, NodeAddress(stage.name), b"text")
    assert friend.routed(FRIEND.seal(FORWARDED, NodeAddress(stage.name), encode(inner))) == []
    assert stage.core.counters["forwarded.stranger"] == 1


# -- a client whose proxy is silent


def unacknowledged(stage: Stage, wire: Wire) -> list[Ping]:
    """Let a message of the client go unacknowledged; return what its proxy is asked."""
    submit(stage)
    return stage.wait(SECOND).frames(wire, FrameKind.PING, Ping)


def test_proxy_that_answers_when_a_message_is_not_acknowledged_is_kept() -> None:
    stage, wire = client(NEW)
    (ping,) = unacknowledged(stage, wire)
    wire.say(FrameKind.PONG, Ping(ping.nonce))
    assert stage.wait(SECOND).closed(wire) is None
    assert wire.open and stage.core.counters["proxy.suspected"] == 1


def test_proxy_that_does_not_answer_is_left_and_the_message_leaves_by_another() -> None:
    stage, wire = client(NEW)
    unacknowledged(stage, wire)
    assert stage.wait(2 * SECOND).closed(wire) is CloseCode.SILENT
    now = hang(stage, NEW)
    assert len(stage.wait(1).envelopes(now, MESSAGE)) == 1
    assert stage.now < 10 * SECOND, "long before its silence would have been noticed"


def test_proxy_is_not_called_silent_while_nothing_is_read() -> None:
    stage, wire = client(NEW)
    stage.hear(ReadingHeld(True))
    unacknowledged(stage, wire)
    assert stage.wait(2 * SECOND).closed(wire) is None
    assert stage.core.counters["proxy.unread"] == 1
    stage.hear(ReadingHeld(False))
    assert stage.wait(8 * SECOND).closed(wire) is CloseCode.SILENT


def test_question_to_a_proxy_that_was_lost_does_not_harm_the_next() -> None:
    stage, wire = client(NEW)
    unacknowledged(stage, wire)
    wire.lose()
    now = hang(stage, NEW)
    for message_id in [*stage.core.delivery.underway]:
        stage.core.delivery.forget(message_id)
    stage.core.moving.announced.clear()
    assert stage.wait(10 * SECOND).closed(now) is None and now.open


# -- kept in a snapshot


def same_after_restoring(stage: Stage, seconds: int) -> None:
    """A core restored in this moment does the same with time as the one it was taken from."""
    other = Core(stage.core.config)
    other.restore(stage.core.snapshot())
    assert other.digest() == stage.core.digest()
    end = stage.now + seconds * SECOND
    while (due := stage.core.next_deadline()) is not None and due <= end:
        assert other.next_deadline() == due
        for core in (stage.core, other):
            core.on_deadline(Nanos(due))
        assert other.take_actions() == stage.core.take_actions()
    other.check()
    assert other.digest() == stage.core.digest()


def test_client_restored_just_after_its_move_goes_on_the_same() -> None:
    stage, wire = client(NEW)
    submit(stage)
    submit(stage, REQUEST)
    submit(stage, REQUEST, GroupAddress(bytes(32)))
    move(stage, wire, NEW)
    assert stage.core.moving.asked and stage.core.moving.announced and stage.core.moving.left
    same_after_restoring(stage, 60)
