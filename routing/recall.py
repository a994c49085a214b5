"""What is remembered of messages that went by, as part of a snapshot: `snapshots` has the rest."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from routing._filter import MessageFilter
from routing.batching import Batch
from routing.receipts import Handed, Line
from routing.repeats import Block, Window

if TYPE_CHECKING:
    from routing.core import Core

__all__ = [
    "DirectMemory",
    "SeenMemory",
    "capture_direct",
    "capture_seen",
    "restore_direct",
    "restore_seen",
]


class SeenMemory(Struct):
    """One room of the relay's filter, and the rooms of single connections."""

    entered: int
    blocks: list[Block]
    hashes: bytes
    """See `MessageFilter.packed`."""
    lanes: list[tuple[int, SeenMemory]]


class DirectMemory(Struct):
    """Direct messages that may not have arrived, and the ids of those that came."""

    handed: dict[bytes, Handed]
    lines: dict[int, Line]
    broken: dict[int, Line]
    heard: list[tuple[bytes, bytes]]
    """(key, its ids, packed)."""
    ended: list[tuple[bytes, bytes, float]]
    batches: dict[bytes, Batch]
    again: dict[bytes, Batch]
    pressed: bool


def capture_direct(core: Core) -> DirectMemory:
    receipts, now = core.receipts, core.now
    return DirectMemory(
        handed=receipts.handed,
        lines=receipts.lines,
        broken=receipts.broken,
        heard=[(key, room.packed(now)) for key, room in receipts.heard.items()],
        ended=[(key, room.packed(now), at) for key, room, at in receipts.ended.deadlines(now=now)],
        batches=core.batching.handed,
        again=core.batching.again,
        pressed=core.batching.pressed,
    )


def restore_direct(core: Core, memory: DirectMemory) -> None:
    receipts, now = core.receipts, core.now
    core.batching.load(memory.batches, memory.again, pressed=memory.pressed)
    receipts.handed = memory.handed
    receipts.bytes = sum(len(each.body) for each in memory.handed.values())
    receipts.lines = memory.lines
    receipts.broken = memory.broken
    receipts.heard = {key: _filled(receipts.fresh(), ids, now) for key, ids in memory.heard}
    receipts.ended.clear()
    for key, ids, at in memory.ended:
        room = _filled(receipts.fresh(), ids, now)
        receipts.ended.insert(key, room, now=now, ttl=at - now)


def capture_seen(window: Window, lanes: dict[int, Window], now: int) -> SeenMemory:
    return SeenMemory(
        entered=window.entered,
        blocks=list(window.blocks),
        hashes=window.filter.packed(now),
        lanes=[(token, capture_seen(lane, {}, now)) for token, lane in lanes.items()],
    )


def restore_seen(window: Window, memory: SeenMemory, now: int) -> None:
    window.entered = memory.entered
    window.blocks = deque(memory.blocks)
    window.held = {}
    for block in memory.blocks:
        for token, count in block.lanes.items():
            window.held[token] = window.held.get(token, 0) + count
    window.filter.load(memory.hashes, now)


def _filled(room: MessageFilter, ids: bytes, now: int) -> MessageFilter:
    room.load(ids, now)
    return room
