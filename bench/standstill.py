"""Measures readers that stand still, beside the sender and behind a relay, and draws both.

`bench.stalled` and `bench.relay_stalled` run in turn; what they saw over time goes into one JSON
file and one picture: memory above, what waits below, and the bounds as broken lines. With `--drawn`
it measures nothing and draws what is there.

    python -m bench.standstill [--seconds 5] [--size 1000] [--drawn]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.ends import load
from bench.stalled import PATIENCE_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RESULTS", "draw", "main", "measure", "whole"]

RESULTS = Path(__file__).with_name("results") / "stalled.json"
DIRECT_BYTES = 65_536
"""Of a message without a relay, where payloads are what fills the memory."""

MIB = 2**20
SENDER, RELAY, READER = "#c0392b", "#2c6fa6", "#5b7083"
COLOURS = {"a": SENDER, "sender": SENDER, "b": RELAY, "c": READER, "reader": READER}


class Failed(Exception):
    """Nothing was measured, in the words of the module that should have."""


def measure(seconds: float, size: int) -> dict[str, Any]:
    """Run both; `size` is that of a message by way of the relay."""
    before = load()
    direct = _run("bench.stalled", seconds, DIRECT_BYTES)
    relayed = _run("bench.relay_stalled", seconds, size)
    return {
        "python": platform.python_version(),
        "load": {"before": before, "after": load()},
        "direct": direct,
        "relayed": relayed,
    }


def _run(module: str, seconds: float, size: int) -> dict[str, Any]:
    """Run one in a process of its own: memory that was used before would not be seen to grow."""
    words = ["--seconds", str(seconds), "--size", str(size), "--json"]
    ran = subprocess.run(
        [sys.executable, "-m", module, *words],
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + 4 * PATIENCE_S,
        check=False,
    )
    if not ran.stdout:
        raise Failed(f"{module} has measured nothing and ended with {ran.returncode}; see above")
    return dict(json.loads(ran.stdout))


def whole(found: Mapping[str, Any]) -> bool:
    """Tell whether all that was accepted has arrived, once."""
    direct, relayed = found["direct"], found["relayed"]
    lost = direct["sent"] - direct["arrived"] + relayed["sent"] - relayed["arrived"]
    return not lost and not relayed["twice"] and not relayed["lost_as_slow"]


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw what was measured into an SVG file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    direct, relayed = found["direct"], found["relayed"]
    with rc_context({"svg.hashsalt": "routing", "font.size": 8}):
        figure = Figure(figsize=(9, 6), layout="constrained")
        (memory, through), (waiting, queued) = figure.subplots(2, 2)
        figure.suptitle(
            f"A reader that stands still, Python {found['python']}, load {found['load']['before']}:"
            f" sent {direct['sent']:,} and {relayed['sent']:,},"
            f" arrived {direct['arrived']:,} and {relayed['arrived']:,}"
        )
        _curves(memory, direct, sender_grew="sender", reader_grew="reader")
        _bound(memory, direct["sender_bound"], "sender may hold", SENDER)
        _bound(memory, direct["reader_bound"], "inbox may hold, beside what came last", READER)
        memory.set_title(f"memory, no relay, {direct['size']:,} bytes each: MiB more than before")
        _curves(waiting, direct, sender_queued="queued at sender", reader_inbox="inbox of reader")
        _bound(waiting, direct["queued_bound"], "slow reader above this", SENDER)
        _bound(waiting, direct["reader_bound"], "inbox may hold, beside what came last", READER)
        waiting.set_title("what waits, no relay: MiB")
        waiting.set_xlabel("seconds with a reader that stands still")
        _curves(through, relayed, a_grew="A, sends", b_grew="B, relay", c_grew="C, stands still")
        through.set_title(f"memory, A to C through B, {relayed['size']:,} bytes each: MiB")
        _curves(queued, relayed, a_queued="queued at A", b_queued="queued at B")
        _bound(queued, relayed["room"], "sources and feeders wait", READER)
        _bound(queued, relayed["queued_bound"], "slow reader above this", SENDER)
        queued.set_title("what waits, A to C through B: MiB")
        queued.set_xlabel(f"seconds; C reads again at {relayed['read_at']:.1f} s")
        for axes in (through, queued):
            axes.axvline(relayed["read_at"], color="black", linewidth=0.5)
        for axes in (memory, through, waiting, queued):
            axes.set_ylim(bottom=0)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=7)
        figure.savefig(path, metadata={"Date": None})


def _curves(axes: Axes, found: Mapping[str, Any], **labels: str) -> None:
    columns = list(found["columns"])
    at = [point[0] for point in found["curve"]]
    for name, label in labels.items():
        place, colour = columns.index(name), COLOURS[name.partition("_")[0]]
        axes.plot(at, [each[place] / MIB for each in found["curve"]], label=label, color=colour)


def _bound(axes: Axes, size: int, label: str, colour: str) -> None:
    text = f"{label}: {size / MIB:g}"
    axes.axhline(size / MIB, color=colour, linestyle="--", linewidth=0.8, label=text)


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and draw; 1 if a message is missing, 2 if there is nothing to draw with."""
    parser = argparse.ArgumentParser(prog="python -m bench.standstill", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=1_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--to", type=Path, help="default: beside the results, as .svg")
    parser.add_argument("--drawn", action="store_true", help="draw what was measured before")
    given = parser.parse_args(arguments)
    to: Path = given.to or given.results.with_suffix(".svg")
    if find_spec("matplotlib") is None:
        print("a picture needs matplotlib; install it: pip install matplotlib", file=sys.stderr)
        return 2
    try:
        if not given.drawn:
            found = measure(given.seconds, given.size)
            given.results.write_text(as_text(found), encoding="utf-8")
        found = json.loads(given.results.read_text(encoding="utf-8"))
        draw(found, to)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error}; measure first: python -m bench.standstill", file=sys.stderr)
        return 2
    print(to)
    return 0 if whole(found) else 1


def as_text(found: Mapping[str, Any]) -> str:
    """Return JSON with a line for each point of a curve."""
    text = json.dumps(found, indent=1)
    lines = text.replace("[\n    ", "[").replace(",\n    ", ", ").replace("\n   ]", "]")
    return lines + "\n"


if __name__ == "__main__":
    sys.exit(main())
