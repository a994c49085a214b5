"""Who is held up for long is read now and then all the same: on a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.errors import CloseCode
from routing.limits import SECOND, Limits, Nanos
from routing.service.connection import PROGRESS_BYTES_MIN
from routing.service.feeding import SEEN_BYTES_MIN, SIPS, Feeding
from routing.service.pulse import LOOKS

__all__: list[str] = []

LIMITS = Limits()
SLOW_NS = LIMITS.slow_reader_ns
STEP = SLOW_NS // SIPS
UNREAD_MAX = 1 << 20
READ = 1 << 16
"""Bytes that come in at a time where a line is read on."""


class Clock:
    """Sees a reader as its far end does: how long it is since it took anything worth the name."""

    def __init__(self) -> None:
        self.counted, self.since = 0, 0

    def look(self, taken: int, now: int) -> int:
        if taken - self.counted >= PROGRESS_BYTES_MIN:
            self.counted, self.since = taken, now
        return now - self.since


class Feeder:
    """A line whose far end has more to send at every time."""

    def __init__(self, serial: int, host: Virtual) -> None:
        self.serial, self.host = serial, host
        self.heard_at = self.read_bytes = self.unread = 0
        self.waits = False
        self.sips: list[int] = []

    def hold_up(self, wait: bool) -> None:
        self.waits = wait

    def read(self, size: int) -> None:
        self.unread += size
        self.read_bytes += size

    def sip(self) -> bool:
        if self.unread >= UNREAD_MAX:
            return False
        self.sips.append(self.host.time)
        self.read(SEEN_BYTES_MIN)
        return True


class Hop:
    """A line that takes little, or nothing."""

    serial = 99
    peer = "192.0.2.1:5483"
    is_stalled = True

    def __init__(self) -> None:
        self.backlog = self.taken = 0
        self.faults: list[CloseCode] = []
        self.aborted = False

    def is_open(self) -> bool:
        return not self.faults

    def fault(self, code: CloseCode, text: str) -> None:
        self.faults.append(code)

    def abort(self) -> None:
        self.aborted = True


class Virtual:
    """The host of them, with its alarms; `size` is that of every message."""

    limits = LIMITS

    def __init__(self, feeders: int, size: int = 1_000) -> None:
        self.time = 0
        self.size = size
        self.counters: Counter[str] = Counter()
        self.alarms: dict[int, tuple[int, Callable[[], None]]] = {}
        self.wakeup = self
        self.feeding = Feeding(cast(Any, self))
        self.feeding.go_on = cast(Any, self.go_on)
        self.hop = Hop()
        self.lines = [Feeder(number, self) for number in range(feeders)]

    def now(self) -> Nanos:
        return Nanos(self.time)

    def set(self, kind: str, key: int, at: int, call: Callable[[], None]) -> None:
        assert kind == "feed"
        self.alarms[key] = at, call

    def cancel(self, kind: str, key: int) -> None:
        self.alarms.pop(key, None)

    def run(self, until: int) -> None:
        while self.alarms:
            key = min(self.alarms, key=lambda each: self.alarms[each][0])
            at, call = self.alarms[key]
            if at > until:
                break
            self.time = at
            del self.alarms[key]
            call()
        self.time = until

    def go_on(self, line: Feeder, rest: bytes, excused: int) -> None:
        """Pass on what a line brings, as the corridor does, until it must wait."""
        feeding, hop = self.feeding, cast(Any, self.hop)
        while not line.waits:
            if hop.backlog > feeding.room:
                if excused <= 0:
                    feeding.hold(cast(Any, line), hop, b"more")
                    return
                excused -= self.size
            if line.unread < self.size:
                line.read(READ)
            line.unread -= self.size
            hop.backlog += self.size
            feeding.fed(cast(Any, line), hop, self.size)

    def drain(self, most: int) -> None:
        """The hop takes some."""
        taken = min(most, self.hop.backlog)
        self.hop.backlog -= taken
        self.hop.taken += taken
        if taken:
            self.feeding.drained(cast(Any, self.hop))


def held_up(feeders: int) -> Virtual:
    """Return a host whose hop stands still, and feeders that have more for it at every time."""
    host = Virtual(feeders)
    host.hop.backlog = host.feeding.room + 1
    for line in host.lines:
        host.go_on(line, b"", 0)
    return host


@pytest.mark.parametrize("feeders", [3, 4, 8, 20])
def test_each_is_read_three_times_before_a_hop_that_stands_is_given_up(feeders: int) -> None:
    host = held_up(feeders)
    host.run(SLOW_NS)
    # Each waits a second at a time, and is read when that ends and 5 s have gone by.
    for line in host.lines:
        assert line.sips == [5 * SECOND, 11 * SECOND, 17 * SECOND]
    assert host.counters["feeding.sips"] == 3 * feeders
    assert host.hop.is_open()


def test_who_sees_enough_go_on_is_not_read_besides() -> None:
    host = held_up(1)
    host.run(SLOW_NS)
    (line,) = host.lines
    assert host.counters["feeding.overdue"] == SLOW_NS // LIMITS.feed_pause_ns
    assert line.read_bytes >= (SIPS - 1) * SEEN_BYTES_MIN and not line.sips


def test_hop_is_given_up_when_no_more_is_read_of_somebody_who_waits() -> None:
    host = held_up(8)
    for line in host.lines:
        line.unread = UNREAD_MAX + 2 * SEEN_BYTES_MIN
    last = (SIPS - 1) * STEP
    host.run(last - 1)
    assert host.hop.is_open() and not host.counters["feeding.sips"]
    host.run(last + SECOND)
    assert host.hop.faults == [CloseCode.SLOW_READER] and host.hop.aborted
    assert host.counters["feeding.given_up"] == 1


def test_line_that_has_ended_leaves_nothing_behind() -> None:
    host = held_up(1)
    host.run(STEP - 1)
    host.feeding.forget(cast(Any, host.lines[0]))
    assert not host.alarms and not len(host.feeding) and not host.feeding._seen


async def fed_for(host: Virtual, rate: int, seconds: int) -> tuple[int, int]:
    """Have a hop take so many bytes a second; return for how long any feeder saw least taken.

    And when the hop was closed, by whatever clock, or 0.
    """
    tick = SECOND // 10
    clocks, own = [Clock() for _ in host.lines], Clock()
    worst = 0
    for line in host.lines:
        host.go_on(line, b"", 0)
    for now in range(tick, seconds * SECOND + 1, tick):
        host.run(now)
        host.drain(rate // 10)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for line, clock in zip(host.lines, clocks, strict=True):
            worst = max(worst, clock.look(line.read_bytes, now))
        stood = own.look(host.hop.taken, now) >= SLOW_NS + SLOW_NS // LOOKS
        if stood or host.hop.faults or host.hop.backlog > LIMITS.write_bytes_max:
            return worst, now
    return worst, 0


@settings(max_examples=60, deadline=None)
@given(
    feeders=st.integers(1, 24),
    rate=st.sampled_from([0, 2_000, 5_000, 20_000, 60_000, 200_000, 1_000_000]),
    size=st.sampled_from([200, 1_000, 5_000, 20_000]),
)
def test_no_feeder_takes_its_relay_for_who_holds_it_up(feeders: int, rate: int, size: int) -> None:
    worst, _ = asyncio.run(fed_for(Virtual(feeders, size), rate, 150))
    assert worst < SLOW_NS


@pytest.mark.parametrize("feeders", [2, 8, 32])
def test_hop_that_takes_enough_for_all_is_kept(feeders: int) -> None:
    rate = feeders * (SEEN_BYTES_MIN * SECOND // STEP)
    worst, closed = asyncio.run(fed_for(Virtual(feeders), rate, 150))
    assert worst < SLOW_NS and not closed


def test_hop_that_takes_too_little_for_many_is_given_up() -> None:
    host = Virtual(16)
    _, closed = asyncio.run(fed_for(host, 60_000, 150))
    assert closed > 3 * STEP and host.hop.faults == [CloseCode.SLOW_READER]
