"""Nodes and networks on loopback for tests: fast timers, and closed whatever happens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from routing.config import Config
from routing.limits import Limits
from routing.messages import NodeAddress
from routing.node import Node

__all__ = ["LOOPBACK", "PATIENCE_S", "address", "closed_port", "eventually", "local", "network"]

LOOPBACK = ("127.0.0.1:0",)
PATIENCE_S = 15.0
"""A test that waits longer has failed; nothing is ever measured by it."""


def local(**changes: Any) -> Config:
    """Return a configuration with fast timers."""
    return Config(**{"limits": Limits.local(), **changes})


async def eventually(holds: Callable[[], object]) -> None:
    """Return once `holds()` is true; the network is watched from outside, so it is asked."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - there is no event for what all nodes hold
            await asyncio.sleep(0.01)


@asynccontextmanager
async def network(count: int, **changes: Any) -> AsyncIterator[list[Node]]:
    """A network of nodes of which each holds all others; at most 9."""
    nodes: list[Node] = []
    try:
        for index in range(count):
            contacts = [node.endpoints[0] for node in nodes[:3]]
            config = local(listen=LOOPBACK, contacts=contacts, first=index == 0, **changes)
            nodes.append(await Node(config).__aenter__())
        await eventually(lambda: all(len(node.peers()) == count - 1 for node in nodes))
        yield nodes
    finally:
        for node in nodes:
            await node.stop(drain=0.5)


def address(node: Node) -> NodeAddress:
    """Return the address of a node that has a name."""
    assert node.name is not None
    return NodeAddress(node.name)


def closed_port() -> str:
    """Return an endpoint at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
