"""Clients in a simulated network: reached and heard through proxies that come, go and change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from routing.actions import Answered, Failed
from routing.errors import Refusal
from routing.events import Message
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.messages import Address, ClientAddress, GroupAddress, MessageKind, NodeAddress
from routing.names import nearest
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.scenarios import grow, make_world
from routing.simulation.world import World
from routing.state import Detail

__all__: list[str] = []


def formed(nodes: int, seed: int = 5, *, limits: Limits | None = None) -> World:
    world = make_world(seed, command="", checks_every=4, limits=limits)
    grow(world, nodes, gap_low_ns=SECOND, gap_high_ns=SECOND)
    world.run(nodes * SECOND)
    assert world.run_until(lambda: why_not_whole(world) is None, limit_ns=300 * SECOND) is not None
    return world


def name_of(host: Host) -> bytes:
    assert host.core.name is not None
    return host.core.name


def proxy_of(world: World, client: Host) -> Host:
    link = client.core.bootstrapping.proxy()
    assert link is not None
    return next(host for host in world.hosts if host.core.name == link.name)


def address(world: World, client: Host) -> ClientAddress:
    return ClientAddress(name_of(proxy_of(world, client)), client.key)


def add_client(world: World, *contacts: Host) -> Host:
    client = world.add_node([host.address for host in contacts], client=True)
    world.run(5 * SECOND)
    assert client.core.state.detail is Detail.BOOTSTRAPPED
    return client


def far_from(world: World, proxy: Host) -> Host:
    """Return a node that a proxy does not hold: there is a relay between them at least."""
    return next(
        host for host in world.alive if host is not proxy and name_of(host) not in proxy.core.table
    )


@dataclass
class Talk:
    """What was said in a world, and what was heard: every request is answered by its reverse."""

    world: World
    sent: dict[int, Host] = field(default_factory=dict)
    heard: Counter[tuple[bytes, bytes]] = field(default_factory=Counter)
    """(key of the hearer, payload) -> how often."""
    sources: dict[bytes, Address] = field(default_factory=dict)
    """Payload -> the source that it was heard from."""
    mute: bool = False
    """Requests are heard and wait for their answer."""
    waiting: list[tuple[Host, Message]] = field(default_factory=list)

    def say(
        self, host: Host, to: Address, payload: bytes, *, request: bool = False, seconds: int = 60
    ) -> int:
        reference = len(self.sent) + 1
        self.sent[reference] = host
        kind = MessageKind.REQUEST if request else MessageKind.MESSAGE
        limit = seconds * SECOND
        fact = Submitted(reference, kind, to, payload, b"", False, limit, False)
        self.world.tell(host, fact)
        return reference

    def run(self, seconds: float) -> None:
        """Let time pass; whoever is asked answers."""
        end = self.world.now + int(seconds * SECOND)
        while self.world.now < end:
            self.world.run(min(SECOND // 20, end - self.world.now))
            for host in self.world.hosts:
                while host.messages:
                    message = host.messages.popleft()
                    self.heard[host.key, message.payload] += 1
                    self.sources[message.payload] = message.source
                    if message.request:
                        self.waiting.append((host, message))
            if not self.mute:
                self.answer()

    def answer(self) -> None:
        waiting, self.waiting = self.waiting, []
        for host, message in waiting:
            if host.alive:
                fact = Submitted(
                    reference=0,
                    kind=MessageKind.REPLY,
                    destination=message.source,
                    payload=message.payload[::-1],
                    id=message.id,
                    failed=False,
                    timeout_ns=SECOND,
                    signed=False,
                    token=message.token,
                )
                self.world.tell(host, fact)

    def reply(self, reference: int) -> bytes | str | None:
        """Return the payload of the reply, the reason of a failure, or None."""
        for each in self.sent[reference].answers:
            if each.reference == reference:
                return each.payload if isinstance(each, Answered) else each.reason
        return None

    def hearers(self, payload: bytes) -> dict[bytes, int]:
        return {key: count for (key, said), count in self.heard.items() if said == payload}


# -- both ways, through relays


def test_client_reaches_a_node_behind_relays_and_is_reached_by_it() -> None:
    world = formed(30)
    talk = Talk(world)
    client = add_client(world, world.hosts[4])
    node = far_from(world, proxy_of(world, client))
    talk.say(client, NodeAddress(name_of(node)), b"to the node")
    asked = talk.say(client, NodeAddress(name_of(node)), b"question", request=True)
    talk.say(node, address(world, client), b"to the client")
    asked_back = talk.say(node, address(world, client), b"and you?", request=True)
    talk.run(5)
    assert talk.hearers(b"to the node") == {node.key: 1}
    assert talk.hearers(b"to the client") == {client.key: 1}
    assert talk.sources[b"to the node"] == address(world, client)
    assert (talk.reply(asked), talk.reply(asked_back)) == (b"noitseuq", b"?uoy dna")
    assert not client.core.delivery.underway and not node.core.delivery.underway


def test_clients_behind_different_proxies_reach_each_other() -> None:
    world = formed(30)
    talk = Talk(world)
    one = add_client(world, world.hosts[4])
    two = add_client(world, far_from(world, proxy_of(world, one)))
    assert proxy_of(world, one) is not proxy_of(world, two)
    talk.say(one, address(world, two), b"hello")
    asked = talk.say(one, address(world, two), b"how are you?", request=True)
    back = talk.say(two, address(world, one), b"and you?", request=True)
    talk.run(5)
    assert talk.hearers(b"hello") == {two.key: 1}
    assert (talk.reply(asked), talk.reply(back)) == (b"?uoy era woh", b"?uoy dna")


def test_clients_behind_one_proxy_reach_each_other_and_their_proxy() -> None:
    world = formed(4)
    talk = Talk(world)
    one, two = add_client(world, world.hosts[1]), add_client(world, world.hosts[1])
    asked = talk.say(one, address(world, two), b"how are you?", request=True)
    proxy = talk.say(two, NodeAddress(name_of(world.hosts[1])), b"and you?", request=True)
    own = talk.say(world.hosts[1], address(world, one), b"client?", request=True)
    talk.run(3)
    replies = [talk.reply(each) for each in (asked, proxy, own)]
    assert replies == [b"?uoy era woh", b"?uoy dna", b"?tneilc"]


def test_client_reaches_every_member_of_a_group_once_and_hears_one() -> None:
    world = formed(30)
    talk = Talk(world)
    client = add_client(world, world.hosts[4])
    element = bytes(range(32))
    talk.say(client, GroupAddress(element), b"all of you")
    asked = talk.say(client, GroupAddress(element), b"anybody?", request=True)
    talk.run(8)
    names = {name_of(host): host.key for host in world.hosts[:30]}
    group = [names[name] for name in nearest(element, list(names), 8)]
    assert talk.hearers(b"all of you") == dict.fromkeys(group, 1)
    assert talk.reply(asked) == b"?ydobyna"


# -- clients that change their proxy


def refuse_clients(host: Host) -> None:
    """A node that takes no more clients: whoever leaves it must find another."""
    host.core.limits = host.core.limits.but(clients_from_nodes=1_000)


def drop(world: World, client: Host) -> None:
    """Break the connection of a client; its proxy lives and takes it no more."""
    (end,) = client.ends.values()
    refuse_clients(proxy_of(world, client))
    world.reset([end.wire])


def test_what_is_sent_to_the_old_address_reaches_a_client_that_has_moved() -> None:
    world = formed(12)
    talk = Talk(world)
    client = add_client(world, *world.hosts[1:4])
    node, old, was = world.hosts[9], address(world, client), proxy_of(world, client)
    drop(world, client)
    early = talk.say(node, old, b"just now", request=True)
    talk.run(4)
    assert proxy_of(world, client) is not was
    late = talk.say(node, old, b"a while later", request=True)
    talk.run(4)
    assert talk.hearers(b"just now") == talk.hearers(b"a while later") == {client.key: 1}
    assert (talk.reply(early), talk.reply(late)) == (b"won tsuj", b"retal elihw a")
    counters = world.counters()
    assert counters["held.kept"] >= 1 and counters["forwarded.sent"] >= 2
    assert counters["moved.heard"] == 1
    assert not node.core.delivery.underway


def test_client_that_moves_twice_is_reached_under_both_old_addresses() -> None:
    world = formed(12)
    talk = Talk(world)
    client = add_client(world, *world.hosts[1:5])
    addresses = []
    for _ in range(2):
        addresses.append(address(world, client))
        drop(world, client)
        talk.run(6)
    assert len({*addresses, address(world, client)}) == 3
    asked = [
        talk.say(world.hosts[9], each, b"?%d" % n, request=True) for n, each in enumerate(addresses)
    ]
    talk.run(5)
    assert [talk.reply(each) for each in asked] == [b"0?", b"1?"]
    assert talk.heard[client.key, b"?0"] == talk.heard[client.key, b"?1"] == 1


def test_request_whose_reply_was_under_way_to_a_proxy_that_lives_is_answered() -> None:
    world = formed(12)
    talk = Talk(world, mute=True)
    client = add_client(world, *world.hosts[1:4])
    node = world.hosts[9]
    asked = talk.say(client, NodeAddress(name_of(node)), b"question", request=True)
    talk.run(1)
    assert talk.hearers(b"question") == {node.key: 1}
    drop(world, client)
    talk.mute = False
    talk.run(10)
    assert talk.reply(asked) == b"noitseuq" and talk.hearers(b"question") == {node.key: 1}


@pytest.mark.parametrize("answered", ["before the move", "after the move"])
def test_request_survives_the_death_of_the_proxy_and_is_handled_once(answered: str) -> None:
    world = formed(12)
    talk = Talk(world, mute=True)
    client = add_client(world, *world.hosts[1:4])
    proxy = proxy_of(world, client)
    node = world.hosts[9]
    to_node = talk.say(client, NodeAddress(name_of(node)), b"question", request=True)
    to_group = talk.say(client, GroupAddress(bytes(range(32))), b"anybody?", request=True)
    talk.run(2)
    assert talk.hearers(b"question") == {node.key: 1}
    world.kill(proxy, silent=False)
    if answered == "before the move":
        talk.answer()
    talk.run(10)
    assert proxy_of(world, client) is not proxy
    talk.mute = False
    talk.run(10)
    assert talk.reply(to_node) == b"noitseuq" and talk.reply(to_group) == b"?ydobyna"
    assert set(talk.heard.values()) == {1}, "handled twice"
    if answered == "before the move":
        assert world.counters()["answer.repeated"] > 0
    assert client.core.moving.asked == {}


def test_messages_under_way_when_the_proxy_dies_arrive_once_from_the_new_address() -> None:
    world = formed(12)
    talk = Talk(world)
    client = add_client(world, *world.hosts[1:4])
    proxy = proxy_of(world, client)
    others = [host for host in world.hosts[:12] if host is not proxy]
    said = [b"%d" % number for number in range(40)]
    for number, payload in enumerate(said):
        talk.say(client, NodeAddress(name_of(others[number % 11])), payload)
    world.kill(proxy, silent=False)
    talk.run(40)
    routed = [payload for payload in said if talk.hearers(payload)]
    assert all(sum(talk.hearers(payload).values()) == 1 for payload in routed)
    assert len(routed) == 40 and not client.core.delivery.underway
    assert [each for each in client.answers if isinstance(each, Failed)] == []


def test_every_message_of_and_to_clients_arrives_once_or_fails_while_proxies_die() -> None:
    world = formed(30, seed=9)
    talk = Talk(world)
    clients = [add_client(world, *world.random.sample(world.hosts[:30], 6)) for _ in range(3)]
    requests, messages = list[int](), dict[int, bytes]()
    for number in range(120):
        if number % 20 == 10:
            victims = [proxy_of(world, each) for each in clients if each.core.bootstrapping.proxy()]
            world.kill(victims[number // 20 % len(victims)], silent=number % 40 == 10)
        for client in clients:
            if client.core.bootstrapping.proxy() is None:
                continue
            node = world.random.choice(world.alive)
            payload = b"%d %d" % (number, client.index)
            requests.append(talk.say(client, NodeAddress(name_of(node)), payload, request=True))
            other = world.random.choice([each for each in clients if each is not client])
            if other.core.bootstrapping.proxy() is not None:
                sideways = payload + b" to client"
                messages[talk.say(client, address(world, other), sideways)] = sideways
            back = payload + b" back"
            messages[talk.say(node, address(world, client), back)] = back
        talk.run(1)
    talk.run(120)
    assert max(talk.heard.values()) == 1
    replies = Counter(type(talk.reply(each)) for each in requests)
    assert replies[bytes] > 0.98 * len(requests) and replies[type(None)] == 0
    arrived = 0
    for reference, payload in messages.items():
        if talk.hearers(payload):
            arrived += 1
        elif talk.sent[reference].alive:
            reason = talk.reply(reference)
            assert isinstance(reason, str) and reason.startswith(("undeliverable", "unroutable"))
    assert arrived > 0.9 * len(messages) > 500
    assert world.counters()["moved.announced"] >= 3 and world.counters()["proxy.silent"] >= 1
    for host in world.hosts:
        if host.alive:
            assert not host.core.delivery.underway and not host.core.moving.held


# -- who is admitted, and how much he may say


def test_clients_are_refused_by_name_until_the_network_is_as_large_as_its_policy_wants() -> None:
    world = formed(6, limits=Limits().but(clients_from_nodes=8))
    client = world.add_node([host.address for host in world.hosts[:3]], client=True)
    world.run(30 * SECOND)
    assert client.core.state.detail is Detail.DISCONNECTED
    assert world.counters()["refused.network_too_small"] >= 3
    assert f"refused us: {int(Refusal.NETWORK_TOO_SMALL)}" in "".join(
        client.core.explain(world.hosts[0].key)
    )
    for _ in range(3):
        world.add_node([world.hosts[0].address])
    arrived = world.run_until(
        lambda: client.core.state.detail is Detail.BOOTSTRAPPED, limit_ns=300 * SECOND
    )
    assert arrived is not None


def test_client_says_as_much_as_it_was_told_and_all_of_it_arrives() -> None:
    world = formed(6, limits=Limits().but(client_messages_per_s=50))
    talk = Talk(world)
    client = add_client(world, world.hosts[1])
    node = world.hosts[4]
    said = []
    for number in range(400):
        said.append(talk.say(client, NodeAddress(name_of(node)), b"%d" % number))
        if number % 10 == 9:
            talk.run(0.1)
    talk.run(30)
    refused = [each for each in client.answers if isinstance(each, Failed)]
    assert refused and all(each.reason.startswith("throttled") for each in refused)
    throttled = client.core.counters["message.throttled"]
    assert 200 < len(talk.heard) == 400 - throttled
    assert world.counters().get("client.throttled", 0) == 0, "it keeps the bound by itself"
