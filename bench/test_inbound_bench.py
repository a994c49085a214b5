"""The corridor alone: a record of messages for others, with few and with many connections.

No cipher and no socket: reading the envelopes, the duplicate check, the next hop, the copy into the
next hop's record.
"""

from __future__ import annotations

from random import Random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from routing._filter import MessageFilter
from routing._frames import FrameWriter
from routing._inbound import Inbound, Way
from routing.limits import HOPS_MAX, ROUTES_MAX
from routing.messages import Envelope, FrameKind, MessageKind, NodeAddress, Signed, encode

__all__: list[str] = []

MESSAGES = 128


def bodies(names: list[bytes], chance: Random) -> list[bytes]:
    """Return envelopes of 200 bytes of payload to these names in turn."""
    found = []
    for number in range(MESSAGES):
        signed = Signed(
            destination=NodeAddress(names[number % len(names)]),
            kind=MessageKind.MESSAGE,
            leave_out=b"",
            flags=1,
            id=chance.randbytes(16),
            source=NodeAddress(chance.randbytes(32)),
            key=chance.randbytes(32),
            origin=chance.randbytes(64),
            authority=None,
            body=chance.randbytes(200),
        )
        found.append(encode(Envelope(1, 0, encode(signed), chance.randbytes(64))))
    return found


def corridor(names: list[bytes], own: bytes) -> tuple[Inbound, list[FrameWriter]]:
    """Return a corridor between so many connections, and what they put out."""
    writers = [FrameWriter() for _ in names]
    inbound = Inbound(
        bytes(32),
        hops_max=HOPS_MAX,
        routes_max=ROUTES_MAX,
        kind_max=max(MessageKind),
        kind_bulk=MessageKind.PART,
        quiet_ns=1 << 40,
        room=1 << 30,
    )
    ways = [Way(None, writer) for writer in writers]
    inbound.retable(own, bytes(32), dict(zip(names, ways, strict=True)))
    return inbound, writers


@pytest.mark.parametrize("connections", [8, 64, 256])
@pytest.mark.benchmark(group=f"inbound.pass_on/{MESSAGES} messages of 200 B")
def test_pass_on_smoke(benchmark: BenchmarkFixture, connections: int) -> None:
    chance = Random(1)
    names = [chance.randbytes(32) for _ in range(connections)]
    inbound, writers = corridor(names, chance.randbytes(32))
    (plaintext,) = record(bodies(names, chance))

    def fresh() -> None:
        inbound.shut()
        for writer in writers:
            writer.take()
        inbound.open(plaintext, 1 << 20)
        room = MessageFilter(1 << 40, capacity=10_000, clock=None)
        inbound.grant(room, (), MESSAGES)

    entered = benchmark.pedantic(lambda: inbound.pass_on(1), setup=fresh, rounds=500)
    assert entered == MESSAGES


def record(frames: list[bytes]) -> list[bytes]:
    writer = FrameWriter()
    for body in frames:
        writer.append(FrameKind.ROUTED, body)
    return writer.take()
