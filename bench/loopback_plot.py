"""Draws what `bench.loopback --write` has found: `python -m bench.loopback_plot`.

One part for each size of the streams, and for the round trips, with ratios; it measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.loopback import FLOOR, PINGPONG, RESULTS, STREAM, over_connections

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "main"]

OURS, SECURE, OTHER = "#c0392b", "#5b7083", "#b8c2cc"
CURVE = "pyzmq, CURVE"
ENCRYPTED = ("CURVE", "TLS", "py-libp2p")
ROW_INCHES = 0.26


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw the streams and round trips of one run into an SVG file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [row for row in found["rows"] if row["role"] in (STREAM, PINGPONG)]
    heights = [len(row.get("rates") or row.get("times") or {}) + 4 for row in rows]
    with rc_context({"svg.hashsalt": "routing", "font.size": 8}):
        figure = Figure(figsize=(9, ROW_INCHES * sum(heights) + 0.8), layout="constrained")
        every = figure.subplots(len(rows), squeeze=False, gridspec_kw={"height_ratios": heights})
        figure.suptitle(
            f"Two processes on loopback, a core each; median of {found['runs']} runs,"
            f" Python {found['python']}, load {found['load']['before']}\n"
            "red: ours; dark: encrypted; pale: in the clear"
        )
        for row, (axes,) in zip(rows, every, strict=True):
            (_stream if row["role"] == STREAM else _trips)(axes, row)
            if row["failed"]:
                lines = [f"{name}: {why}" for name, why in row["failed"].items()]
                axes.set_xlabel("not measured: " + "; ".join(lines), loc="left", fontsize=6)
        figure.savefig(path, metadata={"Date": None})


def _stream(axes: Axes, row: Mapping[str, Any]) -> None:
    rates = dict(sorted(row["rates"].items(), key=lambda each: float(each[1])))
    notes = []
    for rate in rates.values():
        ratios = [
            f"{_short(rate / rates[other])} × {short}"
            for other, short in ((FLOOR, "C"), (CURVE, "CURVE"))
            if rates.get(other)
        ]
        notes.append("  ".join([f"{rate:,.0f}", *ratios]))
    _bars(axes, rates, notes)
    over = over_connections(row["connections"])
    axes.set_title(f"stream of {row['size']:,} bytes, {over}, messages a second", loc="left")


def _trips(axes: Axes, row: Mapping[str, Any]) -> None:
    times = dict(sorted(row["times"].items(), key=lambda each: -float(each[1]["p50_us"])))
    notes = []
    for each in times.values():
        ratio = ""
        if FLOOR in times:
            ratio = f"  {_short(each['p50_us'] / times[FLOOR]['p50_us'])} × C"
        notes.append(f"{each['p50_us']:,.0f}, p99 {each['p99_us']:,.0f}{ratio}")
    _bars(axes, {name: each["p50_us"] for name, each in times.items()}, notes)
    over = over_connections(row["connections"])
    axes.set_title(f"round trip of {row['size']} bytes, {over}, µs, p50", loc="left")


def _bars(axes: Axes, values: Mapping[str, float], notes: list[str]) -> None:
    colours = [
        OURS if name.startswith("routing") else SECURE if _is_secure(name) else OTHER
        for name in values
    ]
    bars = axes.barh(list(values), list(values.values()), color=colours)
    axes.bar_label(bars, labels=notes, padding=3)
    axes.set_xscale("log")
    axes.margins(x=0.45)
    axes.spines[["top", "right"]].set_visible(False)


def _short(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def _is_secure(name: str) -> bool:
    return any(word in name for word in ENCRYPTED)


def main(arguments: list[str]) -> int:
    """Draw; 2 and one line if there is nothing to draw or to draw with."""
    parser = argparse.ArgumentParser(prog="bench.loopback_plot", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--to", type=Path, default=RESULTS.with_suffix(".svg"))
    asked = parser.parse_args(arguments)
    if find_spec("matplotlib") is None:
        print("a picture needs matplotlib; install it: pip install matplotlib", file=sys.stderr)
        return 2
    try:
        found = json.loads(asked.results.read_text(encoding="utf-8"))
        draw(found, asked.to)
    except OSError as error:
        print(f"{error}; measure first: python -m bench.loopback --write", file=sys.stderr)
        return 2
    print(asked.to)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
