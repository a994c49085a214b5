"""Memory that was used for messages is used again, instead of fetched from the system anew.

The GNU C library gives freed memory back early, by default: a block of 128 KiB or more at once, and
all that is free at the end of its heap once that is 128 KiB. Buffers and payloads of a stream would
come fresh for every record then, and to be given a page by the system costs several times what
copying it does. The library raises both bounds by itself when a large block that it had fetched by
itself is freed: what follows is how it is told that large blocks come and go here.
"""

from __future__ import annotations

from functools import cache
from typing import Final

__all__ = ["BLOCK_BYTES", "reuse_freed_memory"]

BLOCK_BYTES: Final = 16_777_216
"""Blocks up to this size are kept for later ones; at most twice as much lies free."""


@cache
def reuse_freed_memory() -> None:
    """Have the C library keep what is freed, within bounds; it is done once in a process.

    The block is not touched, so no memory is used by this. A second one would be, for it would come
    from what is kept, and be cleared: half a millisecond and 16 MiB for each node. Other C
    libraries heed nothing of it, and neither does this one where `MALLOC_TRIM_THRESHOLD_` or its
    like is in the environment.
    """
    bytes(BLOCK_BYTES)
