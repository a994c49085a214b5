"""The frame room gives back all it took, over many rounds, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

__all__: list[str] = []

SCRIPT = """
import gc, resource
from routing._frames import FrameError, FrameWriter, RecordReader, split_frames

def round():
    writer, reader = FrameWriter(), RecordReader(1_048_640)
    for kind in range(50):
        writer.append(kind, bytes(kind * 400), kind % 4)
    for plaintext in writer.take():
        split_frames(plaintext)
        reader.feed((len(plaintext) + 16).to_bytes(4, "big") + plaintext + bytes(16))
        reader.next_record()
    writer.append(1, bytes(1000))
    try:
        split_frames(bytes(3))
    except FrameError:
        reader.feed(b"left unread")
    reader.rest()

def measure():
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for _ in range(200):
    round()
before = measure()
objects = len(gc.get_objects())
for _ in range(3_000):
    round()
grown = measure() - before
assert grown < 2_048, f"grew by {grown} KiB"
assert len(gc.get_objects()) - objects < 50
"""


@pytest.mark.leaks
def test_frames_room_does_not_grow() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
