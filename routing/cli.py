"""The command line: parses, calls, and turns every refusal into one line and an exit code.

0 all went well, 1 it did not, 2 unusable input, 130 Ctrl-C, 143 SIGTERM. No traceback for what a
user did.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from routing.cli_network import network
from routing.cli_node import client, node
from routing.cli_replay import explain
from routing.cli_simulate import simulate
from routing.errors import RoutingError, StartError, UsageError

__all__ = ["main"]

PROGRAM = "python -m routing"
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143


class _Interrupted(Exception):
    """Ctrl-C, after everything was tidied up; click would print an empty line for the real one."""


class _Commands(click.Group):
    # `Any` is what click says a command returns.
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Interrupted from None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def routing() -> None:
    """Connection management and message routing for a peer-to-peer node."""


for command in (network, node, client, simulate, explain):
    routing.add_command(command)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        code = routing.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        return _refuse(error.format_message(), EXIT_USAGE)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else PROGRAM
        return _refuse(f"{where}: {' '.join(error.format_message().split())}", EXIT_USAGE)
    except (UsageError, StartError) as error:
        return _refuse(f"{PROGRAM}: {error}", EXIT_USAGE)
    except RoutingError as error:
        return _refuse(f"{PROGRAM}: {error}", EXIT_FAILED)
    except (_Interrupted, KeyboardInterrupt, click.Abort):
        return _refuse(f"{PROGRAM}: interrupted", EXIT_INTERRUPTED)
    except asyncio.CancelledError:
        return _refuse(f"{PROGRAM}: terminated", EXIT_TERMINATED)
    return code if isinstance(code, int) else 0


def _refuse(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code
