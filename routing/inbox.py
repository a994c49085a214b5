"""What has come for the application and waits for its handlers; bounded in bytes, never dropped.

The inbox knows messages, handlers and a bound. It sends nothing: replies leave by `answer`, and
reading is stopped and resumed by `hold`, both given by its owner.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeAlias, cast
from weakref import ref

from routing._message import give_back, keep, lend
from routing.errors import UsageError
from routing.events import BorrowedMessage, Message
from routing.names import short
from routing.reading import Messages

__all__ = ["BorrowedHandler", "Inbox", "MessagesHandler", "RequestHandler"]

MessagesHandler: TypeAlias = Callable[[list[Message]], Awaitable[None] | None]
"""Takes the messages that have come since it was last called, oldest first."""

BorrowedHandler: TypeAlias = Callable[[list[BorrowedMessage]], Awaitable[None] | None]
"""The same, of messages whose payloads are given back when it is done."""

Waiting: TypeAlias = Message | BorrowedMessage

RequestHandler: TypeAlias = Callable[[Message], Awaitable[bytes] | bytes]
"""Takes one request and returns the reply."""

Answer: TypeAlias = Callable[[Message, bytes, bool], None]
"""(request, payload, failed) -> sends the reply."""

MESSAGE_OVERHEAD: Final = 512
"""Bytes that a queued message costs besides its payload; empty messages are bounded too."""

KEEP_MAX: Final = 1_000_000
"""Messages that a reader who drops the oldest may keep."""

REQUESTS_AT_ONCE: Final = 64
"""Handlers of requests that run side by side; the others wait in the inbox."""

REASON_MAX: Final = 128
"""Characters of a handler's failure that the requester is told: the kind of exception only."""

FAILED: Final = "handler of requests failed on one from %s"

log = logging.getLogger("routing")


class Inbox:
    """Messages and requests between their arrival and the end of their handlers.

    Args:
        bytes_max: Above it `hold(True)` asks the owner to stop reading; below half of it
            `hold(False)` lets it go on. What was on its way still comes in.
        handler_s: Seconds that a handler may take; then it is cancelled.
        answer: Sends a reply.
        may_log: Tells whether a line about the peer of a key may be written now.
        counters: Where failures and refusals are counted.
    """

    __slots__ = (
        "_answer",
        "_bytes_max",
        "_called",
        "_closed",
        "_counters",
        "_handler_s",
        "_hold",
        "_lent",
        "_may_log",
        "_messages",
        "_on_messages",
        "_on_request",
        "_reader",
        "_reading",
        "_requests",
        "_running",
        "_waiting_cost",
        "borrows",
        "held",
        "queued",
    )

    def __init__(
        self,
        bytes_max: int,
        *,
        handler_s: float,
        answer: Answer,
        hold: Callable[[bool], None],
        may_log: Callable[[bytes], bool],
        counters: Counter[str],
    ) -> None:
        self._bytes_max = bytes_max
        self._handler_s = handler_s
        self._answer = answer
        self._hold = hold
        self._may_log = may_log
        self._counters = counters
        # Any: which of the two kinds it takes is `borrows`, told by whoever gave it.
        self._on_messages: Callable[[list[Any]], Awaitable[None] | None] | None = None
        self.borrows = False
        """The handler takes borrowed messages."""
        self._lent = False
        """Some that wait may be borrowed, or have been."""
        self._on_request: RequestHandler | None = None
        # Weak: a reader that walks away without a word holds nobody up from then on.
        self._reading: ref[Messages] | None = None
        self._messages: list[Waiting] = []
        self._waiting_cost = 0
        """Of the messages in it, as they were charged."""
        self._requests: deque[Message] = deque()
        self._called = False
        """The loop is about to serve them."""
        self._reader: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False
        self.held = False
        self.queued = 0
        """Bytes that wait or are being handled."""

    def on_messages(
        self, handler: MessagesHandler | BorrowedHandler, *, borrowed: bool = False
    ) -> None:
        """Set the handler of messages; a second one replaces the first."""
        _check(handler, "on_messages")
        if type(borrowed) is not bool:
            raise UsageError(f"on_messages(borrowed={borrowed!r}) must be True or False")
        if self._reader_now() is not None:
            raise UsageError("on_messages() while messages() is read: close that reader first")
        self._on_messages, self.borrows = handler, borrowed
        self._lent = self._lent or borrowed

    def read(self, keep: int | None) -> Messages:
        """Return a reader that is given all messages from now on, in place of a handler."""
        if keep is not None and (type(keep) is not int or not 1 <= keep <= KEEP_MAX):
            raise UsageError(f"messages(drop_oldest={keep!r}) must be 1 to {KEEP_MAX}, or None")
        if self._reader_now() is not None:
            raise UsageError("messages() is read already: close that reader, or share it")
        if self._on_messages not in (None, self._give):
            raise UsageError("messages() beside on_messages(): use one of them")
        reading = Messages(
            keep,
            keep_bytes=self._bytes_max,
            on_left=self._count_left,
            on_dropped=self._count_dropped,
        )
        self._reading, self._on_messages, self.borrows = ref(reading), self._give, False
        if self._closed:
            reading.close()
        return reading

    def _reader_now(self) -> Messages | None:
        reading = None if self._reading is None else self._reading()
        return None if reading is None or reading.closed else reading

    def _give(self, batch: list[Message]) -> Awaitable[None] | None:
        reading = self._reader_now()
        if reading is None:
            self._on_messages = None
            self._counters["inbox.no_handler"] += len(batch)
            return None
        return reading.give(batch)

    def _count_left(self, count: int) -> None:
        self._counters["inbox.left"] += count

    def _count_dropped(self, count: int) -> None:
        self._counters["inbox.dropped"] += count

    def on_request(self, handler: RequestHandler) -> None:
        """Set the handler of requests; a second one replaces the first."""
        _check(handler, "on_request")
        self._on_request = handler

    def put(self, message: Message) -> None:
        """Take in one message; without a handler for it, it is counted and answered, not kept."""
        if self._closed:
            self._counters["inbox.closed"] += 1
        elif message.request:
            self._put_request(message)
        elif self._on_messages is None:
            self._counters["inbox.no_handler"] += 1
        else:
            self._queue([message], len(message.payload))

    def put_many(self, messages: list[Message] | list[BorrowedMessage], size: int) -> None:
        """Take in several messages of so many bytes, none of them a request."""
        if self._closed:
            self._counters["inbox.closed"] += len(messages)
        elif self._on_messages is None:
            self._counters["inbox.no_handler"] += len(messages)
        else:
            self._queue(messages, size)

    def _queue(self, messages: list[Message] | list[BorrowedMessage], size: int) -> None:
        cost = size + MESSAGE_OVERHEAD * len(messages)
        self._charge(cost)
        self._waiting_cost += cost
        if self._messages:
            self._messages += messages
        else:
            self._messages = cast(list[Waiting], messages)
        if self._reader is None:
            # Made so, no task factory begins it within this very call.
            self._reader = asyncio.Task(self._read())

    async def close(self, spare: Collection[asyncio.Task[Any] | None] = ()) -> None:
        """Cancel the handlers that run and forget what waits; both are counted.

        Args:
            spare: Tasks that wait for this very end: a handler may close its own node.
        """
        self._closed = True
        reading = self._reader_now()
        if reading is not None:
            # What has come is still read, and then the end.
            reading.give(keep(self._messages))
            self._messages = []
            reading.close()
        tasks = [*self._running, *([self._reader] if self._reader is not None else [])]
        left = len(self._messages) + len(self._requests) + len(tasks)
        self._counters["inbox.left"] += left - (reading is not None and self._reader is not None)
        self._messages.clear()
        self._requests.clear()
        others = [task for task in tasks if task not in spare]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.queued = 0

    # -- messages

    async def _read(self) -> None:
        try:
            while self._messages:
                batch, cost = self._messages, self._waiting_cost
                self._messages, self._waiting_cost = [], 0
                try:
                    await self._hand_over(batch)
                finally:
                    self._charge(-cost)
        finally:
            self._reader = None

    async def _hand_over(self, waiting: list[Waiting]) -> None:
        handler, borrows = self._on_messages, self.borrows
        if handler is None:
            self._counters["inbox.no_handler"] += len(waiting)
            return
        # What came before the handler was exchanged came as the one before wanted it.
        batch: list[Any] = waiting
        if self._lent:
            batch = lend(waiting) if borrows else keep(waiting)
        # A reader may take its time over each message; its peers wait for it, or it drops.
        limit = asyncio.timeout(None if handler == self._give else self._handler_s)
        try:
            result = handler(batch)
            if inspect.isawaitable(result):
                async with limit:
                    await result
        except Exception:
            self._count_failure(limit)
            if self._may_log(batch[0].key):
                log.exception("handler of messages failed on %d messages", len(batch))
        finally:
            if borrows:
                self._give_back(batch)

    def _give_back(self, batch: list[BorrowedMessage]) -> None:
        used = give_back(batch)
        if used:
            self._counters["inbox.borrowed_kept"] += used
            log.warning("%d borrowed payloads are in use although their handler is done", used)

    # -- requests

    def _put_request(self, request: Message) -> None:
        if self._on_request is None:
            self._counters["inbox.no_handler"] += 1
            self._answer(request, b"no handler for requests", True)
            return
        self._charge(_cost(request))
        self._requests.append(request)
        if not self._called:
            # Not within this very call: its owner is amid a step, and more may come with it.
            self._called = True
            asyncio.get_running_loop().call_soon(self._serve_waiting)

    def _serve_waiting(self) -> None:
        """Call the handler with the requests that wait, as far as there are places."""
        self._called = False
        while self._requests and len(self._running) < REQUESTS_AT_ONCE:
            self._serve(self._requests.popleft())

    def _serve(self, request: Message) -> None:
        """Call the handler; a task is made for what has to be waited for alone."""
        assert self._on_request is not None, "requests are queued for a handler only"
        try:
            reply = self._on_request(request)
            if not isinstance(reply, bytes) and inspect.isawaitable(reply):
                self._wait_for(request, reply)
                return
            payload, failed = _reply_bytes(reply), False
        except (Exception, asyncio.CancelledError) as error:
            payload, failed = self._told(error), True
            if self._may_log(request.key):
                log.exception(FAILED, short(request.key))
        self._end(request, payload, failed)

    def _wait_for(self, request: Message, reply: Awaitable[object]) -> None:
        # Made so, no task factory begins it within this very call.
        task = asyncio.Task(self._reply_to(request, reply))
        self._running.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            if inspect.iscoroutine(reply):
                reply.close()  # of no effect unless the task was called off before it began
            self._running.discard(task)
            self._serve_waiting()

        task.add_done_callback(ended)

    async def _reply_to(self, request: Message, reply: Awaitable[object]) -> None:
        limit = asyncio.timeout(self._handler_s)
        try:
            async with limit:
                payload, failed = _reply_bytes(await reply), False
        except Exception as error:
            payload, failed = self._told(error, late=limit.expired()), True
            if self._may_log(request.key):
                log.exception(FAILED, short(request.key))
        except BaseException:
            self._charge(-_cost(request))
            raise
        self._end(request, payload, failed)

    def _told(self, error: BaseException, *, late: bool = False) -> bytes:
        """Count a failure and return what the requester is told of it."""
        self._counters["handler.timed_out" if late else "handler.failed"] += 1
        # Its text may hold what is nobody else's business; its kind is enough to look it up.
        return type(error).__name__[:REASON_MAX].encode()

    def _end(self, request: Message, payload: bytes, failed: bool) -> None:
        self._charge(-_cost(request))
        if not self._closed:
            self._answer(request, payload, failed)

    def _count_failure(self, limit: asyncio.Timeout) -> None:
        self._counters["handler.timed_out" if limit.expired() else "handler.failed"] += 1

    # -- the bound

    def _charge(self, size: int) -> None:
        self.queued += size
        if self._closed:
            return
        if not self.held and self.queued > self._bytes_max:
            self.held = True
            self._counters["inbox.held"] += 1
            self._hold(True)
        elif self.held and self.queued <= self._bytes_max // 2:
            self.held = False
            self._hold(False)


def _cost(message: Message) -> int:
    return len(message.payload) + MESSAGE_OVERHEAD


def _check(handler: object, where: str) -> None:
    if not callable(handler):
        raise UsageError(f"{where}({handler!r}) must be given a function")


def _reply_bytes(reply: object) -> bytes:
    if not isinstance(reply, bytes | bytearray | memoryview):
        raise TypeError(f"a handler of requests must return bytes, not {type(reply).__name__}")
    return bytes(reply)
