"""Peers that may have died in silence: asked when they are used, and avoided until they are heard.

A connection is closed as silent after 45 s; until then a dead machine swallows whatever is passed
on to it. So a peer that nothing was heard of for some seconds gets a Ping along with what we pass
on, and one that does not answer it in time is no next hop while there is another. Who is merely
slow is believed again with the first frame that comes; closed is only who is silent while another
key listens in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routing.errors import CloseCode
from routing.links import Link
from routing.messages import FrameKind, Ping
from routing.state import LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Suspects"]


class Suspects:
    """What is doubted of the consolidated connections of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.names: list[bytes] = []
        """Peers that did not answer, in the order of their silence."""

    def on_use(self, link: Link) -> None:
        """Something is passed on over this connection: ask who has been quiet for too long."""
        core = self.core
        quiet = core.now - max(link.heard, link.since)
        if quiet >= core.limits.quiet_ns and link.role is LinkRole.CONSOLIDATED:
            self.ask(link)

    def ask(self, link: Link) -> None:
        """Have a peer say that it lives; one question at a time."""
        core = self.core
        subject = link.token.to_bytes(8, "big")
        if link.name in self.names or ("suspect", subject) in core.alarms:
            return
        if not link.asked:
            link.asked = core.dice.bytes(8)
            core.send(link, FrameKind.PING, Ping(link.asked))
        core.alarm("suspect", subject, core.limits.suspect_ns)

    def displace(self, link: Link) -> None:
        """Another key was reached where this peer listens: it answers now, or is closed."""
        self.core.count("suspect.displaced")
        link.displaced = True
        if link.name in self.names:
            self._close(link)
        else:
            self.ask(link)

    def _close(self, link: Link) -> None:
        core = self.core
        core.note(link.name, "did not answer, and another key listens where it did")
        core.peers.let_go(link, CloseCode.SILENT)

    def on_pong(self, link: Link, nonce: bytes) -> bool:
        """A Pong has come, which clears like any other frame; tell whether we asked for it."""
        if link.asked != nonce:
            return False
        link.asked = b""
        return True

    def on_heard(self, link: Link) -> None:
        """A frame has come: whoever sent it lives."""
        core = self.core
        link.heard = core.now
        if link.name in self.names:
            self.names.remove(link.name)
            core.count("suspect.cleared")

    def on_timeout(self, subject: bytes) -> None:
        """Alarm: asked some time ago; suspected if nothing has come since."""
        core = self.core
        link = core.links.get(int.from_bytes(subject, "big"))
        if link is None or link.role is not LinkRole.CONSOLIDATED:
            return
        displaced, link.displaced = link.displaced, False
        if core.now - link.heard <= core.limits.suspect_ns:
            return
        if displaced:
            self._close(link)
        elif link.name not in self.names:
            self.names.append(link.name)
            core.count("suspect.silent")
            core.note(link.name, "did not answer; passed by while there is another way")

    def on_peer_down(self, link: Link) -> None:
        """The connection is no more."""
        self.core.alarms.cancel(("suspect", link.token.to_bytes(8, "big")))
        if link.name in self.names:
            self.names.remove(link.name)
