"""A key that we hold consolidated asks to be connected: is the old connection still alive?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from routing.bodies import ConnectRequest
from routing.errors import Refusal
from routing.links import Arrival, Link
from routing.messages import FrameKind, Ping, decode
from routing.state import LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Probing"]


class Probe(Struct):
    """A Ping under way, and the request that waits for it."""

    name: bytes
    nonce: bytes
    arrival: Arrival


class Probing:
    """Probes, at most one for each consolidated peer, so never more than the table holds."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.probes: dict[bytes, Probe] = {}

    def waiting(self, key: bytes) -> Arrival | None:
        """Return the request of this key that waits for the old connection's answer."""
        probe = self.probes.get(key)
        return None if probe is None else probe.arrival

    def probe(self, name: bytes, arrival: Arrival) -> None:
        """Ask the old connection; the newest request of the key is the one that waits."""
        core = self.core
        key = arrival.signed.key
        waiting = self.probes.get(key)
        if waiting is not None:
            waiting.arrival = arrival
            return
        link = core.link_to(name)
        nonce = core.dice.bytes(8)
        self.probes[key] = Probe(name, nonce, arrival)
        core.count("probe.started")
        core.note(name, "asks to be connected anew; probing the old connection")
        core.send(link, FrameKind.PING, Ping(nonce))
        core.alarm("probe", key, core.limits.probe_timeout_ns)

    def on_pong(self, link: Link, pong: Ping) -> None:
        """Answered: the old connection lives, the request is refused."""
        core = self.core
        if core.suspects.on_pong(link, pong.nonce) or core.receipts.on_pong(link, pong.nonce):
            return
        if link.role is LinkRole.CLIENT:
            core.moving.on_pong(link, pong)
            return
        probe = self.probes.get(link.key)
        if probe is None or probe.nonce != pong.nonce or probe.name != link.name:
            self.core.count("pong.unasked")
            return
        del self.probes[link.key]
        self.core.alarms.cancel(("probe", link.key))
        request = decode(ConnectRequest, probe.arrival.signed.body)
        assert request is not None
        self.core.connecting.responding.refuse(
            probe.arrival.signed, request, Refusal.ALREADY_CONNECTED
        )

    def on_timeout(self, key: bytes) -> None:
        """Alarm: silent. The old connection is replaced and the attempt goes on."""
        probe = self.probes.pop(key, None)
        if probe is None:
            return
        if self.core.table.name_of_key(key) == probe.name:
            self.core.peers.replace_dead(probe.name)
        self._go_on(probe)

    def on_peer_down(self, key: bytes) -> None:
        """The old connection was lost while we asked: the attempt goes on at once."""
        probe = self.probes.pop(key, None)
        if probe is not None:
            self.core.alarms.cancel(("probe", key))
            self._go_on(probe)

    def _go_on(self, probe: Probe) -> None:
        request = decode(ConnectRequest, probe.arrival.signed.body)
        assert request is not None
        self.core.connecting.responding.go_on(probe.arrival, request)
