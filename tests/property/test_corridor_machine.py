"""A core whose messages pass through a corridor, against one that passes on every one itself.

The same peers say the same things to both, in records of any size. Both put the same bytes on the
same connections, close the same ones, count the same, and end in the same state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from routing import actions as do
from routing._frames import FrameWriter, SpareBlock, split_frames
from routing._meter import Meter
from routing.actions import Action
from routing.bodies import FindGroup
from routing.inputs import FrameReceived, Heard, Input
from routing.limits import SECOND, Limits, Nanos
from routing.messages import (
    Address,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Ping,
    Unneeded,
    ViaAddress,
    encode,
)
from routing.service.connection import Line
from routing.service.connection import Stage as LineStage
from routing.service.corridor import Corridor
from routing.service.feeding import Feeding
from routing.service.ledger import Ledger
from routing.state import Direction, Token
from tests.persons import Person
from tests.support import Stage, Wire

__all__ = ["Both"]

PEERS = 6
LIMITS = Limits.recommended().but(message_filter_entries=2_048)
"""A block of the filter holds 16, a connection may hold 128 of the common room."""

KINDS = [MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.PART, MessageKind.ACKNOWLEDGED]


class House:
    """A core behind a corridor, on lines without sockets."""

    def __init__(self) -> None:
        self.limits = LIMITS
        self.ledger = Ledger(1_000, 1 << 29)
        self.spare, self.meter = SpareBlock(), Meter()
        self.counters: Counter[str] = Counter()
        self.wakeup = cast(Any, None)
        """Nobody has to wait: what is written is taken."""
        self.feeding = Feeding(self)
        self.acting = False
        self.later: list[int] = []
        self.heard: Callable[[Input], None] | None = None
        self.stage, wires = Stage.among(*map(Person, range(1, PEERS + 1)), limits=LIMITS)
        self.tokens: Any = {}
        for serial, wire in enumerate(wires):
            line = Line(
                cast(Any, self),
                cast(Any, None),
                direction=Direction.INBOUND,
                serial=serial,
                since=Nanos(0),
            )
            line.stage, line.token = LineStage.OPEN, wire.token
            self.tokens[wire.token] = line
        self.stage.listener = self.on_action
        self.corridor = Corridor(self, self.stage.core.passing)

    def on_action(self, action: Action) -> None:
        match action:
            case do.Send(token=token, kind=kind, body=body, priority=priority):
                self.tokens[token].send(kind, body, priority)
            case do.Close(token=token):
                self.end(token)
            case _:
                pass

    def end(self, token: Token) -> None:
        line: Line = self.tokens.pop(token)
        line.stage = LineStage.CLOSING
        line.way_in()

    def now(self) -> Nanos:
        return Nanos(self.stage.now)

    def submit(self, fact: Input) -> None:
        if self.heard is not None:
            self.heard(fact)
        self.stage.hear(fact)

    def flush_later(self, line: Line) -> None:
        self.later.append(line.serial)

    def on_frame(self, line: Line, kind: int, body: bytes) -> None:
        self.submit(FrameReceived(line.token, FrameKind(kind), body))

    def take(self, token: Token, plaintext: bytes) -> None:
        line: Line = self.tokens[token]
        if self.corridor.takes(line, plaintext, 1_048_576):
            return
        for kind, body in split_frames(plaintext):
            if line.stage is LineStage.OPEN:
                line.take_frame(kind, body)

    def written(self, token: Token) -> list[bytes]:
        line: Line = self.tokens[token]
        return line._writer.take()


class Plain:
    """The same core, told of every frame."""

    def __init__(self) -> None:
        self.stage, wires = Stage.among(*map(Person, range(1, PEERS + 1)), limits=LIMITS)
        self.writers = {wire.token: FrameWriter() for wire in wires}
        self.wires = {wire.token: wire for wire in wires}
        self.stage.listener = self.on_action

    def on_action(self, action: Action) -> None:
        if isinstance(action, do.Send):
            self.writers[action.token].append(action.kind, action.body, action.priority)

    def take(self, wire: Wire, plaintext: bytes) -> None:
        for kind, body in split_frames(plaintext):
            if wire.open:
                wire.say(FrameKind(kind), body)


class Both(RuleBasedStateMachine):
    """Whatever happens, happens to both."""

    @initialize()
    def begin(self) -> None:
        self.house, self.plain = House(), Plain()
        self.persons = [Person(number) for number in range(1, PEERS + 1)]
        self.said: list[bytes] = []
        self.number = 0

    def wire(self, number: int) -> Wire | None:
        """Return the connection of a peer, None if it is closed."""
        found = [
            wire
            for wire in self.plain.wires.values()
            if wire.person.number == number % PEERS + 1 and wire.open
        ]
        return found[0] if found else None

    def target(self, number: int) -> Address:
        """Return some address; most are the peers', some lie beside them, one is the core's."""
        own = self.plain.stage.name
        name = own if number % 8 == 7 else self.persons[number % 8 % PEERS].name
        if number // 8 % 2:
            name = bytes([*name[:31], name[31] ^ 1])
        match number // 16 % 5:
            case 0 | 1:
                return NodeAddress(name)
            case 2:
                return GroupAddress(name)
            case 3:
                return ClientAddress(name, self.persons[0].key)
            case _:
                return ViaAddress(name, own if number % 3 else self.persons[1].name)

    def envelope(self, number: int) -> bytes:
        """Return a message of one of the peers that nobody has said before."""
        self.number += 1
        person, target = self.persons[number % PEERS], self.target(number)
        if number % 7 == 0:
            name = target.proxy if isinstance(target, ClientAddress) else target.name
            sealed = person.seal(
                MessageKind.FIND_GROUP, target, FindGroup(name, NodeAddress(person.name))
            )
        else:
            sealed = person.seal(KINDS[number % 4], target, bytes([self.number % 256]) * 40)
        return encode(Envelope(number % 33, number % 8, sealed.signed, sealed.signature))

    def hear(self, wire: Wire, frames: list[tuple[int, bytes]]) -> None:
        writer = FrameWriter()
        for kind, body in frames:
            writer.append(kind, body)
        for plaintext in writer.take():
            if wire.open:
                self.plain.take(wire, plaintext)
                self.house.take(wire.token, plaintext)

    @rule(
        who=st.integers(0, PEERS - 1),
        numbers=st.lists(st.integers(0, 10_000), max_size=12),
        again=st.lists(st.integers(0, 200), max_size=3),
        between=st.sampled_from([None, None, "ping", "foreign"]),
    )
    def say(self, who: int, numbers: list[int], again: list[int], between: str | None) -> None:
        """One record of fresh messages, of some that were said before, and of something else."""
        wire = self.wire(who)
        if wire is None:
            return
        frames = [(int(FrameKind.ROUTED), self.envelope(number)) for number in numbers]
        frames += [
            (int(FrameKind.ROUTED), self.said[at % len(self.said)]) for at in again if self.said
        ]
        self.said = [*self.said, *(body for _, body in frames)][-200:]
        if between == "ping":
            frames.insert(len(frames) // 2, (int(FrameKind.PING), encode(Ping(bytes(8)))))
        elif between == "foreign":
            frames.insert(len(frames) // 2, (int(FrameKind.UNNEEDED), encode(Unneeded(False))))
        if frames:
            self.hear(wire, frames)

    @rule(who=st.integers(0, PEERS - 1), count=st.sampled_from([30, 150]))
    def flood(self, who: int, count: int) -> None:
        """More messages over one connection than its share of the filter."""
        wire = self.wire(who)
        if wire is not None:
            bodies = [self.envelope(17 * number) for number in range(count)]
            self.said = [*self.said, *bodies[-20:]][-200:]
            self.hear(wire, [(int(FrameKind.ROUTED), body) for body in bodies])

    @rule(who=st.integers(0, PEERS - 1), spoil=st.integers(0, 100))
    def say_rubbish(self, who: int, spoil: int) -> None:
        """What is no envelope closes, wherever in a record it stands."""
        wire = self.wire(who)
        if wire is not None and spoil < 10:
            bodies = [self.envelope(16), self.envelope(32)[: spoil * 40], self.envelope(48)]
            self.hear(wire, [(int(FrameKind.ROUTED), body) for body in bodies])

    @rule(quiet=st.sampled_from([1, SECOND // 10, SECOND, 3 * SECOND]))
    def wait(self, quiet: int) -> None:
        """Time goes by: peers fall silent, are asked, and suspected."""
        self.plain.stage.wait(quiet)
        self.house.stage.wait(quiet)

    @rule(who=st.integers(0, PEERS - 1), chance=st.integers(0, 9))
    def lose(self, who: int, chance: int) -> None:
        wire = self.wire(who)
        if wire is not None and chance == 0:
            other = next(w for t, w in self.house.stage.open.items() if t == wire.token)
            wire.lose()
            self.house.end(wire.token)
            other.lose()

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "plain"):
            return
        assert sorted(self.plain.stage.open) == sorted(self.house.stage.open)
        for token in self.plain.stage.open:
            if token in self.house.tokens:
                assert self.house.written(token) == self.plain.writers[token].take()
        plain, house = self.plain.stage.core, self.house.stage.core
        assert plain.counters == house.counters
        assert plain.digest() == house.digest()


Both.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestBoth = Both.TestCase


def test_messages_for_others_are_no_facts_for_the_core() -> None:
    house = House()
    token = next(iter(house.tokens))
    sealed = Person(1).seal(MessageKind.MESSAGE, NodeAddress(Person(2).name), b"text")
    house.take(token, records_of([encode(sealed)]))
    facts: list[Input] = []
    house.heard = facts.append
    bodies = [encode(structs.replace(sealed, hops=1, route=route)) for route in (1, 2, 2)]
    house.take(token, records_of(bodies))
    assert facts == []
    house.stage.now += 10 * SECOND
    house.take(token, records_of(bodies))
    assert facts[0] == Heard(token), "something was due"
    counters = house.stage.core.counters
    assert (counters["routed.forwarded"], counters["routed.duplicate"]) == (3, 4)


def records_of(bodies: list[bytes]) -> bytes:
    writer = FrameWriter()
    for body in bodies:
        writer.append(FrameKind.ROUTED, body)
    (plaintext,) = writer.take()
    return plaintext
