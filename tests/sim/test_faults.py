"""Each fault does what it says, to whom it says, and nothing once it is undone."""

from __future__ import annotations

import pytest

from routing.actions import BULK, Close, Dial, Send, Trust
from routing.endpoints import parse
from routing.errors import CloseCode, DialFailure, UsageError
from routing.inputs import Accepted, DescriptorsRanShort, DialFailed, Dialled, FrameReceived, Lost
from routing.limits import SECOND, Limits, Nanos
from routing.messages import FrameKind
from routing.service.connection import PROGRESS_BYTES_MIN as SERVICE_PROGRESS_BYTES_MIN
from routing.simulation.hosts import Host
from routing.simulation.links import PROGRESS_BYTES_MIN, Weather
from routing.simulation.wires import KERNEL_BYTES
from routing.simulation.world import World
from routing.state import Token
from tests.sim.puppet import connected, do, puppet, puppets

__all__: list[str] = []

LIMITS = Limits.recommended()
LATE_NS = SECOND
"""More than any latency, jitter and lateness together."""


def bodies(host: Host) -> list[bytes]:
    return [frame.body for frame in puppet(host).of(FrameReceived)]


def losses(host: Host) -> list[CloseCode]:
    return [lost.code for lost in puppet(host).of(Lost)]


def say(world: World, host: Host, token: Token, *texts: bytes) -> None:
    do(world, host, *(Send(token, FrameKind.PING, text, 0) for text in texts))


def trusting(seed: int = 1) -> tuple[World, Host, Host, Token, Token]:
    """Return two puppets whose connection takes large frames."""
    world, (a, b) = puppets(2, seed=seed)
    at_a, at_b = connected(world, a, b)
    do(world, b, Trust(at_b))
    return world, a, b, at_a, at_b


# -- one connection


def test_half_open_connection_is_silent_one_way_until_its_deaf_end_gives_up() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    world.deafen(b.ends[at_b])
    began = world.now
    say(world, a, at_a, b"lost")
    say(world, b, at_b, b"heard")
    world.run(LATE_NS)
    assert (bodies(a), bodies(b)) == ([b"heard"], [])
    world.run(LIMITS.silence_ns)
    assert losses(a) == losses(b) == [CloseCode.SILENT]
    assert bodies(b) == []
    (told,) = puppet(b).when(Lost)
    assert began + LIMITS.silence_ns - LIMITS.heartbeat_ns <= told <= began + LIMITS.silence_ns


def test_half_open_connection_never_mends() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    world.deafen(b.ends[at_b])
    world.part([a], [b])
    world.run(LATE_NS)
    world.heal()
    say(world, a, at_a, b"lost")
    world.run(2 * LIMITS.silence_ns)
    assert bodies(b) == [] and losses(b) == [CloseCode.SILENT]


def test_stalled_connection_delivers_everything_in_order_afterwards() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    world.stall([b.ends[at_b]], 20 * SECOND)
    for number in range(10):
        say(world, a, at_a, bytes((number,)))
        world.run(SECOND)
    say(world, b, at_b, b"back")
    world.run(LATE_NS)
    assert (bodies(a), bodies(b)) == ([b"back"], [])
    say(world, a, at_a, b"last")
    world.run(20 * SECOND)
    assert bodies(b) == [*(bytes((number,)) for number in range(10)), b"last"]
    assert losses(a) == losses(b) == []


def test_two_stalls_end_with_the_later_one() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    world.stall([b.ends[at_b]], 5 * SECOND)
    world.stall([b.ends[at_b]], 15 * SECOND)
    say(world, a, at_a, b"held")
    world.run(10 * SECOND)
    assert bodies(b) == []
    world.run(10 * SECOND)
    assert bodies(b) == [b"held"]


def test_partition_that_heals_does_not_end_a_stall() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    world.stall([b.ends[at_b]], 15 * SECOND)
    world.part([a], [b])
    say(world, a, at_a, b"held")
    world.run(SECOND)
    world.heal()
    world.run(5 * SECOND)
    assert bodies(b) == []
    world.run(10 * SECOND)
    assert bodies(b) == [b"held"]


# -- between hosts


def test_one_way_partition_passes_the_other_way_and_no_dial_at_all() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    world.part_one_way([a], [b])
    say(world, a, at_a, b"held")
    say(world, b, at_b, b"heard")
    for number, (dialler, target) in enumerate(((a, b), (b, a))):
        do(world, dialler, Dial(90 + number, target.address, None, 2 * SECOND))
    world.run(5 * SECOND)
    assert (bodies(a), bodies(b)) == ([b"heard"], [])
    for host in (a, b):
        assert [failed.reason for failed in puppet(host).of(DialFailed)] == [DialFailure.TIMED_OUT]
    world.heal()
    world.run(LATE_NS)
    assert bodies(b) == [b"held"]
    world.run(2 * LIMITS.silence_ns)
    assert losses(a) == losses(b) == []


def test_long_one_way_partition_silences_the_deaf_side_which_says_goodbye() -> None:
    world, (a, b) = puppets(2)
    connected(world, a, b)
    world.part_one_way([a], [b])
    world.run(LIMITS.silence_ns + LATE_NS)
    assert losses(b) == [CloseCode.SILENT]
    assert losses(a) == [CloseCode.SILENT]
    assert puppet(b).when(Lost)[0] < puppet(a).when(Lost)[0], "a hears it from b"


def test_blocked_dial_is_blocked_one_way_and_leaves_connections_alone() -> None:
    world, (a, b) = puppets(2)
    at_a, _ = connected(world, a, b)
    world.block_dials(a, b)
    do(world, a, Dial(90, b.address, None, 2 * SECOND))
    connected(world, b, a)
    say(world, a, at_a, b"passes")
    world.run(5 * SECOND)
    assert [failed.reason for failed in puppet(a).of(DialFailed)] == [DialFailure.TIMED_OUT]
    assert bodies(b) == [b"passes"]
    world.allow_dials()
    connected(world, a, b)


def test_weather_can_turn_and_turn_back() -> None:
    world, (a, b) = puppets(2)
    at_a, _ = connected(world, a, b)
    routed = [Send(at_a, FrameKind.ROUTED, bytes((number,)), 0) for number in range(200)]
    world.worsen(loss=0.3, duplication=0.3)
    do(world, a, *routed)
    world.run(LATE_NS)
    arrived = bodies(b)
    assert 80 < len(set(arrived)) < 190 and len(arrived) > len(set(arrived))
    world.worsen(loss=0.0, duplication=0.0)
    do(world, a, *routed)
    world.run(LATE_NS)
    assert len(bodies(b)) == len(arrived) + 200


# -- slow readers


def test_slow_reader_gets_everything_at_its_own_pace() -> None:
    world, a, b, at_a, _ = trusting()
    world.slow_down(b, 10_000)
    do(world, a, *(Send(at_a, FrameKind.DIRECT, bytes(9_995), 0) for _ in range(10)))
    world.run(5 * SECOND)
    assert 4 <= len(bodies(b)) <= 6
    world.run(6 * SECOND)
    assert len(bodies(b)) == 10
    assert losses(a) == losses(b) == []


def test_slow_reader_keeps_the_order_in_which_frames_of_all_peers_came() -> None:
    world, (a, b, c) = puppets(3)
    at_a, _ = connected(world, a, b)
    at_c, _ = connected(world, c, b)
    world.slow_down(b, 20)
    for number in range(6):
        token, host = ((at_a, a), (at_c, c))[number % 2]
        say(world, host, token, bytes((number,)))
        world.run(SECOND // 5)
    world.run(10 * SECOND)
    assert bodies(b) == [bytes((number,)) for number in range(6)]


def test_reader_that_takes_nothing_is_lost_as_slow_and_hears_a_reset() -> None:
    world, a, b, at_a, at_b = trusting()
    world.stall([b.ends[at_b]], 40 * SECOND)
    began = world.now
    do(world, a, *(Send(at_a, FrameKind.DIRECT, bytes(KERNEL_BYTES // 2), 0) for _ in range(3)))
    world.run(19 * SECOND)
    assert losses(a) == []
    world.run(2 * SECOND)
    assert losses(a) == [CloseCode.SLOW_READER]
    assert puppet(a).when(Lost) == [began + LIMITS.slow_reader_ns]
    world.run(40 * SECOND)
    assert losses(b) == [CloseCode.IO_ERROR] and bodies(b) == []


def test_reader_that_makes_progress_is_slow_and_no_slow_reader() -> None:
    assert PROGRESS_BYTES_MIN == SERVICE_PROGRESS_BYTES_MIN
    world, a, b, at_a, _ = trusting()
    world.slow_down(b, 2 * PROGRESS_BYTES_MIN * SECOND // LIMITS.slow_reader_ns)
    do(world, a, *(Send(at_a, FrameKind.DIRECT, bytes(20_000), 0) for _ in range(40)))
    world.run(60 * SECOND)
    assert losses(a) == [] and len(bodies(b)) > 10


def test_writer_keeps_no_more_than_its_bound_for_a_slow_reader() -> None:
    world, a, b, at_a, at_b = trusting()
    world.stall([b.ends[at_b]], 10 * SECOND)
    size = 100_000
    fits = (KERNEL_BYTES + LIMITS.write_bytes_max) // size + 1
    do(world, a, *(Send(at_a, FrameKind.DIRECT, bytes(size), 0) for _ in range(fits)))
    assert losses(a) == []
    do(world, a, *(Send(at_a, FrameKind.DIRECT, bytes(size), 0) for _ in range(3)))
    assert losses(a) == [CloseCode.SLOW_READER]
    assert (a.counts["slow.queue_full"], a.counts["late.send"]) == (1, 2)


def test_bulk_is_dropped_before_anybody_is_lost_for_it() -> None:
    world, a, b, at_a, at_b = trusting()
    world.stall([b.ends[at_b]], 10 * SECOND)
    parts = [Send(at_a, FrameKind.ROUTED, bytes(50_000), BULK) for _ in range(40)]
    do(world, a, *parts)
    world.run(15 * SECOND)
    assert losses(a) == [] and a.counts["bulk.dropped"] > 10
    assert len(bodies(b)) == 40 - a.counts["bulk.dropped"]


def test_connection_closed_in_the_step_that_overfilled_it_is_not_told_as_lost() -> None:
    world, a, b, at_a, at_b = trusting()
    world.stall([b.ends[at_b]], 10 * SECOND)
    frames = [Send(at_a, FrameKind.DIRECT, bytes(500_000), 0) for _ in range(5)]
    do(world, a, *frames, Close(at_a, CloseCode.NORMAL, ""))
    world.run(SECOND)
    assert losses(a) == [] and not a.ends


# -- sleep


def test_sleeper_hears_says_and_times_nothing_and_then_everything() -> None:
    world, (a, b) = puppets(2, weather=Weather(lateness_ns=0))
    at_a, at_b = connected(world, a, b)
    puppet(b).deadline = Nanos(world.now + 5 * SECOND)
    do(world, b)
    world.sleep(b, 20 * SECOND, counted=True)
    say(world, a, at_a, b"1", b"2")
    began = world.now
    world.run(19 * SECOND)
    assert bodies(b) == [] and puppet(b).wakes == []
    world.run(2 * SECOND)
    assert bodies(b) == [b"1", b"2"] and puppet(b).wakes == [began + 20 * SECOND]
    say(world, b, at_b, b"morning")
    world.run(LATE_NS)
    assert bodies(a) == [b"morning"] and losses(a) == losses(b) == []


def test_clock_that_stood_still_fires_its_timers_as_much_later() -> None:
    world, (a,) = puppets(1, weather=Weather(lateness_ns=0))
    due = world.now + 5 * SECOND
    puppet(a).deadline = Nanos(due)
    do(world, a)
    world.sleep(a, 20 * SECOND, counted=False)
    world.run(24 * SECOND)
    assert puppet(a).wakes == []
    world.run(2 * SECOND)
    assert puppet(a).wakes == [due]
    assert a.now == world.now - 20 * SECOND


def test_long_sleep_is_silence_to_the_peers_and_the_sleeper_learns_it_when_it_wakes() -> None:
    world, (a, b) = puppets(2)
    connected(world, a, b)
    world.sleep(b, 100 * SECOND, counted=True)
    world.run(LIMITS.silence_ns + LATE_NS)
    assert losses(a) == [CloseCode.SILENT] and losses(b) == []
    world.run(60 * SECOND)
    assert losses(b) == [CloseCode.SILENT]
    assert puppet(b).when(Lost)[0] >= 100 * SECOND


@pytest.mark.parametrize(("slept_s", "grace"), [(40, True), (25, False)])
def test_after_a_long_gap_peers_have_time_to_answer_before_they_are_dropped(
    slept_s: int, grace: bool
) -> None:
    """The far end dies while the sleeper sleeps: what it did not hear then is no silence."""
    world, (a, b) = puppets(2)
    connected(world, a, b)
    world.run(SECOND)
    world.kill(a, silent=True)
    died = world.now
    world.run(10 * SECOND)
    world.sleep(b, slept_s * SECOND, counted=True)
    woke = world.now + slept_s * SECOND
    world.run(200 * SECOND)
    (told,) = puppet(b).when(Lost)
    assert (told >= woke + 2 * LIMITS.heartbeat_ns) is grace
    assert told <= max(died + LIMITS.silence_ns, woke + 2 * LIMITS.heartbeat_ns)


def test_dial_to_a_sleeper_is_not_answered_and_its_own_dials_are_answered_late() -> None:
    world, (a, b) = puppets(2)
    do(world, b, Dial(1, a.address, None, 5 * SECOND), Dial(2, "127.9.9.9:1", None, 5 * SECOND))
    world.sleep(b, 3 * SECOND, counted=True)
    do(world, a, Dial(3, b.address, None, 2 * SECOND))
    world.run(2 * SECOND + SECOND // 2)
    assert [failed.reason for failed in puppet(a).of(DialFailed)] == [DialFailure.TIMED_OUT]
    assert puppet(b).of(Dialled) == [] and puppet(b).of(DialFailed) == []
    world.run(2 * SECOND)
    assert [fact.dial for fact in puppet(b).of(Dialled)] == [1]
    assert [fact.dial for fact in puppet(b).of(DialFailed)] == [2]


def test_reset_and_abrupt_outage_reach_a_sleeper_when_it_wakes() -> None:
    world, (a, b) = puppets(2)
    connected(world, a, b)
    world.sleep(b, 10 * SECOND, counted=False)
    world.reset(world.wires)
    assert losses(a) == [CloseCode.IO_ERROR] and losses(b) == []
    world.run(11 * SECOND)
    assert losses(b) == [CloseCode.IO_ERROR] and not b.ends


def test_sleeper_that_dies_does_not_wake() -> None:
    world, (a, b) = puppets(2)
    connected(world, a, b)
    world.sleep(b, 10 * SECOND, counted=True)
    world.kill(b, silent=False)
    heard = len(puppet(b).heard)
    world.run(30 * SECOND)
    assert len(puppet(b).heard) == heard and losses(a) == [CloseCode.IO_ERROR]


def test_only_who_is_awake_can_sleep_or_stop() -> None:
    world, (a,) = puppets(1)
    world.sleep(a, SECOND, counted=True)
    with pytest.raises(UsageError, match="node 0 is asleep"):
        world.sleep(a, SECOND, counted=True)
    with pytest.raises(UsageError, match="node 0 is asleep; wake it"):
        world.stop(a)


# -- descriptors


def test_host_without_descriptors_dials_nobody_and_accepts_nobody() -> None:
    world, (a, b) = puppets(2)
    world.run_short(b, 0)
    do(world, b, Dial(1, a.address, None, SECOND))
    do(world, a, *(Dial(number, b.address, None, SECOND) for number in range(20)))
    world.run(2 * SECOND)
    assert [fact.reason for fact in puppet(b).of(DialFailed)] == [DialFailure.NO_DESCRIPTORS]
    reasons = {fact.reason for fact in puppet(a).of(DialFailed)}
    assert reasons == {DialFailure.CLOSED, DialFailure.TIMED_OUT}
    assert not puppet(a).of(Dialled) and not puppet(b).of(Accepted)
    assert puppet(b).of(DescriptorsRanShort) == [DescriptorsRanShort(0, 0)]
    assert b.counts["turned away"] == 20
    world.run_short(b, None)
    connected(world, a, b)


def test_descriptors_are_counted_over_connections_and_dials() -> None:
    world, (a, b) = puppets(2)
    world.run_short(a, 2)
    connected(world, a, b)
    do(world, a, *(Dial(90 + number, b.address, None, SECOND) for number in range(3)))
    world.run(2 * SECOND)
    assert [fact.dial for fact in puppet(a).of(DialFailed)] == [91, 92]
    assert [fact.dial for fact in puppet(a).of(Dialled)][1:] == [90]


# -- restarts


def test_restart_has_its_key_name_and_book_or_none_of_them() -> None:
    world = World(5)
    first = world.add_node(first=True)
    second = world.add_node([first.address])
    world.run(30 * SECOND)
    assert len(second.core.table) == 1
    world.kill(second, silent=False)
    without = world.restart(second, [], fresh=True)
    assert len(without.core.book) == 0 and without.key != second.key
    world.run(SECOND)
    world.kill(without, silent=False)
    again = world.restart(second, [], book=True)
    assert parse(first.address) in again.core.book
    world.run(30 * SECOND)
    assert (again.key, again.core.name) == (second.key, second.core.name)
    assert len(again.core.table) == 1
