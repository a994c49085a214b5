"""Exceptions and the reason codes of the wire; nothing here knows what a connection is.

A peer's fault is data (`CloseCode`, `Refusal`, `DialFailure`, `Outcome`), our caller's fault is an
exception raised at once, a bug is an assert. Every message names what was refused, the value, the
bound and the cure.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

__all__ = [
    "BookError",
    "CloseCode",
    "ConfigError",
    "DialFailure",
    "HandlerFailed",
    "IdentityError",
    "ListenError",
    "NameBound",
    "NoQuorum",
    "NotConnected",
    "Outcome",
    "Refusal",
    "RequestTimedOut",
    "RoutingError",
    "StartError",
    "TokenTableFull",
    "TooBusy",
    "UnreachableError",
    "Unroutable",
    "UsageError",
]


class RoutingError(Exception):
    """Base of every exception this package raises for a reason of its own."""


class UsageError(RoutingError, ValueError):
    """A call was refused: the message says what, the value, the bound and the cure."""


class StartError(RoutingError):
    """Something in the surroundings keeps a node from starting; one line, exit code 2."""


class ConfigError(UsageError, StartError):
    """A configuration value is out of its bounds."""


class ListenError(StartError):
    """A listening address cannot be bound (in use, not ours, not permitted)."""


class IdentityError(StartError):
    """An identity file cannot be read, is damaged, or is readable by others."""


class BookError(StartError):
    """A contact book cannot be used at all (a corrupt one is set aside instead)."""


class NameBound(RoutingError):
    """The name is already bound to another live connection."""


class TokenTableFull(RoutingError):
    """The token table holds as many connections as its capacity."""


class NotConnected(RoutingError):
    """`send` or `request` while the node is not connected; use `wait=True` to wait."""


class UnreachableError(NotConnected, StartError):
    """Nobody can dial this node, and it has stopped for it; one line, exit code 2."""


class RequestTimedOut(RoutingError, TimeoutError):
    """No reply, or too few, came within the time allowed; `replies` holds those that came."""

    def __init__(self, text: str, replies: Iterable[Any] = ()) -> None:
        super().__init__(text)
        self.replies = list(replies)


class Unroutable(RoutingError):
    """The network answered that nobody is responsible for, or is, the destination."""


class NoQuorum(RoutingError):
    """The members of a group replied, and too few of them the same."""


class TooBusy(RoutingError):
    """Too much of ours waits to be acknowledged: a message was refused, and may be sent later."""


class HandlerFailed(RoutingError):
    """The far end's request handler raised; it was logged and counted there."""


class CloseCode(IntEnum):
    """Why a connection was closed: u16, in the last frame of a channel."""

    NORMAL = 0
    """Nothing more to say."""
    STOPPING = 1
    """The node is stopping."""
    SECONDARY_DONE = 2
    """The secondary has proved what it had to."""
    JOINED = 3
    """A joiner no longer needs its proxy."""
    LOST_PRIORITY = 4
    """The crossing attempt of the lower key goes on instead."""
    EXPIRED = 5
    """The deadline of the thing that owned the connection has passed."""
    REPLACED = 6
    """The same key came back in a newer process and this connection did not answer."""
    UNNEEDED = 7
    """Both ends hold the connection as surplus."""
    NOT_CONNECTED = 8
    """The proxy has no network to offer."""
    NOT_REACHABLE = 9
    """The far end could not be dialled."""
    FULL = 10
    """A limit is reached."""
    BAD_HELLO = 11
    """A Hello that is unexpected, malformed, wrongly signed or late."""
    BAD_FRAME = 12
    """A frame that is malformed or not allowed here."""
    TOO_LARGE = 13
    """A record or frame above its limit."""
    SLOW_READER = 14
    """Queued bytes stayed unwritten for too long."""
    SILENT = 15
    """Nothing was heard for the silence limit."""
    BUSY = 16
    """A budget is used up."""
    IO_ERROR = 17
    """Never sent: the socket ended without a Close frame."""
    SELF = 18
    """The far end is ourselves."""
    WRONG_IDENTITY = 19
    """The far end is not who it was expected to be."""


class Refusal(IntEnum):
    """Why a request was refused, on the wire in Refuse and ConnectRefused (u8)."""

    NOT_CONNECTED = 1
    FULL = 2
    NETWORK_TOO_SMALL = 3
    ALREADY_CONNECTED = 4
    NOT_WANTED = 5
    BUSY = 6
    NAME_UNKNOWN = 7
    STOPPING = 8
    NO_ENDPOINT = 9
    """None of the endpoints listed may be dialled from here."""
    OUTDATED = 10
    """A younger attempt of the same key is under way."""


class DialFailure(IntEnum):
    """Why a dial ended without an authenticated channel. Never sent to anybody."""

    CONNECTION_REFUSED = 1
    TIMED_OUT = 2
    UNREACHABLE = 3
    NOT_OURS = 4
    """The far end does not speak this protocol."""
    WRONG_VERSION = 5
    WRONG_NETWORK = 6
    SELF = 7
    WRONG_IDENTITY = 8
    BAD_HANDSHAKE = 9
    CLOSED = 10
    """The far end closed before the channel was complete."""
    CANCELLED = 11
    NO_DESCRIPTORS = 12
    BLOCKED = 13
    """Our own endpoint policy does not allow the address."""


class Outcome(IntEnum):
    """How an attempt to connect with a peer ended."""

    CONSOLIDATED = 0
    EXPIRED = 1
    REFUSED = 2
    NOT_REACHABLE = 3
    """We could not be dialled, or could not dial, and the strict mode requires both."""
    PRIMARY_LOST = 4
    PRIMARY_FAILED = 5
    """Every dial of the primary failed."""
    LOST_PRIORITY = 6
    RESTARTED = 7
    """The peer came with another incarnation."""
    UNROUTABLE = 8
    """The request could not be delivered."""
    DISCONNECTED = 9
    """The node lost its last connection and emptied its attempts."""
    STOPPED = 10
    EVICTED = 11
    NAME_TAKEN = 12
    """The primary came up under a name another key already holds."""
    NAME_UNKNOWN = 13
    """Too few of those who answer for the peer's key vouch for its name."""
