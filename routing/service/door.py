"""Who comes in: quotas before anything is allocated, one absolute deadline, eviction when full.

From accept to the core's `Trust` a connection has a place in the waiting room. What it says and
who it is are the line's and the core's affair.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from routing.endpoints import Endpoint
from routing.errors import CloseCode
from routing.inputs import DescriptorsRanShort, Input, ListenerLost, Lost
from routing.limits import SECOND, Limits
from routing.service.connection import Line
from routing.service.ledger import Ledger
from routing.service.listener import Listeners
from routing.service.takeover import hand_over
from routing.service.waiting import WaitingRoom
from routing.service.wakeup import WakeUp

__all__ = ["Door"]

log = logging.getLogger("routing")

ACCEPT_RETRY_NS: Final = SECOND // 5
"""After the system itself has said that it is short of descriptors."""

TELL_SHORT_NS: Final = 10 * SECOND
"""A shortage is told at most so often; the counter counts every pause."""


class House(Protocol):
    """What a door needs of the host."""

    limits: Limits
    ledger: Ledger
    counters: Counter[str]

    @property
    def has_room(self) -> bool:
        """Whether there may be another connection at all."""

    def submit(self, fact: Input) -> None:
        """Hand a fact to the core."""


class Door:
    """The listening sockets and the waiting room of one host.

    Args:
        house: See `House`.
        loop: Where connections are taken over.
        wakeup: Keeps the deadlines.
        make: Returns the line for a fresh socket.
        submit: Hands a fact to the core: accepting pauses, a listener is lost.
    """

    def __init__(
        self,
        house: House,
        loop: asyncio.AbstractEventLoop,
        wakeup: WakeUp,
        *,
        make: Callable[[], Line],
        submit: Callable[[Input], None],
    ) -> None:
        self._house = house
        self._loop = loop
        self._wakeup = wakeup
        self._make = make
        self._submit = submit
        self._waiting = WaitingRoom(house.limits)
        self._guests: dict[int, Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tell_short_from = 0
        self._listeners = Listeners(
            loop, house.ledger, admit=self._admit, short=self._on_short, failed=self._on_failed
        )

    def __len__(self) -> int:
        """Return how many wait to be authenticated."""
        return len(self._waiting)

    @property
    def endpoints(self) -> list[str]:
        """What is listened on, ports filled in."""
        return self._listeners.endpoints

    def bind(self, endpoints: tuple[str, ...]) -> None:
        """Take the addresses; nobody comes in yet.

        Raises:
            ListenError: one of them cannot be had; then none is.
        """
        self._listeners.bind(endpoints)

    def open(self) -> None:
        """Let people in."""
        self._listeners.resume()

    def close(self) -> None:
        """Let nobody in any more, and give the addresses back."""
        self._house.ledger.forget(id(self))
        self._wakeup.cancel("accept", 0)
        self._listeners.close()

    def retire(self) -> None:
        """Let nobody in any more although the host goes on: nothing is bound from now on."""
        self.close()
        self._listeners.endpoints.clear()

    async def wait_closed(self) -> None:
        """Wait until no task of ours is left."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def greeted(self, line: Line) -> None:
        """The channel is complete; from now on the core keeps the deadline."""
        self._wakeup.cancel("hello", line.serial)

    def leave(self, line: Line) -> None:
        """The line is authenticated or over; nothing happens if it has left already."""
        if self._guests.pop(line.serial, None) is not None:
            self._waiting.leave(line.serial)
            self._wakeup.cancel("hello", line.serial)

    def _admit(self, accepted: socket.socket, peer: Endpoint) -> None:
        house = self._house
        refused = self._waiting.refuses(peer.host)
        if refused is None and not house.has_room:
            refused = "accept.established_full"
        if refused is not None:
            house.counters[refused] += 1
            accepted.close()
            house.ledger.give()
            return
        house.counters["accept.admitted"] += 1
        line = self._make()
        victim = self._waiting.enter(line.serial, peer.host)
        self._guests[line.serial] = line
        if victim is not None:
            self._evict(self._guests.pop(victim))
        at = line.since + house.limits.hello_deadline_ns
        self._wakeup.set("hello", line.serial, at, lambda: self._on_late(line))
        task = self._loop.create_task(self._take_over(line, accepted, str(peer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_over(self, line: Line, accepted: socket.socket, peer: str) -> None:
        try:
            await hand_over(self._loop, line, accepted, peer=peer, accepted=True)
        except OSError:
            self._house.counters["accept.lost"] += 1

    def _evict(self, line: Line) -> None:
        """Somebody else needs the place; the core hears of it if it knew the connection."""
        self._house.counters["accept.evicted"] += 1
        self._wakeup.cancel("hello", line.serial)
        if line.token:
            self._house.submit(Lost(line.token, CloseCode.FULL, "evicted by newcomers"))
        line.abort()

    def _on_late(self, line: Line) -> None:
        self._house.counters["accept.timed_out"] += 1
        line.abort()

    def _on_short(self) -> None:
        """Accepting has paused: tell, and go on when descriptors are back."""
        house = self._house
        house.counters["accept.paused"] += 1
        now = self._wakeup.clock.now()
        if now >= self._tell_short_from:
            self._tell_short_from = now + TELL_SHORT_NS
            used, bound = house.ledger.descriptors_used, house.ledger.descriptors_max
            log.warning("accepting pauses: %d of %d descriptors are in use", used, bound)
            self._submit(DescriptorsRanShort(used, bound))
        if house.ledger.is_full:
            house.ledger.when_free(id(self), self._listeners.resume)
        else:
            # The system is short although we are not: look again soon.
            self._wakeup.set("accept", 0, now + ACCEPT_RETRY_NS, self._listeners.resume)

    def _on_failed(self, endpoint: str, reason: str) -> None:
        self._house.counters["accept.listener_failed"] += 1
        self._submit(ListenerLost(endpoint, reason))
