"""The log lines of one node, so many for each peer and no more, and no secrets among them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

from routing.limits import SECOND
from routing.names import short

__all__ = ["Talk"]

PEERS_MAX: Final = 1_024
"""Peers whose lines are counted; the one longest without a line is forgotten."""

LINES_PER_PEER: Final = 10
"""Lines about one peer within `WINDOW_NS`; a peer that flaps cannot fill the disk."""

WINDOW_NS: Final = 60 * SECOND

log = logging.getLogger("routing")


class Talk:
    """Logs for one node, names as 8 hexadecimal digits."""

    __slots__ = ("_peers", "own", "suppressed")

    def __init__(self, own: bytes) -> None:
        self.own = short(own)
        self.suppressed = 0
        self._peers: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def say(self, level: int, text: str, *values: object) -> None:
        """Log a line about ourselves."""
        log.log(level, f"%s: {text}", self.own, *values)

    def of_peer(self, level: int, peer: bytes, now: int, text: str, *values: object) -> None:
        """Log a line about a peer, unless it has had its share of this minute."""
        if log.isEnabledFor(level) and self.allows(peer, now):
            log.log(level, f"%s: peer %s {text}", self.own, short(peer), *values)

    def allows(self, peer: bytes, now: int) -> bool:
        """Tell whether a line about a peer may be written now, and count it."""
        since, lines = self._peers.pop(peer, (now, 0))
        if now - since >= WINDOW_NS:
            since, lines = now, 0
        self._peers[peer] = (since, lines + 1)
        if len(self._peers) > PEERS_MAX:
            self._peers.popitem(last=False)
        if lines < LINES_PER_PEER:
            return True
        self.suppressed += 1
        return False
