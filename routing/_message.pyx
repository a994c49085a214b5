"""A message for the application: what it says, who says so and how we know; no behaviour.

Messages of one batch share what they have in common, and make their ids when they are asked for.
Nothing of a message can be changed, and none refers to what may refer to it, so the garbage
collector is spared them.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport uint32_t

cimport cython

from routing._frames cimport store32
from routing._lengths cimport ID, PREFIX

from routing.errors import UsageError

__all__ = ["BorrowedMessage", "Message", "give_back", "keep", "lend"]

FIELDS = (
    "source", "destination", "payload", "key", "proof", "id", "request", "token", "authority",
)


@cython.final
@cython.no_gc
cdef class Origin:
    """What the messages of one batch have in common."""

    def __init__(self, object source, object destination, bytes key, object proof):
        self.source = source
        self.destination = destination
        self.key = key
        self.proof = proof


@cython.final
@cython.no_gc
@cython.freelist(1024)
cdef class Message:
    """A message for the application, handed to its handlers and never to the event queue.

    Args:
        source: Who sent it.
        destination: To whom: us, or a group of ours.
        payload: What was sent.
        key: The source's key, 32 bytes; a group has none.
        proof: What vouches for the source.
        id: 16 bytes, of the source's choice.
        request: A reply is wanted.
        token: What the reply gives back: it is about this request. Empty for other messages.
        authority: Under which the source acts, checked; None where it names none.
    """

    __match_args__ = FIELDS

    def __init__(self, object source, object destination, bytes payload not None,
                 bytes key not None, object proof, bytes id not None, bint request,
                 bytes token not None=b"", object authority=None):
        self._origin = Origin(source, destination, key, proof)
        self.payload = payload
        self._first = id
        self.request = request
        self.token = token
        self.authority = authority

    @property
    def source(self):
        return self._origin.source

    @property
    def destination(self):
        return self._origin.destination

    @property
    def key(self):
        return self._origin.key

    @property
    def proof(self):
        return self._origin.proof

    @property
    def id(self):
        """16 bytes; made anew each time for all but the first of a batch. O(1)."""
        return nth_id(self._first, self._place)

    cdef tuple _fields(self):
        cdef Origin origin = self._origin
        return (
            origin.source, origin.destination, self.payload, origin.key, origin.proof, self.id,
            self.request, self.token, self.authority,
        )

    def __eq__(self, other):
        if type(other) is not Message:
            return NotImplemented
        return self._fields() == (<Message>other)._fields()

    def __hash__(self):
        return hash(self._fields())

    def __repr__(self):
        parts = [f"{name}={value!r}" for name, value in zip(FIELDS, self._fields())]
        return f"Message({', '.join(parts)})"

    def __reduce__(self):
        return Message, self._fields()


cdef bytes nth_id(bytes first, uint32_t place):
    """Return the id of a message by its place in its batch; that of the first is as it is."""
    cdef bytes made
    if place == 0:
        return first
    made = PyBytes_FromStringAndSize(PyBytes_AS_STRING(first), ID)
    store32(<unsigned char *>PyBytes_AS_STRING(made) + PREFIX, place)
    return made


cdef Message message_of(Origin origin, bytes payload, bytes first, uint32_t place):
    """Return a message of a batch, neither a request nor under an authority."""
    cdef Message made = Message.__new__(Message)
    made._origin = origin
    made.payload = payload
    made._first = first
    made._place = place
    made.token = b""
    return made


@cython.final
@cython.no_gc
@cython.freelist(1024)
cdef class BorrowedMessage:
    """A message whose payload is a view of the frame it came in, until its handler is done.

    Everything else of it is as of a `Message`, and may be kept.
    """

    def __init__(self):
        raise UsageError("a BorrowedMessage is made by the package only; make a Message")

    @property
    def source(self):
        return self._origin.source

    @property
    def destination(self):
        return self._origin.destination

    @property
    def key(self):
        return self._origin.key

    @property
    def proof(self):
        return self._origin.proof

    @property
    def id(self):
        """16 bytes; made anew each time for all but the first of a batch. O(1)."""
        return nth_id(self._first, self._place)

    @property
    def payload(self):
        """A read-only view of bytes, the same each time; dead once the handler is done.

        What is made of it (a slice, an array) outlives it, and keeps the memory of all its batch.

        Raises:
            UsageError: the handler is done.
        """
        if self._view is None:
            if self._body is None:
                raise UsageError(
                    "payload was borrowed until its handler was done: take bytes(message.payload) "
                    "there, or on_messages(handler) without borrowed=True"
                )
            self._view = PyMemoryView_FromObject(self._body)[self._start:self._start + self._size]
        return self._view

    cdef bint end(self):
        """Let go of the payload; True if its view is still in use by something made of it."""
        cdef object view = self._view
        self._body = None
        if view is None:
            return False
        try:
            view.release()
        except BufferError:
            return True
        return False


cdef BorrowedMessage borrowed_of(Origin origin, bytes body, Py_ssize_t start, Py_ssize_t size,
                                 bytes first, uint32_t place):
    """Return a message of a batch that has its payload in the body of its frame."""
    cdef BorrowedMessage made = BorrowedMessage.__new__(BorrowedMessage)
    made._origin = origin
    made._body = body
    made._start = start
    made._size = size
    made._first = first
    made._place = place
    made.token = b""
    return made


cpdef list lend(list messages):
    """Return the same messages, each a `BorrowedMessage`. O(messages)."""
    cdef list lent = []
    cdef BorrowedMessage made
    cdef Message message
    for each in messages:
        if type(each) is not Message:
            lent.append(each)
            continue
        message = <Message>each
        made = borrowed_of(message._origin, message.payload, 0, PyBytes_GET_SIZE(message.payload),
                           message._first, message._place)
        made.token = message.token
        made.authority = message.authority
        lent.append(made)
    return lent


cpdef list keep(list messages):
    """Return the same messages, each a `Message` with a payload of its own. O(bytes).

    Raises:
        UsageError: a payload was given back already.
    """
    cdef list kept = []
    cdef BorrowedMessage message
    cdef Message made
    for each in messages:
        if type(each) is not BorrowedMessage:
            kept.append(each)
            continue
        message = <BorrowedMessage>each
        made = message_of(message._origin, bytes(message.payload), message._first, message._place)
        made.token = message.token
        made.authority = message.authority
        kept.append(made)
    return kept


cpdef Py_ssize_t give_back(list messages) except -1:
    """End the loan of each `BorrowedMessage`; return how many views are in use beyond it.

    O(messages).
    """
    cdef Py_ssize_t used = 0
    for each in messages:
        if type(each) is BorrowedMessage:
            used += (<BorrowedMessage>each).end()
    return used
