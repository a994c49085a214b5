"""The test vectors of the protocol: fixed keys and inputs, and every byte that follows from them.

Everything is made by the package itself; `tests/unit/test_docs.py` makes it again by other means.
In the JSON bytes are hexadecimal; the element lists under "plain" write a byte string as
{"bin": hex} and everything else as it is.
"""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from typing import Any

from msgspec import Struct, structs

from routing import bodies, membership
from routing import messages as wire
from routing._batch import pack, pack_list
from routing._frames import FrameWriter
from routing.authority import ANSWERED_KINDS
from routing.certificates import certified_name, founding_certificate, origin_of
from routing.channel import Channel, Handshake
from routing.identity import Identity, verify
from routing.messages import (
    ACKNOWLEDGE,
    NO_ATTEMPT,
    Address,
    Authority,
    AuthorityKind,
    Certificate,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
    Signed,
    SignedKind,
    ViaAddress,
    Vote,
    encode,
    hello_body,
    signed_text,
    vote_body,
)
from routing.names import client_name, flip_bit, network_name, network_tag
from routing.requests import token_of

__all__ = ["vectors", "written"]

NETWORK = "vectors"
TAG = network_tag(NETWORK)
SEEDS = {"a": b"\x01" * 32, "b": b"\x02" * 32, "c": b"\x03" * 32}
STATICS = {"a": b"\x11" * 32, "b": b"\x12" * 32}
EPHEMERALS = {"a": b"\x21" * 32, "b": b"\x22" * 32}
ATTEMPT = bytes(range(0x40, 0x50))
INCARNATIONS = {"a": b"\xa0" * 8, "b": b"\xb0" * 8}
MESSAGE_ID = bytes(range(0x50, 0x60))
LIST_ID = b"\x66" * 12 + bytes(4)

A, B, C = (Identity.from_seed(seed) for seed in SEEDS.values())
CLIENTS = {who: client_name(each.key) for who, each in zip("abc", (A, B, C), strict=True)}
FOUNDER = founding_certificate(B.key)
B_NAME = certified_name(B.key, FOUNDER)


def _vote(voter: Identity, n1: bytes, n2: bytes, size: int) -> Vote:
    text = signed_text(SignedKind.VOTE, TAG, vote_body(A.key, n1, n2, size))
    return Vote(voter.key, size, voter.sign(text))


C_NAME = network_name(CLIENTS["c"], B_NAME, B_NAME)
N1, N2 = sorted(
    (B_NAME, C_NAME), key=lambda name: bytes(x ^ y for x, y in zip(name, CLIENTS["a"], strict=True))
)
CERTIFICATE = Certificate(N1, N2, [_vote(B, N1, N2, 2), _vote(C, N1, N2, 2)])
A_NAME = certified_name(A.key, CERTIFICATE)


def vectors() -> dict[str, Any]:
    """Return all vectors, ready for JSON."""
    handshake, channels, binding = _handshake()
    return {
        "about": "Fixed inputs and the bytes that follow; see docs/protocol.md. Made by "
        "tools/docs_vectors.py; keys and ephemerals are for tests only.",
        "network": {"id": NETWORK, "tag": TAG.hex()},
        "identities": _identities(),
        "names": _names(),
        "addresses": _addresses(),
        "certificate": _certificate(),
        "handshake": handshake,
        "hello": _hello(binding),
        "frames": _frames(binding),
        "messages": _messages(),
        "records": _records(channels),
    }


def written() -> str:
    """Return the file as it is to be on disk."""
    return json.dumps(vectors(), indent=1) + "\n"


# -- who there is


def _identities() -> dict[str, Any]:
    return {
        who: {
            "seed": SEEDS[who].hex(),
            "key": each.key.hex(),
            "client_name": CLIENTS[who].hex(),
        }
        for who, each in zip("abc", (A, B, C), strict=True)
    }


def _names() -> dict[str, Any]:
    low = bytes(range(32))
    return {
        "founder_b": B_NAME.hex(),
        "n1": N1.hex(),
        "n2": N2.hex(),
        "network_name_a": A_NAME.hex(),
        "flip_bit": {
            "name": A_NAME.hex(),
            "low": low.hex(),
            "index": 3,
            "result": flip_bit(A_NAME, 3, low).hex(),
        },
        "list_digest": {
            "names": [A_NAME.hex(), B_NAME.hex(), C_NAME.hex()],
            "digest": membership._digest([A_NAME, B_NAME, C_NAME]).hex(),
        },
    }


def _plain(value: object) -> Any:
    """Return a record as the list it is on the wire, byte strings marked."""
    match value:
        case bytes():
            return {"bin": value.hex()}
        case Struct():
            tag = type(value).__struct_config__.tag
            elements = [_plain(getattr(value, each.name)) for each in structs.fields(value)]
            return elements if tag is None else [tag, *elements]
        case list() | tuple():
            return [_plain(each) for each in value]
        case bool() | str() | None:
            return value
        case int():
            return int(value)
        case _:
            raise NotImplementedError(f"a value of type {type(value).__name__} has no plain form")


def _both(record: Struct) -> dict[str, Any]:
    return {"plain": _plain(record), "encoded": encode(record).hex()}


def _addresses() -> dict[str, Any]:
    forms: dict[str, Address] = {
        "node": NodeAddress(B_NAME),
        "client": ClientAddress(B_NAME, A.key),
        "group": GroupAddress(CLIENTS["a"]),
        "via": ViaAddress(B_NAME, A_NAME),
    }
    return {name: _both(each) for name, each in forms.items()}


def _certificate() -> dict[str, Any]:
    votes = []
    for who, vote in zip("bc", CERTIFICATE.votes, strict=True):
        text = signed_text(SignedKind.VOTE, TAG, vote_body(A.key, N1, N2, vote.size))
        votes.append({"voter": who, "signed_text": text.hex(), "signature": vote.signature.hex()})
    return {"of": "a", **_both(CERTIFICATE), "votes": votes, "founder_b": _both(FOUNDER)}


# -- the channel


def _end(who: str, identity: Identity, *, dialler: bool) -> Handshake:
    return Handshake(
        dialler=dialler,
        sign=identity.sign,
        verify=verify,
        key=identity.key,
        tag=TAG,
        static=STATICS[who],
        ephemeral=EPHEMERALS[who],
    )


def _handshake() -> tuple[dict[str, Any], tuple[Channel, Channel], bytes]:
    """B dials A, as for the primary of an attempt that A has asked for."""
    dialler, acceptor = _end("b", B, dialler=True), _end("a", A, dialler=False)
    opening = dialler.start()
    first_answer = acceptor.receive(opening)
    message_1 = dialler.receive(first_answer)
    message_2 = acceptor.receive(message_1)
    message_3 = dialler.receive(message_2)
    rest = acceptor.receive(message_3)
    assert rest == b"" and dialler.channel is not None and acceptor.channel is not None
    binding = dialler.channel.binding
    found = {
        "dialler": "b",
        "acceptor": "a",
        "dialler_static": STATICS["b"].hex(),
        "dialler_ephemeral": EPHEMERALS["b"].hex(),
        "acceptor_static": STATICS["a"].hex(),
        "acceptor_ephemeral": EPHEMERALS["a"].hex(),
        "dialler_preamble": opening.hex(),
        "acceptor_preamble": first_answer.hex(),
        "prologue": (opening + first_answer).hex(),
        "message_1": message_1.hex(),
        "message_2": message_2.hex(),
        "message_3": message_3.hex(),
        "handshake_hash": binding.hex(),
    }
    return found, (dialler.channel, acceptor.channel), binding


def _records(channels: tuple[Channel, Channel]) -> list[dict[str, Any]]:
    """Two records of the dialler, the first of two frames, and one of the acceptor."""
    dialler, acceptor = channels
    ping = wire.Ping(b"\x77" * 8)
    found = []
    for sender, channel, frames in (
        (
            "dialler",
            dialler,
            [(FrameKind.PING, wire.Ping(b"\x77" * 8)), (FrameKind.HEARTBEAT, None)],
        ),
        ("dialler", dialler, [(FrameKind.ACK, wire.Ack(ATTEMPT))]),
        ("acceptor", acceptor, [(FrameKind.PONG, ping)]),
    ):
        writer = FrameWriter()
        nonce = channel.sealed
        for kind, record in frames:
            writer.append(kind, b"" if record is None else encode(record))
        (plaintext,) = writer.take()
        record_bytes = channel.seal(plaintext)
        (length,) = struct.unpack_from(">I", record_bytes)
        found.append(
            {
                "sender": sender,
                "nonce": nonce,
                "plaintext": plaintext.hex(),
                "length": length,
                "record": record_bytes.hex(),
            }
        )
    return found


# -- frames


def _hello(binding: bytes) -> dict[str, Any]:
    """B's Hello(PRIMARY) on the connection of the handshake above."""
    body = hello_body(
        HelloRole.PRIMARY,
        ATTEMPT,
        ours=B.key,
        theirs=A.key,
        incarnation=INCARNATIONS["b"],
        binding=binding,
    )
    text = signed_text(SignedKind.HELLO, TAG, body)
    return {"body": body.hex(), "signed_text": text.hex(), "signature": B.sign(text).hex()}


def _hellos(binding: bytes) -> tuple[wire.Hello, wire.Hello]:
    response = encode(_sealed(B, NodeAddress(B_NAME), MessageKind.CONNECT_RESPONSE))
    primary = wire.Hello(
        role=HelloRole.PRIMARY,
        attempt=ATTEMPT,
        incarnation=INCARNATIONS["b"],
        lowest=min(A.key, B.key),
        endpoints=[],
        response=response,
        signature=bytes.fromhex(_hello(binding)["signature"]),
    )
    body = hello_body(
        HelloRole.JOIN,
        NO_ATTEMPT,
        ours=B.key,
        theirs=A.key,
        incarnation=INCARNATIONS["b"],
        binding=binding,
    )
    join = wire.Hello(
        role=HelloRole.JOIN,
        attempt=NO_ATTEMPT,
        incarnation=INCARNATIONS["b"],
        lowest=B.key,
        endpoints=["127.0.0.1:5483", "[::1]:5483"],
        response=b"",
        signature=B.sign(signed_text(SignedKind.HELLO, TAG, body)),
    )
    return primary, join


def _frames(binding: bytes) -> list[dict[str, Any]]:
    primary, join = _hellos(binding)
    envelope = _sealed(A, NodeAddress(A_NAME), MessageKind.MESSAGE)
    digest = membership._digest([A_NAME, B_NAME])
    batch, _ = pack(LIST_ID, [b"one", b"", b"three"])
    records: list[tuple[FrameKind, Struct | bytes | None]] = [
        (FrameKind.HELLO, primary),
        (FrameKind.HELLO, join),
        (FrameKind.ACK, wire.Ack(ATTEMPT)),
        (FrameKind.CONFIRMATION, wire.Confirmation(ATTEMPT, one_way=False)),
        (FrameKind.SECONDARY_FAILED, wire.SecondaryFailed(ATTEMPT)),
        (FrameKind.ADMIT, wire.Admit(B_NAME, "127.0.0.1", 0, 0)),
        (FrameKind.REFUSE, wire.Refuse(1, A.key, ["127.0.0.1:5483"])),
        (FrameKind.PING, wire.Ping(b"\x77" * 8)),
        (FrameKind.PONG, wire.Ping(b"\x77" * 8)),
        (FrameKind.CLOSE, wire.Close(2, "done")),
        (FrameKind.HEARTBEAT, None),
        (FrameKind.ROUTED, envelope),
        (FrameKind.GROUP_COPY, envelope),
        (FrameKind.NEIGHBOURS, wire.Neighbours(A_NAME, digest, [A_NAME, B_NAME])),
        (FrameKind.NEIGHBOURS, wire.Neighbours(A_NAME, digest, [])),
        (FrameKind.CONTACTS, wire.Contacts(["[::1]:5483"])),
        (FrameKind.DIRECT, wire.Direct(MessageKind.REQUEST, MESSAGE_ID, b"ping")),
        (FrameKind.REACHABLE, wire.Reachable(reachable=True)),
        (FrameKind.UNNEEDED, wire.Unneeded(agreed=False)),
        (FrameKind.THROTTLED, wire.Throttled(MESSAGE_ID, 250)),
        (FrameKind.BATCH, batch),
        (FrameKind.IS_NAME, wire.IsName(B.key, FOUNDER, listed=True)),
        (FrameKind.NAME_IS, wire.NameIs(B.key, B_NAME, answers=True, vouched=True, names=[A_NAME])),
    ]
    found = []
    for kind, record in records:
        raw = b"" if record is None else record
        body = raw if isinstance(raw, bytes) else encode(raw)
        writer = FrameWriter()
        writer.append(kind, body)
        (frame,) = writer.take()
        plain = None if record is None else _plain(record)
        told = {"kind": kind.name, "number": int(kind), "plain": plain, "frame": frame.hex()}
        found.append(told)
    return found


# -- routed messages


def _request() -> bodies.ConnectRequest:
    return bodies.ConnectRequest(
        attempt=ATTEMPT,
        target=B_NAME,
        incarnation=INCARNATIONS["a"],
        endpoints=["127.0.0.1:5484"],
        reply_to=ViaAddress(B_NAME, A_NAME),
        certificate=CERTIFICATE,
        urgent=True,
        relaxed=False,
    )


def _request_hash() -> bytes:
    """What the response quotes: the digest of the signed part of the request below."""
    signed = _signed_of(A, NodeAddress(A_NAME), MessageKind.CONNECT_REQUEST, encode(_request()))
    return sha256(encode(signed)).digest()


def _content() -> bodies.Content:
    """What the group around A's client name tells A."""
    authority = Authority(AuthorityKind.CLIENT_GROUP, CLIENTS["a"])
    return bodies.Content(MESSAGE_ID, authority, NodeAddress(A_NAME), b"hello")


def _body(kind: MessageKind) -> Struct | bytes:
    text = signed_text(SignedKind.VOTE, TAG, vote_body(A.key, N1, N2, 2))
    found: dict[MessageKind, Struct | bytes] = {
        MessageKind.CONNECT_REQUEST: _request(),
        MessageKind.CONNECT_RESPONSE: bodies.ConnectResponse(
            attempt=ATTEMPT,
            request=_request_hash(),
            incarnation=INCARNATIONS["b"],
            endpoints=["127.0.0.1:5483"],
            certificate=FOUNDER,
            relaxed=False,
        ),
        MessageKind.CONNECT_REFUSED: bodies.ConnectRefused(ATTEMPT, 6),
        MessageKind.REQUEST_NAME: bodies.RequestName(ClientAddress(B_NAME, A.key), None, [N1, N2]),
        MessageKind.NAME_VOTE: bodies.NameVote(N1, N2, 2, B.sign(text)),
        MessageKind.FIND_GROUP: bodies.FindGroup(A_NAME, ClientAddress(B_NAME, A.key)),
        MessageKind.GROUP_IS: bodies.GroupIs(A_NAME, [B_NAME, C_NAME]),
        MessageKind.UNROUTABLE: bodies.Unroutable(MESSAGE_ID),
        MessageKind.ACKNOWLEDGED: bodies.Acknowledged(MESSAGE_ID),
        MessageKind.COPY: wire.Envelope(0, 0, b"signed part", B.sign(b"signed part")),
        MessageKind.BUSY: bodies.Busy(MESSAGE_ID, 250),
        MessageKind.VOUCH: bodies.Vouch(A.key, CERTIFICATE, NodeAddress(B_NAME)),
        MessageKind.VOUCHED: bodies.Vouched(A.key, A_NAME, answers=True, vouched=True),
        MessageKind.REGISTER: bodies.Register(CERTIFICATE),
        MessageKind.RECORDS: bodies.Records([bodies.Record(A.key, CERTIFICATE, 60)]),
        MessageKind.BALLOT: bodies.Ballot(
            MESSAGE_ID, sha256(encode(_content())).digest(), encode(_content())
        ),
        MessageKind.PART: bodies.Part(
            MESSAGE_ID, MessageKind.MESSAGE, 5, 0, 2, sha256(b"hello").digest(), b"hel"
        ),
        MessageKind.WHOLE_WANTED: bodies.WholeWanted(
            MESSAGE_ID, sha256(encode(_content())).digest(), NodeAddress(B_NAME), whole=True
        ),
        MessageKind.MOVED: bodies.Moved(B_NAME),
        MessageKind.FORWARDED: wire.Envelope(0, 0, b"signed part", B.sign(b"signed part")),
        MessageKind.MESSAGE: b"hello",
        MessageKind.MESSAGES: pack_list([b"one", b"", b"three"])[0],
        MessageKind.REQUEST: b"ping",
        MessageKind.REPLY: bodies.Reply(
            MESSAGE_ID, token_of(MESSAGE_ID, b"ping"), failed=False, payload=b"pong"
        ),
    }
    return found[kind]


_ACKNOWLEDGED = ANSWERED_KINDS - {MessageKind.MESSAGE}

_FROM_A = {
    MessageKind.CONNECT_REQUEST,
    MessageKind.REQUEST_NAME,
    MessageKind.REGISTER,
    MessageKind.FIND_GROUP,
    MessageKind.MESSAGE,
    MessageKind.REQUEST,
}

_DESTINATIONS: dict[MessageKind, Address] = {
    MessageKind.REQUEST_NAME: GroupAddress(CLIENTS["a"]),
    MessageKind.REGISTER: GroupAddress(CLIENTS["a"]),
    MessageKind.FIND_GROUP: GroupAddress(A_NAME),
    MessageKind.MESSAGE: GroupAddress(CLIENTS["c"]),
    MessageKind.CONNECT_RESPONSE: ViaAddress(B_NAME, A_NAME),
    MessageKind.NAME_VOTE: ClientAddress(B_NAME, A.key),
    MessageKind.GROUP_IS: ClientAddress(B_NAME, A.key),
}


def _signed(identity: Identity, source: Address, kind: MessageKind) -> Signed:
    body = _body(kind)
    encoded = body if isinstance(body, bytes) else encode(body)
    return _signed_of(identity, source, kind, encoded)


def _signed_of(identity: Identity, source: Address, kind: MessageKind, body: bytes) -> Signed:
    to_whom = NodeAddress(B_NAME if identity is A else A_NAME)
    certificate = CERTIFICATE if identity is A else FOUNDER
    return Signed(
        destination=_DESTINATIONS.get(kind, to_whom),
        kind=kind,
        leave_out=A_NAME if kind is MessageKind.FIND_GROUP else b"",
        flags=ACKNOWLEDGE if kind in _ACKNOWLEDGED else 0,
        id=LIST_ID if kind is MessageKind.MESSAGES else MESSAGE_ID,
        source=source,
        key=identity.key,
        origin=origin_of(certificate) if isinstance(source, NodeAddress) else b"",
        authority=_content().authority if kind is MessageKind.BALLOT else None,
        body=body,
    )


def _sealed(identity: Identity, source: Address, kind: MessageKind) -> Envelope:
    signed = encode(_signed(identity, source, kind))
    signature = identity.sign(signed_text(SignedKind.ROUTED, TAG, signed))
    return Envelope(0, 0, signed, signature)


def _messages() -> list[dict[str, Any]]:
    """One envelope of each kind; what asks for a name comes from an address at the proxy."""
    found = []
    for kind in MessageKind:
        identity = A if kind in _FROM_A else B
        source: Address = NodeAddress(A_NAME if identity is A else B_NAME)
        if kind is MessageKind.REQUEST_NAME:
            source = ClientAddress(B_NAME, A.key)
        body = _body(kind)
        signed = _signed(identity, source, kind)
        text = signed_text(SignedKind.ROUTED, TAG, encode(signed))
        found.append(
            {
                "kind": kind.name,
                "number": int(kind),
                "from": "a" if identity is A else "b",
                "body_plain": None if isinstance(body, bytes) else _plain(body),
                "body": (body if isinstance(body, bytes) else encode(body)).hex(),
                "signed_plain": _plain(signed),
                "signed": encode(signed).hex(),
                "signature": identity.sign(text).hex(),
                "envelope": encode(_sealed(identity, source, kind)).hex(),
            }
        )
    return found
