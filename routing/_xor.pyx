"""Names in XOR space: who is nearest to a target, and who is the next hop towards it.

An index of 32-byte names, each with the token of its connection, sorted in one C block. It is not
the routing table: it knows no own name, no buckets and no policy, and it belongs to one thread.

Names that share a prefix lie side by side. A search finds the place of the target; the run of names
that share most bits with it touches that place, the run that shares the next most touches the one
or the other side of what has been taken, and each run is farther than all before it. Within a run
the same holds again, so a lookup reads the neighbourhood of a few places however many names there
are.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_GET_SIZE
from cpython.long cimport PyLong_Check
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memmove

cimport cython

from routing.errors import UsageError

__all__ = ["XorIndex"]

cdef enum:
    ROOM_LEAST = 16
    FEW = 32  # results so few are gathered on the stack
    CAPACITY_MAX = 0x40000000


@cython.final
cdef class XorIndex:
    """Names in XOR order, each with a token.

    Args:
        capacity: Most names at a time, at least 1. Memory follows use, 40 to 160 bytes each.

    Names and targets are `bytes` of exactly 32. A token is any number from 1 to 2**64 - 1; 0 stands
    for none. Every answer is ordered by XOR distance, and no two names are equally far. Owned by
    one thread; a debug build refuses others.

    Raises:
        UsageError: a name not 32 bytes long, a number out of bounds.
        TypeError: an argument of the wrong type.
    """

    def __cinit__(self, capacity):
        if isinstance(capacity, bool) or not isinstance(capacity, int):
            raise TypeError(f"capacity={capacity!r} must be an integer")
        if not 1 <= capacity <= CAPACITY_MAX:
            raise UsageError(
                f"capacity={capacity} is refused; it must be from 1 to {CAPACITY_MAX:d}"
            )
        self.capacity = capacity
        self._thread = PyThread_get_thread_ident()

    def __dealloc__(self):
        PyMem_RawFree(self._entries)

    def add(self, name, token):
        """Enter a name. O(log n), and the names behind it move up by one.

        Raises:
            UsageError: the name is here already, the index is full, or the token is out of bounds.
        """
        cdef uint64_t words[WORDS]
        cdef uint64_t number = token_of(token)
        cdef Py_ssize_t place
        cdef XorEntry* entry
        read_name(name_of(name), words)
        self._guard()
        place = place_of(self._entries, 0, self._count, words)
        if place < self._count and equal(self._entries[place].words, words):
            raise UsageError(f"name {name[:4].hex()} is in the index; remove it first")
        if self._count == self.capacity:
            raise UsageError(
                f"name {name[:4].hex()} is refused; the index holds {self._count} names, "
                f"capacity={self.capacity}: remove one first"
            )
        self._reserve()
        entry = &self._entries[place]
        memmove(entry + 1, entry, <size_t> (self._count - place) * sizeof(XorEntry))
        memcpy(entry.words, words, sizeof(words))
        entry.token = number
        self._count += 1

    def remove(self, name):
        """Take a name out and return its token, 0 if it is not here. O(log n) and a move down."""
        cdef uint64_t words[WORDS]
        cdef uint64_t token
        cdef Py_ssize_t place
        cdef XorEntry* entry
        read_name(name_of(name), words)
        self._guard()
        place = self._find(words)
        if place < 0:
            return 0
        entry = &self._entries[place]
        token = entry.token
        self._count -= 1
        memmove(entry, entry + 1, <size_t> (self._count - place) * sizeof(XorEntry))
        self._give_back()
        return token

    def token(self, name):
        """Return the token of a name, 0 if it is not here. O(log n)."""
        self._guard()
        return self.token_c(name_of(name))

    def closest(self, target, count):
        """Return the at most `count` names nearest to `target`, nearest first. O(log n + count).

        The target is among them if it is here. Fewer come only if there are no more.
        """
        cdef const uint8_t* aim = name_of(target)
        cdef Py_ssize_t most = self._most(count)
        cdef Py_ssize_t found, k
        cdef uint8_t few[FEW * NAME_BYTES]
        cdef uint8_t* names = few
        if most > FEW:
            names = <uint8_t*> PyMem_RawMalloc(<size_t> most * NAME_BYTES)
            if names == NULL:
                raise MemoryError
        try:
            # All is copied before the first object is made: making one may run foreign code.
            found = self.closest_c(aim, most, NULL, names)
            return [(<char*> names)[k * NAME_BYTES : (k + 1) * NAME_BYTES] for k in range(found)]
        finally:
            if names != few:
                PyMem_RawFree(names)

    def closest_tokens(self, target, count):
        """Return the tokens of the at most `count` names nearest to `target`, nearest first."""
        cdef const uint8_t* aim = name_of(target)
        cdef Py_ssize_t most = self._most(count)
        cdef Py_ssize_t found, k
        cdef uint64_t few[FEW]
        cdef uint64_t* tokens = few
        if most > FEW:
            tokens = <uint64_t*> PyMem_RawMalloc(<size_t> most * sizeof(uint64_t))
            if tokens == NULL:
                raise MemoryError
        try:
            found = self.closest_c(aim, most, tokens, NULL)
            return [tokens[k] for k in range(found)]
        finally:
            if tokens != few:
                PyMem_RawFree(tokens)

    def next_hop(self, own, target, exclude=()):
        """Return the name nearest to `target` if strictly nearer than `own`, else None.

        Names in `exclude` do not count. O(log n + those excluded).
        """
        cdef uint64_t limit[WORDS]
        cdef uint64_t words[WORDS]
        cdef uint8_t found[NAME_BYTES]
        cdef Walk walk
        cdef Py_ssize_t few, k
        cdef object name
        # A set of plain copies: nothing foreign runs once the walk has begun.
        cdef set without = None
        read_name(name_of(own), limit)
        read_name(name_of(target), words)
        if exclude:
            without = set()
            for name in exclude:
                without.add((<const char*> name_of(name))[:NAME_BYTES])
        self._guard()
        start_walk(&walk, self._entries, self._count, words)
        while True:
            few = step_walk(&walk, self._entries)
            for k in range(few):
                if not nearer(words, self._entries[walk.leaf[k]].words, limit):
                    return None
                write_name(self._entries[walk.leaf[k]].words, found)
                name = (<char*> found)[:NAME_BYTES]
                if without is None or name not in without:
                    return name
            if few == 0:
                return None

    def next_hop_token(self, own, target, exclude=()):
        """Return the token of the next hop, 0 if there is none; `exclude` holds tokens.

        As `next_hop`, but every token is compared with every excluded one: for a handful of them.
        """
        cdef const uint8_t* start = name_of(own)
        cdef const uint8_t* aim = name_of(target)
        cdef list without = list(exclude)
        cdef Py_ssize_t k, count = len(without)
        cdef uint64_t few[FEW]
        cdef uint64_t* excluded = few
        if count > FEW:
            excluded = <uint64_t*> PyMem_RawMalloc(<size_t> count * sizeof(uint64_t))
            if excluded == NULL:
                raise MemoryError
        try:
            for k in range(count):
                excluded[k] = token_of(without[k])
            self._guard()
            return self.next_hop_c(start, aim, excluded, count)
        finally:
            if excluded != few:
                PyMem_RawFree(excluded)

    def __contains__(self, name):
        self._guard()
        return self.token_c(name_of(name)) != 0

    def __len__(self):
        return self._count

    def __iter__(self):
        """Iterate over the names as they sort; later changes do not show. O(n)."""
        return iter(self.closest(bytes(NAME_BYTES), self._count))

    def __repr__(self):
        return f"<XorIndex capacity={self.capacity} names={self._count}>"

    # -- for compiled callers

    cdef uint64_t token_c(self, const uint8_t* name) noexcept nogil:
        cdef uint64_t words[WORDS]
        cdef Py_ssize_t place
        read_name(name, words)
        place = self._find(words)
        return self._entries[place].token if place >= 0 else 0

    cdef Py_ssize_t closest_c(
        self, const uint8_t* target, Py_ssize_t count, uint64_t* tokens, uint8_t* names
    ) noexcept nogil:
        cdef uint64_t words[WORDS]
        cdef Walk walk
        cdef Py_ssize_t few, k, found = 0
        cdef const XorEntry* entry
        read_name(target, words)
        start_walk(&walk, self._entries, self._count, words)
        while found < count:
            few = step_walk(&walk, self._entries)
            if few == 0:
                break
            for k in range(min(few, count - found)):
                entry = &self._entries[walk.leaf[k]]
                if tokens != NULL:
                    tokens[found] = entry.token
                if names != NULL:
                    write_name(entry.words, names + found * NAME_BYTES)
                found += 1
        return found

    cdef uint64_t next_hop_c(
        self,
        const uint8_t* own,
        const uint8_t* target,
        const uint64_t* excluded,
        Py_ssize_t excluded_count,
    ) noexcept nogil:
        cdef uint64_t limit[WORDS]
        cdef uint64_t words[WORDS]
        cdef Walk walk
        cdef Py_ssize_t few, k
        cdef const XorEntry* entry
        read_name(own, limit)
        read_name(target, words)
        start_walk(&walk, self._entries, self._count, words)
        while True:
            few = step_walk(&walk, self._entries)
            for k in range(few):
                entry = &self._entries[walk.leaf[k]]
                if not nearer(words, entry.words, limit):
                    return 0
                if not among(entry.token, excluded, excluded_count):
                    return entry.token
            if few == 0:
                return 0

    # -- private

    cdef int _guard(self) except -1:
        if ROUTING_DEBUG and PyThread_get_thread_ident() != self._thread:
            raise RuntimeError("an XorIndex was used outside the thread that made it")
        return 0

    cdef Py_ssize_t _most(self, object count) except -1:
        # How many results there can be.
        cdef Py_ssize_t number
        self._guard()
        if not PyLong_Check(count):
            raise TypeError(f"count of type {type(count).__name__} is refused; it must be int")
        try:
            number = count
        except OverflowError:
            number = self._count if count > 0 else -1
        if number < 0:
            raise UsageError(f"count={count} is refused; it must be 0 or more")
        return min(number, self._count)

    cdef Py_ssize_t _find(self, const uint64_t* words) noexcept nogil:
        cdef Py_ssize_t place = place_of(self._entries, 0, self._count, words)
        if place < self._count and equal(self._entries[place].words, words):
            return place
        return -1

    cdef int _reserve(self) except -1:
        cdef Py_ssize_t room
        cdef XorEntry* entries
        if self._count < self._room:
            return 0
        room = min(max(2 * self._room, <Py_ssize_t> ROOM_LEAST), self.capacity)
        if <size_t> room > (<size_t> -1) // sizeof(XorEntry):
            raise MemoryError
        entries = <XorEntry*> PyMem_RawRealloc(self._entries, <size_t> room * sizeof(XorEntry))
        if entries == NULL:
            raise MemoryError
        self._entries = entries
        self._room = room
        return 0

    cdef void _give_back(self) noexcept:
        # At a quarter, so that a name that comes and goes does not move the block each time.
        cdef XorEntry* entries
        cdef Py_ssize_t room = self._room // 2
        if room < ROOM_LEAST or self._count > room // 2:
            return
        entries = <XorEntry*> PyMem_RawRealloc(self._entries, <size_t> room * sizeof(XorEntry))
        # A block that will not shrink is still the block.
        if entries != NULL:
            self._entries = entries
            self._room = room

    def _check(self):
        """Assert every invariant of the index; for tests. O(n log n)."""
        cdef Py_ssize_t k
        assert 0 <= self._count <= self._room <= self.capacity
        assert (self._entries == NULL) == (self._room == 0)
        assert self._room < 2 * ROOM_LEAST or self._count > self._room // 4
        for k in range(self._count):
            assert self._entries[k].token != 0
            assert self._find(self._entries[k].words) == k
            assert k == 0 or below(self._entries[k - 1].words, self._entries[k].words)


# -- names and tokens as they come

cdef const uint8_t* name_of(object name) except NULL:
    # Valid for as long as the caller holds the object.
    if not PyBytes_Check(name):
        raise TypeError(f"name of type {type(name).__name__} is refused; it must be bytes")
    if PyBytes_GET_SIZE(name) != NAME_BYTES:
        raise UsageError(f"name of {PyBytes_GET_SIZE(name)} bytes must have exactly {NAME_BYTES:d}")
    return <const uint8_t*> PyBytes_AS_STRING(name)


cdef uint64_t token_of(object token) except 0:
    cdef uint64_t number
    if not PyLong_Check(token):
        raise TypeError(f"token of type {type(token).__name__} is refused; it must be int")
    try:
        number = token
    except OverflowError:
        number = 0
    if number == 0:
        raise UsageError(f"token {token:#x} is refused; it must be from 1 to 2**64 - 1")
    return number


# -- the walk: entries by their distance to a target, nearest first

cdef Py_ssize_t place_of(
    const XorEntry* entries, Py_ssize_t start, Py_ssize_t stop, const uint64_t* words
) noexcept nogil:
    # The first entry of the run that is not below, `stop` if all are.
    cdef Py_ssize_t count = stop - start, half
    if count == 0:
        return start
    while count > 1:
        half = count >> 1
        start += half if below(entries[start + half - 1].words, words) else 0
        count -= half
    return start + below(entries[start].words, words)


cdef void start_walk(
    Walk* walk, const XorEntry* entries, Py_ssize_t count, const uint64_t* target
) noexcept nogil:
    walk.depth = 0
    if count:
        enter_run(walk, entries, 0, count, target)


cdef void enter_run(
    Walk* walk,
    const XorEntry* entries,
    Py_ssize_t start,
    Py_ssize_t stop,
    const uint64_t* target,
) noexcept nogil:
    # Bits that the whole run shares change no order within it: there the target takes those of the
    # run, and so has a place inside, with entries that share more with it than the run does.
    cdef Frame* frame = &walk.frames[walk.depth]
    cdef int shared = shared_bits(entries[start].words, entries[stop - 1].words)
    cdef int k
    cdef uint64_t rest
    for k in range(WORDS):
        if shared >= 64 * (k + 1):
            frame.target[k] = entries[start].words[k]
        elif shared <= 64 * k:
            frame.target[k] = target[k]
        else:
            rest = (<uint64_t> -1) >> (shared & 63)
            frame.target[k] = (entries[start].words[k] & ~rest) | (target[k] & rest)
    frame.start = start
    frame.stop = stop
    frame.low = frame.high = place_of(entries, start, stop, frame.target)
    walk.depth += 1


cdef Py_ssize_t step_walk(Walk* walk, const XorEntry* entries) noexcept nogil:
    # Put the next few entries into the leaf and return how many, 0 when there are no more.
    cdef Frame* frame
    cdef Py_ssize_t start, stop
    cdef int left, right
    while walk.depth:
        frame = &walk.frames[walk.depth - 1]
        left = right = -1
        if frame.low > frame.start:
            left = shared_bits(frame.target, entries[frame.low - 1].words)
        if frame.high < frame.stop:
            right = shared_bits(frame.target, entries[frame.high].words)
        # The side that shares more is nearer; they are equal only when both are used up.
        if left > right:
            stop = frame.low
            start = run_end(frame.target, entries, stop - 1, -1, stop - frame.start, left)
            frame.low = start
        elif right > left:
            start = frame.high
            stop = 1 + run_end(frame.target, entries, start, 1, frame.stop - start, right)
            frame.high = stop
        else:
            walk.depth -= 1
            continue
        if stop - start <= LEAF:
            sort_leaf(walk, frame.target, entries, start, stop)
            return stop - start
        enter_run(walk, entries, start, stop, frame.target)
    return 0


cdef Py_ssize_t run_end(
    const uint64_t* target,
    const XorEntry* entries,
    Py_ssize_t place,
    Py_ssize_t towards,
    Py_ssize_t room,
    int bits,
) noexcept nogil:
    # The last entry, from `place` on in one direction, that shares so many bits with the target.
    cdef Py_ssize_t inside = 0, outside = 1, middle
    while outside < room and shared_bits(target, entries[place + towards * outside].words) >= bits:
        inside = outside
        outside *= 2
    outside = min(outside, room)
    while outside - inside > 1:
        middle = (inside + outside) >> 1
        if shared_bits(target, entries[place + towards * middle].words) >= bits:
            inside = middle
        else:
            outside = middle
    return place + towards * inside


cdef void sort_leaf(
    Walk* walk,
    const uint64_t* target,
    const XorEntry* entries,
    Py_ssize_t start,
    Py_ssize_t stop,
) noexcept nogil:
    cdef uint64_t gaps[LEAF]
    cdef uint64_t gap
    cdef Py_ssize_t place
    cdef int k, count = 0
    for place in range(start, stop):
        gap = entries[place].words[0] ^ target[0]
        k = count
        while k > 0 and (
            gap < gaps[k - 1]
            or gap == gaps[k - 1]
            and nearer(target, entries[place].words, entries[walk.leaf[k - 1]].words)
        ):
            gaps[k] = gaps[k - 1]
            walk.leaf[k] = walk.leaf[k - 1]
            k -= 1
        gaps[k] = gap
        walk.leaf[k] = place
        count += 1
