"""Two real cores, the connections between them and what is on its way: one fact at a time.

A state is the two cores, merged by digest, the FIFO lanes of their connections, the dials not yet
answered and the routed messages that a neighbour of both has yet to pass on, in any order. A step
hands one core one fact and carries out what it says. Which faults may happen, and how often, is a
budget. What must hold is said by `verdicts`, what is explored by `explore`. The neighbour is mute:
it passes messages on and answers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from routing import actions as act
from routing.core import Core, CoreConfig
from routing.errors import CloseCode, DialFailure
from routing.inputs import Accepted, DialFailed, Dialled, FrameReceived, Input, Lost
from routing.limits import Nanos
from routing.messages import FrameKind, NodeAddress, ViaAddress, open_envelope
from routing.simulation.hearsay import Item, spell
from routing.simulation.moments import (
    DOWN,
    ELSEWHERE,
    FIRST,
    REBORN,
    WHO,
    Budget,
    Flight,
    Line,
    Moment,
    Seat,
    broken,
    find_end,
    gone,
    is_dead,
    is_of_account,
    put,
    shut,
    spent,
    unrouted,
    with_line,
    with_saying,
    without_dial,
)
from routing.simulation.overview import Due, View, fire_early, view_of
from routing.state import Connection, Direction, LinkRole, Token

__all__ = ["Pair", "Step"]

Step: TypeAlias = tuple[str, Callable[[], Moment]]
"""A line about it, and what it leads to."""

Outcome: TypeAlias = tuple[bytes, list[act.Action]]


class Pair:
    """Two cores, and everything that may happen to them.

    Args:
        seats: For each core its seat, and the one it starts anew from after a crash.
        relay: The key of the neighbour.
        make_core: Another maker of cores: a broken one, to see that it is found.
        fill: What makes a core's routing table full.
        barred: (who, whom): dials that always fail.
    """

    def __init__(
        self,
        seats: Sequence[tuple[Seat, Seat]],
        *,
        relay: bytes,
        make_core: Callable[[CoreConfig], Core] = Core,
        fill: Callable[[Core], None] | None = None,
        barred: Collection[tuple[int, int]] = (),
    ) -> None:
        self.seats = tuple(seats)
        self.relay = relay
        self.barred = tuple(barred)
        self.core_steps = 0
        self.begun = Nanos(0)
        self._make_core = make_core
        self._fill = fill
        self._snapshots: dict[bytes, bytes] = {}
        self._views: dict[bytes, View] = {}
        self._outcomes: dict[Hashable, Outcome] = {}
        self._ids: dict[Hashable, int] = {}

    def identity(self, moment: Moment) -> tuple[object, ...]:
        """Return what is equal for states that nothing can tell apart from here on."""
        number = self._ids.setdefault
        ids = self._ids
        return (
            number(moment.digests, len(ids)),
            number(moment.lines, len(ids)),
            number(moment.dials, len(ids)),
            number(moment.routed, len(ids)),
            number((moment.lives, moment.left, moment.hurt), len(ids)),
            moment.now,
        )

    # -- one core, one fact

    def begin(self, now: Nanos, left: Budget) -> Moment:
        """Return the first moment, without a connection between the two."""
        self.begun = now
        digests = [self._seated(seats[0]) for seats in self.seats]
        return Moment((digests[0], digests[1]), (FIRST, FIRST), (), (), (), left, now)

    def _seated(self, seat: Seat) -> bytes:
        core = self._make_core(seat.config)
        core.restore(seat.snapshot)
        return self._remember(core)

    def seat(self, moment: Moment, who: int) -> Seat:
        """Return where a core sits in this life."""
        return self.seats[who][moment.lives[who] == REBORN]

    def view(self, moment: Moment, who: int) -> View:
        """Return what matters of a core that is not down."""
        return self._views[moment.digests[who]]

    def core(self, moment: Moment, who: int) -> Core:
        """Return a core in the state of this moment."""
        core = self._make_core(self.seat(moment, who).config)
        core.restore(self._snapshots[moment.digests[who]])
        return core

    def hear(self, moment: Moment, who: int, what: Hashable, fact: Input) -> Moment:
        """Hand a core a fact and carry out what it says; `what` stands for it in the memory."""
        return self.urge(moment, who, what, lambda core: core.handle(fact, moment.now))

    def urge(
        self, moment: Moment, who: int, what: Hashable, call: Callable[[Core], None]
    ) -> Moment:
        """Have a core do something, and carry out what it says."""
        key = who, moment.lives[who], moment.digests[who], what, moment.now
        known = self._outcomes.get(key)
        if known is None:
            self.core_steps += 1
            core = self.core(moment, who)
            call(core)
            actions = core.take_actions()
            core.check()
            known = self._outcomes[key] = self._remember(core), actions
        before, (digest, actions) = self.view(moment, who), known
        moment = replace(moment, digests=put(moment.digests, who, digest))
        for action in actions:
            moment = self._execute(moment, who, action, before)
        if all(is_of_account(line) for line in moment.lines):
            return moment
        return replace(moment, lines=tuple(line for line in moment.lines if is_of_account(line)))

    def _remember(self, core: Core) -> bytes:
        digest = core.digest()
        if digest not in self._views:
            self._snapshots[digest] = core.snapshot()
            self._views[digest] = view_of(core)
        return digest

    # -- what a core says

    def _execute(self, moment: Moment, who: int, action: act.Action, before: View) -> Moment:
        match action:
            case act.Dial():
                whom = self._whose_address(action.endpoint)
                flight = Flight(who, action.dial, whom)
                moment = replace(moment, dials=(*moment.dials, flight))
                return with_saying(moment, f"{WHO[who]} dials {WHO[whom]}") if whom < 2 else moment
            case act.CancelDial():
                dials = tuple(
                    replace(each, cancelled=True)
                    if (each.who, each.dial) == (who, action.dial)
                    else each
                    for each in moment.dials
                )
                return replace(moment, dials=dials)
            case act.Send():
                return self._send(moment, who, action, before)
            case act.Close():
                if self._is_elsewhere(moment, who, action.token, before):
                    return moment
                text = f"{WHO[who]} closes {action.code.name} {action.text}".strip()
                index, side = find_end(moment, who, action.token)
                moment = self._push(with_saying(moment, text), index, 1 - side, action.code)
                return shut(moment, index, side)
            case act.Bind():
                return with_saying(moment, f"{WHO[who]} consolidates")
            case _:
                return moment

    def _whose_address(self, endpoint: str) -> int:
        for who, (seat, _) in enumerate(self.seats):
            if seat.address == endpoint:
                return who
        return ELSEWHERE

    def _is_elsewhere(self, moment: Moment, who: int, token: int, before: View) -> bool:
        """Tell whether a connection is to neither of the two, so that nobody hears it."""
        link = before.links.get(token) or self.view(moment, who).links.get(token)
        return link is not None and link.key not in self._keys()

    def _keys(self) -> list[bytes]:
        return [seat.key for seats in self.seats for seat in seats]

    def _send(self, moment: Moment, who: int, action: act.Send, before: View) -> Moment:
        frame = action.kind, action.body
        if not self._is_elsewhere(moment, who, action.token, before):
            index, side = find_end(moment, who, action.token)
            moment = with_saying(moment, f"{WHO[who]} sends {spell(frame)}")
            return self._push(moment, index, 1 - side, frame)
        if action.kind is not FrameKind.ROUTED:
            return moment
        opened = open_envelope(action.body)
        destination = None if opened is None else opened[1].destination
        if not isinstance(destination, NodeAddress | ViaAddress):
            return moment
        for whom, seats in enumerate(self.seats):
            # A fresh life has another name: what is for the old one finds nobody.
            if whom != who and destination.name == seats[moment.lives[whom] == REBORN].name:
                moment = with_saying(moment, f"{WHO[who]} sends {spell(frame)}")
                routed = tuple(sorted((*moment.routed, (whom, action.body))))
                return replace(moment, routed=routed)
        return moment

    def _push(self, moment: Moment, index: int, side: int, item: Item) -> Moment:
        line = moment.lines[index]
        if not line.tokens[side] and None not in line.towards[side]:
            return moment  # That end is closed or gone: nothing is heard there.
        towards = put(line.towards, side, (*line.towards[side], item))
        return with_line(moment, index, replace(line, towards=towards))

    # -- what may happen next

    def steps(self, moment: Moment) -> Iterator[Step]:
        """Yield what may happen without a fault, each with a line about it."""
        for index, line in enumerate(moment.lines):
            for side in (0, 1):
                if line.towards[side]:
                    whom, who = WHO[line.ends[side]], WHO[line.ends[1 - side]]
                    label = f"{whom} hears {spell(line.towards[side][0])} from {who}"
                    yield label, partial(self._arrive, moment, index, side)
        for dial in moment.dials:
            label = f"{WHO[dial.who]}'s dial"
            answers = self._answers(moment, dial)
            if answers:
                yield f"{label} connects", partial(self._connect, moment, dial)
            if dial.cancelled:
                reason = DialFailure.CANCELLED
                yield f"{label} is cancelled", partial(self._fail, moment, dial, reason)
            elif not answers:
                reason = DialFailure.TIMED_OUT
                down = dial.whom < 2 and moment.lives[dial.whom] == DOWN
                hurt = replace(moment, hurt=True) if down else moment
                yield f"{label} finds nobody", partial(self._fail, hurt, dial, reason)
        for number, routed in enumerate(moment.routed):
            if number and moment.routed[number - 1] == routed:
                continue
            label = f"{WHO[routed[0]]} hears {spell((FrameKind.ROUTED, routed[1]))}"
            yield label, partial(self._pass_on, unrouted(moment, number), routed)

    def _answers(self, moment: Moment, dial: Flight) -> bool:
        """Tell whether there is anybody to be reached by a dial."""
        there = dial.whom < 2 and moment.lives[dial.whom] != DOWN
        return there and (dial.who, dial.whom) not in self.barred

    def idle_steps(self, moment: Moment) -> Iterator[Step]:
        """Yield what happens sooner or later, and for which time may pass."""
        for who in (0, 1):
            if moment.lives[who] == DOWN:
                yield f"{WHO[who]} starts anew", partial(self._restart, moment, who)
        for index, line in enumerate(moment.lines):
            for side in (0, 1):
                who, token = line.ends[side], line.tokens[side]
                if not token or line.towards[side] or not is_dead(line, 1 - side):
                    continue
                if self.view(moment, who).links[token].role is LinkRole.CONSOLIDATED:
                    label = f"{WHO[who]} notices the silence of {WHO[line.ends[1 - side]]}"
                    yield label, partial(self._lose, moment, index, side, CloseCode.SILENT)

    def faults(self, moment: Moment) -> Iterator[Step]:
        """Yield the faults that the budget still has."""
        left = moment.left
        if left.losses or left.duplicates:
            yield from self._routed_faults(moment)
        if left.failed_dials:
            less = spent(moment, failed_dials=left.failed_dials - 1)
            for dial in moment.dials:
                if not dial.cancelled and self._answers(moment, dial):
                    label = f"{WHO[dial.who]}'s dial fails"
                    yield label, partial(self._fail, less, dial, DialFailure.TIMED_OUT)
        for who in (0, 1):
            if moment.lives[who] == DOWN:
                continue
            if left.expiries:
                less = spent(moment, expiries=left.expiries - 1)
                for due in self.view(moment, who).due:
                    label = f"{WHO[who]}'s deadline of {due.what} fires early"
                    yield label, partial(self._hurry, less, who, due)
            if left.crashes and moment.lives[who] == FIRST:
                less = spent(moment, crashes=left.crashes - 1)
                yield f"{WHO[who]} crashes", partial(self._crash, less, who)
            if left.fills and self._fill is not None:
                less = spent(moment, fills=left.fills - 1)
                label = f"{WHO[who]}'s table becomes full"
                yield label, partial(self.urge, less, who, "fill", self._fill)
        if left.breaks:
            less = spent(moment, breaks=left.breaks - 1)
            for index, line in enumerate(moment.lines):
                if any(line.tokens):
                    yield "a connection breaks", partial(broken, less, index)

    def asks(self, moment: Moment) -> Iterator[Step]:
        """Yield who may ask for the other of his own accord."""
        for who in (0, 1):
            if not moment.left.asks[who] or moment.lives[who] == DOWN:
                continue
            peer, view = self.seat(moment, 1 - who), self.view(moment, who)
            if peer.name in view.names or peer.name in view.attempted:
                continue
            asks = put(moment.left.asks, who, moment.left.asks[who] - 1)
            less = spent(moment, asks=asks)
            yield f"{WHO[who]} asks for {WHO[1 - who]}", partial(self.ask, less, who, peer.name)

    def later(self, moment: Moment) -> Step | None:
        """Return the jump to the next deadline of anything pending, or None: nothing is."""
        alive = [who for who in (0, 1) if moment.lives[who] != DOWN]
        views = [self.view(moment, who) for who in alive]
        if not any(view.due for view in views):
            return None
        due = min(view.next_due for view in views if view.next_due is not None)
        return "time passes", partial(self._wait, moment, max(moment.now, due))

    # -- doing it

    def ask(self, moment: Moment, who: int, name: bytes) -> Moment:
        """Let one core ask for the other, whatever failed a moment ago."""

        def start(core: Core) -> None:
            core.on_deadline(moment.now)
            core.attempts.failed.clear()
            core.connecting.start(name)

        return self.urge(moment, who, ("ask", name), start)

    def _routed_faults(self, moment: Moment) -> Iterator[Step]:
        left = moment.left
        for number, routed in enumerate(moment.routed):
            if number and moment.routed[number - 1] == routed:
                continue
            what = spell((FrameKind.ROUTED, routed[1]))
            if left.losses:
                less = spent(moment, losses=left.losses - 1)
                yield f"{what} is lost", partial(unrouted, less, number)
            if left.duplicates:
                less = spent(moment, duplicates=left.duplicates - 1)
                label = f"{WHO[routed[0]]} hears {what}, and will once more"
                yield label, partial(self._pass_on, less, routed)

    def _pass_on(self, moment: Moment, routed: tuple[int, bytes]) -> Moment:
        whom, body = routed
        if moment.lives[whom] == DOWN:
            return moment
        for token, link in self.view(moment, whom).links.items():
            if link.key == self.relay and link.role is LinkRole.CONSOLIDATED:
                fact = FrameReceived(Token(token), FrameKind.ROUTED, body)
                return self.hear(moment, whom, ("routed", token, body), fact)
        return moment

    def _arrive(self, moment: Moment, index: int, side: int) -> Moment:
        line = moment.lines[index]
        item, *rest = line.towards[side]
        who, token = line.ends[side], line.tokens[side]
        line = replace(line, towards=put(line.towards, side, tuple(rest)))
        moment = with_line(moment, index, line)
        if item is None:
            return self._accept(moment, index)
        if not token:
            return moment
        if isinstance(item, CloseCode):
            return self._lose(moment, index, side, item)
        return self.hear(moment, who, (token, item), FrameReceived(Token(token), *item))

    def _lose(self, moment: Moment, index: int, side: int, code: CloseCode) -> Moment:
        line = moment.lines[index]
        token = Token(line.tokens[side])
        moment = shut(moment, index, side)
        return self.hear(moment, line.ends[side], ("lost", token, code), Lost(token, code, ""))

    def _accept(self, moment: Moment, index: int) -> Moment:
        line = moment.lines[index]
        dialler, who = line.ends
        token = Token((8 << 32) | int.from_bytes(line.binding[:4], "big"))
        moment = with_line(moment, index, replace(line, tokens=(line.tokens[0], token)))
        addresses = [seats[0].address for seats in self.seats]
        connection = Connection(token, "tcp", addresses[dialler], addresses[who], Direction.INBOUND)
        fact = Accepted(connection, line.keys[0], line.binding, moment.now)
        return self.hear(moment, who, ("accepted", token), fact)

    def _connect(self, moment: Moment, dial: Flight) -> Moment:
        # Token and binding follow from who dialled and how often, not from the order of events.
        who, whom = dial.who, dial.whom
        binding = bytes((who, moment.lives[who])) + dial.dial.to_bytes(2, "big")
        binding = binding.ljust(32, b"b")
        token = Token((7 << 32) | int.from_bytes(binding[:4], "big"))
        keys = self.seat(moment, who).key, self.seat(moment, whom).key
        line = Line((who, whom), (token, 0), keys, ((), (None,)), binding)
        lines = tuple(sorted((*moment.lines, line), key=lambda each: (each.ends, each.binding)))
        moment = replace(moment, lines=lines, dials=without_dial(moment.dials, dial))
        addresses = [seats[0].address for seats in self.seats]
        connection = Connection(token, "tcp", addresses[whom], addresses[who], Direction.OUTBOUND)
        fact = Dialled(dial.dial, connection, keys[1], binding)
        return self.hear(moment, who, ("dialled", dial.dial, keys[1]), fact)

    def _fail(self, moment: Moment, dial: Flight, reason: DialFailure) -> Moment:
        moment = replace(moment, dials=without_dial(moment.dials, dial))
        fact = DialFailed(dial.dial, reason)
        return self.hear(moment, dial.who, ("failed", dial.dial, reason), fact)

    def _hurry(self, moment: Moment, who: int, due: Due) -> Moment:
        return self.urge(
            moment, who, ("hurry", due), lambda core: fire_early(core, due, moment.now)
        )

    def _wake(self, moment: Moment, who: int, at: int) -> Moment:
        return self.urge(moment, who, ("wake", at), lambda core: core.on_deadline(Nanos(at)))

    def _wait(self, moment: Moment, at: int) -> Moment:
        moment = replace(moment, now=Nanos(at))
        for who in (0, 1):
            due = None if moment.lives[who] == DOWN else self.view(moment, who).next_due
            if due is not None and due <= at:
                moment = self._wake(moment, who, at)
        return moment

    def _crash(self, moment: Moment, who: int) -> Moment:
        """The process is gone without a word; what it had sent may still arrive."""
        lines = tuple(
            gone(line, side) if line.ends[side] == who else line
            for line in moment.lines
            for side in (line.ends.index(who),)
        )
        return replace(
            moment,
            lives=put(moment.lives, who, DOWN),
            digests=put(moment.digests, who, b""),
            lines=tuple(line for line in lines if is_of_account(line)),
            dials=tuple(each for each in moment.dials if each.who != who),
        )

    def _restart(self, moment: Moment, who: int) -> Moment:
        """Another process in its place, which asks for the other as whoever joins does."""
        digest = self._seated(self.seats[who][1])
        moment = replace(
            moment,
            lives=put(moment.lives, who, REBORN),
            digests=put(moment.digests, who, digest),
        )
        if moment.lives[1 - who] == DOWN:
            return moment
        return self.ask(moment, who, self.seat(moment, 1 - who).name)
