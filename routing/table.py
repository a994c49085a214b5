"""The routing table: consolidated peers in XOR order, buckets and close groups.

It keeps what it is given and answers questions about distance. It opens and closes nothing, and
whether a peer may enter is decided by the core with `wanted`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final, NamedTuple

from sortedcontainers import SortedDict

from routing.errors import UsageError
from routing.limits import GROUP_SIZE, NAME_BYTES
from routing.names import NAME_BITS, short

__all__ = ["BUCKET_SIZE", "RoutingTable"]

BUCKET_SIZE: Final = 8
"""Entries wanted in each bucket; those of the close group may bring more."""


class _Entry(NamedTuple):
    name: bytes
    key: bytes
    token: int
    rank: int
    """Rises with every entry added: the higher, the younger."""


class RoutingTable:
    """Consolidated peers of one node, by name, key and token.

    The entries are kept by their distance to our own name. As (x ^ own) ^ (own ^ target) is
    x ^ target, the same order read as a binary tree serves every other target as well.

    Args:
        own: The name of this node, 32 bytes. It is never an entry.
    """

    __slots__ = ("_bucket_sizes", "_by_key", "_by_name", "_by_token", "_entries", "_own", "_rank")

    def __init__(self, own: bytes) -> None:
        self._own = _number(own)
        self._entries: SortedDict[int, _Entry] = SortedDict()
        self._by_name: dict[bytes, _Entry] = {}
        self._by_key: dict[bytes, bytes] = {}
        self._by_token: dict[int, bytes] = {}
        self._bucket_sizes = [0] * NAME_BITS
        self._rank = 0

    @property
    def own(self) -> bytes:
        """The name this table belongs to."""
        return self._own.to_bytes(NAME_BYTES, "big")

    def add(self, name: bytes, key: bytes, token: int) -> None:
        """Enter a peer.

        Raises:
            UsageError: the name is our own, or the name, key or token is in the table already.
        """
        away = _number(name) ^ self._own
        if away == 0:
            raise UsageError(f"name {short(name)} is our own and cannot enter the table")
        if name in self._by_name:
            raise UsageError(f"name {short(name)} is in the table; remove it first")
        if key in self._by_key:
            raise UsageError(f"key {short(key)} is in the table; remove its old name first")
        if token in self._by_token:
            raise UsageError(f"token {token:#x} is in the table; remove its old name first")
        self._rank += 1
        entry = _Entry(name, key, token, self._rank)
        self._entries[away] = entry
        self._by_name[name] = entry
        self._by_key[key] = name
        self._by_token[token] = name
        self._bucket_sizes[NAME_BITS - away.bit_length()] += 1

    def remove(self, name: bytes) -> int | None:
        """Take a peer out and return its token, or None if it is not there."""
        entry = self._by_name.pop(name, None)
        if entry is None:
            return None
        away = _number(name) ^ self._own
        del self._entries[away]
        del self._by_key[entry.key]
        del self._by_token[entry.token]
        self._bucket_sizes[NAME_BITS - away.bit_length()] -= 1
        return entry.token

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)

    def names(self) -> list[bytes]:
        """Return all names, nearest to our own first."""
        return [entry.name for entry in self._entries.values()]

    def token(self, name: bytes) -> int | None:
        """Return the token of the connection to a name, or None."""
        entry = self._by_name.get(name)
        return None if entry is None else entry.token

    def key(self, name: bytes) -> bytes | None:
        """Return the key behind a name, or None."""
        entry = self._by_name.get(name)
        return None if entry is None else entry.key

    def name_of_token(self, token: int) -> bytes | None:
        """Return the name at the far end of a connection, or None."""
        return self._by_token.get(token)

    def name_of_key(self, key: bytes) -> bytes | None:
        """Return the name that a key holds, or None."""
        return self._by_key.get(key)

    def close_group(self) -> list[bytes]:
        """Return the at most 8 other nodes nearest to us, nearest first."""
        return [entry.name for entry in islice(self._entries.values(), GROUP_SIZE)]

    def group(
        self, target: bytes, count: int = GROUP_SIZE, including_self: bool = True
    ) -> list[bytes]:
        """Return the at most `count` names nearest to `target`, nearest first.

        Args:
            target: Any name; it belongs to its own group if it is in the table, or ours.
            count: How many at most.
            including_self: Whether our own name takes part.
        """
        gap = _number(target) ^ self._own
        chosen: list[bytes] = []
        ours_missing = including_self
        for away, entry in self._outward(gap):
            if len(chosen) >= count:
                return chosen
            if ours_missing and gap < away ^ gap:
                chosen.append(self.own)
                ours_missing = False
                if len(chosen) >= count:
                    return chosen
            chosen.append(entry.name)
        if ours_missing and len(chosen) < count:
            chosen.append(self.own)
        return chosen

    def bucket_size(self, index: int) -> int:
        """Return how many entries share exactly `index` leading bits with us, 0 to 255.

        Raises:
            UsageError: there is no such bucket.
        """
        return self._bucket_sizes[_bucket(index)]

    def bucket(self, index: int) -> list[bytes]:
        """Return the names in a bucket, nearest to us first.

        Raises:
            UsageError: there is no such bucket.
        """
        low = 1 << (NAME_BITS - 1 - _bucket(index))
        return [
            self._entries[away].name
            for away in self._entries.irange(low, 2 * low, inclusive=(True, False))
        ]

    def next_hop(self, target: bytes, exclude: Collection[bytes] = ()) -> bytes | None:
        """Return the entry nearest to `target` if it is strictly nearer than we are, else None.

        An entry of exactly this name is the nearest there can be. None means that, of those we
        know and may use, we are responsible.
        """
        return next(self._nearer(target, exclude), None)

    def next_hops(self, target: bytes, exclude: Collection[bytes] = ()) -> list[bytes]:
        """Return every entry strictly nearer to `target` than we are, nearest first."""
        return list(self._nearer(target, exclude))

    def wanted(self, name: bytes) -> bool:
        """Tell whether a peer of this name has a place here.

        It has if its bucket holds fewer than 8 others or if it is one of our 8 nearest. A name in
        the table is weighed as if it were not; our own has no place.
        """
        away = _number(name) ^ self._own
        if away == 0:
            return False
        held = away in self._entries
        others = self._bucket_sizes[NAME_BITS - away.bit_length()] - held
        return others < BUCKET_SIZE or self._entries.bisect_left(away) < GROUP_SIZE

    def surplus(self) -> bytes | None:
        """Return the name to let go first: the youngest surplus entry of the fullest bucket.

        An entry is surplus if its bucket holds more than 8 and it is not in our close group. None
        if there is no such entry.
        """
        # The entries come nearest first, so those of one bucket follow each other.
        best: tuple[int, int] = (BUCKET_SIZE, 0)
        name: bytes | None = None
        for away, entry in islice(self._entries.items(), GROUP_SIZE, None):
            rating = (self._bucket_sizes[NAME_BITS - away.bit_length()], entry.rank)
            if rating[0] > BUCKET_SIZE and rating > best:
                best, name = rating, entry.name
        return name

    def is_surplus(self, name: bytes) -> bool:
        """Tell whether an entry could be let go: its bucket holds more than 8, and it is not close.

        False for a name that is not in the table.
        """
        return name in self._by_name and not self.wanted(name)

    def by_age(self) -> list[bytes]:
        """Return all names, oldest entry first; adding them in this order restores the table."""
        return [entry.name for entry in sorted(self._by_name.values(), key=lambda each: each.rank)]

    def snapshot(self) -> list[tuple[bytes, bytes, int]]:
        """Return (name, key, token) of every entry, sorted by name."""
        return sorted((entry.name, entry.key, entry.token) for entry in self._by_name.values())

    def _nearer(self, target: bytes, exclude: Collection[bytes]) -> Iterator[bytes]:
        gap = _number(target) ^ self._own
        for away, entry in self._outward(gap):
            if away ^ gap >= gap:
                return
            if entry.name not in exclude:
                yield entry.name

    def _outward(self, gap: int) -> Iterator[tuple[int, _Entry]]:
        """Yield the entries by their distance to the target that is `gap` away from us.

        A run of neighbours in the sorted order shares all bits above the highest one in which its
        first and last differ. That bit parts the run in two; the part that agrees with the target
        is nearer as a whole. O(log n) for the first entry, and little for each one after.
        """
        runs = [(0, len(self._entries))]
        while runs:
            start, stop = runs.pop()
            if start == stop:
                continue
            first = self._entries.peekitem(start)
            if stop - start == 1:
                yield first
                continue
            last = self._entries.peekitem(stop - 1)[0]
            bit = (first[0] ^ last).bit_length() - 1
            middle = self._entries.bisect_left((last >> bit) << bit)
            low, high = (start, middle), (middle, stop)
            runs.extend((low, high) if gap >> bit & 1 else (high, low))


def _number(name: bytes) -> int:
    if len(name) != NAME_BYTES:
        raise UsageError(f"name of {len(name)} bytes must have exactly {NAME_BYTES}")
    return int.from_bytes(name, "big")


def _bucket(index: int) -> int:
    if not 0 <= index < NAME_BITS:
        raise UsageError(f"bucket {index} must be 0 to {NAME_BITS - 1}")
    return index
