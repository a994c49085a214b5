"""How a node comes by its name: it asks the group of its client name, and members vote.

Name = SHA-256(prefix | client name | n1 | n2), n1 and n2 being the two names of that group nearest
to the client name. Members in another corner of the name space may not hold those two even at rest,
so from its second asking on the joiner proposes the nearest two that any vote named, and a member
that knows none nearer votes for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from routing import actions as do
from routing import events as told
from routing._filter import TimedFilter
from routing.bodies import NameVote, RequestName
from routing.certificates import certified_name, has_majority, is_valid
from routing.limits import ROUTES_MAX, SECOND
from routing.links import Arrival, Link
from routing.messages import (
    Address,
    Certificate,
    ClientAddress,
    GroupAddress,
    MessageKind,
    NodeAddress,
    SignedKind,
    Vote,
    decode,
    encode,
    signed_text,
    vote_body,
)
from routing.names import client_name, distance, nearest, short
from routing.registrar import Word
from routing.responding import is_own_reply_address

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Naming"]

JOINER_WINDOW_NS = 5 * SECOND
"""A member answers at most `joiners_max` keys within this."""


class Cast(Struct):
    """A vote received, with what it is for."""

    n1: bytes
    n2: bytes
    vote: Vote


class Naming:
    """Asking for a name, and voting on those of others."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.held: Certificate | None = None
        self.held_until = 0
        self.old_name = b""
        """The name held, to tell of a change."""
        self.asking = False
        self.tries = 0
        self.votes: dict[bytes, Cast] = {}
        """Voter's key -> its vote."""
        self.proposed: list[bytes] = []
        """The two names nearest to our client name that any vote named."""
        self.confirming = 0
        """Token of the feeler over which our present name is being confirmed."""
        self.served: TimedFilter[bytes, bool] = TimedFilter(
            JOINER_WINDOW_NS, capacity=4 * core.limits.joiners_max, clock=None
        )

    # -- the held name

    def hold(self, certificate: Certificate | None) -> None:
        """Hold a name from before this process; it is offered like one lost a moment ago."""
        core = self.core
        if certificate is None or core.client:
            return
        if is_valid(core.key, certificate, signer=core.signer, tag=core.tag):
            self.held = certificate
            self.old_name = certified_name(core.key, certificate)

    def on_begun(self) -> None:
        """The process begins: what it holds from before counts from now on."""
        if self.held is not None:
            self.held_until = self.core.now + self.core.limits.name_held_ns

    def hold_own(self) -> None:
        """We lost our last connection: the name is held, and we have none."""
        core = self.core
        self.stop_asking()
        if core.certificate is not None:
            self.held = core.certificate
            self.held_until = core.now + core.limits.name_held_ns
            self.old_name = core.name or b""
            core.drop_name()

    def take_held(self) -> Certificate | None:
        """Return the held certificate while it may still be offered."""
        return self.held if self.held is not None and self.core.now < self.held_until else None

    def keep(self) -> None:
        """Have the host keep the certificate with the identity."""
        if self.core.certificate is not None:
            self.core.act(do.KeepCertificate(encode(self.core.certificate)))

    # -- asking

    def begin(self) -> None:
        """A proxy has admitted us: ask for a name, or for the held one to be confirmed."""
        core = self.core
        self.asking = True
        self.tries = 0
        self.votes = {}
        self.proposed = []
        core.alarm("nameless", b"", core.limits.name_timeout_ns)
        self._ask(core.bootstrapping.proxy(), self.take_held())

    def confirm(self, link: Link) -> None:
        """Ask the network beyond a feeler to confirm the name we have."""
        self.confirming = link.token
        self.votes = {}
        self.proposed = []
        self._ask(link, self.core.certificate)

    def _ask(self, via: Link | None, held: Certificate | None) -> None:
        core = self.core
        if via is None:
            return
        self.tries += 1
        body = encode(RequestName(ClientAddress(via.name, core.key), held, self.proposed))
        to, route = GroupAddress(core.client_name), (self.tries - 1) % ROUTES_MAX
        core.relay.send(MessageKind.REQUEST_NAME, to, body, via=via, route=route)
        core.count("name.asked")
        if self.asking:
            core.alarm("name", b"", core.limits.name_retry_ns)

    def on_retry(self, _subject: bytes) -> None:
        """Alarm: too few votes agree; ask again, three times at most."""
        if self.asking and self.tries < self.core.limits.name_tries:
            self._propose()
            self.votes = {}
            self._ask(self.core.bootstrapping.proxy(), self.take_held())

    def _propose(self) -> None:
        """The votes differ: propose the nearest names among all that were named."""
        named = [name for cast in self.votes.values() for name in (cast.n1, cast.n2)]
        known = list(dict.fromkeys([*self.proposed, *named]))
        self.proposed = nearest(self.core.client_name, known, 2)

    def on_timeout(self, _subject: bytes) -> None:
        """Alarm: no name from this proxy."""
        if self.asking:
            self.stop_asking()
            self.core.count("name.timed_out")
            self.core.bootstrapping.give_up_proxy("no name in time; another contact is next")

    def stop_asking(self) -> None:
        """Give up asking."""
        self.asking = False
        self.votes = {}
        self.core.alarms.cancel(("name", b""))
        self.core.alarms.cancel(("nameless", b""))

    def on_vote(self, arrival: Arrival) -> None:
        """A member's vote: counted once for each key, decided by more than half of the group."""
        core, signed = self.core, arrival.signed
        vote = decode(NameVote, signed.body)
        confirming = bool(self.confirming) and self.confirming == arrival.token
        if vote is None or not (self.asking or confirming):
            core.count("vote.unasked")
            return
        text = signed_text(
            SignedKind.VOTE, core.tag, vote_body(core.key, vote.n1, vote.n2, vote.size)
        )
        if not isinstance(signed.source, NodeAddress) or not core.signer.verify(
            signed.key, text, vote.signature
        ):
            core.count("vote.forged")
            return
        if len(self.votes) < 4 * core.limits.group_list_max or signed.key in self.votes:
            self.votes[signed.key] = Cast(
                vote.n1, vote.n2, Vote(signed.key, vote.size, vote.signature)
            )
        self._decide(confirming)

    def _decide(self, confirming: bool) -> None:
        casts = list(self.votes.values())
        for cast in casts:
            same = [other.vote for other in casts if (other.n1, other.n2) == (cast.n1, cast.n2)]
            if has_majority(same[:8]):
                certificate = Certificate(cast.n1, cast.n2, same[:8])
                break
        else:
            return
        if confirming:
            self.confirming = 0
            self.votes = {}
            if certified_name(self.core.key, certificate) == self.core.name:
                self.core.feelers.on_name_confirmed()
            return
        self._take(certificate)

    def _take(self, certificate: Certificate) -> None:
        """The votes agree: that is our name."""
        core = self.core
        self.stop_asking()
        own = client_name(core.key)
        if (certificate.n1, certificate.n2) == (own, own):
            certificate = Certificate(own, own, [])
        core.take_name(certificate)
        assert core.name is not None
        if self.old_name and self.old_name != core.name:
            core.tell(told.Renamed(self.old_name, core.name, own=True))
        self.old_name = core.name
        self.held = None
        core.cause = f"named {short(core.name)}"
        core.count("name.taken")
        self.keep()
        core.registrar.on_named()
        core.membership.join()

    # -- voting

    def on_request(self, arrival: Arrival) -> None:
        """Somebody asks for a name: vote, if we are of the group of its client name."""
        core, signed = self.core, arrival.signed
        request = decode(RequestName, signed.body)
        if request is None or not is_own_reply_address(request.reply_to, signed):
            core.count("name_request.malformed")
            return
        if core.name is None or signed.key == core.key:
            return
        own = client_name(signed.key)
        group = core.table.group(own)
        if core.name not in group:
            core.count("name_request.not_ours")
            return
        if not self._serves(signed.key):
            core.count("name_request.busy")
            return
        present = core.table.name_of_key(signed.key)
        if present is not None:
            # Who asks is a new process: the one we are connected with answers, or is gone.
            core.suspects.displace(core.link_to(present))
        held = request.held
        if held is not None and self._confirms(signed.key, held):
            self._vote(signed.key, request.reply_to, held.n1, held.n2, len(group))
            return
        recorded = core.registrar.live_certificate(signed.key)
        if recorded is not None and request.proposed:
            recorded = core.rivals.settle(signed.key, recorded)
        if recorded is not None:
            # It has a name, whether it knows it or not: a key has no second one.
            core.count("vote.recorded")
            self._vote(signed.key, request.reply_to, recorded.n1, recorded.n2, len(group))
            return
        others = [name for name in group if name != present]
        if others:
            n1, n2 = _nearest_two(own, others, request.proposed)
            self._vote(signed.key, request.reply_to, n1, n2, len(group))

    def _serves(self, key: bytes) -> bool:
        """At most so many joiners at once; one that is being served is served on."""
        core = self.core
        self.served.expire(now=core.now)
        if self.served.get(key, now=core.now) is not None:
            return True
        if len(self.served.deadlines(now=core.now)) >= core.limits.joiners_max:
            return False
        self.served.insert(key, True, now=core.now)
        return True

    def _confirms(self, key: bytes, held: Certificate) -> bool:
        """Tell whether a held name is right; from now on it is the one we know of this key."""
        core = self.core
        if not is_valid(key, held, signer=core.signer, tag=core.tag):
            return False
        return core.registrar.record(key, held, Word.OWN, checked=True)

    def _vote(self, key: bytes, reply_to: Address, n1: bytes, n2: bytes, size: int) -> None:
        core = self.core
        text = signed_text(SignedKind.VOTE, core.tag, vote_body(key, n1, n2, size))
        body = encode(NameVote(n1, n2, size, core.signer.sign(text)))
        core.count("vote.given")
        core.relay.send(MessageKind.NAME_VOTE, reply_to, body)


def _nearest_two(target: bytes, held: list[bytes], proposed: list[bytes]) -> tuple[bytes, bytes]:
    """Return n1 and n2: those proposed if we hold none nearer than either, else those we hold."""
    ours = (held[0], held[1] if len(held) > 1 else held[0])
    if len(proposed) != 2:
        return ours
    n1, n2 = nearest(target, proposed, 2)
    if distance(target, n1) <= distance(target, ours[0]) and (
        ours[1] == ours[0] or distance(target, n2) <= distance(target, ours[1])
    ):
        return n1, n2
    return ours
