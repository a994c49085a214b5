"""Direct messages arrive once though their connection breaks, or are reported as lost."""

from __future__ import annotations

import pytest

from routing.actions import Deliver, Failed
from routing.bodies import Acknowledged, Reply
from routing.errors import CloseCode
from routing.inputs import StopRequested, Submitted, changed
from routing.limits import SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Direct,
    Envelope,
    FrameKind,
    MessageKind,
    NodeAddress,
    Ping,
    Signed,
    encode,
)
from routing.receipts import LATEST
from routing.requests import token_of
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO = Person(1), Person(2)
DELAY = SECOND // 50
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY
FACT = Submitted(7, MESSAGE, NodeAddress(ONE.name), b"text", bytes(16), False, 60 * SECOND, False)


def pair(limits: Limits | None = None) -> tuple[Stage, Wire, Wire]:
    stage, (one, two) = Stage.among(ONE, TWO, limits=limits)
    return stage, one, two


def submit(stage: Stage, kind: MessageKind = MESSAGE, **changes: object) -> Said:
    return stage.hear(changed(FACT, kind=kind, **changes))


def asked(said: Said, wire: Wire) -> Ping:
    said = Said([*said, *wire.stage.wait(DELAY)])
    (ping,) = said.frames(wire, FrameKind.PING, Ping)
    return ping


def direct_id(said: Said, wire: Wire) -> bytes:
    (direct,) = said.frames(wire, FrameKind.DIRECT, Direct)
    return direct.id


def again(said: Said, wire: Wire, kind: MessageKind = MESSAGE) -> list[Envelope]:
    return said.envelopes(wire, kind)


def lost(wire: Wire, code: CloseCode = CloseCode.IO_ERROR) -> Said:
    """Lose a connection and let what follows from it happen."""
    said = wire.lose(code)
    said.extend(wire.stage.wait(1))
    return said


def test_answered_ping_confirms_all_that_went_before_it() -> None:
    stage, one, _ = pair()
    ping = asked(submit(stage), one)
    said = submit(stage)
    assert said.bodies(one, FrameKind.PING) == [], "one question at a time"
    second = asked(one.say(FrameKind.PONG, ping), one)
    assert len(stage.core.receipts.handed) == 1
    assert one.say(FrameKind.PONG, second) == []
    assert stage.core.receipts.handed == {} and stage.core.receipts.bytes == 0
    assert stage.core.counters["direct.confirmed"] == 2
    assert "pong.unasked" not in stage.core.counters


def test_nothing_is_asked_where_the_reply_came_first() -> None:
    stage, one, _ = pair()
    said = submit(stage, REQUEST)
    asked_id, payload = direct_id(said, one), said.frames(one, FrameKind.DIRECT, Direct)[0].payload
    reply = encode(Reply(asked_id, token_of(asked_id, payload), False, b"!"))
    one.say(FrameKind.DIRECT, Direct(REPLY, b"r" * 16, reply))
    assert stage.wait(SECOND).bodies(one, FrameKind.PING) == []
    assert stage.core.receipts.handed == {}


def test_what_follows_in_a_moment_is_asked_about_together() -> None:
    stage, one, _ = pair()
    said = submit(stage)
    said += stage.wait(DELAY - 1)
    said += submit(stage)
    assert said.bodies(one, FrameKind.PING) == []
    one.say(FrameKind.PONG, asked(Said(), one))
    assert stage.core.receipts.handed == {}


def test_where_senders_would_soon_be_held_up_it_is_asked_at_once() -> None:
    stage, one, _ = pair(Limits.recommended().but(unconfirmed_max=4))
    submit(stage)
    submit(stage)
    assert len(submit(stage).bodies(one, FrameKind.PING)) == 1


def test_pong_with_another_nonce_confirms_nothing() -> None:
    stage, one, _ = pair()
    asked(submit(stage), one)
    one.say(FrameKind.PONG, Ping(bytes(8)))
    assert len(stage.core.receipts.handed) == 1 and stage.core.counters["pong.unasked"] == 1


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST, REPLY])
def test_message_whose_connection_breaks_goes_again_signed_and_by_another_way(
    kind: MessageKind,
) -> None:
    stage, one, two = pair()
    said = submit(stage, kind)
    (sealed,) = again(lost(one), two, kind)
    signed = opened(Signed, sealed.signed)
    assert (signed.id, signed.flags) == (direct_id(said, one), ACKNOWLEDGE)
    assert signed.destination == NodeAddress(ONE.name)
    here = NodeAddress(stage.name)
    two.routed(ONE.seal(MessageKind.ACKNOWLEDGED, here, Acknowledged(signed.id)))
    assert stage.core.delivery.underway == {} and stage.wait(30 * SECOND).of(Failed) == []


def test_confirmed_message_does_not_go_again() -> None:
    stage, one, two = pair()
    one.say(FrameKind.PONG, asked(submit(stage), one))
    assert again(lost(one), two) == []


def test_message_sent_at_most_once_does_not_go_again() -> None:
    stage, one, two = pair()
    said = submit(stage, acknowledged=False)
    assert said.bodies(one, FrameKind.PING) == []
    assert again(lost(one), two) == [] and stage.core.receipts.handed == {}


def test_message_without_another_way_fails_by_its_reason() -> None:
    stage, (one,) = Stage.among(ONE)
    submit(stage)
    reason = "undeliverable: the connection to the destination was lost"
    assert lost(one).of(Failed) == [Failed(7, reason)]


def test_only_what_the_far_end_can_remember_goes_again() -> None:
    stage, one, two = pair()
    for reference in range(LATEST + 10):
        submit(stage, reference=reference)
    said = lost(one)
    assert len(again(said, two)) == LATEST
    assert [failed.reference for failed in said.of(Failed)] == list(range(10))


def test_connection_that_we_close_ourselves_is_no_different() -> None:
    stage, one, two = pair()
    submit(stage)
    one.say(FrameKind.ROUTED, b"rubbish")
    assert not one.open
    assert len(again(stage.wait(1), two)) == 1


def test_reply_ends_the_watch_over_its_request() -> None:
    stage, one, two = pair()
    submit(stage, REQUEST, timeout_ns=SECOND)
    assert stage.wait(SECOND).of(Failed) == [Failed(7, "timed out")]
    assert again(lost(one), two, REQUEST) == []


def test_silent_peer_is_written_to_by_other_ways() -> None:
    stage, one, two = pair()
    stage.wait(2 * SECOND)
    stage.hear(FACT)
    stage.wait(SECOND)
    assert stage.core.suspects.names == [ONE.name]
    said = submit(stage)
    assert said.bodies(one, FrameKind.DIRECT) == [] and len(again(said, two)) == 1


def test_more_than_the_bound_is_refused_by_name() -> None:
    stage, _, _ = pair(Limits.recommended().but(unconfirmed_max=2))
    assert submit(stage).of(Failed) == submit(stage).of(Failed) == []
    busy = "busy: too many messages wait to be acknowledged"
    assert submit(stage).of(Failed) == [Failed(7, busy)]


def test_stop_fails_what_is_not_confirmed() -> None:
    stage, _, _ = pair()
    submit(stage)
    assert stage.hear(StopRequested()).of(Failed) == [Failed(7, "stopped")]


# -- as a consumer


@pytest.mark.parametrize("ended", [True, False], ids=["connection ended", "still open here"])
def test_message_that_came_direct_is_not_taken_again_when_it_comes_routed(ended: bool) -> None:
    stage, one, two = pair()
    said = one.say(FrameKind.DIRECT, Direct(MESSAGE, b"m" * 16, b"text"))
    assert len(said.of(Deliver)) == 1
    if ended:
        lost(one)
    sealed = ONE.seal(
        MESSAGE, NodeAddress(stage.name), b"text", message_id=b"m" * 16, flags=ACKNOWLEDGE
    )
    said = two.routed(sealed)
    assert said.of(Deliver) == [] and stage.core.counters["message.duplicate"] == 1
    wire = two if ended else one
    (told,) = said.messages(wire, MessageKind.ACKNOWLEDGED, Acknowledged)
    assert told.id == b"m" * 16
    stage.wait(65 * SECOND)
    assert stage.core.receipts.has(ONE.key, b"m" * 16) is not ended


def test_id_of_a_direct_message_is_its_sender_s_own() -> None:
    stage, one, two = pair()
    one.say(FrameKind.DIRECT, Direct(MESSAGE, b"m" * 16, b"text"))
    sealed = TWO.seal(
        MESSAGE, NodeAddress(stage.name), b"other", message_id=b"m" * 16, flags=ACKNOWLEDGE
    )
    assert len(two.routed(sealed).of(Deliver)) == 1


def test_everything_survives_a_snapshot() -> None:
    stage, one, two = pair()
    submit(stage)
    one.say(FrameKind.DIRECT, Direct(MESSAGE, b"m" * 16, b"text"))
    two.say(FrameKind.DIRECT, Direct(MESSAGE, b"n" * 16, b"text"))
    two.lose()
    other = Stage(0, first=True)
    other.core.restore(stage.core.snapshot())
    assert other.core.digest() == stage.core.digest()
    receipts = other.core.receipts
    assert receipts.handed == stage.core.receipts.handed and receipts.bytes == 4
    assert receipts.has(ONE.key, b"m" * 16) and receipts.has(TWO.key, b"n" * 16)
