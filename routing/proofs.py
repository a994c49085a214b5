"""Signatures that were found good before, so that what is shown again is not computed again.

A peer proves the same static key on every channel, the votes of one certificate come with each
request, response, question and record of its node. It refuses to remember anything that failed,
and to judge: what it was not told it leaves to strict verification. The answer is the same with it
and without, so it is no state of a core and enters no snapshot.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final

__all__ = ["PROOFS_MAX", "Proofs"]

PROOFS_MAX: Final = 2_048
"""Of one node: the 5 votes of 400 certificates. 200 KB at the most."""


class Proofs:
    """A verification with a memory of what it has found good.

    Args:
        verify: Tells whether (key, text, signature) hold together, by strict rules.
        entries_max: How many it remembers; then the older half is forgotten, but for those that
            were asked about since.
    """

    __slots__ = ("_half", "_older", "_verify", "_younger")

    def __init__(
        self, verify: Callable[[bytes, bytes, bytes], bool], entries_max: int = PROOFS_MAX
    ) -> None:
        self._verify = verify
        self._half = max(1, entries_max // 2)
        self._younger: set[bytes] = set()
        self._older: set[bytes] = set()

    def __len__(self) -> int:
        """Return how many it remembers."""
        return len(self._younger) + len(self._older)

    def verify(self, key: bytes, text: bytes, signature: bytes) -> bool:
        """Tell whether `signature` over `text` was made by `key`; never raises. O(1).

        What is remembered is SHA-256 of all three, whose lengths are told by their places: a
        signature of another length is none.
        """
        if len(key) != 32 or len(signature) != 64:
            return False
        digest = sha256(key + signature + text).digest()
        if digest in self._younger:
            return True
        if digest in self._older:
            self._older.discard(digest)
        elif not self._verify(key, text, signature):
            return False
        if len(self._younger) >= self._half:
            self._older, self._younger = self._younger, set()
        self._younger.add(digest)
        return True

    def forget(self) -> None:
        """Remember nothing."""
        self._younger.clear()
        self._older.clear()
