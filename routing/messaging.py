"""The application's messages: direct where a connection exists, else signed and routed.

A message is handed over once for each (source key, id). Requests are answered by id; one that
cannot be answered fails with a reason and never hangs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routing import actions as do
from routing._filter import TimedFilter
from routing.authority import is_of_group, own_fault
from routing.bodies import Reply, Unroutable
from routing.consumed import Consumed
from routing.events import Message, Proof
from routing.inputs import Submitted, changed
from routing.limits import QUORUM_SIZE, SECOND
from routing.links import Arrival, Link
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    Authority,
    ClientAddress,
    Direct,
    GroupAddress,
    MessageKind,
    NodeAddress,
    decode,
    encode,
)
from routing.requests import Pending, may_answer, token_of
from routing.state import LinkRole
from routing.window import BUSY

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Messaging"]

UNROUTABLE_WINDOW_NS = 30 * SECOND
"""An Unroutable for a message sent longer ago is of no use to its sender."""

REQUEST: Final = MessageKind.REQUEST
REPLY: Final = MessageKind.REPLY
"""Bound here, for looking up a member of an enumeration takes as long as a call."""

DIRECT_KINDS = frozenset({MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY})
"""Kinds that go over the connection to their consumer itself, unsigned."""


class Messaging:
    """Messages of the application on one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        limits = core.limits
        self.pending: dict[bytes, Pending] = {}
        self.asked: dict[int, bytes] = {}
        """Reference -> id of what is pending."""
        self.sent: TimedFilter[bytes, int] = TimedFilter(
            UNROUTABLE_WINDOW_NS, capacity=limits.consumed_entries, clock=None
        )
        self.consumed = Consumed(
            limits.consumed_entries,
            window_ns=limits.message_filter_ns,
            repeat_ns=limits.repeat_ns,
        )

    # -- out

    def on_submitted(self, fact: Submitted, *, granted: bool = False) -> None:
        """Send one message, or say at once why not; one that is granted has room."""
        core = self.core
        if core.stopped:
            core.act(do.Failed(fact.reference, "stopped"))
            return
        if core.name is None and core.bootstrapping.proxy() is None:
            core.act(do.Failed(fact.reference, "not connected"))
            return
        size, kind = len(fact.payload), fact.kind
        large = core.parts.is_large(size)
        if large:
            reason = core.parts.refuses(fact)
            if reason:
                self._refuse_large(fact, reason)
                return
        elif fact.acknowledged and not (granted or core.delivery.window.takes(fact)):
            core.act(do.Failed(fact.reference, BUSY))
            return
        if fact.authority is not None and self._vote_or_refuse(fact, fact.authority):
            return
        if core.throttling.refuses(fact):
            return
        message_id = core.dice.bytes(16)
        body = fact.payload
        if kind is REPLY:
            to = core.answers.address(fact)
            if to is not fact.destination:
                fact = changed(fact, destination=to)
            body = encode(Reply(fact.id, fact.token, fact.failed, body))
        elif kind is REQUEST:
            if len(self.pending) >= core.limits.consumed_entries:
                core.act(do.Failed(fact.reference, "busy: too many requests under way"))
                return
            token = token_of(message_id, body)
            agree = fact.agree and isinstance(fact.destination, GroupAddress)
            pending = self.pending[message_id] = Pending(
                fact.reference, fact.destination, token, wanted=fact.replies, agree=agree
            )
            self.asked[fact.reference] = message_id
            core.alarm("request", message_id, fact.timeout_ns)
            if agree:
                core.agreement.begin(message_id, pending)
        elif kind is MessageKind.MESSAGE:
            self.sent.insert(message_id, fact.reference, now=core.now)
            self.sent.expire(now=core.now)
        if not self._send(fact, message_id, body, large=large):
            self.fail(message_id, fact.reference, "not connected: no way out")
        elif kind is REPLY and not large:
            core.owing.settle(fact.id, fact.destination)

    def _vote_or_refuse(self, fact: Submitted, authority: Authority) -> bool:
        """Refuse an authority that is not ours; hand a group's on; False if we bear it alone."""
        core = self.core
        # Who hangs on a proxy and has no table sees himself alone, and is in no group yet.
        sees = bool(len(core.table)) or core.founding.founder
        group = core.table.group(authority.element) if sees else []
        fault = own_fault(authority, client=core.client, name=core.name, key=core.key, group=group)
        if not fault and is_of_group(authority) and fact.kind is not MessageKind.MESSAGE:
            fault = "a group sends messages only; ask under CLIENT or NODE"
        if fault:
            core.count("authority.not_ours")
            core.act(do.Failed(fact.reference, f"no authority: {fault}"))
        elif is_of_group(authority):
            core.casting.say(fact, authority)
        else:
            return False
        return True

    def _send(self, fact: Submitted, message_id: bytes, body: bytes, *, large: bool) -> bool:
        core = self.core
        destination = fact.destination
        if isinstance(destination, NodeAddress) and destination.name == core.name:
            source = NodeAddress(destination.name)
            self._take(
                source,
                destination,
                core.key,
                Proof.CHANNEL,
                fact.kind,
                message_id,
                body,
                authority=fact.authority,
            )
            return True
        if large:
            core.answers.on_replied(fact, message_id, body)
            return core.parts.begin(fact, message_id, body)
        # The channel proves a key, and says nothing of what its holder claims.
        routed = fact.signed or fact.authority is not None
        link = None if routed else self.direct(destination)
        if link is not None and core.throttling.pays(len(body)):
            core.count("message.direct")
            core.receipts.send(link, message_id, fact, body)
            return True
        core.count("message.routed")
        core.answers.on_replied(fact, message_id, body)
        return self.post(
            fact.reference,
            fact.kind,
            destination,
            body,
            message_id=message_id,
            authority=fact.authority,
            once=not fact.acknowledged,
        )

    def post(
        self,
        reference: int,
        kind: MessageKind,
        destination: Address,
        body: bytes,
        *,
        message_id: bytes,
        authority: Authority | None,
        once: bool,
    ) -> bool:
        """Sign a message and send it on its way; tell whether there was one."""
        core = self.core
        group = destination.name if isinstance(destination, GroupAddress) else b""
        # Of a group around us we are the first node ourselves: nobody need tell us.
        ours = bool(group) and core.relay.is_responsible(group)
        envelope = core.relay.seal(
            kind,
            destination,
            body,
            message_id=message_id,
            flags=0 if once or ours else ACKNOWLEDGE,
            authority=authority,
        )
        if ours:
            core.relay.deliver_own_group(envelope, group)
            return True
        if kind is REQUEST:
            core.moving.keep(message_id, envelope)
        if once:
            core.throttling.reserve(len(envelope.signed))
            return core.relay.launch(envelope, destination)
        return core.delivery.begin(message_id, reference, destination, envelope)

    def _refuse_large(self, fact: Submitted, reason: str) -> None:
        """A large message cannot be sent; who waits for a reply is told so in place of it."""
        self.core.count("large.refused")
        if fact.kind is MessageKind.REPLY:
            self.on_submitted(changed(fact, payload=reason.encode(), failed=True))
        else:
            self.core.act(do.Failed(fact.reference, reason))

    def direct(self, destination: Address) -> Link | None:
        """Return the connection to the destination itself, if there is one."""
        core = self.core
        if isinstance(destination, NodeAddress):
            if destination.name in core.suspects.names:
                # Who does not answer over its own connection may be reached by others.
                return None
            if destination.name in core.table:
                return core.link_to(destination.name)
            proxy = core.bootstrapping.proxy() if core.client else None
            if proxy is not None and proxy.name == destination.name:
                return proxy
        elif isinstance(destination, ClientAddress) and destination.proxy == core.name:
            for link in core.links_of(LinkRole.CLIENT):
                if link.key == destination.key:
                    return link
        return None

    # -- in

    def on_direct(self, link: Link, direct: Direct) -> None:
        """A direct message: the channel proves its source."""
        core = self.core
        source: Address
        if link.role is LinkRole.CLIENT:
            assert core.name is not None
            source = ClientAddress(core.name, link.key)
        elif link.role is LinkRole.CONSOLIDATED or core.client:
            source = NodeAddress(link.name)
        else:
            core.frames.malformed(link, "a message to a joiner")
            return
        if direct.kind not in DIRECT_KINDS:
            core.frames.malformed(link, "a control message as a direct one")
            return
        if not core.throttling.allows(link, direct.kind, direct.id, len(direct.payload)):
            return
        core.receipts.on_direct(link, direct.id)
        self._take(
            source,
            self.own_address(link),
            link.key,
            Proof.CHANNEL,
            direct.kind,
            direct.id,
            direct.payload,
        )

    def own_address(self, link: Link) -> Address:
        """Return where who is at the far end of this connection reaches us."""
        core = self.core
        if core.client or core.name is None:
            return ClientAddress(link.name, core.key)
        return NodeAddress(core.name)

    def on_routed(self, arrival: Arrival) -> None:
        """A routed message, verified: once for each (key, id)."""
        if self.is_new(arrival):
            self._hand_over(arrival)

    def is_new(self, arrival: Arrival) -> bool:
        """Enter a routed message; False if it is not to be taken, and its source knows why."""
        signed = arrival.signed
        if signed.flags & ACKNOWLEDGE or isinstance(signed.destination, GroupAddress):
            return self._is_first(arrival)
        if arrival.envelope.route:
            # Its source sends one copy only, and relays pass that on once.
            self.core.count("message.replayed")
            return False
        return True

    def on_assembled(self, arrival: Arrival) -> bool:
        """A message that came in parts is complete; tell whether there was room to take it."""
        if self._enter(arrival):
            return False
        self._hand_over(arrival)
        return True

    def _hand_over(self, arrival: Arrival) -> None:
        signed = arrival.signed
        self.core.answers.on_asked(arrival)
        self._take(
            signed.source,
            signed.destination,
            signed.key,
            Proof.SIGNATURE,
            signed.kind,
            signed.id,
            signed.body,
            authority=signed.authority,
        )

    def _is_first(self, arrival: Arrival) -> bool:
        """Enter a message and tell its source that we have it; False if it is not to be taken."""
        core, signed = self.core, arrival.signed
        if signed.key + signed.id in self.consumed or core.receipts.has(signed.key, signed.id):
            core.count("message.duplicate")
            core.delivery.acknowledge(arrival)
            core.answers.on_asked_again(arrival)
            return False
        wait = self._enter(arrival)
        if wait:
            core.delivery.refuse(arrival, wait)
            return False
        if arrival.acknowledged:
            core.owing.owe(arrival)
        return True

    def _enter(self, arrival: Arrival) -> int:
        """Remember a message; 0, or for how long there will be no room for it."""
        evicted = self.consumed.evicted
        subject = arrival.signed.key + arrival.signed.id
        wait = self.consumed.admit(subject, self.core.now)
        if self.consumed.evicted > evicted:
            self.core.count("consumed.evicted")
        return wait

    def _take(
        self,
        source: Address,
        destination: Address,
        key: bytes,
        proof: Proof,
        kind: MessageKind,
        message_id: bytes,
        body: bytes,
        *,
        authority: Authority | None = None,
    ) -> None:
        core = self.core
        if kind is REPLY:
            self._on_reply(source, key, body)
            return
        core.count("message.delivered")
        request = kind is REQUEST
        token = token_of(message_id, body) if request else b""
        message = Message(
            source, destination, body, key, proof, message_id, request, token, authority
        )
        core.act(do.Deliver(message))

    def _on_reply(self, source: Address, key: bytes, body: bytes) -> None:
        core = self.core
        reply = decode(Reply, body)
        pending = None if reply is None else self.pending.get(reply.id)
        if reply is None or pending is None:
            core.count("reply.unasked")
            return
        if not may_answer(pending.destination, source) or reply.token != pending.token:
            core.count("reply.forged")
            return
        heard = pending.opinions and any(each.key == key for each in pending.opinions)
        if heard or key in pending.answered or key in pending.failures:
            core.count("reply.repeated")
            return
        if not core.agreement.is_member(pending, source):
            core.count("reply.not_member")
            return
        core.delivery.on_replied(reply.id)
        core.parts.forget(reply.id)
        core.receipts.forget(reply.id)
        if pending.agree and isinstance(source, NodeAddress):
            core.agreement.on_reply(pending, source.name, key, reply)
            return
        if reply.failed:
            text = reply.payload.decode("utf-8", "replace")
            self._on_failure(reply.id, pending, key, text)
            return
        pending.answered.append(key)
        core.act(do.Answered(pending.reference, reply.payload, source, key))
        if len(pending.answered) >= pending.wanted:
            self.end(reply.id)

    def _on_failure(self, message_id: bytes, pending: Pending, key: bytes, reason: str) -> None:
        """One whom we asked cannot answer; of a group, the others may."""
        pending.failures[key] = reason
        of_group = isinstance(pending.destination, GroupAddress)
        if of_group and len(pending.failures) < QUORUM_SIZE:
            self.core.count("reply.failed_member")
            return
        self.end(message_id)
        self.core.act(do.Failed(pending.reference, f"handler failed: {reason}"))

    def end(self, message_id: bytes) -> None:
        """A request has its answer, or all it will get."""
        pending = self.pending.pop(message_id)
        self.asked.pop(pending.reference, None)
        self.core.agreement.forget(message_id, pending)
        self.core.moving.forget(message_id)
        self.core.alarms.cancel(("request", message_id))

    # -- what comes to nothing

    def on_unroutable(self, arrival: Arrival) -> None:
        """A message of ours ended at a node that is not its destination."""
        core = self.core
        unroutable = decode(Unroutable, arrival.signed.body)
        if unroutable is None:
            core.count("unroutable.malformed")
            return
        if not isinstance(arrival.signed.source, NodeAddress):
            core.count("unroutable.forged")
            return
        core.count("unroutable.heard")
        underway = core.delivery.underway.get(unroutable.id)
        pending = self.pending.get(unroutable.id)
        reference = self.sent.get(unroutable.id, now=core.now)
        if pending is not None and not pending.arrived:
            reference = pending.reference
        if underway is not None:
            core.delivery.on_unroutable(unroutable.id, underway, arrival)
        elif reference is not None:
            self.fail(unroutable.id, reference, "unroutable: nobody has this name")

    def on_abandoned(self, message_id: bytes) -> None:
        """A message of ours to a group around us waited for its members when the network went."""
        pending = self.pending.get(message_id)
        reference = self.sent.get(message_id, now=self.core.now)
        if pending is not None:
            reference = pending.reference
        if reference is not None:
            self.fail(message_id, reference, "undeliverable: the network was lost")

    def on_timeout(self, message_id: bytes) -> None:
        """Alarm: no reply in the time the application allowed."""
        pending = self.pending.get(message_id)
        if pending is not None:
            reasons = list(pending.failures.values())
            reason = f"handler failed: {reasons[-1]}" if reasons else "timed out"
            self.fail(message_id, pending.reference, reason)

    def fail(self, message_id: bytes, reference: int, reason: str, count: int = 0) -> None:
        """A message or request of ours, or a part of one, has come to nothing; it is told once.

        Of a list, whose `count` is given unless it is known, each is told by its number.
        """
        if self.core.parts.on_failed(message_id, reason) or self.core.moving.on_failed(message_id):
            return
        count = count or self.core.lists.count_of(message_id)
        self.give_up(message_id)
        self.core.journal.count("message.failed", count)
        for number in range(reference, reference + count):
            self.core.act(do.Failed(number, reason))

    def give_up(self, message_id: bytes) -> None:
        """Nothing more is sent of a message of ours, and nothing awaited."""
        self.sent.remove(message_id)
        self.core.delivery.forget(message_id)
        self.core.parts.forget(message_id)
        self.core.receipts.forget(message_id)
        if message_id in self.pending:
            self.end(message_id)

    def on_withdrawn(self, reference: int) -> None:
        """The application no longer waits for a request, or has given a large message up."""
        self.core.parts.withdraw(reference)
        message_id = self.asked.get(reference)
        if message_id is not None:
            self.core.count("request.withdrawn")
            self.give_up(message_id)

    def awaits(self, source: Address) -> bool:
        """Tell whether a reply from this source may be one that we asked for."""
        return any(may_answer(each.destination, source) for each in self.pending.values())

    def on_arrived(self, message_id: bytes) -> None:
        """The consumer has a message of ours: nobody can say any more that it has not."""
        self.sent.remove(message_id)
        self.core.answers.on_arrived(message_id)
        self.core.moving.on_arrived(message_id)
        pending = self.pending.get(message_id)
        if pending is not None:
            pending.arrived = True

    def on_stop(self) -> None:
        """Every request under way fails now."""
        for message_id, pending in list(self.pending.items()):
            self.fail(message_id, pending.reference, "stopped")
