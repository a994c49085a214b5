"""Each seed has its own faults, drawn once; when they are over the network is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from routing.limits import SECOND
from routing.simulation.scenarios import Run, begin, make_world
from routing.simulation.swarm import (
    PAUSE_NS_MIN,
    SPELL_NS_MAX,
    Fault,
    Strike,
    draw_faults,
    play,
    schedule,
    swarm,
)

__all__: list[str] = []


@pytest.mark.parametrize("seed", range(12))
def test_network_is_whole_once_the_swarm_is_over(seed: int) -> None:
    nodes = (2, 5, 8, 12)[seed % 4]
    report = swarm(make_world(seed, command="", checks_every=4), nodes, 250)
    assert report.ok, f"seed {seed}: {report.reason}"
    assert report.healed_ns is not None and report.harmed_ns is not None


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_does_something_to_a_restless_network_and_is_undone(fault: Fault) -> None:
    """Without resets nobody of eight would dial, and what hinders dials would hinder nothing."""
    resets = [
        Strike(at_ns=(number * 20 + 5) * SECOND, fault=Fault.RESET, lasts_ns=1, dice=number)
        for number in range(6)
    ]
    world = make_world(7, command="", checks_every=4)
    run = Run("one fault", world)
    assert begin(run, 8), run.reason
    strikes = [
        Strike(at_ns=number * 20 * SECOND, fault=fault, lasts_ns=15 * SECOND, dice=number)
        for number in range(6)
    ]
    still = make_world(7, command="", checks_every=4)
    calm = Run("no fault", still)
    assert begin(calm, 8)
    assert still.trace.digest() == world.trace.digest()
    play(run, [*strikes, *resets], 120 * SECOND)
    play(calm, resets, 120 * SECOND)
    assert still.trace.digest() != world.trace.digest(), "it did nothing"
    assert run.wait_whole("afterwards", 300 * SECOND) is not None, run.reason
    assert run.wait_rest(), run.reason
    assert len(world.alive) == 8
    for host in world.alive:
        assert not host.asleep and host.online and not host.side
        assert host.descriptors is None and not host.read_bytes_s
    assert not world.network.dialling.blocked and not world.links.closed_ways
    assert world.links.weather == still.links.weather


def test_faults_of_a_seed_are_few_kinds_and_all_kinds_come_up() -> None:
    drawn = [draw_faults(Random(seed)) for seed in range(200)]
    kinds = Counter(kind for faults in drawn for kind in faults.kinds)
    assert sorted(kinds) == sorted(Fault)
    assert min(kinds.values()) > 40
    assert all(1 <= len(faults.kinds) < len(Fault) for faults in drawn)
    liars = [faults.lies for faults in drawn if faults.lies]
    assert 60 < len(liars) < 140
    assert len({faults.pause_ns // SECOND for faults in drawn}) > 20
    assert all(len(faults.kinds) == len(faults.weights) for faults in drawn)


def test_schedule_is_over_in_time_and_each_strike_has_its_own_dice() -> None:
    for seed in range(50):
        random = Random(seed)
        faults = draw_faults(random)
        strikes = schedule(faults, random, 300 * SECOND)
        assert all(strike.fault in faults.kinds for strike in strikes)
        assert all(0 < s.lasts_ns <= SPELL_NS_MAX for s in strikes)
        assert all(s.at_ns + s.lasts_ns <= 300 * SECOND for s in strikes)
        assert [s.at_ns for s in strikes] == sorted(s.at_ns for s in strikes)
        assert len({s.dice for s in strikes}) == len(strikes)
        assert faults.pause_ns >= PAUSE_NS_MIN


def test_leaving_one_strike_out_leaves_the_others_what_they_are() -> None:
    """What a shrinker relies on: a strike follows from itself and from who is there."""
    strikes = [
        Strike(at_ns=SECOND, fault=Fault.STOP, lasts_ns=SECOND, dice=5),
        Strike(at_ns=60 * SECOND, fault=Fault.VANISH, lasts_ns=30 * SECOND, dice=6),
    ]
    struck = []
    for some in (strikes[1:], [Strike(at_ns=2, fault=Fault.TALK, lasts_ns=9, dice=1), strikes[1]]):
        world = make_world(3, command="", checks_every=4)
        run = Run("shrinking", world)
        assert begin(run, 6)
        play(run, some, 70 * SECOND)
        struck.append([host.index for host in world.hosts if host.gone])
    assert struck[0] == struck[1] and len(struck[0]) == 1


def test_same_seed_gives_the_same_trace_under_any_hash_seed() -> None:
    """Two processes that hash differently have everything happen at the same times."""
    script = (
        "from routing.simulation.scenarios import make_world\n"
        "from routing.simulation.swarm import swarm\n"
        "for seed, nodes in ((3, 12), (8, 12), (20, 5)):\n"
        "    report = swarm(make_world(seed, command='', checks_every=16), nodes, 120)\n"
        "    print(report.ok, report.digest, report.events, report.counters)\n"
        "print(hash('anything'))\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={
                **os.environ,
                "PYTHONHASHSEED": hash_seed,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.splitlines()
        for hash_seed in ("1", "4711")
    ]
    assert outputs[0][-1] != outputs[1][-1], "the hash seeds make no difference"
    assert outputs[0][:-1] == outputs[1][:-1]
    assert len(outputs[0]) == 4
