"""Is this network whole, and are its buckets full? Judged from what each node says it holds.

It asks nobody, and says nothing about networks that are still in motion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from itertools import product
from math import log2

from routing.limits import GROUP_SIZE, Limits
from routing.names import bucket_index, nearest, short
from routing.table import BUCKET_SIZE

__all__ = ["connections_bound", "pairs_of", "why_not_filled", "why_not_whole"]

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


def why_not_filled(held: Mapping[bytes, Set[bytes]]) -> str | None:
    """Return None if nobody lacks what he could have, else the first thing that is wrong.

    Filled: of each node and each bucket of it that holds fewer than 8, everybody who belongs there
    is held, or holds 8 in his own bucket for that node and so has no place for it. And nobody holds
    more than a network of this size needs.

    Args:
        held: The name of every live node, with the names it holds consolidated.
    """
    sizes = {
        own: Counter(bucket_index(own, name) for name in names if name in held)
        for own, names in held.items()
    }
    # Halves of a subtree are each other's bucket; the subtrees in them come next.
    subtrees = [(0, sorted(held))]
    while subtrees:
        bucket, members = subtrees.pop()
        if len(members) < 2:
            continue
        lower = [name for name in members if not _bit(name, bucket)]
        upper = members[len(lower) :]
        lacking = [
            [name for name in half if sizes[name][bucket] < BUCKET_SIZE] for half in (lower, upper)
        ]
        for one, other in product(*lacking):
            if other not in held[one]:
                names = f"{short(one)} and {short(other)}"
                return f"{names} do not hold each other, and both have room in bucket {bucket}"
        subtrees += [(bucket + 1, lower), (bucket + 1, upper)]
    bound = connections_bound(len(held))
    for own in sorted(held):
        if len(held[own]) > bound:
            return f"{short(own)} holds {len(held[own])}, more than {bound:.0f}"
    return None


def _bit(name: bytes, index: int) -> bool:
    return bool(name[index >> 3] >> (7 - (index & 7)) & 1)


def connections_bound(nodes: int) -> float:
    """Return how many connections a node of a network of this size should have at most.

    8 in each bucket in which somebody lives, and 16 for the close group and for those to whom only
    few others are near.
    """
    return 8 * log2(max(nodes, 1)) + 16


def pairs_of(held: Mapping[bytes, Set[bytes]]) -> set[frozenset[bytes]]:
    """Return the consolidated pairs among live nodes, each once."""
    return {frozenset((own, name)) for own, names in held.items() for name in names if name in held}
