# The index of a table: buckets of sixteen slots of 4 bytes, with the positions of entries, found by
# bits of a hash. What a position leaves free of a slot holds more bits of it, so that hardly any
# other entry has to be looked at. A bucket is a line of the cache: what a lookup waits for is that
# line, and all of it is compared at once. Half full, one bucket in 170 is full; of smaller ones, of
# four slots, one in eight, and each sends a lookup to a second line that nobody can foresee.
#
# C memory only, as in `_queue.pxd`. An entry stands in its home or, where that is full, in the next
# bucket on its way that was not; a lookup ends at the first bucket that is not full. The entry has
# its hash. A deletion moves a later entry of the way back into the gap, so no tombstones are left
# and constant churn does not make lookups longer.
#
# The lowest bits of a hash choose a slot in a row of 256, and the others choose the row and turn
# it. So numbers that follow each other, as tokens do, lie side by side in the cache. The way goes
# from row to row, one bucket aside each time: two full rows in one place do not make a long search,
# and it comes through every bucket.

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from routing._queue cimport MARKS, NONE, STATE, Entry


cdef extern from *:
    """
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif
    #if defined(_MSC_VER)
    #include <intrin.h>
    #endif
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif

    /* Of sixteen slots: which may hold what is wanted, a bit for each. Also says yes of an empty
       one that is spelt so. */
    static inline uint32_t routing_like(const uint32_t *each, uint32_t wanted, uint32_t high) {
    #if defined(__SSE2__)
        const __m128i *words = (const __m128i *)each;
        __m128i spelt = _mm_set1_epi32((int)(wanted & high));
        __m128i mask = _mm_set1_epi32((int)high);
    #define ROUTING_LIKE(at) \\
        _mm_cmpeq_epi32(_mm_and_si128(_mm_load_si128(words + at), mask), spelt)
        __m128i one = _mm_packs_epi32(ROUTING_LIKE(0), ROUTING_LIKE(1));
        __m128i two = _mm_packs_epi32(ROUTING_LIKE(2), ROUTING_LIKE(3));
    #undef ROUTING_LIKE
        return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(one, two));
    #else
        uint32_t at, found = 0;
        for (at = 0; at < 16; at++)
            found |= (uint32_t)!((each[at] ^ wanted) & high) << at;
        return found;
    #endif
    }

    static inline uint32_t routing_empty(const uint32_t *each) {
        return routing_like(each, UINT32_MAX, UINT32_MAX);
    }

    /* Of the tags of a bucket: which are this one, bits 0 to 15, and which are none, above. */
    static inline uint32_t routing_tagged(const uint8_t *tags, uint8_t tag) {
    #if defined(__SSE2__)
        __m128i each = _mm_load_si128((const __m128i *)tags);
        return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(each, _mm_set1_epi8((char)tag)))
            | ~(uint32_t)_mm_movemask_epi8(each) << 16;
    #else
        uint32_t at, found = 0;
        for (at = 0; at < 16; at++) {
            if (tags[at] == tag) found |= (uint32_t)1 << at;
            else if (!tags[at]) found |= (uint32_t)0x10000 << at;
        }
        return found;
    #endif
    }

    /* Ask for pages of 2 MiB. Advice: where it is not taken nothing is different but the speed. */
    static inline void routing_ask_huge(void *start, size_t size) {
    #if defined(MADV_HUGEPAGE)
        (void)madvise(start, size, MADV_HUGEPAGE);
    #else
        (void)start;
        (void)size;
    #endif
    }

    /* The lowest bit that is set; one is. */
    static inline uint32_t routing_lowest(uint32_t bits) {
    #if defined(_MSC_VER)
        unsigned long at;
        _BitScanForward(&at, bits);
        return (uint32_t)at;
    #else
        return (uint32_t)__builtin_ctz(bits);
    #endif
    }
    """
    uint32_t bucket_like "routing_like" (
        const uint32_t* each, uint32_t wanted, uint32_t high
    ) noexcept nogil
    uint32_t bucket_tagged "routing_tagged" (const uint8_t* tags, uint8_t tag) noexcept nogil
    uint32_t bucket_empty "routing_empty" (const uint32_t* each) noexcept nogil
    void ask_huge "routing_ask_huge" (void* start, size_t size) noexcept nogil
    uint32_t lowest "routing_lowest" (uint32_t bits) noexcept nogil


cdef enum:
    ROW_BITS = 8
    ROW = 255
    BUCKET = 16
    BUCKET_BITS = 4
    # So many slots of a bucket are in use at most, taken over all. At one less, 100,000 entries
    # have twice the index; the fuller it is, the farther the displaced stand from their homes.
    IN_USE = 13
    # From a bucket to the next on the way, and what undoes that: 17 * BACK is 1 in 32 bits.
    ONWARD = 17
    BACK = 0xF0F0F0F1
    LINE = 64
    # An index of several such pages begins at one: of pages of 4 KiB it has more than the processor
    # keeps the addresses of.
    HUGE_PAGE = 0x200000
    SLOT_BITS_LEAST = 6
    SLOT_BITS_MAX = 29
    # From so large an index on, each slot has a tag of a byte in a place of its own, for a lookup
    # that finds nothing: it looks at a quarter of the memory, which the processor's own cache may
    # hold when it does not hold the slots.
    SLOT_BITS_TAGGED = 20
    # A smaller index grows fourfold: it is built anew less often, for little memory.
    SLOT_BITS_SMALL = 12


cdef struct Slots:
    uint32_t* each  # a bucket is a line of the cache
    uint8_t* tags  # of a large index; 0 for an empty slot
    void* block  # the memory that `each` lies in
    int bits
    uint32_t low  # the bits of a slot that say which entry; all of them at once say none
    uint32_t used
    uint32_t hit  # where the last lookup ended; a hint
    uint32_t reach  # no entry stands farther from its home, in steps of the way
    uint64_t version  # another one after every change


cdef inline uint32_t tag_of(Py_hash_t value) noexcept nogil:
    # The bits of a hash for a mark, above its lowest three: the row, then the slot in it. By the
    # factor, 2^64 / golden ratio, the upper bits depend on all bits of the hash.
    cdef uint64_t spread = (<uint64_t> value >> ROW_BITS) * <uint64_t> 0x9E3779B97F4A7C15
    cdef uint32_t column = <uint32_t> value + <uint32_t> (spread >> 16) & ROW
    return (<uint32_t> (spread >> 32) & ~<uint32_t> (8 * ROW + 7)) | column << 3


cdef inline uint32_t bucket_last(const Slots* slots) noexcept nogil:
    return (<uint32_t> 1 << (slots.bits - BUCKET_BITS)) - 1


cdef inline uint32_t slot_home(const Slots* slots, uint32_t mark) noexcept nogil:
    # The first slot to look at; the other three of its bucket are as good.
    cdef uint32_t row = (mark >> (3 + ROW_BITS)) >> (SLOT_BITS_MAX - slots.bits)
    return (row << ROW_BITS | (mark >> 3 & ROW)) & ((<uint32_t> 1 << slots.bits) - 1)


cdef inline uint32_t bucket_home(const Slots* slots, uint32_t mark) noexcept nogil:
    return slot_home(slots, mark) // BUCKET


cdef inline uint32_t bucket_next(const Slots* slots, uint32_t bucket) noexcept nogil:
    return (bucket + ONWARD) & bucket_last(slots)


cdef inline uint32_t bucket_steps(
    const Slots* slots, uint32_t home, uint32_t bucket
) noexcept nogil:
    # How far the way is from one to the other.
    return ((bucket - home) * <uint32_t> BACK) & bucket_last(slots)


cdef inline uint32_t spelt(const Slots* slots, uint32_t mark, uint32_t who) noexcept nogil:
    # What the slot of this entry holds; other bits of the mark than those that choose the slot.
    return ((mark & ~<uint32_t> MARKS) * <uint32_t> 0x9E3779B1 & ~slots.low) | who


cdef inline uint8_t byte_of(uint32_t mark) noexcept nogil:
    # The tag of a slot: other bits again than those that choose it. Never 0.
    return <uint8_t> ((mark & ~<uint32_t> MARKS) * <uint32_t> 0x9E3779B1 >> 25 | 0x80)


cdef inline bint slots_full(const Slots* slots) noexcept nogil:
    return BUCKET * (<uint64_t> slots.used + 1) > <uint64_t> IN_USE << slots.bits


cdef inline int bits_more(const Slots* slots) noexcept nogil:
    return slots.bits + (2 if slots.bits < SLOT_BITS_SMALL else 1)


cdef inline void slots_free(Slots* slots) noexcept nogil:
    PyMem_RawFree(slots.block)
    slots.block = NULL
    slots.each = NULL
    slots.tags = NULL


cdef inline int slots_renew(Slots* slots, int bits, uint32_t room) noexcept nogil:
    # Empty, so large, and for entries below `room`; -1 where there is no memory, and then nothing
    # has changed.
    cdef size_t slots_size = (<size_t> 1 << bits) * sizeof(uint32_t)
    cdef size_t size = slots_size + (<size_t> 1 << bits if bits >= SLOT_BITS_TAGGED else 0)
    cdef size_t edge = HUGE_PAGE if size >= 2 * HUGE_PAGE else LINE
    cdef void* block
    cdef uint32_t low = (<uint32_t> 1 << bits) - 1
    if bits > SLOT_BITS_MAX:
        return -1
    block = PyMem_RawMalloc(size + edge - 1)
    if block == NULL:
        return -1
    slots_free(slots)
    slots.block = block
    slots.each = <uint32_t*> ((<size_t> block + edge - 1) & ~(edge - 1))
    if edge == HUGE_PAGE:
        ask_huge(slots.each, size)
    # All bits set is NONE.
    memset(slots.each, 0xFF, slots_size)
    if bits >= SLOT_BITS_TAGGED:
        slots.tags = <uint8_t*> slots.each + slots_size
        memset(slots.tags, 0, size - slots_size)
    slots.bits = bits
    while low < room:
        low = 2 * low + 1
    slots.low = low
    slots.used = slots.hit = slots.reach = 0
    slots.version += 1
    return 0


cdef inline void slot_put(Slots* slots, const Entry* entries, uint32_t who) noexcept nogil:
    # The caller knows that the index is not full.
    cdef uint32_t at = slot_home(slots, entries[who].mark)
    cdef uint32_t bucket, empty, steps = 0
    slots.used += 1
    slots.version += 1
    if slots.each[at] != NONE:
        bucket = at // BUCKET
        empty = bucket_empty(&slots.each[BUCKET * bucket])
        while not empty:
            bucket = bucket_next(slots, bucket)
            empty = bucket_empty(&slots.each[BUCKET * bucket])
            steps += 1
        slots.reach = max(slots.reach, steps)
        at = BUCKET * bucket + lowest(empty)
    slots.each[at] = spelt(slots, entries[who].mark, who)
    if slots.tags != NULL:
        slots.tags[at] = byte_of(entries[who].mark)


cdef inline uint32_t slot_of(const Slots* slots, const Entry* entries, uint32_t who) noexcept nogil:
    # Where `who` stands in the index; the caller knows that it does.
    cdef uint32_t word = spelt(slots, entries[who].mark, who)
    cdef uint32_t bucket, like
    if slots.each[slots.hit] == word:
        return slots.hit
    bucket = bucket_home(slots, entries[who].mark)
    like = bucket_like(&slots.each[BUCKET * bucket], word, ~<uint32_t> 0)
    while not like:
        bucket = bucket_next(slots, bucket)
        like = bucket_like(&slots.each[BUCKET * bucket], word, ~<uint32_t> 0)
    return BUCKET * bucket + lowest(like)


cdef inline void slot_delete(Slots* slots, const Entry* entries, uint32_t who) noexcept nogil:
    # The caller knows that `who` stands in the index.
    cdef uint32_t gap = slot_of(slots, entries, who)
    cdef uint32_t bucket = gap // BUCKET
    cdef uint32_t at, home, steps = 0
    cdef bint full = not bucket_empty(&slots.each[gap - gap % BUCKET])
    slots.used -= 1
    slots.version += 1
    # Only past a full bucket has anything gone on: the first such entry comes back.
    while full and steps < slots.reach:
        bucket = bucket_next(slots, bucket)
        steps += 1
        full = not bucket_empty(&slots.each[BUCKET * bucket])
        for at in range(BUCKET * bucket, BUCKET * bucket + BUCKET):
            if slots.each[at] == NONE:
                continue
            home = bucket_home(slots, entries[slots.each[at] & slots.low].mark)
            if bucket_steps(slots, home, bucket) >= steps:
                slots.each[gap] = slots.each[at]
                if slots.tags != NULL:
                    slots.tags[gap] = slots.tags[at]
                gap, steps = at, 0
                break
    slots.each[gap] = NONE
    if slots.tags != NULL:
        slots.tags[gap] = 0


cdef inline int slots_check(
    const Slots* slots, const Entry* entries, uint32_t states
) except -1:
    # Assert every invariant; for tests. States (bit n for state n) are those of what stands here.
    cdef const uint32_t* each = slots.each
    cdef uint32_t last = bucket_last(slots)
    cdef uint32_t at, who, bucket, used = 0
    assert slots.hit // BUCKET <= last
    for at in range(BUCKET * (last + 1)):
        if each[at] == NONE:
            assert slots.tags == NULL or slots.tags[at] == 0
            continue
        used += 1
        assert slots.tags == NULL or slots.tags[at] == byte_of(entries[each[at] & slots.low].mark)
        who = each[at] & slots.low
        assert each[at] == spelt(slots, entries[who].mark, who)
        assert <uint32_t> 1 << (entries[who].mark & STATE) & states
        bucket = bucket_home(slots, entries[who].mark)
        assert bucket_steps(slots, bucket, at // BUCKET) <= slots.reach
        while bucket != at // BUCKET:
            assert not bucket_empty(&each[BUCKET * bucket]), (
                "a gap hides an entry from its lookup"
            )
            bucket = bucket_next(slots, bucket)
    assert used == slots.used and used <= IN_USE * (last + 1)
    return 0
