"""Ids remembered for a while: `MessageFilter`, and the checks it shares with its neighbour.

Users find it in `routing._filter`. It hands nothing back and calls nobody; what is in it can be
asked for and nothing else.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.pythread cimport PyThread_get_thread_ident
from libc.math cimport INFINITY, isfinite, isnan
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

cimport cython

from routing._queue cimport NONE

from time import monotonic

from routing.errors import UsageError

__all__ = ["MessageFilter"]

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030E0000
    #define routing_hash_bytes Py_HashBuffer
    #else
    #define routing_hash_bytes _Py_HashBytes
    #endif
    """
    # Keyed by the interpreter (SipHash), so a stranger who chooses the bytes cannot aim.
    Py_hash_t hash_bytes "routing_hash_bytes" (const void* source, Py_ssize_t size) noexcept

cdef enum:
    ID_BYTES = 16
    RING_LEAST = 16


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

    Args:
        ttl: How long an id is remembered, above 0, in the unit of `now` and `clock()`.
        capacity: Most ids, at least 1. Memory grows with use, up to some 50 bytes each.
        clock: Called when no `now` is given. None: the largest `now` seen so far, 0 at first.

    Raises:
        UsageError: ttl or capacity out of bounds, an id not 16 bytes long.
        TypeError: an argument of the wrong type.
    """

    def __cinit__(self, ttl, *, capacity, clock=monotonic):
        check_callable("clock", clock)
        self.ttl = lifetime_of(ttl)
        self.capacity = capacity_of(capacity)
        self._clock = clock
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
        self._room = self._head = self._count = 0
        self._latest = 0.0 if self._clock is None else -INFINITY

    def deadlines(self, now=None):
        """Return the remembered ids in order as (id, expires). O(n)."""
        cdef uint32_t k
        cdef list ids = [], expires = []
        cdef Seen* seen
        self._moment(now)
        self._sweep()
        for k in range(self._count):
            seen = &self._ring[(self._head + k) & (self._room - 1)]
            ids.append((<const char*> seen.id)[:ID_BYTES])
            expires.append(seen.expires)
        return list(zip(ids, expires))

    def __repr__(self):
        return f"<MessageFilter ttl={self.ttl:g} capacity={self.capacity} ids={self._count}>"

    # -- for compiled callers

    cdef int insert_at(self, const uint8_t* id, double now, double ttl) except -1:
        cdef uint32_t tag = tag_of(hash_bytes(id, ID_BYTES))
        cdef uint32_t at
        cdef double expires
        self._latest = max(self._latest, now)
        self._sweep()
        if self._slot_of(id, tag) >= 0:
            return 0
        expires = self._latest + (ttl if ttl > 0 else self.ttl)
        if self._count:
            at = (self._head + self._count - 1) & (self._room - 1)
            if expires < self._ring[at].expires:
                raise UsageError(
                    f"an id that expires at {expires!r} is refused; the last one does at "
                    f"{self._ring[at].expires!r} and ids are kept in order: insert it earlier"
                )
        if self._count == <uint32_t> self.capacity:
            self._drop_first()
            self.evicted += 1
        self._reserve()
        at = (self._head + self._count) & (self._room - 1)
        memcpy(self._ring[at].id, id, ID_BYTES)
        self._ring[at].expires = expires
        self._ring[at].tag = tag
        self._count += 1
        self._put(at)
        return 1

    cdef bint contains_at(self, const uint8_t* id, double now) noexcept:
        cdef int64_t slot = self._slot_of(id, tag_of(hash_bytes(id, ID_BYTES)))
        return slot >= 0 and self._ring[self._slots[slot]].expires > max(now, self._latest)

    # -- private

    cdef double _moment(self, object now) except? -1:
        cdef double moment
        if ROUTING_DEBUG:
            check_thread(self._thread)
        if now is None and self._clock is None:
            return self._latest
        moment = moment_of(self._clock() if now is None else now)
        if moment > self._latest:
            self._latest = moment
        return self._latest

    cdef int64_t _slot_of(self, const uint8_t* id, uint32_t tag) noexcept:
        # The index is twice the ring, so a run ends soon and always ends.
        cdef uint32_t mask = 2 * self._room - 1
        cdef uint32_t slot
        if self._count == 0:
            return -1
        slot = tag & mask
        while self._slots[slot] != NONE:
            if self._ring[self._slots[slot]].tag == tag and memcmp(
                self._ring[self._slots[slot]].id, id, ID_BYTES
            ) == 0:
                return slot
            slot = (slot + 1) & mask
        return -1

    cdef void _put(self, uint32_t at) noexcept:
        cdef uint32_t mask = 2 * self._room - 1
        cdef uint32_t slot = self._ring[at].tag & mask
        while self._slots[slot] != NONE:
            slot = (slot + 1) & mask
        self._slots[slot] = at

    cdef void _drop_first(self) noexcept:
        cdef uint32_t mask = 2 * self._room - 1
        cdef uint32_t gap = self._ring[self._head].tag & mask
        cdef uint32_t slot
        while self._slots[gap] != self._head:
            gap = (gap + 1) & mask
        slot = (gap + 1) & mask
        # Later ones of the run move back over the gap, so no tombstones are left behind.
        while self._slots[slot] != NONE:
            if ((slot - self._ring[self._slots[slot]].tag) & mask) >= ((slot - gap) & mask):
                self._slots[gap] = self._slots[slot]
                gap = slot
            slot = (slot + 1) & mask
        self._slots[gap] = NONE
        self._head = (self._head + 1) & (self._room - 1)
        self._count -= 1

    cdef void _sweep(self) noexcept:
        while self._count and self._ring[self._head].expires <= self._latest:
            self._drop_first()

    cdef int _reserve(self) except -1:
        cdef uint32_t room, k
        cdef Seen* ring
        cdef uint32_t* slots
        if self._count < self._room:
            return 0
        room = 2 * self._room if self._room else RING_LEAST
        ring = <Seen*> PyMem_RawMalloc(<size_t> room * sizeof(Seen))
        slots = <uint32_t*> PyMem_RawMalloc(2 * <size_t> room * sizeof(uint32_t))
        if ring == NULL or slots == NULL:
            PyMem_RawFree(ring)
            PyMem_RawFree(slots)
            raise MemoryError
        for k in range(self._count):
            ring[k] = self._ring[(self._head + k) & (self._room - 1)]
        memset(slots, 0xFF, 2 * <size_t> room * sizeof(uint32_t))
        PyMem_RawFree(self._ring)
        PyMem_RawFree(self._slots)
        self._ring = ring
        self._slots = slots
        self._room = room
        self._head = 0
        for k in range(self._count):
            self._put(k)
        return 0

    def _check(self):
        """Assert every invariant of the ring and its index; for tests. O(n)."""
        cdef uint32_t k, slot, at, used = 0
        assert self._count <= <uint32_t> self.capacity and self._count <= self._room
        assert self._room & (self._room - 1) == 0 and (self._head < self._room or not self._room)
        for slot in range(2 * self._room):
            used += self._slots[slot] != NONE
        assert used == self._count
        for k in range(self._count):
            at = (self._head + k) & (self._room - 1)
            assert self._slot_of(self._ring[at].id, self._ring[at].tag) >= 0
            assert k == 0 or (
                self._ring[(at - 1) & (self._room - 1)].expires <= self._ring[at].expires
            )
