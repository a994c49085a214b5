"""Signed requests from node to node over three hops on loopback, and what of that is Ed25519.

A network of 40 nodes in one process and one thread: source, relays and destination share a core, so
the rate is that of all of them together. It is told by the CPU time of the process, so that others
on the machine do not count. `ratio` compares it with what the sign and verify rates of
the same run allow for the two signatures that a request and its reply cannot do without; `needed`
is what was really signed and verified, acknowledgements included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from routing.config import Config
from routing.core import Core
from routing.identity import IdentitySigner, verify
from routing.limits import Limits
from routing.messages import NodeAddress
from routing.node import Node
from routing.state import Detail

__all__: list[str] = []

NODES = 40
HOPS = 3
AT_ONCE = 32
REQUESTS = 600
PAYLOAD = bytes(64)


class Counted:
    """Time spent in a function and how often it was called."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0


SIGNED, VERIFIED = Counted(), Counted()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have every signature of the process counted and timed."""

    def sign(signer: IdentitySigner, message: bytes) -> bytes:
        began = time.process_time()
        signature = signer._identity.sign(message)
        SIGNED.seconds += time.process_time() - began
        SIGNED.calls += 1
        return signature

    def check(signer: IdentitySigner, key: bytes, message: bytes, signature: bytes) -> bool:
        began = time.process_time()
        right = verify(key, message, signature)
        VERIFIED.seconds += time.process_time() - began
        VERIFIED.calls += 1
        return right

    monkeypatch.setattr(IdentitySigner, "sign", sign)
    monkeypatch.setattr(IdentitySigner, "verify", check)
    yield
    for each in (SIGNED, VERIFIED):
        each.seconds, each.calls = 0.0, 0


def core_of(node: Node) -> Core:
    return node._running()


def hops(nodes: dict[bytes, Node], name: bytes, target: bytes) -> int:
    """Return over how many connections a message goes on from a node."""
    count = 0
    while name != target:
        onward = core_of(nodes[name]).table.next_hop(target)
        assert onward is not None, "a whole network routes to everybody"
        name, count = onward, count + 1
    return count


def detour(nodes: dict[bytes, Node], source: bytes, target: bytes) -> bytes | None:
    """Return a first hop by which a message takes three; a network of 40 mostly needs two."""
    for name in core_of(nodes[source]).table.names():
        if name != target and hops(nodes, name, target) == HOPS - 1:
            return name
    return None


def lead(node: Node, first_hop: bytes) -> None:
    """Have all messages of a node take this first hop."""
    core_of(node).hops.ways = lambda target: [first_hop]  # type: ignore[method-assign]


def passed(nodes: dict[bytes, Node]) -> int:
    return sum(node.stats().get("routed.forwarded", 0) for node in nodes.values())


async def formed() -> dict[bytes, Node]:
    """Return a network at rest, by name."""
    nodes: list[Node] = []
    for index in range(NODES):
        contacts = [node.endpoints[0] for node in nodes[:3]]
        config = Config(
            listen=["127.0.0.1:0"],
            contacts=contacts,
            first=index == 0,
            limits=Limits.local(),
            busy_poll_us=0,
        )
        nodes.append(await Node(config).__aenter__())
    # The founder is connected when the second node is; whole is what `hops` asks for.
    await asyncio.gather(*(node.wait_for(Detail.GROUP_CONNECTED) for node in nodes))
    await asyncio.sleep(3)
    return {bytes(node.name or b""): node for node in nodes}


async def measured(rates: dict[str, float]) -> None:
    nodes = await formed()
    try:
        own, name, there, back = next(
            (one, other, there, back)
            for one in nodes
            for other in nodes
            if one != other and other not in core_of(nodes[one]).table
            for there, back in [(detour(nodes, one, other), detour(nodes, other, one))]
            if there is not None and back is not None
        )
        source, to = nodes[own], NodeAddress(name)
        lead(source, there)
        lead(nodes[name], back)
        nodes[name].on_request(lambda message: message.payload)
        for _ in range(AT_ONCE):
            await source.request(to, PAYLOAD, signed=True)
        left = REQUESTS
        for each in (SIGNED, VERIFIED):
            each.seconds, each.calls = 0.0, 0

        async def ask() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await source.request(to, PAYLOAD, signed=True, timeout=30)

        before = passed(nodes)
        began = time.process_time()
        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        took = time.process_time() - began
        rates["requests_per_cpu_s"] = REQUESTS / took
        rates["forwards_per_request"] = (passed(nodes) - before) / REQUESTS
        rates["sign_per_s"] = SIGNED.calls / SIGNED.seconds
        rates["verify_per_s"] = VERIFIED.calls / VERIFIED.seconds
        rates["signs_per_request"] = SIGNED.calls / REQUESTS
        rates["verifies_per_request"] = VERIFIED.calls / REQUESTS
        rates["ed25519_share"] = (SIGNED.seconds + VERIFIED.seconds) / took
        needed = 2 / rates["sign_per_s"] + 2 / rates["verify_per_s"]
        rates["ratio"] = rates["requests_per_cpu_s"] * needed
    finally:
        for node in nodes.values():
            await node.stop(drain=0.0)


@pytest.mark.benchmark(group="requests/signed/3-hops")
@pytest.mark.usefixtures("counted")
def test_signed_requests_over_three_hops(benchmark: BenchmarkFixture) -> None:
    rates: dict[str, float] = {}
    benchmark.pedantic(lambda: uvloop.run(measured(rates)), rounds=1)
    benchmark.extra_info.update(rates)
    print({name: round(value, 3) for name, value in rates.items()})
    assert rates["requests_per_cpu_s"] > 0
