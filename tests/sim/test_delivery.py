"""Delivery in a simulated network that loses messages: by relays that die, swallow or lie."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations

import pytest

from routing import actions as do
from routing.core import Core
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.links import Link
from routing.messages import (
    Envelope,
    FrameKind,
    MessageKind,
    NodeAddress,
    Signed,
    decode,
)
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.links import Weather
from routing.simulation.scenarios import grow, make_world
from routing.simulation.wires import End
from routing.simulation.world import World
from routing.state import Detail

__all__: list[str] = []


@dataclass
class Sent:
    """A message of the test's own and what became of it."""

    source: Host
    target: Host
    at: int
    arrived: int = 0
    failed: str = ""
    failed_at: int = 0


class Post:
    """Sends messages in a world and keeps the books."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sent: list[Sent] = []
        for host in world.hosts:
            self.watch(host)

    def watch(self, host: Host) -> None:
        """Have what a host delivers, and what fails at it, entered in the books."""
        host._execute[do.Deliver] = self._delivered
        host._execute[do.Failed] = self._failed

    def _delivered(self, action: do.Deliver) -> None:
        self.sent[int(action.message.payload)].arrived += 1

    def _failed(self, action: do.Failed) -> None:
        message = self.sent[action.reference]
        message.failed, message.failed_at = action.reason, self.world.now

    def send(self, source: Host, target: Host, *, name: bytes = b"", signed: bool = False) -> Sent:
        number, world = len(self.sent), self.world
        self.sent.append(Sent(source, target, world.now))
        to = NodeAddress(name or name_of(target))
        payload = b"%d" % number
        kind = MessageKind.MESSAGE
        world.tell(source, Submitted(number, kind, to, payload, bytes(16), False, 0, signed))
        return self.sent[-1]


def formed(nodes: int, seed: int = 5, limits: Limits | None = None) -> World:
    world = make_world(seed, command="", checks_every=16, limits=limits)
    grow(world, nodes, gap_low_ns=SECOND // 4, gap_high_ns=SECOND // 2)
    world.run(nodes * SECOND // 2)
    assert world.run_until(lambda: why_not_whole(world) is None, limit_ns=300 * SECOND) is not None
    return world


def name_of(host: Host) -> bytes:
    assert host.core.name is not None
    return host.core.name


def host_of(world: World, name: bytes) -> Host:
    return next(host for host in world.alive if name_of(host) == name)


def way(world: World, hop: Host, target: Host) -> list[Host]:
    """Return the hosts that a copy takes from its first hop on, the target last."""
    path = [hop]
    while path[-1] is not target:
        name = path[-1].core.table.next_hop(name_of(target))
        assert name is not None, "a whole network routes to everybody"
        path.append(host_of(world, name))
    return path


def hops_of(world: World, source: Host, target: Host) -> list[Host]:
    """Return the first hops that the copies of a message would take, in turn."""
    return [host_of(world, name) for name in source.core.hops.ways(name_of(target))]


def strangers(world: World) -> Iterator[tuple[Host, Host]]:
    """Yield two hosts that are not connected with each other, again and again."""
    for one in world.alive:
        for other in world.alive:
            if one is not other and name_of(other) not in one.core.table:
                yield one, other


def counted(world: World, *names: str) -> list[int]:
    counters = world.counters()
    return [counters.get(name, 0) for name in names]


def test_copy_lost_behind_the_common_relay_is_made_good_by_another_first_hop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both ways run together in one relay: it must not take the second copy for the first."""
    world = formed(60)
    post = Post(world)
    source, target, relay = next(
        (one, other, first[1])
        for one, other in strangers(world)
        for first, second in [[way(world, hop, other) for hop in hops_of(world, one, other)[:2]]]
        if len(first) > 2 and first[1] in second[1:-1]
    )
    passed: list[int] = []
    usual = world.links.send

    def send(end: End, kind: FrameKind, body: bytes) -> None:
        envelope = decode(Envelope, body) if kind is FrameKind.ROUTED else None
        signed = None if envelope is None else decode(Signed, envelope.signed)
        ours = signed is not None and signed.body == b"0" and end.host is relay
        if envelope is not None and ours:
            passed.append(envelope.route)
            if envelope.route == 0:
                return
        usual(end, kind, body)

    monkeypatch.setattr(world.links, "send", send)
    message = post.send(source, target)
    world.run(10 * SECOND)
    assert passed == [0, 1]
    assert message.arrived == 1 and message.failed == ""
    assert not source.core.delivery.underway


def test_first_hop_that_died_in_silence_costs_one_message_one_wait() -> None:
    world = formed(60)
    post = Post(world)
    source, target = next(strangers(world))
    world.kill(hops_of(world, source, target)[0], silent=True)
    first = post.send(source, target)
    world.run(2 * SECOND)
    assert first.arrived == 1
    before = counted(world, "delivery.retry", "hop.demoted")
    assert before == [1, 1]
    for _ in range(20):
        post.send(source, target)
        world.run(SECOND)
    assert [message.arrived for message in post.sent] == [1] * 21
    assert counted(world, "delivery.retry", "hop.demoted") == before


def test_relay_that_died_in_silence_is_passed_by_once_it_was_used() -> None:
    world = formed(60)
    post = Post(world)
    source, target, relay = next(
        (one, other, path[1])
        for one, other in strangers(world)
        for path in [way(world, hops_of(world, one, other)[0], other)]
        if len(path) > 2
    )
    world.run(5 * SECOND)
    world.kill(relay, silent=True)
    for _ in range(10):
        post.send(source, target)
        world.run(2 * SECOND)
    assert [message.arrived for message in post.sent] == [1] * 10
    assert counted(world, "delivery.retry")[0] <= 3
    assert counted(world, "suspect.silent")[0] >= 1


def test_name_that_nobody_has_fails_fast_and_by_its_reason() -> None:
    world = formed(40)
    post = Post(world)
    message = post.send(world.hosts[0], world.hosts[1], name=bytes(32))
    world.run(30 * SECOND)
    assert message.failed == "unroutable: nobody has this name"
    assert message.failed_at - message.at < 4 * SECOND


def test_every_message_arrives_once_though_a_tenth_of_the_routed_frames_is_lost() -> None:
    world = formed(30)
    post = Post(world)
    world.links.weather = Weather(loss=0.1)
    for _ in range(200):
        post.send(*world.random.sample(world.hosts, 2), signed=True)
        world.run(SECOND // 20)
    world.run(60 * SECOND)
    assert [message.arrived for message in post.sent] == [1] * 200
    assert counted(world, "delivery.retry")[0] > 20, "the weather was fair: nothing was shown"
    assert all(not host.core.delivery.underway for host in world.hosts)


def test_one_relay_in_ten_that_swallows_what_it_should_pass_on_is_got_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = formed(80)
    post = Post(world)
    swallowers = world.random.sample(world.hosts, 8)
    for host in swallowers:
        usual = host.core.relay.pass_on
        monkeypatch.setattr(host.core.relay, "pass_on", partial(_swallow, host.core, usual))
    honest = [host for host in world.hosts if host not in swallowers]
    for _ in range(300):
        post.send(*world.random.sample(honest, 2), signed=True)
        world.run(SECOND // 20)
    world.run(40 * SECOND)
    assert all(each.arrived == 1 or (each.failed and not each.arrived) for each in post.sent)
    assert sum(message.failed == "" for message in post.sent) >= 297
    assert counted(world, "swallowed")[0] > 20, "nothing was swallowed: nothing was shown"


def test_relay_that_answers_pings_and_swallows_messages_is_the_last_first_hop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who does not acknowledge is demoted, whatever it answers; a minute later it is forgiven."""
    world = formed(40)
    post = Post(world)
    source, target, swallower = next(
        (one, other, hop)
        for one, other in strangers(world)
        for hop in hops_of(world, one, other)[:1]
        if len(way(world, hop, other)) > 1
    )
    usual = swallower.core.relay.pass_on
    monkeypatch.setattr(swallower.core.relay, "pass_on", partial(_swallow, swallower.core, usual))
    for _ in range(50):
        post.send(source, target)
        world.run(SECOND)
    assert [message.arrived for message in post.sent] == [1] * 50
    assert counted(world, "delivery.retry", "hop.demoted") == [1, 1], "one wait, for one message"
    assert counted(world, "suspect.silent") == [0], "it answers whenever it is asked"
    world.run(15 * SECOND)
    post.send(source, target)
    world.run(10 * SECOND)
    assert counted(world, "delivery.retry") == [2], "it was forgiven, and tried once more"
    assert post.sent[-1].arrived == 1


@pytest.mark.parametrize("nodes", [12, 40])
def test_one_swallowing_relay_costs_no_message(nodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody writes to everybody, first to those whom the swallower is the best way to."""
    world = formed(nodes)
    post = Post(world)
    crowd = [[one, other] for one, other in permutations(world.hosts, 2)]
    behind = Counter(hops_of(world, *each)[0].index for each in crowd)
    for one, other in crowd:
        behind[other.index] -= hops_of(world, one, other)[0] is other
    swallower = world.hosts[behind.most_common(1)[0][0]]
    usual = swallower.core.relay.pass_on
    monkeypatch.setattr(swallower.core.relay, "pass_on", partial(_swallow, swallower.core, usual))
    honest = [each for each in crowd if swallower not in each]
    honest.sort(key=lambda each: hops_of(world, *each)[0] is not swallower)
    for one, other in honest:
        post.send(one, other, signed=True)
        world.run(SECOND // 50)
    world.run(40 * SECOND)
    assert [each.arrived for each in post.sent] == [1] * len(honest)
    assert all(not each.failed for each in post.sent)
    assert all(not host.core.delivery.underway for host in world.hosts)
    assert min(counted(world, "swallowed", "delivery.retry", "hop.demoted")) >= 1


def _swallow(
    core: Core,
    usual: Callable[[Link, Envelope, int], None],
    link: Link,
    envelope: Envelope,
    priority: int,
) -> None:
    """Send what is ours; what is another's comes to nothing."""
    if envelope.hops == 0:
        usual(link, envelope, priority)
    else:
        core.count("swallowed")


def test_busy_consumer_gets_every_message_once_in_the_end() -> None:
    limits = Limits().but(consumed_entries=16, repeat_ns=32 * SECOND)
    world = formed(20, limits=limits)
    post = Post(world)
    target = world.hosts[7]
    others = [host for host in world.hosts if host is not target]
    for number in range(24):
        post.send(others[number % 2], target, signed=True)
    world.run(60 * SECOND)
    assert counted(world, "delivery.busy")[0] > 0
    for message in post.sent:
        assert message.arrived <= 1 and (message.arrived == 1) != message.failed.startswith("busy")


@pytest.mark.parametrize(
    ("median_s", "least"), [(84, 0.99), (744, 0.999)], ids=["1.4 minutes", "12.4 minutes"]
)
def test_messages_are_acknowledged_while_nodes_come_and_go(median_s: int, least: float) -> None:
    """Sessions are exponential, half of the deaths silent; destinations live for 10 s more."""
    world = formed(100, seed=11)
    post, random = Post(world), world.random
    rate = math.log(2) / (median_s * SECOND)
    deaths = [(world.now + random.expovariate(rate), host.index) for host in world.hosts]
    heapq.heapify(deaths)
    died: dict[int, float] = {}
    for _ in range(3_000):
        world.run(SECOND // 50)
        while deaths[0][0] <= world.now:
            at, index = heapq.heappop(deaths)
            died[index] = at
            world.kill(world.hosts[index], silent=random.random() < 0.5)
            contacts = [host.address for host in random.sample(world.alive, 3)]
            fresh = world.restart(world.hosts[index], contacts, fresh=True)
            post.watch(fresh)
            heapq.heappush(deaths, (world.now + random.expovariate(rate), fresh.index))
        joined = [h for h in world.alive if h.core.state.detail is Detail.GROUP_CONNECTED]
        post.send(*random.sample(joined, 2))
    world.run(40 * SECOND)
    never = math.inf
    counted_ones = [
        message
        for message in post.sent
        if died.get(message.target.index, never) - message.at >= 10 * SECOND
        and died.get(message.source.index, never) - message.at >= 40 * SECOND
    ]
    acknowledged = [each for each in counted_ones if each.arrived and not each.failed]
    assert len(counted_ones) > 1_500 and len(died) >= 5
    assert len(acknowledged) >= least * len(counted_ones)
    assert all(message.arrived <= 1 for message in post.sent)
    lost = [each for each in counted_ones if not each.arrived and not each.failed]
    assert lost == [], "neither delivered nor reported"
