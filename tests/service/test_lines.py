"""Open connections: what is sent arrives, in order, in few writes; how they end, at both ends."""

from __future__ import annotations

import socket

import pytest

from routing import actions as do
from routing.errors import CloseCode
from routing.inputs import Accepted, Dialled, FrameReceived, Lost
from routing.limits import SECOND
from routing.messages import Close, FrameKind, encode
from routing.state import Direction, Token
from tests.service.conftest import Run
from tests.service.puppet import (
    PATIENCE_S,
    Peer,
    Stage,
    eventually,
    frame,
    hosted,
    identity,
    limits,
    pair,
    record_of,
)

__all__: list[str] = []

MILLI = SECOND // 1_000


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_dial_becomes_one_channel_with_two_ends(run: Run, address: str) -> None:
    async def body() -> None:
        async with hosted(1, listen=()) as near, hosted(2, listen=(address,)) as far:
            dial = near.dial(far.endpoint, expect=identity(2).key)
            dialled = await near.core.wait(Dialled)
            accepted = await far.core.wait(Accepted)
            assert dialled.dial == dial
            assert (dialled.key, accepted.key) == (identity(2).key, identity(1).key)
            assert dialled.binding == accepted.binding
            assert dialled.connection.direction is Direction.OUTBOUND
            assert accepted.connection.direction is Direction.INBOUND
            assert dialled.connection.peer == accepted.connection.local == far.endpoint
            assert dialled.connection.local == accepted.connection.peer
            assert 0 <= accepted.accepted_at <= far.host.now()

    run(body())


def test_what_is_written_goes_out_at_once_at_both_ends(run: Run) -> None:
    """The kernel does not wait for an acknowledgement before it sends the next small record."""

    async def body() -> None:
        async with pair() as (near, here, far, there):
            for stage, token in ((near, here), (far, there)):
                line = stage.host.tokens.get(Token(token))
                assert line is not None
                taken = line._transport.get_extra_info("socket")
                assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

    run(body())


def test_several_listening_addresses_serve_side_by_side(run: Run) -> None:
    async def body() -> None:
        async with (
            hosted(1) as near,
            hosted(2, listen=("127.0.0.1:0", "127.0.0.2:0", "[::1]:0")) as far,
        ):
            assert len(set(far.host.endpoints)) == 3
            for endpoint in far.host.endpoints:
                near.dial(endpoint)
            await far.core.wait(Accepted, 3)
            await near.core.wait(Dialled, 3)

    run(body())


def test_frames_arrive_in_order_both_ways(run: Run) -> None:
    async def body() -> None:
        async with pair() as (near, here, far, there):
            sizes = [0, 1, 100, 70_000, 1_048_576, 5]
            for size in sizes:
                near.do(do.Send(Token(here), FrameKind.DIRECT, bytes(size), 1))
                far.do(do.Send(Token(there), FrameKind.ROUTED, bytes(size), 1))
                await far.core.wait(FrameReceived, sizes.index(size) + 1)
            await near.core.wait(FrameReceived, len(sizes))
            for stage, token, kind in (
                (near, here, FrameKind.ROUTED),
                (far, there, FrameKind.DIRECT),
            ):
                found = stage.core.of(FrameReceived)
                assert [(one.token, one.kind, len(one.body)) for one in found] == [
                    (token, kind, size) for size in sizes
                ]

    run(body())


def test_what_one_tick_sends_is_one_record(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            token = (await stage.core.wait(Accepted)).connection.token
            # In several steps of the core, on purpose: the tick gathers, not the step.
            for number in range(50):
                stage.do(do.Send(token, FrameKind.PING, bytes([number]), 0))
            frames = await peer.frames()
            assert frames == [(FrameKind.PING, bytes([number])) for number in range(50)]
            assert peer.records == 1
            await peer.end()

    run(body())


def test_close_is_the_last_word_and_both_sides_hang_up(run: Run) -> None:
    async def body() -> None:
        async with pair() as (near, here, far, _):
            near.do(
                do.Send(Token(here), FrameKind.DIRECT, b"before", 3),
                do.Close(Token(here), CloseCode.UNNEEDED, "surplus"),
            )
            lost = await far.core.wait(Lost)
            assert (lost.code, lost.text) == (CloseCode.UNNEEDED, "surplus")
            assert [one.body for one in far.core.of(FrameReceived)] == [b"before"]
            await near.sockets(0)
            await far.sockets(0)
            # Whoever closes is not told that he closed.
            assert near.core.of(Lost) == []
            assert "reset" not in near.host.counters

    run(body())


def test_peer_that_never_hangs_up_is_cut_off(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(close_reset_ns=50 * MILLI)) as stage:
            peer = await Peer.joined(stage.endpoint)
            token = (await stage.core.wait(Accepted)).connection.token
            stage.do(do.Close(token, CloseCode.NORMAL, ""))
            assert (await peer.close_frame()).code == CloseCode.NORMAL
            # It has read the FIN and does not answer it.
            await stage.sockets(0)
            await peer.end()

    run(body())


def test_nothing_is_told_about_a_token_after_close(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            token = (await stage.core.wait(Accepted)).connection.token
            stage.core.replies[FrameReceived] = lambda _: [do.Close(token, CloseCode.BAD_FRAME, "")]
            # Two frames in one record: the core closes at the first.
            peer.write(peer.channel.seal(frame(FrameKind.PING, b"1") + frame(FrameKind.PING, b"2")))
            peer.send(FrameKind.PING, b"3")
            assert (await peer.close_frame()).code == CloseCode.BAD_FRAME
            await peer.end()
            await stage.sockets(0)
            assert [one.body for one in stage.core.of(FrameReceived)] == [b"1"]
            assert stage.core.of(Lost) == []

    run(body())


def test_loss_is_told_once_with_the_far_ends_reason(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            peer.send(FrameKind.CLOSE, encode(Close(CloseCode.JOINED, "joined")))
            lost = await stage.core.wait(Lost)
            assert (lost.code, lost.text) == (CloseCode.JOINED, "joined")
            # It answers with FIN and nothing else.
            assert await peer.until_closed() == []
            await peer.end()
            await stage.sockets(0)
            assert len(stage.core.of(Lost)) == 1

    run(body())


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_end_without_a_close_is_an_io_error(run: Run, how: str) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            if how == "fin":
                peer.writer.write_eof()
            else:
                peer.writer.transport.abort()
            assert (await stage.core.wait(Lost)).code is CloseCode.IO_ERROR
            await peer.end()
            await stage.sockets(0)
            assert len(stage.core.of(Lost)) == 1

    run(body())


def test_half_closed_peer_still_reads_what_it_is_owed_and_why_it_is_over(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(write_bytes_max=16 << 20)) as stage:
            peer = await Peer.joined(stage.endpoint)
            accepted = await stage.core.wait(Accepted)
            # Far more than the sockets hold: some of it is not sealed yet when the FIN comes.
            many, each = 12, 1_000_000
            for _ in range(many):
                stage.do(do.Send(accepted.connection.token, FrameKind.DIRECT, bytes(each), 1))
            peer.writer.write_eof()
            lost = await stage.core.wait(Lost)
            assert (lost.code, lost.text) == (
                CloseCode.IO_ERROR,
                "the far end closed without a word",
            )
            frames = await peer.until_closed()
            assert [len(body) for kind, body in frames if kind == FrameKind.DIRECT] == [each] * many
            assert frames[-1][0] == FrameKind.CLOSE
            await peer.end()
            await stage.sockets(0)
            assert len(stage.core.of(Lost)) == 1

    run(body())


def test_close_with_an_unknown_code_still_closes(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            peer.send(FrameKind.CLOSE, encode(Close(9_999, "from the future")))
            lost = await stage.core.wait(Lost)
            assert (lost.code, lost.text) == (CloseCode.NORMAL, "from the future")
            await peer.end()

    run(body())


async def refused_with(stage: Stage, peer: Peer, code: CloseCode) -> None:
    """Both are told the same reason, and the socket is closed."""
    assert (await peer.close_frame()).code == code
    assert (await stage.core.wait(Lost)).code is code
    await peer.end()
    await stage.sockets(0)


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\0\0",
        frame(FrameKind.PING, b"12345678")[:-1],
        frame(99, b"unknown kind"),
        frame(0, b""),
        frame(FrameKind.CLOSE, b"no Close"),
        frame(FrameKind.HEARTBEAT, b"with a body"),
    ],
)
def test_malformed_frames_close_the_connection(run: Run, plain: bytes) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            peer.write(peer.channel.seal(plain))
            await refused_with(stage, peer, CloseCode.BAD_FRAME)
            assert stage.core.of(FrameReceived) == []

    run(body())


def test_record_that_does_not_open_closes_the_connection(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            peer.write(record_of(bytes(100)))
            await refused_with(stage, peer, CloseCode.BAD_FRAME)

    run(body())


def test_stranger_may_send_4_kib_and_no_more(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            peer.send(FrameKind.HELLO, bytes(4_096))
            await stage.core.wait(FrameReceived)
            peer.send(FrameKind.HELLO, bytes(4_097))
            await refused_with(stage, peer, CloseCode.TOO_LARGE)

    run(body())


@pytest.mark.parametrize("length", [1_048_641, 0xFFFF_FFFF])
def test_record_above_the_limit_is_refused_before_it_comes(run: Run, length: int) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            token = (await stage.core.wait(Accepted)).connection.token
            stage.do(do.Trust(token))
            peer.send(FrameKind.DIRECT, bytes(1_048_576))
            await stage.core.wait(FrameReceived)
            peer.write(length.to_bytes(4, "big"))
            await refused_with(stage, peer, CloseCode.TOO_LARGE)

    run(body())


def test_reader_that_takes_nothing_is_closed(run: Run) -> None:
    async def body() -> None:
        bounds = limits(slow_reader_ns=100 * MILLI)
        async with hosted(1, bounds=bounds) as stage:
            peer = await Peer.joined(stage.endpoint)
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            token = (await stage.core.wait(Accepted)).connection.token
            stage.do(do.Trust(token))
            for _ in range(60):
                if stage.core.of(Lost):
                    break
                stage.do(do.Send(token, FrameKind.DIRECT, bytes(200_000), 2))
                await eventually(lambda: not stage.host._dirty)
                if stage.host.stats()["bytes.queued"] > 500_000:
                    break
            assert (await stage.core.wait(Lost)).code is CloseCode.SLOW_READER
            await peer.end()
            await stage.sockets(0)

    run(body())


def test_more_than_one_peer_may_have_queued_closes_it(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            token = (await stage.core.wait(Accepted)).connection.token
            stage.do(do.Trust(token))
            for _ in range(40):
                stage.do(do.Send(token, FrameKind.DIRECT, bytes(1_000_000), 2))
                assert stage.host.stats()["bytes.queued"] <= 4 << 20
            lost = await stage.core.wait(Lost)
            assert lost.code is CloseCode.SLOW_READER
            assert stage.host.counters["slow.queue_full"] == 1
            # What the core said about it afterwards is counted, not dropped in silence.
            assert stage.host.counters["late.send"] >= 1
            await peer.end()

    run(body())


def test_bulk_is_dropped_where_half_of_what_may_wait_does_and_the_connection_stays(
    run: Run,
) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            token = (await stage.core.wait(Accepted)).connection.token
            stage.do(do.Trust(token))
            for _ in range(200):
                stage.do(do.Send(token, FrameKind.ROUTED, bytes(131_072), do.BULK))
                assert stage.host.stats()["bytes.queued"] <= 524_288 + 131_200
            dropped = stage.host.counters["bulk.dropped"]
            assert 0 < dropped < 200
            stage.do(do.Send(token, FrameKind.PING, b"control", 0))
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            kinds: list[int] = []
            while FrameKind.PING not in kinds:
                kinds += [kind for kind, _ in await peer.frames()]
            assert stage.core.of(Lost) == []
            await peer.end()

    run(body())


def test_control_overtakes_bulk_that_waits(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(write_bytes_max=64 << 20)) as stage:
            peer = await Peer.joined(stage.endpoint)
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            token = (await stage.core.wait(Accepted)).connection.token
            for _ in range(40):
                stage.do(do.Send(token, FrameKind.DIRECT, bytes(1_000_000), 3))
            await eventually(lambda: not stage.host._dirty)
            stage.do(do.Send(token, FrameKind.PING, b"control", 0))
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
            kinds: list[int] = []
            while len(kinds) < 41:
                kinds += [kind for kind, _ in await peer.frames()]
            assert FrameKind.PING in kinds[:-1]
            await peer.end()

    run(body())


def test_queued_bytes_of_all_peers_together_are_bounded(run: Run) -> None:
    from routing.service.ledger import Ledger

    async def body() -> None:
        ledger = Ledger(100, 8 << 20)
        async with hosted(1, bounds=limits(write_bytes_max=64 << 20), ledger=ledger) as stage:
            peer = await Peer.joined(stage.endpoint)
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            token = (await stage.core.wait(Accepted)).connection.token
            for _ in range(40):
                stage.do(do.Send(token, FrameKind.DIRECT, bytes(1_000_000), 3))
                assert ledger.bytes_queued <= (8 << 20) + 1_100_000
            assert (await stage.core.wait(Lost)).code is CloseCode.SLOW_READER
            assert stage.host.counters["slow.ledger_overdrawn"] == 1
            await peer.end()
            await stage.sockets(0)
            assert ledger.bytes_queued == 0

    run(body())


def test_reading_can_be_held_and_goes_on(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            stage.host.pause_reading()
            peer.send(FrameKind.PING, b"while held")
            other = await Peer.joined(stage.endpoint, 8)
            await stage.core.wait(Accepted, 2)
            assert stage.core.of(FrameReceived) == []
            stage.host.resume_reading()
            assert (await stage.core.wait(FrameReceived)).body == b"while held"
            await peer.end()
            await other.end()

    run(body())


assert PATIENCE_S > 1
