"""A request that waits for its reply: what is known of it, who may answer, and by what token.

Records and pure rules; sending, waiting and telling are for `messaging`.
"""

from __future__ import annotations

from hashlib import blake2b

from msgspec import Struct

from routing.agreement import Opinion
from routing.messages import Address, ClientAddress, GroupAddress, NodeAddress

__all__ = ["Pending", "may_answer", "token_of"]


class Pending(Struct, gc=False):
    """A request that waits for its reply."""

    reference: int
    destination: Address
    token: bytes
    """What the reply must give back."""
    arrived: bool = False
    """Acknowledged: whatever a late copy ends at, the request has not come to nothing."""
    wanted: int = 1
    """Replies of distinct members of a group; 1 for anybody else."""
    answered: list[bytes] = []
    """Keys of those that have replied."""
    failures: dict[bytes, str] = {}
    """Key -> why its handler failed."""
    agree: bool = False
    """A quorum of the group must reply the same."""
    opinions: list[Opinion] = []
    """What its members have replied so far, where they must agree."""


def token_of(message_id: bytes, payload: bytes) -> bytes:
    """Return what an answer gives back, 16 bytes: it is about this request and this payload."""
    return blake2b(message_id + payload, digest_size=16).digest()


def may_answer(asked: Address, source: Address) -> bool:
    """Only who was asked may answer; of a group, any node."""
    match asked:
        case NodeAddress():
            return isinstance(source, NodeAddress) and source.name == asked.name
        case GroupAddress():
            return isinstance(source, NodeAddress)
        case ClientAddress():
            return isinstance(source, ClientAddress) and source.key == asked.key
        case _:
            return False
