from collections.abc import Callable
from typing import Final, TypeVar

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_ID_BYTES",
    "MESSAGE_HEADER_BYTES",
    "lengths",
    "lengths_of_batch",
    "pack",
    "survey",
    "unpack",
]

_Made = TypeVar("_Made")
_Source = TypeVar("_Source")
_Destination = TypeVar("_Destination")
_Proof = TypeVar("_Proof")

BATCH_BYTES_MAX: Final[int]
BATCH_ID_BYTES: Final[int]
MESSAGE_HEADER_BYTES: Final[int]

def pack(first: bytes, payloads: list[bytes], start: int = ...) -> tuple[bytes, int]: ...
def unpack(
    body: bytes,
    make: Callable[[_Source, _Destination, bytes, bytes, _Proof, bytes, bool], _Made],
    source: _Source,
    destination: _Destination,
    key: bytes,
    proof: _Proof,
) -> list[_Made] | None: ...
def survey(payloads: list[bytes], start: int, room: int) -> tuple[int, int]: ...
def lengths(payloads: list[bytes]) -> bytes: ...
def lengths_of_batch(body: bytes) -> bytes | None: ...
