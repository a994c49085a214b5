"""The token table beside a bare dict of integers."""

from __future__ import annotations

from collections.abc import Sequence

# Any: the peers share no type.
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.peers import TOKENS, loop

__all__: list[str] = []

SIZES = [pytest.param(1_000, id="smoke-1e3"), pytest.param(10_000, id="1e4")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation", ["add", "get", "add, remove"])
@pytest.mark.parametrize("name", TOKENS)
def test_token_table(benchmark: BenchmarkFixture, name: str, operation: str, size: int) -> None:
    peer = TOKENS[name]
    run, add = loop(peer.statements[operation]), loop(peer.statements["add"])
    tokens = [1 << 32 | slot for slot in range(size)]

    def prepare() -> tuple[tuple[Any, Sequence[object]], dict[str, Any]]:
        table = peer.make(size)
        if operation == "get":
            add(table, tokens)
        return (table, tokens), {}

    benchmark.group = f"tokens {operation} / {size}"
    benchmark.extra_info["operations"] = size
    benchmark.pedantic(run, setup=prepare, rounds=50)
