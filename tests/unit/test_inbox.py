"""Messages reach handlers in lists, in order; a backlog stops reading; failures are told."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine

import pytest

from routing.errors import UsageError
from routing.events import Message, Proof
from routing.inbox import MESSAGE_OVERHEAD, REQUESTS_AT_ONCE, Inbox
from routing.messages import NodeAddress

__all__: list[str] = []

PATIENCE_S = 15.0
"""A test that waits longer has failed; nothing is ever measured by it."""

HERE, THERE = NodeAddress(bytes(32)), NodeAddress(bytes([1]) * 32)


def message(number: int, *, size: int = 1, request: bool = False) -> Message:
    payload = bytes([number % 256]) * size
    return Message(
        THERE, HERE, payload, bytes(32), Proof.CHANNEL, number.to_bytes(16, "big"), request
    )


class Fixture:
    """An inbox whose owner writes everything down."""

    def __init__(self, bytes_max: int = 1_000_000, handler_s: float = 60.0) -> None:
        self.answers: list[tuple[int, bytes, bool]] = []
        self.holds: list[bool] = []
        self.counters: Counter[str] = Counter()
        self.logged = True
        self.inbox = Inbox(
            bytes_max,
            handler_s=handler_s,
            answer=self._answer,
            hold=self.holds.append,
            may_log=lambda key: self.logged,
            counters=self.counters,
        )

    def _answer(self, request: Message, payload: bytes, failed: bool) -> None:
        self.answers.append((int.from_bytes(request.id, "big"), payload, failed))


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def run(body: Coroutine[None, None, None]) -> None:
    asyncio.run(body)


def test_messages_of_one_tick_come_in_one_list() -> None:
    async def body() -> None:
        at, seen = Fixture(), list[list[Message]]()
        at.inbox.on_messages(seen.append)
        for number in range(3):
            at.inbox.put(message(number))
        await settle()
        at.inbox.put(message(3))
        await settle()
        assert seen == [[message(0), message(1), message(2)], [message(3)]]
        assert at.inbox.queued == 0

    run(body())


def test_messages_that_come_while_a_handler_runs_wait_for_it() -> None:
    async def body() -> None:
        at, gate, sizes = Fixture(), asyncio.Event(), list[int]()

        async def handler(batch: list[Message]) -> None:
            sizes.append(len(batch))
            await gate.wait()

        at.inbox.on_messages(handler)
        for number in range(3):
            at.inbox.put(message(number))
            await settle()
        assert sizes == [1]
        gate.set()
        await settle()
        assert sizes == [1, 2]

    run(body())


def test_backlog_stops_reading_and_its_end_resumes_it() -> None:
    async def body() -> None:
        at, gate = Fixture(bytes_max=4 * MESSAGE_OVERHEAD), asyncio.Event()

        async def handler(batch: list[Message]) -> None:
            await gate.wait()

        at.inbox.on_messages(handler)
        for number in range(5):
            at.inbox.put(message(number))
        assert at.holds == [True]
        assert at.inbox.held
        gate.set()
        await settle()
        assert at.holds == [True, False]
        assert at.counters["inbox.held"] == 1
        assert at.inbox.queued == 0

    run(body())


def test_failing_handler_is_logged_and_counted_and_called_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body() -> None:
        at = Fixture()

        def handler(batch: list[Message]) -> None:
            raise LookupError("nothing there")

        at.inbox.on_messages(handler)
        for number in range(2):
            at.inbox.put(message(number))
            await settle()
        assert at.counters["handler.failed"] == 2

    with caplog.at_level(logging.ERROR, "routing"):
        run(body())
    assert "nothing there" in caplog.text


def test_failures_beyond_the_share_of_a_peer_are_counted_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body() -> None:
        at = Fixture()
        at.logged = False

        def handler(request: Message) -> bytes:
            raise LookupError

        at.inbox.on_request(handler)
        at.inbox.put(message(1, request=True))
        await settle()
        assert at.counters["handler.failed"] == 1

    with caplog.at_level(logging.DEBUG, "routing"):
        run(body())
    assert caplog.messages == []


def test_message_without_a_handler_is_counted() -> None:
    at = Fixture()
    at.inbox.put(message(0))
    assert at.counters["inbox.no_handler"] == 1
    assert at.inbox.queued == 0


def test_request_without_a_handler_is_answered() -> None:
    at = Fixture()
    at.inbox.put(message(7, request=True))
    assert at.answers == [(7, b"no handler for requests", True)]


def test_plain_and_async_handlers_of_requests_reply() -> None:
    async def body() -> None:
        at = Fixture()
        at.inbox.on_request(lambda request: request.payload * 2)
        at.inbox.put(message(1, request=True))
        await settle()

        async def handler(request: Message) -> bytes:
            await asyncio.sleep(0)
            return request.payload * 3

        at.inbox.on_request(handler)
        at.inbox.put(message(2, request=True))
        await settle()
        assert at.answers == [(1, b"\1\1", False), (2, b"\2\2\2", False)]

    run(body())


def test_no_task_is_made_for_a_plain_handler_nor_is_it_called_amid_a_step() -> None:
    async def body() -> None:
        at, calls = Fixture(), list[object]()

        def handler(request: Message) -> bytes:
            calls.append(asyncio.current_task())
            return request.payload

        at.inbox.on_request(handler)
        at.inbox.put(message(1, request=True))
        at.inbox.put(message(2, request=True))
        assert calls == []
        await asyncio.sleep(0)
        assert calls == [None, None]
        assert [number for number, _, _ in at.answers] == [1, 2]
        assert at.inbox.queued == 0

    run(body())


def test_handler_that_calls_itself_off_has_failed() -> None:
    async def body() -> None:
        at = Fixture()

        def handler(_: Message) -> bytes:
            raise asyncio.CancelledError

        at.inbox.on_request(handler)
        at.inbox.put(message(1, request=True))
        await settle()
        assert at.answers == [(1, b"CancelledError", True)]
        assert at.inbox.queued == 0

    run(body())


def test_failing_handler_of_requests_tells_its_kind_and_no_more() -> None:
    async def body() -> None:
        at = Fixture()

        def handler(request: Message) -> bytes:
            raise LookupError("the password is 1234")

        at.inbox.on_request(handler)
        at.inbox.put(message(1, request=True))
        await settle()
        assert at.answers == [(1, b"LookupError", True)]
        assert at.counters["handler.failed"] == 1

    run(body())


def test_handler_of_requests_that_never_returns_is_cancelled_and_gives_its_place_back() -> None:
    async def body() -> None:
        at, ended = Fixture(handler_s=0.01), asyncio.Event()

        async def handler(request: Message) -> bytes:
            if int.from_bytes(request.id, "big") == REQUESTS_AT_ONCE:
                ended.set()
                return b"at last"
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

        at.inbox.on_request(handler)
        for number in range(REQUESTS_AT_ONCE + 1):
            at.inbox.put(message(number, request=True))
        async with asyncio.timeout(PATIENCE_S):
            await ended.wait()
            # Each has a deadline of its own; the first that came gave its place away.
            while len(at.answers) <= REQUESTS_AT_ONCE:
                await settle()
        failed = [(number, b"TimeoutError", True) for number in range(REQUESTS_AT_ONCE)]
        assert sorted(at.answers) == [*failed, (REQUESTS_AT_ONCE, b"at last", False)]
        assert at.counters["handler.timed_out"] == REQUESTS_AT_ONCE
        assert at.counters["handler.failed"] == 0
        assert at.inbox.queued == 0

    run(body())


def test_time_out_of_the_handlers_own_is_a_failure_of_its_own() -> None:
    async def body() -> None:
        at = Fixture()

        async def handler(request: Message) -> bytes:
            raise TimeoutError

        at.inbox.on_request(handler)
        at.inbox.put(message(1, request=True))
        await settle()
        assert at.answers == [(1, b"TimeoutError", True)]
        assert (at.counters["handler.failed"], at.counters["handler.timed_out"]) == (1, 0)

    run(body())


def test_handler_of_messages_that_never_returns_is_cancelled_and_the_next_are_read() -> None:
    async def body() -> None:
        at, seen, both = Fixture(bytes_max=1, handler_s=0.01), list[bytes](), asyncio.Event()

        async def handler(batch: list[Message]) -> None:
            seen.extend(each.id[-1:] for each in batch)
            if len(seen) == 2:
                both.set()
            await asyncio.Event().wait()

        at.inbox.on_messages(handler)
        at.inbox.put(message(1))
        await settle()
        assert at.holds == [True], "what waits is above the bound: nothing more is read"
        at.inbox.put(message(2))
        async with asyncio.timeout(PATIENCE_S):
            await both.wait()
            while at.inbox.queued:  # noqa: ASYNC110 - nobody is told that an inbox is empty
                await asyncio.sleep(0)
        assert seen == [b"\1", b"\2"]
        assert at.holds == [True, False]
        assert at.counters["handler.timed_out"] == 2

    run(body())


def test_handler_that_returns_no_bytes_has_failed() -> None:
    async def body() -> None:
        at = Fixture()
        at.inbox.on_request(lambda request: None)  # type: ignore[arg-type, return-value]
        at.inbox.put(message(1, request=True))
        await settle()
        assert at.answers == [(1, b"TypeError", True)]

    run(body())


def test_requests_run_side_by_side_up_to_the_bound_and_all_are_served() -> None:
    async def body() -> None:
        at, gate, running = Fixture(), asyncio.Event(), Counter[str]()

        async def handler(request: Message) -> bytes:
            running["now"] += 1
            running["most"] = max(running["most"], running["now"])
            await gate.wait()
            running["now"] -= 1
            return b""

        at.inbox.on_request(handler)
        for number in range(2 * REQUESTS_AT_ONCE):
            at.inbox.put(message(number, request=True))
        await settle()
        assert running["now"] == REQUESTS_AT_ONCE
        gate.set()
        await settle()
        assert running["most"] == REQUESTS_AT_ONCE
        assert sorted(number for number, _, _ in at.answers) == list(range(2 * REQUESTS_AT_ONCE))
        assert at.inbox.queued == 0

    run(body())


def test_close_cancels_handlers_and_takes_in_nothing_more() -> None:
    async def body() -> None:
        at, ended = Fixture(), list[str]()

        async def forever(_: object) -> bytes:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")
            raise AssertionError("never set")

        at.inbox.on_messages(forever)  # type: ignore[arg-type]
        at.inbox.on_request(forever)
        at.inbox.put(message(1))
        at.inbox.put(message(2, request=True))
        await settle()
        await at.inbox.close()
        at.inbox.put(message(3))
        assert ended == ["cancelled", "cancelled"]
        assert at.counters["inbox.closed"] == 1
        assert at.counters["inbox.left"] == 2
        assert at.answers == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(body())


def test_handler_that_is_no_function_is_refused() -> None:
    at = Fixture()
    with pytest.raises(UsageError, match="on_messages"):
        at.inbox.on_messages(None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="on_request"):
        at.inbox.on_request(3)  # type: ignore[arg-type]
