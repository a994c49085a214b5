"""A core that does as it is told, a host around it, and a peer played by hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from routing import actions as do
from routing._frames import RecordReader, split_frames
from routing.channel import Channel, Handshake
from routing.errors import CloseCode
from routing.events import Event, Message
from routing.identity import Identity, verify
from routing.inputs import Accepted, ContactsLearnt, Dialled, Input, Lost, StopRequested
from routing.limits import SECOND, Limits, Nanos
from routing.messages import Close, FrameKind, decode
from routing.service import Host, HostConfig
from routing.service.ledger import Ledger
from routing.state import Token

__all__ = [
    "TAG",
    "Peer",
    "Puppet",
    "Stage",
    "frame",
    "hosted",
    "identity",
    "limits",
    "pair",
    "record_of",
]

TAG = b"testtest"
PATIENCE_S = 10.0
"""A test that waits longer has failed; nothing is ever measured by it."""

T = TypeVar("T", bound=Input)
Reply = Callable[[Input], list[do.Action]]


def identity(number: int) -> Identity:
    """Return the identity of a number."""
    return Identity.from_seed(bytes([number]) * 32)


def limits(**changes: object) -> Limits:
    """Return limits in which nothing happens by itself, less `changes`."""
    return Limits.recommended().but(**changes)


class Puppet:
    """A core: writes down every fact, answers with what `replies` says."""

    def __init__(self) -> None:
        self.facts: list[tuple[Nanos, Input]] = []
        self.replies: dict[type, Reply] = {}
        self.deadline: Nanos | None = None
        self.woken: list[Nanos] = []
        self.closed: set[Token] = set()
        self._actions: list[do.Action] = []
        self._news = asyncio.Event()
        self._inside = False

    def handle(self, fact: Input, now: Nanos) -> None:
        assert not self._inside, "a core is not entered twice"
        assert not self.facts or now >= self.facts[-1][0], "time runs back"
        self._inside = True
        self.facts.append((now, fact))
        reply = self.replies.get(type(fact))
        if reply is not None:
            self._actions += reply(fact)
        self._news.set()
        self._inside = False

    def on_deadline(self, now: Nanos) -> None:
        assert self.deadline is not None and now >= self.deadline, "woken before its deadline"
        self.woken.append(now)
        self.deadline = None
        self._news.set()

    def take_actions(self) -> list[do.Action]:
        taken, self._actions = self._actions, []
        self.closed |= {action.token for action in taken if isinstance(action, do.Close)}
        return taken

    def next_deadline(self) -> Nanos | None:
        return self.deadline

    def of(self, kind: type[T]) -> list[T]:
        """Return the facts of a kind, oldest first."""
        return [fact for _, fact in self.facts if isinstance(fact, kind)]

    async def wait(self, kind: type[T], count: int = 1) -> T:
        """Wait until there are `count` facts of a kind and return the last."""
        await self.until(lambda: len(self.of(kind)) >= count, f"{count} {kind.__name__}")
        return self.of(kind)[count - 1]

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds after a fact or a deadline."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"waited for {what}, have {self.facts}") from None


class Stage:
    """One host with its puppet."""

    def __init__(self, host: Host, core: Puppet, events: list[Event]) -> None:
        self.host = host
        self.core = core
        self.events = events
        self._dials = 0

    @property
    def endpoint(self) -> str:
        return self.host.endpoints[0]

    def do(self, *actions: do.Action) -> None:
        """Have the core order this now."""
        self.core._actions += actions
        # Any fact will do: it makes the host collect what the core wants.
        self.host.submit(ContactsLearnt([]))

    def dial(self, endpoint: str, expect: bytes | None = None, timeout_ns: int = 5 * SECOND) -> int:
        self._dials += 1
        self.do(do.Dial(self._dials, endpoint, expect, timeout_ns))
        return self._dials

    def events_of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    async def sockets(self, count: int) -> None:
        """Wait until the host holds so many connections, in whatever state."""
        await eventually(lambda: self.host.stats()["connections.sockets"] == count)


async def eventually(holds: Callable[[], bool]) -> None:
    """Turn the loop until something holds that no callback tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


def closes_on_stop(core: Puppet) -> None:
    """Give the puppet the manners of a real core: on stop it closes what it was told of."""

    def stop(_: Input) -> list[do.Action]:
        dead = {fact.token for fact in core.of(Lost)} | core.closed
        opened = [fact.connection.token for fact in core.of(Accepted)]
        opened += [fact.connection.token for fact in core.of(Dialled)]
        return [
            do.Close(token, CloseCode.STOPPING, "stopping") for token in opened if token not in dead
        ]

    core.replies[StopRequested] = stop


@asynccontextmanager
async def hosted(
    number: int = 1,
    *,
    listen: tuple[str, ...] = ("127.0.0.1:0",),
    bounds: Limits | None = None,
    tag: bytes = TAG,
    ticks: Callable[[], int] | None = None,
    ledger: Ledger | None = None,
    polite: bool = True,
) -> AsyncIterator[Stage]:
    """Run a host around a puppet; stopped at the end."""
    core = Puppet()
    if polite:
        closes_on_stop(core)
    events: list[Event] = []
    messages: list[Message] = []
    config = HostConfig(
        listen=listen, tag=tag, identity=identity(number), limits=bounds or limits()
    )
    host = Host(
        core,
        config,
        on_event=events.append,
        on_message=messages.append,
        on_answered=lambda answer: None,
        on_failed=lambda reference, reason: None,
        ticks=ticks,
        ledger=ledger if ledger is not None else Ledger(1_000, 1 << 29),
    )
    stage = Stage(host, core, events)
    try:
        await host.start()
        yield stage
    finally:
        await host.stop(2.0)
        used = host.ledger.descriptors_used
        if ledger is None:
            assert used == 0, f"{used} descriptors are still charged"
            assert host.ledger.bytes_queued == 0
        assert len(host.wakeup) == 0


@asynccontextmanager
async def pair(
    bounds: Limits | None = None, far_bounds: Limits | None = None
) -> AsyncIterator[tuple[Stage, int, Stage, int]]:
    """Two hosts, the first has dialled the second: (stage, token, stage, token), both trusted."""
    async with hosted(1, bounds=bounds) as near, hosted(2, bounds=far_bounds or bounds) as far:
        near.dial(far.endpoint)
        here = (await near.core.wait(Dialled)).connection.token
        there = (await far.core.wait(Accepted)).connection.token
        near.do(do.Trust(here))
        far.do(do.Trust(there))
        yield near, here, far, there


def frame(kind: int, body: bytes) -> bytes:
    """Return a frame's bytes."""
    return len(body).to_bytes(4, "big") + bytes([kind]) + body


def record_of(sealed: bytes) -> bytes:
    """Return a record's bytes."""
    return len(sealed).to_bytes(4, "big") + sealed


class Peer:
    """The far end, played by hand over a plain stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._records = RecordReader(1_048_640)
        self._channel: Channel | None = None
        self.records = 0

    @classmethod
    async def connect(cls, endpoint: str, local: str | None = None) -> Peer:
        """Connect, say nothing."""
        host, _, port = endpoint.rpartition(":")
        bound = None if local is None else (local, 0)
        return cls(*await asyncio.open_connection(host.strip("[]"), int(port), local_addr=bound))

    @classmethod
    async def joined(
        cls, endpoint: str, number: int = 9, tag: bytes = TAG, local: str | None = None
    ) -> Peer:
        """Connect and complete the channel."""
        peer = await cls.connect(endpoint, local)
        await peer.shake(dialler=True, number=number, tag=tag)
        return peer

    @property
    def channel(self) -> Channel:
        assert self._channel is not None
        return self._channel

    async def shake(self, *, dialler: bool, number: int = 9, tag: bytes = TAG) -> None:
        """Run the handshake as one of the two ends."""
        own = identity(number)
        handshake = Handshake(
            dialler=dialler,
            sign=own.sign,
            verify=verify,
            key=own.key,
            tag=tag,
            static=os.urandom(32),
            ephemeral=os.urandom(32),
        )
        self.write(handshake.start())
        while handshake.channel is None:
            arrived = await self.read()
            assert arrived, "closed in the handshake"
            self.write(handshake.receive(arrived))
        self._channel = handshake.channel
        self._records.feed(handshake.leftover)

    def write(self, plain: bytes) -> None:
        """Write bytes as they are."""
        if plain:
            self.writer.write(plain)

    def send(self, kind: int, body: bytes = b"") -> None:
        """Write one frame in one record."""
        self.write(self.channel.seal(frame(kind, body)))

    async def read(self, size: int = 65_536) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read(size)

    async def frames(self) -> list[tuple[int, bytes]]:
        """Return the frames of the next record; empty at the end of the stream."""
        while True:
            sealed = self._records.next_record()
            if sealed is not None:
                self.records += 1
                return split_frames(self.channel.open(sealed))
            arrived = await self.read()
            if not arrived:
                return []
            for start in range(0, len(arrived), 4_096):
                self._records.feed(arrived[start : start + 4_096])

    async def until_closed(self) -> list[tuple[int, bytes]]:
        """Read to the end and return all frames, heartbeats left out."""
        found: list[tuple[int, bytes]] = []
        while frames := await self.frames():
            found += [one for one in frames if one[0] != FrameKind.HEARTBEAT]
        return found

    async def close_frame(self) -> Close:
        """Read to the end; the last frame must be a Close."""
        kind, body = (await self.until_closed())[-1]
        assert kind == FrameKind.CLOSE
        close = decode(Close, body)
        assert close is not None
        return close

    async def end(self) -> None:
        """Close and wait for it."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            # It was reset; for a test that is over it is closed all the same.
            return
