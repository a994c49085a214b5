"""Every move of an attacker against two real cores, breadth first, within a budget of moves.

What must never come of it is said by `judge`: nobody routes to another than he believes, nobody is
consolidated with a peer that took no part, nobody dials more than he may. The first way to break
one is the shortest, and is told as a dialogue. A budget is a bound: what needs more moves is not
looked at.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain
from typing import Final

from routing.certificates import founding_certificate
from routing.core import Core, CoreConfig
from routing.errors import CloseCode, UsageError
from routing.inputs import Lost
from routing.limits import SECOND, Limits
from routing.simulation.attacker import Attacker, Mask
from routing.simulation.invariants import why_not_at_rest, why_not_whole
from routing.simulation.scenarios import grow, make_world
from routing.simulation.siege import MALLORY, WHO, Line, Moment, Seat, Siege, shut
from routing.simulation.signer import make_signer
from routing.simulation.world import World
from routing.state import LinkRole, Token

__all__ = [
    "SCENES",
    "STATES_MAX",
    "Breach",
    "Finding",
    "Search",
    "Setting",
    "besiege",
    "judge",
    "search",
]

SCENES: Final = ("quiet", "asking", "crossing", "connected", "later")
"""What the cores are about when the attack begins.

quiet: they have lost each other and do nothing; asking: X asks for Y; crossing: each asks for the
other; connected: they have connected, and the attacker has heard it; later: that was so long ago
that neither remembers the attempt, but the attacker does.
"""

STATES_MAX: Final = 2_000_000


class Breach(StrEnum):
    """What must never be."""

    FAR_END = "routes to one over a connection whose far end is another"
    UNGREETED = "consolidated on a connection that its far end has not greeted"
    NO_PART = "consolidated by an attempt that the peer never took part in"
    DIALS = "more dials of one address than are allowed"
    LOCAL = "an invariant of one core"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is attacked, and how strong the attacker is."""

    moves: int
    scene: str = "asking"
    claimed: bool = False
    sniff: bool = False
    relaxed: bool = False
    waits: bool = False
    make_core: Callable[[CoreConfig], Core] = Core
    seed: int = 1
    real_signatures: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach and the shortest way to it."""

    breach: Breach
    text: str
    dialogue: tuple[str, ...]


@dataclass(slots=True)
class Search:
    """What a search has looked at."""

    setting: Setting
    states: int = 0
    steps: int = 0
    finding: Finding | None = None
    complete: bool = False
    """Every state within the budget has been judged."""
    consolidated: Counter[str] = field(default_factory=Counter)
    """In how many states who routes to whom: that it could have come to harm at all."""


# -- the place


def besiege(setting: Setting) -> tuple[Siege, Attacker, Moment]:
    """Return two named cores that have lost each other, or are as the scene says.

    Raises:
        UsageError: an unknown scene, or a budget below 0.
    """
    if setting.scene not in SCENES:
        raise UsageError(f"scene={setting.scene!r} must be one of {', '.join(SCENES)}")
    if setting.moves < 0:
        raise UsageError(f"moves={setting.moves} must be at least 0")
    world = _three(setting)
    hosts = [*sorted(world.hosts[:2], key=lambda host: host.key), world.hosts[2]]
    seats = []
    for host in hosts[:2]:
        assert host.core.name is not None, "a node of a whole network has a name"
        config = replace(host.core.config, relaxed=setting.relaxed)
        seats.append(Seat(config, host.core.snapshot(), host.address, host.core.name))
    core = hosts[MALLORY].core
    assert core.certificate is not None, "a node of a whole network has a name"
    neighbour = Mask(core.signer, core.certificate)
    signer = make_signer(b"stranger".ljust(32), real=setting.real_signatures)
    stranger = Mask(signer, founding_certificate(signer.key))
    siege = Siege(
        seats,
        hosts[MALLORY].address,
        [neighbour.key, stranger.key],
        make_core=setting.make_core,
        claimed=setting.claimed,
        sniff=setting.sniff,
    )
    moment = siege.begin(_lines(world, [host.index for host in hosts]), world.now)
    attacker = Attacker(
        siege,
        neighbour,
        stranger,
        tag=core.tag,
        relaxed=setting.relaxed,
        waits=setting.waits,
    )
    moment = _set(siege, attacker, moment, setting.scene)
    return siege, attacker, replace(moment, left=setting.moves, said=())


def _three(setting: Setting) -> World:
    """Return a whole network of two and the attacker's neighbour, its quotas free and low."""
    limits = Limits.recommended().but(
        exempt_networks=(), dials_per_address=2, dials_per_address_per_minute=3
    )
    world = make_world(
        setting.seed, command="", limits=limits, real_signatures=setting.real_signatures
    )
    grow(world, 3, gap_low_ns=61 * SECOND, gap_high_ns=61 * SECOND)
    world.run(183 * SECOND)
    ready = world.run_until(
        lambda: why_not_whole(world) is None and why_not_at_rest(world) is None,
        limit_ns=300 * SECOND,
    )
    if ready is None:
        raise UsageError(f"seed={setting.seed} makes no whole network of 3; take another")
    world.run(61 * SECOND)
    return world


def _lines(world: World, indices: list[int]) -> list[Line]:
    lines = []
    for wire in world.wires:
        ends = indices.index(wire.dialler.host.index), indices.index(wire.acceptor.host.index)
        lines.append(
            Line(
                ends=ends,
                tokens=(wire.dialler.token, wire.acceptor.token),
                keys=(wire.dialler.host.key, wire.acceptor.host.key),
                towards=((), ()),
                binding=wire.binding,
            )
        )
    return lines


def _set(siege: Siege, attacker: Attacker, moment: Moment, scene: str) -> Moment:
    """Bring the cores to where the scene begins."""
    moment = _part(siege, moment)
    if scene == "quiet":
        return moment
    moment = _ask(siege, moment, 0)
    if scene == "asking":
        return moment
    if scene == "crossing":
        return _ask(siege, moment, 1)
    while True:
        step = next(chain(siege.steps(moment), attacker.passes(moment)), None)
        if step is None:
            break
        moment = step[1]()
    assert len(siege.view(moment, 0).table) == 2, "without an attack the two connect"
    return attacker.wait(moment, attacker.patience) if scene == "later" else moment


def _part(siege: Siege, moment: Moment) -> Moment:
    """The connections between the two break, and both know."""
    for who in (0, 1):
        for index, line in enumerate(moment.lines):
            side = line.ends.index(who) if who in line.ends else 0
            if MALLORY not in line.ends and line.tokens[side]:
                fact = Lost(Token(line.tokens[side]), CloseCode.IO_ERROR, "reset")
                moment = siege.hear(shut(moment, index, side), who, fact)
                break
    return moment


def _ask(siege: Siege, moment: Moment, who: int) -> Moment:
    name = siege.seats[1 - who].name

    def start(core: Core) -> None:
        # The loss was a moment ago; what keeps from asking at once is not what is looked at.
        core.attempts.failed.clear()
        assert core.connecting.start(name), "the attempt must begin"

    return siege.urge(moment, who, "ask", start)


# -- what must never be


def judge(siege: Siege, moment: Moment) -> Iterator[tuple[Breach, str]]:
    """Yield every breach in a state, with a line about it."""
    for who in (0, 1):
        view = siege.view(moment, who)
        for name, key, token in view.table:
            line = siege.whose(moment, who, token)
            if line is None:
                continue
            side = 1 - line.ends.index(who)
            far = line.ends[side]
            believed = _owner(siege, name, key)
            if believed != far:
                text = f"{WHO[who]} routes to {WHO[believed]}; {WHO[far]} is at the far end"
                yield Breach.FAR_END, text
            if far == MALLORY:
                continue
            if line.roles[side] in (0, LinkRole.UNKNOWN):
                yield Breach.UNGREETED, f"{WHO[who]} routes over it; {WHO[far]} has not greeted it"
            if view.links[token][1] not in moment.took[far]:
                yield Breach.NO_PART, f"{WHO[who]} has a peer by an attempt {WHO[far]} never had"
        limits = siege.seats[who].config.limits
        recent = Counter(
            whom
            for dialler, whom, at in moment.dialled
            if dialler == who and moment.now < at + 60 * SECOND
        )
        for whom, dials in sorted(recent.items()):
            flying = sum((each.who, each.whom) == (who, whom) for each in moment.flights)
            many = dials > limits.dials_per_address_per_minute
            if many or flying > limits.dials_per_address:
                text = f"{WHO[who]} dials {WHO[whom]}'s endpoint: {dials} in a minute, {flying} now"
                yield Breach.DIALS, text


def _owner(siege: Siege, name: bytes, key: bytes) -> int:
    """Return who is meant by an entry of a table: whose name it is, if that is a core's."""
    for who, seat in enumerate(siege.seats):
        if seat.name == name or seat.key == key:
            return who
    return MALLORY


# -- the search


def search(
    setting: Setting,
    *,
    goals: Collection[Breach] = tuple(Breach),
    states_max: int = STATES_MAX,
    watch: Callable[[int], None] = lambda states: None,
) -> Search:
    """Visit every state within the budget; stop at the first breach that is a goal.

    Args:
        setting: What is attacked.
        goals: Breaches to stop at; others are passed by.
        states_max: The search ends incomplete beyond so many.
        watch: Told the number of states after each.
    """
    siege, attacker, start = besiege(setting)
    found = Search(setting)
    parents: dict[object, tuple[object, str, tuple[str, ...]]] = {start.identity: (None, "", ())}
    waiting = deque([start])
    while waiting:
        moment = waiting.popleft()
        found.states += 1
        watch(found.states)
        _note(siege, moment, found)
        for breach, text in judge(siege, moment):
            if breach in goals:
                found.finding = Finding(breach, text, _dialogue(parents, moment.identity))
                return found
        if found.states >= states_max:
            return found
        for label, step in chain(
            siege.steps(moment), attacker.passes(moment), attacker.moves(moment)
        ):
            found.steps += 1
            try:
                after = step()
            except AssertionError as error:
                told = (*_dialogue(parents, moment.identity), label)
                found.finding = Finding(Breach.LOCAL, str(error), told)
                return found
            identity = after.identity
            if identity not in parents:
                parents[identity] = (moment.identity, label, after.said)
                waiting.append(replace(after, said=()))
    found.complete = True
    return found


def _note(siege: Siege, moment: Moment, found: Search) -> None:
    for who in (0, 1):
        for name, key, _ in siege.view(moment, who).table:
            if key != siege.masks[0]:
                found.consolidated[f"{WHO[who]} to {WHO[_owner(siege, name, key)]}"] += 1


def _dialogue(
    parents: dict[object, tuple[object, str, tuple[str, ...]]], identity: object
) -> tuple[str, ...]:
    """Return what led to a state: what happened, and what the cores did about it."""
    lines: list[str] = []
    while True:
        before, label, said = parents[identity]
        if before is None:
            return tuple(reversed(lines))
        lines.append(f"{label}: {', '.join(said)}" if said else label)
        identity = before
