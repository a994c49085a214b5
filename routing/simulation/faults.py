"""The faults a world knows: what goes wrong between hosts, on one connection, and within a host.

`Harm` does what it is told and undoes what it is told; when and to whom is the business of whoever
calls it (`chaos`, `swarm`, a scenario, a test). Each fault is a method of `World`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from routing.errors import UsageError
from routing.simulation.clock import Clock
from routing.simulation.hosts import Host, Network
from routing.simulation.links import Links
from routing.simulation.wires import End, Wire

__all__ = ["Harm"]


class Harm:
    """The faults of one world; `World` is one of these and has the rest."""

    clock: Clock
    hosts: list[Host]
    links: Links
    network: Network

    # -- a host ends, sleeps, runs short

    def kill(self, host: Host, *, silent: bool) -> None:
        """End a node: its machine vanishes without a word (`silent`), or its process crashes."""
        ends = list(host.ends.values())
        if silent:
            host.gone = True
        for end in ends:
            if silent:
                host.release(end)
                self.links.mute(end.far)
            else:
                self.links.crash(end)
        host.leave()
        host.changes += 1

    def stop(self, host: Host) -> None:
        """Stop a node in good order."""
        if host.asleep:
            raise UsageError(f"node {host.index} is asleep; wake it before a stop")
        self._guard(host.stop)

    def sleep(self, host: Host, nanoseconds: int, *, counted: bool) -> None:
        """Suspend a node for so long: it does nothing, and its timers fire late or later.

        Args:
            host: Alive and awake.
            nanoseconds: How long it sleeps.
            counted: Its clock goes on meanwhile, as for a process that is stopped; without it the
                clock stands still, as on a machine that is suspended.
        """
        if host.asleep or not host.alive:
            raise UsageError(f"node {host.index} is asleep or dead; only who is awake can sleep")
        host.fall_asleep()
        wake_up = partial(host.wake_up, nanoseconds, counted=counted)
        self.clock.at(self.clock.now + nanoseconds, wake_up)

    def run_short(self, host: Host, descriptors: int | None) -> None:
        """Allow a node so many connections and dials; None for any number again."""
        host.descriptors = descriptors

    def slow_down(self, host: Host, bytes_per_s: int) -> None:
        """Let a node read only so many bytes in a second; 0 for all that comes again."""
        host.read_bytes_s = bytes_per_s

    # -- one connection

    def reset(self, wires: Iterable[Wire]) -> None:
        """Break connections: both ends are told at once, what was on the way is lost."""
        for wire in wires:
            self._guard(partial(self.links.reset, wire))

    def stall(self, ends: Iterable[End], nanoseconds: int) -> None:
        """Let nothing reach these ends for so long; then everything, in order."""
        for end in ends:
            lane = end.far.out
            self.links.stall(lane)
            self.clock.at(self.clock.now + nanoseconds, self.links.go_on, lane)

    def deafen(self, end: End) -> None:
        """Make a connection half-open: nothing reaches this end any more, for good."""
        self.links.deafen(end)
        end.host.changes += 1

    # -- between hosts

    def take_offline(self, hosts: Iterable[Host], *, abrupt: bool) -> None:
        """No packet reaches or leaves these hosts; with `abrupt` their connections break at once.

        Without it connections go silent, as behind a pulled cable further on.
        """
        for host in hosts:
            host.online = False
        if abrupt:
            self.reset([wire for wire in self.wires if not self._joined(wire)])
        self._part()

    def bring_online(self, hosts: Iterable[Host]) -> None:
        """Packets pass again."""
        for host in hosts:
            host.online = True
        self._join()

    def part(self, *groups: Iterable[Host]) -> None:
        """Cut the network so that only hosts of one group reach each other."""
        for side, group in enumerate(groups):
            for host in group:
                host.side = side
        self._part()

    def part_one_way(self, sources: Iterable[Host], targets: Iterable[Host]) -> None:
        """Lose every packet from these hosts to those; the other way they pass.

        A dial needs both ways. Of an open connection only what goes this way is held.
        """
        ways = ((source.index, target.index) for source in sources for target in targets)
        self.links.closed_ways.update(ways)
        self._part()

    def heal(self) -> None:
        """End every partition, of both kinds."""
        for host in self.hosts:
            host.side = 0
        self.links.closed_ways.clear()
        self._join()

    def block_dials(self, dialler: Host, acceptor: Host) -> None:
        """Let no dial of the one reach the other, as behind a NAT; connections that are stay."""
        self.network.dialling.blocked.add((dialler.index, acceptor.index))

    def allow_dials(self) -> None:
        """Let every dial pass again; hosts that are shielded stay so."""
        self.network.dialling.blocked.clear()

    def worsen(self, *, loss: float, duplication: float) -> None:
        """Lose and double so large a share of ROUTED frames at each hop from now on."""
        self.links.weather = replace(self.links.weather, loss=loss, duplication=duplication)

    # -- inside

    @property
    def wires(self) -> list[Wire]:
        """Every connection that at least one end holds, oldest first."""
        found = {end.wire.number: end.wire for host in self.hosts for end in host.ends.values()}
        return [found[number] for number in sorted(found)]

    def _joined(self, wire: Wire) -> bool:
        return self.links.reaches(wire.dialler.host, wire.acceptor.host)

    def _part(self) -> None:
        for wire in self.wires:
            self.links.part(wire)

    def _join(self) -> None:
        for wire in self.wires:
            self.links.join(wire)

    def _guard(self, call: Callable[[], None]) -> None:
        raise NotImplementedError
