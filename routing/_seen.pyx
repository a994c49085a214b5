"""Ids remembered for a while: `MessageFilter`, and the checks it shares with its neighbour.

Users find it in `routing._filter`. It hands nothing back and calls nobody; what is in it can be
asked for and nothing else.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.pythread cimport PyThread_get_thread_ident
from libc.math cimport INFINITY, isfinite, isnan
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

cimport cython

from routing._queue cimport NONE

from os import urandom

from routing.errors import UsageError

cdef extern from "Python.h":
    # Big-endian if `little` is 0.
    int PyFloat_Pack8(double value, char* at, int little) except -1
    double PyFloat_Unpack8(const char* at, int little) except? -1


__all__ = ["MessageFilter", "coarse"]

cdef enum:
    ID_BYTES = 16
    PACKED_BYTES = 24
    RING_LEAST = 16
    SLOTS_LEAST = 32
    SMALL = 16_384
    AHEAD = 12
    BYTES_LEAST = 1_024


BYTES_MOST = 2**36


def coarse():
    """Return the seconds of the monotonic clock at the last tick of the kernel, 1 to 10 ms ago.

    The clock of both filters unless they are given another: reading it costs 3 ns, not 22, and
    `time.monotonic` is never behind it.
    """
    return coarse_seconds()


cdef inline uint64_t slots_for(uint64_t count) noexcept nogil:
    # The index for so many ids: a power of two, at most two thirds of it in use.
    cdef uint64_t size = SLOTS_LEAST
    while 2 * size < 3 * count:
        size *= 2
    return size


cdef inline uint32_t longer(uint32_t room, uint32_t most) noexcept nogil:
    # The next size of a ring: twice, and above a page by a quarter, so that little lies idle.
    cdef uint64_t larger = room + (room // 4 if room >= 4_096 else room)
    return <uint32_t> min(max(larger, <uint64_t> RING_LEAST), <uint64_t> most)


cdef Py_ssize_t fitting(object bytes_max) except -1:
    # How many ids so much memory holds, ring and index together.
    cdef uint64_t size = SLOTS_LEAST, best = 0, most
    if isinstance(bytes_max, bool) or not isinstance(bytes_max, int):
        raise TypeError(f"bytes_max={bytes_max!r} must be an integer")
    if not BYTES_LEAST <= bytes_max <= BYTES_MOST:
        raise UsageError(
            f"bytes_max={bytes_max} is refused; it must be from {BYTES_LEAST} to {BYTES_MOST}"
        )
    most = bytes_max
    while size * sizeof(uint32_t) < most:
        best = max(best, min(2 * size // 3, (most - size * sizeof(uint32_t)) // sizeof(Seen)))
        size *= 2
    return <Py_ssize_t> min(best, <uint64_t> CAPACITY_MAX)


cdef double lifetime_of(object ttl) except -1:
    cdef double lifetime
    try:
        lifetime = ttl
    except TypeError:
        raise TypeError(f"ttl={ttl!r} must be a number above 0") from None
    except OverflowError:
        lifetime = -1
    if isnan(lifetime) or lifetime <= 0:
        raise UsageError(f"ttl={ttl!r} is refused; it must be above 0, in the unit of `now`")
    return lifetime


cdef double moment_of(object now) except? -1:
    cdef double moment
    try:
        moment = now
    except TypeError:
        raise TypeError(f"now={now!r} must be a number") from None
    except OverflowError:
        moment = INFINITY
    if not isfinite(moment):
        raise UsageError(f"now={now!r} is refused; it must be a finite number")
    return moment


cdef Py_ssize_t capacity_of(object capacity) except -1:
    if isinstance(capacity, bool) or not isinstance(capacity, int):
        raise TypeError(f"capacity={capacity!r} must be an integer")
    if not 1 <= capacity <= CAPACITY_MAX:
        raise UsageError(f"capacity={capacity} is refused; it must be from 1 to {CAPACITY_MAX}")
    return capacity


cdef const uint8_t* id_of(object id) except NULL:
    # Valid for as long as the caller holds the object.
    if not PyBytes_Check(id):
        raise TypeError(f"id of type {type(id).__name__} is refused; it must be bytes")
    if PyBytes_GET_SIZE(id) != ID_BYTES:
        raise UsageError(f"id of {PyBytes_GET_SIZE(id)} bytes must have exactly {ID_BYTES}")
    return <const uint8_t*> PyBytes_AS_STRING(id)


cdef int check_callable(str role, object function) except -1:
    if function is not None and not callable(function):
        raise TypeError(f"{role}={function!r} must be callable or None")
    return 0


cdef int check_thread(unsigned long owner) except -1:
    if PyThread_get_thread_ident() != owner:
        raise RuntimeError("a filter was used outside the thread that made it; hand it the call")
    return 0


@cython.final
cdef class MessageFilter:
    """Remembers ids of exactly 16 bytes for a while: the duplicate check of the data plane.

    A ring in order of deadline and an index over it, in C; no Python object is kept. A hit does not
    extend an id's life, so a flood of copies keeps nothing alive. At capacity the oldest id is
    forgotten and counted in `evicted`. It hands nothing back. Owned by one thread.

    The index hashes under a secret of its own, drawn when the filter is made, so whoever chooses
    the ids cannot make them meet.

    Args:
        ttl: How long an id is remembered, above 0, in the unit of `now` and `clock()`.
        capacity: Most ids, at least 1. None: as many as `bytes_max` holds.
        bytes_max: Most memory of its own, at least 1,024; lowers `capacity` to what fits. An id
            takes 24 bytes in the ring and 6 to 12 in the index.
        clock: Called when no `now` is given. None: the largest `now` seen so far, 0 at first.

    Raises:
        UsageError: ttl or capacity out of bounds, an id not 16 bytes long.
        TypeError: an argument of the wrong type.
    """

    def __cinit__(self, ttl, *, capacity=None, bytes_max=None, clock=coarse):
        cdef bytes secret = urandom(16)
        check_callable("clock", clock)
        self.ttl = lifetime_of(ttl)
        if capacity is None and bytes_max is None:
            raise UsageError("a MessageFilter needs a bound; give capacity, bytes_max or both")
        self.capacity = CAPACITY_MAX if capacity is None else capacity_of(capacity)
        if bytes_max is not None:
            self.capacity = min(self.capacity, fitting(bytes_max))
        memcpy(self._secret, PyBytes_AS_STRING(secret), sizeof(self._secret))
        self._clock = clock
        self._is_coarse = clock is coarse
        self._latest = 0.0 if clock is None else -INFINITY
        self._thread = PyThread_get_thread_ident()

    def __dealloc__(self):
        PyMem_RawFree(self._ring)
        PyMem_RawFree(self._slots)

    def insert(self, id, now=None, *, ttl=None):
        """Remember `id` and tell whether it is new: False if it is remembered already.

        A ttl of its own must not put the id before the last one (a snapshot is refilled in order).
        O(1) amortised.

        Raises:
            UsageError: the deadline would lie before that of the id inserted last.
        """
        cdef const uint8_t* start = id_of(id)
        cdef double lifetime = 0 if ttl is None else lifetime_of(ttl)
        return self.insert_at(start, self._moment(now), lifetime) == 1

    def add(self, id, /):
        """Remember `id` and tell whether it is new, as `insert` does; by its clock alone. O(1)."""
        cdef const uint8_t* start = id_of(id)
        return self.insert_at(start, self._moment(None), 0) == 1

    def contains(self, id, now=None):
        """Tell whether `id` is remembered: `in`, for a caller that has `now`. O(1)."""
        cdef const uint8_t* start = id_of(id)
        return self.contains_at(start, self._moment(now))

    def __contains__(self, id):
        return self.contains(id)

    def __len__(self):
        self._moment(None)
        self._sweep()
        return self._count

    def clear(self):
        """Forget every id, and the largest `now` with them."""
        PyMem_RawFree(self._ring)
        PyMem_RawFree(self._slots)
        self._ring = NULL
        self._slots = NULL
        self._room = self._head = self._count = self._mask = 0
        self._latest = 0.0 if self._clock is None else -INFINITY

    def deadlines(self, now=None):
        """Return the remembered ids in order as (id, expires). O(n)."""
        cdef uint32_t k
        cdef list ids = [], expires = []
        cdef Seen* seen
        self._moment(now)
        self._sweep()
        for k in range(self._count):
            seen = &self._ring[self._place(k)]
            ids.append((<const char*> seen.id)[:ID_BYTES])
            expires.append(seen.expires)
        return list(zip(ids, expires))

    def packed(self, now=None):
        """Return what `deadlines` does as bytes: 16 of each id, 8 of when, a big-endian double.

        A thirtieth of the time of a list; O(n).
        """
        cdef uint32_t k
        cdef Seen* seen
        cdef bytes text
        cdef uint8_t* at
        self._moment(now)
        self._sweep()
        text = PyBytes_FromStringAndSize(NULL, PACKED_BYTES * <Py_ssize_t> self._count)
        at = <uint8_t*> PyBytes_AS_STRING(text)
        for k in range(self._count):
            seen = &self._ring[self._place(k)]
            memcpy(at, seen.id, ID_BYTES)
            PyFloat_Pack8(seen.expires, <char*> at + ID_BYTES, 0)
            at += PACKED_BYTES
        return text

    def load(self, bytes text, now=None):
        """Remember what `packed` returned, as `insert` of each would. O(n).

        Raises:
            UsageError: it did not return that, or what it returned is over by now.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(text), place
        cdef const uint8_t* at = <const uint8_t*> PyBytes_AS_STRING(text)
        cdef double moment = self._moment(now), ttl
        if size % PACKED_BYTES:
            raise UsageError(f"{size} bytes are refused; each id has {PACKED_BYTES} with its time")
        for place in range(0, size, PACKED_BYTES):
            ttl = PyFloat_Unpack8(<const char*> at + place + ID_BYTES, 0) - moment
            if not ttl > 0:
                raise UsageError(f"an id that expires in {ttl!r} is refused; it must be above 0")
            self.insert_at(at + place, moment, ttl)

    def __repr__(self):
        return f"<MessageFilter ttl={self.ttl:g} capacity={self.capacity} ids={self._count}>"

    # -- for compiled callers

    cdef int insert_at(self, const uint8_t* id, double now, double ttl) except -1:
        cdef uint64_t hash
        cdef uint32_t at
        cdef double expires
        self._latest = max(self._latest, now)
        if self._count and self._ring[self._head].expires <= self._latest:
            self._sweep()
        hash = self._hash(id)
        if self._slot_of(id, hash) >= 0:
            return 0
        expires = self._latest + (ttl if ttl > 0 else self.ttl)
        if expires < self._last and self._count:
            raise UsageError(
                f"an id that expires at {expires!r} is refused; the last one does at "
                f"{self._last!r} and ids are kept in order: insert it earlier"
            )
        if self._count == <uint32_t> self.capacity:
            self._drop_first()
            self.evicted += 1
        self._reserve()
        at = self._place(self._count)
        memcpy(self._ring[at].id, id, ID_BYTES)
        self._ring[at].expires = self._last = expires
        self._count += 1
        if self._hole != NONE:
            self._slots[self._hole] = self._spelt(at, hash)
        else:
            self._put(at, hash)
        return 1

    cdef bint contains_at(self, const uint8_t* id, double now) noexcept:
        cdef int64_t slot = self._slot_of(id, self._hash(id))
        if slot < 0:
            return False
        return self._ring[self._slots[slot] & self._low].expires > max(now, self._latest)

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

    cdef inline uint64_t _hash(self, const uint8_t* id) noexcept:
        cdef uint64_t[2] words
        memcpy(words, id, ID_BYTES)
        # Once folded, ids that follow each other keep a pattern under one secret in a hundred.
        return folded(
            folded(words[0] ^ self._secret[0], words[1] ^ self._secret[1]) ^ self._secret[0],
            <uint64_t> 0xA0761D6478BD642F,
        )

    cdef inline uint32_t _place(self, uint32_t nth) noexcept:
        # Where the nth id of the ring stands.
        cdef uint64_t at = <uint64_t> self._head + nth
        return <uint32_t> (at if at < self._room else at - self._room)

    cdef inline uint32_t _spelt(self, uint32_t at, uint64_t hash) noexcept:
        # What a slot holds: the place in the lower bits, and above them bits of the hash, so that
        # hardly any other id has to be looked at in the ring.
        return (<uint32_t> (hash >> 32) & ~self._low) | at

    cdef int64_t _slot_of(self, const uint8_t* id, uint64_t hash) noexcept:
        # At least a third of the index is empty, so a run ends soon and always ends.
        cdef uint32_t slot, held, wanted
        self._hole = NONE
        if self._count == 0:
            return -1
        slot = <uint32_t> hash & self._mask
        wanted = self._spelt(0, hash)
        while self._slots[slot] != NONE:
            held = self._slots[slot]
            if held & ~self._low == wanted and memcmp(
                self._ring[held & self._low].id, id, ID_BYTES
            ) == 0:
                return slot
            slot = (slot + 1) & self._mask
        self._hole = slot
        return -1

    cdef void _put(self, uint32_t at, uint64_t hash) noexcept:
        cdef uint32_t slot = <uint32_t> hash & self._mask
        while self._slots[slot] != NONE:
            slot = (slot + 1) & self._mask
        self._slots[slot] = self._spelt(at, hash)

    cdef void _drop_first(self) noexcept:
        cdef uint64_t hash = self._hash(self._ring[self._head].id)
        cdef uint32_t gap = <uint32_t> hash & self._mask
        cdef uint32_t wanted = self._spelt(self._head, hash)
        cdef uint32_t slot, home
        while self._slots[gap] != wanted:
            gap = (gap + 1) & self._mask
        slot = (gap + 1) & self._mask
        # Later ones of the run move back over the gap, so no tombstones are left behind.
        while self._slots[slot] != NONE:
            home = <uint32_t> self._hash(self._ring[self._slots[slot] & self._low].id)
            if ((slot - home) & self._mask) >= ((slot - gap) & self._mask):
                self._slots[gap] = self._slots[slot]
                gap = slot
            slot = (slot + 1) & self._mask
        self._slots[gap] = NONE
        self._hole = NONE
        self._head = self._place(1)
        self._count -= 1

    cdef void _sweep(self) noexcept:
        while self._count and self._ring[self._head].expires <= self._latest:
            self._drop_first()

    cdef int _reserve(self) except -1:
        # Make room for one more; nothing has changed where there is no memory.
        cdef uint64_t size
        if self._count == self._room:
            self._lengthen()
        if 3 * (<uint64_t> self._count + 1) > 2 * (<uint64_t> self._mask + 1):
            # A small index grows fourfold: it is built anew less often, for little memory.
            size = slots_for(<uint64_t> self._count + 1)
            size = size if size > SMALL else 2 * size
            # Enough bits for the ring until the index is next built anew.
            self._index(size, max(self._low, <uint32_t> (2 * size - 1)))
        return 0

    cdef int _lengthen(self) except -1:
        # A longer ring. What stands at the same place in it keeps its slot.
        cdef uint32_t room = longer(self._room, <uint32_t> self.capacity)
        cdef uint32_t low = self._low
        cdef Seen* ring
        if self._head:
            self._straighten()
        while low < room:
            low = 2 * low + 1
        if low != self._low:
            self._index(max(slots_for(<uint64_t> self._count + 1), <uint64_t> self._mask + 1), low)
        ring = <Seen*> PyMem_RawRealloc(self._ring, <size_t> room * sizeof(Seen))
        if ring == NULL:
            raise MemoryError
        self._ring = ring
        self._room = room
        return 0

    cdef int _straighten(self) except -1:
        # Turn the full ring until its first id stands at its first place.
        cdef Seen* ring = <Seen*> PyMem_RawMalloc(<size_t> self._room * sizeof(Seen))
        cdef Seen* old = self._ring
        cdef uint32_t head = self._head
        if ring == NULL:
            raise MemoryError
        memcpy(ring, old + head, <size_t> (self._room - head) * sizeof(Seen))
        memcpy(ring + (self._room - head), old, <size_t> head * sizeof(Seen))
        self._ring = ring
        self._head = 0
        try:
            self._index(<uint64_t> self._mask + 1, self._low)
        except MemoryError:
            self._ring = old
            self._head = head
            PyMem_RawFree(ring)
            raise
        PyMem_RawFree(old)
        return 0

    cdef int _index(self, uint64_t size, uint32_t low) except -1:
        # Build the index anew, with so many slots.
        cdef uint32_t* slots = <uint32_t*> PyMem_RawMalloc(<size_t> size * sizeof(uint32_t))
        cdef uint32_t k, ahead
        if slots == NULL:
            raise MemoryError
        memset(slots, 0xFF, <size_t> size * sizeof(uint32_t))
        PyMem_RawFree(self._slots)
        self._slots = slots
        self._mask = <uint32_t> (size - 1)
        self._low = low
        self._hole = NONE
        for k in range(self._count):
            # Each goes to a place of its own in memory: asked for in time, they come together.
            ahead = self._place(min(k + AHEAD, self._count - 1))
            fetch(&slots[<uint32_t> self._hash(self._ring[ahead].id) & self._mask])
            self._put(self._place(k), self._hash(self._ring[self._place(k)].id))
        return 0

    def _farthest(self):
        """Return how many slots from its home the farthest id stands; for tests. O(n)."""
        cdef uint32_t k, at, slot, most = 0
        cdef uint64_t hash
        for k in range(self._count):
            at = self._place(k)
            hash = self._hash(self._ring[at].id)
            slot = <uint32_t> self._slot_of(self._ring[at].id, hash)
            most = max(most, (slot - <uint32_t> hash) & self._mask)
        return most

    def _check(self):
        """Assert every invariant of the ring and its index; for tests. O(n)."""
        cdef uint32_t k, at, used = 0
        cdef uint64_t slot
        assert self._count <= <uint32_t> self.capacity and self._count <= self._room
        assert self._room == 0 or (self._head < self._room and self._room <= self._low)
        if self._slots != NULL:
            assert self._mask & (self._mask + 1) == 0
            for slot in range(<uint64_t> self._mask + 1):
                used += self._slots[slot] != NONE
            assert 3 * <uint64_t> used <= 2 * (<uint64_t> self._mask + 1)
        assert used == self._count
        for k in range(self._count):
            at = self._place(k)
            slot = <uint64_t> self._slot_of(self._ring[at].id, self._hash(self._ring[at].id))
            assert slot <= self._mask and self._slots[slot] & self._low == at
            assert k == 0 or self._ring[self._place(k - 1)].expires <= self._ring[at].expires
