"""Messages of applications travel through a simulated network: to nodes, to groups, by clients."""

from __future__ import annotations

from collections.abc import Iterable

from routing.actions import Answered
from routing.inputs import Submitted
from routing.limits import SECOND
from routing.messages import (
    Address,
    GroupAddress,
    MessageKind,
    NodeAddress,
)
from routing.names import nearest
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.scenarios import grow, make_world
from routing.simulation.world import World
from routing.state import Detail

__all__: list[str] = []


def payloads(answers: Iterable[object]) -> list[bytes]:
    return [answer.payload for answer in answers if isinstance(answer, Answered)]


def formed(nodes: int, seed: int = 5) -> World:
    world = make_world(seed, command="", checks_every=4)
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
    destination: Address,
    payload: bytes,
    *,
    request: bool = False,
    signed: bool = False,
) -> None:
    kind = MessageKind.REQUEST if request else MessageKind.MESSAGE
    world.tell(
        host,
        Submitted(
            reference=1,
            kind=kind,
            destination=destination,
            payload=payload,
            id=bytes(16),
            failed=False,
            timeout_ns=20 * SECOND,
            signed=signed,
        ),
    )


def answer_all(world: World, payload: bytes) -> int:
    """Let every host answer the requests it was handed; return how many there were."""
    answered = 0
    for host in world.hosts:
        while host.messages:
            message = host.messages.popleft()
            if message.request:
                answered += 1
                world.tell(
                    host,
                    Submitted(
                        reference=0,
                        kind=MessageKind.REPLY,
                        destination=message.source,
                        payload=payload + message.payload,
                        id=message.id,
                        failed=False,
                        timeout_ns=SECOND,
                        signed=False,
                        token=message.token,
                    ),
                )
    return answered


def test_every_node_reaches_every_other_exactly_once() -> None:
    world = formed(20)
    for host in world.hosts:
        for other in world.hosts:
            if other is not host:
                submit(world, host, NodeAddress(name_of(other)), bytes((host.index,)))
    world.run(10 * SECOND)
    for host in world.hosts:
        heard = sorted(message.payload[0] for message in host.messages)
        assert heard == [other.index for other in world.hosts if other is not host]


def test_message_to_a_group_reaches_the_nearest_nodes_once() -> None:
    world = formed(20)
    target = bytes(range(32))
    submit(world, world.hosts[3], GroupAddress(target), b"all of you")
    world.run(10 * SECOND)
    group = nearest(target, [name_of(host) for host in world.hosts], 8)
    reached = {name_of(host): len(host.messages) for host in world.hosts if host.messages}
    assert reached == dict.fromkeys(group, 1)


def test_request_is_answered() -> None:
    world = formed(12)
    asker = world.hosts[0]
    submit(world, asker, NodeAddress(name_of(world.hosts[7])), b"?", request=True)
    world.run(5 * SECOND)
    assert answer_all(world, b"yes ") == 1
    world.run(5 * SECOND)
    assert payloads(asker.answers) == [b"yes ?"]


def test_client_asks_a_node_through_its_proxy() -> None:
    world = formed(12)
    client = world.add_node([world.hosts[2].address], client=True)
    world.run(5 * SECOND)
    assert client.core.state.detail is Detail.BOOTSTRAPPED
    submit(world, client, NodeAddress(name_of(world.hosts[9])), b"?", request=True)
    world.run(5 * SECOND)
    assert answer_all(world, b"yes ") == 1
    world.run(5 * SECOND)
    assert payloads(client.answers) == [b"yes ?"]


def test_client_whose_proxy_dies_finds_another() -> None:
    world = formed(6)
    client = world.add_node([host.address for host in world.hosts[:3]], client=True)
    world.run(5 * SECOND)
    (end,) = client.ends.values()
    world.kill(world.hosts[end.far.host.index], silent=True)
    world.run(120 * SECOND)
    (end,) = client.ends.values()
    assert end.far.open and client.core.state.detail is Detail.BOOTSTRAPPED


def test_message_to_nobody_fails_and_is_not_dropped_silently() -> None:
    world = formed(12)
    submit(world, world.hosts[0], NodeAddress(bytes(32)), b"?", request=True)
    world.run(30 * SECOND)
    (failed,) = world.hosts[0].answers
    assert "unroutable" in str(failed) or "timed out" in str(failed)
