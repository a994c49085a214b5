"""Can a node be dialled? What a proxy finds out for those who join, and who believes it.

The proxy dials a joiner back, at the address it sees it come from and at no other, and tells it yes
or no. A joiner believes a no only where nothing speaks against it: two proxies in a row say so and
nobody has dialled it meanwhile. Then it stops or goes on as a client, as its user wished; a node of
a relaxed network may go on as it is. Attempts to connect are weighed elsewhere.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing import actions as do
from routing.admission import Rate
from routing.dials import Purpose
from routing.endpoints import Endpoint, select
from routing.errors import CloseCode, DialFailure, UsageError
from routing.events import NotReachable
from routing.limits import SECOND
from routing.links import Link, host_of
from routing.messages import FrameKind, Reachable
from routing.state import LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Reachability", "ReachabilityMemory", "Unreachable"]

PROXIES_BELIEVED: Final = 2
"""One alone may lie, or be behind a firewall of its own."""

UNSURE: Final = (DialFailure.BLOCKED, DialFailure.CANCELLED, DialFailure.NO_DESCRIPTORS)
"""Dials that came to nothing for a reason of our own: they say nothing about the joiner."""


class Unreachable(StrEnum):
    """What a node does that nobody can dial."""

    ERROR = "error"
    """It stops."""
    CLIENT = "client"
    """It goes on as a client, for the rest of its life."""
    NODE = "node"
    """It goes on as a node: in a relaxed network others can be connected with it all the same."""


class ReachabilityMemory(Struct):
    """The state of a `Reachability`."""

    rate: list[tuple[bytes, tuple[int, ...]]]
    said: list[str]
    judged: int
    doubts: int
    doubted_since: int
    doubter: bytes
    elsewhere: bool
    reached: bool


class Reachability:
    """Both halves: the proxy that dials back, and the joiner that is told."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.rate = Rate(core.limits.attempts_per_key_per_minute, 60 * SECOND)
        """Proxy: checks by the key of the joiner."""
        self.said: list[str] = []
        """Joiner: the endpoints that our last Hello named."""
        self.judged = 0
        """Joiner: the token of the bootstrap connection on which we were told last."""
        self.doubts = 0
        """Joiner: proxies in a row that could not dial us."""
        self.doubted_since = 0
        self.doubter = b""
        """Joiner: the key of the first of them."""
        self.elsewhere = False
        """Joiner: somebody else has admitted us since."""
        self.reached = False
        """Joiner: a peer has dialled us since this process began."""

    def export(self) -> ReachabilityMemory:
        """Return the whole state."""
        rate = [(key, grants) for key, grants in self.rate.snapshot() if isinstance(key, bytes)]
        return ReachabilityMemory(
            rate,
            self.said,
            self.judged,
            self.doubts,
            self.doubted_since,
            self.doubter,
            self.elsewhere,
            self.reached,
        )

    def load(self, memory: ReachabilityMemory) -> None:
        """Become what `export` returned."""
        self.rate.load([*memory.rate])
        for name in ("said", "judged", "doubts", "doubted_since"):
            setattr(self, name, getattr(memory, name))
        for name in ("doubter", "elsewhere", "reached"):
            setattr(self, name, getattr(memory, name))

    # -- the proxy

    def check(self, link: Link, listed: list[str]) -> None:
        """A joiner has been admitted: dial what it advertises at the address it comes from.

        Nothing is said where we cannot tell: a budget is used up, or the network is exempt.
        """
        core, limits = self.core, self.core.limits
        source = _canonical(host_of(link.connection.peer))
        if not source or core.dials.is_exempt(source):
            return
        if not self.rate.allow(link.key, core.now):
            core.count("reachability.budget")
            return
        # We may dial into the network by which the joiner came, whatever we advertise ourselves.
        local = _canonical(host_of(link.connection.local))
        own = core.addresses.own(link) + ([Endpoint(local, 1)] if local else [])
        allowed, _ = select(listed, own, low_ports=limits.low_ports)
        targets = [str(endpoint) for endpoint in allowed if endpoint.host == source]
        subject = _subject(link)
        if not targets:
            core.count("reachability.no_endpoint")
            self._tell(subject, reachable=False)
            return
        core.count("reachability.checked")
        core.alarm("reach", subject, limits.reachable_ns)
        targets = targets[: limits.endpoints_tried]
        core.dials.start(Purpose.CHECK, subject, targets, expect=link.key)

    def on_dialled(self, subject: bytes, link: Link) -> None:
        """The joiner answers where it says, with its own key: that is all we wanted to know."""
        self.core.close(link, CloseCode.NORMAL, "you can be dialled")
        self._tell(subject, reachable=True)

    def on_dials_failed(self, subject: bytes, reason: DialFailure) -> None:
        """No dial came through; the joiner is told when the time has run out in full.

        A quick no would tell a refused port from a silent one, perhaps of somebody else who shares
        the joiner's address.
        """
        if reason in UNSURE:
            self.core.count("reachability.unsure")
            self.core.alarms.cancel(("reach", subject))

    def on_timeout(self, subject: bytes) -> None:
        """Alarm: the joiner could not be dialled in time."""
        self.core.dials.cancel(Purpose.CHECK, subject)
        self._tell(subject, reachable=False)

    def on_hanger_lost(self, link: Link) -> None:
        """One that hung on us has gone: nobody wants to know any more."""
        subject = _subject(link)
        if ("reach", subject) in self.core.alarms:
            self.core.alarms.cancel(("reach", subject))
            self.core.dials.cancel(Purpose.CHECK, subject)

    def _tell(self, subject: bytes, *, reachable: bool) -> None:
        core = self.core
        core.alarms.cancel(("reach", subject))
        link = core.links.get(int.from_bytes(subject, "big"))
        if link is None or link.role is not LinkRole.RELAY:
            core.count("reachability.gone")
            return
        core.note(link.key, "can be dialled" if reachable else "cannot be dialled from here")
        core.send(link, FrameKind.REACHABLE, Reachable(reachable))

    # -- the joiner

    def on_hello_said(self) -> None:
        """A contact is about to be told where we can be dialled."""
        self.said = list(self.core.endpoints)

    def on_reached(self) -> None:
        """A peer has dialled us and is consolidated: what proxies said before is void."""
        self.reached = True
        self.doubts = 0

    def on_admitted(self, link: Link) -> None:
        """A proxy has admitted us, which may know better than the last."""
        self.elsewhere = self.elsewhere or link.key != self.doubter

    def on_told(self, link: Link, told: Reachable) -> None:
        """A proxy's verdict, once on a bootstrap connection."""
        core = self.core
        self.judged = link.token
        if told.reachable:
            self.doubts = 0
            core.note(link.key, "it can dial us")
            return
        core.note(link.key, "it cannot dial us")
        if len(core.table):
            core.count("reachability.disbelieved")
        elif core.config.unreachable is Unreachable.NODE:
            core.tell(NotReachable(tuple(core.endpoints)))
        elif self.said != core.endpoints:
            # It has itself shown us where we come from: the next one will be told of that too.
            core.count("reachability.outdated")
            core.bootstrapping.give_up_proxy("the proxy cannot dial us where we thought we were")
        else:
            self._doubt(link)

    def _doubt(self, link: Link) -> None:
        core = self.core
        if not self.doubts:
            self.doubted_since, self.doubter, self.elsewhere = core.now, link.key, False
        elif self.elsewhere and link.key == self.doubter:
            # Where others admit us too, one who says it again is still the only one who says it.
            core.count("reachability.said_again")
            core.bootstrapping.give_up_proxy("the proxy cannot dial us; another is asked")
            return
        self.doubts = min(self.doubts + 1, PROXIES_BELIEVED)
        needed = core.limits.unreachable_after_ns if self.reached else 0
        if self.doubts < PROXIES_BELIEVED or core.now - self.doubted_since < needed:
            core.count("reachability.doubted")
            core.bootstrapping.give_up_proxy("the proxy cannot dial us; another is asked")
            return
        core.count("reachability.believed")
        core.tell(NotReachable(tuple(core.endpoints)))
        if core.config.unreachable is Unreachable.CLIENT:
            self._go_on_as_client()
        else:
            core.stop("nobody can dial us")

    def _go_on_as_client(self) -> None:
        """Listen no more and have no name; the key stays. The next round looks for a proxy."""
        core = self.core
        core.client = True
        core.addresses.on_listening([])
        core.act(do.Unlisten())
        core.cause = "nobody can dial us; going on as a client"
        core.bootstrapping.let_go(CloseCode.NORMAL)


def _subject(link: Link) -> bytes:
    return link.token.to_bytes(8, "big")


def _canonical(host: str) -> str:
    """Return an IP in its one spelling, IPv4-mapped as IPv4; empty for what is no IP."""
    try:
        return Endpoint(host, 1).host
    except UsageError:
        return ""
