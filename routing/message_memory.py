"""What a core keeps about the application's messages, as part of its snapshot.

Nothing decides here; what each field means is said where it is held.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from routing.assembly import Assembly
from routing.ballots import Tally
from routing.casting import Spoken
from routing.delivery import Underway
from routing.groups import Group, Resolution
from routing.hops import RoundTrip
from routing.owing import Bundle, Owed
from routing.parts import Outgoing
from routing.recall import (
    DirectMemory,
    SeenMemory,
    capture_direct,
    capture_seen,
    restore_direct,
    restore_seen,
)
from routing.requests import Pending

if TYPE_CHECKING:
    from routing._filter import TimedFilter
    from routing.core import Core

__all__ = ["MessageMemory", "capture_messages", "refill", "restore_messages"]

V = TypeVar("V")


class MessageMemory(Struct):
    """The application's messages and the filters against repeats."""

    seen: SeenMemory
    pending: dict[bytes, Pending]
    sent: list[tuple[bytes, int, float]]
    unwatched: list[tuple[bytes, int, float]]
    """Lists."""
    pressed: bool
    consumed: list[tuple[bytes, int, bool]]
    underway: dict[bytes, Underway]
    parts: dict[bytes, Outgoing]
    assemblies: dict[bytes, Assembly]
    direct: DirectMemory
    owed: dict[bytes, Owed]
    bundles: dict[bytes, Bundle]
    suspects: list[bytes]
    missed_hops: list[tuple[bytes, int]]
    round_trip: RoundTrip
    round_trips: list[tuple[bytes, RoundTrip]]
    groups: dict[bytes, Resolution]
    group_cache: list[tuple[bytes, Group, float]]
    tallies: list[tuple[bytes, Tally]]
    unresolved: list[tuple[bytes, list[bytes]]]
    voices: int
    """Heard so far."""
    agreed: list[tuple[bytes, bool, float]]
    spoken: list[tuple[bytes, Spoken]]
    """In the order in which they will be forgotten."""


def capture_messages(core: Core) -> MessageMemory:
    """Return what the concerns of messages hold."""
    messaging, now = core.messaging, core.now
    return MessageMemory(
        seen=capture_seen(core.relay.seen.common, core.relay.seen.lanes, now),
        pending=messaging.pending,
        sent=messaging.sent.deadlines(now=now),
        unwatched=core.lists.unwatched.deadlines(now=now),
        pressed=core.delivery.window.pressed,
        consumed=messaging.consumed.export(),
        underway=core.delivery.underway,
        parts=core.parts.open,
        assemblies=core.assembly.open,
        direct=capture_direct(core),
        owed=core.owing.open,
        bundles=core.owing.bundles,
        suspects=core.suspects.names,
        missed_hops=list(core.hops.missed.items()),
        round_trip=core.hops.usual,
        round_trips=list(core.hops.trips.items()),
        groups=core.groups.open,
        group_cache=core.groups.cache.deadlines(now=now),
        tallies=list(core.ballots.tallies.items()),
        unresolved=[(name, [*held]) for name, held in core.ballots.unresolved.items()],
        voices=core.ballots.number,
        agreed=core.ballots.done.deadlines(now=now),
        spoken=list(core.casting.spoken.items()),
    )


def restore_messages(core: Core, memory: MessageMemory) -> None:
    """Give the concerns of messages what `capture_messages` returned."""
    messaging, now = core.messaging, core.now
    core.relay.seen.clear()
    restore_seen(core.relay.seen.common, memory.seen, now)
    for token, lane in memory.seen.lanes:
        restore_seen(core.relay.seen.lane(token), lane, now)
    messaging.pending = memory.pending
    messaging.asked = {each.reference: id for id, each in memory.pending.items()}
    refill(messaging.sent, memory.sent, now)
    refill(core.lists.unwatched, memory.unwatched, now)
    messaging.consumed.load(memory.consumed)
    delivery = core.delivery
    delivery.underway = memory.underway
    delivery.bytes = sum(len(each.envelope.signed) for each in memory.underway.values())
    delivery.window.load(pressed=memory.pressed)
    core.parts.load(memory.parts)
    core.assembly.open = memory.assemblies
    restore_direct(core, memory.direct)
    core.owing.open = memory.owed
    core.owing.bundles = memory.bundles
    core.suspects.names = memory.suspects
    core.hops.missed = OrderedDict(memory.missed_hops)
    core.hops.usual = memory.round_trip
    core.hops.trips = OrderedDict(memory.round_trips)
    core.groups.open = memory.groups
    refill(core.groups.cache, memory.group_cache, now)
    ballots = core.ballots
    ballots.tallies = dict(memory.tallies)
    ballots.unresolved = {name: dict.fromkeys(held, True) for name, held in memory.unresolved}
    ballots.number = memory.voices
    refill(ballots.done, memory.agreed, now)
    ballots.recount()
    core.casting.load(dict(memory.spoken))
    core.agreement.recount()


def refill(held: TimedFilter[bytes, V], entries: list[tuple[bytes, V, float]], now: int) -> None:
    """Put entries back into a filter, each with the time it had left."""
    held.clear()
    for key, value, at in entries:
        held.insert(key, value, now=now, ttl=at - now)
