"""Under whose authority somebody may speak, as pure rules; no state, no messages sent.

Two authorities are borne by one sender alone (a client, a node); he is checked by his address. The
other three are a group's: only a quorum of its members bears them, and each member's voice is a
ballot. Who is a member is for `groups` to find out.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from routing.bodies import Content
from routing.limits import GROUP_SIZE, QUORUM_SIZE
from routing.messages import (
    Address,
    Authority,
    AuthorityKind,
    ClientAddress,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.names import client_name, nearest, short

__all__ = [
    "ANSWERED_KINDS",
    "GROUP_AUTHORITIES",
    "SINGLE_KINDS",
    "claim_fault",
    "content_id",
    "is_addressee",
    "is_of_group",
    "own_fault",
    "quorum_of",
    "sends_whole",
]

GROUP_AUTHORITIES: Final = frozenset(
    {AuthorityKind.CLIENT_GROUP, AuthorityKind.ELEMENT_GROUP, AuthorityKind.NODE_GROUP}
)
"""Authorities that only a quorum of group(element) bears."""

SINGLE_KINDS: Final = frozenset(
    {MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY, MessageKind.PART}
)
"""Kinds that may be sent under the authority of one client or node."""

ANSWERED_KINDS: Final = SINGLE_KINDS | {MessageKind.BALLOT, MessageKind.MESSAGES}
"""Kinds whose consumer says that he has them."""


def is_of_group(authority: Authority) -> bool:
    """Tell whether only a quorum of a group bears this authority."""
    return authority.kind in GROUP_AUTHORITIES


def quorum_of(size: int) -> int:
    """Return how many members of a group of this size must agree: 5 of 8, else more than half."""
    return QUORUM_SIZE if size >= GROUP_SIZE else size // 2 + 1


def claim_fault(signed: Signed) -> str:
    """Return why a message may not claim the authority it names, or "" if it may.

    The source has been checked against the key. Whether the source of a ballot is a member of the
    group is not asked here.
    """
    authority = signed.authority
    if signed.kind is MessageKind.BALLOT:
        if authority is None or not is_of_group(authority):
            return "a ballot must name the authority of a group"
        return "" if isinstance(signed.source, NodeAddress) else "only nodes are in groups"
    if authority is None:
        return ""
    if signed.kind not in SINGLE_KINDS:
        return "a control message has no authority"
    match authority.kind:
        case AuthorityKind.NODE:
            fits = isinstance(signed.source, NodeAddress) and signed.source.name
        case AuthorityKind.CLIENT:
            fits = isinstance(signed.source, ClientAddress) and client_name(signed.source.key)
        case _:
            return "one sender alone is no group"
    return "" if fits == authority.element else "the source is not the element"


def own_fault(
    authority: Authority, *, client: bool, name: bytes | None, key: bytes, group: list[bytes]
) -> str:
    """Return why we may not speak under an authority ourselves, or "" if we may.

    Args:
        authority: What the application asks for.
        client: We are a client.
        name: Our name, None without one.
        key: Our key.
        group: The members of group(element) as far as we can see; empty if we cannot.
    """
    element = authority.element
    if authority.kind is AuthorityKind.CLIENT:
        own = client_name(key) if client else None
        what = "the client"
    elif authority.kind is AuthorityKind.NODE:
        own = name
        what = "the node"
    elif client:
        return f"a client is in no group, so not in that of {short(element)}"
    elif name is None or name not in group:
        return f"we are not in the group around {short(element)} as far as we can see"
    else:
        return ""
    return "" if own == element else f"we are not {what} {short(element)}"


def content_id(authority: Authority, destination: Address, payload: bytes) -> bytes:
    """Return the id of a content that was given none, 16 bytes; equal contents have equal ids."""
    nameless = encode(Content(bytes(16), authority, destination, payload))
    return blake2b(nameless, digest_size=16).digest()


def sends_whole(name: bytes, digest: bytes, group: list[bytes]) -> bool:
    """Tell whether this member sends the whole: of all it sees it is the nearest to the digest."""
    return nearest(digest, group, 1) == [name]


def is_addressee(destination: Address, source: Address) -> bool:
    """Tell whether a content for `destination` may be handed to `source`; of a group, any node."""
    match destination:
        case NodeAddress():
            return isinstance(source, NodeAddress) and source.name == destination.name
        case ClientAddress():
            return isinstance(source, ClientAddress) and source.key == destination.key
        case GroupAddress():
            return isinstance(source, NodeAddress)
        case _:
            return False
