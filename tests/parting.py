"""A core that sends a large message in parts, and a scripted far end that answers them."""

from __future__ import annotations

from routing.bodies import Acknowledged, Busy, Part
from routing.core import Core
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.messages import (
    Address,
    MessageKind,
    NodeAddress,
    Signed,
)
from routing.names import nearest
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__ = [
    "BODY",
    "FAR",
    "ONE",
    "PEERS",
    "SMALL",
    "TWO",
    "Far",
    "begun",
    "is_idle",
    "pair",
    "submit",
]

ONE, TWO, FAR = Person(1), Person(2), Person(50)
PEERS = (ONE, TWO)
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY
PART, ACKNOWLEDGED, BUSY = MessageKind.PART, MessageKind.ACKNOWLEDGED, MessageKind.BUSY

SMALL = Limits().but(
    payload_bytes_max=1_000,
    part_bytes=100,
    parts_max=64,
    large_bytes_max=4_000,
    large_waiting_bytes=8_000,
    reassembly_bytes=16_000,
)
BODY = bytes(n * n % 251 for n in range(1_901))
"""In 20 parts of 96 bytes, the last of which has 77."""


def submit(
    stage: Stage,
    kind: MessageKind = MESSAGE,
    *,
    to: Address | None = None,
    body: bytes = BODY,
    reference: int = 7,
    seconds: int = 300,
    failed: bool = False,
) -> Said:
    wait, to = seconds * SECOND, to or NodeAddress(FAR.name)
    token = bytes(16)
    return stage.hear(Submitted(reference, kind, to, body, token, failed, wait, False, token=token))


def pair(limits: Limits = SMALL) -> tuple[Stage, list[Wire]]:
    """Return a stage and its ways towards FAR, the best first."""
    stage, wires = Stage.among(*PEERS, limits=limits)
    ways = nearest(FAR.name, [peer.name for peer in PEERS], 2)
    names = [peer.name for peer in PEERS]
    return stage, [wires[names.index(name)] for name in ways]


class Far:
    """The far end of a large message: what has reached it, and what it says to that."""

    def __init__(self, wires: list[Wire]) -> None:
        self.wires = wires
        self.stage = wires[0].stage
        self.waiting: list[Signed] = []
        """Parts that came and were not answered, oldest first."""

    def hear(self, said: Said) -> Said:
        """Take in the parts among what the core did."""
        for wire in self.wires:
            envelopes = said.envelopes(wire, PART)
            self.waiting += [opened(Signed, each.signed) for each in envelopes]
        return said

    @property
    def indices(self) -> list[int]:
        return [opened(Part, each.body).index for each in self.waiting]

    def answer(self, body: Acknowledged | Busy, person: Person = FAR) -> Said:
        kind = ACKNOWLEDGED if isinstance(body, Acknowledged) else BUSY
        sealed = person.seal(kind, NodeAddress(self.stage.name), body)
        return self.hear(self.wires[0].routed(sealed))

    def acknowledge(self) -> Said:
        """Acknowledge the oldest part."""
        return self.answer(Acknowledged(self.waiting.pop(0).id))

    def refuse(self, wait_ms: int = 1_000) -> Said:
        """Have no room for the oldest part."""
        return self.answer(Busy(self.waiting.pop(0).id, wait_ms))


def begun(kind: MessageKind = MESSAGE, limits: Limits = SMALL) -> tuple[Stage, Far]:
    stage, wires = pair(limits)
    far = Far(wires)
    far.hear(submit(stage, kind))
    return stage, far


def is_idle(core: Core) -> bool:
    """Nothing of a large message is left."""
    parts, left = core.parts, core.delivery.underway
    alarms = [kind for _, kind, _ in core.alarms.export() if kind in ("parts", "request", "retry")]
    return not (parts.open or parts.whole_of or parts.bytes or left or alarms)
