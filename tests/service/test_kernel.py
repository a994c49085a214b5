"""The kernel holds little of a near connection, finds its own for a far one, and may refuse."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from unittest import mock

import pytest

from routing import actions as do
from routing._frames import GATHER_BYTES_MAX
from routing.errors import CloseCode
from routing.inputs import Accepted, FrameReceived
from routing.messages import FrameKind
from routing.service import kernel
from routing.service.connection import Line
from routing.service.kernel import NEAR_BYTES, UNSENT_BYTES, fit_buffers, round_trip_us
from tests.service.conftest import Run
from tests.service.puppet import Peer, hosted

__all__: list[str] = []

linux = pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="Linux has these")


@pytest.fixture
def connected() -> Iterator[socket.socket]:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        closing(socket.create_connection(server.getsockname())) as ours,
    ):
        yield ours


def received_at_most(held: socket.socket) -> int:
    return held.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


@linux
def test_kernel_says_how_long_the_way_is(connected: socket.socket) -> None:
    took = round_trip_us(connected)
    assert took is not None and 0 < took < 10_000_000, "microseconds of a loopback"


@linux
@pytest.mark.parametrize(("took", "near"), [(1, True), (499, True), (500, False), (None, False)])
def test_only_what_is_near_gets_a_small_buffer(
    connected: socket.socket, took: int | None, near: bool
) -> None:
    before = received_at_most(connected)
    assert before != 2 * NEAR_BYTES, "what is tested must not be so anyway"
    with mock.patch.object(kernel, "round_trip_us", return_value=took):
        fit_buffers(connected)
    # Linux doubles what it is asked for.
    assert received_at_most(connected) == (2 * NEAR_BYTES if near else before)
    unsent = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
    assert unsent == UNSENT_BYTES


def test_sockets_that_are_closed_or_of_another_kind_are_left_alone(
    connected: socket.socket,
) -> None:
    one, other = socket.socketpair()
    with closing(one), closing(other):
        before = received_at_most(one)
        fit_buffers(one)
        assert received_at_most(one) == before
    connected.close()
    fit_buffers(connected)


@linux
def test_flood_of_one_peer_leaves_every_turn_to_the_others(run: Run) -> None:
    """Megabytes wait in the kernel, and the loop goes round after every few reads all the same."""

    async def body() -> None:
        with mock.patch("routing.service.takeover.fit_buffers"):
            async with hosted(1) as stage:
                peer = await Peer.joined(stage.endpoint)
                accepted = await stage.core.wait(Accepted)
                stage.do(do.Trust(accepted.connection.token))
                stage.host.pause_reading()
                sent = 60
                for _ in range(sent):
                    peer.send(FrameKind.DIRECT, bytes(65_000))
                await asyncio.sleep(0)
                stage.host.resume_reading()
                reads, before = list[int](), stage.host.stats()["bytes.read"]
                while len(stage.core.of(FrameReceived)) < sent:
                    await asyncio.sleep(0)
                    now = stage.host.stats()["bytes.read"]
                    reads.append(now - before)
                    before = now
                assert sum(reads) > sent * 65_000
                # What a turn began with, and as much again before it noticed.
                assert max(reads) <= 4 * GATHER_BYTES_MAX
                peer.send(FrameKind.PING, bytes(9))
                await stage.core.wait(FrameReceived, sent + 1)
                await peer.end()

    run(body())


def test_reading_that_gave_way_stays_stopped_for_who_wants_it_stopped(run: Run) -> None:
    """Giving way ends with reading on; an application that is behind is not overrun by it."""

    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            accepted = await stage.core.wait(Accepted)
            stage.do(do.Trust(accepted.connection.token))
            sent, held = 60, 0
            for _ in range(sent):
                peer.send(FrameKind.DIRECT, bytes(65_000))
            for round_ in range(5):
                await stage.core.wait(FrameReceived, 10 * round_ + 5)
                stage.host.pause_reading()
                held = len(stage.core.of(FrameReceived))
                for _ in range(50):
                    await asyncio.sleep(0)
                # What was read already is still taken in, and nothing after that.
                assert len(stage.core.of(FrameReceived)) <= held + 2
                stage.host.resume_reading()
            await stage.core.wait(FrameReceived, sent)
            await peer.end()

    run(body())


def test_corridor_goes_on_while_the_kernel_takes_nothing_and_stops_at_the_goodbye(run: Run) -> None:
    """What waits is bounded by the corridor; the kernel is full most of the time by now."""

    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            accepted = await stage.core.wait(Accepted)
            token = accepted.connection.token
            line = stage.host.tokens.get(token)
            assert isinstance(line, Line)
            way = line.way_in()
            line.pause_writing()
            assert [way.blocked] == [False]
            line.resume_writing()
            stage.do(do.Close(token, CloseCode.NORMAL, ""))
            assert way.blocked
            await peer.until_closed()
            await peer.end()

    run(body())
