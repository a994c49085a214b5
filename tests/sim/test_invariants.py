"""The judges of a network see what is missing: each fault made on purpose is told by its name."""

from __future__ import annotations

import pytest

from routing.limits import GROUP_SIZE, SECOND
from routing.names import bucket_index
from routing.simulation.hosts import Host, Violation
from routing.simulation.invariants import (
    check_identities,
    why_not_at_rest,
    why_not_filled,
    why_not_one_network,
    why_not_whole,
    why_stranded,
)
from routing.simulation.scenarios import grow, make_world
from routing.simulation.wires import Wire
from routing.simulation.world import World
from routing.state import LinkRole

__all__: list[str] = []


def formed(nodes: int, seed: int = 3) -> World:
    world = make_world(seed, command="")
    grow(world, nodes, gap_low_ns=SECOND, gap_high_ns=SECOND)
    world.run(nodes * SECOND)
    ready = world.run_until(
        lambda: why_not_whole(world) is None and why_not_at_rest(world) is None,
        limit_ns=300 * SECOND,
    )
    assert ready is not None
    return world


def consolidated(world: World) -> list[Wire]:
    return [
        wire
        for wire in world.wires
        if wire.dialler.open
        and world.hosts[wire.dialler.host.index].core.links[wire.dialler.token].role
        is LinkRole.CONSOLIDATED
    ]


def test_whole_network_is_whole_at_rest_and_one() -> None:
    world = formed(10)
    assert why_not_whole(world) is why_not_at_rest(world) is why_not_one_network(world) is None
    check_identities(world)


def test_lost_connection_to_a_near_node_is_missed() -> None:
    world = formed(5)
    world.reset(consolidated(world)[:1])
    assert "lacks node" in (why_not_whole(world) or "")


def has_room_after(world: World, wire: Wire) -> bool:
    """Tell whether both ends hold at most 8 in the bucket that the other is in."""
    cores = [world.hosts[end.host.index].core for end in (wire.dialler, wire.acceptor)]
    bucket = bucket_index(cores[0].table.own, cores[1].table.own)
    return all(core.table.bucket_size(bucket) <= GROUP_SIZE for core in cores)


def test_pair_that_could_hold_each_other_is_missed() -> None:
    world = formed(12)
    assert world.run_until(lambda: why_not_filled(world) is None, limit_ns=300 * SECOND)
    world.reset(next([wire] for wire in consolidated(world) if has_room_after(world, wire)))
    assert "both have room in bucket" in (why_not_filled(world) or "")


def test_half_open_connection_is_not_whole() -> None:
    world = formed(5)
    world.links.crash(consolidated(world)[0].dialler)
    assert why_not_whole(world) is not None


def test_dead_name_in_a_table_is_seen() -> None:
    world = formed(5)
    world.kill(world.hosts[2], silent=True)
    assert "dead or elsewhere" in (why_not_whole(world) or "")


def test_nodes_left_out_are_seen_as_elsewhere() -> None:
    world = formed(5)
    assert "dead or elsewhere" in (why_not_whole(world, world.hosts[:4]) or "")


def test_nameless_node_is_seen() -> None:
    world = formed(2)
    world.add_node(["127.9.9.9:4000"])
    world.run(SECOND)
    assert why_not_whole(world) == "node 2 has no name"


def test_node_below_eight_peers_among_ten_is_seen() -> None:
    world = formed(10)
    host = world.hosts[0]
    ours = [wire for wire in consolidated(world) if host in (end.host for end in wire.ends)]
    world.reset(ours[:2])
    assert why_not_whole(world) is not None


def test_networks_apart_are_not_one() -> None:
    world = formed(4)
    side = world.hosts[:2]
    world.reset(
        wire for wire in world.wires if (wire.dialler.host in side) != (wire.acceptor.host in side)
    )
    assert "are not joined to node 0" in (why_not_one_network(world) or "")


def test_pending_dial_and_frames_on_their_way_are_no_rest() -> None:
    world = formed(3)
    world.add_node([world.hosts[0].address])
    world.run(1)
    assert why_not_at_rest(world) == "node 3 has 1 dials in flight"


def test_one_sided_connection_is_no_rest() -> None:
    world = formed(3)
    wire = consolidated(world)[0]
    world.kill(world.hosts[wire.acceptor.host.index], silent=True)
    assert "the far end is closed" in (why_not_at_rest(world) or "")


def test_node_that_looks_for_no_network_is_told() -> None:
    world = formed(2)
    host: Host = world.hosts[0]
    world.kill(world.hosts[1], silent=False)
    world.run(SECOND // 2)
    assert why_stranded(world) is None
    host.core.bootstrapping.round = None
    host.core.alarms.clear()
    world.run(70 * SECOND)
    assert "node 0 has looked for no network" in (why_stranded(world) or "")


def test_route_that_leads_to_somebody_else_is_a_violation() -> None:
    world = formed(3)
    host = world.hosts[0]
    link = host.core.links_of(LinkRole.CONSOLIDATED)[0]
    link.key = bytes(32)
    with pytest.raises(Violation, match="is there"):
        check_identities(world)


def test_broken_local_invariant_is_told_with_the_seed() -> None:
    world = formed(3)
    core = world.hosts[1].core
    core.links[12_345] = core.links_of(LinkRole.CONSOLIDATED)[0]
    with pytest.raises(Violation, match=r"(?s)seed 3, .*owned by the core"):
        world.run(120 * SECOND)
