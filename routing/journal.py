"""Counters and the last decisions about each peer: what answers "why"; bounded, never consulted."""

from __future__ import annotations

from collections import deque

from routing.limits import SECOND
from routing.names import short

__all__ = ["Journal"]

SUBJECTS_MAX = 1_024
"""Names and keys remembered; the one longest without news goes first."""

NOTES_MAX = 16
"""Decisions remembered of each."""


class Journal:
    """Counts by name, and notes by subject."""

    __slots__ = ("_notes", "counters")

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self._notes: dict[bytes, deque[tuple[int, str]]] = {}

    def count(self, what: str, times: int = 1) -> None:
        """Add to a counter; the names are literals of this package, so they are bounded."""
        self.counters[what] = self.counters.get(what, 0) + times

    def note(self, subject: bytes, now: int, text: str) -> None:
        """Remember a decision about a name or key."""
        notes = self._notes.pop(subject, None)
        if notes is None:
            notes = deque(maxlen=NOTES_MAX)
            if len(self._notes) >= SUBJECTS_MAX:
                del self._notes[next(iter(self._notes))]
        self._notes[subject] = notes
        notes.append((now, text))

    def explain(self, subject: bytes) -> list[str]:
        """Return what is remembered of a subject, oldest first."""
        return [f"{now / SECOND:.3f} s {text}" for now, text in self._notes.get(subject, ())]

    def __repr__(self) -> str:
        return f"Journal({len(self.counters)} counters, {[short(s) for s in self._notes]})"
