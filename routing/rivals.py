"""Two names of one key, recorded by different members: those that are outnumbered give way.

A node that asks for a name is given the one that those who answer for it have recorded. Where
they hold two, and neither has a majority, it would get none until one of them is no longer live.
So when it asks once more they tell each other what they hold, and from then on whoever is
outnumbered takes the other name; of as many, the lower name goes before. Nobody gives way unless
the key itself asks, nor while he is connected with it. What a member says counts once, and for a
few seconds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing._filter import TimedFilter
from routing.bodies import Record
from routing.certificates import certified_name
from routing.limits import GROUP_SIZE, SECOND
from routing.messages import Certificate
from routing.names import short

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Rivals", "RivalsMemory"]

HEARD_NS: Final = 10 * SECOND
"""What a member said counts for so long; the key asks once a second."""

TOLD_AGAIN_NS: Final = 3 * SECOND
"""Of one key we tell what we hold this often at most: what was said may be lost."""


class RivalsMemory(Struct):
    """The state of a `Rivals`."""

    heard: list[tuple[bytes, Record, float]]
    told: list[tuple[bytes, bool, float]]


class Rivals:
    """What other members hold of keys that ask for a name and do not get one."""

    def __init__(self, core: Core) -> None:
        self.core = core
        keys = 4 * core.limits.joiners_max
        self.heard: TimedFilter[bytes, Record] = TimedFilter(
            HEARD_NS, capacity=GROUP_SIZE * keys, sources=_teller_of, clock=None
        )
        """Key and name of the member -> what it holds."""
        self.told: TimedFilter[bytes, bool] = TimedFilter(TOLD_AGAIN_NS, capacity=keys, clock=None)

    def note(self, told: Record, teller: bytes) -> None:
        """A member holds this record, of a key that we answer for too."""
        now = self.core.now
        self.heard.expire(now=now)
        self.heard.remove(told.key + teller)
        self.heard.insert(told.key + teller, told, now=now)

    def settle(self, key: bytes, certificate: Certificate) -> Certificate:
        """The key asks again, so no name had a majority; return what to vote for.

        Args:
            key: Whose name it is.
            certificate: What we hold of it, and it is live.
        """
        core = self.core
        stronger = self._stronger(key, certified_name(key, certificate))
        if stronger is not None:
            told, teller = stronger
            if core.registrar.give_way(told, teller):
                certificate = told.certificate
        self.told.expire(now=core.now)
        if self.told.get(key, now=core.now) is None:
            self.told.insert(key, True, now=core.now)
            core.registrar.tell_members(key)
        return certificate

    def _stronger(self, key: bytes, own: bytes) -> tuple[Record, bytes] | None:
        """Return a record that outnumbers ours, and the key of a member that holds it."""
        core = self.core
        if core.table.name_of_key(key) is not None:
            return None
        votes, records = Counter({own: 1}), dict[bytes, tuple[Record, bytes]]()
        members = core.registrar.members(key)
        for member in members:
            told, teller = self.heard.get(key + member, now=core.now), core.table.key(member)
            if told is not None and teller is not None:
                name = certified_name(key, told.certificate)
                votes[name] += 1
                records.setdefault(name, (told, teller))
        if 2 * sum(votes.values()) <= len(members):
            return None
        best = min(votes, key=lambda name: (-votes[name], name))
        if best == own:
            return None
        core.note(key, f"{votes[best]} of {len(members)} hold {short(best)}, {votes[own]} ours")
        return records[best]

    # -- the end

    def on_disconnected(self) -> None:
        """No network: what was heard was of another one."""
        self.heard.clear()
        self.told.clear()

    def export(self) -> RivalsMemory:
        """Return the state, for `load`."""
        now = self.core.now
        return RivalsMemory(self.heard.deadlines(now=now), self.told.deadlines(now=now))

    def load(self, memory: RivalsMemory) -> None:
        """Become what `export` returned."""
        now = self.core.now
        self.on_disconnected()
        for subject, record, at in memory.heard:
            self.heard.insert(subject, record, now=now, ttl=at - now)
        for key, known, at in memory.told:
            self.told.insert(key, known, now=now, ttl=at - now)


def _teller_of(subject: bytes, _record: Record) -> bytes:
    return subject[len(subject) // 2 :]
