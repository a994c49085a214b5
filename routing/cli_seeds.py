"""Many simulated runs from the command line: a progress bar meanwhile, a table at the end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from routing.simulation.campaign import processes, resolve_executor
from routing.simulation.picture import draw, why_no_picture
from routing.simulation.scriptfile import load, write
from routing.simulation.shrinking import shrink
from routing.simulation.sitting import Demands, Sitting, drive, resized, trials_of
from routing.simulation.tally import Row
from routing.simulation.trial import Outcome, Trial, resolve

__all__ = ["Given", "run_command", "show", "watched"]

FAILURES_SHOWN = 5
WIDTH = 120
"""Of what is printed where there is no terminal that has one."""
EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The options of `simulate run` and `sweep`."""

    seeds: range
    jobs: int | None
    nodes: int | None
    quiet_s: float
    executor: str
    core: str
    as_json: bool
    shrink: bool
    probes: bool
    again: float
    node_hours: float


def run_command(scenarios: Sequence[str], given: Given, *, plot: str | None) -> int:
    """Run scenarios, print what came of them, return the exit code.

    Raises:
        UsageError: an argument cannot be used; one line says which and why.
    """
    out, errors = sys.stdout, sys.stderr
    scripts = [(name, resized(load(name), given.nodes)) for name in scenarios]
    factory = resolve_executor(given.executor) if given.executor else processes
    if given.core:
        resolve(given.core)
    if plot is not None:
        why_no_picture(plot)
    options = f" --nodes {given.nodes}" if given.nodes is not None else ""
    options += f" --quiet-s {given.quiet_s:g}" + (f" --core {given.core}" if given.core else "")
    trials = trials_of(
        scripts, given.seeds, options=options, quiet_s=given.quiet_s, maker=given.core
    )
    sitting = drive(
        trials,
        jobs=given.jobs or os.cpu_count() or 1,
        factory=factory,
        demands=Demands(probes=given.probes, again=given.again, node_hours=given.node_hours),
        watch=partial(watched, many=len(trials), errors=errors),
    )
    if given.as_json:
        told = sitting.tally.as_json()
        told |= {"ok": sitting.ok, "complaints": sitting.complaints}
        told |= {"repeated": sitting.repeated, "interrupted": sitting.interrupted}
        print(json.dumps(told), file=out)
    else:
        show(sitting, out)
    if plot is not None:
        draw(sitting.tally.of(scripts[0][1].name), plot)
    if given.shrink and sitting.tally.failures and not sitting.interrupted:
        _shrink(sitting.tally.failures[0], trials, errors if given.as_json else out)
    if sitting.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_OK if sitting.ok else EXIT_FAILED


def _shrink(failure: Outcome, trials: Sequence[Trial], out: TextIO) -> None:
    of = (failure.scenario, failure.seed)
    trial = next(one for one in trials if (one.script.name, one.seed) == of)
    smallest = shrink(trial, failure)
    print(f"\n# {smallest.steps_before} steps became {smallest.steps_after} in", file=out, end=" ")
    print(f"{smallest.runs} runs; it still fails: {failure.kind}", file=out)
    options = failure.command.partition(" --seeds ")[2]
    print(f"# python -m routing simulate run FILE.toml --seeds {options}", file=out)
    print(write(smallest.trial.script), file=out)


def watched(outcomes: Iterable[Outcome], many: int, errors: TextIO) -> Iterator[Outcome]:
    """Pass outcomes on, and show how far they are where somebody looks on."""
    console = Console(file=errors)
    if not console.is_terminal:
        yield from outcomes
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task, failed = progress.add_task("running", total=many), 0
        for outcome in outcomes:
            failed += not outcome.ok
            text = f"running, {failed} failed" if failed else "running"
            progress.update(task, advance=1, description=text)
            yield outcome


def show(sitting: Sitting, out: TextIO) -> None:
    """Print what many runs came to."""
    tally = sitting.tally
    console = Console(file=out, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=None, pad_edge=False)
    table.add_column("scenario")
    for heading in ("runs", "ok", "node-hours", "whole", "healed", "longest", "bound", "frames/s"):
        table.add_column(heading, justify="right")
    for row in tally.rows():
        table.add_row(*_cells(row))
    console.print(table)
    for outcome in tally.failures[:FAILURES_SHOWN]:
        console.print(f"\nFAILED {outcome.scenario}, seed {outcome.seed}", markup=False)
        console.print(outcome.reason, markup=False, soft_wrap=True)
    hidden = tally.failed - min(tally.failed, FAILURES_SHOWN)
    if hidden:
        console.print(f"\n{hidden} more failed; --json tells all of them")
    worst = tally.worst
    if worst is not None:
        console.print(
            f"\nhealed at the latest {worst.healed_s:.1f} s after the faults had ended "
            f"({worst.scenario}, seed {worst.seed}); the bound is {worst.bound_s:.0f} s"
        )
    if sitting.repeated:
        console.print(f"{sitting.repeated} run twice, under another hash seed")
    for complaint in sitting.complaints:
        console.print(complaint, markup=False, soft_wrap=True)
    if sitting.interrupted:
        console.print("interrupted; this is what was known by then")
    console.print(
        f"{tally.runs - tally.failed} of {tally.runs} ok, "
        f"{tally.node_hours:.1f} node-hours, {tally.events} events"
    )


def _cells(row: Row) -> tuple[str, ...]:
    formed, healed = row.formed_s, row.healed_s
    return (
        row.scenario,
        str(row.runs),
        str(row.ok),
        f"{row.node_hours:.1f}",
        "never" if formed is None else f"{formed[0]:.1f} s",
        "never" if healed is None else f"{healed[0]:.1f} s",
        "never" if healed is None else f"{healed[1]:.1f} s",
        f"{row.bound_s:.0f} s",
        f"{row.frames_per_node:.1f}",
    )
