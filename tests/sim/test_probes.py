"""Probes: the list is of real paths, long enough, and who reaches too few of them is told which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import routing
from routing.simulation.probes import PROBES, why_not_reached
from routing.simulation.script import Script, Start
from routing.simulation.sitting import Demands, drive
from routing.simulation.trial import Trial

__all__: list[str] = []

NAMED = re.compile(r'count\(\s*(f?)"([^"]+)"')


def patterns() -> list[re.Pattern[str]]:
    """Return what the core may count; a part that is filled in may be anything."""
    found = []
    for path in sorted(Path(routing.__file__).parent.glob("*.py")):
        for formatted, name in NAMED.findall(path.read_text(encoding="utf-8")):
            parts = re.split(r"\{[^}]*\}", name) if formatted else [name]
            found.append(re.compile("[a-z_]+".join(map(re.escape, parts))))
    return found


def test_list_is_long_sorted_and_says_nothing_twice() -> None:
    assert len(PROBES) >= 60
    assert list(PROBES) == sorted(set(PROBES))


@pytest.mark.parametrize("probe", PROBES)
def test_probe_is_a_counter_of_the_core(probe: str) -> None:
    assert any(pattern.fullmatch(probe) for pattern in patterns())


def test_probe_that_nobody_reached_is_named() -> None:
    reached = dict.fromkeys(PROBES, 1)
    assert why_not_reached(reached) == []
    first, last = PROBES[0], PROBES[-1]
    del reached[first]
    reached[last] = 0
    (line,) = why_not_reached(reached)
    assert line == f"2 of {len(PROBES)} probes not reached: {first}, {last}; give more seeds"


def test_run_without_a_fault_reaches_too_few_and_fails() -> None:
    quiet = Script(name="quiet", about="nothing", nodes=2, limits="local", steps=[Start()])
    trials = [Trial(script=quiet, seed=1)]
    assert drive(trials, jobs=1).ok
    sitting = drive(trials, jobs=1, demands=Demands(probes=True))
    assert not sitting.ok and "probes not reached: " in sitting.complaints[0]
