"""Whole networks on sockets: they form, carry messages, heal, take back who was lost, and close."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from routing.crew import Member
from routing.experiment import Experiment, Plan, Summary
from tests.service.conftest import Run

__all__: list[str] = []


def plan(folder: Path, **changes: int | bool) -> Plan:
    wanted = {"nodes": 12, "clients": 0, "kill": 0, "seed": 1, "processes": False, **changes}
    return Plan(timeout=30.0, folder=folder, **wanted)  # type: ignore[arg-type]


async def conduct(wanted: Plan) -> Summary:
    return await Experiment(wanted, lambda members, doing: None).run()


def test_twelve_nodes_form_talk_heal_and_rejoin(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        summary = await conduct(plan(tmp_path, kill=3, clients=2))
        assert summary.trouble == []
        assert summary.ok
        assert summary.group_connected == 12
        assert (summary.killed, summary.rejoined) == (3, 3)
        # 12 · 11 between nodes, 4 groups of 8, and 2 clients · 12 there and back.
        assert summary.sent == summary.delivered == 132 + 32 + 48
        assert summary.started >= summary.consolidated >= summary.connections >= 54
        assert summary.leaked_sockets == summary.leaked_tasks == 0

    run(body())


@pytest.mark.parametrize("nodes", [1, 2, 9])
def test_small_networks_form(run: Run, tmp_path: Path, nodes: int) -> None:
    async def body() -> None:
        summary = await conduct(plan(tmp_path, nodes=nodes))
        assert summary.trouble == []
        assert summary.ok
        assert summary.group_connected == (9 if nodes == 9 else 0)
        assert summary.connections == nodes * (nodes - 1) // 2
        assert (summary.healed_s, summary.rejoined, summary.rejoined_s) == (None, None, None)

    run(body())


def test_nodes_in_processes_of_their_own_heal_from_sigkill(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        summary = await conduct(plan(tmp_path, nodes=5, kill=2, clients=1, processes=True))
        assert summary.trouble == []
        assert summary.ok
        assert (summary.killed, summary.rejoined) == (2, 2)

    run(body())


def test_first_half_of_the_killed_come_back_with_their_key(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        names: dict[int, set[str]] = {}

        def show(members: list[Member], doing: str) -> None:
            for member in members:
                if member.alive and member.report.name:
                    names.setdefault(member.index, set()).add(member.report.name)

        summary = await Experiment(plan(tmp_path, nodes=5, kill=2), show).run()
        assert summary.ok
        assert len(names[0]) == 1
        assert [len(each) for each in names.values()].count(2) == 1

    run(body())


@pytest.mark.parametrize("processes", [False, True])
def test_cancelled_while_forming_leaves_nothing_open(
    run: Run, tmp_path: Path, processes: bool
) -> None:
    async def body() -> None:
        seen = asyncio.Event()
        experiment = Experiment(
            plan(tmp_path, nodes=6, processes=processes),
            lambda members, doing: seen.set() if len(members) == 4 else None,
        )
        task = asyncio.create_task(experiment.run())
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(body())


def test_network_that_is_not_whole_in_time_is_not_ok(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        wanted = Plan(
            nodes=9, clients=0, kill=0, seed=1, timeout=1e-9, processes=False, folder=tmp_path
        )
        summary = await conduct(wanted)
        assert not summary.ok
        assert summary.formed_s is None
        assert "not whole" in summary.trouble[0]

    run(body())
