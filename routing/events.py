"""What the application is told, in its own words; one record each, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from routing._message import BorrowedMessage, Message
from routing.errors import CloseCode, Outcome, Refusal
from routing.handover import newcomers
from routing.state import Direction, State

__all__ = [
    "BootstrapFinished",
    "BootstrapStarted",
    "Bootstrapped",
    "BorrowedMessage",
    "Churn",
    "ConnectFailed",
    "Connected",
    "DescriptorsShort",
    "Disconnected",
    "Event",
    "EventsLost",
    "Founded",
    "ListenerFailed",
    "Message",
    "NotReachable",
    "PeerDown",
    "PeerUp",
    "Proof",
    "Renamed",
    "RoundOutcome",
    "StateChanged",
    "Terminated",
    "Undelivered",
]


class RoundOutcome(IntEnum):
    """How a bootstrap round ended."""

    ADMITTED = 0
    FOUNDED = 1
    NO_CONTACTS = 2
    """There was nobody to ask."""
    NO_ANSWER = 3
    """Nobody answered."""
    REFUSED = 4
    """Every answer was a refusal."""
    STOPPED = 5


class Proof(IntEnum):
    """What vouches for the source of a message."""

    CHANNEL = 1
    """It came over the source's own connection."""
    SIGNATURE = 2
    """The source signed it."""
    QUORUM = 3
    """A quorum of the source group sent the same."""


@dataclass(frozen=True, slots=True)
class BootstrapStarted:
    """A round of looking for a network begins."""

    round: int
    contacts: int


@dataclass(frozen=True, slots=True)
class BootstrapFinished:
    """The round has ended."""

    round: int
    outcome: RoundOutcome


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """A proxy has admitted us."""

    proxy: bytes
    endpoint: str


@dataclass(frozen=True, slots=True)
class Founded:
    """We have named ourselves: a network begins here."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Connected:
    """The phase is CONNECTED: the first routing connection (a client: a proxy) is there."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The last connection is gone; a bootstrap round follows."""

    cause: str


@dataclass(frozen=True, slots=True)
class Terminated:
    """The node has stopped."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The detail has changed."""

    old: State
    new: State
    cause: str


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A connection has been consolidated: both ends hold it, and each has been dialled."""

    name: bytes
    key: bytes
    direction: Direction
    one_way: bool = False
    """Only one of the two can dial the other; both are relaxed."""


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A consolidated connection has ended."""

    name: bytes
    key: bytes
    code: CloseCode


@dataclass(frozen=True, slots=True)
class Churn:
    """Our close group has changed, and the change has lasted: told once, with all its causes.

    A peer that goes and comes back within `Limits.churn_damping_ns` is not told of. After
    `Disconnected` everybody is new again.
    """

    close_group: tuple[bytes, ...]
    """The at most 8 other nodes nearest to us, nearest first."""
    cause: str
    joined: tuple[bytes, ...] = ()
    """Who is in it and was not when it was told last, nearest first."""
    left: tuple[bytes, ...] = ()
    """Who was in it when it was told last and is not, nearest first."""
    before: tuple[bytes, ...] = field(default=(), repr=False)
    """Every node we knew when it was told last, ourselves first; empty the first time."""
    after: tuple[bytes, ...] = field(default=(), repr=False)
    """Every node we know now, ourselves first."""

    def concerns(self, element: bytes) -> tuple[bytes, ...]:
        """Return who is new, since the last Churn, in the group around a record that we hold.

        To these the record is to be sent. Empty if nobody is new, or if the record is not ours to
        keep. It is the view of one node: see `Node.group_of`.
        """
        if not self.after:
            return ()
        new = newcomers(element, own=self.after[0], before=self.before, after=self.after)
        return tuple(new)


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """An attempt to connect with a peer has ended without a connection."""

    name: bytes
    outcome: Outcome
    refusal: Refusal | None
    requester: bool


@dataclass(frozen=True, slots=True)
class Renamed:
    """A peer, or we ourselves (`own`), goes by another name now."""

    old: bytes
    new: bytes
    own: bool


@dataclass(frozen=True, slots=True)
class NotReachable:
    """Nobody can dial us: proxies have tried where we say we can be dialled.

    What follows is `Config.unreachable`: the node stops, goes on as a client, or, where both ends
    of a connection are relaxed, goes on as a node.
    """

    endpoints: tuple[str, ...]
    """What we advertise."""


@dataclass(frozen=True, slots=True)
class DescriptorsShort:
    """New connections wait until descriptors are released; `used` of `limit` are taken."""

    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class ListenerFailed:
    """A listening socket has failed while the node ran."""

    endpoint: str
    reason: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A message that was on its way has come to nothing, or may have: nobody acknowledged it."""

    number: int
    """What `send` returned."""
    reason: str


@dataclass(frozen=True, slots=True)
class EventsLost:
    """This consumer was too slow: so many of the oldest events were replaced by this one."""

    count: int


Event = (
    BootstrapStarted
    | BootstrapFinished
    | Bootstrapped
    | Founded
    | Connected
    | Disconnected
    | Terminated
    | StateChanged
    | PeerUp
    | PeerDown
    | Churn
    | ConnectFailed
    | Renamed
    | NotReachable
    | DescriptorsShort
    | ListenerFailed
    | Undelivered
    | EventsLost
)
