"""A bad contact costs a node nothing but a counter: it joins by the good one all the same."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from routing.node import Node
from routing.state import Phase
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
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listener(serve: Serve) -> AsyncIterator[str]:
    """A listener that is no node; its endpoint. Its connections end with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            # The node hung up, or the test is over: both are how it ends.
            return
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(treat, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(random.Random(1).randbytes(100_000))
    await writer.drain()
    await reader.read()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@asynccontextmanager
async def other_network() -> AsyncIterator[str]:
    async with Node(local(listen=LOOPBACK, first=True, network="another")) as node:
        yield node.endpoints[0]


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    yield closed_port()


BAD = {
    "silent": lambda: listener(silent),
    "garbage": lambda: listener(garbage),
    "hangs up": lambda: listener(hangs_up),
    "another network": other_network,
    "refuses": refusing,
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_contact_does_not_keep_a_node_from_joining(run: Run, kind: str) -> None:
    async def body() -> None:
        async with network(2) as nodes, BAD[kind]() as bad:
            config = local(listen=LOOPBACK, contacts=[bad, nodes[0].endpoints[0]])
            async with Node(config) as node:
                await node.wait_for(Phase.CONNECTED, timeout=PATIENCE_S)
                await eventually(lambda: len(node.peers()) == 2)

    run(body())


@pytest.mark.parametrize(
    ("kind", "counter"),
    [
        ("garbage", "not_ours"),
        ("hangs up", "closed"),
        ("another network", "wrong_network"),
        ("refuses", "connection_refused"),
        ("silent", "timed_out"),
    ],
)
def test_bad_contact_is_counted_by_its_kind(run: Run, kind: str, counter: str) -> None:
    async def body() -> None:
        async with BAD[kind]() as bad, Node(local(listen=LOOPBACK, contacts=[bad])) as node:
            await eventually(lambda: f"dial.failed.{counter}" in node.stats())
            assert node.state.phase < Phase.CONNECTED

    run(body())


def test_contact_that_is_ourselves_by_another_address_is_dropped(run: Run) -> None:
    async def body() -> None:
        async with Node(local(listen=["0.0.0.0:0"], contacts=[closed_port()])) as node:
            port = node.endpoints[0].rpartition(":")[2]
            node.add_contacts([f"127.0.0.2:{port}"])
            await eventually(lambda: node.stats().get("dial.failed.self"))
            assert f"127.0.0.2:{port}" not in node.contacts()

    run(body())


OWN_AND_DEAD = """
import asyncio
from routing.events import BootstrapFinished
from routing.node import Node
from routing.runner import run
from tests.service.nodes import closed_port, local

async def main():
    own, dead = closed_port(), closed_port()
    async with Node(local(listen=[own], contacts=[own, dead])) as node:
        async with asyncio.timeout(15):
            async for event in node.events():
                if isinstance(event, BootstrapFinished) and event.round == 3:
                    return

run(main())
"""


def test_node_that_is_its_own_contact_looks_on_among_the_others() -> None:
    """In a process of its own: a node that spins would hold up everything else here."""
    command = [sys.executable, "-c", OWN_AND_DEAD]
    done = subprocess.run(command, cwd=ROOT, timeout=20, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_stranger_who_sends_a_megabyte_of_noise_is_cut_off(run: Run) -> None:
    async def body() -> None:
        async with network(2) as nodes:
            host, _, port = nodes[0].endpoints[0].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(random.Random(2).randbytes(1_000_000))
                async with asyncio.timeout(PATIENCE_S):
                    await asyncio.gather(reader.read(), return_exceptions=True)
            finally:
                writer.close()
            await eventually(lambda: nodes[0].stats().get("accept.not_ours"))
            nodes[1].on_request(lambda request: b"still here")
            assert await nodes[0].request(address(nodes[1]), b"") == b"still here"

    run(body())
