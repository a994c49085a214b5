"""What a new connection means and which frame it may carry, written out by hand: the promise.

Data only, so that tests compare the core and its tables with it, and documents can be made from it.
Nothing here is derived from `routing.state`.
"""

from __future__ import annotations

from typing import Final

from routing.messages import FrameKind, HelloRole
from routing.state import Detail, Direction, LinkRole

__all__ = ["CONNECT", "FRAMES", "HELLO", "HOST_KINDS", "connect_cells", "frame_cells"]

HOST_KINDS: Final = (FrameKind.CLOSE, FrameKind.HEARTBEAT)
"""They end in the host; a core that is handed one all the same closes BAD_FRAME."""

_NODE: Final = {
    Detail.DISCONNECTED: ("bootstrap", "hold"),
    Detail.BOOTSTRAPPED: ("bootstrap", "hold"),
    Detail.RELOCATED: ("expected", "hold"),
    Detail.CONNECTED: ("expected", "hold"),
    Detail.GROUP_CONNECTED: ("expected", "hold"),
    Detail.TERMINATED: ("close", "STOPPING"),
}
_CLIENT: Final = {
    Detail.DISCONNECTED: ("bootstrap", "NORMAL"),
    Detail.BOOTSTRAPPED: ("bootstrap", "NORMAL"),
    Detail.RELOCATED: ("close", "NORMAL"),
    Detail.CONNECTED: ("close", "NORMAL"),
    Detail.GROUP_CONNECTED: ("close", "NORMAL"),
    Detail.TERMINATED: ("close", "STOPPING"),
}

CONNECT: Final[dict[tuple[bool, Detail, Direction], str]] = {
    (client, detail, direction): words[direction is Direction.INBOUND]
    for client, rows in ((False, _NODE), (True, _CLIENT))
    for detail, words in rows.items()
    for direction in Direction
}
"""(client, detail, direction) -> what a finished channel may be, or the code it is closed with."""

_NOT_YET: Final = ("BAD_HELLO", "BAD_HELLO", "REFUSE", "REFUSE", "REFUSE")
_THERE: Final = ("BAD_HELLO", "BAD_HELLO", "ADMIT", "ADMIT", "ADMIT")

HELLO: Final[dict[tuple[Detail, HelloRole], str]] = {
    (detail, role): words[place]
    for detail, words in {
        Detail.DISCONNECTED: _NOT_YET,
        Detail.BOOTSTRAPPED: _NOT_YET,
        Detail.RELOCATED: _NOT_YET,
        Detail.CONNECTED: _THERE,
        Detail.GROUP_CONNECTED: _THERE,
        Detail.TERMINATED: ("STOPPING",) * 5,
    }.items()
    for place, role in enumerate(
        (
            HelloRole.PRIMARY,
            HelloRole.SECONDARY,
            HelloRole.JOIN,
            HelloRole.CLIENT,
            HelloRole.FEEL,
        )
    )
}
"""(detail, role) -> answer to an authenticated Hello that no attempt waits for, at a node with
contacts that is no founder; REFUSE closes NOT_CONNECTED, and a founder admits JOIN and FEEL."""

_ROWS: Final = {
    #                          HELLO ACK CONFIRMATION SECONDARY_FAILED ADMIT REFUSE PING PONG
    #                          CLOSE HEARTBEAT ROUTED GROUP_COPY NEIGHBOURS CONTACTS DIRECT
    #                          REACHABLE UNNEEDED THROTTLED BATCH IS_NAME NAME_IS
    LinkRole.UNKNOWN: "+hhhhhhh hhhhhhh hhhhhh",
    LinkRole.PRIMARY: "h+++ff++ fffffff ffffff",
    LinkRole.SECONDARY: "hfffff++ fffffff ffffff",
    LinkRole.CONSOLIDATED: "hfffff++ ff+++++ f+f+++",
    LinkRole.BOOTSTRAP: "hfff++++ ff+ff++ +f+fff",
    LinkRole.RELAY: "hfffff++ ff+ffff ffffff",
    LinkRole.CLIENT: "hfffff++ ff+fff+ ffffff",
    LinkRole.FEELER: "hfff++++ ff+ffff ffffff",
    LinkRole.FELT: "hfffff++ ff+ffff ffffff",
}
_WORDS: Final = {"+": "accept", "h": "BAD_HELLO", "f": "BAD_FRAME"}

FRAMES: Final[dict[tuple[LinkRole, FrameKind], str]] = {
    (role, kind): _WORDS[letter]
    for role, row in _ROWS.items()
    for kind, letter in zip(FrameKind, row.replace(" ", ""), strict=True)
}
"""(role of the connection, kind of frame) -> "accept", or the code the connection closes with."""


def connect_cells() -> list[tuple[bool, Detail, Direction]]:
    """Return the full product of client, detail and direction."""
    return [(c, detail, d) for c in (False, True) for detail in Detail for d in Direction]


def frame_cells() -> list[tuple[LinkRole, FrameKind]]:
    """Return the full product of link role and frame kind."""
    return [(role, kind) for role in LinkRole for kind in FrameKind]
