"""What the tables promise of themselves beside the others, and whether a run has shown it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, log

from bench.peers import OPERATIONS
from bench.suites import Group

__all__ = ["geometric_mean", "judge"]

# The peers that forget by time; the others are no rivals.
RIVALS = ("cachetools", "cachebox", "moka-py")
BOUNDS = {1_000: 1.15, 10_000: 1.25, 100_000: 1.25, 1_000_000: 1.15}


def geometric_mean(ratios: Iterable[float]) -> float:
    """Return the mean of ratios: two of 2 and 0.5 cancel out."""
    logs = [log(ratio) for ratio in ratios]
    return exp(sum(logs) / len(logs))


def _line(what: str, found: float, bound: float) -> str:
    return f"{'kept  ' if found <= bound else 'MISSED'} {what}: {found:.2f} (at most {bound:.2f})"


def _tables(groups: Mapping[str, list[Group]]) -> Iterable[str]:
    for suite in ("table", "connection"):
        for size, bound in BOUNDS.items():
            each = [groups[f"{suite}/{operation}/{size}"][0] for operation in OPERATIONS]
            for name, limit in (
                ("routing", bound),
                ("routing, no clock", bound),
                ("routing, own ttl", 2.0),
            ):
                mean = geometric_mean(group.ratio(name) for group in each)
                yield _line(f"{suite} of {size}, {name}, mean of six ratios to dict", mean, limit)


def _rivals(groups: Mapping[str, list[Group]]) -> Iterable[str]:
    worst, where = 0.0, ""
    for size in BOUNDS:
        for operation in OPERATIONS:
            for group in groups[f"table/{operation}/{size}"]:
                for rival in RIVALS:
                    if rival in group.figures:
                        ratio = group.figures["routing"].median / group.figures[rival].median
                        if ratio > worst:
                            worst, where = ratio, f"{operation} of {size} beside {rival}"
    yield _line(f"slowest beside a peer ({where}), by medians", worst, 1.1)


def _slope(groups: Mapping[str, list[Group]]) -> Iterable[str]:
    means = {
        size: geometric_mean(
            groups[f"table/{operation}/{size}"][0].ratio("routing") for operation in OPERATIONS
        )
        for size in BOUNDS
    }
    yield _line("slope of the mean ratio, 1e6 over 1e3", means[1_000_000] / means[1_000], 1.5)


def _others(groups: Mapping[str, list[Group]]) -> Iterable[str]:
    (expire,) = groups["expiry/expire all/100000"]
    (steady,) = groups["expiry/steady/100000"]
    yield _line("expire 100000, to cachetools", expire.ratio("routing"), 0.35)
    yield _line(
        "one comes, one goes at 100000, to cachebox",
        steady.figures["routing"].least / steady.figures["cachebox"].least,
        0.9,
    )
    for size in (100_000, 1_000_000):
        (group,) = groups[f"ids/check and insert/{size}"]
        yield _line(f"ids of {size}, to set", group.ratio("routing"), 1.0)
        yield _line(f"ids of {size} from C, to set", group.ratio("routing, from C"), 0.5)
    (get,) = groups["tokens/get/1000"]
    (change,) = groups["tokens/add, remove/1000"]
    yield _line("token get, to dict", get.ratio("routing"), 1.0)
    yield _line("token add and remove, to dict", change.ratio("routing"), 1.5)
    (evict,) = groups["flood/evict/1024"]
    yield _line("an eviction among 512 groups, µs", evict.figures["routing"].least / 1e3, 20.0)


def _memory(sizes: Mapping[str, float]) -> Iterable[str]:
    for size in (100_000, 1_000_000):
        yield _line(
            f"bytes an entry of {size}, to cachebox",
            sizes[f"table/routing/{size}"] / sizes[f"table/cachebox/{size}"],
            0.85,
        )
        yield _line(f"bytes an id of {size}", sizes[f"ids/routing/{size}"], 40.0)
        yield _line(f"bytes a connection of {size}", sizes[f"tokens/routing/{size}"], 96.0)


def judge(groups: Iterable[Group], sizes: Mapping[str, float]) -> list[str]:
    """Return a line for each promise: kept or missed, the figure, the bound."""
    by_key: dict[str, list[Group]] = {}
    for group in groups:
        by_key.setdefault(group.key, []).append(group)
    return [
        *_tables(by_key),
        *_rivals(by_key),
        *_slope(by_key),
        *_others(by_key),
        *_memory(sizes),
    ]
