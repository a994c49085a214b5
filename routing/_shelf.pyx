"""The table under the timed filter: entries found by key, queued by deadline, grouped by source.

Open addressing over entries in C; keys and values stand in Python lists. Only `find` runs foreign
code (a key's `__eq__`), and it ends with its answer still true. Everything else is plain C work on
plain C memory until the last reference is dropped, so nothing can get in halfway. It reads no
clock, checks no argument and is no public face: that is `routing._filter`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.object cimport Py_EQ, PyObject_RichCompareBool
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcmp

from routing._queue cimport (
    NONE,
    Entry,
    Place,
    earlier,
    groups_reserve,
    queue_append,
    queue_first,
    queue_free,
    queue_init,
    queue_push,
    queue_remove,
    queue_reserve,
    rerank,
)

__all__ = ["Shelf"]

cdef enum:
    # A key whose own __eq__ changes the table each time makes a lookup start again so often.
    LOOKUPS_MAX = 64
    SLOT_BITS_LEAST = 3
    SLOT_BITS_MAX = 31
    # Memory of a smaller table is kept when it empties.
    ROOM_KEPT = 1_024

cdef struct Due:
    double expires
    uint64_t order
    uint32_t who


cdef int due_compare(const void* one, const void* two) noexcept nogil:
    cdef const Due* a = <const Due*> one
    cdef const Due* b = <const Due*> two
    if a.expires != b.expires:
        return -1 if a.expires < b.expires else 1
    return -1 if a.order < b.order else 1


cdef inline bint same_bytes(object one, object two) noexcept:
    return PyBytes_GET_SIZE(one) == PyBytes_GET_SIZE(two) and memcmp(
        PyBytes_AS_STRING(one), PyBytes_AS_STRING(two), <size_t> PyBytes_GET_SIZE(one)
    ) == 0


cdef int raise_collected() except -1:
    raise RuntimeError("a __del__ uses a filter that the garbage collector destroys")


cdef class Shelf:
    """Memory and order of a timed filter; made and driven by it alone."""

    def __cinit__(self, *args, **kwargs):
        queue_init(&self._live)
        queue_init(&self._departed)
        self._capacity = 0x7FFFFFFF
        self._keys = []
        self._values = []
        self._free = NONE
        self._group_free = []
        self._group_sources = []
        self._group_ids = {}
        self._rebuild_slots(SLOT_BITS_LEAST)

    def __dealloc__(self):
        cdef uint32_t group
        queue_free(&self._live)
        for group in range(self._groups.used):
            queue_free(&self._groups.each[group].queue)
        PyMem_RawFree(self._groups.each)
        PyMem_RawFree(self._groups.ranking)
        PyMem_RawFree(self._entries)
        PyMem_RawFree(self._places)
        PyMem_RawFree(self._group_places)
        PyMem_RawFree(self._slots)

    # -- what the filter calls

    cdef int64_t find(self, object key, uint32_t tag) except -2:
        # The entry in the table under `key`, or -1.
        cdef object candidate
        cdef uint64_t version
        cdef uint32_t at, mask, who
        cdef bint same
        cdef int _try
        if self._keys is None:
            raise_collected()
        for _try in range(LOOKUPS_MAX):
            version = self._version
            mask = (<uint32_t> 1 << self._slot_bits) - 1
            at = tag >> (32 - self._slot_bits)
            while True:
                who = self._slots[at].who
                if who == NONE:
                    return -1
                if self._slots[at].tag == tag:
                    candidate = self._keys[who]
                    if candidate is key:
                        return who
                    if PyBytes_CheckExact(candidate) and PyBytes_CheckExact(key):
                        same = same_bytes(candidate, key)
                    else:
                        same = PyObject_RichCompareBool(candidate, key, Py_EQ)
                    if version != self._version:
                        break
                    if same:
                        return who
                at = (at + 1) & mask
            # Dropping what may be the last reference runs foreign code: that must come before the
            # version is read again.
            candidate = None
        raise RuntimeError(
            f"lookup of a {type(key).__name__} was begun {LOOKUPS_MAX} times: its __eq__ changes "
            "the filter each time it is called"
        )

    cdef object put(
        self, object key, object value, uint32_t tag, double ttl, bint own_ttl, object source
    ):
        # Hold `value` from the latest moment on; returns the live value it replaces.
        cdef object old
        cdef uint32_t group
        cdef int64_t found = self.find(key, tag)
        self.sweep()
        self._reserve()
        group = self._group_for(source)
        if own_ttl:
            self._reserve_heaps(group)
        if found >= 0 and self._entries[found].state == LIVE:
            old = self._values[found]
            self._values[found] = value
            self._unlink(<uint32_t> found, group)
            self._link(<uint32_t> found, ttl, own_ttl, group)
            return old
        if found >= 0:
            self._slot_delete(<uint32_t> found)
            self._entries[found].state = GONE
        if self._live_count >= self._capacity:
            self._depart(self._victim(group), GONE, group)
        if self._free != NONE:
            found = self._free
            self._free = self._places[found].after
        else:
            found = self._used
            self._used += 1
        self._keys[found] = key
        self._values[found] = value
        self._entries[found].tag = tag
        self._slot_put(<uint32_t> found)
        self._link(<uint32_t> found, ttl, own_ttl, group)
        return None

    cdef object take(self, uint32_t who):
        # Remove an entry of the table. Key and value are kept until the table is whole again, for
        # their __del__ may use it.
        cdef object _key = self._keys[who]
        cdef object value = self._values[who]
        self._slot_delete(who)
        if self._entries[who].state == LIVE:
            self._unlink(who, NONE)
        else:
            queue_remove(&self._departed, self._places, self._entries, who)
            self._departed_count -= 1
        self._release(who)
        return value

    cdef int restart(self, uint32_t who, double ttl, bint own_ttl) except -1:
        cdef uint32_t group = self._entries[who].group
        if own_ttl:
            self._reserve_heaps(group)
        self._unlink(who, group)
        self._link(who, ttl, own_ttl, group)
        return 0

    cdef int sweep(self) except -1:
        # Let depart what is no longer live at the latest moment.
        cdef uint32_t who = queue_first(&self._live, self._entries)
        if self._keys is None:
            raise_collected()
        while who != NONE and self._entries[who].expires <= self._latest:
            self._depart(who, AGED, NONE)
            who = queue_first(&self._live, self._entries)
        return 0

    cdef int depart_all(self) except -1:
        self.sweep()
        while self._live_count:
            self._depart(queue_first(&self._live, self._entries), AGED, NONE)
        return 0

    cdef list collect(self):
        # Hand over the departed. The lists come first and the tuples last: making either may start
        # the garbage collector, and with it foreign code.
        cdef list keys = []
        cdef list values = []
        cdef uint32_t who
        self._sort_departed()
        while self._departed.first != NONE:
            who = self._departed.first
            keys.append(self._keys[who])
            values.append(self._values[who])
            queue_remove(&self._departed, self._places, self._entries, who)
            self._departed_count -= 1
            if self._entries[who].state == AGED:
                self._slot_delete(who)
            self._release(who)
        self._give_back()
        return list(zip(keys, values))

    cdef int list_live(self, list keys, list values, list expires) except -1:
        # Append the live entries in order; what is not None among the lists is filled.
        cdef uint32_t who, count = 0
        cdef Due* due
        self.sweep()
        due = <Due*> PyMem_RawMalloc((<size_t> self._live_count + 1) * sizeof(Due))
        if due == NULL:
            raise MemoryError
        for who in range(self._used):
            if self._entries[who].state == LIVE:
                due[count].expires = self._entries[who].expires
                due[count].order = self._entries[who].order
                due[count].who = who
                count += 1
        qsort(due, count, sizeof(Due), due_compare)
        try:
            for who in range(count):
                keys.append(self._keys[due[who].who])
                if values is not None:
                    values.append(self._values[due[who].who])
                if expires is not None:
                    expires.append(due[who].expires)
        finally:
            PyMem_RawFree(due)
        return 0

    # -- memory

    cdef int _reserve(self) except -1:
        # Make room for one more entry and its slot, so that nothing can fail later.
        if self._free == NONE and self._used == self._room:
            self._grow()
        if self._free == NONE and len(self._values) <= <Py_ssize_t> self._used:
            if len(self._keys) <= <Py_ssize_t> self._used:
                self._keys.append(None)
            self._values.append(None)
        if 3 * (<uint64_t> self._slots_used + 1) > 2 * (<uint64_t> 1 << self._slot_bits):
            self._rebuild_slots(self._slot_bits + 1)
        return 0

    cdef int _grow(self) except -1:
        cdef size_t room = 2 * <size_t> self._room if self._room else 8
        cdef void* block
        if room > 0x80000000:
            raise MemoryError
        block = PyMem_RawRealloc(self._entries, room * sizeof(Entry))
        if block == NULL:
            raise MemoryError
        self._entries = <Entry*> block
        block = PyMem_RawRealloc(self._places, room * sizeof(Place))
        if block == NULL:
            raise MemoryError
        self._places = <Place*> block
        if self._grouped:
            block = PyMem_RawRealloc(self._group_places, room * sizeof(Place))
            if block == NULL:
                raise MemoryError
            self._group_places = <Place*> block
        self._room = <uint32_t> room
        return 0

    cdef int _rebuild_slots(self, int bits) except -1:
        cdef Slot* slots
        cdef Slot* old = self._slots
        cdef uint64_t at
        cdef uint64_t old_size = (<uint64_t> 1 << self._slot_bits) if old != NULL else 0
        if bits > SLOT_BITS_MAX:
            raise MemoryError
        slots = <Slot*> PyMem_RawMalloc((<size_t> 1 << bits) * sizeof(Slot))
        if slots == NULL:
            raise MemoryError
        for at in range(<uint64_t> 1 << bits):
            slots[at].who = NONE
        self._slots = slots
        self._slot_bits = bits
        self._slots_used = 0
        for at in range(old_size):
            if old[at].who != NONE:
                self._slot_put(old[at].who)
        PyMem_RawFree(old)
        self._version += 1
        return 0

    cdef void _slot_put(self, uint32_t who) noexcept:
        cdef uint32_t mask = (<uint32_t> 1 << self._slot_bits) - 1
        cdef uint32_t at = self._entries[who].tag >> (32 - self._slot_bits)
        while self._slots[at].who != NONE:
            at = (at + 1) & mask
        self._slots[at].who = who
        self._slots[at].tag = self._entries[who].tag
        self._slots_used += 1
        self._version += 1

    cdef void _slot_delete(self, uint32_t who) noexcept:
        # Later slots of the run move back over the gap, so no tombstones are left behind.
        cdef uint32_t mask = (<uint32_t> 1 << self._slot_bits) - 1
        cdef int shift = 32 - self._slot_bits
        cdef uint32_t gap = self._entries[who].tag >> shift
        cdef uint32_t at
        while self._slots[gap].who != who:
            gap = (gap + 1) & mask
        at = (gap + 1) & mask
        while self._slots[at].who != NONE:
            if ((at - (self._slots[at].tag >> shift)) & mask) >= ((at - gap) & mask):
                self._slots[gap] = self._slots[at]
                gap = at
            at = (at + 1) & mask
        self._slots[gap].who = NONE
        self._slots_used -= 1
        self._version += 1

    cdef void _release(self, uint32_t who) noexcept:
        # The caller holds the key and the value still.
        self._keys[who] = None
        self._values[who] = None
        self._entries[who].state = FREE
        self._places[who].after = self._free
        self._free = who

    cdef int _give_back(self) except -1:
        # An empty table that was large starts again small.
        cdef uint32_t group
        if self._live_count or self._departed_count or self._room <= ROOM_KEPT:
            return 0
        self._rebuild_slots(SLOT_BITS_LEAST)
        self._keys.clear()
        self._values.clear()
        PyMem_RawFree(self._entries)
        PyMem_RawFree(self._places)
        PyMem_RawFree(self._group_places)
        self._entries = NULL
        self._places = NULL
        self._group_places = NULL
        self._room = self._used = 0
        self._free = NONE
        queue_free(&self._live)
        for group in range(self._groups.used):
            queue_free(&self._groups.each[group].queue)
        PyMem_RawFree(self._groups.each)
        PyMem_RawFree(self._groups.ranking)
        self._groups.each = NULL
        self._groups.ranking = NULL
        self._groups.room = self._groups.used = 0
        self._group_free.clear()
        self._group_sources.clear()
        return 0

    # -- order and groups

    cdef int _reserve_heaps(self, uint32_t group) except -1:
        if queue_reserve(&self._live) < 0:
            raise MemoryError
        if group != NONE and queue_reserve(&self._groups.each[group].queue) < 0:
            raise MemoryError
        return 0

    cdef void _link(self, uint32_t who, double ttl, bint own_ttl, uint32_t group) noexcept:
        cdef Entry* entry = &self._entries[who]
        entry.expires = self._latest + ttl
        entry.order = self._next_order
        entry.group = group
        entry.state = LIVE
        self._next_order += 1
        self._live_count += 1
        if own_ttl:
            queue_push(&self._live, self._places, self._entries, who)
        else:
            queue_append(&self._live, self._places, who)
        if group == NONE:
            return
        self._groups.each[group].count += 1
        if own_ttl:
            queue_push(&self._groups.each[group].queue, self._group_places, self._entries, who)
        else:
            queue_append(&self._groups.each[group].queue, self._group_places, who)
        rerank(&self._groups, self._entries, group)

    cdef int _unlink(self, uint32_t who, uint32_t keep) except -1:
        # Take a live entry out of its queues; its group goes when empty, unless it is `keep`.
        cdef uint32_t group = self._entries[who].group
        queue_remove(&self._live, self._places, self._entries, who)
        self._live_count -= 1
        if group == NONE:
            return 0
        queue_remove(&self._groups.each[group].queue, self._group_places, self._entries, who)
        self._groups.each[group].count -= 1
        rerank(&self._groups, self._entries, group)
        if self._groups.each[group].count == 0 and group != keep:
            queue_free(&self._groups.each[group].queue)
            del self._group_ids[self._group_sources[group]]
            self._group_sources[group] = None
            self._group_free.append(group)
        return 0

    cdef int _depart(self, uint32_t who, uint32_t state, uint32_t keep) except -1:
        # A live entry waits from now on to be handed back: AGED ones under their key, others not.
        cdef uint32_t last = self._departed.last
        self._unlink(who, keep)
        if state == GONE:
            self._slot_delete(who)
        self._entries[who].state = state
        if last != NONE and earlier(self._entries, who, last):
            self._departed_unsorted = True
        queue_append(&self._departed, self._places, who)
        self._departed_count += 1
        return 0

    cdef uint32_t _victim(self, uint32_t group) noexcept:
        # Who departs so that a newcomer of `group` fits: the first of the largest group, newcomer
        # counted, so that it is the flood that pays for the flood.
        cdef uint32_t largest
        cdef uint32_t own = NONE
        if self._groups.ranked == 0:
            return queue_first(&self._live, self._entries)
        largest = self._groups.ranking[0]
        own = queue_first(&self._groups.each[largest].queue, self._entries)
        if group == NONE or group == largest or self._groups.each[group].count == 0:
            return own
        if self._groups.each[group].count + 1 < self._groups.each[largest].count:
            return own
        if self._groups.each[group].count + 1 == self._groups.each[largest].count:
            largest = queue_first(&self._groups.each[group].queue, self._entries)
            return largest if earlier(self._entries, largest, own) else own
        return queue_first(&self._groups.each[group].queue, self._entries)

    cdef uint32_t _group_for(self, object source) except? 0xFFFFFFFE:
        # Sources are bytes, str or int, so the dict runs no foreign code.
        cdef uint32_t group
        cdef object known
        if source is None:
            return NONE
        known = self._group_ids.get(source)
        if known is not None:
            return known
        if self._group_free:
            group = self._group_free[len(self._group_free) - 1]
        elif groups_reserve(&self._groups) < 0:
            raise MemoryError
        else:
            group = self._groups.used
            self._group_sources.append(None)
        self._group_ids[source] = group
        if self._group_free:
            self._group_free.pop()
        else:
            self._groups.used += 1
        self._group_sources[group] = source
        queue_init(&self._groups.each[group].queue)
        self._groups.each[group].count = 0
        self._groups.each[group].rank = NONE
        return group

    cdef int _sort_departed(self) except -1:
        cdef Due* due
        cdef uint32_t who, count = 0
        if not self._departed_unsorted:
            return 0
        due = <Due*> PyMem_RawMalloc((<size_t> self._departed_count + 1) * sizeof(Due))
        if due == NULL:
            raise MemoryError
        who = self._departed.first
        while who != NONE:
            due[count].expires = self._entries[who].expires
            due[count].order = self._entries[who].order
            due[count].who = who
            count += 1
            who = self._places[who].after
        qsort(due, count, sizeof(Due), due_compare)
        self._departed.first = self._departed.last = NONE
        for who in range(count):
            queue_append(&self._departed, self._places, due[who].who)
        PyMem_RawFree(due)
        self._departed_unsorted = False
        return 0
