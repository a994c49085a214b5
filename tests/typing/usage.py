"""Exists to be type-checked: what users write must be typed as they would expect. Never run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

import routing

__all__: list[str] = []


async def later(request: routing.Message) -> bytes:
    return request.payload


async def take(messages: list[routing.Message]) -> None:
    for message in messages:
        assert_type(message.proof, routing.Proof)


async def discover() -> list[str]:
    return ["127.0.0.1:5483"]


async def use_node(name: routing.Name) -> bytes:
    config = routing.Config(
        listen=["127.0.0.1:0"],
        contacts=("127.0.0.1:5483",),
        identity=Path("identity"),
        book="book",
        discover=discover,
        limits=routing.Limits.local().but(inbox_bytes=1_048_576),
    )
    async with routing.Node(config) as node:
        assert_type(node, routing.Node)
        node.on_messages(take)
        node.on_messages(lambda messages: None)
        node.on_request(later)
        node.on_request(lambda request: request.payload)
        await node.joined()
        await node.wait_for(routing.Phase.CONNECTED, timeout=5)
        await node.wait_for(routing.Detail.GROUP_CONNECTED)
        assert_type(node.name, routing.Name | None)
        assert_type(node.state, routing.State)
        assert_type(node.state.phase, routing.Phase)
        assert_type(node.endpoints, list[str])
        assert_type(node.peers(), list[routing.Peer])
        assert_type(node.peers()[0].direction, routing.Direction)
        assert_type(node.group_of(name), list[routing.Name])
        assert_type(node.is_member(name), bool)
        assert_type(node.stats(), dict[str, int])
        assert_type(node.explain(name), list[str])
        await node.send(routing.NodeAddress(name), b"payload", wait=True)
        await node.send_many(routing.GroupAddress(name), [b"one", b"two"])
        await node.send_many(routing.NodeAddress(name), [b"one"], signed=True)
        ours = routing.Authority(routing.AuthorityKind.ELEMENT_GROUP, name)
        await node.send(routing.NodeAddress(name), b"we", authority=ours, id=bytes(16))
        agreed: bytes = await node.request(routing.GroupAddress(name), b"ping", quorum=True)
        print(agreed)
        reply = await node.request(routing.GroupAddress(name), b"ping", timeout=5)
        assert_type(reply, bytes)
        async for event in node.events():
            match event:
                case routing.Churn(close_group, cause, joined, left) as churn:
                    assert_type(joined, tuple[bytes, ...])
                    assert_type(left, tuple[bytes, ...])
                    assert_type(churn.concerns(name), tuple[bytes, ...])
                    assert_type(close_group, tuple[bytes, ...])
                    assert_type(cause, str)
                case routing.EventsLost(count):
                    assert_type(count, int)
                case _:
                    assert_type(routing.Terminated(), routing.Terminated)
        await node.stop(drain=1.0)
        return reply


async def use_client(contacts: Sequence[str]) -> None:
    async with routing.Client(routing.Config(contacts=contacts)) as client:
        assert_type(client.proxy, routing.Name | None)


def run_it() -> None:
    assert_type(routing.run(use_node(routing.Name(bytes(32)))), bytes)


def use_filter(connection: routing.Connection, what: routing.ExpectedConnection) -> None:
    expected: routing.TimedFilter[routing.Connection, routing.ExpectedConnection]
    expected = routing.TimedFilter(30.0, capacity=4_096)
    expected.insert(connection, what, now=0.0)
    assert_type(expected.get(connection), routing.ExpectedConnection | None)


def wrong_uses_are_errors(node: routing.Node, name: bytes) -> None:
    node.send(name, b"payload")  # type: ignore[arg-type, unused-coroutine]
    node.request(routing.NodeAddress(name), "text")  # type: ignore[arg-type, unused-coroutine]
    node.on_request(lambda request: None)  # type: ignore[arg-type, return-value]
    routing.Config(["127.0.0.1:0"])  # type: ignore[call-arg]
