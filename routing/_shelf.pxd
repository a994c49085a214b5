# The table under the timed filter; `_filter.pxd` is what other rooms use.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from routing._queue cimport Entry, Groups, Place, Queue


cdef enum:
    # What an entry of the table is.
    FREE = 0
    LIVE = 1
    AGED = 2  # departed, still found under its key by remove()
    GONE = 3  # departed, another entry may have its key


cdef struct Slot:
    uint32_t tag
    uint32_t who


cdef class Shelf:
    cdef double _latest
    cdef uint32_t _capacity
    cdef bint _grouped
    # Keys and values are Python's to collect, so they stand in lists; the rest is ours.
    cdef list _keys
    cdef list _values
    cdef Entry* _entries
    cdef Place* _places
    cdef Place* _group_places
    cdef uint32_t _room
    cdef uint32_t _used
    cdef uint32_t _free
    cdef Queue _live
    cdef Queue _departed
    cdef uint32_t _live_count
    cdef uint32_t _departed_count
    cdef bint _departed_unsorted
    cdef uint64_t _next_order
    cdef Slot* _slots
    cdef int _slot_bits
    cdef uint32_t _slots_used
    cdef uint64_t _version
    cdef Groups _groups
    cdef list _group_free
    cdef list _group_sources
    cdef dict _group_ids

    cdef int64_t find(self, object key, uint32_t tag) except -2
    cdef object put(
        self, object key, object value, uint32_t tag, double ttl, bint own_ttl, object source
    )
    cdef object take(self, uint32_t who)
    cdef int restart(self, uint32_t who, double ttl, bint own_ttl) except -1
    cdef int sweep(self) except -1
    cdef int depart_all(self) except -1
    cdef list collect(self)
    cdef int list_live(self, list keys, list values, list expires) except -1

    cdef int _reserve(self) except -1
    cdef int _grow(self) except -1
    cdef int _rebuild_slots(self, int bits) except -1
    cdef void _slot_put(self, uint32_t who) noexcept
    cdef void _slot_delete(self, uint32_t who) noexcept
    cdef int _reserve_heaps(self, uint32_t group) except -1
    cdef void _link(self, uint32_t who, double ttl, bint own_ttl, uint32_t group) noexcept
    cdef int _unlink(self, uint32_t who, uint32_t keep) except -1
    cdef int _depart(self, uint32_t who, uint32_t state, uint32_t keep) except -1
    cdef uint32_t _victim(self, uint32_t group) noexcept
    cdef uint32_t _group_for(self, object source) except? 0xFFFFFFFE
    cdef void _release(self, uint32_t who) noexcept
    cdef int _sort_departed(self) except -1
    cdef int _give_back(self) except -1
