"""What the host must do, in the order given; imperative, complete, no opinion left to the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from routing._message import keep
from routing.errors import CloseCode
from routing.events import BorrowedMessage, Event, Message
from routing.inputs import record
from routing.messages import Address, FrameKind
from routing.state import Token

__all__ = [
    "BULK",
    "Action",
    "Answered",
    "Bind",
    "CancelDial",
    "Close",
    "Deliver",
    "DeliverMany",
    "Dial",
    "Failed",
    "KeepCertificate",
    "Progress",
    "Relieved",
    "Send",
    "Tell",
    "Trust",
    "Unlisten",
]

BULK: Final = 3
"""The priority of parts. A host may drop ROUTED frames of it where a connection is congested: parts
are acknowledged, and their source sends them again and goes slower."""


@record
class Dial:
    """Open a connection and its channel; answer with one `Dialled` or `DialFailed`.

    With `expect`, a far end that proves another key fails the dial with WRONG_IDENTITY at once.
    """

    dial: int
    endpoint: str
    expect: bytes | None
    timeout_ns: int


@record
class CancelDial:
    """Give up a dial; it is still answered, with CANCELLED unless something else came first."""

    dial: int


@record
class Send:
    """Queue a frame on a connection. `priority` 0 (control) to 3 (bulk)."""

    token: Token
    kind: FrameKind
    body: bytes
    priority: int


@record
class Trust:
    """The Hello is authenticated: lift the limits that hold before it, free the waiting slot."""

    token: Token


@record
class Bind:
    """The connection is consolidated under this name: it may carry other people's messages."""

    token: Token
    name: bytes


@record
class Close:
    """Send what is queued, then a Close frame, then FIN; the token is dead from now on."""

    token: Token
    code: CloseCode
    text: str


@record
class Unlisten:
    """Give up every listening socket for good: from now on we are a client."""


@record
class Tell:
    """Tell the application."""

    event: Event


@record
class Deliver:
    """Hand a message to the application's handlers."""

    message: Message


@record
class DeliverMany:
    """Hand messages of one peer to the application's handlers, in order; none is a request."""

    messages: list[Message] | list[BorrowedMessage]
    size: int
    """Bytes of them, with their headers."""

    def to(self, take: Callable[[Message], None]) -> None:
        """Hand them over one by one."""
        for message in keep(self.messages):
            take(message)


@record
class Answered:
    """A reply to a submitted request; a group's request has as many as were asked for."""

    reference: int
    payload: bytes
    source: Address
    key: bytes


@record
class Failed:
    """A submitted request or message will not be answered or delivered.

    `reason` is one of "timed out", "unroutable", "not connected", "stopped", "handler failed: ...",
    "undeliverable: ...", "busy: ...", "refused: ...", "no authority: ...", "too large: ...",
    "no quorum: ..."; stable words first, detail behind a colon.
    """

    reference: int
    reason: str


@record
class Relieved:
    """There is room again for direct messages, after some were refused as too many."""


@record
class Progress:
    """So many bytes of a large message or request have been acknowledged; through at `total`."""

    reference: int
    done: int
    total: int


@record
class KeepCertificate:
    """Keep this encoded certificate with the identity: the name it stands for is ours to hold."""

    certificate: bytes


Action = (
    Dial
    | CancelDial
    | Send
    | Trust
    | Bind
    | Close
    | Unlisten
    | Tell
    | Deliver
    | DeliverMany
    | Answered
    | Failed
    | Progress
    | Relieved
    | KeepCertificate
)
