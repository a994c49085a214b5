"""Memory of the flight recorder's blocks, which is used again; no record is known here.

    block = u32 length | u32 checksum | content

All integers are big-endian. The content is a list of MessagePack whose count has 32 bits.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint32_t

cimport cython

__all__ = ["Block"]

cdef enum:
    # The tag of such a list.
    ARRAY_32 = 0xDD
    ROOM_LEAST = 4_096


cdef int grow(Stretch* stretch, Py_ssize_t more) except -1:
    cdef Py_ssize_t room = max(2 * stretch.room, stretch.size + more, ROOM_LEAST)
    cdef uint8_t* at = <uint8_t*>PyMem_Realloc(stretch.at, room)
    if at is NULL:
        raise MemoryError
    stretch.at, stretch.room = at, room
    return 0


@cython.final
cdef class Pool:
    """Memory that no block holds any more; of larger pieces than `room_most` nothing is kept."""

    def __cinit__(self, Py_ssize_t room_most):
        self._room_most = room_most

    def __dealloc__(self):
        cdef int place
        for place in range(self._count):
            PyMem_Free(self._spares[place].at)

    cdef Block block_of(self, Stretch* memory, uint32_t count):
        """Return a block of this memory, in which there is room for its head; put other there."""
        cdef Block block = Block.__new__(Block)
        if memory.size < HEAD_AND_COUNT:
            if memory.room < HEAD_AND_COUNT:
                grow(memory, HEAD_AND_COUNT)
            memory.size = HEAD_AND_COUNT
        memory.at[HEAD] = ARRAY_32
        big(memory.at + HEAD + 1, count, 4)
        block._pool, block._memory, block._from = self, memory[0], HEAD
        if self._count:
            self._count -= 1
            memory[0] = self._spares[self._count]
        else:
            memory[0] = Stretch(NULL, 0, 0)
        return block

    cdef bint keep(self, Stretch memory) noexcept:
        if self._count == SPARES or memory.room > self._room_most:
            return False
        memory.size = 0
        self._spares[self._count] = memory
        self._count += 1
        return True


@cython.final
cdef class Block:
    """What was gathered: by the buffer protocol the content, or, once sealed, the whole.

    Its memory is used again when nobody holds it any more.
    """

    def __dealloc__(self):
        # What the collector has cleared has no pool any more.
        if self._pool is None or not self._pool.keep(self._memory):
            PyMem_Free(self._memory.at)

    def __len__(self):
        return self._memory.size - self._from

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(
            view, self, self._memory.at + self._from, self._memory.size - self._from, 1, flags
        )

    def seal(self, uint32_t checksum):
        """Put length and checksum before the content: it is as it stands in a file."""
        big(self._memory.at, self._memory.size - HEAD, 4)
        big(self._memory.at + 4, checksum, 4)
        self._from = 0
