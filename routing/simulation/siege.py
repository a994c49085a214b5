"""Two real cores under siege: what they and the wires between them do, one fact at a time.

A state is the two cores, the connections between them and an attacker, the dials not yet answered,
and what the attacker has heard. A step hands one core one fact and carries out what it says. What
the attacker does on top is said by `attacker`, what must never come of it by `attack`. Frames to
the attacker arrive at once and frames of his are heard at once: when he speaks is his choice, so
nothing is lost by it. Frames between the two wait in FIFO lanes, and each may arrive at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from routing import actions as act
from routing.core import Core, CoreConfig
from routing.errors import CloseCode, DialFailure
from routing.inputs import Accepted, DialFailed, Dialled, FrameReceived, Input, Lost
from routing.limits import Nanos
from routing.messages import (
    FrameKind,
    NodeAddress,
    ViaAddress,
    open_envelope,
)
from routing.simulation.hearsay import Item, Known, canonical, is_of_note, spell
from routing.state import Connection, Direction, LinkRole, Token

__all__ = [
    "MALLORY",
    "WHO",
    "Flight",
    "Line",
    "Moment",
    "Seat",
    "Siege",
    "Step",
    "View",
]

MALLORY: Final = 2
"""The attacker's seat; 0 and 1 are the two cores."""

WHO: Final = ("X", "Y", "M")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line:
    """One connection: who really holds its ends, and whom each end takes the other for."""

    ends: tuple[int, int]
    """Dialler and acceptor."""
    tokens: tuple[int, int]
    """0: not open at that end."""
    keys: tuple[bytes, bytes]
    """What the dialler has shown, what the acceptor has shown."""
    towards: tuple[tuple[Item, ...], tuple[Item, ...]]
    binding: bytes
    roles: tuple[int, int] = (0, 0)
    """The last `LinkRole` each core gave it; 0 while it has not seen it."""


@dataclass(frozen=True, slots=True)
class Flight:
    """One dial of a core without an answer."""

    who: int
    dial: int
    whom: int
    expect: bytes
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What matters of a core's state to those who judge and attack it."""

    table: tuple[tuple[bytes, bytes, int], ...]
    """(name, key, token)."""
    links: dict[int, tuple[LinkRole, bytes]]
    """token -> (role, attempt)."""
    attempts: tuple[bytes, ...]
    deadline: Nanos | None


@dataclass(frozen=True, slots=True)
class Moment:
    """One state of everything."""

    digests: tuple[bytes, bytes]
    lines: tuple[Line, ...]
    flights: tuple[Flight, ...]
    known: tuple[Known, ...]
    """Sorted: the order in which the attacker has heard does not matter to him."""
    sent: tuple[tuple[bytes, int, int], ...]
    """(envelope, to whom, how often), sorted."""
    took: tuple[frozenset[bytes], frozenset[bytes]]
    """The attempts each core has ever taken part in."""
    dialled: tuple[tuple[int, int, Nanos], ...]
    """(who, whom, when): every dial of a core."""
    serial: int
    """How many things of the attacker's own have a number."""
    left: int
    """Moves the attacker has left."""
    now: Nanos
    said: tuple[str, ...] = ()
    """What the cores did in the step that led here, for people."""

    @property
    def identity(self) -> object:
        """Equal for states that nothing can tell apart from here on."""
        return (
            self.digests,
            self.lines,
            self.flights,
            self.known,
            self.sent,
            self.took,
            self.dialled,
            self.serial,
            self.left,
            self.now,
        )


@dataclass(frozen=True, slots=True)
class Seat:
    """A core at the start."""

    config: CoreConfig
    snapshot: bytes
    address: str
    name: bytes

    @property
    def key(self) -> bytes:
        """Its public key."""
        return self.config.signer.key


Step: TypeAlias = tuple[str, Callable[[], Moment]]
"""A line about it, and what it leads to."""

Outcome: TypeAlias = tuple[bytes, list[act.Action], View]


class Siege:
    """Two cores, and the steps that need no attacker.

    Args:
        seats: The two cores.
        address: Where the attacker listens.
        masks: The attacker's own keys; the first is that of a neighbour of both.
        make_core: Another maker of cores: a broken one, to see that it is found.
        claimed: The channel proves no key: a dialler is taken for whom he says he is, and who
            answers a dial for the one expected.
        sniff: The attacker reads every frame between the two.
    """

    def __init__(
        self,
        seats: Sequence[Seat],
        address: str,
        masks: Sequence[bytes],
        *,
        make_core: Callable[[CoreConfig], Core] = Core,
        claimed: bool = False,
        sniff: bool = False,
    ) -> None:
        self.seats = tuple(seats)
        self.addresses = (*(seat.address for seat in seats), address)
        self.masks = tuple(masks)
        self.claimed = claimed
        self.sniff = sniff
        self._make_core = make_core
        self._snapshots: dict[bytes, bytes] = {}
        self._views: dict[bytes, View] = {}
        self._outcomes: dict[object, Outcome] = {}

    # -- one core, one fact

    def begin(self, lines: Sequence[Line], now: Nanos) -> Moment:
        """Return the first moment, with these connections open."""
        digests = []
        for seat in self.seats:
            core = self._make_core(seat.config)
            core.restore(seat.snapshot)
            digests.append(self._remember(core))
        moment = Moment(
            digests=(digests[0], digests[1]),
            lines=tuple(lines),
            flights=(),
            known=(),
            sent=(),
            took=(frozenset(), frozenset()),
            dialled=(),
            serial=0,
            left=0,
            now=now,
        )
        for who in (0, 1):
            moment = self._look(moment, who)
        return moment

    def view(self, moment: Moment, who: int) -> View:
        """Return what matters of a core."""
        return self._views[moment.digests[who]]

    def hear(self, moment: Moment, who: int, fact: Input) -> Moment:
        """Hand a core a fact and carry out what it says."""
        return self.urge(moment, who, repr(fact), lambda core: core.handle(fact, moment.now))

    def urge(self, moment: Moment, who: int, what: str, call: Callable[[Core], None]) -> Moment:
        """Have a core do something, and carry out what it says; `what` names it, for the memory."""
        key = who, moment.digests[who], what, moment.now
        known = self._outcomes.get(key)
        if known is None:
            core = self._make_core(self.seats[who].config)
            core.restore(self._snapshots[moment.digests[who]])
            call(core)
            actions = core.take_actions()
            core.check()
            digest = self._remember(core)
            known = self._outcomes[key] = digest, actions, self._views[digest]
        digest, actions, _ = known
        moment = replace(moment, digests=_put(moment.digests, who, digest))
        # The roles first: a connection that is closed in this step keeps the last one it had.
        moment = self._look(moment, who)
        for action in actions:
            moment = self._execute(moment, who, action)
        if all(_matters(line) for line in moment.lines):
            return moment
        return replace(moment, lines=tuple(line for line in moment.lines if _matters(line)))

    def _remember(self, core: Core) -> bytes:
        digest = core.digest()
        if digest not in self._views:
            self._snapshots[digest] = core.snapshot()
            names = core.table.names()
            rows = [(name, core.table.key(name), core.table.token(name)) for name in names]
            self._views[digest] = View(
                table=tuple((name, key or b"", token or 0) for name, key, token in rows),
                links={token: (link.role, link.attempt) for token, link in core.links.items()},
                attempts=tuple(attempt.id for attempt in core.attempts.live()),
                deadline=core.next_deadline(),
            )
        return digest

    def _look(self, moment: Moment, who: int) -> Moment:
        """Note the roles a core gives its connections, and the attempts it takes part in."""
        view = self.view(moment, who)
        for index, line in enumerate(moment.lines):
            for side in (0, 1):
                entry = view.links.get(line.tokens[side]) if line.ends[side] == who else None
                if entry is not None and line.roles[side] != entry[0]:
                    roles = _put(line.roles, side, int(entry[0]))
                    moment = _with_line(moment, index, replace(line, roles=roles))
                    line = moment.lines[index]
        if moment.took[who].issuperset(view.attempts):
            return moment
        took = moment.took[who].union(view.attempts)
        return replace(moment, took=_put(moment.took, who, took))

    # -- what a core says

    def _execute(self, moment: Moment, who: int, action: act.Action) -> Moment:
        match action:
            case act.Dial():
                whom = self.addresses.index(action.endpoint)
                flight = Flight(who, action.dial, whom, action.expect or b"")
                moment = replace(
                    moment,
                    flights=(*moment.flights, flight),
                    dialled=(*moment.dialled, (who, whom, moment.now)),
                )
                return _say(moment, f"{WHO[who]} dials {WHO[whom]}'s endpoint")
            case act.CancelDial():
                flights = tuple(
                    replace(each, cancelled=True)
                    if (each.who, each.dial) == (who, action.dial)
                    else each
                    for each in moment.flights
                )
                return replace(moment, flights=flights)
            case act.Send():
                return self._send(moment, who, action.token, (action.kind, action.body))
            case act.Close():
                moment = _say(moment, f"{WHO[who]} closes {action.code.name} {action.text}".strip())
                return self._close(moment, who, action.token, action.code)
            case act.Bind():
                return _say(moment, f"{WHO[who]} consolidates")
            case _:
                return moment

    def _send(self, moment: Moment, who: int, token: int, frame: tuple[FrameKind, bytes]) -> Moment:
        index, side = _find(moment, who, token)
        line = moment.lines[index]
        whom = line.ends[1 - side]
        if is_of_note(frame):
            moment = _say(moment, f"{WHO[who]} sends {spell(frame)} to {WHO[whom]}")
        if whom == MALLORY:
            return self.learn(moment, frame)
        moment = self._push(moment, index, 1 - side, frame)
        return self.learn(moment, frame) if self.sniff else moment

    def learn(self, moment: Moment, frame: Known) -> Moment:
        """The attacker hears a frame; he keeps what he may have a use for."""
        frame = canonical(frame)
        if not is_of_note(frame) or frame in moment.known:
            return moment
        return replace(moment, known=tuple(sorted((*moment.known, frame))))

    def _push(self, moment: Moment, index: int, side: int, item: Item) -> Moment:
        line = moment.lines[index]
        if not line.tokens[side] and None not in line.towards[side]:
            return moment  # That end is closed: nothing is heard there.
        towards = _put(line.towards, side, (*line.towards[side], item))
        return _with_line(moment, index, replace(line, towards=towards))

    def _close(self, moment: Moment, who: int, token: int, code: CloseCode) -> Moment:
        index, side = _find(moment, who, token)
        far = 1 - side
        if moment.lines[index].ends[far] == MALLORY:
            line = moment.lines[index]
            return _with_line(moment, index, replace(line, tokens=(0, 0), towards=((), ())))
        moment = self._push(moment, index, far, code)
        return shut(moment, index, side)

    # -- what may happen by itself

    def steps(self, moment: Moment) -> Iterator[Step]:
        """Yield what may happen without the attacker, each with a line about it."""
        for index, line in enumerate(moment.lines):
            for side in (0, 1):
                if line.towards[side]:
                    whom, who = WHO[line.ends[side]], WHO[line.ends[1 - side]]
                    what = spell(line.towards[side][0])
                    yield (
                        f"{whom} hears {what} from {who}",
                        partial(self._arrive, moment, index, side),
                    )
        for flight in moment.flights:
            dial = f"{WHO[flight.who]}'s dial of {WHO[flight.whom]}'s endpoint"
            yield f"{dial} connects", partial(self._connect, moment, flight)
            if flight.cancelled:
                reason = DialFailure.CANCELLED
                yield f"{dial} is cancelled", partial(self.fail, moment, flight, reason)

    def _arrive(self, moment: Moment, index: int, side: int) -> Moment:
        line = moment.lines[index]
        item, *rest = line.towards[side]
        line = replace(line, towards=_put(line.towards, side, tuple(rest)))
        moment = _with_line(moment, index, line)
        if item is None:
            return self.accept(moment, index)
        who, token = line.ends[side], Token(line.tokens[side])
        if not token:
            return moment
        if isinstance(item, CloseCode):
            return self.hear(shut(moment, index, side), who, Lost(token, item, ""))
        return self.hear(moment, who, FrameReceived(token, *item))

    def accept(self, moment: Moment, index: int) -> Moment:
        """The acceptor of a line learns of it."""
        line = moment.lines[index]
        token = Token((8 << 32) | int.from_bytes(line.binding[:4], "big"))
        dialler, who = line.ends
        moment = _with_line(moment, index, replace(line, tokens=(line.tokens[0], token)))
        connection = Connection(
            token, "tcp", self.addresses[dialler], self.addresses[who], Direction.INBOUND
        )
        return self.hear(moment, who, _accepted(connection, line.keys[0], line.binding, moment.now))

    def _connect(self, moment: Moment, flight: Flight) -> Moment:
        who, whom = flight.who, flight.whom
        if who == whom:
            return self.fail(moment, flight, DialFailure.SELF)
        shown = self._shown(flight)
        # Token and binding follow from who dialled and how often, not from the order of events.
        binding = (bytes((who,)) + flight.dial.to_bytes(3, "big")).ljust(32, b"b")
        token = Token((7 << 32) | int.from_bytes(binding[:4], "big"))
        waiting: tuple[Item, ...] = () if whom == MALLORY else (None,)
        line = Line(
            ends=(who, whom),
            tokens=(token, int(whom == MALLORY)),
            keys=(self.seats[who].key, shown),
            towards=((), waiting),
            binding=binding,
        )
        moment = with_new(without(moment, flight), line)
        connection = Connection(
            token, "tcp", self.addresses[whom], self.addresses[who], Direction.OUTBOUND
        )
        return self.hear(moment, who, Dialled(flight.dial, connection, shown, binding))

    def _shown(self, flight: Flight) -> bytes:
        """Return the key that who answers a dial is taken to have.

        Where the channel proves keys a host fails the dial of another identity by itself. Here the
        core is told all the same: its own check must hold alone.
        """
        if self.claimed and flight.expect:
            return flight.expect
        if flight.whom != MALLORY:
            return self.seats[flight.whom].key
        return flight.expect if flight.expect in self.masks else self.masks[0]

    def fail(self, moment: Moment, flight: Flight, reason: DialFailure) -> Moment:
        """A dial comes to nothing."""
        return self.hear(without(moment, flight), flight.who, DialFailed(flight.dial, reason))

    def whose(self, moment: Moment, who: int, token: int) -> Line | None:
        """Return the connection that a core knows by this token."""
        for line in moment.lines:
            for side in (0, 1):
                if line.ends[side] == who and line.tokens[side] == token:
                    return line
        return None

    def seat_of(self, frame: Known) -> int | None:
        """Return which core a routed message is for, None if neither."""
        opened = open_envelope(frame[1])
        destination = None if opened is None else opened[1].destination
        if not isinstance(destination, NodeAddress | ViaAddress):
            return None
        names = [seat.name for seat in self.seats]
        return names.index(destination.name) if destination.name in names else None


def _accepted(connection: Connection, key: bytes, binding: bytes, now: Nanos) -> Accepted:
    return Accepted(connection, key, binding, now)


# -- lines of a moment


def with_new(moment: Moment, line: Line) -> Moment:
    """Return the moment with one more connection, in an order that does not tell the history."""
    lines = sorted((*moment.lines, line), key=lambda each: (each.ends, each.binding))
    return replace(moment, lines=tuple(lines))


def without(moment: Moment, flight: Flight) -> Moment:
    """Return the moment with this dial answered."""
    return replace(moment, flights=tuple(each for each in moment.flights if each != flight))


def shut(moment: Moment, index: int, side: int) -> Moment:
    """Return the moment with one end of a connection closed."""
    line = moment.lines[index]
    tokens, towards = _put(line.tokens, side, 0), _put(line.towards, side, ())
    return _with_line(moment, index, replace(line, tokens=tokens, towards=towards))


def _put(items: tuple[T, ...], index: int, item: T) -> Any:
    """Return the tuple with one item changed; `Any`, since a pair stays a pair."""
    return (*items[:index], item, *items[index + 1 :])


def _with_line(moment: Moment, index: int, line: Line) -> Moment:
    return replace(moment, lines=_put(moment.lines, index, line))


def _find(moment: Moment, who: int, token: int) -> tuple[int, int]:
    for index, line in enumerate(moment.lines):
        for side in (0, 1):
            if line.ends[side] == who and line.tokens[side] == token and token:
                return index, side
    raise AssertionError(f"{WHO[who]} names token {token:#x}, which is dead or never was")


def _matters(line: Line) -> bool:
    return any(line.tokens) or any(line.towards)


def _say(moment: Moment, text: str) -> Moment:
    return replace(moment, said=(*moment.said, text))
