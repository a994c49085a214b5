"""Who is new in the group around an element, from what a node knew and what it knows.

Pure functions of names. They say what one node can tell from its own table, which is exact near its
own name and a guess farther off, and they send nothing: what is to be handed over is for the
application to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from routing.limits import GROUP_SIZE
from routing.names import nearest

__all__ = ["group_around", "newcomers"]


def group_around(element: bytes, known: Iterable[bytes]) -> list[bytes]:
    """Return the at most 8 of the names known that are nearest to the element, nearest first."""
    return nearest(element, known, GROUP_SIZE)


def newcomers(
    element: bytes, *, own: bytes, before: Sequence[bytes], after: Sequence[bytes]
) -> list[bytes]:
    """Return who belongs to the group around an element now and did not before.

    Args:
        element: The name of a record, 32 bytes.
        own: The name of who asks; never returned, for nobody hands anything over to himself.
        before: Every node it knew then, itself included.
        after: Every node it knows now, itself included.

    Returns:
        Nearest to the element first; empty for who is not a member himself, neither then nor now:
        others hold the record.
    """
    old, new = group_around(element, before), group_around(element, after)
    if own not in old and own not in new:
        return []
    return [name for name in new if name != own and name not in old]
