"""Listening sockets: bound, accepted from, paused when descriptors are short; no judgement.

We accept by ourselves instead of leaving it to the loop's server: at the limit of descriptors
uvloop accepts and closes without telling, and asyncio spins. A socket is offered to `admit` before
anything else is allocated for it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable

from routing.endpoints import Endpoint, from_socket, parse
from routing.errors import ListenError, UsageError
from routing.service.ledger import Ledger

__all__ = ["SHORTAGES", "Listeners"]

BACKLOG = 512
"""Connections the kernel completes before we take them: as many as may wait for their Hello."""

ACCEPTS_PER_TICK = 64
"""Taken in one go, so that a crowd at the door does not hold up those inside."""

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The system has no more sockets for us now."""

GONE_ALREADY = frozenset(
    {errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.ENETDOWN, errno.EHOSTUNREACH}
)
"""The far end went away while it waited for us; Linux hands its errors over in accept."""


class Listeners:
    """All listening sockets of one node.

    Args:
        loop: Whose readiness callbacks accept.
        ledger: Charged one descriptor for each listening and each accepted socket.
        admit: Takes over a fresh socket (charged, non-blocking) and its peer's address, or closes
            it and gives its descriptor back.
        short: Called when accepting pauses for want of descriptors.
        failed: Called with (endpoint, reason) when a listening socket has failed; it is closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ledger: Ledger,
        *,
        admit: Callable[[socket.socket, Endpoint], None],
        short: Callable[[], None],
        failed: Callable[[str, str], None],
    ) -> None:
        self._loop = loop
        self._ledger = ledger
        self._admit = admit
        self._short = short
        self._failed = failed
        self._sockets: dict[int, socket.socket] = {}
        self._paused = False
        self.endpoints: list[str] = []

    @property
    def paused(self) -> bool:
        """Nobody is accepted now."""
        return self._paused

    def bind(self, endpoints: tuple[str, ...]) -> None:
        """Bind and listen on all of these, or on none; nobody is accepted before `resume`.

        Raises:
            ListenError: one of them cannot be had; the line says which, why, and the cure.
        """
        try:
            for text in endpoints:
                self._bind_one(text)
        except ListenError:
            self.close()
            raise
        self._paused = True

    def resume(self) -> None:
        """Accept."""
        if self._paused:
            self._paused = False
            for descriptor in self._sockets:
                self._loop.add_reader(descriptor, self._accept, descriptor)

    def pause(self) -> None:
        """Leave those who come in the kernel's queue."""
        if not self._paused:
            self._paused = True
            for descriptor in self._sockets:
                self._loop.remove_reader(descriptor)

    def close(self) -> None:
        """Close the listening sockets; the ports are free afterwards."""
        self.pause()
        for listening in self._sockets.values():
            listening.close()
            self._ledger.give()
        self._sockets.clear()

    def _bind_one(self, text: str) -> None:
        try:
            endpoint = parse(text, allow_zero=True)
        except UsageError as error:
            raise ListenError(f"cannot listen: {error}") from None
        if not self._ledger.take():
            raise ListenError(
                f"cannot listen on {endpoint}: all {self._ledger.descriptors_max} descriptors are "
                "in use, raise the limit (ulimit -n)"
            )
        six = ":" in endpoint.host
        listening: socket.socket | None = None
        try:
            listening = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if six:
                # So that 0.0.0.0 and [::] may listen on one port side by side.
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((endpoint.host, endpoint.port))
            listening.listen(BACKLOG)
        except OSError as error:
            if listening is not None:
                listening.close()
            self._ledger.give()
            raise ListenError(_why_not(endpoint, error)) from None
        self._sockets[listening.fileno()] = listening
        self.endpoints.append(str(from_socket(listening.getsockname())))

    def _accept(self, descriptor: int) -> None:
        listening = self._sockets.get(descriptor)
        for _ in range(ACCEPTS_PER_TICK):
            if listening is None or self._paused:
                return
            if not self._ledger.take():
                self._run_short()
                return
            try:
                accepted, address = listening.accept()
            except OSError as error:
                self._ledger.give()
                if isinstance(error, BlockingIOError):
                    return
                if error.errno in SHORTAGES:
                    self._run_short()
                    return
                if error.errno not in GONE_ALREADY:
                    self._drop(descriptor, error)
                    return
                continue
            accepted.setblocking(False)
            self._admit(accepted, from_socket(address))

    def _run_short(self) -> None:
        self.pause()
        self._short()

    def _drop(self, descriptor: int, error: OSError) -> None:
        listening = self._sockets.pop(descriptor)
        endpoint = str(from_socket(listening.getsockname()))
        self._loop.remove_reader(descriptor)
        listening.close()
        self._ledger.give()
        self._failed(endpoint, os.strerror(error.errno or 0))


def _why_not(endpoint: Endpoint, error: OSError) -> str:
    cures = {
        errno.EADDRINUSE: "stop whoever uses it, or choose another port (0 for any free one)",
        errno.EADDRNOTAVAIL: "this machine has no such address, use one of its own",
        errno.EACCES: "ports below 1024 need privileges, choose another",
        errno.EAFNOSUPPORT: "this machine has no IPv6, use an IPv4 address",
        errno.EMFILE: "too many open files, raise the limit (ulimit -n)",
    }
    number = error.errno or 0
    cure = cures.get(number, "choose another address")
    return f"cannot listen on {endpoint}: {os.strerror(number).lower()}; {cure}"
