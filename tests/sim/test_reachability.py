"""Nodes that nobody can dial, in networks that are strict and in networks that are relaxed."""

from __future__ import annotations

import pytest

from routing.actions import Answered
from routing.errors import Outcome
from routing.events import ConnectFailed, NotReachable, PeerUp, Terminated
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.messages import Address, ClientAddress, MessageKind, NodeAddress
from routing.reachability import Unreachable
from routing.simulation.hosts import Host
from routing.simulation.invariants import (
    check_identities,
    why_not_one_network,
    why_not_whole,
    why_stranded,
)
from routing.simulation.world import World
from routing.state import Detail, LinkRole, Phase

__all__: list[str] = []


def strictly_formed(nodes: int, seed: int) -> World:
    """Return a whole strict network in which proxies check who joins, on loopback as anywhere."""
    world = World(seed, limits=Limits().but(exempt_networks=()), checks_every=4, command="a test")
    first = world.add_node(first=True)
    for number in range(1, nodes):
        world.add_node([first.address], at=number * 3 * SECOND)
    world.run(3 * nodes * SECOND)
    assert world.run_until(lambda: why_not_whole(world) is None, limit_ns=300 * SECOND) is not None
    assert world.counters()["reachability.checked"] >= nodes - 1
    assert world.counters().get("reachability.doubted", 0) == 0
    return world


def hide(world: World, host: Host) -> None:
    """Put a host behind a NAT: it dials everybody, and nobody dials it."""
    world.network.dialling.shielded.add(host.index)


def told(host: Host, kind: type) -> list[object]:
    return [event for _, event in host.events if isinstance(event, kind)]


def say(world: World, host: Host, to: Address, payload: bytes, *, request: bool = False) -> None:
    kind = MessageKind.REQUEST if request else MessageKind.MESSAGE
    world.tell(host, Submitted(1, kind, to, payload, b"", False, 30 * SECOND, False))


def heard(world: World, host: Host, payload: bytes, seconds: int = 30) -> bool:
    def came() -> bool:
        return any(message.payload == payload for message in host.messages)

    return world.run_until(came, limit_ns=seconds * SECOND) is not None


# -- strict


@pytest.mark.parametrize("seed", [1, 2])
def test_node_that_nobody_can_dial_is_told_and_stops(seed: int) -> None:
    world = strictly_formed(6, seed)
    hidden = world.add_node([host.address for host in world.hosts[:4]])
    hide(world, hidden)
    assert world.run_until(lambda: hidden.core.stopped, limit_ns=60 * SECOND) is not None
    assert told(hidden, NotReachable) == [NotReachable((hidden.address,))]
    assert len(told(hidden, Terminated)) == 1 and hidden.ends == {}
    world.stop(hidden)
    world.run(60 * SECOND)
    assert why_not_whole(world) is None


@pytest.mark.parametrize("contacts", [1, 4])
@pytest.mark.parametrize("seed", [1, 2])
def test_node_that_nobody_can_dial_goes_on_as_a_client(seed: int, contacts: int) -> None:
    world = strictly_formed(6, seed)
    addresses = [host.address for host in world.hosts[:contacts]]
    hidden = world.add_node(addresses, unreachable=Unreachable.CLIENT)
    hide(world, hidden)

    def is_client() -> bool:
        state = hidden.core.state
        return state.client and state.phase is Phase.CONNECTED

    assert world.run_until(is_client, limit_ns=120 * SECOND) is not None
    assert len(told(hidden, NotReachable)) == 1
    assert hidden.address not in world.network.dialling.listening
    proxy = hidden.core.bootstrapping.proxy()
    assert proxy is not None
    there = next(host for host in world.hosts if host.core.name != proxy.name)
    assert there.core.name is not None
    say(world, hidden, NodeAddress(there.core.name), b"from the client")
    assert heard(world, there, b"from the client")
    say(world, there, ClientAddress(proxy.name, hidden.key), b"to the client", request=True)
    assert heard(world, hidden, b"to the client")
    (request,) = hidden.messages
    reply = Submitted(
        2,
        MessageKind.REPLY,
        request.source,
        b"and back",
        request.id,
        False,
        0,
        False,
        token=request.token,
    )
    world.tell(hidden, reply)
    world.run(10 * SECOND)
    assert [a.payload for a in there.answers if isinstance(a, Answered)] == [b"and back"]
    assert why_not_whole(world) is None and why_stranded(world) is None


def test_node_that_some_can_dial_is_not_unreachable() -> None:
    world = strictly_formed(8, 3)
    doubter, *others = world.hosts
    node = world.add_node([doubter.address, *(host.address for host in others[:3])])
    world.network.dialling.blocked.add((doubter.index, node.index))
    joined = world.run_until(lambda: len(node.core.table) == len(others), limit_ns=300 * SECOND)
    assert joined is not None and told(node, NotReachable) == []

    def both_told() -> bool:
        # When the one that cannot dial has asked; when it is asked, its own dial has failed.
        outcomes = [{event.outcome for event in failures(host)} for host in (node, doubter)]
        return all(Outcome.NOT_REACHABLE in each for each in outcomes)

    why = world.run_until(both_told, limit_ns=900 * SECOND)
    assert why is not None, "those two are not connected, and both say why"
    assert node.core.state.detail is Detail.CONNECTED


def failures(host: Host) -> list[ConnectFailed]:
    return [event for _, event in host.events if isinstance(event, ConnectFailed)]


def test_node_that_loses_its_reachability_keeps_the_peers_it_has() -> None:
    world = strictly_formed(6, 4)
    node = world.hosts[3]
    hide(world, node)
    world.run(600 * SECOND)
    assert told(node, NotReachable) == [] and why_not_whole(world) is None


# -- relaxed


def relaxed_world(seed: int, open_: int, hidden: int) -> tuple[World, list[Host]]:
    """Return a growing world of relaxed nodes, so many of them behind a NAT."""
    world = World(seed, checks_every=4, command="a test")
    first = world.add_node(first=True, relaxed=True)
    contacts = [first.address]
    behind: list[Host] = []
    for number in range(1, open_ + hidden):
        node = world.add_node(contacts, at=5 * number * SECOND, relaxed=True)
        if number % 2 and len(behind) < hidden:
            hide(world, node)
            behind.append(node)
        else:
            contacts = [*contacts, node.address][:3]
    return world, behind


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_relaxed_network_with_nodes_behind_a_nat_is_connected(seed: int) -> None:
    world, behind = relaxed_world(seed, 6, 4)
    assert len(behind) == 4
    world.run(60 * SECOND)
    formed = world.run_until(
        lambda: why_not_one_network(world) is None, limit_ns=600 * SECOND, step_ns=SECOND
    )
    assert formed is not None, why_not_one_network(world)
    world.run(60 * SECOND)
    check_identities(world)
    for host in behind:
        links = host.core.links_of(LinkRole.CONSOLIDATED)
        assert len(links) == 6, "every node that can be dialled, and no other"
        assert all(link.one_way and link.outbound for link in links)
        assert {up.one_way for up in ups(host)} == {True}
    for host in set(world.hosts) - set(behind):
        one_way = [link.key for link in host.core.links_of(LinkRole.CONSOLIDATED) if link.one_way]
        assert sorted(one_way) == sorted(each.key for each in behind)


def ups(host: Host) -> list[PeerUp]:
    return [event for _, event in host.events if isinstance(event, PeerUp)]


def test_messages_pass_between_two_nodes_behind_a_nat() -> None:
    world, behind = relaxed_world(5, 5, 3)
    one, other = behind[:2]

    def joined() -> bool:
        return all(len(host.core.table) >= 5 for host in behind)

    assert world.run_until(joined, limit_ns=600 * SECOND) is not None
    assert other.core.name is not None and other.core.name not in one.core.table
    say(world, one, NodeAddress(other.core.name), b"over somebody else")
    assert heard(world, other, b"over somebody else")


def test_first_two_nodes_are_connected_one_way_where_the_second_cannot_be_dialled() -> None:
    world, (hidden,) = relaxed_world(6, 1, 1)
    assert world.run_until(lambda: len(hidden.core.table) == 1, limit_ns=120 * SECOND) is not None
    world.run(SECOND)
    assert [host.core.state.detail for host in world.hosts] == [Detail.CONNECTED] * 2


def test_strict_nodes_do_not_let_in_a_relaxed_one_that_they_cannot_dial() -> None:
    world = strictly_formed(5, 7)
    hidden = world.add_node([world.hosts[0].address], relaxed=True, unreachable=Unreachable.NODE)
    hide(world, hidden)
    world.run(200 * SECOND)
    assert told(hidden, NotReachable) != [] and len(hidden.core.table) == 0
    assert not hidden.core.stopped and why_stranded(world) is None
