"""Routed messages in lists: one signature, one id and one acknowledgement for many of them.

A list is to `delivery` and to every relay one message like another: it arrives whole or not at all,
is repeated by other ways, and is taken once. To the application it is as many messages, each with
an id and a number of its own; so it fails by the number of each. Groups have none: what their
members agree on is one message. Requests and large payloads are none of its business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routing import actions as do
from routing._batch import (
    BATCH_ID_BYTES,
    LIST_BYTES_MAX,
    list_count,
    list_fault,
    pack_list,
    unpack_list,
    volume,
)
from routing._filter import TimedFilter
from routing.batching import batch_id
from routing.events import Proof
from routing.inputs import Submitted, SubmittedMany
from routing.limits import SECOND
from routing.links import Arrival
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    ClientAddress,
    MessageKind,
    NodeAddress,
    Signed,
)
from routing.window import BUSY

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["LIST_BYTES_MAX", "Lists", "haste", "messages_in"]

UNROUTABLE_WINDOW_NS: Final = 30 * SECOND
"""As of a message that goes alone: who sent it longer ago is not told."""


class Lists:
    """Lists of one core, on their way out and on their way in."""

    def __init__(self, core: Core) -> None:
        self.core = core
        limits = core.limits
        self.unwatched: TimedFilter[bytes, int] = TimedFilter(
            UNROUTABLE_WINDOW_NS, capacity=limits.consumed_entries, clock=None
        )
        """Id of a list that was sent at most once -> how many messages it has."""

    # -- as a source

    def takes(self, destination: Address, *, signed: bool) -> bool:
        """Tell whether messages for this destination go in lists, if they are several."""
        core = self.core
        if core.stopped or (isinstance(destination, NodeAddress) and destination.name == core.name):
            return False
        if not isinstance(destination, NodeAddress | ClientAddress):
            return False
        return signed or core.messaging.direct(destination) is None

    def on_submitted(self, fact: SubmittedMany) -> None:
        """Send messages in lists, in order; what no list takes goes alone.

        Refused, all are: by the number of the first.
        """
        core, payloads = self.core, fact.payloads
        if not self.takes(fact.destination, signed=fact.signed):
            for place in range(len(payloads)):
                core.messaging.on_submitted(_single(fact, place))
            return
        if core.name is None and core.bootstrapping.proxy() is None:
            core.act(do.Failed(fact.reference, "not connected"))
            return
        packed, start = [], 0
        while start < len(payloads):
            body, end = pack_list(payloads, start)
            packed.append((body, start, end))
            start = end
        if fact.acknowledged and self._refuses(fact, len(packed)):
            core.count("message.busy")
            core.delivery.window.pressed = True
            core.act(do.Failed(fact.reference, BUSY))
            return
        wait = core.throttling.must_wait(volume(payloads), core.now, len(payloads))
        if wait:
            core.throttling.refuse(fact.reference, wait)
            return
        for body, start, end in packed:
            if end - start == 1:
                core.messaging.on_submitted(_single(fact, start), granted=True)
            else:
                self._send(fact, body, fact.reference + start, end - start)

    def _refuses(self, fact: SubmittedMany, count: int) -> bool:
        """Tell whether there is no room for so many more lists, or their way is full."""
        delivery, size = self.core.delivery, volume(fact.payloads)
        return delivery.refuses(size, count) or delivery.window.is_full(fact.destination, size)

    def _send(self, fact: SubmittedMany, body: bytes, reference: int, count: int) -> None:
        core, to = self.core, fact.destination
        first = batch_id(core.dice.bytes(BATCH_ID_BYTES))
        flags = ACKNOWLEDGE if fact.acknowledged else 0
        core.count("list.sent")
        core.journal.count("message.routed", count)
        envelope = core.relay.seal(MessageKind.MESSAGES, to, body, message_id=first, flags=flags)
        if fact.acknowledged:
            launched = core.delivery.begin(first, reference, to, envelope, count=count)
        else:
            core.messaging.sent.insert(first, reference, now=core.now)
            self.unwatched.insert(first, count, now=core.now)
            self.unwatched.expire(now=core.now)
            core.throttling.reserve(len(envelope.signed), count)
            launched = core.relay.launch(envelope, to, priority=do.BULK)
        if not launched:
            core.messaging.fail(first, reference, "not connected: no way out", count)

    def count_of(self, message_id: bytes) -> int:
        """Return how many messages of the application this one of ours is; forget it."""
        underway = self.core.delivery.underway.get(message_id)
        if underway is not None:
            return underway.count
        count = self.unwatched.get(message_id, now=self.core.now)
        self.unwatched.remove(message_id)
        return 1 if count is None else count

    # -- as a consumer

    def on_list(self, arrival: Arrival) -> None:
        """A list, its signature verified: all of it is taken, or nothing and with a reason."""
        core, signed = self.core, arrival.signed
        whole = isinstance(signed.destination, NodeAddress | ClientAddress)
        fault = list_fault(signed.id, signed.body) if whole else "group"
        if fault:
            core.count(f"list.{fault}")
            core.note(signed.key, f"list refused: {fault}")
            return
        if not core.messaging.is_new(arrival):
            return
        messages = unpack_list(
            signed.id,
            signed.body,
            signed.source,
            signed.destination,
            signed.key,
            Proof.SIGNATURE,
            core.batching.lends,
        )
        assert messages is not None, "it has no fault"
        core.count("list.delivered")
        core.journal.count("message.delivered", len(messages))
        core.act(do.DeliverMany(messages, len(signed.body)))


def haste(signed: Signed, route: int) -> int:
    """Return the priority with which a relay passes a message on.

    What is large and comes again, or is not missed, is dropped where too much waits for a peer;
    else its connection would be closed for it.
    """
    lossy = bool(route) or not signed.flags & ACKNOWLEDGE
    bulky = signed.kind is MessageKind.PART or (signed.kind is MessageKind.MESSAGES and lossy)
    return do.BULK if bulky else 0


def messages_in(signed: Signed) -> int:
    """Return how many messages of an application this is to who counts what a client sends."""
    return max(1, list_count(signed.body)) if signed.kind is MessageKind.MESSAGES else 1


def _single(fact: SubmittedMany, place: int) -> Submitted:
    return Submitted(
        fact.reference + place,
        MessageKind.MESSAGE,
        fact.destination,
        fact.payloads[place],
        b"",
        False,
        0,
        fact.signed,
        acknowledged=fact.acknowledged,
    )
