"""Swarm: each seed draws which faults it has and how hard they are, then has them at drawn times.

A run that may have every fault at any time has none of them often enough to meet another; a run
with three kinds of ten, hard, finds what they do together. `draw_faults` says which kinds a seed
has, `schedule` makes `Strike`s of them: data, each with its time, its length and its own dice, so
that leaving one out leaves the others what they are. `swarm` forms a network, carries the strikes
out, undoes every one of them, and requires the network whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from random import Random

from routing.inputs import Submitted
from routing.limits import NAME_BYTES, SECOND
from routing.messages import GroupAddress, MessageKind, NodeAddress
from routing.simulation.hosts import Host
from routing.simulation.liar import LIES, Lie
from routing.simulation.scenarios import HEAL_LIMIT_NS, Report, Run, begin, heal
from routing.simulation.wires import End
from routing.simulation.world import World

__all__ = ["Fault", "Faults", "Strike", "draw_faults", "play", "schedule", "swarm"]

SPELL_NS_MAX = 100 * SECOND
"""How long a fault lasts, at most: twice the silence limit, three times the clock gap."""

PAUSE_NS_MAX = 30 * SECOND
"""Between two strikes of a seed with few of them, at most."""

PAUSE_NS_MIN = SECOND
DEAD_SHARE_MAX = 3
"""At most one node in so many is dead at once."""

LIARS_SHARE = 12
"""One liar to so many honest nodes; fewer have none."""

STEP_NS = SECOND
"""How often the invariants of the whole network are looked at during the faults."""


class Fault(StrEnum):
    """What may be done to a network. `TALK` is no fault: it gives the others something to spoil."""

    RESET = "reset"
    CRASH = "crash"
    VANISH = "vanish"
    STOP = "stop"
    HALF_OPEN = "half-open"
    STALL = "stall"
    STALL_NODE = "stall-node"
    PART = "part"
    PART_ONE_WAY = "part-one-way"
    OFFLINE = "offline"
    UNPLUGGED = "unplugged"
    BLOCK_DIALS = "block-dials"
    SLOW_READER = "slow-reader"
    SLEEP = "sleep"
    SUSPEND = "suspend"
    NO_DESCRIPTORS = "no-descriptors"
    BAD_WEATHER = "bad-weather"
    TALK = "talk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What one seed has."""

    kinds: tuple[Fault, ...]
    weights: tuple[int, ...]
    pause_ns: int
    """Between two strikes, on average about half of this."""
    spell_ns: int
    """How long a strike lasts, at most."""
    lies: tuple[Lie, ...]
    """What a liar among them does; empty for no liar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One fault: when it begins and how long it lasts, counted from the first of all."""

    at_ns: int
    fault: Fault
    lasts_ns: int
    dice: int
    """Whom it strikes and how hard follows from this and from who is there."""


def draw_faults(random: Random) -> Faults:
    """Draw which kinds of faults there are, and how hard they strike."""
    kinds = [fault for fault in Fault if random.random() < 0.4] or [random.choice(list(Fault))]
    lies = tuple(lie for lie in LIES if random.random() < 0.5)
    return Faults(
        kinds=tuple(kinds),
        weights=tuple(random.randint(1, 5) for _ in kinds),
        pause_ns=random.randint(PAUSE_NS_MIN, PAUSE_NS_MAX),
        spell_ns=random.randint(SECOND, SPELL_NS_MAX),
        lies=lies if random.random() < 0.5 else (),
    )


def schedule(faults: Faults, random: Random, nanoseconds: int) -> list[Strike]:
    """Draw strikes for so long; every one is over by then."""
    strikes: list[Strike] = []
    at = random.randint(0, faults.pause_ns)
    while at < nanoseconds:
        (fault,) = random.choices(faults.kinds, faults.weights)
        lasts = min(random.randint(1, faults.spell_ns), nanoseconds - at)
        strikes.append(Strike(at_ns=at, fault=fault, lasts_ns=lasts, dice=random.getrandbits(64)))
        at += random.randint(1, faults.pause_ns)
    return strikes


class Swarm:
    """Carries strikes out in one world, and undoes them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.addresses = [host.address for host in world.alive]
        self.dead: list[Host] = []
        self._strike: dict[Fault, Callable[[Random, int], None]] = {
            Fault.RESET: self._reset,
            Fault.CRASH: partial(self._kill, silent=False),
            Fault.VANISH: partial(self._kill, silent=True),
            Fault.STOP: self._stop,
            Fault.HALF_OPEN: self._half_open,
            Fault.STALL: self._stall,
            Fault.STALL_NODE: self._stall_node,
            Fault.PART: self._part,
            Fault.PART_ONE_WAY: self._part_one_way,
            Fault.OFFLINE: partial(self._offline, abrupt=True),
            Fault.UNPLUGGED: partial(self._offline, abrupt=False),
            Fault.BLOCK_DIALS: self._block_dials,
            Fault.SLOW_READER: self._slow_down,
            Fault.SLEEP: partial(self._sleep, counted=True),
            Fault.SUSPEND: partial(self._sleep, counted=False),
            Fault.NO_DESCRIPTORS: self._run_short,
            Fault.BAD_WEATHER: self._worsen,
            Fault.TALK: self._talk,
        }

    def strike(self, strike: Strike) -> None:
        """Carry one out now, and arrange for its end."""
        self._strike[strike.fault](Random(f"strike {strike.dice}"), strike.lasts_ns)

    def _after(self, lasts_ns: int, undo: Callable[[], None]) -> None:
        self.world.clock.at(self.world.now + lasts_ns, undo)

    def _awake(self) -> list[Host]:
        return [host for host in self.world.alive if not host.asleep]

    # -- connections

    def _ends(self, draw: Random, most: int) -> list[End]:
        wires = self.world.wires
        chosen = draw.sample(wires, min(len(wires), draw.randint(1, most)))
        return [draw.choice(wire.ends) for wire in chosen]

    def _reset(self, draw: Random, lasts_ns: int) -> None:
        self.world.reset([end.wire for end in self._ends(draw, 5)])

    def _half_open(self, draw: Random, lasts_ns: int) -> None:
        for end in self._ends(draw, 3):
            self.world.deafen(end)

    def _stall(self, draw: Random, lasts_ns: int) -> None:
        self.world.stall(self._ends(draw, 5), lasts_ns)

    def _stall_node(self, draw: Random, lasts_ns: int) -> None:
        host = draw.choice(self.world.alive)
        both = [side for end in host.ends.values() for side in (end, end.far)]
        self.world.stall(both, lasts_ns)

    # -- nodes

    def _may_die(self) -> bool:
        return len(self.dead) < max(1, len(self.addresses) // DEAD_SHARE_MAX)

    def _kill(self, draw: Random, lasts_ns: int, *, silent: bool) -> None:
        if self._may_die():
            host = draw.choice(self.world.alive)
            self.world.kill(host, silent=silent)
            self._bury(host, draw, lasts_ns)

    def _stop(self, draw: Random, lasts_ns: int) -> None:
        if self._may_die() and self._awake():
            host = draw.choice(self._awake())
            self.world.stop(host)
            self._bury(host, draw, lasts_ns)

    def _bury(self, host: Host, draw: Random, lasts_ns: int) -> None:
        """It comes back: with its disk, without, or with all of it but the contact book."""
        self.dead.append(host)
        others = [address for address in self.addresses if address != host.address]
        contacts = draw.sample(others, min(3, len(others)))
        fresh, book = draw.random() < 0.4, draw.random() < 0.5

        def revive() -> None:
            self.dead.remove(host)
            self.world.restart(host, contacts, fresh=fresh, book=book and not fresh)

        self._after(lasts_ns, revive)

    def _sleep(self, draw: Random, lasts_ns: int, *, counted: bool) -> None:
        for host in draw.sample(self._awake(), min(len(self._awake()), draw.randint(1, 2))):
            self.world.sleep(host, lasts_ns, counted=counted)

    def _run_short(self, draw: Random, lasts_ns: int) -> None:
        host = draw.choice(self.world.alive)
        used = len(host.ends) + len(host.dials)
        self.world.run_short(host, draw.randint(0, used + 2))
        self._after(lasts_ns, partial(self.world.run_short, host, None))

    def _slow_down(self, draw: Random, lasts_ns: int) -> None:
        host = draw.choice(self.world.alive)
        self.world.slow_down(host, draw.choice((200, 2_000, 20_000)))
        self._after(lasts_ns, partial(self.world.slow_down, host, 0))

    # -- the network between

    def _sides(self, draw: Random) -> tuple[list[Host], list[Host]]:
        living = self.world.alive
        some = draw.sample(living, draw.randint(1, max(1, len(living) // 2)))
        return some, [host for host in living if host not in some]

    def _part(self, draw: Random, lasts_ns: int) -> None:
        some, others = self._sides(draw)
        self.world.part(others, some)
        self._after(lasts_ns, self.world.heal)

    def _part_one_way(self, draw: Random, lasts_ns: int) -> None:
        some, others = self._sides(draw)
        ways = (some, others) if draw.random() < 0.5 else (others, some)
        self.world.part_one_way(*ways)
        self._after(lasts_ns, self.world.heal)

    def _offline(self, draw: Random, lasts_ns: int, *, abrupt: bool) -> None:
        some, _ = self._sides(draw)
        absent = some[:3] if draw.random() < 0.8 else self.world.alive
        self.world.take_offline(absent, abrupt=abrupt)
        self._after(lasts_ns, partial(self.world.bring_online, absent))

    def _block_dials(self, draw: Random, lasts_ns: int) -> None:
        """One behind a NAT is dialled by nobody; a firewall is between two alone."""
        one, *others = draw.sample(self.world.alive, len(self.world.alive))
        for other in others if draw.random() < 0.3 else others[:2]:
            self.world.block_dials(other, one)
        self._after(lasts_ns, self.world.allow_dials)

    def _worsen(self, draw: Random, lasts_ns: int) -> None:
        loss, duplication = draw.uniform(0.0, 0.4), draw.uniform(0.0, 0.3)
        self.world.worsen(loss=loss, duplication=duplication)
        self._after(lasts_ns, partial(self.world.worsen, loss=0.0, duplication=0.0))

    def _talk(self, draw: Random, lasts_ns: int) -> None:
        """A node sends messages, small and large, to a node and to a group."""
        names = [host.core.name for host in self.world.alive if host.core.name is not None]
        if not names or not self._awake():
            return
        host = draw.choice(self._awake())
        for number in range(draw.randint(1, 10)):
            to_group = draw.random() < 0.3
            name = draw.randbytes(NAME_BYTES) if to_group else draw.choice(names)
            size = draw.choice((0, 100, 5_000, 100_000))
            host.hear(
                Submitted(
                    reference=draw.getrandbits(40) + number,
                    kind=draw.choice((MessageKind.MESSAGE, MessageKind.REQUEST)),
                    destination=GroupAddress(name) if to_group else NodeAddress(name),
                    payload=draw.randbytes(5_000 if to_group else size),
                    id=draw.randbytes(16),
                    failed=False,
                    timeout_ns=lasts_ns,
                    signed=draw.random() < 0.5,
                )
            )


def play(run: Run, strikes: Sequence[Strike], nanoseconds: int) -> None:
    """Carry strikes out at their times, looking on all the while; so long after, all is over."""
    world = run.world
    swarm = Swarm(world)
    began = world.now
    for strike in strikes:
        world.clock.at(began + strike.at_ns, swarm.strike, strike)
    while world.now < began + nanoseconds:
        world.run(min(STEP_NS, began + nanoseconds - world.now))
        run.whole()
    # What ended at this very instant is undone behind what is seen of it here.
    world.run(1)


def swarm(world: World, nodes: int, seconds: int) -> Report:
    """Form a network, have the faults of this seed for so many seconds; then all faults end.

    A liar is among every twelve of them in half of the seeds. It stays until the others are whole
    in spite of it, and then vanishes.
    """
    run = Run("swarm", world)
    random = Random(f"swarm {world.seed}")
    faults = draw_faults(random)
    strikes = schedule(faults, random, seconds * SECOND)
    if not begin(run, nodes):
        return run.report(nodes)
    if faults.lies:
        for _ in range(nodes // LIARS_SHARE):
            contacts = random.sample([host.address for host in world.hosts], 3)
            world.add_liar(contacts, faults.lies)
    play(run, strikes, seconds * SECOND)
    run.harmed_ns = world.now
    if world.liars:
        run.healed_ns = run.wait_whole("healing beside a liar", HEAL_LIMIT_NS)
        for host in world.liars:
            world.kill(host, silent=True)
    if not run.reason:
        heal(run, world.heal, HEAL_LIMIT_NS)
    return run.report(nodes)
