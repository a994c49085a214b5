"""Feeling for more network than we know: one short dial a minute to a contact outside the table.

So partitions, and networks founded apart, find each other. A feeler moves no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routing.admission import Rate
from routing.dials import Purpose
from routing.endpoints import parse
from routing.errors import CloseCode, DialFailure
from routing.limits import SECOND
from routing.links import Link
from routing.messages import Admit, Contacts, FrameKind, HelloRole, Refuse
from routing.names import short
from routing.state import Detail, LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Feelers"]

LOST_MAX = 16
HINTS_MAX = 8
AFTER_JOIN = 2
"""Feelers sent out right after joining."""


class Feelers:
    """The feelers of one core, one at a time."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.token = 0
        """The feeler that is up; 0 while there is none."""
        self.dialling = False
        self.kept = False
        """It brought news and serves as a proxy to the other side."""
        self.won: list[bytes] = []
        """Names tried through the feeler that is, or was last."""
        self.lost: list[str] = []
        self.hints: list[str] = []
        self.hinted_at = -1
        self.turn = 0
        self.burst = 0
        self.rate = Rate(core.limits.feelers_per_minute, 60 * SECOND)

    # -- when

    def on_connected(self) -> None:
        """CONNECTED: feel from time to time."""
        self._schedule()

    def on_founded(self) -> None:
        """A founder feels for other founders."""
        self._schedule()

    def on_joined(self) -> None:
        """Right after joining: through two other contacts, if we know any."""
        core = self.core
        self.burst = AFTER_JOIN
        core.alarm("feel", b"", core.dice.between(1, 2 * core.limits.repair_gather_ns))

    def _schedule(self) -> None:
        core = self.core
        if self.burst > 0:
            self.burst -= 1
            delay = core.dice.between(1, 4 * core.limits.repair_gather_ns)
        else:
            delay = core.dice.around(core.limits.feeler_interval_ns, 50)
        core.alarm("feel", b"", delay)

    def _feels(self) -> bool:
        core = self.core
        return not core.client and (core.founding.founder or core.detail >= Detail.CONNECTED)

    def hint(self, endpoint: str) -> None:
        """A contact worth feeling at next (the user names it, or a neighbour's news)."""
        if endpoint not in self.hints:
            self.hints = [*self.hints, endpoint][-HINTS_MAX:]
        if self._feels() and not self.token and not self.dialling:
            self.core.alarm("feel", b"", 1)

    def on_hint(self, link: Link, contacts: Contacts) -> None:
        """A table entry tells of a peer won beyond a partition, a proxy of whom else to ask."""
        core, limits = self.core, self.core.limits
        ours = core.peers.endpoint_set()
        for endpoint in core.bootstrapping.learn_peer(contacts.endpoints, link):
            if endpoint in ours:
                continue
            quiet = self.hinted_at < 0 or core.now - self.hinted_at >= limits.feeler_hint_quiet_ns
            if quiet and self._feels():
                self.hinted_at = core.now
                self.hints = [endpoint, *self.hints][:HINTS_MAX]
                core.note(link.name, f"told us of {endpoint}; feeling there next")
                core.alarm("feel", b"", core.dice.between(1, limits.feeler_hint_jitter_ns))

    def remember_lost(self, endpoints: list[str]) -> None:
        """Where a lost peer was: it may be the way back to its side of a partition."""
        for endpoint in endpoints[:1]:
            if endpoint not in self.lost:
                self.lost = [*self.lost, endpoint][-LOST_MAX:]

    # -- one feeler

    def on_due(self, _subject: bytes) -> None:
        """Alarm: feel, unless a feeler is out or the minute's dials are used up."""
        core = self.core
        if not self._feels():
            return
        self._schedule()
        if self.token or self.dialling:
            return
        contact = self._choose()
        if contact is None:
            return
        if not self.rate.allow(b"feel", core.now):
            core.count("feeler.rate")
            return
        core.count("feeler.started")
        self.dialling = True
        core.dials.start(Purpose.FEELER, b"", [contact])

    def _choose(self) -> str | None:
        """The next contact outside the table: a hint, else each source in turn."""
        core = self.core
        ours = core.peers.endpoint_set()

        def outside(listed: list[str]) -> list[str]:
            return [c for c in listed if c not in ours and c not in core.endpoints]

        while self.hints:
            hint = self.hints.pop(0)
            if outside([hint]):
                return hint
        ready = [str(endpoint) for endpoint in core.book.candidates(core.now)]
        anchors = [str(endpoint) for endpoint in core.book.anchors()]
        sources = [
            outside(core.bootstrapping.configured),
            outside(anchors),
            outside(self.lost),
            outside(ready),
        ]
        for _ in sources:
            listed = sources[self.turn % len(sources)]
            self.turn += 1
            if listed:
                return core.dice.choice(listed)
        return None

    def on_dials_failed(self, reason: DialFailure) -> None:
        """The contact cannot be dialled."""
        self.dialling = False
        self.core.count(f"feeler.failed.{reason.name.lower()}")

    def on_dialled(self, link: Link) -> None:
        """The contact answers: unless it is a peer of ours already, say Hello(FEEL)."""
        core = self.core
        self.dialling = False
        if link.key == core.key or core.table.name_of_key(link.key) is not None:
            core.close(link, CloseCode.NORMAL, "connected already")
            return
        link.role = LinkRole.FEELER
        self.token = link.token
        self.kept = False
        self.won = []
        core.connecting.say_hello(link, HelloRole.FEEL)
        core.alarm("felt", b"", core.limits.feeler_ask_ns)

    def on_admit(self, link: Link, admit: Admit) -> None:
        """Admitted: ask it who is nearest to our own name."""
        core = self.core
        link.admitted = True
        link.name = admit.name
        core.book.proved(parse(link.endpoint), core.now)
        assert core.name is not None
        if core.name in core.membership.finds:
            core.alarms.cancel(("find", core.name))
            del core.membership.finds[core.name]
        core.membership.find(core.name, via=link)

    def on_refuse(self, link: Link, refuse: Refuse) -> None:
        """Refused: both note each other as contacts."""
        self.core.bootstrapping.learn_peer(refuse.contacts, link)
        self._end(link)

    def is_feeler(self, token: int) -> bool:
        """Tell whether a find went through the feeler that is up."""
        return token != 0 and token == self.token

    def on_group(self, names: list[bytes], teller: bytes) -> None:
        """The answer: does it hold a node that belongs to us?"""
        core = self.core
        link = core.links.get(self.token)
        if link is None:
            return
        before = {attempt.name for attempt in core.attempts.live()}
        if not core.membership.consider(names, teller, via=link):
            core.count("feeler.nothing_new")
            self._end(link)
            return
        self.kept = True
        self.won = [a.name for a in core.attempts.live() if a.name not in before]
        core.count("feeler.news")
        core.note(core.key, f"feeler at {short(link.name)} found {len(self.won)} new nodes")
        core.alarm("felt", b"", core.limits.feeler_keep_ns)
        core.naming.confirm(link)

    def on_unanswered(self, token: int) -> None:
        """The question over the feeler stayed unanswered."""
        link = self.core.links.get(token)
        if link is not None and self.is_feeler(token):
            self._end(link)

    def on_attempt_ended(self) -> None:
        """Once every attempt through it has ended, and the name is confirmed, it has served."""
        core = self.core
        link = core.links.get(self.token)
        if link is None or not self.kept or core.naming.confirming == self.token:
            return
        if not any(attempt.via == self.token for attempt in core.attempts.live()):
            self._end(link)

    def on_timeout(self, _subject: bytes) -> None:
        """Alarm: long enough."""
        link = self.core.links.get(self.token)
        if link is not None:
            self._end(link)

    def on_lost(self, link: Link) -> None:
        """The feeler's connection is gone."""
        if link.token == self.token:
            self._forget()

    def _end(self, link: Link) -> None:
        self._forget()
        self.core.close(link, CloseCode.NORMAL)

    def _forget(self) -> None:
        core = self.core
        core.alarms.cancel(("felt", b""))
        if core.naming.confirming == self.token:
            core.naming.confirming = 0
        self.token = 0
        self.kept = False

    # -- news

    def on_name_confirmed(self) -> None:
        """Our name holds on the other side too: soon the neighbours hear of it."""
        core = self.core
        core.count("feeler.name_confirmed")
        core.alarm("news", b"", core.limits.feeler_news_delay_ns)
        self.on_attempt_ended()

    def on_news(self, _subject: bytes) -> None:
        """Alarm: every older table entry gets one peer won by the feeler, as a contact."""
        core = self.core
        won = [name for name in self.won if name in core.table]
        listed = [core.peers.endpoints.get(name, []) for name in won]
        ways = [endpoints for endpoints in listed if endpoints]
        if not ways:
            return
        for name in core.table.names():
            if name not in won:
                contacts = Contacts(core.dice.choice(ways)[:1])
                core.send(core.link_to(name), FrameKind.CONTACTS, contacts)
        core.count("feeler.news_told")

    def on_disconnected(self) -> None:
        """A feeler does not keep a node connected."""
        core = self.core
        core.dials.cancel(Purpose.FEELER, b"")
        self.dialling = False
        for link in core.links_of(LinkRole.FEELER):
            self._end(link)
        core.alarms.cancel(("feel", b""))
        core.alarms.cancel(("news", b""))
