"""The two files of a recording, written by a thread; it knows bytes and no records.

What is to be written waits in a queue of bounded bytes. A block for which there is no room is
refused, and whoever gave it must say so in a later one.
"""

from __future__ import annotations

import os
import threading
from io import FileIO
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from routing._blocks import Block
from routing.errors import StartError
from routing.layout import LINE_BYTES, first_line, is_recording
from routing.recordings import seal_block

__all__ = ["QUEUED_BYTES_MAX", "Segments", "older"]

QUEUED_BYTES_MAX: Final = 16 << 20
"""A disk that is further behind than this loses steps, and the recording says so."""


def older(path: Path) -> Path:
    """Return where the segment before the one at `path` is."""
    return path.with_name(path.name + ".1")


class Segments:
    """The files of one recording: `path`, and the one before it at `older(path)`; mode 0600.

    Raises:
        StartError: the place cannot be written, or holds something that is no recording.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(os.path.realpath(path))
        self.fault = ""
        """Why nothing is written any more."""
        self.written = 0
        """Bytes, in all segments."""
        self._queued = 0
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Block | bool | None] = SimpleQueue()
        try:
            self._set_aside()
            self._file = self._fresh()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StartError(
                f"recording {str(path)!r} cannot be written: {reason}; name another file"
            ) from None
        self._thread = threading.Thread(target=self._work, name="routing recorder", daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """Half of the queue is free."""
        return self._queued <= QUEUED_BYTES_MAX // 2

    def put(self, content: Block) -> bool:
        """Have a block written; False, and nothing, if there is no room for it."""
        with self._lock:
            if self.fault or (self._queued and self._queued + len(content) > QUEUED_BYTES_MAX):
                return False
            self._queued += len(content)
        self._queue.put(content)
        return True

    def rotate(self) -> None:
        """Have what follows written to a new segment; this one takes the place of the older."""
        self._queue.put(True)

    def close(self) -> None:
        """Return when all is on the disk; blocks for so long."""
        self._queue.put(None)
        self._thread.join()

    def _set_aside(self) -> None:
        """A recording of a former run becomes the older segment; nothing else is touched."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        with open(descriptor, "rb") as file:
            line = file.read(LINE_BYTES)
        if line and not is_recording(line):
            raise StartError(
                f"recording {str(self._path)!r} is there and is no recording; name another file"
            )
        os.replace(self._path, older(self._path))

    def _fresh(self) -> FileIO:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        # Kept open; without a buffer, since each write would be larger than that.
        file = open(os.open(self._path, flags, 0o600), "wb", buffering=0)  # noqa: SIM115
        file.write(first_line())
        return file

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            try:
                if item is None:
                    self._file.close()
                    return
                if not self.fault:
                    self._write(item)
            except OSError as error:
                self.fault = error.strerror or type(error).__name__
                if item is None:
                    return
            finally:
                if isinstance(item, Block):
                    with self._lock:
                        self._queued -= len(item)

    def _write(self, item: Block | bool) -> None:
        if isinstance(item, Block):
            left = memoryview(seal_block(item))
            self.written += len(left)
            while left:
                left = left[self._file.write(left) :]
            return
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._path, older(self._path))
        self._file = self._fresh()
