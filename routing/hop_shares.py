"""Whose bytes wait for one hop, each with an equal share, and what gives way where too much waits.

It counts and tells; who waits, for how long and what is done about it is for a host to say, be it
on sockets or simulated. It holds no bytes itself and reads no clock.
"""

from __future__ import annotations

from collections import deque

from routing.actions import BULK, Send
from routing.messages import FrameKind

__all__ = ["Shares", "sent_again"]


class Shares:
    """Whose bytes wait in one queue; the oldest leave first.

    What others have put there is not told: of so many bytes that are left in the queue, at most so
    many are the feeders'.

    Args:
        room: Bytes that all of them may have there together.
    """

    __slots__ = ("_parts", "_room", "_sizes", "_total", "_waiting")

    def __init__(self, room: int) -> None:
        self._room = room
        self._parts: deque[tuple[int, int]] = deque()
        """(feeder, bytes), oldest first; no two of one feeder in a row."""
        self._sizes: dict[int, int] = {}
        self._total = 0
        self._waiting: dict[int, None] = {}

    @property
    def waiting(self) -> list[int]:
        """Those who wait, longest first."""
        return list(self._waiting)

    @property
    def share(self) -> int:
        """What each of those who wait, or have something here, may have here."""
        feeders = len(self._sizes) + sum(each not in self._sizes for each in self._waiting)
        return self._room // max(1, feeders)

    def of(self, feeder: int) -> int:
        """Return how many bytes of a feeder wait."""
        return self._sizes.get(feeder, 0)

    def has_others(self, feeder: int) -> bool:
        """Tell whether anybody else has something here, or waits."""
        own = (feeder in self._sizes) + (feeder in self._waiting)
        return len(self._sizes) + len(self._waiting) > own

    def left(self, feeder: int) -> int:
        """Return how much of its share a feeder has not used, whoever it is."""
        feeders = {*self._sizes, *self._waiting, feeder}
        return max(0, self._room // len(feeders) - self.of(feeder))

    def add(self, feeder: int, size: int) -> bool:
        """Note that a feeder has put something in; tell whether its share is used up."""
        if self._parts and self._parts[-1][0] == feeder:
            self._parts[-1] = feeder, self._parts[-1][1] + size
        else:
            self._parts.append((feeder, size))
        self._sizes[feeder] = self._sizes.get(feeder, 0) + size
        self._total += size
        return self._sizes[feeder] >= self.share

    def drain(self, left: int) -> None:
        """Note that only so much is left of the whole queue."""
        while self._total > left:
            feeder, size = self._parts.popleft()
            gone = min(size, self._total - left)
            if gone < size:
                self._parts.appendleft((feeder, size - gone))
            self._total -= gone
            if self._sizes[feeder] == gone:
                del self._sizes[feeder]
            else:
                self._sizes[feeder] -= gone

    def wait(self, feeder: int) -> None:
        """A feeder waits from now on."""
        self._waiting[feeder] = None

    def go(self, feeder: int) -> None:
        """It does not."""
        self._waiting.pop(feeder, None)

    def may_go(self, feeder: int, left: int) -> bool:
        """Tell whether a feeder may put in more: its share and the queue have room again."""
        return left <= self._room and self.of(feeder) <= self.share // 2


def sent_again(action: Send) -> str:
    """Return what a message is whose source sends it again, and slower, if it is lost; else "".

    Parts, and copies of what was sent before: their route number stands behind that of the hops.
    """
    if action.kind is not FrameKind.ROUTED:
        return ""
    return "bulk" if action.priority == BULK else "repeat" if action.body[2:3] > b"\0" else ""
