# The index of a table: slots of 4 bytes with the positions of entries, found by bits of a hash.
# What a position leaves free of a slot holds more bits of it, so that hardly any other entry has to
# be looked at.
#
# C memory only, as in `_queue.pxd`. Open addressing in steps of one, at most two thirds in use; the
# hash stands in the entry. A deletion moves later slots of the run back over the gap, so no
# tombstones are left behind and constant churn does not make lookups longer.
#
# The lowest bits of a hash choose a slot in a row of 32, and the others choose the row and turn it.
# So numbers that follow each other, as tokens do, lie side by side in the cache, and no stride of
# numbers makes a long run.

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from routing._queue cimport MARKS, NONE, Entry


cdef enum:
    ROW_BITS = 5
    ROW = 31
    SLOT_BITS_LEAST = 6
    SLOT_BITS_MAX = 29
    # A smaller index grows fourfold: it is built anew less often, for little memory.
    SLOT_BITS_SMALL = 12


cdef struct Slots:
    uint32_t* each
    int bits
    uint32_t low  # the bits of a slot that say which entry; all of them at once say none
    uint32_t used
    uint32_t hit  # where the last lookup ended; a hint
    uint32_t reach  # no entry stands farther from its home
    uint64_t version  # another one after every change


cdef inline uint32_t tag_of(Py_hash_t value) noexcept nogil:
    # The bits of a hash for a mark, above its lowest three: the row, then the slot in it. By the
    # factor, 2^64 / golden ratio, the upper bits depend on all bits of the hash.
    cdef uint64_t spread = (<uint64_t> value >> ROW_BITS) * <uint64_t> 0x9E3779B97F4A7C15
    cdef uint32_t row = <uint32_t> value + <uint32_t> (spread >> 16) & ROW
    return (<uint32_t> (spread >> 32) & ~<uint32_t> (8 * ROW + 7)) | row << 3


cdef inline uint32_t slot_home(const Slots* slots, uint32_t mark) noexcept nogil:
    return mark >> (32 + ROW_BITS - slots.bits) << ROW_BITS | (mark >> 3 & ROW)


cdef inline uint32_t spelt(const Slots* slots, uint32_t mark, uint32_t who) noexcept nogil:
    # What the slot of this entry holds; other bits of the mark than those that choose the slot.
    return ((mark & ~<uint32_t> MARKS) * <uint32_t> 0x9E3779B1 & ~slots.low) | who


cdef inline bint slots_full(const Slots* slots) noexcept nogil:
    return 3 * (<uint64_t> slots.used + 1) > 2 * (<uint64_t> 1 << slots.bits)


cdef inline int bits_more(const Slots* slots) noexcept nogil:
    return slots.bits + (2 if slots.bits < SLOT_BITS_SMALL else 1)


cdef inline int slots_renew(Slots* slots, int bits, uint32_t room) noexcept nogil:
    # Empty, so large, and for entries below `room`; -1 where there is no memory, and then nothing
    # has changed.
    cdef size_t size = (<size_t> 1 << bits) * sizeof(uint32_t)
    cdef uint32_t* each
    cdef uint32_t low = (<uint32_t> 1 << bits) - 1
    if bits > SLOT_BITS_MAX:
        return -1
    each = <uint32_t*> PyMem_RawMalloc(size)
    if each == NULL:
        return -1
    # All bits set is NONE.
    memset(each, 0xFF, size)
    PyMem_RawFree(slots.each)
    slots.each = each
    slots.bits = bits
    while low < room:
        low = 2 * low + 1
    slots.low = low
    slots.used = slots.hit = slots.reach = 0
    slots.version += 1
    return 0


cdef inline void slot_put(Slots* slots, const Entry* entries, uint32_t who) noexcept nogil:
    # The caller knows that the index is not full.
    cdef uint32_t mask = (<uint32_t> 1 << slots.bits) - 1
    cdef uint32_t home = slot_home(slots, entries[who].mark)
    cdef uint32_t at = home
    while slots.each[at] != NONE:
        at = (at + 1) & mask
    slots.each[at] = spelt(slots, entries[who].mark, who)
    slots.reach = max(slots.reach, (at - home) & mask)
    slots.used += 1
    slots.version += 1


cdef inline void slot_delete(Slots* slots, const Entry* entries, uint32_t who) noexcept nogil:
    # The caller knows that `who` stands in the index.
    cdef uint32_t mask = (<uint32_t> 1 << slots.bits) - 1
    cdef uint32_t word = spelt(slots, entries[who].mark, who)
    cdef uint32_t gap = slots.hit
    cdef uint32_t at, home
    if slots.each[gap] != word:
        gap = slot_home(slots, entries[who].mark)
        while slots.each[gap] != word:
            gap = (gap + 1) & mask
    at = (gap + 1) & mask
    while slots.each[at] != NONE and ((at - gap) & mask) <= slots.reach:
        home = slot_home(slots, entries[slots.each[at] & slots.low].mark)
        if ((at - home) & mask) >= ((at - gap) & mask):
            slots.each[gap] = slots.each[at]
            gap = at
        at = (at + 1) & mask
    slots.each[gap] = NONE
    slots.used -= 1
    slots.version += 1
