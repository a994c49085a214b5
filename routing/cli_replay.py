"""`simulate replay` and `explain`: recordings of real nodes. Parses and calls, nothing else."""

from __future__ import annotations

import click

from routing.peer_story import explain_command
from routing.retelling import replay_command

__all__ = ["explain", "replay"]


@click.command()
@click.argument("file", type=click.Path())
@click.option("--all", "everything", is_flag=True, help="Print frames and messages, too.")
def replay(file: str, everything: bool) -> int:
    """Run the recording of a node again; print what it decided and why.

    Exit code 1 if the core comes to another state than the one recorded.
    """
    return replay_command(file, everything=everything)


@click.command()
@click.argument("file", type=click.Path())
@click.argument("peer")
def explain(file: str, peer: str) -> int:
    """Tell from a recording why the node is, or is not, connected with PEER.

    PEER is the beginning of its name or key, in hexadecimal digits.
    """
    return explain_command(file, peer)
