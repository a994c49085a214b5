"""Names: 32 bytes, points in XOR space, and the arithmetic over them.

Every function takes and returns plain `bytes`; `Name` is the face shown to users. Nothing here
knows who owns a name or which names are alive.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from routing.errors import UsageError
from routing.limits import NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "NAME_BITS",
    "Name",
    "bucket_index",
    "client_name",
    "closer",
    "distance",
    "flip_bit",
    "nearest",
    "network_name",
    "network_tag",
    "short",
]

NAME_BITS: Final = 8 * NAME_BYTES
"""Bits in a name, and so the number of buckets of a table."""

_NAME_PREFIX: Final = b"routing:name:1"
_NETWORK_PREFIX: Final = b"routing:network:1"


class Name(bytes):
    """A name of 32 bytes, shown to people as its first 8 hexadecimal digits.

    Equal to, and hashed like, the plain bytes it holds.

    Raises:
        UsageError: the value is not bytes or not 32 bytes long.
    """

    __slots__ = ()

    def __new__(cls, value: bytes) -> Name:
        # `bytes(5)` would be five zeros and `bytes([..])` a conversion: both hide mistakes.
        if not isinstance(value, bytes):
            raise UsageError(
                f"name of type {type(value).__name__} must be bytes; see Name.from_hex"
            )
        if len(value) != NAME_BYTES:
            raise UsageError(f"name of {len(value)} bytes must have exactly {NAME_BYTES}")
        return super().__new__(cls, value)

    @classmethod
    def from_hex(cls, text: str) -> Name:
        """Return the name written as 64 hexadecimal digits.

        Raises:
            UsageError: the text is anything else.
        """
        if len(text) != 2 * NAME_BYTES:
            raise UsageError(f"name of {len(text)} digits must have {2 * NAME_BYTES}")
        try:
            return cls(bytes.fromhex(text))
        except ValueError:
            raise UsageError(f"name {text!r} must be hexadecimal digits only") from None

    def __repr__(self) -> str:
        return f"Name({self[:4].hex()})"

    def __str__(self) -> str:
        return self[:4].hex()


def short(name: bytes) -> str:
    """Return the first 8 hexadecimal digits of `name`, the form used in logs."""
    return name[:4].hex()


def distance(a: bytes, b: bytes) -> int:
    """Return the XOR distance of two names as a non-negative integer."""
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


def bucket_index(a: bytes, b: bytes) -> int:
    """Return how many leading bits two names share: 0 to 255, or 256 if they are equal."""
    return NAME_BITS - (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()


def closer(target: bytes, a: bytes, b: bytes) -> bool:
    """Tell whether `a` is strictly nearer to `target` than `b`."""
    aim = int.from_bytes(target, "big")
    return aim ^ int.from_bytes(a, "big") < aim ^ int.from_bytes(b, "big")


def nearest(target: bytes, names: Iterable[bytes], count: int) -> list[bytes]:
    """Return the at most `count` names nearest to `target`, nearest first.

    The order does not depend on the order of `names`: only equal names are equally far.
    """
    aim = int.from_bytes(target, "big")
    # Of the few dozen names there ever are, sorting all takes half as long as a heap of some.
    ranked = sorted(names, key=lambda name: aim ^ int.from_bytes(name, "big"))
    return ranked[: max(0, count)]


def client_name(key: bytes) -> bytes:
    """Return the name of a client: SHA-256 of its public key."""
    return sha256(key).digest()


def network_name(client: bytes, n1: bytes, n2: bytes) -> bytes:
    """Return the name the network gives to the node with this client name.

    Args:
        client: The client name of the node.
        n1: The name nearest to `client` in its group.
        n2: The second nearest; `n1` again if there is only one.
    """
    return sha256(_NAME_PREFIX + client + n1 + n2).digest()


def network_tag(network_id: str) -> bytes:
    """Return the 8 bytes that stand for a network in the preamble and in every signature."""
    return sha256(_NETWORK_PREFIX + network_id.encode("utf-8")).digest()[:8]


def flip_bit(name: bytes, index: int, low: bytes) -> bytes:
    """Return `name` with bit `index` flipped and every lower bit taken from `low`.

    Every name that this can give lies in bucket `index` of `name`.

    Args:
        name: 32 bytes.
        index: 0 is the most significant bit, 255 the least.
        low: 32 bytes; those above bit `index`, and the bit itself, are ignored.

    Raises:
        UsageError: `index` is out of its bounds.
    """
    if not 0 <= index < NAME_BITS:
        raise UsageError(f"bit index {index} must be 0 to {NAME_BITS - 1}")
    below = NAME_BITS - 1 - index
    high = (int.from_bytes(name, "big") >> below) ^ 1
    tail = int.from_bytes(low, "big") & ((1 << below) - 1)
    return ((high << below) | tail).to_bytes(NAME_BYTES, "big")
