"""Every random choice of the core, drawn from a secret its host gave it once; no other source."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar

__all__ = ["Dice"]

T = TypeVar("T")


class Dice:
    """A counter hashed under a secret: unpredictable to strangers, repeatable for a replay.

    The whole state is (secret, counter), so a snapshot of the core stays small.
    """

    __slots__ = ("_secret", "counter", "note")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.counter = 0
        self.note: Callable[[bytes], None] | None = None
        """Is told what they show: recordings hold that, and never the secret."""

    def bytes(self, count: int) -> bytes:
        """Return `count` bytes, at most 64."""
        self.counter += 1
        block = self.counter.to_bytes(8, "big")
        shown = blake2b(block, digest_size=count, key=self._secret, person=b"routing.dice").digest()
        if self.note is not None:
            self.note(shown)
        return shown

    def below(self, bound: int) -> int:
        """Return an int in [0, bound); the bias of 2^-64 * bound is of no account."""
        return int.from_bytes(self.bytes(16), "big") % bound if bound > 1 else 0

    def between(self, low: int, high: int) -> int:
        """Return an int in [low, high]."""
        return low + self.below(high - low + 1)

    def around(self, base: int, percent: int) -> int:
        """Return `base` plus or minus up to `percent` per cent of it."""
        slack = base * percent // 100
        return self.between(base - slack, base + slack)

    def shuffled(self, items: list[T]) -> list[T]:
        """Return the items in a random order."""
        result = list(items)
        for index in range(len(result) - 1, 0, -1):
            other = self.below(index + 1)
            result[index], result[other] = result[other], result[index]
        return result

    def choice(self, items: list[T]) -> T:
        """Return one of the items; there must be one."""
        return items[self.below(len(items))]
