"""Connections of the simulated network: two FIFO lanes each, latency, jitter, silence; no policy.

A connection is a `Wire` with two `End`s, each held by one host, and two `Lane`s. What is put on a
lane arrives in order, late, and at most while the far end listens. Like TCP a lane neither loses
nor repeats anything, except one that has died (`deafen`), on which all is lost; only ROUTED frames
may be lost or doubled on purpose (`Weather`), standing for messages that die in a node further on.
A lane that is held keeps what comes until it flows again. Heartbeats are arithmetic: an end that
can hear nothing any more is told SILENT when the silence limit has passed since the last thing it
could have heard. What a host does not read fills the kernels between, then its writer's memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from routing.errors import CloseCode, ConfigError, UsageError
from routing.inputs import Accepted, FrameReceived, Lost
from routing.limits import SECOND, Limits, Nanos
from routing.messages import Close, FrameKind, decode, encode
from routing.simulation.clock import Clock
from routing.simulation.pipes import Pipe
from routing.simulation.wires import (
    KERNEL_BYTES,
    Arrival,
    End,
    Ending,
    Item,
    Lane,
    Place,
    Wire,
)
from routing.state import Direction

__all__ = ["PROGRESS_BYTES_MIN", "Links", "Weather"]

_CLOSE_TEXT_MAX = 64

PROGRESS_BYTES_MIN = 65_536
"""A reader that took this much since it was last looked at is slow, but not a slow reader."""

_FRAME_OVERHEAD_BYTES = 5
"""The head of a frame."""


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


class Links:
    """All connections between the hosts of one world."""

    def __init__(
        self,
        clock: Clock,
        random: Random,
        weather: Weather,
        limits: Limits,
        bytewise: Random | None = None,
    ) -> None:
        self.bytewise = bytewise
        """Where frames travel as bytes: what says where to cut them."""
        self.clock = clock
        self.random = random
        self.weather = weather
        self.limits = limits
        self.frames: Counter[FrameKind] = Counter()
        self.bytes = 0
        self.lost_frames = 0
        self.in_flight = 0
        """Items on lanes that will arrive at their time."""
        self.closed_ways: set[tuple[int, int]] = set()
        """(from, to): hosts between which packets are lost this way only."""
        self._wires = 0

    def latency(self) -> int:
        """Draw the one-way latency of a new connection."""
        return self.random.randint(self.weather.latency_low_ns, self.weather.latency_high_ns)

    def passes(self, source: Place, target: Place) -> bool:
        """Tell whether packets pass from one host to another now."""
        apart = source.side != target.side or not (source.online and target.online)
        return not apart and (source.index, target.index) not in self.closed_ways

    def reaches(self, one: Place, other: Place) -> bool:
        """Tell whether packets pass between two hosts now, both ways."""
        return self.passes(one, other) and self.passes(other, one)

    # -- opening

    def connect(self, dialler: Place, acceptor: Place, latency_ns: int, at: Nanos) -> Wire:
        """Make a connection whose channel is complete for the dialler now."""
        wire = self._wire(dialler, acceptor, latency_ns)
        self._put(wire.dialler.out, Arrival(at))
        return wire

    def tie(self, dialler: Place, acceptor: Place) -> Wire:
        """Make a connection that is open and trusted at both ends, as if made long ago.

        Raises:
            UsageError: a host takes no more connections.
        """
        wire = self._wire(dialler, acceptor, self.latency())
        for end, direction in zip(wire.ends, (Direction.OUTBOUND, Direction.INBOUND), strict=True):
            peer = end.far.connection.local if end.far.connection is not None else acceptor.address
            end.connection = end.host.adopt(end, direction, peer)
            if end.connection is None:
                raise UsageError(f"node {end.host.index} takes no more connections")
            end.trusted = True
        return wire

    def _wire(self, dialler: Place, acceptor: Place, latency_ns: int) -> Wire:
        self._wires += 1
        wire = Wire(self._wires, dialler, acceptor, latency_ns)
        if self.bytewise is not None:
            for end in wire.ends:
                end.out.pipe = Pipe(
                    wire.binding,
                    forward=end is wire.dialler,
                    limits=self.limits,
                    random=self.bytewise,
                )
        return wire

    def _arrive_at_acceptor(self, end: End, accepted_at: Nanos) -> None:
        host = end.host
        late = host.now > accepted_at + self.limits.hello_deadline_ns
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
        if end.far.host.gone or end.far.host.asleep:
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
                self._carry(end.out, kind, body)
        self._carry(end.out, kind, body)

    def _carry(self, lane: Lane, kind: FrameKind, body: bytes) -> None:
        lane.bytes += len(body) + _FRAME_OVERHEAD_BYTES
        if lane.bytes > KERNEL_BYTES and not lane.watched:
            self._watch(lane)
        self._put(lane, (kind, body))

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
            self._empty(end.out)
        for end in wire.ends:
            self._lose(end, CloseCode.IO_ERROR, text)

    def abort(self, end: End, code: CloseCode, text: str) -> None:
        """Give it up at this host: what the far end has not read is thrown away with a reset."""
        if not end.open:
            return
        self._empty(end.out)
        self._put(end.out, Ending(CloseCode.IO_ERROR, "connection reset by peer"))
        self._lose(end, code, text)

    # -- arriving

    def _put(self, lane: Lane, item: Item) -> None:
        if lane.dead:
            return
        delay = lane.source.wire.latency_ns
        if self.weather.jitter_ns:
            delay += int(self.random.random() * self.weather.jitter_ns)
        lane.clears_at = max(lane.clears_at, self.clock.now + delay)
        lane.items.append(item)
        if lane.pipe is not None and not isinstance(item, Arrival):
            self._write(lane.pipe, item, lane.clears_at)
        self.in_flight += 1
        self.clock.at(lane.clears_at, self._due, lane)

    def _due(self, lane: Lane) -> None:
        """One item of this lane is due: the first, whichever that is by now."""
        self.in_flight -= 1
        if not lane.items:
            return
        host = lane.target.host
        if lane.held or lane.waits:
            lane.due += 1
        elif host.read_bytes_s or host.unread:
            host.unread.append(lane)
            if len(host.unread) == 1:
                self._read(host)
        else:
            self._deliver(lane)

    def _deliver(self, lane: Lane) -> None:
        item = lane.items.popleft()
        lane.heard_at = self.clock.now
        end = lane.target
        if isinstance(item, Arrival):
            self._arrive_at_acceptor(end, item.accepted_at)
            return
        if lane.pipe is not None:
            item = self._read_bytes(lane.pipe, item, trusted=end.trusted)
        if isinstance(item, Ending):
            self._lose(end, item.code, item.text)
            return
        size = len(item[1]) + _FRAME_OVERHEAD_BYTES
        lane.bytes -= size
        lane.taken += size
        lane.source.host.holding.drained(lane)
        if end.open:
            holding = end.host.holding
            holding.source = lane
            end.host.hear(FrameReceived(end.token, item[0], item[1]))
            holding.source = None

    def _write(self, pipe: Pipe, item: tuple[FrameKind, bytes] | Ending, due: int) -> None:
        """A reset has no bytes of its own; every other end is told in a Close frame."""
        if not isinstance(item, Ending):
            pipe.write(*item, due)
        elif item.code is not CloseCode.IO_ERROR:
            pipe.write(FrameKind.CLOSE, encode(Close(item.code, item.text)), due)

    def _read_bytes(
        self, pipe: Pipe, sent: tuple[FrameKind, bytes] | Ending, *, trusted: bool
    ) -> tuple[FrameKind, bytes] | Ending:
        """Return what has come out of a pipe for what was put into it.

        Raises:
            AssertionError: it is not the same.
        """
        if isinstance(sent, Ending) and sent.code is CloseCode.IO_ERROR:
            return sent
        kind, body = pipe.read(trusted=trusted)
        came: tuple[FrameKind, bytes] | Ending = (kind, body)
        if kind is FrameKind.CLOSE:
            close = decode(Close, body)
            assert close is not None, "a Close frame was spoilt on its way"
            came = Ending(CloseCode(close.code), close.text)
        assert came == sent, f"{sent} was sent, {came} came"
        return came

    def _read(self, host: Place) -> None:
        """A slow host reads one item, in the order in which they came, and takes its time."""
        lane = host.unread[0]
        before = lane.taken
        if lane.items and not (lane.held or lane.waits):
            self._deliver(lane)
        elif lane.items:
            lane.due += 1
        rate = host.read_bytes_s
        cost = (lane.taken - before) * SECOND // rate if rate else 0
        self.clock.at(self.clock.now + cost, self._read_on, host)

    def _read_on(self, host: Place) -> None:
        host.unread.popleft()
        if host.unread:
            self._read(host)

    def _lose(self, end: End, code: CloseCode, text: str) -> None:
        if not end.open:
            return
        if end.host.asleep:
            end.host.waiting.append((self._lose, (end, code, text)))
            return
        token = end.token
        end.host.release(end)
        end.host.hear(Lost(token, code, text))

    def _empty(self, lane: Lane) -> None:
        lane.items.clear()
        lane.due = lane.bytes = 0

    # -- slow readers

    def _watch(self, lane: Lane) -> None:
        lane.watched = True
        at = self.clock.now + self.limits.slow_reader_ns
        self.clock.at(at, self._look, lane, lane.taken)

    def _look(self, lane: Lane, taken: int) -> None:
        lane.watched = False
        end = lane.source
        if not end.open or not lane.backlog:
            return
        if lane.taken - taken >= PROGRESS_BYTES_MIN or end.host.asleep:
            self._watch(lane)
            return
        self.abort(end, CloseCode.SLOW_READER, "bytes stayed unwritten for too long")

    # -- silence

    def mute(self, end: End) -> None:
        """Nothing reaches this end any more; tell it when the silence limit has passed.

        The far end was heard last when its last frame came or its last heartbeat, whose phase is
        drawn.
        """
        if end.mute:
            return
        end.mute = True
        incoming = end.far.out
        heartbeat = self.clock.now - self.random.randint(0, self.limits.heartbeat_ns)
        coming = incoming.items and not (incoming.held or incoming.dead)
        heard = max(heartbeat, incoming.heard_at, incoming.clears_at if coming else 0)
        self._silence(end, heard + self.limits.silence_ns)

    def unmute(self, end: End) -> None:
        """The way is free again, unless something else still holds it."""
        far = end.far
        if end.mute and not (far.host.gone or far.host.asleep or far.out.held or far.out.dead):
            end.mute = False
            end.mute_epoch += 1

    def _silence(self, end: End, at: int) -> None:
        end.mute_epoch += 1
        end.silent_at = at
        self.clock.at(at, self._silent, end, end.mute_epoch)

    def _silent(self, end: End, epoch: int) -> None:
        if end.open and end.mute and end.mute_epoch == epoch and not end.host.asleep:
            # The host says goodbye too: it counts where the far end can still hear after all.
            self._put(end.out, Ending(CloseCode.SILENT, "silent for too long"))
            self._lose(end, CloseCode.SILENT, "silent for too long")

    # -- ways that are closed

    def part(self, wire: Wire) -> None:
        """Hold what goes where packets do not pass, until `join`."""
        for end in wire.ends:
            incoming = end.far.out
            if not incoming.parted and not self.passes(incoming.source.host, end.host):
                incoming.parted = True
                self.mute(end)

    def join(self, wire: Wire) -> None:
        """Let what was held arrive, in order, wherever packets pass again."""
        for end in wire.ends:
            if end.out.parted and self.passes(end.host, end.far.host):
                end.out.parted = False
                self.flow(end.out)

    def stall(self, lane: Lane) -> None:
        """Hold what is on this lane until `go_on`; two stalls need two of them."""
        lane.stalls += 1
        self.mute(lane.target)

    def go_on(self, lane: Lane) -> None:
        """End one stall."""
        lane.stalls -= 1
        self.flow(lane)

    def deafen(self, end: End) -> None:
        """Lose all that is on its way to this end and all that ever will be, without a word."""
        lane = end.far.out
        lane.items.clear()
        lane.due = 0
        lane.dead = True
        self.mute(end)

    def flow(self, lane: Lane) -> None:
        """Let what was held arrive, in order, and then the rest; unless it is held still."""
        if lane.held:
            return
        self.unmute(lane.target)
        if not lane.waits:
            self._bring(lane, lane.source.wire.latency_ns)

    def read_on(self, lane: Lane) -> None:
        """Have the target read what has come while it did not; unless the lane is held."""
        if not lane.held:
            self._bring(lane, 0)

    def _bring(self, lane: Lane, delay_ns: int) -> None:
        for _ in range(lane.due):
            self.in_flight += 1
            self.clock.at(self.clock.now + delay_ns, self._due, lane)
        lane.due = 0

    # -- sleep

    def fall_asleep(self, host: Place) -> None:
        """Nobody hears of this host, which has just fallen asleep, until it wakes."""
        for end in host.ends.values():
            self.mute(end.far)

    def wake(self, host: Place, slept_ns: int, *, counted: bool) -> None:
        """Bring this host, which is awake again, what has come; its peers hear of it again.

        Args:
            host: Asleep no longer.
            slept_ns: For how long it slept.
            counted: Its clock has gone on meanwhile: after a long gap nobody is called silent
                before he was asked and had time to answer.
        """
        limits = self.limits
        grace = min(2 * limits.heartbeat_ns, limits.silence_ns)
        for end in host.ends.values():
            self.unmute(end.far)
            self.flow(end.far.out)
            if end.mute and not counted:
                self._silence(end, end.silent_at + slept_ns)
            elif end.mute:
                gap = slept_ns > limits.clock_gap_ns
                self._silence(end, max(end.silent_at, self.clock.now + (grace if gap else 0)))
