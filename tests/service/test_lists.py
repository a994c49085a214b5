"""Many messages under one signature, on real sockets: over relays, to clients and from them."""

from __future__ import annotations

import asyncio
import os

import pytest

from routing.errors import NotConnected
from routing.events import BorrowedMessage, Message, Proof, Undelivered
from routing.limits import Limits
from routing.messages import ClientAddress, GroupAddress, MessageKind, NodeAddress
from routing.node import Client, Node
from routing.sending import Delivery
from routing.state import Token
from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, address, eventually, local, network

__all__: list[str] = []


def through(monkeypatch: pytest.MonkeyPatch, a: Node, b: Node) -> None:
    """Have all that `a` sends take `b` for its first hop."""
    by_b = bytes(b.name or b"")
    a._running().hops.ways = lambda target: [by_b]  # type: ignore[method-assign]
    token = a._running().table.token(by_b)
    assert token is not None
    monkeypatch.setattr("routing.sending.ways_out", lambda core, dst, *, routed: [Token(token)])


def counted(node: Node | Client, what: str) -> int:
    return node.stats().get(what, 0)


@pytest.mark.parametrize("delivery", ["exactly_once", "at_most_once"])
def test_signed_lists_over_a_relay_arrive_once_in_order_and_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch, delivery: Delivery
) -> None:
    count = 5_000 if delivery == "exactly_once" else 800
    payloads = [number.to_bytes(4, "big") + os.urandom(number % 900) for number in range(count)]

    async def body() -> None:
        async with network(3) as (a, b, c):
            seen: list[Message] = []
            c.on_messages(seen.extend)
            through(monkeypatch, a, b)
            before = counted(b, "routed.forwarded")
            await a.send_many(address(c), payloads, signed=True, delivery=delivery)
            await eventually(lambda: len(seen) >= len(payloads))
            assert [each.payload for each in seen] == payloads
            assert {(each.source, each.destination) for each in seen} == {(address(a), address(c))}
            assert {(each.key, each.proof) for each in seen} == {(a.key, Proof.SIGNATURE)}
            assert len({each.id for each in seen}) == len(payloads)
            sent = counted(a, "list.sent")
            assert count // 200 < sent == counted(c, "list.delivered")
            assert counted(b, "routed.forwarded") - before == sent, "each is one frame to a relay"
            if delivery == "exactly_once":
                await eventually(lambda: not a._running().delivery.underway)
                assert counted(a, "delivery.acknowledged") == sent

    run(body())


def test_more_than_a_relay_can_pass_on_costs_no_connection(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not missed is dropped, and counted; for the rest its source waits."""
    payloads = [number.to_bytes(4, "big") + bytes(996) for number in range(8_000)]

    async def body() -> None:
        async with network(3) as (a, b, c):
            seen: list[bytes] = []
            c.on_messages(lambda batch: seen.extend(each.payload for each in batch))
            through(monkeypatch, a, b)
            await a.send_many(address(c), payloads, signed=True, delivery="at_most_once")
            await a.send_many(address(c), [b"last", b"of all"], signed=True)
            await eventually(lambda: b"of all" in seen)

            def is_accounted_for() -> bool:
                missing = counted(a, "list.sent") - counted(c, "list.delivered")
                dropped = sum(counted(x, "bulk.dropped") for x in (a, b))
                # What is acknowledged may be sent again if that takes long, and dropped as such;
                # and what a node tells a peer of names gives way as lists do.
                others = sum(counted(x, "records.sent") for x in (a, b))
                return missing <= dropped <= missing + others + counted(a, "delivery.retry")

            await eventually(is_accounted_for)
            assert len(set(seen)) == len(seen) and set(seen) <= {*payloads, b"last", b"of all"}
            await a.send_many(address(c), payloads, signed=True)
            await eventually(lambda: seen[-1] == payloads[-1])
            assert seen[-8_000:] == payloads
            for node in (a, b, c):
                assert counted(node, "slow.queue_full") == 0 and len(node.peers()) == 2

    run(body())


def test_clients_are_sent_lists_and_send_them(run: Run) -> None:
    payloads = [number.to_bytes(4, "big") for number in range(600)]

    async def body() -> None:
        async with network(3) as nodes, Client(local(contacts=nodes[0].endpoints)) as client:
            await client.joined()
            proxy = next(node for node in nodes if node.name == client.proxy)
            far = next(node for node in nodes if node.name != client.proxy)
            seen: list[bytes] = []
            client.on_messages(lambda batch: seen.extend(each.payload for each in batch))
            assert client.proxy is not None
            await far.send_many(ClientAddress(client.proxy, client.key), payloads)
            await eventually(lambda: len(seen) >= 600)
            assert seen == payloads and counted(client, "list.delivered") == 1

            heard: list[bytes] = []
            far.on_messages(lambda batch: heard.extend(each.payload for each in batch))
            await client.send_many(address(far), payloads)
            await eventually(lambda: len(heard) >= 600)
            assert heard == payloads and counted(client, "list.sent") == 1
            assert counted(proxy, "client.throttled") == 0

    run(body())


def test_client_waits_for_its_allowance_between_lists(run: Run) -> None:
    few = Limits.local().but(client_messages_per_s=400)

    async def body() -> None:
        async with (
            network(3, limits=few) as nodes,
            Client(local(contacts=nodes[0].endpoints)) as client,
        ):
            await client.joined()
            far = next(node for node in nodes if node.name != client.proxy)
            heard: list[bytes] = []
            far.on_messages(lambda batch: heard.extend(each.payload for each in batch))
            for first in range(3):
                await client.send_many(address(far), [bytes([first, n]) for n in range(200)])
            await eventually(lambda: len(heard) >= 600)
            assert heard == [bytes([first, n]) for first in range(3) for n in range(200)]
            assert counted(client, "allowance.waited") >= 1
            assert sum(counted(node, "client.throttled") for node in nodes) == 0

    run(body())


def test_sender_waits_for_acknowledgements_when_there_is_no_room(run: Run) -> None:
    narrow = Limits.local().but(unacknowledged_max=2)
    payloads = [number.to_bytes(4, "big") + bytes(30_000) for number in range(60)]

    async def body() -> None:
        async with network(2, limits=narrow) as (one, two):
            seen: list[bytes] = []
            two.on_messages(lambda batch: seen.extend(each.payload for each in batch))
            await one.send_many(address(two), payloads, signed=True)
            await eventually(lambda: len(seen) >= 60)
            assert sorted(seen) == payloads
            assert counted(one, "message.busy") > 0

    run(body())


def test_who_waits_for_room_is_told_of_the_stop(run: Run) -> None:
    narrow = Limits.local().but(unacknowledged_max=1)

    async def body() -> None:
        async with network(2, limits=narrow) as (one, two):
            two.on_messages(lambda batch: None)
            one._running().message_handlers[MessageKind.ACKNOWLEDGED] = lambda arrival: None
            task = asyncio.create_task(
                one.send_many(address(two), [bytes(30_000)] * 10, signed=True)
            )
            await eventually(lambda: one._running().delivery.window.pressed)
            await one.stop(drain=0)
            with pytest.raises(NotConnected):
                await task

    run(body())


def test_list_for_nobody_is_undelivered_by_the_number_of_each(run: Run) -> None:
    async def body() -> None:
        async with network(3) as (a, *_):
            events, nobody = a.events(), NodeAddress(bytes(range(32)))
            number = await a.send(nobody, b"before", delivery="at_most_once")
            await a.send_many(nobody, [b"one", b"two", b"three"])
            missing = {number + place for place in range(1, 4)}
            async with asyncio.timeout(PATIENCE_S):
                while missing:
                    event = await anext(events)
                    if isinstance(event, Undelivered):
                        missing.discard(event.number)

    run(body())


def test_list_to_a_neighbour_or_group_is_none_unless_it_is_signed(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            seen: list[Message] = []
            two.on_messages(seen.extend)
            await one.send_many(address(two), [b"a", b"b"])
            await one.send_many(GroupAddress(bytes(32)), [b"c", b"d"], signed=True)
            await eventually(lambda: len(seen) == 4)
            assert counted(one, "list.sent") == 0
            await one.send_many(address(two), [b"only"], signed=True)
            await eventually(lambda: len(seen) == 5)
            assert counted(one, "list.sent") == 0 and seen[4].proof is Proof.SIGNATURE
            await one.send_many(address(two), [b"e", b"f"], signed=True)
            await eventually(lambda: len(seen) == 7)
            assert counted(one, "list.sent") == 1

    run(body())


def test_large_payloads_among_others_go_in_parts(run: Run) -> None:
    payloads = [b"a", b"b", os.urandom(1_200_000), b"c", os.urandom(70_000), b"d", b"e"]

    async def body() -> None:
        async with network(2) as (one, two):
            seen: list[bytes] = []
            two.on_messages(lambda batch: seen.extend(each.payload for each in batch))
            await one.send_many(address(two), payloads, signed=True)
            await eventually(lambda: len(seen) == len(payloads))
            assert sorted(seen) == sorted(payloads)
            assert counted(one, "list.sent") == 2 and counted(one, "large.through") == 1

    run(body())


def test_payloads_of_a_list_can_be_borrowed(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            seen: list[bytes] = []
            kinds: set[type] = set()

            def take(batch: list[BorrowedMessage]) -> None:
                for each in batch:
                    kinds.add(type(each.payload))
                    seen.append(bytes(each.payload))

            two.on_messages(take, borrowed=True)
            await one.send_many(address(two), [b"a", b"", b"c"], signed=True)
            await eventually(lambda: len(seen) == 3)
            assert seen == [b"a", b"", b"c"] and kinds == {memoryview}

    run(body())


def test_messages_of_a_list_are_read_one_by_one(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            async with asyncio.timeout(PATIENCE_S):
                reader = two.messages()
                await one.send_many(address(two), [b"a", b"b", b"c"], signed=True)
                seen = [(await anext(reader)).payload for _ in range(3)]
            assert seen == [b"a", b"b", b"c"]

    run(body())
