"""Large messages that come in parts are put together here, within bounds; `parts` sends them.

Room for the whole is set aside at the first part, or its source is told BUSY. A part that follows a
first one we do not know is not taken and not acknowledged: after a restart, or after we gave up,
nobody shall believe that we have what is gone. A complete message goes on as if it had come whole.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from routing.bodies import Busy, Part
from routing.links import Arrival
from routing.messages import (
    Authority,
    ClientAddress,
    MessageKind,
    NodeAddress,
    decode,
    encode,
)
from routing.parts import REPLY_BYTES, part_bounds

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Assembling", "Assembly"]

KINDS: Final = frozenset({MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY})
"""What may come in parts."""

BUSY_WAIT_MS: Final = 1_000
"""What a source is told to wait: most messages that hold the room are through by then."""


class Assembly(Struct):
    """A message of which some parts have come."""

    key: bytes
    """Of its source."""
    kind: MessageKind
    size: int
    digest: bytes
    authority: Authority | None
    chunks: list[bytes]
    """By their place; empty where one has not come."""
    missing: int
    since: int


class Assembling:
    """Messages that come in parts, by the key of their source and their id."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.open: dict[bytes, Assembly] = {}

    def on_part(self, arrival: Arrival) -> None:
        """A part, its signature verified."""
        core, signed = self.core, arrival.signed
        part = decode(Part, signed.body)
        if part is None or not self._is_sound(arrival, part):
            core.count("part.malformed")
            return
        subject = signed.key + part.id
        taken = core.messaging.consumed.get(subject)
        if taken is not None:
            core.count("part.late")
            if taken:
                core.delivery.acknowledge(arrival)
            return
        assembly = self.open.get(subject)
        if assembly is None:
            assembly = self._begin(arrival, part, subject)
            if assembly is None:
                return
        elif not _agrees(assembly, arrival, part):
            core.count("part.mismatch")
            return
        if assembly.chunks[part.index]:
            core.count("part.duplicate")
            core.delivery.acknowledge(arrival)
            return
        assembly.chunks[part.index] = part.chunk
        assembly.missing -= 1
        if assembly.missing:
            core.delivery.acknowledge(arrival)
            self._watch(subject, assembly)
        else:
            self._finish(arrival, part, subject, assembly)

    def _is_sound(self, arrival: Arrival, part: Part) -> bool:
        """Tell whether the numbers of a part fit each other and our bounds: before any memory."""
        limits = self.core.limits
        size_max = limits.large_bytes_max
        if part.kind is MessageKind.REPLY:
            size_max += REPLY_BYTES
        if not isinstance(arrival.signed.destination, NodeAddress | ClientAddress):
            return False
        if part.kind not in KINDS or not 2 <= part.count <= limits.parts_max:
            return False
        if part.size > size_max or part.index >= part.count:
            return False
        first, end = part_bounds(part.size, part.count, part.count - 1)
        if first == end:
            return False
        first, end = part_bounds(part.size, part.count, part.index)
        return len(part.chunk) == end - first

    def _begin(self, arrival: Arrival, part: Part, subject: bytes) -> Assembly | None:
        """Set room aside at the first part of a message; None if it is not taken."""
        core, signed = self.core, arrival.signed
        if part.index:
            core.count("part.unknown")
            return None
        if part.kind is MessageKind.REPLY and not core.messaging.awaits(signed.source):
            core.count("part.unasked")
            return None
        if not self._has_room(signed.key, part.size):
            self._refuse(arrival)
            return None
        assembly = self.open[subject] = Assembly(
            key=signed.key,
            kind=part.kind,
            size=part.size,
            digest=part.digest,
            authority=signed.authority,
            chunks=[b""] * part.count,
            missing=part.count,
            since=core.now,
        )
        core.count("assembly.begun")
        return assembly

    def _has_room(self, key: bytes, size: int) -> bool:
        """A source may always send one message, and more while they fit into a quarter of all."""
        limits = self.core.limits
        if sum(each.size for each in self.open.values()) + size > limits.reassembly_bytes:
            return False
        own = [each.size for each in self.open.values() if each.key == key]
        fits = sum(own) + size <= limits.reassembly_bytes // 4
        return not own or (fits and len(own) < limits.reassembly_open)

    def _refuse(self, arrival: Arrival) -> None:
        core, signed = self.core, arrival.signed
        core.count("part.busy")
        body = encode(Busy(signed.id, BUSY_WAIT_MS))
        if not core.relay.send(MessageKind.BUSY, signed.source, body, rank=arrival.envelope.route):
            core.count("busy.no_path")

    def _watch(self, subject: bytes, assembly: Assembly) -> None:
        core, limits = self.core, self.core.limits
        left = assembly.since + limits.large_ns - core.now
        core.alarm("assembly", subject, min(limits.large_idle_ns, left))

    def _finish(self, arrival: Arrival, part: Part, subject: bytes, assembly: Assembly) -> None:
        """The last part is here: check the whole, and hand it on like any message."""
        core = self.core
        body = b"".join(assembly.chunks)
        if sha256(body).digest() != assembly.digest:
            core.count("assembly.wrong_digest")
            self._drop(subject)
            core.messaging.consumed.admit(subject, core.now, taken=False)
            return
        # What is acknowledged is the part, once the whole has been taken.
        signed = structs.replace(arrival.signed, kind=part.kind, id=part.id, flags=0, body=body)
        if core.messaging.on_assembled(Arrival(signed, arrival.envelope, arrival.token)):
            core.count("assembly.complete")
            self._drop(subject)
            core.delivery.acknowledge(arrival)
        else:
            assembly.chunks[part.index] = b""
            assembly.missing = 1
            self._watch(subject, assembly)
            self._refuse(arrival)

    def _drop(self, subject: bytes) -> None:
        del self.open[subject]
        self.core.alarms.cancel(("assembly", subject))

    def on_expired(self, subject: bytes) -> None:
        """Alarm: the source has stopped in the middle, or takes too long."""
        self.core.count("assembly.expired")
        self._drop(subject)

    def on_stop(self) -> None:
        """What is not complete now never will be."""
        for subject in list(self.open):
            self.core.count("assembly.abandoned")
            self._drop(subject)


def _agrees(assembly: Assembly, arrival: Arrival, part: Part) -> bool:
    """Tell whether a part says of the whole what the first one said."""
    said = (part.kind, part.size, part.count, part.digest, arrival.signed.authority)
    known = (
        assembly.kind,
        assembly.size,
        len(assembly.chunks),
        assembly.digest,
        assembly.authority,
    )
    return said == known
