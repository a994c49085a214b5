"""What many outcomes come to: a row for each scenario, the worst seen, the failures.

It counts and compares; it prints nothing and knows nothing of terminals.
"""

from __future__ import annotations

import statistics
from collections import Counter

from msgspec import Struct

from routing.simulation.trial import Outcome

__all__ = ["FAILURES_MAX", "Row", "Tally"]

FAILURES_MAX = 100
"""Failures kept in full; the others are counted."""

HOUR_S = 3_600


class Row(Struct, frozen=True, kw_only=True):
    """All runs of one scenario; times in virtual seconds."""

    scenario: str
    runs: int
    ok: int
    node_hours: float
    formed_s: tuple[float, float] | None
    """Median and longest."""
    healed_s: tuple[float, float] | None
    bound_s: float
    """Within which a network must heal, the smallest of all runs."""
    frames_per_node: float
    """Sent by a node in a virtual second."""


class Tally:
    """Outcomes as they come."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        """Of all cores of all runs."""
        self.reached: Counter[str] = Counter()
        """Counter -> runs in which it moved."""
        self.failures: list[Outcome] = []
        self.failed = 0
        self.events = 0
        self.worst: Outcome | None = None
        """Whose healing came nearest to the bound."""
        self._runs: dict[str, list[Outcome]] = {}

    def add(self, outcome: Outcome) -> None:
        """Take one in."""
        if not outcome.ok:
            self.failed += 1
            if len(self.failures) < FAILURES_MAX:
                self.failures.append(outcome)
        self.counters.update(outcome.counters)
        self.reached.update(name for name, count in outcome.counters.items() if count)
        self.events += outcome.events
        self._runs.setdefault(outcome.scenario, []).append(outcome)
        if outcome.healed_s is not None and (
            self.worst is None or _used(outcome) > _used(self.worst)
        ):
            self.worst = outcome

    @property
    def runs(self) -> int:
        """How many outcomes there are."""
        return sum(len(runs) for runs in self._runs.values())

    @property
    def ok(self) -> bool:
        """Every one of them was ok."""
        return not self.failed

    @property
    def node_hours(self) -> float:
        """Virtual hours that nodes and clients lived, summed."""
        return sum(one.node_seconds for runs in self._runs.values() for one in runs) / HOUR_S

    def of(self, scenario: str) -> list[Outcome]:
        """Return the outcomes of one scenario."""
        return self._runs.get(scenario, [])

    def rows(self) -> list[Row]:
        """Return a row for each scenario, by name."""
        return [_row(name, self._runs[name]) for name in sorted(self._runs)]

    def as_json(self) -> dict[str, object]:
        """Return all of it for programs, without what each run had in detail."""
        worst = self.worst
        return {
            "ok": self.ok,
            "runs": self.runs,
            "failed": self.failed,
            "node_hours": round(self.node_hours, 3),
            "events": self.events,
            "worst": None
            if worst is None
            else {
                "scenario": worst.scenario,
                "seed": worst.seed,
                "healed_s": worst.healed_s,
                "bound_s": worst.bound_s,
            },
            "scenarios": [
                {name: getattr(row, name) for name in row.__struct_fields__} for row in self.rows()
            ],
            "failures": [
                {
                    "scenario": one.scenario,
                    "seed": one.seed,
                    "reason": one.reason,
                    "command": one.command,
                }
                for one in self.failures
            ],
            "runs_of": [
                {
                    "scenario": one.scenario,
                    "seed": one.seed,
                    "ok": one.ok,
                    "formed_s": one.formed_s,
                    "healed_s": one.healed_s,
                    "digest": one.digest,
                }
                for name in sorted(self._runs)
                for one in sorted(self._runs[name], key=lambda one: one.seed)
            ],
            "counters": dict(sorted(self.counters.items())),
            "reached": dict(sorted(self.reached.items())),
        }


def _used(outcome: Outcome) -> float:
    return (outcome.healed_s or 0.0) / outcome.bound_s


def _row(name: str, runs: list[Outcome]) -> Row:
    seconds = sum(one.node_seconds for one in runs)
    frames = sum(sum(one.frames_per_node) for one in runs)
    return Row(
        scenario=name,
        runs=len(runs),
        ok=sum(one.ok for one in runs),
        node_hours=round(seconds / HOUR_S, 3),
        formed_s=_spread([one.formed_s for one in runs if one.formed_s is not None]),
        healed_s=_spread([one.healed_s for one in runs if one.healed_s is not None]),
        bound_s=min(one.bound_s for one in runs),
        frames_per_node=round(frames / seconds, 3) if seconds else 0.0,
    )


def _spread(values: list[float]) -> tuple[float, float] | None:
    return (statistics.median(values), max(values)) if values else None
