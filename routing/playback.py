"""Recordings read from files, segment after segment; each fault is one line. It writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from routing.errors import UsageError
from routing.layout import LINE_BYTES, why_not
from routing.recordings import (
    BLOCK_HEAD,
    Beginning,
    Damaged,
    Record,
    RecordingError,
    block_size,
    records_of,
)
from routing.service.segments import older
from routing.version import VERSION

__all__ = ["Playback"]


class NoRecording(RecordingError, UsageError):
    """A file is not there, or is no recording that this version can replay."""


class Playback:
    """The records of a recording, the older segment first if it is of the same run.

    Raises:
        UsageError: no such file, no recording, or one of another version or layout.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.trouble = ""
        """Why it ends before its end, as far as `records` has come; empty if it does not."""
        first = self._first(self.path)
        self.paths = [self.path]
        self.beginning = first
        before = older(self.path)
        if first.serial and before.exists():
            try:
                older_first = self._first(before)
            except RecordingError:
                return
            if (older_first.recording, older_first.serial) == (first.recording, first.serial - 1):
                self.paths.insert(0, before)
                self.beginning = older_first

    def records(self) -> Iterator[Record]:
        """Yield the records; where a file is cut off or damaged it ends there, see `trouble`."""
        for path in self.paths:
            try:
                with path.open("rb") as file:
                    file.seek(LINE_BYTES)
                    yield from self._blocks(file)
            except OSError as error:
                self.trouble = f"{path.name} cannot be read: {error.strerror}"
            if self.trouble:
                return

    def _blocks(self, file: IO[bytes]) -> Iterator[Record]:
        while True:
            at = file.tell()
            head = file.read(BLOCK_HEAD)
            if not head:
                return
            try:
                size = block_size(head) if len(head) == BLOCK_HEAD else 0
                content = file.read(size)
                if len(head) < BLOCK_HEAD or len(content) < size:
                    self.trouble = f"{Path(file.name).name} is cut off after {at} bytes"
                    return
                records = records_of(head, content)
            except Damaged as error:
                self.trouble = f"{Path(file.name).name} is damaged after {at} bytes: {error}"
                return
            yield from records

    def _first(self, path: Path) -> Beginning:
        try:
            with path.open("rb") as file:
                reason = why_not(file.read(LINE_BYTES))
                if reason:
                    raise NoRecording(f"recording {str(path)!r} {reason}")
                head = file.read(BLOCK_HEAD)
                size = block_size(head) if len(head) == BLOCK_HEAD else 0
                content = file.read(size)
        except OSError as error:
            raise NoRecording(
                f"recording {str(path)!r} cannot be read: {error.strerror}; name another file"
            ) from None
        return self._checked(path, head, content)

    def _checked(self, path: Path, head: bytes, content: bytes) -> Beginning:
        try:
            first = next(iter(records_of(head, content)), None) if content else None
        except Damaged as error:
            raise NoRecording(f"recording {str(path)!r} is damaged: {error}") from None
        if not isinstance(first, Beginning):
            raise NoRecording(f"recording {str(path)!r} is cut off before its first state")
        if first.version != VERSION:
            raise NoRecording(
                f"recording {str(path)!r} was made by version {first.version!r}, this is "
                f"{VERSION!r}; replay it with its own version"
            )
        return first
