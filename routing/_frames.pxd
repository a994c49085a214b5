"""What other compiled rooms may use of `_frames`."""

from libc.stdint cimport uint32_t


cdef struct Frame:
    uint32_t kind
    uint32_t length
    Py_ssize_t start


cdef int next_frame(const unsigned char *data, Py_ssize_t size, Py_ssize_t at,
                    Py_ssize_t frame_max, Frame *frame) except -1


cdef class FrameWriter:
    cdef readonly Py_ssize_t queued
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t _frame_max
    cdef list _lanes
    cdef Py_ssize_t _heads[4]

    cpdef append(self, int kind, bytes body, int priority=*)
    cpdef list take(self, Py_ssize_t room=*)
    cdef bytes _gather(self)
    cdef tuple _peek(self)
    cdef tuple _pop(self)


cdef class RecordReader:
    cdef readonly Py_ssize_t record_max
    cdef bytearray _memory
    cdef object _view
    cdef Py_ssize_t _start
    cdef Py_ssize_t _end
    cdef int _lean
    cdef bint _full
    cdef object _failed

    cpdef get_buffer(self, Py_ssize_t sizehint=*)
    cpdef buffer_updated(self, Py_ssize_t count)
    cpdef next_record(self)
    cpdef bytes take(self)
    cdef Py_ssize_t _length(self) except -1
    cdef _fit(self, Py_ssize_t size)


cpdef list split_frames(bytes plaintext, Py_ssize_t frame_max=*)
