"""The one account of descriptors and queued bytes for all nodes of a loop; it closes nothing.

Whoever opens a socket takes a descriptor here first and gives it back when the socket is closed.
When none is left, dialling is refused and accepting pauses, and everybody who asked to be told is
told when there is room again. The system's own limit is never run into: at it uvloop accepts and
closes without a word, and asyncio spins.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from weakref import WeakKeyDictionary

__all__ = ["Ledger", "ledger_of"]

UNKNOWN_DESCRIPTORS = 1_048_576
"""Where the system sets no limit, it is this."""


class Ledger:
    """Descriptors and queued bytes, counted.

    Args:
        descriptors_max: How many sockets the nodes of this loop may hold together.
        bytes_max: How many bytes they may have queued for writing together.
    """

    __slots__ = ("_waiting", "bytes_max", "bytes_queued", "descriptors_max", "descriptors_used")

    def __init__(self, descriptors_max: int, bytes_max: int) -> None:
        self.descriptors_max = descriptors_max
        self.descriptors_used = 0
        self.bytes_max = bytes_max
        self.bytes_queued = 0
        self._waiting: dict[int, Callable[[], None]] = {}

    @property
    def is_full(self) -> bool:
        """No descriptor is left."""
        return self.descriptors_used >= self.descriptors_max

    @property
    def is_overdrawn(self) -> bool:
        """More bytes wait to be written than all nodes may queue."""
        return self.bytes_queued > self.bytes_max

    def take(self) -> bool:
        """Take one descriptor; False if none is left."""
        if self.is_full:
            return False
        self.descriptors_used += 1
        return True

    def give(self) -> None:
        """Give one descriptor back, and wake those who wait when a sixteenth is free again.

        The margin keeps a full process from pausing and resuming at every single connection.
        """
        assert self.descriptors_used > 0, "a descriptor is given back that was never taken"
        self.descriptors_used -= 1
        margin = max(1, self.descriptors_max // 16)
        if self._waiting and self.descriptors_used <= self.descriptors_max - margin:
            waiting, self._waiting = self._waiting, {}
            for wake in waiting.values():
                wake()

    def when_free(self, who: int, wake: Callable[[], None]) -> None:
        """Call `wake` once when there is room again; asked again by the same `who` it replaces."""
        self._waiting[who] = wake

    def forget(self, who: int) -> None:
        """`who` no longer waits."""
        self._waiting.pop(who, None)

    def charge(self, size: int) -> None:
        """Count `size` bytes more (or, negative, fewer) as queued."""
        self.bytes_queued += size
        assert self.bytes_queued >= 0, "more bytes were written than queued"


# Keyed by the loop because a loop is what its nodes really share; an entry dies with its loop, so
# nothing is left behind and two loops in two threads never touch one account.
_ledgers: WeakKeyDictionary[asyncio.AbstractEventLoop, Ledger] = WeakKeyDictionary()


def ledger_of(loop: asyncio.AbstractEventLoop, *, reserved: int, bytes_max: int) -> Ledger:
    """Return the ledger of this loop; the first node to ask determines its bounds.

    Args:
        loop: The running loop.
        reserved: Descriptors left to everybody else in the process (files, resolvers, children);
            never more than half of the system's limit.
        bytes_max: Bound of queued bytes.
    """
    ledger = _ledgers.get(loop)
    if ledger is None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            soft = UNKNOWN_DESCRIPTORS
        kept = max(min(reserved, soft // 2), _open_descriptors() + 16)
        ledger = _ledgers[loop] = Ledger(max(1, soft - kept), bytes_max)
    return ledger


def _open_descriptors() -> int:
    """Return how many descriptors this process holds already, 0 where nobody can tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return 0
