"""Named deadlines in one ordered set; it knows times and names, never what they are for."""

from __future__ import annotations

from sortedcontainers import SortedList

__all__ = ["Alarm", "Alarms"]

Alarm = tuple[str, bytes]
"""(kind, subject): what will be due and for whom."""


class Alarms:
    """Each name has at most one deadline; setting it again moves it. O(log n).

    The earliest deadline is asked for at every step of a core, so it is kept in `first`.
    """

    __slots__ = ("_by_name", "_order", "_sequence", "first")

    def __init__(self) -> None:
        self._by_name: dict[Alarm, tuple[int, int]] = {}
        self._order: SortedList[tuple[int, int, Alarm]] = SortedList()
        self._sequence = 0
        self.first: int | None = None
        """The earliest deadline, or None."""

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: Alarm) -> bool:
        return name in self._by_name

    def set(self, name: Alarm, at: int) -> None:
        """Make `name` due at `at` nanoseconds; ties fire in the order they were set."""
        self.cancel(name)
        self._sequence += 1
        self._by_name[name] = (at, self._sequence)
        self._order.add((at, self._sequence, name))
        if self.first is None or at < self.first:
            self.first = at

    def cancel(self, name: Alarm) -> None:
        """Forget `name`; nothing happens if it is not set."""
        entry = self._by_name.pop(name, None)
        if entry is not None:
            self._order.remove((*entry, name))
            if entry[0] == self.first:
                self.first = self._order[0][0] if self._order else None

    def clear(self) -> None:
        """Forget all."""
        self._by_name.clear()
        self._order.clear()
        self.first = None

    def at(self, name: Alarm) -> int | None:
        """Return when `name` is due, or None."""
        entry = self._by_name.get(name)
        return None if entry is None else entry[0]

    def pop_due(self, now: int) -> Alarm | None:
        """Remove and return the earliest alarm that is due, or None."""
        if self.first is None or self.first > now:
            return None
        name: Alarm = self._order.pop(0)[2]
        del self._by_name[name]
        self.first = self._order[0][0] if self._order else None
        return name

    def export(self) -> list[tuple[int, str, bytes]]:
        """Return (deadline, kind, subject) in firing order; `load` takes it back."""
        return [(at, name[0], name[1]) for at, _, name in self._order]

    def load(self, entries: list[tuple[int, str, bytes]]) -> None:
        """Replace everything by what `export` returned."""
        self.clear()
        for at, kind, subject in entries:
            self.set((kind, subject), at)
