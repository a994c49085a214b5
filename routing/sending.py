"""What nodes and clients send: messages, requests, replies; how long each may take, and its end.

It checks what the caller gave, waits where there is no room, and hands facts to the core. It opens
nothing and closes nothing: life is in `doors`, the fate of what was sent in `outbox`.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

from routing._batch import survey
from routing.config import Config
from routing.core import Core
from routing.errors import NotConnected, RequestTimedOut, TooBusy, UsageError
from routing.events import Message
from routing.gathering import Gathering
from routing.inputs import Submitted, SubmittedMany, Withdrawn, changed
from routing.limits import GROUP_SIZE, QUORUM_SIZE, SECOND
from routing.messages import Address, Authority, GroupAddress, MessageKind
from routing.names import Name
from routing.outbox import (
    GroupReply,
    OnProgress,
    Outbox,
    checked_authority,
    checked_destination,
    checked_id,
    checked_payload,
)
from routing.portions import portion
from routing.pressure import PatientHost, ways_out
from routing.state import Detail, Phase, State

__all__ = ["LARGE_AT_ONCE", "Delivery", "Payload", "Sending"]

Payload: TypeAlias = bytes | bytearray | memoryview
"""Of what can be changed, and of a view, `send` takes a copy when it is called."""

Delivery: TypeAlias = Literal["exactly_once", "at_most_once"]
"""`exactly_once`: sent again by other ways until acknowledged, handed over once."""

LARGE_AT_ONCE: Final = 4
"""Large payloads that callers of one door have under way; the others wait their turn."""

SMALL_BYTES: Final = 16_384
"""A larger message is not gathered with others: it is worth a step of its own."""

REQUEST_TIMEOUT_S: Final = 10.0
"""Unless the caller says otherwise: a route of some seconds there and back."""


class Sending(ABC):
    """The half of a door that sends."""

    config: Config
    _client: ClassVar[bool]
    _outbox: Outbox
    _gathering: Gathering
    _large: asyncio.Semaphore
    _counters: Counter[str]

    @property
    @abstractmethod
    def name(self) -> Name | None:
        """Our name."""

    @property
    @abstractmethod
    def state(self) -> State:
        """Phase and detail, right now."""

    @abstractmethod
    async def wait_for(self, wanted: State | Phase | Detail, timeout: float | None = None) -> None:
        """Return once a state, phase or detail holds."""

    @abstractmethod
    def _running(self) -> Core: ...

    @abstractmethod
    def _serving(self) -> PatientHost: ...

    @abstractmethod
    def _is_over(self) -> bool: ...

    async def send(
        self,
        dst: Address,
        payload: Payload,
        *,
        signed: bool = False,
        wait: bool = False,
        delivery: Delivery = "exactly_once",
        authority: Authority | None = None,
        progress: OnProgress | None = None,
        id: bytes | None = None,
    ) -> int:
        """Send a message and return its number when it is on its way: it may still be lost.

        The event `Undelivered` bears the number of one that nobody has acknowledged. This waits
        while the connection it takes has too much queued, our proxy allows no more, or its
        destination has yet to take much that we sent. One above `Limits.payload_bytes_max` goes
        in parts, signed and acknowledged whatever is asked for, and this returns when all of it
        has arrived; cancelled, it sends no further part.

        Under the authority of a group this is one member's vote: the message is handed over, once,
        when a quorum of members has sent the same; so each of them must call it.

        Args:
            dst: Node, client or group.
            payload: At most `Limits.large_bytes_max` bytes; to a group `payload_bytes_max`.
            signed: Sign and route it even where a direct connection would do.
            wait: Wait until we are connected instead of raising.
            delivery: `at_most_once` does without an acknowledgement; of a group one node gives it.
            authority: Act under this authority; the receiver checks the claim.
            progress: Called with (bytes arrived, bytes in all) as parts of a large payload are
                acknowledged; never for one that goes whole.
            id: Of a message from a group: 16 bytes, the same at every member; None follows from
                the content, so what is said again within 20 minutes needs an id of its own.

        Raises:
            NotConnected: we are not connected and `wait` is False, or we have stopped.
            TooBusy: too many messages to other than neighbours wait to be acknowledged.
            RoutingError: a large payload did not arrive: RequestTimedOut, Unroutable, or no room.
            UsageError: a wrong argument, or an authority that is not ours.
        """
        plain = not signed and authority is None and id is None
        if plain and self._follows(dst, payload, delivery):
            return self._outbox.latest
        body = checked_payload(payload, self.config.limits, dst)
        destination = checked_destination(dst)
        claim = checked_authority(authority)
        chosen, once = checked_id(id, claim), _is_once(delivery)
        if self._is_large(body):
            return await self._carry(destination, body, claim, wait, progress)
        if not self._goes(destination, not plain):
            await self._ready(destination, wait, len(body), routed=not plain)
        if plain and self._gathers(destination, body, delivery):
            return self._outbox.latest
        return await self._send_whole(destination, body, signed, once, wait, claim, chosen)

    async def _send_whole(
        self,
        destination: Address,
        body: bytes,
        signed: bool,
        once: bool,
        wait: bool,
        claim: Authority | None,
        chosen: bytes,
    ) -> int:
        while True:
            try:
                with self._outbox.sending() as reference:
                    kind = MessageKind.MESSAGE
                    self._submit(reference, kind, destination, body, signed, once, claim, chosen)
                return reference
            except TooBusy:
                if not self._running().delivery.window.is_awaited(destination, len(body)):
                    raise
            await self._outbox.relief()
            routed = signed or claim is not None or bool(chosen)
            await self._ready(destination, wait, len(body), routed=routed)

    def _follows(self, dst: Address, payload: Payload, delivery: str) -> bool:
        """Put a message into the batch that is open, under a new reference; tell whether it is."""
        gathering = self._gathering
        if not isinstance(payload, bytes) or not gathering.takes(dst, payload, delivery):
            return False
        return gathering.add(payload, self._outbox.next_reference())

    def _gathers(self, destination: Address, body: bytes, delivery: str) -> bool:
        """Open a batch with a small message, under a new reference; tell whether it is in one."""
        gathering = self._gathering
        gathering.close()
        if len(body) > SMALL_BYTES or not gathering.open(self._running(), destination, delivery):
            return False
        asyncio.get_running_loop().call_soon(gathering.close)
        return gathering.add(body, self._outbox.next_reference())

    def _hand(self, fact: Submitted | SubmittedMany | Withdrawn) -> None:
        """Hand a fact to the core, behind what was sent before it."""
        self._gathering.close()
        self._serving().submit(fact)

    async def send_many(
        self,
        dst: Address,
        payloads: Iterable[Payload],
        *,
        signed: bool = False,
        delivery: Delivery = "exactly_once",
    ) -> None:
        """Send several messages to one destination, in order; as `send` for each, and cheaper.

        To a node that we are connected with they go by the hundred in one frame; to others, and
        with `signed`, by the hundred under one signature. To a group they go one by one.

        Raises:
            NotConnected: we are not, or no longer, connected; those before were sent.
            UsageError: a wrong destination, payload or delivery; none was sent.
        """
        destination, once = checked_destination(dst), _is_once(delivery)
        bodies: list[Any] = payloads if isinstance(payloads, list) else list(payloads)
        limits = self.config.limits
        end, largest = survey(bodies, 0, sys.maxsize)
        if largest < 0 or largest > limits.payload_bytes_max:
            bodies = [checked_payload(payload, limits, dst) for payload in bodies]
        start = 0
        while start < len(bodies):
            end, size, alone = portion(self._running(), destination, bodies, start, signed=signed)
            if alone:
                await self.send(destination, bodies[start], signed=signed, delivery=delivery)
                start = end
                continue
            await self._ready(destination, False, size, end - start, routed=signed)
            part = bodies[start:end]
            try:
                with self._outbox.sending(len(part)) as reference:
                    self._hand(SubmittedMany(reference, destination, part, not once, signed))
            except TooBusy:
                await self._outbox.relief()
            else:
                start = end

    async def request(
        self,
        dst: Address,
        payload: Payload,
        *,
        timeout: float = REQUEST_TIMEOUT_S,
        signed: bool = False,
        wait: bool = False,
        progress: OnProgress | None = None,
        quorum: bool = False,
        authority: Authority | None = None,
    ) -> bytes:
        """Send a request and return the reply; from a group, the first that comes.

        With `quorum` it is the reply that a quorum of the group's members has given, byte for byte.

        Args:
            dst: Node, client or group.
            payload: At most `Limits.large_bytes_max` bytes; to a group `payload_bytes_max`.
            timeout: Seconds for everything, waiting and all parts of large payloads included.
            signed: Sign and route it even where a direct connection would do.
            wait: Wait until we are connected instead of raising.
            progress: As for `send`; it tells of the request, not of the reply.
            quorum: Of a group: wait until 5 of its members, or most of a smaller group, agree.
            authority: CLIENT or NODE, of ourselves; the far end checks the claim. A group asks
                nobody: its members would each have a reply of their own.

        Raises:
            NotConnected: we are not connected and `wait` is False, or lost it, or have stopped.
            RequestTimedOut: no reply or quorum came in time; or 8 routes were not acknowledged.
            TooBusy: the far end refused again and again, or too much of ours is under way.
            NoQuorum: too few members replied the same for any quorum to agree.
            HandlerFailed: the handler at the far end raised; of a group, a quorum's.
            Unroutable: nobody has, or is responsible for, the destination.
            UsageError: a wrong destination, payload or timeout, or an authority that is not ours.
        """
        if quorum and not isinstance(dst, GroupAddress):
            raise UsageError(f"request({dst!r}, quorum=True) must be given a GroupAddress")
        replies = await self._request(
            dst,
            payload,
            1,
            timeout,
            signed=signed,
            wait=wait,
            progress=progress,
            agree=quorum,
            authority=authority,
        )
        return replies[0].payload

    async def request_many(
        self,
        dst: GroupAddress,
        payload: Payload,
        *,
        replies: int = QUORUM_SIZE,
        timeout: float = REQUEST_TIMEOUT_S,
        wait: bool = False,
    ) -> list[GroupReply]:
        """Send a request to a group and return the replies of several of its members.

        What they say is not compared: a quorum that answered is not a quorum that agrees.

        Args:
            dst: A group.
            payload: At most `Limits.payload_bytes_max` bytes: groups get no large ones.
            replies: Of how many distinct members, 1 to 8.
            timeout: Seconds for everything, waiting included.
            wait: Wait until we are connected instead of raising.

        Raises:
            RequestTimedOut: fewer replied in time; its `replies` holds those that came.
            NotConnected, HandlerFailed, UsageError: as `request`.
        """
        if not isinstance(dst, GroupAddress):
            raise UsageError(f"request_many({dst!r}) must be given a GroupAddress")
        if not 1 <= replies <= GROUP_SIZE:
            raise UsageError(f"request_many(replies={replies}) must be 1 to {GROUP_SIZE}")
        return await self._request(dst, payload, replies, timeout, signed=False, wait=wait)

    async def _request(
        self,
        dst: Address,
        payload: Payload,
        wanted: int,
        timeout: float,
        *,
        signed: bool,
        wait: bool,
        progress: OnProgress | None = None,
        agree: bool = False,
        authority: Authority | None = None,
    ) -> list[GroupReply]:
        body = checked_payload(payload, self.config.limits, dst)
        destination = checked_destination(dst)
        claim = checked_authority(authority)
        large = self._is_large(body)
        if not 0 < timeout < float("inf"):
            raise UsageError(f"request(timeout={timeout}) must be more than 0 seconds")
        came: list[GroupReply] = []
        question = Submitted(
            self._outbox.next_reference(),
            MessageKind.REQUEST,
            destination,
            body,
            b"",
            False,
            max(1, int(timeout * SECOND)),
            signed,
            authority=claim,
            replies=wanted,
            agree=agree,
        )
        try:
            routed = large or signed or claim is not None
            if not large and not isinstance(dst, GroupAddress) and self._goes(destination, routed):
                # Nothing but the reply is waited for, and the core knows how long.
                await self._exchange(question, came)
                return came
            async with asyncio.timeout(timeout):
                await self._ready(destination, wait, len(body), routed=routed)
                if large:
                    await self._place()
                await self._exchange(question, came, large=large, progress=progress)
                return came
        except RequestTimedOut as error:
            error.replies = came
            raise
        except TimeoutError:
            least = "no reply" if wanted == 1 else f"{len(came)} of {wanted} replies"
            raise RequestTimedOut(f"{least} within {timeout} s", came) from None

    async def _exchange(
        self,
        question: Submitted,
        came: list[GroupReply],
        *,
        large: bool = False,
        progress: OnProgress | None = None,
    ) -> None:
        """Hand a request to the core and return when all replies have come."""
        reference = question.reference
        replies = self._outbox.expect(reference, question.replies, came)
        try:
            if large:
                self._begin_large(reference, progress)
            self._hand(question)
            await replies
        finally:
            self._outbox.forget(reference)
            if large or replies.cancelled() or not replies.done():
                self._withdraw(reference)

    def _goes(self, dst: Address, routed: bool) -> bool:
        """Tell whether a message may leave at once: `_ready` would wait for nothing."""
        host, core = self._serving(), self._running()
        if core.client or core.state.phase is not Phase.CONNECTED:
            return False
        return all(map(host.has_room_for, ways_out(core, dst, routed=routed)))

    async def _ready(
        self, dst: Address, wait: bool, size: int, count: int = 1, *, routed: bool = False
    ) -> None:
        self._serving()
        if self.state.phase is not Phase.CONNECTED and not self._is_alone_and_named():
            if not wait:
                raise NotConnected(f"we are {self.state}, not connected; wait or use wait=True")
            await self.wait_for(Phase.CONNECTED)
        for token in ways_out(self._running(), dst, routed=routed):
            await self._serving().room(token)
        if count > 1 or size <= self.config.limits.payload_bytes_max:
            await self._serving().turn(self._running(), size, count)

    def _is_large(self, body: bytes) -> bool:
        return len(body) > self.config.limits.payload_bytes_max

    async def _carry(
        self,
        dst: Address,
        body: bytes,
        claim: Authority | None,
        wait: bool,
        progress: OnProgress | None,
    ) -> int:
        """Send a large message and wait until all of it has arrived."""
        await self._ready(dst, wait, len(body), routed=True)
        await self._place()
        reference = self._outbox.next_reference()
        through = self._begin_large(reference, progress)
        try:
            self._submit(reference, MessageKind.MESSAGE, dst, body, authority=claim)
            await through
            return reference
        finally:
            self._outbox.forget(reference)
            self._withdraw(reference)

    async def _place(self) -> None:
        """Wait for a place among the large payloads under way; `_begin_large` gives it back."""
        await self._large.acquire()
        if self._is_over():
            self._large.release()
            raise NotConnected("we have stopped")

    def _begin_large(self, reference: int, progress: OnProgress | None) -> asyncio.Future[None]:
        """Return what ends when the payload is through; then its place is free for another."""
        through = self._outbox.carry(reference, progress)
        through.add_done_callback(lambda _: self._large.release())
        return through

    def _withdraw(self, reference: int) -> None:
        """Nothing further of a request or large payload leaves, and no reply is awaited."""
        if not self._is_over():
            self._hand(Withdrawn(reference))

    def _is_alone_and_named(self) -> bool:
        """A founder that is all of its network may send to itself and to groups."""
        return not self._client and self.state.detail is Detail.RELOCATED and self.name is not None

    def _submit(
        self,
        reference: int,
        kind: MessageKind,
        dst: Address,
        payload: bytes,
        signed: bool = False,
        once: bool = False,
        authority: Authority | None = None,
        message_id: bytes = b"",
    ) -> None:
        fact = Submitted(reference, kind, dst, payload, b"", False, 0, signed, not once)
        if authority is not None:
            fact = changed(fact, authority=authority, message_id=message_id)
        self._hand(fact)

    def _answer(self, request: Message, payload: bytes, failed: bool) -> None:
        """Send the reply to a request; one that has become impossible is counted."""
        if self._is_over():
            self._counters["reply.too_late"] += 1
            return
        limit = self.config.limits.large_bytes_max
        if len(payload) > limit:
            self._counters["reply.too_large"] += 1
            text = f"reply of {len(payload)} bytes exceeds large_bytes_max={limit}"
            payload, failed = text.encode(), True
        self._hand(
            Submitted(
                self._outbox.next_reference(),
                MessageKind.REPLY,
                request.source,
                payload,
                request.id,
                failed,
                0,
                False,
                token=request.token,
            )
        )


def _is_once(delivery: object) -> bool:
    if delivery not in get_args(Delivery):
        known = " or ".join(map(repr, get_args(Delivery)))
        raise UsageError(f"send(delivery={delivery!r}) must be {known}")
    return delivery == "at_most_once"
