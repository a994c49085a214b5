"""What a client may send in a second: a token bucket each for messages and bytes, no policy.

It is told the time and judges sizes. It does not know what a message is, nor who pays for which: a
proxy keeps one for each client, and the client keeps the same one for itself.
"""

from __future__ import annotations

from msgspec import Struct

from routing.limits import SECOND

__all__ = ["Allowance", "full_allowance"]


class Allowance(Struct):
    """Credit of messages and bytes, counted in parts of 1/`SECOND` so that nothing is rounded.

    What is above the whole capacity passes when the bucket is full, and leaves a debt.
    """

    messages_per_s: int
    """0 for no bound."""
    bytes_per_s: int
    """0 for no bound."""
    capacity_s: int
    """Seconds' worth of both that may be saved up."""
    messages: int
    bytes: int
    at: int
    """When both were last brought up to date."""

    def wait(self, size: int, now: int, count: int = 1) -> int:
        """Return in how many nanoseconds messages of this size may be sent; 0 for at once."""
        waits = (
            _wait(self._messages_at(now), self.messages_per_s, self.capacity_s, count),
            _wait(self._bytes_at(now), self.bytes_per_s, self.capacity_s, size),
        )
        return max(waits)

    def take(self, size: int, now: int, count: int = 1) -> bool:
        """Pay for messages if they may be sent now; tell whether they may."""
        if self.wait(size, now, count):
            return False
        self.reserve(size, now, count)
        return True

    def reserve(self, size: int, now: int, count: int = 1) -> int:
        """Pay for messages at any rate; return in how many nanoseconds they may be sent."""
        wait = self.wait(size, now, count)
        self.messages = self._messages_at(now) - count * SECOND
        self.bytes = self._bytes_at(now) - size * SECOND
        self.at = now
        return wait

    def _messages_at(self, now: int) -> int:
        return _grown(self.messages, self.messages_per_s, self.capacity_s, now - self.at)

    def _bytes_at(self, now: int) -> int:
        return _grown(self.bytes, self.bytes_per_s, self.capacity_s, now - self.at)


def full_allowance(
    messages_per_s: int, bytes_per_s: int, *, now: int, capacity_s: int = 1
) -> Allowance:
    """Return an allowance of which nothing has been used."""
    return Allowance(
        messages_per_s=messages_per_s,
        bytes_per_s=bytes_per_s,
        capacity_s=capacity_s,
        messages=messages_per_s * capacity_s * SECOND,
        bytes=bytes_per_s * capacity_s * SECOND,
        at=now,
    )


def _grown(credit: int, rate: int, capacity_s: int, passed: int) -> int:
    # Without a bound there is nothing to keep: a debt would grow for ever.
    return min(credit + rate * passed, rate * capacity_s * SECOND) if rate else 0


def _wait(credit: int, rate: int, capacity_s: int, units: int) -> int:
    if not rate:
        return 0
    missing = min(units, rate * capacity_s) * SECOND - credit
    return -(-missing // rate) if missing > 0 else 0
