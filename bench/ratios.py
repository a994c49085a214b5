"""Everybody's ratio to the bare dict, in one run: `make ratios`.

`--full` takes all sizes, all peers and the memory, and says of each promise whether it is kept.
`--write` puts what it finds into `bench/results/ratios.json`. `--check` measures the small sizes
and fails where a ratio of ours is above 1.5 times the one in that file: ratios alone are compared,
for the times of two runs, or of two machines, say nothing about each other.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import suites
from bench.memory import bytes_per_entry, kept_after_expiry
from bench.promises import judge
from bench.suites import Group

__all__ = ["main"]

RESULTS = Path(__file__).parent / "results" / "ratios.json"
WORSE_MAX = 1.5
# The least of five runs; one run is so many rounds of everybody in turn.
RUNS = 5
ROUNDS_A_RUN = 20

OURS = ["dict", "routing", "routing, no clock", "routing, now given", "routing, own ttl"]
ALL = [*OURS, "OrderedDict", "cachetools", "cachebox", "moka-py"]
MEMORY = [
    "table/dict",
    "table/cachebox",
    "table/cachetools",
    "table/routing",
    "ids/set",
    "ids/routing",
    "tokens/dict",
    "tokens/routing",
]


def smoke() -> list[Group]:
    """Measure what is compared from commit to commit: ours beside the floor, at 1,000."""
    rounds = RUNS * ROUNDS_A_RUN
    return [
        *suites.tables(1_000, rounds, OURS),
        *suites.connections(1_000, rounds, OURS),
        *suites.ids(1_000, rounds),
        *suites.tokens(1_000, rounds),
    ]


def everything() -> list[Group]:
    """Measure all sizes and all peers; minutes."""
    found = []
    for size, rounds in ((10_000, 11), (100_000, 7), (1_000_000, 5)):
        names = ALL if size < 1_000_000 else [name for name in ALL if name != "cachetools"]
        found += suites.tables(size, rounds, names)
        found += suites.connections(size, rounds, OURS)
        found += suites.ids(size, rounds)
    peers = [name for name in ALL if name not in OURS]
    found += suites.tables(1_000, 25, ["dict", "routing", *peers])
    found += suites.tokens(100_000, 7)
    found += suites.expiry(100_000, 5)
    found += suites.flood(1_024, 15)
    found += suites.flood(100_000, 3)
    return found


def show(groups: Iterable[Group]) -> None:
    """Print each group as a table: ns per operation, least and median, and the ratio."""
    for group in groups:
        print(f"\n{group.key}")
        for name, figure in sorted(group.figures.items(), key=lambda each: each[1].least):
            print(
                f"    {name:<20} {figure.least:>10,.1f} {figure.median:>10,.1f}"
                f" {group.ratio(name):>8.2f} x {group.floor}"
            )


def written(groups: Iterable[Group]) -> dict[str, dict[str, dict[str, float]]]:
    """Return what the file holds of each group."""
    return {
        group.key: {
            name: {
                "min_ns": round(figure.least, 1),
                "median_ns": round(figure.median, 1),
                "ratio": round(group.ratio(name), 3),
            }
            for name, figure in group.figures.items()
        }
        for group in groups
    }


def worse(groups: Iterable[Group]) -> list[str]:
    """Return what has become worse than the committed ratios allow, in words."""
    committed = json.loads(RESULTS.read_text(encoding="utf-8"))["smoke"]
    found = []
    for group in groups:
        for name in group.figures:
            if not name.startswith("routing"):
                continue
            bound = WORSE_MAX * committed[group.key][name]["ratio"]
            if group.ratio(name) > bound:
                found.append(
                    f"{group.key}: {name} takes {group.ratio(name):.2f} x {group.floor}, more "
                    f"than {bound:.2f}, which is {WORSE_MAX} x the committed ratio"
                )
    return found


def memory() -> dict[str, float]:
    found = {
        f"{name}/{size}": round(bytes_per_entry(name, size), 1)
        for name in MEMORY
        for size in (100_000, 1_000_000)
    }
    found["kept after expiry/1000000"] = round(kept_after_expiry(1_000_000), 1)
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and compare or write as asked; 1 if something has become worse."""
    parser = argparse.ArgumentParser(prog="bench.ratios", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes, peers and the memory")
    parser.add_argument("--write", action="store_true", help="write bench/results/ratios.json")
    parser.add_argument("--check", action="store_true", help="compare with the committed ratios")
    asked = parser.parse_args(arguments)
    print(f"Python {platform.python_version()}, {platform.machine()}; ns per operation, ratio")
    small = smoke()
    show(small)
    large: list[Group] = []
    sizes: dict[str, float] = {}
    if asked.full:
        large, sizes = everything(), memory()
        show(large)
        for name, size in sizes.items():
            print(f"    {name:<32} {size:>8.1f} bytes an entry")
        print()
        print("\n".join(judge([*small, *large], sizes)))
    if asked.write:
        held = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        held["python"] = platform.python_version()
        held["smoke"] = written(small)
        if asked.full:
            held |= {"full": written(large), "bytes": sizes}
        RESULTS.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    found = worse(small) if asked.check else []
    for each in found:
        print(f"WORSE {each}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
