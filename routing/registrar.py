"""The names of others that we answer for: of every key near whose client name we are, one name.

A node tells the group of its client name what its name is, and again every 20 minutes; who asks
there whether a name is that of a key is told so. A name proves that a key has no other, and not
that somebody issued it: arithmetic and signatures are all that is looked at. Whom to ask, and what
follows from the answers, is in `vouching`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing._filter import TimedFilter
from routing.actions import BULK
from routing.admission import Rate
from routing.bodies import Record, Records, Register, Vouch, Vouched
from routing.certificates import certified_name, is_valid
from routing.limits import GROUP_SIZE, SECOND
from routing.links import Arrival, Link
from routing.messages import (
    Certificate,
    FrameKind,
    GroupAddress,
    IsName,
    MessageKind,
    NameIs,
    NodeAddress,
    decode,
    encode,
)
from routing.names import client_name, short
from routing.responding import is_own_reply_address

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Entry", "Registrar", "RegistrarMemory", "Word"]

RECORDS_IN_MESSAGE: Final = 32
"""As many as a `Records` may hold: 32 KiB of certificates."""

TELLERS: Final = 2
"""Old members that tell a newcomer what they hold: one of them may have died unnoticed."""

REFUSED_AGAIN_NS: Final = 60 * SECOND
"""Told that nobody vouches for us we register anew, this often at most."""


class Word(IntEnum):
    """On whose word a name is recorded; the higher, the better."""

    HEARSAY = 0
    """Somebody asked us to vouch for it, and we knew no other."""
    HANDED = 1
    """Another member of the group has heard it from the node."""
    OWN = 2
    """The node itself has told us."""


class Entry(Struct):
    """The name of one key."""

    certificate: Certificate
    name: bytes
    word: Word
    source: str
    """Who made us record it, for fairness; of no account where it is the node itself."""
    at: int
    """When the node renewed it; of hearsay, when we heard it."""
    group: list[bytes]
    """The members we knew when last we looked: who is new among them is to be told."""


class RegistrarMemory(Struct):
    """The state of a `Registrar`."""

    records: list[tuple[bytes, Entry, float]]
    registered_at: int
    rates: list[list[tuple[bytes, tuple[int, ...]]]]


class Registrar:
    """The records of one core, and its own name in those of others."""

    def __init__(self, core: Core) -> None:
        self.core = core
        limits = core.limits
        self.records: TimedFilter[bytes, Entry] = TimedFilter(
            limits.record_kept_ns, capacity=limits.records_max, sources=_source_of, clock=None
        )
        self.registered_at = -REFUSED_AGAIN_NS
        """When we last told our own name."""
        self.register_rate = Rate(limits.registrations_per_key_per_minute, 60 * SECOND)
        self.vouch_rate = Rate(limits.vouches_per_key_per_minute, 60 * SECOND)
        self.records_rate = Rate(limits.vouches_per_key_per_minute, 60 * SECOND)

    # -- our own name

    def on_named(self) -> None:
        """We have a name: tell the group of our client name, and again from time to time."""
        self._register()

    def on_due(self, _subject: bytes) -> None:
        """Alarm: renew."""
        self._register()

    def on_connected(self) -> None:
        """The first routing connection: tell it once more, for what went by a proxy may be lost.

        Whoever founded had nobody to tell it to.
        """
        core = self.core
        core.alarm("register", b"", core.dice.between(1, core.limits.repair_interval_ns))

    def on_not_vouched(self) -> None:
        """A peer was told that our name is not known: what we said may have been lost."""
        if self.core.now - self.registered_at >= REFUSED_AGAIN_NS:
            self._register()

    def _register(self) -> None:
        core = self.core
        if core.certificate is None:
            return
        core.alarm("register", b"", core.dice.around(core.limits.name_renewed_ns, 10))
        self.registered_at = core.now
        core.count("name.registered")
        core.relay.send(
            MessageKind.REGISTER, GroupAddress(core.client_name), encode(Register(core.certificate))
        )

    # -- who answers for whom

    def members(self, key: bytes) -> list[bytes]:
        """Return who answers for a key, as far as we know, nearest first; its own node does not."""
        table = self.core.table
        names = table.group(client_name(key), GROUP_SIZE + 1)
        return [name for name in names if name != table.name_of_key(key)][:GROUP_SIZE]

    def answers_for(self, key: bytes) -> bool:
        """Tell whether we are one of those who answer for a key."""
        core = self.core
        return core.name is not None and key != core.key and core.name in self.members(key)

    def live_name(self, key: bytes) -> bytes | None:
        """Return the name that a key is known to hold, None if any will do.

        It is live while we are connected with it, or the node has renewed it so lately that it
        cannot have missed a renewal.
        """
        core = self.core
        present = core.table.name_of_key(key)
        if present is not None:
            return present
        entry = self.records.get(key, now=core.now)
        if entry is None or core.now - entry.at >= core.limits.record_live_ns:
            return None
        return entry.name

    def live_certificate(self, key: bytes) -> Certificate | None:
        """Return how a live name that the node itself has claimed came about."""
        entry = self.records.get(key, now=self.core.now)
        if entry is None or entry.word is Word.HEARSAY or self.live_name(key) != entry.name:
            return None
        return entry.certificate

    # -- what we are told

    def record(
        self,
        key: bytes,
        certificate: Certificate,
        word: Word,
        *,
        source: bytes = b"",
        age: int = 0,
        checked: bool = False,
    ) -> bool:
        """Record the name of a key, unless it has another; tell whether this is its name now.

        Args:
            key: Whose name it is.
            certificate: What it follows from.
            word: On whose word.
            source: The key of who told us, if it is not the node itself.
            age: Since the node renewed it, nanoseconds.
            checked: Arithmetic and signatures hold, as somebody else has found.
        """
        core = self.core
        name = certified_name(key, certificate)
        known = self.records.get(key, now=core.now)
        same = known is not None and known.certificate == certificate
        if not (checked or same) and not is_valid(
            key, certificate, signer=core.signer, tag=core.tag
        ):
            core.count("record.bad_certificate")
            return False
        live = self.live_name(key)
        if live is not None and live != name and not self._outdone(key, known, word):
            core.count("record.other_name")
            core.note(key, f"{short(name)} not recorded: its name is {short(live)}")
            return False
        group = self.members(key)
        if known is not None and known.name == name:
            if not _is_better(known, word, core.now - age):
                return True
            word = max(word, known.word)
            # Who came since we last looked is yet to be told: the node may not know of it either.
            group = known.group
        entry = Entry(
            certificate=certificate,
            name=name,
            word=word,
            source="" if word is Word.OWN else source.hex(),
            at=core.now - age,
            group=group,
        )
        self.records.insert(key, entry, now=core.now, ttl=core.limits.record_kept_ns - age)
        core.count(f"record.{word.name.lower()}")
        self._sweep()
        return True

    def _outdone(self, key: bytes, known: Entry | None, word: Word) -> bool:
        """Tell whether the node's own word goes against what others have said of it."""
        if self.core.table.name_of_key(key) is not None or known is None:
            return False
        return word is Word.OWN and known.word is not Word.OWN

    def _sweep(self) -> None:
        core = self.core
        for _, entry in self.records.expire(now=core.now):
            aged = core.now >= entry.at + core.limits.record_kept_ns
            core.count("record.aged" if aged else "record.evicted")

    def on_register(self, arrival: Arrival) -> None:
        """A node tells its name, to us as to each of the group of its client name."""
        core, signed = self.core, arrival.signed
        told = decode(Register, signed.body)
        if told is None or signed.destination != GroupAddress(client_name(signed.key)):
            core.count("register.malformed")
            return
        source = signed.source
        name = certified_name(signed.key, told.certificate)
        if isinstance(source, NodeAddress) and source.name != name:
            core.count("register.malformed")
        elif not self.answers_for(signed.key):
            core.count("register.not_ours")
        elif not self.register_rate.allow(signed.key, core.now):
            core.count("register.too_often")
        elif self.record(signed.key, told.certificate, Word.OWN):
            core.count("register.taken")
        else:
            core.count("register.refused")

    # -- vouching

    def on_vouch(self, arrival: Arrival) -> None:
        """Somebody asks whether a name is that of a key."""
        core, signed = self.core, arrival.signed
        asked = decode(Vouch, signed.body)
        if asked is None or not is_own_reply_address(asked.reply_to, signed):
            core.count("vouch.malformed")
            return
        verdict = self._verdict(asked.key, asked.certificate, signed.key)
        if verdict is not None:
            name = certified_name(asked.key, asked.certificate)
            body = encode(Vouched(asked.key, name, *verdict))
            core.relay.send(MessageKind.VOUCHED, asked.reply_to, body)

    def on_is_name(self, link: Link, asked: IsName) -> None:
        """As `on_vouch`, by a peer over its own connection: the channel says who asks."""
        core, key = self.core, asked.key
        verdict = self._verdict(key, asked.certificate, link.key)
        if verdict is None:
            return
        names: list[bytes] = []
        if asked.listed and verdict[0]:
            # One more than there are members for the asker, who counts itself in, and one for each
            # name of the key.
            near = core.table.group(client_name(key), GROUP_SIZE + 3)
            names = [name for name in near if name != link.name]
        name = certified_name(key, asked.certificate)
        core.send(link, FrameKind.NAME_IS, NameIs(key, name, *verdict, names))

    def _verdict(
        self, key: bytes, certificate: Certificate, asker: bytes
    ) -> tuple[bool, bool] | None:
        """Return whether we answer for a key, and whether this is its name; None: asked too often.

        Who is told that we do not answer for it asks another instead of asking us again.
        """
        core = self.core
        if not self.vouch_rate.allow(asker, core.now):
            core.count("vouch.too_often")
            return None
        if not self.answers_for(key):
            core.count("vouch.not_ours")
            return False, False
        return True, self.vouch(key, certificate, asker)

    def vouch(self, key: bytes, certificate: Certificate, asker: bytes) -> bool:
        """Say whether a name is that of a key; one that has none known to us has this from now."""
        vouched = self.record(key, certificate, Word.HEARSAY, source=asker)
        self.core.count("vouch.given" if vouched else "vouch.refused")
        return vouched

    # -- handing over

    def on_gather(self) -> None:
        """The table has changed: tell who has come into a group, and forget whose we have left."""
        core = self.core
        if core.name is None:
            return
        self._sweep()
        due: dict[bytes, list[Record]] = {}
        for key, entry, _ in self.records.deadlines(now=core.now):
            group = self.members(key)
            if group == entry.group:
                continue
            stayed = [name for name in entry.group if name == core.name or name in core.table]
            came = [name for name in group if name not in entry.group]
            if entry.word is not Word.HEARSAY and core.name in stayed[:TELLERS]:
                age = -(-(core.now - entry.at) // SECOND)
                for name in came:
                    due.setdefault(name, []).append(Record(key, entry.certificate, age))
            if core.name in group:
                entry.group = group
            else:
                self.records.remove(key)
                core.count("record.left")
        for name, records in due.items():
            self._hand_over(name, records)

    def _hand_over(self, name: bytes, records: list[Record]) -> None:
        core = self.core
        to = NodeAddress(name)
        for first in range(0, len(records), RECORDS_IN_MESSAGE):
            body = encode(Records(records[first : first + RECORDS_IN_MESSAGE]))
            envelope = core.relay.seal(MessageKind.RECORDS, to, body)
            core.relay.launch(envelope, to, hop=name, priority=BULK)
            core.count("records.sent")

    def on_records(self, arrival: Arrival) -> None:
        """A peer hands over what we should hold too."""
        core, signed = self.core, arrival.signed
        told = decode(Records, signed.body)
        source = signed.source
        if told is None or not isinstance(source, NodeAddress):
            core.count("records.malformed")
            return
        if core.table.key(source.name) != signed.key:
            core.count("records.stranger")
            return
        if not self.records_rate.allow(signed.key, core.now):
            core.count("records.too_often")
            return
        for each in told.records:
            self._take(each, source.name, signed.key)

    def _take(self, told: Record, teller: bytes, teller_key: bytes) -> None:
        core, age = self.core, told.age_s * SECOND
        # The teller may just have been displaced, by us or by others that came with us.
        near = core.table.group(client_name(told.key), 2 * GROUP_SIZE)
        if not self.answers_for(told.key) or teller not in near or told.key == teller_key:
            core.count("records.not_ours")
        elif age >= core.limits.record_kept_ns:
            core.count("records.too_old")
        else:
            core.rivals.note(told, teller)
            self.record(told.key, told.certificate, Word.HANDED, source=teller_key, age=age)

    def tell_members(self, key: bytes) -> None:
        """Tell the others who answer for a key what we hold of it."""
        core = self.core
        entry = self.records.get(key, now=core.now)
        if entry is None:
            return
        age = -(-(core.now - entry.at) // SECOND)
        for name in self.members(key):
            if name in core.table:
                self._hand_over(name, [Record(key, entry.certificate, age)])

    def give_way(self, told: Record, teller_key: bytes) -> bool:
        """Take another name of a key, which more members hold, for that we have recorded."""
        core, key = self.core, told.key
        if not is_valid(key, told.certificate, signer=core.signer, tag=core.tag):
            core.count("record.bad_certificate")
            return False
        self.records.remove(key)
        core.count("record.gave_way")
        age = told.age_s * SECOND
        return self.record(
            key, told.certificate, Word.HANDED, source=teller_key, age=age, checked=True
        )

    # -- the end

    def on_disconnected(self) -> None:
        """No network: nobody asks us, and what we knew of names is of another one."""
        self.records.clear()
        self.core.alarms.cancel(("register", b""))

    def export(self) -> RegistrarMemory:
        """Return the state, for `load`."""
        rates = (self.register_rate, self.vouch_rate, self.records_rate)
        return RegistrarMemory(
            self.records.deadlines(now=self.core.now),
            self.registered_at,
            [[(k, grants) for k, grants in r.snapshot() if isinstance(k, bytes)] for r in rates],
        )

    def load(self, memory: RegistrarMemory) -> None:
        """Become what `export` returned."""
        now = self.core.now
        self.records.clear()
        for key, entry, at in memory.records:
            self.records.insert(key, entry, now=now, ttl=at - now)
        self.registered_at = memory.registered_at
        rates = (self.register_rate, self.vouch_rate, self.records_rate)
        for rate, grants in zip(rates, memory.rates, strict=True):
            rate.load([*grants])


def _is_better(known: Entry, word: Word, at: int) -> bool:
    """Tell whether what is said now of a name that is known already says more."""
    if word is Word.HEARSAY:
        return False
    return word > known.word or at > known.at


def _source_of(_key: bytes, entry: Entry) -> str | None:
    """What nodes say of themselves is of no group and goes last."""
    return None if entry.word is Word.OWN else entry.source
