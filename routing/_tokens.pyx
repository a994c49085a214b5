"""The connection-token table: 64-bit handles that never come twice, and an index of names.

A token is `generation << 32 | slot`. A slot is used again under the next generation, so a stale
token resolves to nothing; after the last generation it is retired. The table holds connections for
their owner and does nothing with them: it opens, closes and calls nothing, and belongs to one
thread.
"""

from cpython.bytes cimport PyBytes_Check
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_Check
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport uint32_t, uint64_t

cimport cython

from types import GenericAlias

from routing.errors import NameBound, TokenTableFull, UsageError

__all__ = ["ByToken", "TokenTable"]

cdef extern from *:
    """
    #ifndef ROUTING_DEBUG
    #define ROUTING_DEBUG 0
    #endif
    """
    const bint ROUTING_DEBUG

cdef enum:
    NONE = 0xFFFFFFFF
    GENERATION_LAST = 0xFFFFFFFF
    CAPACITY_MAX = 0x40000000


cdef uint64_t large_token(object token) except? 0:
    try:
        return token
    except OverflowError:
        return 0


cdef object refused_token(object token):
    return UsageError(f"token {token:#x} is refused; it is stale, foreign or zero: use a live one")


cdef uint64_t token_of(ByToken self) except 0:
    # A decoder may make objects without construction: nothing is done there, and this is no method,
    # for the table of methods would be missing.
    if self._token == 0:
        self._token = self.token
        if self._token == 0:
            raise UsageError("token 0 is refused; no connection has it")
    return self._token


@cython.auto_pickle(False)
cdef class ByToken:
    """A base for what is known by its token: equal to another with the same one, and hashed by it.

    The subclass has an attribute `token`, from 1 to 2**64 - 1, that never changes: it is read once,
    and from then on both are done in C, so that a table keyed by such objects is as fast as one
    keyed by integers.
    """

    def __hash__(self):
        # As the number itself is hashed.
        return <Py_hash_t> (token_of(self) % <uint64_t> 0x1FFFFFFFFFFFFFFF)

    def __eq__(self, other):
        if not isinstance(other, ByToken):
            return NotImplemented
        return token_of(self) == token_of(<ByToken> other)


@cython.final
cdef class TokenTable:
    """Connections by token and by name.

    Args:
        capacity: Most connections at a time, at least 1.
        first_generation: Generation that a slot starts with, from 1 on; tests force the last ones.

    A token is never zero. One that is stale, foreign or zero never resolves: `get`, `remove` and
    `unbind` then return None. Names are `bytes`; each is bound to one token at most and each token
    has one name at most. Owned by one thread; a debug build refuses others.

    Raises:
        UsageError: capacity or first_generation out of bounds.
        TypeError: an argument of the wrong type.
    """

    def __cinit__(self, capacity, *, first_generation=1):
        for role, number in (("capacity", capacity), ("first_generation", first_generation)):
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"{role}={number!r} must be an integer")
        if not 1 <= capacity <= CAPACITY_MAX:
            raise UsageError(
                f"capacity={capacity} is refused; it must be from 1 to {CAPACITY_MAX:d}"
            )
        if not 1 <= first_generation <= <uint64_t> GENERATION_LAST:
            raise UsageError(
                f"first_generation={first_generation} is refused; it must be from 1 to 2**32 - 1"
            )
        self.capacity = capacity
        self._first_generation = first_generation
        self._thread = PyThread_get_thread_ident()
        self._free = NONE
        self._connections = []
        self._names = []
        self._by_name = {}

    def __dealloc__(self):
        PyMem_RawFree(self._slots)

    @classmethod
    def __class_getitem__(cls, item, /):
        return GenericAlias(cls, item)

    def add(self, connection):
        """Hold `connection` and return its token. O(1) amortised.

        Raises:
            TokenTableFull: the table holds `capacity` connections; remove one first.
            UsageError: the connection is None, which is what `get` answers for nothing.
        """
        cdef uint32_t slot
        if ROUTING_DEBUG and PyThread_get_thread_ident() != self._thread:
            raise RuntimeError("a TokenTable was used outside the thread that made it")
        if connection is None:
            raise UsageError("connection None is refused; it would look like an unknown token")
        if self._count >= <uint32_t> self.capacity:
            raise TokenTableFull(
                f"token table holds {self._count} connections, capacity={self.capacity}; "
                "remove one first"
            )
        self._reserve()
        if self._free != <uint32_t> NONE:
            slot = self._free
            self._free = self._slots[slot].next_free
            self._slots[slot].generation += 1
        else:
            slot = self._used
            self._used += 1
            self._slots[slot].generation = self._first_generation
        self._slots[slot].next_free = NONE
        self._connections[slot] = connection
        self._count += 1
        return (<uint64_t> self._slots[slot].generation << 32) | slot

    def get(self, token):
        """Return the connection of `token`, or None if the token is not live. O(1)."""
        cdef uint32_t slot = self._slot_of(token)
        return None if slot == <uint32_t> NONE else self._connections[slot]

    def remove(self, token):
        """Let go of the connection of `token` and of its name; return it, None if not live. O(1).

        The token never resolves again.
        """
        cdef object connection, name
        cdef uint32_t slot = self._slot_of(token)
        if slot == <uint32_t> NONE:
            return None
        connection = self._connections[slot]
        name = self._names[slot]
        if name is not None:
            del self._by_name[name]
            self._names[slot] = None
        self._connections[slot] = None
        self._count -= 1
        if self._slots[slot].generation == <uint32_t> GENERATION_LAST:
            # The next generation would be 0 and then come again: a fresh slot takes its place.
            self._retired += 1
        else:
            self._slots[slot].next_free = self._free
            self._free = slot
        return connection

    def bind(self, token, name):
        """Make `by_name(name)` answer `token`. Binding the same pair again changes nothing. O(1).

        Raises:
            NameBound: the name is bound to another live token.
            UsageError: the token is not live, or has another name: unbind it first.
            TypeError: the name is not bytes.
        """
        cdef uint32_t slot
        cdef object holder
        if not PyBytes_Check(name):
            raise TypeError(f"name of type {type(name).__name__} is refused; it must be bytes")
        # A plain copy of a subclass, so that the dict never runs foreign code; making it may.
        name = bytes(name)
        slot = self._live_slot(token)
        holder = self._by_name.get(name)
        if holder is not None:
            if self._slot_of(holder) == slot:
                return
            raise NameBound(
                f"name {name[:4].hex()} is bound to token {holder:#x}; unbind or remove that first"
            )
        if self._names[slot] is not None:
            raise UsageError(
                f"token {token:#x} has the name {self._names[slot][:4].hex()}; unbind it first"
            )
        self._by_name[name] = (<uint64_t> self._slots[slot].generation << 32) | slot
        self._names[slot] = name

    def unbind(self, token):
        """Take the name from `token` and return it, None if it has none or is not live. O(1)."""
        cdef object name
        cdef uint32_t slot = self._slot_of(token)
        if slot == <uint32_t> NONE:
            return None
        name = self._names[slot]
        if name is not None:
            del self._by_name[name]
            self._names[slot] = None
        return name

    def by_name(self, name):
        """Return the live token that `name` is bound to, 0 if there is none. O(1)."""
        if not PyBytes_Check(name):
            raise TypeError(f"name of type {type(name).__name__} is refused; it must be bytes")
        return self._by_name.get(bytes(name), 0)

    def name_of(self, token):
        """Return the name bound to `token`, None if it has none or is not live. O(1)."""
        cdef uint32_t slot = self._slot_of(token)
        return None if slot == <uint32_t> NONE else self._names[slot]

    def __contains__(self, token):
        return self._slot_of(token) != <uint32_t> NONE

    def __len__(self):
        return self._count

    def __iter__(self):
        """Iterate over the tokens live now, by slot; later changes do not show. O(slots)."""
        cdef uint32_t slot
        cdef list tokens = []
        for slot in range(self._used):
            if self._connections[slot] is not None:
                tokens.append((<uint64_t> self._slots[slot].generation << 32) | slot)
        return iter(tokens)

    @property
    def retired(self):
        """How many slots have used up their generations."""
        return self._retired

    def __repr__(self):
        named = len(self._by_name)
        return f"<TokenTable capacity={self.capacity} live={self._count} named={named}>"

    # -- for compiled callers

    cdef object get_c(self, uint64_t token):
        cdef uint64_t slot = <uint32_t> token
        if slot >= self._used or self._slots[slot].generation != <uint32_t> (token >> 32):
            return None
        return self._connections[slot]

    # -- private

    cdef uint32_t _slot_of(self, object token) except? 0xFFFFFFFE:
        # The slot of a live token, NONE for any other integer.
        cdef uint64_t number, slot
        cdef int overflow = 0
        if ROUTING_DEBUG and PyThread_get_thread_ident() != self._thread:
            raise RuntimeError("a TokenTable was used outside the thread that made it")
        if not PyLong_Check(token):
            raise TypeError(f"token of type {type(token).__name__} is refused; it must be int")
        number = <uint64_t> PyLong_AsLongLongAndOverflow(token, &overflow)
        if overflow > 0:
            # A generation of the upper half, or more than 64 bits, which is no token.
            number = large_token(token)
        elif overflow < 0:
            return NONE
        slot = <uint32_t> number
        if slot >= self._used or self._slots[slot].generation != <uint32_t> (number >> 32):
            return NONE
        return NONE if self._connections[slot] is None else <uint32_t> slot

    cdef uint32_t _live_slot(self, object token) except 0xFFFFFFFF:
        cdef uint32_t slot = self._slot_of(token)
        if slot == <uint32_t> NONE:
            raise refused_token(token)
        return slot

    cdef int _reserve(self) except -1:
        # Make room for one more slot, so that nothing can fail later.
        cdef size_t room
        cdef SlotState* slots
        if self._free != <uint32_t> NONE:
            return 0
        if self._used == self._room:
            room = 2 * <size_t> self._room if self._room else 8
            if room > 0x80000000:
                raise MemoryError
            slots = <SlotState*> PyMem_RawRealloc(self._slots, room * sizeof(SlotState))
            if slots == NULL:
                raise MemoryError
            self._slots = slots
            self._room = <uint32_t> room
        if len(self._names) <= <Py_ssize_t> self._used:
            if len(self._connections) <= <Py_ssize_t> self._used:
                self._connections.append(None)
            self._names.append(None)
        return 0

    def _check(self):
        """Assert every invariant of the table; for tests. O(slots)."""
        cdef uint32_t slot, free = 0, live = 0, named = 0, retired = 0
        cdef set waiting = set()
        assert self._used <= self._room and len(self._connections) == len(self._names)
        slot = self._free
        while slot != <uint32_t> NONE:
            assert slot not in waiting and self._connections[slot] is None
            assert self._slots[slot].generation < <uint32_t> GENERATION_LAST
            waiting.add(slot)
            slot, free = self._slots[slot].next_free, free + 1
        for slot in range(self._used):
            assert self._slots[slot].generation >= self._first_generation > 0
            if self._connections[slot] is not None:
                live += 1
            else:
                assert self._names[slot] is None
                retired += slot not in waiting
            if self._names[slot] is not None:
                named += 1
                assert self.by_name(self._names[slot]) & 0xFFFFFFFF == slot
                assert self._slot_of(self.by_name(self._names[slot])) == slot
        assert live == self._count <= <uint32_t> self.capacity
        assert named == len(self._by_name) and retired == self._retired
        assert live + free + retired == self._used
