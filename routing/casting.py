"""Voting for what our groups say: a ballot goes out, and its content is kept for who asks for it.

Who counts the ballots is `ballots`. Whether we are a member is asked of our own table, by who calls
us; nothing here refuses a content for what it says.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing import actions as do
from routing.authority import content_id, is_addressee, sends_whole
from routing.bodies import Ballot, Content, WholeWanted
from routing.inputs import Submitted
from routing.links import Arrival
from routing.messages import Authority, MessageKind, NodeAddress, Signed, decode, encode
from routing.responding import is_own_reply_address

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Casting", "Spoken"]

CONTENT_OVERHEAD: Final = 2_048
"""Bytes of a frame that a content must leave: two envelopes, for a copy that goes routed."""

SPOKEN_COST: Final = 512
"""What a content that is kept costs beside its bytes."""

ANSWERS_MAX: Final = 4
"""Times that one asker gets one content again."""

ASKERS_MAX: Final = 64
"""Askers of one content: the members of a group and those that come while it changes."""


class Spoken(Struct):
    """A content that we have voted for."""

    content: bytes
    until: int
    answers: dict[bytes, int]
    """Key of an asker -> how often it was answered."""


class Casting:
    """The voter's half of messages from groups."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.spoken: dict[bytes, Spoken] = {}
        """id and digest -> the content, oldest first."""
        self.bytes = 0
        """Of `spoken`."""

    def content_of(self, chosen: bytes, digest: bytes) -> bytes:
        """Return the content of this id and digest if we have voted for it, else nothing."""
        spoken = self.spoken.get(chosen + digest)
        return b"" if spoken is None else spoken.content

    def on_stop(self) -> None:
        """Nobody is answered any more."""
        self.spoken.clear()
        self.bytes = 0

    def load(self, spoken: dict[bytes, Spoken]) -> None:
        """Take over what a snapshot held."""
        self.spoken = spoken
        self.bytes = sum(len(each.content) + SPOKEN_COST for each in spoken.values())

    def say(self, fact: Submitted, authority: Authority) -> None:
        """Vote for a content as a member of the group; the caller has checked that we are one."""
        core = self.core
        assert core.name is not None
        chosen = fact.message_id or content_id(authority, fact.destination, fact.payload)
        content = encode(Content(chosen, authority, fact.destination, fact.payload))
        largest = core.limits.frame_bytes_max - CONTENT_OVERHEAD
        if len(content) > largest:
            core.count("ballot.too_large")
            reason = f"a message from a group is carried up to {largest} bytes, not {len(content)}"
            core.act(do.Failed(fact.reference, f"too large: {reason}"))
            return
        digest = sha256(content).digest()
        self._remember(chosen + digest, content)
        whole = sends_whole(core.name, digest, core.table.group(authority.element))
        ballot = Ballot(chosen, digest, content if whole else b"")
        core.count("ballot.cast")
        self._post(fact, authority, encode(ballot))

    def _post(self, fact: Submitted, authority: Authority, body: bytes) -> None:
        core, destination = self.core, fact.destination
        if isinstance(destination, NodeAddress) and destination.name == core.name:
            envelope = core.relay.seal(MessageKind.BALLOT, destination, body, authority=authority)
            signed = decode(Signed, envelope.signed)
            assert signed is not None
            core.relay.consume(Arrival(signed, envelope, 0))
            return
        message_id = core.dice.bytes(16)
        core.messaging.sent.insert(message_id, fact.reference, now=core.now)
        core.messaging.sent.expire(now=core.now)
        if not core.messaging.post(
            fact.reference,
            MessageKind.BALLOT,
            destination,
            body,
            message_id=message_id,
            authority=authority,
            once=not fact.acknowledged,
        ):
            core.messaging.fail(message_id, fact.reference, "not connected: no way out")

    def _remember(self, subject: bytes, content: bytes) -> None:
        core = self.core
        self._forget(subject)
        self.spoken[subject] = Spoken(content, core.now + core.limits.ballot_ns, {})
        self.bytes += len(content) + SPOKEN_COST
        while self.spoken:
            oldest = next(iter(self.spoken))
            expired = self.spoken[oldest].until <= core.now
            if not expired and self.bytes <= core.limits.ballot_bytes:
                return
            if not expired:
                core.count("ballot.forgotten")
            self._forget(oldest)

    def _forget(self, subject: bytes) -> None:
        spoken = self.spoken.pop(subject, None)
        if spoken is not None:
            self.bytes -= len(spoken.content) + SPOKEN_COST

    def on_wanted(self, arrival: Arrival) -> None:
        """A receiver asks for our ballot again: it gets it, if the content is for it."""
        core, signed = self.core, arrival.signed
        wanted = decode(WholeWanted, signed.body)
        if wanted is None or not is_own_reply_address(wanted.reply_to, signed):
            core.count("whole.malformed")
            return
        spoken = self.spoken.get(wanted.id + wanted.digest)
        content = None if spoken is None else decode(Content, spoken.content)
        if spoken is None or content is None or spoken.until <= core.now:
            core.count("whole.unknown")
            return
        if not is_addressee(content.destination, signed.source):
            core.count("whole.refused")
            return
        answered = spoken.answers.get(signed.key, 0)
        if answered >= ANSWERS_MAX or (not answered and len(spoken.answers) >= ASKERS_MAX):
            core.count("whole.too_often")
            return
        spoken.answers[signed.key] = answered + 1
        ballot = Ballot(wanted.id, wanted.digest, spoken.content if wanted.whole else b"")
        core.count("whole.given" if wanted.whole else "ballot.repeated_on_demand")
        envelope = core.relay.seal(
            MessageKind.BALLOT, wanted.reply_to, encode(ballot), authority=content.authority
        )
        core.relay.launch(envelope, wanted.reply_to, rank=answered)
