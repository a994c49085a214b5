"""Borrowed payloads are views of what came, good while their handler runs and no longer."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections import Counter
from collections.abc import Coroutine

import pytest

from routing._batch import pack, unpack
from routing._message import BorrowedMessage, Message, give_back, keep, lend
from routing.errors import UsageError
from routing.events import Proof
from routing.inbox import Inbox
from routing.messages import Authority, AuthorityKind, NodeAddress

__all__: list[str] = []

THERE, HERE, KEY = NodeAddress(b"t" * 32), NodeAddress(b"h" * 32), b"k" * 32
FIRST = b"f" * 12 + bytes(4)
TEXTS = [b"one", b"", b"three"]
LATE = "payload was borrowed until its handler was done"


def borrowed(texts: list[bytes] = TEXTS) -> list[BorrowedMessage]:
    found = unpack(pack(FIRST, texts)[0], THERE, HERE, KEY, Proof.CHANNEL, borrowed=True)
    assert found is not None
    return [each for each in found if isinstance(each, BorrowedMessage)]


def owned(texts: list[bytes] = TEXTS) -> list[Message]:
    found = unpack(pack(FIRST, texts)[0], THERE, HERE, KEY, Proof.CHANNEL)
    assert found is not None
    return found


class Fixture:
    """An inbox, and what it counted."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.inbox = Inbox(
            1_000_000,
            handler_s=60.0,
            answer=lambda request, payload, failed: None,
            hold=lambda held: None,
            may_log=lambda key: True,
            counters=self.counters,
        )

    def put(self, messages: list[Message] | list[BorrowedMessage]) -> None:
        self.inbox.put_many(messages, 100)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(body: Coroutine[None, None, None]) -> None:
    asyncio.run(body)


def test_borrowed_message_says_all_that_a_message_does() -> None:
    for lent, message in zip(borrowed(), owned(), strict=True):
        assert lent.payload == message.payload and lent.payload.readonly
        assert lent.payload is lent.payload
        assert (lent.source, lent.destination) == (message.source, message.destination)
        assert (lent.key, lent.proof, lent.id) == (message.key, message.proof, message.id)
        assert (lent.token, lent.authority) == (b"", None)


def test_borrowed_message_is_not_made_by_hand() -> None:
    with pytest.raises(UsageError, match="made by the package only"):
        BorrowedMessage()


def test_lending_and_keeping_lose_nothing() -> None:
    authority = Authority(AuthorityKind.NODE, b"e" * 32)
    single = Message(THERE, HERE, b"x", KEY, Proof.SIGNATURE, b"i" * 16, False, b"t", authority)
    messages = [*owned(), single]
    assert keep(lend(messages)) == messages
    assert keep([single, *borrowed()]) == [single, *owned()]


def test_given_back_payload_is_dead() -> None:
    lent = borrowed()
    seen = lent[0].payload
    assert give_back(lent) == 0
    with pytest.raises(ValueError, match="released"):
        bytes(seen)
    with pytest.raises(ValueError, match="released"):
        bytes(lent[0].payload)
    with pytest.raises(UsageError, match=LATE):
        _ = lent[1].payload
    with pytest.raises(UsageError, match=LATE):
        keep(lent[1:])
    assert lent[0].id == FIRST, "what is not the payload may be kept"


def test_payload_in_use_is_counted_and_stays_readable() -> None:
    """As an array of another library would hold it; its memory must not go away below it."""
    lent = borrowed()
    using, part = pickle.PickleBuffer(lent[2].payload), lent[0].payload[1:]
    assert give_back(lent) == 1
    assert bytes(using) == b"three" and bytes(part) == b"ne"


def test_handler_has_views_until_it_returns() -> None:
    async def body() -> None:
        at, kept, texts = Fixture(), list[BorrowedMessage](), list[bytes]()

        def handler(messages: list[BorrowedMessage]) -> None:
            kept.extend(messages)
            texts.extend(bytes(message.payload) for message in messages)

        at.inbox.on_messages(handler, borrowed=True)
        at.put(borrowed())
        await settle()
        assert texts == TEXTS and at.inbox.queued == 0
        for message in kept:
            with pytest.raises(ValueError, match=r"released|borrowed"):
                bytes(message.payload)

    run(body())


@pytest.mark.parametrize("end", ["returns", "raises"])
def test_async_handler_has_views_until_its_end(end: str) -> None:
    async def body() -> None:
        at, gate, views = Fixture(), asyncio.Event(), list[memoryview]()

        async def handler(messages: list[BorrowedMessage]) -> None:
            views.extend(message.payload for message in messages)
            await gate.wait()
            if end == "raises":
                raise OSError("no room")

        at.inbox.on_messages(handler, borrowed=True)
        at.put(borrowed())
        await settle()
        assert [bytes(view) for view in views] == TEXTS
        gate.set()
        await settle()
        for view in views:
            with pytest.raises(ValueError, match="released"):
                bytes(view)
        assert at.counters["handler.failed"] == (end == "raises")

    run(body())


def test_who_comes_after_another_handler_is_given_what_it_asked_for() -> None:
    """What waits was made for the handler before; nobody gets views who did not ask for them."""

    async def body() -> None:
        at, gate = Fixture(), asyncio.Event()
        seen: list[Message | BorrowedMessage] = []

        async def slow(messages: list[BorrowedMessage]) -> None:
            await gate.wait()

        at.inbox.on_messages(slow, borrowed=True)
        at.put(borrowed([b"first"]))
        await settle()
        at.put(borrowed())
        at.inbox.on_messages(seen.extend)
        gate.set()
        await settle()
        at.inbox.on_messages(seen.extend, borrowed=True)
        at.put(owned())
        await settle()
        assert seen[:3] == owned()
        assert [type(each) for each in seen[3:]] == [BorrowedMessage] * 3

    run(body())


def test_view_that_is_kept_in_use_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        at, kept = Fixture(), list[object]()

        def handler(messages: list[BorrowedMessage]) -> None:
            kept.append(pickle.PickleBuffer(messages[0].payload))

        at.inbox.on_messages(handler, borrowed=True)
        with caplog.at_level(logging.WARNING):
            at.put(borrowed())
            await settle()
        assert at.counters["inbox.borrowed_kept"] == 1
        assert "1 borrowed payloads are in use" in caplog.text

    run(body())


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_choice_is_true_or_false(wrong: bool) -> None:
    with pytest.raises(UsageError, match=r"borrowed=.* must be True or False"):
        Fixture().inbox.on_messages(lambda messages: None, borrowed=wrong)
