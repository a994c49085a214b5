"""How much of many payloads is handed to the core at once, and how; it sends and keeps nothing.

One portion is one step of the core and is refused as one, so it is small enough to find room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from routing._batch import LIST_BYTES_MAX, survey, volume

if TYPE_CHECKING:
    from routing.core import Core
    from routing.messages import Address

__all__ = ["Portion", "portion"]

MANY_BYTES: Final = 262_144
"""Of batches: some records, and a quarter of what may wait."""


class Portion(NamedTuple):
    """The payloads from some place on that go next."""

    end: int
    """The place after the last of them."""
    size: int
    """Of all of them, bytes."""
    alone: bool
    """It is one, sent by itself: to a group, to ourselves, in parts, or as a direct message."""


def portion(core: Core, to: Address, payloads: list[bytes], start: int, *, signed: bool) -> Portion:
    """Return what of the payloads goes next to this destination; O(payloads in it)."""
    limits = core.limits
    batched = not signed and core.batching.way(to) is not None
    most = max(1, limits.unacknowledged_bytes // 2)
    room = min(MANY_BYTES if batched else LIST_BYTES_MAX, most)
    end, largest = survey(payloads, start, room)
    end = min(end, start + max(1, limits.unconfirmed_max // 2))
    goes = batched or core.lists.takes(to, signed=signed)
    if not goes or largest > limits.payload_bytes_max:
        return Portion(start + 1, len(payloads[start]), alone=True)
    return Portion(end, volume(payloads[start:end]), alone=False)
