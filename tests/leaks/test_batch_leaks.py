"""The batch room gives back all it took, over many rounds, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__: list[str] = []

SCRIPT = """
import gc, resource
from routing._batch import (
    blank_list, list_fault, pack, pack_list, survey, unpack, unpack_list, volume
)
from routing._message import give_back, keep, lend
from routing.events import Message, Proof
from routing.messages import NodeAddress

FIRST, HERE = bytes(16), NodeAddress(bytes(32))
PAYLOADS = [bytes(number % 90) for number in range(900)]

def round():
    survey(PAYLOADS, 0, 1_000_000)
    body, _ = pack(FIRST, PAYLOADS)
    volume(PAYLOADS)
    listed, _ = pack_list(PAYLOADS)
    whole = HERE, HERE, bytes(32), Proof.SIGNATURE
    assert len(unpack_list(FIRST, listed, *whole)) == len(unpack_list(FIRST, listed, *whole, True))
    assert len(blank_list(listed)) == len(listed) and list_fault(FIRST, listed) == ""
    assert unpack_list(FIRST, listed[:-1], *whole) is None
    assert list_fault(FIRST, listed[:-1]) == "overrun"
    messages = unpack(body, HERE, HERE, bytes(32), Proof.CHANNEL)
    assert unpack(body[:-1], HERE, HERE, bytes(32), Proof.CHANNEL) is None
    for message in messages[:20]:
        again = Message(*(getattr(message, name) for name in Message.__match_args__))
        assert again == message and hash(again) == hash(message) and repr(again)
    lent = unpack(body, HERE, HERE, bytes(32), Proof.CHANNEL, True)
    assert keep(lent) == messages and lent[3].payload[:2].nbytes == 2
    assert give_back(lend(messages[:50])) == give_back(lent) == 0
    for wrong in ((), (1,) * 9):
        try:
            Message(*wrong)
        except TypeError:
            pass
    try:
        pack(FIRST, [b"", None])
    except ValueError:
        pass

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


def test_batches_leave_nothing_behind() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
