"""Many direct messages at once: one frame, one step of the core and one list for all of them.

A batch is to `receipts` what one message is: it arrives whole or not at all, and one id stands for
it. Only when its connection breaks does it fall apart into messages, each with the id it had, which
are sent again a few at a time. Requests, and messages by any other way, are none of its business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing import actions as do
from routing._batch import BATCH_ID_BYTES, MESSAGE_HEADER_BYTES, pack, unpack, volume
from routing.events import Proof
from routing.inputs import SubmittedMany
from routing.links import Link
from routing.messages import ACKNOWLEDGE, FrameKind, MessageKind, NodeAddress

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Batch", "Batching", "batch_id", "nth_id"]

PREFIX_BYTES: Final = 12
"""Of an id: what the messages of one batch have in common."""

AGAIN_AT_ONCE: Final = 64
"""Messages of broken connections that are signed in one step: some milliseconds of work."""

AGAIN_PAUSE_NS: Final = 5_000_000
"""Between two such steps: who sends again leaves time for what else there is to do."""

LOST: Final = "undeliverable: the connection to the destination was lost"


class Batch(Struct):
    """Messages in one frame of which we do not know yet that it has arrived."""

    reference: int
    """Of the first message; the others follow."""
    destination: NodeAddress
    payloads: list[bytes]
    number: int
    """How many direct frames with messages were sent before it on its connection."""
    size: int
    """Bytes of the messages that were not sent again, with their headers."""
    done: int = 0
    """How many of them have been sent again."""
    until: int = 0
    """After this they are not sent again: the far end may not know them any more."""


class Batching:
    """Batches of one core, on their way out and on their way in."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.handed: dict[bytes, Batch] = {}
        """By the id of the first message."""
        self.again: dict[bytes, Batch] = {}
        """Of connections that have ended; their messages are sent again by other ways."""
        self.count = 0
        """Messages in both."""
        self.bytes = 0
        self.pressed = False
        """A batch was refused for want of room, and there is no room yet."""
        self.lends = False
        """Our application takes payloads as views of their frames; nothing here depends on it."""

    def load(self, handed: dict[bytes, Batch], again: dict[bytes, Batch], *, pressed: bool) -> None:
        """Become what a snapshot holds."""
        self.handed, self.again, self.pressed = handed, again, pressed
        self.count = self.bytes = 0
        for batch in (*handed.values(), *again.values()):
            self._account(batch, 1)

    # -- as a source

    def way(self, destination: object) -> Link | None:
        """Return the connection that takes batches to this destination, if there is one."""
        core = self.core
        if not isinstance(destination, NodeAddress) or core.client or core.stopped:
            return None
        if destination.name not in core.table or destination.name in core.suspects.names:
            return None
        return core.link_to(destination.name)

    def on_submitted(self, fact: SubmittedMany) -> None:
        """Send messages as batches; where that cannot be, they are for `lists`."""
        core, to = self.core, fact.destination
        link = None if fact.signed else self.way(to)
        if link is None or not isinstance(to, NodeAddress):
            core.lists.on_submitted(fact)
            return
        if core.passing.tap is not None:
            core.passing.tap.leaves_in_batches()
        if fact.acknowledged and core.receipts.refuses(volume(fact.payloads), len(fact.payloads)):
            core.count("message.busy")
            self.pressed = True
            core.act(do.Failed(fact.reference, "busy: too many messages wait to be acknowledged"))
            return
        start = 0
        while start < len(fact.payloads):
            first = batch_id(core.dice.bytes(BATCH_ID_BYTES))
            body, end = pack(first, fact.payloads, start)
            core.send(link, FrameKind.BATCH, body, priority=1)
            number = core.receipts.watch(link, first if fact.acknowledged else b"")
            if fact.acknowledged:
                payloads = fact.payloads[start:end]
                size = len(body) - BATCH_ID_BYTES
                batch = Batch(fact.reference + start, to, payloads, number, size)
                self.handed[first] = batch
                self._account(batch, 1)
            start = end
        core.journal.count("message.direct", len(fact.payloads))
        core.suspects.on_use(link)

    def _account(self, batch: Batch, sign: int) -> None:
        self.count += sign * (len(batch.payloads) - batch.done)
        self.bytes += sign * batch.size

    def forget(self, first: bytes) -> bool:
        """Watch over a batch no longer; tell whether we did."""
        batch = self.handed.pop(first, None)
        if batch is not None:
            self._account(batch, -1)
        return batch is not None

    def on_broken(self, first: bytes, sent: int, latest: int) -> None:
        """The connection of a batch, over which so many frames were sent, has ended.

        What the far end would not know again, because `latest` frames came after it, has failed.
        """
        core, batch = self.core, self.handed.pop(first, None)
        if batch is None:
            return
        batch.until = core.now + core.limits.repeat_ns
        if sent - batch.number > latest:
            self._fail(first, batch, LOST)
            return
        self.again[first] = batch
        if ("batches", b"") not in core.alarms:
            core.alarm("batches", b"", 0)

    def on_again(self, _subject: bytes) -> None:
        """Alarm: the next few messages of broken connections leave, signed, by other ways."""
        core, left = self.core, AGAIN_AT_ONCE
        while self.again and left:
            first, batch = next(iter(self.again.items()))
            if core.now > batch.until:
                del self.again[first]
                self._fail(first, batch, LOST)
                continue
            payload = batch.payloads[batch.done]
            if core.delivery.refuses(len(payload)):
                break
            left -= 1
            place = batch.done
            batch.done += 1
            self.count -= 1
            size = len(payload) + MESSAGE_HEADER_BYTES
            batch.size -= size
            self.bytes -= size
            if batch.done == len(batch.payloads):
                del self.again[first]
            self._send_again(nth_id(first, place), batch, place)
        if self.again:
            core.alarm("batches", b"", AGAIN_PAUSE_NS)
        self.relieve()

    def _send_again(self, message_id: bytes, batch: Batch, place: int) -> None:
        core, to, reference = self.core, batch.destination, batch.reference + place
        core.count("direct.again")
        envelope = core.relay.seal(
            MessageKind.MESSAGE, to, batch.payloads[place], message_id=message_id, flags=ACKNOWLEDGE
        )
        if not core.delivery.begin(message_id, reference, to, envelope):
            core.messaging.fail(message_id, reference, LOST)

    def _fail(self, first: bytes, batch: Batch, reason: str) -> None:
        """What is left of a batch has come to nothing; it is in neither map any more."""
        self._account(batch, -1)
        for place in range(batch.done, len(batch.payloads)):
            message_id = nth_id(first, place)
            self.core.messaging.fail(message_id, batch.reference + place, reason)

    def on_stop(self) -> None:
        """Every message that is not known to have arrived fails now."""
        waiting = {**self.handed, **self.again}
        self.handed, self.again = {}, {}
        for first, batch in waiting.items():
            self._fail(first, batch, "stopped")

    def relieve(self) -> None:
        """Tell who was refused that there is room again, once half of it is free."""
        limits = self.core.limits
        low = limits.unconfirmed_max // 2, limits.unacknowledged_bytes // 2
        if self.pressed and self.core.receipts.holds_less(*low):
            self.pressed = False
            self.core.act(do.Relieved())

    # -- as a consumer

    def on_batch(self, link: Link, body: bytes) -> None:
        """A batch has come over the connection of its source, which proves it."""
        core = self.core
        source, own = NodeAddress(link.name), core.messaging.own_address(link)
        messages = unpack(body, source, own, link.key, Proof.CHANNEL, self.lends)
        if messages is None:
            core.frames.malformed(link, "batch")
            return
        core.receipts.on_direct(link, body[:BATCH_ID_BYTES])
        core.journal.count("message.delivered", len(messages))
        core.act(do.DeliverMany(messages, len(body)))


def batch_id(drawn: bytes) -> bytes:
    """Return the id of the first message of a batch, which stands for all of it."""
    return drawn[:PREFIX_BYTES] + bytes(BATCH_ID_BYTES - PREFIX_BYTES)


def nth_id(first: bytes, place: int) -> bytes:
    """Return the id of a message by its place in its batch."""
    return first[:PREFIX_BYTES] + place.to_bytes(BATCH_ID_BYTES - PREFIX_BYTES, "big")
