"""Nodes come and go: every death is followed by a newcomer who joins through the protocol.

Sessions are exponential, so a node that is there already has as long to live as a newcomer. It
kills and replaces and keeps book of it; what should come of that is asked for elsewhere.
"""

from __future__ import annotations

from math import log
from random import Random

from routing.errors import UsageError
from routing.limits import Nanos
from routing.simulation.hosts import Host
from routing.simulation.world import World
from routing.state import Detail

__all__ = ["Turnover"]

_CONTACTS = 3
"""That a newcomer is told of; drawn from those alive."""

_DRAWS_MAX = 1_000
"""Before it counts as proved that hardly anybody is a member."""


class Turnover:
    """Deaths and newcomers in one world.

    Args:
        world: With the nodes that are there already.
        median_ns: Half of all sessions are shorter.
        silent: The share of deaths that nobody is told of; the others reset their connections.

    Raises:
        UsageError: a number is out of its bounds.
    """

    def __init__(self, world: World, *, median_ns: int, silent: float = 0.5) -> None:
        if median_ns <= 0 or not 0.0 <= silent <= 1.0:
            raise UsageError(f"median_ns={median_ns} must be positive, silent={silent} 0 to 1")
        self.world = world
        self.mean_ns = median_ns / log(2)
        self.silent = silent
        self.died_at: dict[int, Nanos] = {}
        """Host -> when it died."""
        self.newcomers = 0
        self._random = Random(f"turnover {world.seed}")
        self._living = [host for host in world.hosts if host.alive and not host.client]
        self._place = {host.index: place for place, host in enumerate(self._living)}

    def start(self) -> None:
        """From now on everybody has a time to die."""
        for host in self._living:
            self._schedule(host)

    def _schedule(self, host: Host) -> None:
        session = int(self._random.expovariate(1.0) * self.mean_ns)
        self.world.clock.at(self.world.now + session, self._die, host)

    def _die(self, host: Host) -> None:
        world = self.world
        self.died_at[host.index] = world.now
        place, last = self._place.pop(host.index), self._living.pop()
        if last is not host:
            self._living[place] = last
            self._place[last.index] = place
        world.kill(host, silent=self._random.random() < self.silent)
        known = self._random.sample(self._living, min(_CONTACTS, len(self._living)))
        newcomer = world.add_node([contact.address for contact in known], at=world.now)
        self.newcomers += 1
        self._place[newcomer.index] = len(self._living)
        self._living.append(newcomer)
        self._schedule(newcomer)

    def member(self, besides: Host | None = None) -> Host | None:
        """Return a drawn node that is CONNECTED, other than `besides`; None if there is hardly one.

        A newcomer that has not joined is nobody's source and nobody's destination.
        """
        for _ in range(_DRAWS_MAX if self._living else 0):
            host = self._random.choice(self._living)
            if host is not besides and host.core.state.detail >= Detail.CONNECTED:
                return host
        return None

    def lived(self, host: int, since: Nanos, nanoseconds: int) -> bool:
        """Tell whether a host was alive for so long after `since`."""
        died = self.died_at.get(host)
        return died is None or died >= since + nanoseconds
