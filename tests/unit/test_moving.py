"""A client that changes its proxy: believed by its key alone, reached, and never in a loop."""

from __future__ import annotations

import pytest

from routing.actions import Send
from routing.bodies import Moved, Unroutable
from routing.core import Core
from routing.errors import CloseCode
from routing.inputs import StopRequested, Submitted
from routing.limits import SECOND, Limits, Nanos
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    ClientAddress,
    Envelope,
    FrameKind,
    HelloRole,
    MessageKind,
    NodeAddress,
    Ping,
    Signed,
    encode,
)
from routing.state import LinkRole
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

FRIEND, CLIENT, NEW, STRANGER, FAR = (Person(number) for number in (1, 2, 3, 4, 50))
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY
MOVED, FORWARDED, UNROUTABLE = MessageKind.MOVED, MessageKind.FORWARDED, MessageKind.UNROUTABLE
ACKNOWLEDGED = MessageKind.ACKNOWLEDGED
HOLD = Limits().client_hold_ns


# -- the proxy that a client has left


def proxy(limits: Limits | None = None) -> tuple[Stage, Wire, Wire]:
    """Return a proxy, its connection to a friend, and that of a client."""
    stage, (friend,) = Stage.among(FRIEND, limits=limits)
    wire = stage.accept(CLIENT)
    wire.hello(HelloRole.CLIENT)
    return stage, friend, wire


def left(limits: Limits | None = None) -> tuple[Stage, Wire]:
    stage, friend, wire = proxy(limits)
    wire.lose()
    return stage, friend


def text_for(stage: Stage, person: Person = CLIENT, body: bytes = b"text") -> Envelope:
    return FAR.seal(MESSAGE, ClientAddress(stage.name, person.key), body)


def moved(
    friend: Wire,
    person: Person = CLIENT,
    to: bytes = NEW.name,
    *,
    source: bytes = b"",
    message_id: bytes = b"",
) -> Said:
    """Let a client say, by way of the friend, that it hangs on `to` now."""
    here = NodeAddress(friend.stage.name)
    envelope = person.seal(
        MOVED, here, Moved(to), proxy=source or to, flags=ACKNOWLEDGE, message_id=message_id
    )
    return friend.routed(envelope)


def forwarded(said: Said, wire: Wire) -> list[tuple[Address, Envelope]]:
    """Return what was passed on: to where, and what came."""
    outer = [opened(Signed, each.signed) for each in said.envelopes(wire, FORWARDED)]
    return [(each.destination, opened(Envelope, each.body)) for each in outer]


THERE = ClientAddress(NEW.name, CLIENT.key)


def test_what_comes_for_a_client_that_has_moved_is_passed_on_as_it_came() -> None:
    stage, friend = left()
    said = moved(friend)
    assert len(said.envelopes(friend, ACKNOWLEDGED)) == 1
    envelope = text_for(stage)
    assert forwarded(friend.routed(envelope), friend) == [(THERE, envelope)]
    assert stage.core.counters["forwarded.sent"] == 1


def test_what_comes_before_the_client_has_said_where_it_is_is_held_and_follows_it() -> None:
    stage, friend = left()
    envelopes = [text_for(stage, body=bytes((number,))) for number in range(3)]
    for envelope in envelopes:
        assert friend.routed(envelope) == []
    assert forwarded(moved(friend), friend) == [(THERE, each) for each in envelopes]
    assert stage.core.moving.bytes == 0


def test_what_was_held_is_delivered_when_the_client_comes_back() -> None:
    stage, friend = left()
    envelope = text_for(stage)
    friend.routed(envelope)
    wire = stage.accept(CLIENT)
    said = wire.hello(HelloRole.CLIENT)
    (found,) = said.envelopes(wire, MESSAGE)
    assert found.signed == envelope.signed
    kinds = [each.kind for each in said.of(Send) if each.token == wire.token]
    assert kinds == [FrameKind.ADMIT, FrameKind.ROUTED, FrameKind.CONTACTS]
    assert friend.routed(text_for(stage)).envelopes(wire, MESSAGE) != []


def test_what_is_held_for_nobody_is_answered_unroutable_after_a_few_seconds() -> None:
    stage, friend = left()
    envelope = text_for(stage)
    friend.routed(envelope)
    assert stage.wait(HOLD - 1).envelopes(friend, UNROUTABLE) == []
    (answer,) = stage.wait(1).messages(friend, UNROUTABLE, Unroutable)
    assert answer.id == opened(Signed, envelope.signed).id
    said = friend.routed(text_for(stage))
    assert len(said.envelopes(friend, UNROUTABLE)) == 1, "nothing is held from then on"
    assert stage.core.counters["held.in_vain"] == 1


def test_no_more_is_held_than_the_bound_for_all_clients_together() -> None:
    stage, friend = left(Limits().but(client_hold_bytes=3_000))
    kept = [friend.routed(text_for(stage, body=bytes(500))) == [] for _ in range(5)]
    assert kept == [True, True, False, False, False]
    assert stage.core.counters["held.no_room"] == 3
    assert stage.core.counters["routed.unroutable"] == 3


def test_client_that_moves_twice_is_followed_to_where_it_said_last() -> None:
    stage, friend = left()
    moved(friend)
    moved(friend, to=FAR.name)
    ((to, _),) = forwarded(friend.routed(text_for(stage)), friend)
    assert to == ClientAddress(FAR.name, CLIENT.key)


def test_client_that_comes_back_is_followed_no_more() -> None:
    stage, friend = left()
    moved(friend)
    wire = stage.accept(CLIENT)
    wire.hello(HelloRole.CLIENT)
    said = friend.routed(text_for(stage))
    assert forwarded(said, friend) == [] and len(said.envelopes(wire, MESSAGE)) == 1


def test_it_is_forgotten_after_five_minutes() -> None:
    stage, friend = left()
    moved(friend)
    stage.wait(299 * SECOND)
    assert len(forwarded(friend.routed(text_for(stage)), friend)) == 1
    stage.wait(2 * SECOND)
    said = friend.routed(text_for(stage))
    assert forwarded(said, friend) == [] and len(said.envelopes(friend, UNROUTABLE)) == 1


def test_what_was_passed_on_once_is_never_passed_on_again() -> None:
    stage, friend = left()
    moved(friend)
    here = ClientAddress(stage.name, CLIENT.key)
    envelope = FAR.seal(FORWARDED, here, encode(text_for(stage)))
    said = friend.routed(envelope)
    assert forwarded(said, friend) == [] and len(said.envelopes(friend, UNROUTABLE)) == 1


def test_who_never_hung_on_us_is_acknowledged_and_not_believed() -> None:
    stage, friend = left()
    assert len(moved(friend, STRANGER).envelopes(friend, ACKNOWLEDGED)) == 1
    assert stage.core.counters["moved.stranger"] == 1
    said = friend.routed(text_for(stage, STRANGER))
    assert len(said.envelopes(friend, UNROUTABLE)) == 1
    assert stage.core.moving.departed.get(STRANGER.key, now=stage.now) is None


def test_nobody_moves_a_client_but_its_own_key() -> None:
    stage, friend = left()
    here, body = NodeAddress(stage.name), Moved(STRANGER.name)
    claims = ClientAddress(STRANGER.name, CLIENT.key)
    friend.routed(STRANGER.seal(MOVED, here, body, source=claims))
    assert stage.core.counters["routed.forged"] == 1
    right = CLIENT.seal(MOVED, here, body, proxy=STRANGER.name)
    friend.routed(Envelope(0, 1, right.signed, STRANGER.seal(MOVED, here, body).signature))
    assert stage.core.counters["routed.forged"] == 2
    assert stage.core.moving.departed.get(CLIENT.key, now=stage.now) == b""


@pytest.mark.parametrize("fault", ["from elsewhere", "to ourselves", "a node", "no record"])
def test_moved_that_does_not_fit_is_counted_and_forgotten(fault: str) -> None:
    stage, friend = left()
    here = NodeAddress(stage.name)
    envelope = {
        "from elsewhere": CLIENT.seal(MOVED, here, Moved(NEW.name), proxy=FAR.name),
        "to ourselves": CLIENT.seal(MOVED, here, Moved(stage.name), proxy=stage.name),
        "a node": CLIENT.seal(MOVED, here, Moved(CLIENT.name)),
        "no record": CLIENT.seal(MOVED, here, b"", proxy=NEW.name),
    }[fault]
    assert friend.routed(envelope) == []
    assert stage.core.counters["moved.malformed"] == 1


def test_move_that_is_told_twice_is_noted_once() -> None:
    stage, friend = left()
    moved(friend, message_id=b"m" * 16)
    here = NodeAddress(stage.name)
    again = CLIENT.seal(MOVED, here, Moved(NEW.name), proxy=NEW.name, message_id=b"m" * 16, route=1)
    friend.routed(again)
    counters = stage.core.counters
    assert (counters["moved.noted"], counters["moved.duplicate"]) == (1, 1)


def test_message_of_the_proxy_itself_follows_the_client_too() -> None:
    stage, friend = left()
    to = ClientAddress(stage.name, CLIENT.key)
    fact = Submitted(7, MESSAGE, to, b"own", b"", False, SECOND, False)
    assert stage.hear(fact).envelopes(friend, MESSAGE) == []
    ((_, envelope),) = forwarded(moved(friend), friend)
    assert opened(Signed, envelope.signed).body == b"own"
    assert len(forwarded(stage.hear(fact), friend)) == 1


def test_largest_message_fits_when_it_is_passed_on() -> None:
    stage, friend = left()
    moved(friend)
    said = friend.routed(text_for(stage, body=bytes(Limits().payload_bytes_max)))
    (body,) = said.bodies(friend, FrameKind.ROUTED)
    assert len(body) < Limits().frame_bytes_max


def test_joiner_that_leaves_is_not_held_for() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    wire = stage.accept(CLIENT)
    wire.hello(HelloRole.JOIN)
    wire.lose()
    assert len(friend.routed(text_for(stage)).envelopes(friend, UNROUTABLE)) == 1


def test_memory_of_those_who_left_is_bounded() -> None:
    stage, _ = Stage.among(FRIEND)
    for number in range(1_100):
        wire = stage.accept(Person(1_000 + number))
        wire.hello(HelloRole.CLIENT)
        wire.lose()
    assert len(stage.core.moving.departed) == 1_024


def test_stop_counts_what_is_still_held() -> None:
    stage, friend = left()
    friend.routed(text_for(stage))
    stage.hear(StopRequested())
    assert stage.core.counters["held.abandoned"] == 1


# -- a client that is said to have moved while it hangs on us


def test_client_said_to_have_moved_that_answers_on_its_connection_stays() -> None:
    stage, friend, wire = proxy()
    (ping,) = moved(friend).frames(wire, FrameKind.PING, Ping)
    wire.say(FrameKind.PONG, Ping(ping.nonce))
    stage.wait(10 * SECOND)
    assert wire.open and stage.core.counters["moved.still_here"] == 1
    assert len(friend.routed(text_for(stage)).envelopes(wire, MESSAGE)) == 1


def test_connection_that_is_silent_when_its_client_has_moved_is_replaced() -> None:
    stage, friend, wire = proxy()
    moved(friend)
    friend.routed(text_for(stage))
    said = stage.wait(2 * SECOND)
    assert said.closed(wire) is CloseCode.REPLACED
    assert len(forwarded(friend.routed(text_for(stage)), friend)) == 1


def test_connection_that_ends_while_it_is_asked_decides_at_once() -> None:
    stage, friend, wire = proxy()
    moved(friend)
    wire.lose()
    assert len(forwarded(friend.routed(text_for(stage)), friend)) == 1


def test_newer_connection_decides_that_the_client_is_here() -> None:
    stage, friend, wire = proxy()
    moved(friend)
    newer = stage.accept(CLIENT)
    assert newer.hello(HelloRole.CLIENT).closed(wire) is CloseCode.REPLACED
    stage.wait(10 * SECOND)
    assert newer.open and len(friend.routed(text_for(stage)).envelopes(newer, MESSAGE)) == 1


def test_wrong_pong_of_a_client_decides_nothing() -> None:
    stage, friend, wire = proxy()
    wire.say(FrameKind.PONG, Ping(bytes(8)))
    moved(friend)
    wire.say(FrameKind.PONG, Ping(b"x" * 8))
    assert stage.core.counters["pong.unasked"] == 2
    assert stage.wait(2 * SECOND).closed(wire) is CloseCode.REPLACED


def test_client_may_not_pass_anything_on() -> None:
    stage, _, wire = proxy()
    assert wire.role() is LinkRole.CLIENT
    inner = text_for(stage)
    here = ClientAddress(stage.name, STRANGER.key)
    envelope = CLIENT.seal(FORWARDED, here, encode(inner), proxy=stage.name)
    assert wire.routed(envelope).closed(wire) is CloseCode.BAD_FRAME


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


def test_proxy_restored_while_it_holds_and_doubts_goes_on_the_same() -> None:
    stage, friend, wire = proxy()
    moved(friend)
    other = stage.accept(STRANGER)
    other.hello(HelloRole.CLIENT)
    other.lose()
    friend.routed(text_for(stage, STRANGER))
    assert wire.open and stage.core.moving.held and stage.core.moving.doubts
    same_after_restoring(stage, 30)
