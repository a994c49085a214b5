"""Who is the group around a name, exactly; and handing a group's message to every member once.

A node knows its own close group exactly, but not that of any name: the 8 nearest to a name that
lies beside us may include nodes that only others of the group hold. So the first node reached asks
the nearest it knows, until the 8 nearest have all answered, and remembers the answer for a minute
or until its own table changes. A message waits for that no longer than one retry; where votes are
to be counted (`wanted`) the silent are asked again by other ways before they are given up, and who
was named and never answered still counts for the size of the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from routing._filter import TimedFilter
from routing.bodies import FindGroup
from routing.limits import GROUP_SIZE, SECOND
from routing.links import Arrival
from routing.messages import (
    Address,
    ClientAddress,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
    open_envelope,
    wild_number,
)
from routing.names import distance, nearest

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Group", "Groups", "Resolution"]

RESOLUTIONS_MAX = 256
"""Groups being resolved at once; beyond it a message goes to the group as we know it."""

WAITING_MAX = 64
"""Messages that wait for one resolution; beyond it likewise."""

CACHED_MAX = 1_024

KNOWN_MAX = 64
"""Names weighed in one resolution: 8 answers bring at most 128, most of them the same."""

ROUNDS_MAX = 3
"""Times that silent ones may be given up and the next nearest be asked."""

DOUBT_NS = 5 * SECOND
"""A member that is newer than what we know of its group makes us ask again, this often at most."""


class Group(Struct):
    """The members of a group as they were found."""

    members: list[bytes]
    """Nearest first."""
    size: int
    """Members there must be, at most 8: also those that were named and never answered."""
    careful: bool
    """The silent were asked again: votes may be counted against it."""
    at: int


class Resolution(Struct):
    """A group being resolved, and the messages that wait for it."""

    target: bytes
    known: list[bytes]
    asked: dict[bytes, int]
    """Name -> how often."""
    answered: list[bytes]
    waiting: list[Arrival]
    careful: bool = False
    tries: int = 0
    lost: list[bytes] = []
    """Names given up."""
    keys: dict[bytes, bytes] = {}
    """Key -> the name under which it has answered."""
    spoke: list[bytes] = []
    """Names that have voted: they are alive, whatever became of their answers."""

    @property
    def nearest(self) -> list[bytes]:
        """The at most 8 nearest that are not given up."""
        return nearest(
            self.target, [name for name in self.known if name not in self.lost], GROUP_SIZE
        )


class Groups:
    """Groups around names that are not ours."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.open: dict[bytes, Resolution] = {}
        self.cache: TimedFilter[bytes, Group] = TimedFilter(
            core.limits.group_cached_ns, capacity=CACHED_MAX, clock=None
        )

    def on_message(self, arrival: Arrival, target: bytes) -> None:
        """We are the first node of a group that a message reached: every member gets it once."""
        core = self.core
        cached = self.cache.get(target, now=core.now)
        known = core.table.group(target)
        if cached is not None:
            self._distribute(arrival, cached.members)
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

    def known(self, target: bytes) -> Group | None:
        """Return a group known well enough to count its votes, without asking anybody."""
        core = self.core
        if core.name is not None and self._is_sure(target):
            members = core.table.group(target)
            return Group(members, len(members), True, core.now)
        cached = self.cache.get(target, now=core.now)
        return cached if cached is not None and cached.careful else None

    def wanted(self, target: bytes, voter: bytes = b"") -> Group | None:
        """As `known`; where it is not, ask, and tell those who count votes once it is.

        Args:
            target: The name that the group is around.
            voter: Who claims to be a member. One that is nearer than a member found some time ago
                may have come since, so they are asked once more.
        """
        group = self.known(target)
        if group is not None and (not voter or not self._may_be_newer(target, group, voter)):
            return group
        if group is not None:
            self.core.count("group.doubted")
            self.cache.remove(target)
        if target not in self.open and len(self.open) >= RESOLUTIONS_MAX:
            self.core.count("group.unresolved")
            return None
        if target not in self.open:
            self._begin(target, [], careful=True)
        resolution = self.open.get(target)
        if resolution is not None:
            resolution.careful = True
            if voter and voter not in resolution.spoke and len(resolution.spoke) < KNOWN_MAX:
                resolution.spoke.append(voter)
        return self.known(target)

    def _is_sure(self, target: bytes) -> bool:
        """Tell whether our own table says it all; with a few entries we may just have come."""
        core = self.core
        if not len(core.table):
            return core.founding.founder
        full = len(core.table.close_group()) >= GROUP_SIZE
        return full and self._is_exact(target, core.table.group(target))

    def _may_be_newer(self, target: bytes, group: Group, voter: bytes) -> bool:
        members = group.members
        if voter in members or self.core.now - group.at < DOUBT_NS:
            return False
        return voter in nearest(target, [*members, voter], GROUP_SIZE)

    def _resolve(self, arrival: Arrival, target: bytes) -> None:
        core = self.core
        resolution = self.open.get(target)
        if resolution is not None and _takes_the_place(arrival, resolution.waiting):
            core.count("group.repeated")
        elif resolution is not None and len(resolution.waiting) < WAITING_MAX:
            resolution.waiting.append(arrival)
        elif resolution is not None or len(self.open) >= RESOLUTIONS_MAX:
            core.count("group.unresolved")
            self._distribute(arrival, core.table.group(target))
        else:
            self._begin(target, [arrival], careful=False)

    def _begin(self, target: bytes, waiting: list[Arrival], *, careful: bool) -> None:
        """Start to ask: those we hold nearest; without a table the group itself, by our proxy."""
        core = self.core
        known, answered = [], []
        if core.name is not None and len(core.table):
            known, answered = core.table.group(target, count=2 * GROUP_SIZE), [core.name]
        self.open[target] = Resolution(target, known, {}, answered, waiting, careful)
        core.count("group.resolved")
        core.alarm("group", target, core.limits.find_retry_ns)
        self._ask(self.open[target])

    def _ask(self, resolution: Resolution) -> None:
        """Ask those of the 8 nearest known that were not asked; done when all have answered."""
        group = resolution.nearest
        if not group:
            self._question(resolution.target, GroupAddress(resolution.target))
            return
        for name in group:
            if name not in resolution.asked and name not in resolution.answered:
                resolution.asked[name] = 1
                self._question(resolution.target, NodeAddress(name))
        if all(name in resolution.answered for name in group):
            self._finish(resolution, group)

    def _question(self, target: bytes, to: Address, rank: int = 0) -> None:
        core = self.core
        via = core.relay.way_out(None)
        reply_to: Address
        if via is not None:
            reply_to = ClientAddress(via.name, core.key)
        elif core.name is not None:
            reply_to = NodeAddress(core.name)
        else:
            core.count("group.no_path")
            return
        # Who speaks through a proxy is in no table: there is nobody to leave out.
        leave_out = core.name if via is None and core.name is not None else b""
        body = encode(FindGroup(target, reply_to))
        core.relay.send(MessageKind.FIND_GROUP, to, body, rank=rank, leave_out=leave_out)

    def on_group(self, source: bytes, key: bytes, target: bytes, names: list[bytes]) -> bool:
        """A GroupIs of somebody we asked; tell whether it was one."""
        resolution = self.open.get(target)
        if resolution is None or (source not in resolution.asked and resolution.nearest):
            return False
        if resolution.keys.setdefault(key, source) != source:
            # Any two names may be drawn for a key, so two of its names are still one member.
            self.core.count("group.two_names")
            resolution.lost.append(source)
        elif source not in resolution.answered:
            resolution.answered.append(source)
            known = list(dict.fromkeys([*resolution.known, source, *names]))
            resolution.known = nearest(target, known, KNOWN_MAX)
        else:
            return True
        self._ask(resolution)
        return True

    def on_timeout(self, target: bytes) -> None:
        """Alarm: who has not answered counts as a member only if we hold it ourselves."""
        core = self.core
        resolution = self.open.get(target)
        if resolution is None:
            return
        core.count("group.unanswered")
        shown = [*resolution.answered, *resolution.spoke]
        alive = [name for name in resolution.known if name in shown or name in core.table]
        group = nearest(target, alive, GROUP_SIZE)
        resolution.tries += 1
        last = resolution.tries >= ROUNDS_MAX * core.limits.find_tries
        if last or not resolution.careful:
            self._finish(resolution, group)
            return
        waiting, resolution.waiting = resolution.waiting, []
        for arrival in waiting:
            self._distribute(arrival, group)
        for name in resolution.nearest:
            self._insist(resolution, name)
        core.alarm("group", target, core.limits.find_retry_ns)
        self._ask(resolution)

    def _insist(self, resolution: Resolution, name: bytes) -> None:
        """Ask a silent one again by another way; after three times it is dead, unless it is not."""
        core = self.core
        if name in resolution.answered:
            return
        if resolution.asked[name] < core.limits.find_tries:
            self._question(resolution.target, NodeAddress(name), resolution.asked[name])
            resolution.asked[name] += 1
        elif name in core.table or name in resolution.spoke:
            resolution.answered.append(name)
        else:
            resolution.lost.append(name)

    def _finish(self, resolution: Resolution, members: list[bytes]) -> None:
        core, target = self.core, resolution.target
        del self.open[target]
        core.alarms.cancel(("group", target))
        size = min(GROUP_SIZE, len(resolution.known))
        if members:
            group = Group(members, size, resolution.careful, core.now)
            self.cache.insert(target, group, now=core.now)
            self.cache.expire(now=core.now)
        else:
            core.count("group.unknown")
        for arrival in resolution.waiting:
            self._distribute(arrival, members)
        core.ballots.on_group(target)
        core.agreement.on_group(target)

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
        elif group and core.relay.is_genuine(arrival):
            core.delivery.acknowledge(arrival)

    def on_copy(self, arrival: Arrival) -> None:
        """A copy that came routed, from a first node that does not hold us."""
        opened = open_envelope(arrival.signed.body)
        if opened is None or not is_copied(opened[1]):
            self.core.count("copy.malformed")
            return
        envelope, signed = opened
        if wild := wild_number(envelope):
            self.core.count(wild)
            return
        self.core.relay.consume(Arrival(signed, envelope, arrival.token, copied=True))

    def on_table_changed(self) -> None:
        """A peer came or went: what we know of groups may have changed with it."""
        self.cache.clear()

    def on_disconnected(self) -> None:
        """No network, no groups; what waited is counted, and told if it was ours."""
        core = self.core
        for target, resolution in self.open.items():
            core.alarms.cancel(("group", target))
            for arrival in resolution.waiting:
                core.count("group.abandoned")
                if not arrival.token:
                    core.messaging.on_abandoned(arrival.signed.id)
        self.open.clear()
        self.cache.clear()


def _takes_the_place(arrival: Arrival, waiting: list[Arrival]) -> bool:
    """Let a later copy of a message stand for the one that waits; tell whether there was one."""
    for number, other in enumerate(waiting):
        if other.envelope.signed == arrival.envelope.signed:
            waiting[number] = arrival
            return True
    return False


def is_copied(signed: Signed) -> bool:
    """Tell whether this is an application's message to a group: what routed copies may carry."""
    kinds = (MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.BALLOT)
    return signed.kind in kinds and isinstance(signed.destination, GroupAddress)
