"""Batches, slowly and obviously: what `routing._batch` must do, byte for byte."""

from __future__ import annotations

import struct

from tests.twin.message_twin import Message

__all__ = [
    "BATCH_BYTES_MAX",
    "LIST_BYTES_MAX",
    "blank_list",
    "list_fault",
    "pack",
    "pack_list",
    "survey",
    "unpack",
    "unpack_list",
    "volume",
]

BATCH_BYTES_MAX = 262_144 - 5
LIST_BYTES_MAX = 65_536 - 512


def pack(first: bytes, payloads: list[bytes], start: int = 0) -> tuple[bytes, int]:
    """Return one frame's batch and where the next begins."""
    body, end = first, start
    while end < len(payloads):
        message = struct.pack(">I", len(payloads[end])) + payloads[end]
        if end > start and len(body) + len(message) > BATCH_BYTES_MAX:
            break
        body, end = body + message, end + 1
    return body, end


def pack_list(payloads: list[bytes], start: int = 0) -> tuple[bytes, int]:
    """Return one list and where the next begins."""
    end, size = start + 1, 4 + len(payloads[start])
    while end < len(payloads) and size + 4 + len(payloads[end]) <= LIST_BYTES_MAX:
        size, end = size + 4 + len(payloads[end]), end + 1
    return b"".join(struct.pack(">I", len(each)) + each for each in payloads[start:end]), end


def split(body: bytes) -> tuple[list[bytes], bytes]:
    """Return the payloads as far as they are whole, and what is left over."""
    payloads = []
    while len(body) >= 4 and len(body) >= 4 + int.from_bytes(body[:4], "big"):
        length = int.from_bytes(body[:4], "big")
        payloads.append(body[4 : 4 + length])
        body = body[4 + length :]
    return payloads, body


def list_fault(first: bytes, body: bytes) -> str:
    """Return why the body is no list, in a word."""
    if len(first) != 16 or first[12:] != bytes(4):
        return "id"
    if len(body) > LIST_BYTES_MAX:
        return "oversized"
    payloads, left = split(body)
    if left:
        return "overrun" if len(left) >= 4 else "trailing"
    return {0: "empty", 1: "single"}.get(len(payloads), "")


def unpack_list(
    first: bytes, body: bytes, source: object, destination: object, key: bytes, proof: object
) -> list[Message] | None:
    """Return each message, None where the body is no list."""
    return (
        None if list_fault(first, body) else unpack(first + body, source, destination, key, proof)
    )


def blank_list(body: bytes) -> bytes:
    """Return the body with zeros for payloads, all zeros where it is no list."""
    if list_fault(bytes(16), body):
        return bytes(len(body))
    return b"".join(struct.pack(">I", len(each)) + bytes(len(each)) for each in split(body)[0])


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
