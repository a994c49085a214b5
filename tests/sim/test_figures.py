"""Placed networks are whole, every message is followed to its end, and figures repeat."""

from __future__ import annotations

import io
import json

import pytest

from routing.errors import UsageError
from routing.limits import SECOND
from routing.messages import GroupAddress, NodeAddress
from routing.names import nearest
from routing.simulation.figures import Figure, Plan, churn, goal_of, main, restarts, static
from routing.simulation.hosts import Host
from routing.simulation.invariants import check_host, why_not_one_network, why_not_whole
from routing.simulation.placement import place
from routing.simulation.traffic import Ledger, ways
from routing.simulation.turnover import Turnover
from routing.simulation.world import World
from routing.state import Detail

__all__: list[str] = []


def placed(nodes: int, seed: int = 1) -> World:
    world = World(seed)
    place(world, nodes)
    return world


def name_of(host: Host) -> bytes:
    assert host.core.name is not None
    return host.core.name


def without_cost(figure: Figure) -> Figure:
    return {name: value for name, value in figure.items() if name != "took_s"}


# -- placement


@pytest.mark.parametrize("nodes", [2, 8, 9, 12, 60])
def test_placed_network_is_whole_at_once_and_stays_whole(nodes: int) -> None:
    world = placed(nodes)
    assert why_not_whole(world) is None
    assert why_not_one_network(world) is None
    for host in world.hosts:
        check_host(host)
    world.run(100 * SECOND)
    assert why_not_whole(world) is None
    detail = Detail.GROUP_CONNECTED if nodes > 8 else Detail.CONNECTED
    assert {host.core.state.detail for host in world.hosts} == {detail}


def test_placed_node_has_a_name_that_others_voted_for() -> None:
    world = placed(12)
    keys = {host.key for host in world.hosts}
    for number, host in enumerate(world.hosts):
        certificate = host.core.certificate
        assert certificate is not None
        assert len(certificate.votes) == min(number, 8) // 2 + bool(number)
        assert {vote.key for vote in certificate.votes} < keys
        # The core itself is the judge: a name offered by a former process is checked in full.
        host.core.naming.hold(certificate)
        assert host.core.naming.held == certificate


def test_more_can_be_placed_in_each_bucket_and_no_bucket_overflows() -> None:
    few, many = placed(60), World(1)
    place(many, 60, per_bucket=8)
    held = [sum(len(host.core.table) for host in world.hosts) for world in (few, many)]
    assert held[0] < held[1]
    assert why_not_whole(many) is None


def test_newcomer_joins_a_placed_network_through_the_protocol() -> None:
    world = placed(12)
    newcomer = world.add_node([world.hosts[3].address, world.hosts[7].address])
    world.run(1)
    assert why_not_whole(world) is not None
    assert world.run_until(lambda: why_not_whole(world) is None, limit_ns=120 * SECOND)
    assert newcomer.core.state.detail is Detail.GROUP_CONNECTED


def test_placed_node_that_loses_everybody_looks_for_a_network() -> None:
    world = placed(3)
    for host in world.hosts[1:]:
        world.kill(host, silent=False)
    world.run(5 * SECOND)
    assert world.hosts[0].counts["BootstrapStarted"] > 0


@pytest.mark.parametrize(("nodes", "per_bucket"), [(0, None), (20_001, None), (5, 0), (5, 9)])
def test_what_cannot_be_placed_is_refused(nodes: int, per_bucket: int | None) -> None:
    with pytest.raises(UsageError):
        place(World(1), nodes, per_bucket=per_bucket)


def test_nodes_are_placed_in_an_empty_world_only() -> None:
    world = placed(2)
    with pytest.raises(UsageError, match="2 nodes"):
        place(world, 2)


# -- following messages


def far_pair(world: World) -> tuple[Host, Host]:
    """Two nodes that do not hold each other."""
    for source in world.hosts:
        for target in world.hosts:
            if source is not target and name_of(target) not in source.core.table:
                return source, target
    raise AssertionError("everybody holds everybody")


def test_message_is_followed_hop_by_hop() -> None:
    world = placed(60)
    ledger = Ledger(world, keep_ways=True)
    source, target = far_pair(world)
    parcel = ledger.submit(source, NodeAddress(name_of(target)), [target])
    world.run(3 * SECOND)
    assert parcel.arrived and parcel.delivered == {target.index: 1}
    assert parcel.reached[target.index] == parcel.frames >= 2
    assert parcel.way is not None and len(parcel.way) == parcel.frames
    assert (parcel.way[0].near, parcel.way[-1].far) == (source.index, target.index)
    assert parcel.delivered_at is not None and parcel.delivered_at > parcel.sent_at
    assert ways(parcel)[-1] == "no word of failure"


def test_message_to_the_dead_is_told_and_its_way_ends_where_nobody_hears() -> None:
    world = placed(12)
    ledger = Ledger(world, keep_ways=True)
    source, target = world.hosts[:2]
    world.kill(target, silent=True)
    parcel = ledger.submit(source, NodeAddress(name_of(target)), [target], signed=True)
    world.run(90 * SECOND)
    assert not parcel.arrived and parcel.failures == 1
    assert any("nobody hears" in line for line in ways(parcel))
    assert ways(parcel)[-1] == parcel.failed


def test_whoever_is_handed_a_message_not_for_him_is_a_stray() -> None:
    world = placed(12)
    ledger = Ledger(world)
    source, target, other = world.hosts[:3]
    parcel = ledger.submit(source, NodeAddress(name_of(target)), [other])
    world.run(3 * SECOND)
    assert not parcel.arrived and ledger.strays == 1


# -- static figures


@pytest.mark.parametrize("form", [False, True])
def test_static_network_delivers_everything_once(form: bool) -> None:
    to_node, to_group = static(Plan(nodes=12, messages=200, form=form, seed=3))
    for figure in (to_node, to_group):
        assert figure["ok"] is True and figure["delivered_ratio"] == 1.0
        assert figure["twice"] == figure["strays"] == figure["failed"] == 0
    assert to_node["messages"] == 200 and to_group["messages"] == 50
    hops = to_node["hops_mean"]
    assert isinstance(hops, float) and 1.0 <= hops < 3.0


def test_group_message_is_wanted_at_the_eight_nearest_of_all() -> None:
    world = placed(40)
    ledger = Ledger(world)
    by_name = {name_of(host): host for host in world.hosts}
    target = bytes(32)
    group = [by_name[name] for name in nearest(target, by_name, 8)]
    parcel = ledger.submit(world.hosts[0], GroupAddress(target), group)
    world.run(10 * SECOND)
    assert parcel.arrived and set(parcel.delivered) == {host.index for host in group}


def test_equal_seeds_give_equal_figures() -> None:
    plan = Plan(nodes=20, messages=60, seed=4)
    first, second = static(plan), static(plan)
    assert [without_cost(figure) for figure in first] == [without_cost(f) for f in second]
    (other, _) = static(Plan(nodes=20, messages=60, seed=5))
    assert other["digest"] != first[0]["digest"]


def test_only_small_networks_are_formed() -> None:
    with pytest.raises(UsageError, match="nodes=101"):
        static(Plan(nodes=101, form=True))


# -- churn


def test_dead_are_replaced_by_newcomers_that_join() -> None:
    world = placed(30)
    turnover = Turnover(world, median_ns=60 * SECOND)
    turnover.start()
    world.run(60 * SECOND)
    dead = [host for host in world.hosts if not host.alive]
    assert len(world.alive) == 30 and turnover.newcomers == len(turnover.died_at) == len(dead)
    assert 8 <= len(dead) <= 40, "half of 30 die in a median, newcomers among them"
    silent = sum(host.gone for host in dead)
    assert 0 < silent < len(dead)
    joined = [host for host in world.alive if host.index >= 30 and host.counts["Connected"]]
    assert joined
    first = min(turnover.died_at)
    died = turnover.died_at[first]
    assert turnover.lived(first, died, 0) and not turnover.lived(first, died, 1)


def test_member_is_connected_and_somebody_else() -> None:
    world = placed(2)
    turnover = Turnover(world, median_ns=SECOND)
    assert turnover.member(world.hosts[0]) is world.hosts[1]
    assert Turnover(World(1), median_ns=SECOND).member() is None


def test_newcomer_that_has_not_joined_is_no_member() -> None:
    world = World(1)
    world.add_node(["127.0.0.9:4000"])
    world.run(SECOND)
    assert len(world.alive) == 1
    assert Turnover(world, median_ns=SECOND).member() is None


@pytest.mark.parametrize(("median", "silent"), [(0, 0.5), (1, 1.5)])
def test_turnover_refuses_what_makes_no_sense(median: int, silent: float) -> None:
    with pytest.raises(UsageError):
        Turnover(World(1), median_ns=median, silent=silent)


def test_churn_loses_nothing_without_a_word() -> None:
    plan = Plan(nodes=40, median_s=744.0, seconds=20, rate=20)
    figure = churn(plan, goal_of(plan))
    assert figure["goal"] == 0.999 and figure["messages"] == 400
    assert figure["lost_without_word"] == figure["twice"] == 0
    ratio, counted = figure["delivered_ratio"], figure["counted"]
    assert isinstance(ratio, float) and ratio > 0.97
    assert isinstance(counted, int) and 380 < counted <= 400
    again = churn(plan, goal_of(plan))
    assert without_cost(again) == without_cost(figure)


def test_short_sessions_have_another_goal() -> None:
    assert goal_of(Plan(nodes=2, median_s=84.0)) == 0.99


# -- the door


def test_one_json_object_for_each_measurement() -> None:
    out = io.StringIO()
    assert main(["static", "--nodes", "9", "12", "--messages", "40"], out) == 0
    figures = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(figure["nodes"], figure["measure"]) for figure in figures] == [
        (9, "node_to_node"),
        (9, "node_to_group"),
        (12, "node_to_node"),
        (12, "node_to_group"),
    ]


def test_missed_goal_is_told_by_the_exit_code_with_the_way_of_what_was_missed() -> None:
    out = io.StringIO()
    arguments = ["churn", "--nodes", "12", "--median", "20", "--seconds", "10", "--goal", "1.01"]
    assert main([*arguments, "--explain", "1"], out) == 1
    figure = json.loads(out.getvalue())
    assert figure["ok"] is False and figure["goal"] == 1.01
    assert figure["deaths"] == figure["newcomers"] > 0


def test_misuse_is_told_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["static", "--nodes", "0"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("figures: nodes=0 must be")


# -- restarts


def test_restarts_repeat_and_are_held_against_their_goals() -> None:
    plan = Plan(nodes=9, times=4)
    kept, fresh = restarts(plan)
    assert (kept["measure"], fresh["measure"]) == ("restart_kept", "restart_fresh")
    assert [without_cost(figure) for figure in restarts(plan)] == [
        without_cost(kept),
        without_cost(fresh),
    ]
    for figure in (kept, fresh):
        took, goal = figure["back_ms"], figure["goal_p99_ms"]
        assert isinstance(took, dict) and isinstance(goal, int)
        assert 0 < took["p50"] <= took["p99"] <= took["max"]
        assert figure["ok"] is (took["p99"] <= goal)
