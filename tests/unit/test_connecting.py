"""The two-way connect at its requester, against a scripted responder."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.bodies import ConnectRefused, ConnectRequest
from routing.errors import CloseCode, DialFailure, Outcome, Refusal
from routing.events import ConnectFailed, PeerDown, PeerUp, Renamed
from routing.limits import SECOND
from routing.messages import (
    Ack,
    Certificate,
    ClientAddress,
    Confirmation,
    Envelope,
    FrameKind,
    HelloRole,
    MessageKind,
    NodeAddress,
    SecondaryFailed,
    Signed,
    ViaAddress,
    encode,
)
from routing.state import Direction, LinkRole
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

FRIEND, PEER, STRANGER = Person(1), Person(2), Person(3)


class Asking:
    """A core that has asked PEER for a connection, through its neighbour FRIEND."""

    def __init__(self) -> None:
        self.stage, (self.friend,) = Stage.among(FRIEND)
        self.said = self.friend.names(PEER.name)
        (self.asked,) = self.said.envelopes(self.friend, MessageKind.CONNECT_REQUEST)
        self.signed = opened(Signed, self.asked.signed)
        self.request = opened(ConnectRequest, self.signed.body)
        self.attempt = self.request.attempt
        self.answer = PEER.answers(self.asked)

    def respond(self) -> Said:
        """Let the response come; the core dials the secondary."""
        return self.friend.routed(self.answer)

    def primary(self) -> Wire:
        """Let the peer dial and say Hello(PRIMARY), the response riding in it."""
        wire = self.stage.accept(PEER)
        wire.opening = wire.hello(HelloRole.PRIMARY, self.attempt, response=encode(self.answer))
        return wire

    def confirm(self, wire: Wire) -> Said:
        return wire.say(FrameKind.CONFIRMATION, Confirmation(self.attempt, one_way=False))

    def outcomes(self) -> list[Outcome]:
        return [each.outcome for each in self.stage.said.events(ConnectFailed)]


# -- asking


def test_request_is_signed_and_says_how_to_answer() -> None:
    a = Asking()
    core = a.stage.core
    assert a.signed.source == NodeAddress(a.stage.name) and a.signed.key == core.key
    assert a.signed.destination == NodeAddress(PEER.name)
    assert a.request.reply_to == ViaAddress(FRIEND.name, a.stage.name)
    assert a.request.target == PEER.name and a.request.endpoints == core.endpoints
    assert a.request.incarnation == core.incarnation
    assert a.request.urgent, "PEER belongs to the close group of a small network"


def test_node_without_a_connection_asks_through_its_proxy() -> None:
    stage, proxy = Stage.named(FRIEND)
    said = proxy.group_is(stage.name, FRIEND.name)
    (request,) = said.messages(proxy, MessageKind.CONNECT_REQUEST, ConnectRequest)
    assert request.reply_to == ClientAddress(FRIEND.name, stage.core.key)


def test_name_is_asked_for_once_while_an_attempt_with_it_is_alive() -> None:
    a = Asking()
    assert a.friend.names(PEER.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST) == []


def test_own_name_is_never_asked_for() -> None:
    a = Asking()
    assert a.friend.names(a.stage.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST) == []


def test_unanswered_request_is_sent_again_identically_at_1_3_8_and_20_seconds() -> None:
    a = Asking()
    times: list[int] = []
    while a.stage.now < 29 * SECOND:
        said = a.stage.wait(SECOND // 20)
        for envelope in said.envelopes(a.friend, MessageKind.CONNECT_REQUEST):
            assert envelope.signed == a.asked.signed, "the identical signed request"
            times.append(a.stage.now)
    assert len(times) == 4
    gaps = [at - before for at, before in zip(times, [0, *times], strict=False)]
    for gap, nominal in zip(gaps, (1, 2, 5, 12), strict=True):
        low, high = nominal * SECOND * 3 // 4, nominal * SECOND * 5 // 4 + SECOND // 20
        assert low <= gap <= high, (gap, nominal)


def test_each_sending_takes_another_route_number_or_relays_would_drop_it() -> None:
    a = Asking()
    said = a.stage.wait(29 * SECOND)
    routes = [each.route for each in said.envelopes(a.friend, MessageKind.CONNECT_REQUEST)]
    assert [a.asked.route, *routes] == [0, 1, 2, 3, 4]


def test_request_is_not_sent_again_once_it_is_answered() -> None:
    a = Asking()
    a.respond()
    said = a.stage.wait(10 * SECOND)
    assert said.envelopes(a.friend, MessageKind.CONNECT_REQUEST) == []


def test_attempt_without_an_answer_ends_after_30_seconds() -> None:
    a = Asking()
    a.stage.wait(30 * SECOND - 1)
    assert a.outcomes() == []
    a.stage.wait(1)
    assert a.outcomes() == [Outcome.EXPIRED]


def test_name_that_failed_is_asked_for_again_only_after_20_seconds_or_so() -> None:
    a = Asking()
    a.stage.wait(30 * SECOND)
    assert a.friend.names(PEER.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST) == []
    a.stage.wait(17 * SECOND)
    assert a.friend.names(PEER.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST) == []
    a.stage.wait(6 * SECOND)
    assert len(a.friend.names(PEER.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST)) == 1


# -- the response


def test_response_leads_to_a_dial_of_the_one_who_signed_it() -> None:
    a = Asking()
    said = a.respond()
    assert said.dials() == [PEER.address]
    assert a.stage.dialling[a.stage.dial_to(PEER.address)].expect == PEER.key


def test_first_answer_sets_the_deadline_to_35_seconds_once() -> None:
    a = Asking()
    a.stage.wait(20 * SECOND)
    a.respond()
    a.stage.wait(10 * SECOND)
    a.friend.routed(structs.replace(a.answer, route=1))
    a.stage.wait(25 * SECOND - 1)
    assert a.outcomes() == []
    a.stage.wait(1)
    assert a.outcomes() == [Outcome.EXPIRED]


def test_response_of_a_node_that_was_not_asked_is_refused() -> None:
    a = Asking()
    said = a.friend.routed(STRANGER.answers(a.asked))
    assert said.dials() == []
    assert a.stage.core.counters["response.refused"] == 1


def test_response_of_another_with_the_certificate_of_the_asked_is_refused() -> None:
    a = Asking()
    said = a.friend.routed(STRANGER.answers(a.asked, certificate=PEER.certificate))
    assert said.dials() == []


def test_response_to_an_attempt_we_never_began_is_refused() -> None:
    a = Asking()
    other = structs.replace(a.request, attempt=bytes(16))
    foreign = PEER.answers(a.stage.person.asks(other))
    assert a.friend.routed(foreign).dials() == []
    assert a.stage.core.counters["response.unasked"] == 1


def test_response_that_quotes_another_request_is_refused() -> None:
    a = Asking()
    said = a.friend.routed(PEER.answers(a.asked, digest=bytes(32)))
    assert said.dials() == []
    assert a.stage.core.counters["response.refused"] == 1


def test_response_with_a_wrong_signature_is_refused() -> None:
    a = Asking()
    forged = structs.replace(a.answer, signature=bytes(64))
    assert a.friend.routed(forged).dials() == []
    assert a.stage.core.counters["routed.forged"] == 1


def test_response_with_an_invalid_certificate_is_refused() -> None:
    a = Asking()
    unvoted = Certificate(FRIEND.name, FRIEND.name, [])
    assert a.friend.routed(PEER.answers(a.asked, certificate=unvoted)).dials() == []


def test_second_response_changes_nothing() -> None:
    a = Asking()
    a.respond()
    second = PEER.answers(a.asked, endpoints=["127.0.0.77:4000"])
    assert a.friend.routed(second).dials() == []


def test_response_may_list_endpoints_that_nobody_dials() -> None:
    a = Asking()
    listed = ["10.1.1.1:4000", "224.0.0.1:4000", "127.0.0.5:80", "no address", PEER.address]
    said = a.friend.routed(PEER.answers(a.asked, endpoints=listed))
    assert said.dials() == [PEER.address]
    assert a.stage.core.counters["endpoint.refused"] == 4


# -- refused


def refusal(person: Person, a: Asking, reason: int) -> Envelope:
    body = ConnectRefused(a.attempt, reason)
    return person.seal(MessageKind.CONNECT_REFUSED, a.request.reply_to, body)


def test_refusal_ends_the_attempt_with_its_reason() -> None:
    a = Asking()
    a.friend.routed(refusal(PEER, a, Refusal.NOT_WANTED))
    (failed,) = a.stage.said.events(ConnectFailed)
    assert failed == ConnectFailed(PEER.name, Outcome.REFUSED, Refusal.NOT_WANTED, True)


def test_refusal_for_a_reason_we_do_not_know_counts_as_busy() -> None:
    a = Asking()
    a.friend.routed(refusal(PEER, a, 200))
    assert [each.refusal for each in a.stage.said.events(ConnectFailed)] == [Refusal.BUSY]


def test_refusal_by_another_than_the_asked_is_ignored() -> None:
    a = Asking()
    a.friend.routed(refusal(STRANGER, a, Refusal.NOT_WANTED))
    assert a.outcomes() == []
    assert a.stage.core.counters["refusal.forged"] == 1


def test_refusal_after_a_response_is_ignored() -> None:
    a = Asking()
    a.respond()
    a.friend.routed(refusal(PEER, a, Refusal.BUSY))
    assert a.outcomes() == []


# -- primary and confirmation


def test_pair_is_consolidated_on_the_primary_once_it_is_confirmed() -> None:
    a = Asking()
    a.respond()
    primary = a.primary()
    assert primary.opening.frames(primary, FrameKind.ACK, Ack) == [Ack(a.attempt)]
    secondary = a.stage.connect(PEER)
    said = a.confirm(primary)
    assert primary.role() is LinkRole.CONSOLIDATED
    assert said.closed(secondary) is CloseCode.SECONDARY_DONE
    assert said.events(PeerUp) == [PeerUp(PEER.name, PEER.key, Direction.INBOUND)]
    assert a.stage.core.attempts.live() == [] and a.stage.dialling == {}


def test_lost_response_does_not_matter_for_it_rides_in_the_hello() -> None:
    a = Asking()
    primary = a.primary()
    assert primary.role() is LinkRole.PRIMARY
    secondary = a.stage.connect(PEER)
    assert secondary.role() is LinkRole.SECONDARY
    a.confirm(primary)
    assert primary.role() is LinkRole.CONSOLIDATED


def test_hello_with_the_response_sets_the_deadline_like_a_response() -> None:
    a = Asking()
    a.stage.wait(29 * SECOND)
    a.primary()
    a.stage.wait(35 * SECOND - 1)
    assert a.outcomes() == []
    a.stage.wait(1)
    assert a.outcomes() == [Outcome.EXPIRED]


CARRIED = [
    "nothing",
    "rubbish",
    "a stranger's",
    "another request's",
    "another attempt's",
    "another process's",
    "a forged one",
    "a message",
]


@pytest.mark.parametrize("carried", CARRIED)
def test_primary_without_a_valid_response_in_its_hello_closes_bad_hello(carried: str) -> None:
    a = Asking()
    other = structs.replace(a.request, attempt=bytes(16))
    response = {
        "nothing": b"",
        "rubbish": b"rubbish",
        "a stranger's": encode(STRANGER.answers(a.asked)),
        "another request's": encode(PEER.answers(a.asked, digest=bytes(32))),
        "another attempt's": encode(PEER.answers(a.stage.person.asks(other))),
        "another process's": encode(PEER.restarted().answers(a.asked)),
        "a forged one": encode(structs.replace(a.answer, signature=bytes(64))),
        "a message": encode(PEER.seal(MessageKind.MESSAGE, NodeAddress(a.stage.name), b"")),
    }[carried]
    wire = a.stage.accept(PEER)
    said = wire.hello(HelloRole.PRIMARY, a.attempt, response=response)
    assert said.closed(wire) is CloseCode.BAD_HELLO
    assert a.outcomes() == [], "the attempt goes on without it"


def test_primary_of_a_stranger_who_carries_the_right_response_closes_bad_hello() -> None:
    a = Asking()
    wire = a.stage.accept(STRANGER)
    said = wire.hello(HelloRole.PRIMARY, a.attempt, response=encode(a.answer))
    assert said.closed(wire) is CloseCode.BAD_HELLO


def test_second_primary_of_one_attempt_closes_bad_hello() -> None:
    a = Asking()
    first = a.primary()
    second = a.primary()
    assert second.opening.closed(second) is CloseCode.BAD_HELLO
    assert first.role() is LinkRole.PRIMARY


def test_requester_is_not_waiting_for_a_secondary() -> None:
    a = Asking()
    wire = a.stage.accept(PEER)
    assert wire.hello(HelloRole.SECONDARY, a.attempt).closed(wire) is CloseCode.BAD_HELLO


@pytest.mark.parametrize("wrong", ["attempt", "one way", "a secondary we never made"])
def test_confirmation_of_another_kind_than_agreed_closes_and_ends_the_attempt(wrong: str) -> None:
    a = Asking()
    primary = a.primary()
    if wrong != "a secondary we never made":
        a.stage.connect(PEER)
    record = {
        "attempt": Confirmation(bytes(16), False),
        "one way": Confirmation(a.attempt, True),
        "a secondary we never made": Confirmation(a.attempt, False),
    }[wrong]
    said = primary.say(FrameKind.CONFIRMATION, record)
    assert said.closed(primary) is CloseCode.BAD_FRAME
    assert a.outcomes() == [Outcome.PRIMARY_LOST]


def test_confirmation_on_the_secondary_closes_it_and_consolidates_nothing() -> None:
    a = Asking()
    a.respond()
    secondary = a.stage.connect(PEER)
    said = a.confirm(secondary)
    assert said.closed(secondary) is CloseCode.BAD_FRAME
    assert said.events(PeerUp) == []


def test_ack_from_the_responder_goes_the_wrong_way_and_closes() -> None:
    a = Asking()
    primary = a.primary()
    said = primary.say(FrameKind.ACK, Ack(a.attempt))
    assert said.closed(primary) is CloseCode.BAD_FRAME


def test_secondary_failed_from_the_responder_goes_the_wrong_way_and_closes() -> None:
    a = Asking()
    primary = a.primary()
    said = primary.say(FrameKind.SECONDARY_FAILED, SecondaryFailed(a.attempt))
    assert said.closed(primary) is CloseCode.BAD_FRAME


# -- losses


def test_lost_secondary_does_not_end_the_attempt() -> None:
    a = Asking()
    a.respond()
    secondary = a.stage.connect(PEER)
    secondary.lose()
    assert a.outcomes() == []
    primary = a.primary()
    a.confirm(primary)
    assert primary.role() is LinkRole.CONSOLIDATED


def test_lost_primary_ends_the_attempt_and_closes_the_secondary() -> None:
    a = Asking()
    a.respond()
    secondary = a.stage.connect(PEER)
    said = a.primary().lose()
    assert a.outcomes() == [Outcome.PRIMARY_LOST]
    assert said.closed(secondary) is CloseCode.NORMAL


def test_expiry_closes_every_socket() -> None:
    a = Asking()
    a.respond()
    secondary, primary = a.stage.connect(PEER), a.primary()
    said = a.stage.wait(35 * SECOND)
    assert said.closed(secondary) is said.closed(primary) is CloseCode.EXPIRED
    assert a.outcomes() == [Outcome.EXPIRED]


def test_expiry_cancels_every_dial() -> None:
    a = Asking()
    listed = [PEER.address, "127.0.0.78:4000"]
    a.friend.routed(PEER.answers(a.asked, endpoints=listed))
    a.stage.wait(35 * SECOND)
    assert sorted(a.stage.cancelled) == sorted(a.stage.dialling) and len(a.stage.dialling) == 2


def test_dial_that_connects_after_its_attempt_expired_is_closed() -> None:
    a = Asking()
    a.respond()
    dial = a.stage.dial_to(PEER.address)
    a.stage.wait(35 * SECOND)
    wire = a.stage.connect(PEER, dial)
    assert wire.opening.closed(wire) is CloseCode.NORMAL


def test_dial_that_reaches_another_identity_is_closed_and_proves_nothing() -> None:
    a = Asking()
    a.respond()
    wire = a.stage.connect(STRANGER, a.stage.dial_to(PEER.address))
    assert wire.opening.closed(wire) is CloseCode.WRONG_IDENTITY
    assert wire.opening.bodies(wire, FrameKind.HELLO) == []


# -- the secondary cannot be made


def test_secondary_failed_is_told_only_when_the_dial_timeout_has_run_out_in_full() -> None:
    a = Asking()
    a.respond()
    primary = a.primary()
    a.stage.fail(a.stage.dial_to(PEER.address))
    said = a.stage.wait(15 * SECOND - 1)
    assert said.bodies(primary, FrameKind.SECONDARY_FAILED) == []
    said = a.stage.wait(1)
    told = said.frames(primary, FrameKind.SECONDARY_FAILED, SecondaryFailed)
    assert told == [SecondaryFailed(a.attempt)]


def test_primary_that_comes_after_the_timeout_hears_of_the_failure_at_once() -> None:
    a = Asking()
    a.respond()
    a.stage.fail(a.stage.dial_to(PEER.address), DialFailure.TIMED_OUT)
    a.stage.wait(15 * SECOND)
    primary = a.primary()
    assert len(primary.opening.bodies(primary, FrameKind.SECONDARY_FAILED)) == 1


def test_secondary_that_was_made_in_time_is_never_told_to_have_failed() -> None:
    a = Asking()
    a.respond()
    primary = a.primary()
    a.stage.connect(PEER)
    said = a.stage.wait(20 * SECOND)
    assert said.bodies(primary, FrameKind.SECONDARY_FAILED) == []


# -- one key, one name


def test_key_that_consolidates_under_another_name_leaves_its_old_one() -> None:
    a = Asking()
    a.respond()
    a.stage.connect(PEER)
    a.confirm(old := a.primary())
    renamed = PEER.renamed(FRIEND)
    said = a.friend.names(renamed.name)
    (asked,) = said.envelopes(a.friend, MessageKind.CONNECT_REQUEST)
    request = opened(ConnectRequest, opened(Signed, asked.signed).body)
    answer = renamed.answers(asked)
    a.friend.routed(answer)
    primary = a.stage.accept(renamed)
    primary.hello(HelloRole.PRIMARY, request.attempt, response=encode(answer))
    a.stage.connect(renamed)
    said = primary.say(FrameKind.CONFIRMATION, Confirmation(request.attempt, one_way=False))
    assert said.events(Renamed) == [Renamed(PEER.name, renamed.name, own=False)]
    assert said.closed(old) is CloseCode.REPLACED
    assert said.events(PeerDown) == [PeerDown(PEER.name, PEER.key, CloseCode.REPLACED)]
    assert set(a.stage.core.table.names()) == {FRIEND.name, renamed.name}
