"""Slow consumers lose their oldest events and are told so; whoever waits for a state is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from routing.errors import NotConnected, UsageError
from routing.events import BootstrapStarted, Connected, Event, EventsLost
from routing.state import Detail, Phase, State
from routing.watch import Events, Watch, holds

__all__: list[str] = []

DOWN = State(Phase.DISCONNECTED, Detail.DISCONNECTED, False)
UP = State(Phase.CONNECTED, Detail.CONNECTED, False)
FULL = State(Phase.CONNECTED, Detail.GROUP_CONNECTED, False)
OVER = State(Phase.TERMINATED, Detail.TERMINATED, False)


def numbered(count: int) -> list[Event]:
    return [BootstrapStarted(number, 0) for number in range(count)]


async def read(events: Events) -> list[Event]:
    return [event async for event in events]


def test_events_come_in_order_and_end() -> None:
    async def body() -> None:
        watch = Watch()
        events = watch.events(8)
        for event in numbered(3):
            watch.tell(event)
        watch.close()
        assert await read(events) == numbered(3)

    asyncio.run(body())


def test_consumer_that_waits_is_woken() -> None:
    async def body() -> None:
        watch = Watch()
        task = asyncio.create_task(read(watch.events(8)))
        await asyncio.sleep(0)
        watch.tell(Connected())
        watch.close()
        assert await task == [Connected()]

    asyncio.run(body())


def test_oldest_events_are_replaced_by_one_that_counts_them() -> None:
    async def body() -> None:
        watch = Watch()
        slow, fast = watch.events(4), watch.events(100)
        for event in numbered(10):
            watch.tell(event)
            assert len(slow) <= 4
        watch.close()
        assert await read(slow) == [EventsLost(7), *numbered(10)[7:]]
        assert await read(fast) == numbered(10)

    asyncio.run(body())


def test_losses_are_counted_anew_after_they_were_told() -> None:
    async def body() -> None:
        events = Events(2)
        for event in numbered(4):
            events.put(event)
        assert await anext(events) == EventsLost(3)
        events.put(Connected())
        assert [await anext(events), await anext(events)] == [numbered(4)[3], Connected()]

    asyncio.run(body())


def test_consumer_that_walks_away_is_forgotten() -> None:
    async def body() -> None:
        watch = Watch()
        events = watch.events(4)
        await events.aclose()
        watch.tell(Connected())
        assert await read(events) == []

    asyncio.run(body())


def test_two_readers_of_one_consumer_are_refused() -> None:
    async def body() -> None:
        events = Events(4)
        first = asyncio.create_task(read(events))
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="two tasks"):
            await anext(events)
        events.close()
        await first

    asyncio.run(body())


def test_events_after_the_end_are_none() -> None:
    async def body() -> None:
        watch = Watch()
        watch.close()
        assert await read(watch.events(4)) == []

    asyncio.run(body())


def test_wait_returns_at_once_if_the_state_holds() -> None:
    asyncio.run(Watch().wait(lambda: UP, holds(Phase.CONNECTED)))


@pytest.mark.parametrize(
    ("wanted", "state", "expected"),
    [
        (Phase.CONNECTED, UP, True),
        (Phase.CONNECTED, FULL, True),
        (Phase.CONNECTED, DOWN, False),
        (Detail.CONNECTED, UP, True),
        (Detail.CONNECTED, FULL, True),
        (Detail.GROUP_CONNECTED, UP, False),
        (Detail.CONNECTED, OVER, False),
        (Detail.TERMINATED, OVER, True),
        (Detail.TERMINATED, FULL, False),
        (UP, UP, True),
        (UP, FULL, False),
    ],
)
def test_wanted_state_holds(wanted: State | Phase | Detail, state: State, expected: bool) -> None:
    assert holds(wanted)(state) is expected


def test_wanting_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match="wait_for"):
        holds("CONNECTED")  # type: ignore[arg-type]


async def waiting(watch: Watch, state: Callable[[], State]) -> asyncio.Task[None]:
    task = asyncio.create_task(watch.wait(state, holds(Phase.CONNECTED)))
    await asyncio.sleep(0)
    assert not task.done()
    return task


def test_whoever_waits_is_woken_by_the_state() -> None:
    async def body() -> None:
        watch = Watch()
        task = await waiting(watch, lambda: DOWN)
        watch.look(DOWN)
        watch.look(UP)
        await task

    asyncio.run(body())


def test_whoever_waits_for_what_cannot_come_is_told() -> None:
    async def body() -> None:
        watch = Watch()
        task = await waiting(watch, lambda: DOWN)
        watch.look(OVER)
        with pytest.raises(NotConnected, match="stopped"):
            await task

    asyncio.run(body())
