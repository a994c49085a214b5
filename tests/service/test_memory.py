"""Memory of large messages is used again: counted in page faults, in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

__all__: list[str] = []

AGAIN = """
import resource
from routing.service.memory import reuse_freed_memory

reuse_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    reuse_freed_memory()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

SCRIPT = """
import resource
from routing.service.memory import reuse_freed_memory

if {reused}:
    reuse_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def round():
    held = [bytearray(1_048_576) for _ in range(8)]

round()
before = faults()
for _ in range(20):
    round()
print(faults() - before)
"""


def faults(*, reused: bool) -> int:
    return counted(SCRIPT.format(reused=reused))


def counted(script: str) -> int:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library heeds it")
def test_large_blocks_are_not_fetched_from_the_system_again() -> None:
    """Eight blocks of a megabyte, twenty times: 40,960 pages of 4 KiB, if all were fresh."""
    assert faults(reused=True) < 2_000 < faults(reused=False)


def test_another_node_in_the_process_clears_no_memory_for_it() -> None:
    """The 4,096 pages of the block are touched by nobody, however many nodes begin."""
    assert counted(AGAIN) < 100
