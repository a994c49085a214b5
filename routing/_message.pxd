# The messages for other compiled rooms: made without a Python call.

from libc.stdint cimport uint32_t

cimport cython


@cython.final
cdef class Origin:
    cdef object source
    cdef object destination
    cdef bytes key
    cdef object proof


@cython.final
cdef class Message:
    cdef Origin _origin
    cdef readonly bytes payload
    # The id of the first of its batch; its own if `_place` is 0.
    cdef bytes _first
    cdef uint32_t _place
    cdef readonly bint request
    cdef readonly bytes token
    cdef readonly object authority

    cdef tuple _fields(self)


cdef Message message_of(Origin origin, bytes payload, bytes first, uint32_t place)


@cython.final
cdef class BorrowedMessage:
    cdef Origin _origin
    # Of the frame; None once the handler is done.
    cdef bytes _body
    cdef Py_ssize_t _start
    cdef Py_ssize_t _size
    cdef object _view
    cdef bytes _first
    cdef uint32_t _place
    cdef readonly bytes token
    cdef readonly object authority

    cdef bint end(self)


cdef BorrowedMessage borrowed_of(Origin origin, bytes body, Py_ssize_t start, Py_ssize_t size,
                                 bytes first, uint32_t place)
