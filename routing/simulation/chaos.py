"""Faults of every kind at drawn times, one upon the other; then they stop and all must be whole.

It draws what happens and to whom from the seed; it knows no pattern and so finds those that the
other scenarios did not think of.
"""

from __future__ import annotations

from routing.limits import SECOND
from routing.simulation.hosts import Host
from routing.simulation.scenarios import HEAL_LIMIT_NS, Report, Run, begin, heal
from routing.simulation.world import World

__all__ = ["chaos"]

PAUSE_NS_MAX = 20 * SECOND
"""Between two faults, at most."""

SPELL_NS_MAX = 100 * SECOND
"""How long a partition or an absence lasts, at most: twice the silence limit."""

DEAD_SHARE_MAX = 3
"""At most one node in so many is dead at once."""


class Chaos:
    """The faults of one run."""

    def __init__(self, world: World, run: Run) -> None:
        self.world = world
        self.run = run
        self.dead: list[Host] = []
        self.addresses = [host.address for host in world.hosts]

    def strike(self) -> None:
        """Do one drawn harm, or undo one."""
        world, draw = self.world, self.world.random
        living = world.alive
        match draw.randrange(8):
            case 0 | 1:
                wires = world.wires
                world.reset(draw.sample(wires, min(len(wires), draw.randint(1, 5))))
            case 2:
                self._kill(draw.choice(living))
            case 3:
                self._stop(draw.choice(living))
            case 4 | 5:
                self._revive()
            case 6:
                side = draw.sample(living, draw.randint(1, max(1, len(living) // 2)))
                world.part([host for host in living if host not in side], side)
                world.clock.at(world.now + draw.randint(1, SPELL_NS_MAX), world.heal)
            case _:
                absent = draw.sample(living, min(len(living), draw.randint(1, 2)))
                world.take_offline(absent, abrupt=draw.random() < 0.5)
                back = world.now + draw.randint(1, SPELL_NS_MAX)
                world.clock.at(back, world.bring_online, absent)

    def _may_die(self) -> bool:
        return len(self.dead) < max(1, len(self.addresses) // DEAD_SHARE_MAX)

    def _kill(self, host: Host) -> None:
        if self._may_die():
            self.world.kill(host, silent=self.world.random.random() < 0.5)
            self.dead.append(host)

    def _stop(self, host: Host) -> None:
        if self._may_die():
            self.world.stop(host)
            self.dead.append(host)

    def _revive(self) -> None:
        draw = self.world.random
        if self.dead:
            host = self.dead.pop(draw.randrange(len(self.dead)))
            others = [address for address in self.addresses if address != host.address]
            contacts = draw.sample(others, min(3, len(others)))
            self.world.restart(host, contacts, fresh=draw.random() < 0.5)

    def rage(self, nanoseconds: int) -> None:
        """Strike again and again for so long; then end every fault and bring back the dead."""
        world = self.world
        end = world.now + nanoseconds
        while world.now < end:
            self.strike()
            world.run(world.random.randint(1, PAUSE_NS_MAX))
            self.run.whole()
        world.run(SPELL_NS_MAX)
        world.heal()
        while self.dead:
            self._revive()
        world.run(1)


def chaos(world: World, nodes: int, seconds: int) -> Report:
    """Form a network, harm it in every way for so many seconds; then all faults end."""
    run = Run("chaos", world)
    if begin(run, nodes):
        Chaos(world, run).rage(seconds * SECOND)
        heal(run, world.heal, HEAL_LIMIT_NS)
    return run.report(nodes)
