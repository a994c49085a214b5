"""Records and frames: the bytes between a socket and a channel; no cipher, no meaning of a kind.

All integers are big-endian.

    record = u32 length | sealed       length = bytes of `sealed`: ciphertext and 16 bytes of tag,
                                       itself not counted
    frame  = u32 length | u8 kind | body
                                       length = bytes of `body`: neither itself nor kind counted

The plaintext of a record is one frame or more, whole, with nothing behind the last. It is at most
`GATHER_BYTES_MAX`, or it is exactly one frame. A sealed record is at most `frame limit +
RECORD_OVERHEAD_MAX` bytes. Every size is checked before memory is taken for it, and memory grows
with the bytes that have come, never with the bytes that were announced.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memmove

cimport cython

from routing.errors import CloseCode, RoutingError, UsageError

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize" (const char *text, Py_ssize_t size) except NULL
    int resize_bytes "_PyBytes_Resize" (PyObject **text, Py_ssize_t size) except -1


__all__ = [
    "FRAME_HEADER_BYTES",
    "GATHER_BYTES_MAX",
    "PRIORITIES",
    "RECORD_OVERHEAD_MAX",
    "FrameError",
    "FrameWriter",
    "RecordReader",
    "SpareBlock",
    "split_frames",
]

FRAME_HEADER_BYTES = HEADER
GATHER_BYTES_MAX = GATHER
PRIORITIES = LANES
RECORD_OVERHEAD_MAX = OVERHEAD


class FrameError(RoutingError):
    """The far end sent bytes that are no record or no frame; `code` is the reason to close with."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


cdef int next_frame(const unsigned char *data, Py_ssize_t size, Py_ssize_t at,
                    Py_ssize_t frame_max, Frame *frame) except -1:
    """Fill `frame` with the one that begins at `at` < size; 0, or an exception."""
    cdef Py_ssize_t left = size - at
    cdef uint32_t length
    if left < HEADER:
        raise FrameError(CloseCode.BAD_FRAME, f"record ends inside a frame header, {left} bytes in")
    length = load32(data + at)
    if length > frame_max:
        raise FrameError(
            CloseCode.TOO_LARGE, f"frame of {length} bytes exceeds frame_bytes_max={frame_max}"
        )
    if length > left - HEADER:
        raise FrameError(
            CloseCode.BAD_FRAME, f"frame of {length} bytes in a record with {left - HEADER} left"
        )
    frame.kind = data[at + LENGTH]
    frame.length = length
    frame.start = at + HEADER
    return 0


cdef bint check_frames(bytes plaintext, Py_ssize_t frame_max, int kind) except -1:
    """Tell whether a record has a frame of this kind; its frames are as `split_frames` has them."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(plaintext)
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(plaintext)
    cdef Py_ssize_t at = 0
    cdef Frame frame
    cdef bint found = False
    if size == 0:
        raise FrameError(CloseCode.BAD_FRAME, "record without a frame")
    while at < size:
        next_frame(data, size, at, frame_max, &frame)
        at = frame.start + frame.length
        if size > GATHER and at != size:
            raise FrameError(
                CloseCode.BAD_FRAME,
                f"record of {size} bytes holds several frames, only {GATHER} may be gathered",
            )
        found = found or frame.kind == <uint32_t>kind
    return found


cpdef list split_frames(bytes plaintext, Py_ssize_t frame_max=FRAME):
    """Return the frames of a record's plaintext as (kind, body), in order.

    Raises:
        FrameError: it holds no frame, a cut one, one above `frame_max` (TOO_LARGE), or several
            although it is longer than a gathered record may be.
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(plaintext)
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(plaintext)
    cdef Py_ssize_t at = 0
    cdef Frame frame
    cdef list frames = []
    if size == 0:
        raise FrameError(CloseCode.BAD_FRAME, "record without a frame")
    while at < size:
        next_frame(data, size, at, frame_max, &frame)
        at = frame.start + frame.length
        if size > GATHER and at != size:
            raise FrameError(
                CloseCode.BAD_FRAME,
                f"record of {size} bytes holds several frames, only {GATHER} may be gathered",
            )
        frames.append((
            <int>frame.kind,
            PyBytes_FromStringAndSize(<const char *>data + frame.start, frame.length),
        ))
    return frames


@cython.final
cdef class Packed:
    """Frames one behind the other, as they go into a record: those that no object is made of."""

    def __dealloc__(self):
        PyMem_Free(self.memory)

    cdef int reserve(self, Py_ssize_t more) except -1:
        """Make room behind the last frame; doubled, so that a frame is moved once or twice."""
        cdef Py_ssize_t size = max(<Py_ssize_t>MEMORY_LEAST, self.size)
        cdef unsigned char *memory
        while size < self.end + more:
            size *= 2
        if size > self.size:
            memory = <unsigned char *>PyMem_Realloc(self.memory, size)
            if memory == NULL:
                raise MemoryError
            self.memory = memory
            self.size = size
        return 0

    cdef Py_ssize_t move(self, unsigned char *place, Py_ssize_t room, Py_ssize_t *count) noexcept:
        """Move the first frames, as many as fit, out to `place`; return their bytes."""
        cdef Py_ssize_t start = self.start, step
        while self.start < self.end:
            step = HEADER + <Py_ssize_t>load32(self.memory + self.start)
            if self.start - start + step > room:
                break
            self.start += step
            count[0] += 1
        memcpy(place, self.memory + start, self.start - start)
        return self.start - start


@cython.final
cdef class FrameWriter:
    """Frames that wait to be written on one connection, by priority 0 (control) to 3 (bulk).

    Bodies are kept by reference and copied once, into the plaintext of their record. `queued`
    counts the bytes that wait, headers included; whoever appends must bound it.
    """

    def __cinit__(self, Py_ssize_t frame_max=FRAME):
        if frame_max < 1 or frame_max > FRAME:
            raise UsageError(f"frame_max={frame_max} must be 1 to {FRAME}")
        self._frame_max = frame_max

    def __len__(self):
        return self.count

    cpdef append(self, int kind, bytes body, int priority=0):
        """Queue one frame behind those of its priority.

        Raises:
            UsageError: kind is no u8, priority is not 0 to 3, body is above the frame limit.
        """
        if body is None:
            raise UsageError("frame body None must be bytes")
        cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
        if kind < 0 or kind > 255:
            raise UsageError(f"frame kind {kind} must be 0 to 255")
        if priority < 0 or priority >= LANES:
            raise UsageError(f"priority {priority} must be 0 to {LANES - 1}")
        if size > self._frame_max:
            raise UsageError(
                f"frame of {size} bytes exceeds frame_bytes_max={self._frame_max}; split it"
            )
        self._lane_of(priority).append((kind, body))
        self.queued += HEADER + size
        self.count += 1

    cpdef rest(self):
        """Give the memory back if no frame waits: a quiet connection then has none."""
        if self.count == 0:
            self._lanes = None

    cpdef list take(self, Py_ssize_t room=-1):
        """Return plaintexts of records, control first, and forget what they hold.

        Stops before a record would begin with `room` bytes or more already taken; -1 takes all.
        """
        cdef list taken = []
        cdef Py_ssize_t total = 0
        cdef bytes plaintext
        while self.count and (room < 0 or total < room):
            plaintext = self._gather()
            total += PyBytes_GET_SIZE(plaintext)
            taken.append(plaintext)
        return taken

    cdef int pass_on(self, int kind, const unsigned char *body, Py_ssize_t size, int priority,
                     int second) except -1:
        """Queue a copy of a frame, the second byte of its body changed; no object is made of it."""
        cdef list lane = self._lane_of(priority)
        cdef Packed packed = None
        cdef unsigned char *at
        assert 2 <= size <= self._frame_max
        if self._heads[priority] < len(lane) and type(lane[len(lane) - 1]) is Packed:
            packed = <Packed>lane[len(lane) - 1]
        if packed is None or packed.end + HEADER + size > GATHER:
            packed = Packed.__new__(Packed)
            packed.reserve(HEADER + size)
            lane.append(packed)
        else:
            packed.reserve(HEADER + size)
        at = packed.memory + packed.end
        store32(at, <uint32_t>size)
        at[LENGTH] = <unsigned char>kind
        memcpy(at + HEADER, body, size)
        at[HEADER + 1] = <unsigned char>second
        packed.end += HEADER + size
        self.queued += HEADER + size
        self.count += 1
        return 0

    cdef list _lane_of(self, int priority):
        """Return the frames of a priority; the lists are made when the first frame is."""
        if self._lanes is None:
            self._lanes = [[], [], [], []]
        return <list>self._lanes[priority]

    cdef bytes _gather(self):
        """Return the plaintext of one record; there must be a frame."""
        cdef Py_ssize_t size = max(min(self.queued, <Py_ssize_t>GATHER), self._first_size())
        cdef Py_ssize_t used = 0, step
        cdef Py_ssize_t moved
        cdef int lane
        cdef object frame
        cdef bytes body, plaintext
        cdef PyObject *fresh = new_bytes(NULL, size)
        cdef unsigned char *at = <unsigned char *>PyBytes_AS_STRING(<bytes>fresh)
        while self.count:
            lane = self._lane()
            frame = (<list>self._lanes[lane])[self._heads[lane]]
            if type(frame) is Packed:
                moved = 0
                step = (<Packed>frame).move(at + used, size - used, &moved)
                if step == 0:
                    break
                self.count -= moved
                if (<Packed>frame).start < (<Packed>frame).end:
                    used += step
                    break
                self._drop(lane)
            else:
                body = <bytes>(<tuple>frame)[1]
                step = HEADER + PyBytes_GET_SIZE(body)
                if used + step > size:
                    break
                store32(at + used, <uint32_t>(step - HEADER))
                at[used + LENGTH] = <unsigned char>(<int>(<tuple>frame)[0])
                memcpy(at + used + HEADER, PyBytes_AS_STRING(body), step - HEADER)
                self._drop(lane)
                self.count -= 1
            used += step
        self.queued -= used
        if used < size:
            # Nobody else has seen it yet, so it may still change its length.
            resize_bytes(&fresh, used)
        plaintext = <bytes>fresh
        Py_DECREF(plaintext)
        return plaintext

    cdef int _lane(self) except -1:
        """Return the lane of the first frame; there must be one."""
        cdef int lane
        for lane in range(LANES):
            if self._heads[lane] < len(<list>self._lanes[lane]):
                return lane
        raise AssertionError("no frame waits")

    cdef Py_ssize_t _first_size(self) except -1:
        """Return the bytes of the first frame, its header included."""
        cdef int lane = self._lane()
        cdef object frame = (<list>self._lanes[lane])[self._heads[lane]]
        if type(frame) is Packed:
            return HEADER + <Py_ssize_t>load32((<Packed>frame).memory + (<Packed>frame).start)
        return HEADER + PyBytes_GET_SIZE(<bytes>(<tuple>frame)[1])

    cdef int _drop(self, int lane) except -1:
        """Forget the first of a lane; it is compacted when half of it is gone, so O(1) each."""
        cdef list frames = <list>self._lanes[lane]
        cdef Py_ssize_t head = self._heads[lane]
        frames[head] = None
        head += 1
        if head == len(frames):
            frames.clear()
            head = 0
        elif head >= 256 and head * 2 >= len(frames):
            del frames[:head]
            head = 0
        self._heads[lane] = head
        return 0


@cython.final
cdef class SpareBlock:
    """The block of the least size that nobody has: connections that are read in turn share it."""


@cython.final
cdef class RecordReader:
    """The read buffer of one connection: bytes come in as they like, sealed records come out.

    It has one block of memory that doubles when a read has filled it and shrinks when reads stay
    small. A block of the least size goes back to `spare` as soon as all in it has been handed out,
    so a connection that is not in the middle of a record holds none. A view that it hands out is
    good until the next call of the reader; used later it shows other bytes, never freed ones.

    Args:
        record_max: Bytes of a sealed record, its length not counted; `limit` changes it.
        spare: Shared with other readers of the same thread; without it the block is kept.
    """

    def __cinit__(self, Py_ssize_t record_max, SpareBlock spare=None):
        self._spare = spare
        self.limit(record_max)

    def limit(self, Py_ssize_t record_max):
        """Allow sealed records of up to `record_max` bytes from now on.

        Raises:
            UsageError: not between 22 (one empty frame) and 1 MiB + 64.
        """
        if record_max < SEAL + HEADER or record_max > FRAME + OVERHEAD:
            raise UsageError(
                f"record_max={record_max} must be {SEAL + HEADER} to {FRAME + OVERHEAD}"
            )
        self.record_max = record_max

    @property
    def unread(self):
        """Bytes that have come and were not handed out."""
        return self._end - self._start

    @property
    def memory(self):
        """Bytes of memory held for reading."""
        return 0 if self._memory is None else PyByteArray_GET_SIZE(self._memory)

    cpdef get_buffer(self, Py_ssize_t sizehint=-1):
        """Return memory to read into, never empty; `sizehint` is not heeded."""
        cdef Py_ssize_t held, left = self._end - self._start
        if self._memory is None:
            if self._spare is not None and self._spare._memory is not None:
                self._memory, self._view = self._spare._memory, self._spare._view
                self._spare._memory = self._spare._view = None
            else:
                self._fit(MEMORY_LEAST)
        held = PyByteArray_GET_SIZE(self._memory)
        if self._start:
            # Close up, so that the whole rest of the block is free.
            memmove(PyByteArray_AS_STRING(self._memory),
                    PyByteArray_AS_STRING(self._memory) + self._start, left)
            self._start = 0
            self._end = left
        if left == held:
            assert left < self.record_max + LENGTH, "read the records before reading on"
            self._fit(2 * held)
        elif self.full and held < GATHER and held < self.record_max:
            # More is waiting than one read could take; what is allowed for one record anyway.
            self._fit(2 * held)
        elif self._lean >= LEAN_READS and held > MEMORY_LEAST and left <= held // 2:
            self._lean = 0
            self._fit(held // 2)
        self.full = False
        return self._view[self._end:]

    cpdef buffer_updated(self, Py_ssize_t count):
        """Take note that `count` bytes were written at the beginning of the last buffer."""
        cdef Py_ssize_t held = 0 if self._memory is None else PyByteArray_GET_SIZE(self._memory)
        if count < 0 or count > held - self._end:
            raise UsageError(f"{count} bytes cannot have come, {held - self._end} were free")
        self._end += count
        self.full = self._end == held
        self._lean = self._lean + 1 if self._end < held // 4 else 0

    def feed(self, const unsigned char[::1] arrived):
        """Take bytes that came by another way, as if they had been read."""
        cdef Py_ssize_t done = 0, step, size = arrived.shape[0]
        while done < size:
            step = min(size - done, <Py_ssize_t>len(self.get_buffer()))
            memcpy(PyByteArray_AS_STRING(self._memory) + self._end, &arrived[done], step)
            self.buffer_updated(step)
            done += step

    cpdef bytes take(self):
        """Return everything unread as it came, for whoever speaks before there are records."""
        cdef bytes unread
        if self._start == self._end:
            return b""
        unread = PyBytes_FromStringAndSize(
            PyByteArray_AS_STRING(self._memory) + self._start, self._end - self._start
        )
        self._start = self._end = 0
        self._give_back()
        return unread

    cdef int _give_back(self) except -1:
        """Let another reader have the block; there must be nothing unread in it.

        A read that has filled it will be followed by another one, which wants a larger block.
        """
        if (self._spare is None or self._memory is None or self.full
                or PyByteArray_GET_SIZE(self._memory) != MEMORY_LEAST):
            return 0
        if self._spare._memory is None:
            self._spare._memory, self._spare._view = self._memory, self._view
        self._memory = self._view = None
        self._start = self._end = 0
        return 0

    def rest(self):
        """Give the memory back if nothing unread is in it: a quiet connection then costs none."""
        if self._start == self._end:
            self._memory = None
            self._view = None
            self._start = self._end = 0
            self._lean = 0

    cpdef next_record(self):
        """Return the next sealed record as a view, or None until more bytes come.

        Raises:
            FrameError: its length is above the limit (TOO_LARGE) or below what one empty frame
                takes (BAD_FRAME); the reader then says the same for ever.
        """
        cdef Py_ssize_t length, begin
        if self._failed is not None:
            raise self._failed
        length = self._length()
        if length == 0 or self._end - self._start < LENGTH + length:
            if self._start == self._end:
                self._give_back()
            return None
        begin = self._start + LENGTH
        self._start = begin + length
        return self._view[begin:begin + length].toreadonly()

    cdef Py_ssize_t _length(self) except -1:
        """Return the length of the record that begins, checked, or 0 while it is unknown."""
        cdef uint32_t length
        if self._end - self._start < LENGTH:
            return 0
        length = load32(<unsigned char *>PyByteArray_AS_STRING(self._memory) + self._start)
        if length > self.record_max:
            self._failed = FrameError(
                CloseCode.TOO_LARGE, f"record of {length} bytes exceeds its limit {self.record_max}"
            )
            raise self._failed
        if length < SEAL + HEADER:
            self._failed = FrameError(
                CloseCode.BAD_FRAME, f"record of {length} bytes, the least is {SEAL + HEADER}"
            )
            raise self._failed
        return length

    cdef _fit(self, Py_ssize_t size):
        """Move to a new block of `size` bytes; views of the old one keep the old one alive."""
        cdef bytearray fresh = bytearray(size)
        cdef Py_ssize_t left = self._end - self._start
        if left:
            memcpy(PyByteArray_AS_STRING(fresh),
                   PyByteArray_AS_STRING(self._memory) + self._start, left)
        self._memory = fresh
        self._view = PyMemoryView_FromObject(fresh)
        self._start = 0
        self._end = left
