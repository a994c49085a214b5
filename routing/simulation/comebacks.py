"""How long a node that was restarted takes to be back among its neighbours, in virtual time.

One node at a time dies, half of them in silence, and is started anew after a drawn pause: at its
old address, with its key and name, or with fresh ones. It is back when it has min(8, nodes - 1)
routing connections. Nothing is judged but that time; what else must hold, the world checks.
"""

from __future__ import annotations

from random import Random

from routing.limits import GROUP_SIZE, SECOND, Nanos
from routing.simulation.hosts import Host
from routing.simulation.world import World
from routing.state import LinkRole

__all__ = ["PAUSES_S", "come_back", "comebacks"]

PAUSES_S = (0.0, 0.1, 1.0, 10.0, 60.0)
"""Seconds between a death and the next start; one is drawn each time."""

LATEST_NS = 300 * SECOND
"""A node that is not back by then counts as back then: it is far beyond any goal."""

STEP_NS = SECOND // 100
REST_NS = 60 * SECOND
"""Between a return and the next death: nobody believes any more in one that died in silence."""

_CONTACTS = 3
"""That a process is told of when it starts; drawn from those alive."""


def come_back(world: World, victim: Host, random: Random, *, fresh: bool) -> Nanos:
    """Kill a node, start it anew, and return how long it took from its start until it was back."""
    world.kill(victim, silent=random.random() < 0.5)
    world.run(int(random.choice(PAUSES_S) * SECOND))
    living = [host for host in world.alive if host.address != victim.address]
    known = random.sample(living, min(_CONTACTS, len(living)))
    host = world.restart(victim, [contact.address for contact in known], fresh=fresh)
    wanted = min(GROUP_SIZE, len(living))
    began = world.now
    ended = world.run_until(
        lambda: len(host.core.links_of(LinkRole.CONSOLIDATED)) >= wanted,
        limit_ns=LATEST_NS,
        step_ns=STEP_NS,
    )
    return Nanos(LATEST_NS if ended is None else ended - began)


def comebacks(world: World, times: int, *, fresh: bool) -> list[Nanos]:
    """Restart drawn nodes of a whole network, one after the other; return how long each took."""
    random = Random(f"comebacks {world.seed} {fresh}")
    took = []
    for _ in range(times):
        took.append(come_back(world, random.choice(world.alive), random, fresh=fresh))
        world.run(REST_NS)
    return took
