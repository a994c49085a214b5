"""Feeders and slow hops of any kind: nothing is lost, nobody waits too long, nothing grows.

The relay here moves numbers instead of envelopes and asks `Feeding` what a corridor asks it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routing.limits import SECOND, Limits, Nanos
from routing.service.connection import Line
from routing.service.feeding import SEEN_BYTES_MIN, Feeding

__all__ = ["Feeders"]

LIMITS = Limits.recommended().but(write_bytes_max=2 << 20)
ROOM = 1 << 20
FRAME_MAX = 200_000
FEEDERS, HOPS = 4, 3


class Piece(NamedTuple):
    """A message: its place among all of its feeder, where it goes, its size."""

    number: int
    hop: int
    size: int


pieces = msgspec.msgpack.Decoder(list[Piece])


class Alarms:
    """The one timer, fired by hand."""

    def __init__(self) -> None:
        self.due: dict[tuple[str, int], tuple[int, Callable[[], None]]] = {}

    def set(self, kind: str, serial: int, at: int, call: Callable[[], None]) -> None:
        self.due[kind, serial] = at, call

    def cancel(self, kind: str, serial: int) -> None:
        self.due.pop((kind, serial), None)

    def fire(self, now: int) -> None:
        for name, (at, call) in sorted(self.due.items(), key=lambda each: (each[1][0], each[0])):
            if at <= now and name in self.due:
                del self.due[name]
                call()


class Way:
    """A connection as far as feeding knows it: brings records, and takes pieces."""

    peer = "somebody"

    def __init__(self, serial: int, relay: Relay) -> None:
        self.serial, self._relay = serial, relay
        self.heard_at = Nanos(0)
        self.waits = False
        self.since = Nanos(0)
        self.records: deque[list[Piece]] = deque()
        self.queue: deque[tuple[int, Piece]] = deque()
        self.backlog = self.read_bytes = 0

    @property
    def transport_bytes(self) -> int:
        return self.backlog

    def hold_up(self, wait: bool) -> None:
        self.waits, self.since = wait, self._relay.time

    def sip(self) -> bool:
        assert self.waits, "who does not wait is read anyway"
        self.read_bytes += SEEN_BYTES_MIN
        return True

    def read_on(self) -> None:
        while self.records and not self.waits:
            self._relay.take(self, self.records.popleft(), 0)


class Relay:
    """What brings feeders and hops together."""

    def __init__(self) -> None:
        self.limits, self.counters = LIMITS, Counter[str]()
        self.time = Nanos(0)
        self.alarms = Alarms()
        self.wakeup = cast(Any, self.alarms)
        self.feeding = Feeding(self)
        self.feeding.go_on = cast(Any, self.go_on)
        self.feeders = [Way(serial, self) for serial in range(FEEDERS)]
        self.hops = [Way(100 + serial, self) for serial in range(HOPS)]
        self.handed_up = [0] * HOPS
        """Bytes above the room, by hop, since it last took all it had."""
        self.came: dict[tuple[int, int], list[int]] = {}

    def now(self) -> Nanos:
        return self.time

    def go_on(self, feeder: Way, rest: bytes, excused: int) -> None:
        if rest:
            self.take(feeder, pieces.decode(rest), excused)
        feeder.read_on()

    def take(self, feeder: Way, record: list[Piece], excused: int) -> None:
        touched: Counter[int] = Counter()
        for at, piece in enumerate(record):
            hop = self.hops[piece.hop]
            if hop.backlog > ROOM:
                if excused <= 0:
                    rest = msgspec.msgpack.encode(record[at:])
                    self.settle(feeder, touched)
                    self.feeding.hold(cast(Line, feeder), cast(Line, hop), rest)
                    return
                excused -= piece.size
                self.handed_up[piece.hop] += piece.size
            hop.queue.append((feeder.serial, piece))
            hop.backlog += piece.size
            touched[piece.hop] += piece.size
        self.settle(feeder, touched)

    def settle(self, feeder: Way, touched: Counter[int]) -> None:
        for number, size in touched.items():
            self.feeding.fed(cast(Line, feeder), cast(Line, self.hops[number]), size)

    def drain(self, number: int, most: int) -> None:
        """A hop takes whole pieces as long as it has not taken `most` bytes."""
        hop = self.hops[number]
        while hop.queue and most > 0:
            feeder, piece = hop.queue.popleft()
            hop.backlog -= piece.size
            most -= piece.size
            self.came.setdefault((feeder, number), []).append(piece.number)
        if hop.backlog <= ROOM:
            self.handed_up[number] = 0
        self.feeding.drained(cast(Line, hop))


class Feeders(RuleBasedStateMachine):
    """Records come, hops take or stand still, time passes."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.relay = self.run(Relay)
        self.sent: dict[tuple[int, int], list[int]] = {}
        self.number = 0

    def run(self, step: Callable[[], Any]) -> Any:
        """Do a step on a loop, and what it leaves for later."""

        async def whole() -> Any:
            done = step()
            for _ in range(3):
                await asyncio.sleep(0)
            return done

        return self.runner.run(whole())

    @rule(
        feeder=st.integers(0, FEEDERS - 1),
        record=st.lists(
            st.tuples(st.integers(0, HOPS - 1), st.integers(300, FRAME_MAX)), min_size=1, max_size=8
        ),
        times=st.integers(1, 6),
    )
    def bring(self, feeder: int, record: list[tuple[int, int]], times: int) -> None:
        way = self.relay.feeders[feeder]
        for _ in range(times):
            piled = []
            for hop, size in record:
                self.number += 1
                piled.append(Piece(self.number, hop, size))
                self.sent.setdefault((feeder, hop), []).append(self.number)
            way.records.append(piled)
        self.run(way.read_on)

    @rule(hop=st.integers(0, HOPS - 1), most=st.sampled_from([1, 65_536, 500_000, 1 << 30]))
    def drain(self, hop: int, most: int) -> None:
        self.run(lambda: self.relay.drain(hop, most))

    @rule(passed=st.sampled_from([1, SECOND // 3, SECOND]))
    def wait(self, passed: int) -> None:
        self.relay.time = Nanos(self.relay.time + passed)
        self.run(lambda: self.relay.alarms.fire(self.relay.time))

    @rule(hop=st.integers(0, HOPS - 1))
    def give_up(self, hop: int) -> None:
        """A hop is lost: nobody waits for it; here what it had goes on elsewhere."""

        relay = self.relay
        line = relay.hops[hop]
        for feeder, piece in line.queue:
            relay.came.setdefault((feeder, hop), []).append(piece.number)
        line.queue.clear()
        line.backlog = relay.handed_up[hop] = 0
        self.run(lambda: relay.feeding.forget(cast(Line, line)))

    @invariant()
    def nobody_waits_too_long(self) -> None:
        if not hasattr(self, "relay"):
            return
        waiting = [way for way in self.relay.feeders if way.waits]
        assert len(self.relay.feeding) == len(waiting) == len(self.relay.alarms.due)
        for way in waiting:
            assert self.relay.time < way.since + LIMITS.feed_pause_ns

    @invariant()
    def queues_have_their_bound(self) -> None:
        if not hasattr(self, "relay"):
            return
        for number, hop in enumerate(self.relay.hops):
            assert hop.backlog <= ROOM + FRAME_MAX + self.relay.handed_up[number]

    def teardown(self) -> None:
        if not hasattr(self, "relay"):
            return
        for _ in range(2_000):
            if not any(hop.queue for hop in self.relay.hops) and not len(self.relay.feeding):
                break
            self.run(lambda: [self.relay.drain(number, 65_536) for number in range(HOPS)])
        assert self.relay.came == self.sent
        assert not any(way.records for way in self.relay.feeders)
        assert self.relay.alarms.due == {}
        self.runner.close()


TestFeeders = Feeders.TestCase
TestFeeders.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def served(greedy: int, modest: int, rounds: int) -> tuple[int, int]:
    """Return what a slow hop took of one who brings `greedy` records a round, and of another."""

    async def whole() -> tuple[int, int]:
        relay, number = Relay(), 0
        for _ in range(rounds):
            for feeder, count in ((0, greedy), (1, modest)):
                for _ in range(count):
                    number += 1
                    relay.feeders[feeder].records.append([Piece(number, 0, 16_384)] * 4)
                relay.feeders[feeder].read_on()
            relay.drain(0, 65_536)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return len(relay.came.get((0, 0), [])), len(relay.came.get((1, 0), []))

    return asyncio.run(whole())


def test_two_who_bring_too_much_are_served_alike() -> None:
    greedy, other = served(8, 2, 400)
    assert greedy / 2 <= other <= greedy * 2


def test_who_brings_less_than_its_share_never_waits_for_the_greedy() -> None:
    async def whole() -> tuple[int, int]:
        relay, waited = Relay(), 0
        greedy, modest = relay.feeders[:2]
        for turn in range(400):
            greedy.records.extend([[Piece(turn, 0, 16_384)] * 4] * 4)
            if turn % 4 == 0:
                modest.records.append([Piece(turn, 0, 16_384)] * 4)
            for way in (greedy, modest):
                way.read_on()
            # What the greedy alone had filled is taken first.
            waited += modest.waits and turn > 2 * ROOM // 65_536
            relay.drain(0, 65_536)
            for _ in range(3):
                await asyncio.sleep(0)
        return len(relay.came[1, 0]), waited

    came, waited = asyncio.run(whole())
    assert waited == 0
    assert came >= 4 * (100 - ROOM // 65_536)
