"""Large messages are put together within bounds, handed over once, and lies cost their teller."""

from __future__ import annotations

from hashlib import sha256
from random import Random

import pytest
from msgspec import structs

from routing.actions import Answered, Deliver
from routing.bodies import Acknowledged, Busy, Part, Reply
from routing.core import Core
from routing.events import Message, Proof
from routing.inputs import StopRequested, Submitted
from routing.limits import SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    Authority,
    AuthorityKind,
    ClientAddress,
    Envelope,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
    Signed,
    ViaAddress,
    encode,
)
from routing.parts import REPLY_BYTES, part_bounds
from routing.requests import token_of
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, FAR, OTHER = Person(1), Person(50), Person(51)
MESSAGE, REQUEST, REPLY = MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY
PART, ACKNOWLEDGED, BUSY = MessageKind.PART, MessageKind.ACKNOWLEDGED, MessageKind.BUSY

SMALL = Limits().but(
    payload_bytes_max=1_000,
    part_bytes=100,
    parts_max=64,
    large_bytes_max=4_000,
    large_waiting_bytes=8_000,
    reassembly_bytes=16_000,
    reassembly_open=3,
)
BODY = bytes(n * n % 251 for n in range(1_901))
ID = b"large message id"


def parts_of(
    body: bytes = BODY, *, kind: MessageKind = MESSAGE, message_id: bytes = ID, count: int = 20
) -> list[Part]:
    digest, size = sha256(body).digest(), len(body)
    return [
        Part(message_id, kind, size, index, count, digest, body[slice(*bounds)])
        for index in range(count)
        for bounds in [part_bounds(size, count, index)]
    ]


class Sender:
    """Somebody who sends parts to a stage over a wire, and hears what is said to them."""

    def __init__(self, wire: Wire, person: Person = FAR) -> None:
        self.wire = wire
        self.stage = wire.stage
        self.person = person
        self.said = Said()

    def seal(
        self, part: Part | bytes, *, to: Address | None = None, authority: Authority | None = None
    ) -> Envelope:
        return self.person.seal(
            PART, to or NodeAddress(self.stage.name), part, flags=ACKNOWLEDGE, authority=authority
        )

    def send(self, part: Part | bytes, *, authority: Authority | None = None) -> str:
        """Send a part and return what became of it, in one word."""
        return self.pass_on(self.seal(part, authority=authority))

    def pass_on(self, envelope: Envelope) -> str:
        said = self.wire.routed(envelope)
        self.said += said
        part_id = opened(Signed, envelope.signed).id
        acknowledged = said.messages(self.wire, ACKNOWLEDGED, Acknowledged)
        busy = said.messages(self.wire, BUSY, Busy)
        if acknowledged:
            assert [each.id for each in acknowledged] == [part_id] and busy == []
            return "acknowledged"
        if busy:
            assert [each.id for each in busy] == [part_id]
            return "busy"
        return "silence"

    @property
    def delivered(self) -> list[Message]:
        return [each.message for each in self.said.of(Deliver)]


def sender(limits: Limits = SMALL) -> Sender:
    _, (wire,) = Stage.among(ONE, limits=limits)
    return Sender(wire)


def counter(at: Sender, name: str) -> int:
    return at.stage.core.counters.get(name, 0)


def is_empty(core: Core) -> bool:
    return not core.assembly.open and not [k for _, k, _ in core.alarms.export() if k == "assembly"]


# -- put together


@pytest.mark.parametrize("kind", [MESSAGE, REQUEST])
@pytest.mark.parametrize("seed", range(6))
def test_parts_in_any_order_become_the_message_once(kind: MessageKind, seed: int) -> None:
    at, parts = sender(), parts_of(kind=kind)
    others = parts[1:]
    Random(seed).shuffle(others)
    for part in [parts[0], *others]:
        assert at.delivered == []
        assert at.send(part) == "acknowledged"
    here, there = NodeAddress(at.stage.name), NodeAddress(FAR.name)
    request = kind is REQUEST
    token = token_of(ID, BODY) if request else b""
    assert at.delivered == [
        Message(there, here, BODY, FAR.key, Proof.SIGNATURE, ID, request, token)
    ]
    assert is_empty(at.stage.core)


def test_parts_of_several_messages_and_sources_are_kept_apart() -> None:
    at = sender()
    other = Sender(at.wire, OTHER)
    bodies = {
        (at, ID): bytes(1_100),
        (at, bytes(16)): bytes([1]) * 1_500,
        (other, ID): bytes([2]) * 1_300,
    }
    for index in range(15):
        for (who, message_id), body in bodies.items():
            part = parts_of(body, message_id=message_id, count=15)[index]
            assert who.send(part) == "acknowledged"
    heard = [(each.key, each.id, each.payload) for who in (at, other) for each in who.delivered]
    assert heard == [(who.person.key, i, body) for (who, i), body in bodies.items()]
    assert is_empty(at.stage.core)


def test_repeated_parts_are_acknowledged_and_change_nothing() -> None:
    at = sender()
    for part in parts_of():
        envelope = at.seal(part)
        assert at.pass_on(envelope) == "acknowledged"
        assert at.pass_on(structs.replace(envelope, route=1)) == "acknowledged"
    assert [each.payload for each in at.delivered] == [BODY]
    assert (counter(at, "part.duplicate"), counter(at, "part.late")) == (19, 1)


def test_parts_of_a_delivered_message_are_acknowledged_and_forgotten() -> None:
    at = sender()
    for part in parts_of() * 2:
        assert at.send(part) == "acknowledged"
    assert len(at.delivered) == 1
    assert counter(at, "part.late") == 20
    assert is_empty(at.stage.core)


def test_authority_that_the_parts_claim_must_be_one() -> None:
    at = sender()
    claim = Authority(AuthorityKind.NODE, FAR.name)
    first, second, *_ = parts_of()
    assert at.send(first, authority=claim) == "acknowledged"
    assert at.send(second) == "silence"
    assert counter(at, "part.mismatch") == 1
    assert at.send(second, authority=claim) == "acknowledged"


def test_client_is_sent_parts_through_its_proxy() -> None:
    stage, wire = Stage.admitted(ONE, client=True, limits=SMALL)
    at = Sender(wire)
    here = ClientAddress(ONE.name, stage.core.key)
    for part in parts_of():
        assert at.pass_on(at.seal(part, to=here)) == "acknowledged"
    assert [each.payload for each in at.delivered] == [BODY]


# -- what is not sound

GOOD = parts_of()


@pytest.mark.parametrize(
    "wrong",
    [
        structs.replace(GOOD[0], count=0),
        structs.replace(GOOD[0], count=1, chunk=BODY),
        structs.replace(GOOD[0], count=65, chunk=BODY[:30]),
        structs.replace(GOOD[0], count=2**32 - 1, chunk=b"x"),
        structs.replace(GOOD[0], index=20),
        structs.replace(GOOD[19], index=2**32 - 1),
        structs.replace(GOOD[0], size=4_001, chunk=bytes(201)),
        structs.replace(GOOD[0], size=2**32 - 1),
        structs.replace(GOOD[0], size=0, chunk=b""),
        structs.replace(GOOD[0], size=21, chunk=bytes(2)),
        structs.replace(GOOD[0], chunk=GOOD[0].chunk + b"x"),
        structs.replace(GOOD[0], chunk=GOOD[0].chunk[:-1]),
        structs.replace(GOOD[0], chunk=b""),
        structs.replace(GOOD[0], kind=PART),
        structs.replace(GOOD[0], kind=ACKNOWLEDGED),
        structs.replace(GOOD[0], kind=MessageKind.BALLOT),
        structs.replace(GOOD[0], digest=bytes(31)),
        structs.replace(GOOD[0], id=bytes(15)),
        b"",
        b"rubbish",
        encode(GOOD[0]) + b"x",
        encode(GOOD[0])[:-1],
    ],
)
def test_part_that_is_not_sound_is_counted_and_takes_no_memory(wrong: Part | bytes) -> None:
    at = sender()
    assert at.send(wrong) == "silence"
    assert counter(at, "part.malformed") == 1
    assert is_empty(at.stage.core)


@pytest.mark.parametrize(("kind", "more"), [(MESSAGE, 0), (REQUEST, 0), (REPLY, REPLY_BYTES)])
def test_largest_size_is_taken_and_one_byte_more_is_not(kind: MessageKind, more: int) -> None:
    limits = Limits()
    at = sender(limits)
    ask(at)
    for size, what in ((16_777_216 + more, "acknowledged"), (16_777_217 + more, "silence")):
        unit = part_bounds(size, 128, 0)[1]
        part = Part(at.person.fresh(), kind, size, 0, 128, bytes(32), bytes(unit))
        assert at.send(part) == what
    assert counter(at, "part.malformed") == 1


def test_part_goes_to_one_node_or_client_only() -> None:
    at = sender()
    own = at.stage.name
    for to in (GroupAddress(own), ViaAddress(own, own)):
        assert at.pass_on(at.seal(GOOD[0], to=to)) == "silence"
    assert counter(at, "part.malformed") == 2
    assert is_empty(at.stage.core)


@pytest.mark.parametrize(
    "wrong",
    [
        structs.replace(GOOD[1], kind=REQUEST),
        structs.replace(GOOD[1], digest=bytes(32)),
        structs.replace(GOOD[1], size=1_902),
        structs.replace(GOOD[1], count=19, chunk=bytes(101)),
    ],
)
def test_part_that_says_other_things_of_the_whole_is_not_taken(wrong: Part) -> None:
    at = sender()
    at.send(GOOD[0])
    assert at.send(wrong) == "silence"
    assert counter(at, "part.mismatch") == 1
    for part in GOOD[1:]:
        assert at.send(part) == "acknowledged"
    assert [each.payload for each in at.delivered] == [BODY]


def test_message_of_another_digest_is_dropped_and_its_repeats_are_forgotten() -> None:
    at = sender()
    lies = [structs.replace(each, digest=bytes(32)) for each in GOOD]
    said = [at.send(part) for part in lies]
    assert said == ["acknowledged"] * 19 + ["silence"]
    assert counter(at, "assembly.wrong_digest") == 1
    assert {at.send(part) for part in lies} == {"silence"}
    assert at.delivered == []
    assert is_empty(at.stage.core)


def test_forged_part_is_none() -> None:
    at = sender()
    envelope = structs.replace(at.seal(GOOD[0]), signature=bytes(64))
    assert at.pass_on(envelope) == "silence"
    assert counter(at, "routed.forged") == 1
    assert is_empty(at.stage.core)


def test_joiner_may_not_send_parts() -> None:
    stage = Stage.founder(limits=SMALL)
    wire = stage.accept(FAR)
    wire.hello(HelloRole.JOIN)
    wire.routed(FAR.seal(PART, NodeAddress(stage.name), GOOD[0], proxy=stage.name))
    assert not wire.open


# -- given up


@pytest.mark.parametrize("index", [1, 10, 19])
def test_part_whose_first_we_do_not_know_is_not_acknowledged(index: int) -> None:
    at = sender()
    assert at.send(GOOD[index]) == "silence"
    assert counter(at, "part.unknown") == 1
    assert is_empty(at.stage.core)


def test_message_whose_source_has_stopped_is_given_up_after_a_minute() -> None:
    at = sender()
    for part in GOOD[:10]:
        at.send(part)
    at.stage.wait(60 * SECOND - 1)
    assert len(at.stage.core.assembly.open) == 1
    at.stage.wait(1)
    assert is_empty(at.stage.core)
    assert counter(at, "assembly.expired") == 1
    assert at.send(GOOD[10]) == "silence", "or its source would believe that all has arrived"


def test_every_part_gives_a_message_another_minute_up_to_ten_in_all() -> None:
    at = sender()
    for part in GOOD[:11]:
        assert at.send(part) == "acknowledged"
        at.stage.wait(59 * SECOND)
    assert at.send(GOOD[11]) == "silence"
    assert counter(at, "assembly.expired") == 1
    assert at.stage.now == 649 * SECOND
    assert is_empty(at.stage.core)


def test_repeats_give_no_more_time() -> None:
    at = sender()
    for _ in range(12):
        at.send(GOOD[0])
        at.stage.wait(5 * SECOND)
    assert counter(at, "assembly.expired") == 1


def test_stop_drops_what_is_not_complete() -> None:
    at = sender()
    at.send(GOOD[0])
    at.stage.hear(StopRequested())
    assert is_empty(at.stage.core)
    assert counter(at, "assembly.abandoned") == 1


# -- bounds


def first(size: int, who: Person) -> Part:
    return parts_of(bytes(size), message_id=who.fresh(), count=50)[0]


def test_source_that_opens_many_and_finishes_none_is_told_busy() -> None:
    at = sender()
    said = [at.send(first(1_100, FAR)) for _ in range(5)]
    assert said == ["acknowledged"] * 3 + ["busy"] * 2
    assert counter(at, "part.busy") == 2
    assert Sender(at.wire, OTHER).send(first(1_100, OTHER)) == "acknowledged"


def test_source_holds_a_quarter_of_the_room_at_most() -> None:
    at = sender()
    said = [at.send(first(2_000, FAR)), at.send(first(2_050, FAR)), at.send(first(2_000, FAR))]
    assert said == ["acknowledged", "busy", "acknowledged"]


def test_room_for_all_is_bounded_and_a_message_that_ends_makes_room() -> None:
    at = sender()
    persons = [Person(60 + number) for number in range(5)]
    said = [Sender(at.wire, each).send(first(4_000, each)) for each in persons[:4]]
    assert said == ["acknowledged"] * 4
    fifth = Sender(at.wire, persons[4])
    assert fifth.send(first(1_100, persons[4])) == "busy"
    at.stage.wait(60 * SECOND)
    assert counter(at, "assembly.expired") == 4
    assert fifth.send(first(4_000, persons[4])) == "acknowledged"


def test_busy_names_the_part_and_a_wait() -> None:
    at = sender()
    for _ in range(3):
        at.send(first(1_100, FAR))
    sealed = at.seal(first(1_100, FAR))
    (busy,) = at.wire.routed(sealed).messages(at.wire, BUSY, Busy)
    assert busy == Busy(opened(Signed, sealed.signed).id, 1_000)


def test_complete_message_that_is_not_taken_keeps_its_room_and_its_last_part_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = sender()
    for part in GOOD[:19]:
        at.send(part)
    with monkeypatch.context() as patch:
        patch.setattr(at.stage.core.messaging, "on_assembled", lambda arrival: False)
        assert at.send(GOOD[19]) == "busy"
    assert at.delivered == []
    assert at.send(GOOD[19]) == "acknowledged"
    assert [each.payload for each in at.delivered] == [BODY]
    assert is_empty(at.stage.core)


# -- replies


def ask(at: Sender) -> bytes:
    """Let the stage send a request to the sender and return its id."""
    fact = Submitted(
        7, REQUEST, NodeAddress(FAR.name), b"text", bytes(16), False, 60 * SECOND, True
    )
    (envelope,) = at.stage.hear(fact).envelopes(at.wire, REQUEST)
    return opened(Signed, envelope.signed).id


def answer(request_id: bytes, payload: bytes, token: bytes = b"") -> list[Part]:
    token = token or token_of(request_id, b"text")
    return parts_of(encode(Reply(request_id, token, False, payload)), kind=REPLY)


def test_large_reply_answers_the_request() -> None:
    at = sender()
    for part in answer(ask(at), BODY):
        assert at.send(part) == "acknowledged"
    source = NodeAddress(FAR.name)
    assert at.said.of(Answered) == [Answered(7, BODY, source, FAR.key)]
    assert is_empty(at.stage.core)


def test_reply_in_parts_that_nobody_asked_for_takes_no_memory() -> None:
    at = sender()
    assert at.send(answer(bytes(16), BODY)[0]) == "silence"
    other = Sender(at.wire, OTHER)
    assert other.send(answer(ask(at), BODY)[0]) == "silence"
    assert counter(at, "part.unasked") == 2
    assert is_empty(at.stage.core)


@pytest.mark.parametrize(
    ("wrong", "count"), [(b"another token, no", "reply.forged"), (b"", "reply.unasked")]
)
def test_large_reply_to_another_request_is_no_answer(wrong: bytes, count: str) -> None:
    at = sender()
    request_id = ask(at)
    parts = answer(request_id if wrong else bytes(16), BODY, wrong[:16])
    for part in parts:
        at.send(part)
    assert at.said.of(Answered) == []
    assert counter(at, count) == 1
    assert is_empty(at.stage.core)


# -- state


def test_restored_core_puts_the_same_message_together() -> None:
    at = sender()
    for part in [GOOD[0], *GOOD[5:12]]:
        at.send(part)
    other = Core(at.stage.core.config)
    other.restore(at.stage.core.snapshot())
    assert other.digest() == at.stage.core.digest()
    at.stage.core = other
    for part in GOOD[1:5] + GOOD[12:]:
        assert at.send(part) == "acknowledged"
    assert [each.payload for each in at.delivered] == [BODY]
