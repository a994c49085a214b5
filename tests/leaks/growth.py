"""Runs a script in a process of its own and holds it to flat memory; the scripts do the counting.

A script defines `work()`, one round of operations, and may define `after()`, which asserts. What is
measured is the resident size now, not its peak, so a table that gives memory back is seen to.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["hold_flat"]

ROOT = Path(__file__).resolve().parents[2]

FRAME = """
import gc, os, sys

def resident_kib():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

def after():
    assert True

{script}

for _ in range({warm_up}):
    work()
gc.collect()
objects, before = len(gc.get_objects()), resident_kib()
for _ in range({rounds}):
    work()
grown = resident_kib() - before
assert grown < 3_072, f"grew by {{grown}} KiB"
found = len(gc.get_objects()) - objects
assert found < 50, f"{{found}} objects more"
after()
"""


def hold_flat(script: str, *, warm_up: int, rounds: int) -> None:
    """Fail with the script's own words if it, or its memory, does not hold."""
    done = subprocess.run(
        [sys.executable, "-c", FRAME.format(script=script, warm_up=warm_up, rounds=rounds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
