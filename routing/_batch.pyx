"""Many messages in one body, of a frame or of a routed message; no meaning of a message, no state.

All integers are big-endian.

    batch   = id (16) | message+       id: of the first, its last 4 bytes 0
    list    = message message+         its id is that of the routed message whose body it is
    message = u32 length | payload     the n-th one, from 0, has the id with n in its last 4 bytes
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

from routing._frames cimport load32, store32
from routing._lengths cimport HEADER, ID, LIST_ROOM, PREFIX, ROOM
from routing._message cimport Origin, borrowed_of, message_of

from routing.errors import UsageError

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_ID_BYTES",
    "LIST_BYTES_MAX",
    "MESSAGE_HEADER_BYTES",
    "blank_list",
    "list_count",
    "list_fault",
    "pack",
    "pack_list",
    "survey",
    "unpack",
    "unpack_list",
    "volume",
]

BATCH_BYTES_MAX = ROOM
BATCH_ID_BYTES = ID
# With its envelope and the header of its frame a list, too, fits into a gathered record.
LIST_BYTES_MAX = LIST_ROOM
MESSAGE_HEADER_BYTES = HEADER


cpdef tuple pack(bytes first, list payloads, Py_ssize_t start=0):
    """Return (body, end): one frame's batch of payloads[start:end], as many as fit.

    A first payload that does not fit is a batch of its own all the same. O(bytes).

    Raises:
        UsageError: `first` has not 16 bytes or does not end in 4 zeros, `start` is no place of the
            list, or a payload is not bytes.
    """
    if not is_first(first):
        raise UsageError(f"first={first!r} must be {ID} bytes that end in {ID - PREFIX} zeros")
    return packed(first, payloads, start, ROOM)


cpdef tuple pack_list(list payloads, Py_ssize_t start=0):
    """Return (body, end): the list of payloads[start:end], as many as `LIST_BYTES_MAX` holds.

    It may be one alone, of any size: that is none, and goes without a list. O(bytes).

    Raises:
        UsageError: `start` is no place of the list, or a payload is not bytes.
    """
    return packed(b"", payloads, start, LIST_ROOM)


cdef bint is_first(bytes first) noexcept:
    return PyBytes_GET_SIZE(first) == ID and not load32(
        <const unsigned char *>PyBytes_AS_STRING(first) + PREFIX
    )


cdef tuple packed(bytes head, list payloads, Py_ssize_t start, Py_ssize_t room):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(head), end = start, count = len(payloads), step
    cdef unsigned char *at
    cdef bytes body
    cdef object payload
    if start < 0 or start >= count:
        raise UsageError(f"start={start} must be 0 to {count - 1}")
    while end < count:
        payload = payloads[end]
        if type(payload) is not bytes:
            raise UsageError(f"payload of type {type(payload).__name__} must be bytes")
        step = HEADER + PyBytes_GET_SIZE(<bytes>payload)
        if end > start and size + step > room:
            break
        size += step
        end += 1
    body = PyBytes_FromStringAndSize(NULL, size)
    at = <unsigned char *>PyBytes_AS_STRING(body)
    memcpy(at, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
    at += PyBytes_GET_SIZE(head)
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
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body), count
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(body)
    if size <= ID or load32(data + PREFIX):
        return None
    count = walked(data, ID, size)
    if count < 0 or (size > ROOM and count > 1):
        return None
    first = PyBytes_FromStringAndSize(<const char *>data, ID)
    return made_of(body, ID, count, first, Origin(source, destination, key, proof), borrowed)


cpdef list unpack_list(bytes first, bytes body, object source, object destination, bytes key,
                       object proof, bint borrowed=False):
    """Return the `Message` of each, in order, as `unpack` does; `first` is the id of the first.

    None, and nothing is made, where `list_fault` says why. O(bytes).
    """
    cdef Py_ssize_t count = counted(body)
    if count < 2 or not is_first(first):
        return None
    return made_of(body, 0, count, first, Origin(source, destination, key, proof), borrowed)


cpdef Py_ssize_t list_count(bytes body) noexcept:
    """Return how many messages a list has, 0 where the body is none. O(messages)."""
    cdef Py_ssize_t count = counted(body)
    return count if count >= 2 else 0


cpdef str list_fault(bytes first, bytes body):
    """Return why the body is no list, in one word; empty if it is one. O(messages).

    `id`: `first` has not 16 bytes or does not end in 4 zeros; `oversized`: above `LIST_BYTES_MAX`;
    `empty`, `single`: of less than two messages; `trailing`: fewer bytes than a length are left
    over; `overrun`: a length goes beyond the end.
    """
    cdef Py_ssize_t count = counted(body)
    if not is_first(first):
        return "id"
    if count == LARGE:
        return "oversized"
    if count == TRAILING:
        return "trailing"
    if count == OVERRUN:
        return "overrun"
    if count == 0:
        return "empty"
    return "single" if count == 1 else ""


cpdef bytes blank_list(bytes body):
    """Return a list of as many zeros in place of each payload; a body that is none, of zeros. O(n).
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body), at = 0
    cdef bytes blank = PyBytes_FromStringAndSize(NULL, size)
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(body)
    cdef unsigned char *into = <unsigned char *>PyBytes_AS_STRING(blank)
    memset(into, 0, size)
    if counted(body) >= 2:
        while at < size:
            memcpy(into + at, data + at, HEADER)
            at += HEADER + <Py_ssize_t>load32(data + at)
    return blank


cdef enum:
    TRAILING = -1
    OVERRUN = -2
    LARGE = -3


cdef Py_ssize_t counted(bytes body) noexcept:
    """How many messages a list has, or why it is none; its size is looked at first."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
    if size > LIST_ROOM:
        return LARGE
    return walked(<const unsigned char *>PyBytes_AS_STRING(body), 0, size)


cdef Py_ssize_t walked(const unsigned char *data, Py_ssize_t at, Py_ssize_t size) noexcept:
    """How many messages lie from `at` to the end; less than 0 where they do not fill it."""
    cdef Py_ssize_t count = 0
    cdef uint32_t length
    while at < size:
        if size - at < HEADER:
            return TRAILING
        length = load32(data + at)
        if length > size - at - HEADER:
            return OVERRUN
        at += HEADER + length
        count += 1
    return count


cdef list made_of(bytes body, Py_ssize_t at, Py_ssize_t count, bytes first, Origin origin,
                  bint borrowed):
    """The messages of a body that has been walked through."""
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(body)
    cdef uint32_t length, number
    cdef list made = []
    cdef bytes payload
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
