"""A node, a client: what one may rely on from the first line of the block to the last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from routing.errors import (
    HandlerFailed,
    NotConnected,
    RequestTimedOut,
    Unroutable,
    UsageError,
)
from routing.events import Churn, Connected, Message, PeerUp, Proof, StateChanged, Terminated
from routing.limits import Limits
from routing.messages import ClientAddress, GroupAddress, NodeAddress
from routing.names import Name, nearest
from routing.node import Client, Node
from routing.state import Detail, Phase
from tests.service.conftest import Run
from tests.service.nodes import (
    LOOPBACK,
    PATIENCE_S,
    address,
    closed_port,
    eventually,
    local,
    network,
)

__all__: list[str] = []


# -- joining


def test_two_nodes_join_and_know_each_other(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            assert one.state.phase is Phase.CONNECTED
            assert [peer.name for peer in one.peers()] == [two.name]
            assert [peer.key for peer in two.peers()] == [one.key]
            assert {one.peers()[0].direction, two.peers()[0].direction} == {1, 2}
            assert one.close_group == [two.name]
            assert one.endpoints[0].startswith("127.0.0.1:")
            assert two.contacts()[0] == one.endpoints[0]
            assert any("consolidated" in line for line in one.explain(address(two).name))
            assert one.stats()["peer.up"] == 1

    run(body())


def test_nine_nodes_are_all_group_connected(run: Run) -> None:
    async def body() -> None:
        async with network(9) as nodes:
            for node in nodes:
                await node.wait_for(Detail.GROUP_CONNECTED, timeout=PATIENCE_S)

    run(body())


def test_joined_returns_when_the_phase_is_connected(run: Run) -> None:
    async def body() -> None:
        async with Node(local(listen=LOOPBACK, first=True)) as first:
            config = local(listen=LOOPBACK, contacts=first.endpoints)
            async with Node(config) as second, asyncio.timeout(PATIENCE_S):
                await asyncio.gather(first.joined(), second.joined())
                assert second.state.phase is Phase.CONNECTED

    run(body())


def test_events_tell_the_whole_story_in_order(run: Run) -> None:
    async def body() -> None:
        async with Node(local(listen=LOOPBACK, first=True)) as first:
            second = Node(local(listen=LOOPBACK, contacts=first.endpoints))
            events, watched = second.events(), second.events()
            async with second, asyncio.timeout(PATIENCE_S):
                await second.joined()
                await anext(each async for each in watched if isinstance(each, Churn))
            told = [event async for event in events]
            details = [event.new.detail for event in told if isinstance(event, StateChanged)]
            assert details == [
                Detail.BOOTSTRAPPED,
                Detail.RELOCATED,
                Detail.CONNECTED,
                Detail.TERMINATED,
            ]
            kinds = [type(event) for event in told]
            order = [kinds.index(kind) for kind in (PeerUp, Connected, Churn, Terminated)]
            assert order == sorted(order)

    run(body())


def test_node_tells_who_keeps_a_record_and_whom_it_is_to_be_handed_to(run: Run) -> None:
    async def body() -> None:
        async with Node(local(listen=LOOPBACK, first=True)) as first:
            events = first.events()
            async with Node(local(listen=LOOPBACK, contacts=first.endpoints)) as second:
                record = Name(bytes(32))
                async with asyncio.timeout(PATIENCE_S):
                    await asyncio.gather(first.joined(), second.joined())
                    churn = await anext(each async for each in events if isinstance(each, Churn))
                assert first.name is not None and second.name is not None
                assert churn.joined == churn.close_group == (second.name,)
                assert churn.concerns(record) == (second.name,)
                assert first.group_of(record) == nearest(record, [first.name, second.name], 8)
                assert first.is_member(record) and second.is_member(bytes(32))
                with pytest.raises(UsageError, match="name of 5 bytes"):
                    first.group_of(b"short")
                with pytest.raises(UsageError, match="name of 5 bytes"):
                    first.is_member(b"short")

    run(body())


def test_contacts_added_later_are_used(run: Run) -> None:
    async def body() -> None:
        async with (
            Node(local(listen=LOOPBACK, first=True)) as first,
            Node(local(listen=LOOPBACK, contacts=[closed_port()])) as second,
        ):
            with pytest.raises(UsageError, match="endpoint"):
                second.add_contacts(["nonsense"])
            second.add_contacts(first.endpoints)
            await second.wait_for(Phase.CONNECTED, timeout=PATIENCE_S)

    run(body())


def test_discovery_is_asked_when_nobody_answers(run: Run) -> None:
    async def body() -> None:
        async with Node(local(listen=LOOPBACK, first=True)) as first:
            asked: list[int] = []

            async def discover() -> list[str]:
                asked.append(1)
                if len(asked) == 1:
                    raise OSError("the directory is down")
                return first.endpoints

            config = local(listen=LOOPBACK, contacts=[closed_port()], discover=discover)
            async with Node(config) as second:
                await second.wait_for(Phase.CONNECTED, timeout=PATIENCE_S)
                assert second.stats()["discover.failed"] == 1

    run(body())


# -- messages


def test_message_is_proved_by_the_channel_or_by_its_signature(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            seen: list[Message] = []
            two.on_messages(seen.extend)
            await one.send(address(two), b"direct")
            await eventually(lambda: len(seen) == 1)
            await one.send(address(two), b"signed", signed=True)
            await eventually(lambda: len(seen) == 2)
            assert [(each.payload, each.proof) for each in seen] == [
                (b"direct", Proof.CHANNEL),
                (b"signed", Proof.SIGNATURE),
            ]
            assert {each.key for each in seen} == {one.key}
            assert seen[0].source == address(one)

    run(body())


def test_many_messages_arrive_once_and_in_order(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            seen: list[bytes] = []
            two.on_messages(lambda batch: seen.extend(each.payload for each in batch))
            payloads = [number.to_bytes(4, "big") for number in range(2_000)]
            await one.send_many(address(two), payloads)
            await eventually(lambda: len(seen) >= len(payloads))
            assert seen == payloads

    run(body())


def test_group_message_reaches_every_member_once(run: Run) -> None:
    async def body() -> None:
        async with network(4) as nodes:
            seen: list[tuple[int, bytes]] = []

            def handler(index: int) -> Callable[[list[Message]], None]:
                return lambda batch: seen.extend((index, each.payload) for each in batch)

            for index, node in enumerate(nodes):
                node.on_messages(handler(index))
            for sender in nodes:
                await sender.send(GroupAddress(bytes(32)), sender.key)
            await eventually(lambda: len(seen) >= 16)
            assert sorted(seen) == sorted(
                (index, sender.key) for index in range(4) for sender in nodes
            )

    run(body())


def test_request_is_answered_by_plain_and_async_handlers(run: Run) -> None:
    async def body() -> None:
        async with network(3) as (one, two, three):

            async def later(request: Message) -> bytes:
                await asyncio.sleep(0)
                return b"later " + request.payload

            two.on_request(lambda request: b"now " + request.payload)
            three.on_request(later)
            assert await one.request(address(two), b"x") == b"now x"
            assert await one.request(address(three), b"y", signed=True) == b"later y"
            assert await two.request(GroupAddress(address(three).name), b"z") in (
                b"later z",
                b"now z",
            )

    run(body())


def test_failing_handler_fails_the_request(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        async with network(2) as (one, two):

            def handler(request: Message) -> bytes:
                raise LookupError("secret")

            two.on_request(handler)
            with pytest.raises(HandlerFailed, match="LookupError"):
                await one.request(address(two), b"x")
            assert two.stats()["handler.failed"] == 1
            with pytest.raises(HandlerFailed, match="no handler"):
                await two.request(address(one), b"x")

    with caplog.at_level(logging.CRITICAL, "routing"):
        run(body())


def test_request_without_a_reply_times_out(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):

            async def never(request: Message) -> bytes:
                await asyncio.Event().wait()
                raise AssertionError("never set")

            two.on_request(never)
            with pytest.raises(RequestTimedOut, match=r"^no reply within 0\.05 s$"):
                await one.request(address(two), b"x", timeout=0.05)
            assert one.stats()["requests.waiting"] == 0

    run(body())


def test_cancelled_request_is_awaited_and_sent_no_more(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            asked = asyncio.Event()

            async def never(request: Message) -> bytes:
                asked.set()
                await asyncio.Event().wait()
                raise AssertionError("never set")

            two.on_request(never)
            for to, signed in ((address(two), False), (address(two), True)):
                asked.clear()
                request = asyncio.create_task(one.request(to, b"x", timeout=3_600, signed=signed))
                await asyncio.wait_for(asked.wait(), PATIENCE_S)
                request.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await request
            assert one.stats()["requests.waiting"] == 0
            assert one.stats()["request.withdrawn"] == 2
            assert one._running().messaging.pending == {}

    run(body())


def test_request_to_nobody_is_unroutable(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, _):
            with pytest.raises(Unroutable):
                await one.request(NodeAddress(bytes(32)), b"x", timeout=PATIENCE_S)

    run(body())


def test_sending_while_not_connected_is_refused_or_waits(run: Run) -> None:
    async def body() -> None:
        async with Node(local(listen=LOOPBACK, contacts=[closed_port()])) as lonely:
            with pytest.raises(NotConnected):
                await lonely.send(GroupAddress(bytes(32)), b"x")
            with pytest.raises(NotConnected):
                await lonely.request(GroupAddress(bytes(32)), b"x")
            with pytest.raises(RequestTimedOut):
                await lonely.request(GroupAddress(bytes(32)), b"x", wait=True, timeout=0.05)
            async with Node(local(listen=LOOPBACK, first=True)) as first:
                first.on_request(lambda request: b"at last")
                lonely.on_request(lambda request: b"at last")
                task = asyncio.create_task(
                    lonely.request(GroupAddress(bytes(32)), b"x", wait=True, timeout=PATIENCE_S)
                )
                lonely.add_contacts(first.endpoints)
                assert await task == b"at last"

    run(body())


def test_wrong_arguments_are_refused_at_once(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            for wrong in (
                one.send(address(two), "text"),  # type: ignore[arg-type]
                one.send(address(two), bytes(one.config.limits.large_bytes_max + 1)),
                one.send(GroupAddress(bytes(32)), bytes(one.config.limits.payload_bytes_max + 1)),
                one.send(b"name", b"x"),  # type: ignore[arg-type]
                one.request(address(two), b"x", timeout=0),
                one.stop(drain=-1),
                one.wait_for("CONNECTED"),  # type: ignore[arg-type]
            ):
                with pytest.raises(UsageError):
                    await wrong

    run(body())


def test_largest_payload_goes_through(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            two.on_request(lambda request: request.payload)
            payload = bytes(one.config.limits.payload_bytes_max)
            assert await one.request(address(two), payload, timeout=PATIENCE_S) == payload

    run(body())


def test_slow_handler_holds_up_the_sender_and_loses_nothing(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(inbox_bytes=65_536, write_bytes_max=262_144)
        async with network(2, limits=limits) as (one, two):
            gate, seen, sent = asyncio.Event(), [0], [0]

            async def handler(batch: list[Message]) -> None:
                await gate.wait()
                seen[0] += len(batch)

            async def send_all() -> None:
                for _ in range(400):
                    await one.send(address(two), bytes(65_536))
                    sent[0] += 1

            two.on_messages(handler)
            task = asyncio.create_task(send_all())
            await eventually(lambda: one.stats()["bytes.queued"] > limits.write_bytes_max // 2)
            assert two.stats()["inbox.held"] == 1
            assert sent[0] < 400
            gate.set()
            await asyncio.wait_for(task, PATIENCE_S)
            await eventually(lambda: seen[0] == 400)
            assert len(one.peers()) == len(two.peers()) == 1

    run(body())


# -- clients


def test_client_sends_and_is_reached_through_its_proxy(run: Run) -> None:
    async def body() -> None:
        async with network(3) as nodes, Client(local(contacts=nodes[0].endpoints)) as client:
            await asyncio.wait_for(client.joined(), PATIENCE_S)
            assert client.proxy == nodes[0].name
            assert nodes[0].clients() == [client.key]
            for node in nodes:
                node.on_request(lambda request: b"for " + request.key)
                assert await client.request(address(node), b"") == b"for " + client.key
            client.on_request(lambda request: b"client")
            assert client.proxy is not None
            there = ClientAddress(client.proxy, client.key)
            for node in nodes:
                assert await node.request(there, b"") == b"client"

    run(body())


def test_client_finds_another_proxy_when_it_loses_its_own(run: Run) -> None:
    async def body() -> None:
        async with network(3) as nodes:
            contacts = [node.endpoints[0] for node in nodes]
            async with Client(local(contacts=contacts)) as client:
                await asyncio.wait_for(client.joined(), PATIENCE_S)
                lost = client.proxy
                await next(node for node in nodes if node.name == lost).stop(drain=0.0)
                await eventually(lambda: client.proxy not in (None, lost))
                rest = [node for node in nodes if node.name == client.proxy]
                rest[0].on_request(lambda request: b"here")
                assert await client.request(address(rest[0]), b"") == b"here"

    run(body())
