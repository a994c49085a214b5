"""Votes are weighed against the members of their group, whom a node or a client finds by asking."""

from __future__ import annotations

from hashlib import sha256

from routing.actions import Deliver
from routing.bodies import Ballot, Content, FindGroup, GroupIs
from routing.events import Proof
from routing.groups import RESOLUTIONS_MAX
from routing.limits import SECOND, Limits
from routing.messages import (
    Authority,
    AuthorityKind,
    ClientAddress,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    encode,
)
from routing.names import client_name, nearest
from tests.council import ID, Council, digest_of
from tests.persons import Person, opened
from tests.resolving import Resolving
from tests.support import Said, Stage

__all__: list[str] = []

STRANGER = Person(5_000)
DELAY = Limits().ballot_wanted_ns


# -- who the members are


def test_votes_wait_until_it_is_known_who_the_members_are() -> None:
    c = Council(far=True)
    said = c.votes(c.members, c.content())
    assert c.delivered(said) == [] and set(c.asked(said)) == set(c.group)
    (message,) = c.delivered(c.answer_all())
    assert message.payload == b"so be it"


def test_votes_of_others_that_waited_are_none() -> None:
    c = Council(far=True)
    c.votes(c.outsiders, c.content())
    assert c.delivered(c.answer_all()) == []
    assert c.count("ballot.not_member") == len(c.outsiders)
    assert c.stage.core.ballots.tallies == {} and c.stage.core.ballots.waiting.bytes == 0


def test_silent_member_is_asked_three_times_and_still_counts_for_the_size() -> None:
    c = Council(far=True)
    ghost = bytes([*c.element[:31], c.element[31] ^ 1])
    c.votes(c.members[:4], c.content())
    for person in c.members:
        c.answer(person, ghost, *c.group)
    said = c.stage.wait(5 * SECOND)
    assert c.asked(said).count(ghost) == 2, "beside the first time"
    group = c.stage.core.groups.known(c.element)
    assert group is not None and group.size == 8 and ghost not in group.members
    assert len(c.delivered(c.vote(c.members[4], c.content()))) == 1


def test_group_of_which_only_a_few_answer_is_no_small_group() -> None:
    c = Council(far=True)
    c.votes(c.members[:3], c.content())
    for wire in c.wires:
        if wire.person.name in c.group[3:]:
            wire.lose()
    for person in c.members[:3]:
        c.answer(person, *c.group)
    said = c.stage.wait(20 * SECOND)
    assert c.delivered(said) == []
    group = c.stage.core.groups.known(c.element)
    assert group is not None and group.size == 8


def test_member_that_came_after_the_group_was_found_makes_it_be_found_again() -> None:
    c = Council(far=True)
    c.votes(c.members[:4], c.content())
    c.answer_all()
    number = next(n for n in range(6_000, 9_000) if is_nearer(c, Person(n)))
    new = Person(number)
    assert c.asked(c.vote(new, c.content())) == [], "what was found a moment ago is believed"
    c.stage.wait(6 * SECOND)
    said = c.vote(new, c.content())
    assert set(c.asked(said)) == set(c.group)
    for person in c.members:
        said += c.answer(person, new.name, *c.group)
    assert c.delivered(said) == []
    assert len(c.delivered(c.answer(new, *c.group))) == 1


def is_nearer(c: Council, person: Person) -> bool:
    return person.name in nearest(c.element, [*c.group, person.name], 7)


def test_names_of_one_key_are_one_member() -> None:
    c = Council(far=True)
    c.vote(c.members[0], c.content())
    names = (STRANGER.renamed(Person(number)) for number in range(7_000, 9_000))
    twins = [twin for twin in names if is_nearer(c, twin)][:4]
    assert len(twins) == 4
    for person in c.members:
        c.answer(person, *(twin.name for twin in twins), *c.group)
    for twin in twins:
        c.answer(twin, *c.group)
    c.answer_all()
    assert c.count("group.two_names") == 3
    group = c.stage.core.groups.known(c.element)
    assert group is not None and sum(twin.name in group.members for twin in twins) == 1


def test_votes_whose_group_is_never_found_are_forgotten() -> None:
    c = Council(far=True)
    c.votes(c.members, c.content())
    for wire in c.wires:
        if wire.person.name in c.group:
            wire.lose()
    c.stage.wait(61 * SECOND)
    ballots = c.stage.core.ballots
    assert (ballots.tallies, ballots.unresolved, ballots.waiting.bytes) == ({}, {}, 0)


def test_groups_are_asked_for_in_turn_where_too_many_are_unknown() -> None:
    c = Council(far=True)
    for number in range(RESOLUTIONS_MAX + 1):
        element = sha256(bytes((number // 256, number % 256))).digest()
        authority = Authority(AuthorityKind.ELEMENT_GROUP, element)
        if c.stage.core.groups.known(element) is None:
            c.vote(c.members[0], c.content(authority=authority))
    groups, ballots = c.stage.core.groups, c.stage.core.ballots
    while len(groups.open) < RESOLUTIONS_MAX:
        number += 1
        element = sha256(bytes((number // 256, number % 256))).digest()
        authority = Authority(AuthorityKind.ELEMENT_GROUP, element)
        c.vote(c.members[0], c.content(authority=authority))
    assert c.asked(c.vote(c.members[0], c.content())) == []
    assert c.count("group.unresolved") >= 1 and c.element in ballots.unresolved
    said = c.stage.wait(6 * SECOND)
    assert set(c.asked(said)) == set(c.group), "asked once there is room"


def test_message_waits_no_longer_for_members_because_votes_do() -> None:
    r = Resolving()
    authority = Authority(AuthorityKind.ELEMENT_GROUP, r.target)
    content = Content(ID, authority, NodeAddress(r.stage.name), b"text")
    ballot = Ballot(ID, digest_of(content), encode(content))
    here = NodeAddress(r.stage.name)
    voter = r.by_name[r.group[-1]].person
    r.wires[1].routed(voter.seal(MessageKind.BALLOT, here, ballot, authority=authority))
    said = r.stage.wait(3 * SECOND // 2)
    assert r.copied(said) == set(r.group) - {r.stage.name}
    assert r.target in r.stage.core.groups.open, "the silent are asked again for the votes"


def test_second_answer_of_one_member_changes_nothing() -> None:
    c = Council(far=True)
    c.vote(c.members[0], c.content())
    assert c.asked(c.answer(c.members[0], STRANGER.name)) == [], "it is not among the nearest"
    known = list(c.stage.core.groups.open[c.element].known)
    c.answer(c.members[0], *(Person(number).name for number in range(300, 310)))
    assert c.stage.core.groups.open[c.element].known == known


# -- a client


class Told:
    """A client on its proxy, told something by the group that manages it."""

    def __init__(self) -> None:
        self.proxy = Person(1)
        self.stage, self.wire = Stage.admitted(self.proxy, client=True)
        self.element = client_name(self.stage.core.key)
        self.authority = Authority(AuthorityKind.CLIENT_GROUP, self.element)
        self.here = ClientAddress(self.proxy.name, self.stage.core.key)
        everybody = [Person(number) for number in range(10, 40)]
        names = nearest(self.element, [person.name for person in everybody], 8)
        self.members = [person for person in everybody if person.name in names]
        self.content = Content(ID, self.authority, self.here, b"you have been paid")

    def vote(self, person: Person, *, whole: bool = False) -> Said:
        digest = digest_of(self.content)
        body = Ballot(ID, digest, encode(self.content) if whole else b"")
        ballot = person.seal(MessageKind.BALLOT, self.here, body, authority=self.authority)
        return self.wire.routed(ballot)

    def questions(self, said: Said) -> list[object]:
        found: list[object] = []
        for envelope in said.envelopes(self.wire, MessageKind.FIND_GROUP):
            signed = opened(Signed, envelope.signed)
            assert opened(FindGroup, signed.body) == FindGroup(self.element, self.here)
            found.append(signed.destination)
        return found

    def answer(self, person: Person) -> Said:
        names = [each.name for each in self.members if each is not person]
        body = GroupIs(self.element, [person.name, *names])
        return self.wire.routed(person.seal(MessageKind.GROUP_IS, self.here, body))


def test_client_asks_the_group_itself_and_then_each_member() -> None:
    t = Told()
    assert t.questions(t.vote(t.members[0], whole=True)) == [GroupAddress(t.element)]
    asked = t.questions(t.answer(t.members[0]))
    assert sorted(map(str, asked)) == sorted(str(NodeAddress(p.name)) for p in t.members[1:])
    for person in t.members[1:]:
        t.answer(person)
    said = Said()
    for person in t.members[1:5]:
        said += t.vote(person)
    (message,) = [each.message for each in said.of(Deliver)]
    assert message.proof is Proof.QUORUM and message.source == GroupAddress(t.element)


def test_client_that_lacks_the_whole_asks_a_voter_by_its_proxy() -> None:
    t = Told()
    for person in t.members:
        t.vote(person)
    for person in t.members:
        t.answer(person)
    said = t.stage.wait(DELAY)
    assert len(said.envelopes(t.wire, MessageKind.WHOLE_WANTED)) == 1
    assert len(t.vote(t.members[3], whole=True).of(Deliver)) == 1


def test_client_whose_first_question_is_lost_asks_again() -> None:
    t = Told()
    t.vote(t.members[0])
    said = t.stage.wait(3 * SECOND // 2)
    assert t.questions(said) == [GroupAddress(t.element)]


def test_client_that_nobody_answers_gives_the_question_up() -> None:
    t = Told()
    t.vote(t.members[0])
    t.stage.wait(14 * SECOND)
    assert t.stage.core.counters["group.unknown"] == 1
    t.stage.wait(60 * SECOND)
    assert t.stage.core.ballots.tallies == {} and t.stage.core.ballots.unresolved == {}


def test_client_without_a_proxy_counts_what_it_cannot_ask() -> None:
    t = Told()
    for person in t.members[:4]:
        t.vote(person)
    t.wire.lose()
    t.stage.wait(10 * SECOND)
    assert t.stage.core.counters["group.no_path"] >= 1
