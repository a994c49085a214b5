"""Who may claim what: one sender for itself, and nobody alone for a group."""

from __future__ import annotations

import pytest

from routing.actions import Deliver, Failed
from routing.authority import (
    claim_fault,
    content_id,
    is_addressee,
    own_fault,
    quorum_of,
    sends_whole,
)
from routing.events import Proof
from routing.inputs import Submitted
from routing.limits import SECOND
from routing.messages import (
    Address,
    Authority,
    AuthorityKind,
    ClientAddress,
    Direct,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
    Signed,
    ViaAddress,
)
from routing.names import client_name
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
NODE, CLIENT = AuthorityKind.NODE, AuthorityKind.CLIENT
GROUPS = [AuthorityKind.CLIENT_GROUP, AuthorityKind.ELEMENT_GROUP, AuthorityKind.NODE_GROUP]
SINGLES = [MessageKind.MESSAGE, MessageKind.REQUEST]


def pair() -> tuple[Stage, Wire, Wire]:
    stage, (one, two) = Stage.among(ONE, TWO)
    return stage, one, two


def submit(
    stage: Stage,
    destination: Address,
    authority: Authority,
    *,
    kind: MessageKind = MessageKind.MESSAGE,
) -> Said:
    fact = Submitted(7, kind, destination, b"text", b"", False, SECOND, False, authority=authority)
    return stage.hear(fact)


# -- arithmetic


@pytest.mark.parametrize(
    ("size", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4), (8, 5)]
)
def test_quorum_is_five_or_most_of_a_smaller_group(size: int, quorum: int) -> None:
    assert quorum_of(size) == quorum
    assert 2 * quorum > size


def test_nobody_found_is_no_group_of_one() -> None:
    assert quorum_of(0) == 1, "and no voter is a member of it"


def test_exactly_one_member_sends_the_whole() -> None:
    group = [Person(number).name for number in range(8)]
    for number in range(50):
        digest = content_id(Authority(NODE, bytes(32)), NodeAddress(bytes(32)), bytes(number))
        assert sum(sends_whole(name, digest * 2, group) for name in group) == 1


def test_id_of_a_content_follows_from_all_that_it_says() -> None:
    authority, here = Authority(GROUPS[0], bytes(32)), NodeAddress(bytes(32))
    same = content_id(authority, here, b"text")
    assert same == content_id(Authority(GROUPS[0], bytes(32)), NodeAddress(bytes(32)), b"text")
    others = [
        content_id(Authority(GROUPS[1], bytes(32)), here, b"text"),
        content_id(authority, GroupAddress(bytes(32)), b"text"),
        content_id(authority, here, b"other"),
    ]
    assert len(same) == 16 and same not in others and len(set(others)) == 3


@pytest.mark.parametrize("kind", GROUPS)
def test_who_is_not_in_the_group_may_not_speak_for_it(kind: AuthorityKind) -> None:
    authority = Authority(kind, FAR.name)
    may = own_fault(authority, client=False, name=ONE.name, key=ONE.key, group=[ONE.name])
    assert may == ""
    for name, client, group in [
        (ONE.name, False, [TWO.name]),
        (ONE.name, False, []),
        (None, False, [ONE.name]),
        (ONE.name, True, [ONE.name]),
    ]:
        assert own_fault(authority, client=client, name=name, key=ONE.key, group=group)


def test_address_of_a_content_says_who_may_have_it() -> None:
    node, client = NodeAddress(ONE.name), ClientAddress(TWO.name, ONE.key)
    moved = ClientAddress(FAR.name, ONE.key)
    assert is_addressee(node, node) and not is_addressee(node, NodeAddress(TWO.name))
    assert not is_addressee(node, client) and not is_addressee(client, node)
    assert is_addressee(client, moved), "a client is its key"
    assert not is_addressee(client, ClientAddress(TWO.name, TWO.key))
    assert is_addressee(GroupAddress(bytes(32)), node)
    assert not is_addressee(GroupAddress(bytes(32)), client)
    assert not is_addressee(ViaAddress(ONE.name, ONE.name), node)


# -- claims that come in


@pytest.mark.parametrize("kind", SINGLES)
def test_node_speaks_for_itself_and_the_receiver_is_told_so(kind: MessageKind) -> None:
    stage, one, _ = pair()
    claim = Authority(NODE, FAR.name)
    letter = FAR.seal(kind, NodeAddress(stage.name), b"text", authority=claim)
    (delivered,) = one.routed(letter).of(Deliver)
    assert delivered.message.authority == claim and delivered.message.proof is Proof.SIGNATURE


def test_client_speaks_for_itself() -> None:
    stage, _, _ = pair()
    wire = stage.accept(FAR)
    wire.hello(HelloRole.CLIENT)
    claim = Authority(CLIENT, client_name(FAR.key))
    letter = FAR.seal(
        MessageKind.MESSAGE, NodeAddress(stage.name), b"text", proxy=stage.name, authority=claim
    )
    (delivered,) = wire.routed(letter).of(Deliver)
    assert delivered.message.authority == claim


@pytest.mark.parametrize("kind", SINGLES)
@pytest.mark.parametrize(
    "claim",
    [
        Authority(NODE, TWO.name),
        Authority(NODE, client_name(FAR.key)),
        Authority(CLIENT, client_name(FAR.key)),
        Authority(CLIENT, FAR.name),
        *(Authority(kind, FAR.name) for kind in GROUPS),
    ],
    ids=str,
)
def test_claim_that_does_not_fit_the_sender_is_refused(kind: MessageKind, claim: Authority) -> None:
    stage, one, _ = pair()
    letter = FAR.seal(kind, NodeAddress(stage.name), b"text", authority=claim, flags=1)
    said = one.routed(letter)
    assert said == [], "neither delivered nor acknowledged"
    assert stage.core.counters["authority.refused"] == 1


@pytest.mark.parametrize("kind", [NODE, *GROUPS])
def test_control_message_has_no_authority(kind: AuthorityKind) -> None:
    stage, one, _ = pair()
    here = NodeAddress(stage.name)
    one.routed(FAR.seal(MessageKind.GROUP_IS, here, b"", authority=Authority(kind, FAR.name)))
    assert stage.core.counters["authority.refused"] == 1


def test_claim_of_a_forged_source_is_a_forged_message() -> None:
    stage, one, _ = pair()
    claim = Authority(NODE, TWO.name)
    here = NodeAddress(stage.name)
    source = NodeAddress(TWO.name)
    said = one.routed(FAR.seal(MessageKind.MESSAGE, here, b"", authority=claim, source=source))
    assert said == [] and stage.core.counters["routed.forged"] == 1


def test_no_claim_has_no_fault() -> None:
    envelope = ONE.seal(MessageKind.MESSAGE, NodeAddress(TWO.name), b"text")
    assert claim_fault(opened(Signed, envelope.signed)) == ""


# -- claims of our own


def test_message_under_an_authority_is_signed_and_routed_also_to_a_peer() -> None:
    stage, one, _ = pair()
    claim = Authority(NODE, stage.name)
    said = submit(stage, NodeAddress(ONE.name), claim)
    (envelope,) = said.frames(one, FrameKind.ROUTED, Envelope)
    assert opened(Signed, envelope.signed).authority == claim
    assert said.frames(one, FrameKind.DIRECT, Direct) == []


def test_message_to_ourselves_keeps_its_authority() -> None:
    stage, _, _ = pair()
    claim = Authority(NODE, stage.name)
    (delivered,) = submit(stage, NodeAddress(stage.name), claim).of(Deliver)
    assert delivered.message.authority == claim


def test_client_claims_its_own_name() -> None:
    stage, wire = Stage.admitted(ONE, client=True)
    claim = Authority(CLIENT, client_name(stage.core.key))
    (envelope,) = submit(stage, NodeAddress(ONE.name), claim).frames(
        wire, FrameKind.ROUTED, Envelope
    )
    assert opened(Signed, envelope.signed).authority == claim


def refusals(said: Said) -> list[str]:
    return [each.reason for each in said.of(Failed)]


@pytest.mark.parametrize("kind", list(AuthorityKind))
def test_authority_that_is_not_ours_is_refused_at_once(kind: AuthorityKind) -> None:
    stage, _ = Stage.admitted(ONE, client=True)
    (reason,) = refusals(submit(stage, NodeAddress(ONE.name), Authority(kind, TWO.name)))
    assert reason.startswith("no authority: ")
    assert stage.core.counters["authority.not_ours"] == 1


@pytest.mark.parametrize("kind", [NODE, CLIENT])
def test_node_claims_no_other_name(kind: AuthorityKind) -> None:
    stage, _, _ = pair()
    for element in (ONE.name, client_name(stage.core.key)):
        said = submit(stage, NodeAddress(ONE.name), Authority(kind, element))
        assert refusals(said) and len(said) == 1


@pytest.mark.parametrize("kind", GROUPS)
def test_request_under_the_authority_of_a_group_is_refused(kind: AuthorityKind) -> None:
    stage, _, _ = pair()
    claim = Authority(kind, stage.name)
    said = submit(stage, NodeAddress(ONE.name), claim, kind=MessageKind.REQUEST)
    (reason,) = refusals(said)
    assert reason == "no authority: a group sends messages only; ask under CLIENT or NODE"
    assert stage.core.messaging.pending == {}
    assert stage.core.counters["authority.not_ours"] == 1


def test_request_of_a_node_is_sent_under_its_own_authority() -> None:
    stage, one, _ = pair()
    claim = Authority(NODE, stage.name)
    said = submit(stage, NodeAddress(ONE.name), claim, kind=MessageKind.REQUEST)
    (envelope,) = said.envelopes(one, MessageKind.REQUEST)
    assert opened(Signed, envelope.signed).authority == claim
    assert len(stage.core.messaging.pending) == 1


@pytest.mark.parametrize("element", [ONE.name, FAR.name])
def test_request_under_a_name_that_is_not_ours_is_refused(element: bytes) -> None:
    stage, _, _ = pair()
    claim = Authority(NODE, element)
    said = submit(stage, NodeAddress(ONE.name), claim, kind=MessageKind.REQUEST)
    assert refusals(said) and len(said) == 1 and stage.core.messaging.pending == {}


def test_joiner_on_its_proxy_is_in_no_group_yet() -> None:
    stage, _ = Stage.named(ONE)
    said = submit(stage, NodeAddress(ONE.name), Authority(GROUPS[1], stage.name))
    assert refusals(said)
