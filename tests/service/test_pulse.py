"""Heartbeats, silence, and what a jump of our own clock must not do; the one timer behind it."""

from __future__ import annotations

import asyncio
import time

import pytest

from routing import actions as do
from routing.errors import CloseCode
from routing.inputs import Accepted, FrameReceived, Lost
from routing.limits import SECOND, Nanos
from routing.messages import FrameKind
from routing.service.pulse import STROKES
from routing.service.wakeup import EARLY_NS, FURTHEST_NS, Clock, WakeUp
from routing.state import Token
from tests.service.conftest import Run
from tests.service.puppet import Peer, eventually, hosted, limits, pair

__all__: list[str] = []

MILLI = SECOND // 1_000


class Ticks:
    """A clock that runs like the real one and can be made to jump."""

    def __init__(self) -> None:
        self.jumped = 0

    def __call__(self) -> int:
        return time.monotonic_ns() + self.jumped


def test_many_deadlines_close_together_do_not_move_the_clock_ahead_of_time(run: Run) -> None:
    async def body() -> None:
        loop, clock, ahead = asyncio.get_running_loop(), Clock(), list[int]()
        wakeup = WakeUp(loop, clock, lambda: None, lambda now, lateness: None)
        over = asyncio.Event()

        def fire() -> None:
            ahead.append(clock.until(clock.now()))

        began = clock.now()
        for number in range(400):
            # So close that a loop which counts milliseconds takes each of them for due.
            wakeup.set("near", number, began + number * MILLI // 3, fire)
        wakeup.set("last", 0, began + 400 * MILLI // 3, over.set)
        await over.wait()
        wakeup.close()
        assert len(ahead) == 400
        assert max(ahead) <= EARLY_NS

    run(body())


def test_quiet_connection_gets_heartbeats(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(heartbeat_ns=20 * MILLI)) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            for _ in range(3):
                assert await peer.frames() == [(FrameKind.HEARTBEAT, b"")]
            await peer.end()

    run(body())


def test_heartbeats_keep_two_quiet_hosts_together_and_are_not_told(run: Run) -> None:
    async def body() -> None:
        bounds = limits(heartbeat_ns=20 * MILLI, silence_ns=200 * MILLI)
        async with pair(bounds) as (near, _, far, _):
            await eventually(lambda: near.host.now() > 400 * MILLI)
            for stage in (near, far):
                assert stage.core.of(Lost) == []
                assert stage.core.of(FrameReceived) == []

    run(body())


def test_busy_connection_gets_none(run: Run) -> None:
    async def body() -> None:
        ticks = Ticks()
        async with hosted(1, ticks=ticks) as stage:
            peer = await Peer.joined(stage.endpoint)
            token = (await stage.core.wait(Accepted)).connection.token
            for number in range(3):
                # Fourteen of the fifteen seconds pass, then there is something to say.
                ticks.jumped += 14 * SECOND
                stage.do(do.Send(token, FrameKind.PING, bytes([number]), 0))
                assert await peer.frames() == [(FrameKind.PING, bytes([number]))]
            await peer.end()

    run(body())


def test_silent_peer_is_lost_and_told_why(run: Run) -> None:
    async def body() -> None:
        bounds = limits(heartbeat_ns=30 * MILLI, silence_ns=90 * MILLI)
        async with hosted(1, bounds=bounds) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            assert (await stage.core.wait(Lost)).code is CloseCode.SILENT
            assert (await peer.close_frame()).code == CloseCode.SILENT
            await peer.end()
            await stage.sockets(0)

    run(body())


def test_any_byte_heard_is_a_sign_of_life(run: Run) -> None:
    async def body() -> None:
        bounds = limits(heartbeat_ns=30 * MILLI, silence_ns=150 * MILLI)
        async with hosted(1, bounds=bounds) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)

            async def talk() -> None:
                while True:
                    peer.send(FrameKind.HEARTBEAT)
                    await asyncio.sleep(0.02)

            task = asyncio.create_task(talk())
            await eventually(lambda: stage.host.now() > 450 * MILLI)
            assert stage.core.of(Lost) == []
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await peer.end()

    run(body())


def test_jump_of_our_clock_probes_everybody_and_drops_nobody(run: Run) -> None:
    async def body() -> None:
        ticks = Ticks()
        bounds = limits(heartbeat_ns=60 * MILLI, silence_ns=300 * MILLI, clock_gap_ns=200 * MILLI)
        async with hosted(1, bounds=bounds, ticks=ticks) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            assert await peer.frames() == [(FrameKind.HEARTBEAT, b"")]
            ticks.jumped += 3_600 * SECOND
            assert await peer.frames() == [(FrameKind.HEARTBEAT, b"")]
            assert stage.host.counters["clock.gaps"] == 1
            assert stage.core.of(Lost) == []
            # Still nothing is heard: now the silence is its own.
            assert (await stage.core.wait(Lost)).code is CloseCode.SILENT
            await peer.end()

    run(body())


def test_idle_connection_gives_its_read_buffer_back(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(heartbeat_ns=20 * MILLI)) as stage:
            peer = await Peer.joined(stage.endpoint)
            token = (await stage.core.wait(Accepted)).connection.token
            stage.do(do.Trust(token))
            peer.send(FrameKind.DIRECT, bytes(300_000))
            await stage.core.wait(FrameReceived)
            (line,) = stage.host._lines.values()
            assert line._reader.memory > 300_000
            while await peer.frames() != [(FrameKind.HEARTBEAT, b"")]:
                pass
            assert line._reader.memory == 0
            peer.send(FrameKind.PING, b"12345678")
            await stage.core.wait(FrameReceived, 2)
            await peer.end()

    run(body())


def test_connection_with_nothing_to_say_holds_no_read_buffer(run: Run) -> None:
    async def body() -> None:
        async with pair() as (near, here, far, _):
            near.do(do.Send(Token(here), FrameKind.PING, b"12345678", 0))
            await far.core.wait(FrameReceived)
            for stage in (near, far):
                (line,) = stage.host._lines.values()
                assert line._reader.memory == 0

    run(body())


def test_heartbeats_rest_both_ciphers_and_what_follows_still_opens(run: Run) -> None:
    async def body() -> None:
        bounds = limits(heartbeat_ns=20 * MILLI, silence_ns=2 * SECOND)
        async with pair(bounds) as (near, here, far, there):
            (line,) = near.host._lines.values()

            def rests() -> bool:
                channel = line.channel
                assert channel is not None
                return channel._sending._aead is None and channel._receiving._aead is None

            await eventually(rests)
            near.do(do.Send(Token(here), FrameKind.PING, b"12345678", 0))
            far.do(do.Send(Token(there), FrameKind.PING, b"87654321", 0))
            for stage in (near, far):
                await stage.core.wait(FrameReceived)
                assert stage.core.of(Lost) == []

    run(body())


def test_pulses_of_all_connections_are_one_alarm(run: Run) -> None:
    async def body() -> None:
        ticks = Ticks()
        async with hosted(1, ticks=ticks) as stage:
            peers = [await Peer.joined(stage.endpoint) for _ in range(3)]
            await stage.core.wait(Accepted, 3)
            for fact in stage.core.of(Accepted):
                stage.do(do.Trust(fact.connection.token))
            assert len(stage.host.wakeup) == 1
            # The first alarm of a process whose clock has jumped by a heartbeat and a stroke.
            ticks.jumped += 15 * SECOND + 15 * SECOND // STROKES
            stage.host.wakeup._fire()
            for peer in peers:
                assert await peer.frames() == [(FrameKind.HEARTBEAT, b"")]
                await peer.end()
            await stage.sockets(0)
            assert stage.host.wakeup._alarms.at(("beat", bytes(8))) is None

    run(body())


def test_loss_of_one_may_end_others_of_its_stroke(run: Run) -> None:
    """All go silent at once; the core, told of the first, closes the rest."""

    async def body() -> None:
        bounds = limits(heartbeat_ns=30 * MILLI, silence_ns=90 * MILLI)
        async with hosted(1, bounds=bounds) as stage:
            core = stage.core
            core.replies[Lost] = lambda fact: [
                do.Close(each.connection.token, CloseCode.STOPPING, "with the other")
                for each in core.of(Accepted)
                if each.connection.token != getattr(fact, "token", None)
            ]
            peers = [await Peer.joined(stage.endpoint) for _ in range(3)]
            await core.wait(Accepted, 3)
            codes = {(await peer.close_frame()).code for peer in peers}
            assert codes == {CloseCode.SILENT, CloseCode.STOPPING}
            assert len(core.of(Lost)) == 1
            for peer in peers:
                await peer.end()
            await stage.sockets(0)

    run(body())


# -- the timer


def test_core_is_woken_at_its_deadline_and_never_before(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            for wait in (0, 100_000, 400_000, 600_000, 1_400_000, 2_500_000, 10_000_000):
                at = stage.host.now() + wait
                stage.core.deadline = Nanos(at)
                stage.do()
                await stage.core.until(lambda: stage.core.deadline is None, "a wake-up")
                assert stage.core.woken[-1] >= at

    run(body())


class CountingLoop:
    """Counts the timers that are armed."""

    def __init__(self) -> None:
        self.armed: list[float] = []
        self.pending: list[CountingLoop.Timer] = []

    class Timer:
        def __init__(self) -> None:
            self.live = True

        def cancel(self) -> None:
            self.live = False

    def call_later(self, delay: float, call: object) -> Timer:
        self.armed.append(delay)
        timer = self.Timer()
        self.call = call
        self.pending.append(timer)
        return timer


class Manual:
    """A wake-up on a loop and a clock that stand still."""

    def __init__(self) -> None:
        self.ticks = 0
        self.loop = CountingLoop()
        self.external: Nanos | None = None
        self.due: list[tuple[int, int]] = []
        self.clock = Clock(lambda: self.ticks)
        self.wakeup = WakeUp(
            self.loop,  # type: ignore[arg-type]
            self.clock,
            lambda: self.external,
            lambda now, lateness: self.due.append((now, lateness)),
        )

    def fire(self) -> None:
        self.wakeup._fire()


def test_timer_is_armed_anew_only_when_the_deadline_moves_earlier() -> None:
    manual = Manual()
    manual.wakeup.set("a", 1, 5 * SECOND, lambda: None)
    manual.wakeup.set("b", 1, 7 * SECOND, lambda: None)
    manual.wakeup.set("a", 1, 9 * SECOND, lambda: None)
    manual.external = Nanos(6 * SECOND)
    manual.wakeup.refresh()
    assert manual.loop.armed == [5.0]
    manual.wakeup.set("c", 1, 2 * SECOND, lambda: None)
    assert manual.loop.armed == [5.0, 2.0]
    assert sum(timer.live for timer in manual.loop.pending) == 1


def test_alarms_are_called_in_order_at_their_time() -> None:
    manual = Manual()
    called: list[tuple[str, int]] = []
    for name, at in (("late", 3), ("early", 1), ("never", 2)):
        manual.wakeup.set(
            name,
            1,
            at * SECOND,
            lambda name=name: called.append((name, manual.clock.now())),  # type: ignore[misc]
        )
    manual.wakeup.cancel("never", 1)
    manual.wakeup.cancel("unknown", 1)
    for ticks in (1, 2, 3):
        manual.ticks = ticks * SECOND
        manual.fire()
    assert called == [("early", SECOND), ("late", 3 * SECOND)]
    assert len(manual.wakeup) == 0


def test_early_timer_finds_its_deadline_come() -> None:
    manual = Manual()
    manual.wakeup.set("a", 1, 1_400_000, lambda: None)
    manual.ticks = 1_000_000
    manual.fire()
    assert manual.due == [(1_400_000, 0)]
    # And the clock does not run back to what the system says.
    assert manual.clock.now() == 1_400_000


def test_late_timer_says_how_late() -> None:
    manual = Manual()
    manual.wakeup.set("a", 1, SECOND, lambda: None)
    manual.ticks = 31 * SECOND
    manual.fire()
    assert manual.due == [(31 * SECOND, 30 * SECOND)]


def test_clock_that_runs_back_stands_still() -> None:
    manual = Manual()
    seen = []
    for ticks in (5, 3, 4, 6):
        manual.ticks = ticks
        seen.append(manual.clock.now())
    assert seen == [5, 5, 5, 6]


def test_far_deadline_is_approached_in_steps() -> None:
    manual = Manual()
    far = 3 * FURTHEST_NS
    called: list[int] = []
    manual.wakeup.set("a", 1, far, lambda: called.append(manual.clock.now()))
    for _ in range(3):
        assert called == []
        manual.ticks += FURTHEST_NS
        manual.fire()
    assert called == [far]


def test_closed_wakeup_holds_no_timer() -> None:
    manual = Manual()
    manual.wakeup.set("a", 1, SECOND, lambda: pytest.fail("called"))
    manual.wakeup.close()
    assert len(manual.wakeup) == 0
    assert not any(timer.live for timer in manual.loop.pending)
