# The index for other compiled rooms: the `_c` methods take 32 raw bytes and make no Python object.
# Names as numbers, and how they compare, stand here too.

from libc.stdint cimport uint8_t, uint64_t

cimport cython


cdef extern from *:
    """
    #ifndef ROUTING_DEBUG
    #define ROUTING_DEBUG 0
    #endif
    #include <stdint.h>
    /* Compilers make one load, or one store, and a byte swap of these. */
    static inline uint64_t routing_load(const uint8_t* p) {
        return (uint64_t) p[0] << 56 | (uint64_t) p[1] << 48 | (uint64_t) p[2] << 40
            | (uint64_t) p[3] << 32 | (uint64_t) p[4] << 24 | (uint64_t) p[5] << 16
            | (uint64_t) p[6] << 8 | (uint64_t) p[7];
    }
    static inline void routing_store(uint8_t* p, uint64_t word) {
        p[0] = (uint8_t) (word >> 56); p[1] = (uint8_t) (word >> 48);
        p[2] = (uint8_t) (word >> 40); p[3] = (uint8_t) (word >> 32);
        p[4] = (uint8_t) (word >> 24); p[5] = (uint8_t) (word >> 16);
        p[6] = (uint8_t) (word >> 8); p[7] = (uint8_t) word;
    }
    """
    const bint ROUTING_DEBUG
    uint64_t load "routing_load" (const uint8_t* start) noexcept nogil
    void store "routing_store" (uint8_t* start, uint64_t word) noexcept nogil
    # Undefined for 0.
    int leading_zeros "__builtin_clzll" (uint64_t word) noexcept nogil


cdef enum:
    NAME_BYTES = 32
    NAME_BITS = 256
    WORDS = 4
    LEAF = 12  # a run of so few is sorted at once
    FRAMES = 256  # each holds a longer common prefix than the one below it


cdef struct XorEntry:
    # The name as four numbers, first bytes highest: comparing them compares names.
    uint64_t words[WORDS]
    uint64_t token


cdef struct Frame:
    # A run of entries, of which those from low to high have been taken.
    uint64_t target[WORDS]
    Py_ssize_t start
    Py_ssize_t stop
    Py_ssize_t low
    Py_ssize_t high


cdef struct Walk:
    Py_ssize_t leaf[LEAF]
    int depth
    Frame frames[FRAMES]


cdef inline void read_name(const uint8_t* name, uint64_t* words) noexcept nogil:
    cdef int k
    for k in range(WORDS):
        words[k] = load(name + 8 * k)


cdef inline void write_name(const uint64_t* words, uint8_t* name) noexcept nogil:
    cdef int k
    for k in range(WORDS):
        store(name + 8 * k, words[k])


# -- comparing: the first word nearly always decides

cdef inline bint equal(const uint64_t* a, const uint64_t* b) noexcept nogil:
    return a[0] == b[0] and a[1] == b[1] and a[2] == b[2] and a[3] == b[3]


cdef inline bint below(const uint64_t* a, const uint64_t* b) noexcept nogil:
    cdef int k
    for k in range(WORDS):
        if a[k] != b[k]:
            return a[k] < b[k]
    return False


cdef inline bint nearer(
    const uint64_t* target, const uint64_t* a, const uint64_t* b
) noexcept nogil:
    # Whether a is strictly nearer than b.
    cdef int k
    for k in range(WORDS):
        if a[k] != b[k]:
            return (a[k] ^ target[k]) < (b[k] ^ target[k])
    return False


cdef inline int shared_bits(const uint64_t* a, const uint64_t* b) noexcept nogil:
    cdef int k
    for k in range(WORDS):
        if a[k] != b[k]:
            return 64 * k + leading_zeros(a[k] ^ b[k])
    return NAME_BITS


cdef inline bint among(uint64_t token, const uint64_t* tokens, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(count):
        if tokens[k] == token:
            return True
    return False


@cython.final
cdef class XorIndex:
    cdef readonly Py_ssize_t capacity
    cdef unsigned long _thread
    cdef XorEntry* _entries
    cdef Py_ssize_t _room
    cdef Py_ssize_t _count

    # The token of a name, 0 if it is not there.
    cdef uint64_t token_c(self, const uint8_t* name) noexcept nogil
    # Write the at most `count` nearest, nearest first, and return how many; either may be NULL.
    cdef Py_ssize_t closest_c(
        self, const uint8_t* target, Py_ssize_t count, uint64_t* tokens, uint8_t* names
    ) noexcept nogil
    # The token of the nearest entry that is strictly nearer to `target` than `own` and whose token
    # is not among the excluded, 0 if there is none.
    cdef uint64_t next_hop_c(
        self,
        const uint8_t* own,
        const uint8_t* target,
        const uint64_t* excluded,
        Py_ssize_t excluded_count,
    ) noexcept nogil

    cdef int _guard(self) except -1
    cdef Py_ssize_t _most(self, object count) except -1
    cdef Py_ssize_t _find(self, const uint64_t* words) noexcept nogil
    cdef int _reserve(self) except -1
    cdef void _give_back(self) noexcept
