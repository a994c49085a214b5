"""A key that is noted as it is used; dice, key and digests that say again what was noted.

A recording holds what came of a secret and never the secret: see decision 0016. Nothing here draws
or signs by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from routing.dice import Dice
from routing.errors import RoutingError
from routing.identity import Signer

__all__ = ["Departed", "NotedSigner", "RecordedDice", "RecordedSigner", "Said"]

Verify = Callable[[bytes, bytes, bytes], bool]


class Departed(RoutingError):
    """A replay wants something else than what was recorded."""


class NotedSigner:
    """A key that tells what it signs."""

    __slots__ = ("_note", "_of", "verify", "verify_kept")

    def __init__(self, of: Signer, note: Callable[[bytes], None]) -> None:
        self._of = of
        self._note = note
        self.verify, self.verify_kept = of.verify, of.verify_kept

    @property
    def key(self) -> bytes:
        """See `Signer.key`."""
        return self._of.key

    def sign(self, message: bytes) -> bytes:
        """See `Signer.sign`."""
        signature = self._of.sign(message)
        self._note(signature)
        return signature


class Said:
    """What was noted in one step, in order, each taken once."""

    __slots__ = ("_what", "left")

    def __init__(self, what: str) -> None:
        self._what = what
        self.left: deque[bytes] = deque()

    def take(self) -> bytes:
        """Return the next.

        Raises:
            Departed: no more was noted.
        """
        if not self.left:
            raise Departed(f"the core wants one {self._what} more than was recorded")
        return self.left.popleft()


class RecordedDice(Dice):
    """Dice that show what was noted."""

    __slots__ = ("_said",)

    def __init__(self, said: Said, counter: int) -> None:
        super().__init__(b"")
        self._said = said
        self.counter = counter

    def bytes(self, count: int) -> bytes:
        """See `Dice.bytes`."""
        self.counter += 1
        shown = self._said.take()
        if len(shown) != count:
            raise Departed(f"the core draws {count} bytes where {len(shown)} were drawn")
        return shown


class RecordedSigner:
    """A key of which there is only the public half and what it signed."""

    __slots__ = ("_key", "_said", "verify", "verify_kept")

    def __init__(self, key: bytes, said: Said, verify: Verify) -> None:
        self._key = key
        self._said = said
        self.verify = self.verify_kept = verify

    @property
    def key(self) -> bytes:
        """Whose it is, 32 bytes."""
        return self._key

    def sign(self, message: bytes) -> bytes:
        """Return what was signed at this point; what of is for the digests to show."""
        del message
        return self._said.take()
