"""The corridor gives back all it took, over many rounds, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

__all__: list[str] = []

SCRIPT = """
import gc, resource
from routing._filter import MessageFilter
from routing._frames import FrameWriter
from routing._inbound import Inbound, Way
from routing.messages import Envelope, GroupAddress, MessageKind, NodeAddress, Signed, encode

names = [bytes([number]) * 32 for number in range(1, 200)]

def envelope(number):
    signed = Signed(NodeAddress(names[number % 100]), MessageKind.MESSAGE, b"", 0,
                    number.to_bytes(16, "big"), GroupAddress(names[0]), names[1], b"", None,
                    bytes(number % 700))
    return encode(Envelope(number % 32, number % 9, encode(signed), bytes(64)))

bodies = [envelope(number) for number in range(400)]

def round():
    inbound = Inbound(bytes(32), hops_max=32, routes_max=8, kind_max=23, kind_bulk=20,
                      quiet_ns=10, room=40_000)
    room = MessageFilter(100, capacity=300, clock=None)
    ways = [Way(inbound, FrameWriter()) for _ in range(100)]
    inbound.retable(names[150], bytes(32), dict(zip(names, ways)))
    writer = FrameWriter()
    for body in [*bodies, *bodies[:50]]:
        writer.append(11, body)
    for plaintext in writer.take():
        inbound.open(plaintext, 1_048_576)
        inbound.grant(room, (), 300)
        while True:
            inbound.up(1)
            if inbound.done:
                break
            inbound.forgive()
            inbound.pass_on(1)
        inbound.shut()
    for way in inbound.touched():
        Inbound.settle(way)
        if way is not ways[3]:
            way.writer.take(1)

def measure():
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for _ in range(100):
    round()
before = measure()
objects = len(gc.get_objects())
for _ in range(1_500):
    round()
grown = measure() - before
assert grown < 2_048, f"grew by {grown} KiB"
assert len(gc.get_objects()) - objects < 50
"""


@pytest.mark.leaks
def test_corridor_does_not_grow() -> None:
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
