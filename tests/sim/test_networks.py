"""Networks of real cores form, lose nodes, lose everything, meet, and are whole again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from routing.simulation.scenarios import (
    Report,
    flash_crowd,
    form,
    make_world,
    merge,
    outage,
    partition_heal,
    rejoin,
)
from routing.simulation.world import World

__all__: list[str] = []

SEEDS = range(3)


def world(seed: int, *, loss: float = 0.0, checks_every: int = 1) -> World:
    return make_world(seed, command="", loss=loss, checks_every=checks_every)


def assert_whole(report: Report) -> None:
    assert report.ok, f"seed {report.seed}: {report.reason}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("nodes", range(1, 13))
def test_network_of_any_small_size_becomes_whole(nodes: int, seed: int) -> None:
    assert_whole(form(world(seed), nodes))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("nodes", "kill"), [(3, 1), (9, 1), (12, 4)])
def test_network_is_whole_again_after_losing_nodes(nodes: int, kill: int, seed: int) -> None:
    assert_whole(form(world(seed), nodes, kill))


def test_forty_nodes_become_whole_and_survive_the_loss_of_five() -> None:
    report = form(world(1, checks_every=8), 40, 5)
    assert_whole(report)
    assert len(report.killed) == 5


@pytest.mark.parametrize("abrupt", [True, False], ids=["reset", "silent"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("nodes", [2, 5, 12])
def test_network_that_loses_every_connection_becomes_one_again(
    nodes: int, seed: int, abrupt: bool
) -> None:
    assert_whole(outage(world(seed), nodes, 60, abrupt=abrupt))


@pytest.mark.parametrize("seed", SEEDS)
def test_two_networks_become_one_when_one_node_of_each_is_told(seed: int) -> None:
    report = merge(world(seed), 6)
    assert_whole(report)
    assert report.nodes == 12
    assert report.heal_seconds is not None and report.heal_seconds <= 300


@pytest.mark.parametrize("seed", SEEDS)
def test_crowd_that_starts_within_a_second_becomes_whole(seed: int) -> None:
    assert_whole(flash_crowd(world(seed), 12))


@pytest.mark.parametrize("seed", SEEDS)
def test_halves_parted_for_long_become_one_again(seed: int) -> None:
    assert_whole(partition_heal(world(seed), 12, 200))


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_nodes_come_back_with_their_name_or_a_fresh_one(seed: int) -> None:
    assert_whole(rejoin(world(seed), 12, 4))


@pytest.mark.parametrize("seed", SEEDS)
def test_lost_routed_messages_delay_but_do_not_prevent(seed: int) -> None:
    assert_whole(form(world(seed, loss=0.1), 10, 2))


def test_real_signatures_serve_as_well() -> None:
    assert_whole(form(make_world(1, command="", real_signatures=True), 5, 1))


def test_one_seed_is_one_trace_and_another_seed_another() -> None:
    first, again, other = (form(world(seed), 6, 1) for seed in (4, 4, 5))
    assert first == again
    assert first.digest != other.digest


def test_trace_does_not_depend_on_the_hash_seed() -> None:
    script = (
        "from routing.simulation.scenarios import form, make_world\n"
        "print(form(make_world(9, command='', loss=0.05), 11, 2).digest)"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        ).stdout
        for hash_seed in ("1", "4242")
    ]
    assert len(digests[0].strip()) == 32
    assert digests[0] == digests[1]
