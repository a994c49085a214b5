"""Times contestants in turns, so that a machine that changes its speed changes it for all of them.

A figure of another run is never compared with one of this run; a ratio of two figures of one run is
what may be compared.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns

__all__ = ["Figure", "in_turns", "timed"]

Round = Callable[[], Mapping[str, float]]
"""Makes what it needs, runs each operation once, and returns ns per operation."""


@dataclass(frozen=True)
class Figure:
    """Nanoseconds per operation over all rounds."""

    least: float
    median: float


def timed(run: Callable[[], object], operations: int) -> float:
    """Return the ns per operation of one run."""
    start = perf_counter_ns()
    run()
    return (perf_counter_ns() - start) / operations


def in_turns(contestants: Mapping[str, Round], rounds: int) -> dict[str, dict[str, Figure]]:
    """Return operation -> contestant -> figure, from so many rounds of everybody in turn."""
    seen: dict[str, dict[str, list[float]]] = {}
    was_on = gc.isenabled()
    order = list(contestants.items())
    for _ in range(rounds):
        # Each follows each once: what one leaves behind in the allocator helps or harms the next.
        order.append(order.pop(0))
        for name, play in order:
            gc.collect()
            gc.disable()
            try:
                for operation, nanoseconds in play().items():
                    seen.setdefault(operation, {}).setdefault(name, []).append(nanoseconds)
            finally:
                if was_on:
                    gc.enable()
    return {
        operation: {
            name: Figure(min(each), statistics.median(each)) for name, each in by_name.items()
        }
        for operation, by_name in seen.items()
    }
