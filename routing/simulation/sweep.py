"""Many seeds of one scenario: `python -m routing.simulation.sweep form --nodes 40 --kill 5`.

Prints one line per failed seed with the command that shows it again, and a summary; the exit code
is 0 only if every seed was ok. It proves nothing about the seeds it did not run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from time import perf_counter

from routing.errors import ConfigError, UsageError
from routing.limits import SECOND, Limits
from routing.simulation.chaos import chaos
from routing.simulation.command import as_text
from routing.simulation.hosts import Violation
from routing.simulation.pressing import press
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

__all__ = ["Task", "main", "run_task", "sweep"]

SCENARIOS = ("form", "outage", "silence", "merge", "crowd", "partition", "rejoin", "chaos", "press")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run: what a worker process needs to know."""

    scenario: str
    nodes: int
    kill: int
    seconds: int
    seed: int
    loss: float
    local: bool
    real: bool
    checks_every: int

    @property
    def command(self) -> str:
        """What shows this one run again."""
        words = [f"python -m routing.simulation.sweep {self.scenario} --nodes {self.nodes}"]
        if self.kill:
            words.append(f"--kill {self.kill}")
        if self.scenario in ("outage", "silence", "partition", "chaos", "press"):
            words.append(f"--seconds {self.seconds}")
        if self.loss:
            words.append(f"--loss {self.loss}")
        words += ["--local"] * self.local + ["--real"] * self.real
        return " ".join([*words, f"--seeds {self.seed}"])


def run_task(task: Task) -> Report:
    """Run one scenario with one seed.

    Raises:
        Violation: an invariant broke.
        UsageError: the arguments do not fit together.
    """
    world = make_world(
        task.seed,
        command=task.command,
        loss=task.loss,
        limits=Limits.local() if task.local else None,
        checks_every=task.checks_every,
        real_signatures=task.real,
    )
    match task.scenario:
        case "form":
            return form(world, task.nodes, task.kill)
        case "outage" | "silence":
            return outage(world, task.nodes, task.seconds, abrupt=task.scenario == "outage")
        case "merge":
            return merge(world, task.nodes)
        case "crowd":
            return flash_crowd(world, task.nodes)
        case "partition":
            return partition_heal(world, task.nodes, task.seconds)
        case "rejoin":
            return rejoin(world, task.nodes, task.kill)
        case "chaos":
            return chaos(world, task.nodes, task.seconds)
        case "press":
            return press(world, task.nodes, task.seconds)
        case _:
            raise UsageError(f"scenario {task.scenario!r} must be one of {', '.join(SCENARIOS)}")


def _run(task: Task) -> Report | str:
    try:
        return run_task(task)
    except Violation as error:
        return str(error)


def sweep(tasks: Sequence[Task], *, jobs: int, verbose: bool) -> bool:
    """Run all, print what is worth knowing, and tell whether every one was ok."""
    started = perf_counter()
    formed: list[float] = []
    healed: list[float] = []
    filled: list[float] = []
    connections: list[tuple[float, int]] = []
    failed = 0
    with ProcessPoolExecutor(jobs) as pool:
        for task, result in zip(tasks, pool.map(_run, tasks), strict=True):
            if isinstance(result, str) or not result.ok:
                failed += 1
                text = result if isinstance(result, str) else result.reason
                print(f"FAILED  {task.command}\n        {text}", flush=True)
                continue
            formed.append((result.formed_ns or 0) / SECOND)
            connections.append(result.connections)
            if result.filled_ns is not None:
                filled.append(result.filled_ns / SECOND)
            if result.heal_seconds is not None:
                healed.append(result.heal_seconds)
            if verbose:
                print(as_text(result), flush=True)
    print(f"{len(tasks) - failed} of {len(tasks)} ok in {perf_counter() - started:.1f} s")
    for label, values in (("whole", formed), ("filled", filled), ("healed", healed)):
        if values:
            middle, most = statistics.median(values), max(values)
            print(f"{label} after {middle:.1f} s virtual (median), {most:.1f} s (longest)")
    if connections:
        mean, most = statistics.mean(c[0] for c in connections), max(c[1] for c in connections)
        print(f"{mean:.1f} connections of a node (mean), {most} (most)")
    return failed == 0


def _seeds(text: str) -> range:
    first, colon, last = text.partition(":")
    try:
        return range(int(first), int(last)) if colon else range(int(first), int(first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be one seed, or FIRST:END") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the sweep, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m routing.simulation.sweep", description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--kill", type=int, default=0)
    parser.add_argument(
        "--seconds", type=int, default=60, help="of an outage, a partition or pressing"
    )
    parser.add_argument("--seeds", type=_seeds, default=range(10), help="N, or FIRST:END")
    parser.add_argument("--loss", type=float, default=0.0, help="share of routed frames lost")
    parser.add_argument("--local", action="store_true", help="the fast timers of Limits.local()")
    parser.add_argument("--real", action="store_true", help="Ed25519 in place of the stand-in")
    parser.add_argument("--checks-every", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args(arguments)
    tasks = [
        Task(
            scenario=given.scenario,
            nodes=given.nodes,
            kill=given.kill,
            seconds=given.seconds,
            seed=seed,
            loss=given.loss,
            local=given.local,
            real=given.real,
            checks_every=given.checks_every,
        )
        for seed in given.seeds
    ]
    try:
        return 0 if sweep(tasks, jobs=given.jobs, verbose=given.verbose) else 1
    except (UsageError, ConfigError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
