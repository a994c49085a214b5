"""Large messages cross a simulated network whole, once, or fail by name at their source."""

from __future__ import annotations

from random import Random

import pytest

from routing.actions import Answered, Failed
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.messages import (
    Address,
    ClientAddress,
    MessageKind,
    NodeAddress,
)
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.links import Weather
from routing.simulation.scenarios import grow
from routing.simulation.world import World

__all__: list[str] = []

LIMITS = Limits().but(
    payload_bytes_max=4_096,
    part_bytes=1_024,
    large_bytes_max=65_536,
    large_waiting_bytes=1_048_576,
    reassembly_bytes=262_144,
)
"""A sixteenth of everything: the figures are the tests' own, the rules are not."""


def body_of(number: int, size: int = 65_536) -> bytes:
    return Random(number).randbytes(size)


def formed(nodes: int, seed: int = 5) -> World:
    world = World(seed, limits=LIMITS, checks_every=4)
    grow(world, nodes, gap_low_ns=SECOND, gap_high_ns=SECOND)
    world.run(nodes * SECOND)
    assert world.run_until(lambda: why_not_whole(world) is None, limit_ns=300 * SECOND) is not None
    return world


def name_of(host: Host) -> bytes:
    assert host.core.name is not None
    return host.core.name


def submit(
    world: World,
    host: Host,
    to: Address,
    payload: bytes,
    *,
    reference: int = 1,
    kind: MessageKind = MessageKind.MESSAGE,
    asked: bytes = bytes(16),
    token: bytes = b"",
) -> None:
    wait = 300 * SECOND
    world.tell(
        host,
        Submitted(reference, kind, to, payload, asked, False, wait, False, token=token),
    )


def far_pair(world: World) -> tuple[Host, Host]:
    """Return two nodes that are not connected."""
    return next(
        (one, other)
        for one in world.hosts
        for other in world.hosts
        if one is not other and name_of(other) not in one.core.table
    )


def at_rest(world: World) -> bool:
    """Nobody sends a large message, nobody holds a part of one."""
    cores = [host.core for host in world.hosts if host.alive]
    return not any(core.parts.open or core.assembly.open for core in cores)


def end_of(world: World, host: Host) -> list[Failed]:
    """Let a large message of a host come to its end and return how it failed."""
    assert world.run_until(lambda: not host.core.parts.open, limit_ns=300 * SECOND) is not None
    return [each for each in host.answers if isinstance(each, Failed)]


def test_large_message_crosses_several_hops_whole() -> None:
    world = formed(40)
    one, other = far_pair(world)
    submit(world, one, NodeAddress(name_of(other)), body_of(1))
    assert end_of(world, one) == []
    assert [each.payload for each in other.messages] == [body_of(1)]
    assert one.progress == {1: (65_536, 65_536)}
    assert at_rest(world)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_large_message_arrives_once_though_parts_are_lost_doubled_and_overtaken(
    seed: int,
) -> None:
    world = formed(20, seed)
    world.links.weather = Weather(loss=0.1, duplication=0.05, jitter_ns=50_000_000)
    sent = dict[bytes, Host]()
    for number in range(10):
        one, other = world.random.sample(world.hosts, 2)
        sent[body_of(number)] = other
        submit(world, one, NodeAddress(name_of(other)), body_of(number), reference=number)
    assert world.run_until(lambda: at_rest(world), limit_ns=600 * SECOND) is not None
    assert [each for host in world.hosts for each in host.answers] == []
    for host in world.hosts:
        heard = sorted(each.payload for each in host.messages)
        assert heard == sorted(body for body, to in sent.items() if to is host)
    assert world.counters()["delivery.retry"] > 100, "the weather was fair: nothing was shown"
    assert world.counters()["large.through"] == 10


def test_large_request_of_a_client_gets_a_large_reply_in_bad_weather() -> None:
    world = formed(12)
    client = world.add_node([world.hosts[2].address], client=True)
    world.run(5 * SECOND)
    world.links.weather = Weather(loss=0.05)
    node = world.hosts[9]
    submit(world, client, NodeAddress(name_of(node)), body_of(1), kind=MessageKind.REQUEST)
    assert end_of(world, client) == []
    (request,) = node.messages
    assert request.payload == body_of(1)
    reply, kind = body_of(2), MessageKind.REPLY
    submit(world, node, request.source, reply, kind=kind, asked=request.id, token=request.token)
    assert end_of(world, node) == []
    (answer,) = client.answers
    assert isinstance(answer, Answered) and answer.payload == reply
    assert at_rest(world)


def test_client_sends_a_large_message_to_a_client() -> None:
    world = formed(12)
    clients = [world.add_node([world.hosts[at].address], client=True) for at in (2, 9)]
    world.run(5 * SECOND)
    submit(world, clients[0], ClientAddress(name_of(world.hosts[9]), clients[1].key), body_of(1))
    assert end_of(world, clients[0]) == []
    assert [each.payload for each in clients[1].messages] == [body_of(1)]


def test_more_sources_than_there_is_room_for_wait_and_all_get_through() -> None:
    world = formed(12)
    target, *others = world.hosts
    for host in others:
        submit(world, host, NodeAddress(name_of(target)), body_of(host.index))
    held = list[int]()
    while not at_rest(world):
        world.run(SECOND // 10)
        held.append(sum(each.size for each in target.core.assembly.open.values()))
        assert world.now < 600 * SECOND
    heard = sorted(each.payload for each in target.messages)
    assert heard == sorted(body_of(host.index) for host in others)
    assert max(held) == LIMITS.reassembly_bytes
    assert target.core.counters["part.busy"] > 0, "there was room for all: nothing was shown"


def half_way(world: World, one: Host, other: Host) -> None:
    """Let a large message from one to the other get as far as its middle."""
    submit(world, one, NodeAddress(name_of(other)), body_of(1))

    def is_half() -> bool:
        return one.progress.get(1, (0, 0))[0] >= 32_768

    assert world.run_until(is_half, limit_ns=60 * SECOND, step_ns=SECOND // 50) is not None
    assert len(other.core.assembly.open) == 1


@pytest.mark.parametrize("silent", [True, False])
def test_source_is_told_that_the_destination_died_half_way(silent: bool) -> None:
    world = formed(40)
    one, other = far_pair(world)
    half_way(world, one, other)
    world.kill(other, silent=silent)
    (failed,) = end_of(world, one)
    assert failed.reason.startswith(("undeliverable", "unroutable"))


def test_destination_that_starts_anew_half_way_is_not_believed_to_have_the_message() -> None:
    world = formed(40)
    one, other = far_pair(world)
    half_way(world, one, other)
    world.kill(other, silent=False)
    again = world.restart(other, [world.hosts[0].address])
    (failed,) = end_of(world, one)
    assert failed.reason.startswith(("undeliverable", "unroutable"))
    done, total = one.progress[1]
    assert done < total
    assert not again.messages


def test_destination_that_has_let_go_half_way_is_not_believed_to_have_the_message() -> None:
    world = formed(40)
    one, other = far_pair(world)
    half_way(world, one, other)
    (subject,) = other.core.assembly.open
    other.core.assembly.on_expired(subject)
    (failed,) = end_of(world, one)
    assert failed.reason == "undeliverable: no acknowledgement after 8 routes"
    assert one.progress[1][0] < 65_536
    assert other.core.counters["part.unknown"] >= 8
    assert not other.messages


@pytest.mark.parametrize("silent", [True, False])
def test_what_came_from_a_source_that_died_half_way_is_let_go_of(silent: bool) -> None:
    world = formed(40)
    one, other = far_pair(world)
    half_way(world, one, other)
    world.kill(one, silent=silent)
    world.run(LIMITS.large_idle_ns + SECOND)
    assert at_rest(world)
    assert other.core.counters["assembly.expired"] == 1
    assert not other.messages


def test_relay_that_dies_half_way_costs_parts_and_not_the_message() -> None:
    world = formed(40)
    one, other = far_pair(world)
    half_way(world, one, other)
    hop = one.core.table.next_hop(name_of(other))
    assert hop is not None
    world.kill(next(host for host in world.hosts if name_of(host) == hop), silent=True)
    assert end_of(world, one) == []
    assert [each.payload for each in other.messages] == [body_of(1)]
    assert one.core.counters["delivery.retry"] > 0


def test_same_seed_tells_the_same_story() -> None:
    digests = list[str]()
    for _ in range(2):
        world = formed(12)
        world.links.weather = Weather(loss=0.1, duplication=0.1)
        for host in world.hosts[1:6]:
            submit(world, host, NodeAddress(name_of(world.hosts[0])), body_of(host.index))
        world.run(20 * SECOND)
        digests.append(world.trace.digest())
    assert digests[0] == digests[1]
