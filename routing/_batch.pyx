"""Many direct messages in the body of one frame; no meaning of a message, no state.

All integers are big-endian.

    batch   = id (16) | message+       id: of the first, its last 4 bytes 0
    message = u32 length | payload     the n-th one, from 0, has the id with n in its last 4 bytes
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from routing._frames cimport load32, store32
from routing._lengths cimport HEADER, ID, PREFIX, ROOM
from routing._message cimport Origin, borrowed_of, message_of

from routing.errors import UsageError

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_ID_BYTES",
    "MESSAGE_HEADER_BYTES",
    "pack",
    "survey",
    "unpack",
    "volume",
]

BATCH_BYTES_MAX = ROOM
BATCH_ID_BYTES = ID
MESSAGE_HEADER_BYTES = HEADER


cpdef tuple pack(bytes first, list payloads, Py_ssize_t start=0):
    """Return (body, end): one frame's batch of payloads[start:end], as many as fit.

    A first payload that does not fit is a batch of its own all the same. O(bytes).

    Raises:
        UsageError: `first` has not 16 bytes or does not end in 4 zeros, `start` is no place of the
            list, or a payload is not bytes.
    """
    cdef Py_ssize_t size = ID, end = start, count = len(payloads), step
    cdef unsigned char *at
    cdef bytes body
    cdef object payload
    if PyBytes_GET_SIZE(first) != ID or load32(
        <const unsigned char *>PyBytes_AS_STRING(first) + PREFIX
    ):
        raise UsageError(f"first={first!r} must be {ID} bytes that end in {ID - PREFIX} zeros")
    if start < 0 or start >= count:
        raise UsageError(f"start={start} must be 0 to {count - 1}")
    while end < count:
        payload = payloads[end]
        if type(payload) is not bytes:
            raise UsageError(f"payload of type {type(payload).__name__} must be bytes")
        step = HEADER + PyBytes_GET_SIZE(<bytes>payload)
        if end > start and size + step > ROOM:
            break
        size += step
        end += 1
    body = PyBytes_FromStringAndSize(NULL, size)
    at = <unsigned char *>PyBytes_AS_STRING(body)
    memcpy(at, PyBytes_AS_STRING(first), ID)
    at += ID
    for count in range(start, end):
        payload = payloads[count]
        step = PyBytes_GET_SIZE(<bytes>payload)
        store32(at, <uint32_t>step)
        memcpy(at + HEADER, PyBytes_AS_STRING(<bytes>payload), step)
        at += HEADER + step
    return body, end


cpdef list unpack(bytes body, object source, object destination, bytes key, object proof,
                  bint borrowed=False):
    """Return the `Message` of each, in order; none of them is a request.

    With `borrowed` each is a `BorrowedMessage`, whose payload lies in `body` and is not copied.
    None where the body is no batch: cut short, without a message, an id that does not end in
    zeros, or several messages although it is longer than `BATCH_BYTES_MAX`. Nothing is made then.
    O(bytes).
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body), at = ID, count = 0
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(body)
    cdef uint32_t length, number
    cdef list made
    cdef bytes first, payload
    cdef Origin origin
    if size <= ID or load32(data + PREFIX):
        return None
    while at < size:
        if size - at < HEADER:
            return None
        length = load32(data + at)
        if length > size - at - HEADER:
            return None
        at += HEADER + length
        count += 1
    if size > ROOM and count > 1:
        return None
    made = []
    at = ID
    first = PyBytes_FromStringAndSize(<const char *>data, ID)
    origin = Origin(source, destination, key, proof)
    for number in range(<uint32_t>count):
        length = load32(data + at)
        if borrowed:
            made.append(borrowed_of(origin, body, at + HEADER, length, first, number))
            at += HEADER + length
            continue
        payload = PyBytes_FromStringAndSize(<const char *>data + at + HEADER, length)
        made.append(message_of(origin, payload, first, number))
        at += HEADER + length
    return made


cpdef Py_ssize_t volume(list payloads) except -1:
    """Return the bytes of all payloads together, without their headers. O(payloads).

    Raises:
        TypeError: one is not bytes.
    """
    cdef Py_ssize_t size = 0
    cdef bytes payload
    for payload in payloads:
        size += PyBytes_GET_SIZE(payload)
    return size


cpdef tuple survey(list payloads, Py_ssize_t start, Py_ssize_t room):
    """Return (end, largest): payloads[start:end] hold at most `room` bytes, headers counted.

    At least one is in it. `largest` is that of the largest of them, or -1 where one is not bytes.
    O(end - start).
    """
    cdef Py_ssize_t end = start, count = len(payloads), size = 0, largest = 0, step
    cdef object payload
    while end < count:
        payload = payloads[end]
        if type(payload) is not bytes:
            return end, -1
        step = PyBytes_GET_SIZE(<bytes>payload)
        size += HEADER + step
        if end > start and size > room:
            break
        if step > largest:
            largest = step
        end += 1
    return end, largest
