"""What other compiled rooms may use of `_frames`."""

from libc.stdint cimport uint32_t


cdef struct Frame:
    uint32_t kind
    uint32_t length
    Py_ssize_t start


cdef int next_frame(const unsigned char *data, Py_ssize_t size, Py_ssize_t at,
                    Py_ssize_t frame_max, Frame *frame) except -1


# Whether a record, checked as `split_frames` checks it, has a frame of a kind.
cdef bint check_frames(bytes plaintext, Py_ssize_t frame_max, int kind) except -1


cdef class Packed:
    cdef unsigned char *memory
    cdef Py_ssize_t size
    cdef Py_ssize_t start
    cdef Py_ssize_t end

    cdef int reserve(self, Py_ssize_t more) except -1
    cdef Py_ssize_t move(self, unsigned char *place, Py_ssize_t room, Py_ssize_t *count) noexcept


cdef class FrameWriter:
    cdef readonly Py_ssize_t queued
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t _frame_max
    cdef list _lanes
    cdef Py_ssize_t _heads[4]

    cpdef append(self, int kind, bytes body, int priority=*)
    cpdef list take(self, Py_ssize_t room=*)
    # As `append`, of a copy of which the second byte is changed; no object is made of it.
    cdef int pass_on(self, int kind, const unsigned char *body, Py_ssize_t size, int priority,
                     int second) except -1
    cdef bytes _gather(self)
    cdef int _lane(self) except -1
    cdef Py_ssize_t _first_size(self) except -1
    cdef int _drop(self, int lane) except -1


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
