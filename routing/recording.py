"""The flight recorder of one node: recorder, writer and version put together; nothing is read."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from routing.service.recorder import Recorder
from routing.service.segments import Segments
from routing.version import VERSION

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Recording"]


class Recording:
    """Records a core until `end`.

    Raises:
        StartError: the file cannot be written, or is there and is no recording.
    """

    def __init__(self, core: Core, path: str | os.PathLike[str], size: int) -> None:
        self._segments = Segments(path)
        self.recorder = Recorder(core, self._segments, segment_bytes=size // 2, version=VERSION)

    async def end(self) -> None:
        """Write what is not yet written; the core takes no more steps."""
        self.recorder.finish()
        await asyncio.to_thread(self._segments.close)

    def stats(self) -> dict[str, int]:
        """Return what was recorded and what not."""
        return self.recorder.stats()
