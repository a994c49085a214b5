"""Consolidated connections coming and going: the table, the events, the close group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routing import actions as do
from routing import events as told
from routing.attempts import Attempt
from routing.errors import CloseCode
from routing.links import Link
from routing.names import short
from routing.state import LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Peers"]


class Peers:
    """The peers we route to."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.close_group: list[bytes] = []
        self.recent_losses: list[int] = []
        """Times of the last losses, to tell a mass loss from a single one."""
        self.endpoints: dict[bytes, list[str]] = {}
        """name -> where the peer listens."""

    def up(self, link: Link, attempt: Attempt) -> None:
        """An attempt has consolidated on this connection."""
        core = self.core
        old = core.table.name_of_key(link.key)
        if old is not None:
            self._replace(old, attempt.name)
        link.role = LinkRole.CONSOLIDATED
        link.name = attempt.name
        core.founding.founder = False
        core.table.add(attempt.name, link.key, link.token)
        # One whom we could not dial ourselves is no contact for others either.
        listed = [] if link.one_way and attempt.requester else attempt.endpoints
        self.endpoints[attempt.name] = core.bootstrapping.learn_peer(listed, link)
        if attempt.requester or not link.one_way:
            core.reachability.on_reached()
        core.act(do.Bind(link.token, attempt.name))
        core.cause = f"{short(attempt.name)} consolidated"
        core.note(attempt.name, "consolidated")
        core.count("peer.up")
        direction = link.connection.direction
        core.tell(told.PeerUp(attempt.name, link.key, direction, link.one_way))
        core.membership.on_peer_up(attempt.name)
        core.filling.on_peer_up(attempt.name)
        self._weigh_close_group()
        core.letting_go.on_peer_up(attempt.name)
        self._doubt_predecessors(link)

    def _doubt_predecessors(self, link: Link) -> None:
        """Whoever listened where we have just dialled another key has probably gone."""
        core = self.core
        if not link.outbound:
            return
        gone = [
            name
            for name, listed in self.endpoints.items()
            if name != link.name and link.endpoint in listed
        ]
        for name in gone:
            core.suspects.displace(core.link_to(name))

    def let_go(self, link: Link, code: CloseCode) -> None:
        """A connection ends because we can do without it."""
        self.core.close(link, code)
        self.on_lost(link, code)

    def _replace(self, old: bytes, new: bytes) -> None:
        """One key has one live name: the old one leaves the table."""
        core = self.core
        link = core.link_to(old)
        if old != new:
            core.tell(told.Renamed(old, new, own=False))
        core.close(link, CloseCode.REPLACED)
        self.on_lost(link, CloseCode.REPLACED)

    def on_lost(self, link: Link, code: CloseCode) -> None:
        """A consolidated connection has ended, by us or by them."""
        core = self.core
        core.table.remove(link.name)
        core.vouching.trust(link.key, link.name)
        if code is not CloseCode.UNNEEDED:
            self.recent_losses = [*self.recent_losses, core.now][-64:]
        core.bootstrapping.on_peer_lost(self.endpoints.pop(link.name, []))
        if code is not CloseCode.UNNEEDED or not core.membership.needs(link.name):
            # What both let go is not dialled again, unless it is needed since.
            core.attempts.back_off(link.name)
        core.note(link.name, f"lost: {code.name}")
        core.count(f"peer.down.{code.name.lower()}")
        core.cause = f"{short(link.name)} lost: {code.name}"
        core.tell(told.PeerDown(link.name, link.key, code))
        core.membership.on_peer_down(link.name)
        core.filling.on_peer_down(link.name)
        core.letting_go.on_peer_down(link.name)
        self._weigh_close_group()
        core.probing.on_peer_down(link.key)
        core.hops.on_peer_down(link.name)
        core.suspects.on_peer_down(link)

    def replace_dead(self, name: bytes) -> None:
        """A probe went unanswered: the old connection is closed REPLACED."""
        link = self.core.link_to(name)
        self.core.close(link, CloseCode.REPLACED, "did not answer")
        self.on_lost(link, CloseCode.REPLACED)

    def lost_lately(self) -> int:
        """Return how many peers were lost within the mass-loss window."""
        since = self.core.now - self.core.limits.mass_loss_window_ns
        return sum(1 for at in self.recent_losses if at >= since)

    def endpoint_set(self) -> set[str]:
        """Return every endpoint of every table entry; for membership tests only, never iterated."""
        return {endpoint for listed in self.endpoints.values() for endpoint in listed}

    def _weigh_close_group(self) -> None:
        core = self.core
        group = core.table.close_group()
        if group == self.close_group:
            return
        self.close_group = group
        core.churning.on_change(group)
        core.membership.on_close_group_changed()

    def on_stop(self) -> None:
        """Every connection has been closed; the table empties without repair."""
        core = self.core
        for name in core.table.names():
            key = core.table.key(name) or b""
            core.table.remove(name)
            core.tell(told.PeerDown(name, key, CloseCode.STOPPING))
        self.close_group = []
        self.endpoints.clear()
