"""A member votes: for whom, for which names, and for whom it does not."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.bodies import NameVote, RequestName
from routing.limits import SECOND
from routing.messages import (
    Certificate,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    Ping,
    Signed,
    SignedKind,
    signed_text,
    vote_body,
)
from routing.names import client_name, nearest
from routing.registrar import Word
from tests.persons import TAG, Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

PROXY = Person(1)
MEMBERS = [Person(number) for number in range(10, 18)]
A, B, C = (member.name for member in MEMBERS[:3])
KIND = MessageKind.REQUEST_NAME


def member(*friends: Person) -> tuple[Stage, list[Wire]]:
    return Stage.among(*(friends or MEMBERS[:3]))


def ask(
    stage: Stage,
    joiner: Person,
    *,
    held: Certificate | None = None,
    proposed: tuple[bytes, ...] = (),
) -> tuple[Wire, Said]:
    """Let a joiner hang on the stage and ask for a name."""
    wire = stage.accept(joiner)
    wire.hello(HelloRole.JOIN)
    return wire, again(wire, held=held, proposed=proposed)


def again(wire: Wire, *, held: Certificate | None = None, proposed: tuple[bytes, ...] = ()) -> Said:
    stage, joiner = wire.stage, wire.person
    body = RequestName(ClientAddress(stage.name, joiner.key), held, list(proposed))
    destination = GroupAddress(client_name(joiner.key))
    return wire.routed(joiner.seal(KIND, destination, body, proxy=stage.name))


def votes(wire: Wire, said: Said) -> list[NameVote]:
    return said.messages(wire, MessageKind.NAME_VOTE, NameVote)


JOINER = next(
    person
    for person in map(Person, range(100, 200))
    if nearest(client_name(person.key), [Stage.founder().name, *(m.name for m in MEMBERS[:3])], 1)
    == [Stage.founder().name]
)
"""One whose client name is nearest to the name of the stage."""


def test_member_votes_for_the_two_nearest_names_it_holds() -> None:
    stage, wires = member()
    wire, said = ask(stage, JOINER)
    (cast,) = votes(wire, said)
    own = client_name(JOINER.key)
    held = nearest(own, [stage.name, *(w.person.name for w in wires)], 8)
    assert (cast.n1, cast.n2, cast.size) == (held[0], held[1], 4)
    text = signed_text(SignedKind.VOTE, TAG, vote_body(JOINER.key, cast.n1, cast.n2, 4))
    assert PROXY.signer.verify(stage.core.key, text, cast.signature)


def test_lonely_founder_votes_for_itself_twice() -> None:
    stage = Stage.founder()
    wire, said = ask(stage, JOINER)
    (cast,) = votes(wire, said)
    assert (cast.n1, cast.n2, cast.size) == (stage.name, stage.name, 1)


def test_every_member_of_the_group_gets_a_copy() -> None:
    stage, wires = member()
    _, said = ask(stage, JOINER)
    for each in wires:
        (copy,) = said.frames(each, FrameKind.GROUP_COPY, Envelope)
        assert opened(Signed, copy.signed).kind is KIND


def test_member_votes_on_a_copy_to_the_address_of_the_joiner() -> None:
    stage, (one, *_) = member()
    body = RequestName(ClientAddress(one.person.name, JOINER.key), None, [])
    destination = GroupAddress(client_name(JOINER.key))
    envelope = JOINER.seal(KIND, destination, body, proxy=one.person.name)
    said = one.say(FrameKind.GROUP_COPY, envelope)
    assert len(votes(one, said)) == 1
    assert stage.core.counters["vote.given"] == 1


def test_proposal_is_voted_for_by_a_member_that_knows_none_nearer() -> None:
    stage, _ = member()
    own = client_name(JOINER.key)
    flipped = [bytes([*own[:31], own[31] ^ bit]) for bit in (1, 2)]
    wire, said = ask(stage, JOINER, proposed=tuple(reversed(flipped)))
    (cast,) = votes(wire, said)
    assert (cast.n1, cast.n2) == tuple(flipped)


def test_proposal_farther_than_what_a_member_holds_is_not_voted_for() -> None:
    stage, wires = member()
    own = client_name(JOINER.key)
    far = [bytes(each ^ 255 for each in own), bytes(each ^ 254 for each in own)]
    wire, said = ask(stage, JOINER, proposed=tuple(far))
    (cast,) = votes(wire, said)
    held = nearest(own, [stage.name, *(w.person.name for w in wires)], 2)
    assert [cast.n1, cast.n2] == held


def test_held_name_with_a_right_certificate_is_confirmed() -> None:
    stage, _ = member()
    held = JOINER.renamed(MEMBERS[5]).certificate
    wire, said = ask(stage, JOINER, held=held)
    (cast,) = votes(wire, said)
    assert (cast.n1, cast.n2) == (held.n1, held.n2)


def test_held_name_with_a_wrong_certificate_is_answered_like_none() -> None:
    stage, wires = member()
    held = structs.replace(JOINER.renamed(MEMBERS[5]).certificate, n1=A)
    wire, said = ask(stage, JOINER, held=held)
    (cast,) = votes(wire, said)
    names = nearest(client_name(JOINER.key), [stage.name, *(w.person.name for w in wires)], 2)
    assert [cast.n1, cast.n2] == names


def test_held_name_of_a_key_with_another_live_name_is_not_confirmed() -> None:
    stage, _ = member()
    stage.befriend(JOINER)
    held = JOINER.renamed(MEMBERS[5]).certificate
    wire, said = ask(stage, JOINER, held=held)
    casts = [*votes(wire, said)]
    assert [(cast.n1, cast.n2) for cast in casts] != [(held.n1, held.n2)]


@pytest.mark.parametrize("lives", [True, False])
def test_old_connection_of_a_key_that_asks_for_a_name_answers_or_is_closed(lives: bool) -> None:
    stage, _ = member()
    old = stage.befriend(JOINER)
    stage.wait(SECOND)
    _, said = ask(stage, JOINER)
    (ping,) = said.frames(old, FrameKind.PING, Ping)
    if lives:
        old.say(FrameKind.PONG, ping)
    stage.wait(SECOND)
    assert old.open is lives and (JOINER.name in stage.core.table) is lives


def test_name_that_is_confirmed_is_recorded_on_the_word_of_its_node() -> None:
    stage, _ = member()
    held = JOINER.renamed(MEMBERS[5]).certificate
    ask(stage, JOINER, held=held)
    entry = stage.core.registrar.records.get(JOINER.key, now=stage.now)
    assert entry is not None and (entry.certificate, entry.word) == (held, Word.OWN)


def test_key_with_a_live_name_is_given_that_one() -> None:
    stage, _ = member()
    first = JOINER.renamed(MEMBERS[5]).certificate
    assert stage.core.registrar.record(JOINER.key, first, Word.HANDED)
    wire, said = ask(stage, JOINER)
    (cast,) = votes(wire, said)
    assert (cast.n1, cast.n2) == (first.n1, first.n2)
    assert stage.core.counters["vote.recorded"] == 1


def test_second_name_of_a_node_that_has_told_its_first_is_not_confirmed() -> None:
    stage, _ = member()
    first = JOINER.renamed(MEMBERS[5]).certificate
    assert stage.core.registrar.record(JOINER.key, first, Word.OWN)
    wire, said = ask(stage, JOINER, held=JOINER.renamed(MEMBERS[6]).certificate)
    (cast,) = votes(wire, said)
    assert (cast.n1, cast.n2) == (first.n1, first.n2)


def test_name_that_others_invented_for_a_key_is_not_voted_for() -> None:
    stage, wires = member()
    invented = JOINER.renamed(MEMBERS[5]).certificate
    assert stage.core.registrar.vouch(JOINER.key, invented, MEMBERS[0].key)
    wire, said = ask(stage, JOINER)
    (cast,) = votes(wire, said)
    names = nearest(client_name(JOINER.key), [stage.name, *(w.person.name for w in wires)], 2)
    assert [cast.n1, cast.n2] == names


def test_name_recorded_is_given_no_longer_once_a_renewal_was_missed() -> None:
    stage, wires = member()
    first = JOINER.renamed(MEMBERS[5]).certificate
    assert stage.core.registrar.record(JOINER.key, first, Word.OWN)
    stage.wait(stage.core.limits.record_live_ns)
    wire, said = ask(stage, JOINER)
    (cast,) = votes(wire, said)
    names = nearest(client_name(JOINER.key), [stage.name, *(w.person.name for w in wires)], 2)
    assert [cast.n1, cast.n2] == names


def test_own_old_name_is_not_among_those_voted_for() -> None:
    stage, wires = member()
    stage.befriend(JOINER)
    wire, said = ask(stage, JOINER)
    (cast,) = votes(wire, said)
    assert JOINER.name not in (cast.n1, cast.n2) and len(wires) == 3


def test_answer_to_a_third_is_never_sent() -> None:
    stage, _ = member()
    wire = stage.accept(JOINER)
    wire.hello(HelloRole.JOIN)
    body = RequestName(ClientAddress(stage.name, MEMBERS[0].key), None, [])
    destination = GroupAddress(client_name(JOINER.key))
    wire.routed(JOINER.seal(KIND, destination, body, proxy=stage.name))
    assert "vote.given" not in stage.core.counters
    assert stage.core.counters["name_request.malformed"] == 1


def test_at_most_twenty_joiners_are_served_at_once_and_those_are_served_on() -> None:
    stage, (one, *_) = member()
    joiners = [Person(number) for number in range(300, 325)]

    def copy(joiner: Person) -> int:
        body = RequestName(ClientAddress(one.person.name, joiner.key), None, [])
        destination = GroupAddress(client_name(joiner.key))
        envelope = joiner.seal(KIND, destination, body, proxy=one.person.name)
        return len(votes(one, one.say(FrameKind.GROUP_COPY, envelope)))

    assert [copy(joiner) for joiner in joiners] == [1] * 20 + [0] * 5
    assert stage.core.counters["name_request.busy"] == 5
    assert copy(joiners[0]) == 1, "one that is being served is served on"
    stage.wait(10 * SECOND)
    assert copy(joiners[24]) == 1


def test_node_outside_the_group_of_a_client_name_does_not_vote() -> None:
    friends = [Person(number) for number in range(10, 40)]
    stage, wires = Stage.among(*friends)
    names = [stage.name, *(friend.name for friend in friends)]
    far = next(
        person
        for person in map(Person, range(400, 600))
        if stage.name not in nearest(client_name(person.key), names, 8)
    )
    one = wires[0]
    body = RequestName(ClientAddress(one.person.name, far.key), None, [])
    envelope = far.seal(KIND, GroupAddress(client_name(far.key)), body, proxy=one.person.name)
    assert votes(one, one.say(FrameKind.GROUP_COPY, envelope)) == []
    assert stage.core.counters["name_request.not_ours"] == 1
