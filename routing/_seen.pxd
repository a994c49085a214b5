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


cdef extern from *:
    """
    #include <time.h>
    #ifdef CLOCK_MONOTONIC_COARSE
    #define ROUTING_CLOCK CLOCK_MONOTONIC_COARSE
    #else
    #define ROUTING_CLOCK CLOCK_MONOTONIC
    #endif
    static inline double routing_coarse(void)
    {
        struct timespec now;
        clock_gettime(ROUTING_CLOCK, &now);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }
    #if defined(__GNUC__)
    #define ROUTING_FETCH(place) __builtin_prefetch((place), 1)
    #else
    #define ROUTING_FETCH(place) ((void)(place))
    #endif
    static inline uint64_t routing_folded(uint64_t one, uint64_t two)
    {
        unsigned __int128 product = (unsigned __int128)one * two;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    double coarse_seconds "routing_coarse" () noexcept nogil
    # That memory will be written soon.
    void fetch "ROUTING_FETCH" (const void* place) noexcept nogil
    # All bits of the product of two words, folded to one word.
    uint64_t folded "routing_folded" (uint64_t one, uint64_t two) noexcept nogil

cdef enum:
    CAPACITY_MAX = 0x40000000


cdef double lifetime_of(object ttl) except -1
cdef double moment_of(object now) except? -1
cdef Py_ssize_t capacity_of(object capacity) except -1
cdef int check_callable(str role, object function) except -1
cdef int check_thread(unsigned long owner) except -1


cdef struct Seen:
    double expires
    uint8_t id[16]


@cython.final
cdef class MessageFilter:
    cdef readonly double ttl
    cdef readonly Py_ssize_t capacity
    cdef readonly uint64_t evicted
    cdef object _clock
    cdef bint _is_coarse
    cdef double _latest
    cdef double _last  # deadline of the id inserted last
    cdef unsigned long _thread
    cdef Seen* _ring
    cdef uint32_t* _slots
    cdef uint32_t _room
    cdef uint32_t _head
    cdef uint32_t _count
    cdef uint32_t _mask  # of the index
    cdef uint32_t _low  # the bits of a slot that say where in the ring
    cdef uint32_t _hole  # where the last lookup ended in vain, NONE if the index has changed since
    cdef uint64_t[2] _secret

    # 1 if the 16 bytes are new, 0 if they were there; ttl 0 means the filter's own.
    cdef int insert_at(self, const uint8_t* id, double now, double ttl) except -1
    cdef bint contains_at(self, const uint8_t* id, double now) noexcept

    cdef double _moment(self, object now) except? -1
    cdef uint64_t _hash(self, const uint8_t* id) noexcept
    cdef uint32_t _place(self, uint32_t nth) noexcept
    cdef uint32_t _spelt(self, uint32_t at, uint64_t hash) noexcept
    cdef int64_t _slot_of(self, const uint8_t* id, uint64_t hash) noexcept
    cdef void _put(self, uint32_t at, uint64_t hash) noexcept
    cdef void _drop_first(self) noexcept
    cdef void _sweep(self) noexcept
    cdef int _reserve(self) except -1
    cdef int _lengthen(self) except -1
    cdef int _straighten(self) except -1
    cdef int _index(self, uint64_t size, uint32_t low) except -1
