"""The tape gives back all it took, over many rounds, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__: list[str] = []

SCRIPT = """
import gc, resource
from routing._batch import pack
from routing.inputs import FrameReceived, Submitted, SubmittedMany
from routing.messages import FrameKind, MessageKind, NodeAddress
from routing.recordings import new_tape, seal_block

HERE = NodeAddress(bytes(32))
MIXED = [bytes(number % 90) for number in range(300)]
FACTS = [
    FrameReceived(1 << 40, FrameKind.ROUTED, bytes(500)),
    FrameReceived(1 << 40, FrameKind.BATCH, pack(bytes(16), MIXED)[0]),
    Submitted(1, MessageKind.MESSAGE, HERE, bytes(200), b"", False, 5, True),
    SubmittedMany(1, HERE, MIXED, True),
]
held = []

def fall(*_):
    raise ZeroDivisionError

def nothing(*_):
    return True

def round():
    for handle in (nothing, fall):
        tape = new_tape(4_096)
        tape.attach(handle=handle, on_deadline=nothing, after=nothing,
                    fallen=nothing)
        for number in range(12):
            for fact in [*FACTS, object()]:
                tape.leaves_in_batches()
                try:
                    tape.handle(fact, number)
                except (ZeroDivisionError, KeyError):
                    pass
            tape.drawn(bytes(16))
            tape.passed(1, 2)
            held.append(seal_block(tape.take()))
            del held[:-3]

def measure():
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for _ in range(100):
    round()
before, objects = measure(), len(gc.get_objects())
for _ in range(1_500):
    round()
grown, more = measure() - before, len(gc.get_objects()) - objects
assert grown <= 1_024, f"{grown} KiB more"
assert more <= 10, f"{more} objects more"
"""


def test_tapes_leave_nothing_behind() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
