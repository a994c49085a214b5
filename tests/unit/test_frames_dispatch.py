"""One frame in, to its one concern; a Hello is right in every respect or closes the connection."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.errors import CloseCode, Outcome
from routing.events import ConnectFailed, PeerDown
from routing.inputs import FrameReceived, Lost
from routing.limits import SECOND
from routing.messages import NO_ATTEMPT, Ack, FrameKind, Hello, HelloRole, Ping
from routing.state import LinkRole, Token
from tests.asked import FRIEND, PEER, STRANGER, Asked
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []


def accepted() -> Wire:
    return Stage.among(FRIEND)[0].accept(PEER)


def right(wire: Wire, role: HelloRole = HelloRole.JOIN) -> Hello:
    return wire.person.hello(role, to=wire.stage.core.key, binding=wire.binding)


def assert_refused(wire: Wire, said: Said, reason: str = "") -> None:
    assert said.closed(wire) is CloseCode.BAD_HELLO
    assert said.bodies(wire, FrameKind.ADMIT) == []
    assert wire.link is None
    if reason:
        assert wire.stage.core.counters[reason] == 1


# -- Hello


@pytest.mark.parametrize("role", [HelloRole.JOIN, HelloRole.CLIENT, HelloRole.FEEL])
def test_right_hello_lifts_the_limits_that_hold_before_it(role: HelloRole) -> None:
    from routing.actions import Trust

    wire = accepted()
    assert Trust(wire.token) in wire.say(FrameKind.HELLO, right(wire, role))


def test_second_hello_closes() -> None:
    wire = accepted()
    hello = right(wire)
    wire.say(FrameKind.HELLO, hello)
    assert wire.say(FrameKind.HELLO, hello).closed(wire) is CloseCode.BAD_HELLO


def test_second_hello_on_the_primary_ends_the_attempt() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    said = primary.hello(HelloRole.SECONDARY, a.attempt)
    assert said.closed(primary) is CloseCode.BAD_HELLO
    assert [each.outcome for each in said.events(ConnectFailed)] == [Outcome.PRIMARY_LOST]


def test_hello_of_an_attempt_that_nobody_knows_closes() -> None:
    wire = accepted()
    assert_refused(wire, wire.hello(HelloRole.SECONDARY, bytes(15) + b"x"), "hello.no_attempt")


def test_hello_of_an_attempt_with_another_key_closes() -> None:
    a = Asked()
    a.ask()
    wire = a.stage.accept(STRANGER)
    assert_refused(wire, wire.hello(HelloRole.SECONDARY, a.attempt), "hello.unexpected")
    assert len(a.stage.core.attempts.live()) == 1, "the attempt goes on"


def test_hello_signed_by_another_key_closes() -> None:
    wire = accepted()
    forged = STRANGER.hello(HelloRole.JOIN, to=wire.stage.core.key, binding=wire.binding)
    assert_refused(wire, wire.say(FrameKind.HELLO, forged), "hello.bad_signature")


def test_hello_replayed_on_another_connection_closes() -> None:
    wire = accepted()
    other = wire.stage.accept(PEER)
    assert_refused(other, other.say(FrameKind.HELLO, right(wire)), "hello.bad_signature")
    assert wire.open


def test_hello_meant_for_another_node_closes() -> None:
    wire = accepted()
    hello = PEER.hello(HelloRole.JOIN, to=STRANGER.key, binding=wire.binding)
    assert_refused(wire, wire.say(FrameKind.HELLO, hello), "hello.bad_signature")


@pytest.mark.parametrize(
    "change",
    [
        {"role": HelloRole.FEEL},
        {"attempt": bytes(15) + b"x"},
        {"incarnation": bytes(8)},
        {"signature": bytes(64)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_hello_changed_after_it_was_signed_closes(change: dict[str, object]) -> None:
    wire = accepted()
    changed = structs.replace(right(wire), **change)
    assert_refused(wire, wire.say(FrameKind.HELLO, changed), "hello.bad_signature")


@pytest.mark.parametrize("body", [b"", b"rubbish", b"\x97" + b"\x00" * 7, bytes(4_096)])
def test_malformed_hello_closes(body: bytes) -> None:
    wire = accepted()
    assert_refused(wire, wire.say(FrameKind.HELLO, body), "frame.malformed")


@pytest.mark.parametrize("kind", [each for each in FrameKind if each is not FrameKind.HELLO])
def test_anything_before_the_hello_closes(kind: FrameKind) -> None:
    wire = accepted()
    assert_refused(wire, wire.say(kind, Ping(bytes(8))), "frame.not_allowed.unknown")


def test_hello_that_never_comes_closes_after_ten_seconds() -> None:
    wire = accepted()
    said = wire.stage.wait(10 * SECOND)
    assert_refused(wire, said, "unknown.expired")


def test_hello_from_ourselves_is_not_waited_for() -> None:
    stage, _ = Stage.among(FRIEND)
    wire = stage.accept(Person(0))
    assert wire.opening.closed(wire) is CloseCode.SELF


def test_join_that_names_an_attempt_is_a_join_all_the_same() -> None:
    wire = accepted()
    wire.hello(HelloRole.JOIN, bytes(15) + b"x")
    link = wire.link
    assert link is not None and link.role is LinkRole.RELAY and link.attempt == NO_ATTEMPT


# -- dead tokens


def test_frame_on_a_dead_token_is_counted_and_dropped() -> None:
    stage, _ = Stage.among(FRIEND)
    fact = FrameReceived(Token(99), FrameKind.PING, b"")
    assert stage.hear(fact) == []
    assert stage.core.counters["frame.dead_token"] == 1


def test_loss_of_a_dead_token_is_counted_and_dropped() -> None:
    stage, _ = Stage.among(FRIEND)
    assert stage.hear(Lost(Token(99), CloseCode.NORMAL, "")) == []
    assert stage.core.counters["lost.dead_token"] == 1


# -- what a fault costs


def test_malformed_frame_of_a_peer_costs_it_its_place() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    said = friend.say(FrameKind.NEIGHBOURS, b"rubbish")
    assert said.closed(friend) is CloseCode.BAD_FRAME
    assert said.events(PeerDown) == [PeerDown(FRIEND.name, FRIEND.key, CloseCode.BAD_FRAME)]
    assert len(stage.core.table) == 0


def test_malformed_frame_of_a_proxy_costs_it_its_place() -> None:
    stage, wire = Stage.admitted(FRIEND)
    assert wire.say(FrameKind.ROUTED, b"rubbish").closed(wire) is CloseCode.BAD_FRAME
    assert stage.core.bootstrapping.admitted_count() == 0


def test_malformed_frame_on_the_secondary_does_not_end_the_attempt() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    secondary = a.secondary()
    assert secondary.say(FrameKind.PING, b"").closed(secondary) is CloseCode.BAD_FRAME
    primary.say(FrameKind.ACK, Ack(a.attempt))
    assert primary.role() is LinkRole.CONSOLIDATED


@pytest.mark.parametrize("kind", [each for each in FrameKind if each is not FrameKind.HELLO])
@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91" * 500, b"\xdd\xff\xff\xff\xff", bytes(63)])
def test_rubbish_in_any_frame_never_raises(kind: FrameKind, body: bytes) -> None:
    _, (friend,) = Stage.among(FRIEND)
    said = friend.say(kind, body)
    assert said.closed(friend) is CloseCode.BAD_FRAME
