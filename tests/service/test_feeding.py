"""A relay on real sockets does not read what it cannot pass on, and holds up nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from routing import actions as do
from routing import sending
from routing.core import Core
from routing.events import Message
from routing.inputs import Accepted, FrameReceived, Input
from routing.limits import SECOND, Limits
from routing.messages import Address, FrameKind
from routing.node import Node
from routing.pressure import ways_out
from routing.service.connection import PROGRESS_BYTES_MIN, Line
from routing.state import Token
from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, address, eventually, network
from tests.service.puppet import Peer, Stage, hosted, limits

__all__: list[str] = []

LIMITS = Limits.local().but(write_bytes_max=262_144)
ROOM = LIMITS.write_bytes_max // 2
SIZE = 1_000
COUNT = 400
"""Messages of 10 kB: many times what waits in a host and the kernel together."""

Chain = Callable[[Node, Node], None]


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Chain:
    """Have all that a node sends, signed, go by way of another one, as if it knew nobody else."""
    first: dict[int, Callable[[], list[Token]]] = {}

    def tokens(core: Core, destination: Address, *, routed: bool) -> list[Token]:
        own = first.get(id(core))
        return ways_out(core, destination, routed=routed) if own is None else own()

    def link(source: Node, relay: Node) -> None:
        core, name = source._running(), bytes(relay.name or b"")

        def ways(target: bytes) -> list[bytes]:
            return [name] if name in core.table else []

        core.hops.ways = ways  # type: ignore[method-assign]
        first[id(core)] = lambda: [Token(core.link_to(each).token) for each in ways(b"")]

    monkeypatch.setattr(sending, "ways_out", tokens)
    return link


class Stream:
    """One node sends to another without an end until it is told to stop."""

    def __init__(self, source: Node, to: Node, size: int = SIZE) -> None:
        self.sent = 0
        self._source, self._to, self._size = source, to, size
        self._going = True
        self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while self._going:
            head = self.sent.to_bytes(4, "big")
            await self._source.send(address(self._to), head.ljust(self._size), signed=True)
            self.sent += 1
            await asyncio.sleep(0)

    @property
    def waits(self) -> bool:
        """The source has on its connection all that may wait there."""
        return self._source.stats()["bytes.queued"] > ROOM

    async def stop(self) -> None:
        """Return once the last message is accepted."""
        self._going = False
        async with asyncio.timeout(PATIENCE_S):
            await self._task


def counting(node: Node) -> Counter[bytes]:
    """Return how many of each payload a node gets, by source and number, from now on."""
    came: Counter[bytes] = Counter()

    def take(messages: list[Message]) -> None:
        for message in messages:
            came[bytes(getattr(message.source, "name", b"")) + message.payload[:4]] += 1

    node.on_messages(take)
    return came


def by_source(came: Counter[bytes]) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    for key, count in came.items():
        found[key[:32]] += count
    return found


@asynccontextmanager
async def still(node: Node) -> AsyncIterator[None]:
    """The node reads nothing."""
    node._serving().pause_reading()
    try:
        yield
    finally:
        node._serving().resume_reading()


def counted(node: Node, what: str) -> int:
    return node.stats().get(what, 0)


def test_source_waits_and_the_relay_loses_nothing_while_the_destination_stands_still(
    run: Run, chain: Chain
) -> None:
    async def body() -> None:
        async with network(3, limits=LIMITS) as (a, b, c):
            chain(a, b)
            came = counting(c)
            async with still(c):
                stream = Stream(a, c)
                await eventually(lambda: counted(b, "feeding.pauses") and stream.waits)
                # Whoever has waited as long as anybody may goes on a little, and waits again.
                await eventually(lambda: counted(b, "feeding.overdue") >= 1)
                await eventually(lambda: counted(b, "feeding.pauses") >= 2 and stream.waits)
                # What is sealed already, one record, waits in the transport besides.
                bound = LIMITS.write_bytes_max + LIMITS.record_bytes_max
                assert b.stats()["bytes.queued"] < bound
            await stream.stop()
            await eventually(lambda: len(came) == stream.sent)
            assert set(came.values()) == {1}
            for node in (a, b, c):
                assert counted(node, "slow.queue_full") == counted(node, "lost.slow_reader") == 0
            assert counted(a, "delivery.undeliverable") == 0
            assert counted(b, "feeding.paused_ns") > 0

    run(body())


def test_source_that_repeats_what_its_neighbour_has_not_read_keeps_the_connection(
    run: Run,
) -> None:
    async def body() -> None:
        async with network(2, limits=LIMITS) as (a, b):
            came = counting(b)
            async with still(b):
                stream = Stream(a, b)
                await eventually(lambda: stream.waits)
                # All that waits leaves once more, which is several times what may wait.
                await eventually(lambda: counted(a, "delivery.retry") > stream.sent / 2)
                assert counted(a, "repeat.dropped") > 0
                assert a.stats()["bytes.queued"] < LIMITS.write_bytes_max
            await stream.stop()
            await eventually(lambda: len(came) == stream.sent)
            assert set(came.values()) == {1}
            assert counted(a, "slow.queue_full") == counted(a, "delivery.undeliverable") == 0

    run(body())


def test_source_waits_for_the_way_that_its_signed_messages_take(run: Run) -> None:
    async def body() -> None:
        async with network(3, limits=LIMITS) as (a, b, c):
            # As if B had missed an acknowledgement: what is signed goes by way of C.
            name = bytes(c.name or b"")
            a._running().hops.ways = lambda target: [name]  # type: ignore[method-assign]
            came = counting(b)
            async with still(c):
                stream = Stream(a, b)
                await eventually(lambda: stream.waits or counted(a, "slow.queue_full"))
                assert counted(a, "slow.queue_full") == 0, "C was closed for what nobody held up"
            await stream.stop()
            await eventually(lambda: len(came) == stream.sent)
            assert set(came.values()) == {1}

    run(body())


def test_slow_destination_takes_as_much_of_a_modest_source_as_of_a_greedy_one(
    run: Run, chain: Chain
) -> None:
    async def body() -> None:
        async with network(4, limits=Limits.local()) as (b, c, greedy, modest):
            chain(greedy, b)
            chain(modest, b)
            came = counting(c)
            streams = [Stream(greedy, c) for _ in range(4)] + [Stream(modest, c)]
            before: Counter[bytes] = Counter()
            while not before or came.total() - before.total() < 4_000:
                # It reads a little when both have brought what they may.
                async with still(c):
                    await eventually(lambda: len(b._serving().feeding) == 2)
                    if came.total() >= 1_000:  # what one had brought before the other began
                        before = before or by_source(came)
                for _ in range(3):
                    await asyncio.sleep(0)
            after = by_source(came) - before
            for stream in streams:
                await stream.stop()
            by_greedy = after[bytes(greedy.name or b"")]
            by_modest = after[bytes(modest.name or b"")]
            assert by_greedy / 2 <= by_modest <= by_greedy * 2, (by_greedy, by_modest)

    run(body())


def test_who_sends_elsewhere_is_not_held_up_by_who_is(run: Run, chain: Chain) -> None:
    async def body() -> None:
        # Whoever waits for C waits longer than the test does.
        limits = LIMITS.but(feed_pause_ns=60 * SECOND, quiet_ns=60 * SECOND)
        async with network(5, limits=limits) as (b, c, d, greedy, other):
            chain(greedy, b)
            chain(other, b)
            came = counting(d)
            async with still(c):
                stream = Stream(greedy, c)
                await eventually(lambda: counted(b, "feeding.pauses") and stream.waits)
                for number in range(500):
                    head = number.to_bytes(4, "big")
                    await other.send(address(d), head.ljust(SIZE), signed=True)
                await eventually(lambda: len(came) == 500)
                await eventually(lambda: stream.waits)
                assert counted(b, "feeding.overdue") == 0
            await stream.stop()

    run(body())


def test_nodes_that_all_wait_for_each_other_go_on(run: Run, chain: Chain) -> None:
    async def body() -> None:
        limits = LIMITS.but(feed_pause_ns=SECOND // 10)
        async with network(3, limits=limits) as (a, b, c):
            ring = [(a, b, c), (b, c, a), (c, a, b)]
            for source, relay, _ in ring:
                chain(source, relay)
            came = {id(node): counting(node) for node in (a, b, c)}
            streams = {}
            async with still(a), still(b), still(c):
                for source, _, to in ring:
                    streams[id(to)] = Stream(source, to, 10_000)
                await eventually(lambda: all(each.waits for each in streams.values()))
            await eventually(
                lambda: (
                    any(counted(node, "feeding.overdue") for node in (a, b, c))
                    or all(len(each) > 300 for each in came.values())
                )
            )
            for stream in streams.values():
                await stream.stop()
            for key, stream in streams.items():
                await eventually(lambda: len(came[key]) == stream.sent)  # noqa: B023
                assert set(came[key].values()) == {1}
            for node in (a, b, c):
                assert counted(node, "lost.slow_reader") == 0
                assert counted(node, "delivery.undeliverable") == 0

    run(body())


def test_hop_that_takes_nothing_is_closed_and_whoever_fed_it_is_read_on(
    run: Run, chain: Chain
) -> None:
    async def body() -> None:
        limits = Limits.local().but(slow_reader_ns=SECOND, feed_pause_ns=SECOND // 20)
        async with network(3, limits=limits) as (a, b, c):
            chain(a, b)
            async with still(c):
                stream = Stream(a, c)
                await eventually(lambda: counted(b, "feeding.pauses"))
                await eventually(lambda: counted(b, "peer.down.slow_reader") == 1)
                await eventually(lambda: len(b._serving().feeding) == 0)
                token = b._running().table.token(bytes(a.name or b""))
                assert token is not None, "who fed it is no slow reader"
            await stream.stop()

    run(body())


def test_what_only_the_core_passes_on_is_not_read_either_while_it_has_no_room(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(write_bytes_max=262_144)) as stage:
            source = await Peer.joined(stage.endpoint, number=8)
            to = await Peer.joined(stage.endpoint, number=9)
            await stage.core.wait(Accepted, 2)
            first, second = (fact.connection.token for fact in stage.core.of(Accepted))
            stage.do(do.Trust(first), do.Trust(second))

            def onward(fact: Input) -> list[do.Action]:
                assert isinstance(fact, FrameReceived)
                return [do.Send(second, fact.kind, fact.body, 0)]

            stage.core.replies[FrameReceived] = onward
            line = stage.host.tokens.get(second)
            for number in range(COUNT):
                head = b"\x94\0\0" + number.to_bytes(4, "big")
                source.send(FrameKind.ROUTED, head.ljust(10_000, b"\0"))
            await eventually(lambda: stage.host.stats().get("feeding.pauses"))
            came: list[bytes] = []
            while len(came) < COUNT:
                came += [each[3:7] for kind, each in await to.frames() if kind == FrameKind.ROUTED]
                assert line is not None and line.backlog < 262_144
            assert came == [number.to_bytes(4, "big") for number in range(COUNT)]
            assert len(stage.core.of(FrameReceived)) == COUNT
            await source.end()
            await to.end()

    run(body())


@asynccontextmanager
async def held_up() -> AsyncIterator[tuple[Stage, Line]]:
    """A line that waits, whose far end has sent it 4 MB."""
    async with hosted(1) as stage:
        source = await Peer.joined(stage.endpoint, number=8)
        token = (await stage.core.wait(Accepted)).connection.token
        stage.do(do.Trust(token))
        line = cast(Line, stage.host.tokens.get(token))
        line.hold_up(True)
        for number in range(COUNT):
            source.send(FrameKind.DIRECT, number.to_bytes(4, "big").ljust(10_000, b"\0"))
        yield stage, line
        await source.end()


def test_line_that_waits_sips_what_its_far_end_sends_and_looks_at_it_later(run: Run) -> None:
    async def body() -> None:
        async with held_up() as (stage, line):
            for sips in (1, 2):
                before = line.read_bytes
                assert line.sip()
                enough = before + 2 * PROGRESS_BYTES_MIN
                await eventually(lambda: line.read_bytes >= enough)  # noqa: B023
                assert line.read_bytes < before + 16 * PROGRESS_BYTES_MIN, sips
            assert not stage.core.of(FrameReceived)
            line.hold_up(False)
            line.read_on()
            await stage.core.wait(FrameReceived, COUNT)
            assert [fact.body[:4] for fact in stage.core.of(FrameReceived)] == [
                number.to_bytes(4, "big") for number in range(COUNT)
            ]

    run(body())


def test_line_that_waits_sips_no_more_than_a_record_may_have(run: Run) -> None:
    async def body() -> None:
        async with held_up() as (_, line):
            while line._reader.unread < line._reader.record_max:
                before = line.read_bytes
                assert line.sip()
                await eventually(lambda: line.read_bytes > before)  # noqa: B023
            assert line._reader.memory <= 2 * 1_048_576
            assert not line.sip()
            transport = line._transport
            assert transport is not None and not transport.is_reading()

    run(body())
