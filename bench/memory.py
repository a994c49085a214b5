"""How many bytes of its own an entry costs: what a process grows by, each table in a process.

The keys are made beforehand and the values are None, so only the table grows. `python -m
bench.memory NAME SIZE` prints one figure.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Sequence

# Any: the peers share no type.
from typing import Any

from bench.peers import SEENS, TABLES, TOKENS, keys_of, loop
from routing._filter import TimedFilter

__all__ = ["bytes_per_entry", "kept_after_expiry"]


def resident() -> int:
    gc.collect()
    # Counted page by page: the count in statm is kept for each processor and tens of pages behind.
    with open("/proc/self/smaps_rollup", encoding="ascii") as maps:
        (rss,) = (line.split()[1] for line in maps if line.startswith("Rss:"))
    return int(rss) * 1024


def measure(name: str, size: int) -> float:
    kind, _, peer_name = name.partition("/")
    keys: Sequence[object]
    if kind == "tokens":
        peer, keys, statement = TOKENS[peer_name], list(range(size)), "add"
    elif kind == "ids":
        peer, keys, statement = SEENS[peer_name], keys_of(size, 16), "check and insert"
    elif kind == "expired":
        return _expired(size)
    else:
        peer, keys, statement = TABLES[peer_name], keys_of(size), "insert"
    for key in keys:
        hash(key)
    run = loop(peer.statements[statement])
    # The second one is measured: the first has brought in the code, and its memory is gone.
    run(peer.make(100), keys[:100])
    before = resident()
    table = peer.make(size)
    run(table, keys)
    return (resident() - before) / size


def _expired(size: int) -> float:
    # The handed-back list is let go of, as its owner does.
    keys = keys_of(size)
    table: TimedFilter[Any, Any] = TimedFilter(10, clock=None)
    before = resident()
    for key in keys:
        table.insert(key, None, now=0)
    assert len(table.expire(10)) == size
    return (resident() - before) / size


def _ask(name: str, size: int) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "bench.memory", name, str(size)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def bytes_per_entry(name: str, size: int) -> float:
    """Return what `name` (as in `table/dict`, `ids/set`, `tokens/routing`) costs an entry."""
    return _ask(name, size)


def kept_after_expiry(size: int) -> float:
    """Return the bytes per entry that stay when so many have expired and were handed back."""
    return _ask("expired/routing", size)


if __name__ == "__main__":
    print(measure(sys.argv[1], int(sys.argv[2])))
