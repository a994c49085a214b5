"""Requests that wait for their replies, and messages whose fate is known at once; no sockets."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from routing.actions import Answered, Progress
from routing.authority import is_of_group
from routing.errors import (
    HandlerFailed,
    NoQuorum,
    NotConnected,
    RequestTimedOut,
    RoutingError,
    TooBusy,
    Unroutable,
    UsageError,
)
from routing.events import Event, Undelivered
from routing.limits import NAME_BYTES, Limits
from routing.messages import (
    Address,
    Authority,
    AuthorityKind,
    ClientAddress,
    GroupAddress,
    NodeAddress,
)

__all__ = [
    "GroupReply",
    "OnProgress",
    "Outbox",
    "checked_authority",
    "checked_destination",
    "checked_id",
    "checked_payload",
    "failure",
]

log = logging.getLogger("routing")

OnProgress: TypeAlias = Callable[[int, int], None]
"""(bytes acknowledged, of how many): called on the loop as parts of a large payload arrive."""


@dataclass(frozen=True, slots=True)
class GroupReply:
    """What one member of a group replied."""

    source: Address
    key: bytes
    """The member's key, 32 bytes."""
    payload: bytes


class Expected(NamedTuple):
    """A request that waits: for how many replies, those that came, and its end."""

    wanted: int
    came: list[GroupReply]
    done: asyncio.Future[None]


class Carried(NamedTuple):
    """A large payload under way: who watches it, and the end of its way."""

    progress: OnProgress | None
    through: asyncio.Future[None]


class Outbox:
    """What we wait for, by the reference the core hands back."""

    __slots__ = (
        "_carried",
        "_closed",
        "_counters",
        "_expected",
        "_pressed",
        "_refused",
        "_sending",
        "_tell",
        "latest",
    )

    def __init__(self, counters: Counter[str], tell: Callable[[Event], None]) -> None:
        self._counters = counters
        self._tell = tell
        self._expected: dict[int, Expected] = {}
        self._carried: dict[int, Carried] = {}
        self.latest = 0
        """The number given last."""
        self._sending = 0
        self._refused: str | None = None
        self._pressed: list[asyncio.Future[None]] = []
        """Who waits for room, each a caller of `send_many`."""
        self._closed = False

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._expected)

    def next_reference(self) -> int:
        """Return a number that was not used before."""
        self.latest += 1
        return self.latest

    def expect(self, reference: int, wanted: int, came: list[GroupReply]) -> asyncio.Future[None]:
        """Return what ends when `came` has `wanted` replies to a request that is to be sent."""
        if self._closed:
            raise NotConnected("we have stopped")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected[reference] = Expected(wanted, came, done)
        return done

    def forget(self, reference: int) -> None:
        """Nobody waits for this reply any longer; a late one is counted."""
        self._expected.pop(reference, None)
        carried = self._carried.pop(reference, None)
        if carried is not None:
            carried.through.cancel()

    def carry(self, reference: int, progress: OnProgress | None) -> asyncio.Future[None]:
        """Return what ends when a large payload has arrived, or is forgotten."""
        through: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._carried[reference] = Carried(progress, through)
        return through

    @contextmanager
    def sending(self, count: int = 1) -> Iterator[int]:
        """Give the reference of a message; a refusal told before the end of the block is raised.

        With a `count` the references that follow are given, too.
        """
        reference = self._sending = self.next_reference()
        self.latest += count - 1
        self._refused = None
        yield reference
        self._sending = 0
        if self._refused is not None:
            raise failure(self._refused)

    def progressed(self, news: Progress) -> None:
        """More of a large payload has arrived."""
        carried = self._carried.get(news.reference)
        if carried is None:
            return
        if carried.progress is not None:
            try:
                carried.progress(news.done, news.total)
            except Exception:
                self._counters["progress.failed"] += 1
                log.exception("a function given as progress= failed; it is not called again")
                self._carried[news.reference] = carried._replace(progress=None)
        if news.done == news.total and not carried.through.done():
            carried.through.set_result(None)

    def answered(self, answer: Answered) -> None:
        """A reply has come."""
        expected = self._expected.get(answer.reference)
        if expected is None or expected.done.done():
            self._counters["reply.late"] += 1
            return
        expected.came.append(GroupReply(answer.source, answer.key, answer.payload))
        if len(expected.came) >= expected.wanted:
            expected.done.set_result(None)

    def failed(self, reference: int, reason: str) -> None:
        """A request or a message has come to nothing."""
        expected, carried = self._expected.get(reference), self._carried.get(reference)
        if expected is not None and not expected.done.done():
            late = reason == "timed out"
            # Who asked knows best how long he has waited.
            expected.done.set_exception(TimeoutError() if late else failure(reason))
        elif carried is not None and not carried.through.done():
            carried.through.set_exception(failure(reason))
        elif reference == self._sending:
            self._refused = reason
        else:
            self._counters["undeliverable"] += 1
            log.info("a message could not be delivered: %s", reason)
            self._tell(Undelivered(reference, reason))

    async def relief(self) -> None:
        """Return when there is room again for messages that were refused as too many.

        Raises:
            NotConnected: we have stopped.
        """
        if self._closed:
            raise NotConnected("we have stopped")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pressed.append(waiter)
        await waiter

    def relieved(self) -> None:
        """There is room again: all who wait for it go on."""
        waiters, self._pressed = self._pressed, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Fail whatever still waits."""
        self._closed = True
        for waiter in self._pressed:
            if not waiter.done():
                waiter.set_exception(NotConnected("we have stopped"))
        for expected in self._expected.values():
            if not expected.done.done():
                expected.done.set_exception(NotConnected("we have stopped"))
        for reference, carried in self._carried.items():
            if reference not in self._expected and not carried.through.done():
                carried.through.set_exception(NotConnected("we have stopped"))


def failure(reason: str) -> RoutingError:
    """Return the exception for a reason of the core; its first words are stable."""
    kind, _, text = reason.partition(":")
    match kind:
        case "timed out":
            return RequestTimedOut("no reply within the time allowed")
        case "undeliverable":
            return RequestTimedOut(text.strip() or reason)
        case "unroutable":
            return Unroutable(text.strip() or reason)
        case "not connected":
            return NotConnected(text.strip() or "we are not connected; wait or use wait=True")
        case "stopped":
            return NotConnected("we have stopped")
        case "no authority" | "too large":
            return UsageError(text.strip() or reason)
        case "no quorum":
            return NoQuorum(text.strip() or reason)
        case "busy":
            return TooBusy(text.strip() or reason)
        case "handler failed":
            return HandlerFailed(f"the far end could not answer: {text.strip() or 'unknown'}")
    return RoutingError(reason)


def checked_destination(dst: object) -> Address:
    """Return the destination.

    Raises:
        UsageError: it is no address, or one of its names or keys has not 32 bytes.
    """
    if type(dst) is NodeAddress and type(dst.name) is bytes and len(dst.name) == NAME_BYTES:
        return dst
    # A `Name` is bytes to us and no bytes to the encoder: plain ones go out.
    match dst:
        case NodeAddress(name=name):
            return NodeAddress(_plain(dst, name))
        case GroupAddress(name=name):
            return GroupAddress(_plain(dst, name))
        case ClientAddress(proxy=proxy, key=key):
            return ClientAddress(_plain(dst, proxy), _plain(dst, key))
    raise UsageError(f"destination {dst!r} must be a NodeAddress, ClientAddress or GroupAddress")


def checked_authority(authority: object) -> Authority | None:
    """Return the authority.

    Raises:
        UsageError: it is no authority, or its element has not 32 bytes.
    """
    if authority is None:
        return None
    if not isinstance(authority, Authority) or authority.kind not in AuthorityKind:
        raise UsageError(f"authority {authority!r} must be an Authority, or None")
    element: object = authority.element
    if not isinstance(element, bytes) or len(element) != NAME_BYTES:
        raise UsageError(f"authority {authority!r} must name an element of {NAME_BYTES} bytes")
    return Authority(authority.kind, bytes(element))


def checked_id(chosen: object, authority: Authority | None) -> bytes:
    """Return the id of a message from a group, empty where it shall follow from its content.

    Raises:
        UsageError: it has not 16 bytes, or the message is not from a group.
    """
    if chosen is None:
        return b""
    if authority is None or not is_of_group(authority):
        raise UsageError("send(id=...) is for messages under the authority of a group")
    if not isinstance(chosen, bytes) or len(chosen) != 16:
        raise UsageError(f"send(id={chosen!r}) must be 16 bytes, the same at every member")
    return bytes(chosen)


def _plain(dst: object, name: object) -> bytes:
    if not isinstance(name, bytes) or len(name) != NAME_BYTES:
        raise UsageError(f"destination {dst!r} must hold names of {NAME_BYTES} bytes")
    return bytes(name)


def checked_payload(payload: object, limits: Limits, dst: object) -> bytes:
    """Return the payload as bytes, without a copy if it is bytes.

    What can be changed afterwards is copied here and now: the message is what it was at this call.

    Raises:
        UsageError: it is not bytes, not one piece of memory, or larger than `large_bytes_max`; to
            a group, than `payload_bytes_max`.
    """
    if type(payload) is bytes and len(payload) <= min(
        limits.payload_bytes_max, limits.large_bytes_max
    ):
        return payload
    if not isinstance(payload, bytes | bytearray | memoryview):
        raise UsageError(
            f"payload of type {type(payload).__name__} must be bytes, bytearray or memoryview"
        )
    if isinstance(payload, memoryview) and not payload.c_contiguous:
        raise UsageError(
            f"payload is a memoryview with gaps, strides {payload.strides}; "
            "it must be one piece of memory: give bytes(view)"
        )
    size = memoryview(payload).nbytes
    if isinstance(dst, GroupAddress) and size > limits.payload_bytes_max:
        raise UsageError(
            f"payload of {size} bytes to a group exceeds "
            f"payload_bytes_max={limits.payload_bytes_max}; "
            "send it to its members one by one, or tell the group where to fetch it"
        )
    if size > limits.large_bytes_max:
        raise UsageError(
            f"payload of {size} bytes exceeds large_bytes_max={limits.large_bytes_max}; "
            "send it as several messages"
        )
    return bytes(payload)
