"""Fair shares of a bounded memory: who holds the most loses his own oldest; no clock, no content.

First come, first served lets one stranger fill the place; where the oldest of all goes, a flood
pushes out everybody else. Here a flood of one owner pushes out only that owner's.
"""

from __future__ import annotations

from sortedcontainers import SortedList

__all__ = ["Shares"]


class Shares:
    """Items of owners and the bytes each is charged with. O(log n).

    Args:
        bytes_max: What all together may hold.
    """

    __slots__ = ("_items", "_order", "_owned", "bytes", "bytes_max")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        # Oldest first: an item keeps its place when its size changes.
        self._items: dict[bytes, dict[bytes, int]] = {}
        self._owned: dict[bytes, int] = {}
        self._order: SortedList[tuple[int, bytes]] = SortedList()

    def put(self, owner: bytes, item: bytes, size: int) -> None:
        """Charge an owner with an item, or with another size of one he has."""
        items = self._items.setdefault(owner, {})
        self._charge(owner, size - items.get(item, 0))
        items[item] = size

    def remove(self, owner: bytes, item: bytes) -> None:
        """Give back what an item was charged with; nothing happens if it is not here."""
        items = self._items.get(owner)
        size = None if items is None else items.pop(item, None)
        if items is None or size is None:
            return
        self._charge(owner, -size)
        if not items:
            del self._items[owner]
            self._order.remove((0, owner))
            del self._owned[owner]

    def victim(self) -> tuple[bytes, bytes] | None:
        """Return (owner, item) that must give way, None while all is within the bound."""
        if self.bytes <= self.bytes_max:
            return None
        _, owner = self._order[-1]
        return owner, next(iter(self._items[owner]))

    def clear(self) -> None:
        """Hold nothing."""
        self.bytes = 0
        self._items.clear()
        self._owned.clear()
        self._order.clear()

    def _charge(self, owner: bytes, size: int) -> None:
        held = self._owned.get(owner)
        if held is not None:
            self._order.remove((held, owner))
        self._owned[owner] = (held or 0) + size
        self._order.add((self._owned[owner], owner))
        self.bytes += size
