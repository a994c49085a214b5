"""The tape at its edges: what is no fact, what falls, what is full, and who is called when."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from routing._lengths import lengths
from routing._tape import Tape
from routing.inputs import FrameReceived, SubmittedMany, Withdrawn
from routing.messages import FrameKind, NodeAddress
from routing.recordings import BLOCK_HEAD, Drawn, Fact, Many, new_tape, records_of, seal_block
from routing.state import Token

__all__: list[str] = []


class Machine:
    """What a tape calls, and how often it did."""

    def __init__(self, full: int = 1 << 20) -> None:
        self.calls: list[str] = []
        self.error: BaseException | None = None
        self.tape = new_tape(full)
        self.tape.due = 1 << 62
        self.tape.attach(
            handle=self.handle,
            on_deadline=lambda now: self.handle(None, now),
            after=lambda: self.calls.append("after"),
            fallen=lambda: self.calls.append("fallen"),
        )

    def handle(self, fact: object, _now: int) -> None:
        self.calls.append("step")
        if isinstance(fact, SubmittedMany):
            self.tape.leaves_in_batches()
        if self.error is not None:
            raise self.error

    def records(self) -> list[object]:
        whole = bytes(seal_block(self.tape.take()))
        return [*records_of(whole[:BLOCK_HEAD], whole[BLOCK_HEAD:])]


def test_what_a_machine_cannot_bear_is_noted_before_and_raised() -> None:
    machine = Machine()
    machine.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        machine.tape.handle(Withdrawn(3), 5)
    with pytest.raises(KeyboardInterrupt):
        machine.tape.on_deadline(6)
    assert machine.calls == ["step", "fallen"] * 2
    assert machine.tape.steps == 0
    assert machine.records()[0] == Fact(5, Withdrawn(3))


def test_after_is_called_when_a_block_is_full() -> None:
    machine = Machine(full=100)
    machine.tape.handle(FrameReceived(Token(1), FrameKind.PING, bytes(10)), 0)
    assert machine.calls == ["step"]
    machine.tape.handle(FrameReceived(Token(1), FrameKind.PING, bytes(100)), 0)
    assert machine.calls == ["step", "step", "after"]


def test_after_is_called_when_it_is_due() -> None:
    machine = Machine()
    machine.tape.due = 7
    machine.tape.on_deadline(6)
    assert machine.calls == ["step"]
    machine.tape.on_deadline(7)
    assert machine.calls == ["step", "step", "after"]


def test_after_each_step_of_a_gap_it_is_asked_whether_it_is_over() -> None:
    machine = Machine()
    machine.tape.deaf = True
    machine.tape.on_deadline(0)
    machine.tape.drawn(b"x")
    machine.tape.heard(1, 0)
    assert machine.calls == ["step", "after", "after"]
    assert len(machine.tape) == 0


@pytest.mark.parametrize(
    "fact",
    [
        FrameReceived(Token(1), FrameKind.PING, 1j),  # type: ignore[arg-type]
        FrameReceived(Token(1 << 64), FrameKind.PING, b""),
        FrameReceived(Token(-(1 << 63) - 1), FrameKind.PING, b""),
        FrameReceived(Token(1), FrameKind.BATCH, bytearray(30)),  # type: ignore[arg-type]
        object(),
    ],
)
def test_what_cannot_be_written_is_raised_and_leaves_nothing_behind(fact: Any) -> None:
    machine = Machine()
    machine.tape.handle(Withdrawn(1), 1)
    with pytest.raises((TypeError, OverflowError, AttributeError, KeyError)):
        machine.tape.handle(fact, 2)
    machine.tape.handle(Withdrawn(3), 3)
    assert machine.records() == [Fact(1, Withdrawn(1)), Fact(3, Withdrawn(3))]
    assert machine.calls == ["step", "step"], "the machine did not get it either"


@pytest.mark.parametrize(
    "fact",
    [
        SubmittedMany(1, 1j, [b"x"], True),  # type: ignore[arg-type]
        SubmittedMany(1, None, [b"x", "y"], True),  # type: ignore[list-item, arg-type]
        SubmittedMany(1, None, (b"x",), True),  # type: ignore[arg-type]
    ],
)
def test_list_that_cannot_be_written_leaves_nothing_behind(fact: SubmittedMany) -> None:
    machine = Machine()
    with pytest.raises(TypeError):
        machine.tape.handle(fact, 2)
    machine.tape.handle(Withdrawn(3), 3)
    assert machine.records() == [Fact(3, Withdrawn(3))]


MANY = SubmittedMany(1, NodeAddress(bytes(32)), [b"x", b"yz"], acknowledged=True)


def test_list_is_noted_before_what_comes_of_it_and_once() -> None:
    machine = Machine()
    tape = machine.tape

    def listed(_fact: object, _now: int) -> None:
        tape.leaves_in_batches()
        tape.drawn(b"1")
        tape.leaves_in_batches()

    def whole(_fact: object, _now: int) -> None:
        tape.drawn(b"2")
        tape.leaves_in_batches()

    def neither(_fact: object, _now: int) -> None:
        raise ZeroDivisionError

    for handle in (listed, whole, neither):
        tape.attach(handle=handle, on_deadline=print, after=print, fallen=print)
        with suppress(ZeroDivisionError):
            tape.handle(MANY, 5)
    tape.leaves_in_batches()
    assert machine.records() == [
        Many(5, 1, NodeAddress(bytes(32)), lengths(MANY.payloads), True),
        Drawn(b"1"),
        Fact(5, MANY),
        Drawn(b"2"),
        Fact(5, MANY),
    ]


def test_kinds_of_facts_have_slots_and_few_fields() -> None:
    @dataclass
    class Loose:
        it: int = 0

    class Tall:
        __slots__ = tuple(f"f{number}" for number in range(17))

    cases: list[tuple[Any, tuple[str, ...]]] = [
        (Loose, ("it",)),
        (Tall, tuple(Tall.__slots__)),
    ]
    for kind, names in cases:
        with pytest.raises((TypeError, KeyError)):
            Tape({kind: (0, names)}, {}, bytes, frame=kind, batch=0, many=kind)


def test_memory_of_a_large_block_is_not_kept() -> None:
    machine = Machine(full=1)
    machine.tape.handle(FrameReceived(Token(1), FrameKind.PING, bytes(1 << 20)), 0)
    assert len(machine.records()) == 1
    for _ in range(5):
        machine.tape.handle(Withdrawn(1), 1)
        assert machine.records() == [Fact(1, Withdrawn(1))]


def test_block_outlives_its_tape() -> None:
    machine = Machine()
    machine.tape.handle(Withdrawn(1), 1)
    block = machine.tape.take()
    view = memoryview(block)
    del machine, block
    assert view.nbytes > 5
    assert bytes(view)[:5] == b"\xdd\0\0\0\1"
