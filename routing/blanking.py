"""The state of a core without its secrets and without what applications have said; bytes, digest.

A recording holds snapshots of this form and compares digests of this form: what is left out is on
neither side of the comparison. It is the whole of `snapshots.Memory` otherwise.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import error as BadPairs
from struct import iter_unpack
from typing import TYPE_CHECKING, Final

import msgspec

from routing._batch import blank_list
from routing._lengths import lengths
from routing.errors import UsageError
from routing.messages import MessageKind, Signed, decode, encode
from routing.snapshots import memory_of, read, restore_memory, write

if TYPE_CHECKING:
    from routing.batching import Batch
    from routing.core import Core
    from routing.delivery import Underway

__all__ = ["blank_digest", "blank_state", "payloads_of", "restore_blank"]

replace = msgspec.structs.replace

PAYLOADS_MAX: Final = 1 << 20
PAYLOAD_BYTES_MAX: Final = 1 << 28
"""Of one list of lengths in a file that anybody may have written."""


def blank_state(core: Core) -> bytes:
    """Return the state of a core between two steps, blanked. O(state)."""
    memory = memory_of(core)
    messages = memory.messages
    direct = replace(
        messages.direct,
        batches={each: _blank_batch(batch) for each, batch in messages.direct.batches.items()},
        again={each: _blank_batch(batch) for each, batch in messages.direct.again.items()},
    )
    underway = {each: _blank_message(sent) for each, sent in messages.underway.items()}
    return write(
        replace(
            memory,
            core=replace(memory.core, filter_secret=b""),
            messages=replace(messages, direct=direct, underway=underway),
        )
    )


def blank_digest(state: bytes) -> bytes:
    """Return 32 bytes that equal blanked states share."""
    return blake2b(state, digest_size=32).digest()


def restore_blank(core: Core, state: bytes) -> None:
    """Make a core of the same configuration what `blank_state` described; payloads are zeros.

    Raises:
        msgspec.DecodeError, UsageError: it is not such a state.
    """
    memory = read(state)
    direct = memory.messages.direct
    for batch in (*direct.batches.values(), *direct.again.values()):
        batch.payloads = payloads_of(b"".join(batch.payloads))
    restore_memory(core, memory)


def payloads_of(runs: bytes) -> list[bytes]:
    """Return zeros of the `_lengths.lengths` given.

    Raises:
        UsageError: no such lengths, or more than a recording ever has.
    """
    try:
        pairs: list[tuple[int, int]] = list(iter_unpack(">II", runs))
    except BadPairs:
        raise UsageError(f"lengths of {len(runs)} bytes must have a multiple of 8") from None
    count = sum(each for each, _ in pairs)
    size = sum(each * length for each, length in pairs)
    if count > PAYLOADS_MAX or size > PAYLOAD_BYTES_MAX:
        raise UsageError(
            f"{count} payloads of {size} bytes are refused; at most {PAYLOADS_MAX} payloads of "
            f"{PAYLOAD_BYTES_MAX} bytes are read from a recording"
        )
    return [payload for each, length in pairs for payload in [bytes(length)] * each]


def _blank_batch(batch: Batch) -> Batch:
    return replace(batch, payloads=[lengths(batch.payloads)])


def _blank_message(sent: Underway) -> Underway:
    """What is left of a batch whose connection broke is sent as messages."""
    signed = decode(Signed, sent.envelope.signed)
    assert signed is not None, "we have sealed it ourselves"
    if signed.kind is MessageKind.MESSAGES:
        body = blank_list(signed.body)
    elif signed.kind is MessageKind.MESSAGE:
        body = bytes(len(signed.body))
    else:
        return sent
    blank = encode(replace(signed, body=body))
    return replace(sent, envelope=replace(sent.envelope, signed=blank))
