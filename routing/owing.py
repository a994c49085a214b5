"""Acknowledgements that wait a moment, so that one signature says many of them, or none is needed.

A request is acknowledged by its reply, if that comes soon. Messages of one source that come within
a millisecond are acknowledged together, and replies, for which nobody waits any more, within as
long as a request may wait. Only first copies wait: who has had to repeat is answered at once. It
decides when, and `delivery` says it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing.bodies import ACKNOWLEDGED_MAX
from routing.links import Arrival
from routing.messages import Address, MessageKind, encode

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Bundle", "Owed", "Owing"]

OWED_MAX: Final = 4_096
"""Requests beyond it are acknowledged at once."""

BUNDLES_MAX: Final = 1_024
"""Sources whose acknowledgements wait; beyond it each is sent at once."""


class Owed(Struct, gc=False):
    """A request whose acknowledgement waits for the reply."""

    source: Address
    id: bytes
    route: int
    token: int
    """The connection by which the request came."""


class Bundle(Struct, gc=False):
    """Ids of one source that have arrived, oldest first, and how the latest of them came."""

    source: Address
    ids: list[bytes]
    token: int
    heard: int
    """When the latest came."""


class Owing:
    """Acknowledgements that one core owes."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.open: dict[bytes, Owed] = {}
        """Requests by source and id: two sources may choose the same id."""
        self.bundles: dict[bytes, Bundle] = {}
        """By source."""

    def owe(self, arrival: Arrival) -> None:
        """A message has been taken: acknowledge it soon, if that is wanted at all.

        Parts are none of its business: the next ones wait for the word that this one has come.
        """
        signed, limits = arrival.signed, self.core.limits
        if arrival.envelope.route:
            self.core.delivery.acknowledge(arrival)
        elif signed.kind is MessageKind.REQUEST:
            self._await_reply(arrival)
        elif signed.kind is MessageKind.REPLY:
            self._gather(arrival, limits.acknowledge_delay_ns)
        else:
            self._gather(arrival, limits.acknowledge_gather_ns)

    # -- requests

    def _await_reply(self, arrival: Arrival) -> None:
        core, signed = self.core, arrival.signed
        subject = _subject(signed.source, signed.id)
        if len(self.open) >= OWED_MAX or subject in self.open:
            core.delivery.acknowledge(arrival)
            return
        self.open[subject] = Owed(signed.source, signed.id, arrival.envelope.route, arrival.token)
        core.alarm("owed", subject, core.limits.acknowledge_delay_ns)

    def settle(self, request_id: bytes, to: Address) -> None:
        """The reply to a request is on its way to `to`; it acknowledges the request."""
        if not self.open:
            return
        subject = _subject(to, request_id)
        if self.open.pop(subject, None) is not None:
            self.core.alarms.cancel(("owed", subject))
            self.core.count("acknowledged.by_reply")

    def on_due(self, subject: bytes) -> None:
        """Alarm: the handler takes its time."""
        owed, core = self.open.pop(subject), self.core
        waited = core.limits.acknowledge_delay_ns
        core.delivery.tell([owed.id], owed.source, owed.route, owed.token, waited=waited)

    # -- messages and replies

    def _gather(self, arrival: Arrival, delay: int) -> None:
        core, signed = self.core, arrival.signed
        subject = encode(signed.source)
        bundle = self.bundles.get(subject)
        if bundle is None:
            if len(self.bundles) >= BUNDLES_MAX:
                core.delivery.acknowledge(arrival)
                return
            bundle = self.bundles[subject] = Bundle(signed.source, [], 0, 0)
        bundle.ids.append(signed.id)
        bundle.token, bundle.heard = arrival.token, core.now
        due = core.alarms.at(("bundle", subject))
        if len(bundle.ids) >= ACKNOWLEDGED_MAX:
            core.alarms.cancel(("bundle", subject))
            self.on_bundle_due(subject)
        elif due is None or due > core.now + delay:
            core.alarm("bundle", subject, delay)

    def on_bundle_due(self, subject: bytes) -> None:
        """Alarm: what has come of a source is acknowledged, the latest first."""
        bundle, core = self.bundles.pop(subject), self.core
        if len(bundle.ids) > 1:
            core.count("acknowledged.together")
        waited = core.now - bundle.heard
        core.delivery.tell(bundle.ids[::-1], bundle.source, 0, bundle.token, waited=waited)

    def on_stop(self) -> None:
        """What has been taken is acknowledged now; requests are answered no longer."""
        self.open.clear()
        for subject in list(self.bundles):
            self.on_bundle_due(subject)


def _subject(source: Address, message_id: bytes) -> bytes:
    return encode(source) + message_id
