"""What other compiled rooms may use of `_inbound`."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

cimport cython

from routing._frames cimport FrameWriter
from routing._seen cimport MessageFilter
from routing._tape cimport Tape
from routing._xor cimport XorIndex


cdef struct Head:
    # Of an envelope that reads as expected; `target` points into it.
    uint8_t hops
    uint8_t route
    uint8_t kind
    const uint8_t* target
    const uint8_t* key  # of a client's address, else NULL
    const uint8_t* via  # the name behind the hop of a newcomer's address, else NULL
    const uint8_t* leave_out  # a name, else NULL
    bint grouped  # addressed to a group


@cython.final
cdef class Way:
    cdef readonly object line
    cdef readonly Py_ssize_t appended
    cdef public FrameWriter writer
    cdef public bint blocked
    cdef public bint doubted
    cdef public Py_ssize_t most
    cdef public int64_t heard


@cython.final
cdef class Inbound:
    cdef readonly uint64_t forwarded
    cdef readonly uint64_t duplicates
    cdef readonly Py_ssize_t left
    cdef readonly Way quiet
    cdef readonly Way full
    cdef public Py_ssize_t excused
    cdef public Tape tried
    cdef uint64_t[2] _secret
    cdef int _hops_max
    cdef int _routes_max
    cdef int _kind_max
    cdef int _kind_bulk
    cdef int64_t _quiet_ns
    cdef Py_ssize_t _room
    cdef XorIndex _index
    cdef list _ways
    cdef list _touched
    cdef uint8_t[32] _own
    cdef uint8_t[32] _key
    cdef bytes _record
    cdef Py_ssize_t _at
    cdef MessageFilter _filter
    cdef tuple _others

    cpdef bint open(self, bytes plaintext, Py_ssize_t frame_max) except -1
    cpdef list up(self, int64_t now)
    cpdef Py_ssize_t pass_on(self, int64_t now) except -1
    cdef Way _onward(self, const uint8_t* body, Py_ssize_t size, int64_t now, Head* head)
    cdef bint _is_new(self, const uint8_t* body, Py_ssize_t size, int64_t now) except -1
