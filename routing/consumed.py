"""What has been handed to the application, by (source key, id): each message once, fair by source.

It remembers and says whether there is room; it delivers nothing and tells nobody. An entry lives as
long as the window, and longer than any repeat of its message can take even at the bound, unless a
smaller source needs the place: a flood loses its own oldest and nobody else's.
"""

from __future__ import annotations

from collections import OrderedDict

from sortedcontainers import SortedList

from routing.limits import NAME_BYTES

__all__ = ["Consumed"]


class Consumed:
    """Ids of messages that were taken, each under the key of its source.

    Args:
        capacity: Most entries.
        window_ns: How long an entry is remembered.
        repeat_ns: What the repeats of one message take at most; an entry of this age is not missed.
    """

    __slots__ = (
        "_entries",
        "_largest",
        "_sources",
        "capacity",
        "evicted",
        "repeat_ns",
        "window_ns",
    )

    def __init__(self, capacity: int, *, window_ns: int, repeat_ns: int) -> None:
        self.capacity = capacity
        self.window_ns = window_ns
        self.repeat_ns = repeat_ns
        self.evicted = 0
        """Entries that went before their time, for want of room."""
        # Linked in C: the first is found at once however many have gone before it.
        self._entries: OrderedDict[bytes, tuple[int, bool]] = OrderedDict()
        self._sources: dict[bytes, OrderedDict[bytes, None]] = {}
        self._largest: SortedList[tuple[int, bytes]] | None = None
        """Sources by how much they have; kept from when there is no room until half is free."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, subject: object) -> bool:
        return subject in self._entries

    def get(self, subject: bytes) -> bool | None:
        """Return whether a message was taken, None if it is not remembered."""
        entry = self._entries.get(subject)
        return None if entry is None else entry[1]

    def of_source(self, key: bytes) -> int:
        """Return how many entries a source has."""
        return len(self._sources.get(key, ()))

    def admit(self, subject: bytes, now: int, *, taken: bool = True) -> int:
        """Remember a message that is not held yet; O(log n) in the number of sources.

        When the room becomes full it is O(n) once: until then nobody counts who has most.

        Args:
            subject: The key of the source, 32 bytes, and the id.
            now: Nanoseconds, never less than before.
            taken: False for one that is never to be taken.

        Returns:
            0 if it is remembered now. Otherwise it is not, and after so many nanoseconds there will
            be room: its source has more entries than any other, and all are too young to go.
        """
        self._expire(now)
        key = subject[:NAME_BYTES]
        if len(self._entries) >= self.capacity:
            if self._largest is None:
                self._largest = SortedList((len(own), key) for key, own in self._sources.items())
            count, largest = self._largest[-1]
            if self.of_source(key) >= count:
                largest = key
            oldest = next(iter(self._sources[largest]))
            rest = self._entries[oldest][0] + self.repeat_ns - now
            if rest > 0 and largest == key:
                return rest
            self.evicted += 1
            self._drop(oldest)
        self._enter(subject, now, taken)
        return 0

    def _enter(self, subject: bytes, at: int, taken: bool) -> None:
        key = subject[:NAME_BYTES]
        own = self._sources.get(key)
        if own is None:
            own = self._sources[key] = OrderedDict()
        elif self._largest is not None:
            self._largest.remove((len(own), key))
        own[subject] = None
        self._entries[subject] = (at, taken)
        if self._largest is not None:
            self._largest.add((len(own), key))

    def _drop(self, subject: bytes) -> None:
        key = subject[:NAME_BYTES]
        own = self._sources[key]
        if self._largest is not None:
            self._largest.remove((len(own), key))
        del own[subject], self._entries[subject]
        if not own:
            del self._sources[key]
        elif self._largest is not None:
            self._largest.add((len(own), key))
        if len(self._entries) < self.capacity // 2:
            self._largest = None

    def _expire(self, now: int) -> None:
        while self._entries:
            subject, (at, _) = next(iter(self._entries.items()))
            if at + self.window_ns > now:
                return
            self._drop(subject)

    def export(self) -> list[tuple[bytes, int, bool]]:
        """Return (subject, when it came, whether it was taken), oldest first, for `load`."""
        return [(subject, *entry) for subject, entry in self._entries.items()]

    def load(self, entries: list[tuple[bytes, int, bool]]) -> None:
        """Replace everything by what `export` returned."""
        self._entries.clear()
        self._sources.clear()
        self._largest = None
        for subject, at, taken in entries:
            self._enter(subject, at, taken)
