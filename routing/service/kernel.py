"""What the kernel may hold of one connection: what its bandwidth needs, and no more than that.

Whatever waits in the kernel waits before every control frame that comes after it. Left alone the
kernel holds megabytes of a stream, most of them at the receiver, however short the way is. Where
the way is short, the receiver is given a buffer that fits it; where it is long, the kernel finds
its own. What was not sent yet is better kept by us, who put control first, near and far.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Final

__all__ = ["NEAR_BYTES", "NEAR_US", "UNSENT_BYTES", "fit_buffers", "round_trip_us"]

UNSENT_BYTES: Final = 65_536
"""What the kernel takes of a stream beyond what is on its way: a record."""

NEAR_US: Final = 500
"""A round trip below this is a short way: on this machine, in this building."""

NEAR_BYTES: Final = 131_072
"""Asked for to receive on a near connection: 260 MB/s at the longest of short ways."""

_ROUND_TRIP_AT: Final = 68
"""Where Linux has `tcpi_rtt` in its `struct tcp_info`: behind eight bytes and fifteen words."""


def fit_buffers(connected: socket.socket) -> None:
    """Bound what the kernel holds of a connected socket; where it cannot, all goes on as it is."""
    if connected.family not in (socket.AF_INET, socket.AF_INET6):
        return
    unsent = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    # The far end may have reset it already, which we are told later.
    with suppress(OSError):
        if unsent is not None:
            connected.setsockopt(socket.IPPROTO_TCP, unsent, UNSENT_BYTES)
        took = round_trip_us(connected)
        if took is not None and took < NEAR_US:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NEAR_BYTES)


def round_trip_us(connected: socket.socket) -> int | None:
    """Return what the kernel measured when the connection was made; None if it does not say.

    Raises:
        OSError: the socket is not connected any more.
    """
    info = getattr(socket, "TCP_INFO", None)
    if info is None:
        return None
    told = connected.getsockopt(socket.IPPROTO_TCP, info, _ROUND_TRIP_AT + 4)
    if len(told) < _ROUND_TRIP_AT + 4:
        return None
    (took,) = struct.unpack_from("=I", told, _ROUND_TRIP_AT)
    return took or None
