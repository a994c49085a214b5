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

from routing._batch import BATCH_ID_BYTES, lengths, lengths_of_batch
from routing.blanking import blank_digest, blank_state
from routing.inputs import FrameReceived, Input, SubmittedMany
from routing.limits import SECOND, Nanos
from routing.messages import FrameKind, NodeAddress
from routing.recordings import (
    Batched,
    Beginning,
    BlockBuilder,
    Deadline,
    Digest,
    Drawn,
    End,
    Gap,
    Heard,
    Many,
    Passed,
    Repeat,
    Setup,
    Signed,
)
from routing.stand_ins import NotedDice, NotedSigner

if TYPE_CHECKING:
    from collections.abc import Callable

    from routing.actions import Action
    from routing.core import Core

__all__ = ["Recorder", "Writer"]

BLOCK_BYTES: Final = 96 << 10
"""Gathered before it is handed to the writer; larger ones cost more, in fresh pages."""

FLUSHED_NS: Final = SECOND
"""At the first step so long after the last: what a crash loses at most."""

DIGEST_NS: Final = 30 * SECOND
DIGEST_HASHES_MAX: Final = 4_096
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

    def put(self, content: bytes) -> bool:
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
        self.take_actions: Callable[[], list[Action]] = core.take_actions
        self.next_deadline: Callable[[], Nanos | None] = core.next_deadline
        self.counters: Counter[str] = Counter()
        self.tried = bytearray()
        self._segments = segments
        self._segment_bytes = segment_bytes
        self._version = version
        self._id = os.urandom(16)
        self._serial = 0
        self._block = BlockBuilder()
        self._buffer = self._block.buffer
        self._in_segment = 0
        """Bytes of records handed to the writer, of this segment."""
        self._steps = 0
        """In the block."""
        self._lost = 0
        """Steps of the gap that we are in; 0 outside of one."""
        self._over = False
        self._flushed = self._digested = core.now
        self._relay_digest = core.relay.digest_of
        core.dice = NotedDice(core.dice, self._drawn)
        core.signer = NotedSigner(core.signer, self._signed)
        core.relay.digest_of = self._repeat
        core.passing.tap = self
        self._begin(blank_state(core))
        self._in_segment = 0

    # -- the contract of a machine

    def handle(self, fact: Input, now: Nanos) -> None:
        """See `Core.handle`."""
        if not self._lost:
            self._note(fact, now)
        try:
            self.core.handle(fact, now)
        except BaseException:
            # The fact that it cannot bear is what a recording is for.
            self._flush()
            raise
        self._steps += 1
        if (
            self._lost
            or len(self._buffer) >= BLOCK_BYTES
            or self.core.now - self._flushed >= FLUSHED_NS
        ):
            self._after()

    def on_deadline(self, now: Nanos) -> None:
        """See `Core.on_deadline`."""
        if not self._lost:
            self._block.add(Deadline(now))
        try:
            self.core.on_deadline(now)
        except BaseException:
            self._flush()
            raise
        self._steps += 1
        self._after()

    # -- what happens beside the core (see `Tap`)

    def heard(self, token: int, now: int) -> None:
        """The host took in that something came."""
        if not self._lost:
            self._block.add(Heard(token, now))
        self._steps += 1
        self._after()

    def passed(self, token: int, now: int) -> None:
        """The host passed on what was granted; the account of it follows, so no flush here."""
        if self._lost:
            self._lost += 1
        else:
            self._block.add(Passed(token, now, bytes(self.tried)))
            self._steps += 1
        self.tried.clear()

    # -- the end

    def finish(self) -> None:
        """The core takes no more steps: note its last state."""
        if self._over:
            return
        if self._lost and self._segments.has_room:
            self._resume()
        if not self._lost:
            self._digest(blank_state(self.core))
            self._block.add(End(self.core.now))
        self._flush()
        self._over = True
        self._lost = max(1, self._lost)

    def stats(self) -> dict[str, int]:
        """Return what was recorded and what not."""
        return {**self.counters, "recorder.bytes": self._segments.written}

    # -- inside

    def _note(self, fact: Input, now: Nanos) -> None:
        core = self.core
        if isinstance(fact, FrameReceived):
            if fact.kind is FrameKind.BATCH:
                runs = lengths_of_batch(fact.body)
                if runs is not None:
                    self._block.add(Batched(now, fact.token, fact.body[:BATCH_ID_BYTES], runs))
                    return
        elif isinstance(fact, SubmittedMany) and isinstance(fact.destination, NodeAddress):
            # Only what is sure to leave in batches: of other messages the content matters. What is
            # due before the fact could end the connection that they leave by; what expires could
            # not, that are attempts.
            due = core.alarms.first
            if core.batching.way(fact.destination) is not None and (due is None or due > now):
                runs = lengths(fact.payloads)
                self._block.add(
                    Many(now, fact.reference, fact.destination, runs, fact.acknowledged)
                )
                return
        self._block.fact(fact, now)

    def _drawn(self, value: bytes) -> None:
        if not self._lost:
            self._block.add(Drawn(value))

    def _signed(self, signature: bytes) -> None:
        if not self._lost:
            self._block.add(Signed(signature))

    def _repeat(self, text: bytes) -> bytes:
        digest = self._relay_digest(text)
        if not self._lost:
            self._block.add(Repeat(digest))
        return digest

    def _after(self) -> None:
        """A step has been done and counted."""
        if self._lost:
            self._lost += 1
            if self._segments.has_room and not self._over:
                self._resume()
            return
        now = self.core.now
        if len(self._buffer) < BLOCK_BYTES and now - self._flushed < FLUSHED_NS:
            return
        small = len(self.core.relay.seen) <= DIGEST_HASHES_MAX
        if small and now - self._digested >= DIGEST_NS:
            self._digest(blank_state(self.core))
        self._flush()
        if self._in_segment >= self._segment_bytes:
            self._rotate()

    def _digest(self, state: bytes) -> None:
        self._digested = self.core.now
        self._block.add(Digest(self.core.now, blank_digest(state)))

    def _flush(self) -> None:
        """Hand the block to the writer; a gap begins if that is too far behind."""
        self._flushed = self.core.now
        size = len(self._buffer)
        if self._over or not size:
            return
        content = self._block.take()
        if self._segments.put(content):
            self._in_segment += size
            self._steps = 0
            return
        if self._segments.fault:
            self._give_up()
        self._lost = max(1, self._steps)
        self.counters["recorder.gaps"] += 1

    def _resume(self) -> None:
        """The writer has caught up: say what is missing, and begin anew."""
        self.counters["recorder.lost"] += self._lost
        self._block.add(Gap(self.core.now, self._lost))
        self._lost = 0
        self._begin(blank_state(self.core))

    def _rotate(self) -> None:
        state = blank_state(self.core)
        self._digest(state)
        self._flush()
        if self._lost:
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
        self._block.add(Beginning(self._version, self._id, self._serial, wall, setup, state))
        self._steps = 0
        self._flush()

    def _give_up(self) -> None:
        """The file cannot be written: the node goes on without."""
        self._over = True
        self.counters["recorder.failed"] += 1
        log.warning("recording ends: %s", self._segments.fault)
