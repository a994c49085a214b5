"""Connections of the simulated network: two FIFO lanes each, latency, jitter, silence; no policy.

A connection is a `Wire` with two `End`s, each held by one host, and two `Lane`s. What is put on a
lane arrives in order, late, and at most while the far end listens. Like TCP a lane neither loses
nor repeats anything; only ROUTED frames may be lost or doubled on purpose (`Weather`), standing for
messages that die in a node further on. Heartbeats are arithmetic: an end that can hear nothing any
more is told SILENT when the silence limit has passed since the last thing it could have heard.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Protocol

from routing.errors import CloseCode, ConfigError, UsageError
from routing.inputs import Accepted, FrameReceived, Input, Lost
from routing.limits import Limits, Nanos
from routing.messages import FrameKind
from routing.simulation.clock import Clock
from routing.state import Connection, Direction, Token

__all__ = ["End", "Ending", "Lane", "Links", "Place", "Weather", "Wire"]

_CLOSE_TEXT_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What the network between the nodes is like.

    Raises:
        ConfigError: a value is out of its bounds.
    """

    latency_low_ns: int = 5_000_000
    """One way, drawn per connection."""
    latency_high_ns: int = 60_000_000
    jitter_ns: int = 10_000_000
    """Added per frame, at most."""
    lateness_ns: int = 10_000_000
    """A wake-up comes up to so much late, as on a busy loop: facts may overtake deadlines."""
    loss: float = 0.0
    """Share of ROUTED frames that are lost at each hop."""
    duplication: float = 0.0
    """Share of ROUTED frames that arrive twice."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplication"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        if not 0 < self.latency_low_ns <= self.latency_high_ns:
            raise ConfigError("latencies must be positive and rise")
        if self.jitter_ns < 0 or self.lateness_ns < 0:
            raise ConfigError("jitter and lateness must not be negative")


class Place(Protocol):
    """What a connection needs to know of the host at its end."""

    index: int
    address: str
    alive: bool
    """Its process runs."""
    gone: bool
    """Its machine has vanished without a word: nothing answers there."""
    online: bool
    side: int
    ends: dict[Token, End]

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

    __slots__ = ("clears_at", "due", "heard_at", "items", "source", "target")

    def __init__(self, source: End, target: End) -> None:
        self.source = source
        self.target = target
        self.items: deque[Item] = deque()
        self.due = 0
        """Items whose time has come while the wire was cut."""
        self.clears_at = 0
        """When the last item put on it arrives: nothing overtakes it."""
        self.heard_at = 0


class End:
    """One end of a connection, as one host holds it."""

    __slots__ = (
        "connection",
        "far",
        "host",
        "mute",
        "mute_epoch",
        "out",
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

    @property
    def open(self) -> bool:
        """The host holds it."""
        return self.token != 0


class Wire:
    """One connection: the dialler's end and the acceptor's."""

    __slots__ = ("acceptor", "binding", "cut", "dialler", "latency_ns", "number")

    def __init__(self, number: int, dialler: Place, acceptor: Place, latency_ns: int) -> None:
        self.number = number
        self.latency_ns = latency_ns
        self.cut = False
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


class Links:
    """All connections between the hosts of one world."""

    def __init__(self, clock: Clock, random: Random, weather: Weather, limits: Limits) -> None:
        self.clock = clock
        self.random = random
        self.weather = weather
        self.limits = limits
        self.frames: Counter[FrameKind] = Counter()
        self.bytes = 0
        self.lost_frames = 0
        self.in_flight = 0
        """Items on lanes that will arrive at their time."""
        self._wires = 0

    def latency(self) -> int:
        """Draw the one-way latency of a new connection."""
        return self.random.randint(self.weather.latency_low_ns, self.weather.latency_high_ns)

    def reaches(self, one: Place, other: Place) -> bool:
        """Tell whether packets pass between two hosts now."""
        return one.online and other.online and one.side == other.side

    # -- opening

    def connect(self, dialler: Place, acceptor: Place, latency_ns: int, at: Nanos) -> Wire:
        """Make a connection whose channel is complete for the dialler now."""
        self._wires += 1
        wire = Wire(self._wires, dialler, acceptor, latency_ns)
        self._put(wire.dialler.out, Arrival(at))
        return wire

    def tie(self, dialler: Place, acceptor: Place) -> Wire:
        """Make a connection that is open and trusted at both ends, as if made long ago.

        Raises:
            UsageError: a host takes no more connections.
        """
        self._wires += 1
        wire = Wire(self._wires, dialler, acceptor, self.latency())
        for end, direction in zip(wire.ends, (Direction.OUTBOUND, Direction.INBOUND), strict=True):
            peer = end.far.connection.local if end.far.connection is not None else acceptor.address
            end.connection = end.host.adopt(end, direction, peer)
            if end.connection is None:
                raise UsageError(f"node {end.host.index} takes no more connections")
            end.trusted = True
        return wire

    def _arrive_at_acceptor(self, end: End, accepted_at: Nanos) -> None:
        host = end.host
        late = self.clock.now > accepted_at + self.limits.hello_deadline_ns
        if host.gone:
            self.mute(end.far)
            return
        peer = end.far.connection.local if end.far.connection is not None else "unknown"
        takes = host.alive and not late
        connection = host.adopt(end, Direction.INBOUND, peer) if takes else None
        if connection is None:
            self._put(end.out, Ending(CloseCode.IO_ERROR, "connection reset by peer"))
            return
        end.connection = connection
        if end.far.host.gone:
            self.mute(end)
        host.hear(Accepted(connection, end.far.host.key, end.wire.binding, accepted_at))

    # -- using

    def send(self, end: End, kind: FrameKind, body: bytes) -> None:
        """Put a frame on its way."""
        self.frames[kind] += 1
        self.bytes += len(body)
        if kind is FrameKind.ROUTED:
            weather = self.weather
            if weather.loss and self.random.random() < weather.loss:
                self.lost_frames += 1
                return
            if weather.duplication and self.random.random() < weather.duplication:
                self._put(end.out, (kind, body))
        self._put(end.out, (kind, body))

    def close(self, end: End, code: CloseCode, text: str) -> None:
        """End it for this host now; the far end hears of it after all frames queued before."""
        end.host.release(end)
        self._put(end.out, Ending(code, text[:_CLOSE_TEXT_MAX]))

    def crash(self, end: End) -> None:
        """The process at this end has died: its kernel says so without a Close frame."""
        end.host.release(end)
        self._put(end.out, Ending(CloseCode.IO_ERROR, "connection reset by peer"))

    def reset(self, wire: Wire, text: str = "connection reset") -> None:
        """Break it: what is on the way is lost and both ends are told."""
        for end in wire.ends:
            end.out.items.clear()
            end.out.due = 0
        for end in wire.ends:
            self._lose(end, CloseCode.IO_ERROR, text)

    # -- arriving

    def _put(self, lane: Lane, item: Item) -> None:
        delay = lane.source.wire.latency_ns
        if self.weather.jitter_ns:
            delay += int(self.random.random() * self.weather.jitter_ns)
        lane.clears_at = max(lane.clears_at, self.clock.now + delay)
        lane.items.append(item)
        self.in_flight += 1
        self.clock.at(lane.clears_at, self._due, lane)

    def _due(self, lane: Lane) -> None:
        """One item of this lane is due: the first, whichever that is by now."""
        self.in_flight -= 1
        if not lane.items:
            return
        if lane.source.wire.cut:
            lane.due += 1
            return
        item = lane.items.popleft()
        lane.heard_at = self.clock.now
        end = lane.target
        if isinstance(item, Arrival):
            self._arrive_at_acceptor(end, item.accepted_at)
        elif not end.open:
            return
        elif isinstance(item, Ending):
            self._lose(end, item.code, item.text)
        else:
            end.host.hear(FrameReceived(end.token, item[0], item[1]))

    def _lose(self, end: End, code: CloseCode, text: str) -> None:
        if end.open:
            token = end.token
            end.host.release(end)
            end.host.hear(Lost(token, code, text))

    # -- silence

    def mute(self, end: End) -> None:
        """Nothing reaches this end any more; tell it when the silence limit has passed.

        The far end was heard last when its last frame came or its last heartbeat, whose phase is
        drawn.
        """
        if end.mute:
            return
        end.mute = True
        end.mute_epoch += 1
        incoming = end.far.out
        heartbeat = self.clock.now - self.random.randint(0, self.limits.heartbeat_ns)
        still_coming = 0 if end.wire.cut or not incoming.items else incoming.clears_at
        heard = max(heartbeat, incoming.heard_at, still_coming)
        self.clock.at(heard + self.limits.silence_ns, self._silent, end, end.mute_epoch)

    def unmute(self, end: End) -> None:
        """The way is free again, unless the far host is gone for good."""
        if end.mute and not end.far.host.gone:
            end.mute = False
            end.mute_epoch += 1

    def cut(self, wire: Wire) -> None:
        """Hold everything on this connection until `mend`."""
        if not wire.cut:
            wire.cut = True
            for end in wire.ends:
                self.mute(end)

    def mend(self, wire: Wire) -> None:
        """Let what was held arrive, in order, and then the rest."""
        if not wire.cut:
            return
        wire.cut = False
        for end in wire.ends:
            self.unmute(end)
            lane = end.out
            for _ in range(lane.due):
                self.in_flight += 1
                self.clock.at(self.clock.now + wire.latency_ns, self._due, lane)
            lane.due = 0

    def _silent(self, end: End, epoch: int) -> None:
        if end.open and end.mute and end.mute_epoch == epoch:
            # The host says goodbye too: it counts where the far end can still hear after all.
            self._put(end.out, Ending(CloseCode.SILENT, "silent for too long"))
            self._lose(end, CloseCode.SILENT, "silent for too long")
