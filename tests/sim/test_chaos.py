"""Faults of every kind one upon the other: no invariant breaks, and once they stop all is whole."""

from __future__ import annotations

import pytest

from routing.simulation.chaos import chaos
from routing.simulation.links import Weather
from routing.simulation.scenarios import make_world
from routing.simulation.world import World

__all__: list[str] = []


@pytest.mark.parametrize("seed", range(6))
def test_deadlines_far_too_late_break_no_invariant(seed: int) -> None:
    """Facts overtake deadlines on a busy machine; the dead tokens among them stay unnamed."""
    weather = Weather(lateness_ns=700_000_000)
    report = chaos(World(seed, weather=weather, command=""), 6, 300)
    assert report.ok, f"seed {seed}: {report.reason}"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("nodes", [2, 5, 10])
def test_network_is_whole_once_the_faults_have_stopped(nodes: int, seed: int) -> None:
    report = chaos(make_world(seed, command="", checks_every=2), nodes, 400)
    assert report.ok, f"seed {seed}: {report.reason}"
    assert len(report.frames) > 5, "the faults must leave something to do"
