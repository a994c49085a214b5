"""Makes a failure small: leaves out nodes, steps and faults for as long as it still fails so.

Greedy, by halves (delta debugging), within a bounded number of runs. A smaller scenario counts only
if it fails in the same way; that it is the smallest there is nobody promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from routing.simulation.script import Script, Start, Step, Strikes, Swarm
from routing.simulation.stage import spell_out
from routing.simulation.trial import Outcome, Trial, run_trial

__all__ = ["RUNS_MAX", "Shrunk", "shrink"]

RUNS_MAX = 300
"""Of one shrinking."""

SECONDS_MIN = 1.0
"""A time that is shorter is not halved again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """What became of a failing trial."""

    trial: Trial
    outcome: Outcome
    """Of the smallest trial; it fails as the one it was made from."""
    runs: int
    steps_before: int
    """Steps and single faults."""
    steps_after: int


class _Shrinker:
    def __init__(
        self, trial: Trial, failure: Outcome, runs_max: int, run: Callable[[Trial], Outcome]
    ) -> None:
        self.trial, self.outcome = trial, failure
        self.kind = failure.kind
        self.runs, self.runs_max = 0, runs_max
        self._run = run

    def attempt(self, script: Script | None = None, *, quiet_s: float | None = None) -> bool:
        """Try a smaller trial; keep it and tell so if it fails in the same way."""
        if self.runs >= self.runs_max:
            return False
        trial = replace(
            self.trial,
            script=self.trial.script if script is None else script,
            quiet_s=self.trial.quiet_s if quiet_s is None else quiet_s,
        )
        if trial == self.trial:
            return False
        self.runs += 1
        outcome = self._run(trial)
        if outcome.ok or outcome.kind != self.kind:
            return False
        self.trial, self.outcome = trial, outcome
        return True

    def round(self) -> bool:
        """Try everything once; tell whether anything became smaller."""
        smaller = self._fewer_steps()
        smaller |= self._fewer_faults()
        smaller |= self._fewer_nodes()
        smaller |= self._shorter()
        return smaller

    def _fewer_steps(self) -> bool:
        def without(kept: list[Step]) -> bool:
            script = self.trial.script
            rest = [script.steps[0], *kept]
            clients = script.clients if _starts_clients(rest) else 0
            return self.attempt(replace(script, steps=rest, clients=clients))

        return _halve_away(lambda: self.trial.script.steps[1:], without)

    def _fewer_faults(self) -> bool:
        smaller = False
        for number, step in enumerate(self.trial.script.steps):
            if number < len(self.trial.script.steps) and isinstance(step, Strikes):
                smaller |= self._fewer_faults_of(number)
        return smaller

    def _fewer_faults_of(self, number: int) -> bool:
        def strikes() -> Strikes:
            step = self.trial.script.steps[number]
            assert isinstance(step, Strikes), "steps keep their places here"
            return step

        def without(kept: list[Any]) -> bool:
            return self._with_step(number, replace(strikes(), faults=kept))

        return _halve_away(lambda: strikes().faults, without)

    def _with_step(self, number: int, step: Step) -> bool:
        script = self.trial.script
        steps = [*script.steps[:number], step, *script.steps[number + 1 :]]
        return self.attempt(replace(script, steps=steps))

    def _fewer_nodes(self) -> bool:
        smaller = False
        clients = int(_starts_clients(self.trial.script.steps))
        for name, least in (("nodes", 1), ("clients", clients)):
            for fewer in _fewer(partial(self._size_of, name), least):
                smaller |= self.attempt(replace(self.trial.script, **{name: fewer}))
        return smaller

    def _size_of(self, name: str) -> int:
        return self.trial.script.nodes if name == "nodes" else self.trial.script.clients

    def _shorter(self) -> bool:
        smaller = bool(self.trial.quiet_s) and self.attempt(quiet_s=0.0)
        for number in range(len(self.trial.script.steps)):
            for name in ("for_s", "over_s", "gap_s", "down_s", "lasts_s"):
                while (now := getattr(self.trial.script.steps[number], name, 0.0)) > SECONDS_MIN:
                    if not self._with_step(number, _shortened(self.trial, number, name, now / 2)):
                        break
                    smaller = True
        return smaller


def shrink(
    trial: Trial,
    failure: Outcome,
    *,
    runs_max: int = RUNS_MAX,
    run: Callable[[Trial], Outcome] = run_trial,
) -> Shrunk:
    """Return a smaller trial that fails as this one does; the same one if there is none.

    Args:
        trial: What failed.
        failure: How.
        runs_max: Trials that are run for it at most.
        run: What runs a trial.
    """
    before = _size(_spelt_out(trial).script)
    shrinker = _Shrinker(trial, failure, runs_max, run)
    # A swarm says the same spelt out, and then its faults can go one by one.
    shrinker.attempt(_spelt_out(trial).script)
    while shrinker.round() and shrinker.runs < runs_max:
        pass
    return Shrunk(
        trial=shrinker.trial,
        outcome=shrinker.outcome,
        runs=shrinker.runs,
        steps_before=before,
        steps_after=_size(shrinker.trial.script),
    )


def _spelt_out(trial: Trial) -> Trial:
    steps = [
        spell_out(step, trial.seed) if isinstance(step, Swarm) else step
        for step in trial.script.steps
    ]
    return replace(trial, script=replace(trial.script, steps=steps))


def _size(script: Script) -> int:
    return sum(1 + len(getattr(step, "faults", ())) for step in script.steps)


def _starts_clients(steps: list[Step]) -> bool:
    return any(isinstance(step, Start) and step.who == "clients" for step in steps)


def _shortened(trial: Trial, number: int, name: str, seconds: float) -> Step:
    step = replace(trial.script.steps[number], **{name: seconds})
    if isinstance(step, Strikes):
        end = int(seconds * 1_000_000_000)
        return replace(step, faults=[one for one in step.faults if one.at_ns + one.lasts_ns <= end])
    return step


def _halve_away(get: Callable[[], list[Any]], keep: Callable[[list[Any]], bool]) -> bool:
    """Leave out all, halves, quarters and so on; tell whether anything could be left out.

    Args:
        get: What there is now.
        keep: Tries it with these alone, and tells whether that will do.
    """
    smaller, size = False, len(get())
    while size:
        at = 0
        while at < len(items := get()):
            if keep(items[:at] + items[at + size :]):
                smaller = True
            else:
                at += size
        size //= 2
    return smaller


def _fewer(get: Callable[[], int], least: int) -> Iterator[int]:
    """Yield smaller numbers to try, the smallest first; begin anew below one that would do."""
    while (now := get()) > least:
        for smaller in dict.fromkeys((least, now // 2, now * 3 // 4, now - 1)):
            if least <= smaller < now:
                yield smaller
                if get() < now:
                    break
        else:
            return
