"""Messages read one at a time on real sockets: all of them, in order, at the reader's pace."""

from __future__ import annotations

import asyncio

import pytest

from routing.errors import UsageError
from routing.events import BorrowedMessage
from routing.limits import Limits
from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, address, eventually, network

__all__: list[str] = []


def test_messages_are_read_in_order_while_the_sender_waits_for_the_reader(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(inbox_bytes=65_536)
        async with network(2, limits=limits) as (one, two):
            reading, sent = (
                two.messages(),
                [number.to_bytes(4, "big") * 64 for number in range(5_000)],
            )
            task = asyncio.create_task(one.send_many(address(two), sent))
            # The reader is slow to begin: then nothing more is read than its inbox may hold.
            await eventually(lambda: two.stats().get("inbox.held"))
            assert len(reading) < len(sent)
            came = []
            async with asyncio.timeout(PATIENCE_S):
                async for message in reading:
                    came.append(message.payload)
                    if len(came) == len(sent):
                        break
            await task
            assert came == sent
            await two.stop()
            assert [message async for message in reading] == []

    run(body())


def test_latest_messages_are_kept_for_who_chooses_so(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            reading = two.messages(drop_oldest=10)
            with pytest.raises(UsageError, match="close that reader"):
                two.on_messages(print)
            for number in range(100):
                await one.send(address(two), bytes([number]))
            await eventually(lambda: two.stats().get("inbox.dropped") == 90)
            assert [(await anext(reading)).payload for _ in range(10)] == [
                bytes([number]) for number in range(90, 100)
            ]

    run(body())


def test_send_waits_for_a_neighbour_that_has_yet_to_take_what_was_sent(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(inbox_bytes=65_536, unconfirmed_max=256)
        async with network(2, limits=limits) as (one, two):
            reading, came = two.messages(), []

            async def send() -> None:
                for number in range(3_000):
                    await one.send(address(two), number.to_bytes(4, "big") * 32)

            task = asyncio.create_task(send())
            await eventually(lambda: one.stats().get("message.busy"))
            assert not task.done()
            async with asyncio.timeout(PATIENCE_S):
                async for message in reading:
                    came.append(int.from_bytes(message.payload[:4], "big"))
                    if len(came) == 3_000:
                        break
            await task
            assert came == list(range(3_000))

    run(body())


def test_payloads_are_borrowed_by_who_chooses_so(run: Run) -> None:
    """Of batches, of single messages and of large ones alike; before the start and after it."""

    async def body() -> None:
        sent = [bytes([number]) * number * 300 for number in range(1, 200)]
        async with network(2) as (one, two):
            came, kept = list[bytes](), list[BorrowedMessage]()

            async def handler(messages: list[BorrowedMessage]) -> None:
                for message in messages:
                    assert isinstance(message.payload, memoryview)
                    came.append(bytes(message.payload))
                    kept.append(message)
                    await asyncio.sleep(0)

            two.on_messages(handler, borrowed=True)
            await one.send_many(address(two), sent)
            await eventually(lambda: len(came) == len(sent))
            assert came == sent
            for payload in sent[:9]:
                await one.send(address(two), payload, signed=True)
            large = bytes(range(256)) * 8_192
            await one.send(address(two), large)
            await eventually(lambda: len(came) == len(sent) + 10)
            assert sorted(came) == sorted([*sent, *sent[:9], large])
            await eventually(lambda: two.stats()["inbox.bytes"] == 0)
            for message in kept:
                with pytest.raises(ValueError, match=r"released|borrowed"):
                    bytes(message.payload)

    run(body())


def test_records_and_frames_of_both_ends_agree(run: Run) -> None:
    """What one has written the other has read, once nothing is under way."""

    async def body() -> None:
        async with network(2) as (one, two):
            before = one.stats()["frames.written"]
            two.on_messages(lambda messages: None)
            two.on_request(lambda request: request.payload)
            await one.send_many(address(two), [bytes(100)] * 20_000)
            await eventually(lambda: one.stats()["messages.waiting"] == 0)
            assert await one.request(address(two), b"done") == b"done"

            def agree() -> bool:
                ours, theirs = one.stats(), two.stats()
                return all(
                    ours[f"{what}.written"] == theirs[f"{what}.read"]
                    and ours[f"{what}.read"] == theirs[f"{what}.written"]
                    for what in ("bytes", "records", "frames")
                )

            await eventually(agree)
            ours = one.stats()
            assert ours["frames.written"] >= before + 9, "2,000,000 bytes are eight batches"
            assert ours["records.written"] <= ours["frames.written"]
            assert ours["records.seal_ns"] > 0 < ours["records.open_ns"]

    run(body())
