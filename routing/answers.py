"""Replies to clients, kept until they have them: a client that moves asks again from elsewhere.

A request is handed to the application once, so a repeat of it can only be answered from here. Kept
are replies, large ones too, for a while and within bounds; who asks again for one for which there
was no room is told so. Nothing here compares what was asked, or answers anybody but who asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing._filter import TimedFilter
from routing.bodies import Reply
from routing.inputs import Submitted
from routing.links import Arrival
from routing.messages import Address, ClientAddress, MessageKind, encode
from routing.parts import REPLY_BYTES
from routing.requests import token_of

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Answers", "Kept"]

LOST: Final = b"the reply is lost: you have moved, and there was no room to keep it; ask anew"


class Kept(Struct):
    """A request of a client, and the reply to it once there is one."""

    source: ClientAddress
    """From where it was last asked."""
    reference: int = 0
    body: bytes = b""
    """The encoded `Reply`; empty while there is none, or none that is kept."""
    lost: bool = False
    """There was a reply, and no room to keep it."""
    reply_id: bytes = b""
    """Of the message that brings it."""


class Answers:
    """Requests of clients that came routed, by (key, id)."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.kept: TimedFilter[bytes, Kept] = TimedFilter(
            core.limits.replies_kept_ns, capacity=core.limits.replies_kept_max, clock=None
        )
        self.of_reply: dict[bytes, bytes] = {}
        """Id of the message with a reply -> (key, id) of its request."""
        self.bytes = 0
        """Of the bodies in `kept`."""

    def on_asked(self, arrival: Arrival) -> None:
        """A request is handed to the application for the first time."""
        signed, source = arrival.signed, arrival.signed.source
        if signed.kind is MessageKind.REQUEST and isinstance(source, ClientAddress):
            self._expire()
            limits = self.core.limits
            ttl = limits.handler_ns + limits.replies_kept_ns
            self.kept.insert(signed.key + signed.id, Kept(source), now=self.core.now, ttl=ttl)
            self._expire()

    def on_asked_again(self, arrival: Arrival) -> None:
        """A request comes again: if its source has moved meanwhile, so does the reply."""
        core, signed, source = self.core, arrival.signed, arrival.signed.source
        kept = self.kept.get(signed.key + signed.id, now=core.now)
        if signed.kind is not MessageKind.REQUEST or not isinstance(source, ClientAddress):
            return
        if kept is None or kept.source == source:
            return
        kept.source = source
        if kept.lost:
            core.count("answer.lost")
            lost = encode(Reply(signed.id, token_of(signed.id, signed.body), True, LOST))
            self._send(kept, lost, core.dice.bytes(16))
        if not kept.body:
            return
        core.count("answer.repeated")
        core.delivery.forget(kept.reply_id)
        core.parts.forget(kept.reply_id)
        self.of_reply.pop(kept.reply_id, None)
        kept.reply_id = core.dice.bytes(16)
        self.of_reply[kept.reply_id] = signed.key + signed.id
        self._send(kept, kept.body, kept.reply_id)

    def _send(self, kept: Kept, body: bytes, reply_id: bytes) -> None:
        """Send an encoded reply to where it was asked for last."""
        core, reference, to = self.core, kept.reference, kept.source
        if core.parts.is_large(len(body) - REPLY_BYTES):
            # Only its ends are taken from the fact: the body is encoded already.
            fact = Submitted(reference, MessageKind.REPLY, to, b"", bytes(16), False, 0, True)
            went = core.parts.begin(fact, reply_id, body)
        else:
            went = core.messaging.post(
                reference,
                MessageKind.REPLY,
                to,
                body,
                message_id=reply_id,
                authority=None,
                once=False,
            )
        if not went:
            core.count("answer.no_path")

    def address(self, fact: Submitted) -> Address:
        """Return where a reply goes: to where its client asked from last."""
        to = fact.destination
        if not isinstance(to, ClientAddress):
            return to
        kept = self.kept.get(to.key + fact.id, now=self.core.now)
        return to if kept is None else kept.source

    def on_replied(self, fact: Submitted, reply_id: bytes, body: bytes) -> None:
        """If a reply is leaving, it is kept where there is room for it."""
        core, to = self.core, fact.destination
        if not isinstance(to, ClientAddress) or fact.kind is not MessageKind.REPLY:
            return
        subject = to.key + fact.id
        self._expire()
        kept = self.kept.get(subject, now=core.now)
        if kept is None or kept.body:
            return
        # It is kept as long from now on, however long it took to come.
        self.kept.insert(subject, kept, now=core.now)
        if self.bytes + len(body) > core.limits.replies_kept_bytes:
            core.count("answer.not_kept")
            kept.lost, kept.reference = True, fact.reference
            return
        kept.body, kept.reference, kept.reply_id = body, fact.reference, reply_id
        self.of_reply[reply_id] = subject
        self.bytes += len(body)

    def on_arrived(self, message_id: bytes) -> None:
        """A message has arrived: if it was a reply, it need not be kept."""
        subject = self.of_reply.get(message_id)
        kept = None if subject is None else self.kept.remove(subject)
        if kept is not None:
            self._let_go(kept)

    def _expire(self) -> None:
        for _, kept in self.kept.expire(now=self.core.now):
            self._let_go(kept)

    def _let_go(self, kept: Kept) -> None:
        self.bytes -= len(kept.body)
        self.of_reply.pop(kept.reply_id, None)

    def load(self, entries: list[tuple[bytes, Kept, float]]) -> None:
        """Become what a snapshot described."""
        now = self.core.now
        self.kept.clear()
        for subject, kept, at in entries:
            self.kept.insert(subject, kept, now=now, ttl=at - now)
        self.bytes = sum(len(kept.body) for _, kept, _ in entries)
        self.of_reply = {kept.reply_id: subject for subject, kept, _ in entries if kept.reply_id}
