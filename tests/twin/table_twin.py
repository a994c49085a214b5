"""The routing table as one list, sorted anew for each question: slow and plainly right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

__all__ = ["TableTwin"]


def gap(a: bytes, b: bytes) -> int:
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


def shared_bits(a: bytes, b: bytes) -> int:
    left, right = (f"{int.from_bytes(each, 'big'):0256b}" for each in (a, b))
    for index in range(256):
        if left[index] != right[index]:
            return index
    return 256


class TableTwin:
    """Entries as (name, key, token) in the order of entering."""

    def __init__(self, own: bytes) -> None:
        self.own = own
        self.entries: list[tuple[bytes, bytes, int]] = []

    def add(self, name: bytes, key: bytes, token: int) -> None:
        self.entries.append((name, key, token))

    def remove(self, name: bytes) -> int | None:
        for entry in self.entries:
            if entry[0] == name:
                self.entries.remove(entry)
                return entry[2]
        return None

    def unsorted_names(self) -> list[bytes]:
        return [name for name, _, _ in self.entries]

    def sorted_to(self, target: bytes, *, including_self: bool = False) -> list[bytes]:
        pool = self.unsorted_names() + ([self.own] if including_self else [])
        return sorted(pool, key=lambda name: gap(name, target))

    def names(self) -> list[bytes]:
        return self.sorted_to(self.own)

    def bucket(self, index: int) -> list[bytes]:
        return [name for name in self.names() if shared_bits(self.own, name) == index]

    def next_hops(self, target: bytes, exclude: Collection[bytes]) -> list[bytes]:
        ours = gap(self.own, target)
        return [
            name
            for name in self.sorted_to(target)
            if gap(name, target) < ours and name not in exclude
        ]

    def wanted(self, name: bytes) -> bool:
        if name == self.own:
            return False
        others = [other for other in self.unsorted_names() if other != name]
        bucket = [
            other for other in others if shared_bits(self.own, other) == shared_bits(self.own, name)
        ]
        nearer = [other for other in others if gap(other, self.own) < gap(name, self.own)]
        return len(bucket) < 8 or len(nearer) < 8

    def beyond(self, size: int) -> list[bytes]:
        close = self.names()[:8]
        crowds: list[list[bytes]] = [[] for _ in range(256)]
        for name in reversed(self.unsorted_names()):
            crowds[shared_bits(self.own, name)].append(name)
        found = []
        for crowd in sorted(crowds, key=len, reverse=True):
            found += [name for name in crowd if name not in close][: max(len(crowd) - size, 0)]
        return found

    def is_near(self, name: bytes) -> bool:
        nearer = [
            other
            for other in self.unsorted_names()
            if other != name and gap(other, name) < gap(self.own, name)
        ]
        return len(nearer) < 8

    def surplus(self) -> bytes | None:
        far = set(self.names()[8:])
        buckets = {name: shared_bits(self.own, name) for name in self.unsorted_names()}
        sizes = Counter(buckets.values())
        rated = [
            (sizes[buckets[name]], age, name)
            for age, name in enumerate(self.unsorted_names())
            if name in far
        ]
        fullest = max((each for each in rated if each[0] > 8), default=None)
        return None if fullest is None else fullest[2]
