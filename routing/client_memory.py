"""What a core keeps about clients that move, as part of its snapshot; nothing decides here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from routing.answers import Kept
from routing.messages import Envelope
from routing.moving import Doubt

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["ClientMemory", "capture_clients", "restore_clients"]


class ClientMemory(Struct):
    """Clients that move, the proxies they have left, and replies they may ask for again."""

    proxy: bytes
    left: list[tuple[bytes, int]]
    announced: dict[bytes, bytes]
    asked: dict[bytes, Envelope]
    departed: list[tuple[bytes, bytes, float]]
    held: dict[bytes, list[Envelope]]
    doubts: dict[bytes, Doubt]
    kept: list[tuple[bytes, Kept, float]]


def capture_clients(core: Core) -> ClientMemory:
    """Return this part of the state of a core."""
    moving = core.moving
    return ClientMemory(
        proxy=moving.proxy,
        left=list(moving.left.items()),
        announced=moving.announced,
        asked=moving.asked,
        departed=moving.departed.deadlines(now=core.now),
        held=moving.held,
        doubts=moving.doubts,
        kept=core.answers.kept.deadlines(now=core.now),
    )


def restore_clients(core: Core, memory: ClientMemory) -> None:
    """Make this part of a core what was captured."""
    moving = core.moving
    moving.proxy = memory.proxy
    moving.left = dict(memory.left)
    moving.announced = memory.announced
    moving.asked = memory.asked
    moving.held = memory.held
    moving.doubts = memory.doubts
    moving.load(memory.departed)
    core.answers.load(memory.kept)
