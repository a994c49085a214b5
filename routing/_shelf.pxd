# The table under the timed filter; `_filter.pxd` is what other rooms use.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp

from routing._queue cimport NONE, Entry, Groups, Place, Queue
from routing._slots cimport Slots, slot_home, spelt
from routing._tokens cimport ByToken


cdef enum:
    # What an entry of the table is.
    FREE = 0
    LIVE = 1
    AGED = 2  # departed, still found under its key by remove()
    GONE = 3  # departed, another entry may have its key


cdef class Shelf:
    cdef double _latest
    cdef uint32_t _capacity
    cdef bint _grouped
    # Keys and values are Python's to collect, so they stand in a list, each key before its value;
    # the rest is ours.
    cdef list _pairs
    cdef Entry* _entries
    cdef Place* _places
    cdef Place* _group_places
    cdef uint32_t* _group_of
    cdef uint32_t _room
    cdef uint32_t _used
    cdef uint32_t _free
    cdef Queue _live
    cdef Queue _departed
    cdef uint32_t _live_count
    cdef uint32_t _departed_count
    cdef bint _departed_unsorted
    cdef uint32_t _next_order
    cdef Slots _slots
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

    # For the checks of the filter.
    cdef uint32_t group_at(self, uint32_t who) noexcept


cdef extern from *:
    """
    #define ROUTING_UNSURE (-3)
    #define ROUTING_COMPARED_AS(one, two, type) \\
        (Py_TYPE(one)->tp_richcompare == ((PyTypeObject *)(type))->tp_richcompare \\
         && Py_TYPE(two)->tp_richcompare == ((PyTypeObject *)(type))->tp_richcompare)
    """
    const int64_t UNSURE "ROUTING_UNSURE"
    # Whether both are compared as this type compares, and no class of its own has another way.
    bint compared_as "ROUTING_COMPARED_AS" (PyObject* one, PyObject* two, PyObject* type) noexcept
    # Borrowed, unlike an element in the words of the language.
    PyObject* PyList_GET_ITEM(object pairs, Py_ssize_t at) noexcept


cdef inline bint same_bytes(object one, object two) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(one)
    if size != PyBytes_GET_SIZE(two):
        return False
    if size == 32:
        # The size of a name: compared in place, without a call.
        return memcmp(PyBytes_AS_STRING(one), PyBytes_AS_STRING(two), 32) == 0
    return memcmp(PyBytes_AS_STRING(one), PyBytes_AS_STRING(two), <size_t> size) == 0


cdef inline int64_t glance(Shelf self, object key, uint32_t tag) noexcept:
    # Find without foreign code and without a call: the entry, -1 for none, or UNSURE where a key's
    # own __eq__ must be asked.
    cdef uint32_t mask = (<uint32_t> 1 << self._slots.bits) - 1
    cdef uint32_t wanted = spelt(&self._slots, tag, 0)
    cdef uint32_t at, who
    cdef PyObject* candidate
    at = slot_home(&self._slots, tag)
    if self._pairs is None:
        return UNSURE
    while True:
        who = self._slots.each[at]
        if who == NONE:
            return -1
        if who & ~self._slots.low == wanted:
            who &= self._slots.low
            candidate = PyList_GET_ITEM(self._pairs, 2 * <Py_ssize_t> who)
            if candidate == <PyObject*> key:
                break
            if PyBytes_CheckExact(<object> candidate) and PyBytes_CheckExact(key):
                if same_bytes(<object> candidate, key):
                    break
            elif compared_as(candidate, <PyObject*> key, <PyObject*> ByToken):
                if (<ByToken> candidate)._token == (<ByToken> key)._token:
                    break
            else:
                return UNSURE
        at = (at + 1) & mask
    self._slots.hit = at
    return who


cdef inline int64_t lookup(Shelf self, object key, uint32_t tag) except -2:
    # The entry in the table under `key`, or -1.
    cdef int64_t who = glance(self, key, tag)
    return self.find(key, tag) if who == UNSURE else who
