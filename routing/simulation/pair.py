"""Two real cores, the connections between them and what is on its way: one fact at a time.

A state is the two cores, merged by digest, the FIFO lanes of their connections, the dials not yet
answered and the routed messages that a neighbour of both has yet to pass on, in any order. A step
hands one core one fact and carries out what it says. Which faults may happen, and how often, is a
budget. What must hold is said by `verdicts`, what is explored by `explore`. The neighbour is mute:
it passes messages on and answers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from routing import actions as act
from routing.core import Core, CoreConfig
from routing.errors import CloseCode, DialFailure
from routing.inputs import Accepted, DialFailed, Dialled, FrameReceived, Input, Lost
from routing.limits import Nanos
from routing.messages import FrameKind, NodeAddress, ViaAddress, open_envelope
from routing.simulation.hearsay import Item, spell
from routing.simulation.overview import Due, View, fire_early, view_of
from routing.state import Connection, Direction, LinkRole, Token

__all__ = [
    "DOWN",
    "REBORN",
    "WHO",
    "Budget",
    "Flight",
    "Line",
    "Moment",
    "Pair",
    "Seat",
    "Step",
]

WHO: Final = ("X", "Y")
ELSEWHERE: Final = 2
"""Whom a dial is to that is to neither of the two."""

FIRST, DOWN, REBORN = range(3)
"""What life a core is in."""

T = TypeVar("T")


class Budget(NamedTuple):
    """How many of each may still happen; asks are of X and of Y."""

    losses: int = 0
    duplicates: int = 0
    failed_dials: int = 0
    expiries: int = 0
    crashes: int = 0
    breaks: int = 0
    fills: int = 0
    asks: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Line:
    """One connection: who holds its ends (dialler, acceptor), and what is on its way to each."""

    ends: tuple[int, int]
    tokens: tuple[int, int]
    """0: not open at that end."""
    keys: tuple[bytes, bytes]
    towards: tuple[tuple[Item, ...], tuple[Item, ...]]
    binding: bytes


@dataclass(frozen=True, slots=True)
class Flight:
    """One dial without an answer."""

    who: int
    dial: int
    whom: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Seat:
    """A core at the start of a life."""

    config: CoreConfig
    snapshot: bytes
    address: str
    name: bytes

    @property
    def key(self) -> bytes:
        """Its public key."""
        return self.config.signer.key


@dataclass(frozen=True, slots=True)
class Moment:
    """One state of everything."""

    digests: tuple[bytes, bytes]
    lives: tuple[int, int]
    lines: tuple[Line, ...]
    dials: tuple[Flight, ...]
    routed: tuple[tuple[int, bytes], ...]
    """(to whom, body), sorted: the neighbour passes them on in any order."""
    left: Budget
    now: Nanos
    hurt: bool = False
    """A crash did more: somebody dialled who was not there, or a request outlived its sender."""
    said: tuple[str, ...] = ()
    """What the cores did in the step that led here, for people; no part of the state."""


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
    """

    def __init__(
        self,
        seats: Sequence[tuple[Seat, Seat]],
        *,
        relay: bytes,
        make_core: Callable[[CoreConfig], Core] = Core,
        fill: Callable[[Core], None] | None = None,
    ) -> None:
        self.seats = tuple(seats)
        self.relay = relay
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
        moment = replace(moment, digests=_put(moment.digests, who, digest))
        for action in actions:
            moment = self._execute(moment, who, action, before)
        if all(_matters(line) for line in moment.lines):
            return moment
        return replace(moment, lines=tuple(line for line in moment.lines if _matters(line)))

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
                return _say(moment, f"{WHO[who]} dials {WHO[whom]}") if whom < 2 else moment
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
                index, side = _find(moment, who, action.token)
                moment = self._push(_say(moment, text), index, 1 - side, action.code)
                return _shut(moment, index, side)
            case act.Bind():
                return _say(moment, f"{WHO[who]} consolidates")
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
            index, side = _find(moment, who, action.token)
            moment = _say(moment, f"{WHO[who]} sends {spell(frame)}")
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
                moment = _say(moment, f"{WHO[who]} sends {spell(frame)}")
                routed = tuple(sorted((*moment.routed, (whom, action.body))))
                return replace(moment, routed=routed)
        return moment

    def _push(self, moment: Moment, index: int, side: int, item: Item) -> Moment:
        line = moment.lines[index]
        if not line.tokens[side] and None not in line.towards[side]:
            return moment  # That end is closed or gone: nothing is heard there.
        towards = _put(line.towards, side, (*line.towards[side], item))
        return _with_line(moment, index, replace(line, towards=towards))

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
            answers = dial.whom < 2 and moment.lives[dial.whom] != DOWN
            if answers:
                yield f"{label} connects", partial(self._connect, moment, dial)
            if dial.cancelled:
                reason = DialFailure.CANCELLED
                yield f"{label} is cancelled", partial(self._fail, moment, dial, reason)
            elif not answers:
                reason = DialFailure.TIMED_OUT
                hurt = replace(moment, hurt=True) if dial.whom < 2 else moment
                yield f"{label} finds nobody", partial(self._fail, hurt, dial, reason)
        for number, routed in enumerate(moment.routed):
            if number and moment.routed[number - 1] == routed:
                continue
            label = f"{WHO[routed[0]]} hears {spell((FrameKind.ROUTED, routed[1]))}"
            yield label, partial(self._pass_on, _unrouted(moment, number), routed)

    def idle_steps(self, moment: Moment) -> Iterator[Step]:
        """Yield what happens sooner or later, and for which time may pass."""
        for who in (0, 1):
            if moment.lives[who] == DOWN:
                yield f"{WHO[who]} starts anew", partial(self._restart, moment, who)
        for index, line in enumerate(moment.lines):
            for side in (0, 1):
                who, token = line.ends[side], line.tokens[side]
                if not token or line.towards[side] or not _is_dead(line, 1 - side):
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
            less = _spent(moment, failed_dials=left.failed_dials - 1)
            for dial in moment.dials:
                if not dial.cancelled and dial.whom < 2 and moment.lives[dial.whom] != DOWN:
                    label = f"{WHO[dial.who]}'s dial fails"
                    yield label, partial(self._fail, less, dial, DialFailure.TIMED_OUT)
        for who in (0, 1):
            if moment.lives[who] == DOWN:
                continue
            if left.expiries:
                less = _spent(moment, expiries=left.expiries - 1)
                for due in self.view(moment, who).due:
                    label = f"{WHO[who]}'s deadline of {due.what} fires early"
                    yield label, partial(self._hurry, less, who, due)
            if left.crashes and moment.lives[who] == FIRST:
                less = _spent(moment, crashes=left.crashes - 1)
                yield f"{WHO[who]} crashes", partial(self._crash, less, who)
            if left.fills and self._fill is not None:
                less = _spent(moment, fills=left.fills - 1)
                label = f"{WHO[who]}'s table becomes full"
                yield label, partial(self.urge, less, who, "fill", self._fill)
        if left.breaks:
            less = _spent(moment, breaks=left.breaks - 1)
            for index, line in enumerate(moment.lines):
                if any(line.tokens):
                    yield "a connection breaks", partial(_broken, less, index)

    def asks(self, moment: Moment) -> Iterator[Step]:
        """Yield who may ask for the other of his own accord."""
        for who in (0, 1):
            if not moment.left.asks[who] or moment.lives[who] == DOWN:
                continue
            peer, view = self.seat(moment, 1 - who), self.view(moment, who)
            if peer.name in view.names or peer.name in view.attempted:
                continue
            asks = _put(moment.left.asks, who, moment.left.asks[who] - 1)
            less = _spent(moment, asks=asks)
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
                less = _spent(moment, losses=left.losses - 1)
                yield f"{what} is lost", partial(_unrouted, less, number)
            if left.duplicates:
                less = _spent(moment, duplicates=left.duplicates - 1)
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
        line = replace(line, towards=_put(line.towards, side, tuple(rest)))
        moment = _with_line(moment, index, line)
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
        moment = _shut(moment, index, side)
        return self.hear(moment, line.ends[side], ("lost", token, code), Lost(token, code, ""))

    def _accept(self, moment: Moment, index: int) -> Moment:
        line = moment.lines[index]
        dialler, who = line.ends
        token = Token((8 << 32) | int.from_bytes(line.binding[:4], "big"))
        moment = _with_line(moment, index, replace(line, tokens=(line.tokens[0], token)))
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
        moment = replace(moment, lines=lines, dials=_without(moment.dials, dial))
        addresses = [seats[0].address for seats in self.seats]
        connection = Connection(token, "tcp", addresses[whom], addresses[who], Direction.OUTBOUND)
        fact = Dialled(dial.dial, connection, keys[1], binding)
        return self.hear(moment, who, ("dialled", dial.dial, keys[1]), fact)

    def _fail(self, moment: Moment, dial: Flight, reason: DialFailure) -> Moment:
        moment = replace(moment, dials=_without(moment.dials, dial))
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
            _gone(line, side) if line.ends[side] == who else line
            for line in moment.lines
            for side in (line.ends.index(who),)
        )
        return replace(
            moment,
            lives=_put(moment.lives, who, DOWN),
            digests=_put(moment.digests, who, b""),
            lines=tuple(line for line in lines if _matters(line)),
            dials=tuple(each for each in moment.dials if each.who != who),
            hurt=moment.hurt or any(whom != who for whom, _ in moment.routed),
        )

    def _restart(self, moment: Moment, who: int) -> Moment:
        """Another process in its place, which asks for the other as whoever joins does."""
        digest = self._seated(self.seats[who][1])
        moment = replace(
            moment,
            lives=_put(moment.lives, who, REBORN),
            digests=_put(moment.digests, who, digest),
        )
        if moment.lives[1 - who] == DOWN:
            return moment
        return self.ask(moment, who, self.seat(moment, 1 - who).name)


# -- parts of a moment


def _broken(moment: Moment, index: int) -> Moment:
    """Both ends will be told; what was on its way is lost, unless nobody has accepted it yet."""
    line = moment.lines[index]
    told = [(CloseCode.IO_ERROR,) if token else () for token in line.tokens]
    return _with_line(moment, index, replace(line, towards=(told[0], told[1])))


def _gone(line: Line, side: int) -> Line:
    tokens, towards = _put(line.tokens, side, 0), _put(line.towards, side, ())
    return replace(line, tokens=tokens, towards=towards)


def _shut(moment: Moment, index: int, side: int) -> Moment:
    return _with_line(moment, index, _gone(moment.lines[index], side))


def _spent(moment: Moment, **left: object) -> Moment:
    return replace(moment, left=moment.left._replace(**left))  # type: ignore[arg-type]


def _unrouted(moment: Moment, number: int) -> Moment:
    return replace(moment, routed=(*moment.routed[:number], *moment.routed[number + 1 :]))


def _put(items: tuple[T, ...], index: int, item: T) -> Any:
    """Return the tuple with one item changed; `Any`, since a pair stays a pair."""
    return (*items[:index], item, *items[index + 1 :])


def _without(dials: tuple[Flight, ...], dial: Flight) -> tuple[Flight, ...]:
    return tuple(each for each in dials if each != dial)


def _with_line(moment: Moment, index: int, line: Line) -> Moment:
    return replace(moment, lines=_put(moment.lines, index, line))


def _find(moment: Moment, who: int, token: int) -> tuple[int, int]:
    for index, line in enumerate(moment.lines):
        for side in (0, 1):
            if line.ends[side] == who and line.tokens[side] == token and token:
                return index, side
    raise AssertionError(f"{WHO[who]} names token {token:#x}, which is dead or never was")


def _is_dead(line: Line, side: int) -> bool:
    """Tell whether this end is gone for good, and the other has not been told."""
    return not line.tokens[side] and None not in line.towards[side]


def _matters(line: Line) -> bool:
    return any(line.tokens) or any(line.towards)


def _say(moment: Moment, text: str) -> Moment:
    return replace(moment, said=(*moment.said, text))
