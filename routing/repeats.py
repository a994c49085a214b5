"""What a relay has passed on, so that it passes nothing on twice; fair by incoming connection.

It holds hashes and says whether one is new; what is hashed is for the relay to say. Half of the
room is common. A connection that holds an eighth of that gets a room of its own, as large, in
which it pushes out its own oldest and nobody else's: with both it holds an eighth of the whole.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from routing._filter import MessageFilter

__all__ = ["Block", "Repeats", "Window"]

SHARES = 8
"""A connection holds no more than one of so many parts."""

BLOCKS = 64
"""What has left is noticed so finely: by 64ths of a room, and late rather than early."""


class Block(Struct):
    """Entries that came one after the other."""

    first: int
    """How many came before."""
    since: int
    count: int = 0
    lanes: dict[int, int] = {}
    """Connection -> how many are its own."""


class Window:
    """The latest hashes, in the order in which they came, and whose they are."""

    __slots__ = ("_block_size", "blocks", "entered", "filter", "held")

    def __init__(self, ttl: int, capacity: int) -> None:
        self.filter = MessageFilter(ttl, capacity=capacity, clock=None)
        self.entered = 0
        self.blocks: deque[Block] = deque()
        self.held: dict[int, int] = {}
        """Connection -> how many hashes it holds here at most."""
        self._block_size = max(1, capacity // BLOCKS)

    def insert(self, digest: bytes, lane: int, now: int) -> bool:
        """Remember a hash that came over a connection and tell whether it is new. O(1)."""
        if not self.filter.insert(digest, now):
            return False
        block = self.blocks[-1] if self.blocks else None
        if block is None or block.count >= self._block_size:
            self.retire()
            block = Block(self.entered, now)
            self.blocks.append(block)
        self.entered += 1
        block.count += 1
        block.lanes[lane] = block.lanes.get(lane, 0) + 1
        self.held[lane] = self.held.get(lane, 0) + 1
        return True

    def room(self, lane: int, capacity: int) -> int:
        """Return how many hashes of a connection go in with the filter alone.

        Until so many have, neither is a block full nor does the connection hold `capacity`.
        """
        left = self._block_size
        if self.blocks and self.blocks[-1].count < left:
            left -= self.blocks[-1].count
        return max(0, min(left, capacity - self.held.get(lane, 0)))

    def gone_by(self, now: int) -> int:
        """Return how many will have left, of all that came, once one more has come now."""
        self.filter.contains(bytes(16), now)
        return self.entered - min(len(self.filter) + 1, int(self.filter.capacity))

    def took(self, lane: int, count: int, *, gone: int, now: int) -> None:
        """Enter in the account what went into the filter itself; no more than `room` said.

        Args:
            lane: The connection they came over.
            count: How many, at least 1.
            gone: What `gone_by` said before they came.
            now: When they came.
        """
        block = self.blocks[-1] if self.blocks else None
        if block is None or block.count >= self._block_size:
            self.retire(gone)
            block = Block(self.entered, now)
            self.blocks.append(block)
        self.entered += count
        block.count += count
        block.lanes[lane] = block.lanes.get(lane, 0) + count
        self.held[lane] = self.held.get(lane, 0) + count

    def retire(self, gone: int | None = None) -> None:
        """Take what has left out of the account of who brought it: the first `gone` that came."""
        left = self.entered - len(self.filter) if gone is None else gone
        while self.blocks and self.blocks[0].first + self.blocks[0].count <= left:
            for lane, count in self.blocks.popleft().lanes.items():
                self.held[lane] -= count
                if not self.held[lane]:
                    del self.held[lane]

    def span(self, now: int) -> int:
        """Return for how long back nothing is missing, nanoseconds; changes nothing."""
        ttl = int(self.filter.ttl)
        left = self.entered - len(self.filter)
        since = [block.since for block in self.blocks if block.first + block.count > left]
        return min(ttl, now - since[0]) if self.filter.evicted and since else ttl


class Repeats:
    """The duplicate filter of one relay.

    Args:
        ttl: How long a hash is remembered at most, nanoseconds.
        capacity: Most hashes, at least 16.
    """

    __slots__ = ("_lane_capacity", "_ttl", "common", "lanes")

    def __init__(self, ttl: int, capacity: int) -> None:
        self._ttl = ttl
        self._lane_capacity = capacity // (2 * SHARES)
        self.common = Window(ttl, capacity // 2)
        self.lanes: dict[int, Window] = {}
        """Connection -> its own room; never more than `SHARES`."""

    def __len__(self) -> int:
        return len(self.common.filter) + sum(len(lane.filter) for lane in self.lanes.values())

    def insert(self, digest: bytes, lane: int, now: int) -> bool:
        """Remember a hash that came over a connection and tell whether it is new. O(1).

        Args:
            digest: 16 bytes.
            lane: The token of the connection.
            now: Nanoseconds, never less than before.
        """
        for own in self.lanes.values():
            if own.filter.contains(digest, now):
                return False
        if self._is_full(lane) and self._is_full(lane, again=True):
            new = not self.common.filter.contains(digest, now)
            return new and self.lane(lane).insert(digest, lane, now)
        return self.common.insert(digest, lane, now)

    def grant(self, lane: int, now: int) -> tuple[Window, tuple[MessageFilter, ...], int]:
        """Return where, and how often, `insert` of this connection comes down to one filter.

        That is: the hash is new if it is in none of the other filters and was not in the window's
        own. The window is to be told of what it `took` before anything else happens here.
        """
        most = self.common.room(lane, self._lane_capacity)
        if most:
            return self.common, tuple([own.filter for own in self.lanes.values()]), most
        own = self.lanes.get(lane)
        # Whoever asks a filter for a hash tells it the time; what has expired then makes room.
        self.common.filter.contains(bytes(16), now)
        if own is None or not self._is_full(lane, again=True):
            return self.common, (), 0
        beside = [each.filter for each in self.lanes.values() if each is not own]
        return own, (self.common.filter, *beside), own.room(lane, 1 << 62)

    def _is_full(self, lane: int, *, again: bool = False) -> bool:
        if again:
            self.common.retire()
        return self.common.held.get(lane, 0) >= self._lane_capacity

    def lane(self, lane: int) -> Window:
        """Return the room of a connection; the one that needs its own least makes room for it."""
        own = self.lanes.get(lane)
        if own is None:
            if len(self.lanes) >= SHARES:
                held = self.common.held
                del self.lanes[min(self.lanes, key=lambda each: held.get(each, 0))]
            own = self.lanes[lane] = Window(self._ttl, self._lane_capacity)
        return own

    def held(self, lane: int) -> int:
        """Return how many hashes a connection holds at most."""
        own = self.lanes.get(lane)
        return self.common.held.get(lane, 0) + (0 if own is None else len(own.filter))

    def span(self, now: int) -> int:
        """Return for how long back nothing at all is missing, nanoseconds."""
        return min(window.span(now) for window in (self.common, *self.lanes.values()))

    def clear(self) -> None:
        """Forget everything."""
        self.common = Window(self._ttl, int(self.common.filter.capacity))
        self.lanes.clear()
