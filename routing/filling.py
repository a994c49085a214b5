"""Filling buckets to 8, calmly: nobody waits for it, so everything else goes first.

A bucket that holds fewer than 8 is walked through from end to end, one question at each tick, and
whoever lives there is asked for a connection. Who has no place for us refuses and remembers us; he
asks us when he has one. So after one walk there is nothing left to ask for, and the bucket rests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from routing._filter import TimedFilter
from routing.errors import Refusal
from routing.limits import GROUP_SIZE, NAME_BYTES
from routing.names import NAME_BITS, bucket_index, flip_bit
from routing.state import Detail
from routing.table import BUCKET_SIZE

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Filling", "Walk"]

TRIES_MAX: Final = 4
"""So often in a row a name that could not be connected with is tried; then it counts as refused."""

PASSED_MAX: Final = 3
"""So many ticks in a row are let pass while the close group changes."""

UNWANTED_MAX: Final = 4_096
"""Names remembered that had no place for us."""


class Walk(Struct):
    """How far a bucket has been walked through; names in between are known to be asked."""

    start: bytes
    at: bytes
    """The target of the next question."""
    turned: bool = False
    """It has come to the end of the bucket and goes on from its beginning."""


class Filling:
    """Buckets of one core that hold fewer than they could."""

    def __init__(self, core: Core) -> None:
        self.core = core
        limits = core.limits
        self.walks: dict[int, Walk] = {}
        self.rests: dict[int, int] = {}
        """Bucket that was walked through -> until when it rests."""
        self.changed_at = 0
        """When the close group last changed."""
        self.passed = 0
        """Ticks in a row that were let pass for that."""
        self.asked: dict[bytes, int] = {}
        """Target of a question under way -> bucket."""
        self.unwanted: TimedFilter[bytes, bool] = TimedFilter(
            limits.fill_rest_ns, capacity=UNWANTED_MAX, clock=None
        )
        self.wishers: TimedFilter[bytes, int] = TimedFilter(
            limits.fill_rest_ns, capacity=limits.wishers_max, clock=None
        )
        """Who is asked first, and how often in vain: whom we refused, whom we could not reach."""

    # -- when

    def on_tick(self) -> None:
        """Go one step in each bucket that lacks something, unless there is better to do."""
        core = self.core
        if core.name is None or core.detail < Detail.CONNECTED:
            return
        if core.membership.joining or ("gather", b"") in core.alarms or not self._is_calm():
            return
        wishers = [name for name, _, _ in self.wishers.deadlines(now=core.now)]
        for bucket in self._buckets():
            if core.table.bucket_size(bucket) >= BUCKET_SIZE:
                self.walks.pop(bucket, None)
                continue
            self._start(bucket, wishers, b"")
            if self._wants(bucket) and core.now >= self.rests.get(bucket, 0):
                self._ask(bucket)

    def _is_calm(self) -> bool:
        """Tell whether our close group has rested, or has not for too long to be waited for.

        While a network forms there are requests that it needs, and whoever is asked then may be
        one too many in the end.
        """
        quiet = self.core.now - self.changed_at
        if quiet < self.core.limits.repair_interval_ns and self.passed < PASSED_MAX:
            self.passed += 1
            self.core.count("fill.waited")
            return False
        self.passed = 0
        return True

    def on_close_group_changed(self) -> None:
        """Others come or go: there is better to do."""
        self.changed_at = self.core.now

    def _buckets(self) -> range:
        """All that our close group does not show to be complete: down to its farthest member."""
        core = self.core
        close = core.table.close_group()
        if len(close) < GROUP_SIZE:
            return range(0)
        return range(bucket_index(core.table.own, close[-1]) + 1)

    def _wants(self, bucket: int) -> bool:
        """Tell whether one more entry is wanted and we may ask for one now."""
        core = self.core
        underway = [a for a in core.attempts.live() if a.requester and not a.request.urgent]
        if len(underway) >= core.limits.fill_requests_max:
            return False
        # A quarter of the table is left to those who need us.
        if core.letting_go.places() <= core.letting_go.reserve():
            return False
        pending = core.membership.pending().get(bucket, 0)
        return core.table.bucket_size(bucket) + pending < BUCKET_SIZE

    # -- the walk

    def _ask(self, bucket: int) -> None:
        core = self.core
        walk = self.walks.get(bucket)
        if walk is None:
            somewhere = flip_bit(core.table.own, bucket, core.dice.bytes(NAME_BYTES))
            walk = self.walks[bucket] = Walk(somewhere, somewhere)
        if walk.at not in core.membership.finds:
            core.count("fill.asked")
            core.membership.find(walk.at)
            if walk.at in core.membership.finds:
                self.asked[walk.at] = bucket

    def on_group(self, target: bytes, names: list[bytes], teller: bytes) -> None:
        """The answer to a question; those of another concern are none of ours."""
        bucket = self.asked.pop(target, None)
        walk = None if bucket is None else self.walks.get(bucket)
        if bucket is None or walk is None or walk.at != target:
            return
        own = self.core.table.own
        inside = [name for name in names if bucket_index(own, name) == bucket]
        if self._start(bucket, inside, teller):
            self._go_on(bucket, walk, names)

    def on_unanswered(self, target: bytes) -> None:
        """Nobody answered: the same question is asked at the next tick."""
        self.asked.pop(target, None)

    def _start(self, bucket: int, names: list[bytes], teller: bytes) -> bool:
        """Ask those of a bucket for a connection; tell whether none had to wait for a place."""
        core = self.core
        for name in names:
            if bucket_index(core.table.own, name) != bucket or name in core.table:
                continue
            if self.unwanted.contains(name, now=core.now) or not core.attempts.may_try(name):
                continue
            if not self._wants(bucket):
                return False
            if core.connecting.start(name, teller=teller):
                core.count("fill.started")
        return True

    def _go_on(self, bucket: int, walk: Walk, names: list[bytes]) -> None:
        """Go to the end of what an answer shows to be complete; rest after a whole round.

        Who answers knows the 8 nearest to himself. So a subtree around the target of which he lists
        at most 8 holds no others.
        """
        listed = [bucket_index(walk.at, name) for name in names]
        shared = bucket + 1
        while sum(common >= shared for common in listed) > GROUP_SIZE:
            shared += 1
        below = NAME_BITS - shared
        end = ((int.from_bytes(walk.at, "big") >> below) + 1) << below
        first = int.from_bytes(flip_bit(self.core.table.own, bucket, bytes(NAME_BYTES)), "big")
        if end >= first + (1 << (NAME_BITS - 1 - bucket)):
            if walk.turned or shared == bucket + 1:
                self._finish(bucket)
                return
            walk.turned = True
            end = first
        walk.at = end.to_bytes(NAME_BYTES, "big")
        if walk.turned and walk.at >= walk.start:
            self._finish(bucket)

    def _finish(self, bucket: int) -> None:
        core = self.core
        core.count("fill.walked")
        del self.walks[bucket]
        self.rests[bucket] = core.now + core.dice.around(core.limits.fill_rest_ns, 10)

    # -- what comes of it

    def on_refused(self, name: bytes, reason: Refusal) -> None:
        """A request of ours that was not urgent was refused."""
        if reason in (Refusal.NOT_WANTED, Refusal.FULL):
            self._give_up(name)
            self._go_back(name)
        else:
            self.on_failed(name)

    def on_failed(self, name: bytes) -> None:
        """A request of ours that was not urgent came to nothing: it is tried again, some times."""
        failures = self.wishers.get(name, 0, now=self.core.now) + 1
        if failures < TRIES_MAX:
            self._wish(name, failures)
        else:
            self._give_up(name)
        self._go_back(name)

    def _give_up(self, name: bytes) -> None:
        now = self.core.now
        self.wishers.remove(name)
        self.unwanted.insert(name, True, now=now)
        self.unwanted.expire(now=now)

    def _go_back(self, name: bytes) -> None:
        """Ask again at once, urgently, if the name is needed by now: that is no matter of room."""
        core = self.core
        if core.detail >= Detail.CONNECTED and core.membership.needs(name):
            core.connecting.start(name)

    def on_wish(self, name: bytes) -> None:
        """We have refused somebody for want of a place: he has one for us."""
        self.unwanted.remove(name)
        self._wish(name, 0)

    def _wish(self, name: bytes, failures: int) -> None:
        core = self.core
        self.wishers.insert(name, failures, now=core.now)
        self.wishers.expire(now=core.now)

    def on_peer_up(self, name: bytes) -> None:
        """A peer has come: nothing more is wished for."""
        self.unwanted.remove(name)
        self.wishers.remove(name)

    def on_peer_down(self, name: bytes) -> None:
        """A peer has gone: its bucket has a place."""
        bucket = bucket_index(self.core.table.own, name)
        if self.core.table.bucket_size(bucket) < BUCKET_SIZE:
            self.walks.pop(bucket, None)
            self.rests.pop(bucket, None)

    def on_disconnected(self) -> None:
        """No network, no buckets."""
        self.walks.clear()
        self.rests.clear()
        self.asked.clear()
        self.unwanted.clear()
        self.wishers.clear()
