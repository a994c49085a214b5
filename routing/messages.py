"""Everything that travels inside the channel, as typed records; no policy, no state.

Two layers. A *frame* is a kind (`FrameKind`) and a body, from one end of a connection to the other.
A *routed message* is the body of a ROUTED or GROUP_COPY frame: an `Envelope` whose `signed` bytes
the source has signed, so what is verified is always the bytes as received, never a re-encoding.
Bodies are MessagePack arrays (msgspec), fields in the order written here. A decoder refuses wrong
types, wrong lengths and lists above their bound before anything is built from them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from routing.limits import HOPS_MAX, ROUTES_MAX

__all__ = [
    "ACKNOWLEDGE",
    "NO_ATTEMPT",
    "Ack",
    "Address",
    "Admit",
    "Authority",
    "AuthorityKind",
    "Certificate",
    "ClientAddress",
    "Close",
    "Confirmation",
    "Contacts",
    "Direct",
    "Envelope",
    "FrameKind",
    "GroupAddress",
    "Hello",
    "HelloRole",
    "IsName",
    "MessageKind",
    "NameIs",
    "Neighbours",
    "NodeAddress",
    "Ping",
    "Reachable",
    "Refuse",
    "SecondaryFailed",
    "Signed",
    "SignedKind",
    "Throttled",
    "Unneeded",
    "ViaAddress",
    "Vote",
    "decode",
    "encode",
    "hello_body",
    "open_envelope",
    "signed_text",
    "vote_body",
    "wild_number",
]

Bytes8 = Annotated[bytes, Meta(min_length=8, max_length=8)]
Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
Byte = Annotated[int, Meta(ge=0, le=255)]
Flags = Annotated[int, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Word = Annotated[int, Meta(ge=0, le=65_535)]
EndpointText = Annotated[str, Meta(max_length=64)]
Endpoints = Annotated[list[EndpointText], Meta(max_length=8)]
Text = Annotated[str, Meta(max_length=64)]
Names = Annotated[list[Bytes32], Meta(max_length=16)]

NO_ATTEMPT: Final = bytes(16)
"""The attempt of a Hello that belongs to none (JOIN, CLIENT, FEEL)."""


class SignedKind(IntEnum):
    """What a signature is about; one number per purpose, so none can stand in for another."""

    CHANNEL = 1
    HELLO = 2
    ROUTED = 3
    VOTE = 4


class FrameKind(IntEnum):
    """The kind byte of a frame (u8)."""

    HELLO = 1
    ACK = 2
    CONFIRMATION = 3
    SECONDARY_FAILED = 4
    ADMIT = 5
    REFUSE = 6
    PING = 7
    PONG = 8
    CLOSE = 9
    HEARTBEAT = 10
    ROUTED = 11
    GROUP_COPY = 12
    NEIGHBOURS = 13
    CONTACTS = 14
    DIRECT = 15
    REACHABLE = 16
    UNNEEDED = 17
    THROTTLED = 18
    BATCH = 19
    IS_NAME = 20
    NAME_IS = 21


class HelloRole(IntEnum):
    """What the dialler wants the connection to be (u8)."""

    PRIMARY = 1
    """The responder of an attempt dials the requester; this one survives."""
    SECONDARY = 2
    """The requester dials the responder, to prove that it can be reached."""
    JOIN = 3
    """A node looks for a network."""
    CLIENT = 4
    """A client looks for a proxy."""
    FEEL = 5
    """A connected node asks a stranger whether there is more network than it knows."""


class MessageKind(IntEnum):
    """What a routed message is (u8)."""

    CONNECT_REQUEST = 1
    CONNECT_RESPONSE = 2
    CONNECT_REFUSED = 3
    REQUEST_NAME = 4
    NAME_VOTE = 5
    FIND_GROUP = 6
    GROUP_IS = 7
    UNROUTABLE = 8
    COPY = 9
    """The envelope of a message to a group, for a member that the first node does not hold."""
    ACKNOWLEDGED = 10
    BUSY = 11
    """The consumer has no room for the message just now; it was not taken."""
    VOUCH = 12
    VOUCHED = 13
    REGISTER = 14
    RECORDS = 15
    MESSAGE = 16
    """An application's message; the body is the payload."""
    REQUEST = 17
    """An application's message that wants a reply; the body is the payload."""
    REPLY = 18
    BALLOT = 19
    """One member's part in a message from its group."""
    PART = 20
    """A piece of a message that is larger than a frame may be."""
    WHOLE_WANTED = 21
    """The receiver of ballots asks a voter for the content, or a member for its voice."""
    MOVED = 22
    """A client tells the proxy it hung on where it hangs now."""
    FORWARDED = 23
    """The envelope of a message to a client that has moved."""
    MESSAGES = 24
    """Several messages of an application; the body is their list."""


# -- addresses


class NodeAddress(
    Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False, tag=1
):
    """Exactly the node of this name."""

    name: Bytes32


class ClientAddress(
    Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False, tag=2
):
    """Whoever holds `key` and hangs on the node named `proxy`."""

    proxy: Bytes32
    key: Bytes32


class GroupAddress(
    Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False, tag=3
):
    """The nodes nearest to this name."""

    name: Bytes32


class ViaAddress(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False, tag=4):
    """The node `name`, which only its neighbour `hop` can be relied on to know yet."""

    hop: Bytes32
    name: Bytes32


Address = NodeAddress | ClientAddress | GroupAddress | ViaAddress


class AuthorityKind(IntEnum):
    """What an authority is (u8)."""

    CLIENT = 1
    """The client whose client name is the element."""
    CLIENT_GROUP = 2
    """The group that manages the client of this client name."""
    ELEMENT_GROUP = 3
    """The group around the element."""
    NODE = 4
    """The node of this name."""
    NODE_GROUP = 5
    """The group that manages the node of this name."""


ACKNOWLEDGE: Final = 1
"""Flag of `Signed`: the source wants an acknowledgement; without it, at most once."""

# -- names


class Vote(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One member's signature over (key, n1, n2, size of its group)."""

    key: Bytes32
    size: Annotated[int, Meta(ge=1, le=8)]
    signature: Bytes64


class Certificate(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How a key came by its name: name = SHA-256(prefix | client name | n1 | n2).

    A founder has n1 = n2 = its own client name and no votes.
    """

    n1: Bytes32
    n2: Bytes32
    votes: Annotated[list[Vote], Meta(max_length=8)]


# -- frames of attempts and bootstrapping


class Hello(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The first frame on a dialled connection; the signature is over `hello_body`."""

    role: HelloRole
    attempt: Bytes16
    incarnation: Bytes8
    lowest: Bytes32
    """The lowest key heard of since the sender lost its network (its own if none)."""
    endpoints: Endpoints
    """Where the sender listens, for JOIN and FEEL."""
    response: Annotated[bytes, Meta(max_length=3_072)]
    """PRIMARY: the Signed ConnectResponse, so that a lost one does not matter; else empty."""
    signature: Bytes64


class Ack(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Requester to responder on the primary: this is my connection, of this attempt."""

    attempt: Bytes16


class Confirmation(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Responder to requester on the primary: both directions are proved."""

    attempt: Bytes16
    one_way: bool


class SecondaryFailed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Requester to responder on the primary: you cannot be dialled from here."""

    attempt: Bytes16


class Admit(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A proxy takes the dialler: `name` is the proxy's, `observed` the dialler's IP as seen."""

    name: Bytes32
    observed: EndpointText
    messages_per_s: Count
    """What a client may send in a second, with a burst of as much; 0 for everybody else."""
    bytes_per_s: Count


class Refuse(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A proxy does not take the dialler and knows these others."""

    reason: Byte
    lowest: Bytes32
    contacts: Endpoints


class Ping(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Answered at once by a PONG with the same nonce."""

    nonce: Bytes8


class Close(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The last frame of a channel."""

    code: Word
    text: Text


class Neighbours(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """To a neighbour: the names nearest to `target` that the sender holds, nearest first.

    With `names` empty and a digest it says: unchanged since the list of that digest.
    """

    target: Bytes32
    digest: Bytes8
    names: Names


class Contacts(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """To a table entry: endpoints of a peer won on the other side of what was a partition.

    To a client: nodes that it may ask when its proxy is gone.
    """

    endpoints: Endpoints


class Reachable(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A proxy to a joiner: could the endpoints you advertise be dialled from here?"""

    reachable: bool


class IsName(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """To a peer: is this the name of that key? With `listed`, who answers for the key?"""

    key: Bytes32
    certificate: Certificate
    listed: bool


class NameIs(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A peer's answer about `key` under the name that `IsName` asked about."""

    key: Bytes32
    name: Bytes32
    answers: bool
    """The sender is one of those who answer for the key."""
    vouched: bool
    names: Names
    """Those nearest to the client name of the key, where they were asked for."""


class Unneeded(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Between peers: I hold you as surplus; with `agreed` so do I, and the connection ends."""

    agreed: bool


class Throttled(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A proxy to a client: the message `id` was beyond your allowance and was not passed on."""

    id: Bytes16
    wait_ms: Count
    """When there is room for it again."""


class Direct(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """An application's message between the two ends of one connection, proved by the channel."""

    kind: MessageKind
    id: Bytes16
    payload: bytes


# -- routed messages


class Authority(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Under which authority a message is sent; whoever consumes it checks that the claim fits."""

    kind: AuthorityKind
    element: Bytes32
    """The name it is about: of the client, of the node, or of the element."""


class Signed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The part of an envelope that its source signs; what relays read comes first."""

    destination: Address
    kind: MessageKind
    leave_out: Annotated[bytes, Meta(max_length=32)]
    """A name that no hop may pass the message on to (32 bytes), or empty."""
    flags: Flags
    id: Bytes16
    source: Address
    key: Bytes32
    """The source's key; the signature is verified with it."""
    origin: Annotated[bytes, Meta(max_length=64)]
    """n1 | n2 of a node's name (64 bytes), so that the name follows from the key; else empty."""
    authority: Authority | None
    body: bytes


class Envelope(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A routed message as it travels; hops and route are changed on the way, hence unsigned."""

    hops: Byte
    route: Byte
    signed: bytes
    signature: Bytes64


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[object]] = {}

T = TypeVar("T", bound=Struct)


def encode(record: Struct) -> bytes:
    """Return the MessagePack array of one record."""
    return _encoder.encode(record)


def decode(kind: type[T], body: bytes) -> T | None:
    """Return the record, or None where the bytes are not one: a peer's fault is data."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(body)  # type: ignore[return-value]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def open_envelope(body: bytes) -> tuple[Envelope, Signed] | None:
    """Return an envelope and its signed part, nothing verified; None for other bytes."""
    envelope = decode(Envelope, body)
    signed = None if envelope is None else decode(Signed, envelope.signed)
    return None if envelope is None or signed is None else (envelope, signed)


def wild_number(envelope: Envelope) -> str:
    """Return the counter of a hop or route number that no relay gives, or "" if both may be."""
    if envelope.route >= ROUTES_MAX:
        return "envelope.route"
    return "envelope.hops" if envelope.hops > HOPS_MAX else ""


def signed_text(kind: SignedKind, tag: bytes, body: bytes) -> bytes:
    """Return what is really signed: the prefix, the kind, the network tag (8 bytes), the body."""
    return b"routing:1:" + bytes((kind,)) + tag + body


def hello_body(
    role: HelloRole,
    attempt: bytes,
    *,
    ours: bytes,
    theirs: bytes,
    incarnation: bytes,
    binding: bytes,
) -> bytes:
    """Return what the sender of a Hello signs: 1 + 16 + 32 + 32 + 8 + 32 bytes.

    `ours` is the key of the signer, `theirs` of the far end, `binding` the handshake hash: a Hello
    is worth nothing on any other connection.
    """
    return bytes((role,)) + attempt + ours + theirs + incarnation + binding


def vote_body(key: bytes, n1: bytes, n2: bytes, size: int) -> bytes:
    """Return what a member signs for a joiner: 32 + 32 + 32 + 1 bytes."""
    return key + n1 + n2 + bytes((size,))
