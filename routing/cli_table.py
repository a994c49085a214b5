"""How the `network` command looks at a terminal: a live table; elsewhere a line per stage."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from routing.crew import Member
from routing.experiment import Summary

__all__ = ["Display", "summary_lines"]

STYLES = {
    "GROUP_CONNECTED": "green",
    "CONNECTED": "green",
    "RELOCATED": "yellow",
    "BOOTSTRAPPED": "yellow",
    "DISCONNECTED": "red",
    "dead": "dim",
}


class Display:
    """Shows the members after every look; a context manager that leaves the terminal in order.

    Args:
        console: Where to; a console that is no terminal gets a line whenever the stage changes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._stage = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, members: list[Member], doing: str) -> None:
        """Show how things stand."""
        if self._live is not None:
            self._live.update(_table(members, doing), refresh=True)
            return
        stage = doing.partition(",")[0].partition(" ")[0]
        if stage != self._stage:
            self._stage = stage
            self._console.print(doing, highlight=False, markup=False)


def _table(members: list[Member], doing: str) -> Table:
    table = Table(title=doing, title_justify="left")
    for heading in ("", "name", "state"):
        table.add_column(heading)
    table.add_column("routing peers", justify="right")
    table.add_column("outbound/inbound", justify="right")
    for member in members:
        report = member.report
        state = report.state if member.alive else "dead"
        peers = len(report.peers)
        table.add_row(
            member.title,
            report.name[:8],
            f"[{STYLES.get(state, 'white')}]{state}[/]",
            str(peers) if member.alive else "",
            f"{report.outbound}/{peers - report.outbound}" if member.alive else "",
        )
    return table


def summary_lines(summary: Summary) -> list[str]:
    """Return the summary for people."""
    failed = ", ".join(f"{reason} {count}" for reason, count in summary.failed.items()) or "none"
    lines = [
        f"formed     {_seconds(summary.formed_s)}: {summary.nodes} nodes, "
        f"{summary.group_connected} group-connected, {summary.connections} connections",
        f"attempts   {summary.started} started, {summary.consolidated} consolidated, "
        f"failed: {failed}",
        f"messages   {summary.delivered} of {summary.sent} delivered",
    ]
    if summary.killed:
        lines += [
            f"killing    {_fates(summary.during_kills or {})}",
            f"healed     {_seconds(summary.healed_s)} after {summary.killed} were killed",
            f"rejoined   {_seconds(summary.rejoined_s)}: {summary.rejoined or 0} nodes",
        ]
    lines.append(f"left open  {summary.leaked_sockets} sockets, {summary.leaked_tasks} tasks")
    lines += [f"trouble    {line}" for line in summary.trouble]
    lines.append("ok" if summary.ok else "NOT OK")
    return lines


def _fates(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {fate.replace('_', ' ')}" for fate, count in counts.items())


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"in {value:.2f} s"
