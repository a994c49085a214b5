"""Who sends signed messages one by one waits for the destination, and loses nothing by it."""

from __future__ import annotations

import asyncio

import pytest

from routing.errors import NotConnected
from routing.messages import MessageKind
from tests.service.conftest import Run
from tests.service.nodes import address, eventually, network

__all__: list[str] = []


def test_single_signed_messages_wait_for_acknowledgements_and_arrive_in_order(run: Run) -> None:
    payloads = [number.to_bytes(4, "big") + bytes(996) for number in range(2_000)]

    async def body() -> None:
        async with network(2) as (one, two):
            seen: list[bytes] = []
            two.on_messages(lambda batch: seen.extend(each.payload for each in batch))
            for payload in payloads:
                await one.send(address(two), payload, signed=True)
            await eventually(lambda: len(seen) >= len(payloads))
            assert seen == payloads
            assert one.stats()["message.busy"] >= 1
            await eventually(lambda: not one._running().delivery.underway)
            assert one._running().delivery.window.flying == {}

    run(body())


def test_several_who_wait_all_go_on(run: Run) -> None:
    async def body() -> None:
        async with network(3) as (one, two, three):
            seen: list[tuple[bytes, bytes]] = []
            for node in (two, three):
                node.on_messages(
                    lambda batch: seen.extend((each.payload[:1], each.id) for each in batch)
                )

            async def stream(mark: bytes) -> None:
                to = address(two if mark < b"c" else three)
                for _ in range(60):
                    await one.send(to, mark + bytes(40_000), signed=True)

            await asyncio.gather(*(stream(mark) for mark in (b"a", b"b", b"c", b"d")))
            await eventually(lambda: len(seen) >= 240)
            assert len(set(seen)) == len(seen) == 240
            assert one.stats()["message.busy"] >= 1

    run(body())


def test_who_waits_for_one_destination_does_not_hold_up_another(run: Run) -> None:
    async def body() -> None:
        async with network(3) as (one, two, three):
            core = one._running()
            usual = core.message_handlers[MessageKind.ACKNOWLEDGED]
            silent = address(two)
            core.message_handlers[MessageKind.ACKNOWLEDGED] = lambda arrival: (
                None if arrival.signed.source == silent else usual(arrival)
            )

            async def stream() -> None:
                while True:
                    await one.send(silent, bytes(40_000), signed=True)

            waiting = asyncio.create_task(stream())
            await eventually(lambda: core.delivery.window.pressed)
            came: list[int] = []
            three.on_messages(lambda batch: came.extend(len(each.payload) for each in batch))
            for size in range(100):
                await one.send(address(three), bytes(size), signed=True)
            await eventually(lambda: came == list(range(100)))
            assert not waiting.done()
            await one.stop(drain=0)
            with pytest.raises(NotConnected):
                await waiting

    run(body())
