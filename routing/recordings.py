"""What is in a recording: records, and blocks of them; bytes in, bytes out, no file is touched.

`docs/recorder.md` has the format. A record is a pair (tag, content); a block is a list of records
with its length and checksum before it, and always ends between two steps of the core.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec
from msgspec import Raw, Struct

from routing import inputs as told
from routing.errors import RoutingError
from routing.inputs import Input
from routing.limits import Limits
from routing.messages import NodeAddress
from routing.reachability import Unreachable

__all__ = [
    "BLOCK_HEAD",
    "MAGIC",
    "Batched",
    "Beginning",
    "BlockBuilder",
    "Damaged",
    "Deadline",
    "Digest",
    "Drawn",
    "End",
    "Fact",
    "Gap",
    "Heard",
    "Many",
    "Passed",
    "Record",
    "RecordingError",
    "Repeat",
    "Setup",
    "Signed",
    "is_magic",
    "records_of",
    "seal_block",
]

MAGIC: Final = b"routing recording 1\n"
"""The first line of each segment; the number is that of the format."""

BLOCK_HEAD: Final = 8
"""u32 length, u32 CRC-32 of what follows; big-endian."""

BLOCK_BYTES_MAX: Final = 1 << 30
"""A longer block was never written."""

_NAME: Final = MAGIC.rpartition(b" ")[0]
_LIST: Final = b"\xdd"
"""MessagePack's tag of a list whose count has 32 bits."""


class RecordingError(RoutingError):
    """A recording cannot be read or written; one line."""


class Damaged(RecordingError):
    """What was read is no block of ours, or a part of one."""


class Setup(Struct, array_like=True):
    """What the core was born with; of its secrets, none."""

    key: bytes
    tag: bytes
    limits: Limits
    client: bool
    first: bool
    contacts: list[str]
    relaxed: bool
    unreachable: Unreachable


class Beginning(Struct, array_like=True):
    """The first record of a segment, and the one after each gap: from here it can be replayed."""

    version: str
    """Of the package that wrote it."""
    recording: bytes
    """16 random bytes, the same in all segments of one run of a node."""
    serial: int
    """Of the segment, from 0."""
    wall_ns: int
    """Nanoseconds since 1970 when it was written."""
    setup: Setup
    state: bytes
    """See `blanking.blank_state`."""


class Batched(Struct, array_like=True):
    """A frame of kind BATCH came; of its messages, only the lengths."""

    now: int
    token: int
    id: bytes
    lengths: bytes


class Many(Struct, array_like=True):
    """`SubmittedMany`; of its payloads, only the lengths."""

    now: int
    reference: int
    destination: NodeAddress
    lengths: bytes
    acknowledged: bool


class Deadline(Struct, array_like=True):
    """`on_deadline` was called."""

    now: int


class Heard(Struct, array_like=True):
    """The host took in, beside the core, that something came on a connection."""

    token: int
    now: int


class Passed(Struct, array_like=True):
    """The host passed messages on beside the core: digests of 16 bytes, in order."""

    token: int
    now: int
    digests: bytes


class Drawn(Struct, array_like=True):
    """What the dice showed in the step before."""

    value: bytes


class Signed(Struct, array_like=True):
    """What our key signed in the step before."""

    signature: bytes


class Repeat(Struct, array_like=True):
    """The digest, under a secret, of a message that the core passed on in the step before."""

    digest: bytes


class Digest(Struct, array_like=True):
    """The digest of the blanked state at this point."""

    now: int
    digest: bytes


class Gap(Struct, array_like=True):
    """The disk did not keep up: so many steps are missing; a `Beginning` follows."""

    now: int
    steps: int


class End(Struct, array_like=True):
    """The node has stopped, in good order."""

    now: int


@dataclass(slots=True)
class Fact:
    """`handle` was called."""

    now: int
    fact: Input


Record: TypeAlias = (
    Fact
    | Batched
    | Many
    | Deadline
    | Heard
    | Passed
    | Drawn
    | Signed
    | Repeat
    | Digest
    | Gap
    | Beginning
    | End
)

FACTS: Final[tuple[type[Any], ...]] = (
    told.Listening,
    told.BootstrapRequested,
    told.ContactsLearnt,
    told.Accepted,
    told.Dialled,
    told.DialFailed,
    told.FrameReceived,
    told.Heard,
    told.Lost,
    told.DescriptorsRanShort,
    told.ListenerLost,
    told.Submitted,
    told.SubmittedMany,
    told.Withdrawn,
    told.ReadingHeld,
    told.StopRequested,
)
"""The tag of each is its place; new ones go to the end."""

OTHERS: Final[tuple[type[Any], ...]] = (
    Batched,
    Many,
    Deadline,
    Heard,
    Passed,
    Drawn,
    Signed,
    Repeat,
    Digest,
    Gap,
    Beginning,
    End,
)
OTHERS_FROM: Final = 64

_tags: Final[dict[type[Any], int]] = {
    **{kind: tag for tag, kind in enumerate(FACTS)},
    **{kind: OTHERS_FROM + tag for tag, kind in enumerate(OTHERS)},
}
_encoder = msgspec.msgpack.Encoder()
_block_decoder = msgspec.msgpack.Decoder(list[tuple[int, Raw]])
# Any: decoders of as many types as there are tags.
_decoders: Final[dict[int, Any]] = {
    **{
        tag: msgspec.msgpack.Decoder(tuple[int, kind])  # type: ignore[valid-type]
        for tag, kind in enumerate(FACTS)
    },
    **{OTHERS_FROM + tag: msgspec.msgpack.Decoder(kind) for tag, kind in enumerate(OTHERS)},
}


class BlockBuilder:
    """Records, gathered into a block."""

    __slots__ = ("_count", "buffer")

    def __init__(self) -> None:
        self.buffer: Final = bytearray()
        """For its length, to those who ask at every step."""
        self._count = 0

    def fact(self, fact: Input, now: int) -> None:
        """Add a fact, whole."""
        self._count += 1
        _encoder.encode_into((_tags[type(fact)], (now, fact)), self.buffer, -1)

    def add(self, record: Struct) -> None:
        """Add any other record."""
        self._count += 1
        _encoder.encode_into((_tags[type(record)], record), self.buffer, -1)

    def take(self) -> bytes:
        """Return the content of a block of what was gathered, and begin anew."""
        content = _LIST + self._count.to_bytes(4, "big") + self.buffer
        self.buffer.clear()
        self._count = 0
        return content


def seal_block(content: bytes) -> bytes:
    """Return a block as it stands in a file."""
    return len(content).to_bytes(4, "big") + crc32(content).to_bytes(4, "big") + content


def is_magic(line: bytes) -> bool | None:
    """Tell whether this is the first line of a recording; None if of another format's."""
    return True if line == MAGIC else None if line.startswith(_NAME) else False


def block_size(head: bytes) -> int:
    """Return the length of the content that follows the head of a block.

    Raises:
        Damaged: no block is as long as that.
    """
    size = int.from_bytes(head[:4], "big")
    if size > BLOCK_BYTES_MAX:
        raise Damaged(f"block of {size} bytes is refused, at most {BLOCK_BYTES_MAX} were written")
    return size


def records_of(head: bytes, content: bytes) -> list[Record]:
    """Return the records of a block.

    Raises:
        Damaged: the checksum does not fit, or what it fits is no list of records.
    """
    if int.from_bytes(head[4:8], "big") != crc32(content):
        raise Damaged("the checksum of a block does not fit")
    try:
        return [_record(tag, raw) for tag, raw in _block_decoder.decode(content)]
    except (msgspec.DecodeError, ValueError) as error:
        raise Damaged(f"a block has no records of ours: {error}") from None


def _record(tag: int, raw: Raw) -> Record:
    decoder = _decoders.get(tag)
    if decoder is None:
        raise Damaged(f"record of kind {tag} is unknown")
    content = decoder.decode(raw)
    return Fact(*content) if tag < OTHERS_FROM else content
