"""Pure policies of admission: who yields, how often, and who goes when a place is full.

Each is a function of its arguments, or plain data that is told the time. Nothing here closes a
connection, counts a refusal or knows why it is asked.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from typing import Final, TypeAlias

from routing.errors import UsageError

__all__ = ["KEYS_MAX", "Entry", "Key", "Rate", "choose_victim", "oldest_of_largest", "who_yields"]

KEYS_MAX: Final = 4_096
"""Keys one `Rate` remembers: as many as there may be attempts, and below 1 MiB of memory."""

_LEAD_MIN: Final = 2
"""Source groups must differ by this much before a newcomer displaces anybody: with 1, two groups
take turns in throwing each other out."""

Entry: TypeAlias = tuple[int, str, int]
"""(token, source group, since): one connection that holds a place."""

Key: TypeAlias = bytes | str
"""What a rate is kept for: a public key, an address."""


def who_yields(own_key: bytes, their_key: bytes) -> bool:
    """Tell whether we yield when both sides of a pair have asked for the connection.

    The attempt whose requester has the numerically lower key goes on. Both ends compute the same
    answer from what both know. False for equal keys, which no pair has.
    """
    return own_key > their_key


class Rate:
    """How often something may happen for each key within any span of time.

    The window slides: at every moment at most `limit` grants lie in the `per` nanoseconds before
    it. A refusal costs nothing, so that asking again does not put off the next grant. Beyond
    `keys_max` the key whose last grant is the oldest is forgotten.

    Args:
        limit: Grants allowed to one key within `per`.
        per: Nanoseconds. A grant counts while `now < granted + per`.
        keys_max: Keys remembered at once.

    Raises:
        UsageError: an argument is not positive.
    """

    __slots__ = ("_grants", "_keys_max", "_limit", "_per")

    def __init__(self, limit: int, per: int, keys_max: int = KEYS_MAX) -> None:
        for label, value in (("limit", limit), ("per", per), ("keys_max", keys_max)):
            if value <= 0:
                raise UsageError(f"rate with {label}={value} must have a positive one")
        self._limit = limit
        self._per = per
        self._keys_max = keys_max
        # In the order of the last grant, oldest first.
        self._grants: OrderedDict[Key, deque[int]] = OrderedDict()

    def allow(self, key: Key, now: int) -> bool:
        """Grant `key` one more if its limit is not reached, and remember the grant.

        O(1) amortised: a grant is entered once and leaves once.
        """
        self._forget(now)
        grants = self._grants.get(key)
        if grants is None:
            grants = self._grants[key] = deque()
        while grants and now >= grants[0] + self._per:
            grants.popleft()
        if len(grants) >= self._limit:
            return False
        grants.append(now)
        self._grants.move_to_end(key)
        if len(self._grants) > self._keys_max:
            self._grants.popitem(last=False)
        return True

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._grants)

    def snapshot(self) -> list[tuple[Key, tuple[int, ...]]]:
        """Return the keys in the order of their last grant, each with the times of its grants."""
        return [(key, tuple(grants)) for key, grants in self._grants.items()]

    def load(self, entries: list[tuple[Key, tuple[int, ...]]]) -> None:
        """Become what `snapshot` returned."""
        self._grants.clear()
        for key, grants in entries:
            self._grants[key] = deque(grants)

    def _forget(self, now: int) -> None:
        """Drop the keys that have no grant left in the window; they are at the front."""
        while self._grants:
            key = next(iter(self._grants))
            if now < self._grants[key][-1] + self._per:
                return
            del self._grants[key]


def oldest_of_largest(entries: Sequence[Entry]) -> int | None:
    """Return the token of the oldest entry of the largest source group, None if there is none.

    Where several groups are largest, the oldest entry of them all; where two are equally old, the
    lower token.
    """
    if not entries:
        return None
    sizes = Counter(group for _, group, _ in entries)
    largest = max(sizes.values())
    return min((since, token) for token, group, since in entries if sizes[group] == largest)[1]


def choose_victim(entries: Sequence[Entry], newcomer_group: str) -> int | None:
    """Return whom a newcomer displaces from a full place, None if the newcomer is refused.

    Only a newcomer whose source group is smaller by 2 or more than the largest displaces anybody,
    and then the oldest of the largest. Were it always the oldest, a crowd that arrives at once
    would throw itself out for ever.
    """
    sizes = Counter(group for _, group, _ in entries)
    if not sizes or sizes[newcomer_group] + _LEAD_MIN > max(sizes.values()):
        return None
    return oldest_of_largest(entries)
