"""Payloads of many frames over real sockets: whole, observed, bounded, and ended when asked to."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from random import Random

import pytest

from routing.errors import HandlerFailed, NotConnected, RequestTimedOut, RoutingError, UsageError
from routing.events import Message, Proof
from routing.limits import SECOND, Limits
from routing.messages import ClientAddress, GroupAddress, MessageKind
from routing.node import Client, Node
from routing.sending import LARGE_AT_ONCE
from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, address, eventually, local, network

__all__: list[str] = []

LIMITS = Limits.local()
LARGEST = LIMITS.large_bytes_max
BODY = Random(1).randbytes(LARGEST)


def collected(door: Node | Client) -> list[Message]:
    """Return a list that fills with the messages of a door."""
    heard = list[Message]()
    door.on_messages(heard.extend)
    return heard


def at_rest(door: Node | Client) -> bool:
    """Nothing of a large payload is left behind."""
    core = door._core
    assert core is not None
    left = core.parts.open or core.parts.bytes or core.assembly.open or core.delivery.underway
    return not left and len(door._outbox) == 0 and not door._outbox._carried


def test_largest_payload_arrives_whole_and_its_progress_is_told(run: Run) -> None:
    async def body() -> None:
        async with network(3) as nodes:
            heard, told = collected(nodes[2]), list[tuple[int, int]]()
            await nodes[0].send(address(nodes[2]), BODY, progress=lambda *news: told.append(news))
            (message,) = heard
            assert message.payload == BODY
            assert (message.proof, message.key) == (Proof.SIGNATURE, nodes[0].key)
            assert len(told) == 128 and told[-1] == (LARGEST, LARGEST)
            assert told == sorted(set(told))
            assert all(map(at_rest, nodes))

    run(body())


def test_payload_is_held_once_where_it_leaves_and_twice_where_it_is_put_together(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            sizes = list[int]()
            two.on_messages(lambda messages: sizes.extend(len(each.payload) for each in messages))
            await one.send(address(two), BODY)
            gc.collect()
            tracemalloc.start()
            try:
                await one.send(address(two), BODY)
                held, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert sizes == [LARGEST] * 2
            # Both ends are in this process. The parts and the body they become, and a window of
            # parts in their several layers.
            assert 2 * LARGEST < peak < 2 * LARGEST + (6 << 20)
            assert held < LARGEST + (1 << 20), "at most the message that was handed over is left"

    run(body())


def test_client_asks_a_client_behind_another_proxy_and_both_payloads_are_large(run: Run) -> None:
    async def body() -> None:
        async with (
            network(3) as nodes,
            Client(local(contacts=nodes[0].endpoints)) as asker,
            Client(local(contacts=nodes[1].endpoints)) as asked,
        ):
            await asker.joined()
            await asked.joined()
            assert asked.proxy == nodes[1].name != asker.proxy
            asked.on_request(lambda request: request.payload[::-1])
            there, told = ClientAddress(address(nodes[1]).name, asked.key), list[int]()
            payload = BODY[:4_000_001]
            reply = await asker.request(
                there, payload, timeout=PATIENCE_S, progress=lambda done, _: told.append(done)
            )
            assert reply == payload[::-1]
            assert told[-1] == len(payload)
            doors: list[Node | Client] = [*nodes, asker, asked]
            await eventually(lambda: all(map(at_rest, doors)))

    run(body())


def test_reply_may_be_as_large_as_a_payload_and_no_larger(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            two.on_request(lambda request: BODY + request.payload)
            assert await one.request(address(two), b"", timeout=PATIENCE_S) == BODY
            with pytest.raises(HandlerFailed, match="16777217 bytes exceeds large_bytes_max"):
                await one.request(address(two), b"x", timeout=PATIENCE_S)

    run(body())


def test_payload_above_the_bound_is_refused_with_size_bound_and_cure(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            bound = LIMITS.payload_bytes_max
            large = r"16777217 bytes exceeds large_bytes_max=16777216; send it as several"
            group = rf"{bound + 1} bytes to a group exceeds payload_bytes_max={bound}; send it to"
            with pytest.raises(UsageError, match=large):
                await one.send(address(two), BODY + b"x")
            with pytest.raises(UsageError, match=large):
                await one.request(address(two), BODY + b"x")
            for call in (one.send, one.request, one.request_many):
                with pytest.raises(UsageError, match=group):
                    await call(GroupAddress(bytes(32)), bytes(bound + 1))
            with pytest.raises(UsageError, match=group):
                await one.send_many(GroupAddress(bytes(32)), [b"x", bytes(bound + 1)])

    run(body())


def test_more_than_may_be_under_way_wait_their_turn_and_all_arrive(run: Run) -> None:
    async def body() -> None:
        async with network(3) as nodes:
            heard = [collected(node) for node in nodes]
            bodies = [BODY[: 1_500_000 + number] for number in range(3 * LARGE_AT_ONCE)]
            largest = 0

            def look(done: int, total: int) -> None:
                nonlocal largest
                largest = max(largest, len(nodes[0]._running().parts.open))

            sends = [
                nodes[0].send(address(nodes[1 + number % 2]), payload, progress=look)
                for number, payload in enumerate(bodies)
            ]
            await asyncio.wait_for(asyncio.gather(*sends), PATIENCE_S)
            found = sorted(len(each.payload) for each in heard[1] + heard[2])
            assert found == [len(payload) for payload in bodies]
            assert largest == LARGE_AT_ONCE
            assert all(map(at_rest, nodes))

    run(body())


def test_small_requests_are_answered_while_large_payloads_pass(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            two.on_request(lambda request: request.payload)
            collected(two)
            large = asyncio.create_task(one.send(address(two), BODY))
            answered = 0
            while not large.done():
                assert await one.request(address(two), b"?", timeout=PATIENCE_S) == b"?"
                answered += 1
            await large
            assert answered > 3

    run(body())


@pytest.mark.parametrize("request_", [False, True])
def test_cancelled_payload_sends_no_further_part(run: Run, request_: bool) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            heard, begun = collected(two), asyncio.Event()
            two.on_request(lambda request: b"")

            def progress(done: int, total: int) -> None:
                begun.set()

            call = one.request if request_ else one.send
            task = asyncio.ensure_future(call(address(two), BODY, progress=progress))
            await asyncio.wait_for(begun.wait(), PATIENCE_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert at_rest(one)
            assert one.stats()["large.withdrawn"] == 1
            await one.send(address(two), b"the way is free")
            await eventually(lambda: heard)
            assert one.stats()["part.sent"] < 128
            assert two.stats()["assembly.begun"] == 1

    run(body())


def test_request_that_runs_out_of_time_half_way_says_so(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            core, told = two._running(), list[int]()
            # The far end takes the first part and then is deaf.
            usual = core.assembly.on_part
            core.message_handlers[MessageKind.PART] = lambda arrival: (
                usual(arrival) if not core.assembly.open else None
            )
            with pytest.raises(RequestTimedOut):
                await one.request(
                    address(two), BODY, timeout=0.5, progress=lambda done, _: told.append(done)
                )
            assert told == [131_072]
            assert at_rest(one)

    run(body())


def test_destination_that_stops_half_way_fails_the_send(run: Run) -> None:
    async def body() -> None:
        async with network(3) as (one, two, _):
            stopping = asyncio.Event()
            task = asyncio.create_task(
                one.send(address(two), BODY, progress=lambda *_: stopping.set())
            )
            await asyncio.wait_for(stopping.wait(), PATIENCE_S)
            await two.abandon()
            with pytest.raises(RoutingError):
                await asyncio.wait_for(task, 2 * PATIENCE_S)
            assert at_rest(one)

    run(body())


def test_stop_fails_what_is_under_way_and_what_waits(run: Run) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            begun = asyncio.Event()
            sends: list[asyncio.Task[int] | asyncio.Task[bytes]] = [
                asyncio.create_task(one.send(address(two), BODY, progress=lambda *_: begun.set()))
                for _ in range(LARGE_AT_ONCE + 3)
            ]
            sends += [asyncio.create_task(one.request(address(two), BODY)) for _ in range(2)]
            await asyncio.wait_for(begun.wait(), PATIENCE_S)
            await one.stop()
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert [type(each) for each in results] == [NotConnected] * len(sends)
            assert len(one._outbox) == 0 and one._outbox._carried == {}

    run(body())


def test_progress_function_that_raises_is_counted_and_harms_nobody(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with network(2) as (one, two):
            heard, calls = collected(two), [0]

            def progress(done: int, total: int) -> None:
                calls[0] += 1
                raise LookupError("of the caller's own")

            await one.send(address(two), BODY[:2_000_000], progress=progress)
            assert [len(each.payload) for each in heard] == [2_000_000]
            assert calls == [1]
            assert one.stats()["progress.failed"] == 1

    run(body())


def test_far_end_without_room_is_waited_for(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(large_bytes_max=2_000_000, reassembly_bytes=8_000_000)
        async with network(6, limits=limits) as nodes:
            heard = collected(nodes[0])
            sends = [node.send(address(nodes[0]), BODY[:2_000_000]) for node in nodes[1:]]
            await asyncio.wait_for(asyncio.gather(*sends), PATIENCE_S)
            assert [len(each.payload) for each in heard] == [2_000_000] * 5
            assert nodes[0].stats()["part.busy"] > 0

    run(body())


def test_handler_of_requests_that_never_returns_is_a_failure_for_its_requester(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        limits = Limits.local().but(handler_ns=SECOND // 20)
        async with network(2, limits=limits) as (one, two):
            seen, never = list[bytes](), asyncio.Event()

            async def on_request(request: Message) -> bytes:
                await never.wait()
                return b""

            async def on_messages(messages: list[Message]) -> None:
                seen.extend(each.payload for each in messages)
                await never.wait()

            two.on_request(on_request)
            two.on_messages(on_messages)
            with pytest.raises(HandlerFailed, match="TimeoutError"):
                await one.request(address(two), b"x", timeout=PATIENCE_S)
            for number in range(1, 3):
                await one.send(address(two), b"never read to its end")
                await eventually(lambda: len(seen) == number)  # noqa: B023 - awaited at once
            await eventually(lambda: two.stats()["handler.timed_out"] == 3)
            assert two.stats()["inbox.bytes"] == 0

    run(body())
