"""Carries out the steps of a scenario in one world, and ends every fault when that is asked for.

Whom a step strikes is drawn from the dice of the world. It judges nothing but how long
`wait-whole` takes; what must come of it all is said by `trial`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import log
from random import Random
from typing import Any, TypeVar

import routing.simulation.script as steps
from routing.inputs import Submitted
from routing.limits import NAME_BYTES, SECOND
from routing.messages import GroupAddress, MessageKind, NodeAddress
from routing.reachability import Unreachable
from routing.simulation.healing import healing_bound
from routing.simulation.hosts import Host
from routing.simulation.liar import LIES
from routing.simulation.scenarios import Run
from routing.simulation.script import Script
from routing.simulation.swarm import Strike, draw_faults, play, schedule
from routing.state import Detail

__all__ = ["Stage", "spell_out"]

CONTACTS = 3
"""That each node is told of."""

LOOK_NS = SECOND
"""How often the invariants of the whole network are looked at while time passes."""

Chosen = TypeVar("Chosen")


class Stage:
    """One scenario under way."""

    def __init__(self, script: Script, run: Run) -> None:
        self.script = script
        self.run = run
        self.world = run.world
        self.draw = run.world.random
        self.places: list[Host] = []
        """Who was started last at each address."""
        self.kept_dead: list[str] = []
        """Addresses that stay empty."""
        self.over_at = 0
        """When the last fault that ends by itself has ended."""
        self.waits: list[tuple[float, float]] = []
        """Of every wait until whole: how long it took and how long it might have, in seconds."""
        self.bound_s = healing_bound(self.world.limits, script.nodes)
        # `Any`: each takes the step it is written for.
        self._verbs: dict[type[object], Callable[[Any], None]] = {
            steps.Start: self._start,
            steps.Wait: lambda step: self.pass_time(int(step.for_s * SECOND)),
            steps.WaitWhole: self._wait_whole,
            steps.Rest: lambda step: self._rest(),
            steps.Kill: self._kill,
            steps.Stop: self._stop,
            steps.Restart: self._restart,
            steps.Roll: self._roll,
            steps.Churn: self._churn,
            steps.Part: self._part,
            steps.Heal: lambda step: self.world.heal(),
            steps.Offline: self._offline,
            steps.Online: lambda step: self.world.bring_online(self.world.hosts),
            steps.Reset: self._reset,
            steps.HalfOpen: self._half_open,
            steps.Stall: self._stall,
            steps.SlowDown: self._slow_down,
            steps.Sleep: self._sleep,
            steps.RunShort: self._run_short,
            steps.Block: self._block,
            steps.Allow: lambda step: self.world.allow_dials(),
            steps.Eclipse: self._eclipse,
            steps.Liars: self._liars,
            steps.Worsen: self._worsen,
            steps.Talk: self._talk,
            steps.Swarm: lambda step: self._strikes(spell_out(step, self.world.seed)),
            steps.Strikes: self._strikes,
        }

    def do(self, step: steps.Step) -> None:
        """Carry one step out, at its time or after the one before."""
        if step.at_s is not None:
            self.pass_time(int(step.at_s * SECOND) - self.world.now)
        self._verbs[type(step)](step)

    def pass_time(self, nanoseconds: int) -> None:
        """Let time pass, and assert all the while what must hold at any time."""
        end = self.world.now + max(0, nanoseconds)
        while self.world.now < end:
            self.world.run(min(LOOK_NS, end - self.world.now))
            self.run.whole()

    def end_faults(self) -> None:
        """End every fault: what ends by itself is waited for, the dead are started anew."""
        world = self.world
        self.pass_time(self.over_at - world.now)
        world.heal()
        world.bring_online(world.hosts)
        world.allow_dials()
        weather = self.script.weather
        world.worsen(loss=weather.loss, duplication=weather.duplication)
        for host in world.hosts:
            world.slow_down(host, 0)
            world.run_short(host, None)
        for host in world.liars:
            world.kill(host, silent=True)
        for host in self.places:
            if host.alive and host.core.stopped:
                # It gave up by itself: nobody could dial it.
                world.stop(host)
        for host in self._dead():
            self._revive(host, fresh=False, book=False)
        world.run(1)

    # -- whom

    def _some(self, step: steps.Some, those: Sequence[Chosen]) -> list[Chosen]:
        return self.draw.sample(those, step.of(len(those)))

    def _of(self, who: steps.Who) -> list[Host]:
        match who:
            case "nodes":
                return self.world.alive
            case "clients":
                return [host for host in self.places if host.alive and host.client]
            case "contacts":
                nodes = [host for host in self.places if not host.core.config.client]
                return [host for host in nodes[:CONTACTS] if host.alive]
            case "first":
                return [host for host in self.places[:1] if host.alive]

    def _dead(self) -> list[Host]:
        return [
            host for host in self.places if not host.alive and host.address not in self.kept_dead
        ]

    def _contacts(self, *, without: str = "") -> list[str]:
        """Return what a newcomer is told of: some of those that are alive."""
        living = [host.address for host in self.world.alive if host.address != without]
        return self.draw.sample(living, min(CONTACTS, len(living)))

    # -- nodes come and go

    def _start(self, step: steps.Start) -> None:
        client = step.who == "clients"
        asked = self.script.clients if client else self.script.nodes
        many = step.count if step.count is not None else step.of(asked)
        at, gap = int(self.world.now), int(step.over_s * SECOND) // max(1, many)
        for _ in range(many):
            nodes = [host.address for host in self.places if not host.core.config.client]
            if step.known == "contacts":
                contacts = nodes[:CONTACTS]
            else:
                contacts = nodes[:1]
                contacts += self.draw.sample(nodes[1:], min(CONTACTS - 1, len(nodes[1:])))
            host = self.world.add_node(
                contacts,
                first=not self.places,
                client=client,
                at=at,
                unreachable=Unreachable.CLIENT if step.hidden else Unreachable.ERROR,
            )
            if step.hidden:
                self.world.network.dialling.shielded.add(host.index)
            self.places.append(host)
            at += self.draw.randint(gap // 2, gap)
        self.pass_time(at - self.world.now + 1)

    def _kill(self, step: steps.Kill) -> None:
        def kill(host: Host) -> None:
            silent = self.draw.random() < 0.5 if step.silent is None else step.silent
            if host.alive:
                self.world.kill(host, silent=silent)

        victims = self._some(step, self._of(step.who))
        if step.for_good:
            self.kept_dead += [host.address for host in victims]
        self._spread(victims, step.over_s, kill)

    def _stop(self, step: steps.Stop) -> None:
        def stop(host: Host) -> None:
            if host.alive and not host.asleep:
                self.world.stop(host)

        self._spread(self._some(step, self._of(step.who)), step.over_s, stop)

    def _restart(self, step: steps.Restart) -> None:
        def restart(host: Host) -> None:
            fresh = self.draw.random() < 0.5 if step.fresh is None else step.fresh
            self._revive(host, fresh=fresh, book=step.book and not fresh)

        self._spread(self._some(step, self._dead()), step.over_s, restart)

    def _revive(self, host: Host, *, fresh: bool, book: bool) -> None:
        contacts = self._contacts(without=host.address) or list(host.core.config.contacts)
        born = self.world.restart(host, contacts, fresh=fresh, book=book)
        self.places[self.places.index(host)] = born

    def _roll(self, step: steps.Roll) -> None:
        for host in self._some(step, self.world.alive):
            if not host.alive or host.asleep:
                continue
            if step.silent:
                self.world.kill(host, silent=True)
            else:
                self.world.stop(host)
            self.pass_time(int(step.down_s * SECOND))
            self._revive(host, fresh=step.fresh, book=False)
            self.pass_time(int(step.gap_s * SECOND))

    def _churn(self, step: steps.Churn) -> None:
        end = self.world.now + int(step.for_s * SECOND)
        while True:
            mean_s = step.median_s / log(2) / max(1, len(self.world.alive))
            at = self.world.now + int(self.draw.expovariate(1.0) * mean_s * SECOND)
            self.pass_time(min(at, end) - self.world.now)
            living = self.world.alive
            if at >= end or not living:
                return
            host = self.draw.choice(living)
            self.world.kill(host, silent=self.draw.random() < step.silent)
            self.places[self.places.index(host)] = self.world.add_node(
                self._contacts(), at=self.world.now
            )

    def _spread(self, hosts: Sequence[Host], over_s: float, harm: Callable[[Host], None]) -> None:
        gap = int(over_s * SECOND) // max(1, len(hosts))
        for host in hosts:
            harm(host)
            self.pass_time(self.draw.randint(0, gap) if gap else 0)

    def _liars(self, step: steps.Liars) -> None:
        for _ in range(step.of(len(self.world.alive))):
            self.world.add_liar(self._contacts(), LIES)

    # -- the network between

    def _part(self, step: steps.Part) -> None:
        living = self.world.alive
        some = self.draw.sample(living, len(living) // 2 or len(living))
        if step.count is not None or step.share is not None:
            some = self._some(step, living)
        others = [host for host in living if host not in some]
        if step.one_way:
            self.world.part_one_way(some, others)
        else:
            self.world.part(others, some)

    def _offline(self, step: steps.Offline) -> None:
        self.world.take_offline(self._some(step, self._of(step.who)), abrupt=step.abrupt)

    def _block(self, step: steps.Block) -> None:
        living = self.world.alive
        for host in self._some(step, living):
            others = [other for other in living if other is not host]
            for other in self.draw.sample(others, round(len(others) * step.dialled_by)):
                self.world.block_dials(other, host)

    def _eclipse(self, step: steps.Eclipse) -> None:
        """What lies around the victims stays; in between are those they can still reach."""
        world = self.world
        victims = self._some(step, world.alive)
        others = [host for host in world.alive if host not in victims]
        few = self.draw.sample(others, min(step.attackers, len(others)))
        if step.lying:
            told = [host.address for host in victims]
            few = [world.add_liar(told[:CONTACTS], LIES) for _ in range(step.attackers)]
        around = [host for host in world.alive if host not in victims and host not in few]
        for victim in victims:
            for other in around:
                world.block_dials(other, victim)
                world.block_dials(victim, other)
        ends = [end for victim in victims for end in victim.ends.values()]
        world.reset([end.wire for end in ends if end.far.host in around])

    def _reset(self, step: steps.Reset) -> None:
        self.world.reset(self._some(step, self.world.wires))

    def _half_open(self, step: steps.HalfOpen) -> None:
        for wire in self._some(step, self.world.wires):
            self.world.deafen(self.draw.choice(wire.ends))

    def _stall(self, step: steps.Stall) -> None:
        for host in self._some(step, self.world.alive):
            both = [side for end in host.ends.values() for side in (end, end.far)]
            self.world.stall(both, self._lasting(step.lasts_s))

    def _worsen(self, step: steps.Worsen) -> None:
        self.world.worsen(loss=step.loss, duplication=step.duplication)

    # -- within a host

    def _slow_down(self, step: steps.SlowDown) -> None:
        for host in self._some(step, self.world.alive):
            self.world.slow_down(host, step.bytes_per_s)

    def _sleep(self, step: steps.Sleep) -> None:
        for host in self._some(step, [host for host in self.world.alive if not host.asleep]):
            self.world.sleep(host, self._lasting(step.lasts_s), counted=step.counted)

    def _run_short(self, step: steps.RunShort) -> None:
        lasting = self._lasting(step.lasts_s)
        for host in self._some(step, self.world.alive):
            self.world.run_short(host, step.descriptors)
            end = partial(self.world.run_short, host, None)
            self.world.clock.at(self.world.now + lasting, end)

    def _lasting(self, seconds: float) -> int:
        nanoseconds = int(seconds * SECOND)
        self.over_at = max(self.over_at, self.world.now + nanoseconds)
        return nanoseconds

    def _talk(self, step: steps.Talk) -> None:
        end, number = self.world.now + int(step.for_s * SECOND), 0
        while self.world.now < end:
            awake = [host for host in self.world.alive if not host.asleep]
            names = [host.core.name for host in awake if host.core.name is not None]
            if names:
                number += 1
                self._say(self.draw.choice(awake), names, number, step.bytes)
            self.pass_time(int(self.draw.expovariate(step.per_s) * SECOND) + 1)

    def _say(self, host: Host, names: list[bytes], number: int, size: int) -> None:
        draw = self.draw
        to_group = draw.random() < 0.3
        target = draw.randbytes(NAME_BYTES) if to_group else draw.choice(names)
        self.world.tell(
            host,
            Submitted(
                reference=(self.world.now << 16) + number,
                kind=draw.choice((MessageKind.MESSAGE, MessageKind.REQUEST)),
                destination=GroupAddress(target) if to_group else NodeAddress(target),
                payload=draw.randbytes(min(size, 5_000) if to_group else size),
                id=draw.randbytes(16),
                failed=False,
                timeout_ns=60 * SECOND,
                signed=draw.random() < 0.5,
            ),
        )

    def _strikes(self, step: steps.Strikes) -> None:
        strikes = [
            Strike(at_ns=one.at_ns, fault=one.fault, lasts_ns=one.lasts_ns, dice=one.dice)
            for one in step.faults
        ]
        play(self.run, strikes, int(step.for_s * SECOND))
        # Those that came back stand in the places of those that died.
        last = {host.address: host for host in self.world.hosts if host.honest}
        self.places = [last[host.address] for host in self.places]

    # -- what is waited for

    def _wait_whole(self, step: steps.WaitWhole) -> None:
        began, within_s = self.world.now, step.within_s or self.bound_s
        at = self.wait_well("wait-whole", within_s)
        if self.run.formed_ns is None and at is not None:
            self.run.formed_ns = self.world.now
        self.waits.append(((self.world.now - began) / SECOND, within_s))

    def wait_well(self, what: str, within_s: float) -> int | None:
        """Let time pass until all is well; say in the run what is missing where it never is."""
        world, run = self.world, self.run
        at = world.run_until(lambda: self.why_not_well() is None, limit_ns=int(within_s * SECOND))
        if at is None:
            why = self.why_not_well()
            run.reason = f"{what}: not whole within {within_s:.0f} s: {why}"
        return at

    def why_not_well(self) -> str | None:
        """Return None if all are whole and all clients hang on a node, else what is missing."""
        whole = self.run.whole()
        return _why_client_not_well(self.places) if whole else self.run.why

    def _rest(self) -> None:
        self.run.wait_rest()


def _why_client_not_well(hosts: Sequence[Host]) -> str | None:
    """Return None if every client that runs hangs on a node, else which one does not."""
    for host in hosts:
        if host.alive and host.client and host.core.state.detail is not Detail.BOOTSTRAPPED:
            return f"client {host.index} is {host.core.state}"
    return None


def spell_out(step: steps.Swarm, seed: int) -> steps.Strikes:
    """Return the faults that a seed has in so many seconds."""
    random = Random(f"swarm {seed}")
    strikes = schedule(draw_faults(random), random, int(step.for_s * SECOND))
    spells = [
        steps.Spell(at_ns=one.at_ns, fault=one.fault, lasts_ns=one.lasts_ns, dice=one.dice)
        for one in strikes[: steps.STRIKES_MAX]
    ]
    return steps.Strikes(for_s=step.for_s, faults=spells, at_s=step.at_s)
