"""One sitting: many trials run, some of them twice, and what is required of all of them together.

It knows nothing of terminals and parses nothing; whoever calls it shows what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from shlex import quote

from msgspec.structs import replace

from routing.simulation.campaign import Factory, again, outcomes, processes
from routing.simulation.probes import why_not_reached
from routing.simulation.script import Script
from routing.simulation.tally import Tally
from routing.simulation.trial import Outcome, Trial

__all__ = ["Demands", "Sitting", "drive", "resized", "trials_of"]

HASH_SEED = 4_242
"""Under which a trial is run again; any but the one of this process shows what depends on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What all trials together must come to."""

    probes: bool = False
    """Every rare path on the list is reached by some trial."""
    again: float = 0.0
    """This share of the trials is run twice, with equal traces."""
    node_hours: float = 0.0
    """At least so many are simulated."""


@dataclass(slots=True, kw_only=True)
class Sitting:
    """What came of all trials."""

    tally: Tally
    complaints: list[str] = field(default_factory=list)
    """What was demanded and is not so, a line each."""
    repeated: int = 0
    """Trials that were run twice."""
    interrupted: bool = False
    """Somebody has ended it early; what is here is what was known by then."""

    @property
    def ok(self) -> bool:
        """All went well."""
        return self.tally.ok and not self.complaints and not self.interrupted


def trials_of(
    scripts: Sequence[tuple[str, Script]], seeds: range, *, options: str, quiet_s: float, maker: str
) -> list[Trial]:
    """Return a trial for each seed; the scenarios take turns.

    Args:
        scripts: How each scenario is called on the command line, and what it is.
        seeds: One for each trial.
        options: What else the command that shows a run again has to say.
        quiet_s: How long a network is left alone in the end.
        maker: Of the cores; empty for the real ones.
    """
    trials = []
    for number, seed in enumerate(seeds):
        name, script = scripts[number % len(scripts)]
        command = f"python -m routing simulate run {quote(name)} --seeds {seed}{options}"
        trials.append(
            Trial(script=script, seed=seed, command=command, quiet_s=quiet_s, maker=maker)
        )
    return trials


def drive(
    trials: Sequence[Trial],
    *,
    jobs: int,
    factory: Factory = processes,
    demands: Demands = Demands(),
    watch: Callable[[Iterable[Outcome]], Iterable[Outcome]] = iter,
) -> Sitting:
    """Run all trials; Ctrl-C ends it early with what is known so far.

    Args:
        trials: What to run.
        jobs: At most so many at a time.
        factory: Makes the executor.
        demands: What they must come to together.
        watch: Passes on the outcomes it is given, and may show them to somebody.

    Raises:
        UsageError: a scenario cannot be run.
        WorkerLost: an executor lost a trial.
    """
    sitting = Sitting(tally=Tally())
    try:
        for outcome in watch(outcomes(trials, jobs=jobs, factory=factory)):
            sitting.tally.add(outcome)
        _repeat(trials, jobs, demands.again, sitting)
    except KeyboardInterrupt:
        sitting.interrupted = True
        return sitting
    if demands.probes:
        sitting.complaints += why_not_reached(sitting.tally.counters)
    if sitting.tally.node_hours < demands.node_hours:
        sitting.complaints.append(
            f"{sitting.tally.node_hours:.1f} node-hours, {demands.node_hours:g} were asked for; "
            "give more seeds"
        )
    return sitting


def _repeat(trials: Sequence[Trial], jobs: int, share: float, sitting: Sitting) -> None:
    """Run a share of the trials again, spread over all of them."""
    many = ceil(len(trials) * share)
    if not many:
        return
    chosen = trials[:: max(1, len(trials) // many)][:many]
    digests = {
        (one.scenario, one.seed): one.digest
        for row in sitting.tally.rows()
        for one in sitting.tally.of(row.scenario)
    }
    with ThreadPoolExecutor(jobs) as pool:
        for trial, digest in zip(chosen, pool.map(_digest, chosen), strict=True):
            sitting.repeated += 1
            if digest != digests[trial.script.name, trial.seed]:
                sitting.complaints.append(
                    f"{trial.script.name}, seed {trial.seed}: another trace under "
                    f"PYTHONHASHSEED={HASH_SEED}; {trial.command}"
                )


def _digest(trial: Trial) -> str:
    return again(trial, HASH_SEED)


def resized(script: Script, nodes: int | None) -> Script:
    """Return a scenario with another number of nodes, as it is if that is None."""
    return script if nodes is None else replace(script, nodes=nodes)
