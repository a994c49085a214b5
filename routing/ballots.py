"""Messages from a group, as they are counted: a quorum of equal ballots is the message.

One ballot brings the whole content, the others its digest. A voice counts once its name is found
among the members of the group; until then it waits. What is missing is asked for: the whole of
those who voted for it, a voice of those who have not been heard. Nothing here decides who is a
member (`groups`) or who may claim what (`authority`), and nothing votes (`casting`).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing import actions as do
from routing._filter import TimedFilter
from routing.authority import quorum_of
from routing.bodies import Ballot, Content, WholeWanted
from routing.events import Message, Proof
from routing.groups import Group
from routing.limits import SECOND
from routing.links import Arrival
from routing.messages import (
    Address,
    Authority,
    ClientAddress,
    GroupAddress,
    MessageKind,
    NodeAddress,
    decode,
    encode,
)
from routing.shares import Shares

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["VOICE_COST", "Ballots", "Tally", "Voice"]

VOICE_COST: Final = 1_536
"""What a voice is charged beside its content: at most what it and a tally of its own take up."""

WAITING_PART: Final = 4
"""One part in so many of the memory is for voices of who is not yet known as a member."""

ASKED_MAX: Final = 3
"""Times that a member which has not been heard is asked for its voice."""

WANTED_HIGH_NS: Final = 4 * SECOND
"""Between two askings for the whole, at most."""


class Voice(Struct):
    """What one key has said about one id."""

    name: bytes
    digest: bytes
    content: bytes
    """The encoded `Content`, or empty."""
    counted: bool
    """Its name was found among the members."""
    number: int
    """In the order they came; a key's oldest goes first."""


class Tally(Struct):
    """The voices for one authority and id."""

    authority: Authority
    id: bytes
    begun: int
    voices: dict[bytes, Voice]
    """By key: two names of one key are one voter."""
    ticks: int = 0
    whole_missing: bool = False
    """A quorum stands and nobody has sent the whole."""
    asked: dict[bytes, int] = {}
    """Name -> how often it was asked for something."""


class Ballots:
    """Voting for what our groups say, and counting what other groups say."""

    def __init__(self, core: Core) -> None:
        self.core = core
        limits = core.limits
        self.tallies: dict[bytes, Tally] = {}
        self.unresolved: dict[bytes, dict[bytes, bool]] = {}
        """Element -> subjects of tallies with voices that wait for its group, oldest first."""
        self.counted = Shares(limits.ballot_bytes - limits.ballot_bytes // WAITING_PART)
        self.waiting = Shares(limits.ballot_bytes // WAITING_PART)
        self.number = 0
        self.done: TimedFilter[bytes, bool] = TimedFilter(
            limits.message_filter_ns, capacity=limits.consumed_entries, clock=None
        )
        """What was delivered."""

    # -- counting

    def on_ballot(self, arrival: Arrival) -> None:
        """A ballot, its signature and the form of its claim verified."""
        core, signed = self.core, arrival.signed
        authority, source = signed.authority, signed.source
        assert authority is not None and isinstance(source, NodeAddress), "checked by the relay"
        ballot = decode(Ballot, signed.body)
        if ballot is None:
            core.count("ballot.malformed")
            return
        core.delivery.acknowledge(arrival)
        if ballot.content and not self._fits(ballot, authority):
            core.count("ballot.unfit")
            return
        subject = _subject(authority, ballot.id)
        if self.done.get(subject, now=core.now) is not None:
            core.count("ballot.late")
            return
        tally = self.tallies.get(subject)
        voice = None if tally is None else tally.voices.get(signed.key)
        if tally is not None and voice is not None:
            self._again(subject, tally, signed.key, voice, ballot)
            return
        group = core.groups.wanted(authority.element, source.name)
        if group is not None and source.name not in group.members:
            core.count("ballot.not_member")
            return
        self.number += 1
        voice = Voice(source.name, ballot.digest, ballot.content, group is not None, self.number)
        self._enter(subject, authority, ballot.id, signed.key, voice)
        tally = self.tallies.get(subject)
        if group is not None and tally is not None:
            self._weigh(subject, tally, group)

    def _fits(self, ballot: Ballot, authority: Authority) -> bool:
        """Tell whether a whole is what its digest says, what its sender claims, and for us."""
        if sha256(ballot.content).digest() != ballot.digest:
            return False
        content = decode(Content, ballot.content)
        if content is None or (content.id, content.authority) != (ballot.id, authority):
            return False
        return self._is_for_us(content.destination)

    def _is_for_us(self, destination: Address) -> bool:
        """Tell whether what a quorum says is said to us; a group's message came as a copy."""
        core = self.core
        match destination:
            case NodeAddress():
                return destination.name == core.name
            case ClientAddress():
                return destination.key == core.key
            case _:
                return isinstance(destination, GroupAddress) and not core.client

    def _again(
        self, subject: bytes, tally: Tally, key: bytes, voice: Voice, ballot: Ballot
    ) -> None:
        """A voter speaks twice: it may bring the whole it owes, and never another opinion."""
        core = self.core
        if ballot.digest != voice.digest:
            core.count("ballot.equivocated")
            core.note(voice.name, "voted for two contents under one id")
        elif not ballot.content or self._content_of(tally, voice.digest):
            core.count("ballot.repeated")
        else:
            voice.content = ballot.content
            self._charge(subject, key, voice)
            group = core.groups.wanted(tally.authority.element)
            if group is not None and subject in self.tallies:
                self._weigh(subject, tally, group)

    def _enter(
        self, subject: bytes, authority: Authority, chosen: bytes, key: bytes, voice: Voice
    ) -> None:
        core = self.core
        tally = self.tallies.get(subject)
        if tally is None:
            tally = self.tallies[subject] = Tally(authority, chosen, core.now, {})
            core.alarm("ballots", subject, core.limits.ballot_wanted_ns)
        if voice.content and self._content_of(tally, voice.digest):
            voice.content = b""
        tally.voices[key] = voice
        if not voice.counted:
            self.unresolved.setdefault(authority.element, {})[subject] = True
        self._charge(subject, key, voice)

    def _content_of(self, tally: Tally, digest: bytes) -> bytes:
        """Return the whole of a digest, from a voter or because we voted for it ourselves."""
        for voice in tally.voices.values():
            if voice.content and voice.digest == digest:
                return voice.content
        return self.core.casting.content_of(tally.id, digest)

    def on_group(self, element: bytes) -> None:
        """The members around a name are known now: who waited is counted, or is none of them."""
        core = self.core
        group = core.groups.known(element)
        if group is not None:
            for subject in self.unresolved.pop(element, {}):
                self._admit(subject, group)
        # One more may be asked for now, if there was no room for it before.
        for other in self.unresolved:
            if other not in core.groups.open:
                core.groups.wanted(other)
                return

    def _admit(self, subject: bytes, group: Group) -> None:
        core = self.core
        tally = self.tallies.get(subject)
        if tally is None:
            return
        for key, voice in list(tally.voices.items()):
            if not voice.counted and voice.name not in group.members:
                core.count("ballot.not_member")
                self._drop_voice(subject, tally, key)
            elif not voice.counted:
                self.waiting.remove(key, subject)
                # It is the youngest among those that count.
                self.number += 1
                voice.counted, voice.number = True, self.number
                self._charge(subject, key, voice)
        if subject in self.tallies:
            self._weigh(subject, tally, group)

    def _weigh(self, subject: bytes, tally: Tally, group: Group) -> None:
        """Deliver what a quorum has said; where nobody has sent the whole, it is asked for soon."""
        core = self.core
        digest, voters = _leading(tally)
        if len(voters) < quorum_of(group.size):
            return
        content = self._content_of(tally, digest)
        if content:
            self._deliver(subject, tally, content)
        elif not tally.whole_missing:
            tally.whole_missing = True
            core.count("whole.missing")
            core.alarm("ballots", subject, core.limits.ballot_wanted_ns)

    def _deliver(self, subject: bytes, tally: Tally, encoded: bytes) -> None:
        core = self.core
        content = decode(Content, encoded)
        self._drop(subject)
        if content is None or not self._is_for_us(content.destination):
            # We voted for it ourselves, as a message to somebody else.
            core.count("ballot.unfit")
            return
        self.done.expire(now=core.now)
        if len(self.done) >= core.limits.consumed_entries:
            core.count("ballot.done_evicted")
        self.done.insert(subject, True, now=core.now)
        core.count("message.delivered")
        core.count("ballot.agreed")
        source = GroupAddress(tally.authority.element)
        core.act(
            do.Deliver(
                Message(
                    source,
                    content.destination,
                    content.payload,
                    b"",
                    Proof.QUORUM,
                    content.id,
                    False,
                    authority=content.authority,
                )
            )
        )

    # -- asking for what is missing

    def on_tick(self, subject: bytes) -> None:
        """Alarm: something is missing; ask for it, or give the tally up."""
        core, limits = self.core, self.core.limits
        tally = self.tallies[subject]
        left = tally.begun + limits.ballot_ns - core.now
        if left <= 0:
            core.count("ballot.expired")
            self._drop(subject)
            return
        tally.ticks += 1
        element = tally.authority.element
        group = core.groups.wanted(element)
        if group is not None and element in self.unresolved:
            self.on_group(element)
        if subject not in self.tallies:
            return
        if group is not None:
            self._ask(tally, group)
        delay = limits.ballot_wanted_ns << tally.ticks
        if tally.whole_missing:
            delay = min(delay, max(WANTED_HIGH_NS, limits.ballot_wanted_ns))
        core.alarm("ballots", subject, min(delay, left))

    def _ask(self, tally: Tally, group: Group) -> None:
        """Of a quorum the next voter for the whole; while one is near, the silent for a voice.

        A few voices do not set all others talking: half of a quorum must have been heard.
        """
        digest, voters = _leading(tally)
        need = quorum_of(group.size)
        if len(voters) >= need:
            whom = min(voters, key=lambda name: tally.asked.get(name, 0))
            self._want(tally, digest, whom, whole=True)
        elif 2 * len(voters) >= need:
            heard = [voice.name for voice in tally.voices.values()]
            for name in group.members:
                if name not in heard and tally.asked.get(name, 0) < ASKED_MAX:
                    self._want(tally, digest, name, whole=False)

    def _want(self, tally: Tally, digest: bytes, name: bytes, *, whole: bool) -> None:
        core = self.core
        asked = tally.asked[name] = tally.asked.get(name, 0) + 1
        via = core.relay.way_out(None)
        reply_to: Address
        if via is not None and core.client:
            reply_to = ClientAddress(via.name, core.key)
        elif via is None and core.name is not None and name != core.name:
            reply_to = NodeAddress(core.name)
        else:
            # A proxy takes no such question from a node that is only joining.
            core.count("whole.not_asked")
            return
        core.count("whole.asked" if whole else "ballot.asked")
        body = encode(WholeWanted(tally.id, digest, reply_to, whole))
        core.relay.send(MessageKind.WHOLE_WANTED, NodeAddress(name), body, rank=asked - 1)

    # -- bounds

    def _charge(self, subject: bytes, key: bytes, voice: Voice) -> None:
        shares = self.counted if voice.counted else self.waiting
        shares.put(key, subject, VOICE_COST + len(voice.content))
        while (victim := shares.victim()) is not None:
            self._evict(*victim)

    def _evict(self, key: bytes, subject: bytes) -> None:
        """Take back a content, which can be asked for again, or else the whole voice.

        A voice without its content is as good as new: the contents of others go before it does.
        """
        tally = self.tallies[subject]
        voice = tally.voices[key]
        if voice.content:
            self.core.count("ballot.content_evicted")
            voice.content = b""
            self.number += 1
            voice.number = self.number
            shares = self.counted if voice.counted else self.waiting
            shares.remove(key, subject)
            shares.put(key, subject, VOICE_COST)
        else:
            self.core.count("ballot.evicted")
            self._drop_voice(subject, tally, key)

    def _drop_voice(self, subject: bytes, tally: Tally, key: bytes) -> None:
        voice = tally.voices.pop(key)
        (self.counted if voice.counted else self.waiting).remove(key, subject)
        if not tally.voices:
            self._drop(subject)

    def _drop(self, subject: bytes) -> None:
        tally = self.tallies.pop(subject)
        self.core.alarms.cancel(("ballots", subject))
        for key, voice in tally.voices.items():
            (self.counted if voice.counted else self.waiting).remove(key, subject)
        element = tally.authority.element
        subjects = self.unresolved.get(element)
        if subjects is not None and subjects.pop(subject, False) and not subjects:
            del self.unresolved[element]

    def on_stop(self) -> None:
        """Nothing will be delivered any more; what waited is counted."""
        for subject in list(self.tallies):
            self.core.count("ballot.abandoned")
            self._drop(subject)

    def recount(self) -> None:
        """Charge every voice anew, oldest first: the tallies come from a snapshot."""
        self.counted.clear()
        self.waiting.clear()
        held = [
            (voice.number, key, subject, voice)
            for subject, tally in self.tallies.items()
            for key, voice in tally.voices.items()
        ]
        for _, key, subject, voice in sorted(held, key=lambda each: each[0]):
            shares = self.counted if voice.counted else self.waiting
            shares.put(key, subject, VOICE_COST + len(voice.content))


def _subject(authority: Authority, chosen: bytes) -> bytes:
    return bytes((authority.kind,)) + authority.element + chosen


def _leading(tally: Tally) -> tuple[bytes, list[bytes]]:
    """Return the digest that most counted voices agree on, the first of equals, and their names."""
    voters: dict[bytes, list[bytes]] = {}
    for voice in tally.voices.values():
        if voice.counted:
            voters.setdefault(voice.digest, []).append(voice.name)
    if not voters:
        return b"", []
    digest = max(voters, key=lambda each: len(voters[each]))
    return digest, voters[digest]
