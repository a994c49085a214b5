"""`simulate`: runs in memory, on virtual time.

Each command parses its options and calls what does the work; one that has many lives in a file of
its own and is added at the end.
"""

from __future__ import annotations

import click

from routing.cli_attack import attack
from routing.cli_explore import explore
from routing.cli_replay import replay
from routing.cli_scenarios import list_scenarios, run, sweep
from routing.simulation.command import form_command

__all__ = ["simulate"]


@click.group()
def simulate() -> None:
    """Run a network in memory, on virtual time."""


@simulate.command()
@click.option("--nodes", type=click.IntRange(1), default=12, show_default=True)
@click.option("--kill", type=click.IntRange(0), default=0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--loss", type=click.FloatRange(0, 1), default=0.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def form(nodes: int, kill: int, seed: int, loss: float, as_json: bool) -> int:
    """Form a network, kill some of it, wait until it is whole again."""
    return form_command(nodes=nodes, kill=kill, seed=seed, loss=loss, json=as_json)


for command in (attack, explore, run, sweep, list_scenarios, replay):
    simulate.add_command(command)
