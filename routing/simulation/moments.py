"""One state of two cores, the connections between them and what is on its way, and its parts.

Values only: what changes one returns another. What cores and wires do is said by `pair`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeVar

from routing.core import CoreConfig
from routing.errors import CloseCode
from routing.limits import Nanos
from routing.simulation.hearsay import Item

__all__ = [
    "DOWN",
    "ELSEWHERE",
    "FIRST",
    "REBORN",
    "WHO",
    "Budget",
    "Flight",
    "Line",
    "Moment",
    "Seat",
    "broken",
    "find_end",
    "gone",
    "is_dead",
    "is_of_account",
    "put",
    "shut",
    "spent",
    "unrouted",
    "with_line",
    "with_saying",
    "without_dial",
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


# -- parts of a moment


def broken(moment: Moment, index: int) -> Moment:
    """Both ends will be told; what was on its way is lost, unless nobody has accepted it yet."""
    line = moment.lines[index]
    told = [(CloseCode.IO_ERROR,) if token else () for token in line.tokens]
    return with_line(moment, index, replace(line, towards=(told[0], told[1])))


def gone(line: Line, side: int) -> Line:
    """Return the connection with one end closed; what was on its way there is lost."""
    tokens, towards = put(line.tokens, side, 0), put(line.towards, side, ())
    return replace(line, tokens=tokens, towards=towards)


def shut(moment: Moment, index: int, side: int) -> Moment:
    """Return the moment with one end of a connection closed."""
    return with_line(moment, index, gone(moment.lines[index], side))


def spent(moment: Moment, **left: object) -> Moment:
    """Return the moment with a budget that has so much left."""
    return replace(moment, left=moment.left._replace(**left))  # type: ignore[arg-type]


def unrouted(moment: Moment, number: int) -> Moment:
    """Return the moment without one of the routed messages."""
    return replace(moment, routed=(*moment.routed[:number], *moment.routed[number + 1 :]))


def put(items: tuple[T, ...], index: int, item: T) -> Any:
    """Return the tuple with one item changed; `Any`, since a pair stays a pair."""
    return (*items[:index], item, *items[index + 1 :])


def without_dial(dials: tuple[Flight, ...], dial: Flight) -> tuple[Flight, ...]:
    """Return the dials without the one that is answered."""
    return tuple(each for each in dials if each != dial)


def with_line(moment: Moment, index: int, line: Line) -> Moment:
    """Return the moment with one connection changed."""
    return replace(moment, lines=put(moment.lines, index, line))


def find_end(moment: Moment, who: int, token: int) -> tuple[int, int]:
    """Return which connection a core names, and which end of it is its own."""
    for index, line in enumerate(moment.lines):
        for side in (0, 1):
            if line.ends[side] == who and line.tokens[side] == token and token:
                return index, side
    raise AssertionError(f"{WHO[who]} names token {token:#x}, which is dead or never was")


def is_dead(line: Line, side: int) -> bool:
    """Tell whether this end is gone for good, and the other has not been told."""
    return not line.tokens[side] and None not in line.towards[side]


def is_of_account(line: Line) -> bool:
    """Tell whether an end is open or will hear anything yet."""
    return any(line.tokens) or any(line.towards)


def with_saying(moment: Moment, text: str) -> Moment:
    """Return the moment with one more thing that a core did."""
    return replace(moment, said=(*moment.said, text))
