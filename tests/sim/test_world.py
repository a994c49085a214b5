"""The simulated host keeps the contract a service keeps: order, one answer per dial, silence."""

from __future__ import annotations

import pytest

from routing.actions import Bind, CancelDial, Close, Dial, Send, Trust
from routing.errors import CloseCode, ConfigError, DialFailure
from routing.inputs import Accepted, DialFailed, Dialled, FrameReceived, Lost
from routing.limits import SECOND, Limits, Nanos
from routing.messages import FrameKind
from routing.simulation.clock import INSTANT_EVENTS_MAX, Clock, ClockStuck
from routing.simulation.hosts import Violation
from routing.simulation.links import Weather
from routing.state import Direction, Token
from tests.sim.puppet import connected, do, puppet, puppets

__all__: list[str] = []

LIMITS = Limits.recommended()


def bodies(frames: list[FrameReceived]) -> list[bytes]:
    return [frame.body for frame in frames]


def test_events_of_one_instant_keep_their_order() -> None:
    clock, seen = Clock(), list[str]()
    clock.at(5, seen.append, "b")
    clock.at(5, seen.append, "c")
    clock.at(1, seen.append, "a")
    clock.run(10)
    assert seen == ["a", "b", "c"]
    assert clock.now == 10


def test_past_is_now_and_time_never_goes_back() -> None:
    clock, seen = Clock(), list[int]()
    clock.run(10)
    clock.at(3, lambda: seen.append(clock.now))
    clock.run(10)
    assert seen == [10]


def test_events_without_end_at_one_instant_are_an_error() -> None:
    clock = Clock()

    def again() -> None:
        clock.at(clock.now, again)

    clock.at(0, again)
    with pytest.raises(ClockStuck, match=str(INSTANT_EVENTS_MAX)):
        clock.run(1)


def test_dial_gives_both_ends_one_channel() -> None:
    world, (a, b) = puppets(2)
    connected(world, a, b)
    (dialled,), (accepted,) = puppet(a).of(Dialled), puppet(b).of(Accepted)
    assert (dialled.key, accepted.key) == (b.key, a.key)
    assert dialled.binding == accepted.binding
    assert dialled.connection.direction is Direction.OUTBOUND
    assert accepted.connection.direction is Direction.INBOUND
    assert dialled.connection.peer == b.address
    assert accepted.connection.peer == dialled.connection.local
    assert accepted.accepted_at < puppet(b).when(Accepted)[0]


def test_two_connections_have_two_bindings() -> None:
    world, (a, b) = puppets(2)
    connected(world, a, b)
    connected(world, b, a)
    assert puppet(a).of(Dialled)[0].binding != puppet(b).of(Dialled)[0].binding


def test_frames_arrive_late_and_in_order() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    sent = [bytes((number,)) for number in range(50)]
    before = world.now
    do(world, a, *(Send(at_a, FrameKind.PING, body, body[0] % 4) for body in sent))
    world.run(SECOND)
    assert bodies(puppet(b).of(FrameReceived)) == sent
    assert {frame.token for frame in puppet(b).of(FrameReceived)} == {at_b}
    assert puppet(b).when(FrameReceived)[0] >= before + Weather().latency_low_ns


def test_frames_queued_before_close_arrive_before_the_loss() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    do(
        world,
        a,
        Send(at_a, FrameKind.PING, b"last", 0),
        Close(at_a, CloseCode.FULL, "x" * 100),
    )
    world.run(SECOND)
    assert isinstance(puppet(b).heard[-2][1], FrameReceived)
    assert puppet(b).heard[-1][1] == Lost(at_b, CloseCode.FULL, "x" * 64)
    assert puppet(a).of(Lost) == []
    assert not a.ends and not b.ends


def test_both_ends_closing_at_once_hear_nothing_more() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    do(world, a, Close(at_a, CloseCode.NORMAL, ""))
    do(world, b, Send(at_b, FrameKind.PING, b"into the void", 0), Close(at_b, CloseCode.FULL, ""))
    world.run(SECOND)
    assert puppet(a).of(Lost) == puppet(b).of(Lost) == []
    assert puppet(a).of(FrameReceived) == []


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("nobody", DialFailure.CONNECTION_REFUSED),
        ("crashed", DialFailure.CONNECTION_REFUSED),
        ("stopped", DialFailure.CONNECTION_REFUSED),
        ("vanished", DialFailure.TIMED_OUT),
        ("parted", DialFailure.TIMED_OUT),
        ("blocked", DialFailure.TIMED_OUT),
        ("offline", DialFailure.UNREACHABLE),
        ("far offline", DialFailure.TIMED_OUT),
        ("self", DialFailure.SELF),
        ("wrong key", DialFailure.WRONG_IDENTITY),
        ("other network", DialFailure.WRONG_NETWORK),
        ("short time", DialFailure.TIMED_OUT),
    ],
)
def test_dial_fails_once_with_its_reason(case: str, reason: DialFailure) -> None:
    world, (a, b) = puppets(2)
    stranger = world.add_node(network_id="another")
    world.run(1)
    endpoint, expect, timeout = b.address, b.key, 3 * SECOND
    match case:
        case "nobody":
            endpoint = "127.9.9.9:4000"
        case "crashed" | "vanished":
            world.kill(b, silent=case == "vanished")
        case "stopped":
            world.stop(b)
        case "parted":
            world.part([a], [b])
        case "blocked":
            world.network.dialling.blocked.add((a.index, b.index))
        case "offline":
            world.take_offline([a], abrupt=True)
        case "far offline":
            world.take_offline([b], abrupt=True)
        case "self":
            endpoint = a.address
        case "wrong key":
            expect = bytes(32)
        case "other network":
            endpoint = stranger.address
        case "short time":
            timeout = 1_000
    begun = world.now
    do(world, a, Dial(7, endpoint, expect, timeout))
    world.run(10 * SECOND)
    assert puppet(a).of(DialFailed) == [DialFailed(7, reason)]
    assert puppet(a).of(Dialled) == [] and puppet(b).of(Accepted) == []
    if reason is DialFailure.TIMED_OUT:
        assert puppet(a).when(DialFailed) == [begun + timeout]
    assert not a.dials and not a.ends and not b.ends


@pytest.mark.parametrize("seed", range(30))
def test_cancelled_dial_is_answered_once_whatever_comes_first(seed: int) -> None:
    weather = Weather(latency_low_ns=1_000, latency_high_ns=600_000)
    world, (a, b) = puppets(2, seed=seed, weather=weather)
    do(world, a, *(Dial(number, b.address, b.key, SECOND) for number in range(20)))
    do(world, a, *(CancelDial(number) for number in range(20)), CancelDial(3))
    world.run(2 * SECOND)
    answers = [fact.dial for fact in puppet(a).of(Dialled)]
    failures = puppet(a).of(DialFailed)
    assert {failure.reason for failure in failures} <= {DialFailure.CANCELLED}
    assert sorted(answers + [failure.dial for failure in failures]) == list(range(20))
    assert len(puppet(b).of(Accepted)) == len(answers)


def test_silent_death_is_told_when_the_silence_limit_has_passed() -> None:
    world, (a, b) = puppets(2)
    at_a, _ = connected(world, a, b)
    died = world.now
    world.kill(b, silent=True)
    do(world, a, Send(at_a, FrameKind.PING, b"anybody?", 0))
    world.run(2 * LIMITS.silence_ns)
    assert puppet(a).of(Lost) == [Lost(at_a, CloseCode.SILENT, "silent for too long")]
    (told,) = puppet(a).when(Lost)
    assert died + LIMITS.silence_ns - LIMITS.heartbeat_ns <= told <= died + LIMITS.silence_ns


def test_dead_process_is_told_at_once_after_what_it_had_sent() -> None:
    world, (a, b) = puppets(2)
    _, at_b = connected(world, a, b)
    do(world, b, Send(at_b, FrameKind.PING, b"farewell", 0))
    world.kill(b, silent=False)
    world.run(SECOND)
    assert bodies(puppet(a).of(FrameReceived)) == [b"farewell"]
    assert [lost.code for lost in puppet(a).of(Lost)] == [CloseCode.IO_ERROR]
    assert puppet(b).of(Lost) == []


def test_short_partition_holds_frames_and_lets_them_go_in_order() -> None:
    world, (a, b) = puppets(2)
    at_a, _ = connected(world, a, b)
    do(world, a, Send(at_a, FrameKind.PING, b"0", 0))
    world.part([a], [b])
    for body in (b"1", b"2"):
        do(world, a, Send(at_a, FrameKind.PING, body, 0))
        world.run(10 * SECOND)
    assert puppet(b).of(FrameReceived) == []
    world.heal()
    do(world, a, Send(at_a, FrameKind.PING, b"3", 0))
    world.run(100 * SECOND)
    assert bodies(puppet(b).of(FrameReceived)) == [b"0", b"1", b"2", b"3"]
    assert puppet(a).of(Lost) == puppet(b).of(Lost) == []


def test_long_partition_silences_both_ends_and_nothing_comes_after() -> None:
    world, (a, b) = puppets(2)
    at_a, _ = connected(world, a, b)
    world.part([a], [b])
    do(world, a, Send(at_a, FrameKind.PING, b"held", 0))
    world.run(LIMITS.silence_ns + SECOND)
    world.heal()
    world.run(100 * SECOND)
    assert [lost.code for lost in puppet(a).of(Lost)] == [CloseCode.SILENT]
    assert [lost.code for lost in puppet(b).of(Lost)] == [CloseCode.SILENT]
    assert puppet(b).of(FrameReceived) == []


def test_second_partition_counts_its_silence_anew() -> None:
    world, (a, b) = puppets(2)
    connected(world, a, b)
    for _ in range(5):
        world.part([a], [b])
        world.run(20 * SECOND)
        world.heal()
        world.run(SECOND)
    assert puppet(a).of(Lost) == puppet(b).of(Lost) == []


def test_death_behind_a_partition_is_noticed_although_the_way_is_free_again() -> None:
    world, (a, b) = puppets(2)
    connected(world, a, b)
    world.part([a], [b])
    world.kill(b, silent=True)
    world.run(SECOND)
    world.heal()
    world.run(2 * LIMITS.silence_ns)
    assert [lost.code for lost in puppet(a).of(Lost)] == [CloseCode.SILENT]


def test_abrupt_outage_breaks_every_connection_at_once() -> None:
    world, hosts = puppets(3)
    a, b, c = hosts
    connected(world, a, b)
    connected(world, b, c)
    world.take_offline(hosts, abrupt=True)
    assert [len(puppet(host).of(Lost)) for host in hosts] == [1, 2, 1]
    assert world.wires == []
    world.bring_online(hosts)
    connected(world, c, a)


def test_acceptor_that_vanished_during_the_handshake_leaves_a_silent_connection() -> None:
    weather = Weather(latency_low_ns=10_000_000, latency_high_ns=10_000_000, jitter_ns=0)
    world, (a, b) = puppets(2, weather=weather)
    do(world, a, Dial(1, b.address, b.key, SECOND))
    world.run(45_000_000)
    assert puppet(a).of(Dialled) and not puppet(b).of(Accepted)
    world.kill(b, silent=True)
    world.run(2 * LIMITS.silence_ns)
    assert [lost.code for lost in puppet(a).of(Lost)] == [CloseCode.SILENT]


def test_only_routed_frames_are_lost_or_doubled() -> None:
    world, (a, b) = puppets(2, weather=Weather(loss=0.3, duplication=0.2))
    at_a, _ = connected(world, a, b)
    for kind in (FrameKind.PING, FrameKind.ROUTED):
        do(world, a, *(Send(at_a, kind, bytes((number,)), 0) for number in range(200)))
    world.run(5 * SECOND)
    frames = puppet(b).of(FrameReceived)
    pings = [frame.body for frame in frames if frame.kind is FrameKind.PING]
    routed = [frame.body for frame in frames if frame.kind is FrameKind.ROUTED]
    assert pings == [bytes((number,)) for number in range(200)]
    assert 100 < len(set(routed)) < 180
    assert len(routed) > len(set(routed)) and routed == sorted(routed)


def test_impossible_weather_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss=1\.5 must be"):
        Weather(loss=1.5)
    with pytest.raises(ConfigError, match=r"duplication=-0\.1 must be"):
        Weather(duplication=-0.1)
    with pytest.raises(ConfigError, match="latencies must be positive"):
        Weather(latency_low_ns=2, latency_high_ns=1)


def test_deadline_wakes_the_core_at_its_time_once() -> None:
    world, (a,) = puppets(1, weather=Weather(lateness_ns=0))
    puppet(a).deadline = Nanos(7 * SECOND)
    do(world, a)
    puppet(a).deadline = Nanos(3 * SECOND)
    do(world, a)
    world.run(20 * SECOND)
    assert puppet(a).wakes == [3 * SECOND]


def test_wake_up_is_a_little_late_and_never_early() -> None:
    world, (a,) = puppets(1, weather=Weather(lateness_ns=5_000_000))
    world.run(SECOND // 2)
    for second in range(1, 20):
        puppet(a).deadline = Nanos(second * SECOND)
        do(world, a)
        world.run(SECOND)
    late = [at - second * SECOND for second, at in enumerate(puppet(a).wakes, 1)]
    assert len(set(late)) > 10 and min(late) >= 0 and max(late) <= 5_000_000


def test_later_deadline_is_kept_without_a_call_in_between() -> None:
    world, (a,) = puppets(1, weather=Weather(lateness_ns=0))
    puppet(a).deadline = Nanos(3 * SECOND)
    do(world, a)
    puppet(a).deadline = Nanos(9 * SECOND)
    do(world, a)
    world.run(20 * SECOND)
    assert puppet(a).wakes == [9 * SECOND]


def test_deadline_that_stays_in_the_past_is_a_violation() -> None:
    world, (a,) = puppets(1)
    puppet(a).broken = True
    puppet(a).deadline = Nanos(SECOND)
    do(world, a)
    with pytest.raises(Violation, match="just served"):
        world.run(2 * SECOND)


def test_send_on_a_dead_token_is_a_violation_with_seed_and_command() -> None:
    world, (a, b) = puppets(2, seed=77)
    at_a, _ = connected(world, a, b)
    do(world, a, Close(at_a, CloseCode.NORMAL, ""))
    with pytest.raises(Violation, match=r"(?s)seed 77, at 1\..*dead or never.*reproduce: a test"):
        do(world, a, Send(at_a, FrameKind.PING, b"", 0))


@pytest.mark.parametrize("token", [0, 12345])
def test_token_that_never_was_is_a_violation(token: int) -> None:
    world, (a,) = puppets(1)
    with pytest.raises(Violation, match="dead or never was"):
        do(world, a, Trust(Token(token)))


def test_name_bound_to_two_connections_is_a_violation() -> None:
    world, (a, b) = puppets(2)
    first, _ = connected(world, a, b)
    second, _ = connected(world, a, b)
    do(world, a, Bind(first, bytes(32)))
    with pytest.raises(Violation, match="another connection"):
        do(world, a, Bind(second, bytes(32)))


def test_connection_bound_before_its_hello_is_a_violation() -> None:
    world, (a, b) = puppets(2)
    _, at_b = connected(world, a, b)
    with pytest.raises(Violation, match="before it is trusted"):
        do(world, b, Bind(at_b, bytes(32)))


def test_connection_the_core_forgets_is_a_violation() -> None:
    world, (a, b) = puppets(2)
    connected(world, a, b)
    puppet(b).links.clear()
    with pytest.raises(Violation, match="owned by the core"):
        do(world, b)


def test_dial_begun_twice_or_cancelled_without_being_begun_is_a_violation() -> None:
    world, (a, b) = puppets(2)
    with pytest.raises(Violation, match="never begun"):
        do(world, a, CancelDial(1))
    with pytest.raises(Violation, match="begun twice"):
        do(world, a, Dial(2, b.address, None, SECOND), Dial(2, b.address, None, SECOND))


def test_frame_above_its_limit_is_a_violation() -> None:
    world, (a, b) = puppets(2)
    at_a, at_b = connected(world, a, b)
    body = bytes(LIMITS.frame_bytes_before_hello + 1)
    with pytest.raises(Violation, match="frame_bytes_before_hello"):
        do(world, a, Send(at_a, FrameKind.HELLO, body, 0))
    do(world, b, Trust(at_b))
    do(world, a, Send(at_a, FrameKind.DIRECT, body, 0))
    with pytest.raises(Violation, match="frame_bytes_max"):
        do(world, a, Send(at_a, FrameKind.DIRECT, bytes(LIMITS.frame_bytes_max + 1), 0))


def test_restart_keeps_address_and_key_or_draws_a_fresh_key() -> None:
    world, (a, b) = puppets(2)
    world.kill(a, silent=True)
    again = world.restart(a, [])
    world.run(1)
    assert (again.address, again.key) == (a.address, a.key)
    at_b, _ = connected(world, b, again)
    do(world, b, Close(at_b, CloseCode.NORMAL, ""))
    world.stop(b)
    assert world.restart(b, [], fresh=True).key != b.key
