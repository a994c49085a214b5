"""A simulated relay does not read what it cannot pass on: sources slow down and nothing is lost."""

from __future__ import annotations

import pytest

from routing.limits import SECOND
from routing.simulation.pressing import press
from routing.simulation.scenarios import Report, make_world

__all__: list[str] = []


def pressed(seed: int, *, holds_up: bool = True, bytewise: bool = False) -> Report:
    world = make_world(seed, command="", checks_every=64, bytewise=bytewise)
    return press(world, 8, 20, holds_up=holds_up)


@pytest.mark.parametrize("seed", range(3))
def test_slow_consumer_behind_a_relay_slows_its_sources_and_loses_nothing(seed: int) -> None:
    report = pressed(seed)

    assert (report.ok, report.reason) == (True, "")
    assert report.healed_ns is not None and report.harmed_ns is not None
    assert report.healed_ns - report.harmed_ns > 20 * SECOND, "what waited came after the sources"


def test_without_it_the_same_is_lost() -> None:
    report = pressed(0, holds_up=False)

    assert not report.ok and "arrived not" in report.reason
    assert report.counters["peer.down.slow_reader"] > 0


def test_equal_seeds_are_held_up_equally_and_as_bytes_too() -> None:
    assert pressed(1).digest == pressed(1).digest == pressed(1, bytewise=True).digest
