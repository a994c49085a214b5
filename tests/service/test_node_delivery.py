"""What becomes of messages on real sockets: once, or reported, or not even asked about."""

from __future__ import annotations

import asyncio

import pytest

from routing.events import Message, Undelivered
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
            confirmed = "delivery.acknowledged" if signed else "direct.confirmed"
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
