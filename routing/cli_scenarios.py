"""`simulate run`, `sweep` and `list`: scenarios with many seeds. Parses and calls, nothing else."""

from __future__ import annotations

from typing import Any

import click

from routing.cli_seeds import Given, run_command
from routing.simulation.script import NODES_MAX
from routing.simulation.scriptfile import library

__all__ = ["list_scenarios", "run", "sweep"]

SEEDS_MAX = 1_000_000
JOBS_MAX = 1_024


class Seeds(click.ParamType[range]):
    """One seed, or FIRST:END."""

    name = "seeds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> range:
        """Return the seeds that a text means."""
        if isinstance(value, range):
            return value
        first, colon, last = str(value).partition(":")
        try:
            seeds = range(int(first), int(last) if colon else int(first) + 1)
        except ValueError:
            self.fail(f"{value!r} must be one seed, or FIRST:END", param, ctx)
        if not 0 < len(seeds) <= SEEDS_MAX:
            self.fail(f"{value!r} is {len(seeds)} seeds; give 1 to {SEEDS_MAX}", param, ctx)
        return seeds


# `Any`: click's decorators turn functions into commands.
def common(command: Any) -> Any:
    """Add the options that `run` and `sweep` share."""
    for option in reversed(
        [
            click.option("--seeds", type=Seeds(), default="0:10", show_default=True),
            click.option("--jobs", type=click.IntRange(1, JOBS_MAX), help="[default: the cores]"),
            click.option("--nodes", type=click.IntRange(1, NODES_MAX), help="Instead of its own."),
            click.option("--quiet-s", type=click.FloatRange(0, 1e6), default=60, show_default=True),
            click.option("--executor", default="", metavar="MODULE:FACTORY"),
            click.option("--core", default="", metavar="MODULE:MAKER", help="Other cores."),
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
            click.option("--shrink", is_flag=True, help="Reduce the first failure; print it."),
            click.option("--probes", is_flag=True, help="Require that every rare path is taken."),
            click.option("--again", type=click.FloatRange(0, 1), default=0.0, show_default=True),
            click.option("--node-hours", type=click.FloatRange(0), default=0.0, show_default=True),
        ]
    ):
        command = option(command)
    return command


@click.command()
@click.argument("scenario", metavar="FILE|NAME")
@common
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw a picture: .svg or .png.")
def run(scenario: str, plot: str | None, **given: Any) -> int:
    """Run one scenario with many seeds; `simulate list` tells those that come with us."""
    return run_command([scenario], Given(**given), plot=plot)


@click.command()
@click.argument("scenarios", metavar="[FILE|NAME]...", nargs=-1)
@common
def sweep(scenarios: tuple[str, ...], **given: Any) -> int:
    """Run scenarios in turn, a seed each; all that come with us if none is named."""
    return run_command(scenarios or tuple(library()), Given(**given), plot=None)


@click.command("list")
def list_scenarios() -> int:
    """List the scenarios that come with us."""
    for name, script in library().items():
        click.echo(f"{name:18} {script.nodes:3} nodes  {script.about}")
    return 0
