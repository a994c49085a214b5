"""Tables at rest: full where they can be, within their cap, quiet; churn told as it lasted."""

from __future__ import annotations

from collections import Counter

import pytest

from routing.events import Churn, PeerUp
from routing.limits import SECOND, Limits
from routing.simulation.invariants import why_not_filled, why_not_whole
from routing.simulation.scenarios import Report, Run, begin, form, make_world
from routing.simulation.world import World
from routing.wholeness import connections_bound

__all__: list[str] = []

SETTLED = 1_800 * SECOND


def grown(nodes: int, seed: int, limits: Limits | None = None) -> World:
    """Return a network that is whole and at rest."""
    run = Run("rest", make_world(seed, command="", limits=limits, checks_every=16))
    assert begin(run, nodes), run.reason
    return run.world


def assert_filled(report: Report) -> None:
    assert report.ok, f"seed {report.seed}: {report.reason}"
    assert report.filled_ns is not None
    assert report.connections[1] <= connections_bound(report.nodes)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("nodes", [2, 9, 12, 20])
def test_buckets_of_a_small_network_are_full_soon(nodes: int, seed: int) -> None:
    report = form(make_world(seed, command="", checks_every=8), nodes)
    assert_filled(report)
    assert report.filled_ns is not None and report.filled_ns <= 300 * SECOND


@pytest.mark.parametrize("seed", range(2))
def test_buckets_of_forty_nodes_are_as_full_as_they_can_be_also_after_kills(seed: int) -> None:
    assert_filled(form(make_world(seed, command="", checks_every=16), 40, 5))


def test_buckets_fill_although_messages_are_lost() -> None:
    assert_filled(form(make_world(1, command="", loss=0.1, checks_every=8), 20, 2))


def test_filled_network_is_as_quiet_as_it_was_before() -> None:
    world = grown(40, 1)
    assert world.run_until(lambda: why_not_filled(world) is None, limit_ns=SETTLED)
    world.run(600 * SECOND)
    before, at_rest = world.counters(), Counter(world.links.frames)
    world.run(600 * SECOND)
    frames = Counter(world.links.frames) - at_rest
    spent = Counter(world.counters()) - Counter(before)
    assert spent["attempt.requester.started"] == spent["peer.up"] == 0
    assert spent["fill.asked"] <= 40, "a walk here and there"
    # 40 nodes, 10 minutes: lists to 8 neighbours every half minute, and some questions.
    assert sum(frames.values()) <= 40 * 10 * 40


@pytest.mark.parametrize("seed", [1, 2, 4, 6])
def test_full_tables_leave_the_network_whole_and_do_not_change_for_ever(seed: int) -> None:
    world = grown(40, seed, Limits().but(table_max=24))
    full = [host for host in world.alive if len(host.core.table) >= 18]
    assert len(full) >= 5, "only who needs somebody finds a place there"
    assert all(len(host.core.table) <= 24 for host in world.alive)
    world.run(750 * SECOND)
    changes = world.counters()["peer.up"]
    world.run(900 * SECOND)
    assert why_not_whole(world) is None
    assert world.counters()["peer.up"] == changes, "nobody takes turns in a full table"


def test_surplus_ends_by_agreement_and_nobody_comes_back() -> None:
    limits = Limits().but(unneeded_again_ns=120 * SECOND)
    world = grown(100, 1, limits)
    world.run(900 * SECOND)
    counters = world.counters()
    assert counters["surplus.agreed"] > 0
    let_go = counters["peer.down.unneeded"]
    assert let_go == counters["surplus.agreed"] * 2
    assert set(counters) & {"peer.down.full", "peer.down.silent"} == set()
    assert why_not_whole(world) is None and why_not_filled(world) is None


def test_churn_is_told_of_what_lasted_and_the_last_one_is_right() -> None:
    world = grown(12, 3)
    world.run(60 * SECOND)
    for host in world.alive:
        churns = [event for _, event in host.events if isinstance(event, Churn)]
        ups = sum(isinstance(event, PeerUp) for _, event in host.events)
        assert 1 <= len(churns) < ups
        group: set[bytes] = set()
        for churn in churns:
            assert churn.left or churn.joined
            assert group.issuperset(churn.left) and group.isdisjoint(churn.joined)
            group = group.difference(churn.left).union(churn.joined)
            assert group == set(churn.close_group)
        assert list(churns[-1].close_group) == host.core.table.close_group()
        assert churns[-1].after[0] == host.core.name


def test_connection_that_breaks_and_comes_back_is_no_churn() -> None:
    limits = Limits().but(retry_name_first_ns=1, retry_name_last_ns=1)
    world = grown(5, 1, limits)
    world.run(60 * SECOND)
    told = [host.counts["Churn"] for host in world.alive]
    ups = world.counters()["peer.up"]
    world.reset(world.wires[:1])
    world.run(20 * SECOND)
    assert world.counters()["peer.up"] == ups + 2, "it came back"
    assert [host.counts["Churn"] for host in world.alive] == told
