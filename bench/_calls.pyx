"""What a caller in another compiled room pays: the same loops as in Python, without Python calls.

Built for the benchmarks alone (`ROUTING_BENCH=1`), it is in no wheel.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint64_t

from routing._filter cimport TimedFilter
from routing._seen cimport MessageFilter
from routing._tokens cimport TokenTable

__all__ = ["contains_ids", "get_keys", "get_tokens", "insert_ids"]


def insert_ids(MessageFilter table, list ids, double now):
    """Check and insert every id; return how many were new."""
    cdef Py_ssize_t new = 0
    for id in ids:
        new += table.insert_at(<const uint8_t*> PyBytes_AS_STRING(id), now, 0)
    return new


def contains_ids(MessageFilter table, list ids, double now):
    """Look every id up; return how many are there."""
    cdef Py_ssize_t found = 0
    for id in ids:
        found += table.contains_at(<const uint8_t*> PyBytes_AS_STRING(id), now)
    return found


def get_keys(TimedFilter table, list keys, double now):
    """Look every key up; return how many are live."""
    cdef Py_ssize_t found = 0
    for key in keys:
        found += table.contains_at(key, now)
    return found


def get_tokens(TokenTable table, uint64_t first, uint64_t last):
    """Look so many tokens up; return how many are live."""
    cdef Py_ssize_t found = 0
    cdef uint64_t token
    for token in range(first, last):
        found += table.get_c(token) is not None
    return found
