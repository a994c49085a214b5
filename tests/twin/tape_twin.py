"""The tape, slowly and obviously: a list of records as they are read again, no bytes."""

from __future__ import annotations

from collections.abc import Callable

from routing import recordings as kept
from routing._lengths import lengths
from routing.inputs import FrameReceived, Input, SubmittedMany
from routing.messages import FrameKind, NodeAddress

__all__ = ["TapeTwin"]


class TapeTwin:
    """Notes what `routing._tape.Tape` notes.

    Args:
        leaves_in_batches: Whether the machine says so of a list.
        after: As of the tape.
    """

    def __init__(
        self, leaves_in_batches: Callable[[object], bool], after: Callable[[], None]
    ) -> None:
        self.leaves_in_batches, self.after = leaves_in_batches, after
        self.records: list[object] = []
        self.deaf = False
        self.steps = 0
        self.due = 0

    def handle(self, fact: Input, now: int) -> None:
        if isinstance(fact, FrameReceived) and fact.kind is FrameKind.BATCH:
            payloads = payloads_in(fact.body)
            if payloads:
                runs = lengths(payloads)
                self._add(kept.Batched(now, fact.token, fact.body[:16], runs))
            else:
                self._add(kept.Fact(now, fact))
        elif isinstance(fact, SubmittedMany) and self.leaves_in_batches(fact):
            destination = fact.destination
            assert isinstance(destination, NodeAddress)
            runs = lengths(fact.payloads)
            self._add(kept.Many(now, fact.reference, destination, runs, fact.acknowledged))
        else:
            self._add(kept.Fact(now, fact))
        self._stepped(now)

    def on_deadline(self, now: int) -> None:
        self._add(kept.Deadline(now))
        self._stepped(now)

    def heard(self, token: int, now: int) -> None:
        self._add(kept.Heard(token, now))
        self._stepped(now)

    def passed(self, token: int, now: int) -> None:
        self._add(kept.Passed(token, now, b""))
        self.steps += 1

    def say(self, kind: type[kept.Drawn | kept.Signed | kept.Repeat], value: bytes) -> None:
        self._add(kind(value))

    def _add(self, record: object) -> None:
        if not self.deaf:
            self.records.append(record)

    def _stepped(self, now: int) -> None:
        self.steps += 1
        if self.deaf or now >= self.due:
            self.after()


def payloads_in(body: bytes) -> list[bytes]:
    """Return the payloads of a batch; none where it is none."""
    found, rest = [], body[16:]
    if len(body) <= 16 or body[12:16] != bytes(4):
        return []
    while rest:
        length = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + length:
            return []
        found.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    return found if len(body) <= 262_139 or len(found) == 1 else []
