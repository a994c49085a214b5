"""What is under way to one destination has a bound, and who waits for room hears of it."""

from __future__ import annotations

import pytest

from routing.actions import Failed, Relieved
from routing.bodies import Acknowledged
from routing.inputs import Submitted, SubmittedMany
from routing.limits import SECOND, Limits
from routing.messages import Address, ClientAddress, GroupAddress, MessageKind, NodeAddress, Signed
from routing.window import BUSY, WINDOW_BYTES
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
TO_FAR, TO_ONE = NodeAddress(FAR.name), NodeAddress(ONE.name)
SIZE = 30_000


def pair(limits: Limits | None = None) -> tuple[Stage, Wire]:
    stage, (one, _) = Stage.among(ONE, TWO, limits=limits)
    return stage, one


def submit(
    stage: Stage,
    to: Address = TO_FAR,
    *,
    kind: MessageKind = MessageKind.MESSAGE,
    size: int = SIZE,
    signed: bool = True,
    acknowledged: bool = True,
) -> Said:
    timeout = 0 if kind is MessageKind.MESSAGE else 5 * SECOND
    return stage.hear(
        Submitted(7, kind, to, bytes(size), b"", False, timeout, signed, acknowledged)
    )


def fill(stage: Stage, to: Address = TO_FAR) -> list[bytes]:
    """Send until one is refused; return the ids of those that are under way."""
    while not (failed := submit(stage, to).of(Failed)):
        pass
    assert failed == [Failed(7, BUSY)]
    return list(stage.core.delivery.underway)


def acknowledge(stage: Stage, one: Wire, message_id: bytes) -> int:
    """Have a message acknowledged; return how often there was word of room."""
    to = NodeAddress(stage.name)
    told = FAR.seal(MessageKind.ACKNOWLEDGED, to, Acknowledged(message_id))
    return len(one.routed(told).of(Relieved))


def held(stage: Stage, to: Address) -> int:
    """Return what waits by the entries themselves."""
    return sum(
        len(entry.envelope.signed)
        for entry in stage.core.delivery.underway.values()
        if entry.destination == to
    )


@pytest.mark.parametrize("to", [TO_FAR, TO_ONE, GroupAddress(FAR.name)])
def test_signed_messages_to_one_destination_wait_before_the_way_is_full(to: Address) -> None:
    stage, _ = pair()
    ids = fill(stage, to)
    assert len(ids) == WINDOW_BYTES // SIZE
    assert stage.core.counters["message.busy"] == 1
    assert WINDOW_BYTES - SIZE < held(stage, to) <= WINDOW_BYTES
    assert submit(stage, NodeAddress(TWO.name)).of(Failed) == [], "another has a window of its own"


def test_there_is_word_once_half_of_it_is_free() -> None:
    stage, one = pair()
    ids = fill(stage)
    window = stage.core.delivery.window
    assert window.is_awaited(TO_FAR, SIZE) and not window.is_awaited(TO_ONE, SIZE)
    words = [acknowledge(stage, one, message_id) for message_id in ids]
    assert sum(words) == 1
    left = len(ids) - 1 - words.index(1)
    assert left * SIZE <= WINDOW_BYTES // 2 < (left + 2) * SIZE
    assert not window.pressed and window.flying == {}
    assert acknowledge(stage, one, ids[0]) == 0
    assert submit(stage).of(Failed) == []


def test_alone_a_message_may_be_larger_than_the_window() -> None:
    stage, _ = pair(Limits.recommended())
    large = stage.core.limits.payload_bytes_max
    assert large > WINDOW_BYTES and submit(stage, size=large).of(Failed) == []
    assert submit(stage, size=large).of(Failed) == [Failed(7, BUSY)]


def test_lists_and_single_messages_share_it() -> None:
    stage, _ = pair()
    fill(stage)
    many = [bytes(1_000)] * 20
    assert stage.hear(SubmittedMany(20, TO_FAR, many, True, True)).of(Failed) == [Failed(20, BUSY)]
    assert stage.hear(SubmittedMany(40, TO_FAR, many, False, True)).of(Failed) == []


def test_who_is_let_send_several_is_let_send_the_last_of_them() -> None:
    stage, _ = pair()
    while WINDOW_BYTES - held(stage, TO_FAR) > 120_000:
        assert submit(stage).of(Failed) == []
    left = WINDOW_BYTES - held(stage, TO_FAR)
    # By their payloads both are within what is left, too large for one list; under way they
    # take more, and it is full before the second.
    payloads = [bytes(left // 2), bytes(left // 2 - 20)]
    before = len(stage.core.delivery.underway)
    assert stage.hear(SubmittedMany(20, TO_FAR, payloads, True, True)).of(Failed) == []
    assert len(stage.core.delivery.underway) == before + 2
    assert held(stage, TO_FAR) > WINDOW_BYTES


def test_what_nobody_waits_for_and_what_asks_is_not_refused() -> None:
    stage, _ = pair()
    fill(stage)
    assert submit(stage, acknowledged=False).of(Failed) == []
    assert submit(stage, kind=MessageKind.REQUEST, size=10).of(Failed) == []
    client = ClientAddress(FAR.name, TWO.key)
    assert submit(stage, client).of(Failed) == [], "a client is another than its proxy"


def test_direct_message_does_not_wait_for_signed_ones() -> None:
    stage, _ = pair()
    fill(stage, TO_ONE)
    assert submit(stage, TO_ONE, signed=False).of(Failed) == []
    assert submit(stage, TO_ONE).of(Failed) == [Failed(7, BUSY)]


def test_unsigned_messages_to_who_is_no_neighbour_wait_as_signed_ones_do() -> None:
    stage, _ = pair()
    fill(stage)
    assert submit(stage, signed=False).of(Failed) == [Failed(7, BUSY)]


def test_message_that_comes_to_nothing_makes_room() -> None:
    stage, _ = pair()
    ids = fill(stage)
    for message_id in ids:
        stage.core.messaging.fail(message_id, 7, "given up")
    assert not stage.core.delivery.window.pressed
    assert stage.core.delivery.window.flying == {}


def test_parts_are_none_of_its_business() -> None:
    stage, _ = pair()
    large = submit(stage, size=2 * stage.core.limits.payload_bytes_max)
    assert large.of(Failed) == [] and stage.core.parts.open
    assert stage.core.delivery.window.flying == {}


def test_signed_kind_is_what_was_sent() -> None:
    stage, one = pair()
    (envelope,) = submit(stage, TO_ONE, size=3).envelopes(one, MessageKind.MESSAGE)
    assert opened(Signed, envelope.signed).body == bytes(3)
    assert stage.core.delivery.window.flying == {ONE.name: len(envelope.signed)}
