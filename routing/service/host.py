"""The host of one core: facts in, actions out, one clock; it owns the sockets and decides nothing.

Facts are handed over one at a time and their actions are executed in order before the next, even
where executing an action brings a new fact about. After `Lost`, and after the core has said
`Close`, nothing more is told about a token, and what the core still says about it is counted.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from routing import actions as do
from routing._frames import SpareBlock
from routing._meter import Meter
from routing._tokens import TokenTable
from routing.channel import Handshake
from routing.errors import CloseCode, DialFailure, TokenTableFull
from routing.events import Event, Message
from routing.hop_shares import sent_again
from routing.identity import verify
from routing.inputs import (
    Accepted,
    BootstrapRequested,
    DescriptorsRanShort,
    DialFailed,
    Dialled,
    FrameReceived,
    Input,
    Listening,
    Lost,
    StopRequested,
)
from routing.limits import Nanos
from routing.messages import FrameKind
from routing.noise import KeyPair
from routing.passing import Passing
from routing.proofs import Proofs
from routing.service.connection import Line, Stage
from routing.service.corridor import Corridor
from routing.service.dialler import Dialler
from routing.service.door import Door
from routing.service.feeding import Feeding
from routing.service.figures import passed
from routing.service.host_config import HostConfig
from routing.service.ledger import Ledger, ledger_of
from routing.service.machine import Machine
from routing.service.owner import AT_A_TIME
from routing.service.polling import BusyPoll
from routing.service.pulse import Pulse
from routing.service.wakeup import Clock, WakeUp
from routing.state import Connection, Direction, Token

__all__ = ["Host", "Machine"]

_KINDS: Final = {int(kind): kind for kind in FrameKind}


class Host:
    """One core on real sockets. `start` it, `submit` facts, `stop` it; once each way.

    Args:
        core: The machine; nobody else may drive it.
        config: See `HostConfig`.
        on_event: Takes one event for the application.
        on_message: Takes one message for the application.
        on_answered: Takes each reply to a request of ours.
        on_failed: Takes (reference, reason) of one that was not.
        on_progress: Takes how far a large message of ours has got.
        on_certificate: Takes the encoded certificate to be kept with the identity.
        passing: What of the core's may go from peer to peer without it; nothing by default.
        ticks: Monotonic clock in nanoseconds; tests give their own.
        ledger: The account to charge; by default the one of the running loop.

    The callbacks are called on the loop and must not block.
    """

    def __init__(
        self,
        core: Machine,
        config: HostConfig,
        *,
        on_event: Callable[[Event], None],
        on_message: Callable[[Message], None],
        on_answered: Callable[[do.Answered], None],
        on_failed: Callable[[int, str], None],
        on_progress: Callable[[do.Progress], None] | None = None,
        on_certificate: Callable[[bytes], None] | None = None,
        passing: Passing | None = None,
        ticks: Callable[[], int] | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.core = core
        self.config, self.limits = config, config.limits
        self.counters: Counter[str] = Counter()
        self._loop = loop = asyncio.get_running_loop()
        self.clock = Clock() if ticks is None else Clock(ticks)
        self.ledger = ledger or ledger_of(
            loop,
            reserved=config.limits.descriptors_reserved,
            bytes_max=config.limits.write_bytes_total,
        )
        self.wakeup = WakeUp(loop, self.clock, core.next_deadline, self._on_due)
        self.pulse, self.feeding = Pulse(self, self.wakeup), Feeding(self)
        self.poll = BusyPoll(loop, self.now, config.busy_poll_ns)
        self.established_max = min(config.limits.established_max, self.ledger.descriptors_max)
        self.tokens = TokenTable(self.established_max)
        self.spare, self.meter = SpareBlock(), Meter()
        self._door = Door(self, loop, self.wakeup, make=self._make_inbound, submit=self.submit)
        self._dialler = Dialler(
            loop, self.ledger, self.wakeup, make=self._make_outbound, failed=self._on_dial_failed
        )
        self._corridor = None if passing is None else Corridor(self, passing)
        self._lines, self._dirty = dict[int, Line](), list[Line]()
        self._facts: deque[Input] = deque()
        self._serial, self._static = 0, KeyPair(os.urandom(32))
        self._signed, self.proofs = (b"", b""), Proofs(verify)
        self._started = self._stopping = self.acting = False
        self._reading = True
        self._all_gone: asyncio.Event | None = None
        self._execute: dict[type, Callable[..., None]] = {
            do.Send: self._send,
            do.Dial: self._dial,
            do.CancelDial: self._cancel_dial,
            do.Trust: self._trust,
            do.Bind: self._bind,
            do.Close: self._close,
            do.Unlisten: lambda action: self._door.retire(),
            do.Tell: lambda action: on_event(action.event),
            do.Deliver: lambda action: on_message(action.message),
            do.DeliverMany: lambda action: action.to(on_message),
            do.Answered: on_answered,
            do.Failed: lambda action: on_failed(action.reference, action.reason),
            do.Relieved: lambda action: None,
            do.Progress: on_progress or (lambda action: None),
            do.KeepCertificate: lambda each: on_certificate and on_certificate(each.certificate),
        }

    # -- the doors' side

    @property
    def endpoints(self) -> list[str]:
        """What we listen on, ports filled in."""
        return list(self._door.endpoints)

    @property
    def has_room(self) -> bool:
        """Whether there may be another connection."""
        return len(self._lines) < self.established_max

    def now(self) -> Nanos:
        """Return nanoseconds since construction."""
        return self.clock.now()

    async def start(self) -> None:
        """Bind, tell the core, and begin.

        Raises:
            ListenError: an address cannot be bound; nothing is left open.
        """
        assert not self._started, "a host is started once"
        self._door.bind(self.config.listen)
        self._started = True
        if self.established_max < self.limits.established_max:
            self.submit(
                DescriptorsRanShort(self.ledger.descriptors_used, self.ledger.descriptors_max)
            )
        if self.config.listen:
            advertised = self.config.advertise
            self.submit(Listening(list(self.endpoints if advertised is None else advertised)))
        self._door.open()
        self.submit(BootstrapRequested())

    def submit(self, fact: Input) -> None:
        """Hand a fact to the core, now or right after the one in hand."""
        self._facts.append(fact)
        if self.acting:
            return
        self.acting = True
        try:
            while self._facts:
                self._step(self._facts.popleft())
        finally:
            self.acting = False
        self.wakeup.refresh()

    def pause_reading(self) -> None:
        """Take in nothing more from any peer until `resume_reading`: the application is behind."""
        self._hold(True)

    def resume_reading(self) -> None:
        """Go on reading; nobody is called silent for what he could not say."""
        self._hold(False)

    def stats(self) -> dict[str, int]:
        """Return what was counted, and how things stand now."""
        return {
            **self.counters,
            **self.poll.counts(),
            **passed(self.meter, self._lines.values(), self.counters),
            "connections.open": len(self.tokens),
            "connections.sockets": len(self._lines),
            "connections.waiting": len(self._door),
            "dials.in_flight": len(self._dialler),
            "descriptors.used": self.ledger.descriptors_used,
            "descriptors.max": self.ledger.descriptors_max,
        }

    async def stop(self, drain: float = 5.0) -> None:
        """Stop the core, let what is queued go out for at most `drain` seconds, close everything.

        Nothing of ours is left on the loop afterwards, also when it is cancelled midway.
        """
        if self._stopping:
            return
        self._stopping = True
        self._door.close()
        try:
            if self._started:
                self.submit(StopRequested())
            self._flush()
            for line in list(self._lines.values()):
                if line.stage is Stage.GREETING or line.token:
                    line.abort()
            await self._dialler.close()
            await self._gone(drain)
        finally:
            for line in list(self._lines.values()):
                line.abort()
            await self._door.wait_closed()
            await self._gone(None)
            self.wakeup.close()
            self.poll.stop()

    # -- facts in, actions out

    def _step(self, fact: Input) -> None:
        if isinstance(fact, FrameReceived):
            if self.tokens.get(fact.token) is None:
                return
        elif isinstance(fact, Lost):
            line = self.tokens.get(fact.token)
            if line is None:
                return
            self._release(line)
        self.core.handle(fact, self.clock.now())
        self._act()

    def _on_due(self, now: Nanos, lateness: int) -> None:
        if lateness > self.pulse.gap_ns:
            self.counters["clock.gaps"] += 1
            self.pulse.probe_all(now)
        due = self.core.next_deadline()
        if due is None or due > now:
            return
        self.acting = True
        try:
            self.core.on_deadline(now)
            self._act()
            while self._facts:
                self._step(self._facts.popleft())
        finally:
            self.acting = False

    def _act(self) -> None:
        execute = self._execute
        for action in self.core.take_actions():
            execute[type(action)](action)

    # -- actions

    def _line(self, token: Token, action: str) -> Line | None:
        """Return the line of a token, None if it was lost in this very step (counted)."""
        line: Line | None = self.tokens.get(token)
        if line is None or line.stage is not Stage.OPEN:
            self.counters[f"late.{action}"] += 1
            return None if action != "close" else line
        return line

    def _send(self, action: do.Send) -> None:
        line = self._line(action.token, "send")
        if line is None:
            return
        bound = self.limits.write_bytes_max
        again = sent_again(action)
        if again and line.is_behind(bound // 2):
            self.counters[f"{again}.dropped"] += 1
            return
        if line.backlog > bound:
            line.flush()
            if line.queued > bound:
                self.counters["slow.queue_full"] += 1
                line.fault(CloseCode.SLOW_READER, "more is queued than one peer may have")
                return
        line.send(action.kind, action.body, action.priority)
        if action.kind is FrameKind.ROUTED:
            self.feeding.passed_on(line, len(action.body))
        if action.kind is FrameKind.PONG:
            line.flush(AT_A_TIME)
        else:
            self.flush_later(line)

    def flush_later(self, line: Line) -> None:
        """Write what a line has queued, together with the rest of this tick."""
        if not line.dirty:
            line.dirty = True
            if not self._dirty:
                self._loop.call_soon(self._flush)
            self._dirty.append(line)
        if self.ledger.is_overdrawn:
            self._relieve()

    def _relieve(self) -> None:
        """All nodes together have too much queued: ours with the most loses its connection."""
        fattest = max(self._lines.values(), key=lambda line: line.queued)
        self.counters["slow.ledger_overdrawn"] += 1
        fattest.fault(CloseCode.SLOW_READER, "more is queued than all peers together may have")
        fattest.abort()

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for line in dirty:
            line.flush(AT_A_TIME)

    def _dial(self, action: do.Dial) -> None:
        self._dialler.dial(action.dial, action.endpoint, action.expect, action.timeout_ns)

    def _cancel_dial(self, action: do.CancelDial) -> None:
        self._dialler.fail(action.dial, DialFailure.CANCELLED)

    def _trust(self, action: do.Trust) -> None:
        line = self._line(action.token, "trust")
        if line is not None:
            line.trust()
            self._door.leave(line)

    def _bind(self, action: do.Bind) -> None:
        if self._line(action.token, "bind") is not None:
            self.tokens.bind(action.token, action.name)

    def _close(self, action: do.Close) -> None:
        line = self._line(action.token, "close")
        if line is not None:
            self._release(line)
            if line.stage is Stage.OPEN:
                self.counters[f"closed.{action.code.name.lower()}"] += 1
                line.close(action.code, action.text)

    def _release(self, line: Line) -> None:
        self.tokens.remove(line.token)
        line.token = Token(0)
        self._door.leave(line)
        self.pulse.stop(line)

    # -- accepting and dialling

    def _make_inbound(self) -> Line:
        return self._make(Direction.INBOUND, 0, None)

    def _make_outbound(self, dial: int, expect: bytes | None) -> Line:
        return self._make(Direction.OUTBOUND, dial, expect)

    def _make(self, direction: Direction, dial: int, expect: bytes | None) -> Line:
        self._serial += 1
        handshake = Handshake(
            dialler=direction is Direction.OUTBOUND,
            sign=self._sign,
            verify=self.proofs.verify,
            key=self.config.identity.key,
            tag=self.config.tag,
            static=self._static,
            ephemeral=os.urandom(32),
            expect=expect,
        )
        line = Line(
            self,
            handshake,
            direction=direction,
            serial=self._serial,
            since=self.clock.now(),
            dial=dial,
        )
        self._lines[line.serial] = line
        return line

    def _sign(self, text: bytes) -> bytes:
        """Sign the static key once: every handshake of ours proves the same one."""
        if self._signed[0] != text:
            self._signed = (text, self.config.identity.sign(text))
        return self._signed[1]

    def _on_dial_failed(self, dial: int, reason: DialFailure) -> None:
        if not self._stopping:
            self.submit(DialFailed(dial, reason))

    # -- what lines tell (see `Owner`)

    def on_channel(self, line: Line) -> None:
        """A handshake is complete."""
        self._door.greeted(line)
        if line.direction is Direction.OUTBOUND and not self._dialler.succeed(line.dial):
            line.abort()
            return
        try:
            line.token = Token(self.tokens.add(line))
        except TokenTableFull:
            self.counters["connections.full"] += 1
            line.close(CloseCode.FULL, "no place for another connection")
            if line.direction is Direction.OUTBOUND:
                self.submit(DialFailed(line.dial, DialFailure.NO_DESCRIPTORS))
            return
        self.pulse.start(line)
        if not self._reading:
            line.pause_reading(True)
        connection = Connection(line.token, "tcp", line.peer, line.local, line.direction)
        if line.direction is Direction.OUTBOUND:
            self.submit(Dialled(line.dial, connection, line.key, line.binding))
        else:
            self.submit(Accepted(connection, line.key, line.binding, line.since))

    def on_greeting_failed(self, line: Line, reason: DialFailure) -> None:
        """There will be no channel."""
        if line.direction is Direction.OUTBOUND:
            self._dialler.fail(line.dial, reason)
        else:
            self.counters[f"accept.{reason.name.lower()}"] += 1
            self._door.leave(line)

    def passes_on(self, line: Line, plaintext: bytes, frame_max: int) -> bool:
        """Go through a record if some of it is for others."""
        return self._corridor is not None and self._corridor.takes(line, plaintext, frame_max)

    def on_frame(self, line: Line, kind: int, body: bytes) -> None:
        """A frame has come."""
        known = _KINDS.get(kind)
        if known is None:
            line.fault(CloseCode.BAD_FRAME, f"frame kind {kind} is unknown")
            return
        self.feeding.source = line
        self.submit(FrameReceived(line.token, known, body))
        self.feeding.source = None

    def on_lost(self, line: Line, code: CloseCode, text: str) -> None:
        """An open line has ended."""
        self.counters[f"lost.{code.name.lower()}"] += 1
        if line.token:
            self.submit(Lost(line.token, code, text))

    def on_paused(self, line: Line, paused: bool) -> None:
        """The kernel takes no more, or took all."""
        self.pulse.on_paused(line, paused)
        if not paused:
            self.feeding.drained(line)

    def on_closing(self, line: Line) -> None:
        """Cut it off if the far end does not hang up in time."""
        self.feeding.forget(line)
        at = self.clock.now() + self.limits.close_reset_ns
        self.wakeup.set("reset", line.serial, at, line.abort)

    def on_gone(self, line: Line) -> None:
        """The socket is closed."""
        self.counters["bytes.read"] += line.read_bytes
        self.counters["bytes.written"] += line.written_bytes
        del self._lines[line.serial]
        self.feeding.forget(line)
        self.wakeup.cancel("reset", line.serial)
        self.pulse.stop(line)
        self._door.leave(line)
        self.ledger.give()
        if self._all_gone is not None and not self._lines:
            self._all_gone.set()

    # -- ends

    def _hold(self, hold: bool) -> None:
        if self._reading is not hold:
            return
        self._reading = not hold
        now = self.clock.now()
        for line in self._lines.values():
            line.heard_at = now
            line.pause_reading(hold)

    @property
    def reading(self) -> bool:
        """Whether peers are being listened to at all."""
        return self._reading

    async def _gone(self, timeout: float | None) -> None:
        """Wait until every socket is closed, or the time is up."""
        self._all_gone = asyncio.Event()
        if self._lines:
            try:
                await asyncio.wait_for(self._all_gone.wait(), timeout)
            except TimeoutError:
                self.counters["stop.cut_off"] += len(self._lines)
