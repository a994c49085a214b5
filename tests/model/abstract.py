"""The two-way connect in small: its rules and nothing else, to be read in one sitting.

No keys, no bytes, no clock: two sides, 0 of the lower key, that ask, answer, dial and greet. An
attempt is (who asked, how often before); its primary is dialled by the answerer, its secondary by
the asker. Messages of a connection keep their order, routed ones do not. Time passes only when
nothing is on its way: then a request is sent again, and after that attempts expire, the answerer's
first. `Rules` says which rules hold; with `PROPOSAL` those hold that were written down at first.
It is beside the production cores, not of them: what both say is worth more than what one says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

__all__ = ["PROPOSAL", "WRITTEN", "Budget", "Result", "Rules", "World", "explore"]

Attempt = tuple[int, int]
"""(who asked, its number)."""

Conn = tuple[Attempt, str]
"""(of which attempt, "P"rimary or "S"econdary)."""

ASKER, ANSWERED, GREETED, ACKED, PROVED = 1, 2, 4, 8, 16
"""What one side knows of an attempt: it asked; it has the answer; the primary is up, and greeted
at the asker; the Ack came; the secondary is up at the asker, and greeted at the answerer."""


class Rules(NamedTuple):
    """Which rules hold."""

    crossing: bool = True
    """Of two that ask each other at once the lower key goes on; else both attempts do."""
    ack: bool = True
    """The answerer waits for the asker's word that the primary is its own."""
    secondary_may_go: bool = True
    """Losing the secondary does not end the attempt at the asker."""
    closes: bool = True
    """An attempt that ends closes its connections."""
    resends: bool = True
    """A request without an answer is sent again."""


WRITTEN = Rules()
PROPOSAL = Rules(crossing=False, ack=False, secondary_may_go=False)


class Budget(NamedTuple):
    """How often something may go wrong, and how often each side may ask."""

    asks: tuple[int, int] = (1, 0)
    losses: int = 0
    duplicates: int = 0
    failed_dials: int = 0
    expiries: int = 0


def dialler(conn: Conn) -> int:
    """Return who dials a connection: the answerer the primary, the asker the secondary."""
    return 1 - conn[0][0] if conn[1] == "P" else conn[0][0]


@dataclass
class World:
    """One state of everything; a step changes a copy."""

    rules: Rules
    left: Budget
    attempts: dict[tuple[int, Attempt], int] = field(default_factory=dict)
    """(whose, which) -> what it knows of it."""
    up: list[Conn | None] = field(default_factory=lambda: [None, None])
    """What each side routes over."""
    seen: frozenset[Attempt] = frozenset()
    """Answered once."""
    routed: frozenset[tuple[int, str, Attempt]] = frozenset()
    """(to whom, what, of which attempt)."""
    dials: frozenset[Conn] = frozenset()
    open: frozenset[tuple[Conn, int]] = frozenset()
    """Ends of connections."""
    lanes: dict[tuple[Conn, int], tuple[str, ...]] = field(default_factory=dict)
    """(connection, to whom) -> what is on its way."""
    resent: bool = False

    def copy(self) -> World:
        """Return another like this one."""
        return World(
            self.rules,
            self.left,
            dict(self.attempts),
            list(self.up),
            self.seen,
            self.routed,
            self.dials,
            self.open,
            dict(self.lanes),
            self.resent,
        )

    def key(self) -> object:
        """Return what is equal for equal states."""
        return (
            self.left,
            frozenset(self.attempts.items()),
            *self.up,
            self.seen,
            self.routed,
            self.dials,
            self.open,
            frozenset(self.lanes.items()),
            self.resent,
        )

    # -- what a side does

    def ask(self, who: int) -> None:
        """Begin an attempt."""
        asks = list(self.left.asks)
        asks[who] -= 1
        attempt = who, asks[who]
        self.left = self.left._replace(asks=(asks[0], asks[1]))
        self.attempts[who, attempt] = ASKER
        self.post(1 - who, "request", attempt)

    def on_request(self, who: int, attempt: Attempt) -> None:
        """Answer, unless it was answered before or an attempt of our own goes on."""
        if attempt in self.seen:
            self.post(1 - who, "response", attempt)
            return
        if self.up[who] is not None:
            self.post(1 - who, "refused", attempt)
            return
        for own in self.own(who) if self.rules.crossing else ():
            if self.attempts[who, own] & ASKER and who == 0:
                if not self.attempts[who, own] & ANSWERED:
                    self.post(1 - who, "request", own)
                return
            self.end(who, own)
        self.seen |= {attempt}
        self.attempts[who, attempt] = ANSWERED
        self.post(1 - who, "response", attempt)
        self.dials |= {(attempt, "P")}

    def on_response(self, who: int, attempt: Attempt) -> None:
        """The asker has its answer, routed or in Hello(PRIMARY): dial the secondary, once."""
        if self.knows(who, attempt, ASKER) and not self.knows(who, attempt, ANSWERED):
            self.attempts[who, attempt] |= ANSWERED
            self.dials |= {(attempt, "S")}

    def on_refused(self, who: int, attempt: Attempt) -> None:
        """There is a connection already, or was: believed until there is an answer."""
        if self.knows(who, attempt, ASKER) and not self.knows(who, attempt, ANSWERED):
            self.end(who, attempt)

    def on_dialled(self, conn: Conn) -> None:
        """A dial is up: greet, or close what is wanted no longer."""
        attempt, kind = conn
        who = dialler(conn)
        self.dials -= {conn}
        self.open |= {(conn, who)}
        self.send(conn, who, "here")
        if (who, attempt) not in self.attempts:
            self.close(conn, who)
            return
        self.attempts[who, attempt] |= GREETED if kind == "P" else PROVED
        self.send(conn, who, "hello")
        if kind == "P":
            self.match(attempt)

    def on_hello(self, who: int, conn: Conn) -> None:
        """The far end says which connection this is: one we wait for, else close it."""
        attempt, kind = conn
        flag, side = (GREETED, ASKER) if kind == "P" else (PROVED, 0)
        known = self.attempts.get((who, attempt))
        if known is None or known & flag or known & ASKER != side:
            self.close(conn, who)
            return
        self.attempts[who, attempt] |= flag
        if kind == "P":
            self.on_response(who, attempt)
            self.send(conn, who, "ack")
        else:
            self.match(attempt)

    def match(self, attempt: Attempt) -> None:
        """The answerer: primary up, Ack on it and secondary greeted: confirm, then close it."""
        who = 1 - attempt[0]
        wanted = GREETED | PROVED | (ACKED if self.rules.ack else 0)
        if self.attempts[who, attempt] & wanted == wanted:
            self.send((attempt, "P"), who, "confirm")
            self.consolidate(who, attempt)

    def on_confirm(self, who: int, attempt: Attempt) -> None:
        """The asker: both directions are proved."""
        if self.knows(who, attempt, PROVED):
            self.consolidate(who, attempt)
        else:
            self.close((attempt, "P"), who)
            self.end(who, attempt)

    def consolidate(self, who: int, attempt: Attempt) -> None:
        """Route over the primary from here on; one that is too many goes."""
        del self.attempts[who, attempt]
        self.close((attempt, "S"), who)
        if self.up[who] is None:
            self.up[who] = attempt, "P"
        else:
            self.close((attempt, "P"), who)

    def end(self, who: int, attempt: Attempt) -> None:
        """An attempt comes to nothing."""
        del self.attempts[who, attempt]
        if self.rules.closes:
            self.close((attempt, "P"), who)
            self.close((attempt, "S"), who)

    def on_lost(self, who: int, conn: Conn) -> None:
        """The far end has closed: losing the primary ends an attempt, the secondary does not."""
        attempt, kind = conn
        self.open -= {(conn, who)}
        if self.up[who] == conn:
            self.up[who] = None
        elif (who, attempt) in self.attempts and (kind == "P" or not self.rules.secondary_may_go):
            self.end(who, attempt)

    # -- what carries it

    def knows(self, who: int, attempt: Attempt, flag: int) -> bool:
        return bool(self.attempts.get((who, attempt), 0) & flag)

    def own(self, who: int) -> list[Attempt]:
        return [attempt for whose, attempt in self.attempts if whose == who]

    def post(self, whom: int, what: str, attempt: Attempt) -> None:
        self.routed |= {(whom, what, attempt)}

    def send(self, conn: Conn, who: int, what: str) -> None:
        lane = conn, 1 - who
        self.lanes[lane] = (*self.lanes.get(lane, ()), what)

    def close(self, conn: Conn, who: int) -> None:
        if (conn, who) in self.open:
            self.open -= {(conn, who)}
            self.lanes.pop((conn, who), None)
            self.send(conn, who, "fin")

    def arrive(self, lane: tuple[Conn, int]) -> None:
        """The first thing of a lane is heard."""
        conn, who = lane
        what, *rest = self.lanes.pop(lane)
        if rest:
            self.lanes[lane] = tuple(rest)
        if what == "here":
            self.open |= {(conn, who)}
        elif (conn, who) not in self.open:
            return
        elif what == "hello":
            self.on_hello(who, conn)
        elif what == "ack":
            if (who, conn[0]) in self.attempts:
                self.attempts[who, conn[0]] |= ACKED
                self.match(conn[0])
        elif what == "confirm":
            if (who, conn[0]) in self.attempts:
                self.on_confirm(who, conn[0])
        else:
            self.on_lost(who, conn)

    def heard(self, message: tuple[int, str, Attempt], *, again: bool = False) -> None:
        """A routed message is heard, and may be once more."""
        whom, what, attempt = message
        if not again:
            self.routed -= {message}
        if what == "request":
            self.on_request(whom, attempt)
        elif what == "response":
            self.on_response(whom, attempt)
        else:
            self.on_refused(whom, attempt)

    def dial_fails(self, conn: Conn) -> None:
        """Without its primary an attempt cannot succeed; of the secondary nothing is told."""
        self.dials -= {conn}
        if conn[1] == "P" and (dialler(conn), conn[0]) in self.attempts:
            self.end(dialler(conn), conn[0])

    # -- what may happen next

    def steps(self) -> Iterator[tuple[str, Callable[[World], None]]]:
        """Yield everything that may happen next, each with a line about it."""
        busy = False
        for lane in self.lanes:
            busy = True
            yield (
                f"{lane[1]} hears {self.lanes[lane][0]} on {lane[0]}",
                partial(World.arrive, lane=lane),
            )
        for message in self.routed:
            busy = True
            yield (
                f"{message[0]} hears {message[1]} {message[2]}",
                partial(World.heard, message=message),
            )
        for conn in self.dials:
            busy = True
            yield f"{conn} is dialled", partial(World.on_dialled, conn=conn)
            if (dialler(conn), conn[0]) not in self.attempts:
                yield f"{conn} is called off", partial(World.dial_fails, conn=conn)
        for who in (0, 1):
            alone = self.up[who] is None and (not self.own(who) or not self.rules.crossing)
            if self.left.asks[who] and alone:
                yield f"{who} asks", partial(World.ask, who=who)
        yield from self._faults()
        if not busy:
            yield from self._time()

    def _faults(self) -> Iterator[tuple[str, Callable[[World], None]]]:
        left = self.left
        for message in self.routed:
            if left.losses:
                yield f"{message} is lost", partial(_lose, message=message)
            if left.duplicates:
                yield f"{message} is heard twice", partial(_repeat, message=message)
        if left.failed_dials:
            for conn in self.dials:
                yield f"{conn} fails", partial(_fail, conn=conn)
        if left.expiries:
            for who, attempt in self.attempts:
                yield (
                    f"{attempt} expires early at {who}",
                    partial(_expire, who=who, attempt=attempt),
                )

    def _time(self) -> Iterator[tuple[str, Callable[[World], None]]]:
        """Nothing is on its way: requests go out again, or the attempt due first expires."""
        unanswered = [a for (who, a), known in self.attempts.items() if known == ASKER]
        if unanswered and not self.resent and self.rules.resends:
            yield "requests are sent again", partial(_resend, attempts=tuple(unanswered))
            return
        due = sorted(self.attempts, key=lambda each: (self.attempts[each] & ASKER, each))
        for who, attempt in due[:1]:
            yield f"{attempt} expires at {who}", partial(World.end, who=who, attempt=attempt)


def _lose(world: World, message: tuple[int, str, Attempt]) -> None:
    world.left = world.left._replace(losses=world.left.losses - 1)
    world.routed -= {message}


def _repeat(world: World, message: tuple[int, str, Attempt]) -> None:
    world.left = world.left._replace(duplicates=world.left.duplicates - 1)
    world.heard(message, again=True)


def _fail(world: World, conn: Conn) -> None:
    world.left = world.left._replace(failed_dials=world.left.failed_dials - 1)
    world.dial_fails(conn)


def _expire(world: World, who: int, attempt: Attempt) -> None:
    world.left = world.left._replace(expiries=world.left.expiries - 1)
    world.end(who, attempt)


def _resend(world: World, attempts: tuple[Attempt, ...]) -> None:
    world.resent = True
    for attempt in attempts:
        world.post(1 - attempt[0], "request", attempt)


# -- all of it


@dataclass
class Result:
    """What was found."""

    states: int = 0
    ends: int = 0
    connected: int = 0
    bad: list[str] = field(default_factory=list)
    """Ends that must not be, each with what is wrong."""
    ungreeted: int = 0
    """States in which a side routes over what the other does not take for the primary."""


def why_bad(world: World, start: Budget) -> str:
    """Return what is wrong where nothing can happen any more, or "" if nothing is."""
    if world.up[0] != world.up[1]:
        return f"0 routes over {world.up[0]}, 1 over {world.up[1]}"
    if world.open != frozenset((world.up[0], who) for who in (0, 1) if world.up[0]):
        return f"open beyond the connection: {sorted(world.open)}"
    spared = start._replace(asks=(0, 0), losses=0, duplicates=0)
    if world.up[0] is None and world.left._replace(asks=(0, 0), losses=0, duplicates=0) == spared:
        return "not connected, though nothing was made to fail"
    return ""


def is_ungreeted(world: World) -> bool:
    """Tell whether a side routes over a connection that the other has not greeted."""
    for who, conn in enumerate(world.up):
        if conn is None or world.up[1 - who] == conn:
            continue
        coming = "here" in world.lanes.get((conn, 1 - who), ())
        held = (conn, 1 - who) in world.open
        if coming or (held and not world.knows(1 - who, conn[0], GREETED)):
            return True
    return False


def explore(start: Budget, rules: Rules = WRITTEN, first: tuple[int, ...] = (0,)) -> Result:
    """Visit every state, breadth first, and judge the ends.

    Args:
        start: What may happen.
        rules: Which rules hold.
        first: Who has asked already when it begins.
    """
    world = World(rules, start._replace(asks=_plus(start.asks, first)))
    for who in first:
        world.ask(who)
    found, known, waiting = Result(), {world.key()}, deque([world])
    while waiting:
        world = waiting.popleft()
        found.states += 1
        found.ungreeted += is_ungreeted(world)
        asked, quiet = world.left.asks, True
        for _, step in world.steps():
            after = world.copy()
            step(after)
            quiet = quiet and after.left.asks != asked
            key = after.key()
            if key not in known:
                known.add(key)
                waiting.append(after)
        if quiet:
            found.ends += 1
            found.connected += world.up[0] is not None
            bad = why_bad(world, start)
            if bad:
                found.bad.append(bad)
    return found


def _plus(asks: tuple[int, int], first: tuple[int, ...]) -> tuple[int, int]:
    return asks[0] + (0 in first), asks[1] + (1 in first)
