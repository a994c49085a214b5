"""The names of others that a node answers for: what it records, vouches for, hands over."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec import structs

from routing.bodies import ConnectRefused, ConnectRequest, Record, Records, Register, Vouch, Vouched
from routing.core import Core
from routing.errors import Refusal
from routing.limits import SECOND, Limits
from routing.messages import (
    Address,
    Certificate,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    ViaAddress,
    Vote,
)
from routing.names import client_name, nearest
from routing.registrar import Entry, Word
from routing.simulation.signer import CheapSigner
from tests.asked import FRIEND, PEER, STRANGER, Asked
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

MEMBERS = [Person(number) for number in range(50, 53)]
SUBJECT = Person(70)
OTHER_NAME = SUBJECT.renamed(MEMBERS[0])
MINUTE = 60 * SECOND
KIND = MessageKind.REGISTER


def member(*, limits: Limits | None = None) -> tuple[Stage, Wire]:
    """Return a node that answers for everybody, and the connection of one of its peers."""
    stage, wires = Stage.among(*MEMBERS, limits=limits)
    return stage, wires[0]


def register(wire: Wire, person: Person, *, to: bytes = b"", body: bytes | None = None) -> Said:
    """Let a copy of a person's registration come over this wire."""
    told = Register(person.certificate) if body is None else body
    destination = GroupAddress(to or client_name(person.key))
    return wire.say(FrameKind.GROUP_COPY, person.seal(KIND, destination, told))


def vouch(wire: Wire, person: Person, *, certificate: Certificate | None = None) -> list[bool]:
    """Let the peer at this wire ask about a person; return what it is told."""
    stage, asker = wire.stage, wire.person
    body = Vouch(person.key, certificate or person.certificate, ViaAddress(stage.name, asker.name))
    said = wire.routed(asker.seal(MessageKind.VOUCH, NodeAddress(stage.name), body))
    answers = said.messages(wire, MessageKind.VOUCHED, Vouched)
    assert all(answer.key == person.key for answer in answers)
    assert all(answer.answers or not answer.vouched for answer in answers)
    return [answer.vouched for answer in answers]


def entry(stage: Stage, person: Person) -> Entry | None:
    return stage.core.registrar.records.get(person.key, now=stage.now)


def recorded(stage: Stage, person: Person) -> Entry:
    found = entry(stage, person)
    assert found is not None, "it is recorded"
    return found


def count(stage: Stage, what: str) -> int:
    return stage.core.counters.get(what, 0)


# -- our own name


def test_node_tells_the_group_of_its_client_name_at_once_what_its_name_is() -> None:
    stage, wire = Stage.named(FRIEND)
    (envelope,) = stage.said.envelopes(wire, KIND)
    signed = opened(Signed, envelope.signed)
    assert signed.destination == GroupAddress(stage.core.client_name)
    assert opened(Register, signed.body).certificate == stage.core.certificate


def test_name_is_told_again_once_connected_and_then_every_20_minutes() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    stage.wait(30 * SECOND)
    times = []
    for _ in range(3_600):
        times += [stage.now] * len(stage.wait(SECOND).envelopes(friend, KIND))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert count(stage, "name.registered") == len(times) + 1
    assert len(gaps) >= 2 and all(18 * MINUTE <= gap <= 23 * MINUTE for gap in gaps)


def test_node_whose_name_is_refused_as_unknown_tells_it_again_but_not_at_each_refusal() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    stage.wait(10 * MINUTE)
    told = []
    for person in (PEER, STRANGER):
        (asked,) = friend.names(person.name).envelopes(friend, MessageKind.CONNECT_REQUEST)
        said = friend.routed(refusal(person, asked))
        told.append(len(said.envelopes(friend, KIND)))
    assert told == [1, 0]


def refusal(person: Person, asked: Envelope) -> Envelope:
    request = opened(ConnectRequest, opened(Signed, asked.signed).body)
    body = ConnectRefused(request.attempt, Refusal.NAME_UNKNOWN)
    return person.seal(MessageKind.CONNECT_REFUSED, request.reply_to, body)


def test_node_that_lost_its_network_tells_nobody() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    before = count(stage, "name.registered")
    friend.lose()
    assert ("register", b"") not in stage.core.alarms
    stage.wait(30 * MINUTE)
    assert count(stage, "name.registered") == before


# -- what is recorded


def test_registration_is_copied_to_each_member_once() -> None:
    stage, wires = Stage.among(*MEMBERS)
    subject = of_rank(stage, 0)
    target = GroupAddress(client_name(subject.key))
    envelope = subject.seal(KIND, target, Register(subject.certificate))
    said = wires[0].routed(envelope)
    for wire in wires:
        (copy,) = said.frames(wire, FrameKind.GROUP_COPY, Envelope)
        assert copy.signed == envelope.signed
    assert recorded(stage, subject).word is Word.OWN


def test_name_that_its_node_told_us_is_vouched_for() -> None:
    stage, wire = member()
    register(wire, SUBJECT)
    assert recorded(stage, SUBJECT).name == SUBJECT.name
    assert vouch(wire, SUBJECT) == [True]


def test_name_nobody_told_us_is_recorded_and_vouched_for_if_arithmetic_and_signatures_hold() -> (
    None
):
    stage, wire = member()
    assert vouch(wire, OTHER_NAME) == [True]
    assert recorded(stage, SUBJECT).word is Word.HEARSAY


def test_second_name_of_a_key_is_not_vouched_for() -> None:
    stage, wire = member()
    assert vouch(wire, SUBJECT) == [True]
    assert vouch(wire, OTHER_NAME) == [False]
    assert vouch(wire, SUBJECT) == [True]
    assert count(stage, "record.other_name") == 1 and count(stage, "vouch.refused") == 1
    assert "not recorded" in stage.core.explain(SUBJECT.key)[-1]


def test_second_name_that_the_node_itself_tells_is_refused_while_the_first_is_live() -> None:
    stage, wire = member()
    register(wire, SUBJECT)
    register(wire, OTHER_NAME)
    assert recorded(stage, SUBJECT).name == SUBJECT.name
    assert count(stage, "register.refused") == 1


@pytest.mark.parametrize("fault", ["signature", "voter", "another key's"])
def test_certificate_that_does_not_hold_is_not_vouched_for(fault: str) -> None:
    stage, wire = member()
    right = OTHER_NAME.certificate
    wrong = {
        "signature": structs.replace(
            right, votes=[structs.replace(right.votes[0], signature=bytes(64))]
        ),
        "voter": structs.replace(right, votes=[Vote(MEMBERS[1].key, 1, right.votes[0].signature)]),
        "another key's": STRANGER.renamed(MEMBERS[0]).certificate,
    }[fault]
    assert vouch(wire, SUBJECT, certificate=wrong) == [False]
    assert entry(stage, SUBJECT) is None and count(stage, "record.bad_certificate") == 1


def test_word_of_the_node_outdoes_what_others_said_and_not_the_other_way_round() -> None:
    stage, wire = member()
    vouch(wire, OTHER_NAME)
    register(wire, SUBJECT)
    assert recorded(stage, SUBJECT).name == SUBJECT.name
    assert vouch(wire, OTHER_NAME) == [False]
    assert vouch(wire, SUBJECT) == [True]


def test_name_of_a_peer_of_ours_is_live_whatever_others_say() -> None:
    stage, wire = member()
    stage.befriend(SUBJECT)
    register(wire, OTHER_NAME)
    assert entry(stage, SUBJECT) is None
    assert vouch(wire, OTHER_NAME) == [False] and vouch(wire, SUBJECT) == [True]


def test_name_gives_way_once_its_node_has_missed_a_renewal() -> None:
    stage, wire = member()
    register(wire, SUBJECT)
    stage.wait(25 * MINUTE - 1)
    assert vouch(wire, OTHER_NAME) == [False]
    stage.wait(1)
    assert vouch(wire, SUBJECT) == [True], "nobody else claims the key"
    assert vouch(wire, OTHER_NAME) == [True]
    assert recorded(stage, SUBJECT).name == OTHER_NAME.name


def test_renewal_makes_a_name_live_again() -> None:
    stage, wire = member()
    register(wire, SUBJECT)
    stage.wait(20 * MINUTE)
    register(wire, SUBJECT)
    stage.wait(20 * MINUTE)
    assert vouch(wire, OTHER_NAME) == [False]


def test_questions_do_not_renew_a_name() -> None:
    stage, wire = member()
    register(wire, SUBJECT)
    at = recorded(stage, SUBJECT).at
    stage.wait(10 * MINUTE)
    vouch(wire, SUBJECT)
    assert recorded(stage, SUBJECT).at == at and recorded(stage, SUBJECT).word is Word.OWN


def test_name_is_kept_for_60_minutes_since_its_renewal() -> None:
    stage, wire = member()
    register(wire, SUBJECT)
    stage.wait(60 * MINUTE - 1)
    assert entry(stage, SUBJECT) is not None
    stage.wait(1)
    assert entry(stage, SUBJECT) is None
    register(wire, STRANGER)
    assert count(stage, "record.aged") == 1


def test_right_certificate_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, wire = member()
    vouch(wire, OTHER_NAME)
    verify, calls = CheapSigner.verify, []

    def counted(self: CheapSigner, key: bytes, text: bytes, signature: bytes) -> bool:
        calls.append(key)
        return verify(self, key, text, signature)

    monkeypatch.setattr(CheapSigner, "verify", counted)
    assert vouch(wire, OTHER_NAME) == [True]
    assert calls == [wire.person.key], "the envelope of the question, and no vote"


def test_nobody_answers_for_himself() -> None:
    stage, _ = member()
    assert not stage.core.registrar.answers_for(stage.core.key)
    stage.befriend(SUBJECT)
    assert SUBJECT.name not in stage.core.registrar.members(SUBJECT.key)


# -- bad input


def far_from(stage: Stage, names: list[bytes]) -> Person:
    return next(
        person
        for person in map(Person, range(400, 900))
        if stage.name not in nearest(client_name(person.key), [stage.name, *names], 8)
    )


def test_who_is_not_of_the_group_does_not_record_and_says_so() -> None:
    friends = [Person(number) for number in range(10, 40)]
    stage, wires = Stage.among(*friends)
    far = far_from(stage, [friend.name for friend in friends])
    register(wires[0], far)
    assert vouch(wires[0], far) == [False] and entry(stage, far) is None
    assert count(stage, "register.not_ours") == count(stage, "vouch.not_ours") == 1


def test_registration_for_another_key_or_name_is_malformed() -> None:
    stage, wire = member()
    register(wire, SUBJECT, to=client_name(STRANGER.key))
    register(wire, SUBJECT, body=b"rubbish")
    other = structs.replace(Register(OTHER_NAME.certificate))
    wire.say(
        FrameKind.GROUP_COPY, SUBJECT.seal(KIND, GroupAddress(client_name(SUBJECT.key)), other)
    )
    assert count(stage, "register.malformed") == 3 and entry(stage, SUBJECT) is None


@pytest.mark.parametrize("reply_to", [NodeAddress(STRANGER.name), ViaAddress(bytes(32), bytes(32))])
def test_answer_goes_to_who_asks_and_to_nobody_else(reply_to: Address) -> None:
    stage, wire = member()
    body = Vouch(SUBJECT.key, SUBJECT.certificate, reply_to)
    wire.routed(wire.person.seal(MessageKind.VOUCH, NodeAddress(stage.name), body))
    assert count(stage, "vouch.malformed") == 1 and count(stage, "vouch.given") == 0


def test_fifth_registration_of_a_key_within_a_minute_is_not_looked_at() -> None:
    stage, wire = member()
    for _ in range(5):
        register(wire, SUBJECT)
    assert count(stage, "register.taken") == 4 and count(stage, "register.too_often") == 1


def test_node_that_asks_too_often_is_not_answered() -> None:
    stage, wire = member(limits=Limits().but(vouches_per_key_per_minute=3))
    assert [vouch(wire, SUBJECT) for _ in range(4)] == [[True], [True], [True], []]
    assert count(stage, "vouch.too_often") == 1
    stage.wait(MINUTE)
    assert vouch(wire, SUBJECT) == [True]


def test_flood_of_invented_names_pushes_out_its_own_and_not_what_nodes_said_of_themselves() -> None:
    stage, wires = Stage.among(*MEMBERS, limits=Limits().but(records_max=8))
    told = [Person(number) for number in range(500, 503)]
    for person in told:
        register(wires[0], person)
    vouch(wires[1], SUBJECT)
    for person in map(Person, range(600, 640)):
        assert vouch(wires[2], person) == [True]
    assert len(stage.core.registrar.records) == 8
    assert all(entry(stage, person) is not None for person in [*told, SUBJECT])
    assert count(stage, "record.evicted") == 36


# -- handing over


def handed(said: Said, wire: Wire) -> list[list[Record]]:
    return [each.records for each in said.messages(wire, MessageKind.RECORDS, Records)]


def of_rank(stage: Stage, rank: int, start: int = 100) -> Person:
    """Return a person for whose key the node answers as the one of this rank among the members."""
    names = [stage.name, *(each.name for each in MEMBERS)]
    return next(
        person
        for person in map(Person, range(start, start + 200))
        if nearest(client_name(person.key), names, 4).index(stage.name) == rank
    )


@pytest.mark.parametrize("rank", range(4))
def test_two_nearest_members_tell_a_newcomer_what_they_hold(rank: int) -> None:
    stage, wire = member()
    subject = of_rank(stage, rank)
    register(wire, subject)
    stage.wait(90 * SECOND)
    newcomer = stage.befriend(PEER)
    told = handed(stage.wait(SECOND), newcomer)
    if rank < 2:
        assert told == [[Record(subject.key, subject.certificate, 91)]], "rounded up"
    else:
        assert told == []


def test_newcomer_is_told_once() -> None:
    stage, wire = member()
    register(wire, of_rank(stage, 0))
    newcomer = stage.befriend(PEER)
    assert len(handed(stage.wait(SECOND), newcomer)) == 1
    other = stage.befriend(STRANGER)
    said = stage.wait(SECOND)
    assert handed(said, newcomer) == [] and len(handed(said, other)) == 1


def test_survivor_tells_in_the_place_of_one_that_has_gone() -> None:
    stage, wires = Stage.among(*MEMBERS)
    subject = of_rank(stage, 2)
    register(wires[0], subject)
    first = nearest(client_name(subject.key), [each.name for each in MEMBERS], 1)
    next(wire for wire in wires if wire.person.name in first).lose()
    newcomer = stage.befriend(PEER)
    assert len(handed(stage.wait(SECOND), newcomer)) == 1


def test_at_most_32_records_go_into_one_message() -> None:
    stage, wire = member()
    subjects: list[Person] = []
    while len(subjects) < 40:
        subjects.append(of_rank(stage, 0, start=subjects[-1].number + 1 if subjects else 1_000))
    for subject in subjects:
        register(wire, subject)
    newcomer = stage.befriend(PEER)
    told = handed(stage.wait(SECOND), newcomer)
    assert [len(each) for each in told] == [32, 8]


def test_hearsay_is_not_handed_over() -> None:
    stage, wire = member()
    vouch(wire, of_rank(stage, 0))
    newcomer = stage.befriend(PEER)
    assert handed(stage.wait(SECOND), newcomer) == []


def test_record_of_a_group_that_we_have_left_is_forgotten() -> None:
    stage, wires = Stage.among(*MEMBERS)
    subject = of_rank(stage, 3)
    register(wires[0], subject)
    target = client_name(subject.key)
    own = int.from_bytes(stage.name, "big") ^ int.from_bytes(target, "big")
    nearer = [
        person
        for person in map(Person, range(2_000, 3_000))
        if int.from_bytes(person.name, "big") ^ int.from_bytes(target, "big") < own
    ]
    for person in nearer[:5]:
        stage.befriend(person)
    stage.wait(SECOND)
    assert entry(stage, subject) is None and count(stage, "record.left") == 1


def hand_over(wire: Wire, *records: Record, person: Person | None = None) -> Said:
    teller = person or wire.person
    body = Records(list(records))
    return wire.routed(teller.seal(MessageKind.RECORDS, NodeAddress(wire.stage.name), body))


def test_record_that_is_handed_over_keeps_its_age() -> None:
    stage, wire = member()
    stage.wait(30 * MINUTE)
    hand_over(wire, Record(SUBJECT.key, SUBJECT.certificate, 600))
    held = recorded(stage, SUBJECT)
    assert (held.word, stage.now - held.at) == (Word.HANDED, 600 * SECOND)
    stage.wait(50 * MINUTE)
    assert entry(stage, SUBJECT) is None


def test_record_that_is_handed_over_is_outdone_by_the_node_itself() -> None:
    stage, wire = member()
    hand_over(wire, Record(SUBJECT.key, OTHER_NAME.certificate, 0))
    assert vouch(wire, SUBJECT) == [False]
    register(wire, SUBJECT)
    hand_over(wire, Record(SUBJECT.key, OTHER_NAME.certificate, 0))
    assert recorded(stage, SUBJECT).name == SUBJECT.name and vouch(wire, SUBJECT) == [True]


def test_records_from_who_is_no_peer_are_not_taken() -> None:
    stage, wire = member()
    hand_over(wire, Record(SUBJECT.key, SUBJECT.certificate, 0), person=STRANGER)
    assert entry(stage, SUBJECT) is None and count(stage, "records.stranger") == 1


def test_records_that_are_too_old_wrong_or_of_the_teller_itself_are_not_taken() -> None:
    stage, wire = member()
    forged = STRANGER.renamed(MEMBERS[0]).certificate
    teller = wire.person
    hand_over(
        wire,
        Record(SUBJECT.key, SUBJECT.certificate, 3_600),
        Record(PEER.key, forged, 0),
        Record(teller.key, teller.certificate, 0),
    )
    wire.routed(teller.seal(MessageKind.RECORDS, NodeAddress(stage.name), b"rubbish"))
    assert len(stage.core.registrar.records) == 0
    counted = ("records.too_old", "record.bad_certificate", "records.not_ours", "records.malformed")
    assert [count(stage, what) for what in counted] == [1, 1, 1, 1]


def test_records_of_a_peer_beyond_the_limit_of_a_minute_are_not_looked_at() -> None:
    stage, wire = member(limits=Limits().but(vouches_per_key_per_minute=2))
    for person in map(Person, range(600, 603)):
        hand_over(wire, Record(person.key, person.certificate, 0))
    assert len(stage.core.registrar.records) == 2 and count(stage, "records.too_often") == 1


# -- the end


def test_node_that_lost_its_network_knows_no_names_of_it() -> None:
    a = Asked()
    register(a.friend, SUBJECT)
    assert entry(a.stage, SUBJECT) is not None
    a.friend.lose()
    assert entry(a.stage, SUBJECT) is None


def test_restored_core_holds_the_same_records() -> None:
    stage, wire = member()
    register(wire, SUBJECT)
    vouch(wire, STRANGER)
    hand_over(wire, Record(PEER.key, PEER.certificate, 60))
    other = Core(stage.config)
    other.restore(stage.core.snapshot())
    assert other.digest() == stage.core.digest()
    assert other.registrar.live_name(SUBJECT.key) == SUBJECT.name
    stage.wait(MINUTE)
    assert vouch(wire, OTHER_NAME) == [False]
    assert other.digest() != stage.core.digest()
