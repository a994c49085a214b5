"""Before we dial for a key that is new to us: do those who answer for it know it by this name?

Two questions, by different first hops, find out who answers for the key; of those that both answers
agree on, more than half must vouch for the name. A peer is asked over our own connection: the
channel says who answers, and nobody has to sign. What is known so is remembered for a while, and so
is whom we were connected with. With fewer than 8 peers arithmetic suffices: there is no group to
ask. What those who are asked look at is in `registrar`.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final

from routing._filter import TimedFilter
from routing.admission import choose_victim
from routing.bodies import ConnectRequest, FindGroup, GroupIs, Vouch, Vouched
from routing.endpoints import source_group
from routing.hops import RoundTrip
from routing.inquiries import ROUNDS, Inquiry, VouchingMemory
from routing.limits import GROUP_SIZE, ROUTES_MAX
from routing.links import Arrival, Link, host_of
from routing.messages import (
    Certificate,
    FrameKind,
    GroupAddress,
    IsName,
    MessageKind,
    NameIs,
    NodeAddress,
    ViaAddress,
    decode,
    encode,
)
from routing.names import client_name, distance, nearest

if TYPE_CHECKING:
    from routing.attempts import Attempt
    from routing.core import Core

__all__ = ["Vouching"]

VIEWS: Final = 2
"""Answers about who the group is that must agree, each by a first hop of its own."""


SPARE: Final = 1
"""Members asked beyond those that are missing, once the first that were asked have not answered."""


PATIENCE_MAX: Final = 4
"""Where answers are known to take long they are waited for so many times as long, at most."""


class Vouching:
    """Inquiries of one core, and the names it need not ask about."""

    def __init__(self, core: Core) -> None:
        self.core = core
        limits = core.limits
        self.open: dict[bytes, Inquiry] = {}
        """Key and name -> what is being found out; the oldest first."""
        self.trusted: TimedFilter[bytes, bool] = TimedFilter(
            limits.vouched_ns, capacity=limits.vouched_max, clock=None
        )
        self.usual = RoundTrip()
        """How long an answer takes."""

    # -- what needs no asking

    def is_known(self, key: bytes, name: bytes) -> bool:
        """Tell whether this name of a key may be dialled for without asking anybody."""
        core = self.core
        if core.table.name_of_key(key) == name:
            return True
        if self.trusted.contains(key + name, now=core.now):
            core.count("vouch.remembered")
            return True
        if len(core.table) < GROUP_SIZE:
            core.count("vouch.arithmetic")
            return True
        return False

    def trust(self, key: bytes, name: bytes) -> None:
        """This name of a key was vouched for, or we were connected with it until now."""
        now = self.core.now
        self.trusted.insert(key + name, True, now=now)
        self.trusted.expire(now=now)

    # -- beginning

    def holds(self, attempt: bytes) -> bool:
        """Tell whether a request of this attempt waits here."""
        return any(each.theirs == attempt for each in self.open.values())

    def expects(self, name: bytes) -> bool:
        """Tell whether a request of this name waits here: its attempt will be answered."""
        return any(each.name == name and each.request for each in self.open.values())

    def waiting(self, key: bytes, name: bytes) -> Arrival | None:
        """Return the request that waits until this name of a key is vouched for."""
        inquiry = self.open.get(key + name)
        return None if inquiry is None else inquiry.request

    def ask_for_attempt(self, attempt: Attempt, certificate: Certificate) -> None:
        """Find out before the secondary of an attempt of ours is dialled."""
        self._inquiry(attempt.key, attempt.name, certificate).attempt = attempt.id

    def ask_for_request(
        self, arrival: Arrival, request: ConnectRequest, name: bytes, endpoint: str
    ) -> bool:
        """Find out before the primary of a request is dialled; False if there is no room for it.

        A later request of the same key takes the place of an earlier one.
        """
        key = arrival.signed.key
        source = source_group(host_of(endpoint))
        if key + name not in self.open and not self._make_room(source):
            self.core.count("vouch.no_room")
            return False
        inquiry = self._inquiry(key, name, request.certificate)
        inquiry.theirs, inquiry.request, inquiry.source = request.attempt, arrival, source
        return True

    def _make_room(self, newcomer: str) -> bool:
        """Fair by where we are to dial: a crowd from one network does not keep others waiting."""
        waiting = [each for each in self.open.values() if each.request is not None]
        if len(waiting) < self.core.limits.vouches_max:
            return True
        entries = [(rank, each.source, each.since) for rank, each in enumerate(waiting)]
        victim = choose_victim(entries, newcomer)
        if victim is None:
            return False
        self.core.count("vouch.displaced")
        self._give_up_request(waiting[victim])
        return True

    def _give_up_request(self, inquiry: Inquiry) -> None:
        arrival, inquiry.request, inquiry.theirs = inquiry.request, None, b""
        if not inquiry.attempt:
            self._end(inquiry)
        if arrival is not None:
            self.core.connecting.responding.on_no_room(arrival)

    def _inquiry(self, key: bytes, name: bytes, certificate: Certificate) -> Inquiry:
        core = self.core
        inquiry = self.open.get(key + name)
        if inquiry is None:
            inquiry = self.open[key + name] = Inquiry(key, name, certificate, core.now)
            core.count("vouch.begun")
            core.note(name, "asking who vouches for this name")
            self._next(inquiry)
        return inquiry

    # -- asking

    def on_due(self, subject: bytes) -> None:
        """Alarm: too few have answered; ask those once more, by other ways, or give up."""
        inquiry = self.open.get(subject)
        if inquiry is None:
            return
        if len(self.core.table) < GROUP_SIZE:
            self.core.count("vouch.arithmetic")
            self._decide(inquiry, vouched=True)
        else:
            self._next(inquiry)

    def _next(self, inquiry: Inquiry) -> None:
        core, limits = self.core, self.core.limits
        rest = inquiry.since + limits.vouch_tries * limits.vouch_retry_ns - core.now
        if rest <= 0 or core.name is None:
            self._decide(inquiry, vouched=False)
            return
        inquiry.tries += 1
        core.alarm("vouch", inquiry.key + inquiry.name, min(rest, self._patience()))
        if inquiry.members:
            inquiry.rounds += 1
            self._ask_silent(inquiry)
            if inquiry.rounds == ROUNDS:
                inquiry.views = {}
        if not inquiry.settled:
            self._look_up(inquiry)

    def _patience(self) -> int:
        """Return how long to wait for answers: where they take long, repeats would delay them."""
        low = self.core.limits.vouch_retry_ns
        return min(max(low, self.usual.average + 4 * self.usual.deviation), PATIENCE_MAX * low)

    def _look_up(self, inquiry: Inquiry) -> None:
        """Find out who answers for the key; nobody need be asked where we know it exactly.

        We may be wrong about that as long as our own close group lacks somebody, perhaps the very
        one that we ask about: once those we know have not vouched, others are asked who it is.
        """
        group = self.core.groups.known(client_name(inquiry.key))
        if inquiry.tries == 1 and group is not None and len(group.members) >= GROUP_SIZE:
            self.core.count("vouch.group_known")
            self._begin_with(inquiry, self._others(inquiry, group.members))
        else:
            self._find(inquiry)

    def _others(self, inquiry: Inquiry, names: list[bytes]) -> list[bytes]:
        """Return the at most 8 of these that answer for the key: not its own node."""
        target = client_name(inquiry.key)
        table = self.core.table
        own = (inquiry.name, table.name_of_key(inquiry.key))
        # Who lists them may not know yet whom we hold ourselves; those we asked in vain are none.
        spoken = [name for name, _ in inquiry.voices.values()]
        held = [
            name
            for name in table.group(target, GROUP_SIZE + len(own))
            if name in spoken or (name not in inquiry.passed and inquiry.asked.get(name, 0) < 2)
        ]
        known = dict.fromkeys([*names, *held])
        return nearest(target, [name for name in known if name not in own], GROUP_SIZE)

    def _find(self, inquiry: Inquiry) -> None:
        """Ask by first hops that were not taken yet, as many as views are missing."""
        core = self.core
        assert core.name is not None
        target = client_name(inquiry.key)
        ways = [name for name in core.hops.ways(target) if name not in inquiry.views]
        # Two at first; then the next best by turns, until two have brought views that agree.
        first, missing = VIEWS * (inquiry.tries - 1), max(1, VIEWS - len(inquiry.views))
        turn = [ways[(first + number) % len(ways)] for number in range(min(missing, len(ways)))]
        for hop in turn:
            if hop not in inquiry.hops:
                inquiry.hops.append(hop)
            if hop not in inquiry.asked and self._may_answer(target, hop):
                inquiry.asked[hop], inquiry.at[hop] = 1, core.now
                self._ask_peer(inquiry, hop, listed=True)
            else:
                self._find_by(inquiry, hop)

    def _may_answer(self, target: bytes, peer: bytes) -> bool:
        """Tell whether a peer seems to be one of the 8 nearest to `target`, whom it knows itself.

        It is about as near to it as our own 8th nearest is to us.
        """
        table = self.core.table
        radius = distance(table.own, table.close_group()[-1]).bit_length()
        return distance(target, peer).bit_length() <= radius

    def _find_by(self, inquiry: Inquiry, hop: bytes) -> None:
        """Ask by this first hop who is nearest."""
        core, target = self.core, client_name(inquiry.key)
        assert core.name is not None
        core.count("vouch.find_asked")
        core.relay.send(
            MessageKind.FIND_GROUP,
            GroupAddress(target),
            encode(FindGroup(target, ViaAddress(hop, core.name))),
            hop=hop,
            route=(inquiry.tries - 1) % ROUTES_MAX,
            leave_out=core.name,
        )

    def on_group(self, arrival: Arrival, answer: GroupIs) -> bool:
        """A GroupIs; tell whether it answers a question of ours.

        Whom an answer came by is told by its destination, which the answerer has signed.
        """
        to = arrival.signed.destination
        asked = [
            each
            for each in self.open.values()
            if isinstance(to, ViaAddress)
            and to.hop in each.hops
            and client_name(each.key) == answer.target
        ]
        for inquiry in asked:
            assert isinstance(to, ViaAddress)
            self._take_view(inquiry, to.hop, answer.names)
        return bool(asked)

    def _take_view(self, inquiry: Inquiry, hop: bytes, names: list[bytes]) -> None:
        """Who the members are, by what came through this first hop."""
        core = self.core
        if inquiry.settled or hop in inquiry.views or core.name is None:
            return
        inquiry.views[hop] = self._others(inquiry, [core.name, *names])
        members = self._agreed(inquiry)
        if members:
            self._begin_with(inquiry, members)
        elif all(way in inquiry.views for way in inquiry.hops):
            self._look_on(inquiry)

    def _look_on(self, inquiry: Inquiry) -> None:
        """Ask another who the members are at once; nobody who was asked is waited for."""
        if inquiry.tries < self.core.limits.vouch_tries:
            inquiry.tries += 1
            self._find(inquiry)

    def _agreed(self, inquiry: Inquiry) -> list[bytes]:
        """Return those that two views agree on: more than half of either, else nobody."""
        views = list(inquiry.views.values())
        for one, other in combinations(views, VIEWS):
            both = [name for name in one if name in other]
            if 2 * len(both) > max(len(one), len(other)):
                return both
        if len(views) >= VIEWS:
            self.core.count("vouch.views_differ")
        return []

    def _begin_with(self, inquiry: Inquiry, members: list[bytes]) -> None:
        """Ask so many that one may be silent, ourselves and our peers first: they hear us."""
        core = self.core
        inquiry.members, inquiry.rounds, inquiry.passed = members, 1, []
        if core.name in members:
            vouched = core.registrar.vouch(inquiry.key, inquiry.certificate, core.key)
            inquiry.voices[core.key] = (core.name, vouched)
        self._ask_silent(inquiry)
        self._weigh(inquiry)

    def _ask_silent(self, inquiry: Inquiry) -> None:
        """Ask as many as are missing; once some have been silent, one to spare."""
        enough = len(inquiry.members) // 2 + 1 - sum(inquiry.said.values())
        if inquiry.rounds > 1:
            enough += SPARE
        for name in self._silent(inquiry)[: max(0, enough)]:
            self._ask(inquiry, name)

    def _silent(self, inquiry: Inquiry) -> list[bytes]:
        """Return the members that have not answered, those first that it is best to ask."""
        said, asked, table = inquiry.said, inquiry.asked, self.core.table
        silent = [name for name in inquiry.members if name not in said]
        silent = [name for name in silent if name not in inquiry.passed]
        silent.sort(key=lambda name: (asked.get(name, 0), name not in table))
        return silent

    def _ask(self, inquiry: Inquiry, name: bytes) -> None:
        """Ask a member; again by another way than the last time."""
        core = self.core
        assert core.name is not None
        again = inquiry.asked.get(name, 0)
        inquiry.asked[name] = again + 1
        if again:
            inquiry.at.pop(name, None)
        else:
            inquiry.at[name] = core.now
        if name in core.table and not again:
            self._ask_peer(inquiry, name, listed=False)
            return
        ways = core.hops.ways(name)
        if not ways:
            core.count("vouch.no_path")
            return
        hop = ways[again % len(ways)]
        core.count("vouch.asked")
        body = Vouch(inquiry.key, inquiry.certificate, ViaAddress(hop, core.name))
        core.relay.send(MessageKind.VOUCH, NodeAddress(name), encode(body), hop=hop)

    def on_vouched(self, arrival: Arrival) -> None:
        """A member's answer: counted once for each key."""
        core, signed = self.core, arrival.signed
        answer = decode(Vouched, signed.body)
        inquiry = None if answer is None else self.open.get(answer.key + answer.name)
        source = signed.source
        if answer is None or inquiry is None or not isinstance(source, NodeAddress):
            core.count("vouched.unasked")
            return
        if source.name not in inquiry.asked or signed.key in inquiry.voices:
            core.count("vouched.not_counted")
            return
        self._measure(inquiry, source.name)
        if answer.answers:
            self._take_voice(inquiry, signed.key, source.name, vouched=answer.vouched)
        else:
            self._pass_by(inquiry, source.name)

    def _ask_peer(self, inquiry: Inquiry, name: bytes, *, listed: bool) -> None:
        """Ask a peer over our own connection; with `listed` who the members are, too."""
        core = self.core
        core.count("vouch.peer_asked")
        link = core.link_to(name)
        inquiry.peers.append(name)
        core.send(link, FrameKind.IS_NAME, IsName(inquiry.key, inquiry.certificate, listed))
        core.suspects.on_use(link)

    def on_name_is(self, link: Link, answer: NameIs) -> None:
        """A peer's answer; one that does not answer for the key leaves its turn to another."""
        core, name = self.core, link.name
        inquiry = self.open.get(answer.key + answer.name)
        if inquiry is None or name not in inquiry.peers:
            core.count("name_is.unasked")
            return
        inquiry.peers.remove(name)
        self._measure(inquiry, name)
        if answer.answers:
            if link.key not in inquiry.voices:
                self._take_voice(inquiry, link.key, name, vouched=answer.vouched)
            if answer.names and name in inquiry.hops:
                self._take_view(inquiry, name, answer.names)
            return
        if name in inquiry.hops and not inquiry.settled:
            self._find_by(inquiry, name)
        self._pass_by(inquiry, name)

    def _measure(self, inquiry: Inquiry, name: bytes) -> None:
        """Take in how long an answer took, if it is clear which question it answers."""
        asked = inquiry.at.pop(name, None)
        if asked is not None:
            self.usual.take(self.core.now - asked)

    def _pass_by(self, inquiry: Inquiry, name: bytes) -> None:
        """One that we took for a member says that it is none."""
        self.core.count("vouch.passed_by")
        if name not in inquiry.passed:
            inquiry.passed.append(name)
        if name in inquiry.members:
            self._ask_another(inquiry)
            self._weigh_members(inquiry)

    def _weigh_members(self, inquiry: Inquiry) -> None:
        """Where too many are no members after all, it is asked anew who they are."""
        able = [name for name in inquiry.members if name not in inquiry.passed]
        if inquiry.settled and 2 * len(able) <= len(inquiry.members):
            self.core.count("vouch.members_wrong")
            inquiry.rounds, inquiry.views, inquiry.hops = ROUNDS, {}, []
            self._look_on(inquiry)

    def _take_voice(self, inquiry: Inquiry, key: bytes, name: bytes, *, vouched: bool) -> None:
        inquiry.voices[key] = (name, vouched)
        if not vouched:
            self._ask_another(inquiry)
        self._weigh(inquiry)

    def _ask_another(self, inquiry: Inquiry) -> None:
        """Ask a member that was not asked yet in place of one that does not vouch."""
        unasked = [name for name in self._silent(inquiry) if name not in inquiry.asked]
        if unasked:
            self._ask(inquiry, unasked[0])

    # -- deciding

    def _weigh(self, inquiry: Inquiry) -> None:
        """More than half of the members decide, either way."""
        all_of, said = len(inquiry.members), inquiry.said
        vouched = sum(said.values())
        refused = len(said) - vouched
        if not all_of:
            return
        if 2 * vouched > all_of:
            self._decide(inquiry, vouched=True)
        elif 2 * (all_of - refused) <= all_of:
            self._decide(inquiry, vouched=False)

    def _decide(self, inquiry: Inquiry, *, vouched: bool) -> None:
        core = self.core
        if self.open.get(inquiry.key + inquiry.name) is not inquiry:
            return
        self._end(inquiry)
        said = f"{sum(inquiry.said.values())} of {len(inquiry.members)} vouch for this name"
        core.note(inquiry.name, said if inquiry.members else "nobody agrees who answers for it")
        core.count("vouch.done" if vouched else "vouch.failed")
        if vouched:
            self.trust(inquiry.key, inquiry.name)
        if inquiry.attempt:
            core.connecting.on_vouched(inquiry.attempt, vouched=vouched)
        if inquiry.request is not None:
            core.connecting.responding.on_vouched(inquiry.request, vouched=vouched)

    def _end(self, inquiry: Inquiry) -> None:
        subject = inquiry.key + inquiry.name
        del self.open[subject]
        self.core.alarms.cancel(("vouch", subject))

    # -- the end

    def on_disconnected(self) -> None:
        """No network: there is nobody to ask, and nothing that waits goes on."""
        for inquiry in list(self.open.values()):
            self._end(inquiry)

    def export(self) -> VouchingMemory:
        """Return the state, for `load`."""
        return VouchingMemory(self.open, self.trusted.deadlines(now=self.core.now), self.usual)

    def load(self, memory: VouchingMemory) -> None:
        """Become what `export` returned."""
        now = self.core.now
        self.open, self.usual = memory.open, memory.usual
        self.trusted.clear()
        for subject, known, at in memory.trusted:
            self.trusted.insert(subject, known, now=now, ttl=at - now)
