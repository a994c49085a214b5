"""The filters of time: `TimedFilter` hands back what leaves it, `MessageFilter` only remembers ids.

A timed filter is a mapping whose entries expire. It closes nothing, calls nobody back, owns no
timer, and belongs to one thread; the table under it is `routing._shelf`.

It is a `MutableMapping` too, for who wants a map that forgets: `filter[key] = value`, `del`, `in`,
`pop`, iteration. Those see live entries only, and what they remove comes out of nothing.

An entry is live while `now < expires`. The one order everywhere (iteration, `deadlines`, `expire`,
who is evicted first) is by deadline, ties by insertion; a refreshed entry counts as inserted anew.
"""

from cpython.bytes cimport PyBytes_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.unicode cimport PyUnicode_CheckExact
from libc.math cimport INFINITY, isfinite
from libc.stdint cimport int64_t, uint32_t

cimport cython

from routing._queue cimport (
    HEAPED,
    MARKS,
    NONE,
    STATE,
    Place,
    Queue,
    earlier,
    outranks,
    queue_first,
)
from routing._seen cimport (
    CAPACITY_MAX,
    ROUTING_DEBUG,
    capacity_of,
    check_callable,
    check_thread,
    coarse_seconds,
    lifetime_of,
    moment_of,
)
from routing._shelf cimport AGED, FREE, GONE, LIVE, Shelf, lookup, tag_for
from routing._slots cimport slots_check

from collections.abc import MutableMapping
from types import GenericAlias

from routing._seen import MessageFilter, coarse

__all__ = ["MessageFilter", "TimedFilter", "coarse"]


# With a trashcan, for a filter in a filter in a filter would use up the stack when it is let go of.
@cython.final
@cython.trashcan(True)
cdef class TimedFilter(Shelf):
    """A mapping whose entries expire; what leaves by age or capacity comes out of `expire`.

    Args:
        ttl: Lifetime of an entry, above 0, in the unit of `now` and `clock()`; infinity means for
            ever. Times are C doubles: integers are exact below 2**53.
        capacity: Most live entries, at least 1; at capacity the first in order departs. None: no
            bound of its own.
        sources: `sources(key, value)` names the source group of an entry as `bytes`, `str` or
            `int`, or None. At capacity the first entry of the largest group departs (the newcomer
            counts; of equal groups that with the older first entry). Entries of no group depart
            only when there is no other.
        clock: Called when no `now` is given. None: the largest `now` seen so far, 0 at first.

    A `now` below the largest seen counts as the largest. Departed entries wait for `expire` however
    many they are, so their owner calls it. Keys are hashable; `__eq__`, `__hash__`, `__del__`,
    `clock` and `sources` may raise or use the filter: an operation that raised has changed
    nothing. Owned by one thread; a debug build refuses others.

    Raises:
        UsageError: ttl or capacity out of bounds.
        TypeError: ttl is no number, capacity no integer, clock or sources not callable.
    """

    def __cinit__(self, ttl, *, capacity=None, sources=None, clock=coarse):
        check_callable("clock", clock)
        check_callable("sources", sources)
        self.ttl = lifetime_of(ttl)
        self.capacity = capacity
        self._capacity = CAPACITY_MAX if capacity is None else <uint32_t> capacity_of(capacity)
        self._clock = clock
        self._is_coarse = clock is coarse
        self._is_foreign = clock is not coarse and clock is not None
        self._sources = sources
        self._grouped = sources is not None
        self._latest = 0.0 if clock is None else -INFINITY
        self._thread = PyThread_get_thread_ident()

    @classmethod
    def __class_getitem__(cls, item, /):
        return GenericAlias(cls, item)

    # -- the public face

    def insert(self, key, value, *, now=None, ttl=None):
        """Hold `value` under `key` from now on, and return the live value it replaces or None.

        The age starts anew; `ttl` is for this once. An aged entry found under the key departs. O(1)
        amortised, O(log n) with a ttl of its own or with sources.
        """
        cdef uint32_t tag = tag_for(key)
        cdef double lifetime = 0 if ttl is None else lifetime_of(ttl)
        cdef object source = None if self._sources is None else self._source_of(key, value)
        self._moment(now)
        if lifetime == 0:
            return self.put(key, value, tag, self.ttl, False, source)
        return self.put(key, value, tag, lifetime, True, source)

    def get(self, key, default=None, *, now=None):
        """Return the live value of `key`, or `default`. O(1); does not extend its life."""
        cdef int64_t who = self._look(key, now)
        return default if who < 0 else <object> self._entries[who].value

    def contains(self, key, *, now=None):
        """Tell whether `key` has a live entry: `in`, for a caller that has `now`. O(1)."""
        return self._look(key, now) >= 0

    def __contains__(self, key):
        return self._look(key, None) >= 0

    def __getitem__(self, key):
        cdef int64_t who = self._look(key, None)
        if who < 0:
            raise KeyError(key)
        return <object> self._entries[who].value

    def __setitem__(self, key, value):
        """Hold `value` under `key` from now on, as `insert` does by the filter's clock and ttl."""
        cdef uint32_t tag = tag_for(key)
        cdef object source = None if self._sources is None else self._source_of(key, value)
        if self._is_coarse and not ROUTING_DEBUG:
            self._latest = max(self._latest, coarse_seconds())
        else:
            self._moment(None)
        self.put(key, value, tag, self.ttl, False, source)

    def __delitem__(self, key):
        """Take the live entry of `key` out; KeyError if there is none. It comes out no more."""
        cdef int64_t who = self._look(key, None)
        if who < 0:
            raise KeyError(key)
        self.take(<uint32_t> who)

    def __len__(self):
        self._moment(None)
        self.sweep()
        return self._live_count

    def __iter__(self):
        """Iterate over the keys that are live now, in order; later changes do not show. O(n)."""
        cdef list keys = []
        self._moment(None)
        self.list_live(keys, None, None)
        return iter(keys)

    def remove(self, key):
        """Take the entry of `key` out and return its value, expired or not; None if there is none.

        It will not come out of `expire`. An evicted or replaced entry is no longer under its key.
        O(1) amortised.
        """
        return self.remove_any(key)

    def pop(self, key, *default):
        """Take the live entry of `key` out and return its value, or `default`. O(1) amortised.

        Raises:
            KeyError: there is none, and no default.
        """
        cdef int64_t who
        if len(default) > 1:
            raise TypeError(f"pop() takes a key and one default, not {len(default)} of them")
        who = self._look(key, None)
        if who >= 0:
            return self.take(<uint32_t> who)
        if not default:
            raise KeyError(key)
        return default[0]

    def popitem(self):
        """Take out the live entry that expires first and return it: (key, value). O(1) amortised.

        Raises:
            KeyError: nothing is live.
        """
        cdef uint32_t who
        cdef object key
        self._moment(None)
        self.sweep()
        who = queue_first(&self._live, self._entries)
        if who == NONE:
            raise KeyError("popitem(): nothing is live")
        key = <object> self._entries[who].key
        return key, self.take(who)

    def setdefault(self, key, default=None):
        """Return the live value of `key`; without one hold `default` under it and return that."""
        cdef int64_t who = self._look(key, None)
        if who >= 0:
            return <object> self._entries[who].value
        self[key] = default
        return default

    def update(self, other=(), /, **named):
        """Hold every pair of a mapping or of an iterable of pairs, each as `insert` does. O(n)."""
        pairs = other.items() if hasattr(other, "keys") else other
        for key, value in pairs:
            self[key] = value
        for key, value in named.items():
            self[key] = value

    def keys(self):
        """Return the keys that are live now, a list in order; later changes do not show. O(n)."""
        return list(self)

    def values(self):
        """Return the values that are live now, as `keys` does. O(n)."""
        return [value for _, value, _ in self.deadlines()]

    def items(self):
        """Return the pairs that are live now, as `keys` does. O(n)."""
        return [(key, value) for key, value, _ in self.deadlines()]

    def touch(self, key, *, now=None, ttl=None):
        """Start the age of the live entry of `key` anew, with the filter's ttl unless one is given.

        Returns:
            True if there was one. Costs what `insert` costs.
        """
        cdef double lifetime = 0 if ttl is None else lifetime_of(ttl)
        cdef int64_t who = self._look(key, now)
        if who < 0:
            return False
        self.restart(<uint32_t> who, lifetime if lifetime > 0 else self.ttl, lifetime > 0)
        return True

    def expire(self, now=None):
        """Remove and hand back as (key, value), in order, everything that left except by `remove`.

        That is: aged entries, evicted ones, and aged ones that an `insert` found under its key. The
        caller owns what those held. O(k) for k departed; O(k log k) if evictions went out of order.
        """
        self._moment(now)
        return self.expire_at(self._latest)

    def clear(self):
        """Remove and hand back everything in order, departed entries included, as `expire` does.

        The largest `now` is forgotten with them: an empty filter may be filled from an earlier one.
        """
        cdef list left
        self.depart_all()
        left = self.collect()
        if self._live_count == 0:
            self._latest = 0.0 if self._clock is None else -INFINITY
        return left

    def next_expiry(self, now=None):
        """Return when `expire` may next have something, None for never: may be early, never late.

        With departed entries waiting that is at once. O(1) amortised.
        """
        cdef uint32_t who
        self._moment(now)
        self.sweep()
        if self._departed_count:
            return self._latest
        who = queue_first(&self._live, self._entries)
        if who == NONE or self._entries[who].expires == INFINITY:
            return None
        return self._entries[who].expires

    def deadlines(self, now=None):
        """Return the live entries in order as (key, value, expires). O(n), O(n log n) if mixed."""
        cdef list keys = [], values = [], expires = []
        self._moment(now)
        self.list_live(keys, values, expires)
        return list(zip(keys, values, expires))

    @property
    def backlog(self):
        """How many entries have departed, as of the largest `now` seen, and wait for `expire`."""
        self.sweep()
        return self._departed_count

    def __repr__(self):
        return (
            f"<TimedFilter ttl={self.ttl:g} capacity={self.capacity} "
            f"live={self._live_count} departed={self._departed_count}>"
        )

    # -- for compiled callers

    cdef object insert_at(self, object key, object value, double now, double ttl):
        # As insert(); ttl 0 means the filter's own.
        cdef uint32_t tag = tag_for(key)
        cdef object source = None if self._sources is None else self._source_of(key, value)
        self._latest = max(self._latest, now)
        return self.put(key, value, tag, ttl if ttl > 0 else self.ttl, ttl > 0, source)

    cdef object get_at(self, object key, double now, object default):
        cdef int64_t who = self._live_at(key, now)
        return default if who < 0 else <object> self._entries[who].value

    cdef bint contains_at(self, object key, double now) except -1:
        return self._live_at(key, now) >= 0

    cdef object remove_any(self, object key):
        cdef int64_t who = lookup(self, key, tag_for(key))
        return None if who < 0 else self.take(<uint32_t> who)

    cdef list expire_at(self, double now):
        self._latest = max(self._latest, now)
        self.sweep()
        return self.collect()

    # -- private

    cdef double _moment(self, object now) except? -1:
        cdef double moment
        if ROUTING_DEBUG:
            check_thread(self._thread)
        if now is None:
            if self._clock is None:
                return self._latest
            moment = coarse_seconds() if self._is_coarse else moment_of(self._clock())
        else:
            moment = moment_of(now)
        if moment > self._latest:
            self._latest = moment
        return self._latest

    cdef int64_t _look(self, object key, object now) except -2:
        # The live entry of `key`, or -1. Our own clock is read for what was found alone.
        cdef int64_t who
        if now is not None or self._is_foreign:
            return self._live_at(key, self._moment(now))
        if ROUTING_DEBUG:
            check_thread(self._thread)
        who = lookup(self, key, tag_for(key))
        if who < 0:
            return -1
        if self._is_coarse:
            self._latest = max(self._latest, coarse_seconds())
        if self._entries[who].expires > self._latest and self._entries[who].mark & STATE == LIVE:
            return who
        return -1

    cdef int64_t _live_at(self, object key, double now) except -2:
        cdef int64_t who = lookup(self, key, tag_for(key))
        # Foreign code in the lookup may have brought a later moment.
        now = max(now, self._latest)
        if who < 0 or self._entries[who].mark & STATE != LIVE or self._entries[who].expires <= now:
            return -1
        return who

    cdef object _source_of(self, object key, object value):
        cdef object source = self._sources(key, value)
        if source is None or (
            PyBytes_CheckExact(source) or PyUnicode_CheckExact(source) or PyLong_CheckExact(source)
        ):
            return source
        # Other types could run code of their own whenever they are hashed or compared.
        raise TypeError(
            f"source group of type {type(source).__name__} is refused; give bytes, str, int or None"
        )

    def _wear(self, uint32_t insertions):
        """Go on as if there had been so many insertions already; for tests of 2**32 of them."""
        self._next_order = max(self._next_order, insertions)

    def _farthest(self):
        """Return how many steps from its home the farthest entry has stood; for tests."""
        return self._slots.reach

    def _check(self):
        """Assert every invariant of the table; for tests. O(n log n)."""
        cdef uint32_t who, at
        cdef uint32_t[4] states = [0, 0, 0, 0]
        for who in range(self._used):
            states[self._entries[who].mark & STATE] += 1
            if self._entries[who].mark & STATE == FREE:
                continue
            assert self._entries[who].order < self._next_order
            assert self._entries[who].key != NULL and self._entries[who].value != NULL
            if self._entries[who].mark & STATE == LIVE:
                assert isfinite(self._latest)
        assert states[LIVE] == self._live_count <= self._capacity
        assert states[AGED] + states[GONE] == self._departed_count
        assert states[LIVE] + states[AGED] == self._slots.used
        assert self._used <= self._room
        who, at = self._free, 0
        while who != NONE:
            assert self._entries[who].mark & MARKS == FREE
            who, at = self._places[who].after, at + 1
        assert at == states[FREE]
        slots_check(&self._slots, self._entries, 1 << LIVE | 1 << AGED)
        assert self._room <= self._slots.low
        self._check_queue(&self._live, self._places, LIVE, NONE, self._live_count)
        assert self._departed.heap_count == 0
        self._check_departed()
        self._check_groups()

    cdef int _check_queue(
        self,
        const Queue* queue,
        const Place* places,
        uint32_t state,
        uint32_t group,
        uint32_t count,
    ) except -1:
        cdef uint32_t at, last, who, seen = 0
        cdef bint own
        for own in range(2):
            last, who = NONE, queue.own_first if own else queue.first
            while who != NONE:
                assert self._entries[who].mark & MARKS == state
                assert places[who].before == last
                assert last == NONE or earlier(self._entries, last, who)
                assert group == NONE or self.group_at(who) == group
                seen, last, who = seen + 1, who, places[who].after
            assert last == (queue.own_last if own else queue.last)
        for at in range(queue.heap_count):
            who = queue.heap[at]
            assert self._entries[who].mark & MARKS == state | HEAPED
            assert places[who].before == at
            assert at == 0 or not earlier(self._entries, who, queue.heap[(at - 1) // 2])
            assert group == NONE or self.group_at(who) == group
        assert seen + queue.heap_count == count
        return 0

    cdef int _check_departed(self) except -1:
        cdef uint32_t seen = 0, last = NONE, who = self._departed.first
        while who != NONE:
            assert self._entries[who].mark & MARKS in (AGED, GONE)
            assert self._places[who].before == last
            if not self._departed_unsorted:
                assert last == NONE or earlier(self._entries, last, who)
            seen, last, who = seen + 1, who, self._places[who].after
        assert self._departed.last == last and seen == self._departed_count
        return 0

    cdef int _check_groups(self) except -1:
        cdef uint32_t at, group, total = 0, grouped = 0
        for at in range(self._used):
            if self._entries[at].mark & STATE == LIVE and self.group_at(at) != NONE:
                grouped += 1
        for at in range(self._groups.ranked):
            group = self._groups.ranking[at]
            assert self._groups.each[group].rank == at and self._groups.each[group].count > 0
            assert at == 0 or not outranks(
                &self._groups, self._entries, group, self._groups.ranking[(at - 1) // 2]
            )
            assert self._group_ids[self._group_sources[group]] == group
            total += self._groups.each[group].count
            self._check_queue(
                &self._groups.each[group].queue,
                self._group_places,
                LIVE,
                group,
                self._groups.each[group].count,
            )
        assert total == grouped
        assert len(self._group_ids) == self._groups.ranked
        assert len(self._group_ids) + len(self._group_free) == self._groups.used
        return 0


MutableMapping.register(TimedFilter)
