"""Who is the group around a name, exactly; and handing a group's message to every member once.

A node knows its own close group exactly, but not that of any name: the 8 nearest to a name that
lies beside us may include nodes that only others of the group hold. So the first node reached asks
the nearest it knows, until the 8 nearest have all answered, and remembers the answer for a minute
or until its own table changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from routing._filter import TimedFilter
from routing.bodies import FindGroup
from routing.limits import GROUP_SIZE
from routing.links import Arrival
from routing.messages import (
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
    open_envelope,
)
from routing.names import distance, nearest

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Groups", "Resolution"]

RESOLUTIONS_MAX = 256
"""Groups being resolved at once; beyond it a message goes to the group as we know it."""

WAITING_MAX = 64
"""Messages that wait for one resolution; beyond it likewise."""

CACHED_MAX = 1_024

KNOWN_MAX = 64
"""Names weighed in one resolution: 8 answers bring at most 128, most of them the same."""


class Resolution(Struct):
    """A group being resolved, and the messages that wait for it."""

    target: bytes
    known: list[bytes]
    asked: list[bytes]
    answered: list[bytes]
    waiting: list[Arrival]


class Groups:
    """Groups around names that are not ours."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.open: dict[bytes, Resolution] = {}
        self.cache: TimedFilter[bytes, list[bytes]] = TimedFilter(
            core.limits.group_cached_ns, capacity=CACHED_MAX, clock=None
        )

    def on_message(self, arrival: Arrival, target: bytes) -> None:
        """We are the first node of a group that a message reached: every member gets it once."""
        core = self.core
        cached = self.cache.get(target, now=core.now)
        known = core.table.group(target)
        if cached is not None:
            self._distribute(arrival, cached)
        elif self._is_exact(target, known):
            self._distribute(arrival, known)
        else:
            self._resolve(arrival, target)

    def _is_exact(self, target: bytes, group: list[bytes]) -> bool:
        """Tell whether nobody unknown to us can be among the 8 nearest to `target`.

        We know everybody in the subtree of the name space that is nearer to us than our 8th
        nearest; if target and group lie inside it, nobody is missing.
        """
        core = self.core
        close = core.table.close_group()
        if core.name is None or len(close) < GROUP_SIZE:
            return True
        radius = distance(core.name, close[-1]).bit_length()
        farthest = max(distance(target, group[-1]), distance(target, core.name))
        return farthest.bit_length() < radius

    def _resolve(self, arrival: Arrival, target: bytes) -> None:
        core = self.core
        resolution = self.open.get(target)
        if resolution is not None:
            if len(resolution.waiting) < WAITING_MAX:
                resolution.waiting.append(arrival)
            else:
                core.count("group.unresolved")
                self._distribute(arrival, core.table.group(target))
            return
        if len(self.open) >= RESOLUTIONS_MAX:
            core.count("group.unresolved")
            self._distribute(arrival, core.table.group(target))
            return
        assert core.name is not None
        known = core.table.group(target, count=2 * GROUP_SIZE)
        self.open[target] = Resolution(target, known, [], [core.name], [arrival])
        core.count("group.resolved")
        core.alarm("group", target, core.limits.find_retry_ns)
        self._ask(self.open[target])

    def _ask(self, resolution: Resolution) -> None:
        """Ask those of the 8 nearest known that were not asked; done when all have answered."""
        core = self.core
        group = nearest(resolution.target, resolution.known, GROUP_SIZE)
        assert core.name is not None
        body = encode(FindGroup(resolution.target, NodeAddress(core.name)))
        for name in group:
            if name not in resolution.asked and name not in resolution.answered:
                resolution.asked.append(name)
                core.relay.send(
                    MessageKind.FIND_GROUP, NodeAddress(name), body, leave_out=core.name
                )
        if all(name in resolution.answered for name in group):
            self._finish(resolution, group)

    def on_group(self, source: bytes, target: bytes, names: list[bytes]) -> bool:
        """A GroupIs of somebody we asked; tell whether it was one."""
        resolution = self.open.get(target)
        if resolution is None or source not in resolution.asked:
            return False
        if source not in resolution.answered:
            resolution.answered.append(source)
            known = list(dict.fromkeys([*resolution.known, *names]))
            resolution.known = nearest(target, known, KNOWN_MAX)
            self._ask(resolution)
        return True

    def on_timeout(self, target: bytes) -> None:
        """Alarm: who has not answered counts as a member only if we hold it ourselves."""
        resolution = self.open.get(target)
        if resolution is None:
            return
        core = self.core
        core.count("group.unanswered")
        alive = [n for n in resolution.known if n in resolution.answered or n in core.table]
        self._finish(resolution, nearest(target, alive, GROUP_SIZE))

    def _finish(self, resolution: Resolution, group: list[bytes]) -> None:
        core = self.core
        del self.open[resolution.target]
        core.alarms.cancel(("group", resolution.target))
        self.cache.insert(resolution.target, group, now=core.now)
        self.cache.expire(now=core.now)
        for arrival in resolution.waiting:
            self._distribute(arrival, group)

    def _distribute(self, arrival: Arrival, group: list[bytes]) -> None:
        core = self.core
        for name in group:
            if name == core.name:
                continue
            if name in core.table:
                core.send(core.link_to(name), FrameKind.GROUP_COPY, arrival.envelope, priority=1)
            else:
                body = encode(arrival.envelope)
                core.relay.send(MessageKind.COPY, NodeAddress(name), body)
        if core.name in group:
            core.relay.consume(arrival)

    def on_copy(self, arrival: Arrival) -> None:
        """A copy that came routed, from a first node that does not hold us."""
        opened = open_envelope(arrival.signed.body)
        if opened is None or not is_copied(opened[1]):
            self.core.count("copy.malformed")
            return
        envelope, signed = opened
        self.core.relay.consume(Arrival(signed, envelope, arrival.token))

    def on_table_changed(self) -> None:
        """A peer came or went: what we know of groups may have changed with it."""
        self.cache.clear()

    def on_disconnected(self) -> None:
        """No network, no groups; what waited is counted."""
        core = self.core
        for target, resolution in self.open.items():
            core.alarms.cancel(("group", target))
            for _ in resolution.waiting:
                core.count("group.abandoned")
        self.open.clear()
        self.cache.clear()


def is_copied(signed: Signed) -> bool:
    """Tell whether this is an application's message to a group: what routed copies may carry."""
    kinds = (MessageKind.MESSAGE, MessageKind.REQUEST)
    return signed.kind in kinds and isinstance(signed.destination, GroupAddress)
