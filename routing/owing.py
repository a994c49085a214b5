"""Acknowledgements of requests that wait a moment: the reply, if it comes soon, says the same.

So a request that is answered at once costs three signatures and not four. It decides when, and
`delivery` says it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing.links import Arrival
from routing.messages import Address

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Owed", "Owing"]

OWED_MAX: Final = 4_096
"""Beyond it requests are acknowledged at once."""


class Owed(Struct):
    """What an acknowledgement is made of."""

    source: Address
    route: int
    token: int
    """The connection by which the request came."""


class Owing:
    """Acknowledgements that one core owes, by the id of the request."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.open: dict[bytes, Owed] = {}

    def owe(self, arrival: Arrival) -> None:
        """A request has been taken: acknowledge it soon, unless its reply is sooner."""
        core, signed = self.core, arrival.signed
        if len(self.open) >= OWED_MAX or signed.id in self.open:
            core.delivery.acknowledge(arrival)
            return
        self.open[signed.id] = Owed(signed.source, arrival.envelope.route, arrival.token)
        core.alarm("owed", signed.id, core.limits.acknowledge_delay_ns)

    def settle(self, request_id: bytes, to: Address) -> None:
        """The reply to a request is on its way to `to`; it acknowledges the request."""
        owed = self.open.get(request_id)
        if owed is not None and owed.source == to:
            del self.open[request_id]
            self.core.alarms.cancel(("owed", request_id))
            self.core.count("acknowledged.by_reply")

    def on_stop(self) -> None:
        """Nobody is told any more."""
        self.open.clear()

    def on_due(self, request_id: bytes) -> None:
        """Alarm: the handler takes its time."""
        owed = self.open.pop(request_id)
        self.core.delivery.tell(request_id, owed.source, owed.route, owed.token)
