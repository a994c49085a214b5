"""What is in a recording: records, and blocks of them; bytes in, bytes out, no file is touched.

`docs/recorder.md` has the format. A record is a pair (tag, content); a block is a list of records
with its length and checksum before it, and always ends between two steps of the core.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias, get_type_hints
from zlib import crc32

import msgspec
from msgspec import Raw, Struct

from routing import inputs as told
from routing._blocks import Block
from routing._tape import Tape
from routing.errors import RoutingError
from routing.inputs import Input, fields_of
from routing.limits import Limits
from routing.messages import (
    ClientAddress,
    FrameKind,
    GroupAddress,
    NodeAddress,
    ViaAddress,
)
from routing.reachability import Unreachable

__all__ = [
    "BLOCK_HEAD",
    "Batched",
    "Beginning",
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
    "new_tape",
    "note",
    "records_of",
    "seal_block",
]

BLOCK_HEAD: Final = 8
"""u32 length, u32 CRC-32 of what follows; big-endian."""

BLOCK_BYTES_MAX: Final = 1 << 30
"""A longer block was never written."""

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

_tags: Final[dict[type[Any], int]] = {kind: OTHERS_FROM + tag for tag, kind in enumerate(OTHERS)}
_plans: Final[dict[type[Any], tuple[int, tuple[str, ...]]]] = {
    kind: (tag, fields_of(kind)) for tag, kind in enumerate(FACTS)
}
_structs: Final = {
    kind: (int(str(kind.__struct_config__.tag)), kind.__struct_fields__)
    for kind in (NodeAddress, ClientAddress, GroupAddress, ViaAddress)
}


def _row(kind: type[Any]) -> type[Struct]:
    """Return what a fact of this kind is read as: when, and its fields in order."""
    hints = get_type_hints(kind)
    columns = [(name, hints[name]) for name in fields_of(kind)]
    return msgspec.defstruct(f"{kind.__name__}Row", [("when", int), *columns], array_like=True)


_encoder = msgspec.msgpack.Encoder()
_block_decoder = msgspec.msgpack.Decoder(list[tuple[int, Raw]])
# Any: decoders of as many types as there are tags.
_decoders: Final[dict[int, Any]] = {
    tag: msgspec.msgpack.Decoder(kind)
    for tag, kind in [
        *enumerate(map(_row, FACTS)),
        *enumerate(OTHERS, OTHERS_FROM),
    ]
}


def new_tape(full: int = 0) -> Tape:
    """Return what gathers records into blocks; `full` bytes are enough for one."""
    return Tape(
        _plans,
        _structs,
        _encoder.encode,
        frame=told.FrameReceived,
        batch=FrameKind.BATCH,
        many=told.SubmittedMany,
        full=full,
    )


def note(tape: Tape, record: Struct) -> None:
    """Add a record that is no fact."""
    tape.add(_tags[type(record)], record)


def seal_block(content: Block) -> Block:
    """Return a block as it stands in a file: its very self, with length and checksum."""
    content.seal(crc32(content))
    return content


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
    if tag >= OTHERS_FROM:
        return content  # type: ignore[no-any-return]
    when, *values = msgspec.structs.astuple(content)
    return Fact(when, FACTS[tag](*values))
