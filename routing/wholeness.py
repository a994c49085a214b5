"""Is this network whole? Judged from what each node says it holds; asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Set

from routing.limits import GROUP_SIZE, Limits
from routing.names import bucket_index, nearest, short

__all__ = ["pairs_of", "why_not_whole"]

BUCKET_LOW = Limits.recommended().bucket_low


def why_not_whole(held: Mapping[bytes, Set[bytes]]) -> str | None:
    """Return None if the network is whole, else the first thing that is missing.

    Whole: each node holds its min(8, n - 1) nearest, nobody holds a dead name, what one holds the
    other holds too, and each bucket farther than the 8th nearest in which anybody lives holds at
    least 2 of them, or all there are.

    Args:
        held: The name of every live node, with the names it holds consolidated.
    """
    alive = sorted(held)
    for own in alive:
        for name in sorted(held[own]):
            if name not in held:
                return f"{short(own)} holds {short(name)}, which is dead"
            if own not in held[name]:
                return f"{short(own)} holds {short(name)}, which does not hold it"
        others = nearest(own, [name for name in alive if name != own], len(alive))
        for rank, name in enumerate(others[:GROUP_SIZE], 1):
            if name not in held[own]:
                return f"{short(own)} lacks {short(name)}, its nearest of rank {rank}"
        reason = _why_bucket_empty(own, others, held[own])
        if reason is not None:
            return reason
    return None


def _why_bucket_empty(own: bytes, others: list[bytes], held: Set[bytes]) -> str | None:
    if len(others) <= GROUP_SIZE:
        return None
    edge = bucket_index(own, others[GROUP_SIZE - 1])
    for bucket in range(edge):
        members = [name for name in others if bucket_index(own, name) == bucket]
        entries = sum(name in held for name in members)
        if entries < min(BUCKET_LOW, len(members)):
            return f"{short(own)} holds {entries} of the {len(members)} in its bucket {bucket}"
    return None


def pairs_of(held: Mapping[bytes, Set[bytes]]) -> set[frozenset[bytes]]:
    """Return the consolidated pairs among live nodes, each once."""
    return {frozenset((own, name)) for own, names in held.items() for name in names if name in held}
