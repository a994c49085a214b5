"""What routed messages say, one record for each kind that has a form; no policy, no state.

The envelope they travel in, and the frames between the two ends of a connection, are in `messages`.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from routing.messages import (
    Address,
    Authority,
    Byte,
    Bytes8,
    Bytes16,
    Bytes32,
    Bytes64,
    Certificate,
    Count,
    Endpoints,
    MessageKind,
    Names,
)

__all__ = [
    "ACKNOWLEDGED_MAX",
    "Acknowledged",
    "Ballot",
    "Busy",
    "ConnectRefused",
    "ConnectRequest",
    "ConnectResponse",
    "Content",
    "FindGroup",
    "GroupIs",
    "Moved",
    "NameVote",
    "Part",
    "Record",
    "Records",
    "Register",
    "Reply",
    "RequestName",
    "Unroutable",
    "Vouch",
    "Vouched",
    "WholeWanted",
]

ACKNOWLEDGED_MAX: Final = 32
"""Messages acknowledged at once: half a kilobyte of ids."""

MoreIds = Annotated[list[Bytes16], Meta(max_length=ACKNOWLEDGED_MAX - 1)]


class ConnectRequest(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """I want to be connected with `target` both ways."""

    attempt: Bytes16
    target: Bytes32
    incarnation: Bytes8
    endpoints: Endpoints
    reply_to: Address
    certificate: Certificate
    urgent: bool
    """The target is in my close group, or my bucket for it holds fewer than two."""
    relaxed: bool


class ConnectResponse(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """I am dialling you; here is where to dial me."""

    attempt: Bytes16
    request: Bytes32
    """SHA-256 of the signed part of the request."""
    incarnation: Bytes8
    endpoints: Endpoints
    certificate: Certificate
    relaxed: bool


class ConnectRefused(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """No, for a reason that was known before any dial."""

    attempt: Bytes16
    reason: Byte


class RequestName(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Give the key of this message a name, or confirm the one it holds."""

    reply_to: Address
    held: Certificate | None
    proposed: Annotated[list[Bytes32], Meta(max_length=2)]
    """From the second asking on: the two names nearest to the client name that any vote named."""


class NameVote(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One member's vote for (n1, n2)."""

    n1: Bytes32
    n2: Bytes32
    size: Annotated[int, Meta(ge=1, le=8)]
    signature: Bytes64


class FindGroup(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who is nearest to `target`? The asker is left out by its envelope's `leave_out`."""

    target: Bytes32
    reply_to: Address


class GroupIs(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The answerer and up to 15 names it holds consolidated, nearest to `target` first."""

    target: Bytes32
    names: Names


class Unroutable(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The message `id` ended at a node that is not its destination and knows none nearer."""

    id: Bytes16


class Acknowledged(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Messages have reached the source of this: their destination, or the first of a group."""

    id: Bytes16
    """The latest: the envelope bears the route number of its copy."""
    waited_us: Count = 0
    """For how long this was held back after that copy came: no part of its round trip."""
    others: MoreIds = []
    """Further ones that came before it."""


class Reply(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The answer to the request `id`; with `failed` the payload is a reason in words."""

    id: Bytes16
    token: Bytes16
    """BLAKE2b-128 over the request's id and payload: the answer is about this very request."""
    failed: bool
    payload: bytes


class Busy(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The message `id` was not taken for want of room; it may be sent again after `wait_ms`."""

    id: Bytes16
    wait_ms: Count


class Vouch(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """To a member of group(client name of `key`): is this the name of that key?"""

    key: Bytes32
    certificate: Certificate
    reply_to: Address


class Vouched(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A registrar's answer about `key` under the name that `Vouch` asked about."""

    key: Bytes32
    name: Bytes32
    answers: bool
    """The sender is one of those who answer for the key."""
    vouched: bool


class Register(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """To the group of the client name of the envelope's key: this is my name, keep it."""

    certificate: Certificate


class Record(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a registrar holds about one key."""

    key: Bytes32
    certificate: Certificate
    age_s: Count
    """Since the node itself renewed it, seconds."""


class Records(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Between registrars: what you should hold too, now that the group has changed."""

    records: Annotated[list[Record], Meta(max_length=32)]


class Content(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a group says; all members encode the same, so their digests are equal."""

    id: Bytes16
    authority: Authority
    destination: Address
    payload: bytes


class Ballot(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One member's voice for a content: SHA-256 of the encoded `Content`, or the whole of it."""

    id: Bytes16
    digest: Bytes32
    content: bytes
    """The encoded `Content`, or empty: only one member need send the whole."""


class WholeWanted(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """To a voter: send me your ballot for this digest again."""

    id: Bytes16
    digest: Bytes32
    reply_to: Address
    whole: bool
    """With the whole content; without, the voice alone will do."""


class Part(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A piece of a large message; `id` is the message's, all pieces but the last are equal."""

    id: Bytes16
    kind: MessageKind
    """MESSAGE, REQUEST or REPLY."""
    size: Count
    """Of the whole body, bytes."""
    index: Count
    count: Count
    digest: Bytes32
    """SHA-256 of the whole body."""
    chunk: bytes


class Moved(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A client to the proxy it hung on: the key of this envelope hangs on `proxy` now."""

    proxy: Bytes32
