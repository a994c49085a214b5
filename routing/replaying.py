"""A recording run through the core once more: what it heard, said, noted and counted, step by step.

The core is the one that runs nodes. Chance, signatures and keyed digests come from the recording;
everything else follows, and the digests say whether it did. No file is touched here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from routing import recordings as kept
from routing._batch import BATCH_ID_BYTES, pack
from routing.actions import Action
from routing.blanking import blank_digest, blank_state, payloads_of, restore_blank
from routing.core import Core, CoreConfig
from routing.errors import UsageError
from routing.identity import verify as strictly
from routing.inputs import FrameReceived, Input, SubmittedMany
from routing.journal import Journal
from routing.limits import SECOND, Nanos
from routing.messages import FrameKind
from routing.recordings import Beginning, Deadline, Fact, Record
from routing.stand_ins import Departed, RecordedDice, RecordedSigner, Said, Verify
from routing.state import Token

__all__ = ["Note", "Replay", "Step"]


@dataclass(frozen=True, slots=True)
class Note:
    """A decision about a name or key, as the core noted it."""

    now: int
    subject: bytes
    text: str


@dataclass(slots=True)
class Step:
    """One step of the core."""

    now: int
    heard: Input | Deadline | kept.Heard | kept.Passed
    actions: list[Action] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)


class Witness(Journal):
    """A journal that forgets nothing within a step."""

    __slots__ = ("counted", "notes")

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Note] = []
        self.counted: dict[str, int] = {}

    def count(self, what: str, times: int = 1) -> None:
        """See `Journal.count`."""
        super().count(what, times)
        self.counted[what] = self.counted.get(what, 0) + times

    def note(self, subject: bytes, now: int, text: str) -> None:
        """See `Journal.note`."""
        super().note(subject, now, text)
        self.notes.append(Note(now, subject, text))


class Replay:
    """The replay of a recording; `steps` runs it.

    Args:
        verify: Checks signatures; Ed25519 but for recordings of a simulation.
    """

    def __init__(self, verify: Verify = strictly) -> None:
        self._verify = verify
        self.core: Core | None = None
        """The core as it is after the last step; None before the first segment."""
        self.beginnings: list[Beginning] = []
        """Without their states."""
        self.count = 0
        self.equal = 0
        """Digests that were recorded and are the same here."""
        self.digest = b""
        """The last of them."""
        self.gaps: list[kept.Gap] = []
        self.fault = ""
        """Where the replay stopped being the same, or the core raised; nothing follows that."""
        self.ended = False
        """The node has stopped in good order."""
        self.totals: dict[str, int] = {}
        self._drawn, self._signed, self._repeats = Said("draw"), Said("signature"), Said("digest")
        self._witness = Witness()
        self._due: Record | None = None

    def steps(self, records: Iterable[Record]) -> Iterator[Step]:
        """Yield each step once it has been done; ends early where there is a `fault`."""
        for record in records:
            match record:
                case kept.Drawn():
                    self._drawn.left.append(record.value)
                    continue
                case kept.Signed():
                    self._signed.left.append(record.signature)
                    continue
                case kept.Repeat():
                    self._repeats.left.append(record.digest)
                    continue
            yield from self._do_due()
            if self._has_stopped():
                return
            match record:
                case Beginning():
                    self._begin(record)
                case kept.Digest():
                    self._compare(record)
                case kept.Gap():
                    self.gaps.append(record)
                    self.core = None
                case kept.End():
                    self.ended = True
                case _:
                    self._due = record
            if self._has_stopped():
                return
        yield from self._do_due()

    def _has_stopped(self) -> bool:
        return bool(self.fault)

    def _begin(self, beginning: Beginning) -> None:
        setup = beginning.setup
        core = Core(
            CoreConfig(
                signer=RecordedSigner(setup.key, self._signed, self._verify),
                # Nothing follows from it: the dice are replaced before they are used again.
                secret=bytes(32),
                tag=setup.tag,
                limits=setup.limits,
                client=setup.client,
                first=setup.first,
                contacts=tuple(setup.contacts),
                relaxed=setup.relaxed,
                unreachable=setup.unreachable,
            )
        )
        try:
            restore_blank(core, beginning.state)
        except (msgspec.DecodeError, UsageError) as error:
            raise kept.Damaged(f"a segment begins with no state of a core: {error}") from None
        core.dice = RecordedDice(self._drawn, core.dice.counter)
        core.relay.digest_of = lambda _text: self._repeats.take()
        core.journal = self._witness
        self.core = core
        self.beginnings.append(msgspec.structs.replace(beginning, state=b""))

    def _compare(self, record: kept.Digest) -> None:
        if self.core is None:
            return
        self.digest = blank_digest(blank_state(self.core))
        if self.digest == record.digest:
            self.equal += 1
        else:
            self.fault = (
                f"the state at {record.now / SECOND:.3f} s has digest {self.digest.hex()[:16]}, "
                f"recorded is {record.digest.hex()[:16]}"
            )

    def _do_due(self) -> Iterator[Step]:
        record, self._due = self._due, None
        if record is None or self.core is None:
            return
        now = record.now  # type: ignore[union-attr]  # those without are done with
        try:
            heard = self._heard(record)
            self._do(self.core, heard, now)
            for said in (self._drawn, self._signed, self._repeats):
                if said.left:
                    raise Departed(f"the core wants {len(said.left)} draws or signatures less")
        except Exception as error:  # noqa: BLE001 - what a core raised is what is looked for
            text = str(error) if isinstance(error, Departed) else f"{type(error).__name__}: {error}"
            self.fault = f"step {self.count} at {now / SECOND:.3f} s: {text}"
            return
        self.count += 1
        witness = self._witness
        step = Step(now, heard, self.core.take_actions(), witness.notes, witness.counted)
        for what, times in step.counted.items():
            self.totals[what] = self.totals.get(what, 0) + times
        witness.notes, witness.counted = [], {}
        yield step

    def _heard(self, record: Record) -> Input | Deadline | kept.Heard | kept.Passed:
        match record:
            case Fact():
                return record.fact
            case kept.Batched():
                return FrameReceived(Token(record.token), FrameKind.BATCH, _batch(record))
            case kept.Many():
                payloads = payloads_of(record.lengths)
                return SubmittedMany(
                    record.reference, record.destination, payloads, record.acknowledged
                )
            case Deadline() | kept.Heard() | kept.Passed():
                return record
        raise AssertionError(f"{record} is no step")

    def _do(self, core: Core, heard: object, now: int) -> None:
        match heard:
            case Deadline():
                core.on_deadline(Nanos(now))
            case kept.Heard():
                if not core.passing.hear(heard.token, Nanos(now)):
                    raise Departed("the core would not have been passed by")
            case kept.Passed():
                digests = heard.digests
                each = [digests[at : at + 16] for at in range(0, len(digests), 16)]
                core.passing.again(heard.token, now, each)
            case _:
                core.handle(heard, Nanos(now))  # type: ignore[arg-type]


def _batch(record: kept.Batched) -> bytes:
    """Return a batch of zeros with this id and these lengths."""
    payloads = payloads_of(record.lengths)
    body, end = pack(record.id, payloads, 0)
    if len(record.id) != BATCH_ID_BYTES or end != len(payloads):
        raise Departed(f"{len(payloads)} messages are no batch")
    return body
