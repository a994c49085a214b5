"""Lists in simulated networks that lose and repeat frames: whole, in order and once, or failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing import actions as do
from routing.events import Message
from routing.inputs import SubmittedMany
from routing.limits import SECOND
from routing.messages import Address, ClientAddress, NodeAddress
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.scenarios import grow
from routing.simulation.world import World
from routing.window import BUSY

__all__: list[str] = []


@dataclass
class Books:
    """What was sent in a world, in lists, and what became of each message."""

    world: World
    sent: dict[int, bytes] = field(default_factory=dict)
    heard: Counter[int] = field(default_factory=Counter)
    """Number of a message -> how often it was handed over, whole."""
    failed: Counter[int] = field(default_factory=Counter)
    lists: list[list[int]] = field(default_factory=list)
    """The numbers of what was handed over together."""
    strays: int = 0
    is_refused: bool = False
    """The last that was sent was refused for want of room."""

    def watch(self, host: Host) -> None:
        host._execute[do.DeliverMany] = self.delivered_many
        host._execute[do.Deliver] = lambda action: self.delivered([action.message])
        host._execute[do.Failed] = self.lost

    def delivered_many(self, action: do.DeliverMany) -> None:
        found = list[Message]()
        action.to(found.append)
        self.delivered(found)

    def delivered(self, messages: list[Message]) -> None:
        numbers = []
        for message in messages:
            number = int.from_bytes(message.payload[:4], "big")
            self.strays += self.sent.get(number) != message.payload
            self.heard[number] += 1
            numbers.append(number)
        self.lists.append(numbers)

    def lost(self, action: do.Failed) -> None:
        if action.reason == BUSY:
            self.is_refused = True
        else:
            self.failed[action.reference] += 1

    def send(self, source: Host, to: Address, sizes: list[int], *, once: bool = False) -> None:
        """Have a host send so many messages of these sizes, signed, once there is room for them."""
        first = len(self.sent) + 1
        payloads = [
            (first + place).to_bytes(4, "big") + bytes([place % 251]) * size
            for place, size in enumerate(sizes)
        ]
        self.sent.update(enumerate(payloads, first))
        self.is_refused = True
        while self.is_refused:
            self.is_refused = False
            self.world.tell(source, SubmittedMany(first, to, payloads, not once, True))
            if self.is_refused:
                assert source.core.delivery.window.flying, "what is alone has room"
                self.world.run(SECOND // 20)

    def judge(self) -> None:
        """Nothing strange, nothing twice, nothing out of order, and every end is known."""
        assert self.strays == 0
        assert max(self.heard.values(), default=0) <= 1
        assert max(self.failed.values(), default=0) <= 1
        for numbers in self.lists:
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def named(host: Host) -> bytes:
    assert host.core.name is not None
    return host.core.name


def whole(seed: int, nodes: int) -> tuple[World, Books]:
    """Return a network in which everybody knows whom he should, and its books."""
    world = World(seed)
    grow(world, nodes, gap_low_ns=SECOND // 4, gap_high_ns=SECOND // 2)
    world.run(nodes * SECOND // 2)
    assert world.run_until(lambda: why_not_whole(world) is None, limit_ns=300 * SECOND) is not None
    books = Books(world)
    for host in world.hosts:
        books.watch(host)
    return world, books


def strangers(world: World) -> tuple[Host, Host]:
    """Return two hosts that are not connected with each other."""
    return next(
        (one, other)
        for one in world.alive
        for other in world.alive
        if one is not other and named(other) not in one.core.table
    )


SIZES = st.one_of(st.integers(0, 300), st.sampled_from([20_000, 64_000, 65_020, 65_021, 100_000]))


@given(
    seed=st.integers(0, 1 << 30),
    lists=st.lists(st.lists(SIZES, min_size=1, max_size=12), min_size=1, max_size=6),
    loss=st.sampled_from([0.0, 0.1]),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_lists_arrive_once_in_order_and_whole(
    seed: int, lists: list[list[int]], loss: float
) -> None:
    world, books = whole(seed, 4)
    world.worsen(loss=loss, duplication=loss)
    for number, sizes in enumerate(lists):
        to = NodeAddress(named(world.hosts[(number + 1) % 4]))
        books.send(world.hosts[number % 4], to, sizes)
    world.run(60 * SECOND)
    books.judge()
    assert books.failed == Counter()
    assert books.heard == Counter(books.sent.keys())
    for host in world.hosts:
        assert host.core.delivery.underway == {} and host.core.delivery.bytes == 0


def test_lists_over_several_hops_that_lose_and_repeat_arrive_once() -> None:
    world, books = whole(3, 60)
    source, target = strangers(world)
    world.worsen(loss=0.05, duplication=0.05)
    for _ in range(40):
        books.send(source, NodeAddress(named(target)), [100] * 100)
        world.run(SECOND // 20)
    world.run(60 * SECOND)
    books.judge()
    assert books.failed == Counter() and books.heard == Counter(books.sent.keys())
    assert {len(numbers) for numbers in books.lists} == {100}
    counters = world.counters()
    assert counters["list.sent"] == 40 and counters["list.delivered"] == 40
    assert counters["delivery.retry"] > 0, "some were lost"
    assert counters["message.duplicate"] + counters["routed.duplicate"] > 0


def test_lists_to_who_has_died_fail_each_message_by_its_number() -> None:
    world, books = whole(4, 12)
    source, target = world.hosts[0], world.hosts[5]
    name = named(target)
    books.send(source, NodeAddress(name), [10] * 30)
    world.kill(target, silent=True)
    world.run(SECOND // 100)
    books.send(source, NodeAddress(name), [10] * 30)
    world.run(120 * SECOND)
    books.judge()
    assert all((number in books.heard) != (number in books.failed) for number in books.sent)
    assert books.failed[60] == 1


def test_at_most_once_lists_are_never_repeated() -> None:
    world, books = whole(5, 12)
    world.worsen(loss=0.2, duplication=0.2)
    for _ in range(30):
        books.send(world.hosts[1], NodeAddress(named(world.hosts[7])), [5] * 10, once=True)
        world.run(SECOND // 10)
    world.run(10 * SECOND)
    books.judge()
    assert 0 < len(books.heard) < len(books.sent)
    assert world.counters().get("delivery.retry", 0) == 0


def test_clients_send_lists_to_each_other_within_their_allowance() -> None:
    world, books = whole(6, 12)
    contacts = [host.address for host in world.hosts[:3]]
    one, two = (world.add_node(contacts, client=True) for _ in range(2))
    world.run(5 * SECOND)
    for client in (one, two):
        books.watch(client)
    proxy = two.core.bootstrapping.proxy()
    assert proxy is not None
    to = ClientAddress(proxy.name, two.key)
    for _ in range(5):
        books.send(one, to, [100] * 300)
        world.run(SECOND)
    books.send(one, NodeAddress(named(world.hosts[9])), [100] * 300)
    world.run(20 * SECOND)
    books.judge()
    assert books.failed == Counter() and books.heard == Counter(books.sent.keys())
    assert world.counters().get("client.throttled", 0) == 0
