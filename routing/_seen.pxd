# The message filter for other compiled rooms, and the checks both filters share.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cimport cython


cdef extern from *:
    """
    #ifndef ROUTING_DEBUG
    #define ROUTING_DEBUG 0
    #endif
    """
    const bint ROUTING_DEBUG


cdef enum:
    CAPACITY_MAX = 0x40000000


cdef inline uint32_t tag_of(Py_hash_t value) noexcept nogil:
    # Multiplied by 2^64 / golden ratio: the upper bits then depend on all bits of the hash, so
    # integers in strides do not crowd together.
    return <uint32_t> ((<uint64_t> value * <uint64_t> 0x9E3779B97F4A7C15) >> 32)


cdef double lifetime_of(object ttl) except -1
cdef double moment_of(object now) except? -1
cdef Py_ssize_t capacity_of(object capacity) except -1
cdef int check_callable(str role, object function) except -1
cdef int check_thread(unsigned long owner) except -1


cdef struct Seen:
    double expires
    uint8_t id[16]
    uint32_t tag


@cython.final
cdef class MessageFilter:
    cdef readonly double ttl
    cdef readonly Py_ssize_t capacity
    cdef readonly uint64_t evicted
    cdef object _clock
    cdef double _latest
    cdef unsigned long _thread
    cdef Seen* _ring
    cdef uint32_t* _slots
    cdef uint32_t _room
    cdef uint32_t _head
    cdef uint32_t _count

    # 1 if the 16 bytes are new, 0 if they were there; ttl 0 means the filter's own.
    cdef int insert_at(self, const uint8_t* id, double now, double ttl) except -1
    cdef bint contains_at(self, const uint8_t* id, double now) noexcept

    cdef double _moment(self, object now) except? -1
    cdef int64_t _slot_of(self, const uint8_t* id, uint32_t tag) noexcept
    cdef void _put(self, uint32_t at) noexcept
    cdef void _drop_first(self) noexcept
    cdef void _sweep(self) noexcept
    cdef int _reserve(self) except -1
