"""Dials: a socket, its connect, its deadline; each ends in exactly one call, whatever happens.

A dial is *answered* when its channel is complete or when it has failed. Where to dial, how often
and whom to expect is decided by whoever asks.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

from routing.endpoints import Endpoint, parse
from routing.errors import DialFailure, UsageError
from routing.limits import Nanos
from routing.service.connection import Line
from routing.service.ledger import Ledger
from routing.service.listener import SHORTAGES
from routing.service.takeover import hand_over
from routing.service.wakeup import WakeUp

__all__ = ["Dialler"]

_REASONS: Final = {
    errno.ECONNREFUSED: DialFailure.CONNECTION_REFUSED,
    errno.ETIMEDOUT: DialFailure.TIMED_OUT,
    errno.ECONNRESET: DialFailure.CLOSED,
    errno.EPIPE: DialFailure.CLOSED,
    **dict.fromkeys(SHORTAGES, DialFailure.NO_DESCRIPTORS),
}
"""Every other error of the system means that there is no way to the far end."""


class _Flight:
    """One dial under way: first a socket that connects, then a line."""

    __slots__ = ("connecting", "line", "peer")

    def __init__(self) -> None:
        self.peer = ""
        self.connecting: socket.socket | None = None
        self.line: Line | None = None


class Dialler:
    """All dials of one node that have not been answered.

    Args:
        loop: Where they connect.
        ledger: Charged one descriptor for each.
        wakeup: Keeps their deadlines.
        make: Returns the line of (dial, expected key).
        failed: Called with (dial, reason); never from within `dial` or `cancel`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ledger: Ledger,
        wakeup: WakeUp,
        *,
        make: Callable[[int, bytes | None], Line],
        failed: Callable[[int, DialFailure], None],
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._wakeup = wakeup
        self._make = make
        self._failed = failed
        self._flights: dict[int, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, dial: int) -> bool:
        return dial in self._flights

    def dial(self, dial: int, endpoint: str, expect: bytes | None, timeout_ns: int) -> None:
        """Begin one; `dial` is a number never used before."""
        assert dial not in self._flights, f"dial {dial} is under way already"
        flight = self._flights[dial] = _Flight()
        deadline = Nanos(self._wakeup.clock.now() + timeout_ns)
        self._wakeup.set("dial", dial, deadline, lambda: self.fail(dial, DialFailure.TIMED_OUT))
        try:
            target = parse(endpoint)
        except UsageError:
            self.fail(dial, DialFailure.BLOCKED)
            return
        if not self._ledger.take():
            self.fail(dial, DialFailure.NO_DESCRIPTORS)
            return
        # We connect by hand: uvloop's `sock_connect` asks a resolver in a thread even for an IP.
        try:
            connecting = _socket_for(target)
        except OSError as error:
            self._ledger.give()
            self.fail(dial, _reason(error.errno))
            return
        flight.connecting, flight.peer = connecting, str(target)
        number = connecting.connect_ex((target.host, target.port))
        if number in (0, errno.EINPROGRESS, errno.EINTR):
            self._loop.add_writer(connecting.fileno(), self._on_connected, dial, expect)
        else:
            self.fail(dial, _reason(number))

    def fail(self, dial: int, reason: DialFailure) -> None:
        """Answer a dial that has come to nothing; one that was answered already stays answered."""
        flight = self._forget(dial)
        if flight is None:
            return
        self._call_off(flight)
        self._loop.call_soon(self._failed, dial, reason)

    def succeed(self, dial: int) -> bool:
        """Tell whether a finished channel still has a dial to answer, which it then has done."""
        return self._forget(dial) is not None

    async def close(self) -> None:
        """Call everything off and wait until no task is left; dials not answered stay so."""
        for dial in list(self._flights):
            flight = self._forget(dial)
            if flight is not None:
                self._call_off(flight)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _forget(self, dial: int) -> _Flight | None:
        self._wakeup.cancel("dial", dial)
        return self._flights.pop(dial, None)

    def _call_off(self, flight: _Flight) -> None:
        """Close whatever there is of it."""
        if flight.line is not None:
            flight.line.abort()
        elif flight.connecting is not None:
            self._loop.remove_writer(flight.connecting.fileno())
            flight.connecting.close()
            self._ledger.give()

    def _on_connected(self, dial: int, expect: bytes | None) -> None:
        """The kernel knows how the connect ended."""
        flight = self._flights[dial]
        connected = flight.connecting
        assert connected is not None
        number = connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number or _is_connected_to_itself(connected):
            self.fail(dial, _reason(number or errno.ECONNREFUSED))
            return
        self._loop.remove_writer(connected.fileno())
        # From here on the descriptor is the line's to give back.
        flight.connecting = None
        line = flight.line = self._make(dial, expect)
        task = self._loop.create_task(self._hand_over(dial, line, connected, flight.peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_over(self, dial: int, line: Line, connected: socket.socket, peer: str) -> None:
        try:
            await hand_over(self._loop, line, connected, peer=peer, accepted=False)
        except OSError as error:
            self.fail(dial, _reason(error.errno))


def _reason(number: int | None) -> DialFailure:
    return _REASONS.get(number or 0, DialFailure.UNREACHABLE)


def _is_connected_to_itself(connected: socket.socket) -> bool:
    """Where nobody listens, the kernel may choose the dialled port itself to dial from."""
    try:
        return bool(connected.getsockname() == connected.getpeername())
    except OSError:
        # It was reset since; the handshake will find out.
        return False


def _socket_for(endpoint: Endpoint) -> socket.socket:
    dialling = socket.socket(socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET)
    dialling.setblocking(False)
    return dialling
