"""The routing table: consolidated peers in XOR order, buckets and close groups.

It keeps what it is given and answers questions about distance. It opens and closes nothing, and
whether a peer may enter is decided by the core with `wanted`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from routing._xor import XorIndex
from routing.errors import UsageError
from routing.limits import GROUP_SIZE, NAME_BYTES
from routing.names import NAME_BITS, short

__all__ = ["BUCKET_SIZE", "RoutingTable"]

BUCKET_SIZE: Final = 8
"""Entries wanted in each bucket; those of the close group may bring more."""

_CAPACITY: Final = 1 << 30
"""What an index can take at most: how many entries are too many is for the core to say."""


class _Entry(NamedTuple):
    key: bytes
    token: int


class RoutingTable:
    """Consolidated peers of one node, by name, key and token.

    The names are in an index, our own among them: it is the nearest to itself, and stands where it
    belongs in the answer about any other target.

    Args:
        own: The name of this node, 32 bytes. It is never an entry.
    """

    __slots__ = (
        "_bucket_sizes",
        "_by_key",
        "_by_name",
        "_by_token",
        "_index",
        "_own",
        "_own_number",
        "_rank",
        "changes",
        "size",
    )

    def __init__(self, own: bytes) -> None:
        self._own_number = _number(own)
        self._own = bytes(own)
        # Oldest first: a name that is taken out and enters again goes to the end.
        self._by_name: dict[bytes, _Entry] = {}
        self._by_key: dict[bytes, bytes] = {}
        self._by_token: dict[int, bytes] = {}
        self.size = 0
        """How many peers there are; asked for at every step, and so no call."""
        self.changes = 0
        """How often a peer has come or gone."""
        self._bucket_sizes = [0] * NAME_BITS
        # What the index calls the token of a name is its rank here. Ranks rise with every entry:
        # the higher, the younger. Ours is the lowest.
        self._rank = 1
        self._index = XorIndex(_CAPACITY)
        self._index.add(self._own, self._rank)

    @property
    def own(self) -> bytes:
        """The name this table belongs to."""
        return self._own

    def add(self, name: bytes, key: bytes, token: int) -> None:
        """Enter a peer.

        Raises:
            UsageError: the name is our own, or the name, key or token is in the table already.
        """
        away = _number(name) ^ self._own_number
        if away == 0:
            raise UsageError(f"name {short(name)} is our own and cannot enter the table")
        if name in self._by_name:
            raise UsageError(f"name {short(name)} is in the table; remove it first")
        if key in self._by_key:
            raise UsageError(f"key {short(key)} is in the table; remove its old name first")
        if token in self._by_token:
            raise UsageError(f"token {token:#x} is in the table; remove its old name first")
        self._index.add(name, self._rank + 1)
        self._rank += 1
        self._by_name[name] = _Entry(key, token)
        self._by_key[key] = name
        self._by_token[token] = name
        self.size += 1
        self.changes += 1
        self._bucket_sizes[NAME_BITS - away.bit_length()] += 1

    def remove(self, name: bytes) -> int | None:
        """Take a peer out and return its token, or None if it is not there."""
        entry = self._by_name.pop(name, None)
        if entry is None:
            return None
        away = _number(name) ^ self._own_number
        self._index.remove(name)
        self.size -= 1
        self.changes += 1
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
        return self._index.closest(self._own, len(self._index))[1:]

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
        return self._index.closest(self._own, 1 + GROUP_SIZE)[1:]

    def group(
        self, target: bytes, count: int = GROUP_SIZE, including_self: bool = True
    ) -> list[bytes]:
        """Return the at most `count` names nearest to `target`, nearest first.

        Args:
            target: Any name; it belongs to its own group if it is in the table, or ours.
            count: How many at most.
            including_self: Whether our own name takes part.
        """
        count = max(count, 0)
        if including_self:
            return self._index.closest(target, count)
        own = self._own
        return [name for name in self._index.closest(target, count + 1) if name != own][:count]

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
        # To our name with the bit flipped that parts us from the bucket, its entries are nearest,
        # and in the same order: their distance to us is the same but for this bit.
        beyond = self._own_number ^ (1 << (NAME_BITS - 1 - _bucket(index)))
        return self._index.closest(beyond.to_bytes(NAME_BYTES, "big"), self._bucket_sizes[index])

    def next_hop(self, target: bytes, exclude: Collection[bytes] = ()) -> bytes | None:
        """Return the entry nearest to `target` if it is strictly nearer than we are, else None.

        An entry of exactly this name is the nearest there can be. None means that, of those we
        know and may use, we are responsible.
        """
        if exclude:
            # What is no entry leaves nobody out; the index would refuse what is not even a name.
            exclude = [name for name in exclude if name in self._by_name]
        return self._index.next_hop(self._own, target, exclude)

    def next_hops(self, target: bytes, exclude: Collection[bytes] = ()) -> list[bytes]:
        """Return every entry strictly nearer to `target` than we are, nearest first."""
        names = self._index.closest(target, len(self._index))
        return [name for name in names[: names.index(self._own)] if name not in exclude]

    def wanted(self, name: bytes) -> bool:
        """Tell whether a peer of this name has a place here.

        It has if its bucket holds fewer than 8 others or if it is one of our 8 nearest. A name in
        the table is weighed as if it were not; our own has no place.
        """
        away = _number(name) ^ self._own_number
        if away == 0:
            return False
        others = self._bucket_sizes[NAME_BITS - away.bit_length()] - (name in self._by_name)
        if others < BUCKET_SIZE:
            return True
        # With so many others the close group is full.
        return away <= _number(self.close_group()[-1]) ^ self._own_number

    def surplus(self) -> bytes | None:
        """Return the name to let go first: the youngest surplus entry of the fullest bucket.

        An entry is surplus if its bucket holds more than 8 and it is not in our close group. None
        if there is no such entry.
        """
        # Nearest first, and so bucket after bucket, the last one first; our own rank leads.
        ranks = self._index.closest_tokens(self._own, len(self._index))
        best, stop = (BUCKET_SIZE, 0), 1
        for size in reversed(self._bucket_sizes):
            start, stop = max(stop, 1 + GROUP_SIZE), stop + size
            if size > BUCKET_SIZE and start < stop:
                best = max(best, (size, max(ranks[start:stop])))
        return self.names()[ranks.index(best[1]) - 1] if best[1] else None

    def beyond(self, size: int) -> list[bytes]:
        """Return what the buckets hold beyond `size` each: fullest bucket and youngest first.

        Never one of our close group; and the oldest of a bucket are never among them.
        """
        close = self.close_group()
        ages = {name: age for age, name in enumerate(self._by_name)}
        crowded = [index for index, held in enumerate(self._bucket_sizes) if held > size]
        crowded.sort(key=lambda index: -self._bucket_sizes[index])
        found: list[bytes] = []
        for index in crowded:
            far = [name for name in self.bucket(index) if name not in close]
            far.sort(key=lambda name: -ages[name])
            found += far[: self._bucket_sizes[index] - size]
        return found

    def is_near(self, name: bytes) -> bool:
        """Tell whether we are one of the 8 nodes nearest to a name, of those we know."""
        return (
            self._own
            in [each for each in self.group(name, 1 + GROUP_SIZE) if each != name][:GROUP_SIZE]
        )

    def is_surplus(self, name: bytes) -> bool:
        """Tell whether an entry could be let go: its bucket holds more than 8, and it is not close.

        False for a name that is not in the table.
        """
        return name in self._by_name and not self.wanted(name)

    def by_age(self) -> list[bytes]:
        """Return all names, oldest entry first; adding them in this order restores the table."""
        return list(self._by_name)

    def snapshot(self) -> list[tuple[bytes, bytes, int]]:
        """Return (name, key, token) of every entry, sorted by name."""
        return sorted((name, entry.key, entry.token) for name, entry in self._by_name.items())


def _number(name: bytes) -> int:
    if len(name) != NAME_BYTES:
        raise UsageError(f"name of {len(name)} bytes must have exactly {NAME_BYTES}")
    return int.from_bytes(name, "big")


def _bucket(index: int) -> int:
    if not 0 <= index < NAME_BITS:
        raise UsageError(f"bucket {index} must be 0 to {NAME_BITS - 1}")
    return index
