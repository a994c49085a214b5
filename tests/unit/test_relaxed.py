"""Two nodes of which only one can dial the other: strict, relaxed at both ends, and mixed."""

from __future__ import annotations

import pytest

from routing.bodies import ConnectRequest, ConnectResponse
from routing.errors import CloseCode, Outcome
from routing.events import ConnectFailed, PeerUp
from routing.limits import SECOND
from routing.messages import (
    Ack,
    Confirmation,
    FrameKind,
    HelloRole,
    MessageKind,
    SecondaryFailed,
    Signed,
    encode,
)
from routing.state import Direction, LinkRole
from tests.pair import Pair
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

LOW, HIGH = 0, 1
FRIEND, PEER = Person(1), Person(2)
BOTH = (True, True)
IN_FULL = 15 * SECOND


def outcomes(pair: Pair, index: int) -> list[Outcome]:
    return [each.outcome for each in pair.stages[index].said.events(ConnectFailed)]


def assert_one_way(pair: Pair) -> None:
    """Assert one connection, known to both as one way, that the reachable one was dialled for."""
    pair.assert_connected()
    for index in (LOW, HIGH):
        (link,) = pair.links(index)
        assert link.one_way
        ups = pair.stages[index].said.events(PeerUp)
        assert [up.one_way for up in ups if up.name == pair.stages[1 - index].name] == [True]


# -- both relaxed


@pytest.mark.parametrize("starter", [LOW, HIGH])
def test_relaxed_pair_that_can_dial_both_ways_is_connected_both_ways(starter: int) -> None:
    pair = Pair(relaxed=BOTH)
    pair.ask(starter)
    pair.run()
    pair.assert_connected()
    assert not any(pair.links(index)[0].one_way for index in (LOW, HIGH))


@pytest.mark.parametrize("starter", [LOW, HIGH])
def test_relaxed_responder_that_cannot_be_dialled_is_connected_one_way(starter: int) -> None:
    pair = Pair(relaxed=BOTH)
    pair.unreachable.add(1 - starter)
    pair.ask(starter)
    pair.wait(IN_FULL - SECOND)
    assert pair.roles() == [[LinkRole.PRIMARY]] * 2, "the time has not run out in full"
    pair.wait(2 * SECOND)
    assert_one_way(pair)
    assert pair.links(1 - starter)[0].outbound, "who cannot be dialled has dialled"
    assert outcomes(pair, LOW) == outcomes(pair, HIGH) == []


@pytest.mark.parametrize("starter", [LOW, HIGH])
def test_relaxed_requester_that_cannot_be_dialled_is_asked_in_turn(starter: int) -> None:
    pair = Pair(relaxed=BOTH)
    pair.unreachable.add(starter)
    pair.ask(starter)
    pair.wait(IN_FULL - SECOND)
    assert pair.roles()[1 - starter] == [LinkRole.SECONDARY], "not before the time has run out"
    pair.wait(IN_FULL + 5 * SECOND)
    assert_one_way(pair)
    assert pair.links(starter)[0].outbound
    assert outcomes(pair, starter) == [Outcome.LOST_PRIORITY]
    assert outcomes(pair, 1 - starter) == [Outcome.PRIMARY_FAILED]
    assert pair.stages[1 - starter].core.counters["attempt.turned_round"] == 1


def test_crossing_requests_of_which_one_end_cannot_be_dialled_connect_one_way() -> None:
    for hidden in (LOW, HIGH):
        pair = Pair(relaxed=BOTH)
        pair.unreachable.add(hidden)
        pair.ask(LOW)
        pair.ask(HIGH)
        pair.wait(2 * IN_FULL + 5 * SECOND)
        assert_one_way(pair)


def test_two_that_cannot_be_dialled_are_never_connected() -> None:
    pair = Pair(relaxed=BOTH)
    pair.unreachable.update((LOW, HIGH))
    pair.ask(LOW)
    pair.wait(40 * SECOND)
    assert pair.roles() == [[], []]
    assert outcomes(pair, HIGH) == [Outcome.PRIMARY_FAILED]
    assert outcomes(pair, LOW) == [Outcome.EXPIRED]
    assert "attempt.turned_round" not in pair.stages[HIGH].core.counters
    pair.assert_nothing_pending()


# -- strict, or relaxed at one end


@pytest.mark.parametrize("relaxed", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("starter", [LOW, HIGH])
def test_unless_both_are_relaxed_the_attempt_ends_not_reachable_at_both(
    relaxed: tuple[bool, bool], starter: int
) -> None:
    pair = Pair(relaxed=relaxed)
    pair.unreachable.add(1 - starter)
    pair.ask(starter)
    pair.wait(IN_FULL + 2 * SECOND)
    assert outcomes(pair, LOW) == outcomes(pair, HIGH) == [Outcome.NOT_REACHABLE]
    assert pair.roles() == [[], []]
    pair.assert_nothing_pending()


@pytest.mark.parametrize("relaxed", [(False, False), (True, False), (False, True)])
def test_unless_both_are_relaxed_nobody_is_asked_in_turn(relaxed: tuple[bool, bool]) -> None:
    pair = Pair(relaxed=relaxed)
    pair.unreachable.add(LOW)
    pair.ask(LOW)
    pair.run()
    assert outcomes(pair, HIGH) == [Outcome.PRIMARY_FAILED], "at once"
    pair.wait(40 * SECOND)
    assert pair.roles() == [[], []]


# -- what is signed, and what is not agreed


class Asked:
    """A relaxed or strict core that PEER, through FRIEND, asks for a connection."""

    def __init__(self, *, ours: bool = True, theirs: bool = True) -> None:
        self.stage, (self.friend,) = Stage.among(FRIEND, relaxed=ours)
        request = PEER.request(self.stage.name, hop=FRIEND.name, relaxed=theirs)
        self.attempt = request.attempt
        self.said = self.friend.routed(PEER.asks(request))

    def told_of_failure(self) -> tuple[Wire, Said]:
        primary = self.stage.connect(PEER)
        primary.say(FrameKind.ACK, Ack(self.attempt))
        return primary, primary.say(FrameKind.SECONDARY_FAILED, SecondaryFailed(self.attempt))


class Asking:
    """A relaxed or strict core that has asked PEER, and has dialled it in vain."""

    def __init__(self, *, ours: bool = True, theirs: bool = True) -> None:
        self.stage, (friend,) = Stage.among(FRIEND, relaxed=ours)
        (asked,) = friend.names(PEER.name).envelopes(friend, MessageKind.CONNECT_REQUEST)
        self.request = opened(ConnectRequest, opened(Signed, asked.signed).body)
        answer = PEER.answers(asked, relaxed=theirs)
        friend.routed(answer)
        self.primary = self.stage.accept(PEER)
        response = encode(answer)
        self.primary.hello(HelloRole.PRIMARY, self.request.attempt, response=response)

    def confirm(self, *, one_way: bool = True) -> Said:
        record = Confirmation(self.request.attempt, one_way)
        return self.primary.say(FrameKind.CONFIRMATION, record)


@pytest.mark.parametrize("ours", [True, False])
def test_request_and_response_say_whether_we_are_relaxed(ours: bool) -> None:
    assert Asking(ours=ours).request.relaxed is ours
    a = Asked(ours=ours)
    kind = MessageKind.CONNECT_RESPONSE
    (response,) = a.said.messages(a.friend, kind, ConnectResponse)
    assert response.relaxed is ours


def test_responder_confirms_one_way_only_with_the_primary_acknowledged() -> None:
    a = Asked()
    primary = a.stage.connect(PEER)
    said = primary.say(FrameKind.SECONDARY_FAILED, SecondaryFailed(a.attempt))
    assert said.bodies(primary, FrameKind.CONFIRMATION) == []
    said = primary.say(FrameKind.ACK, Ack(a.attempt))
    confirmed = said.frames(primary, FrameKind.CONFIRMATION, Confirmation)
    assert confirmed == [Confirmation(a.attempt, one_way=True)]
    assert said.events(PeerUp) == [PeerUp(PEER.name, PEER.key, Direction.OUTBOUND, True)]


@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True), (False, False)])
def test_responder_that_is_not_agreed_closes_not_reachable(ours: bool, theirs: bool) -> None:
    primary, said = Asked(ours=ours, theirs=theirs).told_of_failure()
    assert said.closed(primary) is CloseCode.NOT_REACHABLE
    assert [each.outcome for each in said.events(ConnectFailed)] == [Outcome.NOT_REACHABLE]


def test_requester_takes_one_way_where_it_was_agreed_and_is_so() -> None:
    a = Asking()
    a.stage.wait(IN_FULL)
    said = a.confirm()
    assert said.events(PeerUp) == [PeerUp(PEER.name, PEER.key, Direction.INBOUND, True)]
    assert a.primary.link is not None and a.primary.link.one_way


def test_peer_that_we_could_not_dial_is_told_to_nobody_as_a_contact() -> None:
    a = Asking()
    a.stage.wait(IN_FULL)
    a.confirm()
    assert a.stage.core.peers.endpoints[PEER.name] == []
    assert PEER.address not in map(str, a.stage.core.book.all_contacts())


@pytest.mark.parametrize(
    ("ours", "theirs", "waited"),
    [(True, False, True), (False, True, True), (False, False, True), (True, True, False)],
    ids=["they are strict", "we are strict", "both are strict", "the time has not run out"],
)
def test_one_way_that_was_not_agreed_closes_bad_frame(
    ours: bool, theirs: bool, waited: bool
) -> None:
    a = Asking(ours=ours, theirs=theirs)
    if waited:
        a.stage.wait(IN_FULL)
    said = a.confirm()
    assert said.closed(a.primary) is CloseCode.BAD_FRAME and said.events(PeerUp) == []


def test_responder_that_claims_a_secondary_we_never_made_is_not_believed() -> None:
    a = Asking()
    a.stage.wait(IN_FULL)
    said = a.confirm(one_way=False)
    assert said.closed(a.primary) is CloseCode.BAD_FRAME and said.events(PeerUp) == []


def test_secondary_that_was_given_up_does_not_come_through_after_all() -> None:
    a = Asking()
    number = a.stage.dial_to(PEER.address)
    said = a.stage.wait(IN_FULL)
    assert len(said.bodies(a.primary, FrameKind.SECONDARY_FAILED)) == 1
    assert number in a.stage.cancelled
    late = a.stage.connect(PEER, number)
    assert late.opening.closed(late) is CloseCode.NORMAL
    assert late.opening.bodies(late, FrameKind.HELLO) == []


def test_responder_asks_in_turn_only_who_has_dialled_it() -> None:
    a = Asked()
    a.stage.fail(a.stage.dial_to(PEER.address))
    said = a.stage.wait(40 * SECOND)
    assert said.envelopes(a.friend, MessageKind.CONNECT_REQUEST) == []
    failed = said.events(ConnectFailed)
    assert [each.outcome for each in failed] == [Outcome.PRIMARY_FAILED]


def test_request_in_turn_goes_where_the_answer_went_and_says_nothing_of_the_dial() -> None:
    a = Asked()
    a.stage.fail(a.stage.dial_to(PEER.address))
    a.stage.accept(PEER).hello(HelloRole.SECONDARY, a.attempt)
    said = a.stage.wait(IN_FULL - 1)
    assert said.envelopes(a.friend, MessageKind.CONNECT_REQUEST) == []
    (asked,) = a.stage.wait(1).envelopes(a.friend, MessageKind.CONNECT_REQUEST)
    signed = opened(Signed, asked.signed)
    (given,) = a.said.envelopes(a.friend, MessageKind.CONNECT_RESPONSE)
    assert signed.destination == opened(Signed, given.signed).destination
    request = opened(ConnectRequest, signed.body)
    assert request.attempt != a.attempt and request.target == PEER.name and request.relaxed
