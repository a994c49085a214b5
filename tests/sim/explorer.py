"""Every order in which the messages of a few real cores can arrive, each state visited once.

Time stands still while anything is on its way; when nothing is, it jumps to the next deadline, up
to a horizon, and what is left there is the outcome. A few faults may be allowed, each of them
anywhere: a dial that fails, a routed message that is lost, a connection that breaks. The state of
everything is the snapshots of the cores, the FIFO lanes between them and the dials not yet
answered; a step hands one core one fact. What a core does with a fact depends on its snapshot
alone, so each pair of them is worked out once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from routing import actions as act
from routing.core import Core, CoreConfig
from routing.errors import CloseCode, DialFailure
from routing.inputs import Accepted, DialFailed, Dialled, FrameReceived, Input, Lost
from routing.limits import Nanos
from routing.messages import FrameKind
from routing.state import Connection, Direction, Token

__all__ = ["Explorer", "Line", "Moment", "PendingDial", "Seat"]

T = TypeVar("T")

ARRIVAL = "arrival"
Item = str | tuple[FrameKind, bytes] | tuple[CloseCode, str, None]


@dataclass(frozen=True, slots=True)
class Line:
    """One connection: who dialled whom, the two tokens (0: not open), what is on the way."""

    ends: tuple[int, int]
    tokens: tuple[int, int]
    towards: tuple[tuple[Item, ...], tuple[Item, ...]]
    """What is on its way to the dialler, and to the acceptor."""
    binding: bytes


@dataclass(frozen=True, slots=True)
class PendingDial:
    """One dial without an answer."""

    who: int
    dial: int
    whom: int
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """One state of everything."""

    snapshots: tuple[bytes, ...]
    digests: tuple[bytes, ...]
    deadlines: tuple[Nanos | None, ...]
    lines: tuple[Line, ...]
    dials: tuple[PendingDial, ...]
    now: Nanos
    faults: int
    """How many may still happen."""

    @property
    def identity(self) -> object:
        """Equal for states that nothing can tell apart from here on."""
        return self.digests, self.lines, self.dials, self.now, self.faults


@dataclass(frozen=True, slots=True)
class Seat:
    """A core at the start: its configuration, its state, where it listens."""

    config: CoreConfig
    snapshot: bytes
    address: str


Step = tuple[str, Callable[[], Moment]]
Outcome = tuple[bytes, bytes, Nanos | None, list[act.Action]]
"""Of a step of one core: its snapshot, digest and deadline afterwards, and what it said."""


class Explorer:
    """Visits every state that can be reached.

    Args:
        seats: The cores.
        now: When it begins.
        instant: Cores whose facts are not a choice: they hear at once, in the order sent.
        faults: How many dials may fail, routed messages be lost and connections break, in all.
        horizon_ns: How far time may jump in all when nothing is on its way.
        blocked: (dialler, dialled) whose dials all fail, whatever the order.
    """

    def __init__(
        self,
        seats: Sequence[Seat],
        now: Nanos,
        *,
        instant: frozenset[int] = frozenset(),
        faults: int = 0,
        horizon_ns: int = 0,
        blocked: frozenset[tuple[int, int]] = frozenset(),
    ) -> None:
        self.seats = tuple(seats)
        self.now = now
        self.instant = instant
        self.faults = faults
        self.blocked = blocked
        self.horizon = now + horizon_ns
        self.states = 0
        self.ends = 0
        self._known: dict[tuple[int, bytes, str, int], Outcome] = {}

    # -- one core, one fact

    def core(self, who: int, snapshot: bytes) -> Core:
        """Return a core in a state."""
        core = Core(self.seats[who].config)
        core.restore(snapshot)
        return core

    def begin(self, lines: Sequence[Line]) -> Moment:
        """Return the first moment: the cores as they are seated, nothing on its way."""
        snapshots = tuple(seat.snapshot for seat in self.seats)
        cores = [self.core(who, each) for who, each in enumerate(snapshots)]
        return Moment(
            snapshots=snapshots,
            digests=tuple(core.digest() for core in cores),
            deadlines=tuple(core.next_deadline() for core in cores),
            lines=tuple(lines),
            dials=(),
            now=self.now,
            faults=self.faults,
        )

    def apply(self, moment: Moment, who: int, fact: Input) -> Moment:
        """Hand a core a fact and carry out what it says."""
        key = who, moment.snapshots[who], repr(fact), moment.now
        known = self._known.get(key)
        if known is None:
            known = self._work(moment, who, lambda core: core.handle(fact, moment.now))
            self._known[key] = known
        return self._changed(moment, who, known)

    def urge(self, moment: Moment, who: int, call: Callable[[Core], None]) -> Moment:
        """Let a core do something of its own accord, and carry it out."""
        return self._changed(moment, who, self._work(moment, who, call))

    def _work(self, moment: Moment, who: int, call: Callable[[Core], None]) -> Outcome:
        core = self.core(who, moment.snapshots[who])
        call(core)
        actions = core.take_actions()
        core.check()
        return core.snapshot(), core.digest(), core.next_deadline(), actions

    def _changed(self, moment: Moment, who: int, outcome: Outcome) -> Moment:
        snapshot, digest, deadline, actions = outcome
        moment = replace(
            moment,
            snapshots=_put(moment.snapshots, who, snapshot),
            digests=_put(moment.digests, who, digest),
            deadlines=_put(moment.deadlines, who, deadline),
        )
        for action in actions:
            moment = self._execute(moment, who, action)
        return moment

    def _execute(self, moment: Moment, who: int, action: act.Action) -> Moment:
        match action:
            case act.Dial():
                whom = [seat.address for seat in self.seats].index(action.endpoint)
                dial = PendingDial(who, action.dial, whom, False)
                return replace(moment, dials=(*moment.dials, dial))
            case act.CancelDial():
                pending = next(d for d in moment.dials if (d.who, d.dial) == (who, action.dial))
                dials = tuple(
                    replace(each, cancelled=True) if each is pending else each
                    for each in moment.dials
                )
                return replace(moment, dials=dials)
            case act.Send():
                return self._push(moment, who, action.token, (action.kind, action.body))
            case act.Close():
                item: Item = (action.code, action.text, None)
                moment = self._push(moment, who, action.token, item)
                return self._shut(moment, who, action.token)
            case act.Bind() | act.Trust():
                _find(moment, who, action.token)
                return moment
            case _:
                return moment

    def _push(self, moment: Moment, who: int, token: int, item: Item) -> Moment:
        index, side = _find(moment, who, token)
        line = moment.lines[index]
        towards = _put(line.towards, 1 - side, (*line.towards[1 - side], item))
        return _with_line(moment, index, replace(line, towards=towards))

    def _shut(self, moment: Moment, who: int, token: int) -> Moment:
        index, side = _find(moment, who, token)
        line = moment.lines[index]
        return _with_line(
            moment,
            index,
            replace(line, tokens=_put(line.tokens, side, 0), towards=_put(line.towards, side, ())),
        )

    # -- what may happen next

    def steps(self, moment: Moment) -> Iterator[Step]:
        """Yield everything that may happen next, each with a line about it."""
        for index, line in enumerate(moment.lines):
            for side in (0, 1):
                if line.towards[side]:
                    whom, what = line.ends[side], _spell(line.towards[side][0])
                    label = f"core {whom} hears {what} on {line.ends[0]}-{line.ends[1]}"
                    yield label, partial(self._arrive, moment, index, side)
                    if moment.faults and _is_routed(line.towards[side][0]):
                        yield f"lost: {label}", partial(self._drop, moment, index, side)
            if moment.faults and any(line.tokens) and not self.instant.intersection(line.ends):
                yield f"{line.ends[0]}-{line.ends[1]} breaks", partial(self._break, moment, index)
        for dial in moment.dials:
            label = f"dial {dial.dial} of core {dial.who}"
            blocked = (dial.who, dial.whom) in self.blocked
            if not blocked:
                yield f"{label} connects", partial(self._connect, moment, dial)
            if dial.cancelled:
                reason = DialFailure.CANCELLED
                yield f"{label} is cancelled", partial(self._fail, moment, dial, reason)
            elif blocked:
                reason = DialFailure.TIMED_OUT
                yield f"{label} is blocked", partial(self._fail, moment, dial, reason)
            elif moment.faults:
                less = replace(moment, faults=moment.faults - 1)
                reason = DialFailure.TIMED_OUT
                yield f"{label} fails", partial(self._fail, less, dial, reason)

    def _wake(self, moment: Moment) -> Step | None:
        """Return the jump to the next deadline, or None if there is none before the horizon."""
        due = min((at for at in moment.deadlines if at is not None), default=None)
        if due is None or due > self.horizon:
            return None

        def jump() -> Moment:
            after = replace(moment, now=due)
            for who, at in enumerate(moment.deadlines):
                if at is not None and at <= due:
                    after = self.urge(after, who, lambda core: core.on_deadline(due))
            return after

        return f"it is {due} ns", jump

    def _break(self, moment: Moment, index: int) -> Moment:
        """The connection breaks: what is on its way is lost and both ends will be told."""
        line = moment.lines[index]
        told: tuple[Item, ...] = ((CloseCode.IO_ERROR, "reset", None),)
        towards = tuple(told if token else () for token in line.tokens)
        line = replace(line, towards=(towards[0], towards[1]))
        return replace(_with_line(moment, index, line), faults=moment.faults - 1)

    def _drop(self, moment: Moment, index: int, side: int) -> Moment:
        line = moment.lines[index]
        line = replace(line, towards=_put(line.towards, side, line.towards[side][1:]))
        return replace(_with_line(moment, index, line), faults=moment.faults - 1)

    def _arrive(self, moment: Moment, index: int, side: int) -> Moment:
        line = moment.lines[index]
        item, *rest = line.towards[side]
        who = line.ends[side]
        line = replace(line, towards=_put(line.towards, side, tuple(rest)))
        moment = _with_line(moment, index, line)
        token = Token(line.tokens[side])
        if item == ARRIVAL:
            return self._accept(moment, index)
        if not token:
            return moment
        assert isinstance(item, tuple)
        if len(item) == 3:
            moment = self._shut(moment, who, token)
            return self.apply(moment, who, Lost(token, item[0], item[1]))
        return self.apply(moment, who, FrameReceived(token, item[0], item[1]))

    def _accept(self, moment: Moment, index: int) -> Moment:
        line = moment.lines[index]
        dialler, acceptor = line.ends
        token = Token((8 << 32) | int.from_bytes(line.binding[:2], "big"))
        line = replace(line, tokens=(line.tokens[0], token))
        peer, own = self.seats[dialler], self.seats[acceptor]
        connection = Connection(token, "tcp", peer.address, own.address, Direction.INBOUND)
        key = peer.config.signer.key
        moment = _with_line(moment, index, line)
        return self.apply(moment, acceptor, Accepted(connection, key, line.binding, moment.now))

    def _connect(self, moment: Moment, dial: PendingDial) -> Moment:
        # Token and binding follow from who dialled and how often, not from the order of events.
        binding = bytes((dial.who, dial.dial)).ljust(32, b"b")
        token = Token((7 << 32) | int.from_bytes(binding[:2], "big"))
        line = Line((dial.who, dial.whom), (token, 0), ((), (ARRIVAL,)), binding)
        lines = tuple(sorted((*moment.lines, line), key=lambda each: (each.ends, each.binding)))
        moment = replace(moment, lines=lines, dials=_without(moment.dials, dial))
        own, peer = self.seats[dial.who], self.seats[dial.whom]
        connection = Connection(token, "tcp", peer.address, own.address, Direction.OUTBOUND)
        fact = Dialled(dial.dial, connection, peer.config.signer.key, binding)
        return self.apply(moment, dial.who, fact)

    def _fail(self, moment: Moment, dial: PendingDial, reason: DialFailure) -> Moment:
        moment = replace(moment, dials=_without(moment.dials, dial))
        return self.apply(moment, dial.who, DialFailed(dial.dial, reason))

    def settle(self, moment: Moment) -> Moment:
        """Let the instant cores hear what is on its way to them."""
        while True:
            due = [
                (index, side)
                for index, line in enumerate(moment.lines)
                for side in (0, 1)
                if line.towards[side] and line.ends[side] in self.instant
            ]
            if not due:
                return replace(moment, lines=tuple(line for line in moment.lines if _matters(line)))
            moment = self._arrive(moment, *due[0])

    # -- all of it

    def explore(self, start: Moment, judge: Callable[[Moment], None], *, states_max: int) -> None:
        """Visit every state and judge those in which nothing is on its way.

        Raises:
            AssertionError: the judge's or a core's own, with the steps that lead there; or there
                are more than `states_max` states.
        """
        start = self.settle(start)
        parents: dict[object, tuple[object, str]] = {start.identity: (None, "start")}
        waiting = [start]
        while waiting:
            moment = waiting.pop()
            self.states += 1
            assert self.states <= states_max, f"more than {states_max} states"
            label = ""
            try:
                choices = list(self.steps(moment))
                if not choices:
                    later = self._wake(moment)
                    choices = [] if later is None else [later]
                for label, step in choices:
                    after = self.settle(step())
                    if after.identity not in parents:
                        parents[after.identity] = (moment.identity, label)
                        waiting.append(after)
                if not choices:
                    self.ends += 1
                    label = "nothing is on its way"
                    judge(moment)
            except AssertionError as error:
                steps = [label, *_path(parents, moment.identity)]
                raise AssertionError(f"{error}\n" + "\n".join(reversed(steps))) from error


def _path(parents: dict[object, tuple[object, str]], identity: object) -> Iterator[str]:
    while identity is not None:
        identity, label = parents[identity]
        yield label


def _put(items: tuple[T, ...], index: int, item: T) -> Any:
    """Return the tuple with one item changed; `Any`, since a pair stays a pair."""
    return (*items[:index], item, *items[index + 1 :])


def _without(dials: tuple[PendingDial, ...], dial: PendingDial) -> tuple[PendingDial, ...]:
    return tuple(each for each in dials if each != dial)


def _with_line(moment: Moment, index: int, line: Line) -> Moment:
    return replace(moment, lines=_put(moment.lines, index, line))


def _find(moment: Moment, who: int, token: int) -> tuple[int, int]:
    for index, line in enumerate(moment.lines):
        for side in (0, 1):
            if line.ends[side] == who and line.tokens[side] == token and token:
                return index, side
    raise AssertionError(f"core {who} names token {token:#x}, which is dead or never was")


def _matters(line: Line) -> bool:
    return any(line.tokens) or any(line.towards)


def _is_routed(item: Item) -> bool:
    return isinstance(item, tuple) and item[0] is FrameKind.ROUTED


def _spell(item: Item) -> str:
    if isinstance(item, str):
        return item
    return f"close {item[0].name}" if len(item) == 3 else item[0].name
