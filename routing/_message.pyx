"""A message for the application: what it says, who says so and how we know; no behaviour.

Messages of one batch share what they have in common, and make their ids when they are asked for.
Nothing of a message can be changed, and none refers to what may refer to it, so the garbage
collector is spared them.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t

cimport cython

__all__ = ["Message"]

cdef enum:
    ID = 16
    PREFIX = 12

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
        cdef bytes made
        cdef unsigned char *at
        if self._place == 0:
            return self._first
        made = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self._first), ID)
        at = <unsigned char *>PyBytes_AS_STRING(made) + PREFIX
        at[0] = <unsigned char>(self._place >> 24)
        at[1] = <unsigned char>(self._place >> 16)
        at[2] = <unsigned char>(self._place >> 8)
        at[3] = <unsigned char>self._place
        return made

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


cdef Message message_of(Origin origin, bytes payload, bytes first, uint32_t place):
    """Return a message of a batch, neither a request nor under an authority."""
    cdef Message made = Message.__new__(Message)
    made._origin = origin
    made.payload = payload
    made._first = first
    made._place = place
    made.token = b""
    return made
