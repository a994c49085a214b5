# Positions of a table in order of deadline, and source groups ranked by size: C memory only.
#
# It counts no reference and runs no Python code, so nothing can re-enter it. A table has one
# `Entry` for each position and one `Place` for each position and queue. Entries that live for the
# default time come in order of deadline by themselves, because time does not go back: they stand in
# a linked list. Those with a time of their own stand in a second list as long as they come in order
# too, and otherwise in a binary heap.

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t
from libc.stdlib cimport qsort


cdef extern from *:
    """
    #define ROUTING_NONE UINT32_MAX
    """
    const uint32_t NONE "ROUTING_NONE"


cdef enum:
    # The lowest bits of an entry's mark: what it is, and whether it stands in heaps or in lists.
    STATE = 3
    HEAPED = 4
    MARKS = 7


cdef struct Entry:
    # All that a lookup asks for, in half a line of the cache. The references are the table's own,
    # and none while the entry is free.
    PyObject* key
    PyObject* value
    double expires
    uint32_t order  # rises with every insertion; breaks ties of deadline
    uint32_t mark  # bits of the key's hash, and in the lowest three STATE and HEAPED


cdef struct Place:
    uint32_t before  # position in the heap for an entry that stands in one
    uint32_t after


cdef struct Due:
    double expires
    uint32_t order
    uint32_t who


cdef inline int due_compare(const void* one, const void* two) noexcept nogil:
    cdef const Due* a = <const Due*> one
    cdef const Due* b = <const Due*> two
    if a.expires != b.expires:
        return -1 if a.expires < b.expires else 1
    return -1 if a.order < b.order else 1


cdef inline Due* dues(
    const Entry* entries, uint32_t used, uint32_t states, uint32_t* found
) noexcept nogil:
    # What is in one of these states (bit n for state n) and how much it is, as memory for the
    # caller to free and sort. NULL if there is no memory.
    cdef Due* due = <Due*> PyMem_RawMalloc((<size_t> used + 1) * sizeof(Due))
    cdef uint32_t who, count = 0
    if due == NULL:
        return NULL
    for who in range(used):
        if <uint32_t> 1 << (entries[who].mark & STATE) & states:
            due[count].expires = entries[who].expires
            due[count].order = entries[who].order
            due[count].who = who
            count += 1
    found[0] = count
    return due


cdef inline int orders_renew(Entry* entries, uint32_t used, uint32_t states) noexcept nogil:
    # Count what is in these states from 0 on, as before; -1 if there is no memory.
    cdef uint32_t at, count = 0
    cdef Due* due = dues(entries, used, states, &count)
    if due == NULL:
        return -1
    for at in range(count):
        due[at].expires = 0
    qsort(due, count, sizeof(Due), due_compare)
    for at in range(count):
        entries[due[at].who].order = at
    PyMem_RawFree(due)
    return 0


cdef struct Queue:
    uint32_t first
    uint32_t last
    uint32_t own_first
    uint32_t own_last
    uint32_t* heap
    uint32_t heap_count
    uint32_t heap_room


cdef struct Group:
    Queue queue
    uint32_t count
    uint32_t rank  # position in the ranking, NONE while it is empty


cdef struct Groups:
    Group* each
    uint32_t room
    uint32_t used
    uint32_t* ranking
    uint32_t ranked


cdef inline void queue_init(Queue* queue) noexcept nogil:
    queue.first = queue.last = queue.own_first = queue.own_last = NONE
    queue.heap = NULL
    queue.heap_count = queue.heap_room = 0


cdef inline void queue_free(Queue* queue) noexcept nogil:
    PyMem_RawFree(queue.heap)
    queue_init(queue)


cdef inline bint earlier(const Entry* entries, uint32_t one, uint32_t two) noexcept nogil:
    if entries[one].expires != entries[two].expires:
        return entries[one].expires < entries[two].expires
    return entries[one].order < entries[two].order


cdef inline void heap_put(
    Queue* queue, Place* places, uint32_t at, uint32_t who
) noexcept nogil:
    queue.heap[at] = who
    places[who].before = at


cdef inline void heap_settle(
    Queue* queue, Place* places, const Entry* entries, uint32_t at
) noexcept nogil:
    # Move what stands at `at` up or down to where it belongs.
    cdef uint32_t who = queue.heap[at]
    cdef uint32_t other
    while at > 0 and earlier(entries, who, queue.heap[(at - 1) // 2]):
        heap_put(queue, places, at, queue.heap[(at - 1) // 2])
        at = (at - 1) // 2
    while True:
        other = 2 * at + 1
        if other >= queue.heap_count:
            break
        if other + 1 < queue.heap_count and earlier(
            entries, queue.heap[other + 1], queue.heap[other]
        ):
            other += 1
        if not earlier(entries, queue.heap[other], who):
            break
        heap_put(queue, places, at, queue.heap[other])
        at = other
    heap_put(queue, places, at, who)


cdef inline int queue_reserve(Queue* queue) noexcept nogil:
    # Make room for one more in the heap; -1 if there is no memory.
    cdef uint32_t room
    cdef uint32_t* heap
    if queue.heap_count < queue.heap_room:
        return 0
    room = queue.heap_room * 2 if queue.heap_room else 4
    heap = <uint32_t*> PyMem_RawRealloc(queue.heap, <size_t> room * sizeof(uint32_t))
    if heap == NULL:
        return -1
    queue.heap = heap
    queue.heap_room = room
    return 0


cdef inline void queue_append(Queue* queue, Place* places, uint32_t who) noexcept nogil:
    # The caller knows that `who` is due after everything in the list.
    places[who].before = queue.last
    places[who].after = NONE
    if queue.last == NONE:
        queue.first = who
    else:
        places[queue.last].after = who
    queue.last = who


cdef inline int queue_sort(
    Queue* queue, Place* places, const Entry* entries, uint32_t used, uint32_t states
) noexcept nogil:
    # Put the list, which is all that is in these states, in order; -1 if there is no memory.
    cdef uint32_t at, count = 0
    cdef Due* due = dues(entries, used, states, &count)
    if due == NULL:
        return -1
    qsort(due, count, sizeof(Due), due_compare)
    queue.first = queue.last = NONE
    for at in range(count):
        queue_append(queue, places, due[at].who)
    PyMem_RawFree(due)
    return 0


cdef inline void queue_append_own(Queue* queue, Place* places, uint32_t who) noexcept nogil:
    # The same for the second list.
    places[who].before = queue.own_last
    places[who].after = NONE
    if queue.own_last == NONE:
        queue.own_first = who
    else:
        places[queue.own_last].after = who
    queue.own_last = who


cdef inline void queue_push(
    Queue* queue, Place* places, const Entry* entries, uint32_t who
) noexcept nogil:
    # The caller has called queue_reserve.
    queue.heap_count += 1
    heap_put(queue, places, queue.heap_count - 1, who)
    heap_settle(queue, places, entries, queue.heap_count - 1)


cdef inline void queue_put(
    Queue* queue, Place* places, const Entry* entries, uint32_t who, bint own_ttl
) noexcept nogil:
    # The mark of the entry says whether it goes to the heap.
    if not own_ttl:
        queue_append(queue, places, who)
    elif entries[who].mark & HEAPED:
        queue_push(queue, places, entries, who)
    else:
        queue_append_own(queue, places, who)


cdef inline void queue_remove(
    Queue* queue, Place* places, const Entry* entries, uint32_t who
) noexcept nogil:
    cdef uint32_t at = places[who].before
    if not entries[who].mark & HEAPED:
        if places[who].before != NONE:
            places[places[who].before].after = places[who].after
        elif queue.first == who:
            queue.first = places[who].after
        else:
            queue.own_first = places[who].after
        if places[who].after != NONE:
            places[places[who].after].before = places[who].before
        elif queue.last == who:
            queue.last = places[who].before
        else:
            queue.own_last = places[who].before
        return
    queue.heap_count -= 1
    if at < queue.heap_count:
        heap_put(queue, places, at, queue.heap[queue.heap_count])
        heap_settle(queue, places, entries, at)


cdef inline uint32_t queue_first(const Queue* queue, const Entry* entries) noexcept nogil:
    cdef uint32_t who = queue.first
    if queue.own_first != NONE and (who == NONE or earlier(entries, queue.own_first, who)):
        who = queue.own_first
    if queue.heap_count and (who == NONE or earlier(entries, queue.heap[0], who)):
        who = queue.heap[0]
    return who


cdef inline bint outranks(
    const Groups* groups, const Entry* entries, uint32_t one, uint32_t two
) noexcept nogil:
    # The larger group first; of equal ones that whose oldest entry is older.
    if groups.each[one].count != groups.each[two].count:
        return groups.each[one].count > groups.each[two].count
    return earlier(
        entries,
        queue_first(&groups.each[one].queue, entries),
        queue_first(&groups.each[two].queue, entries),
    )


cdef inline void rank_put(Groups* groups, uint32_t at, uint32_t group) noexcept nogil:
    groups.ranking[at] = group
    groups.each[group].rank = at


cdef inline void rank_settle(Groups* groups, const Entry* entries, uint32_t at) noexcept nogil:
    cdef uint32_t group = groups.ranking[at]
    cdef uint32_t other
    while at > 0 and outranks(groups, entries, group, groups.ranking[(at - 1) // 2]):
        rank_put(groups, at, groups.ranking[(at - 1) // 2])
        at = (at - 1) // 2
    while True:
        other = 2 * at + 1
        if other >= groups.ranked:
            break
        if other + 1 < groups.ranked and outranks(
            groups, entries, groups.ranking[other + 1], groups.ranking[other]
        ):
            other += 1
        if not outranks(groups, entries, groups.ranking[other], group):
            break
        rank_put(groups, at, groups.ranking[other])
        at = other
    rank_put(groups, at, group)


cdef inline void rerank(Groups* groups, const Entry* entries, uint32_t group) noexcept nogil:
    # Call after every change of a group's queue or count.
    cdef uint32_t at = groups.each[group].rank
    if groups.each[group].count == 0:
        if at == NONE:
            return
        groups.ranked -= 1
        groups.each[group].rank = NONE
        if at < groups.ranked:
            rank_put(groups, at, groups.ranking[groups.ranked])
            rank_settle(groups, entries, at)
        return
    if at == NONE:
        at = groups.ranked
        groups.ranked += 1
        rank_put(groups, at, group)
    rank_settle(groups, entries, at)


cdef inline uint32_t victim(
    const Groups* groups, const Queue* live, const Entry* entries, uint32_t group
) noexcept nogil:
    # Who departs so that a newcomer of `group` fits: the first of the largest group, newcomer
    # counted, so that it is the flood that pays for the flood.
    cdef uint32_t own, other
    cdef uint32_t largest
    if groups.ranked == 0:
        return queue_first(live, entries)
    largest = groups.ranking[0]
    other = queue_first(&groups.each[largest].queue, entries)
    if group == NONE or group == largest or groups.each[group].count == 0:
        return other
    if groups.each[group].count + 1 < groups.each[largest].count:
        return other
    own = queue_first(&groups.each[group].queue, entries)
    if groups.each[group].count + 1 > groups.each[largest].count:
        return own
    return own if earlier(entries, own, other) else other


cdef inline int groups_reserve(Groups* groups) noexcept nogil:
    # Make room for one more group and its rank; -1 if there is no memory.
    cdef uint32_t room
    cdef Group* each
    cdef uint32_t* ranking
    if groups.used < groups.room:
        return 0
    room = groups.room * 2 if groups.room else 8
    each = <Group*> PyMem_RawRealloc(groups.each, <size_t> room * sizeof(Group))
    if each == NULL:
        return -1
    groups.each = each
    ranking = <uint32_t*> PyMem_RawRealloc(groups.ranking, <size_t> room * sizeof(uint32_t))
    if ranking == NULL:
        return -1
    groups.ranking = ranking
    groups.room = room
    return 0


cdef inline void groups_free(Groups* groups) noexcept nogil:
    cdef uint32_t group
    for group in range(groups.used):
        queue_free(&groups.each[group].queue)
    PyMem_RawFree(groups.each)
    PyMem_RawFree(groups.ranking)
    groups.each = NULL
    groups.ranking = NULL
    groups.room = groups.used = groups.ranked = 0
