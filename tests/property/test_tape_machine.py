"""The tape and its twin, driven by the same steps: what is read again is what was noted."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from routing import recordings as kept
from routing._batch import pack
from routing._blocks import Block
from routing.errors import CloseCode, DialFailure
from routing.inputs import (
    Accepted,
    BootstrapRequested,
    ContactsLearnt,
    DialFailed,
    FrameReceived,
    Input,
    Listening,
    Lost,
    Submitted,
    SubmittedMany,
)
from routing.limits import Nanos
from routing.messages import (
    Address,
    Authority,
    AuthorityKind,
    ClientAddress,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
)
from routing.recordings import BLOCK_HEAD, new_tape, records_of, seal_block
from routing.state import Connection, Direction, Token
from tests.twin.tape_twin import TapeTwin

__all__: list[str] = []

TIMES = st.integers(0, 1 << 62).map(Nanos)
NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, (1 << 64) - 1))
TOKENS = NUMBERS.map(Token)
LIVE = NUMBERS.filter(bool).map(Token)
"""No connection has the token 0."""
SIZES = st.one_of(st.integers(0, 300), st.sampled_from([255, 256, 65_535, 65_536, 70_000]))
BYTES = st.one_of(st.binary(max_size=40), SIZES.map(bytes))
NAMES = st.binary(min_size=32, max_size=32)
ADDRESSES: st.SearchStrategy[Address] = st.one_of(
    NAMES.map(NodeAddress), NAMES.map(GroupAddress), st.builds(ClientAddress, NAMES, NAMES)
)
TEXTS = st.lists(st.text(max_size=40), max_size=20)
IDS = st.binary(min_size=12, max_size=12).map(lambda drawn: drawn + bytes(4))
PAYLOADS = st.lists(SIZES.map(bytes), min_size=1, max_size=30)
CONNECTIONS = st.builds(
    Connection, LIVE, st.just("tcp"), st.text(max_size=9), st.just(""), st.sampled_from(Direction)
)
AUTHORITIES = st.builds(Authority, st.sampled_from(AuthorityKind), NAMES)
FACTS: st.SearchStrategy[Input] = st.one_of(
    st.just(BootstrapRequested()),
    st.builds(Listening, TEXTS),
    st.builds(ContactsLearnt, TEXTS),
    st.builds(Accepted, CONNECTIONS, NAMES, NAMES, TIMES),
    st.builds(DialFailed, NUMBERS, st.sampled_from(DialFailure)),
    st.builds(Lost, TOKENS, st.sampled_from(CloseCode), st.text(max_size=20)),
    st.builds(FrameReceived, TOKENS, st.sampled_from(FrameKind), BYTES),
    st.builds(
        lambda token, first, payloads: FrameReceived(
            token, FrameKind.BATCH, pack(first, payloads)[0]
        ),
        TOKENS,
        IDS,
        PAYLOADS,
    ),
    st.builds(
        Submitted,
        reference=NUMBERS,
        kind=st.sampled_from(MessageKind),
        destination=ADDRESSES,
        payload=BYTES,
        id=st.binary(max_size=16),
        failed=st.booleans(),
        timeout_ns=st.integers(-(1 << 62), 1 << 62),
        signed=st.booleans(),
        acknowledged=st.booleans(),
        replies=st.integers(-3, 300),
        token=BYTES,
        authority=st.none() | AUTHORITIES,
        message_id=st.binary(max_size=16),
        agree=st.booleans(),
    ),
    st.builds(SubmittedMany, NUMBERS, ADDRESSES, PAYLOADS, st.booleans()),
)


def leaves_in_batches(fact: object) -> bool:
    to = fact.destination if isinstance(fact, SubmittedMany) else None
    return isinstance(to, NodeAddress) and to.name[0] % 2 == 0


class TapeMachine(RuleBasedStateMachine):
    """A tape that is emptied at times, one that is deaf at times."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.given: list[tuple[object, ...]] = []
        self.tape = new_tape(1 << 62)
        self.tape.attach(
            handle=self.handle,
            on_deadline=lambda *step: self.given.append(step),
            after=lambda: self.calls.append("after"),
            fallen=lambda: self.calls.append("fallen"),
        )
        self.twin = TapeTwin(leaves_in_batches, lambda: self.calls.append("twin"))
        self.blocks: list[tuple[Block, bytes]] = []

    def handle(self, fact: object, now: int) -> None:
        self.given.append((fact, now))
        if leaves_in_batches(fact):
            self.tape.leaves_in_batches()

    @rule(fact=FACTS, now=TIMES)
    def fact(self, fact: Input, now: Nanos) -> None:
        self.tape.handle(fact, now)
        self.twin.handle(fact, now)
        assert self.given.pop() == (fact, now)

    @rule(now=TIMES)
    def deadline(self, now: int) -> None:
        self.tape.on_deadline(now)
        self.twin.on_deadline(now)
        assert self.given.pop() == (now,)

    @rule(token=NUMBERS, now=TIMES)
    def beside(self, token: int, now: int) -> None:
        self.tape.heard(token, now)
        self.twin.heard(token, now)
        self.tape.passed(token, now)
        self.twin.passed(token, now)

    @rule(value=st.binary(max_size=300))
    def say(self, value: bytes) -> None:
        for note, kind in (
            (self.tape.drawn, kept.Drawn),
            (self.tape.signed, kept.Signed),
            (self.tape.repeat, kept.Repeat),
        ):
            note(value)
            self.twin.say(kind, value)

    @rule(deaf=st.booleans(), due=TIMES)
    def turn(self, deaf: bool, due: int) -> None:
        self.tape.deaf = self.twin.deaf = deaf
        self.tape.due = self.twin.due = due

    @rule(hold=st.booleans())
    def take(self, hold: bool) -> None:
        """Blocks that somebody holds keep what is in them; the memory of others is used again."""
        size = len(self.tape)
        block = self.tape.take()
        assert len(self.tape) == 0
        assert len(block) == size + 5
        whole = bytes(seal_block(block))
        assert records_of(whole[:BLOCK_HEAD], whole[BLOCK_HEAD:]) == self.twin.records
        self.twin.records.clear()
        if hold:
            self.blocks.append((block, whole))
        elif self.blocks:
            self.blocks.pop(0)

    @invariant()
    def alike(self) -> None:
        assert self.tape.steps == self.twin.steps
        assert self.calls.count("after") == self.calls.count("twin")
        assert "fallen" not in self.calls
        for block, whole in self.blocks:
            assert bytes(block) == whole


TestTape = TapeMachine.TestCase
TestTape.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
