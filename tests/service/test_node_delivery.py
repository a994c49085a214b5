"""What becomes of messages on real sockets: once, or reported, or not even asked about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from routing.errors import NotConnected, UsageError
from routing.events import Message, Undelivered
from routing.limits import Limits
from routing.messages import NodeAddress
from routing.node import Node
from routing.watch import Events
from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, address, eventually, network

__all__: list[str] = []


def payloads(node: Node) -> list[bytes]:
    """Return a list that every message to a node will be appended to."""
    came: list[bytes] = []

    def take(messages: list[Message]) -> None:
        came.extend(message.payload for message in messages)

    node.on_messages(take)
    return came


async def undelivered(events: Events, count: int) -> list[Undelivered]:
    """Return the next so many reports among these events."""
    found: list[Undelivered] = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in events:
            if isinstance(event, Undelivered):
                found.append(event)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("signed", [True, False], ids=["routed", "direct"])
def test_message_is_acknowledged_and_nothing_waits_any_more(run: Run, signed: bool) -> None:
    async def body() -> None:
        async with network(3) as (one, two, _):
            came = payloads(two)
            await one.send(address(two), b"text", signed=signed)
            assert one.stats()["messages.waiting"] == 1
            await eventually(lambda: one.stats()["messages.waiting"] == 0)
            await eventually(lambda: came == [b"text"])
            confirmed = "delivery.acknowledged" if signed else "batch.confirmed"
            assert one.stats()[confirmed] == 1

    run(body())


@pytest.mark.parametrize("signed", [True, False], ids=["routed", "direct"])
def test_message_sent_at_most_once_is_not_acknowledged(run: Run, signed: bool) -> None:
    async def body() -> None:
        async with network(3) as (one, two, _):
            came = payloads(two)
            one.on_request(lambda message: b"yes")
            await one.send(address(two), b"text", signed=signed, delivery="at_most_once")
            assert one.stats()["messages.waiting"] == 0
            await eventually(lambda: came == [b"text"])
            # What comes behind it on the same connection shows that nothing was said of it.
            assert await two.request(address(one), b"?") == b"yes"
            counts = one.stats()
            assert "consumed.acknowledged" not in counts
            assert counts.get("direct.confirmed", 0) <= 1, "of the reply at most"

    run(body())


def test_message_to_nobody_is_reported_by_its_number(run: Run) -> None:
    async def body() -> None:
        async with network(3) as (one, _, _):
            events = one.events()
            number = await one.send(NodeAddress(bytes(32)), b"text")
            reason = "unroutable: nobody has this name"
            assert await undelivered(events, 1) == [Undelivered(number, reason)]

    run(body())


def test_messages_to_a_node_that_dies_arrive_or_are_reported(run: Run) -> None:
    async def body() -> None:
        async with network(4) as (one, two, *_):
            came, events, dying = payloads(two), one.events(), address(two)
            numbers = [await one.send(dying, b"%d" % index) for index in range(30)]
            # What it acknowledges when it dies it may take with it.
            await eventually(lambda: one.stats()["messages.waiting"] == 0 and len(came) == 30)
            await two.abandon()
            numbers += [await one.send(dying, b"%d" % index) for index in range(30, 60)]
            reported = {event.number for event in await undelivered(events, 30)}
            assert reported == set(numbers[30:])
            assert came == [b"%d" % index for index in range(30)]

    run(body())


def test_statistics_say_for_how_long_back_no_repeat_is_passed_on(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, _):
            limit = one.config.limits.message_filter_ns // 10**9
            assert one.stats()["filter.window_s"] == limit

    run(body())


def test_thousands_sent_at_once_arrive_in_order_and_none_is_waited_for_any_more(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            came = payloads(two)
            many = [number.to_bytes(4, "big") * (number % 40) for number in range(30_000)]
            await one.send_many(address(two), many)
            await eventually(lambda: len(came) == len(many))
            assert came == many
            await eventually(lambda: one.stats()["messages.waiting"] == 0)

    run(body())


def test_sender_of_many_waits_where_too_many_are_unconfirmed(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(unconfirmed_max=9_000, unacknowledged_max=100)
        async with network(2, limits=limits) as (one, two):
            came = payloads(two)
            many = [number.to_bytes(8, "big") for number in range(100_000)]
            await one.send_many(address(two), many)
            await eventually(lambda: len(came) == len(many))
            assert came == many and one.stats()["message.busy"] > 0

    run(body())


def test_many_sent_to_a_node_that_dies_are_each_reported(run: Run) -> None:
    async def body() -> None:
        async with network(4) as (one, two, *_):
            came, events, dying = payloads(two), one.events(), address(two)
            await two.abandon()
            await one.send_many(dying, [b"%d" % index for index in range(50)])
            reported = {event.number for event in await undelivered(events, 50)}
            assert len(reported) == 50 and came == []
            await eventually(lambda: one.stats()["messages.waiting"] == 0)

    run(body())


def test_who_waits_to_send_many_is_told_of_the_stop(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(unconfirmed_max=10)
        async with network(2, limits=limits) as (one, two):
            assert two._host is not None
            two._host.pause_reading()
            sending = asyncio.create_task(one.send_many(address(two), [b"x"] * 11))
            await eventually(lambda: one.stats().get("message.busy", 0) > 0)
            await one.stop(drain=0.0)
            with pytest.raises(NotConnected, match="stopped"):
                await sending

    run(body())


@pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))])
def test_memory_changed_after_send_was_called_does_not_change_the_message(
    run: Run, kind: Callable[[bytes], bytearray | memoryview]
) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            came = payloads(two)
            first, second, third = (kind(data) for data in (b"first", b"second", b"third"))
            await one.send(address(two), first)
            # It follows the first in the same tick, when that one has not left yet.
            await one.send(address(two), second)
            await one.send_many(address(two), [third, kind(b"fourth")])
            for memory in (first, second, third):
                memory[:] = b"x" * len(memory)
            await eventually(lambda: len(came) == 4)
            assert came == [b"first", b"second", b"third", b"fourth"]
            assert {type(payload) for payload in came} == {bytes}

    run(body())


def test_view_with_gaps_is_refused_by_send_and_by_send_many(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            came, gaps = payloads(two), memoryview(b"abcdef")[::2]
            with pytest.raises(UsageError, match="memoryview with gaps"):
                await one.send(address(two), gaps)
            with pytest.raises(UsageError, match="memoryview with gaps"):
                await one.send_many(address(two), [b"none of them goes", gaps])
            with pytest.raises(UsageError, match="memoryview with gaps"):
                await one.request(address(two), gaps)
            await one.send(address(two), b"the only one")
            await eventually(lambda: came)
            assert came == [b"the only one"]

    run(body())
