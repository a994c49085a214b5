"""Messages one at a time: `async for message in node.messages()`.

A reader holds one batch, which its owner goes on paying for until the last of it has been asked
past; so a slow reader slows its peers down, unless it has chosen to lose the oldest. It knows no
handler, no bytes and no connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final
from weakref import ref

from routing.errors import UsageError
from routing.events import Message

__all__ = ["Messages"]

TWO_TASKS: Final = "messages() is read by two tasks; have one of them read"


class Messages:
    """What `messages()` returns; it ends when the node has stopped, or with `aclose`.

    One task reads it at a time: where one has begun an `async for`, another is refused until that
    task has ended. Whoever stops reading closes it, or lets go of it: a reader that is merely left
    lying holds everybody up.

    Args:
        keep: Messages that may wait; the oldest beyond that are dropped. None: the peers wait.
        keep_bytes: Of payload that may wait where `keep` is given; the newest is always kept.
        on_left: Told how many were given up unread.
        on_dropped: Told how many made room for later ones.
    """

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_closed",
        "_drop",
        "_keep",
        "_keep_bytes",
        "_left",
        "_queue",
        "_reader",
        "_taken",
        "_waiter",
    )

    def __init__(
        self,
        keep: int | None,
        *,
        keep_bytes: int,
        on_left: Callable[[int], None],
        on_dropped: Callable[[int], None],
    ) -> None:
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._bytes = 0
        """Of payload that waits; kept only where the oldest are dropped."""
        self._left = on_left
        self._drop = on_dropped
        self._queue: deque[Message] = deque()
        self._taken: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        # Weak: a task and what it reads would otherwise keep each other.
        self._reader: ref[asyncio.Task[Any]] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._queue)

    @property
    def closed(self) -> bool:
        """Nothing more is taken in."""
        return self._closed

    def give(self, batch: list[Message]) -> asyncio.Future[None] | None:
        """Take in messages; what is returned is done once there is room for the next ones."""
        self._queue.extend(batch)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._keep is None:
            self._taken = asyncio.get_running_loop().create_future()
            return self._taken
        queue, over = self._queue, 0
        self._bytes += sum(len(message.payload) for message in batch)
        while len(queue) > self._keep or (self._bytes > self._keep_bytes and len(queue) > 1):
            self._bytes -= len(queue.popleft().payload)
            over += 1
        if over:
            self._drop(over)
        return None

    def close(self) -> None:
        """Take in nothing more; what has been given is still read, and then the end comes."""
        self._closed = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def aclose(self) -> None:
        """Stop reading; what waits is given up and counted."""
        self.close()
        self._give_up()

    def __aiter__(self) -> Messages:
        # Here and not at each message: to ask for the task costs as much as reading one.
        task = asyncio.current_task()
        reader = None if self._reader is None else self._reader()
        if reader is not None and reader is not task and not reader.done():
            raise UsageError(TWO_TASKS)
        self._reader = None if task is None else ref(task)
        return self

    async def __anext__(self) -> Message:
        if self._waiter is not None:
            raise UsageError(TWO_TASKS)
        while not self._queue:
            self._make_room()
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._queue.popleft()
        if self._keep is not None:
            self._bytes -= len(message.payload)
        return message

    def __del__(self) -> None:
        self._give_up()

    def _give_up(self) -> None:
        if self._queue:
            self._left(len(self._queue))
            self._queue.clear()
            self._bytes = 0
        self._make_room()

    def _make_room(self) -> None:
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        self._taken = None
