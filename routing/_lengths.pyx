"""The lengths of payloads in few bytes: what the flight recorder keeps of them.

    lengths = (u32 how many in a row | u32 length)+      big-endian
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from routing._frames cimport load32, store32

cdef extern from "Python.h":
    PyObject *item_of "PyList_GET_ITEM" (list items, Py_ssize_t place) noexcept
    bint is_bytes "PyBytes_CheckExact" (PyObject *item) noexcept
    Py_ssize_t size_of "PyBytes_GET_SIZE" (PyObject *item) noexcept


__all__ = ["lengths"]


cpdef bytes lengths(list payloads):
    """Return the lengths of payloads, in order: (u32 how many in a row, u32 length)+. O(payloads).
    """
    cdef Py_ssize_t size = lengths_c(payloads, NULL, 0)
    cdef bytes runs = PyBytes_FromStringAndSize(NULL, size)
    lengths_c(payloads, <unsigned char *>PyBytes_AS_STRING(runs), size)
    return runs


cdef Py_ssize_t lengths_c(list payloads, unsigned char *into, Py_ssize_t room) except -1:
    # Borrowed: nothing here runs Python, and to count references took most of the time.
    cdef Py_ssize_t size = 0, place
    cdef uint32_t run = 0, length, before = 0
    cdef PyObject *payload
    for place in range(len(payloads)):
        payload = item_of(payloads, place)
        if not is_bytes(payload):
            raise TypeError(f"payload of type {type(<object>payload).__name__} must be bytes")
        length = <uint32_t>size_of(payload)
        if run and length == before:
            run += 1
            continue
        size = noted(into, room, size, run, before)
        run = 1
        before = length
    return noted(into, room, size, run, before)


cdef Py_ssize_t batch_lengths_c(
    const unsigned char *data, Py_ssize_t size, unsigned char *into, Py_ssize_t room
) noexcept:
    cdef Py_ssize_t at = ID, filled = 0, messages = 0, step
    cdef uint32_t run, length
    if size <= ID or load32(data + PREFIX):
        return -1
    while at < size:
        if size - at < HEADER:
            return -1
        length = load32(data + at)
        if length > size - at - HEADER:
            return -1
        step = HEADER + <Py_ssize_t>length
        at += step
        run = 1
        # Where the next one is does not depend on what is read: no read waits for the one before.
        while size - at >= step and load32(data + at) == length:
            at += step
            run += 1
        messages += run
        filled = noted(into, room, filled, run, length)
    return -1 if size > ROOM and messages > 1 else filled


cdef inline Py_ssize_t noted(
    unsigned char *into, Py_ssize_t room, Py_ssize_t size, uint32_t run, uint32_t length
) noexcept:
    if not run:
        return size
    if size + PAIR <= room:
        store32(into + size, run)
        store32(into + size + 4, length)
    return size + PAIR
