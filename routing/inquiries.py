"""What is being found out about the names of others: who was asked, and what they said.

Records only, which a snapshot holds; asking and deciding are for `vouching`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from routing.hops import RoundTrip
from routing.links import Arrival
from routing.messages import Certificate

__all__ = ["ROUNDS", "Inquiry", "VouchingMemory"]

ROUNDS: Final = 3
"""From the third asking on it is asked anew who the members are: the silent may be none."""


class Inquiry(Struct):
    """A name of a key that others are asked about, and what waits for the outcome."""

    key: bytes
    name: bytes
    certificate: Certificate
    since: int
    source: str = ""
    """Where the request that waits would have us dial."""
    attempt: bytes = b""
    """Of ours, whose secondary waits."""
    theirs: bytes = b""
    """Of theirs, whose answer waits."""
    request: Arrival | None = None
    """What asks for it."""
    hops: list[bytes] = []
    """First hops by which was asked who the group is."""
    views: dict[bytes, list[bytes]] = {}
    """First hop -> the at most 8 that answer for the key, by what came through it."""
    members: list[bytes] = []
    """Those that the views agree on; empty until they do."""
    rounds: int = 0
    """In which these members were asked."""
    asked: dict[bytes, int] = {}
    """Name -> how often; not all members at first, for a majority is enough."""
    at: dict[bytes, int] = {}
    """Name of who was asked once only -> when."""
    peers: list[bytes] = []
    """Names of peers that were asked over their connections and have not answered yet."""
    voices: dict[bytes, tuple[bytes, bool]] = {}
    """Key of who was asked -> its name, and whether it vouches."""
    passed: list[bytes] = []
    """Members that have said that they do not answer for the key."""
    tries: int = 0

    @property
    def settled(self) -> bool:
        """It is known who the members are, and they need not be looked for again."""
        return bool(self.members) and self.rounds < ROUNDS

    @property
    def said(self) -> dict[bytes, bool]:
        """What members have answered, by name."""
        return {name: says for name, says in self.voices.values() if name in self.members}


class VouchingMemory(Struct):
    """The state of a `Vouching`."""

    open: dict[bytes, Inquiry]
    trusted: list[tuple[bytes, bool, float]]
    usual: RoundTrip
