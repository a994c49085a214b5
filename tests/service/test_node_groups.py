"""Nodes on sockets speak as a group, and a group's answer is what most of its members say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from routing.errors import NoQuorum, RequestTimedOut, UsageError
from routing.events import Message, Proof
from routing.messages import (
    Authority,
    AuthorityKind,
    ClientAddress,
    GroupAddress,
    NodeAddress,
)
from routing.names import client_name, nearest
from routing.node import Client, Node
from routing.state import Phase
from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, address, eventually, local, network

__all__: list[str] = []

ELEMENT = bytes(range(32))
OURS = Authority(AuthorityKind.ELEMENT_GROUP, ELEMENT)


def group_of(nodes: list[Node], element: bytes) -> list[Node]:
    by_name = {bytes(address(node).name): node for node in nodes}
    return [by_name[name] for name in nearest(element, by_name, 8)]


def listen(*doors: Node | Client) -> list[list[Message]]:
    heard: list[list[Message]] = []
    for door in doors:
        messages: list[Message] = []
        heard.append(messages)
        door.on_messages(messages.extend)
    return heard


async def say(
    members: list[Node],
    dst: NodeAddress | ClientAddress | GroupAddress,
    payload: bytes,
    authority: Authority = OURS,
    *,
    chosen: bytes | None = None,
) -> None:
    for member in members:
        await member.send(dst, payload, authority=authority, id=chosen)


def test_nine_nodes_speak_as_a_group_to_a_node_a_client_and_a_group(run: Run) -> None:
    async def body() -> None:
        async with network(9) as nodes:
            contacts = [node.endpoints[0] for node in nodes[:3]]
            async with Client(local(contacts=contacts)) as client:
                await client.wait_for(Phase.CONNECTED, timeout=PATIENCE_S)
                members = group_of(nodes, ELEMENT)
                (outsider,) = (node for node in nodes if node not in members)
                heard, told, *copies = listen(outsider, client, *members)
                await say(members, address(outsider), b"to a node")
                await eventually(lambda: heard)
                (message,) = heard
                assert message.payload == b"to a node" and message.proof is Proof.QUORUM
                assert message.source == GroupAddress(ELEMENT) and message.authority == OURS

                element = client_name(client.key)
                managing = Authority(AuthorityKind.CLIENT_GROUP, element)
                assert client.proxy is not None
                there = ClientAddress(client.proxy, client.key)
                await say(group_of(nodes, element), there, b"to a client", managing)
                await eventually(lambda: told)
                assert [(m.payload, m.proof) for m in told] == [(b"to a client", Proof.QUORUM)]

                await say(members, GroupAddress(ELEMENT), b"to all of us")
                await eventually(lambda: all(copies))
                assert [[m.payload for m in each] for each in copies] == [[b"to all of us"]] * 8

    run(body())


def test_four_votes_are_no_message_and_the_fifth_makes_it_one(run: Run) -> None:
    async def body() -> None:
        async with network(9) as nodes:
            members = group_of(nodes, ELEMENT)
            (outsider,) = (node for node in nodes if node not in members)
            (heard,) = listen(outsider)
            await say(members[:4], address(outsider), b"we", chosen=bytes(16))
            await eventually(lambda: outsider.stats().get("consumed.ballot", 0) >= 4)
            assert heard == []
            await say(members[4:5], address(outsider), b"we", chosen=bytes(16))
            await eventually(lambda: heard)
            await say(members[5:], address(outsider), b"we", chosen=bytes(16))
            await eventually(lambda: outsider.stats().get("ballot.late", 0) >= 3)
            assert len(heard) == 1

    run(body())


def test_who_is_not_in_the_group_is_told_so(run: Run) -> None:
    async def body() -> None:
        async with network(9) as nodes:
            members = group_of(nodes, ELEMENT)
            (outsider,) = (node for node in nodes if node not in members)
            with pytest.raises(UsageError, match="not in the group"):
                await outsider.send(address(nodes[0]), b"we", authority=OURS)
            other = Authority(AuthorityKind.NODE, address(members[0]).name)
            with pytest.raises(UsageError, match="not the node"):
                await outsider.send(address(nodes[0]), b"I", authority=other)
            with pytest.raises(UsageError, match="carried up to"):
                await members[0].send(address(outsider), bytes(1_047_552), authority=OURS)
            wrong = members[0].send(address(outsider), b"", id=bytes(16))
            with pytest.raises(UsageError, match="authority of a group"):
                await wrong
            with pytest.raises(UsageError, match="16 bytes"):
                await members[0].send(address(outsider), b"", authority=OURS, id=bytes(15))
            with pytest.raises(UsageError, match="a group sends messages only"):
                await members[0].request(address(outsider), b"", authority=OURS)
            with pytest.raises(UsageError, match="GroupAddress"):
                await members[0].request(address(outsider), b"", quorum=True)

    run(body())


def test_who_is_asked_is_told_under_which_authority(run: Run) -> None:
    async def body() -> None:
        async with network(3) as nodes, Client(local(contacts=nodes[0].endpoints)) as client:
            await client.wait_for(Phase.CONNECTED, timeout=PATIENCE_S)
            asked: list[Authority | None] = []

            def answer(request: Message) -> bytes:
                asked.append(request.authority)
                return request.payload

            nodes[1].on_request(answer)
            node = Authority(AuthorityKind.NODE, address(nodes[2]).name)
            mine = Authority(AuthorityKind.CLIENT, client_name(client.key))
            for door, claim in ((nodes[2], node), (client, mine), (client, None)):
                reply = await door.request(
                    address(nodes[1]), b"who?", authority=claim, timeout=PATIENCE_S
                )
                assert reply == b"who?"
            assert asked == [node, mine, None]
            with pytest.raises(UsageError, match="not the node"):
                await client.request(address(nodes[1]), b"", authority=node)

    run(body())


def answering(payload: bytes) -> Callable[[Message], bytes]:
    return lambda _: payload


def test_request_returns_what_a_quorum_replies(run: Run) -> None:
    async def body() -> None:
        async with network(9) as nodes:
            members = group_of(nodes, ELEMENT)
            asker = next(node for node in nodes if node not in members)
            for number, node in enumerate(members):
                node.on_request(answering(b"no" if number < 3 else b"yes"))
            group = GroupAddress(ELEMENT)
            assert await asker.request(group, b"?", quorum=True, timeout=PATIENCE_S) == b"yes"
            for number, node in enumerate(members):
                node.on_request(answering(bytes((number % 3,))))
            with pytest.raises(NoQuorum, match="of 8 members agree, 5 are needed"):
                await asker.request(group, b"?", quorum=True, timeout=PATIENCE_S)

            async def never(_: Message) -> bytes:
                future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                return await future

            for node in members[4:]:
                node.on_request(never)
            for node in members[:4]:
                node.on_request(answering(b"yes"))
            with pytest.raises(RequestTimedOut):
                await asker.request(group, b"?", quorum=True, timeout=0.5)

    run(body())
