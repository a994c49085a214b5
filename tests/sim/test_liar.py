"""One node in twelve lies: the others keep every invariant and are whole in spite of it."""

from __future__ import annotations

from random import Random

import pytest

from routing.inputs import Submitted
from routing.limits import SECOND
from routing.messages import FrameKind, MessageKind, NodeAddress
from routing.simulation.invariants import why_not_whole
from routing.simulation.liar import LIES, Liar, Lie
from routing.simulation.scenarios import Run, begin, make_world
from routing.simulation.world import World

__all__: list[str] = []

NODES = 12
HEAL_NS = 300 * SECOND


def lied_to(seed: int, lies: tuple[Lie, ...], seconds: int = 60) -> tuple[World, Run, Liar]:
    """Return a whole network that a liar has joined and lied to for so many seconds."""
    world = make_world(seed, command="", checks_every=4)
    run = Run("liar", world)
    assert begin(run, NODES), run.reason
    host = world.add_liar([each.address for each in world.hosts[:3]], lies)
    liar = host.core
    assert isinstance(liar, Liar)
    assert world.run_until(lambda: liar.active, limit_ns=60 * SECOND) is not None
    for _ in range(seconds):
        world.run(SECOND)
        run.whole()
    return world, run, liar


@pytest.mark.parametrize("lie", LIES)
def test_honest_nodes_are_whole_whatever_the_lie(lie: Lie) -> None:
    world, run, liar = lied_to(1, (lie,))
    # Somebody to vote and vouch for.
    for host in world.alive[:2]:
        world.add_node([host.address], at=world.now)
        world.run(SECOND)
    assert run.wait_whole("beside a liar", HEAL_NS) is not None, run.reason
    assert liar.told[lie] > 0
    (host,) = world.liars
    world.kill(host, silent=True)
    assert run.wait_whole("without the liar", HEAL_NS) is not None, run.reason
    assert run.wait_rest(), run.reason


@pytest.mark.parametrize("seed", range(3))
def test_newcomer_joins_although_a_liar_does_everything(seed: int) -> None:
    world, run, liar = lied_to(seed, LIES, seconds=20)
    newcomers = [world.add_node([world.hosts[i].address], at=world.now) for i in range(3)]
    world.run(SECOND)
    assert run.wait_whole("joining beside a liar", HEAL_NS) is not None, run.reason
    assert all(len(host.core.table) for host in newcomers)
    assert sum(count > 0 for count in liar.told.values()) >= 6, liar.told


def test_liar_that_swallows_does_not_keep_messages_from_arriving() -> None:
    """They are sent again, by another first hop, until somebody else passes them on."""
    world, run, liar = lied_to(3, (Lie.SWALLOWS, Lie.UNROUTABLE))
    assert run.wait_whole("beside a liar", HEAL_NS) is not None, run.reason
    draw = Random(3)
    wanted = 0
    for number in range(40):
        source, target = draw.sample(world.alive, 2)
        assert target.core.name is not None
        wanted += 1
        world.tell(
            source,
            Submitted(
                reference=number,
                kind=MessageKind.MESSAGE,
                destination=NodeAddress(target.core.name),
                payload=b"through",
                id=draw.randbytes(16),
                failed=False,
                timeout_ns=30 * SECOND,
                signed=True,
            ),
        )
    world.run(40 * SECOND)
    assert sum(len(host.messages) for host in world.alive) == wanted
    assert liar.told


def test_liar_says_only_what_its_key_and_its_connections_allow() -> None:
    """It has the same host as everybody: to name a dead token would be a fault of it."""
    world, _, liar = lied_to(5, LIES, seconds=30)
    (host,) = world.liars
    assert host not in world.alive and liar.key == host.key
    assert world.links.frames[FrameKind.ROUTED] > 1_000


def test_liar_need_not_be_held_and_everybody_else_must_be() -> None:
    world, run, _ = lied_to(1, (Lie.SWALLOWS,))
    assert run.wait_whole("beside a liar", HEAL_NS) is not None, run.reason
    (host,) = world.liars
    world.reset([end.wire for end in host.ends.values()])
    assert why_not_whole(world) is None, "a liar has left, and nobody is missed"
    end = next(iter(world.alive[0].ends.values()))
    world.reset([end.wire])
    assert why_not_whole(world) is not None
