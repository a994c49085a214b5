"""The hot half of the flight recorder: every step of a machine goes through it and is noted, in C.

It writes records as MessagePack into one piece of memory and keeps no object of what it notes, so
that a step that is recorded touches little more memory than one that is not. It knows the shape of
records and nothing of their meaning; it writes no file, and what is to be done now and then is done
by those whom it calls. `recordings` reads what is written here.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_AsUnsignedLongLong
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport cython

from routing._blocks cimport HEAD_AND_COUNT, Pool, big, grow
from routing._lengths cimport HEADER, ID, PAIR, batch_lengths_c, lengths_c

__all__ = ["Tape"]

cdef enum:
    # Tags of records; `recordings` has them as types.
    BATCHED = 64
    MANY = 65
    DEADLINE = 66
    HEARD = 67
    PASSED = 68
    DRAWN = 69
    SIGNED = 70
    REPEAT = 71
    # Tags of MessagePack.
    FIX_ARRAY = 0x90
    ARRAY_32 = 0xDD
    NIL = 0xC0
    FALSE = 0xC2
    TRUE = 0xC3
    BIN_8 = 0xC4
    BIN_16 = 0xC5
    BIN_32 = 0xC6
    UINT_8 = 0xCC
    UINT_16 = 0xCD
    UINT_32 = 0xCE
    UINT_64 = 0xCF
    INT_64 = 0xD3
    STR_32 = 0xDB
    # Memory of blocks up to this is used again.
    ROOM_MOST = 1 << 22
    # Of a message's repeat digest.
    DIGEST = 16
    # Before the bytes of a binary of more than 65,535.
    LONG_HEAD = 5


cdef extern from *:
    """
    #include <structmember.h>
    static Py_ssize_t routing_place(PyObject* slot) {
        PyMemberDef* member;
        if (!PyObject_TypeCheck(slot, &PyMemberDescr_Type)) return -1;
        member = ((PyMemberDescrObject*) slot)->d_member;
        return member->type == T_OBJECT_EX ? member->offset : -1;
    }
    """
    Py_ssize_t routing_place(object slot)


@cython.final
cdef class Plan:
    """Where the fields of a kind of fact are in its memory: faster than to ask for each by name."""


cdef Plan plan_of(object kind, int tag, tuple names):
    cdef Plan plan = Plan.__new__(Plan)
    cdef Py_ssize_t place
    if len(names) > FIELDS_MAX:
        raise TypeError(f"{kind.__name__} has {len(names)} fields, at most {FIELDS_MAX}")
    plan.tag, plan.count = tag, 0
    for name in names:
        place = routing_place(kind.__dict__[name])
        if place < 0:
            raise TypeError(f"{kind.__name__}.{name} is no slot")
        plan.places[plan.count] = place
        plan.count += 1
    return plan


@cython.final
cdef class Tape:
    """Hands steps on to a machine and gathers records of them.

    Args:
        kinds: Type of every fact -> its tag and the names of its fields, in order.
        structs: Type of every tagged struct that is in many facts -> the same of it.
        encode: Returns the MessagePack of whatever is no such struct and not an int, bytes, str,
            bool, None or list.
        frame: The type of fact of which a frame of kind `batch` is noted by its lengths.
        batch: That kind.
        many: The type of fact that is noted by its lengths if the machine says that it
            `leaves_in_batches` before it draws or signs anything for it.
        full: How many bytes are enough for a block.

    Attributes:
        deaf: Note nothing.
        steps: How many were taken.
        due: At a step at this time or later, nanoseconds, `after` is called.

    It belongs to one thread.
    """

    def __cinit__(self, dict kinds, dict structs, object encode, *, object frame, object batch,
                  object many, Py_ssize_t full=0):
        self._plans = {kind: plan_of(kind, plan[0], plan[1]) for kind, plan in kinds.items()}
        self._structs = {kind: plan_of(kind, plan[0], plan[1]) for kind, plan in structs.items()}
        self._frame_plan, self._encode = self._plans[frame], encode
        self._frame, self._batch, self._many, self._full = frame, batch, many, full
        self._pool = Pool.__new__(Pool, ROOM_MOST)

    def __dealloc__(self):
        PyMem_Free(self._records.at)
        PyMem_Free(self._digests.at)

    def attach(self, *, handle, on_deadline, after, fallen):
        """Say who does what.

        Args:
            handle: The machine's.
            on_deadline: The machine's.
            after: Is called after a step when a block is full, `due` has come, or we are deaf.
            fallen: Is called when the machine has raised.
        """
        self._handle, self._on_deadline = handle, on_deadline
        self._after, self._fallen = after, fallen

    # -- steps

    def handle(self, fact, now):
        """Note a fact and hand it on."""
        if not self.deaf:
            if type(fact) is self._many:
                self._open, self._open_at = fact, now
            else:
                self._note(fact, now, WHOLE)
        try:
            self._handle(fact, now)
        except BaseException:
            # The fact that it cannot bear is what a recording is for.
            self._decide(WHOLE)
            self._fallen()
            raise
        self._decide(WHOLE)
        self._step_done(now)

    def on_deadline(self, now):
        """Note the one timer and hand it on."""
        if not self.deaf:
            self._begin(DEADLINE, 1)
            self._value(now)
        try:
            self._on_deadline(now)
        except BaseException:
            self._fallen()
            raise
        self._step_done(now)

    def leaves_in_batches(self):
        """Hear that of the list in hand only the lengths matter to the machine."""
        self._decide(LISTED)

    def heard(self, token, now):
        """Note that the host took in that something came."""
        if not self.deaf:
            self._begin(HEARD, 2)
            self._value(token)
            self._value(now)
        self._step_done(now)

    def passed(self, token, now):
        """Note what the host passed on; the account of it follows, so `after` is not called."""
        if not self.deaf:
            self._begin(PASSED, 3)
            self._value(token)
            self._value(now)
            self._binary(self._digests.at, self._digests.size)
        self._digests.size = 0
        self.steps += 1

    cdef int tried(self, const uint8_t* digest) except -1:
        """Take the digest of a message that the host looks at, for `passed`."""
        if self._digests.size + DIGEST > self._digests.room:
            grow(&self._digests, DIGEST)
        memcpy(self._digests.at + self._digests.size, digest, DIGEST)
        self._digests.size += DIGEST
        return 0

    # -- what came of the secrets

    def drawn(self, bytes value):
        """Note what the dice showed."""
        self._said(DRAWN, value)

    def signed(self, bytes signature):
        """Note what the key signed."""
        self._said(SIGNED, signature)

    def repeat(self, bytes digest):
        """Note the digest of a message that the machine passes on."""
        self._said(REPEAT, digest)

    # -- blocks

    def __len__(self):
        """Bytes gathered."""
        return self._records.size - HEAD_AND_COUNT if self._records.size else 0

    def add(self, tag, content):
        """Add a record of any kind; `content` goes through `encode`."""
        cdef Py_ssize_t size = self._records.size
        cdef uint32_t count = self._count
        try:
            self._head(tag)
            self._other(content)
        except BaseException:
            self._records.size, self._count = size, count
            raise

    def take(self):
        """Return what was gathered as a block, and begin anew; `steps` goes on."""
        cdef uint32_t count = self._count
        self._count = 0
        return self._pool.block_of(&self._records, count)

    # -- inside

    cdef int _step_done(self, object now) except -1:
        self.steps += 1
        if self.deaf or self._records.size >= self._full or <int64_t>now >= self.due:
            self._after()
        return 0

    cdef int _note(self, object fact, object now, How how) except -1:
        """Note a fact; what cannot be written leaves nothing behind."""
        cdef Py_ssize_t size = self._records.size
        cdef uint32_t count = self._count
        try:
            if how == LISTED:
                return self._listed(fact, now)
            kind = type(fact)
            if kind is self._frame:
                if fact.kind is self._batch and self._batched(fact, now):
                    return 0
                return self._fact(fact, self._frame_plan, now)
            return self._fact(fact, self._plans[kind], now)
        except BaseException:
            self._records.size, self._count = size, count
            raise

    cdef int _decide(self, How how) except -1:
        """Note the list in hand, if there is one."""
        if self._open is None:
            return 0
        fact, self._open = self._open, None
        return self._note(fact, self._open_at, how)

    cdef int _batched(self, object fact, object now) except -1:
        """Note a frame of direct messages and return 1; 0, and nothing, if it is none."""
        cdef Py_ssize_t before = self._records.size, most, size
        cdef bytes body = fact.body
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(body)
        if PyBytes_GET_SIZE(body) <= ID:
            return 0
        self._begin(BATCHED, 4)
        self._value(now)
        self._value(fact.token)
        self._binary(start, ID)
        most = PyBytes_GET_SIZE(body) // HEADER * PAIR
        size = batch_lengths_c(
            start, PyBytes_GET_SIZE(body), self._room(LONG_HEAD + most) + LONG_HEAD, most
        )
        if size < 0:
            self._records.size = before
            self._count -= 1
            return 0
        self._lengths_written(size)
        return 1

    cdef int _listed(self, object fact, object now) except -1:
        cdef list payloads = fact.payloads
        cdef Py_ssize_t most = len(payloads) * PAIR
        self._begin(MANY, 5)
        self._value(now)
        self._value(fact.reference)
        self._value(fact.destination)
        self._lengths_written(
            lengths_c(payloads, self._room(LONG_HEAD + most) + LONG_HEAD, most)
        )
        return self._value(fact.acknowledged)

    cdef int _lengths_written(self, Py_ssize_t size) except -1:
        """Bytes have been put where a binary of the long form has them."""
        self._records.at[self._records.size] = BIN_32
        big(self._records.at + self._records.size + 1, size, 4)
        self._records.size += LONG_HEAD + size
        return 0

    cdef int _fact(self, object fact, Plan plan, object now) except -1:
        self._begin(plan.tag, 1 + plan.count)
        self._value(now)
        return self._fields(fact, plan)

    cdef int _fields(self, object whole, Plan plan) except -1:
        cdef int place
        cdef PyObject* value
        for place in range(plan.count):
            value = (<PyObject**>(<char*><PyObject*>whole + plan.places[place]))[0]
            if value is NULL:
                raise AttributeError(f"{type(whole).__name__} has an empty field")
            self._value(<object>value)
        return 0

    cdef int _said(self, int tag, bytes value) except -1:
        if self.deaf:
            return 0
        self._decide(WHOLE)
        self._begin(tag, 1)
        return self._binary(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))

    cdef int _begin(self, int tag, int fields) except -1:
        self._head(tag)
        return self._array(fields)

    cdef int _head(self, int tag) except -1:
        if not self._records.size:
            self._leave_head()
        self._count += 1
        self._array(2)
        return self._uint(tag)

    cdef int _leave_head(self) except -1:
        """Leave room for what is known at the end."""
        self._room(HEAD_AND_COUNT)
        self._records.size = HEAD_AND_COUNT
        return 0

    cdef int _value(self, object value) except -1:
        cdef Py_ssize_t size
        cdef const char* text
        cdef int64_t number
        cdef int beyond
        kind = type(value)
        if kind is bytes:
            return self._binary(PyBytes_AS_STRING(<bytes>value), PyBytes_GET_SIZE(<bytes>value))
        if value is None:
            return self._byte(NIL)
        if value is True or value is False:
            return self._byte(TRUE if value is True else FALSE)
        if kind is list:
            self._array(len(<list>value))
            for each in <list>value:
                self._value(each)
            return 0
        if kind is str:
            text = PyUnicode_AsUTF8AndSize(value, &size)
            self._byte(STR_32)
            big(self._room(4), size, 4)
            self._records.size += 4
            memcpy(self._room(size), text, size)
            self._records.size += size
            return 0
        if not isinstance(value, int):
            return self._other(value)
        number = PyLong_AsLongLongAndOverflow(value, &beyond)
        if beyond > 0:
            return self._uint(PyLong_AsUnsignedLongLong(value))
        if beyond < 0:
            raise OverflowError(f"{value} is refused; it must be at least -2**63")
        if number >= 0:
            return self._uint(number)
        self._byte(INT_64)
        big(self._room(8), <uint64_t>number, 8)
        self._records.size += 8
        return 0

    cdef int _other(self, object value) except -1:
        cdef Plan plan = self._structs.get(type(value))
        cdef bytes text
        cdef Py_ssize_t size
        if plan is not None:
            self._array(1 + plan.count)
            self._uint(plan.tag)
            return self._fields(value, plan)
        text = self._encode(value)
        size = PyBytes_GET_SIZE(text)
        memcpy(self._room(size), PyBytes_AS_STRING(text), size)
        self._records.size += size
        return 0

    cdef int _array(self, Py_ssize_t count) except -1:
        cdef uint8_t* at = self._room(5)
        if count < 16:
            at[0] = FIX_ARRAY | <uint8_t>count
            self._records.size += 1
        else:
            at[0] = ARRAY_32
            big(at + 1, count, 4)
            self._records.size += 5
        return 0

    cdef int _uint(self, uint64_t value) except -1:
        cdef uint8_t* at = self._room(9)
        cdef int size
        if value < 0x80:
            at[0] = <uint8_t>value
            self._records.size += 1
            return 0
        if value < 0x100:
            at[0], size = UINT_8, 1
        elif value < 0x10000:
            at[0], size = UINT_16, 2
        elif value < 0x100000000:
            at[0], size = UINT_32, 4
        else:
            at[0], size = UINT_64, 8
        big(at + 1, value, size)
        self._records.size += 1 + size
        return 0

    cdef int _binary(self, const void* text, Py_ssize_t size) except -1:
        cdef uint8_t* at = self._room(5 + size)
        cdef int head
        if size < 0x100:
            at[0], head = BIN_8, 1
        elif size < 0x10000:
            at[0], head = BIN_16, 2
        else:
            at[0], head = BIN_32, 4
        big(at + 1, size, head)
        if size:
            memcpy(at + 1 + head, text, size)
        self._records.size += 1 + head + size
        return 0

    cdef int _byte(self, uint8_t value) except -1:
        self._room(1)[0] = value
        self._records.size += 1
        return 0

    cdef uint8_t* _room(self, Py_ssize_t more) except NULL:
        """Return where the next bytes go."""
        if self._records.size + more > self._records.room:
            grow(&self._records, more)
        return self._records.at + self._records.size
