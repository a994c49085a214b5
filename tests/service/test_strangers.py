"""What a stranger gets from a real core on a real socket; the node goes on all the same."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from routing.core import Core, CoreConfig
from routing.errors import CloseCode
from routing.identity import IdentitySigner
from routing.limits import SECOND, Limits
from routing.messages import (
    NO_ATTEMPT,
    Ack,
    Admit,
    FrameKind,
    Hello,
    HelloRole,
    SignedKind,
    decode,
    encode,
    hello_body,
    signed_text,
)
from routing.service import Host, HostConfig
from routing.service.ledger import Ledger
from tests.service.conftest import Run
from tests.service.puppet import TAG, Peer, eventually, identity

__all__: list[str] = []

NODE = identity(1)
STRANGER = 9
"""The number of the identity that a `Peer` has unless told otherwise."""


@asynccontextmanager
async def founder(bounds: Limits | None = None) -> AsyncIterator[tuple[Host, Core]]:
    """A node that is a network by itself, so that it admits whoever comes in good order."""
    limits = bounds or Limits.recommended()
    core = Core(
        CoreConfig(
            signer=IdentitySigner(NODE), secret=bytes(32), tag=TAG, limits=limits, first=True
        )
    )
    host = Host(
        core,
        HostConfig(listen=("127.0.0.1:0",), tag=TAG, identity=NODE, limits=limits),
        on_event=lambda event: None,
        on_message=lambda message: None,
        on_answered=lambda answer: None,
        on_failed=lambda reference, reason: None,
        ledger=Ledger(1_000, 1 << 29),
    )
    try:
        await host.start()
        yield host, core
        core.check()
        # It still admits those who behave.
        friend = await Peer.joined(host.endpoints[0], 77)
        friend.send(FrameKind.HELLO, hello(friend, number=77))
        assert isinstance(await admitted(friend), Admit)
        await friend.end()
        await eventually(lambda: host.stats()["connections.sockets"] == 0)
    finally:
        await host.stop(1.0)
    assert host.ledger.descriptors_used == 0


def hello(
    peer: Peer,
    *,
    number: int = STRANGER,
    role: HelloRole = HelloRole.FEEL,
    attempt: bytes = NO_ATTEMPT,
    signer: int | None = None,
    binding: bytes | None = None,
) -> bytes:
    """Return a Hello for this peer's channel, with one thing or another not as it should be."""
    own = identity(number)
    body = hello_body(
        role,
        attempt,
        ours=own.key,
        theirs=NODE.key,
        incarnation=bytes(8),
        binding=peer.channel.binding if binding is None else binding,
    )
    signing = own if signer is None else identity(signer)
    signature = signing.sign(signed_text(SignedKind.HELLO, TAG, body))
    return encode(Hello(role, attempt, bytes(8), own.key, [], b"", signature))


async def admitted(peer: Peer) -> Admit | None:
    """Wait for an Admit."""
    while frames := await peer.frames():
        for kind, body in frames:
            if kind == FrameKind.ADMIT:
                return decode(Admit, body)
    return None


async def refused(host: Host, peer: Peer, code: CloseCode) -> None:
    """It gets the reason, and its socket is closed."""
    assert (await peer.close_frame()).code == code
    await peer.end()
    await eventually(lambda: host.stats()["connections.sockets"] == 0)
    assert host.stats()["connections.waiting"] == 0


BAD: list[tuple[str, Callable[[Peer], bytes]]] = [
    ("signed by another key", lambda peer: hello(peer, signer=3)),
    ("in another's name", lambda peer: hello(peer, number=3)),
    ("for another connection", lambda peer: hello(peer, binding=bytes(32))),
    (
        "for no attempt of ours, primary",
        lambda peer: hello(peer, role=HelloRole.PRIMARY, attempt=b"x" * 16),
    ),
    (
        "for no attempt of ours, secondary",
        lambda peer: hello(peer, role=HelloRole.SECONDARY, attempt=b"x" * 16),
    ),
    ("cut", lambda peer: hello(peer)[:-1]),
    ("nonsense", lambda _: random.Random(3).randbytes(300)),
    ("empty", lambda _: b""),
    ("of an unknown role", lambda peer: bytes([hello(peer)[0], 99]) + hello(peer)[2:]),
]


@pytest.mark.parametrize("make", [make for _, make in BAD], ids=[name for name, _ in BAD])
def test_hello_that_is_not_in_order_closes(run: Run, make: Callable[[Peer], bytes]) -> None:
    async def body() -> None:
        async with founder() as (host, core):
            peer = await Peer.joined(host.endpoints[0])
            peer.send(FrameKind.HELLO, make(peer))
            await refused(host, peer, CloseCode.BAD_HELLO)
            assert sum(core.counters.values()) > 0

    run(body())


def test_hello_replayed_on_another_connection_closes(run: Run) -> None:
    async def body() -> None:
        async with founder() as (host, core):
            first = await Peer.joined(host.endpoints[0])
            recorded = hello(first)
            first.send(FrameKind.HELLO, recorded)
            assert await admitted(first) is not None
            await first.end()
            await eventually(lambda: host.stats()["connections.sockets"] == 0)
            second = await Peer.joined(host.endpoints[0])
            second.send(FrameKind.HELLO, recorded)
            await refused(host, second, CloseCode.BAD_HELLO)
            assert core.counters["hello.bad_signature"] == 1

    run(body())


def test_hello_twice_closes(run: Run) -> None:
    async def body() -> None:
        async with founder() as (host, _):
            peer = await Peer.joined(host.endpoints[0])
            peer.send(FrameKind.HELLO, hello(peer))
            assert await admitted(peer) is not None
            peer.send(FrameKind.HELLO, hello(peer))
            await refused(host, peer, CloseCode.BAD_HELLO)

    run(body())


@pytest.mark.parametrize(
    "kind", [kind for kind in FrameKind if kind not in (FrameKind.HELLO, FrameKind.HEARTBEAT)]
)
def test_anything_before_the_hello_closes(run: Run, kind: FrameKind) -> None:
    async def body() -> None:
        async with founder() as (host, _):
            peer = await Peer.joined(host.endpoints[0])
            peer.send(kind, encode(Ack(bytes(16))))
            expected = CloseCode.BAD_FRAME if kind is FrameKind.CLOSE else CloseCode.BAD_HELLO
            await refused(host, peer, expected)

    run(body())


def test_stranger_without_a_hello_is_closed_at_the_deadline(run: Run) -> None:
    async def body() -> None:
        bounds = Limits.recommended().but(hello_deadline_ns=SECOND // 5)
        async with founder(bounds) as (host, _):
            peer = await Peer.joined(host.endpoints[0])
            # Heartbeats are a sign of life, but no Hello.
            peer.send(FrameKind.HEARTBEAT)
            assert (await peer.close_frame()).code in (CloseCode.BAD_HELLO, CloseCode.EXPIRED)
            await peer.end()
            await eventually(lambda: host.stats()["connections.sockets"] == 0)

    run(body())


def test_no_bytes_at_random_records_harm_a_core(run: Run) -> None:
    async def body() -> None:
        async with founder() as (host, core):
            dice = random.Random(5)
            for _ in range(30):
                peer = await Peer.joined(host.endpoints[0])
                if dice.random() < 0.5:
                    peer.send(FrameKind.HELLO, hello(peer))
                    assert await admitted(peer) is not None
                kind = dice.choice(list(FrameKind))
                peer.send(kind, dice.randbytes(dice.choice([0, 1, 16, 300, 4_000])))
                peer.send(FrameKind.CLOSE, b"")
                await peer.until_closed()
                await peer.end()
                core.check()
            await eventually(lambda: host.stats()["connections.sockets"] == 0)

    run(body())
