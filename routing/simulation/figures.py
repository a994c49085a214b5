"""Figures of delivery: `python -m routing.simulation.figures static --nodes 1000`.

Prints one JSON object for each measurement. Networks are placed (see `placement`) unless `--form`
is given; equal seeds give equal figures, but for `took_s`, the only thing read from a real clock.
It states goals beside what was measured and makes nothing true: the exit code is 1 where one is
missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log2
from random import Random
from time import perf_counter
from typing import TextIO

from routing._xor import XorIndex
from routing.errors import UsageError
from routing.events import Connected
from routing.limits import GROUP_SIZE, NAME_BYTES, SECOND, Nanos
from routing.messages import GroupAddress, NodeAddress
from routing.simulation.comebacks import comebacks
from routing.simulation.hosts import Host, Violation
from routing.simulation.placement import place
from routing.simulation.scenarios import Run, begin
from routing.simulation.traffic import Ledger, Parcel, ways
from routing.simulation.turnover import Turnover
from routing.simulation.world import World
from routing.state import Detail, LinkRole

__all__ = ["Figure", "Plan", "churn", "goal_of", "main", "restarts", "static"]

Figure = dict[str, object]
"""One measurement: what was asked for, what was found, what it should be."""

FORM_MAX = 100
"""Nodes that are formed through the protocol; more are placed."""

SETTLE_NS = 5 * SECOND
"""Before the first message: neighbours exchange their first lists."""

SPREAD_NS = 20 * SECOND
"""Messages of a static measurement are submitted at drawn times within this."""

AFTER_NS = 60 * SECOND
"""After the last message: every route has been tried by then, and every failure told."""

WARM_NS = 90 * SECOND
"""Churn before the first message: twice the silence limit, so that the silently dead abound."""

JOINS_NS = 60 * SECOND
"""A newcomer that lives so long ought to have become a member."""

LONG_SESSION_S = 600
"""Median from which on 99.9 % ought to arrive."""

LIVES_NS = 10 * SECOND
"""A destination that lives so long after the send ought to have the message."""

BACK_MS = {False: 3_000, True: 5_000}
"""Within which 99 % of restarted nodes ought to be back: with the old key, and with a fresh one."""

CHECKS_EVERY = 1_000_000
"""Steps of a node between two checks of its invariants: figures are no tests of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    nodes: int
    seed: int = 1
    messages: int = 2_000
    """Of a static measurement, to nodes; a quarter of it to groups."""
    form: bool = False
    """Form the network through the protocol instead of placing it."""
    per_bucket: int | None = None
    """See `placement.place`."""
    median_s: float = 744.0
    """Of sessions under churn."""
    seconds: int = 120
    """Under churn: how long messages are sent."""
    rate: int = 50
    """Under churn: messages submitted per second."""
    times: int = 200
    """Restarts of each sort."""
    explain: int = 0
    """Messages that did not arrive whose ways are told."""


# -- the network


def _network(plan: Plan) -> World:
    world = World(plan.seed, checks_every=CHECKS_EVERY, command="see the arguments")
    if not plan.form:
        place(world, plan.nodes, per_bucket=plan.per_bucket)
        world.run(SETTLE_NS)
        return world
    if plan.nodes > FORM_MAX:
        raise UsageError(f"nodes={plan.nodes} must be at most {FORM_MAX} with form; place them")
    run = Run("form", world)
    if not begin(run, plan.nodes):
        raise world.violation(f"never whole: {run.reason}")
    return world


def _held(world: World) -> list[int]:
    return [len(host.core.links_of(LinkRole.CONSOLIDATED)) for host in world.alive]


def _connections(held: list[int]) -> Figure:
    return {
        "connections_mean": round(sum(held) / len(held), 2),
        "connections_max": max(held),
        "connections_bound": round(_bound(len(held)), 1),
    }


def _bound(nodes: int) -> float:
    return 8 * log2(max(2, nodes)) + 16


# -- static


def static(plan: Plan) -> list[Figure]:
    """Measure messages to nodes and to groups in a network that nobody leaves.

    Raises:
        UsageError: the numbers do not fit.
        Violation: an invariant broke, or the network could not be formed.
    """
    started = perf_counter()
    world = _network(plan)
    ledger = Ledger(world, keep_ways=plan.explain > 0)
    random = Random(f"figures {plan.seed}")
    figures = []
    for to_groups in (False, True):
        figures.append(_static(plan, ledger, random, to_groups=to_groups, started=started))
        started = perf_counter()
    return figures


def _static(
    plan: Plan, ledger: Ledger, random: Random, *, to_groups: bool, started: float
) -> Figure:
    world, first, strays = ledger.world, len(ledger.parcels), ledger.strays
    hosts, events, began = world.alive, world.clock.events, world.now
    send = (_group_sender if to_groups else _node_sender)(ledger, random, hosts)
    for _ in range(plan.messages // 4 if to_groups else plan.messages):
        world.clock.at(world.now + random.randint(1, SPREAD_NS), send)
    before = Counter(world.counters())
    world.run(SPREAD_NS + AFTER_NS)
    parcels = ledger.parcels[first:]
    ratio = _ratio(sum(parcel.arrived for parcel in parcels), len(parcels))
    twice = sum(_twice(parcel) for parcel in parcels)
    strays = ledger.strays - strays
    held = _held(world)
    return {
        "measure": "node_to_group" if to_groups else "node_to_node",
        "nodes": plan.nodes,
        "seed": plan.seed,
        "formed": plan.form,
        "messages": len(parcels),
        "delivered_ratio": ratio,
        "goal": 1.0,
        "ok": ratio == 1.0 and not twice and not strays and max(held) <= _bound(len(held)),
        "twice": twice,
        "strays": strays,
        "failed": sum(parcel.failed is not None for parcel in parcels),
        **_ways(parcels),
        "log2_nodes": round(log2(plan.nodes), 2),
        **_connections(held),
        "missed_ways": _explained([p for p in parcels if not p.arrived], plan.explain),
        "counters": _grown(world, before),
        **_cost(world, started, began, events),
    }


def _node_sender(ledger: Ledger, random: Random, hosts: list[Host]) -> Callable[[], None]:
    def send() -> None:
        source, target = random.sample(hosts, 2)
        ledger.submit(source, NodeAddress(_name(target)), [target])

    return send


def _group_sender(ledger: Ledger, random: Random, hosts: list[Host]) -> Callable[[], None]:
    index = XorIndex(len(hosts))
    for number, host in enumerate(hosts):
        index.add(_name(host), number + 1)

    def send() -> None:
        target = random.randbytes(NAME_BYTES)
        group = [hosts[at - 1] for at in index.closest_tokens(target, GROUP_SIZE)]
        ledger.submit(random.choice(hosts), GroupAddress(target), group)

    return send


def _name(host: Host) -> bytes:
    assert host.core.name is not None, "only nodes with a name are drawn"
    return host.core.name


# -- churn


def churn(plan: Plan, goal: float) -> Figure:
    """Measure acknowledged messages between nodes while nodes die and others join.

    Raises:
        UsageError: the numbers do not fit.
        Violation: an invariant broke, or the network could not be formed.
    """
    started = perf_counter()
    world = _network(plan)
    turnover = Turnover(world, median_ns=int(plan.median_s * SECOND))
    turnover.start()
    world.run(WARM_NS)
    ledger = Ledger(world, keep_ways=plan.explain > 0)
    without = 0

    def send() -> None:
        nonlocal without
        source = turnover.member()
        target = None if source is None else turnover.member(source)
        if source is None or target is None:
            without += 1
            return
        ledger.submit(source, NodeAddress(_name(target)), [target])

    for number in range(plan.seconds * plan.rate):
        world.clock.at(world.now + 1 + number * SECOND // plan.rate, send)
    before, began, events = Counter(world.counters()), world.now, world.clock.events
    world.run(plan.seconds * SECOND + AFTER_NS)
    return {
        "measure": "churn",
        "nodes": plan.nodes,
        "seed": plan.seed,
        "formed": plan.form,
        "median_session_s": plan.median_s,
        "rate": plan.rate,
        "messages": len(ledger.parcels),
        "nobody_to_send": without,
        **_fates(plan, turnover, ledger.parcels, goal),
        **_ways([parcel for parcel in ledger.parcels if parcel.arrived]),
        "log2_nodes": round(log2(plan.nodes), 2),
        **_connections(_held(world)),
        **_turnover(world, turnover),
        "counters": _grown(world, before),
        **_cost(world, started, began, events),
    }


def _fates(plan: Plan, turnover: Turnover, parcels: list[Parcel], goal: float) -> Figure:
    """Return what became of the messages, by whether their ends lived."""
    world = turnover.world
    counted = [p for p in parcels if turnover.lived(p.wanted[0], p.sent_at, LIVES_NS)]
    both = [p for p in counted if turnover.lived(p.source, p.sent_at, LIVES_NS)]
    missed = [p for p in counted if not p.arrived]
    ratio = _ratio(len(counted) - len(missed), len(counted))
    lost = sum(not p.arrived and not p.failures and world.hosts[p.source].alive for p in parcels)
    twice = sum(_twice(p) for p in parcels)
    return {
        "counted": len(counted),
        "delivered_ratio": ratio,
        "goal": goal,
        "ok": ratio >= goal and not lost and not twice,
        "delivered_ratio_source_lived_too": _ratio(sum(p.arrived for p in both), len(both)),
        "missed": len(missed),
        "missed_by": _by_word(missed),
        "lost_without_word": lost,
        "twice": twice,
        "failed": sum(p.failures > 0 for p in parcels),
        "failed_though_delivered": sum(p.arrived and p.failures > 0 for p in parcels),
        "took_ms": _spread([(p.delivered_at or 0) - p.sent_at for p in parcels if p.arrived]),
        "missed_ways": _explained([p for p in both if not p.arrived], plan.explain),
    }


def _by_word(missed: list[Parcel]) -> dict[str, int]:
    """Count messages by what their sender was told; one that died was told nothing."""
    words = Counter(p.failed or "its sender died" for p in missed)
    return dict(sorted(words.items()))


def _turnover(world: World, turnover: Turnover) -> Figure:
    """Return who came and went, and whether newcomers that had the time for it became members."""
    newcomers = [h for h in world.hosts if h.started_at > SETTLE_NS]
    had_time = [h for h in newcomers if turnover.lived(h.index, h.started_at, JOINS_NS)]
    had_time = [h for h in had_time if h.started_at + JOINS_NS <= world.now]
    joined = sum(h.counts[Connected.__name__] > 0 for h in had_time)
    members = sum(h.core.state.detail >= Detail.CONNECTED for h in world.alive)
    return {
        "deaths": len(turnover.died_at),
        "newcomers": turnover.newcomers,
        "newcomers_joined_ratio": _ratio(joined, len(had_time)),
        "members_at_end": members,
    }


# -- restarts


def restarts(plan: Plan) -> list[Figure]:
    """Measure how long restarted nodes take to be back, with their old key and with a fresh one.

    Raises:
        UsageError: the numbers do not fit.
        Violation: an invariant broke, or the network could not be formed.
    """
    figures = []
    for fresh in (False, True):
        started, world = perf_counter(), _network(plan)
        began, events = world.now, world.clock.events
        took = _spread(comebacks(world, plan.times, fresh=fresh))
        figures.append(
            {
                "measure": "restart_fresh" if fresh else "restart_kept",
                "nodes": plan.nodes,
                "seed": plan.seed,
                "formed": plan.form,
                "restarts": plan.times,
                "back_ms": took,
                "goal_p99_ms": BACK_MS[fresh],
                "ok": took["p99"] <= BACK_MS[fresh],
                **_cost(world, started, began, events),
            }
        )
    return figures


# -- arithmetic


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _twice(parcel: Parcel) -> int:
    """How many applications were handed it more than once, and whether its end was told twice."""
    again = sum(times > 1 for times in parcel.delivered.values())
    return again + (parcel.failures > 1)


def _ways(parcels: Sequence[Parcel]) -> Figure:
    """Return hops and copies; a copy is a frame that came to one who was handed the message."""
    hops = sorted(p.reached.get(host, 0) for p in parcels for host in p.delivered)
    handed = len(hops)
    copies = sum(p.copies.get(host, 0) for p in parcels for host in p.delivered)
    return {
        "hops_mean": round(sum(hops) / handed, 3) if handed else None,
        "hops_p99": _quantile(hops, 0.99),
        "hops_max": hops[-1] if hops else None,
        "copies_per_delivery": round(copies / handed, 4) if handed else None,
        "frames_per_delivery": round(sum(p.frames for p in parcels) / handed, 3)
        if handed
        else None,
    }


def _quantile(values: Sequence[int], share: float) -> int | None:
    """Return the smallest of sorted values that at least so large a share does not exceed."""
    if not values:
        return None
    return values[max(0, -int(-share * len(values) // 1) - 1)]


def _spread(nanoseconds: Iterable[int]) -> dict[str, int]:
    values = sorted(nanoseconds)
    shares = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
    return {label: (_quantile(values, share) or 0) // 1_000_000 for label, share in shares}


def _grown(world: World, before: Counter[str]) -> dict[str, int]:
    """Return the counters that have grown since."""
    after = Counter(world.counters())
    after.subtract(before)
    return {name: count for name, count in sorted(after.items()) if count}


def _explained(missed: Sequence[Parcel], count: int) -> list[list[str]]:
    return [ways(parcel) for parcel in missed[:count]]


def _cost(world: World, started: float, began: Nanos, events: int) -> Figure:
    """Return what the measurement used; `events` and `virtual_s` without the forming."""
    return {
        "virtual_s": (world.now - began) // SECOND,
        "events": world.clock.events - events,
        "digest": world.trace.digest(),
        "took_s": round(perf_counter() - started, 2),
    }


# -- the door


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m routing.simulation.figures", description=__doc__
    )
    parser.add_argument("what", choices=("static", "churn", "restart"))
    parser.add_argument("--nodes", type=int, nargs="+", default=[12, 40, 100, 1_000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=2_000, help="static: to nodes")
    parser.add_argument("--form", action="store_true", help=f"for real, up to {FORM_MAX} nodes")
    parser.add_argument("--per-bucket", type=int, default=None)
    parser.add_argument("--median", type=float, default=744.0, help="churn: of sessions, seconds")
    parser.add_argument("--seconds", type=int, default=120, help="churn: of sending")
    parser.add_argument("--rate", type=int, default=50, help="churn: messages per second")
    parser.add_argument("--times", type=int, default=200, help="restart: of each sort")
    parser.add_argument("--goal", type=float, default=None, help="churn: ratio delivered")
    parser.add_argument("--explain", type=int, default=0, help="ways of so many that were missed")
    return parser


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Parse the arguments, measure, print; 0 if every goal is met, 1 if not, 2 for misuse."""
    given = _parser().parse_args(arguments)
    ok = True
    for nodes in given.nodes:
        plan = Plan(
            nodes=nodes,
            seed=given.seed,
            messages=given.messages,
            form=given.form,
            per_bucket=given.per_bucket,
            median_s=given.median,
            seconds=given.seconds,
            rate=given.rate,
            times=given.times,
            explain=given.explain,
        )
        goal = given.goal if given.goal is not None else goal_of(plan)
        try:
            if given.what == "churn":
                figures = [churn(plan, goal)]
            else:
                figures = (static if given.what == "static" else restarts)(plan)
        except (UsageError, Violation) as error:
            print(f"figures: {error}", file=sys.stderr)
            return 2 if isinstance(error, UsageError) else 1
        for figure in figures:
            print(json.dumps(figure), file=out or sys.stdout, flush=True)
            ok = ok and figure["ok"] is True
    return 0 if ok else 1


def goal_of(plan: Plan) -> float:
    """Return the share that ought to arrive under churn: 99.9 % of sessions of minutes, or 99 %."""
    return 0.999 if plan.median_s >= LONG_SESSION_S else 0.99


if __name__ == "__main__":
    # Ten thousand nodes are some million objects that stay: look for garbage seldom.
    gc.set_threshold(100_000, 50, 1_000)
    sys.exit(main())
