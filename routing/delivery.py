"""Acknowledged delivery: a routed message is sent again by another way until its consumer has it.

The copies of a message differ in their route number only, so every relay passes each of them on and
the consumer knows them for one. What answers a copy carries its route number. For a group the first
of its nodes that is reached answers, once the others have their copies on the way. It does not know
what a message says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, structs

from routing.actions import BULK
from routing.bodies import Acknowledged, Busy
from routing.limits import ROUTES_MAX
from routing.links import Arrival
from routing.messages import (
    Address,
    ClientAddress,
    Envelope,
    GroupAddress,
    MessageKind,
    NodeAddress,
    decode,
    encode,
)
from routing.names import distance
from routing.window import Window, target_of

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Delivery", "Underway"]

REFUSED_LEAST = 4
"""Copies that must be answered Unroutable before nobody has the name, with fewer first hops."""

MICROSECOND = 1_000
MILLISECOND = 1_000_000
WAITED_US_MAX = 2**32 - 1

PUT_OFF_MAX = 8
"""How often a proxy may make us wait: it cannot keep a message for ever."""


class Underway(Struct, gc=False):
    """A message of ours that its consumer has not acknowledged; `envelope` has the last route."""

    reference: int
    destination: Address
    envelope: Envelope
    hops: list[bytes]
    """The first hop of each copy, by route number; empty where there was no choice."""
    sent: list[int]
    """When each copy left."""
    refused: list[int] = []
    """Route numbers that were answered Unroutable."""
    busy: bool = False
    """The consumer had no room for the last copy."""
    part: int = 0
    """Of a part of a large message: the least time to wait for it; 0 for a whole message."""
    waiting: bool = False
    """The copy in `envelope` has not left yet: it does at the next alarm."""
    put_off: int = 0
    """How often our proxy has not passed a copy on for the time being."""
    count: int = 1
    """How many messages of the application it is; their numbers follow `reference`."""


class Delivery:
    """Messages of ours that wait for an acknowledgement."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.underway: dict[bytes, Underway] = {}
        self.bytes = 0
        """Of the signed parts of `underway`."""
        self.window = Window(core)

    # -- as a source

    def refuses(self, size: int, count: int = 1) -> bool:
        """Tell whether there is no room for so many more messages, of this size together."""
        limits = self.core.limits
        return (
            len(self.underway) + count > limits.unacknowledged_max
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
        delay: int = 0,
        count: int = 1,
    ) -> bool:
        """Send the first copy of a message and watch over it; tell whether there was a way out.

        Without one a whole message is not watched over, and a part is lost like any other copy.
        `part` and `count` are as in `Underway`. After a `delay`, and in its turn, it leaves later.
        """
        entry = Underway(reference, to, envelope, [], [], part=part, count=count)
        launched = self._leave(message_id, entry, delay)
        if launched or part:
            self.underway[message_id] = entry
            self.bytes += len(envelope.signed)
            self.window.account(entry, 1)
        else:
            self.core.alarms.cancel(("retry", message_id))
        return launched

    def _leave(self, message_id: bytes, entry: Underway, delay: int = 0) -> bool:
        """Send the copy in `entry.envelope` now, or when our proxy lets us."""
        core = self.core
        delay = max(delay, core.throttling.reserve(len(entry.envelope.signed), entry.count))
        if not delay:
            return self._launch(message_id, entry)
        entry.waiting = True
        core.alarm("retry", message_id, delay)
        return True

    def _launch(self, message_id: bytes, entry: Underway) -> bool:
        """Send the copy in `entry.envelope` by the best way that is left."""
        core = self.core
        hop = self._choose(entry)
        silences = len(entry.hops) - len(entry.refused)
        entry.hops.append(hop)
        entry.sent.append(core.now)
        least = entry.part
        if isinstance(entry.destination, GroupAddress):
            # Its first node may have to find out who the members are.
            least = core.limits.find_retry_ns + core.limits.acknowledge_low_ns
        patience = core.hops.patience(target_of(entry.destination), silences, least)
        core.alarm("retry", message_id, patience)
        priority = BULK if entry.part or (entry.count > 1 and silences) else 0
        return core.relay.launch(entry.envelope, entry.destination, hop=hop, priority=priority)

    def _choose(self, entry: Underway) -> bytes:
        """Return the best first hop that no copy has taken yet, else the one taken longest ago."""
        ways = self.core.relay.ways(entry.destination)
        if not ways:
            return b""
        if not entry.hops:
            return ways[0]
        used = {hop: route for route, hop in enumerate(entry.hops)}
        return min(ways, key=lambda name: used.get(name, -1))

    def on_retry(self, message_id: bytes) -> None:
        """Alarm: not acknowledged in time; the next best first hop, or the end."""
        core = self.core
        entry = self.underway[message_id]
        if entry.waiting:
            self._launch_late(message_id, entry)
            return
        route = entry.envelope.route
        refused = route in entry.refused
        if not route and not refused and not entry.busy and _is_measured(entry):
            longer = core.hops.lasts(target_of(entry.destination), entry.sent[0])
            if longer:
                core.count("delivery.behind")
                core.alarm("retry", message_id, longer)
                return
        if not refused and not entry.busy:
            core.hops.miss(entry.hops[route])
            core.moving.suspect_proxy()
            if entry.part:
                core.parts.on_retry(message_id)
        if route + 1 >= ROUTES_MAX or (refused and not self._may_lead_on(entry)):
            self._give_up(message_id, entry)
        else:
            core.count("delivery.retry")
            self._repeat(message_id, entry)

    def _repeat(self, message_id: bytes, entry: Underway) -> None:
        entry.envelope = structs.replace(entry.envelope, route=entry.envelope.route + 1)
        entry.busy = False
        # Without any way out just now the copy is lost like any other; the relay counts it.
        self._leave(message_id, entry)

    def _launch_late(self, message_id: bytes, entry: Underway) -> None:
        """A copy that has waited leaves, from the address that we have by now."""
        envelope = self.core.moving.current(entry.envelope)
        self.bytes += len(envelope.signed) - len(entry.envelope.signed)
        self.window.account(entry, -1)
        entry.envelope, entry.waiting = envelope, False
        self.window.account(entry, 1)
        self._launch(message_id, entry)

    def begin_anew(self, message_id: bytes) -> None:
        """Repeat a message from the first copy on: we have another address now."""
        entry = self.underway[message_id]
        entry.envelope = structs.replace(entry.envelope, route=0)
        entry.hops, entry.sent, entry.refused, entry.busy = [], [], [], False
        self._leave(message_id, entry, 1)

    def put_off(self, message_id: bytes, wait_ns: int) -> None:
        """Our proxy has not passed the last copy on; the same one leaves again when it says."""
        entry = self.underway[message_id]
        entry.put_off += 1
        if entry.put_off > PUT_OFF_MAX:
            reason = f"throttled: our proxy has put the message off {PUT_OFF_MAX} times"
            self.core.messaging.fail(message_id, entry.reference, reason)
            return
        if not entry.waiting:
            entry.hops.pop()
            entry.sent.pop()
        entry.waiting = True
        self.core.alarm("retry", message_id, wait_ns)

    def _may_lead_on(self, entry: Underway) -> bool:
        """Tell whether one more way may end elsewhere than those answered Unroutable."""
        if len(entry.refused) < len(entry.hops):
            return True
        ways = self.core.relay.ways(entry.destination)
        return len(entry.hops) < max(len(ways), REFUSED_LEAST)

    def _give_up(self, message_id: bytes, entry: Underway) -> None:
        core, routes = self.core, len(entry.hops)
        if len(entry.refused) == routes:
            core.count("delivery.unroutable")
            reason = "unroutable: nobody has this name"
        elif entry.busy:
            core.count("delivery.undeliverable")
            reason = f"busy: the destination had no room for any of {routes} copies"
        else:
            core.count("delivery.undeliverable")
            reason = f"undeliverable: no acknowledgement after {routes} routes"
        core.messaging.fail(message_id, entry.reference, reason)

    def on_acknowledged(self, arrival: Arrival) -> None:
        """An acknowledgement, its signature verified: believed from the destination only."""
        core = self.core
        body = decode(Acknowledged, arrival.signed.body)
        if body is None:
            core.count("acknowledged.malformed")
            return
        for message_id in (body.id, *body.others):
            entry = self.underway.get(message_id)
            if entry is None:
                core.count("acknowledged.unasked")
            elif not _is_consumer(entry, arrival):
                core.count("acknowledged.forged")
            else:
                measured = message_id == body.id
                took = self._learn(entry, arrival.envelope.route, body.waited_us) if measured else 0
                self._arrived(message_id, entry, took)

    def _arrived(self, message_id: bytes, entry: Underway, took: int) -> None:
        core = self.core
        core.count("delivery.acknowledged")
        self.forget(message_id)
        if entry.part:
            core.parts.on_arrived(message_id, took)
        else:
            core.messaging.on_arrived(message_id)

    def _learn(self, entry: Underway, route: int, waited_us: int = 0) -> int:
        """The copy of this route number was answered: its way works. Return how long it took.

        So a repeated message can be measured, too; nobody guesses which copy was answered. The
        number is not signed: a relay that forges it makes us wait longer or repeat sooner, within
        the bounds of any wait. 0 if there was no such copy.
        """
        if route >= len(entry.sent):
            return 0
        core = self.core
        core.hops.praise(entry.hops[route])
        took = max(1, core.now - entry.sent[route] - waited_us * MICROSECOND)
        if _is_measured(entry):
            target = target_of(entry.destination)
            core.hops.measure(target, took)
            if not route:
                core.hops.reach(target, entry.sent[0])
        return took

    def on_unroutable(self, message_id: bytes, entry: Underway, arrival: Arrival) -> None:
        """Somebody knows no further: the next copy leaves now instead of later.

        Anybody may say so who has seen the id. All it brings about is that the copies that were to
        follow follow sooner: the message fails only once the last had its time.
        """
        route = arrival.envelope.route
        if route >= len(entry.hops) or route in entry.refused:
            self.core.count("unroutable.repeated")
            return
        entry.refused.append(route)
        last = entry.envelope.route
        if route == last and last + 1 < ROUTES_MAX and self._may_lead_on(entry):
            self.core.count("delivery.reroute")
            self._repeat(message_id, entry)

    def on_busy(self, arrival: Arrival) -> None:
        """The consumer has no room: it is asked again later, by the next way."""
        core = self.core
        body = decode(Busy, arrival.signed.body)
        entry = None if body is None else self.underway.get(body.id)
        if body is None:
            core.count("busy.malformed")
        elif entry is None:
            core.count("busy.unasked")
        elif not _is_consumer(entry, arrival):
            core.count("busy.forged")
        elif entry.part:
            core.parts.on_refused(body.id, body.wait_ms)
        elif arrival.envelope.route != entry.envelope.route:
            core.count("busy.late")
        else:
            core.count("delivery.busy")
            self._learn(entry, arrival.envelope.route)
            entry.busy = True
            limits = core.limits
            wait = core.dice.around(body.wait_ms * MILLISECOND, 25)
            wait = min(max(wait, limits.acknowledge_low_ns), limits.acknowledge_high_ns)
            core.alarm("retry", body.id, wait)

    def on_replied(self, message_id: bytes) -> None:
        """The reply to a request of ours has come, which acknowledges it.

        It does not say which copy it answers: a repeated request measures nothing.
        """
        entry = self.underway.get(message_id)
        if entry is not None and len(entry.hops) == 1:
            self._learn(entry, 0)
        self.forget(message_id)

    def forget(self, message_id: bytes) -> None:
        """Whatever became of this message, no copy of it follows."""
        entry = self.underway.pop(message_id, None)
        if entry is not None:
            self.bytes -= len(entry.envelope.signed)
            self.core.alarms.cancel(("retry", message_id))
            self.window.account(entry, -1)
            self.window.relieve(entry)

    def on_stop(self) -> None:
        """Every message under way fails now."""
        for message_id, entry in list(self.underway.items()):
            self.core.messaging.fail(message_id, entry.reference, "stopped")

    # -- as a consumer

    def acknowledge(self, arrival: Arrival) -> None:
        """Tell the source that we have its message; a repeat is answered by another way."""
        signed = arrival.signed
        if arrival.acknowledged:
            self.tell([signed.id], signed.source, arrival.envelope.route, arrival.token)

    def tell(
        self, ids: list[bytes], source: Address, route: int, token: int, *, waited: int = 0
    ) -> None:
        """Acknowledge messages of one source, the latest first.

        The copy of that one had this route number, came over this connection, and has `waited`
        nanoseconds for this.
        """
        waited_us = min(waited // MICROSECOND, WAITED_US_MAX)
        body = encode(Acknowledged(ids[0], waited_us, ids[1:]))
        self._answer(MessageKind.ACKNOWLEDGED, body, source, route, token)

    def refuse(self, arrival: Arrival, wait_ns: int) -> None:
        """Tell the source that its message was not taken, and when there will be room."""
        self.core.count("consumed.busy")
        signed = arrival.signed
        if arrival.acknowledged:
            wait_ms = min(-(-wait_ns // MILLISECOND), 2**32 - 1)
            body, route = encode(Busy(signed.id, wait_ms)), arrival.envelope.route
            self._answer(MessageKind.BUSY, body, signed.source, route, arrival.token)

    def _answer(
        self, kind: MessageKind, body: bytes, source: Address, route: int, token: int
    ) -> None:
        core = self.core
        sealed = structs.replace(core.relay.seal(kind, source, body), route=route)
        ways = core.relay.ways(source)
        hop = ways[route % len(ways)] if ways else b""
        if not core.relay.launch(sealed, source, hop=hop):
            core.count("acknowledged.no_path")
        link = core.links.get(token)
        if route and link is not None and link.name in core.table and link.name != hop:
            # The answer to an earlier copy was lost, and this neighbour lives.
            core.relay.launch(sealed, source, hop=link.name)


def _is_measured(entry: Underway) -> bool:
    """Tell whether round trips to its destination are measured: parts have their own measure."""
    return not entry.part and not isinstance(entry.destination, GroupAddress)


def _is_consumer(entry: Underway, arrival: Arrival) -> bool:
    """Tell whether an answer comes from whom the message was for."""
    destination, source = entry.destination, arrival.signed.source
    if isinstance(destination, NodeAddress):
        return isinstance(source, NodeAddress) and source.name == destination.name
    if isinstance(destination, GroupAddress):
        return isinstance(source, NodeAddress) and _may_be_first(entry.hops, destination, source)
    return isinstance(destination, ClientAddress) and arrival.signed.key == destination.key


def _may_be_first(hops: list[bytes], group: GroupAddress, source: NodeAddress) -> bool:
    """Tell whether a copy through these first hops can have ended at this node of the group.

    Every relay is nearer to the name than the one before it, so the last is no farther than one of
    the first. Through a proxy anybody may be.
    """
    reach = max((distance(hop, group.name) for hop in hops if hop), default=None)
    return b"" in hops or reach is None or distance(source.name, group.name) <= reach
