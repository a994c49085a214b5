"""Connection management and message routing for a peer-to-peer node: the public names only."""

from __future__ import annotations

from routing._filter import MessageFilter, TimedFilter
from routing._tokens import TokenTable
from routing.config import Config
from routing.errors import (
    BookError,
    CloseCode,
    ConfigError,
    DialFailure,
    HandlerFailed,
    IdentityError,
    ListenError,
    NameBound,
    NoQuorum,
    NotConnected,
    Outcome,
    Refusal,
    RequestTimedOut,
    RoutingError,
    StartError,
    TokenTableFull,
    TooBusy,
    UnreachableError,
    Unroutable,
    UsageError,
)
from routing.events import (
    BootstrapFinished,
    Bootstrapped,
    BootstrapStarted,
    BorrowedMessage,
    Churn,
    Connected,
    ConnectFailed,
    DescriptorsShort,
    Disconnected,
    Event,
    EventsLost,
    Founded,
    ListenerFailed,
    Message,
    NotReachable,
    PeerDown,
    PeerUp,
    Proof,
    Renamed,
    RoundOutcome,
    StateChanged,
    Terminated,
    Undelivered,
)
from routing.identity import Identity
from routing.limits import Limits
from routing.messages import (
    Address,
    Authority,
    AuthorityKind,
    ClientAddress,
    GroupAddress,
    NodeAddress,
)
from routing.names import Name
from routing.node import Client, Node
from routing.outbox import GroupReply
from routing.reading import Messages
from routing.runner import run
from routing.state import Connection, Detail, Direction, ExpectedConnection, Phase, State
from routing.version import VERSION
from routing.views import Peer
from routing.watch import Events

__all__ = [
    "Address",
    "Authority",
    "AuthorityKind",
    "BookError",
    "BootstrapFinished",
    "BootstrapStarted",
    "Bootstrapped",
    "BorrowedMessage",
    "Churn",
    "Client",
    "ClientAddress",
    "CloseCode",
    "Config",
    "ConfigError",
    "ConnectFailed",
    "Connected",
    "Connection",
    "DescriptorsShort",
    "Detail",
    "DialFailure",
    "Direction",
    "Disconnected",
    "Event",
    "Events",
    "EventsLost",
    "ExpectedConnection",
    "Founded",
    "GroupAddress",
    "GroupReply",
    "HandlerFailed",
    "Identity",
    "IdentityError",
    "Limits",
    "ListenError",
    "ListenerFailed",
    "Message",
    "MessageFilter",
    "Messages",
    "Name",
    "NameBound",
    "NoQuorum",
    "Node",
    "NodeAddress",
    "NotConnected",
    "NotReachable",
    "Outcome",
    "Peer",
    "PeerDown",
    "PeerUp",
    "Phase",
    "Proof",
    "Refusal",
    "Renamed",
    "RequestTimedOut",
    "RoundOutcome",
    "RoutingError",
    "StartError",
    "State",
    "StateChanged",
    "Terminated",
    "TimedFilter",
    "TokenTable",
    "TokenTableFull",
    "TooBusy",
    "Undelivered",
    "UnreachableError",
    "Unroutable",
    "UsageError",
    "__version__",
    "run",
]

__version__ = VERSION
