"""What a host may pass on from peer to peer without asking the core, and what it must know for it.

The core stays the authority: a host decides only of messages for others, by the table and by the
relay's own memory of repeats, and only as the relay would. This says how things stand, and takes
into account what has been passed on. It sends nothing and decides nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from routing.limits import Nanos
from routing.repeats import Window
from routing.state import LinkRole, Token

if TYPE_CHECKING:
    from routing._filter import MessageFilter
    from routing._tape import Tape
    from routing.core import Core
    from routing.inputs import Heard
    from routing.table import RoutingTable

__all__ = ["Entry", "Grant", "Passing", "View"]


class Entry(NamedTuple):
    """A peer that messages go on to."""

    name: bytes
    token: Token
    """0 if messages to it are the core's business alone."""
    heard: int
    """Since when nothing was heard of it, nanoseconds."""
    doubted: bool
    """It may be dead, and others are tried before it."""


class View(NamedTuple):
    """How things stand; good for as long as `Passing.is_as` says so."""

    table: RoutingTable
    changes: int
    doubted: list[bytes]
    own: bytes
    entries: list[Entry]


class Grant(NamedTuple):
    """What of one connection may be passed on: what shows repeats of them."""

    window: Window
    """Its filter takes the digest of each that is new."""
    others: tuple[MessageFilter, ...]
    """A digest in one of these is no news."""
    most: int
    gone: int
    """See `Window.gone_by`."""
    now: int


class Passing:
    """What is passed on for others beside the core."""

    tap: Tape | None = None
    """Is told of everything that happens here and changes the core without being a fact."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.secret = core.filter_secret
        """Keys the digests of what is passed on."""
        self.key = core.key
        """Messages for a client of this key are for us."""

    def view(self) -> View:
        """Return how things stand; the own name is our client name while we have no other."""
        core, table = self.core, self.core.table
        doubted = list(core.suspects.names)
        entries = []
        for name in table.names():
            link = core.link_to(name)
            usual = link.role is LinkRole.CONSOLIDATED and link.allowance is None
            token = link.token if usual else Token(0)
            entries.append(Entry(name, token, self.heard(link.token), name in doubted))
        return View(table, table.changes, doubted, table.own, entries)

    def is_as(self, view: View) -> bool:
        """Tell whether things stand as they did."""
        core = self.core
        return (
            core.table is view.table
            and core.table.changes == view.changes
            and core.suspects.names == view.doubted
        )

    def heard(self, token: int) -> int:
        """Return since when nothing was heard on a connection, nanoseconds; 0 if it is closed.

        Of one that is being asked whether it lives: so that it is quiet again when that is decided.
        """
        core, link = self.core, self.core.links.get(token)
        if link is None:
            return 0
        due = core.alarms.at(("suspect", token.to_bytes(8, "big")))
        return max(link.heard, link.since, 0 if due is None else due - core.limits.quiet_ns)

    def hear(self, token: int, now: Nanos) -> bool:
        """Take in that something has come, where it changes nothing else; else False, and nothing.

        What `Heard` would do as long as nothing is due and the sender not suspected.
        """
        core = self.core
        due, link = core.next_deadline(), core.links.get(token)
        if core.stopped or link is None or link.name in core.suspects.names:
            return False
        if due is not None and due <= now:
            return False
        core.now = max(core.now, now)
        link.heard = core.now
        if self.tap is not None:
            self.tap.heard(token, now)
        return True

    def on_heard(self, fact: Heard) -> None:
        """Whoever sends something to be passed on lives."""
        link = self.core.links.get(fact.token)
        if link is None:
            self.core.count("frame.dead_token")
            return
        self.core.suspects.on_heard(link)

    def grant(self, token: int) -> Grant:
        """Return what may be passed on of what comes over a connection, until anything else."""
        now = self.core.now
        window, others, most = self.core.relay.seen.grant(token, now)
        return Grant(window, others, most, window.gone_by(now), now)

    def took(
        self, token: int, grant: Grant, *, at: int, entered: int, passed: int, repeats: int
    ) -> None:
        """Take into account what was done with a grant.

        Args:
            token: The connection it came over.
            grant: The last one given.
            at: When it was used.
            entered: How many digests are in its window that were not.
            passed: How many messages went on.
            repeats: How many were dropped, having been passed on before.
        """
        if self.tap is not None:
            self.tap.passed(token, at)
        if entered:
            grant.window.took(token, entered, gone=grant.gone, now=grant.now)
        if passed:
            self.core.journal.count("routed.forwarded", passed)
        if repeats:
            self.core.journal.count("routed.duplicate", repeats)

    def again(self, token: int, now: int, digests: list[bytes]) -> None:
        """Do once more what a recording says was done with a grant; its digests are in order."""
        grant = self.grant(token)
        entered = 0
        for digest in digests:
            if any(other.contains(digest, now) for other in grant.others):
                continue
            entered += grant.window.filter.insert(digest, now)
        repeats = len(digests) - entered
        self.took(token, grant, at=now, entered=entered, passed=entered, repeats=repeats)
