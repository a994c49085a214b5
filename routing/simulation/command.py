"""`simulate form` for the command line: runs one scenario, prints a report, returns an exit code.

No argument parsing here; that is the door's.
"""

from __future__ import annotations

import json as json_module
import sys
from typing import TextIO

from routing.errors import UsageError
from routing.limits import SECOND
from routing.simulation.hosts import Violation
from routing.simulation.scenarios import Report, form, make_world

__all__ = ["as_json", "as_text", "form_command"]

EXIT_OK, EXIT_NOT_WHOLE, EXIT_USAGE = 0, 1, 2


def form_command(
    *,
    nodes: int,
    kill: int,
    seed: int,
    loss: float = 0.0,
    json: bool = False,
    out: TextIO | None = None,
    errors: TextIO | None = None,
) -> int:
    """Form a network, kill some of it, wait until it is whole again, and print what came of it.

    Returns:
        0 if it was whole each time, 1 if not or an invariant broke, 2 for unusable arguments.
    """
    out, errors = out or sys.stdout, errors or sys.stderr
    command = f"python -m routing simulate form --nodes {nodes} --kill {kill} --seed {seed}"
    if loss:
        command += f" --loss {loss}"
    try:
        report = form(make_world(seed, command=command, loss=loss), nodes, kill)
    except UsageError as error:
        print(f"simulate form: {error}", file=errors)
        return EXIT_USAGE
    except Violation as error:
        print(f"simulate form: {error}", file=errors)
        return EXIT_NOT_WHOLE
    print(as_json(report) if json else as_text(report), file=out)
    return EXIT_OK if report.ok else EXIT_NOT_WHOLE


def as_json(report: Report) -> str:
    """Return the report as one JSON object on one line, times in seconds."""
    healed = report.heal_seconds
    return json_module.dumps(
        {
            "ok": report.ok,
            "reason": report.reason,
            "scenario": report.scenario,
            "nodes": report.nodes,
            "seed": report.seed,
            "formed_s": _seconds(report.formed_ns),
            "filled_s": _seconds(report.filled_ns),
            "connections_mean": round(report.connections[0], 2),
            "connections_most": report.connections[1],
            "killed": len(report.killed),
            "healed_s": None if healed is None else round(healed, 3),
            "ended_s": _seconds(report.ended_ns),
            "events": report.events,
            "frames": report.frames,
            "counters": report.counters,
            "digest": report.digest,
        }
    )


def as_text(report: Report) -> str:
    """Return the report in a few lines for people."""
    formed, healed = _seconds(report.formed_ns), report.heal_seconds
    lines = [
        f"{report.scenario}: {report.nodes} nodes, seed {report.seed}",
        f"whole     {'never' if formed is None else f'after {formed:.2f} s'}",
    ]
    if report.harmed_ns is not None:
        who = f" (killed: {', '.join(map(str, report.killed))})" if report.killed else ""
        lines.append(f"healed    {'never' if healed is None else f'after {healed:.2f} s'}{who}")
    if report.filled_ns is not None:
        lines.append(f"filled    after {_seconds(report.filled_ns):.2f} s")
    mean, most = report.connections
    lines.append(f"each has  {mean:.1f} connections (mean), {most} (most)")
    frames = ", ".join(f"{kind.lower()} {count}" for kind, count in report.frames.items())
    lines += [
        f"ended     at {report.ended_ns / SECOND:.2f} s, {report.events} events",
        f"frames    {frames or 'none'}",
        f"trace     {report.digest}",
        "ok" if report.ok else f"NOT OK: {report.reason}",
    ]
    return "\n".join(lines)


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else round(nanoseconds / SECOND, 3)
