"""A host whose senders can wait until the way out is free; it changes nothing else of the host.

`Host` closes a connection that has too much queued. Callers of `Node.send` are held up before that
happens: `room` returns when the connection a message will take has less than half of its bound
waiting. A client's are also held up, one after the other, while its proxy allows no more: `turn`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from routing import actions as do
from routing.errors import NotConnected
from routing.events import BorrowedMessage, Message
from routing.limits import SECOND
from routing.messages import Address, ClientAddress, GroupAddress, NodeAddress, ViaAddress
from routing.service.connection import Line
from routing.service.host import Host
from routing.service.owner import AT_A_TIME
from routing.state import LinkRole, Token

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["PatientHost", "ways_out"]


TakeMany: TypeAlias = Callable[[list[Message] | list[BorrowedMessage], int], None]
"""(messages, their bytes) -> takes them in."""


class PatientHost(Host):
    """A `Host` that tells when a connection takes bytes again."""

    _blocked: dict[int, list[asyncio.Future[None]]] | None = None
    """Serial of a line whose kernel takes no more -> who waits for it."""
    _turns: asyncio.Lock | None = None
    """Held by whoever is next to send what a proxy allows."""

    def hand_batches_to(self, take: TakeMany, relieved: Callable[[], None]) -> None:
        """Have `take` called with all messages of a batch and their bytes, instead of with each.

        `relieved` is called when there is room again for batches of ours.
        """
        self._execute[do.DeliverMany] = lambda action: take(action.messages, action.size)
        self._execute[do.Relieved] = lambda action: relieved()

    def has_room_for(self, token: Token) -> bool:
        """Tell whether the line of a token has room, or there is none such."""
        line: Line | None = self.tokens.get(token)
        return line is None or line.queued <= self.limits.write_bytes_max // 2

    async def room(self, token: Token | None) -> None:
        """Return when the line of a token has room; at once if there is none such.

        Raises:
            NotConnected: the line was closed while we waited.
        """
        while token is not None:
            line: Line | None = self.tokens.get(token)
            if line is None or self.has_room_for(token):
                return
            waiting = (self._blocked or {}).get(line.serial)
            if waiting is None:
                # Not the kernel holds it up but this very tick: the host flushes after us.
                line.flush(AT_A_TIME)
                await asyncio.sleep(0)
                continue
            waiter = asyncio.get_running_loop().create_future()
            waiting.append(waiter)
            await waiter
            if self.tokens.get(token) is None:
                raise NotConnected("the connection was closed while the message waited for room")

    async def turn(self, core: Core, size: int, count: int = 1) -> None:
        """Return when the proxy of `core` lets it send so much now; at once if it has none.

        Whoever waits longest is next. What is submitted before anything else is awaited is within
        the allowance.
        """
        if self._turns is None:
            self._turns = asyncio.Lock()
        async with self._turns:
            while wait := core.throttling.must_wait(size, self.now(), count):
                self.counters["allowance.waited"] += 1
                await asyncio.sleep(wait / SECOND)

    def cut(self) -> None:
        """Close every socket at once; no far end is told why."""
        for line in list(self._lines.values()):
            line.abort()

    def on_paused(self, line: Line, paused: bool) -> None:
        """See `Owner.on_paused`."""
        super().on_paused(line, paused)
        if paused:
            blocked = self._blocked = self._blocked if self._blocked is not None else {}
            blocked.setdefault(line.serial, [])
        else:
            self._release_waiters(line)

    def on_gone(self, line: Line) -> None:
        """See `Owner.on_gone`."""
        super().on_gone(line)
        self._release_waiters(line)

    def _release_waiters(self, line: Line) -> None:
        for waiter in (self._blocked or {}).pop(line.serial, ()):
            if not waiter.done():
                waiter.set_result(None)


def ways_out(core: Core, destination: Address, *, routed: bool = False) -> list[Token]:
    """Return the tokens of the connections on which a message to `destination` will leave.

    Empty if it is for ourselves alone, or nobody is connected; the core will say so.

    Args:
        core: Who sends.
        destination: To whom.
        routed: It is signed, and goes the best way, which is not always the direct connection.
    """
    match destination:
        case NodeAddress(name=target) | GroupAddress(name=target) | ViaAddress(hop=target):
            pass
        case ClientAddress(proxy=target, key=key):
            hanging = [link for link in core.links_of(LinkRole.CLIENT) if link.key == key]
            if target == core.name and hanging:
                return [hanging[0].token]
    if not core.table.size:
        proxy = core.bootstrapping.proxy()
        return [] if proxy is None else [proxy.token]
    names: list[bytes | None]
    if isinstance(destination, GroupAddress):
        names = [target if target in core.table else core.table.next_hop(target)]
    elif _is_direct(core, destination, target, routed):
        names = [target]
    else:
        names = [core.relay.first_hop(target) or None]
    if names == [None] and isinstance(destination, GroupAddress):
        # We are the first of the group and send its members their copies ourselves.
        names = [*core.table.group(target, including_self=False)]
    tokens = [core.table.token(name) for name in names if name is not None]
    return [Token(token) for token in tokens if token is not None]


def _is_direct(core: Core, destination: Address, target: bytes, routed: bool) -> bool:
    """Tell whether a message goes to a neighbour by the connection with it, come what may."""
    if isinstance(destination, NodeAddress):
        return not routed and target in core.table and target not in core.suspects.names
    return isinstance(destination, ViaAddress) and target in core.table
