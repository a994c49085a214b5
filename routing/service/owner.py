"""Where a connection is in its life, and what it needs of the host that owns it."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from routing._frames import SpareBlock
from routing._meter import Meter
from routing.errors import CloseCode, DialFailure
from routing.limits import Limits, Nanos
from routing.service.ledger import Ledger
from routing.service.polling import BusyPoll

if TYPE_CHECKING:
    from routing.service.connection import Line

__all__ = ["AT_A_TIME", "Owner", "Stage", "close_code"]

AT_A_TIME: Final = 262_144
"""When a line has sealed and written so much, what else there is to do gets its turn."""


class Stage(IntEnum):
    """Where a line is in its life; it only moves forward."""

    GREETING = 0
    OPEN = 1
    CLOSING = 2
    GONE = 3


class Owner(Protocol):
    """What a line needs of the host that owns it."""

    limits: Limits
    ledger: Ledger
    meter: Meter
    spare: SpareBlock
    poll: BusyPoll

    def passes_on(self, line: Line, plaintext: bytes, frame_max: int) -> bool:
        """Go through a record of a trusted line if some of it is for others; False if not."""

    def now(self) -> Nanos:
        """Return the time."""

    def flush_later(self, line: Line) -> None:
        """Write what a line has queued when the loop comes round."""

    def on_channel(self, line: Line) -> None:
        """The handshake is complete; the line is OPEN."""

    def on_greeting_failed(self, line: Line, reason: DialFailure) -> None:
        """There will be no channel; the line closes itself. Never told after `on_channel`."""

    def on_frame(self, line: Line, kind: int, body: bytes) -> None:
        """A frame came in on an OPEN line. CLOSE and HEARTBEAT are not told."""

    def on_lost(self, line: Line, code: CloseCode, text: str) -> None:
        """An OPEN line has ended, by the far end or for its fault; told at most once."""

    def on_paused(self, line: Line, paused: bool) -> None:
        """The kernel takes no more bytes, or has taken all it was given."""

    def on_closing(self, line: Line) -> None:
        """From now the far end has a little time to hang up before it is cut off."""

    def on_gone(self, line: Line) -> None:
        """The socket is closed."""


def close_code(number: int) -> CloseCode:
    """Return the code; one that we do not know says no more than that it is over."""
    try:
        return CloseCode(number)
    except ValueError:
        return CloseCode.NORMAL
