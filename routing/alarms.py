"""Named deadlines in order; it knows times and names, never what they are for."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

__all__ = ["Alarm", "Alarms"]

Alarm = tuple[str, bytes]
"""(kind, subject): what will be due and for whom."""

_SLACK: Final = 64
"""Called-off deadlines that may lie in the heap besides as many as are set."""


class Alarms:
    """Each name has at most one deadline; setting it again moves it. O(log n).

    Most deadlines are called off before they come, so one that is stays in the heap until it is
    the earliest there, or until the heap is mostly made of such. The earliest that is set is asked
    for at every step of a core, so it is kept in `first`.
    """

    __slots__ = ("_by_name", "_heap", "_sequence", "first")

    def __init__(self) -> None:
        self._by_name: dict[Alarm, tuple[int, int, Alarm]] = {}
        self._heap: list[tuple[int, int, Alarm]] = []
        """Holds every entry of `_by_name`; its first one is always among them."""
        self._sequence = 0
        self.first: int | None = None
        """The earliest deadline, or None."""

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: Alarm) -> bool:
        return name in self._by_name

    def set(self, name: Alarm, at: int) -> None:
        """Make `name` due at `at` nanoseconds; ties fire in the order they were set."""
        self._sequence += 1
        held = len(self._by_name)
        entry = self._by_name[name] = (at, self._sequence, name)
        heappush(self._heap, entry)
        if held == len(self._by_name):
            self._tidy()
        elif self.first is None or at < self.first:
            self.first = at

    def cancel(self, name: Alarm) -> None:
        """Forget `name`; nothing happens if it is not set."""
        entry = self._by_name.pop(name, None)
        if entry is not None and (
            entry is self._heap[0] or len(self._heap) > 2 * len(self._by_name) + _SLACK
        ):
            self._tidy()

    def clear(self) -> None:
        """Forget all."""
        self._by_name.clear()
        self._heap.clear()
        self.first = None

    def at(self, name: Alarm) -> int | None:
        """Return when `name` is due, or None."""
        entry = self._by_name.get(name)
        return None if entry is None else entry[0]

    def pop_due(self, now: int) -> Alarm | None:
        """Remove and return the earliest alarm that is due, or None."""
        if self.first is None or self.first > now:
            return None
        name = self._heap[0][2]
        del self._by_name[name]
        self._tidy()
        return name

    def _tidy(self) -> None:
        """Take out what was called off, as far as it comes first or is too much."""
        heap, by_name = self._heap, self._by_name
        if len(heap) > 2 * len(by_name) + _SLACK:
            heap[:] = by_name.values()
            heapify(heap)
        while heap and by_name.get(heap[0][2]) is not heap[0]:
            heappop(heap)
        self.first = heap[0][0] if heap else None

    def export(self) -> list[tuple[int, str, bytes]]:
        """Return (deadline, kind, subject) in firing order; `load` takes it back."""
        return [(at, name[0], name[1]) for at, _, name in sorted(self._by_name.values())]

    def load(self, entries: list[tuple[int, str, bytes]]) -> None:
        """Replace everything by what `export` returned."""
        self.clear()
        for at, kind, subject in entries:
            self.set((kind, subject), at)
