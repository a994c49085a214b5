"""Clients that change their proxy: what is under way to the old address still reaches them.

The client tells each proxy it hung on lately where it hangs now (MOVED), and repeats under its new
address what nobody has acknowledged or answered. A proxy keeps for a few seconds what comes for a
client that has just gone, and passes it on, wrapped (FORWARDED), once it is told where to. What was
passed on so is never passed on again, so there are no loops. Nothing here knows what messages say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing._filter import TimedFilter
from routing.bodies import Moved
from routing.endpoints import parse
from routing.errors import CloseCode
from routing.links import Arrival, Link
from routing.messages import (
    ACKNOWLEDGE,
    ClientAddress,
    Envelope,
    FrameKind,
    MessageKind,
    NodeAddress,
    Ping,
    Signed,
    decode,
    encode,
    open_envelope,
    wild_number,
)
from routing.state import LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Doubt", "Moving"]

DEPARTED_MAX: Final = 1_024
"""Clients that hung on us lately: ten times as many as may hang on us at once."""

LEFT_MAX: Final = 8
"""Proxies that a client tells of its move: who changes more often than that has other worries."""

ENVELOPE_COST: Final = 512
"""What a held message costs beside its signed part."""


class Doubt(Struct):
    """A client is said to hang elsewhere while it hangs on us: its connection is asked."""

    nonce: bytes
    proxy: bytes


class Moving:
    """Both halves: a client that moves, and the proxy that it has left."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.proxy = b""
        """Client: the name of the proxy that admitted us last."""
        self.left: dict[bytes, int] = {}
        """Client: proxies before that one -> until when they may remember us, latest last."""
        self.announced: dict[bytes, bytes] = {}
        """Client: id of a MOVED under way -> the proxy it is for."""
        self.asked: dict[bytes, Envelope] = {}
        """Client: id of a request that waits for its reply -> what is sent again if we move."""
        self.asked_bytes = 0
        """Of their signed parts."""
        self.departed: TimedFilter[bytes, bytes] = TimedFilter(
            core.limits.client_moved_ns, capacity=DEPARTED_MAX, clock=None
        )
        """Proxy: key of a client that hung on us -> its proxy, empty while nobody has told us."""
        self.held: dict[bytes, list[Envelope]] = {}
        """Proxy: key of a client that has just gone -> what came for it since."""
        self.bytes = 0
        """Of `held`."""
        self.doubts: dict[bytes, Doubt] = {}
        """Proxy: by the key of the client."""

    # -- the client

    def on_admitted(self, link: Link) -> None:
        """A proxy has admitted us: tell those before it, and repeat what may have been lost."""
        core, now = self.core, self.core.now
        old, self.proxy = self.proxy, link.name
        if old in (b"", link.name):
            return
        core.count("moved.to_another_proxy")
        self.left.pop(old, None)
        self.left[old] = now + core.limits.client_moved_ns
        self.left.pop(link.name, None)
        kept = [(name, until) for name, until in self.left.items() if until > now]
        self.left = dict(kept[-LEFT_MAX:])
        for message_id in self.announced:
            core.delivery.forget(message_id)
        self.announced.clear()
        for name in self.left:
            self._announce(name)
        self._repeat()

    def _announce(self, proxy: bytes) -> None:
        core, destination = self.core, NodeAddress(proxy)
        message_id = core.dice.bytes(16)
        core.count("moved.announced")
        if core.messaging.post(
            0,
            MessageKind.MOVED,
            destination,
            encode(Moved(self.proxy)),
            message_id=message_id,
            authority=None,
            once=False,
        ):
            self.announced[message_id] = proxy

    def _repeat(self) -> None:
        """Send under the new address, and the same id, what is not acknowledged or answered.

        Its consumer knows it for the same message; one that has answered it already answers again,
        to the new address.
        """
        core = self.core
        for message_id in core.delivery.underway:
            if message_id not in self.announced:
                core.count("moved.repeated")
                core.delivery.begin_anew(message_id)
        for message_id, envelope in list(self.asked.items()):
            if message_id not in core.delivery.underway:
                core.count("moved.repeated")
                self._ask_again(message_id, envelope)

    def _ask_again(self, message_id: bytes, envelope: Envelope) -> None:
        """Repeat a request that has arrived, or was for a group: its reply may be lost."""
        core, again = self.core, self.current(envelope)
        pending, signed = core.messaging.pending[message_id], decode(Signed, again.signed)
        assert signed is not None, "we have just sealed it"
        self.asked[message_id] = again
        self.asked_bytes += len(again.signed) - len(envelope.signed)
        to = signed.destination
        if signed.flags & ACKNOWLEDGE:
            core.delivery.begin(message_id, pending.reference, to, again, delay=1)
        else:
            core.throttling.reserve(len(again.signed))
            core.relay.launch(again, to)

    def keep(self, message_id: bytes, envelope: Envelope) -> None:
        """Keep a request of ours until it is answered, if there is room for it."""
        core, size = self.core, len(envelope.signed)
        if not core.client:
            return
        if self.asked_bytes + size > core.limits.unacknowledged_bytes:
            core.count("request.not_kept")
            return
        self.asked[message_id] = envelope
        self.asked_bytes += size

    def forget(self, message_id: bytes) -> None:
        """A request is answered or has come to nothing."""
        envelope = self.asked.pop(message_id, None)
        if envelope is not None:
            self.asked_bytes -= len(envelope.signed)

    def current(self, envelope: Envelope) -> Envelope:
        """Return a message of ours under the address that we have now: sealed anew, same id."""
        core = self.core
        proxy = core.bootstrapping.proxy() if core.client else None
        signed = decode(Signed, envelope.signed)
        assert signed is not None, "we have sealed it ourselves"
        if proxy is None or signed.source == ClientAddress(proxy.name, core.key):
            return envelope
        sealed = core.relay.seal(
            signed.kind,
            signed.destination,
            signed.body,
            message_id=signed.id,
            leave_out=signed.leave_out,
            flags=signed.flags,
            authority=signed.authority,
        )
        return Envelope(envelope.hops, envelope.route, sealed.signed, sealed.signature)

    def on_arrived(self, message_id: bytes) -> None:
        """If this was a MOVED, an old proxy knows where we are."""
        if self.announced.pop(message_id, None) is not None:
            self.core.count("moved.heard")

    def on_failed(self, message_id: bytes) -> bool:
        """Tell whether this was a MOVED: then its proxy has gone, and nobody need be told."""
        if self.announced.pop(message_id, None) is None:
            return False
        self.core.count("moved.unheard")
        self.core.delivery.forget(message_id)
        return True

    def on_forwarded(self, arrival: Arrival) -> None:
        """An old proxy passes on what came for us, its signature verified; the inner is next."""
        core, source = self.core, arrival.signed.source
        old = source.name if isinstance(source, NodeAddress) else b""
        if self.left.get(old, 0) <= core.now:
            core.count("forwarded.stranger")
            return
        opened = open_envelope(arrival.signed.body)
        if opened is None or opened[1].destination != ClientAddress(old, core.key):
            core.count("forwarded.malformed")
            return
        envelope, signed = opened
        if signed.kind is MessageKind.FORWARDED:
            core.count("forwarded.twice")
            return
        if wild := wild_number(envelope):
            core.count(wild)
            return
        core.relay.consume(Arrival(signed, envelope, arrival.token))

    # -- the proxy it has left

    def on_departed(self, key: bytes) -> None:
        """A client that hung on us is gone; it will say where to, or come back."""
        core = self.core
        self.departed.insert(key, b"", now=core.now)
        self.departed.expire(now=core.now)
        core.alarm("held", key, core.limits.client_hold_ns)
        doubt = self._decide(key)
        if doubt is not None:
            self._note(key, doubt.proxy)

    def on_returned(self, link: Link) -> None:
        """A client hangs on us, again or for the first time."""
        self.departed.remove(link.key)
        self._decide(link.key)
        for envelope in self._release(link.key):
            self.core.relay.pass_on(link, envelope)

    def on_moved(self, arrival: Arrival) -> None:
        """A client says where it hangs now, its signature verified: about its own key only."""
        core, signed = self.core, arrival.signed
        body, source, key = decode(Moved, signed.body), signed.source, signed.key
        fits = isinstance(source, ClientAddress) and body is not None and source.proxy == body.proxy
        if body is None or not fits or body.proxy == core.name:
            core.count("moved.malformed")
            return
        link, subject = self._client(key), key + signed.id
        if link is None and self.departed.get(key, now=core.now) is None:
            core.count("moved.stranger")
            core.delivery.acknowledge(arrival)
            return
        if subject in core.messaging.consumed:
            core.count("moved.duplicate")
            core.delivery.acknowledge(arrival)
            return
        wait = core.messaging.consumed.admit(subject, core.now)
        if wait:
            core.delivery.refuse(arrival, wait)
            return
        core.delivery.acknowledge(arrival)
        if link is None:
            self._note(key, body.proxy)
        else:
            self._doubt(link, body.proxy)

    def _note(self, key: bytes, proxy: bytes) -> None:
        core = self.core
        core.count("moved.noted")
        core.note(key, "has moved to another proxy")
        self.departed.insert(key, proxy, now=core.now)
        self.departed.expire(now=core.now)
        for envelope in self._release(key):
            self._forward(envelope, key, proxy)

    def redirect(self, envelope: Envelope, signed: Signed) -> bool:
        """Keep, or pass on, a message for a client that hung on us; tell whether that was done."""
        core, destination = self.core, signed.destination
        assert isinstance(destination, ClientAddress), "only clients move"
        proxy = self.departed.get(destination.key, now=core.now)
        if proxy is None or signed.kind is MessageKind.FORWARDED:
            return False
        if proxy:
            self._forward(envelope, destination.key, proxy)
            return True
        return self._hold(envelope, destination.key)

    def _forward(self, envelope: Envelope, key: bytes, proxy: bytes) -> None:
        core = self.core
        core.count("forwarded.sent")
        to = ClientAddress(proxy, key)
        if not core.relay.send(MessageKind.FORWARDED, to, encode(envelope)):
            core.count("forwarded.no_path")

    def _hold(self, envelope: Envelope, key: bytes) -> bool:
        core = self.core
        if ("held", key) not in core.alarms:
            return False
        size = len(envelope.signed) + ENVELOPE_COST
        if self.bytes + size > core.limits.client_hold_bytes:
            core.count("held.no_room")
            return False
        core.count("held.kept")
        self.bytes += size
        self.held.setdefault(key, []).append(envelope)
        return True

    def _release(self, key: bytes) -> list[Envelope]:
        self.core.alarms.cancel(("held", key))
        released = self.held.pop(key, [])
        self.bytes -= sum(len(each.signed) + ENVELOPE_COST for each in released)
        return released

    def on_held_due(self, key: bytes) -> None:
        """Alarm: nobody has said where the client is; what was kept for it is unroutable."""
        for envelope in self._release(key):
            self.core.count("held.in_vain")
            signed = decode(Signed, envelope.signed)
            assert signed is not None, "it was decoded before it was kept"
            self.core.relay.unroutable(signed, envelope.route)

    # -- is the other end still there?

    def suspect_proxy(self) -> None:
        """A message of ours was not acknowledged: perhaps nothing of ours leaves at all.

        Whoever has a table tries another first hop. A client has its proxy only, and would notice
        the silence of a dead one when all its copies are lost.
        """
        core = self.core
        proxy = core.bootstrapping.proxy() if core.client else None
        if proxy is None:
            return
        subject = proxy.token.to_bytes(8, "big")
        if ("proxy", subject) in core.alarms:
            return
        core.count("proxy.suspected")
        if not proxy.asked:
            proxy.asked = core.dice.bytes(8)
            core.send(proxy, FrameKind.PING, Ping(proxy.asked))
        core.alarm("proxy", subject, core.limits.probe_timeout_ns)

    def on_proxy_silent(self, subject: bytes) -> None:
        """Alarm: our proxy was asked; if nothing has come since, another one is looked for."""
        core = self.core
        link = core.links.get(int.from_bytes(subject, "big"))
        if link is None or link.heard >= core.now - core.limits.probe_timeout_ns:
            return
        if core.reading_held:
            # Nobody is called silent for what we have not read.
            core.count("proxy.unread")
            return
        core.count("proxy.silent")
        core.book.failed(parse(link.endpoint), core.now)
        core.frames.hang_up(link, CloseCode.SILENT, "no answer")

    def _client(self, key: bytes) -> Link | None:
        for link in self.core.links_of(LinkRole.CLIENT):
            if link.key == key:
                return link
        return None

    def _doubt(self, link: Link, proxy: bytes) -> None:
        """The message may be an old one, sent again by who saw it: the connection decides."""
        core = self.core
        waiting = self.doubts.get(link.key)
        if waiting is not None:
            waiting.proxy = proxy
            return
        nonce = core.dice.bytes(8)
        self.doubts[link.key] = Doubt(nonce, proxy)
        core.count("moved.doubted")
        core.send(link, FrameKind.PING, Ping(nonce))
        core.alarm("doubt", link.key, core.limits.probe_timeout_ns)

    def _decide(self, key: bytes) -> Doubt | None:
        self.core.alarms.cancel(("doubt", key))
        return self.doubts.pop(key, None)

    def on_pong(self, link: Link, pong: Ping) -> None:
        """A client answers on its connection: it has not moved."""
        doubt = self.doubts.get(link.key)
        if doubt is None or doubt.nonce != pong.nonce:
            self.core.count("pong.unasked")
            return
        self._decide(link.key)
        self.core.count("moved.still_here")

    def on_doubt_due(self, key: bytes) -> None:
        """Alarm: the connection is silent; the client hangs where it has said."""
        link = self._client(key)
        assert link is not None, "a doubt ends with its connection"
        self.core.close(link, CloseCode.REPLACED, "hangs on another proxy")
        self.core.proxying.on_lost(link)

    def load(self, departed: list[tuple[bytes, bytes, float]]) -> None:
        """Become what a snapshot described; the plain fields have been set."""
        now = self.core.now
        self.departed.clear()
        for key, proxy, at in departed:
            self.departed.insert(key, proxy, now=now, ttl=at - now)
        self.asked_bytes = sum(len(each.signed) for each in self.asked.values())
        held = [each for envelopes in self.held.values() for each in envelopes]
        self.bytes = sum(len(each.signed) + ENVELOPE_COST for each in held)

    def on_stop(self) -> None:
        """Nobody is waited for any more."""
        for key in list(self.held):
            for _ in self._release(key):
                self.core.count("held.abandoned")
        self.announced.clear()
        self.doubts.clear()
