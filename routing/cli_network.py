"""`python -m routing network`: a whole local network on real sockets, and what became of it."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from pathlib import Path

import click
from rich.console import Console

from routing.cli_table import Display, summary_lines
from routing.crew import Member
from routing.descriptors import raise_descriptor_limit
from routing.errors import ConfigError
from routing.experiment import Experiment, Plan, Summary
from routing.runner import run

__all__ = ["network"]

NODES_MAX = 1_000
"""More on one machine measures the machine, not the network."""

MESSAGES_MAX = 100_000
"""The orders to send them are lines of text."""


@click.command()
@click.option("--nodes", type=click.IntRange(1, NODES_MAX), default=12, show_default=True)
@click.option("--clients", type=click.IntRange(0, NODES_MAX), default=0, show_default=True)
@click.option("--kill", type=click.IntRange(0), default=0, show_default=True, help="How many.")
@click.option(
    "--messages",
    type=click.IntRange(0, MESSAGES_MAX),
    help="Sent while nodes are killed; 10,000 by 40 nodes unless given.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws contacts and victims.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds for each stage.",
)
@click.option("--processes", is_flag=True, help="One OS process per node; kill by SIGKILL.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def network(
    nodes: int,
    clients: int,
    kill: int,
    messages: int | None,
    seed: int,
    timeout: float,
    processes: bool,
    as_json: bool,
) -> int:
    """Start a network on loopback sockets, use it, kill some of it, watch it heal.

    Exit code 0 if it was whole each time, every message arrived once, or, of those sent while nodes
    were killed, was reported to its sender, and nothing was left open.
    """
    if kill >= nodes and kill:
        raise ConfigError(f"--kill {kill} must be less than --nodes {nodes}")
    if clients and nodes < 2:
        raise ConfigError(f"--clients {clients} need --nodes 2 or more")
    raise_descriptor_limit(nodes, clients, processes=processes)
    with tempfile.TemporaryDirectory(prefix="routing-network-") as folder:
        plan = Plan(
            nodes=nodes,
            clients=clients,
            kill=kill,
            messages=messages,
            seed=seed,
            timeout=timeout,
            processes=processes,
            folder=Path(folder),
        )
        if as_json:
            summary = run(_conduct(Experiment(plan, _silently)))
            click.echo(json.dumps(summary.as_object()))
            for line in summary.trouble:
                click.echo(f"network: {line}", err=True)
        else:
            console = Console()
            with Display(console) as display:
                summary = run(_conduct(Experiment(plan, display.show)))
            for line in summary_lines(summary):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0 if summary.ok else 1


async def _conduct(experiment: Experiment) -> Summary:
    """Run it; SIGTERM ends it as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await experiment.run()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _silently(members: list[Member], doing: str) -> None:
    """With --json nothing is shown on the way."""
