"""What a quorum of a group says is delivered once; what fewer say, or others, never."""

from __future__ import annotations

from hashlib import sha256

import pytest
from msgspec import structs

from routing.ballots import VOICE_COST
from routing.bodies import Acknowledged, Ballot, Content
from routing.errors import CloseCode
from routing.events import Message, Proof
from routing.inputs import StopRequested
from routing.limits import SECOND, Limits
from routing.messages import (
    Authority,
    AuthorityKind,
    ClientAddress,
    Direct,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from tests.council import ID, Council, digest_of
from tests.persons import Person, opened
from tests.support import Said

__all__: list[str] = []

STRANGER = Person(5_000)
DELAY = Limits().ballot_wanted_ns


# -- a quorum


def test_fifth_equal_vote_of_eight_delivers_with_the_proof_of_a_quorum() -> None:
    c = Council()
    content = c.content()
    assert c.delivered(c.votes(c.members[:4], content)) == []
    (message,) = c.delivered(c.vote(c.members[4], content))
    assert message == Message(
        GroupAddress(c.element),
        NodeAddress(c.stage.name),
        b"so be it",
        b"",
        Proof.QUORUM,
        ID,
        False,
        authority=c.authority,
    )


def test_four_votes_of_eight_do_nothing_and_are_forgotten_after_a_minute() -> None:
    c = Council()
    c.votes(c.members[:4], c.content())
    said = c.stage.wait(60 * SECOND)
    assert c.delivered(said) == [] and c.count("ballot.expired") == 1
    assert c.stage.core.ballots.tallies == {}
    assert c.stage.core.ballots.counted.bytes == 0
    assert c.delivered(c.vote(c.members[4], c.content())) == [], "it would start anew"


@pytest.mark.parametrize("voter", range(5))
def test_whole_may_come_from_any_of_the_voters(voter: int) -> None:
    c = Council()
    assert len(c.delivered(c.votes(c.members[:5], c.content(), whole=voter))) == 1


def test_late_votes_do_nothing() -> None:
    c = Council()
    assert len(c.delivered(c.votes(c.members, c.content()))) == 1
    assert c.count("ballot.late") == 2
    c.stage.wait(1_199 * SECOND)
    assert c.delivered(c.votes(c.members, c.content())) == []


def test_repeated_votes_of_one_member_count_once() -> None:
    c = Council()
    content = c.content()
    said = Said()
    for _ in range(9):
        said += c.vote(c.members[0], content, whole=True)
    assert c.delivered(said) == [] and c.count("ballot.repeated") == 8
    assert c.delivered(c.votes(c.members[1:4], content)) == []
    assert len(c.delivered(c.vote(c.members[4], content))) == 1


def test_every_vote_is_acknowledged_also_a_late_one() -> None:
    c = Council()
    for person in c.members:
        envelope = c.ballot(person, c.content(), whole=True)
        said = c.wires[-1].routed(envelope)
        wire = c.by_name[person.name]
        (told,) = said.messages(wire, MessageKind.ACKNOWLEDGED, Acknowledged)
        assert told.id == opened(Signed, envelope.signed).id


def test_same_content_of_another_authority_is_another_message() -> None:
    c = Council()
    other = Authority(AuthorityKind.CLIENT_GROUP, c.element)
    content = c.content()
    c.votes(c.members[:4], content)
    assert c.delivered(c.vote(c.members[4], c.content(authority=other), whole=True)) == []
    assert len(c.delivered(c.vote(c.members[5], content))) == 1


def test_message_to_a_group_is_counted_by_the_copies() -> None:
    c = Council()
    to = GroupAddress(c.element)
    content = c.content(to=to)
    said = Said()
    for number, person in enumerate(c.members[:5]):
        body = Ballot(ID, digest_of(content), b"" if number else encode(content))
        copy = person.seal(MessageKind.BALLOT, to, body, authority=c.authority)
        said += c.wires[0].say(FrameKind.GROUP_COPY, copy)
    (message,) = c.delivered(said)
    assert message.destination == to and message.proof is Proof.QUORUM


# -- voters that lie


def test_vote_of_one_that_is_no_member_is_refused() -> None:
    c = Council()
    c.votes(c.members[:4], c.content())
    assert c.delivered(c.vote(c.outsiders[0], c.content())) == []
    assert c.delivered(c.vote(STRANGER, c.content(), whole=True)) == []
    assert c.count("ballot.not_member") == 2


def test_member_that_votes_for_two_contents_is_counted_for_its_first() -> None:
    c = Council()
    right, wrong = c.content(), c.content(b"so be it not")
    c.vote(c.members[0], wrong, whole=True)
    c.vote(c.members[0], right, whole=True)
    assert c.count("ballot.equivocated") == 1
    assert c.delivered(c.votes(c.members[1:5], right)) == [], "four are for it"
    (message,) = c.delivered(c.vote(c.members[5], right))
    assert message.payload == b"so be it"


def test_second_name_of_one_key_is_no_second_voter() -> None:
    c = Council()
    c.votes(c.members[:4], c.content())
    double = c.members[0].renamed(c.members[1])
    assert c.delivered(c.vote(double, c.content())) == []


@pytest.mark.parametrize("fault", ["signature", "name", "client", "origin"])
def test_forged_vote_is_not_counted(fault: str) -> None:
    c = Council()
    c.votes(c.members[:4], c.content())
    voter, other = c.members[4], c.outsiders[0]
    envelope = c.ballot(voter, c.content())
    if fault == "signature":
        envelope = structs.replace(envelope, signature=bytes(64))
    elif fault == "name":
        envelope = c.ballot(other, c.content(), source=NodeAddress(voter.name))
    elif fault == "origin":
        envelope = c.ballot(voter, c.content(), origin=bytes(64))
    else:
        envelope = c.ballot(voter, c.content(), proxy=c.stage.name)
    assert c.delivered(c.wires[0].routed(envelope)) == []
    assert c.count("routed.forged") + c.count("authority.refused") == 1


@pytest.mark.parametrize("kind", [None, AuthorityKind.CLIENT, AuthorityKind.NODE])
def test_ballot_without_the_authority_of_a_group_is_refused(kind: AuthorityKind | None) -> None:
    c = Council()
    person = c.members[0]
    authority = None if kind is None else Authority(kind, person.name)
    body = Ballot(ID, digest_of(c.content()), encode(c.content()))
    here = NodeAddress(c.stage.name)
    said = c.wires[0].routed(person.seal(MessageKind.BALLOT, here, body, authority=authority))
    assert said == [] and c.count("authority.refused") == 1


@pytest.mark.parametrize("kind", [MessageKind.MESSAGE, MessageKind.REQUEST, MessageKind.REPLY])
def test_one_sender_cannot_claim_the_authority_of_a_group(kind: MessageKind) -> None:
    c = Council()
    here = NodeAddress(c.stage.name)
    letter = c.members[0].seal(kind, here, b"we, the group", authority=c.authority)
    assert c.delivered(c.wires[0].routed(letter)) == []
    assert c.count("authority.refused") == 1


def test_whole_that_its_digest_does_not_fit_is_refused() -> None:
    c = Council()
    right, wrong = c.content(), c.content(b"so be it not")
    c.votes(c.members[:4], right, whole=9)
    assert c.delivered(c.vote(c.members[4], right, whole=encode(wrong))) == []
    assert c.count("ballot.unfit") == 1
    assert len(c.delivered(c.vote(c.members[4], right, whole=True))) == 1, "a right one follows"


def changed(c: Council, what: str) -> Content:
    right, member = c.content(), c.members[0]
    match what:
        case "id":
            return structs.replace(right, id=bytes(16))
        case "authority":
            other = Authority(AuthorityKind.ELEMENT_GROUP, bytes(32))
            return structs.replace(right, authority=other)
        case "destination":
            return structs.replace(right, destination=NodeAddress(member.name))
        case _:
            return structs.replace(right, destination=ClientAddress(c.stage.name, member.key))


@pytest.mark.parametrize("what", ["id", "authority", "destination", "client"])
def test_whole_that_says_something_else_than_its_ballot_is_refused(what: str) -> None:
    c = Council()
    content = changed(c, what)
    for person in c.members:
        ballot = Ballot(ID, digest_of(content), encode(content))
        here = NodeAddress(c.stage.name)
        envelope = person.seal(MessageKind.BALLOT, here, ballot, authority=c.authority)
        assert c.delivered(c.wires[0].routed(envelope)) == []
    assert c.count("ballot.unfit") == len(c.members)


def test_whole_that_is_no_content_is_refused() -> None:
    c = Council()
    for person in c.members:
        ballot = Ballot(ID, sha256(b"rubbish").digest(), b"rubbish")
        here = NodeAddress(c.stage.name)
        c.wires[0].routed(person.seal(MessageKind.BALLOT, here, ballot, authority=c.authority))
    assert c.count("ballot.unfit") == len(c.members)


@pytest.mark.parametrize("body", [b"", b"rubbish", encode(Acknowledged(ID))])
def test_malformed_ballot_is_counted_and_forgotten(body: bytes) -> None:
    c = Council()
    here = NodeAddress(c.stage.name)
    envelope = c.members[0].seal(MessageKind.BALLOT, here, body, authority=c.authority)
    assert c.wires[0].routed(envelope) == []
    assert c.count("ballot.malformed") == 1 and c.wires[0].open


def test_payload_that_looks_like_a_control_message_is_only_a_payload() -> None:
    c = Council()
    before = c.count("consumed.unroutable")
    inner = c.members[0].seal(MessageKind.UNROUTABLE, NodeAddress(c.stage.name), b"")
    (message,) = c.delivered(c.votes(c.members[:5], c.content(encode(inner))))
    assert message.payload == encode(inner)
    assert c.count("consumed.unroutable") == before


def test_ballot_as_a_direct_frame_closes() -> None:
    c = Council()
    direct = Direct(MessageKind.BALLOT, ID, encode(Ballot(ID, bytes(32), b"")))
    assert c.wires[0].say(FrameKind.DIRECT, direct).closed(c.wires[0]) is CloseCode.BAD_FRAME


# -- the whole is missing


def test_one_voter_after_the_other_is_asked_for_the_whole() -> None:
    c = Council()
    content = c.content()
    said = c.votes(c.members[:5], content, whole=9)
    assert c.delivered(said) == [] and c.wanted(said) == []
    asked = []
    for wait in (DELAY, 2 * DELAY, 4 * DELAY, 4 * SECOND, 4 * SECOND):
        ((name, question),) = c.wanted(c.stage.wait(wait))
        assert question.digest == digest_of(content) and question.whole
        assert question.reply_to == NodeAddress(c.stage.name)
        asked.append(name)
    assert sorted(asked) == sorted(person.name for person in c.members[:5])
    (message,) = c.delivered(c.vote(c.members[2], content, whole=True))
    assert message.payload == b"so be it"


def test_nobody_is_asked_any_more_once_it_is_delivered() -> None:
    c = Council()
    c.votes(c.members[:5], c.content(), whole=9)
    c.vote(c.members[5], c.content(), whole=True)
    assert c.wanted(c.stage.wait(60 * SECOND)) == []
    assert not any(kind == "ballots" for _, kind, _ in c.stage.core.alarms.export())


def test_whole_of_one_that_is_no_voter_helps_nobody() -> None:
    c = Council()
    c.votes(c.members[:5], c.content(), whole=9)
    assert c.delivered(c.vote(c.outsiders[0], c.content(), whole=True)) == []


def test_silent_members_are_asked_for_their_voices_once_half_a_quorum_has_spoken() -> None:
    c = Council()
    content = c.content()
    c.votes(c.members[:2], content)
    assert c.wanted(c.stage.wait(DELAY)) == []
    c.vote(c.members[2], content)
    said = c.stage.wait(2 * DELAY)
    names = [name for name, question in c.wanted(said) if not question.whole]
    assert sorted(names) == sorted(person.name for person in c.members[3:])
    assert len(c.delivered(c.votes(c.members[3:5], content, whole=9))) == 1


def test_silent_members_are_asked_three_times_at_most() -> None:
    c = Council()
    c.votes(c.members[:3], c.content())
    said = c.stage.wait(59 * SECOND)
    assert len(c.wanted(said)) == 3 * len(c.members[3:])


# -- bounds


def test_flood_of_one_member_pushes_out_only_its_own_oldest() -> None:
    limits = Limits().but(ballot_bytes=1 << 20)
    c = Council(limits=limits)
    room = (limits.ballot_bytes * 3 // 4) // VOICE_COST
    content = c.content()
    c.votes(c.members[:4], content)
    for number in range(room + 100):
        chosen = number.to_bytes(16, "big")
        c.vote(c.members[6], c.content(chosen=chosen))
    ballots = c.stage.core.ballots
    assert ballots.counted.bytes <= limits.ballot_bytes * 3 // 4
    assert c.count("ballot.evicted") >= 100
    assert len(ballots.tallies) <= room
    first = bytes([c.authority.kind]) + c.element + bytes(16)
    assert first not in ballots.tallies, "the oldest of the flood went first"
    assert len(c.delivered(c.vote(c.members[4], content))) == 1


def test_contents_give_way_before_voices_and_are_asked_for_again() -> None:
    c = Council(limits=Limits().but(ballot_bytes=1 << 20))
    content = c.content(bytes(300_000))
    c.vote(c.members[0], content, whole=True)
    for number in range(3):
        other = c.content(bytes(300_000), chosen=number.to_bytes(16, "big"))
        c.vote(c.members[0], other, whole=True)
    assert c.count("ballot.content_evicted") >= 1
    assert c.delivered(c.votes(c.members[1:5], content, whole=9)) == []
    ((_, question),) = c.wanted(c.stage.wait(DELAY))
    assert question.whole
    assert len(c.delivered(c.vote(c.members[1], content, whole=True))) == 1


def test_voices_that_wait_for_their_group_have_a_place_of_their_own() -> None:
    limits = Limits().but(ballot_bytes=1 << 20)
    c = Council(far=True, limits=limits)
    waiting = (limits.ballot_bytes // 4) // VOICE_COST
    for number in range(waiting + 50):
        voter = Person(10_000 + number)
        c.vote(voter, c.content(chosen=number.to_bytes(16, "big")))
    assert c.stage.core.ballots.waiting.bytes <= limits.ballot_bytes // 4
    assert c.count("ballot.evicted") == 50


def test_stop_forgets_what_is_unfinished() -> None:
    c = Council()
    c.votes(c.members[:4], c.content())
    c.stage.hear(StopRequested())
    assert c.count("ballot.abandoned") == 1
    assert c.stage.core.ballots.tallies == {} and c.stage.core.ballots.counted.bytes == 0
