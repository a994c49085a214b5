"""The table under the timed filter: entries found by key, queued by deadline, grouped by source.

Open addressing over entries in C, which hold their keys and values themselves and show them to the
garbage collector. Only `find` runs foreign code (a key's `__eq__`), and it ends with its answer
still true. Everything else is plain C work on plain C memory until the last reference is dropped,
so nothing can get in halfway. It reads no clock, checks no argument and is no public face: that is
`routing._filter`.
"""

from cpython.bytes cimport PyBytes_CheckExact
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from cpython.object cimport Py_EQ, PyObject, PyObject_RichCompareBool
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport qsort

from routing._queue cimport (
    HEAPED, MARKS, NONE, STATE, Due, Entry, Place, due_compare, dues, earlier, groups_free,
    groups_reserve, orders_renew, queue_append, queue_first, queue_free, queue_init, queue_put,
    queue_remove, queue_reserve, queue_sort, rerank, victim,
)
from routing._slots cimport (
    BUCKET, SLOT_BITS_LEAST, bits_more, bucket_empty, bucket_home, bucket_like, bucket_next,
    lowest, slot_delete, slot_put, slots_free, slots_full, slots_renew, spelt,
)

__all__ = ["Shelf"]

cdef extern from *:
    # Counted by hand: a reference in an entry is no variable of the language.
    void keep "Py_INCREF" (PyObject* held) noexcept
    void drop "Py_DECREF" (PyObject* held) noexcept
    ctypedef int (*visitproc)(PyObject*, void*) noexcept
    ctypedef int (*traverseproc)(PyObject*, visitproc, void*) noexcept
    ctypedef int (*inquiry)(PyObject*) noexcept
    ctypedef struct Kind "PyTypeObject":
        traverseproc tp_traverse
        inquiry tp_clear

cdef enum:
    # A key whose own __eq__ changes the table each time makes a lookup start again so often.
    LOOKUPS_MAX = 64
    # Memory of a smaller table is kept when it empties.
    ROOM_KEPT = 1_024
    ROOM_LEAST = 8
    ROOM_LARGE = 4_096


cdef void* resized(void* block, size_t size) except NULL:
    # The old block stays where there is no memory.
    cdef void* found = PyMem_RawRealloc(block, size)
    if found == NULL:
        raise MemoryError
    return found


cdef int raise_collected() except -1:
    raise RuntimeError("a __del__ uses a filter that the garbage collector destroys")


cdef class Shelf:
    """Memory and order of a timed filter; made and driven by it alone."""

    def __cinit__(self, *args, **kwargs):
        queue_init(&self._live)
        queue_init(&self._departed)
        self._capacity = 0x7FFFFFFF
        self._free = NONE
        self._group_free = []
        self._group_sources = []
        self._group_ids = {}
        rebuild_slots(self, SLOT_BITS_LEAST, 0)

    def __dealloc__(self):
        drop_all(self)
        slots_free(&self._slots)

    # -- what the filter calls

    cdef uint32_t group_at(self, uint32_t who) noexcept:
        return self._group_of[who] if self._grouped else NONE

    cdef int64_t find(self, object key, uint32_t tag) except -2:
        # The entry in the table under `key`, or -1.
        cdef object candidate
        cdef uint64_t version
        cdef uint32_t wanted, bucket, like, who
        cdef bint same
        cdef int _try
        if self._collected:
            raise_collected()
        for _try in range(LOOKUPS_MAX):
            version = self._slots.version
            bucket = bucket_home(&self._slots, tag)
            wanted = spelt(&self._slots, tag, 0)
            while version == self._slots.version:
                like = bucket_like(&self._slots.each[BUCKET * bucket], wanted, ~self._slots.low)
                while like:
                    who = self._slots.each[BUCKET * bucket + lowest(like)] & self._slots.low
                    like &= like - 1
                    if who == self._slots.low or self._entries[who].mark & ~<uint32_t> MARKS != tag:
                        continue
                    candidate = <object> self._entries[who].key
                    if candidate is key:
                        return who
                    if PyBytes_CheckExact(candidate) and PyBytes_CheckExact(key):
                        same = same_bytes(candidate, key)
                    else:
                        same = PyObject_RichCompareBool(candidate, key, Py_EQ)
                    if version != self._slots.version:
                        break
                    if same:
                        return who
                else:
                    if bucket_empty(&self._slots.each[BUCKET * bucket]):
                        return -1
                    bucket = bucket_next(&self._slots, bucket)
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
        cdef uint32_t group = NONE
        cdef int64_t found
        found = lookup(self, key, tag)
        if is_due(self):
            self.sweep()
        count_on(self)
        if found < 0 or self._entries[found].mark & STATE != LIVE:
            reserve(self)
        if source is not None:
            group = group_for(self, source)
        if own_ttl:
            reserve_heaps(self, group)
        if found >= 0 and self._entries[found].mark & STATE == LIVE:
            old = <object> self._entries[found].value
            drop(self._entries[found].value)
            keep(<PyObject*> value)
            self._entries[found].value = <PyObject*> value
            unlink(self, <uint32_t> found, group)
            link(self, <uint32_t> found, ttl, own_ttl, group)
            return old
        if found >= 0:
            slot_delete(&self._slots, self._entries, <uint32_t> found)
            set_state(self, <uint32_t> found, GONE)
        if self._live_count >= self._capacity:
            depart(self, victim(&self._groups, &self._live, self._entries, group), GONE, group)
        found = self._free
        self._free = self._places[found].after
        keep(<PyObject*> key)
        keep(<PyObject*> value)
        self._entries[found].key = <PyObject*> key
        self._entries[found].value = <PyObject*> value
        self._entries[found].mark = tag
        slot_put(&self._slots, self._entries, <uint32_t> found)
        link(self, <uint32_t> found, ttl, own_ttl, group)
        return None

    cdef object take(self, uint32_t who):
        # Remove an entry of the table. Key and value are kept until the table is whole again, for
        # their __del__ may use it.
        cdef object _key = <object> self._entries[who].key
        cdef object value = <object> self._entries[who].value
        if self._entries[who].mark & STATE == LIVE:
            slot_delete(&self._slots, self._entries, who)
            unlink(self, who, NONE)
            release(self, who)
        else:
            let_go(self, who)
        return value

    cdef int restart(self, uint32_t who, double ttl, bint own_ttl) except -1:
        cdef uint32_t group = self.group_at(who)
        if own_ttl:
            reserve_heaps(self, group)
        count_on(self)
        unlink(self, who, group)
        link(self, who, ttl, own_ttl, group)
        return 0

    cdef int sweep(self) except -1:
        # Let depart what is no longer live at the latest moment.
        cdef uint32_t who = queue_first(&self._live, self._entries)
        if self._collected:
            raise_collected()
        while who != NONE and self._entries[who].expires <= self._latest:
            depart(self, who, AGED, NONE)
            who = queue_first(&self._live, self._entries)
        return 0

    cdef int depart_all(self) except -1:
        self.sweep()
        while self._live_count:
            depart(self, queue_first(&self._live, self._entries), AGED, NONE)
        return 0

    cdef list collect(self):
        # Hand over the departed. The lists come first and the tuples last: making either may start
        # the garbage collector, and with it foreign code.
        cdef list keys, values
        cdef object key, value
        cdef uint32_t who = self._departed.first
        if self._departed_count <= 1:
            if who == NONE:
                give_back(self)
                return []
            key = <object> self._entries[who].key
            value = self.take(who)
            give_back(self)
            return [(key, value)]
        keys, values = [], []
        if self._departed_unsorted:
            sort_departed(self)
        while self._departed.first != NONE:
            who = self._departed.first
            keys.append(<object> self._entries[who].key)
            values.append(<object> self._entries[who].value)
            let_go(self, who)
        give_back(self)
        return list(zip(keys, values))

    cdef int list_live(self, list keys, list values, list expires) except -1:
        # Append the live entries in order; what is not None among the lists is filled.
        cdef uint32_t who, count = 0
        cdef Due* due
        self.sweep()
        due = dues(self._entries, self._used, 1 << LIVE, &count)
        if due == NULL:
            raise MemoryError
        qsort(due, count, sizeof(Due), due_compare)
        try:
            for who in range(count):
                keys.append(<object> self._entries[due[who].who].key)
                if values is not None:
                    values.append(<object> self._entries[due[who].who].value)
                if expires is not None:
                    expires.append(due[who].expires)
        finally:
            PyMem_RawFree(due)
        return 0


# -- memory


cdef int reserve(Shelf self) except -1:
    # Make room for one more entry and its slot, so that nothing can fail later.
    if self._free == NONE:
        if self._used == self._room:
            grow(self)
        self._entries[self._used].mark = FREE
        self._places[self._used].after = NONE
        self._free = self._used
        self._used += 1
    if slots_full(&self._slots):
        rebuild_slots(self, bits_more(&self._slots), self._room)
    return 0


cdef int grow(Shelf self) except -1:
    # Twice the room, and from some size on a quarter more, so that little lies idle.
    cdef size_t room = self._room
    room += max(room // 4 if room >= ROOM_LARGE else room, <size_t> ROOM_LEAST)
    if room > 0x80000000:
        raise MemoryError
    self._entries = <Entry*> resized(self._entries, room * sizeof(Entry))
    self._places = <Place*> resized(self._places, room * sizeof(Place))
    if self._grouped:
        self._group_places = <Place*> resized(self._group_places, room * sizeof(Place))
        self._group_of = <uint32_t*> resized(self._group_of, room * sizeof(uint32_t))
    if room > self._slots.low:
        rebuild_slots(self, self._slots.bits, <uint32_t> room)
    self._room = <uint32_t> room
    return 0


cdef int rebuild_slots(Shelf self, int bits, uint32_t room) except -1:
    cdef uint32_t who, state
    if slots_renew(&self._slots, bits, room) < 0:
        raise MemoryError
    for who in range(self._used):
        state = self._entries[who].mark & STATE
        if state == LIVE or state == AGED:
            slot_put(&self._slots, self._entries, who)
    return 0


cdef void let_go(Shelf self, uint32_t who) noexcept:
    # A departed entry leaves for good; the caller holds the key and the value still.
    queue_remove(&self._departed, self._places, self._entries, who)
    self._departed_count -= 1
    if self._entries[who].mark & STATE == AGED:
        slot_delete(&self._slots, self._entries, who)
    release(self, who)


cdef void release(Shelf self, uint32_t who) noexcept:
    # The caller holds the key and the value still.
    drop(self._entries[who].key)
    drop(self._entries[who].value)
    set_state(self, who, FREE)
    self._places[who].after = self._free
    self._free = who


cdef int give_back(Shelf self) except -1:
    # An empty table that was large starts again small.
    if self._live_count or self._departed_count or self._room <= ROOM_KEPT:
        return 0
    rebuild_slots(self, SLOT_BITS_LEAST, 0)
    drop_all(self)
    self._group_free.clear()
    self._group_sources.clear()
    return 0


# -- garbage


cdef void drop_all(Shelf self) noexcept:
    # Give the memory back, then let go of every key and value: the last reference to one may run
    # foreign code, which finds no entry any more.
    cdef Entry* entries = self._entries
    cdef uint32_t who, used = self._used
    PyMem_RawFree(self._places)
    PyMem_RawFree(self._group_places)
    PyMem_RawFree(self._group_of)
    self._entries = NULL
    self._places = self._group_places = NULL
    self._group_of = NULL
    self._room = self._used = self._live_count = self._departed_count = 0
    self._free = NONE
    queue_free(&self._live)
    queue_free(&self._departed)
    groups_free(&self._groups)
    for who in range(used):
        if entries[who].mark & STATE != FREE:
            drop(entries[who].key)
            drop(entries[who].value)
    PyMem_RawFree(entries)


cdef int shelf_traverse(PyObject* shelf, visitproc visit, void* told) noexcept:
    # The garbage collector may come whenever Python memory is asked for, and never in between.
    cdef Entry* entries = (<Shelf> shelf)._entries
    cdef uint32_t who
    cdef int stopped
    for who in range((<Shelf> shelf)._used):
        if entries[who].mark & STATE != FREE:
            stopped = visit(entries[who].key, told)
            if stopped == 0:
                stopped = visit(entries[who].value, told)
            if stopped != 0:
                return stopped
    return own_traverse(shelf, visit, told)


cdef int shelf_clear(PyObject* shelf) noexcept:
    (<Shelf> shelf)._collected = True
    drop_all(<Shelf> shelf)
    return own_clear(shelf)


# What the language makes goes through the attributes; keys and values it does not know.
cdef traverseproc own_traverse = (<Kind*> Shelf).tp_traverse
cdef inquiry own_clear = (<Kind*> Shelf).tp_clear
(<Kind*> Shelf).tp_traverse = shelf_traverse
(<Kind*> Shelf).tp_clear = shelf_clear


# -- order and groups


cdef inline bint is_due(Shelf self) noexcept:
    cdef uint32_t who = queue_first(&self._live, self._entries)
    return who != NONE and self._entries[who].expires <= self._latest


cdef inline int count_on(Shelf self) except -1:
    # So many insertions that their numbers have run out: those that are here start from 0.
    if self._next_order != NONE:
        return 0
    if orders_renew(self._entries, self._used, 1 << LIVE | 1 << AGED | 1 << GONE) < 0:
        raise MemoryError
    self._next_order = self._live_count + self._departed_count
    return 0


cdef int sort_departed(Shelf self) except -1:
    if queue_sort(
        &self._departed, self._places, self._entries, self._used, 1 << AGED | 1 << GONE
    ) < 0:
        raise MemoryError
    self._departed_unsorted = False
    return 0


cdef int reserve_heaps(Shelf self, uint32_t group) except -1:
    if queue_reserve(&self._live) < 0:
        raise MemoryError
    if group != NONE and queue_reserve(&self._groups.each[group].queue) < 0:
        raise MemoryError
    return 0


cdef inline void link(
    Shelf self, uint32_t who, double ttl, bint own_ttl, uint32_t group
) noexcept:
    cdef Entry* entry = &self._entries[who]
    cdef uint32_t last = self._live.own_last
    cdef bint heaped
    entry.expires = self._latest + ttl
    entry.order = self._next_order
    # A group's second list is part of that of all, so what comes in order here does so there.
    heaped = own_ttl and last != NONE and entry.expires < self._entries[last].expires
    entry.mark = (entry.mark & ~<uint32_t> MARKS) | LIVE | (HEAPED if heaped else 0)
    self._next_order += 1
    self._live_count += 1
    queue_put(&self._live, self._places, self._entries, who, own_ttl)
    if not self._grouped:
        return
    self._group_of[who] = group
    if group != NONE:
        self._groups.each[group].count += 1
        queue_put(
            &self._groups.each[group].queue, self._group_places, self._entries, who, own_ttl
        )
        rerank(&self._groups, self._entries, group)


cdef int unlink(Shelf self, uint32_t who, uint32_t keep) except -1:
    # Take a live entry out of its queues; its group goes when empty, unless it is `keep`.
    cdef uint32_t group = self._group_of[who] if self._grouped else NONE
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


cdef inline void set_state(Shelf self, uint32_t who, uint32_t state) noexcept:
    # Also out of the heaps: the departed and the free stand in lists.
    self._entries[who].mark = (self._entries[who].mark & ~<uint32_t> MARKS) | state


cdef int depart(Shelf self, uint32_t who, uint32_t state, uint32_t keep) except -1:
    # A live entry waits from now on to be handed back: AGED ones under their key, others not.
    cdef uint32_t last = self._departed.last
    unlink(self, who, keep)
    if state == GONE:
        slot_delete(&self._slots, self._entries, who)
    set_state(self, who, state)
    if last != NONE and earlier(self._entries, who, last):
        self._departed_unsorted = True
    queue_append(&self._departed, self._places, who)
    self._departed_count += 1
    return 0


cdef uint32_t group_for(Shelf self, object source) except? 0xFFFFFFFE:
    # Sources are bytes, str or int, so the dict runs no foreign code.
    cdef uint32_t group
    cdef object known = self._group_ids.get(source)
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
