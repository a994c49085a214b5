from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["BATCH_BYTES_MAX", "BATCH_ID_BYTES", "MESSAGE_HEADER_BYTES", "pack", "survey", "unpack"]

Made = TypeVar("Made")
Source = TypeVar("Source")
Destination = TypeVar("Destination")
Proof = TypeVar("Proof")

BATCH_BYTES_MAX: Final[int]
BATCH_ID_BYTES: Final[int]
MESSAGE_HEADER_BYTES: Final[int]

def pack(first: bytes, payloads: list[bytes], start: int = ...) -> tuple[bytes, int]: ...
def unpack(
    body: bytes,
    make: Callable[[Source, Destination, bytes, bytes, Proof, bytes, bool], Made],
    source: Source,
    destination: Destination,
    key: bytes,
    proof: Proof,
) -> list[Made] | None: ...
def survey(payloads: list[bytes], start: int, room: int) -> tuple[int, int]: ...
