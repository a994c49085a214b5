"""Messages one at a time: in order, the peers waiting or the oldest dropped, to the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from routing.errors import UsageError
from routing.events import Message
from routing.inbox import KEEP_MAX
from tests.unit.test_inbox import Fixture, message, settle

__all__: list[str] = []


def run(body: Coroutine[None, None, None]) -> None:
    asyncio.run(body)


async def drained(reading: object) -> list[int]:
    """Return the numbers of what is left, to the end."""
    return [int.from_bytes(each.id, "big") async for each in reading]  # type: ignore[attr-defined]


def test_messages_come_one_by_one_in_order_across_batches() -> None:
    async def body() -> None:
        at, seen = Fixture(), list[Message]()
        reading = at.inbox.read(None)
        at.inbox.put_many([message(0), message(1)], 2)
        await settle()
        at.inbox.put(message(2))
        async for each in reading:
            seen.append(each)
            if len(seen) == 3:
                break
        assert seen == [message(0), message(1), message(2)]

    run(body())


def test_reader_that_waits_is_woken() -> None:
    async def body() -> None:
        at = Fixture()
        waiting = asyncio.ensure_future(anext(at.inbox.read(None)))
        await settle()
        at.inbox.put(message(7))
        assert await waiting == message(7)

    run(body())


def test_peers_wait_for_a_slow_reader_and_go_on_when_it_has_read() -> None:
    async def body() -> None:
        at = Fixture(bytes_max=2_000, handler_s=0.001)
        reading = at.inbox.read(None)
        for number in range(4):
            at.inbox.put(message(number))
            await settle()
        # The first was handed over at once; no limit of handlers cancels its reader.
        await asyncio.sleep(0.01)
        assert at.holds == [True] and at.inbox.queued > 2_000
        assert [await anext(reading) for _ in range(4)] == [message(n) for n in range(4)]
        waiting = asyncio.ensure_future(anext(reading))
        await settle()
        assert at.holds == [True, False] and waiting.cancel()
        assert "handler.timed_out" not in at.counters

    run(body())


def test_reader_that_drops_the_oldest_keeps_no_more_bytes_than_an_inbox() -> None:
    async def body() -> None:
        at = Fixture(bytes_max=1_000)
        reading = at.inbox.read(KEEP_MAX)
        for number in range(10):
            at.inbox.put(message(number, size=300))
            await settle()
        assert at.counters["inbox.dropped"] == 7
        assert (await anext(reading)).id == message(7).id
        # What has been read makes room.
        at.inbox.put(message(10, size=400))
        await settle()
        assert at.counters["inbox.dropped"] == 7
        # One that alone is above the bound is kept, and nothing beside it.
        at.inbox.put(message(11, size=5_000))
        await settle()
        assert at.counters["inbox.dropped"] == 10
        await at.inbox.close()
        assert await drained(reading) == [11]

    run(body())


def test_reader_that_drops_the_oldest_holds_nobody_up() -> None:
    async def body() -> None:
        at = Fixture(bytes_max=2_000)
        reading = at.inbox.read(3)
        for number in range(10):
            at.inbox.put(message(number))
            await settle()
        assert at.holds == [] and at.inbox.queued == 0 and len(reading) == 3
        assert at.counters["inbox.dropped"] == 7
        await at.inbox.close()
        assert await drained(reading) == [7, 8, 9]

    run(body())


def test_end_of_the_node_is_the_end_after_the_last_message() -> None:
    async def body() -> None:
        at = Fixture()
        reading = at.inbox.read(None)
        at.inbox.put(message(0))
        await settle()
        at.inbox.put(message(1))
        await at.inbox.close()
        at.inbox.put(message(2))
        assert await drained(reading) == [0, 1]
        assert at.counters["inbox.left"] == 0 and at.counters["inbox.closed"] == 1
        assert await drained(at.inbox.read(None)) == []

    run(body())


def test_reader_that_waits_when_the_node_ends_hears_the_end() -> None:
    async def body() -> None:
        at = Fixture()
        ending = asyncio.ensure_future(drained(at.inbox.read(None)))
        await settle()
        await at.inbox.close()
        assert await ending == []

    run(body())


@pytest.mark.parametrize("says_so", [True, False])
def test_reader_that_leaves_gives_up_what_waits_and_it_is_counted(says_so: bool) -> None:
    async def body() -> None:
        at = Fixture(bytes_max=2_000)
        reading = at.inbox.read(None)
        at.inbox.put_many([message(number) for number in range(5)], 5)
        await settle()
        assert at.holds == [True]
        if says_so:
            await reading.aclose()
        del reading
        await settle()
        assert at.holds == [True, False] and at.counters["inbox.left"] == 5
        at.inbox.put(message(6))
        await settle()
        assert at.counters["inbox.no_handler"] == 1
        assert len(at.inbox.read(None)) == 0

    run(body())


def test_two_tasks_that_read_are_told() -> None:
    async def body() -> None:
        at = Fixture()
        reading = at.inbox.read(None)
        first = asyncio.ensure_future(anext(reading))
        await settle()
        with pytest.raises(UsageError, match="read by two tasks"):
            await anext(reading)
        first.cancel()
        await settle()
        at.inbox.put(message(1))
        assert await anext(reading) == message(1)

    run(body())


def test_second_loop_is_refused_at_once_while_messages_wait() -> None:
    async def body() -> None:
        at, seen, go = Fixture(), list[int](), asyncio.Event()
        reading = at.inbox.read(None)
        at.inbox.put_many([message(number) for number in range(4)], 4)
        await settle()

        async def first() -> None:
            async for each in reading:
                seen.append(int.from_bytes(each.id, "big"))
                await go.wait()
                if len(seen) == 3:
                    return

        task = asyncio.ensure_future(first())
        await settle()
        with pytest.raises(UsageError, match="read by two tasks"):
            async with asyncio.timeout(5):
                await drained(reading)
        go.set()
        await task
        assert seen == [0, 1, 2], "the second took none of them"
        reading.close()
        assert await drained(reading) == [3], "the first has ended: the next one reads on"

    run(body())


def test_second_reader_takes_nothing_from_one_that_is_just_being_woken() -> None:
    async def body() -> None:
        at = Fixture()
        reading = at.inbox.read(None)
        first = asyncio.ensure_future(anext(reading))
        await settle()
        reading.give([message(1)])
        with pytest.raises(UsageError, match="read by two tasks"):
            await anext(reading)
        assert await first == message(1)

    run(body())


def test_reader_and_handler_exclude_each_other() -> None:
    async def body() -> None:
        at = Fixture()
        reading = at.inbox.read(None)
        with pytest.raises(UsageError, match="is read already"):
            at.inbox.read(None)
        with pytest.raises(UsageError, match="while messages"):
            at.inbox.on_messages(print)
        await reading.aclose()
        at.inbox.on_messages(print)
        with pytest.raises(UsageError, match="use one of them"):
            at.inbox.read(None)

    run(body())


@pytest.mark.parametrize("keep", [0, -1, KEEP_MAX + 1, True, 1.0, "8"])
def test_number_to_keep_is_bounded(keep: object) -> None:
    with pytest.raises(UsageError, match="drop_oldest="):
        Fixture().inbox.read(keep)  # type: ignore[arg-type]
