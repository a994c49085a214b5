"""How a batch is laid out, for every room that reads one, and what else they use of `_lengths`.

    batch   = id (16) | message+       id: of the first, its last 4 bytes 0
    message = u32 length | payload
"""

cdef enum:
    ID = 16
    PREFIX = 12
    HEADER = 4
    PAIR = 8  # of a list of lengths
    # With the header of its frame a batch fills a gathered record and never needs one of its own.
    ROOM = 262_144 - 5
    # Of the messages of a routed list: with its envelope, 512 bytes at most, it has 64 KiB.
    LIST_ROOM = 65_536 - 512


# Write the `lengths` of payloads, as far as there is room; return how many bytes all of them take.
cdef Py_ssize_t lengths_c(list payloads, unsigned char *into, Py_ssize_t room) except -1

# The same of the payloads of a batch; -1 where `_batch.unpack` returns None.
cdef Py_ssize_t batch_lengths_c(
    const unsigned char *data, Py_ssize_t size, unsigned char *into, Py_ssize_t room
) noexcept
