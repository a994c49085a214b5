"""Figures of delivery: `python -m routing.simulation.figures static --nodes 1000`.

Prints one JSON object for each measurement. Networks are placed (see `placement`) unless `--form`
is given; equal seeds give equal figures, but for `took_s`, the only thing read from a real clock.
It states goals beside what was measured and makes nothing true: the exit code is 1 where one is
missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2
from random import Random
from time import perf_counter
from typing import TextIO

from routing._xor import XorIndex
from routing.errors import UsageError
from routing.limits import GROUP_SIZE, NAME_BYTES, SECOND, Nanos
from routing.messages import GroupAddress, NodeAddress
from routing.simulation.hosts import Host, Violation
from routing.simulation.placement import place
from routing.simulation.scenarios import Run, begin
from routing.simulation.traffic import Ledger, Parcel
from routing.simulation.turnover import Turnover
from routing.simulation.world import World
from routing.state import Detail, LinkRole

__all__ = ["Figure", "Plan", "churn", "main", "static"]

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

LIVES_NS = 10 * SECOND
"""A destination that lives so long after the send ought to have the message."""

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


def _connections(world: World) -> Figure:
    held = [len(host.core.links_of(LinkRole.CONSOLIDATED)) for host in world.alive]
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
    return [_static(plan, to_groups=False), _static(plan, to_groups=True)]


def _static(plan: Plan, *, to_groups: bool) -> Figure:
    started = perf_counter()
    world = _network(plan)
    ledger = Ledger(world)
    random = Random(f"figures {plan.seed}")
    hosts = world.alive
    send = _group_sender(ledger, random, hosts) if to_groups else _node_sender(ledger, random, hosts)
    messages = plan.messages // 4 if to_groups else plan.messages
    for _ in range(messages):
        world.clock.at(world.now + random.randint(1, SPREAD_NS), send)
    before = Counter(world.counters())
    world.run(SPREAD_NS + AFTER_NS)
    parcels = ledger.parcels
    ratio = _ratio(sum(parcel.arrived for parcel in parcels), len(parcels))
    twice = sum(_twice(parcel) for parcel in parcels)
    connections = _connections(world)
    figure: Figure = {
        "measure": "node_to_group" if to_groups else "node_to_node",
        "nodes": plan.nodes,
        "seed": plan.seed,
        "formed": plan.form,
        "messages": len(parcels),
        "delivered_ratio": ratio,
        "goal": 1.0,
        "ok": ratio == 1.0
        and not twice
        and not ledger.strays
        and _at_most(connections["connections_max"], connections["connections_bound"]),
        "twice": twice,
        "strays": ledger.strays,
        "failed": sum(parcel.failed is not None for parcel in parcels),
        **_ways(parcels),
        "log2_nodes": round(log2(plan.nodes), 2),
        **connections,
        "counters": _grown(world, before),
        **_cost(world, started),
    }
    return figure


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
    ledger = Ledger(world)
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
    before = Counter(world.counters())
    world.run(plan.seconds * SECOND + AFTER_NS)
    parcels = ledger.parcels
    return {
        "measure": "churn",
        "nodes": plan.nodes,
        "seed": plan.seed,
        "median_session_s": plan.median_s,
        "messages": len(parcels),
        "rate": plan.rate,
        "nobody_to_send": without,
        **_fates(world, turnover, parcels, goal),
        **_ways([parcel for parcel in parcels if parcel.arrived]),
        "log2_nodes": round(log2(plan.nodes), 2),
        **_connections(world),
        "deaths": len(turnover.died_at),
        "newcomers": turnover.newcomers,
        "members_at_end": sum(host.core.state.detail >= Detail.CONNECTED for host in world.alive),
        "counters": _grown(world, before),
        **_cost(world, started),
    }


def _fates(world: World, turnover: Turnover, parcels: list[Parcel], goal: float) -> Figure:
    """Return what became of the messages, by whether their ends lived."""
    counted = [p for p in parcels if turnover.lived(p.wanted[0], p.sent_at, LIVES_NS)]
    both = [p for p in counted if turnover.lived(p.source, p.sent_at, LIVES_NS)]
    ratio = _ratio(sum(p.arrived for p in counted), len(counted))
    silent = [
        p
        for p in parcels
        if not p.arrived and p.failed is None and world.hosts[p.source].alive
    ]
    twice = sum(_twice(p) for p in parcels)
    reasons = Counter((p.failed or "").partition(":")[0] for p in parcels if p.failed)
    return {
        "counted": len(counted),
        "delivered_ratio": ratio,
        "goal": goal,
        "ok": ratio >= goal and not silent and not twice,
        "delivered_ratio_both_live": _ratio(sum(p.arrived for p in both), len(both)),
        "missed": len(counted) - sum(p.arrived for p in counted),
        "missed_source_died": sum(
            not p.arrived and not turnover.lived(p.source, p.sent_at, AFTER_NS) for p in counted
        ),
        "missed_by_reason": dict(
            sorted(Counter(str(p.failed) for p in both if not p.arrived).items())
        ),
        "lost_without_word": len(silent),
        "twice": twice,
        "failed": dict(sorted(reasons.items())),
        "failed_though_delivered": sum(p.arrived and p.failed is not None for p in parcels),
        "took_ms": _spread([(p.delivered_at or 0) - p.sent_at for p in parcels if p.arrived]),
    }


# -- arithmetic


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _at_most(value: object, bound: object) -> bool:
    assert isinstance(value, int | float) and isinstance(bound, int | float)
    return value <= bound


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
        "frames_per_delivery": round(sum(p.frames for p in parcels) / handed, 3) if handed else None,
    }


def _quantile(values: Sequence[int], share: float) -> int | None:
    """Return the smallest of sorted values that at least so large a share does not exceed."""
    if not values:
        return None
    return values[max(0, -int(-share * len(values) // 1) - 1)]


def _spread(nanoseconds: list[int]) -> Figure:
    values = sorted(nanoseconds)
    shares = (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
    return {label: (_quantile(values, share) or 0) // 1_000_000 for label, share in shares}


def _grown(world: World, before: Counter[str]) -> dict[str, int]:
    """Return the counters that have grown since."""
    after = Counter(world.counters())
    after.subtract(before)
    return {name: count for name, count in sorted(after.items()) if count}


def _cost(world: World, started: float) -> Figure:
    return {
        "virtual_s": world.now // SECOND,
        "events": world.clock.events,
        "digest": world.trace.digest(),
        "took_s": round(perf_counter() - started, 2),
    }


# -- the door


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Parse the arguments, measure, print; return 0 if every goal is met, 1 if not, 2 for misuse."""
    parser = argparse.ArgumentParser(prog="python -m routing.simulation.figures", description=__doc__)
    parser.add_argument("what", choices=("static", "churn"))
    parser.add_argument("--nodes", type=int, nargs="+", default=[12, 40, 100, 1_000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=2_000, help="static: to nodes")
    parser.add_argument("--form", action="store_true", help=f"for real, up to {FORM_MAX} nodes")
    parser.add_argument("--per-bucket", type=int, default=None)
    parser.add_argument("--median", type=float, default=744.0, help="churn: of sessions, seconds")
    parser.add_argument("--seconds", type=int, default=120, help="churn: of sending")
    parser.add_argument("--rate", type=int, default=50, help="churn: messages per second")
    parser.add_argument("--goal", type=float, default=None, help="churn: ratio delivered")
    given = parser.parse_args(arguments)
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
        )
        goal = given.goal if given.goal is not None else 0.999 if plan.median_s > 300 else 0.99
        try:
            figures = static(plan) if given.what == "static" else [churn(plan, goal)]
        except (UsageError, Violation) as error:
            print(f"figures: {error}", file=sys.stderr)
            return 2 if isinstance(error, UsageError) else 1
        for figure in figures:
            print(json.dumps(figure), file=out or sys.stdout, flush=True)
            ok = ok and figure["ok"] is True
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
