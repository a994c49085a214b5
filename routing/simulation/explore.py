"""Every order in which two real cores can connect, breadth first, with so many faults anywhere.

Each state is judged; where nothing is on its way any more and nothing is pending, both must agree
on one and the same connection, and have one if nothing was made to fail. The first way to break
something is the shortest, and is told as a dialogue. A budget of faults is a bound: what needs more
is not looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from typing import Final

from routing.attempts import Attempt
from routing.bodies import ConnectRequest
from routing.core import Core, CoreConfig
from routing.errors import CloseCode, UsageError
from routing.inputs import Lost
from routing.limits import MILLISECOND, SECOND, Limits
from routing.links import Link
from routing.messages import Envelope, NodeAddress
from routing.seniority import numbered
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_at_rest, why_not_whole
from routing.simulation.moments import DOWN, WHO, Budget, Moment, Seat
from routing.simulation.pair import Pair, Step
from routing.simulation.scenarios import grow, make_world
from routing.simulation.world import World
from routing.state import Connection, Direction, LinkRole, Token

__all__ = [
    "SCENES",
    "STATES_MAX",
    "Breach",
    "Exploration",
    "Finding",
    "Scene",
    "Setting",
    "explore",
    "judge",
    "judge_end",
    "set_up",
]

STATES_MAX: Final = 2_000_000

LATEST_NS: Final = 50 * SECOND
"""Within which who has crashed starts anew and who has lost a peer notices; silence takes 45 s."""

FILLERS: Final = 8
TIGHT: Final = 9
"""The table's cap where it becomes full: the neighbour and the fillers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Who asks, what may happen, and how often unless told otherwise."""

    text: str
    starters: tuple[int, ...]
    budget: Budget
    fresh: bool = False
    """Who starts anew has another key and another name."""
    tight: bool = False
    """The table has room for no more than the fillers and the neighbour."""
    relaxed: bool = False
    """Both do with one way where the other is not to be had."""
    barred: tuple[tuple[int, int], ...] = ()
    """(who, whom): dials that always fail."""


ONE_EACH: Final = Budget(losses=1, duplicates=1, failed_dials=1, expiries=1)

SCENES: Final = {
    "one": Scene(text="X asks for Y", starters=(0,), budget=ONE_EACH),
    "other": Scene(text="Y, of the higher key, asks for X", starters=(1,), budget=ONE_EACH),
    "crossing": Scene(
        text="X asks, and Y asks at any time",
        starters=(0,),
        budget=ONE_EACH._replace(expiries=0, asks=(0, 1)),
    ),
    "crossed": Scene(
        text="Y asks, and X asks at any time",
        starters=(1,),
        budget=ONE_EACH._replace(expiries=0, asks=(1, 0)),
    ),
    "twice": Scene(
        text="X asks, and asks again when that has come to nothing",
        starters=(0,),
        budget=Budget(losses=1, expiries=1, asks=(1, 0)),
    ),
    "kept": Scene(
        text="X asks; one of them crashes at any time and starts anew with its key",
        starters=(0,),
        budget=Budget(crashes=1),
    ),
    "fresh": Scene(
        text="X asks; one of them crashes at any time and starts anew with another key",
        starters=(0,),
        budget=Budget(crashes=1),
        fresh=True,
    ),
    "full": Scene(
        text="X asks; the table of one becomes full at any time",
        starters=(0,),
        budget=Budget(fills=1, losses=1, asks=(0, 1)),
        tight=True,
    ),
    "breaks": Scene(
        text="X asks; a connection breaks at any time",
        starters=(0,),
        budget=Budget(breaks=1, losses=1, asks=(0, 1)),
    ),
    "barred": Scene(
        text="X asks, and cannot dial Y: nothing may come of it",
        starters=(0,),
        budget=Budget(losses=1, expiries=1),
        barred=((0, 1),),
    ),
    "one-way": Scene(
        text="X asks, and cannot dial Y; both do with one way",
        starters=(0,),
        budget=Budget(losses=1, duplicates=1, asks=(0, 1)),
        relaxed=True,
        barred=((0, 1),),
    ),
    "turned": Scene(
        text="X asks, and Y cannot dial X; both do with one way",
        starters=(0,),
        budget=Budget(losses=1, duplicates=1, asks=(0, 1)),
        relaxed=True,
        barred=((1, 0),),
    ),
}
"""By name."""


class Breach(StrEnum):
    """What must never be."""

    LOCAL = "an invariant of one core"
    OWNER = "a connection that is open at the host and not owned by the core, or the reverse"
    FAR_END = "routes to one over a connection whose far end is another"
    UNGREETED = "consolidated on a connection that its far end does not take for the primary"
    OUTLIVED = "the requester gives up before the responder"
    PENDING = "something is pending when all has been said, or has no deadline"
    DISAGREE = "the two do not hold one and the same connection"
    STRICT = "connected, though one of them cannot be dialled"
    APART = "not connected, though nothing was made to fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is explored."""

    scene: str = "one"
    budget: Budget | None = None
    """The scene's own if None."""
    make_core: Callable[[CoreConfig], Core] = Core
    seed: int = 1

    @property
    def left(self) -> Budget:
        """How much may happen."""
        return SCENES[self.scene].budget if self.budget is None else self.budget


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach and the shortest way to it."""

    breach: Breach
    text: str
    dialogue: tuple[str, ...]


@dataclass(slots=True)
class Exploration:
    """What an exploration has looked at."""

    setting: Setting
    states: int = 0
    steps: int = 0
    ends: int = 0
    connected: int = 0
    """Ends in which the two are connected."""
    core_steps: int = 0
    """Steps of a core that were worked out; others were known."""
    finding: Finding | None = None
    complete: bool = False
    """Every state within the budget has been judged."""


# -- the place


def set_up(setting: Setting) -> tuple[Pair, Moment]:
    """Return two named cores that have lost each other, the first of which asks.

    Raises:
        UsageError: an unknown scene, or a budget below 0.
    """
    if setting.scene not in SCENES:
        raise UsageError(f"scene={setting.scene!r} must be one of {', '.join(SCENES)}")
    scene = SCENES[setting.scene]
    for name, count in setting.left._asdict().items():
        if min(count if isinstance(count, tuple) else (count,)) < 0:
            raise UsageError(f"{name}={count} must be at least 0")
    limits = Limits.recommended()
    world = _whole(5 if scene.fresh else 3, setting.seed, limits)
    relay = world.hosts[-1]
    hosts = sorted(world.hosts[:2], key=lambda host: host.key)
    again = sorted(world.hosts[2:4], key=lambda host: host.key) if scene.fresh else hosts
    seats = []
    for host, other in zip(hosts, again, strict=True):
        first = _seat(world, host, host.address, scene)
        reborn = _seat(world, other, host.address, scene, again=True)
        seats.append((first, reborn))
    fill = _filler(relay) if scene.tight else None
    pair = Pair(seats, relay=relay.key, make_core=setting.make_core, fill=fill, barred=scene.barred)
    moment = pair.begin(world.now, setting.left)
    for who in scene.starters:
        moment = pair.ask(moment, who, seats[1 - who][0].name)
    return pair, replace(moment, said=())


def _whole(nodes: int, seed: int, limits: Limits) -> World:
    world = make_world(seed, command="", limits=limits)
    grow(world, nodes, gap_low_ns=61 * SECOND, gap_high_ns=61 * SECOND)
    world.run(nodes * 61 * SECOND)
    ready = world.run_until(
        lambda: why_not_whole(world) is None and why_not_at_rest(world) is None,
        limit_ns=300 * SECOND,
    )
    if ready is None:
        raise UsageError(f"seed={seed} makes no whole network of {nodes}; take another")
    return world


def _seat(world: World, host: Host, address: str, scene: Scene, *, again: bool = False) -> Seat:
    """Return a core that has lost all but the neighbour, just now."""
    config = replace(host.core.config, relaxed=scene.relaxed)
    if again:
        # Another process: what it draws is not what the first one drew.
        config = replace(config, secret=bytes(byte ^ 0xFF for byte in config.secret))
    if scene.tight:
        config = replace(config, limits=config.limits.but(table_max=TIGHT))
    core = Core(config)
    core.restore(host.core.snapshot())
    core.on_deadline(world.now)
    for link in core.links_of(LinkRole.CONSOLIDATED):
        if link.key != world.hosts[-1].key:
            core.handle(Lost(link.token, CloseCode.IO_ERROR, "reset"), world.now)
    # Nothing but the connect: what a node does every day would hide a connect that failed.
    for _, kind, subject in core.alarms.export():
        core.alarms.cancel((kind, subject))
    core.addresses.advertised = [address]
    core.attempts.failed.clear()
    if again:
        core.incarnation = numbered(world.now // MILLISECOND, core.dice.bytes(8))
    core.take_actions()
    assert core.name is not None, "a node of a whole network has a name"
    return Seat(config, core.snapshot(), address, core.name)


def _filler(relay: Host) -> Callable[[Core], None]:
    """Return what consolidates a core with neighbours that are nearer than anybody."""
    certificate = relay.core.certificate
    assert certificate is not None

    def fill(core: Core) -> None:
        assert core.name is not None
        for number in range(1, FILLERS + 1):
            name = core.name[:-1] + bytes((core.name[-1] ^ number,))
            if name in core.table:
                continue
            token = Token((9 << 32) | number)
            connection = Connection(token, "tcp", "127.9.0.1:4000", "", Direction.INBOUND)
            key = bytes((number,)) * 32
            link = Link(connection, key, bytes(32), LinkRole.UNKNOWN, core.now)
            request = ConnectRequest(
                attempt=bytes((number,)) * 16,
                target=core.name,
                incarnation=bytes(8),
                endpoints=[],
                reply_to=NodeAddress(name),
                certificate=certificate,
                urgent=False,
                relaxed=False,
            )
            core.links[token] = link
            attempt = Attempt(
                id=request.attempt,
                requester=False,
                name=name,
                key=key,
                request=request,
                envelope=Envelope(0, 0, b"", b""),
                request_hash=bytes(32),
            )
            core.peers.up(link, attempt)
        core._settle()

    return fill


# -- what must never be


def judge(pair: Pair, moment: Moment, *, start: Budget) -> Iterator[tuple[Breach, str]]:
    """Yield every breach in a state, with a line about it."""
    ours = [seat.key for seats in pair.seats for seat in seats]
    for who in (0, 1):
        if moment.lives[who] == DOWN:
            continue
        view = pair.view(moment, who)
        ends = {
            line.tokens[side]: (line, side)
            for line in moment.lines
            for side in (0, 1)
            if line.ends[side] == who and line.tokens[side]
        }
        owned = [token for token, link in view.links.items() if link.key in ours]
        if sorted(ends) != sorted(owned):
            yield Breach.OWNER, f"{WHO[who]} has {len(ends)} open and owns {len(owned)}"
            continue
        for name, key, token in view.table:
            if key not in ours:
                continue
            line, side = ends[token]
            if key != line.keys[1 - side] or name not in [s.name for s in pair.seats[1 - who]]:
                yield Breach.FAR_END, f"{WHO[who]} routes to another than holds the far end"
            yield from _judge_greeted(pair, moment, who, token)
    if moment.lives.count(DOWN) == 0 and moment.left.expiries == start.expiries:
        yield from _judge_deadlines(pair, moment)


def _judge_greeted(
    pair: Pair, moment: Moment, who: int, token: int
) -> Iterator[tuple[Breach, str]]:
    """The far end, while it is open, takes it for the primary of the same attempt."""
    for line in moment.lines:
        side = line.ends.index(who)
        far = line.tokens[1 - side]
        if line.tokens[side] != token or moment.lives[1 - who] == DOWN:
            continue
        held = pair.view(moment, 1 - who).links.get(far) if far else None
        waits = None in line.towards[1 - side]
        good = held is not None and held.role in (LinkRole.PRIMARY, LinkRole.CONSOLIDATED)
        if waits or (held is not None and not good):
            yield Breach.UNGREETED, f"{WHO[who]} routes over it, {WHO[1 - who]} does not know yet"


def _judge_deadlines(pair: Pair, moment: Moment) -> Iterator[tuple[Breach, str]]:
    """The requester that has its answer lives longer, unless a clock ran ahead."""
    theirs = {trial.id: trial for trial in pair.view(moment, 1).trials}
    for trial in pair.view(moment, 0).trials:
        other = theirs.get(trial.id)
        if other is None or trial.requester == other.requester:
            continue
        asker, answerer = (trial, other) if trial.requester else (other, trial)
        if asker.expected and asker.deadline <= answerer.deadline:
            yield Breach.OUTLIVED, "the requester's deadline is before the responder's"


def judge_end(pair: Pair, moment: Moment, *, start: Budget) -> Iterator[tuple[Breach, str]]:
    """Yield every breach where nothing is on its way and nothing is due."""
    for who in (0, 1):
        for what in pair.view(moment, who).pending:
            yield Breach.PENDING, f"{WHO[who]} still has: {what}"
    held: list[list[str]] = [[], []]
    for line in moment.lines:
        for side in (0, 1):
            if line.tokens[side]:
                link = pair.view(moment, line.ends[side]).links[line.tokens[side]]
                held[line.ends[side]].append(link.role.name)
    if held not in ([[], []], [["CONSOLIDATED"], ["CONSOLIDATED"]]):
        yield Breach.DISAGREE, f"X holds {held[0] or 'nothing'}, Y {held[1] or 'nothing'}"
    elif moment.lines and not all(moment.lines[0].tokens):
        yield Breach.DISAGREE, "each holds another connection"
    elif moment.lines and pair.barred and not pair.seats[0][0].config.relaxed:
        yield Breach.STRICT, "the two are connected, and one cannot dial the other"
    elif not moment.lines and _is_owed(pair, moment, start):
        yield Breach.APART, "nothing was made to fail, and the two are not connected"


def _is_owed(pair: Pair, moment: Moment, start: Budget) -> bool:
    """Tell whether what happened must not keep the two apart.

    A lost request is sent again, a lost response rides in the Hello, a copy is known as one, and
    who starts anew asks anew. But a dial is made once in an attempt.
    """
    if moment.hurt or (pair.barred and not pair.seats[0][0].config.relaxed):
        return False
    left = moment.left
    spared = left._replace(losses=0, duplicates=0, crashes=0, asks=(0, 0))
    return spared == start._replace(losses=0, duplicates=0, crashes=0, asks=(0, 0))


# -- the search


def explore(
    setting: Setting,
    *,
    states_max: int = STATES_MAX,
    watch: Callable[[int], None] = lambda states: None,
) -> Exploration:
    """Visit every state within the budget; stop at the first breach.

    Args:
        setting: What is explored.
        states_max: The exploration ends incomplete beyond so many.
        watch: Told the number of states after each.
    """
    pair, start = set_up(setting)
    done = Exploration(setting)
    parents: dict[object, tuple[object, str, tuple[str, ...]]] = {}
    first = pair.identity(start)
    parents[first] = (None, "", ())
    waiting = deque([(first, start)])
    while waiting:
        identity, moment = waiting.popleft()
        done.states += 1
        watch(done.states)
        choices, over = _choices(pair, moment)
        breaches = list(judge(pair, moment, start=start.left))
        if over:
            done.ends += 1
            done.connected += bool(moment.lines)
            breaches += judge_end(pair, moment, start=start.left)
        if breaches:
            breach, text = breaches[0]
            done.finding = Finding(breach, text, _dialogue(parents, identity))
            break
        if done.states >= states_max:
            break
        for label, step in choices:
            done.steps += 1
            try:
                after = step()
            except Exception as error:  # noqa: BLE001 - a core raises nothing, whatever it hears
                told = (*_dialogue(parents, identity), label)
                broken = isinstance(error, AssertionError)
                text = str(error) if broken else f"{type(error).__name__}: {error}"
                done.finding = Finding(Breach.LOCAL, text, told)
                break
            number = pair.identity(after)
            if number not in parents:
                parents[number] = (identity, label, after.said)
                waiting.append((number, replace(after, said=()) if after.said else after))
        if done.finding is not None:
            break
    else:
        done.complete = True
    done.core_steps = pair.core_steps
    return done


def _choices(pair: Pair, moment: Moment) -> tuple[list[Step], bool]:
    """Return everything that may happen next, and whether all is over but for what is optional."""
    forced = list(pair.steps(moment))
    idle = list(pair.idle_steps(moment))
    # What happens sooner or later does so within a while, or nothing would ever be over.
    overdue = bool(idle) and moment.now >= pair.begun + LATEST_NS
    later = None if forced or overdue else pair.later(moment)
    choices = [*chain(forced, idle, pair.asks(moment), pair.faults(moment))]
    if later is not None:
        choices.append(later)
    return choices, not forced and not idle and later is None


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
