"""Batches, slowly and obviously: what `routing._batch` must do, byte for byte."""

from __future__ import annotations

import struct

from tests.twin.message_twin import Message

__all__ = ["BATCH_BYTES_MAX", "pack", "survey", "unpack", "volume"]

BATCH_BYTES_MAX = 262_144 - 5


def pack(first: bytes, payloads: list[bytes], start: int = 0) -> tuple[bytes, int]:
    """Return one frame's batch and where the next begins."""
    body, end = first, start
    while end < len(payloads):
        message = struct.pack(">I", len(payloads[end])) + payloads[end]
        if end > start and len(body) + len(message) > BATCH_BYTES_MAX:
            break
        body, end = body + message, end + 1
    return body, end


def unpack(
    body: bytes, source: object, destination: object, key: bytes, proof: object
) -> list[Message] | None:
    """Return each message, None where the body is no batch."""
    first, rest = body[:16], body[16:]
    payloads = []
    if len(first) < 16 or first[12:] != bytes(4) or not rest:
        return None
    while rest:
        length = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + length:
            return None
        payloads.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    if len(body) > BATCH_BYTES_MAX and len(payloads) > 1:
        return None
    return [
        Message(
            source, destination, payload, key, proof, first[:12] + struct.pack(">I", place), False
        )
        for place, payload in enumerate(payloads)
    ]


def volume(payloads: list[bytes]) -> int:
    """Return how many bytes all payloads have together."""
    return len(b"".join(payloads))


def survey(payloads: list[bytes], start: int, room: int) -> tuple[int, int]:
    """Return where `room` bytes end, and the size of the largest payload before."""
    end, size = start, 0
    while end < len(payloads):
        size += 4 + len(payloads[end])
        if end > start and size > room:
            break
        end += 1
    return end, max(map(len, payloads[start:end]), default=0)
