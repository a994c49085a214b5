"""A message too large for a frame leaves in parts, a few at a time; the far end is `assembly`.

Each part is a routed message of its own, signed, acknowledged, and sent again by other ways until
it is; `delivery` sees to that and does not know what a part is part of. The first one travels
alone: who takes it has made room for all, and knows the message by it. How many follow at once is
learnt from what comes back. A part that fails fails the whole. Groups get no parts.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing import actions as do
from routing.bodies import Part, Reply
from routing.hops import smoothed
from routing.inputs import Submitted
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    Authority,
    GroupAddress,
    MessageKind,
    encode,
)

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["REPLY_BYTES", "Outgoing", "Parts", "part_bounds"]

REPLY_BYTES: Final = len(encode(Reply(bytes(16), bytes(16), False, bytes(1 << 16)))) - (1 << 16)
"""What a reply is larger than its payload, if that is large."""

PATIENCE_TIMES: Final = 4
"""A part is waited for so many times longer than a small message: it has to get through a slow
connection whole, behind others."""

WAIT_LOW_MS: Final = 100
WAIT_HIGH_MS: Final = 10_000
"""How long we wait when told to: nobody keeps us busy, or makes us wait for ever."""


class Outgoing(Struct):
    """A large message of ours that is not through."""

    reference: int
    kind: MessageKind
    destination: Address
    authority: Authority | None
    body: bytes
    digest: bytes
    count: int
    patience: int
    """For the acknowledgement of the first copy of a part."""
    moved_at: int
    """When it began, or a part was last acknowledged."""
    following: int = 0
    """The part that leaves next for the first time."""
    again: list[int] = []
    """Parts that were not taken for want of room."""
    flying: dict[bytes, int] = {}
    """Id of the routed message -> the part in it."""
    window: int = 1
    done: int = 0
    """Bytes acknowledged."""
    average: int = 0
    """Of measured round trips of parts, nanoseconds; 0 before the first."""
    deviation: int = 0


class Parts:
    """Large messages of ours under way, by their ids."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.open: dict[bytes, Outgoing] = {}
        self.whole_of: dict[bytes, bytes] = {}
        """Id of a part's routed message -> id of the large one."""
        self.bytes = 0
        """Of the bodies in `open`."""

    # -- what is asked for

    def is_large(self, size: int) -> bool:
        """Tell whether a payload of this size goes in parts."""
        return size > self.core.limits.payload_bytes_max

    def refuses(self, fact: Submitted) -> str:
        """Return why this large message cannot be sent now, empty if it can."""
        limits, size = self.core.limits, len(fact.payload)
        if isinstance(fact.destination, GroupAddress):
            return f"refused: payload of {size} bytes to a group exceeds payload_bytes_max"
        if size > limits.large_bytes_max:
            return f"refused: payload of {size} bytes exceeds large_bytes_max"
        if self.bytes + size > limits.large_waiting_bytes:
            return "busy: too many large messages are under way"
        return ""

    def begin(self, fact: Submitted, message_id: bytes, body: bytes) -> bool:
        """Send the first part of a message of ours; tell whether there was a way out."""
        core = self.core
        outgoing = self.open[message_id] = Outgoing(
            reference=fact.reference,
            kind=fact.kind,
            destination=fact.destination,
            authority=fact.authority,
            body=body,
            digest=sha256(body).digest(),
            count=-(-len(body) // core.limits.part_bytes),
            patience=core.limits.acknowledge_first_ns,
            moved_at=core.now,
        )
        self.bytes += len(body)
        core.count("large.begun")
        outgoing.following = 1
        return self._launch(message_id, outgoing, 0)

    def withdraw(self, reference: int) -> None:
        """The application has given a message up: no further part leaves."""
        for message_id, outgoing in list(self.open.items()):
            if outgoing.reference == reference:
                self.core.count("large.withdrawn")
                self.core.messaging.give_up(message_id)

    # -- parts on their way

    def _pump(self, message_id: bytes, outgoing: Outgoing) -> None:
        """Let follow what the window takes, unless we were told to wait."""
        if ("parts", message_id) in self.core.alarms:
            return
        while len(outgoing.flying) < outgoing.window:
            if outgoing.again:
                index = outgoing.again.pop(0)
            elif outgoing.following < outgoing.count:
                index = outgoing.following
                outgoing.following += 1
            else:
                return
            # Without a way out just now the part is lost like any other; `launch` counts it.
            self._launch(message_id, outgoing, index)

    def _launch(self, message_id: bytes, outgoing: Outgoing, index: int) -> bool:
        core, size = self.core, len(outgoing.body)
        first, end = part_bounds(size, outgoing.count, index)
        part = Part(
            id=message_id,
            kind=outgoing.kind,
            size=size,
            index=index,
            count=outgoing.count,
            digest=outgoing.digest,
            chunk=outgoing.body[first:end],
        )
        part_id, to = core.dice.bytes(16), outgoing.destination
        envelope = core.relay.seal(
            MessageKind.PART,
            to,
            encode(part),
            message_id=part_id,
            flags=ACKNOWLEDGE,
            authority=outgoing.authority,
        )
        outgoing.flying[part_id] = index
        self.whole_of[part_id] = message_id
        core.count("part.sent")
        return core.delivery.begin(
            part_id, outgoing.reference, to, envelope, part=outgoing.patience
        )

    def _land(self, part_id: bytes) -> tuple[bytes, Outgoing, int]:
        message_id = self.whole_of.pop(part_id)
        outgoing = self.open[message_id]
        return message_id, outgoing, outgoing.flying.pop(part_id)

    # -- what becomes of them

    def on_arrived(self, part_id: bytes, took: int) -> None:
        """A part is acknowledged, after `took` nanoseconds, or 0 if a repeat measures nothing."""
        core, limits = self.core, self.core.limits
        message_id, outgoing, index = self._land(part_id)
        first, end = part_bounds(len(outgoing.body), outgoing.count, index)
        outgoing.done += end - first
        outgoing.moved_at = core.now
        outgoing.window = min(outgoing.window + 1, limits.part_window)
        if took:
            outgoing.average, outgoing.deviation = smoothed(
                outgoing.average, outgoing.deviation, took
            )
            outgoing.patience = self._bounded(outgoing.average + 4 * outgoing.deviation)
        if outgoing.kind is not MessageKind.REPLY:
            core.act(do.Progress(outgoing.reference, outgoing.done, len(outgoing.body)))
        if outgoing.done < len(outgoing.body):
            self._pump(message_id, outgoing)
            return
        core.count("large.through")
        self.forget(message_id)
        core.messaging.on_arrived(message_id)

    def on_retry(self, part_id: bytes) -> None:
        """A part was not acknowledged in time: the way is slower than we thought, or congested."""
        outgoing = self.open[self.whole_of[part_id]]
        outgoing.window = max(1, outgoing.window // 2)
        outgoing.patience = self._bounded(2 * outgoing.patience)

    def _bounded(self, patience: int) -> int:
        limits = self.core.limits
        high = PATIENCE_TIMES * limits.acknowledge_high_ns
        return min(max(patience, limits.acknowledge_low_ns), high)

    def on_refused(self, part_id: bytes, wait_ms: int) -> None:
        """A part was not taken for want of room: it is sent again after a while."""
        core = self.core
        message_id, outgoing, index = self._land(part_id)
        core.delivery.forget(part_id)
        if core.now - outgoing.moved_at >= core.limits.large_idle_ns:
            reason = "busy: the destination has had no room for the message for too long"
            core.messaging.fail(message_id, outgoing.reference, reason)
            return
        core.count("part.refused")
        outgoing.again.append(index)
        outgoing.window = 1
        wait = min(max(wait_ms, WAIT_LOW_MS), WAIT_HIGH_MS)
        core.alarm("parts", message_id, core.dice.around(wait * 1_000_000, 25))

    def on_due(self, message_id: bytes) -> None:
        """Alarm: we have waited as we were told."""
        self._pump(message_id, self.open[message_id])

    def on_failed(self, part_id: bytes, reason: str) -> bool:
        """If this was a part, its message comes to nothing; tell whether it was one."""
        message_id = self.whole_of.get(part_id)
        if message_id is None:
            return False
        self.core.messaging.fail(message_id, self.open[message_id].reference, reason)
        return True

    def forget(self, message_id: bytes) -> None:
        """Whatever became of this message, no part of it follows."""
        outgoing = self.open.pop(message_id, None)
        if outgoing is None:
            return
        self.bytes -= len(outgoing.body)
        self.core.alarms.cancel(("parts", message_id))
        for part_id in outgoing.flying:
            del self.whole_of[part_id]
            self.core.delivery.forget(part_id)

    def on_stop(self) -> None:
        """Every large message under way fails now."""
        for message_id, outgoing in list(self.open.items()):
            self.core.messaging.fail(message_id, outgoing.reference, "stopped")

    def load(self, open_: dict[bytes, Outgoing]) -> None:
        """Become what a snapshot described."""
        self.open = open_
        self.bytes = sum(len(each.body) for each in open_.values())
        self.whole_of = {
            part_id: message_id for message_id, each in open_.items() for part_id in each.flying
        }


def part_bounds(size: int, count: int, index: int) -> tuple[int, int]:
    """Return where part `index` of `count` begins and ends in a body of `size` bytes.

    All are equally long but the last, which has what is left; empty if there are too many parts.
    """
    unit = -(-size // count)
    return min(index * unit, size), min((index + 1) * unit, size)
