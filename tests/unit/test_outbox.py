"""Every request is answered or fails for a reason one can catch; wrong arguments are refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from routing.actions import Answered
from routing.errors import (
    HandlerFailed,
    NotConnected,
    RequestTimedOut,
    RoutingError,
    TooBusy,
    Unroutable,
    UsageError,
)
from routing.events import Event, Undelivered
from routing.limits import Limits
from routing.messages import ClientAddress, GroupAddress, NodeAddress
from routing.outbox import GroupReply, Outbox, checked_destination, checked_payload, failure

__all__: list[str] = []


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("timed out", RequestTimedOut),
        ("undeliverable: no acknowledgement after 8 routes", RequestTimedOut),
        ("unroutable: nobody has this name", Unroutable),
        ("not connected: no way out", NotConnected),
        ("not connected", NotConnected),
        ("stopped", NotConnected),
        ("handler failed: LookupError", HandlerFailed),
        ("busy: too many requests under way", TooBusy),
    ],
)
def test_reason_becomes_an_exception(reason: str, kind: type[RoutingError]) -> None:
    error = failure(reason)
    assert type(error) is kind
    assert reason.partition(": ")[2] in str(error)


def answer(reference: int, payload: bytes) -> Answered:
    return Answered(reference, payload, NodeAddress(bytes(32)), bytes(32))


def test_reply_reaches_whoever_waits_for_it() -> None:
    async def body() -> None:
        outbox = Outbox(Counter(), list[Event]().append)
        came: list[GroupReply] = []
        first, second = outbox.expect(1, 1, []), outbox.expect(2, 2, came)
        outbox.answered(answer(2, b"two"))
        outbox.failed(1, "handler failed: LookupError")
        assert not second.done()
        outbox.answered(answer(2, b"three"))
        await second
        assert [reply.payload for reply in came] == [b"two", b"three"]
        with pytest.raises(HandlerFailed, match="LookupError"):
            await first

    asyncio.run(body())


def test_late_reply_and_late_failure_are_counted() -> None:
    async def body() -> None:
        counters: Counter[str] = Counter()
        told = list[Event]()
        outbox = Outbox(counters, told.append)
        outbox.expect(1, 1, [])
        outbox.forget(1)
        outbox.answered(answer(1, b""))
        outbox.failed(1, "unroutable")
        assert counters == {"reply.late": 1, "undeliverable": 1}
        assert told == [Undelivered(1, "unroutable")]
        assert len(outbox) == 0

    asyncio.run(body())


def test_close_fails_who_waits_and_who_comes_later() -> None:
    async def body() -> None:
        outbox = Outbox(Counter(), list[Event]().append)
        reply = outbox.expect(1, 1, [])
        outbox.close()
        with pytest.raises(NotConnected):
            await reply
        with pytest.raises(NotConnected):
            outbox.expect(2, 1, [])

    asyncio.run(body())


def test_refusal_of_a_message_is_raised_where_it_is_sent() -> None:
    outbox = Outbox(Counter(), list[Event]().append)
    with pytest.raises(NotConnected), outbox.sending() as reference:
        outbox.failed(reference, "not connected")
    with outbox.sending():
        pass


def test_message_that_comes_to_nothing_later_is_an_event() -> None:
    told = list[Event]()
    outbox = Outbox(Counter(), told.append)
    with outbox.sending() as reference:
        pass
    outbox.failed(reference, "undeliverable: no acknowledgement after 8 routes")
    assert told == [Undelivered(reference, "undeliverable: no acknowledgement after 8 routes")]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        b"n" * 32,
        "name",
        NodeAddress(b"short"),
        GroupAddress(b"n" * 33),
        ClientAddress(b"n" * 32, b"k"),
        NodeAddress("n" * 32),  # type: ignore[arg-type]
    ],
)
def test_wrong_destination_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="destination"):
        checked_destination(wrong)


def test_payload_is_taken_up_to_the_limit() -> None:
    limits = Limits.local()
    size, to = limits.large_bytes_max, NodeAddress(b"n" * 32)
    assert checked_payload(bytearray(size), limits, to) == bytes(size)
    assert checked_payload(memoryview(b"abc"), limits, to) == b"abc"
    assert checked_payload(memoryview(b"abcd").cast("B", (2, 2)), limits, to) == b"abcd"
    with pytest.raises(UsageError, match=r"gaps, strides \(2,\); .* give bytes\(view\)"):
        checked_payload(memoryview(b"abcd")[::2], limits, to)
    with pytest.raises(UsageError, match="16777217 bytes exceeds large_bytes_max=16777216; send"):
        checked_payload(bytes(size + 1), limits, to)
    with pytest.raises(UsageError, match="must be bytes"):
        checked_payload("text", limits, to)


def test_payload_that_is_bytes_is_not_copied() -> None:
    payload = bytes(2_000_000)
    assert checked_payload(payload, Limits.local(), NodeAddress(b"n" * 32)) is payload


def test_payload_to_a_group_has_to_fit_into_a_frame() -> None:
    limits, group = Limits.local(), GroupAddress(b"n" * 32)
    size = limits.payload_bytes_max
    assert checked_payload(bytes(size), limits, group) == bytes(size)
    with pytest.raises(UsageError, match="to a group exceeds payload_bytes_max=1047552; send it"):
        checked_payload(bytes(size + 1), limits, group)
