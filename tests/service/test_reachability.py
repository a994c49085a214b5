"""Nodes that nobody can dial, on real sockets: stopped in one line, or clients from then on."""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from routing.errors import NotConnected, StartError, UnreachableError
from routing.events import NotReachable, Terminated
from routing.limits import Limits
from routing.messages import ClientAddress
from routing.node import Node
from routing.state import Detail, Phase
from tests.service.conftest import Run
from tests.service.nodes import (
    LOOPBACK,
    PATIENCE_S,
    address,
    closed_port,
    eventually,
    local,
    network,
)

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]

CHECKED = Limits.local().but(exempt_networks=(), dials_per_address_per_minute=1_000)
"""Loopback is checked as any other network; all of it is one machine, so it may be dialled more."""


@asynccontextmanager
async def hidden(nodes: list[Node], **changes: Any) -> AsyncIterator[Node]:
    """A node that joins these and advertises an endpoint at which nobody listens."""
    contacts = [node.endpoints[0] for node in nodes]
    where = closed_port()
    config = local(listen=LOOPBACK, advertise=[where], contacts=contacts, limits=CHECKED, **changes)
    async with Node(config) as node:
        yield node


def test_nodes_that_can_be_dialled_are_told_so_and_join(run: Run) -> None:
    async def body() -> None:
        async with network(3, limits=CHECKED) as nodes:
            checks = sum(node.stats().get("reachability.checked", 0) for node in nodes)
            assert checks >= 2
            assert all(node.state.phase is Phase.CONNECTED for node in nodes)
            assert not any(peer.one_way for node in nodes for peer in node.peers())

    run(body())


def test_node_that_nobody_can_dial_is_told_in_one_line(run: Run) -> None:
    async def body() -> None:
        async with network(2, limits=CHECKED) as nodes:
            async with hidden(nodes) as node:
                events = node.events()
                with pytest.raises(UnreachableError) as caught:
                    await asyncio.wait_for(node.joined(), PATIENCE_S)
                (advertised,) = node.config.advertise or ()
                line = str(caught.value)
                assert advertised in line and "advertise" in line and "\n" not in line
                assert isinstance(caught.value, StartError | NotConnected)
                assert node.state.phase is Phase.TERMINATED
                told = [event async for event in events]
                assert NotReachable((advertised,)) in told
                assert isinstance(told[-1], Terminated)
                with pytest.raises(UnreachableError, match="nobody can dial"):
                    await node.wait_for(Detail.CONNECTED)
                with pytest.raises(UnreachableError, match="nobody can dial"):
                    await node.send(address(nodes[0]), b"text")
            await eventually(lambda: all(len(each.peers()) == 1 for each in nodes))

    run(body())


async def see_it_out(nodes: list[Node]) -> None:
    async with hidden(nodes) as node:
        assert [event async for event in node.events()] != []


def test_node_that_stopped_so_says_it_when_the_block_ends_if_nobody_heard_it(run: Run) -> None:
    async def body() -> None:
        async with network(2, limits=CHECKED) as nodes:
            with pytest.raises(UnreachableError, match="nobody can dial"):
                await see_it_out(nodes)

    run(body())


def test_node_that_nobody_can_dial_goes_on_as_a_client(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with network(2, limits=CHECKED) as nodes, hidden(nodes, unreachable="client") as node:
            key = node.key
            async with asyncio.timeout(PATIENCE_S):
                await node.joined()
            assert node.state.client and node.key == key
            assert node.endpoints == [], "it listens no more"
            assert node.name == node._running().client_name
            assert node.proxy is not None and node.proxy in [each.name for each in nodes]
            assert node.group_of(address(nodes[0]).name) == []
            assert not node.is_member(address(nodes[0]).name)
            nodes[0].on_request(lambda request: request.payload[::-1])
            node.on_request(lambda request: request.payload.upper())
            assert await node.request(address(nodes[0]), b"there") == b"ereht"
            back = ClientAddress(node.proxy, node.key)
            assert await nodes[1].request(back, b"and back") == b"AND BACK"
            assert node.stats()["reachability.believed"] == 1
        assert [record.levelno for record in caplog.records if "dial us" in record.message] == [
            logging.WARNING
        ]

    with caplog.at_level(logging.WARNING, logger="routing"):
        run(body())


def test_relaxed_nodes_are_connected_one_way_with_one_that_nobody_can_dial(run: Run) -> None:
    async def body() -> None:
        limits = CHECKED.but(dial_timeout_ns=1_000_000_000, dial_timeout_private_ns=1_000_000_000)
        async with network(2, limits=limits, relaxed=True) as nodes:
            contacts = [node.endpoints[0] for node in nodes]
            config = local(
                listen=LOOPBACK,
                advertise=[closed_port()],
                contacts=contacts,
                limits=limits,
                relaxed=True,
            )
            async with Node(config) as node:
                events = node.events()
                async with asyncio.timeout(PATIENCE_S):
                    await anext(each async for each in events if isinstance(each, NotReachable))
                    await node.joined()
                await eventually(lambda: len(node.peers()) == 2)
                assert all(peer.one_way for peer in node.peers()) and not node.state.client
                nodes[0].on_request(lambda request: request.payload[::-1])
                assert await node.request(address(nodes[0]), b"there") == b"ereht"

    run(body())


def test_command_line_exits_with_one_line_and_code_2(run: Run) -> None:
    async def body() -> None:
        async with network(2, limits=CHECKED) as nodes:
            arguments = ["-m", "routing", "node", "--listen", LOOPBACK[0]]
            arguments += ["--advertise", closed_port()]
            for node in nodes:
                arguments += ["--contact", node.endpoints[0]]
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, cwd=ROOT, stdout=PIPE, stderr=PIPE
            )
            async with asyncio.timeout(PATIENCE_S):
                printed, refused = await process.communicate()
            assert process.returncode == 2
            (line,) = refused.decode().splitlines()
            assert "nobody can dial this node at 127.0.0.1:" in line
            assert b"Traceback" not in printed

    run(body())
