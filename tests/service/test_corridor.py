"""A message for somebody else goes through a node on real sockets without its core."""

from __future__ import annotations

import asyncio

from routing.events import Message
from routing.inputs import FrameReceived, Input
from routing.limits import Nanos
from routing.messages import FrameKind, MessageKind, open_envelope
from routing.node import Node
from routing.service.corridor import Corridor
from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, address, network

__all__: list[str] = []

COUNT = 50


def corridor(node: Node) -> Corridor:
    found = node._serving()._corridor
    assert found is not None, "a node has one"
    return found


def messages_handed_up(facts: list[Input]) -> int:
    """Return how many of the application's routed messages a core was told of."""
    opened = [
        open_envelope(fact.body)
        for fact in facts
        if isinstance(fact, FrameReceived) and fact.kind is FrameKind.ROUTED
    ]
    return sum(each is not None and each[1].kind is MessageKind.MESSAGE for each in opened)


def test_signed_messages_through_a_neighbour_are_no_facts_there(run: Run) -> None:
    async def body() -> None:
        async with network(3) as (a, b, c):
            arrived: list[bytes] = []
            all_there = asyncio.Event()

            def take(messages: list[Message]) -> None:
                arrived.extend(message.payload for message in messages)
                if len(arrived) >= COUNT:
                    all_there.set()

            c.on_messages(take)
            by_b = bytes(b.name or b"")
            a._running().hops.ways = lambda target: [by_b]  # type: ignore[method-assign]
            core = b._running()
            facts: list[Input] = []
            handle = core.handle

            def watched(fact: Input, now: Nanos) -> None:
                facts.append(fact)
                handle(fact, now)

            core.handle = watched  # type: ignore[method-assign]
            before = corridor(b)._inbound.forwarded
            counted = b.stats().get("routed.forwarded", 0)
            for number in range(COUNT):
                await a.send(address(c), bytes([number]), signed=True)
            async with asyncio.timeout(PATIENCE_S):
                await all_there.wait()
            assert sorted(arrived) == [bytes([number]) for number in range(COUNT)]
            passed = corridor(b)._inbound.forwarded - before
            handed = messages_handed_up(facts)
            assert passed + handed >= COUNT
            assert handed < COUNT // 2, "a few, while it is asked whether the next hop lives"
            assert b.stats()["routed.forwarded"] - counted >= passed

    run(body())
