"""Who has a place in the table, and which connections end so that others have one.

A bucket that holds more than 8 lets go of its youngest beyond them, if the far end says that it
holds us as surplus, too: one asks, the other agrees, the one who asked looks again and closes.
Only a table at its cap closes without being agreed with, and only for a newcomer that it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routing.errors import CloseCode, Refusal
from routing.limits import GROUP_SIZE
from routing.links import Link
from routing.messages import FrameKind, Unneeded
from routing.names import bucket_index, nearest
from routing.table import BUCKET_SIZE

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["LettingGo"]


class LettingGo:
    """Surplus connections of one core; at most one question of ours at a time."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.asked = b""
        """Whom we have asked to agree; empty while nobody is."""
        self.kept: dict[bytes, int] = {}
        """Entry that did not agree -> when it may be asked again; leaves with the peer."""
        self.promised: dict[bytes, int] = {}
        """Entry with which we have agreed -> until when it may still close."""

    # -- who has a place

    def why_no_place(self, name: bytes, *, urgent: bool) -> Refusal | None:
        """Return None if a peer of this name may ask us, else why it is refused.

        It has a place in our close group; in a bucket that holds fewer than 8, those under way
        counted; or anywhere, if it says that it needs us. The last quarter of the table is for
        those whom we need, or who need us. At the cap somebody else must go for the newcomer,
        and so only those have a place without which the network would not be whole.
        """
        close = self._is_close(name)
        if not (close or urgent or self.room(name) > 0):
            return Refusal.NOT_WANTED
        needed = self._is_needed(name, others=0)
        if self.places() > (0 if needed or urgent else self.reserve()):
            return None
        self.on_tick()
        return None if needed and self._victim(name) is not None else Refusal.FULL

    def places(self) -> int:
        """Return how many more entries the table can take, those under way counted."""
        core = self.core
        return core.limits.table_max - len(core.table) - len(core.attempts.by_name)

    def reserve(self) -> int:
        """Return how many places are kept for those without whom somebody would not be whole."""
        return self.core.limits.table_max // 4

    def room(self, name: bytes) -> int:
        """Return how many more its bucket takes until it holds 8, those under way counted."""
        core = self.core
        bucket = bucket_index(core.table.own, name)
        held = core.table.bucket_size(bucket)
        if held >= BUCKET_SIZE:
            return 0
        return BUCKET_SIZE - held - core.membership.pending(name).get(bucket, 0)

    def _is_close(self, name: bytes) -> bool:
        table = self.core.table
        close = table.close_group()
        if len(close) < GROUP_SIZE:
            return True
        return nearest(table.own, [name, close[-1]], 1) == [name]

    def _is_needed(self, name: bytes, *, others: int) -> bool:
        """Tell whether the network would not be whole without this connection.

        Args:
            name: The peer's.
            others: How many of its bucket count besides; 1 if it is in the table itself.
        """
        table = self.core.table
        held = table.bucket_size(bucket_index(table.own, name)) - others
        return self._is_close(name) or table.is_near(name) or held < self.core.limits.bucket_low

    # -- the cap

    def on_peer_up(self, name: bytes) -> None:
        """A peer has come: above the cap one goes, the newcomer itself unless it is needed."""
        core = self.core
        if len(core.table) > core.limits.table_max:
            needed = self._is_needed(name, others=1)
            victim = (self._victim(name) if needed else None) or name
            core.count("surplus.no_place" if victim == name else "surplus.displaced")
            core.peers.let_go(core.link_to(victim), CloseCode.FULL)
        if len(core.table) >= core.limits.table_max:
            self.on_tick()

    def _victim(self, newcomer: bytes) -> bytes | None:
        """Return who goes for a newcomer that is needed: whom neither end needs, as far as we see.

        The fullest bucket gives, its youngest first, so the newcomers that crowd it go before all
        others.
        """
        table = self.core.table
        for name in table.beyond(self.core.limits.bucket_low):
            if name != newcomer and not table.is_near(name):
                return name
        # Our own close group comes before everything.
        far = table.beyond(0) if self._is_close(newcomer) else []
        return next((name for name in far if name != newcomer), None)

    # -- agreement

    def on_tick(self) -> None:
        """Ask the next surplus entry, unless a question is out."""
        core = self.core
        if self.asked or core.stopped:
            return
        for name in core.table.beyond(BUCKET_SIZE):
            if core.now >= self.kept.get(name, 0) and self._is_spare(name):
                self.asked = name
                core.count("surplus.asked")
                core.note(name, "surplus; asked whether the connection may end")
                core.send(core.link_to(name), FrameKind.UNNEEDED, Unneeded(agreed=False))
                core.alarm("unneeded", b"", core.limits.unneeded_wait_ns)
                return

    def _is_spare(self, name: bytes) -> bool:
        """Tell whether this entry is surplus even when all those have gone that may any moment."""
        core = self.core
        if not core.table.is_surplus(name):
            return False
        self.promised = {n: until for n, until in self.promised.items() if core.now < until}
        bucket = bucket_index(core.table.own, name)
        leaving = [other for other in [*self.promised, self.asked] if other and other != name]
        same = [other for other in leaving if bucket_index(core.table.own, other) == bucket]
        return core.table.bucket_size(bucket) - len(same) > BUCKET_SIZE

    def on_timeout(self, _subject: bytes) -> None:
        """Alarm: not agreed; this one stays, and at the cap the next one is asked at once."""
        core = self.core
        name, self.asked = self.asked, b""
        self.kept[name] = core.now + core.limits.unneeded_again_ns
        core.count("surplus.not_agreed")
        core.note(name, "surplus; did not agree to end the connection")
        if len(core.table) >= core.limits.table_max:
            self.on_tick()

    def on_unneeded(self, link: Link, said: Unneeded) -> None:
        """The far end holds us as surplus, or agrees that it does."""
        core = self.core
        ours = self.asked == link.name
        if said.agreed and not ours:
            core.count("surplus.unasked")
            return
        if ours:
            # Its own question is as good as its answer: it says the same.
            self._forget_question()
        if not self._is_spare(link.name):
            core.count("surplus.needed")
            core.note(link.name, "holds us as surplus; we do not hold it so")
        elif ours:
            core.peers.let_go(link, CloseCode.UNNEEDED)
        else:
            # Who asked closes, or finds that it needs us after all.
            core.count("surplus.agreed")
            self.promised[link.name] = core.now + 2 * core.limits.unneeded_wait_ns
            core.send(link, FrameKind.UNNEEDED, Unneeded(agreed=True))

    def _forget_question(self) -> None:
        self.asked = b""
        self.core.alarms.cancel(("unneeded", b""))

    def on_peer_down(self, name: bytes) -> None:
        """A peer has gone, and what was said about it."""
        self.kept.pop(name, None)
        self.promised.pop(name, None)
        if self.asked == name:
            self._forget_question()

    def on_disconnected(self) -> None:
        """Nothing is surplus any more."""
        if self.asked:
            self._forget_question()
        self.kept.clear()
        self.promised.clear()
