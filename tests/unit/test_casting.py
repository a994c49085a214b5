"""A member's vote leaves once, whole by one of all, and is given again to whom it was for."""

from __future__ import annotations

from hashlib import sha256

import pytest

from routing.actions import Deliver, Failed
from routing.authority import content_id
from routing.bodies import Ballot, Content, WholeWanted
from routing.events import Proof
from routing.inputs import StopRequested, Submitted
from routing.limits import SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    Address,
    Authority,
    AuthorityKind,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    decode,
    encode,
)
from routing.names import nearest
from tests.council import ID, Council, digest_of
from tests.persons import Person, opened
from tests.support import Said, Stage

__all__: list[str] = []

FAR = Person(5_000)
THERE = NodeAddress(FAR.name)


def say(
    c: Council,
    to: Address = THERE,
    payload: bytes = b"so be it",
    *,
    chosen: bytes = ID,
    authority: Authority | None = None,
    acknowledged: bool = True,
) -> Said:
    return c.stage.hear(
        Submitted(
            7,
            MessageKind.MESSAGE,
            to,
            payload,
            b"",
            False,
            0,
            False,
            acknowledged=acknowledged,
            authority=authority or c.authority,
            message_id=chosen,
        )
    )


def sent(c: Council, said: Said, kind: MessageKind = MessageKind.BALLOT) -> list[Signed]:
    envelopes = [each for wire in c.wires for each in said.envelopes(wire, kind)]
    return [opened(Signed, each.signed) for each in envelopes]


def ballot(c: Council, said: Said) -> Ballot:
    (signed,) = sent(c, said)
    return opened(Ballot, signed.body)


def ask(
    c: Council,
    person: Person,
    content: Content,
    *,
    whole: bool = True,
    reply_to: Address | None = None,
    digest: bytes = b"",
) -> Said:
    here = NodeAddress(c.stage.name)
    wanted = WholeWanted(
        content.id, digest or digest_of(content), reply_to or NodeAddress(person.name), whole
    )
    return c.wires[0].routed(person.seal(MessageKind.WHOLE_WANTED, here, wanted))


def given(c: Council, said: Said) -> list[Ballot]:
    return [opened(Ballot, each.body) for each in sent(c, said)]


# -- the vote


def test_vote_leaves_signed_under_the_authority_and_wants_an_acknowledgement() -> None:
    c = Council()
    (signed,) = sent(c, say(c))
    assert (signed.destination, signed.authority) == (THERE, c.authority)
    assert signed.source == NodeAddress(c.stage.name) and signed.flags == ACKNOWLEDGE
    assert opened(Ballot, signed.body).digest == digest_of(c.content(to=THERE))


def test_vote_at_most_once_wants_none() -> None:
    c = Council()
    (signed,) = sent(c, say(c, acknowledged=False))
    assert signed.flags == 0 and c.stage.core.delivery.underway == {}


def test_vote_is_sent_again_until_acknowledged() -> None:
    c = Council()
    say(c)
    assert len(sent(c, c.stage.wait(SECOND))) == 1
    (underway,) = c.stage.core.delivery.underway.values()
    assert underway.destination == THERE


@pytest.mark.parametrize("number", range(12))
def test_whole_is_sent_by_the_member_nearest_to_the_digest(number: int) -> None:
    c = Council()
    said = ballot(c, say(c, payload=bytes((number,))))
    content = c.content(bytes((number,)), to=THERE)
    ours = nearest(digest_of(content), c.group, 1) == [c.stage.name]
    assert said.content == (encode(content) if ours else b"")


def test_id_follows_from_the_content_where_none_is_given() -> None:
    c = Council()
    assert ballot(c, say(c, chosen=b"")).id == content_id(c.authority, THERE, b"so be it")


def test_vote_to_a_peer_is_routed_and_to_a_group_it_is_copied() -> None:
    c = Council()
    peer = NodeAddress(c.members[0].name)
    assert len(sent(c, say(c, peer))) == 1
    said = say(c, GroupAddress(c.element))
    copies = [
        opened(Signed, opened(Envelope, body).signed)
        for wire in c.wires
        for body in said.bodies(wire, FrameKind.GROUP_COPY)
    ]
    assert len(copies) == 7 and all(copy.kind is MessageKind.BALLOT for copy in copies)


def test_own_vote_counts_where_we_are_the_receiver() -> None:
    c = Council()
    content = c.content()
    say(c, NodeAddress(c.stage.name))
    assert c.delivered(c.votes(c.members[:3], content, whole=9)) == []
    (message,) = c.delivered(c.vote(c.members[3], content))
    assert message.payload == b"so be it", "we hold the whole ourselves: nobody need be asked"


def test_group_of_one_agrees_with_itself() -> None:
    stage = Stage.founder()
    authority = Authority(AuthorityKind.ELEMENT_GROUP, bytes(32))
    destinations: list[Address] = [NodeAddress(stage.name), GroupAddress(bytes(32))]
    for destination in destinations:
        fact = Submitted(1, MessageKind.MESSAGE, destination, b"I", b"", False, 0, False)
        fact.authority = authority  # type: ignore[misc]
        (delivered,) = stage.hear(fact).of(Deliver)
        assert delivered.message.proof is Proof.QUORUM


def test_founder_without_anybody_is_told_that_there_is_no_way() -> None:
    stage = Stage.founder()
    fact = Submitted(1, MessageKind.MESSAGE, THERE, b"I", b"", False, 0, False)
    fact.authority = Authority(AuthorityKind.ELEMENT_GROUP, bytes(32))  # type: ignore[misc]
    (failed,) = stage.hear(fact).of(Failed)
    assert failed.reason.startswith("not connected")


def test_content_we_voted_for_to_another_is_not_taken_as_ours() -> None:
    c = Council()
    say(c)
    content = c.content(to=THERE)
    assert c.delivered(c.votes(c.members[:6], content, whole=9)) == []
    assert c.count("ballot.unfit") == 1


def test_largest_content_fits_a_frame_and_one_byte_more_is_refused() -> None:
    c = Council()
    frame = c.stage.core.limits.frame_bytes_max
    overhead = len(encode(c.content(bytes(100_000), to=THERE))) - 100_000
    largest = frame - 2_048 - overhead
    said = say(c, payload=bytes(largest))
    while not ballot(c, said).content:
        said = say(c, payload=bytes(largest), chosen=sha256(ballot(c, said).id).digest()[:16])
    bodies = [body for wire in c.wires for body in said.bodies(wire, FrameKind.ROUTED)]
    assert max(map(len, bodies)) <= frame
    copy = FAR.seal(MessageKind.COPY, ClientAddress(bytes(32), bytes(32)), bodies[0])
    assert len(encode(copy)) <= frame, "also as a copy that goes routed"
    (failed,) = say(c, payload=bytes(largest + 1)).of(Failed)
    assert failed.reason.startswith("too large: ")


# -- asked again


def test_receiver_is_given_the_whole() -> None:
    c = Council()
    say(c)
    content = c.content(to=THERE)
    (again,) = given(c, ask(c, FAR, content))
    assert decode(Content, again.content) == content
    (voice,) = given(c, ask(c, FAR, content, whole=False))
    assert voice == Ballot(ID, digest_of(content), b"")


def test_member_of_the_receiving_group_is_given_the_whole() -> None:
    c = Council()
    to = GroupAddress(bytes(32))
    say(c, to)
    assert len(given(c, ask(c, c.outsiders[0], c.content(to=to)))) == 1


def test_nobody_else_is_given_what_is_for_one() -> None:
    c = Council()
    say(c)
    assert given(c, ask(c, c.outsiders[0], c.content(to=THERE))) == []
    assert c.count("whole.refused") == 1


def test_answer_goes_to_the_asker_only() -> None:
    c = Council()
    say(c)
    third = NodeAddress(c.outsiders[0].name)
    assert given(c, ask(c, FAR, c.content(to=THERE), reply_to=third)) == []
    assert c.count("whole.malformed") == 1


def test_what_we_never_voted_for_is_unknown() -> None:
    c = Council()
    say(c)
    assert given(c, ask(c, FAR, c.content(to=THERE), digest=bytes(32))) == []
    assert c.count("whole.unknown") == 1


def test_one_asker_is_answered_four_times() -> None:
    c = Council()
    say(c)
    answers = [given(c, ask(c, FAR, c.content(to=THERE))) for _ in range(6)]
    assert sum(map(len, answers)) == 4 and c.count("whole.too_often") == 2


def test_content_is_kept_for_a_minute() -> None:
    c = Council()
    say(c, acknowledged=False)
    c.stage.wait(60 * SECOND - 1)
    assert len(given(c, ask(c, FAR, c.content(to=THERE)))) == 1
    c.stage.wait(1)
    assert given(c, ask(c, FAR, c.content(to=THERE))) == []


def test_contents_are_kept_within_their_bound_and_the_oldest_goes() -> None:
    c = Council(limits=Limits().but(ballot_bytes=1 << 20))
    for number in range(5):
        say(c, payload=bytes(300_000), chosen=bytes((number,)) * 16, acknowledged=False)
    casting = c.stage.core.casting
    assert casting.bytes <= 1 << 20 and len(casting.spoken) == 3
    assert c.count("ballot.forgotten") == 2
    assert [subject[0] for subject in casting.spoken] == [2, 3, 4]


def test_stop_forgets_what_was_said() -> None:
    c = Council()
    say(c)
    c.stage.hear(StopRequested())
    assert c.stage.core.casting.spoken == {} and c.stage.core.casting.bytes == 0
