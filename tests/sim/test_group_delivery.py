"""Messages to groups in a simulated network: every member once, or the sender is told."""

from __future__ import annotations

import pytest

from routing.inputs import Submitted
from routing.limits import SECOND
from routing.messages import GroupAddress, MessageKind
from routing.names import nearest
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.links import Weather
from routing.simulation.scenarios import grow, make_world
from routing.simulation.traffic import Ledger, Parcel
from routing.simulation.world import World

__all__: list[str] = []


def formed(nodes: int, seed: int = 5) -> World:
    world = make_world(seed, command="", checks_every=16)
    grow(world, nodes, gap_low_ns=SECOND // 4, gap_high_ns=SECOND // 2)
    world.run(nodes * SECOND // 2)
    assert world.run_until(lambda: why_not_whole(world) is None, limit_ns=300 * SECOND) is not None
    return world


def name_of(host: Host) -> bytes:
    assert host.core.name is not None
    return host.core.name


def members(world: World, target: bytes) -> list[Host]:
    """Return the live group around a name, the nearest first."""
    by_name = {name_of(host): host for host in world.alive}
    return [by_name[name] for name in nearest(target, by_name, 8)]


def post(world: World, ledger: Ledger) -> Parcel:
    target = world.random.randbytes(32)
    source = world.random.choice(world.alive)
    return ledger.submit(source, GroupAddress(target), members(world, target))


def test_every_member_gets_every_message_once_though_a_tenth_of_the_routed_frames_is_lost() -> None:
    world = formed(30)
    ledger = Ledger(world)
    world.links.weather = Weather(loss=0.1)
    for _ in range(150):
        post(world, ledger)
        world.run(SECOND // 20)
    world.run(60 * SECOND)
    counters = world.counters()
    assert counters["delivery.retry"] > 10, "the weather was fair: nothing was shown"
    for parcel in ledger.parcels:
        told = parcel.failed is not None
        assert parcel.delivered or told, "neither delivered nor reported"
        assert all(times == 1 for times in parcel.delivered.values())
    assert sum(parcel.failed is not None for parcel in ledger.parcels) == 0
    assert all(not host.core.delivery.underway for host in world.hosts)


def test_message_outlives_the_first_node_of_its_group_that_died_in_silence() -> None:
    world = formed(30)
    ledger = Ledger(world)
    target = world.random.randbytes(32)
    first, *others = members(world, target)
    source = next(host for host in world.hosts if host is not first and host not in others)
    world.run(10 * SECOND)
    world.kill(first, silent=True)
    parcel = ledger.submit(source, GroupAddress(target), others)
    world.run(20 * SECOND)
    assert parcel.arrived and parcel.failed is None
    assert all(times == 1 for times in parcel.delivered.values())
    assert world.counters()["delivery.retry"] >= 1


def test_message_outlives_a_first_node_of_its_group_that_swallows_it_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = formed(30)
    ledger = Ledger(world)
    target = world.random.randbytes(32)
    first, *others = members(world, target)
    monkeypatch.setattr(first.core.groups, "on_message", lambda arrival, target: None)
    source = next(host for host in world.hosts if host is not first and host not in others)
    parcel = ledger.submit(source, GroupAddress(target), others)
    world.run(10 * SECOND)
    assert parcel.arrived and parcel.failed is None
    assert all(times == 1 for times in parcel.delivered.values())
    assert world.counters()["delivery.retry"] == 1


def test_message_to_a_group_that_everybody_swallows_every_time_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = formed(30)
    ledger = Ledger(world)
    target = world.random.randbytes(32)
    first, *others = members(world, target)
    for host in world.hosts:
        monkeypatch.setattr(host.core.groups, "on_message", lambda arrival, target: None)
    source = next(host for host in world.hosts if host is not first and host not in others)
    parcel = ledger.submit(source, GroupAddress(target), others)
    world.run(60 * SECOND)
    assert (parcel.failed, parcel.failures) == (
        "undeliverable: no acknowledgement after 8 routes",
        1,
    )


def test_request_to_a_group_is_asked_again_when_its_first_node_died_in_silence() -> None:
    world = formed(30)
    target = world.random.randbytes(32)
    first, *others = members(world, target)
    source = next(host for host in world.hosts if host is not first and host not in others)
    world.run(10 * SECOND)
    world.kill(first, silent=True)
    to = GroupAddress(target)
    world.tell(
        source,
        Submitted(1, MessageKind.REQUEST, to, b"?", bytes(16), False, 20 * SECOND, False),
    )
    world.run(15 * SECOND)
    assert [len(host.messages) for host in others] == [1] * 7
