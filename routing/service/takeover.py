"""A connected socket becomes a line's: who is at its ends is noted, the loop makes a transport.

It makes no socket and closes none: from here on the line answers for it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

from routing.endpoints import from_socket
from routing.service.connection import Line
from routing.service.kernel import fit_buffers

__all__ = ["hand_over"]


async def hand_over(
    loop: asyncio.AbstractEventLoop,
    line: Line,
    connected: socket.socket,
    *,
    peer: str,
    accepted: bool,
) -> None:
    """Make a transport of a connected socket, for `line`, which answers for the socket from now on.

    Whatever happens, and also when it is cancelled, `on_gone` will have been called once the
    socket is closed.

    Raises:
        OSError: the loop could not take it.
    """
    if type(loop).__module__.partition(".")[0] == "uvloop":
        line.held = connected
    else:
        # uvloop has the kernel send small writes at once by itself, asyncio only for sockets that
        # were made with the number of TCP.
        with suppress(OSError):  # it may have been reset already, which we are told later
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    fit_buffers(connected)
    line.peer, line.local = peer, _local(connected)
    if accepted:
        # Those who come in come to few addresses.
        line.local = sys.intern(line.local)
    try:
        if accepted:
            await loop.connect_accepted_socket(lambda: line, connected)
        else:
            await loop.create_connection(lambda: line, sock=connected)
    except BaseException:
        # An interrupted loop closes the socket; uvloop then never calls `connection_lost`, not even
        # where it has called `connection_made`. Being told twice does no harm.
        line.connection_lost()
        raise


def _local(connected: socket.socket) -> str:
    try:
        return str(from_socket(connected.getsockname()))
    except OSError:
        # It was reset since; the handshake will find out.
        return ""
