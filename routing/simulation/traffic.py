"""Messages of applications in a simulated network, each followed from its sender to its end.

Every payload carries a mark and a number by which a `Ledger` knows its frames on every connection,
so hops and copies are counted from outside, whatever the envelope says. It changes nothing: it
submits, looks on, and says what became of each message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from routing.actions import Answered, Failed
from routing.events import Message
from routing.inputs import Submitted
from routing.limits import SECOND, Nanos
from routing.messages import Address, FrameKind, MessageKind
from routing.simulation.hosts import Host
from routing.simulation.wires import End
from routing.simulation.world import World

__all__ = ["Ledger", "Parcel", "Step", "ways"]

_MARK = b"routing figures "
_NUMBER_BYTES = 8
_MARK_BYTES = len(_MARK)

_CARRIERS = (FrameKind.ROUTED, FrameKind.DIRECT, FrameKind.GROUP_COPY)
"""Frames that carry messages of applications."""


@dataclass(frozen=True, slots=True)
class Step:
    """One frame that carried a message from one host to another."""

    at: Nanos
    kind: FrameKind
    near: int
    far: int
    heard: bool
    """The far end was there to hear it when it was sent."""
    held: int
    """Entries in the table of the host that sent it."""


@dataclass(slots=True)
class Parcel:
    """One message and what became of it; hosts by their index."""

    number: int
    source: int
    wanted: tuple[int, ...]
    """Who ought to have it."""
    sent_at: Nanos
    frames: int = 0
    """Frames that carried it, over any connection."""
    reached: dict[int, int] = field(default_factory=dict)
    """Host -> connections that its shortest way there went over."""
    copies: dict[int, int] = field(default_factory=dict)
    """Host -> frames with it that were sent to this host."""
    delivered: dict[int, int] = field(default_factory=dict)
    """Host -> how often its application was handed it."""
    delivered_at: Nanos | None = None
    """When anybody was handed it first."""
    failed: str | None = None
    """What its sender was told."""
    failures: int = 0
    """How often its sender was told so."""
    way: list[Step] | None = None
    """Every frame with it, if ways are kept."""

    @property
    def arrived(self) -> bool:
        """Whether everybody who ought to have it was handed it."""
        return all(host in self.delivered for host in self.wanted)


class Ledger:
    """All messages that were submitted through it; it watches the hosts of one world."""

    def __init__(self, world: World, *, payload_bytes: int = 64, keep_ways: bool = False) -> None:
        self.world = world
        self.parcels: list[Parcel] = []
        self._keep_ways = keep_ways
        self._padding = bytes(max(0, payload_bytes - _MARK_BYTES - _NUMBER_BYTES))
        self.strays = 0
        """Messages handed to a host that ought not to have them."""
        world.network.witness = self

    # -- sending

    def submit(
        self,
        source: Host,
        destination: Address,
        wanted: Iterable[Host],
        *,
        acknowledged: bool = True,
        signed: bool = False,
    ) -> Parcel:
        """Have a node send one message now; `wanted` are the hosts that ought to be handed it."""
        number = len(self.parcels)
        parcel = Parcel(number, source.index, tuple(host.index for host in wanted), self.world.now)
        parcel.reached[source.index] = 0
        parcel.way = [] if self._keep_ways else None
        self.parcels.append(parcel)
        source.hear(
            Submitted(
                reference=number,
                kind=MessageKind.MESSAGE,
                destination=destination,
                payload=_MARK + number.to_bytes(_NUMBER_BYTES, "big") + self._padding,
                id=bytes(16),
                failed=False,
                timeout_ns=60 * SECOND,
                signed=signed,
                acknowledged=acknowledged,
            )
        )
        return parcel

    # -- watching

    def sent(self, end: End, kind: FrameKind, body: bytes) -> None:
        """A host puts a frame on a connection."""
        if kind not in _CARRIERS:
            return
        at = body.find(_MARK)
        if at < 0:
            return
        parcel = self.parcels[_number(body, at + _MARK_BYTES)]
        near, far = end.host.index, end.far.host.index
        hops = parcel.reached.get(near, 0) + 1
        parcel.frames += 1
        parcel.copies[far] = parcel.copies.get(far, 0) + 1
        parcel.reached[far] = min(hops, parcel.reached.get(far, hops))
        if parcel.way is not None:
            heard = self.world.hosts[far].alive and end.far.open
            held = len(self.world.hosts[near].core.table)
            parcel.way.append(Step(self.world.now, kind, near, far, heard, held))

    def delivered(self, host: Host, message: Message) -> None:
        """A host hands a message to its application."""
        if not message.payload.startswith(_MARK):
            return
        parcel = self.parcels[_number(message.payload, _MARK_BYTES)]
        parcel.delivered[host.index] = parcel.delivered.get(host.index, 0) + 1
        if parcel.delivered_at is None:
            parcel.delivered_at = self.world.now
        if host.index not in parcel.wanted:
            self.strays += 1

    def answered(self, host: Host, action: Answered | Failed) -> None:
        """A host tells its application what came of a message."""
        if not isinstance(action, Failed) or action.reference >= len(self.parcels):
            return
        parcel = self.parcels[action.reference]
        if parcel.source == host.index:
            parcel.failed = action.reason
            parcel.failures += 1


def ways(parcel: Parcel) -> list[str]:
    """Return the way of a message, a line for each frame, and what its sender was told."""
    wanted = ", ".join(map(str, parcel.wanted))
    lines = [
        f"message {parcel.number}, {parcel.sent_at / SECOND:.3f} s: {parcel.source} to {wanted}"
    ]
    for step in parcel.way or ():
        fate = "" if step.heard else ", where nobody hears any more"
        lines.append(
            f"+{(step.at - parcel.sent_at) / SECOND:.3f} s {step.kind.name} {step.near}"
            f" (holds {step.held}) to {step.far}{fate}"
        )
    lines.append(parcel.failed or "no word of failure")
    return lines


def _number(text: bytes, at: int) -> int:
    return int.from_bytes(text[at : at + _NUMBER_BYTES], "big")
