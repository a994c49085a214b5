"""The programs that measure whole connections, run small so that they keep working.

What they find is told by `python -m bench.idle` and `python -m bench.handshake`; nothing that a
busy machine can change is asserted here.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import routing
from bench import handshake, idle, priorities, stalled

__all__: list[str] = []

NOBODY = "/nonexistent/python"


@pytest.mark.benchmark(group="connections.idle")
def test_idle_smoke(benchmark: BenchmarkFixture) -> None:
    found = benchmark.pedantic(
        lambda: idle.measured([100, 10_000_000], beats=1, heartbeat_s=0.5), rounds=1
    )
    small, large = found["connections"]["100"], found["connections"]["10000000"]
    assert list(small) == list(idle.NAMES)
    assert {"bytes when made", "bytes when idle", "heartbeats, % of a core"} == set(
        small["routing"]
    )
    # Descriptors that are not to be had are said to be so.
    assert "descriptors" in large["not measured"]


@pytest.mark.benchmark(group="connections.handshake")
def test_handshake_smoke(benchmark: BenchmarkFixture) -> None:
    found = benchmark.pedantic(lambda: handshake.measured(20, 1, 4, NOBODY), rounds=1)
    for name in ("routing", "TLS 1.3, mutual, uvloop", "floor"):
        assert found[name]["per second"] > 0
    assert found["two-way connects"]["pairs of the largest"] == 6
    assert NOBODY in found["py-libp2p"]["not measured"]
    assert "routing : py-libp2p" not in found["ratios"]


@pytest.mark.benchmark(group="connections.stalled")
def test_stalled_smoke(benchmark: BenchmarkFixture) -> None:
    found = benchmark.pedantic(lambda: routing.run(stalled.press(0.5, 65_536)), rounds=1)
    assert found["arrived"] == found["sent"] > 0
    for who in ("sender", "reader"):
        assert found[f"{who}_grew"] < 1.5 * found[f"{who}_bound"]


@pytest.mark.benchmark(group="connections.priorities")
def test_priorities_smoke(benchmark: BenchmarkFixture) -> None:
    found = benchmark.pedantic(lambda: routing.run(priorities.compare(1_024, 20)), rounds=1)
    assert found["idle"] > 0 and found["busy"] > 0 and found["messages"] > 0
