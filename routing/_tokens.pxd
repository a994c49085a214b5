# The token table for other compiled rooms: `get_c` pays no Python call.

from libc.stdint cimport uint32_t, uint64_t

cimport cython


cdef struct SlotState:
    uint32_t generation  # of the connection here, or of the last one
    uint32_t next_free


cdef class ByToken:
    # Of the subclass's attribute `token`; 0 until it is first hashed or compared.
    cdef uint64_t _token


@cython.final
cdef class TokenTable:
    cdef readonly Py_ssize_t capacity
    cdef uint32_t _first_generation
    cdef unsigned long _thread
    cdef SlotState* _slots
    cdef uint32_t _room
    cdef uint32_t _used
    cdef uint32_t _free
    cdef uint32_t _count
    cdef uint32_t _retired
    # A slot without a connection holds None here.
    cdef list _connections
    cdef list _names
    cdef dict _by_name

    cdef object get_c(self, uint64_t token)
    cdef uint32_t _slot_of(self, object token) except? 0xFFFFFFFE
    cdef uint32_t _live_slot(self, object token) except 0xFFFFFFFF
    cdef int _reserve(self) except -1
