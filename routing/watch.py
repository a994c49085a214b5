"""Queues of events, one for each consumer, and waiting for a state; nothing decides here.

A consumer that is too slow loses its oldest events and is told how many; it never holds up the
node, and the node never grows because of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakSet

from routing.errors import NotConnected, UsageError
from routing.events import Event, EventsLost
from routing.state import Detail, Phase, State

__all__ = ["Events", "Watch", "holds"]


class Events:
    """The events of one consumer, from when it asked for them: `async for event in events`.

    It ends after the last event of the node, or with `aclose`. One task reads it at a time.
    """

    __slots__ = ("__weakref__", "_closed", "_lost", "_max", "_queue", "_waiter")

    def __init__(self, events_max: int) -> None:
        self._queue: deque[Event] = deque()
        self._max = events_max
        self._lost = 0
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """Return how many items wait, the notice of those lost included."""
        return len(self._queue) + (self._lost > 0)

    def put(self, event: Event) -> None:
        """Queue one event; when full, the oldest make room for it and are counted."""
        if self._closed:
            return
        self._queue.append(event)
        while len(self) > self._max:
            self._queue.popleft()
            self._lost += 1
        self._wake()

    def close(self) -> None:
        """Let the consumer see what is queued, and then the end."""
        self._closed = True
        self._wake()

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        while not len(self):
            if self._closed:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise UsageError("events() is read by two tasks; give each its own events()")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._lost:
            lost, self._lost = self._lost, 0
            return EventsLost(lost)
        return self._queue.popleft()

    async def aclose(self) -> None:
        """Stop listening; what is queued is thrown away."""
        self._queue.clear()
        self._lost = 0
        self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Watch:
    """Everybody who wants to be told: consumers of events and those who wait for a state."""

    __slots__ = ("_closed", "_consumers", "_waiting", "fault")

    def __init__(self) -> None:
        # Weak: a consumer that walks away without a word costs nothing from then on.
        self._consumers: WeakSet[Events] = WeakSet()
        self._waiting: dict[asyncio.Future[None], Callable[[State], bool]] = {}
        self._closed = False
        self.fault: NotConnected | None = None
        """Why the node stopped by itself, for those who wait or ask later."""

    def events(self, events_max: int) -> Events:
        """Return a new consumer; after `close` one that ends at once."""
        consumer = Events(events_max)
        if self._closed:
            consumer.close()
        else:
            self._consumers.add(consumer)
        return consumer

    def tell(self, event: Event) -> None:
        """Hand one event to every consumer."""
        for consumer in list(self._consumers):
            consumer.put(event)

    def look(self, state: State) -> None:
        """Wake those who wait for this state; one that can never come fails them."""
        for waiter, wanted in list(self._waiting.items()):
            if waiter.done():
                continue
            if wanted(state):
                waiter.set_result(None)
            elif state.phase is Phase.TERMINATED:
                waiter.set_exception(
                    self.why_over("the node has stopped; no other state will come")
                )

    def why_over(self, text: str) -> NotConnected:
        """Return the exception for what can no longer come: the fault if there is one."""
        if self.fault is None:
            return NotConnected(text)
        return type(self.fault)(*self.fault.args)

    async def wait(self, state: Callable[[], State], wanted: Callable[[State], bool]) -> None:
        """Return once the state is a wanted one.

        Raises:
            NotConnected: the node has stopped.
        """
        if wanted(state()):
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = wanted
        try:
            self.look(state())
            await waiter
        finally:
            del self._waiting[waiter]

    def close(self) -> None:
        """The node is gone: consumers see the end."""
        self._closed = True
        for consumer in list(self._consumers):
            consumer.close()
        self._consumers.clear()


def holds(wanted: State | Phase | Detail) -> Callable[[State], bool]:
    """Return the question whether a state is the wanted one.

    A detail includes those below it: CONNECTED holds in GROUP_CONNECTED too; TERMINATED is apart.

    Raises:
        UsageError: the wanted thing is no state, phase or detail.
    """
    match wanted:
        case State():
            return lambda state: state == wanted
        case Phase():
            return lambda state: state.phase is wanted
        case Detail.TERMINATED:
            return lambda state: state.detail is Detail.TERMINATED
        case Detail():
            return lambda state: wanted <= state.detail < Detail.TERMINATED
    raise UsageError(f"wait_for({wanted!r}) must name a State, a Phase or a Detail")
