"""One frame in, to the one concern it belongs to; what is not allowed closes the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routing.endpoints import parse
from routing.errors import CloseCode
from routing.inputs import FrameReceived
from routing.links import Link, host_of
from routing.messages import (
    Ack,
    Admit,
    Confirmation,
    Contacts,
    Direct,
    FrameKind,
    Hello,
    IsName,
    NameIs,
    Neighbours,
    Ping,
    Reachable,
    Refuse,
    SecondaryFailed,
    SignedKind,
    Throttled,
    Unneeded,
    decode,
    hello_body,
    signed_text,
)
from routing.state import ALLOWED, ON_HELLO, LinkRole, OnHello

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Struct

    from routing.core import Core

__all__ = ["Frames"]


class Frames:
    """The dispatch of frames of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        # Any: each handler takes exactly the record named beside it.
        self._handlers: dict[FrameKind, tuple[type[Struct], Callable[[Link, Any], None]]] = {
            FrameKind.HELLO: (Hello, self._on_hello),
            FrameKind.ACK: (Ack, core.connecting.on_ack),
            FrameKind.CONFIRMATION: (Confirmation, core.connecting.on_confirmation),
            FrameKind.SECONDARY_FAILED: (
                SecondaryFailed,
                core.connecting.on_told_secondary_failed,
            ),
            FrameKind.ADMIT: (Admit, self._on_admit),
            FrameKind.REFUSE: (Refuse, self._on_refuse),
            FrameKind.PING: (Ping, self._on_ping),
            FrameKind.PONG: (Ping, core.probing.on_pong),
            FrameKind.NEIGHBOURS: (Neighbours, core.membership.on_neighbours),
            FrameKind.CONTACTS: (Contacts, core.feelers.on_hint),
            FrameKind.UNNEEDED: (Unneeded, core.letting_go.on_unneeded),
            FrameKind.DIRECT: (Direct, core.messaging.on_direct),
            FrameKind.REACHABLE: (Reachable, self._on_reachable),
            FrameKind.THROTTLED: (Throttled, self._on_throttled),
            FrameKind.IS_NAME: (IsName, core.registrar.on_is_name),
            FrameKind.NAME_IS: (NameIs, core.vouching.on_name_is),
        }

        self._raw: dict[FrameKind, Callable[[Link, bytes], None]] = {
            FrameKind.ROUTED: core.relay.on_frame,
            FrameKind.GROUP_COPY: core.relay.on_copy,
            FrameKind.BATCH: core.batching.on_batch,
        }
        """Who takes a body apart himself."""

    def on_frame(self, fact: FrameReceived) -> None:
        """Hand one frame over, or close what sent it."""
        core = self.core
        link = core.links.get(fact.token)
        if link is None:
            core.count("frame.dead_token")
            return
        core.suspects.on_heard(link)
        kind = fact.kind
        if kind not in ALLOWED[link.role]:
            hello = kind is FrameKind.HELLO or link.role is LinkRole.UNKNOWN
            core.count(f"frame.not_allowed.{link.role.name.lower()}")
            self.hang_up(link, CloseCode.BAD_HELLO if hello else CloseCode.BAD_FRAME, "kind")
            return
        raw = self._raw.get(kind)
        if raw is not None:
            raw(link, fact.body)
            return
        record, handler = self._handlers[kind]
        decoded = decode(record, fact.body)
        if decoded is None:
            self.malformed(link, kind.name)
            return
        handler(link, decoded)

    def malformed(self, link: Link, what: str) -> None:
        """Count and close: the far end does not speak the protocol."""
        self.core.count("frame.malformed")
        code = CloseCode.BAD_HELLO if link.role is LinkRole.UNKNOWN else CloseCode.BAD_FRAME
        self.hang_up(link, code, what)

    def hang_up(self, link: Link, code: CloseCode, text: str) -> None:
        """Close a connection for its far end's fault; its owner hears it as a loss."""
        core = self.core
        core.cause = f"closed {link.role.name.lower()} connection: {code.name}"
        if link.role is LinkRole.BOOTSTRAP:
            core.book.disappointed(parse(link.endpoint), core.now)
        core.close(link, code, text)
        core.tell_owner(link, code)

    def _on_hello(self, link: Link, hello: Hello) -> None:
        """The first frame of an accepted connection: who speaks, bound to this channel."""
        core = self.core
        body = hello_body(
            hello.role,
            hello.attempt,
            ours=link.key,
            theirs=core.key,
            incarnation=hello.incarnation,
            binding=link.binding,
        )
        text = signed_text(SignedKind.HELLO, core.tag, body)
        if not core.signer.verify(link.key, text, hello.signature):
            core.count("hello.bad_signature")
            core.close(link, CloseCode.BAD_HELLO, "signature")
            return
        core.dials.forgive(link.key, host_of(link.connection.peer))
        core.founding.heard(hello.lowest, link.key)
        core.addresses.learn_local(link)
        rule = ON_HELLO[core.detail, hello.role]
        match rule:
            case OnHello.GREET:
                core.connecting.on_greeting(link, hello)
            case OnHello.ADMIT | OnHello.FOUND_OR_REFUSE:
                core.proxying.on_hello(link, hello)
            case OnHello.CLOSE:
                core.close(link, CloseCode.STOPPING)

    def _on_admit(self, link: Link, admit: Admit) -> None:
        if link.admitted:
            self.malformed(link, "a second Admit")
        elif link.role is LinkRole.BOOTSTRAP:
            self.core.bootstrapping.on_admit(link, admit)
        else:
            self.core.feelers.on_admit(link, admit)

    def _on_refuse(self, link: Link, refuse: Refuse) -> None:
        self.core.founding.heard(refuse.lowest, link.key)
        if link.role is LinkRole.BOOTSTRAP:
            self.core.bootstrapping.on_refuse(link, refuse)
        else:
            self.core.feelers.on_refuse(link, refuse)

    def _on_reachable(self, link: Link, told: Reachable) -> None:
        reachability = self.core.reachability
        if self.core.client or not link.admitted or reachability.judged == link.token:
            self.malformed(link, "a verdict that is not due")
        else:
            reachability.on_told(link, told)

    def _on_throttled(self, link: Link, throttled: Throttled) -> None:
        if self.core.client:
            self.core.throttling.on_throttled(throttled)
        else:
            self.malformed(link, "a bound for a joiner")

    def _on_ping(self, link: Link, ping: Ping) -> None:
        self.core.send(link, FrameKind.PONG, ping)
