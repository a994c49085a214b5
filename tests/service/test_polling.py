"""Nodes that look again before they sleep: on real sockets, counted, and nothing left behind."""

from __future__ import annotations

import asyncio

from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, address, eventually, network

__all__: list[str] = []

ASKED = 50
PAYLOAD = b"echo"


async def ask(payload: bytes = PAYLOAD, looks: bool = True, **changes: int) -> list[dict[str, int]]:
    """Return what two nodes counted when one has asked the other some times and both rested."""
    async with network(2, **changes) as (a, b):
        b.on_request(lambda request: request.payload)
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(ASKED):
                assert await a.request(address(b), PAYLOAD) == PAYLOAD
        if looks:
            # Every look ends by finding something, or in vain once nothing comes any more.
            await eventually(lambda: all(node.stats()["busy_poll.vain"] for node in (a, b)))
        return [node.stats() for node in (a, b)]


def test_nodes_that_look_again_answer_and_say_how_often_they_looked(run: Run) -> None:
    async def body() -> None:
        for stats in await ask(busy_poll_us=1_000):
            # Both ends share a loop here, so what one has written the next turn reads.
            assert stats["busy_poll.found"] > 0
            assert stats["busy_poll.vain"] > 0

    run(body())


def test_nodes_look_where_they_are_told_nothing_and_where_nothing_comes_they_stop(run: Run) -> None:
    async def body() -> None:
        # Whether a look finds something within its budget is for the machine to say.
        for stats in await ask():
            assert stats["busy_poll.vain"] > 0

    run(body())


def test_nodes_that_are_told_not_to_look_do_not(run: Run) -> None:
    async def body() -> None:
        for stats in await ask(looks=False, busy_poll_us=0):
            assert (stats["busy_poll.found"], stats["busy_poll.vain"]) == (0, 0)

    run(body())
