"""What other compiled rooms may use of `_frames`."""

from libc.stdint cimport uint32_t


cdef enum:
    HEADER = 5
    LENGTH = 4
    SEAL = 16
    GATHER = 262_144
    OVERHEAD = 64
    FRAME = 1_048_576
    LANES = 4
    MEMORY_LEAST = 4_096
    # A read that fills less than a quarter of the memory so often in a row gives half of it back.
    LEAN_READS = 8


cdef inline uint32_t load32(const unsigned char *at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline void store32(unsigned char *at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = (value >> 16) & 0xFF
    at[2] = (value >> 8) & 0xFF
    at[3] = value & 0xFF


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
    cdef list _lane_of(self, int priority)
    cdef bytes _gather(self)
    cdef int _lane(self) except -1
    cdef Py_ssize_t _first_size(self) except -1
    cdef int _drop(self, int lane) except -1
    cpdef rest(self)


cdef class SpareBlock:
    cdef bytearray _memory
    cdef object _view


cdef class RecordReader:
    cdef readonly Py_ssize_t record_max
    cdef SpareBlock _spare
    cdef bytearray _memory
    cdef object _view
    cdef Py_ssize_t _start
    cdef Py_ssize_t _end
    cdef int _lean
    cdef readonly bint full
    cdef object _failed

    cpdef get_buffer(self, Py_ssize_t sizehint=*)
    cpdef buffer_updated(self, Py_ssize_t count)
    cpdef next_record(self)
    cpdef bytes take(self)
    cdef Py_ssize_t _length(self) except -1
    cdef _fit(self, Py_ssize_t size)
    cdef int _give_back(self) except -1


cpdef list split_frames(bytes plaintext, Py_ssize_t frame_max=*)
