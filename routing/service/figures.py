"""What has passed through a host, as its `stats()` tell it: bytes, records, frames, ciphers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from routing._meter import Meter
from routing.service.connection import Line

__all__ = ["passed"]


def passed(meter: Meter, lines: Iterable[Line], ended: Counter[str]) -> dict[str, int]:
    """Return counts by name, of lines that are open and of those that have ended.

    Frames and records are those behind the handshake; the times are of the ciphers alone, in
    nanoseconds by the clock.
    """
    queued = read = written = 0
    for line in lines:
        queued += line.queued
        read += line.read_bytes
        written += line.written_bytes
    return {
        "bytes.queued": queued,
        "bytes.read": ended["bytes.read"] + read,
        "bytes.written": ended["bytes.written"] + written,
        "frames.read": meter.frames_read,
        "frames.written": meter.frames_written,
        "records.read": meter.records_read,
        "records.written": meter.records_written,
        "records.open_ns": meter.open_ns,
        "records.seal_ns": meter.seal_ns,
    }
