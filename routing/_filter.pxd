# The timed filter for other compiled rooms: the `_at` methods take the moment as a double and
# read no clock; a C caller pays no Python call.

from libc.stdint cimport int64_t, uint32_t

cimport cython

from routing._queue cimport Place, Queue
from routing._shelf cimport Shelf


@cython.final
cdef class TimedFilter(Shelf):
    cdef readonly double ttl
    cdef readonly object capacity
    cdef object _clock
    cdef bint _is_coarse
    cdef bint _is_foreign
    cdef object _sources
    cdef unsigned long _thread

    cdef object insert_at(self, object key, object value, double now, double ttl)
    cdef object get_at(self, object key, double now, object default)
    cdef bint contains_at(self, object key, double now) except -1
    cdef object remove_any(self, object key)
    cdef list expire_at(self, double now)

    cdef double _moment(self, object now) except? -1
    cdef int64_t _look(self, object key, object now) except -2
    cdef int64_t _live_at(self, object key, double now) except -2
    cdef object _source_of(self, object key, object value)
    cdef int _check_queue(
        self,
        const Queue* queue,
        const Place* places,
        uint32_t state,
        uint32_t group,
        uint32_t count,
    ) except -1
    cdef int _check_departed(self) except -1
    cdef int _check_groups(self) except -1
