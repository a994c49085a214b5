"""Messages from groups travel through a simulated network: members vote, one message arrives."""

from __future__ import annotations

import pytest

from routing.actions import Answered
from routing.bodies import Ballot
from routing.events import Proof
from routing.inputs import Submitted
from routing.limits import SECOND
from routing.messages import (
    Address,
    Authority,
    AuthorityKind,
    ClientAddress,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    decode,
)
from routing.messages import Envelope as Sealed
from routing.messages import Signed as Inner
from routing.names import client_name, nearest
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.links import Weather
from routing.simulation.scenarios import grow, make_world
from routing.simulation.wires import End
from routing.simulation.world import World
from routing.state import Detail, LinkRole

__all__: list[str] = []

ELEMENT = bytes(range(32))


def formed(nodes: int, seed: int = 5) -> World:
    world = make_world(seed, command="", checks_every=4)
    grow(world, nodes, gap_low_ns=SECOND, gap_high_ns=SECOND)
    world.run(nodes * SECOND)
    assert world.run_until(lambda: why_not_whole(world) is None, limit_ns=300 * SECOND) is not None
    return world


def name_of(host: Host) -> bytes:
    assert host.core.name is not None
    return host.core.name


def group_of(world: World, element: bytes) -> list[Host]:
    """Return the members of the true group around a name, nearest first."""
    hosts = {name_of(host): host for host in world.alive if not host.client}
    return [hosts[name] for name in nearest(element, hosts, 8)]


def speak(
    world: World,
    destination: Address,
    payload: bytes = b"so be it",
    *,
    element: bytes = ELEMENT,
    kind: AuthorityKind = AuthorityKind.ELEMENT_GROUP,
    voters: int = 8,
) -> list[Host]:
    """Let members of a group vote, a quarter of a second apart."""
    members = group_of(world, element)[:voters]
    for member in members:
        world.tell(
            member,
            Submitted(
                reference=1,
                kind=MessageKind.MESSAGE,
                destination=destination,
                payload=payload,
                id=b"",
                failed=False,
                timeout_ns=0,
                signed=False,
                authority=Authority(kind, element),
            ),
        )
        world.run(SECOND // 4)
    return members


def heard(host: Host) -> list[tuple[bytes, Proof]]:
    return [(message.payload, message.proof) for message in host.messages]


ONCE = [(b"so be it", Proof.QUORUM)]


def outsider(world: World) -> Host:
    """Return the node that is farthest from the group."""
    hosts = {name_of(host): host for host in world.hosts if not host.client}
    return hosts[nearest(ELEMENT, hosts, len(hosts))[-1]]


@pytest.mark.parametrize("nodes", range(1, 10))
def test_group_of_a_small_network_agrees_by_most_of_its_members(nodes: int) -> None:
    world = formed(nodes)
    target = world.hosts[0]
    speak(world, NodeAddress(name_of(target)))
    world.run(10 * SECOND)
    assert heard(target) == ONCE


@pytest.mark.parametrize(("nodes", "voters"), [(2, 1), (3, 1), (4, 2), (7, 3), (9, 4)])
def test_fewer_than_most_of_a_group_are_not_heard(nodes: int, voters: int) -> None:
    world = formed(nodes)
    target = outsider(world)
    speak(world, NodeAddress(name_of(target)), voters=voters)
    world.run(70 * SECOND)
    assert heard(target) == []
    assert all(host.core.ballots.tallies == {} for host in world.hosts)


def test_node_far_from_the_element_finds_its_group_and_hears_it_once() -> None:
    world = formed(40)
    target = outsider(world)
    speak(world, NodeAddress(name_of(target)))
    world.run(10 * SECOND)
    assert heard(target) == ONCE
    assert all(heard(host) == [] for host in world.hosts if host is not target)
    assert world.counters()["group.resolved"] >= 1
    assert world.counters().get("ballot.not_member", 0) == 0


def test_members_of_another_group_each_hear_it_once() -> None:
    world = formed(40)
    far = bytes(byte ^ 255 for byte in ELEMENT)
    speak(world, GroupAddress(far))
    world.run(20 * SECOND)
    reached = {host.index: heard(host) for host in world.hosts if host.messages}
    assert reached == {host.index: ONCE for host in group_of(world, far)}


def test_group_that_speaks_to_itself_hears_itself_once() -> None:
    world = formed(12)
    members = speak(world, GroupAddress(ELEMENT))
    world.run(10 * SECOND)
    assert all(heard(host) == ONCE for host in members)
    assert sum(map(len, (host.messages for host in world.hosts))) == 8


def test_client_hears_the_group_that_manages_it() -> None:
    world = formed(20)
    client = world.add_node([world.hosts[2].address], client=True)
    world.run(5 * SECOND)
    assert client.core.state.detail is Detail.BOOTSTRAPPED
    proxy = client.core.bootstrapping.proxy()
    assert proxy is not None
    speak(
        world,
        ClientAddress(proxy.name, client.core.key),
        element=client_name(client.core.key),
        kind=AuthorityKind.CLIENT_GROUP,
    )
    world.run(10 * SECOND)
    assert heard(client) == ONCE
    links = [link for host in world.hosts for link in host.core.links_of(LinkRole.CLIENT)]
    assert len(links) == 1, "the proxy found nothing to close it for"


@pytest.mark.parametrize("seed", range(10, 18))
def test_group_is_heard_though_a_tenth_of_the_routed_frames_is_lost(seed: int) -> None:
    world = formed(30, seed)
    client = world.add_node([world.hosts[2].address], client=True)
    world.run(5 * SECOND)
    proxy = client.core.bootstrapping.proxy()
    assert proxy is not None
    target = outsider(world)
    far = bytes(byte ^ 255 for byte in ELEMENT)
    world.links.weather = Weather(loss=0.1)
    speak(world, NodeAddress(name_of(target)), b"to a node")
    speak(world, ClientAddress(proxy.name, client.core.key), b"to a client")
    speak(world, GroupAddress(far), b"to a group")
    world.run(70 * SECOND)
    assert (b"to a node", Proof.QUORUM) in heard(target)
    assert heard(client) == [(b"to a client", Proof.QUORUM)]
    times = {host.index: heard(host).count((b"to a group", Proof.QUORUM)) for host in world.hosts}
    assert max(times.values()) == 1
    # What goes to a group is not acknowledged; and who does not answer when it is asked who belongs
    # to it may have the next nearest take its place.
    assert sum(times[host.index] for host in group_of(world, far)) >= 7
    assert sum(times.values()) <= 9
    assert world.links.lost_frames > 5, "the weather was fair: nothing was shown"


def test_sender_of_the_whole_that_dies_is_made_good_by_a_voter() -> None:
    world = formed(20)
    target = outsider(world)
    usual = world.links.send
    silenced: list[int] = []

    def send(end: End, kind: FrameKind, body: bytes) -> None:
        envelope = decode(Sealed, body) if kind is FrameKind.ROUTED else None
        signed = None if envelope is None else decode(Inner, envelope.signed)
        if signed is not None and signed.kind is MessageKind.BALLOT and not silenced:
            ballot = decode(Ballot, signed.body)
            assert ballot is not None
            if ballot.content:
                silenced.append(end.far.host.index)
                world.kill(next(h for h in world.hosts if h.key == signed.key), silent=True)
                return
        usual(end, kind, body)

    world.links.send = send  # type: ignore[method-assign]
    speak(world, NodeAddress(name_of(target)))
    world.run(20 * SECOND)
    assert len(silenced) == 1 and heard(target) == ONCE
    assert target.core.counters["whole.asked"] >= 1


def test_members_that_die_before_they_vote_are_not_needed() -> None:
    world = formed(20)
    target = outsider(world)
    for host in group_of(world, ELEMENT)[:3]:
        if host is not target:
            world.kill(host, silent=True)
    world.run(120 * SECOND)
    speak(world, NodeAddress(name_of(target)), voters=5)
    world.run(20 * SECOND)
    assert heard(target) == ONCE


def test_voters_of_two_minds_are_not_heard() -> None:
    world = formed(12)
    target = outsider(world)
    members = group_of(world, ELEMENT)
    for number, member in enumerate(members):
        fact = Submitted(
            reference=1,
            kind=MessageKind.MESSAGE,
            destination=NodeAddress(name_of(target)),
            payload=b"yes" if number % 2 else b"no",
            id=b"",
            failed=False,
            timeout_ns=0,
            signed=False,
            authority=Authority(AuthorityKind.ELEMENT_GROUP, ELEMENT),
            message_id=b"one id for both!",
        )
        world.tell(member, fact)
    world.run(70 * SECOND)
    assert heard(target) == []


def test_request_to_a_group_is_answered_by_a_quorum() -> None:
    world = formed(30)
    asker = outsider(world)
    world.tell(
        asker,
        Submitted(
            reference=3,
            kind=MessageKind.REQUEST,
            destination=GroupAddress(ELEMENT),
            payload=b"?",
            id=b"",
            failed=False,
            timeout_ns=20 * SECOND,
            signed=False,
            agree=True,
        ),
    )
    world.run(5 * SECOND)
    for number, host in enumerate(group_of(world, ELEMENT)):
        (message,) = host.messages
        reply = Submitted(
            reference=0,
            kind=MessageKind.REPLY,
            destination=message.source,
            payload=b"no" if number < 3 else b"yes",
            id=message.id,
            failed=False,
            timeout_ns=SECOND,
            signed=False,
            token=message.token,
        )
        world.tell(host, reply)
    world.run(5 * SECOND)
    assert [*asker.answers] == [Answered(3, b"yes", GroupAddress(ELEMENT), b"")]
