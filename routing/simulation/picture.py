"""A picture of many runs of one scenario: how long healing took, connections, messages per node.

Drawn by matplotlib, which only this needs and which is imported only here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from routing.errors import UsageError
from routing.simulation.trial import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FORMATS", "draw", "why_no_picture"]

FORMATS = (".svg", ".png")
BIN_S = 10
"""Samples of all runs within so many seconds are one point of a line."""


def why_no_picture(path: str) -> None:
    """Refuse a picture that could not be drawn, before anything is run for it.

    Raises:
        UsageError: matplotlib is missing, or the name says no format we draw.
    """
    if Path(path).suffix not in FORMATS:
        raise UsageError(f"--plot {path} must end in {' or '.join(FORMATS)}")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"--plot {path}: there is no such folder; make it first")
    if find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib; install it: pip install 'routing[plot]'")


def draw(outcomes: Sequence[Outcome], path: str) -> None:
    """Draw the outcomes of one scenario.

    Args:
        outcomes: At least one.
        path: Of the picture; its suffix says the format.

    Raises:
        UsageError: it cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not outcomes:
        raise UsageError(f"--plot {path}: no run has ended, there is nothing to draw")
    with rc_context({"svg.hashsalt": "routing"}):
        figure = Figure(figsize=(9, 10), layout="constrained")
        healing, connections, messages = figure.subplots(3)
        figure.suptitle(f"{outcomes[0].scenario}: {outcomes[0].nodes} nodes, {len(outcomes)} seeds")
        _healing(healing, outcomes)
        _connections(connections, outcomes)
        _messages(messages, outcomes)
        try:
            figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
        except OSError as error:
            raise UsageError(f"--plot {path}: cannot be written: {error}") from error


def _healing(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    healed = sorted(one.healed_s for one in outcomes if one.healed_s is not None)
    share = [(number + 1) / len(outcomes) for number in range(len(healed))]
    axes.step([0.0, *healed], [0.0, *share], where="post")
    axes.axvline(outcomes[0].bound_s, linestyle="--", color="grey")
    axes.annotate("bound", (outcomes[0].bound_s, 0.5), rotation=90, ha="right")
    axes.set(xlabel="whole again, seconds after the last fault", ylabel="share of the seeds")
    axes.set_ylim(0, 1.02)


def _connections(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    found: defaultdict[int, list[float]] = defaultdict(list)
    for one in outcomes:
        for sample in one.samples:
            found[int(sample.at_s // BIN_S) * BIN_S].append(sample.connections)
    times = sorted(found)
    axes.plot(times, [mean(found[at]) for at in times])
    low, high = [min(found[at]) for at in times], [max(found[at]) for at in times]
    axes.fill_between(times, low, high, alpha=0.2)
    axes.set(xlabel="virtual seconds", ylabel="connections of a node")
    axes.set_ylim(bottom=0)


def _messages(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    axes.hist([count for one in outcomes for count in one.frames_per_node], bins=40)
    axes.set(xlabel="frames sent by a node in a run", ylabel="nodes")
