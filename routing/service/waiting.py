"""Who may wait unauthenticated, and who goes when the room is full; pure bookkeeping.

A stranger costs one place until its Hello. Places are bounded in all, per address and per network.
When all are taken the oldest of the largest source group goes: a flood from few networks then only
pushes out itself.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from routing.endpoints import in_networks, source_group
from routing.limits import Limits

__all__ = ["WaitingRoom"]


class WaitingRoom:
    """Places of accepted, not yet authenticated connections, by serial number.

    Serial numbers rise with time, so the lowest of a group is its oldest.
    """

    __slots__ = ("_addresses", "_groups", "_limits", "_places")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places: dict[int, tuple[str, str]] = {}
        self._groups: dict[str, OrderedDict[int, None]] = {}
        self._addresses: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, serial: int) -> bool:
        return serial in self._places

    def refuses(self, host: str) -> str | None:
        """Return None if `host` may have a place, else the counter of the quota that it exceeds."""
        limits = self._limits
        if in_networks(host, limits.exempt_networks):
            return None
        group = len(self._groups.get(source_group(host), ()))
        if ":" in host:
            return "accept.per_ipv6_56" if group >= limits.unauthenticated_per_ipv6_56 else None
        if self._addresses[host] >= limits.unauthenticated_per_ipv4:
            return "accept.per_ipv4"
        return "accept.per_ipv4_24" if group >= limits.unauthenticated_per_ipv4_24 else None

    def enter(self, serial: int, host: str) -> int | None:
        """Give `serial` a place; return who has to leave for it, already without a place."""
        victim = None
        if len(self._places) >= self._limits.unauthenticated_max:
            victim = self._oldest_of_largest()
            self.leave(victim)
        group = source_group(host)
        self._places[serial] = (host, group)
        self._groups.setdefault(group, OrderedDict())[serial] = None
        self._addresses[host] += 1
        return victim

    def leave(self, serial: int) -> None:
        """Free a place; nothing happens if `serial` has none."""
        place = self._places.pop(serial, None)
        if place is None:
            return
        host, group = place
        members = self._groups[group]
        del members[serial]
        if not members:
            del self._groups[group]
        self._addresses[host] -= 1
        if not self._addresses[host]:
            del self._addresses[host]

    def _oldest_of_largest(self) -> int:
        """O(groups), of which there are at most as many as places."""
        largest = max(len(members) for members in self._groups.values())
        return min(
            next(iter(members)) for members in self._groups.values() if len(members) == largest
        )
