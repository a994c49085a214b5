"""What nodes and clients share: a core on a host, as an asynchronous context manager.

Everything a node holds (sockets, tasks, timers) is opened when the block starts and closed when it
ends, however it ends. Nothing is shared between nodes but the loop and its ledger of descriptors.
Nothing here decides about connections; the core does.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, Self, overload

from routing.config import Config
from routing.core import Core, CoreConfig
from routing.endpoints import parse
from routing.errors import UnreachableError, UsageError
from routing.events import (
    BootstrapFinished,
    Event,
    NotReachable,
    RoundOutcome,
    StateChanged,
    Terminated,
)
from routing.gathering import Gathering
from routing.identity import IdentitySigner
from routing.inbox import BorrowedHandler, Inbox, MessagesHandler, RequestHandler
from routing.inputs import ContactsLearnt, ReadingHeld, SubmittedMany
from routing.keeping import Keeping
from routing.limits import MILLISECOND, SECOND
from routing.names import Name, network_tag
from routing.outbox import Outbox
from routing.pressure import PatientHost
from routing.reachability import Unreachable
from routing.reading import Messages
from routing.recording import Recording
from routing.sending import LARGE_AT_ONCE, Sending
from routing.service.host_config import HostConfig
from routing.service.machine import Machine
from routing.service.memory import reuse_freed_memory
from routing.state import Connection, Detail, Phase, State
from routing.talk import Talk
from routing.views import Peer, log_event, peers_of
from routing.watch import Events, Watch, holds

__all__ = ["Door"]

DISCOVER_TIMEOUT_S: Final = 30.0
"""A discovery that takes longer is given up; the next round without an answer asks again."""


class Door(Sending):
    """What nodes and clients share. `async with` starts it, once; it does not start again."""

    _client: ClassVar[bool]

    def __init__(self, config: Config) -> None:
        if not isinstance(config, Config):
            raise UsageError(f"{type(self).__name__}({config!r}) must be given a routing.Config")
        self.config = config
        self._counters: Counter[str] = Counter()
        self._watch = Watch()
        self._outbox = Outbox(self._counters, self._watch.tell)
        self._gathering = Gathering(self._hand_over)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._inbox = Inbox(
            config.limits.inbox_bytes,
            handler_s=config.limits.handler_ns / SECOND,
            answer=self._answer,
            hold=self._hold,
            may_log=self._may_log,
            counters=self._counters,
        )
        self._begun = False
        self._fault_told = False
        self._core: Core | None = None
        self._host: PatientHost | None = None
        self._keeping: Keeping | None = None
        self._talk: Talk | None = None
        self._recording: Recording | None = None
        self._discovery: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        # Of whatever result: they are only compared with.
        self._stoppers: set[asyncio.Task[Any] | None] = set()

    # -- life

    async def __aenter__(self) -> Self:
        """Read the files, listen and look for a network.

        Raises:
            StartError: a file, an address or a port is unusable; one line; nothing is left open.
        """
        if self._begun:
            raise UsageError(f"this {type(self).__name__} was started before; make another")
        self._begun = True
        try:
            await self._start()
        except BaseException:
            await self.stop(drain=0.0)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; what is queued still goes out if the body ended well.

        Raises:
            UnreachableError: the node stopped because nobody can dial it, and nobody was told so.
        """
        await self.stop(drain=self.config.limits.drain_ns / SECOND if kind is None else 0.0)
        if kind is None and self._watch.fault is not None and not self._fault_told:
            raise self._watch.why_over("")

    async def _start(self) -> None:
        config, limits = self.config, self.config.limits
        keeping = self._keeping = Keeping(config)
        identity, tag = keeping.identity, network_tag(config.network)
        self._talk = Talk(identity.key)
        self._core = Core(
            CoreConfig(
                signer=IdentitySigner(identity),
                secret=secrets.token_bytes(32),
                tag=tag,
                limits=limits,
                client=self._client,
                first=config.first,
                contacts=tuple(config.contacts),
                certificate=None if self._client else identity.certificate,
                book=keeping.book,
                relaxed=config.relaxed,
                unreachable=config.when_unreachable,
                born_ms=time.time_ns() // MILLISECOND,
            )
        )
        self._lend()
        machine: Machine = self._core
        if config.record is not None:
            self._recording = Recording(self._core, config.record, config.record_bytes)
            machine = self._recording.recorder
        reuse_freed_memory()
        self._host = PatientHost(
            machine,
            HostConfig(
                listen=tuple(config.listen),
                advertise=None if config.advertise is None else tuple(config.advertise),
                tag=tag,
                identity=identity,
                limits=limits,
                busy_poll_ns=config.busy_poll_ns,
            ),
            on_event=self._on_event,
            on_message=self._inbox.put,
            on_answered=self._outbox.answered,
            on_failed=self._outbox.failed,
            on_progress=self._outbox.progressed,
            on_certificate=keeping.keep_certificate,
            passing=None if self._client else self._core.passing,
        )
        self._host.hand_batches_to(self._inbox.put_many, self._outbox.relieved)
        await self._host.start()
        keeping.begin()

    async def stop(self, drain: float = 5.0) -> None:
        """Stop for good: say goodbye, let what is queued go out for `drain` seconds, close all.

        Also when the caller is cancelled meanwhile. Called again, it waits for the same end.
        """
        if not 0 <= drain < float("inf"):
            raise UsageError(f"stop(drain={drain}) must be 0 or more seconds")
        self._begun = True
        self._gathering.close()
        self._stoppers.add(asyncio.current_task())
        if self._ending is None:
            # Made so, no task factory begins it within this very call.
            self._ending = asyncio.Task(self._end(drain))
        cancelled = False
        while not self._ending.done():
            try:
                await asyncio.shield(self._ending)
            except asyncio.CancelledError:
                # Bounded by `drain`: what is open is closed first, then the caller gives up.
                cancelled = True
        self._stoppers.discard(asyncio.current_task())
        if cancelled:
            raise asyncio.CancelledError
        self._ending.result()

    async def abandon(self) -> None:
        """Stop as if the process had died: the sockets close and nobody is told why."""
        if self._host is not None:
            self._host.cut()
        await self.stop(drain=0.0)

    async def _end(self, drain: float) -> None:
        try:
            if self._discovery is not None:
                self._discovery.cancel()
                await asyncio.gather(self._discovery, return_exceptions=True)
            if self._host is not None:
                await self._host.stop(drain)
        finally:
            if self._recording is not None:
                await self._recording.end()
            self._outbox.close()
            self._watch.look(self.state)
            await self._inbox.close(self._stoppers)
            if self._keeping is not None:
                await self._keeping.end()
            self._watch.close()

    # -- what it is

    @property
    def name(self) -> Name | None:
        """Our name, None while we have none; a client's is SHA-256 of its key."""
        core = self._running()
        name = core.client_name if core.client else core.name
        return None if name is None else Name(name)

    @property
    def key(self) -> bytes:
        """Our public key, 32 bytes."""
        return self._running().key

    @property
    def state(self) -> State:
        """Phase and detail, right now."""
        if self._core is not None and not self._is_over():
            return self._core.state
        return State.of(
            client=self._client if self._core is None else self._core.client,
            stopped=self._begun,
            routing=0,
            bootstrap=0,
            named=False,
            founder=False,
            round_runs=False,
        )

    @property
    def endpoints(self) -> list[str]:
        """What we advertise, best first, and then what we have bound besides."""
        core, host = self._running(), self._host
        bound = host.endpoints if host is not None else []
        return [*core.endpoints, *(each for each in bound if each not in core.endpoints)]

    @property
    def close_group(self) -> list[Name]:
        """The at most 8 other nodes nearest to us, nearest first."""
        return [Name(name) for name in self._running().table.close_group()]

    def peers(self) -> list[Peer]:
        """Return the connections that carry our messages, nearest peer first."""
        return peers_of(self._running())

    @property
    def proxy(self) -> Name | None:
        """The name of the node we hang on, as a client or while we join, or None."""
        link = self._running().bootstrapping.proxy()
        return None if link is None else Name(link.name)

    def connections(self) -> list[Connection]:
        """Return every open connection, those of attempts and of who hangs on us included."""
        return [link.connection for link in self._running().links.values()]

    def contacts(self) -> list[str]:
        """Return where nodes may be, best first."""
        return [str(endpoint) for endpoint in self._running().book.all_contacts()]

    def stats(self) -> dict[str, int]:
        """Return what was counted, by name, and how things stand now."""
        core, host = self._running(), self._host
        self._gathering.close()
        counts = Counter(core.counters)
        counts.update(self._counters)
        counts.update(host.stats() if host is not None else {})
        counts.update(self._recording.stats() if self._recording is not None else {})
        counts["inbox.bytes"] = self._inbox.queued
        counts["filter.window_s"] = core.relay.seen.span(core.now) // SECOND
        direct = len(core.receipts.handed) + core.batching.count
        counts["messages.waiting"] = len(core.delivery.underway) + direct
        counts["requests.waiting"] = len(self._outbox)
        counts["log.suppressed"] = self._talk.suppressed if self._talk is not None else 0
        return dict(sorted(counts.items()))

    def explain(self, subject: bytes) -> list[str]:
        """Return why we are, or are not, connected to a name or key: the last decisions."""
        return self._running().explain(bytes(subject))

    # -- waiting

    async def joined(self) -> None:
        """Return once the phase is CONNECTED.

        Raises:
            UnreachableError: nobody can dial the node, and it has stopped for that.
            NotConnected: we have stopped, and nothing else will come.
        """
        await self.wait_for(Phase.CONNECTED)

    async def wait_for(self, wanted: State | Phase | Detail, timeout: float | None = None) -> None:
        """Return once a state, phase or detail holds; a detail includes those below it.

        Raises:
            TimeoutError: it did not within `timeout` seconds.
            NotConnected: we have stopped, and nothing else will come; an `UnreachableError`, which
                is one, if it was because nobody can dial us.
        """
        question = holds(wanted)
        self._running()
        async with asyncio.timeout(timeout):
            try:
                await self._watch.wait(lambda: self.state, question)
            except UnreachableError:
                self._fault_told = True
                raise

    def events(self) -> Events:
        """Return a new consumer of events, from now on; see `Events`."""
        return self._watch.events(self.config.limits.events_max)

    @overload
    def on_messages(self, handler: MessagesHandler) -> None: ...

    @overload
    def on_messages(self, handler: BorrowedHandler, *, borrowed: Literal[True]) -> None: ...

    def on_messages(
        self, handler: MessagesHandler | BorrowedHandler, *, borrowed: bool = False
    ) -> None:
        """Have `handler` called with lists of messages; it may be async.

        While it runs, what else comes waits, and above `Limits.inbox_bytes` nothing more is read
        from anybody. One that takes longer than `Limits.handler_ns` is cancelled.

        Args:
            handler: Takes a list of `Message`, or of `BorrowedMessage`.
            borrowed: Payloads are views of memory that is given back when the handler is done:
                no copy is made of them, and using one later raises.

        Raises:
            UsageError: no function, or `messages()` is being read.
        """
        self._inbox.on_messages(handler, borrowed=borrowed)
        self._lend()

    def messages(self, *, drop_oldest: int | None = None) -> Messages:
        """Return what has come, one message at a time: `async for message in node.messages()`.

        It is given everything from now on, in place of a handler, and ends when we have stopped and
        the last one is read. While it is slow, what else comes waits, and above
        `Limits.inbox_bytes` nothing more is read from anybody.

        Args:
            drop_oldest: Nobody waits for the reader: of more messages than this, or more payload
                than `Limits.inbox_bytes`, the oldest are dropped, counted in
                `stats()["inbox.dropped"]`.

        Raises:
            UsageError: there is a handler or another reader, or the number is out of its bounds.
        """
        reading = self._inbox.read(drop_oldest)
        self._lend()
        return reading

    def _lend(self) -> None:
        if self._core is not None:
            self._core.batching.lends = self._inbox.borrows

    def on_request(self, handler: RequestHandler) -> None:
        """Have `handler` called with each request; what it returns is the reply.

        It may be async; then up to 64 run side by side. If it raises, or takes longer than
        `Limits.handler_ns` and is cancelled, the requester gets `HandlerFailed`. The reply to one
        may be as large as a payload to it.
        """
        self._inbox.on_request(handler)

    def add_contacts(self, endpoints: Iterable[str]) -> None:
        """Add contacts, as if they had been configured.

        Raises:
            UsageError: one of them is no endpoint; none is added then.
        """
        if isinstance(endpoints, str):
            raise UsageError(f"add_contacts({endpoints!r}) must be given a list of endpoints")
        host = self._serving()
        host.submit(ContactsLearnt([str(parse(text)) for text in endpoints]))

    # -- what the host tells

    def _on_event(self, event: Event) -> None:
        self._watch.tell(event)
        if isinstance(event, NotReachable) and self._stops_for(event):
            # The exception says it; the log need not say it too.
            return
        if isinstance(event, StateChanged | Terminated):
            self._watch.look(self.state)
        if self._talk is not None and self._host is not None:
            log_event(self._talk, event, self._host.now())
        empty = (RoundOutcome.NO_CONTACTS, RoundOutcome.NO_ANSWER)
        if isinstance(event, BootstrapFinished) and event.outcome in empty:
            self._discover()

    def _stops_for(self, event: NotReachable) -> bool:
        """The core is about to stop: whoever waits is told why, and the rest of us stops too."""
        if self.config.when_unreachable is not Unreachable.ERROR:
            return False
        where = ", ".join(event.endpoints)
        self._watch.fault = UnreachableError(
            f"nobody can dial this node at {where}; open the port, advertise where it can be "
            "dialled, or go on as a client (unreachable='client')"
        )
        if self._ending is None:
            # Made so, no task factory begins it within this very call.
            self._ending = asyncio.Task(self._end(0.0))
        return True

    def _may_log(self, peer: bytes) -> bool:
        if self._talk is None or self._host is None:
            return True
        return self._talk.allows(peer, self._host.now())

    def _hold(self, hold: bool) -> None:
        if self._host is None or self._is_over():
            return
        if hold:
            self._host.pause_reading()
        else:
            self._host.resume_reading()
        self._host.submit(ReadingHeld(hold))

    def _discover(self) -> None:
        discover = self.config.discover
        if discover is None or self._discovery is not None or self._ending is not None:
            return
        # Made so, no task factory begins it within this very call.
        self._discovery = asyncio.Task(self._ask(discover))

    async def _ask(self, discover: Callable[[], Awaitable[Iterable[str]]]) -> None:
        try:
            async with asyncio.timeout(DISCOVER_TIMEOUT_S):
                found = list(await discover())
            self.add_contacts(found[: self.config.limits.contacts_max])
        except Exception:
            self._counters["discover.failed"] += 1
            logging.getLogger("routing").exception("the discovery of contacts failed")
        finally:
            self._discovery = None

    # -- inside

    def _hand_over(self, fact: SubmittedMany) -> None:
        """Hand what was gathered to the core, also at the very end: then it is told to fail."""
        assert self._host is not None, "messages are gathered by who has sent one"
        self._host.submit(fact)

    def _is_over(self) -> bool:
        return self._ending is not None

    def _running(self) -> Core:
        if self._core is None:
            raise UsageError(f"this {type(self).__name__} is not started; use `async with`")
        return self._core

    def _serving(self) -> PatientHost:
        host = self._host
        if host is None or self._ending is not None:
            self._running()
            self._fault_told = True
            raise self._watch.why_over("we have stopped")
        return host

    def __repr__(self) -> str:
        own = "not started" if self._core is None else str(self.name or self.key[:4].hex())
        return f"{type(self).__name__}({own}, {self.state})"
