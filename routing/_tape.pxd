"""What other compiled rooms may use of `_tape`."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cimport cython

from routing._blocks cimport Pool, Stretch


cdef enum:
    FIELDS_MAX = 16


cdef enum How:
    WHOLE
    LISTED


@cython.final
cdef class Plan:
    cdef int tag
    cdef int count
    cdef Py_ssize_t[FIELDS_MAX] places


@cython.final
cdef class Tape:
    cdef public bint deaf
    cdef public int64_t steps
    cdef public int64_t due
    cdef Stretch _records
    cdef Stretch _digests
    cdef uint32_t _count
    cdef Py_ssize_t _full
    cdef dict _plans
    cdef dict _structs
    cdef object _encode
    cdef Plan _frame_plan
    cdef object _frame
    cdef object _batch
    cdef object _many
    cdef object _open
    cdef object _open_at
    cdef object _handle
    cdef object _on_deadline
    cdef object _after
    cdef object _fallen
    cdef Pool _pool

    cdef int _head(self, int tag) except -1
    cdef int _leave_head(self) except -1
    cdef int tried(self, const uint8_t* digest) except -1
    cdef int _note(self, object fact, object now, How how) except -1
    cdef int _decide(self, How how) except -1
    cdef int _step_done(self, object now) except -1
    cdef int _batched(self, object fact, object now) except -1
    cdef int _listed(self, object fact, object now) except -1
    cdef int _fact(self, object fact, Plan plan, object now) except -1
    cdef int _lengths_written(self, Py_ssize_t size) except -1
    cdef int _fields(self, object whole, Plan plan) except -1
    cdef int _said(self, int tag, bytes value) except -1
    cdef int _begin(self, int tag, int fields) except -1
    cdef int _value(self, object value) except -1
    cdef int _other(self, object value) except -1
    cdef int _array(self, Py_ssize_t count) except -1
    cdef int _uint(self, uint64_t value) except -1
    cdef int _binary(self, const void* text, Py_ssize_t size) except -1
    cdef int _byte(self, uint8_t value) except -1
    cdef uint8_t* _room(self, Py_ssize_t more) except NULL
