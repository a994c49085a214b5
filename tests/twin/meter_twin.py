"""What a host counts of its lines, slowly and obviously; of times, only that they never shrink."""

from __future__ import annotations

__all__ = ["Meter"]


class Meter:
    """Counts of one host."""

    def __init__(self) -> None:
        self.records_read = self.records_written = self.frames_read = self.frames_written = 0

    def sealed(self, records: int) -> None:
        """So many records were sealed."""
        self.records_written += records

    def gave(self, frames: int) -> None:
        """So many frames were put into records."""
        self.frames_written += frames

    def opened(self) -> None:
        """A record was opened."""
        self.records_read += 1

    def took(self, frames: int) -> None:
        """So many frames were read out of records."""
        self.frames_read += frames
