"""A core that is recorded into memory, and the replay of that."""

from __future__ import annotations

from routing._blocks import Block
from routing.blanking import blank_digest, blank_state
from routing.core import Core, CoreConfig
from routing.inputs import Input
from routing.limits import Nanos
from routing.recordings import (
    BLOCK_HEAD,
    Drawn,
    Record,
    new_tape,
    note,
    records_of,
    seal_block,
)
from routing.replaying import Replay
from routing.service.recorder import Recorder

__all__ = ["RecordedCore", "Tape", "block_of", "replayed"]


def block_of(size: int) -> Block:
    """Return a block with so many zeros, and a few bytes around them."""
    tape = new_tape()
    note(tape, Drawn(bytes(size)))
    return tape.take()


class Tape:
    """The segments of a recording, in memory; it can be out of room, or broken."""

    def __init__(self) -> None:
        self.segments: list[list[bytes]] = [[]]
        self.has_room = True
        self.fault = ""
        self.written = 0

    def put(self, content: Block) -> bool:
        if not self.has_room or self.fault:
            return False
        self.written += len(content)
        self.segments[-1].append(bytes(seal_block(content)))
        return True

    def rotate(self) -> None:
        self.segments.append([])

    def records(self, segment: int | None = None) -> list[Record]:
        chosen = self.segments if segment is None else [self.segments[segment]]
        return [
            record
            for blocks in chosen
            for block in blocks
            for record in records_of(block[:BLOCK_HEAD], block[BLOCK_HEAD:])
        ]


class RecordedCore(Core):
    """A core whose host does not know that it is recorded."""

    segment_bytes = 1 << 16

    def __init__(self, config: CoreConfig) -> None:
        super().__init__(config)
        self.tape = Tape()
        self._inside = False
        self.recorder = Recorder(
            self, self.tape, segment_bytes=self.segment_bytes, version="a test"
        )

    def handle(self, fact: Input, now: Nanos) -> None:
        if self._inside:
            super().handle(fact, now)
            return
        self._inside = True
        try:
            self.recorder.handle(fact, now)
        finally:
            self._inside = False

    def on_deadline(self, now: Nanos) -> None:
        if self._inside:
            super().on_deadline(now)
            return
        self._inside = True
        try:
            self.recorder.on_deadline(now)
        finally:
            self._inside = False


def replayed(core: RecordedCore, segment: int | None = None) -> Replay:
    """Replay all of it, or one segment alone, and compare the states at the end of it all."""
    replay = Replay(core.config.signer.verify)
    for _ in replay.steps(core.tape.records(segment)):
        pass
    assert replay.fault == ""
    if segment is None and replay.core is not None:
        assert blank_digest(blank_state(replay.core)) == blank_digest(blank_state(core))
    return replay
