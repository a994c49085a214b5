"""Who is held up for long is read now and then all the same: on a clock of the test's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from routing.limits import Limits, Nanos
from routing.service.feeding import SIPS, Feeding

__all__: list[str] = []

LIMITS = Limits()


class Stub:
    """A line: what waits on it as a hop, and what it was told as a feeder."""

    is_stalled = True
    peer = "192.0.2.1:5483"

    def __init__(self, serial: int) -> None:
        self.serial = serial
        self.backlog = 0
        self.heard_at = 0
        self.sips: list[int] = []
        self.host: Virtual | None = None

    def hold_up(self, wait: bool) -> None:
        pass

    def sip(self) -> None:
        assert self.host is not None
        self.sips.append(self.host.time)


class Virtual:
    """The host of them, with its alarms."""

    limits = LIMITS

    def __init__(self) -> None:
        self.time = 0
        self.counters: Counter[str] = Counter()
        self.alarms: dict[int, tuple[int, Callable[[], None]]] = {}
        self.wakeup = self

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


def held_up(feeders: int) -> tuple[Virtual, Feeding, Any, list[Stub]]:
    """Return a host whose hop stands still, and feeders that have more for it at every time."""
    host = Virtual()
    feeding = Feeding(cast(Any, host))
    hop, lines = Stub(99), [Stub(number) for number in range(feeders)]
    hop.backlog = feeding.room

    def more(line: Any, rest: bytes, excused: int) -> None:
        feeding.hold(line, cast(Any, hop), b"more")

    feeding.go_on = more
    for line in lines:
        line.host = host
        more(line, b"", 0)
    return host, feeding, hop, lines


@pytest.mark.parametrize("feeders", [1, 2, 8])
def test_each_is_read_four_times_before_the_hop_is_given_up(feeders: int) -> None:
    host, _, _, lines = held_up(feeders)
    host.run(LIMITS.slow_reader_ns)
    step = LIMITS.slow_reader_ns // SIPS
    for line in lines:
        assert line.sips == [step, 2 * step, 3 * step, 4 * step]
    assert host.counters["feeding.sips"] == SIPS * feeders


def test_who_went_on_meanwhile_is_counted_anew() -> None:
    host, feeding, hop, (line,) = held_up(1)
    step = LIMITS.slow_reader_ns // SIPS
    host.run(step - 1)
    going: list[Any] = []
    feeding.go_on = lambda line, rest, excused: going.append(line)
    host.run(step)
    assert going == [line] and not line.sips
    feeding.hold(cast(Any, line), hop, b"more")
    feeding.go_on = lambda line, rest, excused: feeding.hold(line, hop, b"more")
    host.run(2 * step - 1)
    assert not line.sips
    host.run(2 * step)
    assert line.sips == [2 * step]


def test_line_that_has_ended_leaves_nothing_behind() -> None:
    host, feeding, _, (line,) = held_up(1)
    host.run(LIMITS.slow_reader_ns // SIPS - 1)
    feeding.forget(cast(Any, line))
    assert not host.alarms and not len(feeding) and not feeding._rounds
