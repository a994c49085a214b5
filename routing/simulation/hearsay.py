"""What travels between two cores under siege, as far as an attacker has a use for it.

The records of the two-way connect, the attempt each is about, and one line for people. Nothing is
verified here: whom a frame is from is for the cores to find out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

from routing.bodies import ConnectRefused, ConnectRequest, ConnectResponse
from routing.errors import CloseCode
from routing.messages import (
    Ack,
    Confirmation,
    Envelope,
    FrameKind,
    Hello,
    MessageKind,
    SecondaryFailed,
    decode,
    encode,
    open_envelope,
)

__all__ = ["Item", "Known", "attempt_of", "canonical", "is_of_note", "routed", "spell"]

Known: TypeAlias = tuple[FrameKind, bytes]
"""One thing the attacker has heard: a Hello, a Ping, or the envelope of a routed message."""

Item: TypeAlias = tuple[FrameKind, bytes] | CloseCode | None
"""What is on its way: a frame, the end of the connection, or the connection itself (None)."""

_OfAttempt: TypeAlias = type[
    ConnectRequest | ConnectResponse | ConnectRefused | Hello | Ack | Confirmation | SecondaryFailed
]

BODIES: Final[dict[MessageKind, _OfAttempt]] = {
    MessageKind.CONNECT_REQUEST: ConnectRequest,
    MessageKind.CONNECT_RESPONSE: ConnectResponse,
    MessageKind.CONNECT_REFUSED: ConnectRefused,
}
"""Routed messages that the attacker passes on, keeps and sends again; others he drops."""

OF_ATTEMPTS: Final[dict[FrameKind, _OfAttempt]] = {
    FrameKind.HELLO: Hello,
    FrameKind.ACK: Ack,
    FrameKind.CONFIRMATION: Confirmation,
    FrameKind.SECONDARY_FAILED: SecondaryFailed,
}


@lru_cache(maxsize=4_096)
def canonical(frame: Known) -> Known:
    """Return a routed message without what relays change on its way."""
    if frame[0] is not FrameKind.ROUTED:
        return frame
    opened = open_envelope(frame[1])
    assert opened is not None, "a core sends envelopes only"
    return FrameKind.ROUTED, routed(opened[0].signed, opened[0].signature, 0)


def routed(signed: bytes, signature: bytes, route: int) -> bytes:
    """Return the body of a ROUTED frame, as it leaves its source or is sent again."""
    return encode(Envelope(0, route, signed, signature))


@lru_cache(maxsize=4_096)
def attempt_of(frame: Known) -> bytes:
    """Return the attempt that a frame or routed message is about, empty if about none."""
    kind, body = frame
    record = OF_ATTEMPTS.get(kind)
    if kind is FrameKind.ROUTED:
        opened = open_envelope(body)
        if opened is None:
            return b""
        record, body = BODIES.get(opened[1].kind), opened[1].body
    inner = None if record is None else decode(record, body)
    return b"" if inner is None else inner.attempt


def is_of_note(frame: Known) -> bool:
    """Tell whether a frame belongs to the two-way connect, or asks for an answer."""
    return frame[0] is FrameKind.PING or bool(attempt_of(frame))


@lru_cache(maxsize=4_096)
def spell(item: Item) -> str:
    """Return one thing on its way for people; an attempt by the first bytes of its id."""
    if item is None:
        return "a connection"
    if isinstance(item, CloseCode):
        return f"the end ({item.name})"
    kind, body = item
    label = kind.name.capitalize()
    if kind is FrameKind.HELLO:
        hello = decode(Hello, body)
        label = f"Hello({hello.role.name})" if hello is not None else label
    elif kind is FrameKind.ROUTED:
        opened = open_envelope(body)
        if opened is not None:
            label = opened[1].kind.name.title().replace("_", "")
    attempt = attempt_of(item)
    return f"{label} of {attempt[:2].hex()}" if attempt.strip(b"\0") else label
