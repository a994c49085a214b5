"""Every record survives the wire; a byte or an element too many is refused before it is built."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from routing import bodies
from routing import messages as wire
from routing.bodies import ConnectRequest
from routing.messages import (
    Address,
    Certificate,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    Hello,
    HelloRole,
    MessageKind,
    NodeAddress,
    Signed,
    SignedKind,
    ViaAddress,
    Vote,
    decode,
    encode,
    hello_body,
    signed_text,
    vote_body,
)

__all__: list[str] = []

A8, A16, A32, A64 = bytes(8), bytes(range(16)), bytes(range(32)), bytes(range(64))
OTHER32 = bytes([7]) * 32
CERTIFICATE = Certificate(A32, OTHER32, [Vote(A32, 8, A64)] * 8)
ADDRESSES: list[Address] = [
    NodeAddress(A32),
    ClientAddress(A32, OTHER32),
    GroupAddress(A32),
    ViaAddress(OTHER32, A32),
]
ENDPOINTS = [f"127.0.0.1:{4_000 + number}" for number in range(8)]

CLAIM = wire.Authority(wire.AuthorityKind.NODE_GROUP, A32)

RECORDS: list[Struct] = [
    Hello(HelloRole.JOIN, A16, A8, A32, ENDPOINTS, bytes(3_072), A64),
    wire.Ack(A16),
    wire.Confirmation(A16, False),
    wire.SecondaryFailed(A16),
    wire.Admit(A32, "127.0.0.1", 100, 2**32 - 1),
    wire.Refuse(255, A32, ENDPOINTS),
    wire.Ping(A8),
    wire.Close(65_535, "x" * 64),
    wire.Neighbours(A32, A8, [A32] * 16),
    wire.Contacts(ENDPOINTS),
    wire.Direct(MessageKind.REQUEST, A16, b"payload"),
    *[Signed(a, MessageKind.MESSAGE, b"", 1, A16, a, A32, A64, CLAIM, b"body") for a in ADDRESSES],
    Envelope(255, 7, b"signed", A64),
    ConnectRequest(A16, A32, A8, ENDPOINTS, ADDRESSES[3], CERTIFICATE, True, False),
    bodies.ConnectResponse(A16, A32, A8, ENDPOINTS, CERTIFICATE, False),
    bodies.ConnectRefused(A16, 4),
    bodies.RequestName(ADDRESSES[1], None, []),
    bodies.RequestName(ADDRESSES[1], CERTIFICATE, [A32, OTHER32]),
    bodies.NameVote(A32, OTHER32, 8, A64),
    bodies.FindGroup(A32, ADDRESSES[3]),
    bodies.GroupIs(A32, [A32] * 16),
    bodies.Unroutable(A16),
    bodies.Acknowledged(A16),
    bodies.Reply(A16, A16, True, b"why"),
    bodies.Busy(A16, 250),
    bodies.Vouch(A32, CERTIFICATE, ADDRESSES[3]),
    bodies.Vouched(A32, OTHER32, True, True),
    bodies.Register(CERTIFICATE),
    bodies.Records([bodies.Record(A32, CERTIFICATE, 60)] * 32),
    bodies.Content(A16, CLAIM, ADDRESSES[0], b"payload"),
    bodies.Ballot(A16, A32, b"content"),
    bodies.WholeWanted(A16, A32, ADDRESSES[0], whole=True),
    bodies.Part(A16, MessageKind.MESSAGE, 2**24, 0, 64, A32, b"chunk"),
    bodies.Moved(A32),
    wire.Reachable(True),
    wire.Unneeded(False),
    wire.Throttled(A16, 250),
    wire.IsName(A32, CERTIFICATE, True),
    wire.NameIs(A32, OTHER32, True, False, [A32] * 16),
    CLAIM,
    CERTIFICATE,
]
IDS = [f"{type(record).__name__} {number}" for number, record in enumerate(RECORDS)]


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_record_survives_the_wire(record: Struct) -> None:
    assert decode(type(record), encode(record)) == record


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_truncated_record_is_none(record: Struct) -> None:
    body = encode(record)
    for size in range(0, len(body), max(1, len(body) // 40)):
        assert decode(type(record), body[:size]) is None


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_record_with_a_byte_behind_it_is_none(record: Struct) -> None:
    assert decode(type(record), encode(record) + b"\x00") is None


def fields(record: Struct) -> list[Any]:
    found = msgspec.msgpack.decode(encode(record))
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_every_byte_string_and_list_has_a_bound(record: Struct) -> None:
    unbounded = {"payload", "body", "signed", "content", "chunk", "leave_out"}
    names = record.__struct_fields__
    for place, (name, value) in enumerate(zip(names, fields(record), strict=True)):
        longer: list[Any] = fields(record)
        if isinstance(value, str):
            longer[place] = "x" * 65
        elif isinstance(value, bytes) and name not in unbounded:
            longer[place] = bytes(len(value) + 1)
        elif isinstance(getattr(record, name), list):
            longer[place] = [*value, *([value[-1]] if value else [A32]) * 3]
        else:
            continue
        body = msgspec.msgpack.encode(longer)
        assert decode(type(record), body) is None, name


@pytest.mark.parametrize("kind", list(dict.fromkeys(map(type, RECORDS))), ids=lambda k: k.__name__)
@given(body=st.binary(max_size=200))
def test_rubbish_is_none_or_a_record_and_never_an_exception(
    kind: type[Struct], body: bytes
) -> None:
    record = decode(kind, body)
    assert record is None or isinstance(record, kind)


def test_deep_nesting_is_none() -> None:
    assert decode(Signed, b"\x91" * 100_000) is None


def test_unknown_kind_and_role_are_none() -> None:
    hello = fields(RECORDS[0])
    hello[0] = 99
    assert decode(Hello, msgspec.msgpack.encode(hello)) is None


def test_address_of_an_unknown_form_is_none() -> None:
    find = fields(bodies.FindGroup(A32, ADDRESSES[0]))
    find[1] = [9, A32]
    assert decode(bodies.FindGroup, msgspec.msgpack.encode(find)) is None


def test_kinds_have_the_numbers_of_the_protocol() -> None:
    assert [kind.value for kind in FrameKind] == list(range(1, 22))
    assert [role.value for role in HelloRole] == [1, 2, 3, 4, 5]
    assert [kind.value for kind in MessageKind] == list(range(1, 25))


def test_what_is_signed_differs_by_purpose_and_by_network() -> None:
    texts = {signed_text(kind, tag, b"body") for kind in SignedKind for tag in (A8, b"12345678")}
    assert len(texts) == 2 * len(SignedKind)
    assert signed_text(SignedKind.HELLO, A8, b"body") == b"routing:1:\x02" + A8 + b"body"


def test_hello_body_binds_role_attempt_both_keys_process_and_channel() -> None:
    def body(**changes: Any) -> bytes:
        parts: dict[str, Any] = {
            "ours": A32,
            "theirs": OTHER32,
            "incarnation": A8,
            "binding": A32,
        }
        role = changes.pop("role", HelloRole.JOIN)
        attempt = changes.pop("attempt", A16)
        return hello_body(role, attempt, **(parts | changes))

    assert len(body()) == 1 + 16 + 32 + 32 + 8 + 32
    others = [
        body(role=HelloRole.FEEL),
        body(attempt=bytes(16)),
        body(ours=OTHER32),
        body(theirs=A32),
        body(incarnation=b"12345678"),
        body(binding=OTHER32),
    ]
    assert len({body(), *others}) == 7


def test_vote_body_holds_everything_that_is_voted_for() -> None:
    assert vote_body(A32, OTHER32, A32, 8) == A32 + OTHER32 + A32 + b"\x08"
