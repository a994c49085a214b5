"""The way of a routed message: sealed by its source, passed on hop by hop, consumed once.

A relay checks the frame's form, its hop and route numbers and whether it has seen it, and never its
signature; that is verified once, where the message is consumed. What cannot be delivered is
answered Unroutable, never dropped in silence.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from routing._inbound import repeat_digest
from routing.authority import ANSWERED_KINDS, claim_fault
from routing.bodies import Unroutable
from routing.limits import HOPS_MAX, ROUTES_MAX
from routing.links import Arrival, Link
from routing.lists import haste
from routing.messages import (
    Address,
    Authority,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    SignedKind,
    ViaAddress,
    decode,
    encode,
    open_envelope,
    signed_text,
    wild_number,
)
from routing.names import client_name, network_name
from routing.repeats import Repeats
from routing.state import CLIENT_KINDS, JOINER_KINDS, TOLD_AGAIN, LinkRole
from routing.throttling import ANSWERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from routing.core import Core

__all__ = ["Relay"]

GROUP_KINDS = frozenset({MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.BALLOT})
"""Kinds of the application, for the members of the exact group."""

COPIED = GROUP_KINDS | {MessageKind.REQUEST_NAME, MessageKind.REGISTER}
"""Kinds that every member of a group is to have, not only the one nearest to its name."""

_CONSUMED: Final = {kind: f"consumed.{kind.name.lower()}" for kind in MessageKind}
"""What is counted of each kind."""

SHOWN_AGAIN = frozenset({MessageKind.CONNECT_REQUEST, MessageKind.CONNECT_RESPONSE})
"""Kinds that come by several ways, and a response with the Hello, too."""

HANGERS = (LinkRole.RELAY, LinkRole.CLIENT, LinkRole.FELT)
HUNG_ON = (LinkRole.BOOTSTRAP, LinkRole.FEELER)


class Relay:
    """Forwarding and consuming."""

    def __init__(self, core: Core) -> None:
        self.core = core
        limits = core.limits
        self.seen = Repeats(limits.message_filter_ns, limits.message_filter_entries)
        self.digest_of: Callable[[bytes], bytes] = self._digest_of
        """Of an envelope, by which it is known again; a replay has those that were recorded."""

    # -- as a source

    def seal(
        self,
        kind: MessageKind,
        destination: Address,
        body: bytes,
        *,
        via: Link | None = None,
        message_id: bytes = b"",
        leave_out: bytes = b"",
        flags: int = 0,
        authority: Authority | None = None,
    ) -> Envelope:
        """Return the signed envelope of a message of ours, route number 0."""
        core = self.core
        via = self.way_out(via)
        source: Address
        if via is not None or core.name is None:
            source = ClientAddress(via.name if via is not None else core.client_name, core.key)
        else:
            source = NodeAddress(core.name)
        signed = encode(
            Signed(
                destination=destination,
                kind=kind,
                leave_out=leave_out,
                flags=flags,
                id=message_id or core.dice.bytes(16),
                source=source,
                key=core.key,
                origin=core.origin if isinstance(source, NodeAddress) else b"",
                authority=authority,
                body=body,
            )
        )
        signature = core.signer.sign(signed_text(SignedKind.ROUTED, core.tag, signed))
        return Envelope(0, 0, signed, signature)

    def send(
        self,
        kind: MessageKind,
        destination: Address,
        body: bytes,
        *,
        via: Link | None = None,
        hop: bytes = b"",
        rank: int = 0,
        route: int = 0,
        leave_out: bytes = b"",
    ) -> bool:
        """Seal and launch a message; tell whether there was a way out."""
        envelope = self.seal(kind, destination, body, via=via, leave_out=leave_out)
        envelope = Envelope(0, route, envelope.signed, envelope.signature)
        if kind not in ANSWERS:
            self.core.throttling.reserve(len(envelope.signed))
        return self.launch(envelope, destination, via=via, hop=hop, rank=rank)

    def launch(
        self,
        envelope: Envelope,
        destination: Address,
        *,
        via: Link | None = None,
        hop: bytes = b"",
        rank: int = 0,
        priority: int = 0,
    ) -> bool:
        """Send an envelope of ours on its way.

        Args:
            envelope: Ours, sealed.
            destination: Its destination.
            via: The proxy to send through; the table if None.
            hop: The name of the first hop, if it is to be a particular one.
            rank: 0 for the best first hop, 1 for the next best, and so on in turn.
            priority: Of the frame on our own connection.
        """
        core = self.core
        via = self.way_out(via)
        if via is not None:
            if not self._may_leave(via, envelope):
                core.count("send.joining")
                return False
            self.pass_on(via, envelope, priority)
            return True
        if (
            type(destination) is ClientAddress
            and destination.proxy == core.name
            and self._near(destination) is None
        ):
            signed = decode(Signed, envelope.signed)
            if signed is not None and core.moving.redirect(envelope, signed):
                return True
        if hop and hop in core.table:
            self.pass_on(core.link_to(hop), envelope, priority)
            return True
        link = self._near(destination) if rank == 0 else None
        if link is None:
            ways = core.hops.ways(_target(destination))
            if not ways:
                core.count("send.no_path")
                return False
            link = core.link_to(ways[rank % len(ways)])
        self.pass_on(link, envelope, priority)
        return True

    def ways(self, destination: Address) -> list[bytes]:
        """Return the first hops of a message of ours, best first; none if there is no choice."""
        if self.way_out(None) is not None or self._near(destination) is not None:
            return []
        return self.core.hops.ways(_target(destination))

    def answer(self, envelope: Envelope, reply_to: Address, *, route: int) -> None:
        """Send an answer of ours; a repeat takes another route number, or relays would drop it."""
        again = Envelope(0, min(route, ROUTES_MAX - 1), envelope.signed, envelope.signature)
        if not self.launch(again, reply_to):
            self.core.count("answer.no_path")

    def first_hop(self, target: bytes, teller: bytes = b"") -> bytes:
        """Return the name of the entry a message to `target` goes to first, or b""."""
        table = self.core.table
        if teller and teller in table:
            return teller
        ways = self.core.hops.ways(target)
        return ways[0] if ways else b""

    def way_out(self, via: Link | None) -> Link | None:
        """Return the proxy a message of ours goes through, None for the table.

        Without a routing connection nobody routes to us yet: everything goes through the proxy that
        has admitted us, if there is one.
        """
        if via is not None or self.core.table.size:
            return via
        return self.core.bootstrapping.proxy()

    # -- what comes in

    def on_frame(self, link: Link, body: bytes) -> None:
        """A ROUTED frame: malformed closes, seen before is counted, else it goes on or is ours."""
        core = self.core
        opened = open_envelope(body)
        if opened is None:
            core.frames.malformed(link, "envelope")
            return
        envelope, signed = opened
        if self._is_wild(link, envelope):
            return
        if link.role in HANGERS and not self._may_send(link, signed):
            core.frames.malformed(link, "not yours to send")
            return
        if link.allowance and not core.throttling.allows_routed(link, envelope, signed):
            return
        if not self._is_new(link, envelope):
            core.count("routed.duplicate")
            return
        if link.role in HUNG_ON:
            self._for_hanger(link, signed, envelope)
            return
        self._route(link, signed, envelope)

    def on_copy(self, link: Link, body: bytes) -> None:
        """A GROUP_COPY frame: consumed here, never passed on."""
        opened = open_envelope(body)
        if opened is None or not _may_be_copied(opened[1]):
            self.core.frames.malformed(link, "group copy")
            return
        envelope, signed = opened
        if not self._is_wild(link, envelope):
            self.consume(Arrival(signed, envelope, link.token, copied=True))

    def _is_wild(self, link: Link, envelope: Envelope) -> bool:
        """Tell whether a hop or route number is one that no relay gives; that closes."""
        wild = wild_number(envelope)
        if wild:
            self.core.count(wild)
            self.core.frames.malformed(link, "route or hop number")
        return bool(wild)

    def _may_send(self, link: Link, signed: Signed) -> bool:
        """What hangs on us speaks for itself only, and only of what it hangs on us for."""
        own = signed.source == ClientAddress(self.core.name or b"", link.key)
        kinds = CLIENT_KINDS if link.role is LinkRole.CLIENT else JOINER_KINDS
        return own and signed.key == link.key and signed.kind in kinds

    def _may_leave(self, via: Link, envelope: Envelope) -> bool:
        """Tell whether our proxy lets this pass; it would close us for anything else.

        Who joins again may have messages left from before, under another address; their repeats
        leave once there is a connection.
        """
        if self.core.client:
            return True
        signed = decode(Signed, envelope.signed)
        assert signed is not None, "we have sealed it ourselves"
        return signed.source == ClientAddress(via.name, signed.key) and signed.kind in JOINER_KINDS

    def _is_new(self, link: Link, envelope: Envelope) -> bool:
        core = self.core
        # All but the hops, which is what comes behind them in its canonical form.
        digest = self.digest_of(encode(envelope)[2:])
        if core.passing.tap is not None:
            core.passing.tap.repeat(digest)
        return self.seen.insert(digest, link.token, core.now)

    def _digest_of(self, text: bytes) -> bytes:
        return repeat_digest(self.core.filter_secret, text)

    def _for_hanger(self, link: Link, signed: Signed, envelope: Envelope) -> None:
        """We hang on the sender: only what is addressed to our key is for us."""
        destination = signed.destination
        if not isinstance(destination, ClientAddress) or destination.key != self.core.key:
            self.core.count("routed.not_for_us")
        elif signed.kind in ANSWERED_KINDS and not self.core.client:
            # We could not answer: a joiner sends only what it needs to join.
            self.core.count("routed.to_joiner")
        else:
            self.consume(Arrival(signed, envelope, link.token))

    def _route(self, link: Link, signed: Signed, envelope: Envelope) -> None:
        core = self.core
        destination = signed.destination
        if self._is_ours(destination):
            self.consume(Arrival(signed, envelope, link.token))
            return
        if self._is_repeat_for_us(signed, envelope):
            self._consume_for_group(Arrival(signed, envelope, link.token), _target(destination))
            return
        # Who hangs on us has no other way out: his repeats leave by other ways from here. Repeats
        # to a group do so everywhere, or all ways would end at the one member that is nearest.
        grouped = isinstance(destination, GroupAddress)
        rank = envelope.route if grouped or link.role in HANGERS else 0
        onward = self._resolve(destination, _left_out(signed), rank)
        if onward is not None:
            if envelope.hops + 1 >= HOPS_MAX:
                core.count("routed.hops")
                self.unroutable(signed, envelope.route)
                return
            self.pass_on(
                onward,
                Envelope(envelope.hops + 1, envelope.route, envelope.signed, envelope.signature),
                haste(signed, envelope.route),
            )
            core.count("routed.forwarded")
        elif grouped:
            self._consume_for_group(Arrival(signed, envelope, link.token), _target(destination))
        elif not self._is_client_of_ours(destination) or not core.moving.redirect(envelope, signed):
            self.unroutable(signed, envelope.route)

    def _is_repeat_for_us(self, signed: Signed, envelope: Envelope) -> bool:
        """Tell whether a group is told again and we are a member of it, if not the nearest.

        The nearest is the one who may have kept it to itself, or have died.
        """
        core, destination = self.core, signed.destination
        if not (envelope.route and signed.kind in TOLD_AGAIN and core.name is not None):
            return False
        return isinstance(destination, GroupAddress) and core.name in core.table.group(
            destination.name
        )

    def _is_client_of_ours(self, destination: Address) -> bool:
        return isinstance(destination, ClientAddress) and destination.proxy == self.core.name

    def deliver_own_group(self, envelope: Envelope, target: bytes) -> None:
        """A group message of ours for which we are the nearest member ourselves."""
        signed = decode(Signed, envelope.signed)
        assert signed is not None
        self._consume_for_group(Arrival(signed, envelope, 0), target)

    def is_responsible(self, target: bytes) -> bool:
        """Tell whether we are the nearest to `target` of all we know to be alive."""
        core = self.core
        silent = tuple(core.suspects.names)
        return core.name is not None and core.table.next_hop(target, silent) is None

    def _consume_for_group(self, arrival: Arrival, target: bytes) -> None:
        core = self.core
        if arrival.signed.kind in GROUP_KINDS:
            core.groups.on_message(arrival, target)
            return
        members: list[bytes] = []
        if arrival.signed.kind is MessageKind.REQUEST_NAME:
            members = core.table.group(target)
        elif arrival.signed.kind is MessageKind.REGISTER:
            members = core.registrar.members(arrival.signed.key)
        for name in members:
            if name != core.name:
                core.send(core.link_to(name), FrameKind.GROUP_COPY, arrival.envelope)
        self.consume(arrival)

    def pass_on(self, link: Link, envelope: Envelope, priority: int = 0) -> None:
        """Put an envelope on a connection."""
        self.core.throttling.passed_on(link)
        self.core.send(link, FrameKind.ROUTED, envelope, priority)
        self.core.suspects.on_use(link)

    def _is_ours(self, destination: Address) -> bool:
        core = self.core
        match destination:
            case NodeAddress() | ViaAddress():
                return destination.name == core.name
            case ClientAddress():
                return destination.key == core.key
            case GroupAddress():
                return False

    def _near(self, destination: Address) -> Link | None:
        """Return the connection of who can be reached through us alone, if it is open."""
        core = self.core
        if type(destination) is NodeAddress:
            return None
        if isinstance(destination, ViaAddress) and destination.hop == core.name:
            held = destination.name in core.table
            return core.link_to(destination.name) if held else None
        if isinstance(destination, ClientAddress) and destination.proxy == core.name:
            return self._hanger(destination.key)
        return None

    def _resolve(
        self, destination: Address, exclude: tuple[bytes, ...], rank: int = 0
    ) -> Link | None:
        """Return the connection a message goes out on next, None if nobody known is nearer.

        `rank` is 0 for the nearest entry, 1 for the next nearest, and so on in turn.
        """
        core, table = self.core, self.core.table
        target = _target(destination)
        if target == core.name:
            return self._near(destination)
        hop, grouped = table.next_hop(target, exclude), isinstance(destination, GroupAddress)
        silent = core.suspects.names
        if hop is None and isinstance(destination, ViaAddress) and destination.name in table:
            hop = destination.name
        elif hop is not None and (grouped or hop != target) and (rank or hop in silent):
            ways = table.next_hops(target, (*exclude, *silent))[:ROUTES_MAX]
            # Where any of a group will do, we are the nearest of those that live.
            last = None if grouped else hop
            hop = ways[rank % len(ways)] if ways else last
        return None if hop is None else core.link_to(hop)

    def _hanger(self, key: bytes) -> Link | None:
        """Return the connection of who hangs, or hung until a moment ago, on us by this key."""
        core = self.core
        for link in core.links_of(*HANGERS):
            if link.key == key:
                return link
        name = core.table.name_of_key(key)
        return None if name is None else core.link_to(name)

    def unroutable(self, signed: Signed, route: int) -> None:
        """Tell the source of a message that this copy has come to nothing here."""
        core = self.core
        core.count("routed.unroutable")
        if signed.kind is MessageKind.UNROUTABLE or core.name is None:
            return
        body = encode(Unroutable(signed.id))
        self.send(MessageKind.UNROUTABLE, signed.source, body, rank=route, route=route)

    # -- consuming

    def consume(self, arrival: Arrival) -> None:
        """Verify once, then hand to the concern the kind belongs to."""
        core, signed = self.core, arrival.signed
        if not self.is_genuine(arrival):
            core.count("routed.forged")
            return
        kind = signed.kind
        fault = claim_fault(signed) if signed.authority or kind is MessageKind.BALLOT else ""
        if fault:
            core.count("authority.refused")
            core.note(signed.key, f"authority refused: {fault}")
            return
        core.journal.count(_CONSUMED[kind])
        core.message_handlers[kind](arrival)

    def is_genuine(self, arrival: Arrival) -> bool:
        """Tell whether a message is signed by the source it names."""
        core, signed = self.core, arrival.signed
        text = signed_text(SignedKind.ROUTED, core.tag, arrival.envelope.signed)
        signature = arrival.envelope.signature
        if not self._is_authentic(signed):
            return False
        again = signed.kind in SHOWN_AGAIN
        verify = core.signer.verify_kept if again else core.signer.verify
        return verify(signed.key, text, signature)

    def _is_authentic(self, signed: Signed) -> bool:
        """Tell whether the source follows from the key (the signature is checked after)."""
        source = signed.source
        match source:
            case NodeAddress():
                origin = signed.origin
                return len(origin) == 64 and _name_of(signed.key, origin) == source.name
            case ClientAddress():
                return source.key == signed.key
            case _:
                return False


@lru_cache(maxsize=4_096)
def _name_of(key: bytes, origin: bytes) -> bytes:
    """Return the name that follows from a key and n1 | n2; a source sends more than once."""
    return network_name(client_name(key), origin[:32], origin[32:])


def _may_be_copied(signed: Signed) -> bool:
    return signed.kind in COPIED and isinstance(signed.destination, GroupAddress)


def _left_out(signed: Signed) -> tuple[bytes, ...]:
    """A FindGroup leaves its asker out at every hop, else the question comes straight back."""
    return (signed.leave_out,) if signed.leave_out else ()


def _target(destination: Address) -> bytes:
    if type(destination) is NodeAddress:
        return destination.name
    match destination:
        case ViaAddress():
            return destination.hop
        case ClientAddress():
            return destination.proxy
        case _:
            return destination.name
