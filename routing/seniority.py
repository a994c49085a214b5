"""Which of two processes of a key is the younger, and which of two attempts: by their numbers.

An incarnation begins with the time at which its process was born, an attempt id with the time for
which that process had run; chance follows. Only what one key has signed is compared with each
other, so whoever lies about his time wrongs himself. Nothing here reads a clock, and no time is
compared with one of ours.
"""

from __future__ import annotations

from typing import Final

__all__ = ["NUMBER_BYTES", "is_older", "numbered"]

NUMBER_BYTES: Final = 6
"""Milliseconds, big-endian: enough for 8,900 years."""


def numbered(milliseconds: int, chance: bytes) -> bytes:
    """Return `chance` with its first bytes replaced by a time."""
    ages = 1 << (8 * NUMBER_BYTES)
    return (milliseconds % ages).to_bytes(NUMBER_BYTES, "big") + chance[NUMBER_BYTES:]


def is_older(one: bytes, other: bytes) -> bool:
    """Tell whether one incarnation, or one attempt of the same incarnation, is the older.

    Those born in the same millisecond have no order: neither is older.
    """
    return one[:NUMBER_BYTES] < other[:NUMBER_BYTES]
