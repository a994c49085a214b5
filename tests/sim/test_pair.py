"""Two real cores connect through every order in which their messages can arrive.

Both have a name and know each other only through a third node, which relays at once. Whoever
starts, they end with one and the same connection at both ends and nothing else open.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing.core import Core, CoreConfig
from routing.errors import CloseCode
from routing.inputs import BootstrapRequested, Listening, Lost
from routing.limits import SECOND, Nanos
from routing.simulation.invariants import why_not_at_rest, why_not_whole
from routing.simulation.scenarios import grow, make_world
from routing.simulation.signer import make_signer
from routing.simulation.world import World
from routing.state import Detail, LinkRole
from tests.sim.explorer import Explorer, Line, Moment, Seat

__all__: list[str] = []

ONE, OTHER, RELAY = range(3)
STATES_MAX = 60_000


def whole_world(nodes: int, seed: int) -> World:
    world = make_world(seed, command="")
    grow(world, nodes, gap_low_ns=SECOND, gap_high_ns=SECOND)
    world.run(nodes * SECOND)
    ready = world.run_until(
        lambda: why_not_whole(world) is None and why_not_at_rest(world) is None,
        limit_ns=300 * SECOND,
    )
    assert ready is not None
    return world


def parted_pair(
    seed: int,
    *,
    faults: int = 0,
    horizon_ns: int = 0,
    blocked: frozenset[tuple[int, int]] = frozenset(),
    relaxed: bool = False,
) -> tuple[Explorer, Moment]:
    """Return two nodes, lower key first, that have just lost their connection, and a relay."""
    world = whole_world(3, seed)
    hosts = [*sorted(world.hosts[:2], key=lambda host: host.key), world.hosts[2]]
    configs = [replace(host.core.config, relaxed=relaxed) for host in hosts]
    seats = [
        Seat(config, host.core.snapshot(), host.address)
        for config, host in zip(configs, hosts, strict=True)
    ]
    seat_of = {host.index: seat for seat, host in enumerate(hosts)}
    lines = []
    for wire in world.wires:
        pair = seat_of[wire.dialler.host.index], seat_of[wire.acceptor.host.index]
        tokens = wire.dialler.token, wire.acceptor.token
        lines.append(Line(pair, tokens, ((), ()), wire.binding))
    explorer = Explorer(
        seats,
        world.now,
        instant=frozenset({RELAY}),
        faults=faults,
        horizon_ns=horizon_ns,
        blocked=blocked,
    )
    moment = explorer.begin(lines)
    for who, other in ((ONE, OTHER), (OTHER, ONE)):
        moment = _lose(explorer, moment, who, other)
    return explorer, explorer.settle(moment)


def _lose(explorer: Explorer, moment: Moment, who: int, other: int) -> Moment:
    core = explorer.core(who, moment.snapshots[who])
    key = explorer.seats[other].config.signer.key
    (token,) = [link.token for link in core.links_of(LinkRole.CONSOLIDATED) if link.key == key]
    moment = explorer._shut(moment, who, token)
    return explorer.apply(moment, who, Lost(token, CloseCode.IO_ERROR, "reset"))


def name_of(explorer: Explorer, moment: Moment, who: int) -> bytes:
    name = explorer.core(who, moment.snapshots[who]).name
    assert name is not None
    return name


def start(explorer: Explorer, moment: Moment, who: int, other: int) -> Moment:
    """Let one core ask for the other."""
    name = name_of(explorer, moment, other)

    def ask(core: Core) -> None:
        # The loss was a moment ago; what keeps from asking at once is not what is tested here.
        core.attempts.failed.clear()
        assert core.connecting.start(name), "the attempt must begin"

    return explorer.urge(moment, who, ask)


def pair_links(explorer: Explorer, moment: Moment, who: int) -> list[tuple[LinkRole, int]]:
    """Return role and token of every connection between the two."""
    core = explorer.core(who, moment.snapshots[who])
    relay = explorer.seats[RELAY].config.signer.key
    return [(link.role, link.token) for link in core.links.values() if link.key != relay]


def judge_connected(explorer: Explorer, moment: Moment) -> None:
    ours, theirs = (pair_links(explorer, moment, who) for who in (ONE, OTHER))
    assert [role for role, _ in ours] == [LinkRole.CONSOLIDATED], f"core 0 holds {ours}"
    assert [role for role, _ in theirs] == [LinkRole.CONSOLIDATED], f"core 1 holds {theirs}"
    judge_nothing_left(explorer, moment)


def judge_nothing_left(explorer: Explorer, moment: Moment) -> None:
    """What is open is one and the same connection; no attempt and no dial is left."""
    between = [line for line in moment.lines if RELAY not in line.ends]
    assert len(between) <= 1 and all(all(line.tokens) for line in between), f"open: {between}"
    for who in (ONE, OTHER):
        links = pair_links(explorer, moment, who)
        tokens = {line.tokens[line.ends.index(who)] for line in between}
        assert {token for _, token in links} == tokens
        core = explorer.core(who, moment.snapshots[who])
        assert core.attempts.live() == []
        assert core.attempts.unknown.deadlines(now=core.now) == []
        assert core.dials.flights == {} and core.dials.plans == {}
    assert moment.dials == ()


@pytest.mark.parametrize("starters", [(ONE,), (OTHER,)], ids=["lower key", "higher key"])
@pytest.mark.parametrize("seed", [1, 2])
def test_one_request_connects_the_pair_in_every_order(starters: tuple[int, ...], seed: int) -> None:
    explorer, moment = parted_pair(seed)
    for who in starters:
        moment = start(explorer, moment, who, OTHER - who)
    explorer.explore(moment, lambda end: judge_connected(explorer, end), states_max=STATES_MAX)
    assert explorer.ends >= 1
    assert explorer.states > 50, "there must be orders to choose from"


@pytest.mark.parametrize("seed", [1, 2])
def test_crossing_requests_connect_the_pair_in_every_order(seed: int) -> None:
    explorer, moment = parted_pair(seed)
    moment = start(explorer, moment, ONE, OTHER)
    moment = start(explorer, moment, OTHER, ONE)
    explorer.explore(moment, lambda end: judge_connected(explorer, end), states_max=STATES_MAX)
    assert explorer.ends >= 1
    assert explorer.states > 200, "there must be orders to choose from"


@pytest.mark.parametrize(
    "starters", [(ONE,), (OTHER,), (ONE, OTHER)], ids=["lower key", "higher key", "crossing"]
)
def test_one_fault_anywhere_only_delays_the_pair(starters: tuple[int, ...]) -> None:
    explorer, moment = parted_pair(1, faults=1, horizon_ns=90 * SECOND)
    for who in starters:
        moment = start(explorer, moment, who, OTHER - who)
    explorer.explore(moment, lambda end: judge_connected(explorer, end), states_max=STATES_MAX)
    assert explorer.ends > 5, "faults must lead to several ends"


# -- only one of the two can dial the other


STARTERS = [(ONE,), (OTHER,), (ONE, OTHER)]
STARTER_IDS = ["lower key", "higher key", "crossing"]
BLOCKED = [(ONE, OTHER), (OTHER, ONE)]
"""(dialler, dialled)."""


def judge_not_connected(explorer: Explorer, moment: Moment) -> None:
    """Neither end holds anything of the other, and each says that it was not to be had."""
    for who in (ONE, OTHER):
        assert pair_links(explorer, moment, who) == []
    judge_nothing_left(explorer, moment)


def judge_one_way(explorer: Explorer, moment: Moment) -> None:
    """Both ends hold the same connection, and both call it one way."""
    judge_connected(explorer, moment)
    for who in (ONE, OTHER):
        core = explorer.core(who, moment.snapshots[who])
        relay = explorer.seats[RELAY].config.signer.key
        assert [link.one_way for link in core.links.values() if link.key != relay] == [True]


@pytest.mark.parametrize(
    ("starters", "blocked"),
    [((ONE,), (ONE, OTHER)), ((OTHER,), (OTHER, ONE)), ((ONE, OTHER), (ONE, OTHER))],
    ids=STARTER_IDS,
)
def test_strict_pair_whose_secondary_is_blocked_ends_with_nothing_in_every_order(
    starters: tuple[int, ...], blocked: tuple[int, int]
) -> None:
    explorer, moment = parted_pair(1, horizon_ns=18 * SECOND, blocked=frozenset({blocked}))
    for who in starters:
        moment = start(explorer, moment, who, OTHER - who)
    explorer.explore(moment, lambda end: judge_not_connected(explorer, end), states_max=STATES_MAX)
    assert explorer.states > 20, "there must be orders to choose from"


@pytest.mark.parametrize("starters", STARTERS, ids=STARTER_IDS)
@pytest.mark.parametrize("blocked", BLOCKED, ids=["to higher", "to lower"])
def test_strict_pair_of_which_one_cannot_dial_is_never_connected(
    starters: tuple[int, ...], blocked: tuple[int, int]
) -> None:
    explorer, moment = parted_pair(1, horizon_ns=60 * SECOND, blocked=frozenset({blocked}))
    for who in starters:
        moment = start(explorer, moment, who, OTHER - who)

    def judge(end: Moment) -> None:
        roles = [role for who in (ONE, OTHER) for role, _ in pair_links(explorer, end, who)]
        assert LinkRole.CONSOLIDATED not in roles

    explorer.explore(moment, judge, states_max=STATES_MAX)


@pytest.mark.parametrize("starters", STARTERS, ids=STARTER_IDS)
@pytest.mark.parametrize("faults", [0, 1])
@pytest.mark.parametrize("blocked", BLOCKED, ids=["to higher", "to lower"])
def test_relaxed_pair_of_which_one_cannot_dial_is_connected_one_way_in_every_order(
    starters: tuple[int, ...], blocked: tuple[int, int], faults: int
) -> None:
    explorer, moment = parted_pair(
        1,
        faults=faults,
        horizon_ns=(45 + 105 * faults) * SECOND,
        blocked=frozenset({blocked}),
        relaxed=True,
    )
    for who in starters:
        moment = start(explorer, moment, who, OTHER - who)
    explorer.explore(moment, lambda end: judge_one_way(explorer, end), states_max=STATES_MAX)
    assert explorer.states > 20, "there must be orders to choose from"


@pytest.mark.parametrize("starters", STARTERS, ids=STARTER_IDS)
def test_relaxed_pair_without_a_block_is_connected_both_ways_in_every_order(
    starters: tuple[int, ...],
) -> None:
    explorer, moment = parted_pair(1, relaxed=True)
    for who in starters:
        moment = start(explorer, moment, who, OTHER - who)

    def judge(end: Moment) -> None:
        judge_connected(explorer, end)
        for who in (ONE, OTHER):
            links = explorer.core(who, end.snapshots[who]).links.values()
            assert not any(link.one_way for link in links)

    explorer.explore(moment, judge, states_max=STATES_MAX)
    assert explorer.ends >= 1


def fresh(index: int, address: str, *, first: bool, contacts: tuple[str, ...], swap: bool) -> Seat:
    """Return a core that listens and has not looked for a network yet."""
    config = CoreConfig(
        signer=make_signer(bytes((index ^ swap,)) * 32, real=False),
        secret=bytes((index,)) * 32,
        tag=bytes(8),
        first=first,
        contacts=contacts,
    )
    core = Core(config)
    core.handle(Listening([address]), Nanos(0))
    return Seat(config, core.snapshot(), address)


@pytest.mark.parametrize("swap", [False, True], ids=["lower key first", "higher key first"])
@pytest.mark.parametrize("first", [True, False], ids=["told to found", "founds when asked"])
@pytest.mark.parametrize("faults", [0, 1])
def test_newcomer_and_founder_connect_from_nothing_in_every_order(
    first: bool, swap: bool, faults: int
) -> None:
    founder = fresh(0, "127.1.0.1:4000", first=first, contacts=(), swap=swap)
    newcomer = fresh(1, "127.1.0.2:4000", first=False, contacts=(founder.address,), swap=swap)
    explorer = Explorer([founder, newcomer], Nanos(0), faults=faults, horizon_ns=150 * SECOND)
    moment = explorer.begin([])
    for who in (0, 1):
        moment = explorer.apply(moment, who, BootstrapRequested())

    def judge(end: Moment) -> None:
        cores = [explorer.core(who, end.snapshots[who]) for who in (0, 1)]
        roles = [[link.role for link in core.links.values()] for core in cores]
        assert roles == [[LinkRole.CONSOLIDATED]] * 2, f"ends with {roles}"
        (line,) = end.lines
        assert all(line.tokens) and end.dials == ()
        assert {core.state.detail for core in cores} == {Detail.CONNECTED}
        assert not any(core.attempts.live() or core.dials.flights for core in cores)

    explorer.explore(moment, judge, states_max=STATES_MAX)
    assert explorer.states > 70, "there must be orders to choose from"
