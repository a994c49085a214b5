"""Direct messages until they are known to have arrived; repeats of them that come routed.

A connection keeps its frames in order, so a Ping behind direct messages is answered once all of
them have been taken: one question at a time, a moment later, for all that went before. What is
unanswered when the connection ends is sent again, signed and routed; so that nothing is handed over
twice, the receiver remembers the latest ids of each connection, and for a while those of one that
has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from routing._filter import MessageFilter, TimedFilter
from routing.batching import batch_id
from routing.inputs import Submitted
from routing.links import Link
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    Authority,
    Direct,
    FrameKind,
    MessageKind,
    Ping,
)

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Handed", "Line", "Receipts"]

LATEST = 1_024
"""Ids that a receiver remembers of a connection; an older one is not sent again but given up."""

ENDED_MAX = 256
"""Ended connections whose ids are remembered: as many as a table may lose at once."""


class Handed(Struct, gc=False):
    """A direct message of ours of which we do not know yet that it has arrived."""

    reference: int
    kind: MessageKind
    destination: Address
    authority: Authority | None
    body: bytes
    number: int
    """How many were sent before it on its connection."""


class Line(Struct):
    """What we have sent on one connection."""

    sent: int = 0
    nonce: bytes = b""
    """Of the Ping that asks about `asked`; empty while none is under way."""
    asked: list[bytes] = []
    since: list[bytes] = []
    """Ids that no Ping has asked about yet."""


class Receipts:
    """Direct messages of one core, on their way out and on their way in."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.handed: dict[bytes, Handed] = {}
        self.lines: dict[int, Line] = {}
        self.broken: dict[int, Line] = {}
        """Of connections that have ended; what is unknown is sent again at once."""
        self.bytes = 0
        """Of the bodies in `handed`."""
        self.heard: dict[bytes, MessageFilter] = {}
        """Key at the far end of a connection -> ids of the direct messages that came over it."""
        self.ended: TimedFilter[bytes, MessageFilter] = TimedFilter(
            # Of what went over a broken connection copies may leave for so long, and travel.
            2 * core.limits.repeat_ns,
            capacity=ENDED_MAX,
            clock=None,
        )

    # -- as a source

    def refuses(self, size: int, count: int = 1) -> bool:
        """Tell whether there is no room for so many more messages, of this size together."""
        limits = self.core.limits
        most = limits.unconfirmed_max - count, limits.unacknowledged_bytes - size
        return not self.holds_less(most[0] + 1, most[1] + 1)

    def holds_less(self, count: int, size: int) -> bool:
        """Tell whether fewer messages, and bytes, than these are not known to have arrived."""
        batching = self.core.batching
        held = len(self.handed) + batching.count
        return held < count and self.bytes + batching.bytes < size

    def send(self, link: Link, message_id: bytes, fact: Submitted, body: bytes) -> None:
        """Send a message to who is at the far end of this connection, and watch over it."""
        core = self.core
        core.send(link, FrameKind.DIRECT, Direct(fact.kind, message_id, body), priority=1)
        number = self.watch(link, message_id if fact.acknowledged else b"")
        if fact.acknowledged:
            self.handed[message_id] = Handed(
                fact.reference, fact.kind, fact.destination, fact.authority, body, number
            )
            self.bytes += len(body)
        core.suspects.on_use(link)

    def watch(self, link: Link, message_id: bytes) -> int:
        """One more message, or batch, has been sent; ask about it if it has an id.

        Return how many went before it on its connection.
        """
        line = self.lines.get(link.token)
        if line is None:
            line = self.lines[link.token] = Line()
        if message_id:
            line.since.append(message_id)
            if not line.nonce:
                self._ask_soon(link, line)
        line.sent += 1
        return line.sent - 1

    def _ask_soon(self, link: Link, line: Line) -> None:
        """Ask what has arrived in a moment: a reply may say it before, and more may come.

        At once where so much is unknown that senders would be held up.
        """
        core = self.core
        limits, subject = core.limits, link.token.to_bytes(8, "big")
        if not self.holds_less(limits.unconfirmed_max // 2, limits.unacknowledged_bytes // 2):
            core.alarms.cancel(("confirm", subject))
            self._ask(link, line)
        elif ("confirm", subject) not in core.alarms:
            core.alarm("confirm", subject, limits.confirm_delay_ns)

    def on_confirm_due(self, subject: bytes) -> None:
        """Alarm: ask about what is still unknown."""
        token = int.from_bytes(subject, "big")
        link, line = self.core.links.get(token), self.lines.get(token)
        if link is None or line is None or line.nonce:
            return
        single, batches = self.handed, self.core.batching.handed
        line.since = [each for each in line.since if each in single or each in batches]
        if line.since:
            self._ask(link, line)

    def _ask(self, link: Link, line: Line) -> None:
        line.nonce = self.core.dice.bytes(8)
        line.asked, line.since = line.since, []
        self.core.send(link, FrameKind.PING, Ping(line.nonce), priority=1)

    def on_pong(self, link: Link, nonce: bytes) -> bool:
        """All that went before our Ping has been taken; tell whether it was ours."""
        core, line = self.core, self.lines.get(link.token)
        if line is None or line.nonce != nonce:
            return False
        for message_id in line.asked:
            if core.batching.forget(message_id):
                core.count("batch.confirmed")
            elif self.forget(message_id):
                core.count("direct.confirmed")
                core.messaging.on_arrived(message_id)
        core.batching.relieve()
        line.nonce, line.asked = b"", []
        if line.since:
            self._ask_soon(link, line)
        return True

    def forget(self, message_id: bytes) -> bool:
        """Watch over a message no longer; tell whether we did."""
        entry = self.handed.pop(message_id, None)
        if entry is not None:
            self.bytes -= len(entry.body)
        return entry is not None

    def on_closed(self, link: Link) -> None:
        """A connection has ended, or is about to; what follows is done when its owner knows."""
        core = self.core
        line = self.lines.pop(link.token, None)
        core.alarms.cancel(("confirm", link.token.to_bytes(8, "big")))
        watched = (self.handed, core.batching.handed)
        ids = () if line is None else (*line.asked, *line.since)
        if line is not None and any(each in one for each in ids for one in watched):
            self.broken[link.token] = line
            core.alarm("receipt", link.token.to_bytes(8, "big"), 0)
        heard = self.heard.pop(link.key, None)
        if heard is not None:
            self.ended.insert(link.key, heard, now=core.now)
            self.ended.expire(now=core.now)

    def on_broken(self, subject: bytes) -> None:
        """Alarm: what went over an ended connection is sent again by other ways."""
        line = self.broken.pop(int.from_bytes(subject, "big"))
        for message_id in [*line.asked, *line.since]:
            self.core.batching.on_broken(message_id, line.sent, LATEST)
            entry = self.handed.get(message_id)
            if entry is not None:
                self.forget(message_id)
                self._send_again(message_id, entry, line)
        self.core.batching.relieve()

    def _send_again(self, message_id: bytes, entry: Handed, line: Line) -> None:
        core = self.core
        reason = "undeliverable: the connection to the destination was lost"
        if line.sent - entry.number <= LATEST:
            core.count("direct.again")
            envelope = core.relay.seal(
                entry.kind,
                entry.destination,
                entry.body,
                message_id=message_id,
                flags=ACKNOWLEDGE,
                authority=entry.authority,
            )
            # A client has no way out now; it will soon have one, and another address.
            delay = core.limits.acknowledge_first_ns if core.client else 0
            if core.delivery.begin(
                message_id, entry.reference, entry.destination, envelope, delay=delay
            ):
                return
        core.messaging.fail(message_id, entry.reference, reason)

    def on_throttled(self, message_id: bytes, wait_ns: int) -> bool:
        """Our proxy has not taken a message: it is sent again, routed; tell whether it is ours."""
        core, entry = self.core, self.handed.get(message_id)
        if entry is None:
            return False
        self.forget(message_id)
        envelope = core.relay.seal(
            entry.kind,
            entry.destination,
            entry.body,
            message_id=message_id,
            flags=ACKNOWLEDGE,
            authority=entry.authority,
        )
        to = entry.destination
        core.delivery.begin(message_id, entry.reference, to, envelope, delay=wait_ns)
        return True

    def on_stop(self) -> None:
        """Every message that is not known to have arrived fails now."""
        for message_id, entry in list(self.handed.items()):
            self.core.messaging.fail(message_id, entry.reference, "stopped")
        self.lines.clear()
        self.broken.clear()

    # -- as a consumer

    def on_direct(self, link: Link, message_id: bytes) -> None:
        """A direct message has come: it may come again, by another way."""
        heard = self.heard.get(link.key)
        if heard is None:
            heard = self.heard[link.key] = self.fresh()
        heard.insert(message_id, self.core.now)

    def fresh(self) -> MessageFilter:
        """Return room for the latest ids of one connection."""
        return MessageFilter(self.core.limits.message_filter_ns, capacity=LATEST, clock=None)

    def has(self, key: bytes, message_id: bytes) -> bool:
        """Tell whether a message of this key came over its own connection before, or its batch."""
        now = self.core.now
        for room in (self.heard.get(key), self.ended.get(key, now=now)):
            if room is not None and (
                room.contains(message_id, now) or room.contains(batch_id(message_id), now)
            ):
                return True
        return False
