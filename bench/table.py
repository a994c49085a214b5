"""Prints what pytest-benchmark has written as tables with each one's ratio to the floor.

The floor of a group is the bare `dict` or `set`; a group without one is left out, for a ratio to
another thing says nothing. Benchmarks of one group run one after the other: for ratios that hold on
a machine that changes its speed, `make ratios` lets them take turns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

# Any: the file is another program's.
from typing import Any

__all__ = ["main"]

FLOORS = ("dict", "set")


def lines(group: str, benchmarks: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table of a group, fastest first; empty without a floor."""
    least: dict[str, tuple[float, float]] = {}
    for each in benchmarks:
        name = str((each["params"] or {}).get("name", each["name"]))
        scale = 1e9 / each["extra_info"].get("operations", 1)
        least[name] = each["stats"]["min"] * scale, each["stats"]["median"] * scale
    floor = next((least[name] for name in FLOORS if name in least), None)
    if floor is None:
        return []
    found = [f"\n{group:<36} {'min ns':>10} {'median ns':>10} {'x floor':>8}"]
    for name, (low, middle) in sorted(least.items(), key=lambda each: each[1]):
        found.append(f"    {name:<32} {low:>10,.1f} {middle:>10,.1f} {low / floor[0]:>8.2f}")
    return found


def main(path: str) -> None:
    """Print a table for each group of the file that has a floor."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(Path(path).read_text(encoding="utf-8"))["benchmarks"]:
        groups.setdefault(str(each["group"]), []).append(each)
    for group, benchmarks in groups.items():
        for line in lines(group, benchmarks):
            print(line)


if __name__ == "__main__":
    main(sys.argv[1])
