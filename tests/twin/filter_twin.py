"""The filters said slowly: lists walked from end to end, no cleverness, nothing to get wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["MessageFilterTwin", "TimedFilterTwin"]

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class Item(Generic[K, V]):
    """One entry, live or departed."""

    key: K
    value: V
    expires: float
    order: int
    source: bytes | str | int | None
    evicted: bool = False
    replaced: bool = False


class TimedFilterTwin(Generic[K, V]):
    """What `TimedFilter` is, with every entry in one list."""

    def __init__(
        self,
        ttl: float,
        *,
        capacity: int | None = None,
        sources: Callable[[K, V], bytes | str | int | None] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.ttl, self.capacity, self.sources, self.clock = ttl, capacity, sources, clock
        self.items: list[Item[K, V]] = []
        self.order = 0
        self.latest = 0.0 if clock is None else float("-inf")

    def moment(self, now: float | None) -> float:
        if now is None and self.clock is not None:
            now = self.clock()
        if now is not None:
            self.latest = max(self.latest, float(now))
        return self.latest

    def departed(self) -> list[Item[K, V]]:
        return self.sorted(
            [
                item
                for item in self.items
                if item.evicted or item.replaced or not self.latest < item.expires
            ]
        )

    def live(self) -> list[Item[K, V]]:
        gone = self.departed()
        return self.sorted([item for item in self.items if item not in gone])

    def sorted(self, items: list[Item[K, V]]) -> list[Item[K, V]]:
        return sorted(items, key=lambda item: (item.expires, item.order))

    def find(self, key: K) -> Item[K, V] | None:
        """Find the entry that stands under the key, aged or not."""
        for item in self.items:
            if item.key == key and not item.evicted and not item.replaced:
                return item
        return None

    def find_live(self, key: K) -> Item[K, V] | None:
        item = self.find(key)
        return item if item is not None and self.latest < item.expires else None

    def victim(self, source: bytes | str | int | None) -> Item[K, V]:
        grouped = [item for item in self.live() if item.source is not None]
        if not grouped:
            return self.live()[0]

        def size(group: bytes | str | int | None) -> int:
            return sum(item.source == group for item in grouped) + (group == source)

        largest = max(size(item.source) for item in grouped)
        # In order, so the first one of any largest group is the oldest of them all.
        return next(item for item in grouped if size(item.source) == largest)

    def insert(
        self, key: K, value: V, *, now: float | None = None, ttl: float | None = None
    ) -> V | None:
        self.moment(now)
        source = None if self.sources is None else self.sources(key, value)
        old, found = None, self.find(key)
        if found is not None and self.latest < found.expires:
            # The filter keeps the first of equal keys, as a dict does.
            key, old = found.key, found.value
            self.items.remove(found)
        else:
            if found is not None:
                found.replaced = True
            if self.capacity is not None and len(self.live()) >= self.capacity:
                self.victim(source).evicted = True
        lifetime = self.ttl if ttl is None else ttl
        self.items.append(Item(key, value, self.latest + lifetime, self.order, source))
        self.order += 1
        return old

    def get(self, key: K, *, now: float | None = None) -> V | None:
        self.moment(now)
        item = self.find_live(key)
        return None if item is None else item.value

    def contains(self, key: K, *, now: float | None = None) -> bool:
        self.moment(now)
        return self.find_live(key) is not None

    def remove(self, key: K) -> V | None:
        item = self.find(key)
        if item is None:
            return None
        self.items.remove(item)
        return item.value

    def touch(self, key: K, *, now: float | None = None, ttl: float | None = None) -> bool:
        self.moment(now)
        item = self.find_live(key)
        if item is None:
            return False
        item.expires = self.latest + (self.ttl if ttl is None else ttl)
        item.order = self.order
        self.order += 1
        return True

    def expire(self, now: float | None = None) -> list[tuple[K, V]]:
        self.moment(now)
        gone = self.departed()
        self.items = [item for item in self.items if item not in gone]
        return [(item.key, item.value) for item in gone]

    def clear(self) -> list[tuple[K, V]]:
        everything = [(item.key, item.value) for item in self.sorted(self.items)]
        self.items = []
        self.latest = 0.0 if self.clock is None else float("-inf")
        return everything

    def next_expiry(self, now: float | None = None) -> float | None:
        self.moment(now)
        if self.departed():
            return self.latest
        live = self.live()
        return live[0].expires if live and live[0].expires != float("inf") else None

    def deadlines(self, now: float | None = None) -> list[tuple[K, V, float]]:
        self.moment(now)
        return [(item.key, item.value, item.expires) for item in self.live()]

    @property
    def backlog(self) -> int:
        return len(self.departed())

    def __len__(self) -> int:
        self.moment(None)
        return len(self.live())


class MessageFilterTwin:
    """What `MessageFilter` is, with every id in one list."""

    def __init__(
        self, ttl: float, *, capacity: int, clock: Callable[[], float] | None = None
    ) -> None:
        self.ttl, self.capacity, self.clock = ttl, capacity, clock
        self.ids: list[tuple[bytes, float]] = []
        self.latest = 0.0 if clock is None else float("-inf")
        self.evicted = 0

    def moment(self, now: float | None) -> None:
        if now is None and self.clock is not None:
            now = self.clock()
        if now is not None:
            self.latest = max(self.latest, float(now))
        self.ids = [(id, expires) for id, expires in self.ids if self.latest < expires]

    def contains(self, id: bytes, now: float | None = None) -> bool:
        self.moment(now)
        return any(known == id for known, _ in self.ids)

    def insert(self, id: bytes, now: float | None = None) -> bool:
        if self.contains(id, now):
            return False
        if len(self.ids) == self.capacity:
            self.ids.pop(0)
            self.evicted += 1
        self.ids.append((id, self.latest + self.ttl))
        return True

    def add(self, id: bytes) -> bool:
        return self.insert(id)

    def deadlines(self, now: float | None = None) -> list[tuple[bytes, float]]:
        self.moment(now)
        return self.ids

    def __len__(self) -> int:
        self.moment(None)
        return len(self.ids)
