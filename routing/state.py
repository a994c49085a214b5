"""Phases, states and connections, and the rules for a new connection as a table.

The prose. A node is in one of four *phases*, and in one of six finer *details*. Neither is ever
assigned: `State.of` computes both from facts that have been confirmed by an authenticated far end,
so no raw accept, no unanswered dial and no stranger can move a node. The first line that holds:

    TERMINATED       stop() was called
    GROUP_CONNECTED  at least 8 consolidated connections
    CONNECTED        at least one consolidated connection
    RELOCATED        has a name, and a proxy has admitted it or it is the founder
    BOOTSTRAPPED     a proxy has admitted it
    DISCONNECTED     otherwise; the phase is BOOTSTRAPPING while a round runs

There is one rule for a new connection, whoever dialled it: `ON_CONNECT` says by detail and
direction what it may be; `ON_HELLO` says by detail and role what an authenticated Hello on an
accepted connection leads to; `ALLOWED` says which frames a connection may carry in each role.
Every cell is written; a cell that is not is an error when this module is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NewType

from routing._tokens import ByToken
from routing.bodies import ConnectRequest, ConnectResponse
from routing.limits import GROUP_SIZE
from routing.messages import FrameKind, HelloRole, MessageKind

__all__ = [
    "ALLOWED",
    "CLIENT_KINDS",
    "JOINER_KINDS",
    "ON_CONNECT",
    "ON_HELLO",
    "TOLD_AGAIN",
    "Connection",
    "Detail",
    "Direction",
    "ExpectedConnection",
    "LinkRole",
    "OnConnect",
    "OnHello",
    "Phase",
    "State",
    "Token",
]

Token = NewType("Token", int)
"""Our 64-bit handle of a connection, generation << 32 | slot; never 0, never reused."""


class Direction(IntEnum):
    """Who dialled."""

    OUTBOUND = 1
    INBOUND = 2


@dataclass(frozen=True, slots=True, eq=False)
class Connection(ByToken):
    """One byte stream to one peer, equal and hashed by token; addresses are for people."""

    token: Token
    protocol: str
    peer: str
    local: str
    direction: Direction


ExpectedConnection = ConnectRequest | ConnectResponse
"""What a connection we dialled for an attempt is for: a request (we answer) or a response."""


class Phase(IntEnum):
    """The four phases of the proposal."""

    DISCONNECTED = 0
    BOOTSTRAPPING = 1
    CONNECTED = 2
    TERMINATED = 3


class Detail(IntEnum):
    """The six finer states; each includes what stands below it."""

    DISCONNECTED = 0
    BOOTSTRAPPED = 1
    RELOCATED = 2
    CONNECTED = 3
    GROUP_CONNECTED = 4
    TERMINATED = 5


@dataclass(frozen=True, slots=True)
class State:
    """A phase, its detail, and whether we are a client (the proposal's bool in each phase)."""

    phase: Phase
    detail: Detail
    client: bool

    @classmethod
    def of(
        cls,
        client: bool,
        stopped: bool,
        routing: int,
        bootstrap: int,
        named: bool,
        founder: bool,
        round_runs: bool,
    ) -> State:
        """Return the state that these facts amount to.

        Args:
            client: We never listen, never have a name, never route for others.
            stopped: stop() was called.
            routing: Consolidated connections.
            bootstrap: Connections we dialled to a proxy that has admitted us.
            named: We have a name.
            founder: We named ourselves and nobody has joined us yet.
            round_runs: A bootstrap round is under way.
        """
        if stopped:
            return cls(Phase.TERMINATED, Detail.TERMINATED, client)
        if routing >= GROUP_SIZE:
            return cls(Phase.CONNECTED, Detail.GROUP_CONNECTED, client)
        if routing >= 1:
            return cls(Phase.CONNECTED, Detail.CONNECTED, client)
        if named and (bootstrap >= 1 or founder):
            return cls(Phase.BOOTSTRAPPING, Detail.RELOCATED, client)
        if bootstrap >= 1:
            phase = Phase.CONNECTED if client else Phase.BOOTSTRAPPING
            return cls(phase, Detail.BOOTSTRAPPED, client)
        phase = Phase.BOOTSTRAPPING if round_runs else Phase.DISCONNECTED
        return cls(phase, Detail.DISCONNECTED, client)

    def __str__(self) -> str:
        return self.detail.name


class LinkRole(IntEnum):
    """What a connection is to the core; every open one has exactly one."""

    UNKNOWN = 0
    """Accepted; its Hello has not come yet."""
    PRIMARY = 1
    """Of an attempt, not yet consolidated."""
    SECONDARY = 2
    CONSOLIDATED = 3
    BOOTSTRAP = 4
    """We dialled a contact; it may have admitted us."""
    RELAY = 5
    """A joiner hangs on us."""
    CLIENT = 6
    """A client hangs on us."""
    FEELER = 7
    """We dialled a contact to feel for more network."""
    FELT = 8
    """Somebody feels at us."""


class OnConnect(IntEnum):
    """What a finished channel may be."""

    CLOSE = 0
    BOOTSTRAP = 1
    """A dial of the bootstrap round: send Hello, wait for Admit."""
    EXPECTED = 2
    """A dial for an attempt: send Hello, match(); or a feeler of ours."""
    HOLD = 3
    """Accepted: unknown until its Hello, at most 10 s."""


class OnHello(IntEnum):
    """What an authenticated Hello on an accepted connection leads to."""

    CLOSE = 0
    GREET = 1
    """It must name an attempt and role that we wait for from this key; else BAD_HELLO."""
    ADMIT = 2
    """Within limits; else Refuse with a reason."""
    FOUND_OR_REFUSE = 3
    """The founder, and who may found now, admits; others refuse NOT_CONNECTED with contacts."""


def _on_connect() -> dict[tuple[bool, Detail, Direction], OnConnect]:
    table: dict[tuple[bool, Detail, Direction], OnConnect] = {}
    for client in (False, True):
        for detail in Detail:
            if detail is Detail.TERMINATED:
                outbound = inbound = OnConnect.CLOSE
            else:
                bootstraps = detail in (Detail.DISCONNECTED, Detail.BOOTSTRAPPED)
                outbound = OnConnect.BOOTSTRAP if bootstraps else OnConnect.EXPECTED
                if client and not bootstraps:
                    outbound = OnConnect.CLOSE
                inbound = OnConnect.CLOSE if client else OnConnect.HOLD
            table[client, detail, Direction.OUTBOUND] = outbound
            table[client, detail, Direction.INBOUND] = inbound
    return table


ON_CONNECT: Final = _on_connect()
"""(client, detail, direction) -> what a finished channel may be."""


def _on_hello() -> dict[tuple[Detail, HelloRole], OnHello]:
    table: dict[tuple[Detail, HelloRole], OnHello] = {}
    for detail in Detail:
        for role in HelloRole:
            if detail is Detail.TERMINATED:
                table[detail, role] = OnHello.CLOSE
            elif role in (HelloRole.PRIMARY, HelloRole.SECONDARY):
                table[detail, role] = OnHello.GREET
            elif detail >= Detail.CONNECTED:
                table[detail, role] = OnHello.ADMIT
            else:
                table[detail, role] = OnHello.FOUND_OR_REFUSE
    return table


ON_HELLO: Final = _on_hello()
"""(detail, role of the Hello) -> what becomes of the accepted connection. Nodes only."""

_ALWAYS: Final = frozenset({FrameKind.PING, FrameKind.PONG})
_HANGING: Final = _ALWAYS | {FrameKind.ROUTED, FrameKind.REFUSE}

ALLOWED: Final[dict[LinkRole, frozenset[FrameKind]]] = {
    LinkRole.UNKNOWN: frozenset({FrameKind.HELLO}),
    LinkRole.PRIMARY: _ALWAYS | {FrameKind.ACK, FrameKind.CONFIRMATION, FrameKind.SECONDARY_FAILED},
    LinkRole.SECONDARY: _ALWAYS,
    LinkRole.CONSOLIDATED: _ALWAYS
    | {
        FrameKind.ROUTED,
        FrameKind.GROUP_COPY,
        FrameKind.NEIGHBOURS,
        FrameKind.CONTACTS,
        FrameKind.DIRECT,
        FrameKind.BATCH,
        FrameKind.UNNEEDED,
        FrameKind.IS_NAME,
        FrameKind.NAME_IS,
    },
    LinkRole.BOOTSTRAP: _HANGING
    | {
        FrameKind.ADMIT,
        FrameKind.CONTACTS,
        FrameKind.DIRECT,
        FrameKind.REACHABLE,
        FrameKind.THROTTLED,
    },
    LinkRole.RELAY: _ALWAYS | {FrameKind.ROUTED},
    LinkRole.CLIENT: _ALWAYS | {FrameKind.ROUTED, FrameKind.DIRECT},
    LinkRole.FEELER: _HANGING | {FrameKind.ADMIT},
    LinkRole.FELT: _ALWAYS | {FrameKind.ROUTED},
}
"""Frames that may come in on a connection of each role; others close it BAD_FRAME (a second or an
unexpected Hello BAD_HELLO). CLOSE and HEARTBEAT end in the host and stand in no row."""

JOINER_KINDS: Final = frozenset(
    {
        MessageKind.REQUEST_NAME,
        MessageKind.REGISTER,
        MessageKind.FIND_GROUP,
        MessageKind.CONNECT_REQUEST,
        MessageKind.CONNECT_RESPONSE,
        MessageKind.CONNECT_REFUSED,
    }
)
"""Routed messages that a joiner or a feeler may send through its proxy."""

assert set(ALLOWED) == set(LinkRole), "a link role without a row"

TOLD_AGAIN: Final = frozenset(
    {
        MessageKind.MESSAGE,
        MessageKind.REQUEST,
        MessageKind.BALLOT,
        MessageKind.REQUEST_NAME,
        MessageKind.REGISTER,
        MessageKind.FIND_GROUP,
    }
)
"""Kinds that the nearest member takes, and at a repeat whichever member it comes to first."""

CLIENT_KINDS: Final = frozenset(
    {
        MessageKind.MESSAGE,
        MessageKind.MESSAGES,
        MessageKind.REQUEST,
        MessageKind.REPLY,
        MessageKind.PART,
        MessageKind.ACKNOWLEDGED,
        MessageKind.BUSY,
        MessageKind.FIND_GROUP,
        MessageKind.WHOLE_WANTED,
        MessageKind.MOVED,
    }
)
"""Kinds that a client may send; FIND_GROUP and WHOLE_WANTED where it weighs what a group says."""
