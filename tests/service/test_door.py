"""The listening side: addresses that cannot be had, crowds at the door, strangers of every kind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import socket

import pytest

from routing import actions as do
from routing.channel import preamble
from routing.errors import CloseCode, ListenError
from routing.inputs import (
    Accepted,
    DescriptorsRanShort,
    FrameReceived,
    ListenerLost,
    Listening,
    Lost,
)
from routing.limits import SECOND
from routing.messages import FrameKind
from routing.service.ledger import Ledger
from tests.service.conftest import Run
from tests.service.puppet import TAG, Peer, Stage, eventually, hosted, limits

__all__: list[str] = []

MILLI = SECOND // 1_000


# -- addresses


def test_core_is_told_what_was_bound(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            assert stage.core.of(Listening) == [Listening(stage.host.endpoints)]
            assert not stage.endpoint.endswith(":0")

    run(body())


def test_port_in_use_is_one_clear_line_and_nothing_stays_open(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            with pytest.raises(ListenError) as caught:
                async with hosted(2, listen=("127.0.0.1:0", stage.endpoint)):
                    raise AssertionError("it started")
            text = str(caught.value)
            assert text == (
                f"cannot listen on {stage.endpoint}: address already in use; "
                "stop whoever uses it, or choose another port (0 for any free one)"
            )
            # Whoever was there first is not disturbed.
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            await peer.end()

    run(body())


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("192.0.2.1:0", "cannot listen on 192.0.2.1:0: cannot assign requested address"),
        ("localhost:0", "is not an IP literal"),
        ("127.0.0.1", "has no port"),
        ("127.0.0.1:70000", "must be 1 to 65535"),
    ],
)
def test_address_that_cannot_be_had_is_one_clear_line(
    run: Run, endpoint: str, expected: str
) -> None:
    async def body() -> None:
        with pytest.raises(ListenError) as caught:
            async with hosted(1, listen=(endpoint,)):
                raise AssertionError("it started")
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)

    run(body())


def test_port_is_free_again_after_stop(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(close_reset_ns=20 * MILLI)) as stage:
            endpoint = stage.endpoint
            peer = await Peer.joined(endpoint)
            await stage.core.wait(Accepted)
        await peer.end()
        async with hosted(2, listen=(endpoint,)):
            assert True

    run(body())


# -- strangers


async def still_serves(stage: Stage) -> None:
    """A good peer gets through."""
    before = len(stage.core.of(Accepted))
    peer = await Peer.joined(stage.endpoint, 77)
    await stage.core.wait(Accepted, before + 1)
    await peer.end()


def test_megabyte_of_random_bytes_gets_16_bytes_and_a_closed_door(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.connect(stage.endpoint)
            peer.write(random.Random(1).randbytes(1 << 20))
            answer = b""
            try:
                while arrived := await peer.read():
                    answer += arrived
            except ConnectionError:
                answer = answer or preamble(TAG)
            assert answer == preamble(TAG)
            await peer.end()
            await stage.sockets(0)
            assert stage.host.counters["accept.not_ours"] == 1
            await still_serves(stage)

    run(body())


@pytest.mark.parametrize("said", [b"", b"RTNG", preamble(TAG), preamble(TAG) + b"\0\x20" + b"x"])
def test_stranger_that_stops_talking_is_closed_at_the_deadline(run: Run, said: bytes) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(hello_deadline_ns=80 * MILLI)) as stage:
            peer = await Peer.connect(stage.endpoint)
            peer.write(said)
            try:
                while await peer.read():
                    pass
            except ConnectionError:
                assert stage.host.counters["accept.timed_out"] == 1
            await peer.end()
            await stage.sockets(0)
            assert stage.host.counters["accept.timed_out"] == 1
            assert stage.core.of(Accepted) == []

    run(body())


def test_bytes_that_trickle_in_do_not_move_the_deadline(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(hello_deadline_ns=100 * MILLI)) as stage:
            peer = await Peer.connect(stage.endpoint)
            await stage.sockets(1)

            async def trickle() -> None:
                for byte in preamble(TAG) + b"\0\x20" + bytes(31):
                    peer.write(bytes([byte]))
                    await asyncio.sleep(0.02)

            task = asyncio.create_task(trickle())
            await stage.sockets(0)
            assert stage.host.counters["accept.timed_out"] == 1
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await peer.end()

    run(body())


def test_finished_channel_hands_its_deadline_to_the_core(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(hello_deadline_ns=60 * MILLI)) as stage:
            peer = await Peer.joined(stage.endpoint)
            accepted = await stage.core.wait(Accepted)
            assert accepted.accepted_at <= stage.host.now()
            # Ours is over; the core alone decides from here.
            assert len(stage.host.wakeup) == 1
            assert stage.host.stats()["connections.waiting"] == 1
            stage.do(do.Trust(accepted.connection.token))
            assert stage.host.stats()["connections.waiting"] == 0
            await peer.end()

    run(body())


@pytest.mark.parametrize(
    ("said", "counter"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "accept.not_ours"),
        (preamble(bytes(8)), "accept.wrong_network"),
        (preamble(TAG, (3, 4)), "accept.wrong_version"),
        (preamble(TAG) + b"\x20\0", "accept.bad_handshake"),
        (preamble(TAG) + b"\0\x20" + bytes(32), "accept.bad_handshake"),
        (preamble(TAG) + b"\0\x24" + bytes(36), "accept.bad_handshake"),
    ],
)
def test_stranger_is_counted_by_what_was_wrong(run: Run, said: bytes, counter: str) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.connect(stage.endpoint)
            peer.write(said)
            assert (await peer.read(16)) == preamble(TAG)
            await stage.sockets(0)
            assert stage.host.counters[counter] == 1
            await peer.end()
            await still_serves(stage)

    run(body())


def test_handshake_replayed_on_another_connection_is_refused(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            recorded: list[bytes] = []

            class Recorder(Peer):
                def write(self, plain: bytes) -> None:
                    recorded.append(plain)
                    super().write(plain)

            first = await Recorder.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            first.send(FrameKind.HELLO, b"a Hello")
            await stage.core.wait(FrameReceived)
            second = await Peer.connect(stage.endpoint)
            second.write(b"".join(recorded))
            await stage.sockets(1)
            assert stage.host.counters["accept.bad_handshake"] == 1
            assert len(stage.core.of(Accepted)) == 1
            assert len(stage.core.of(FrameReceived)) == 1
            await first.end()
            await second.end()

    run(body())


# -- crowds


async def closed_by_host(peer: Peer) -> bool:
    try:
        return await peer.read() == b""
    except ConnectionError:
        return True


def test_one_address_has_8_places(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(exempt_networks=())) as stage:
            peers = [await Peer.connect(stage.endpoint) for _ in range(8)]
            await stage.sockets(8)
            ninth = await Peer.connect(stage.endpoint)
            assert await closed_by_host(ninth)
            assert stage.host.counters["accept.per_ipv4"] == 1
            other = await Peer.joined(stage.endpoint, local="127.0.1.2")
            token = (await stage.core.wait(Accepted)).connection.token
            # Whoever leaves makes room.
            await peers[0].end()
            await stage.sockets(8)
            again = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted, 2)
            stage.do(do.Trust(token))
            for peer in [*peers[1:], ninth, other, again]:
                await peer.end()

    run(body())


def test_one_network_has_32_places(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(exempt_networks=())) as stage:
            peers = [
                await Peer.connect(stage.endpoint, f"127.0.3.{number // 8 + 1}")
                for number in range(32)
            ]
            await stage.sockets(32)
            late = await Peer.connect(stage.endpoint, "127.0.3.9")
            assert await closed_by_host(late)
            assert stage.host.counters["accept.per_ipv4_24"] == 1
            for peer in [*peers, late]:
                await peer.end()

    run(body())


def test_one_ipv6_network_has_8_places(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, listen=("[::1]:0",), bounds=limits(exempt_networks=())) as stage:
            peers = [await Peer.connect(stage.endpoint) for _ in range(9)]
            await eventually(lambda: stage.host.counters["accept.per_ipv6_56"] == 1)
            assert stage.host.stats()["connections.sockets"] == 8
            for peer in peers:
                await peer.end()

    run(body())


def test_exempt_networks_are_free_of_quotas(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peers = [await Peer.connect(stage.endpoint) for _ in range(40)]
            await stage.sockets(40)
            for peer in peers:
                await peer.end()

    run(body())


def test_flood_from_one_network_pushes_out_only_itself(run: Run) -> None:
    async def body() -> None:
        bounds = limits(unauthenticated_max=6)
        async with hosted(1, bounds=bounds) as stage:
            honest = await Peer.joined(stage.endpoint, local="127.0.1.1")
            accepted = await stage.core.wait(Accepted)
            flood = [await Peer.connect(stage.endpoint, "127.0.2.1") for _ in range(30)]
            await eventually(lambda: stage.host.counters["accept.evicted"] == 25)
            assert stage.host.stats()["connections.waiting"] == 6
            # The honest one was the oldest of all, and is still there.
            honest.send(FrameKind.HELLO, b"hello")
            assert (await stage.core.wait(FrameReceived)).token == accepted.connection.token
            assert stage.core.of(Lost) == []
            for peer in [*flood, honest]:
                await peer.end()

    run(body())


def test_evicted_connection_is_told_to_a_core_that_knew_it(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(unauthenticated_max=1)) as stage:
            first = await Peer.joined(stage.endpoint)
            token = (await stage.core.wait(Accepted)).connection.token
            second = await Peer.connect(stage.endpoint)
            lost = await stage.core.wait(Lost)
            assert (lost.token, lost.code) == (token, CloseCode.FULL)
            await first.end()
            await second.end()

    run(body())


def test_authenticated_connections_are_never_evicted(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(unauthenticated_max=1)) as stage:
            friend = await Peer.joined(stage.endpoint)
            stage.do(do.Trust((await stage.core.wait(Accepted)).connection.token))
            flood = [await Peer.connect(stage.endpoint) for _ in range(5)]
            await eventually(lambda: stage.host.counters["accept.evicted"] == 4)
            assert stage.core.of(Lost) == []
            for peer in [*flood, friend]:
                await peer.end()

    run(body())


def test_full_house_turns_newcomers_away(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(established_max=2)) as stage:
            inside = [await Peer.joined(stage.endpoint, number) for number in (8, 9)]
            await stage.core.wait(Accepted, 2)
            late = await Peer.connect(stage.endpoint)
            assert await closed_by_host(late)
            assert stage.host.counters["accept.established_full"] == 1
            for peer in [*inside, late]:
                await peer.end()

    run(body())


# -- descriptors


def test_accepting_pauses_at_the_last_descriptor_is_told_and_resumes(run: Run) -> None:
    async def body() -> None:
        # One for the listener, three for connections.
        ledger = Ledger(4, 1 << 20)
        async with hosted(1, ledger=ledger) as stage:
            inside = [await Peer.joined(stage.endpoint, number) for number in (6, 7, 8)]
            await stage.core.wait(Accepted, 3)
            waiting = await Peer.connect(stage.endpoint)
            waiting.write(preamble(TAG))
            # Once at the start, as more connections are configured, and once when they ran out.
            await stage.core.wait(DescriptorsRanShort, 2)
            assert stage.core.of(DescriptorsRanShort)[1:] == [DescriptorsRanShort(4, 4)]
            assert stage.host.counters["accept.paused"] == 1
            assert stage.host.stats()["connections.sockets"] == 3
            # Nobody was refused: it waited in the kernel and is served once there is room.
            await inside[0].end()
            assert await waiting.read(16) == preamble(TAG)
            for peer in [*inside[1:], waiting]:
                await peer.end()
        assert ledger.descriptors_used == 0

    run(body())


def test_nodes_of_one_loop_share_one_ledger(run: Run) -> None:
    async def body() -> None:
        ledger = Ledger(5, 1 << 20)
        async with hosted(1, ledger=ledger) as near, hosted(2, ledger=ledger) as far:
            near.dial(far.endpoint)
            await far.core.wait(Accepted)
            # Two listeners and both ends of one connection: one descriptor is left.
            assert ledger.descriptors_used == 4
            near.dial(far.endpoint)
            await eventually(lambda: far.host.counters["accept.paused"] == 1)
            assert len(far.core.of(Accepted)) == 1
        assert ledger.descriptors_used == 0

    run(body())


def test_dial_that_is_reset_while_it_is_handed_over_leaves_no_socket_object(run: Run) -> None:
    async def body() -> None:
        # Which tick it falls into is the kernel's affair, so it is tried often.
        for _ in range(60):
            ledger = Ledger(5, 1 << 20)
            async with hosted(1, ledger=ledger) as near, hosted(2, ledger=ledger) as far:
                near.dial(far.endpoint)
                await far.core.wait(Accepted)
                near.dial(far.endpoint)
                await eventually(lambda: far.host.counters["accept.paused"] == 1)
            assert ledger.descriptors_used == 0
            gc.collect()

    run(body())


def test_system_without_descriptors_is_survived(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.connect(stage.endpoint)
            await stage.sockets(1)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            taken: list[int] = []
            waiting = socket.socket()
            waiting.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
            try:
                while True:
                    try:
                        taken.append(os.dup(0))
                    except OSError:
                        break
                host, _, port = stage.endpoint.rpartition(":")
                waiting.connect_ex((host, int(port)))
                await eventually(lambda: stage.host.counters["accept.paused"] >= 1)
            finally:
                for descriptor in taken:
                    os.close(descriptor)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            # It looks again by itself.
            await stage.sockets(2)
            waiting.close()
            await peer.end()

    run(body())


def test_failed_listener_is_told(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, listen=("127.0.0.1:0", "127.0.0.1:0")) as stage:
            broken, _ = stage.host._door._listeners._sockets.values()
            endpoint = stage.host.endpoints[0]
            # A socket that listens no more answers accept with an error for ever.
            broken.shutdown(socket.SHUT_RDWR)
            await stage.core.wait(ListenerLost)
            assert stage.core.of(ListenerLost) == [ListenerLost(endpoint, "Invalid argument")]
            peer = await Peer.joined(stage.host.endpoints[1])
            await stage.core.wait(Accepted)
            await peer.end()

    run(body())
