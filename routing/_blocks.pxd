"""What other compiled rooms may use of `_blocks`."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cimport cython


cdef enum:
    # Blocks whose memory is kept: one is filled, one is written, one waits.
    SPARES = 2
    # Before the content of a block: length and checksum; and within it, how many records.
    HEAD = 8
    HEAD_AND_COUNT = 13


cdef struct Stretch:
    # Memory of ours that grows.
    uint8_t* at
    Py_ssize_t size
    Py_ssize_t room


# Have room for so many bytes more.
cdef int grow(Stretch* stretch, Py_ssize_t more) except -1

# Write the low bytes of a number, big-endian.
cdef inline void big(uint8_t* at, uint64_t value, int size) noexcept:
    cdef int place
    for place in range(size):
        at[place] = <uint8_t>(value >> (8 * (size - 1 - place)))


@cython.final
cdef class Pool:
    cdef Stretch[SPARES] _spares
    cdef int _count
    cdef Py_ssize_t _room_most

    cdef Block block_of(self, Stretch* memory, uint32_t count)
    cdef bint keep(self, Stretch memory) noexcept


@cython.final
cdef class Block:
    cdef Pool _pool
    cdef Stretch _memory
    cdef Py_ssize_t _from
