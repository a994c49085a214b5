"""What a connection of the simulated network is made of: two ends and two lanes; nothing moves.

What happens to them is `links`' affair; who holds an end is a `Place`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from routing.errors import CloseCode
from routing.inputs import Input
from routing.limits import Nanos
from routing.messages import FrameKind
from routing.simulation.holding import Holding
from routing.simulation.pipes import Pipe
from routing.state import Connection, Direction, Token

__all__ = ["KERNEL_BYTES", "Arrival", "End", "Ending", "Item", "Lane", "Place", "Wire"]

KERNEL_BYTES = 262_144
"""What the kernels of both ends hold of a connection before the writer has to keep it."""


class Place(Protocol):
    """What a connection needs to know of the host at its end."""

    index: int
    address: str
    alive: bool
    """Its process runs."""
    gone: bool
    """Its machine has vanished without a word: nothing answers there."""
    asleep: bool
    """Its machine is suspended: it reads, says and times nothing."""
    online: bool
    side: int
    read_bytes_s: int
    """What it reads in a second; 0 for all that comes."""
    changes: int
    """Grows with whatever may change who is connected with whom."""
    ends: dict[Token, End]
    waiting: deque[tuple[Callable[..., None], tuple[object, ...]]]
    """What it finds when it wakes."""
    unread: deque[Lane]
    """Whose next item it reads next, where it reads slowly."""
    holding: Holding
    """What it does not read."""

    @property
    def now(self) -> Nanos:
        """What its own clock shows."""

    def hear(self, fact: Input) -> None:
        """Hand a fact to the core."""

    def adopt(self, end: End, direction: Direction, peer: str) -> Connection | None:
        """Give an end its token; None if the host takes no more connections."""

    def release(self, end: End) -> None:
        """Take the token back: the connection is over for this host."""

    @property
    def key(self) -> bytes:
        """The key of the core."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The last thing on a lane: why the far end is told that it has lost the connection."""

    code: CloseCode
    text: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """The first thing on the lane of the dialler: the channel is complete for the acceptor."""

    accepted_at: Nanos


Item = tuple[FrameKind, bytes] | Ending | Arrival


class Lane:
    """One direction of a connection."""

    __slots__ = (
        "bytes",
        "clears_at",
        "dead",
        "due",
        "excused",
        "heard_at",
        "items",
        "parted",
        "pipe",
        "source",
        "stalls",
        "taken",
        "target",
        "waits",
        "watched",
    )

    def __init__(self, source: End, target: End) -> None:
        self.source = source
        self.target = target
        self.items: deque[Item] = deque()
        self.due = 0
        """Items whose time has come while the lane was held."""
        self.clears_at = 0
        """When the last item put on it arrives: nothing overtakes it."""
        self.heard_at = 0
        self.pipe: Pipe | None = None
        """What makes bytes of frames and frames of bytes, at that depth."""
        self.parted = False
        """Packets do not pass between its hosts this way."""
        self.stalls = 0
        """How many stalls hold it."""
        self.dead = False
        """Everything on it is lost, and nobody is told."""
        self.bytes = 0
        """Of frames that the target has not read."""
        self.taken = 0
        """Bytes that the target has read since it began."""
        self.waits = False
        """The target does not read it, for it could not pass on what comes."""
        self.excused = 0
        """Bytes that the target passes on all the same."""
        self.watched = False
        """The writer waits for the reader, and looks after a while."""

    @property
    def held(self) -> bool:
        """Nothing arrives for now."""
        return self.parted or self.stalls > 0 or self.target.host.asleep

    @property
    def backlog(self) -> int:
        """Bytes that the kernel does not take: they are kept by the writer."""
        return max(0, self.bytes - KERNEL_BYTES)


class End:
    """One end of a connection, as one host holds it."""

    __slots__ = (
        "connection",
        "failing",
        "far",
        "host",
        "mute",
        "mute_epoch",
        "out",
        "silent_at",
        "token",
        "trusted",
        "wire",
    )

    far: End
    out: Lane
    wire: Wire

    def __init__(self, host: Place) -> None:
        self.host = host
        self.token = Token(0)
        """0 before it is open and after it is over."""
        self.connection: Connection | None = None
        self.trusted = False
        self.mute = False
        """Nothing can be heard here now: the way is cut or the far host is gone without a word."""
        self.mute_epoch = 0
        self.silent_at = 0
        """While mute: when it is told so."""
        self.failing = False
        """The host has given it up in this very step; the core hears of it after the step."""

    @property
    def open(self) -> bool:
        """The host holds it."""
        return self.token != 0


class Wire:
    """One connection: the dialler's end and the acceptor's."""

    __slots__ = ("acceptor", "binding", "dialler", "latency_ns", "number")

    def __init__(self, number: int, dialler: Place, acceptor: Place, latency_ns: int) -> None:
        self.number = number
        self.latency_ns = latency_ns
        self.dialler, self.acceptor = End(dialler), End(acceptor)
        lanes = Lane(self.dialler, self.acceptor), Lane(self.acceptor, self.dialler)
        for end, far, out in zip(self.ends, reversed(self.ends), lanes, strict=True):
            end.far, end.out, end.wire = far, out, self
        identity = number.to_bytes(8, "big") + dialler.key + acceptor.key
        self.binding = blake2b(identity, digest_size=32, person=b"sim binding").digest()

    @property
    def ends(self) -> tuple[End, End]:
        """Both ends, the dialler's first."""
        return self.dialler, self.acceptor
