"""Those who hang on us: joiners, clients, and strangers that feel; admitted or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routing.admission import choose_victim
from routing.endpoints import source_group
from routing.errors import CloseCode, Refusal
from routing.links import Link, host_of
from routing.messages import Admit, Contacts, FrameKind, Hello, HelloRole, Refuse
from routing.state import Detail, LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Proxying"]

ROLES = {
    HelloRole.JOIN: LinkRole.RELAY,
    HelloRole.CLIENT: LinkRole.CLIENT,
    HelloRole.FEEL: LinkRole.FELT,
}


class Proxying:
    """Admission of relay connections."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def on_hello(self, link: Link, hello: Hello) -> None:
        """An authenticated Hello(JOIN | CLIENT | FEEL) on a connection we accepted."""
        core = self.core
        core.attempts.greeted(link)
        may_found = core.founding.may_found_for_joiner()
        if hello.role in (HelloRole.JOIN, HelloRole.FEEL):
            core.bootstrapping.learn_peer(hello.endpoints, link)
            link.endpoint = hello.endpoints[0] if hello.endpoints else ""
        if not self._is_network():
            if not may_found:
                self._refuse(link, Refusal.NOT_CONNECTED, CloseCode.NOT_CONNECTED)
                return
            core.founding.found("the first to be asked, without contacts")
        role = ROLES[hello.role]
        small = len(core.table) < core.limits.clients_from_nodes
        if role is LinkRole.CLIENT and small:
            self._refuse(link, Refusal.NETWORK_TOO_SMALL, CloseCode.NOT_CONNECTED)
            return
        self._replace_older(link)
        if not self._has_room(link, role):
            self._refuse(link, Refusal.FULL, CloseCode.FULL)
            return
        self._admit(link, role)
        if role is LinkRole.RELAY:
            core.reachability.check(link, hello.endpoints)

    def _is_network(self) -> bool:
        core = self.core
        return core.founding.founder or core.detail >= Detail.CONNECTED

    def _admit(self, link: Link, role: LinkRole) -> None:
        core, limits = self.core, self.core.limits
        assert core.name is not None
        link.role = role
        link.admitted = True
        core.count(f"admitted.{role.name.lower()}")
        core.note(link.key, f"admitted as {role.name.lower()}")
        observed = host_of(link.connection.peer)
        core.send(link, FrameKind.ADMIT, Admit(core.name, observed, *core.throttling.begin(link)))
        subject = link.token.to_bytes(8, "big")
        if role is LinkRole.RELAY:
            core.alarm("relay", subject, limits.joiner_max_ns)
        elif role is LinkRole.FELT:
            core.alarm("relay", subject, 2 * limits.feeler_keep_ns)
        else:
            core.moving.on_returned(link)
            self.on_contacts_due(subject)

    def _refuse(self, link: Link, reason: Refusal, code: CloseCode) -> None:
        core = self.core
        core.count(f"refused.{reason.name.lower()}")
        core.note(link.key, f"refused: {reason.name}")
        contacts = core.bootstrapping.contacts_for_others()
        if link.endpoint:
            contacts = [contact for contact in contacts if contact != link.endpoint]
        core.send(link, FrameKind.REFUSE, Refuse(reason, core.founding.lowest, contacts))
        core.close(link, code, reason.name)

    def _replace_older(self, link: Link) -> None:
        """A key hangs on us once: the newer connection is the one it knows of."""
        for other in self.core.links_of(*ROLES.values()):
            if other.key == link.key and other is not link:
                self.core.close(other, CloseCode.REPLACED)
                self.on_lost(other)

    def _has_room(self, link: Link, role: LinkRole) -> bool:
        core, limits = self.core, self.core.limits
        hanging = core.links_of(*ROLES.values())
        if len(hanging) >= limits.relays_max:
            return False
        host = host_of(link.connection.peer)
        exempt = core.dials.is_exempt(host)
        if role is LinkRole.CLIENT:
            same = sum(
                1
                for other in hanging
                if other.role is role and host_of(other.connection.peer) == host
            )
            return exempt or same < limits.clients_per_address
        if role is not LinkRole.RELAY:
            return True
        joiners = [other for other in hanging if other.role is role]
        group = source_group(host)
        same = sum(1 for other in joiners if source_group(host_of(other.connection.peer)) == group)
        if not exempt and same >= limits.joiners_per_group:
            return False
        if len(joiners) < limits.joiners_max:
            return True
        return self._make_room(joiners, group)

    def _make_room(self, joiners: list[Link], group: str) -> bool:
        """Full: the oldest joiner of the largest source group goes, if ours is smaller by two."""
        core = self.core
        entries = [
            (other.token, source_group(host_of(other.connection.peer)), other.since)
            for other in joiners
        ]
        victim = choose_victim(entries, group)
        if victim is None:
            return False
        link = core.links[victim]
        core.count("joiner.displaced")
        self._refuse(link, Refusal.FULL, CloseCode.FULL)
        self.on_lost(link)
        return True

    def on_relay_timeout(self, subject: bytes) -> None:
        """Alarm: a joiner or feeler has hung on us for long enough."""
        link = self.core.links.get(int.from_bytes(subject, "big"))
        if link is not None and link.role in (LinkRole.RELAY, LinkRole.FELT):
            self.core.close(link, CloseCode.EXPIRED)

    def on_contacts_due(self, subject: bytes) -> None:
        """Alarm: a client is told whom else it may ask, so that it finds its way without us.

        It may hang on us until all that it was configured with are gone.
        """
        core = self.core
        link = core.links.get(int.from_bytes(subject, "big"))
        if link is None or link.role is not LinkRole.CLIENT:
            return
        core.alarm("contacts", subject, core.limits.refresh_interval_ns)
        contacts = core.bootstrapping.contacts_for_others()
        if contacts:
            core.send(link, FrameKind.CONTACTS, Contacts(contacts))

    def on_lost(self, link: Link) -> None:
        """One that hung on us is gone."""
        self.core.alarms.cancel(("relay", link.token.to_bytes(8, "big")))
        self.core.alarms.cancel(("contacts", link.token.to_bytes(8, "big")))
        self.core.reachability.on_hanger_lost(link)
        if link.role is LinkRole.CLIENT:
            self.core.moving.on_departed(link.key)

    def on_disconnected(self) -> None:
        """We have no network any more: those who hang on us are told where else to ask."""
        for link in self.core.links_of(*ROLES.values()):
            self._refuse(link, Refusal.NOT_CONNECTED, CloseCode.NOT_CONNECTED)
            self.on_lost(link)
