"""What happened, told to the core by its host; past tense, facts only, no opinion.

Every `Dial` is answered by exactly one `Dialled` or `DialFailed`. After `Lost`, and after the core
has said `Close`, the token is dead and no further input may name it.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar, dataclass_transform

import msgspec

from routing.errors import CloseCode, DialFailure
from routing.limits import Nanos
from routing.messages import Address, Authority, FrameKind, MessageKind
from routing.state import Connection, Token

__all__ = [
    "ANSWERED_AT_THE_END",
    "ENDINGS",
    "Accepted",
    "BootstrapRequested",
    "ContactsLearnt",
    "DescriptorsRanShort",
    "DialFailed",
    "Dialled",
    "FrameReceived",
    "Heard",
    "Input",
    "ListenerLost",
    "Listening",
    "Lost",
    "ReadingHeld",
    "StopRequested",
    "Submitted",
    "SubmittedMany",
    "Withdrawn",
    "changed",
    "fields_of",
    "record",
]

T = TypeVar("T")

if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True)
    def record(cls: type[T]) -> type[T]: ...
    def changed(record: T, /, **fields: object) -> T: ...
    def fields_of(record: object) -> tuple[str, ...]: ...
else:

    def record(cls):
        """Return a record of these fields: made in a fraction of the time that a dataclass takes.

        The collector of cycles passes it by, for a record is not changed and so is in none.
        """
        inside = {
            name: value
            for name, value in vars(cls).items()
            if name not in ("__annotations__", "__dict__", "__weakref__")
        }
        fields = [
            (name, kind, inside.pop(name)) if name in inside else (name, kind)
            for name, kind in cls.__annotations__.items()
        ]
        return msgspec.defstruct(
            cls.__name__, fields, namespace=inside, module=cls.__module__, gc=False
        )

    changed = msgspec.structs.replace
    """Return a record like this one but for some fields."""
    fields_of = attrgetter("__struct_fields__")
    """Return the names of its fields, in order."""


@record
class Listening:
    """We accept connections; `endpoints` are what we advertise ("ip:port", best first)."""

    endpoints: list[str]


@record
class BootstrapRequested:
    """The host is ready: find a network."""


@record
class ContactsLearnt:
    """The user, or a discovery of his, names endpoints where nodes may be."""

    endpoints: list[str]


@record
class Accepted:
    """Somebody dialled us and the channel is complete; the Hello has not come yet."""

    connection: Connection
    key: bytes
    """Ed25519 key proved by the channel, 32 bytes."""
    binding: bytes
    """Handshake hash, 32 bytes."""
    accepted_at: Nanos
    """When the socket was accepted: the deadline for the Hello runs from here."""


@record
class Dialled:
    """A dial of ours has become a complete channel."""

    dial: int
    connection: Connection
    key: bytes
    binding: bytes


@record
class DialFailed:
    """A dial of ours has come to nothing."""

    dial: int
    reason: DialFailure


@record
class FrameReceived:
    """A frame came in. CLOSE and HEARTBEAT are the host's and never come here."""

    token: Token
    kind: FrameKind
    body: bytes


@record
class Heard:
    """Frames came in on a connection that the host is about to pass on without the core.

    See `Passing`: only what the core would pass on in the same way.
    """

    token: Token


@record
class Lost:
    """A connection ended, by the far end's Close or without one (IO_ERROR, SILENT)."""

    token: Token
    code: CloseCode
    text: str


@record
class DescriptorsRanShort:
    """Descriptors do not allow the connections configured, or nobody is accepted for now.

    `used` of `limit` are taken.
    """

    used: int
    limit: int


@record
class ListenerLost:
    """A listening socket has failed; nobody can dial us there any more."""

    endpoint: str
    reason: str


@record
class Submitted:
    """The application wants a message sent.

    `reference` comes back in `Answered` or `Failed` where `kind` is REQUEST, and in `Failed` alone
    where it is MESSAGE or REPLY. For REPLY, `id` is that of the request.
    """

    reference: int
    kind: MessageKind
    destination: Address
    payload: bytes
    id: bytes
    failed: bool
    timeout_ns: int
    signed: bool
    """Sign and route it even where a direct connection would do."""
    acknowledged: bool = True
    """Sent again, if it is routed to one node or client, until acknowledged; else at most once."""
    replies: int = 1
    """For REQUEST to a group: of how many distinct members."""
    token: bytes = b""
    """For REPLY: `Message.token` of the request."""
    authority: Authority | None = None
    """Under which the message is sent; it is signed and routed then."""
    message_id: bytes = b""
    """For a message of a group: the same 16 bytes at every member; empty: from its content."""
    agree: bool = False
    """For REQUEST to a group: a quorum of its members must reply the same."""


@record
class SubmittedMany:
    """The application wants several messages sent to one destination, in order.

    The first has `reference`, which comes back in `Failed` as with one that is `Submitted`, and the
    others the numbers that follow.
    """

    reference: int
    destination: Address
    payloads: list[bytes]
    acknowledged: bool
    signed: bool = False
    """As of `Submitted`."""


@record
class Withdrawn:
    """The application no longer wants a large message or any request; what has left has left."""

    reference: int


@record
class ReadingHeld:
    """The application is behind: nothing is read from anybody while `held`; then it goes on."""

    held: bool


@record
class StopRequested:
    """Close everything and say goodbye."""


ANSWERED_AT_THE_END = (Accepted, Dialled, DialFailed, Submitted, SubmittedMany)
"""What a core that has stopped still answers: with a Close, or that it has stopped."""

ENDINGS = frozenset({Lost, Dialled, DialFailed})
"""Facts after which nothing may be wanted any more of what they name."""

Input = (
    Listening
    | BootstrapRequested
    | ContactsLearnt
    | Accepted
    | Dialled
    | DialFailed
    | FrameReceived
    | Heard
    | Lost
    | DescriptorsRanShort
    | ListenerLost
    | Submitted
    | SubmittedMany
    | Withdrawn
    | ReadingHeld
    | StopRequested
)
