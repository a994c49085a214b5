"""The record of one open connection as the core sees it; no socket, no behaviour."""

from __future__ import annotations

from msgspec import Struct

from routing.allowance import Allowance
from routing.messages import ACKNOWLEDGE, NO_ATTEMPT, Envelope, Signed
from routing.state import Connection, Direction, LinkRole, Token

__all__ = ["Arrival", "Link", "host_of"]


class Link(Struct):
    """One authenticated channel and what it is to us now."""

    connection: Connection
    key: bytes
    """The far end's key, proved by the channel."""
    binding: bytes
    role: LinkRole
    since: int
    endpoint: str = ""
    """What we dialled (OUTBOUND), or where the far end says it listens."""
    name: bytes = b""
    """CONSOLIDATED: the peer's name. BOOTSTRAP, FEELER: the proxy's, once it has admitted us."""
    attempt: bytes = NO_ATTEMPT
    admitted: bool = False
    heard: int = 0
    """When the last frame came."""
    asked: bytes = b""
    """The nonce of a Ping by which we ask whether the far end lives, until it is answered."""
    allowance: Allowance | None = None
    """BOOTSTRAP of a client: what its proxy lets it send. CLIENT: what we let it send."""
    excess: Allowance | None = None
    """CLIENT: what it may send in vain before it is closed."""
    owed: int = 0
    """CLIENT: messages passed to it that it has not answered; the answers cost it nothing."""
    one_way: bool = False
    """CONSOLIDATED: the requester of its attempt could not dial the responder, and both agreed."""
    displaced: bool = False
    """CONSOLIDATED: another key listens where this peer did; if it is silent now, it is gone."""

    @property
    def token(self) -> Token:
        """The handle by which host and core name this connection."""
        return self.connection.token

    @property
    def outbound(self) -> bool:
        """We dialled it."""
        return self.connection.direction is Direction.OUTBOUND


class Arrival(Struct, gc=False):
    """A routed message consumed here: its verified content, its envelope, whence it came."""

    signed: Signed
    envelope: Envelope
    token: int
    """The connection it came over; 0 for one we sent to ourselves."""
    copied: bool = False
    """The first node of a group has handed it to us: that one answers for it."""

    @property
    def acknowledged(self) -> bool:
        """Tell whether its source waits for an acknowledgement of ours."""
        return bool(self.signed.flags & ACKNOWLEDGE) and not self.copied


def host_of(address: str) -> str:
    """Return the IP of "ip:port" or "[ip]:port"."""
    return address.rpartition(":")[0].strip("[]")
