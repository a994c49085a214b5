"""The flight recorder: between host and core it notes every fact, and what came of the secrets.

It is a `Machine` like the core it hands everything on to. It decides nothing, changes nothing of
what the core does, and never waits: what cannot be written in time is a gap, told in the recording.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from routing.blanking import blank_digest, blank_state
from routing.limits import SECOND, Nanos
from routing.recordings import Beginning, Digest, End, Gap, Setup, new_tape, note
from routing.stand_ins import NotedSigner

if TYPE_CHECKING:
    from collections.abc import Callable

    from routing._blocks import Block
    from routing.actions import Action
    from routing.core import Core
    from routing.inputs import Input

__all__ = ["Recorder", "Writer"]

BLOCK_BYTES: Final = 1 << 20
"""Gathered before it is handed to the writer, or a quarter of a segment if that is less.

Each hand-over costs the CPU as much as 100 KiB written do: two threads take turns with the
interpreter. Of a larger block the memory would no longer stay in the cache of a core."""

FLUSHED_NS: Final = SECOND
"""At the first step so long after the last: what a crash loses at most."""

DIGEST_NS: Final = 30 * SECOND
DIGEST_HASHES_MAX: Final = 1 << 17
"""With more hashes in the relay's memory a digest would hold up the loop: then only at the ends."""

log = logging.getLogger("routing")


class Writer(Protocol):
    """What a recorder needs of `Segments`."""

    @property
    def has_room(self) -> bool:
        """Whether it has caught up."""

    @property
    def fault(self) -> str:
        """Why nothing is written any more."""

    @property
    def written(self) -> int:
        """Bytes."""

    def put(self, content: Block) -> bool:
        """Have a block written; False if there is no room."""

    def rotate(self) -> None:
        """Begin a new segment."""


class Recorder:
    """Records one core from now on, which nobody else may drive from now on.

    Args:
        core: Between two steps.
        segments: Where to.
        segment_bytes: Of records in a segment, its state apart, after which the next one begins.
        version: Of the package.
    """

    def __init__(self, core: Core, segments: Writer, *, segment_bytes: int, version: str) -> None:
        self.core = core
        self.tape = tape = new_tape(min(BLOCK_BYTES, segment_bytes // 4))
        """What the steps of the core go through, and what is told of what passes beside it."""
        self.handle: Callable[[Input, Nanos], None] = tape.handle
        self.on_deadline: Callable[[Nanos], None] = tape.on_deadline
        self.take_actions: Callable[[], list[Action]] = core.take_actions
        self.next_deadline: Callable[[], Nanos | None] = core.next_deadline
        self.counters: Counter[str] = Counter()
        self._segments = segments
        self._segment_bytes = segment_bytes
        self._version = version
        self._id = os.urandom(16)
        self._serial = 0
        self._in_segment = 0
        """Bytes of records handed to the writer, of this segment."""
        self._begun = 0
        """Steps that were done when the block was begun, or the gap that we are in."""
        self._over = False
        self._digested = core.now
        tape.attach(
            handle=core.handle,
            on_deadline=core.on_deadline,
            after=self._after,
            fallen=self._flush,
        )
        core.dice.note = tape.drawn
        core.signer = NotedSigner(core.signer, tape.signed)
        core.passing.tap = tape
        self._begin(blank_state(core))
        self._in_segment = 0

    # -- the end

    def finish(self) -> None:
        """The core takes no more steps: note its last state."""
        if self._over:
            return
        if self.tape.deaf and self._segments.has_room:
            self._resume()
        if not self.tape.deaf:
            self._digest(blank_state(self.core))
            note(self.tape, End(self.core.now))
        self._flush()
        self._over = self.tape.deaf = True

    def stats(self) -> dict[str, int]:
        """Return what was recorded and what not."""
        return {**self.counters, "recorder.bytes": self._segments.written}

    # -- inside

    def _after(self) -> None:
        """A step has been done, and it is time to look whether a block is to be written."""
        if self.tape.deaf:
            if self._segments.has_room and not self._over:
                self._resume()
            return
        small = len(self.core.relay.seen) <= DIGEST_HASHES_MAX
        if small and self.core.now - self._digested >= DIGEST_NS:
            self._digest(blank_state(self.core))
        self._flush()
        if self._in_segment >= self._segment_bytes:
            self._rotate()

    def _digest(self, state: bytes) -> None:
        self._digested = self.core.now
        note(self.tape, Digest(self.core.now, blank_digest(state)))

    def _flush(self) -> None:
        """Hand the block to the writer; a gap begins if that is too far behind."""
        tape = self.tape
        tape.due = self.core.now + FLUSHED_NS
        if self._over or tape.deaf or not len(tape):
            return
        content = tape.take()
        if self._segments.put(content):
            self._in_segment += len(content)
            self._begun = tape.steps
            return
        if self._segments.fault:
            self._give_up()
        tape.deaf = True
        self.counters["recorder.gaps"] += 1

    def _resume(self) -> None:
        """The writer has caught up: say what is missing, and begin anew."""
        lost = max(1, self.tape.steps - self._begun)
        self.counters["recorder.lost"] += lost
        note(self.tape, Gap(self.core.now, lost))
        self.tape.deaf = False
        self._begin(blank_state(self.core))

    def _rotate(self) -> None:
        state = blank_state(self.core)
        self._digest(state)
        self._flush()
        if self.tape.deaf:
            return
        self._segments.rotate()
        self._in_segment = 0
        self._serial += 1
        self.counters["recorder.rotated"] += 1
        self._begin(state)
        self._in_segment = 0

    def _begin(self, state: bytes) -> None:
        config = self.core.config
        setup = Setup(
            self.core.key,
            config.tag,
            config.limits,
            config.client,
            config.first,
            list(config.contacts),
            config.relaxed,
            config.unreachable,
        )
        wall = time.time_ns()
        note(self.tape, Beginning(self._version, self._id, self._serial, wall, setup, state))
        self._flush()

    def _give_up(self) -> None:
        """The file cannot be written: the node goes on without."""
        self._over = True
        self.counters["recorder.failed"] += 1
        log.warning("recording ends: %s", self._segments.fault)
