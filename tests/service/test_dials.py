"""Every dial is answered once, with the reason a person would give."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from routing import actions as do
from routing.channel import preamble
from routing.errors import CloseCode, DialFailure
from routing.inputs import Accepted, DialFailed, Dialled
from routing.limits import SECOND
from routing.service.ledger import Ledger
from tests.service.conftest import Run
from tests.service.puppet import TAG, Peer, Stage, eventually, hosted, identity

__all__: list[str] = []

MILLI = SECOND // 1_000
Serve = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def far_end(serve: Serve) -> AsyncIterator[str]:
    """A listener that treats each connection with `serve`; its endpoint."""
    peers: list[Peer] = []
    tasks: list[asyncio.Task[None]] = []

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await serve(peer)

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in peers:
            peer.writer.transport.abort()
            await peer.end()
        # Last: uvloop's server waits for its connections here.
        await server.wait_closed()


async def failure(stage: Stage, dial: int, endpoint: str | None = None) -> DialFailure:
    """Wait for the answer; there is exactly one, and nothing of the dial is left."""
    found = await stage.core.wait(DialFailed)
    assert found.dial == dial
    await stage.sockets(0)
    assert len(stage.core.of(DialFailed)) == 1
    assert stage.core.of(Dialled) == []
    assert stage.host.stats()["dials.in_flight"] == 0
    return found.reason


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_contact_that_refuses(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, listen=()) as stage:
            dial = stage.dial(f"127.0.0.1:{free_port()}")
            assert await failure(stage, dial) is DialFailure.CONNECTION_REFUSED

    run(body())


@pytest.mark.parametrize("endpoint", ["nonsense", "localhost:80", "127.0.0.1:0", ":1"])
def test_endpoint_that_is_none_is_blocked(run: Run, endpoint: str) -> None:
    async def body() -> None:
        async with hosted(1, listen=()) as stage:
            assert await failure(stage, stage.dial(endpoint)) is DialFailure.BLOCKED

    run(body())


def test_contact_that_never_answers(run: Run) -> None:
    async def silent(peer: Peer) -> None:
        await peer.read()

    async def body() -> None:
        async with hosted(1, listen=()) as stage, far_end(silent) as endpoint:
            dial = stage.dial(endpoint, timeout_ns=50 * MILLI)
            assert await failure(stage, dial) is DialFailure.TIMED_OUT

    run(body())


def test_contact_that_does_not_even_accept(run: Run) -> None:
    async def body() -> None:
        # A backlog of one that is full: the kernel lets further connects hang.
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for other in (first, second):
                other.setblocking(False)
                other.connect_ex(full.getsockname())
            async with hosted(1, listen=()) as stage:
                port = full.getsockname()[1]
                dial = stage.dial(f"127.0.0.1:{port}", timeout_ns=50 * MILLI)
                assert await failure(stage, dial) is DialFailure.TIMED_OUT

    run(body())


@pytest.mark.parametrize(
    ("spoken", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", DialFailure.NOT_OURS),
        (b"S", DialFailure.NOT_OURS),
        (preamble(bytes(8)), DialFailure.WRONG_NETWORK),
        (preamble(TAG, (2, 9)), DialFailure.WRONG_VERSION),
        (preamble(TAG) + b"\xff\xff", DialFailure.BAD_HANDSHAKE),
        (preamble(TAG) + b"\0\x60" + bytes(96), DialFailure.BAD_HANDSHAKE),
        (preamble(TAG) + b"\0\xc0" + bytes(range(192)), DialFailure.BAD_HANDSHAKE),
    ],
)
def test_contact_that_speaks_something_else(run: Run, spoken: bytes, expected: DialFailure) -> None:
    async def speak(peer: Peer) -> None:
        peer.write(spoken)
        await peer.read()

    async def body() -> None:
        async with hosted(1, listen=()) as stage, far_end(speak) as endpoint:
            assert await failure(stage, stage.dial(endpoint)) is expected

    run(body())


@pytest.mark.parametrize("spoken", [b"", preamble(TAG)[:7], preamble(TAG)])
def test_contact_that_hangs_up_midway(run: Run, spoken: bytes) -> None:
    async def hang_up(peer: Peer) -> None:
        peer.write(spoken)
        await peer.read()
        peer.writer.write_eof()

    async def body() -> None:
        async with hosted(1, listen=()) as stage, far_end(hang_up) as endpoint:
            assert await failure(stage, stage.dial(endpoint)) is DialFailure.CLOSED

    run(body())


def test_contact_of_another_network_is_told_apart_by_both(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, listen=()) as near, hosted(2, tag=b"another!") as far:
            dial = near.dial(far.endpoint)
            assert await failure(near, dial) is DialFailure.WRONG_NETWORK
            await far.sockets(0)
            assert far.host.counters["accept.wrong_network"] == 1
            assert far.core.of(Accepted) == []

    run(body())


def test_contact_that_is_ourselves(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            dial = stage.dial(stage.endpoint)
            assert await failure(stage, dial) is DialFailure.SELF
            assert stage.core.of(Accepted) == []

    run(body())


def test_contact_that_is_somebody_else(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, listen=()) as near, hosted(2) as far:
            dial = near.dial(far.endpoint, expect=identity(3).key)
            assert await failure(near, dial) is DialFailure.WRONG_IDENTITY
            await far.sockets(0)
            # We hung up before we had said who we are.
            assert far.core.of(Accepted) == []

    run(body())


def test_port_that_connects_to_itself_is_a_refusal(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody listens, the kernel may choose the dialled port itself to dial from."""

    async def body() -> None:
        own = socket.socket()
        own.setblocking(False)
        own.bind(("127.0.0.1", 0))
        port = own.getsockname()[1]
        # Dialling from the port that is dialled is what the kernel does by chance.
        monkeypatch.setattr("routing.service.dialler._socket_for", lambda endpoint: own)
        async with hosted(1, listen=()) as stage:
            dial = stage.dial(f"127.0.0.1:{port}")
            assert await failure(stage, dial) is DialFailure.CONNECTION_REFUSED

    run(body())


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
def test_cancelled_dial_is_answered_once_wherever_it_stood(run: Run, turns: int) -> None:
    async def body() -> None:
        async with hosted(1, listen=()) as near, hosted(2) as far:
            dial = near.dial(far.endpoint)
            for _ in range(turns):
                await asyncio.sleep(0)
            if near.core.of(Dialled):
                # Too late, and the core would not ask.
                assert near.core.of(DialFailed) == []
                return
            near.do(do.CancelDial(dial))
            near.do(do.CancelDial(dial))
            assert await failure(near, dial) is DialFailure.CANCELLED
            await far.sockets(0)

    run(body())


def test_dial_without_a_descriptor_is_refused_and_later_dials_go_on(run: Run) -> None:
    async def body() -> None:
        ledger = Ledger(1, 1 << 20)
        async with hosted(1, listen=(), ledger=ledger) as near, hosted(2) as far:
            near.dial(far.endpoint)
            token = (await near.core.wait(Dialled)).connection.token
            near.dial(far.endpoint)
            assert (await near.core.wait(DialFailed)).reason is DialFailure.NO_DESCRIPTORS
            near.do(do.Close(token, CloseCode.NORMAL, ""))
            await near.sockets(0)
            near.dial(far.endpoint)
            await near.core.wait(Dialled, 2)
        assert ledger.descriptors_used == 0

    run(body())


def test_many_dials_at_once_are_each_answered_once(run: Run) -> None:
    async def body() -> None:
        port = free_port()
        async with hosted(1, listen=()) as near, hosted(2) as far:
            good = {near.dial(far.endpoint) for _ in range(30)}
            bad = {near.dial(f"127.0.0.1:{port}") for _ in range(30)}
            await near.core.wait(Dialled, 30)
            await near.core.wait(DialFailed, 30)
            assert {fact.dial for fact in near.core.of(Dialled)} == good
            assert {fact.dial for fact in near.core.of(DialFailed)} == bad
            await eventually(lambda: len(far.core.of(Accepted)) == 30)

    run(body())
