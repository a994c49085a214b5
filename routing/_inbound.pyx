"""The corridor: ROUTED frames that only pass through us go on from here, in C.

It decides about those frames alone of which the core would decide by the table and the duplicate
filter, and exactly as the core would; every other frame is handed up, and so is each about which
there is the least doubt. It opens no connection and closes none, verifies nothing, and keeps no
object of a frame that it passes on. What of the core it needs to know is told to it.

An envelope that it passes on reads, byte for byte:

    94  hops  route  bin(signed)  c4 40 signature
    signed = 9a  destination  kind  leave_out  flags  id  source  key  origin  authority  body
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

cimport cython

from routing._frames cimport Frame, FrameWriter, check_frames, next_frame
from routing._seen cimport MessageFilter
from routing._siphash cimport little, siphash
from routing._xor cimport XorIndex

from routing.errors import UsageError

__all__ = ["ROUTED", "Inbound", "Way", "repeat_digest"]

cdef enum:
    NAME = 32
    DIGEST = 16
    SECRET = 16
    ENTRIES_MAX = 0x10000
    # Tags of MessagePack and of addresses, and the frame kind; `messages` has them as types.
    ARRAY = 0x90
    BIN8 = 0xC4
    BIN16 = 0xC5
    BIN32 = 0xC6
    NIL = 0xC0
    NODE = 1
    CLIENT = 2
    GROUP = 3
    VIA = 4
    AUTHORITIES = 5
    SIGNATURE = 66  # with its header
    ROUTED_KIND = 11

ROUTED = ROUTED_KIND


def repeat_digest(bytes secret not None, bytes text not None):
    """Return 16 bytes by which a relay knows an envelope again: SipHash-1-3-128 of `text`.

    Args:
        secret: At least 16 bytes, the first of which are the key.
        text: The envelope without the two bytes before its route number.
    """
    cdef uint64_t key[2]
    cdef uint8_t digest[DIGEST]
    read_secret(secret, key)
    siphash(key, <const uint8_t*> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), digest)
    return PyBytes_FromStringAndSize(<char*> digest, DIGEST)


cdef int read_secret(bytes secret, uint64_t* key) except -1:
    if PyBytes_GET_SIZE(secret) < SECRET:
        raise UsageError(f"secret of {PyBytes_GET_SIZE(secret)} bytes must have {SECRET:d} or more")
    key[0] = little(<const uint8_t*> PyBytes_AS_STRING(secret))
    key[1] = little(<const uint8_t*> PyBytes_AS_STRING(secret) + 8)
    return 0


cdef int copy_name(bytes name, uint8_t* place) except -1:
    if name is None or PyBytes_GET_SIZE(name) != NAME:
        raise UsageError(f"name or key {name!r} is refused; it must have {NAME:d} bytes")
    memcpy(place, PyBytes_AS_STRING(name), NAME)
    return 0


# -- envelopes, read without a copy; -1 for what is not as expected

cdef inline Py_ssize_t skip_bin(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Py_ssize_t length
) noexcept nogil:
    # Behind a byte string of exactly this length, below 256.
    if end - at < 2 + length or data[at] != BIN8 or data[at + 1] != length:
        return -1
    return at + 2 + length


cdef inline Py_ssize_t skip_short(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Py_ssize_t most
) noexcept nogil:
    # Behind a byte string of at most this length, below 256.
    if end - at < 2 or data[at] != BIN8 or data[at + 1] > most or end - at < 2 + data[at + 1]:
        return -1
    return at + 2 + data[at + 1]


cdef inline Py_ssize_t skip_number(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int least, int most
) noexcept nogil:
    # Behind a number of one byte.
    return at + 1 if at < end and least <= data[at] <= most else -1


cdef inline Py_ssize_t body_of_bin(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end
) noexcept nogil:
    # Where the bytes begin of a byte string that ends at `end`, its header as short as it can be.
    cdef Py_ssize_t left = end - at
    if left >= 2 and data[at] == BIN8 and data[at + 1] == left - 2:
        return at + 2
    if left >= 3 and data[at] == BIN16 and (data[at + 1] << 8 | data[at + 2]) == left - 3:
        return at + 3 if left - 3 >= 0x100 else -1
    if left >= 5 and data[at] == BIN32 and (
        <int64_t> data[at + 1] << 24 | data[at + 2] << 16 | data[at + 3] << 8 | data[at + 4]
    ) == left - 5:
        return at + 5 if left - 5 >= 0x10000 else -1
    return -1


cdef inline Py_ssize_t skip_address(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Head* head
) noexcept nogil:
    # Behind an address; what of it routing goes by is written down unless `head` is NULL.
    cdef int tag
    cdef const uint8_t* first
    if end - at < 2:
        return -1
    tag = data[at + 1]
    if data[at] != (ARRAY | (2 if tag == NODE or tag == GROUP else 3)) or not NODE <= tag <= VIA:
        return -1
    at = skip_bin(data, at + 2, end, NAME)
    if at < 0:
        return -1
    first = data + at - NAME
    if tag == CLIENT or tag == VIA:
        at = skip_bin(data, at, end, NAME)
    if at >= 0 and head != NULL:
        # A client is looked for at its proxy, a newcomer at its neighbour.
        head.target = first
        head.grouped = tag == GROUP
        head.key = data + at - NAME if tag == CLIENT else NULL
        head.via = data + at - NAME if tag == VIA else NULL
    return at


cdef bint read_envelope(
    const uint8_t* data, Py_ssize_t size, int kind_max, Head* head
) noexcept nogil:
    # Whether it reads exactly as one that the core would pass on unchanged but for its hops.
    cdef Py_ssize_t end = size - SIGNATURE, at
    if end < 5 or data[0] != (ARRAY | 4) or data[end] != BIN8 or data[end + 1] != SIGNATURE - 2:
        return False
    head.hops = data[1]
    head.route = data[2]
    if head.hops > 0x7F or head.route > 0x7F:
        return False
    at = body_of_bin(data, 3, end)
    if at < 0 or at == end or data[at] != (ARRAY | 10):
        return False
    at = skip_address(data, at + 1, end, head)
    if at < 0 or at == end or not 1 <= data[at] <= kind_max:
        return False
    head.kind = data[at]
    at = skip_short(data, at + 1, end, NAME)
    if at < 0:
        return False
    head.leave_out = data + at - NAME if data[at - NAME - 1] == NAME else NULL
    return is_rest(data, at, end)


cdef bint is_rest(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    # Whether what follows `leave_out` reads as it should, up to the end of what is signed.
    at = skip_number(data, at, end, 0, 1)
    if at >= 0:
        at = skip_bin(data, at, end, 16)
    if at >= 0:
        at = skip_address(data, at, end, NULL)
    if at >= 0:
        at = skip_bin(data, at, end, NAME)
    if at >= 0:
        at = skip_short(data, at, end, 64)
    if at >= 0 and at < end and data[at] == NIL:
        at += 1
    elif at >= 0 and at < end and data[at] == (ARRAY | 2):
        at = skip_number(data, at + 1, end, 1, AUTHORITIES)
        if at >= 0:
            at = skip_bin(data, at, end, NAME)
    else:
        return False
    return at >= 0 and body_of_bin(data, at, end) >= 0


@cython.final
cdef class Way:
    """One connection with a peer of the table, as the corridor sees it.

    Args:
        line: Whatever stands for the connection outside; handed back by `Inbound.touched`.
        writer: Takes the frames that go out on it.

    `blocked`: nothing may be appended just now. `doubted`: the peer is suspected to be dead.
    `heard`: when a frame last came from it, or earlier; nanoseconds. `appended`: bytes since it
    was last handed back. `most`: with so much waiting there it is full for whoever is read; 0 if it
    is for nobody before it is for all.
    """

    def __cinit__(self, line, FrameWriter writer not None):
        self.line = line
        self.writer = writer


@cython.final
cdef class Inbound:
    """The corridor of one node. Owned by one thread; a record at a time.

    `open` a record's plaintext, then in turn take what is for others to decide from `up` and have
    what is not sent on by `pass_on`, until nothing is `left`; `shut` it in any case.

    Args:
        secret: Keys the hash of `repeat_digest`.
        hops_max: A message does not get so many hops.
        routes_max: Route numbers are below this.
        kind_max: The highest kind of message.
        kind_bulk: The kind that goes out behind all others.
        quiet_ns: A peer not heard for so long is not passed anything without the core's knowing.
        room: A connection on which more bytes than this wait gets nothing from here.

    `full`: the way whose room the next frame has to wait for. `excused`: so many bytes of such
    frames are handed up instead.
    """

    def __cinit__(
        self,
        bytes secret not None,
        *,
        int hops_max,
        int routes_max,
        int kind_max,
        int kind_bulk,
        int64_t quiet_ns,
        Py_ssize_t room,
    ):
        read_secret(secret, self._secret)
        self._hops_max = hops_max
        self._routes_max = routes_max
        self._kind_max = kind_max
        self._kind_bulk = kind_bulk
        self._quiet_ns = quiet_ns
        self._room = room
        self.excused = <Py_ssize_t> 1 << 62  # all of them
        self._index = XorIndex(1)
        self._ways = []
        self._touched = []
        self._others = ()

    def retable(self, bytes own not None, bytes key not None, dict entries not None):
        """Take over the routing table: our name, our key, and name -> `Way` of every entry.

        Raises:
            UsageError: a name or key does not have 32 bytes; nothing has changed.
        """
        cdef uint8_t[NAME] checked
        cdef XorIndex index = XorIndex(ENTRIES_MAX)
        cdef list ways = []
        cdef Way way
        copy_name(own, checked)
        copy_name(key, checked)
        for name, way in entries.items():
            if way is None:
                raise UsageError(f"entry {name.hex()[:8]} has no way; leave it out")
            ways.append(way)
            index.add(name, len(ways))
        copy_name(own, self._own)
        copy_name(key, self._key)
        self._index = index
        self._ways = ways

    def grant(self, MessageFilter filter, tuple others not None, Py_ssize_t count):
        """Allow `count` digests to be entered in `filter` that are in none of `others` either.

        Without a filter, or with a count of 0, nothing is passed on.
        """
        for each in others:
            if not isinstance(each, MessageFilter):
                raise TypeError(f"others={others!r} must be filters")
        self._filter = filter
        self._others = others
        self.left = 0 if filter is None else max(count, 0)

    @property
    def done(self):
        """Whether nothing of the record is left."""
        return self._record is None or self._at >= PyBytes_GET_SIZE(self._record)

    @property
    def rest(self):
        """What of the open record is left, frames as they came."""
        return self._record[self._at:]

    cpdef bint open(self, bytes plaintext, Py_ssize_t frame_max) except -1:
        """Begin with a record and tell whether there is a ROUTED frame in it.

        Raises:
            FrameError: as `split_frames` does.
        """
        assert self._record is None, "one record at a time"
        if plaintext is None:
            raise UsageError("a record must be bytes")
        cdef bint some = check_frames(plaintext, frame_max, ROUTED_KIND)
        self._record = plaintext
        self._at = 0
        return some

    def shut(self):
        """Be done with a record; nothing happens if none is open."""
        self._record = self.quiet = self.full = None

    def touched(self):
        """Return the ways that got frames since they were last asked for, and forget them."""
        cdef list touched = self._touched
        self._touched = []
        return touched

    @staticmethod
    def settle(Way way not None):
        """Return how many bytes a way got since this was last asked."""
        appended, way.appended = way.appended, 0
        return appended

    def forgive(self, heard=None):
        """Forget `quiet`, the way on which a frame of the last `up` would have gone out.

        `heard` is when a frame last came from its peer, if that is known better by now.
        """
        if self.quiet is not None and heard is not None:
            self.quiet.heard = heard
        self.quiet = None

    cpdef list up(self, int64_t now):
        """Return the next frames, (kind, body), up to the first that `pass_on` will take.

        Where nothing may be passed on, the first frame that could be is the last of them; so is one
        that is held up because its next hop was `quiet`. None comes after one whose hop is `full`.
        """
        cdef list frames = []
        cdef Frame frame
        cdef Head head
        cdef const uint8_t* data
        cdef Py_ssize_t size
        cdef bint ours
        self.full = None
        if self._record is None:
            return frames
        data = <const uint8_t*> PyBytes_AS_STRING(self._record)
        size = PyBytes_GET_SIZE(self._record)
        while self._at < size:
            next_frame(data, size, self._at, size, &frame)
            ours = frame.kind == ROUTED_KIND and self._onward(
                data + frame.start, frame.length, now, &head
            ) is not None
            if (ours and self.left > 0) or (self.full is not None and self.excused <= 0):
                break
            if self.full is not None:
                self.full = None
                self.excused -= frame.length
            self._at = frame.start + frame.length
            frames.append((
                <int> frame.kind,
                PyBytes_FromStringAndSize(<const char*> data + frame.start, frame.length),
            ))
            if ours or self.quiet is not None:
                break
        return frames

    cpdef Py_ssize_t pass_on(self, int64_t now) except -1:
        """Send the next frames on, or drop them as duplicates, up to the first for `up`.

        Returns how many digests were entered. `now` never goes back.
        """
        cdef Frame frame
        cdef Head head
        cdef Way way
        cdef const uint8_t* data
        cdef Py_ssize_t size, entered = 0
        if self._record is None:
            return 0
        data = <const uint8_t*> PyBytes_AS_STRING(self._record)
        size = PyBytes_GET_SIZE(self._record)
        while self._at < size and self.left > 0:
            next_frame(data, size, self._at, size, &frame)
            if frame.kind != ROUTED_KIND:
                break
            way = self._onward(data + frame.start, frame.length, now, &head)
            if way is None:
                break
            self._at = frame.start + frame.length
            if not self._is_new(data + frame.start, frame.length, now):
                self.duplicates += 1
                continue
            entered += 1
            self.left -= 1
            way.writer.pass_on(
                ROUTED_KIND, data + frame.start, frame.length,
                3 if head.kind == self._kind_bulk else 0, head.hops + 1,
            )
            self.forwarded += 1
            if way.appended == 0:
                self._touched.append(way)
            way.appended += frame.length + 5
        return entered

    cdef Way _onward(self, const uint8_t* body, Py_ssize_t size, int64_t now, Head* head):
        """Return where an envelope goes on to by the table alone, None if there is more to it."""
        cdef uint64_t excluded = 0, slot
        cdef Way way
        if not read_envelope(body, size, self._kind_max, head) or (
            head.route >= self._routes_max or head.hops + 1 >= self._hops_max
        ):
            return None
        if head.grouped and head.route:
            # Repeats to a group go by other ways than the nearest, or end at any member.
            return None
        if memcmp(head.target, self._own, NAME) == 0:
            return None
        if (head.key != NULL and memcmp(head.key, self._key, NAME) == 0) or (
            head.via != NULL and memcmp(head.via, self._own, NAME) == 0
        ):
            return None
        if head.leave_out != NULL:
            excluded = self._index.token_c(head.leave_out)
        slot = self._index.next_hop_c(self._own, head.target, &excluded, 1 if excluded else 0)
        if slot == 0:
            return None
        way = <Way> self._ways[slot - 1]
        if way.blocked:
            return None
        if way.writer.queued > self._room or (way.most and way.writer.queued >= way.most):
            # Of a doubted one: if there may be other ways, the core takes them at once.
            if not way.doubted or self._index.token_c(head.target) == slot:
                self.full = way
            return None
        if way.doubted:
            return None
        if now - way.heard >= self._quiet_ns:
            self.quiet = way
            return None
        return way

    cdef bint _is_new(self, const uint8_t* body, Py_ssize_t size, int64_t now) except -1:
        """Enter the digest of an envelope, noted in `tried`, and tell whether it is new."""
        cdef uint8_t digest[DIGEST]
        cdef MessageFilter other
        siphash(self._secret, body + 2, size - 2, digest)
        if self.tried is not None:
            self.tried.tried(digest)
        for other in self._others:
            if other.contains_at(digest, <double> now):
                return False
        return self._filter.insert_at(digest, <double> now, 0)
