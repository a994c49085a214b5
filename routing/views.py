"""What people see of a node: its peers as records, its events as log lines; nothing is changed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from routing import events as told
from routing.core import Core
from routing.events import Event
from routing.names import Name, short
from routing.state import Connection, Direction
from routing.talk import Talk

__all__ = ["Peer", "log_event", "peers_of"]

NEARLY_ALL = 0.9
"""Of the descriptors: from there on it is a warning."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody we route to: a table entry, or a client's proxy."""

    name: Name
    key: bytes
    connection: Connection
    one_way: bool = False
    """Only one of the two can dial the other; both are relaxed."""

    @property
    def direction(self) -> Direction:
        """Who dialled the connection that survived."""
        return self.connection.direction


def peers_of(core: Core) -> list[Peer]:
    """Return the peers of a node, nearest first; of a client, its proxy."""
    if core.client:
        proxy = core.bootstrapping.proxy()
        return [] if proxy is None else [Peer(Name(proxy.name), proxy.key, proxy.connection)]
    links = [core.link_to(name) for name in core.table.names()]
    return [Peer(Name(link.name), link.key, link.connection, link.one_way) for link in links]


def log_event(talk: Talk, event: Event, now: int) -> None:
    """Write the line of an event, if it has one."""
    match event:
        case told.StateChanged(new=new, cause=cause):
            talk.say(logging.INFO, "%s: %s", new, cause)
        case told.Founded(name=name):
            talk.say(logging.INFO, "founded a network as %s", short(name))
        case told.BootstrapFinished(round=number, outcome=outcome):
            talk.say(logging.DEBUG, "bootstrap round %d: %s", number, outcome.name)
        case told.PeerUp(name=name, direction=direction, one_way=one_way):
            ways = ", one way" if one_way else ""
            talk.of_peer(logging.INFO, name, now, "up, %s%s", direction.name.lower(), ways)
        case told.PeerDown(name=name, code=code):
            talk.of_peer(logging.INFO, name, now, "down: %s", code.name)
        case told.ConnectFailed(name=name, outcome=outcome):
            talk.of_peer(logging.DEBUG, name, now, "not connected: %s", outcome.name)
        case told.Renamed(old=old, new=new, own=own):
            who = "we are" if own else "peer is"
            talk.of_peer(logging.INFO, new, now, "is new: %s %s no longer", who, short(old))
        case told.NotReachable(endpoints=endpoints):
            talk.say(logging.WARNING, "nobody can dial us at %s", ", ".join(endpoints))
        case told.DescriptorsShort(used=used, limit=limit):
            # Told at start, too, where the system allows fewer than the limits; that is no alarm.
            level = logging.WARNING if used >= limit * NEARLY_ALL else logging.INFO
            talk.say(level, "%d of %d descriptors are taken", used, limit)
        case told.ListenerFailed(endpoint=endpoint, reason=reason):
            talk.say(logging.ERROR, "listening on %s failed: %s", endpoint, reason)
        case _:
            return
