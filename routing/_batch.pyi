from typing import Final, Literal, overload

from routing._message import BorrowedMessage, Message
from routing.events import Proof
from routing.messages import Address

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_ID_BYTES",
    "MESSAGE_HEADER_BYTES",
    "pack",
    "survey",
    "unpack",
    "volume",
]

BATCH_BYTES_MAX: Final[int]
BATCH_ID_BYTES: Final[int]
MESSAGE_HEADER_BYTES: Final[int]

def pack(first: bytes, payloads: list[bytes], start: int = ...) -> tuple[bytes, int]: ...
@overload
def unpack(
    body: bytes,
    source: Address,
    destination: Address,
    key: bytes,
    proof: Proof,
    borrowed: Literal[False] = ...,
) -> list[Message] | None: ...
@overload
def unpack(
    body: bytes, source: Address, destination: Address, key: bytes, proof: Proof, borrowed: bool
) -> list[Message] | list[BorrowedMessage] | None: ...
def volume(payloads: list[bytes]) -> int: ...
def survey(payloads: list[bytes], start: int, room: int) -> tuple[int, int]: ...
