"""How a node comes by its name: it asks, members vote, more than half must agree."""

from __future__ import annotations

import pytest

from routing.actions import KeepCertificate
from routing.bodies import FindGroup, NameVote, RequestName
from routing.certificates import certified_name, founding_certificate, is_valid
from routing.errors import CloseCode
from routing.events import Renamed
from routing.inputs import StopRequested
from routing.limits import SECOND
from routing.messages import (
    Certificate,
    ClientAddress,
    GroupAddress,
    MessageKind,
    Signed,
    SignedKind,
    decode,
    encode,
    signed_text,
    vote_body,
)
from routing.names import nearest
from routing.state import Detail
from tests.persons import TAG, Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

PROXY = Person(1)
MEMBERS = [Person(number) for number in range(10, 18)]
A, B, C = (member.name for member in MEMBERS[:3])
KIND = MessageKind.REQUEST_NAME


def asking() -> tuple[Stage, Wire]:
    return Stage.admitted(PROXY)


def vote(wire: Wire, voter: Person, n1: bytes, n2: bytes, size: int) -> Said:
    core = wire.stage.core
    return wire.routed(voter.votes(core.key, n1, n2, size, proxy=PROXY.name))


def named(stage: Stage) -> bool:
    return stage.core.name is not None


# -- asking


def test_admitted_node_asks_the_group_of_its_client_name_through_its_proxy() -> None:
    stage, wire = asking()
    (envelope,) = stage.said.envelopes(wire, KIND)
    signed = opened(Signed, envelope.signed)
    own = ClientAddress(PROXY.name, stage.core.key)
    assert signed.source == own and signed.destination == GroupAddress(stage.core.client_name)
    assert opened(RequestName, signed.body) == RequestName(own, None, [])


@pytest.mark.parametrize("size", range(1, 9))
def test_name_is_taken_when_more_than_half_of_the_group_agree(size: int) -> None:
    stage, wire = asking()
    for number, member in enumerate(MEMBERS[:size], 1):
        vote(wire, member, A, B, size)
        assert named(stage) is (2 * number > size), number
        if named(stage):
            break
    assert stage.core.state.detail is Detail.RELOCATED


def test_name_follows_from_the_two_names_voted_for() -> None:
    stage, wire = asking()
    vote(wire, MEMBERS[0], A, B, 1)
    certificate = stage.core.certificate
    assert certificate is not None and (certificate.n1, certificate.n2) == (A, B)
    assert stage.name == certified_name(stage.core.key, certificate)
    assert is_valid(stage.core.key, certificate, signer=PROXY.signer, tag=TAG)


def test_certificate_is_kept_with_the_identity() -> None:
    stage, wire = asking()
    (kept,) = vote(wire, MEMBERS[0], A, B, 1).of(KeepCertificate)
    assert decode(Certificate, kept.certificate) == stage.core.certificate


def test_named_node_asks_for_its_group() -> None:
    stage, wire = asking()
    said = vote(wire, MEMBERS[0], A, B, 1)
    (find,) = said.messages(wire, MessageKind.FIND_GROUP, FindGroup)
    assert find.target == stage.name
    (envelope,) = said.envelopes(wire, MessageKind.FIND_GROUP)
    signed = decode(Signed, envelope.signed)
    assert signed is not None and signed.leave_out == stage.name


def test_lower_median_of_the_sizes_decides() -> None:
    stage, wire = asking()
    for member, size in zip(MEMBERS, (8, 8, 3), strict=False):
        vote(wire, member, A, B, size)
    assert not named(stage), "three of eight are too few"
    vote(wire, MEMBERS[3], A, B, 3)
    assert named(stage), "four, and the lower median is three"


def test_votes_for_other_names_do_not_add_up() -> None:
    stage, wire = asking()
    vote(wire, MEMBERS[0], A, B, 3)
    vote(wire, MEMBERS[1], B, A, 3)
    vote(wire, MEMBERS[2], A, C, 3)
    assert not named(stage)
    vote(wire, MEMBERS[3], A, B, 3)
    assert named(stage)


def test_member_counts_once_however_often_it_votes() -> None:
    stage, wire = asking()
    for _ in range(5):
        vote(wire, MEMBERS[0], A, B, 3)
    assert not named(stage)


def test_forged_vote_is_counted_and_counts_for_nothing() -> None:
    stage, wire = asking()
    member = MEMBERS[0]
    text = signed_text(SignedKind.VOTE, TAG, vote_body(stage.core.key, A, B, 2))
    wrong = NameVote(A, B, 1, member.signer.sign(text))
    destination = ClientAddress(PROXY.name, stage.core.key)
    wire.routed(member.seal(MessageKind.NAME_VOTE, destination, wrong))
    assert not named(stage) and stage.core.counters["vote.forged"] == 1


def test_vote_of_a_client_is_none() -> None:
    stage, wire = asking()
    member = MEMBERS[0]
    text = signed_text(SignedKind.VOTE, TAG, vote_body(stage.core.key, A, B, 1))
    right = NameVote(A, B, 1, member.signer.sign(text))
    destination = ClientAddress(PROXY.name, stage.core.key)
    wire.routed(member.seal(MessageKind.NAME_VOTE, destination, right, proxy=PROXY.name))
    assert not named(stage)


def test_vote_for_another_key_over_our_wire_is_not_ours() -> None:
    stage, wire = asking()
    wire.routed(MEMBERS[0].votes(MEMBERS[1].key, A, B, 1, proxy=PROXY.name))
    assert not named(stage)


def test_unasked_vote_changes_nothing() -> None:
    stage, wire = Stage.named(PROXY)
    name = stage.name
    vote(wire, MEMBERS[0], A, B, 1)
    assert stage.name == name and stage.core.counters["vote.unasked"] == 1


# -- asking again


def test_node_asks_again_every_second_five_times() -> None:
    stage, wire = asking()
    times = []
    for _ in range(38):
        said = stage.wait(SECOND // 2)
        times += [stage.now] * len(said.envelopes(wire, KIND))
    assert times == [SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND, 5 * SECOND]


def test_second_asking_proposes_the_two_nearest_names_that_any_vote_named() -> None:
    stage, wire = asking()
    vote(wire, MEMBERS[0], A, B, 8)
    vote(wire, MEMBERS[1], C, B, 8)
    (again,) = stage.wait(SECOND).messages(wire, KIND, RequestName)
    assert again.proposed == nearest(stage.core.client_name, [A, B, C], 2)


def test_votes_of_the_first_asking_do_not_count_for_the_second() -> None:
    stage, wire = asking()
    vote(wire, MEMBERS[0], A, B, 3)
    stage.wait(2 * SECOND)
    vote(wire, MEMBERS[1], A, B, 3)
    assert not named(stage)


def test_node_without_a_name_after_20_seconds_leaves_for_another_contact() -> None:
    stage, wire = asking()
    said = stage.wait(20 * SECOND)
    assert said.closed(wire) is CloseCode.NORMAL
    assert stage.core.state.detail is Detail.DISCONNECTED


def test_time_out_of_one_proxy_leaves_the_next_one_its_own_time() -> None:
    stage, wire = asking()
    stage.wait(15 * SECOND)
    wire.lose()
    while not stage.dialling:
        stage.wait(SECOND)
    proxy = stage.connect(PROXY)
    proxy.admit()
    began = stage.now
    stage.wait(began + 20 * SECOND - 1 - stage.now)
    assert proxy.open
    assert stage.wait(1).closed(proxy) is CloseCode.NORMAL


# -- the held name


def holding(number: int = 0) -> tuple[Stage, Wire, bytes]:
    """Return a node with a name from an earlier process, just admitted."""
    person = Person(number)
    certificate = person.renamed(MEMBERS[0]).certificate
    stage = Stage(number, contacts=[PROXY.address], certificate=encode(certificate))
    stage.start()
    wire = stage.connect(PROXY)
    wire.admit()
    return stage, wire, certified_name(person.key, certificate)


def test_certificate_kept_earlier_is_offered() -> None:
    stage, wire, name = holding()
    (asked,) = stage.said.messages(wire, KIND, RequestName)
    assert asked.held is not None and certified_name(stage.core.key, asked.held) == name


def test_confirmed_name_is_taken_again_without_an_event() -> None:
    stage, wire, name = holding()
    held = Person(0).renamed(MEMBERS[0]).certificate
    vote(wire, MEMBERS[0], held.n1, held.n2, 1)
    assert stage.name == name
    assert stage.said.events(Renamed) == []


def test_another_name_is_told_as_renamed() -> None:
    stage, wire, name = holding()
    said = vote(wire, MEMBERS[0], B, C, 1)
    assert said.events(Renamed) == [Renamed(name, stage.name, own=True)]


def test_name_held_for_20_minutes_is_offered_no_longer() -> None:
    certificate = Person(0).renamed(MEMBERS[0]).certificate
    stage = Stage(contacts=[PROXY.address], certificate=encode(certificate))
    stage.start()
    stage.wait(1_200 * SECOND)
    while not stage.dialling:
        stage.wait(SECOND)
    wire = stage.connect(PROXY)
    wire.admit()
    (asked,) = stage.said.messages(wire, KIND, RequestName)
    assert asked.held is None


def test_name_from_before_counts_from_the_start_of_the_process() -> None:
    certificate = Person(0).renamed(MEMBERS[0]).certificate
    stage = Stage(contacts=[PROXY.address], certificate=encode(certificate))
    stage.wait(1_200 * SECOND)
    stage.start()
    wire = stage.connect(PROXY)
    wire.admit()
    (asked,) = stage.said.messages(wire, KIND, RequestName)
    assert asked.held == certificate


@pytest.mark.parametrize("kept", [b"rubbish", encode(founding_certificate(Person(5).key))])
def test_kept_certificate_that_is_not_ours_is_not_offered(kept: bytes) -> None:
    stage = Stage(contacts=[PROXY.address], certificate=kept)
    stage.start()
    wire = stage.connect(PROXY)
    wire.admit()
    (asked,) = stage.said.messages(wire, KIND, RequestName)
    assert asked.held is None


def test_stop_while_asking_leaves_nothing() -> None:
    stage, wire = asking()
    said = stage.hear(StopRequested())
    assert said.closed(wire) is CloseCode.STOPPING and stage.core.next_deadline() is None
