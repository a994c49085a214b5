"""However the block of a node ends, nothing of it is left, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import gc

import pytest

from routing.errors import (
    CloseCode,
    ListenError,
    NotConnected,
    UsageError,
)
from routing.events import Message, PeerDown, Terminated
from routing.node import Node
from routing.state import Detail, Phase
from tests.service.conftest import Run
from tests.service.nodes import (
    LOOPBACK,
    PATIENCE_S,
    address,
    eventually,
    local,
    network,
)

__all__: list[str] = []


def test_body_that_raises_leaves_nothing_open(run: Run) -> None:
    async def body() -> None:
        with pytest.raises(LookupError):
            async with network(3):
                raise LookupError

    run(body())


def test_body_that_is_cancelled_leaves_nothing_open(run: Run) -> None:
    async def body() -> None:
        inside = asyncio.Event()

        async def block() -> None:
            async with network(3) as (one, *_):
                inside.set()
                await one.wait_for(Detail.TERMINATED)

        task = asyncio.create_task(block())
        await asyncio.wait_for(inside.wait(), PATIENCE_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(body())


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 60])
def test_cancelled_while_starting_or_stopping_leaves_nothing_open(run: Run, steps: int) -> None:
    async def body() -> None:
        async with Node(local(listen=LOOPBACK, first=True)) as first:
            for stopping in (False, True):
                node = Node(local(listen=LOOPBACK, contacts=first.endpoints))

                async def block(node: Node = node, stopping: bool = stopping) -> None:
                    async with node:
                        if stopping:
                            await node.joined()
                        else:
                            await asyncio.Event().wait()

                task = asyncio.create_task(block())
                if stopping:
                    await first.joined()
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert node.state.phase is Phase.TERMINATED

    run(body())


def test_stop_ends_requests_and_waits_and_events(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):

            async def never(request: Message) -> bytes:
                await asyncio.Event().wait()
                raise AssertionError("never set")

            two.on_request(never)
            there = address(two)
            request = asyncio.create_task(one.request(there, b"x"))
            waiting = asyncio.create_task(one.wait_for(Detail.GROUP_CONNECTED))
            events = one.events()
            await eventually(lambda: one.stats()["requests.waiting"] == 1)
            await one.stop()
            for task in (request, waiting):
                with pytest.raises(NotConnected):
                    await task
            assert isinstance([event async for event in events][-1], Terminated)
            assert one.state.phase is Phase.TERMINATED
            with pytest.raises(NotConnected):
                await one.send(there, b"x")
            await one.stop()
            await eventually(lambda: not two.peers())

    run(body())


def test_handler_may_stop_its_own_node(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):

            async def handler(batch: list[Message]) -> None:
                await two.stop()

            two.on_messages(handler)
            await one.send(address(two), b"stop")
            await eventually(lambda: two.state.phase is Phase.TERMINATED)
            await two.stop()

    run(body())


def test_node_starts_once_and_only_with_async_with(run: Run) -> None:
    async def body() -> None:
        node = Node(local(listen=LOOPBACK, first=True))
        assert str(node.state) == "DISCONNECTED"
        with pytest.raises(UsageError, match="async with"):
            node.peers()
        async with node:
            with pytest.raises(UsageError, match="make another"):
                await node.__aenter__()
            assert node.state.phase is not Phase.TERMINATED
        with pytest.raises(UsageError, match="make another"):
            await node.__aenter__()

    run(body())


def test_port_in_use_is_told_and_leaves_nothing_open(run: Run) -> None:
    async def body() -> None:
        async with Node(local(listen=LOOPBACK, first=True)) as first:
            for listen in (first.endpoints, [*LOOPBACK, *first.endpoints]):
                with pytest.raises(ListenError, match="address already in use"):
                    await Node(local(listen=listen)).__aenter__()

    run(body())


def test_node_that_is_gone_is_not_kept_alive(run: Run) -> None:
    async def body() -> None:
        async with network(2):
            pass
        gc.collect()
        assert [each for each in gc.get_objects() if isinstance(each, Node)] == []

    run(body())


def test_abandoned_node_is_missed_without_a_word(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            events = one.events()
            await two.abandon()
            await eventually(lambda: not one.peers())
            await one.stop()
            codes = [event.code async for event in events if isinstance(event, PeerDown)]
            assert codes == [CloseCode.IO_ERROR]

    run(body())
