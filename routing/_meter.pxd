"""What has passed through the lines of one host, counted."""

from libc.stdint cimport int64_t, uint64_t

cimport cython


@cython.final
cdef class Meter:
    cdef readonly uint64_t records_read
    cdef readonly uint64_t records_written
    cdef readonly uint64_t frames_read
    cdef readonly uint64_t frames_written
    cdef readonly uint64_t open_ns
    cdef readonly uint64_t seal_ns
    cdef int64_t _since

    cpdef start(self)
    cpdef sealed(self, Py_ssize_t records)
    cpdef gave(self, Py_ssize_t frames)
    cpdef opened(self)
    cpdef took(self, Py_ssize_t frames)
