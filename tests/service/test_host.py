"""The host and its core: one fact at a time, actions in order, and nothing left when it stops."""

from __future__ import annotations

import asyncio

import pytest

from routing import actions as do
from routing.channel import preamble
from routing.errors import CloseCode
from routing.events import Terminated
from routing.inputs import (
    Accepted,
    BootstrapRequested,
    ContactsLearnt,
    DescriptorsRanShort,
    Dialled,
    FrameReceived,
    Input,
    Listening,
    Lost,
    StopRequested,
)
from routing.limits import SECOND
from routing.messages import FrameKind, NodeAddress
from routing.service import Host, HostConfig
from routing.service.ledger import Ledger
from tests.service.conftest import Run
from tests.service.puppet import TAG, Peer, Puppet, hosted, identity, limits, pair

__all__: list[str] = []

MILLI = SECOND // 1_000


def test_core_hears_listening_then_bootstrap_requested_then_stop(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            core = stage.core
        heard = [type(fact) for _, fact in core.facts]
        assert [kind for kind in heard if kind is not DescriptorsRanShort] == [
            Listening,
            BootstrapRequested,
            StopRequested,
        ]

    run(body())


def test_client_listens_nowhere(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, listen=()) as stage:
            assert stage.host.endpoints == []
            assert stage.core.of(Listening) == []

    run(body())


def test_advertised_endpoints_are_told_in_place_of_bound_ones(run: Run) -> None:
    async def body() -> None:
        core = Puppet()
        host = Host(
            core,
            HostConfig(
                listen=("127.0.0.1:0",),
                advertise=("198.18.0.1:5483",),
                tag=TAG,
                identity=identity(1),
            ),
            on_event=lambda event: None,
            on_message=lambda message: None,
            on_answered=lambda answer: None,
            on_failed=lambda reference, reason: None,
        )
        await host.start()
        assert core.of(Listening) == [Listening(["198.18.0.1:5483"])]
        await host.stop()

    run(body())


def test_what_actions_bring_about_waits_its_turn(run: Run) -> None:
    """A callback of the application submits a fact while actions are being executed."""

    async def body() -> None:
        core = Puppet()
        order: list[str] = []
        host: Host

        def on_event(event: object) -> None:
            if isinstance(event, Terminated):
                order.append("told")
                host.submit(ContactsLearnt(["second"]))
                order.append("submitted")

        host = Host(
            core,
            HostConfig(tag=TAG, identity=identity(1), limits=limits()),
            on_event=on_event,
            on_message=lambda message: None,
            on_answered=lambda answer: order.append(f"answered {answer.reference}"),
            on_failed=lambda reference, reason: order.append(f"failed {reference}: {reason}"),
            on_certificate=lambda certificate: order.append(f"kept {certificate!r}"),
            ledger=Ledger(20_000, 1 << 20),
        )

        def contacts(fact: Input) -> list[do.Action]:
            assert isinstance(fact, ContactsLearnt)
            order.append(fact.endpoints[0])
            if fact.endpoints == ["second"]:
                return []
            return [
                do.Tell(Terminated()),
                do.Answered(1, b"", NodeAddress(bytes(32)), bytes(32)),
                do.Failed(2, "timed out"),
                do.KeepCertificate(b"c"),
            ]

        core.replies[ContactsLearnt] = contacts
        await host.start()
        host.submit(ContactsLearnt(["first"]))
        assert order == [
            "first",
            "told",
            "submitted",
            "answered 1",
            "failed 2: timed out",
            "kept b'c'",
            "second",
        ]
        await host.stop()

    run(body())


def test_facts_carry_times_that_never_run_back(run: Run) -> None:
    async def body() -> None:
        async with pair() as (near, here, far, there):
            for _ in range(20):
                near.do(do.Send(here, FrameKind.PING, b"", 0))  # type: ignore[arg-type]
                far.do(do.Send(there, FrameKind.PING, b"", 0))  # type: ignore[arg-type]
            await near.core.wait(FrameReceived, 20)
            times = [at for at, _ in near.core.facts]
            assert times == sorted(times)

    run(body())


def test_short_ledger_is_told_at_start_and_clamps_connections(run: Run) -> None:
    async def body() -> None:
        ledger = Ledger(3, 1 << 20)
        async with hosted(1, ledger=ledger) as stage:
            assert stage.core.of(DescriptorsRanShort) == [DescriptorsRanShort(1, 3)]
            assert stage.host.established_max == 3

    run(body())


def test_stats_count_and_measure(run: Run) -> None:
    async def body() -> None:
        async with pair() as (near, here, far, _):
            near.do(do.Send(here, FrameKind.DIRECT, bytes(1_000), 1))  # type: ignore[arg-type]
            await far.core.wait(FrameReceived)
            stats = far.host.stats()
            assert stats["connections.open"] == stats["connections.sockets"] == 1
            assert stats["connections.waiting"] == 0
            assert stats["accept.admitted"] == 1
            assert stats["bytes.read"] > 1_000
            assert near.host.stats()["bytes.written"] == stats["bytes.read"]
            assert stats["bytes.queued"] == 0
            assert stats["descriptors.used"] == 2

    run(body())


# -- the end


def test_stop_says_goodbye_to_everybody(run: Run) -> None:
    async def body() -> None:
        async with hosted(2) as far:
            async with hosted(1, listen=()) as near:
                near.dial(far.endpoint)
                await near.core.wait(Dialled)
                await far.core.wait(Accepted)
            lost = await far.core.wait(Lost)
            assert (lost.code, lost.text) == (CloseCode.STOPPING, "stopping")

    run(body())


def test_stop_lets_what_is_queued_go_out_first(run: Run) -> None:
    async def body() -> None:
        async with hosted(2) as far:
            async with hosted(1, listen=()) as near:
                near.dial(far.endpoint)
                token = (await near.core.wait(Dialled)).connection.token
                far.do(do.Trust((await far.core.wait(Accepted)).connection.token))
                near.do(do.Send(token, FrameKind.DIRECT, bytes(900_000), 3))
            assert len((await far.core.wait(FrameReceived)).body) == 900_000
            await far.core.wait(Lost)

    run(body())


@pytest.mark.parametrize("polite", [True, False], ids=["core-closes", "core-forgets"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 6, 9, 14])
def test_stop_in_the_middle_of_anything_leaves_nothing(run: Run, turns: int, polite: bool) -> None:
    async def body() -> None:
        async with hosted(2) as far, hosted(1, polite=polite) as near:
            near.dial(far.endpoint)
            near.dial("127.0.0.1:1")
            near.dial("198.51.100.1:9")
            peer = await Peer.connect(near.endpoint)
            peer.write(preamble(TAG))
            far.dial(near.endpoint)
            for _ in range(turns):
                await asyncio.sleep(0)
            await near.host.stop(1.0)
            assert near.host.stats()["connections.sockets"] == 0
            facts = len(near.core.facts)
            await asyncio.sleep(0)
            assert len(near.core.facts) == facts, "a stopped core is told nothing"
            await peer.end()

    run(body())


def test_stop_that_is_cancelled_still_closes_everything(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            # The peer does not hang up, so stopping waits for it.
            stopping = asyncio.create_task(stage.host.stop(60.0))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
            assert stage.host.stats()["connections.sockets"] == 0
            await peer.end()

    run(body())


def test_drain_is_bounded(run: Run) -> None:
    async def body() -> None:
        async with hosted(1, bounds=limits(close_reset_ns=60 * SECOND)) as stage:
            peer = await Peer.joined(stage.endpoint)
            await stage.core.wait(Accepted)
            await stage.host.stop(0.05)
            assert stage.host.counters["stop.cut_off"] == 1
            await peer.end()

    run(body())


def test_stop_twice_is_stop_once(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            await stage.host.stop()
            await stage.host.stop()
            assert len(stage.core.of(StopRequested)) == 1

    run(body())
