"""Messages from groups: how many are put together in a second, and what unfinished ones take up.

Seven members vote for each message and the node is the eighth; the whole comes from the first. The
stand-in signer shows what the counting costs, the real one what a node does.
"""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from routing.actions import Deliver
from routing.ballots import VOICE_COST
from routing.identity import Identity, IdentitySigner, Signer
from routing.inputs import FrameReceived
from routing.limits import SECOND, Nanos
from routing.messages import FrameKind, encode
from tests import persons
from tests.council import Council

__all__: list[str] = []

MESSAGES = 200


def real_signer(seed: bytes) -> Signer:
    return IdentitySigner(Identity.from_seed(seed))


def frames(c: Council, messages: int, size: int, voters: int, *, whole: bool) -> list[bytes]:
    """Return the votes for so many messages, vote after vote."""
    found = []
    for number in range(messages):
        content = c.content(bytes(size), chosen=number.to_bytes(16, "big"))
        for rank, person in enumerate(c.members[:voters]):
            found.append(encode(c.ballot(person, content, whole=whole and rank == 0)))
    return found


def hand_over(c: Council, bodies: list[bytes]) -> int:
    """Let the node hear the votes; return how many messages it delivered."""
    core, token = c.stage.core, c.wires[0].token
    for body in bodies:
        core.handle(FrameReceived(token, FrameKind.ROUTED, body), Nanos(core.now))
    return sum(isinstance(action, Deliver) for action in core.take_actions())


@pytest.mark.parametrize("size", [64, 16_384], ids=["64 B", "16 KiB"])
@pytest.mark.parametrize("signer", ["stand-in", "Ed25519"])
def test_messages_from_a_group(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, signer: str, size: int
) -> None:
    if signer == "Ed25519":
        monkeypatch.setattr(persons, "CheapSigner", real_signer)
    made: list[Council] = []

    def prepare() -> tuple[tuple[Council, list[bytes]], dict[str, object]]:
        c = Council()
        made.append(c)
        return (c, frames(c, MESSAGES, size, 7, whole=True)), {}

    delivered = benchmark.pedantic(hand_over, setup=prepare, rounds=5)
    assert delivered == MESSAGES
    benchmark.group = f"ballots: 7 votes of {size:,} bytes"
    benchmark.extra_info["messages"] = MESSAGES
    stats = benchmark.stats
    if stats is not None:
        rate = MESSAGES / stats.stats.median
        what = f"{signer}, {size:,} bytes"
        print(f"\n{what}: {rate:,.0f} messages/s of 7 votes, {rate * 7:,.0f} votes/s")


@pytest.mark.parametrize("size", [0, 65_536], ids=["digests", "wholes of 64 KiB"])
def test_bytes_held_at_the_bound(benchmark: BenchmarkFixture, size: int) -> None:
    c = Council()
    shares = c.stage.core.ballots.counted
    each = VOICE_COST + (size + 200 if size else 0)
    number = 0

    def fill() -> None:
        nonlocal number
        while not c.count("ballot.evicted") + c.count("ballot.content_evicted"):
            bodies = []
            for person in c.members:
                content = c.content(bytes(size), chosen=number.to_bytes(16, "big"))
                number += 1
                bodies.append(encode(c.ballot(person, content, whole=bool(size))))
            hand_over(c, bodies)

    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    benchmark.pedantic(fill, rounds=1)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    seen = c.stage.core.relay.seen
    assert shares.bytes <= shares.bytes_max < shares.bytes + 2 * each
    benchmark.group = f"ballots: memory at the bound, wholes of {size:,} bytes"
    benchmark.extra_info["charged"] = shares.bytes
    benchmark.extra_info["taken"] = after - before
    print(
        f"\n{number:,} unfinished, {size:,} bytes each: charged {shares.bytes:,},"
        f" taken {after - before:,} bytes ({len(seen):,} entries of the duplicate filter included)"
    )
    c.stage.core.on_deadline(Nanos(c.stage.core.now + 61 * SECOND))
    assert shares.bytes == 0
