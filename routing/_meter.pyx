"""What has passed through the lines of one host: records and frames, and the time of their ciphers.

It counts and decides nothing. The clock it reads is the system's, for nothing but these figures.
"""

from libc.stdint cimport int64_t

cimport cython

__all__ = ["Meter"]

cdef extern from *:
    """
    #include <stdint.h>
    #include <time.h>
    static int64_t routing_monotonic_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
    }
    """
    int64_t routing_monotonic_ns() nogil


@cython.final
cdef class Meter:
    """Counts of one host, read one by one; each call is O(1) and makes no object."""

    cpdef start(self):
        """Begin to seal or to open; `sealed` or `opened` follows."""
        self._since = routing_monotonic_ns()

    cpdef sealed(self, Py_ssize_t records):
        """So many records were sealed since `start`."""
        self.seal_ns += routing_monotonic_ns() - self._since
        self.records_written += records

    cpdef gave(self, Py_ssize_t frames):
        """So many frames were put into records."""
        self.frames_written += frames

    cpdef opened(self):
        """A record was opened since `start`."""
        self.open_ns += routing_monotonic_ns() - self._since
        self.records_read += 1

    cpdef took(self, Py_ssize_t frames):
        """So many frames were read out of records."""
        self.frames_read += frames
