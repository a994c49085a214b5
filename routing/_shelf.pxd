# The table under the timed filter; `_filter.pxd` is what other rooms use.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp

from routing._queue cimport NONE, Entry, Groups, Place, Queue
from routing._slots cimport (
    BUCKET, Slots, bucket_empty, bucket_like, bucket_next, bucket_tagged, byte_of, lowest,
    slot_home, spelt, tag_of,
)
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
    # The garbage collector has taken keys and values away.
    cdef bint _collected
    # Only one that is not FREE has a key and a value.
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
    #define ROUTING_HASHED_AS(one, type) \\
        (Py_TYPE(one)->tp_hash == ((PyTypeObject *)(type))->tp_hash)
    """
    const int UNSURE "ROUTING_UNSURE"
    # Whether it is hashed as this type hashes.
    bint hashed_as "ROUTING_HASHED_AS" (PyObject* one, PyObject* type) noexcept
    # Whether both are compared as this type compares, and no class of its own has another way.
    bint compared_as "ROUTING_COMPARED_AS" (PyObject* one, PyObject* two, PyObject* type) noexcept


cdef inline bint same_bytes(object one, object two) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(one)
    if size != PyBytes_GET_SIZE(two):
        return False
    if size == 32:
        # The size of a name: compared in place, without a call.
        return memcmp(PyBytes_AS_STRING(one), PyBytes_AS_STRING(two), 32) == 0
    return memcmp(PyBytes_AS_STRING(one), PyBytes_AS_STRING(two), <size_t> size) == 0


cdef inline uint32_t tag_for(object key) except? 0xFFFFFFFF:
    # The bits of the key's hash; a token is its own.
    cdef uint64_t token
    if hashed_as(<PyObject*> key, <PyObject*> ByToken):
        token = (<ByToken> key)._token
        if token - 1 < <uint64_t> 0x1FFFFFFFFFFFFFFE:
            return tag_of(<Py_hash_t> token)
    return tag_of(hash(key))


cdef inline int likeness(PyObject* one, PyObject* two) noexcept:
    # Whether two keys are equal, or UNSURE.
    if one == two:
        return True
    if PyBytes_CheckExact(<object> one) and PyBytes_CheckExact(<object> two):
        return same_bytes(<object> one, <object> two)
    if compared_as(one, two, <PyObject*> ByToken):
        return (<ByToken> one)._token == (<ByToken> two)._token
    return UNSURE


cdef inline bint may_be_there(Shelf self, uint32_t bucket, uint32_t tag) noexcept:
    # Whether a large index must be looked at: the tags of the home do not say that it is not there.
    cdef uint32_t seen = bucket_tagged(&self._slots.tags[BUCKET * bucket], byte_of(tag))
    return seen & 0xFFFF != 0 or seen >> BUCKET == 0


cdef inline int64_t glance(Shelf self, object key, uint32_t tag) noexcept:
    # Find without foreign code and without a call: the entry, -1 for none, or UNSURE where a key's
    # own __eq__ must be asked.
    cdef uint32_t wanted = spelt(&self._slots, tag, 0)
    cdef uint32_t high = ~self._slots.low
    cdef uint32_t at, bucket, like, who
    cdef int same
    if self._collected:
        return UNSURE
    at = slot_home(&self._slots, tag)
    # Numbers lie side by side in the index: what is looked at next is in the cache as it is.
    if (
        self._slots.tags != NULL
        and not hashed_as(<PyObject*> key, <PyObject*> ByToken)
        and not may_be_there(self, at // BUCKET, tag)
    ):
        return -1
    who = self._slots.each[at]
    if (who ^ wanted) & high == 0 and who != NONE:
        who &= self._slots.low
        same = likeness(self._entries[who].key, <PyObject*> key)
        if same:
            self._slots.hit = at
            return <int64_t> who if same > 0 else <int64_t> UNSURE
    bucket = at // BUCKET
    while True:
        like = bucket_like(&self._slots.each[BUCKET * bucket], wanted, high)
        while like:
            at = BUCKET * bucket + lowest(like)
            like &= like - 1
            who = self._slots.each[at] & self._slots.low
            if who == self._slots.low:
                continue
            same = likeness(self._entries[who].key, <PyObject*> key)
            if same:
                self._slots.hit = at
                return <int64_t> who if same > 0 else <int64_t> UNSURE
        if bucket_empty(&self._slots.each[BUCKET * bucket]):
            return -1
        bucket = bucket_next(&self._slots, bucket)


cdef inline int64_t lookup(Shelf self, object key, uint32_t tag) except -2:
    # The entry in the table under `key`, or -1.
    cdef int64_t who = glance(self, key, tag)
    return self.find(key, tag) if who == UNSURE else who
