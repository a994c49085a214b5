"""Acknowledged delivery: a routed message is sent again by another way until its consumer has it.

The copies of a message differ in their route number only, so every relay passes each of them on and
the consumer knows them for one. It does not know what a message says, and groups are none of its
business: a message to a group has no one consumer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, structs

from routing.actions import BULK
from routing.bodies import Acknowledged, Busy
from routing.limits import ROUTES_MAX
from routing.links import Arrival
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    ClientAddress,
    Envelope,
    MessageKind,
    NodeAddress,
    decode,
    encode,
)

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Delivery", "Underway", "smoothed"]


class Underway(Struct):
    """A message of ours that its consumer has not acknowledged; `envelope` has the last route."""

    reference: int
    destination: Address
    envelope: Envelope
    sent_at: int
    part: int = 0
    """Of a part of a large message: the least time to wait for it; 0 for a whole message."""


class Delivery:
    """Messages of ours that wait for an acknowledgement, and the time that one takes."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.underway: dict[bytes, Underway] = {}
        self.bytes = 0
        """Of the signed parts of `underway`."""
        self.average = 0
        """Of measured round trips, nanoseconds; 0 before the first."""
        self.deviation = 0

    # -- as a source

    def refuses(self, size: int) -> bool:
        """Tell whether there is no room for one more message of this size."""
        limits = self.core.limits
        return (
            len(self.underway) >= limits.unacknowledged_max
            or self.bytes + size > limits.unacknowledged_bytes
        )

    def begin(
        self,
        message_id: bytes,
        reference: int,
        to: Address,
        envelope: Envelope,
        *,
        part: int = 0,
    ) -> None:
        """Watch over a message whose first copy is leaving; `part` as in `Underway`."""
        core = self.core
        self.underway[message_id] = Underway(reference, to, envelope, core.now, part)
        self.bytes += len(envelope.signed)
        core.alarm("retry", message_id, self.patience(0, part))

    def patience(self, route: int, least: int = 0) -> int:
        """Return how long to wait for the acknowledgement of the copy of this route number.

        It doubles with each copy: only the first measures, so a way that has become slower would
        otherwise never be measured again.
        """
        limits = self.core.limits
        usual = self.average + 4 * self.deviation if self.average else limits.acknowledge_first_ns
        usual = max(usual, limits.acknowledge_low_ns, least)
        return min(usual << route, max(limits.acknowledge_high_ns, least))

    def on_retry(self, message_id: bytes) -> None:
        """Alarm: not acknowledged in time; the next best first hop, or the end."""
        core = self.core
        entry = self.underway[message_id]
        route = entry.envelope.route + 1
        if route >= ROUTES_MAX:
            core.count("delivery.undeliverable")
            reason = f"undeliverable: no acknowledgement after {ROUTES_MAX} routes"
            core.messaging.fail(message_id, entry.reference, reason)
            return
        core.count("delivery.retry")
        if entry.part:
            core.parts.on_retry(message_id)
        entry.envelope = structs.replace(entry.envelope, route=route)
        core.alarm("retry", message_id, self.patience(route, entry.part))
        # Without any way out just now the copy is lost like any other; `launch` counts it.
        priority = BULK if entry.part else 0
        core.relay.launch(entry.envelope, entry.destination, rank=route, priority=priority)

    def on_acknowledged(self, arrival: Arrival) -> None:
        """An acknowledgement, its signature verified: believed from the destination only."""
        core = self.core
        body = decode(Acknowledged, arrival.signed.body)
        entry = None if body is None else self.underway.get(body.id)
        if body is None:
            core.count("acknowledged.malformed")
        elif entry is None:
            core.count("acknowledged.unasked")
        elif not _is_consumer(entry.destination, arrival):
            core.count("acknowledged.forged")
        else:
            took = max(1, core.now - entry.sent_at) if entry.envelope.route == 0 else 0
            core.count("delivery.acknowledged")
            self.forget(body.id)
            if entry.part:
                core.parts.on_arrived(body.id, took)
                return
            if took:
                self.average, self.deviation = smoothed(self.average, self.deviation, took)
            core.messaging.on_arrived(body.id)

    def on_busy(self, arrival: Arrival) -> None:
        """The consumer has no room for a message, its signature verified."""
        core = self.core
        body = decode(Busy, arrival.signed.body)
        entry = None if body is None else self.underway.get(body.id)
        if body is None:
            core.count("busy.malformed")
        elif entry is None or not entry.part:
            core.count("busy.unasked")
        elif not _is_consumer(entry.destination, arrival):
            core.count("busy.forged")
        else:
            core.parts.on_refused(body.id, body.wait_ms)

    def forget(self, message_id: bytes) -> None:
        """Whatever became of this message, no copy of it follows."""
        entry = self.underway.pop(message_id, None)
        if entry is not None:
            self.bytes -= len(entry.envelope.signed)
            self.core.alarms.cancel(("retry", message_id))

    def on_stop(self) -> None:
        """Every message under way fails now."""
        for message_id, entry in list(self.underway.items()):
            self.core.messaging.fail(message_id, entry.reference, "stopped")

    # -- as a consumer

    def acknowledge(self, arrival: Arrival) -> None:
        """Tell the source that we have its message; a repeat is answered by another way."""
        core, signed = self.core, arrival.signed
        if not signed.flags & ACKNOWLEDGE:
            return
        body = encode(Acknowledged(signed.id))
        rank = arrival.envelope.route
        if not core.relay.send(MessageKind.ACKNOWLEDGED, signed.source, body, rank=rank):
            core.count("acknowledged.no_path")


def smoothed(average: int, deviation: int, took: int) -> tuple[int, int]:
    """Return average and deviation of round trips with one more taken in; RFC 6298's weights.

    Of a repeated message nobody knows which copy was answered, so only the others count.
    """
    if not average:
        return took, took // 2
    error = took - average
    return max(1, average + error // 8), deviation + (abs(error) - deviation) // 4


def _is_consumer(destination: Address, arrival: Arrival) -> bool:
    """Tell whether an acknowledgement comes from whom the message was for."""
    source = arrival.signed.source
    if isinstance(destination, NodeAddress):
        return isinstance(source, NodeAddress) and source.name == destination.name
    return isinstance(destination, ClientAddress) and arrival.signed.key == destination.key
