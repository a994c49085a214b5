"""How a batch is laid out, for every room that reads one, and what else they use of `_lengths`.

    batch   = id (16) | message+       id: of the first, its last 4 bytes 0
    message = u32 length | payload
"""

from libc.stdint cimport uint32_t


cdef enum:
    ID = 16
    PREFIX = 12
    HEADER = 4
    PAIR = 8  # of a list of lengths
    # With the header of its frame a batch fills a gathered record and never needs one of its own.
    ROOM = 65_536 - 5


cdef inline uint32_t load32(const unsigned char *at) noexcept:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline void store32(unsigned char *at, uint32_t value) noexcept:
    at[0] = <unsigned char>(value >> 24)
    at[1] = <unsigned char>(value >> 16)
    at[2] = <unsigned char>(value >> 8)
    at[3] = <unsigned char>value


# Write the `lengths` of payloads, as far as there is room; return how many bytes all of them take.
cdef Py_ssize_t lengths_c(list payloads, unsigned char *into, Py_ssize_t room) except -1

# The same of the payloads of a batch; -1 where `_batch.unpack` returns None.
cdef Py_ssize_t batch_lengths_c(
    const unsigned char *data, Py_ssize_t size, unsigned char *into, Py_ssize_t room
) noexcept
