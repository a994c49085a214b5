"""Whole runs: a network forms, is harmed and has to be whole again; each ends in one `Report`.

A scenario raises `Violation` for what must never be; being too slow is a report that is not `ok`,
with the reason in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from routing.errors import UsageError
from routing.inputs import ContactsLearnt
from routing.limits import SECOND, Limits, Nanos
from routing.simulation.hosts import Host
from routing.simulation.invariants import (
    check_identities,
    why_host_not_at_rest,
    why_not_filled,
    why_not_one_network,
    why_not_whole,
    why_stranded,
)
from routing.simulation.links import Weather
from routing.simulation.world import World
from routing.state import Detail

__all__ = [
    "Report",
    "Run",
    "begin",
    "flash_crowd",
    "form",
    "grow",
    "heal",
    "make_world",
    "merge",
    "named",
    "outage",
    "partition_heal",
    "rejoin",
]

NODES_MAX = 2_000
"""More do not fit the memory of one small machine."""

FORM_LIMIT_NS = 300 * SECOND
"""After the last node has started."""

HEAL_LIMIT_NS = 600 * SECOND
MERGE_LIMIT_NS = 300 * SECOND
REST_LIMIT_NS = 240 * SECOND
FILL_LIMIT_NS = 1_800 * SECOND
"""Until nobody lacks a connection that both ends have room for: a walk through the largest bucket
takes one tick of about 30 s for each 5 nodes that live in it, and few need a whole one."""
STAY_NS = 30 * SECOND
AGREE_NS = SECOND
"""A Confirmation takes so long at most: until it arrives, one end holds what the other does not."""


NAMED_MAX = 3
"""Nodes whose last events are told where a network is not as it should be."""

_NAMED = re.compile(r"\b(?:nodes?|client) \[?(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of one run; times are virtual nanoseconds since the world began."""

    scenario: str
    nodes: int
    seed: int
    ok: bool
    reason: str
    """What was missing where it is not ok, else empty."""
    formed_ns: int | None
    """When the network was whole for the first time."""
    filled_ns: int | None
    """When nobody lacked a connection any more that both ends had room for."""
    connections: tuple[float, int]
    """Of the nodes alive at the end: the mean and the most."""
    harmed_ns: int | None
    """When the fault began (killed, offline, introduced), None without one."""
    healed_ns: int | None
    """When it was whole again."""
    ended_ns: int
    killed: tuple[int, ...]
    events: int
    """Steps of the simulation."""
    frames: dict[str, int]
    """Sent, by kind."""
    digest: str
    """Of everything that happened: equal for equal seeds."""
    counters: dict[str, int]
    """Of all cores, summed."""

    @property
    def heal_seconds(self) -> float | None:
        """Virtual seconds from the beginning of the fault to being whole again."""
        if self.healed_ns is None or self.harmed_ns is None:
            return None
        return (self.healed_ns - self.harmed_ns) / SECOND


class Run:
    """A scenario under way: a world and the times that matter."""

    def __init__(self, scenario: str, world: World) -> None:
        self.scenario = scenario
        self.world = world
        self.formed_ns: Nanos | None = None
        self.filled_ns: Nanos | None = None
        self.harmed_ns: Nanos | None = None
        self.healed_ns: Nanos | None = None
        self.killed: tuple[int, ...] = ()
        self.reason = ""
        self._seen: tuple[int, int] | None = None
        self._why: str | None = "nothing has happened"

    @property
    def why(self) -> str | None:
        """What was missing when it was last asked whether the network is whole."""
        return self._why

    def whole(self, among: Sequence[Host] | None = None) -> bool:
        """Tell whether the network is whole now, and assert what must hold at any time."""
        world = self.world
        stranded = why_stranded(world)
        if stranded is not None:
            raise world.violation(stranded, named(world, stranded))
        state = (world.changes, len(world.alive))
        if state != self._seen or among is not None:
            # What was found among some says nothing about all.
            self._seen = state if among is None else None
            check_identities(world)
            self._why = why_not_whole(world, among)
        return self._why is None

    def wait_whole(self, what: str, limit_ns: int) -> Nanos | None:
        """Let time pass until the network is whole; where it never is, say why in the report."""
        at = self.world.run_until(self.whole, limit_ns=limit_ns)
        if at is None:
            self.reason = f"{what}: not whole after {limit_ns / SECOND:.0f} s: {self._why}"
        return at

    def wait_rest(self) -> bool:
        """Let time pass until every node has been at rest, and stay whole; else give the reason."""
        world = self.world
        busy = world.alive

        def all_rested() -> bool:
            busy[:] = [host for host in busy if why_host_not_at_rest(world, host) is not None]
            return not busy

        if world.run_until(all_rested, limit_ns=REST_LIMIT_NS) is None:
            self.reason = f"never at rest: {why_host_not_at_rest(world, busy[0])}"
            return False
        until = world.now + STAY_NS
        while world.run_until(lambda: not self.whole(), limit_ns=until - world.now) is not None:
            if world.run_until(self._missing_another(), limit_ns=AGREE_NS) is None:
                self.reason = f"whole no longer, without a fault: {self._why}"
                return False
        apart = why_not_one_network(world)
        self.reason = apart or ""
        return apart is None

    def _missing_another(self) -> Callable[[], bool]:
        """Return a question whether what is missing now is there; something else may be missing.

        While buckets fill there is always a Confirmation on its way somewhere in a large network.
        """
        missing = self._why
        return lambda: self.whole() or self._why != missing

    def wait_filled(self, what: str) -> Nanos | None:
        """Let time pass until every bucket is as full as it can be; else give the reason."""
        world = self.world

        def filled() -> bool:
            return why_not_filled(world) is None

        at = world.run_until(filled, limit_ns=FILL_LIMIT_NS, step_ns=5 * SECOND)
        if at is None:
            self.reason = f"{what}: not filled after {FILL_LIMIT_NS / SECOND:.0f} s: "
            self.reason += str(why_not_filled(world))
        return at

    def report(self, nodes: int) -> Report:
        """Return what came of it; ok if nothing was missing."""
        world = self.world
        sizes = [len(host.core.table) for host in world.alive]
        return Report(
            scenario=self.scenario,
            nodes=nodes,
            seed=world.seed,
            ok=not self.reason,
            reason=self.reason,
            formed_ns=self.formed_ns,
            filled_ns=self.filled_ns,
            connections=(sum(sizes) / max(len(sizes), 1), max(sizes, default=0)),
            harmed_ns=self.harmed_ns,
            healed_ns=self.healed_ns,
            ended_ns=world.now,
            killed=self.killed,
            events=world.clock.events,
            frames={kind.name: count for kind, count in sorted(world.links.frames.items())},
            digest=world.trace.digest(),
            counters=world.counters(),
        )


def named(world: World, reason: str) -> list[Host]:
    """Return the first nodes that a reason names: whose last events help to understand it."""
    numbers = dict.fromkeys(int(number) for number in _NAMED.findall(reason))
    return [world.hosts[number] for number in numbers if number < len(world.hosts)][:NAMED_MAX]


def grow(world: World, nodes: int, *, gap_low_ns: int, gap_high_ns: int) -> list[Host]:
    """Add nodes that start one after the other: the first founds, each later one knows three.

    The contacts are the first node and two earlier ones, drawn. Time is not moved.
    """
    at = int(world.now)
    network: list[Host] = []
    for number in range(nodes):
        earlier = network[1:]
        drawn = world.random.sample(earlier, min(2, len(earlier)))
        contacts = [host.address for host in [*network[:1], *drawn]]
        network.append(world.add_node(contacts, first=number == 0, at=at))
        at += world.random.randint(gap_low_ns, gap_high_ns)
    return network


def begin(run: Run, nodes: int, *, crowd: bool = False) -> bool:
    """Form a network and wait until it is whole and at rest."""
    if not 1 <= nodes <= NODES_MAX:
        raise UsageError(f"nodes={nodes} must be 1 to {NODES_MAX}")
    low, high = (0, SECOND // nodes) if crowd else (SECOND // 2, 2 * SECOND)
    world = run.world
    network = grow(world, nodes, gap_low_ns=low, gap_high_ns=high)
    started = world.run_until(
        lambda: all(host.alive for host in network), limit_ns=nodes * high + 1
    )
    assert started is not None, "every node starts within its time"
    run.formed_ns = run.wait_whole("forming", HEAL_LIMIT_NS if crowd else FORM_LIMIT_NS)
    if run.formed_ns is None:
        return False
    if nodes == 1 and network[0].core.state.detail is not Detail.RELOCATED:
        run.reason = f"the only node is {network[0].core.state} and has not founded"
    return not run.reason and run.wait_rest()


def heal(run: Run, harm: Callable[[], None], limit_ns: int = HEAL_LIMIT_NS) -> None:
    run.harmed_ns = run.world.now
    harm()
    run.healed_ns = run.wait_whole("healing", limit_ns)
    if run.healed_ns is not None:
        run.wait_rest()


def form(world: World, nodes: int, kill: int = 0) -> Report:
    """Form a network one by one; then kill some at once, the first node included, and heal.

    Each time it is whole first, and every bucket is as full as it can be later.
    """
    if not 0 <= kill < max(nodes, 1):
        raise UsageError(f"kill={kill} must be 0 to {nodes - 1}: less than nodes={nodes}")
    run = Run("form", world)
    if begin(run, nodes):
        run.filled_ns = run.wait_filled("forming")
    if run.filled_ns is not None and kill:
        victims = world.random.sample(world.hosts, kill)
        run.killed = tuple(sorted(host.index for host in victims))

        def harm() -> None:
            for host in victims:
                world.kill(host, silent=world.random.random() < 0.5)

        heal(run, harm)
        if not run.reason:
            run.wait_filled("healing")
    return run.report(nodes)


def rejoin(world: World, nodes: int, kill: int) -> Report:
    """Kill some and start them anew at once, half with their key and name, half fresh."""
    if not 0 < kill < nodes:
        raise UsageError(f"kill={kill} must be 1 to {nodes - 1}: less than nodes={nodes}")
    run = Run("rejoin", world)
    if begin(run, nodes):
        victims = world.random.sample(world.hosts, kill)
        run.killed = tuple(sorted(host.index for host in victims))

        def harm() -> None:
            for number, host in enumerate(victims):
                world.kill(host, silent=number % 3 == 0)
            for number, host in enumerate(victims):
                known = world.random.sample(world.alive, min(3, len(world.alive)))
                contacts = [contact.address for contact in known if contact.address != host.address]
                world.restart(host, contacts, fresh=number % 2 == 1)

        heal(run, harm)
    return run.report(nodes)


def outage(world: World, nodes: int, seconds: int, *, abrupt: bool = True) -> Report:
    """All nodes lose every connection at once; for so many seconds no packet passes."""
    run = Run("outage", world)
    if begin(run, nodes):

        def harm() -> None:
            world.take_offline(world.hosts, abrupt=abrupt)
            world.run_until(lambda: _looked_at(run), limit_ns=seconds * SECOND, step_ns=SECOND)
            world.bring_online(world.hosts)

        heal(run, harm)
    return run.report(nodes)


def _looked_at(run: Run) -> bool:
    """Assert what holds at any time, and go on: during a fault nobody asks for more."""
    run.whole()
    return False


def merge(world: World, nodes: int = 6) -> Report:
    """Form two networks of so many nodes apart; then one node of each is told of the other."""
    run = Run("merge", world)
    if not begin(run, nodes):
        return run.report(2 * nodes)
    ours = list(world.hosts)
    theirs = grow(world, nodes, gap_low_ns=SECOND // 2, gap_high_ns=2 * SECOND)
    second = world.run_until(
        lambda: all(host.alive for host in theirs) and run.whole(theirs), limit_ns=FORM_LIMIT_NS
    )
    if second is None:
        run.reason = "forming: the second network is not whole"
        return run.report(2 * nodes)
    one, other = world.random.choice(ours), world.random.choice(theirs)

    def harm() -> None:
        world.tell(one, ContactsLearnt([other.address]))
        world.tell(other, ContactsLearnt([one.address]))

    heal(run, harm, MERGE_LIMIT_NS)
    return run.report(2 * nodes)


def flash_crowd(world: World, nodes: int) -> Report:
    """All nodes start within one second."""
    run = Run("flash_crowd", world)
    begin(run, nodes, crowd=True)
    return run.report(nodes)


def partition_heal(world: World, nodes: int, seconds: int) -> Report:
    """The network is cut in two halves for so many seconds; then it must be one again."""
    run = Run("partition_heal", world)
    if begin(run, nodes):
        members = world.random.sample(world.hosts, nodes)

        def harm() -> None:
            world.part(members[: nodes // 2], members[nodes // 2 :])
            world.run_until(lambda: _looked_at(run), limit_ns=seconds * SECOND, step_ns=SECOND)
            world.heal()

        heal(run, harm)
    return run.report(nodes)


def make_world(
    seed: int,
    *,
    command: str,
    loss: float = 0.0,
    limits: Limits | None = None,
    checks_every: int = 1,
    real_signatures: bool = False,
    bytewise: bool = False,
) -> World:
    """Return a world for a scenario; `loss` is the share of routed frames lost at each hop."""
    return World(
        seed,
        limits=limits,
        weather=Weather(loss=loss, duplication=loss / 2),
        checks_every=checks_every,
        real_signatures=real_signatures,
        bytewise=bytewise,
        command=command,
    )
