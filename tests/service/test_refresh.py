"""Records are said again to who is new in their group, and heard when a quorum agrees."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress

from routing.events import Churn, Message, Proof
from routing.messages import Authority, AuthorityKind, GroupAddress
from routing.node import Node
from tests.service.conftest import Run
from tests.service.nodes import LOOPBACK, address, eventually, local, network

__all__: list[str] = []

MEMBERS = 7
RECORDS = {hashlib.sha256(bytes([number])).digest(): b"record %d" % number for number in range(5)}
SPLIT = hashlib.sha256(b"of two minds").digest()
"""A record of which some members hold another version than the rest."""


async def follow(node: Node, records: dict[bytes, bytes]) -> None:
    """Say each record again to whom a change of the group brought in."""
    async for event in node.events():
        if isinstance(event, Churn):
            for element, record in records.items():
                await node.refresh(element, record, to=event.concerns(element))


def test_newcomer_is_handed_each_record_once_when_a_quorum_agrees(run: Run) -> None:
    async def body() -> None:
        async with network(MEMBERS) as nodes:
            tasks = []
            for number, node in enumerate(nodes):
                held = {**RECORDS, SPLIT: b"this" if number % 2 else b"that"}
                tasks.append(asyncio.create_task(follow(node, held)))
            heard: list[Message] = []
            newcomer = Node(local(listen=LOOPBACK, contacts=nodes[0].endpoints))
            newcomer.on_messages(heard.extend)
            try:
                async with newcomer:
                    votes = MEMBERS * (len(RECORDS) + 1)
                    await eventually(
                        lambda: (
                            newcomer.stats().get("consumed.ballot", 0) >= votes
                            and len(heard) >= len(RECORDS)
                        )
                    )
                    assert {m.payload for m in heard} == set(RECORDS.values())
                    assert len(heard) == len(RECORDS), "each once, and nothing of two minds"
                    assert {m.proof for m in heard} == {Proof.QUORUM}
                    for message in heard:
                        element = next(e for e, r in RECORDS.items() if r == message.payload)
                        assert message.source == GroupAddress(element)
                        claim = Authority(AuthorityKind.ELEMENT_GROUP, element)
                        assert message.authority == claim
            finally:
                for task in tasks:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    run(body())


def test_who_is_not_in_the_group_says_nothing(run: Run) -> None:
    async def body() -> None:
        async with network(9) as nodes:
            names = [address(node).name for node in nodes]
            outsider = next(node for node in nodes if not node.is_member(SPLIT))
            assert await outsider.refresh(SPLIT, b"text", to=names) == 0
            member = next(node for node in nodes if node.is_member(SPLIT))
            assert await member.refresh(SPLIT, b"text", to=names) == len(nodes) - 1
            assert outsider.stats().get("ballot.cast", 0) == 0

    run(body())
