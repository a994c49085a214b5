"""Small messages that are sent one by one and leave together: one step of the core for each tick.

`Node.send` in a loop costs a step of the core each time; messages that follow each other to the
same neighbour are put into one batch, which is handed over when the loop comes round, and before
anything else is. It sends nothing that it could be refused: what there is room for is known when it
opens, and whoever hands anything else to the core closes it first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from routing._batch import MESSAGE_HEADER_BYTES
from routing.inputs import SubmittedMany
from routing.messages import Address, NodeAddress

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["GATHERED_BYTES", "Gathering"]

GATHERED_BYTES: Final = 65_536
"""Of one batch: a record."""


class Gathering:
    """The batch that is open, if one is.

    Args:
        submit: Hands a fact to the core.
    """

    __slots__ = ("_count", "_delivery", "_payloads", "_reference", "_room", "_submit", "to")

    def __init__(self, submit: Callable[[SubmittedMany], None]) -> None:
        self._submit = submit
        self.to: NodeAddress | None = None
        """Whom the open batch is for; None while none is open."""
        self._delivery = ""
        self._payloads: list[bytes] = []
        self._reference = 0
        self._room = 0
        self._count = 0

    def open(self, core: Core, to: Address, delivery: str) -> bool:
        """Begin a batch; tell whether there may be one."""
        assert self.to is None, "the one before is handed over first"
        limits, batching = core.limits, core.batching
        if batching.way(to) is None or not isinstance(to, NodeAddress):
            return False
        if delivery == "exactly_once":
            receipts = core.receipts
            held = len(receipts.handed) + batching.count
            self._count = limits.unconfirmed_max - held
            left = limits.unacknowledged_bytes - receipts.bytes - batching.bytes
            self._room = min(GATHERED_BYTES, left)
        else:
            self._count, self._room = limits.unconfirmed_max, GATHERED_BYTES
        if self._count <= 0 or self._room <= 0:
            return False
        self.to, self._delivery = to, delivery
        return True

    def add(self, payload: bytes, reference: int) -> bool:
        """Put one more message into the open batch; tell whether it has room.

        References follow each other: the first is that of the batch.
        """
        size = len(payload) + MESSAGE_HEADER_BYTES
        if size > self._room or not self._count:
            return False
        if not self._payloads:
            self._reference = reference
        elif reference != self._reference + len(self._payloads):
            return False
        self._room -= size
        self._count -= 1
        self._payloads.append(payload)
        return True

    def takes(self, to: object, payload: object, delivery: object) -> bool:
        """Tell whether the open batch is one for messages like this."""
        return (
            self.to is not None
            and (to is self.to or to == self.to)
            and type(payload) is bytes
            and delivery == self._delivery
        )

    def close(self) -> None:
        """Hand over what is in the open batch, if there is one."""
        to, payloads = self.to, self._payloads
        if to is None:
            return
        self.to, self._payloads = None, []
        if payloads:
            acknowledged = self._delivery == "exactly_once"
            self._submit(SubmittedMany(self._reference, to, payloads, acknowledged))
