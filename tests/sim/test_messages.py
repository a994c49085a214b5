"""Messages of applications travel through a simulated network: to nodes, to groups, by clients."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from routing.actions import Answered
from routing.inputs import Submitted
from routing.limits import SECOND
from routing.messages import (
    Address,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    decode,
)
from routing.names import nearest
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.links import End, Weather
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


def test_every_message_arrives_once_though_a_tenth_of_the_routed_frames_is_lost() -> None:
    world = formed(30)
    world.links.weather = Weather(loss=0.1)
    hosts = world.hosts
    for number in range(200):
        one, other = world.random.sample(hosts, 2)
        submit(world, one, NodeAddress(name_of(other)), bytes((number,)), signed=True)
        world.run(SECOND // 20)
    world.run(60 * SECOND)
    heard = sorted(message.payload[0] for host in hosts for message in host.messages)
    assert heard == list(range(200))
    assert world.counters()["delivery.retry"] > 20, "the weather was fair: nothing was shown"
    assert all(not host.core.delivery.underway for host in hosts)


def test_copy_lost_behind_the_first_hop_is_made_good_by_another_first_hop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = formed(40)
    hosts = world.hosts
    source, target = next(
        (one, other)
        for one in hosts
        for other in hosts
        if one is not other and name_of(other) not in one.core.table
    )
    lost: list[str] = []
    left: list[tuple[str, int]] = []
    usual = world.links.send

    def send(end: End, kind: FrameKind, body: bytes) -> None:
        envelope = decode(Envelope, body) if kind is FrameKind.ROUTED else None
        signed = None if envelope is None else decode(Signed, envelope.signed)
        if envelope is not None and signed is not None and signed.body == b"once":
            if envelope.hops == 0:
                left.append((end.far.host.key.hex(), envelope.route))
            elif envelope.route == 0:
                lost.append(end.far.host.key.hex())
                return
        usual(end, kind, body)

    monkeypatch.setattr(world.links, "send", send)
    submit(world, source, NodeAddress(name_of(target)), b"once")
    world.run(10 * SECOND)
    assert len(lost) == 1 and [route for _, route in left] == [0, 1]
    assert left[0][0] != left[1][0], "the retry took the same first hop"
    assert [message.payload for message in target.messages] == [b"once"]
    assert not source.core.delivery.underway
