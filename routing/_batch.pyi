from typing import Final, Literal, overload

from routing._message import BorrowedMessage, Message
from routing.events import Proof
from routing.messages import Address

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_ID_BYTES",
    "LIST_BYTES_MAX",
    "MESSAGE_HEADER_BYTES",
    "blank_list",
    "list_count",
    "list_fault",
    "pack",
    "pack_list",
    "survey",
    "unpack",
    "unpack_list",
    "volume",
]

BATCH_BYTES_MAX: Final[int]
BATCH_ID_BYTES: Final[int]
LIST_BYTES_MAX: Final[int]
MESSAGE_HEADER_BYTES: Final[int]

def pack(first: bytes, payloads: list[bytes], start: int = ...) -> tuple[bytes, int]: ...
def pack_list(payloads: list[bytes], start: int = ...) -> tuple[bytes, int]: ...
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
@overload
def unpack_list(
    first: bytes,
    body: bytes,
    source: Address,
    destination: Address,
    key: bytes,
    proof: Proof,
    borrowed: Literal[False] = ...,
) -> list[Message] | None: ...
@overload
def unpack_list(
    first: bytes,
    body: bytes,
    source: Address,
    destination: Address,
    key: bytes,
    proof: Proof,
    borrowed: bool,
) -> list[Message] | list[BorrowedMessage] | None: ...
def list_count(body: bytes) -> int: ...
def list_fault(first: bytes, body: bytes) -> str: ...
def blank_list(body: bytes) -> bytes: ...
def volume(payloads: list[bytes]) -> int: ...
def survey(payloads: list[bytes], start: int, room: int) -> tuple[int, int]: ...
