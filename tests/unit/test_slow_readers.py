"""How long a reader may stand still, by default, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from routing.errors import CloseCode
from routing.limits import SECOND, Limits, Nanos
from routing.service.connection import PROGRESS_BYTES_MIN, Line
from routing.service.pulse import LOOKS, Pulse
from routing.service.wakeup import WakeUp

__all__: list[str] = []

SLOW_NS = Limits().slow_reader_ns


class Reader:
    """A line whose far end takes what it is told to; it starts with a megabyte that waits."""

    serial, beat_at = 7, 1

    def __init__(self) -> None:
        self.transport_bytes = 1_048_576
        self.codes: list[CloseCode] = []
        self.cut = False

    def fault(self, code: CloseCode, text: str) -> None:
        self.codes.append(code)

    def abort(self) -> None:
        self.cut = True


class Virtual:
    """The clock and the alarms of a host."""

    limits, reading = Limits(), True

    def __init__(self) -> None:
        self.time = 0
        self.alarm: tuple[int, Callable[[], None]] | None = None
        self.looks = 0
        self.clock = self

    def now(self) -> Nanos:
        return Nanos(self.time)

    def set(self, kind: str, key: int, at: int, call: Callable[[], None]) -> None:
        assert (kind, key) == ("slow", Reader.serial)
        self.alarm = at, call

    def cancel(self, kind: str, key: int) -> None:
        self.alarm = None

    def run(self, until: int) -> None:
        """Let alarms come until then."""
        while self.alarm is not None and self.alarm[0] <= until:
            (self.time, call), self.alarm = self.alarm, None
            self.looks += 1
            call()
        self.time = until


@pytest.fixture
def stood() -> tuple[Virtual, Reader, Pulse]:
    """A reader that has just stopped to take anything."""
    host, reader = Virtual(), Reader()
    pulse = Pulse(host, cast(WakeUp, host))
    pulse.on_paused(cast(Line, reader), True)
    return host, reader, pulse


def test_reader_that_takes_nothing_is_closed_after_20_s(
    stood: tuple[Virtual, Reader, Pulse],
) -> None:
    host, reader, _ = stood
    assert SLOW_NS == 20 * SECOND
    host.run(SLOW_NS - 1)
    assert reader.codes == []
    host.run(SLOW_NS)
    assert reader.codes == [CloseCode.SLOW_READER]
    assert reader.cut, "who does not read will not read the Close either"
    assert host.looks <= LOOKS + 1
    assert host.alarm is None


def test_what_the_kernel_of_the_reader_took_at_first_excuses_it_for_no_second_20_s(
    stood: tuple[Virtual, Reader, Pulse],
) -> None:
    host, reader, _ = stood
    host.run(SECOND // 1_000)
    reader.transport_bytes -= PROGRESS_BYTES_MIN
    host.run(SLOW_NS)
    assert reader.codes == []
    host.run(SLOW_NS + SLOW_NS // LOOKS)
    assert reader.codes == [CloseCode.SLOW_READER]


def test_reader_that_takes_64_kib_in_20_s_is_slow_and_kept(
    stood: tuple[Virtual, Reader, Pulse],
) -> None:
    host, reader, _ = stood
    for second in range(1, 301):
        host.run(second * SECOND)
        reader.transport_bytes -= -(-PROGRESS_BYTES_MIN // 17)
        assert reader.codes == [], second


def test_reader_that_takes_less_is_closed(stood: tuple[Virtual, Reader, Pulse]) -> None:
    host, reader, _ = stood
    for second in range(1, 61):
        host.run(second * SECOND)
        reader.transport_bytes -= PROGRESS_BYTES_MIN // 24
    assert reader.codes == [CloseCode.SLOW_READER]


def test_who_has_taken_all_is_watched_no_more(stood: tuple[Virtual, Reader, Pulse]) -> None:
    host, reader, pulse = stood
    host.run(SLOW_NS // 2)
    pulse.on_paused(cast(Line, reader), False)
    host.run(3 * SLOW_NS)
    assert reader.codes == []
