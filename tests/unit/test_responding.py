"""The two-way connect at its responder, against a scripted requester."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing.bodies import ConnectResponse
from routing.errors import CloseCode, Outcome
from routing.events import PeerUp
from routing.limits import SECOND
from routing.messages import (
    Ack,
    Certificate,
    ClientAddress,
    Confirmation,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
    SecondaryFailed,
    Signed,
    ViaAddress,
)
from routing.state import Direction, LinkRole
from tests.asked import FRIEND, PEER, STRANGER, VICTIM, Asked
from tests.persons import Person, opened

__all__: list[str] = []

# -- answering


def test_valid_request_is_answered_and_its_sender_dialled() -> None:
    a = Asked()
    said = a.ask()
    assert said.dials() == [PEER.address]
    assert a.stage.dialling[a.stage.dial_to(PEER.address)].expect == PEER.key
    (envelope,) = a.responses(said)
    assert opened(Signed, envelope.signed).destination == a.request.reply_to


def test_response_quotes_the_request_and_tells_where_to_dial() -> None:
    a = Asked()
    (envelope,) = a.responses(a.ask())
    response = opened(ConnectResponse, opened(Signed, envelope.signed).body)
    right = opened(ConnectResponse, opened(Signed, PEER.answers(a.envelope).signed).body)
    assert response.request == right.request and response.attempt == a.attempt
    assert response.endpoints == a.stage.core.endpoints
    assert response.incarnation == a.stage.core.incarnation


def test_repeat_within_30_seconds_gets_the_identical_answer_and_no_second_dial() -> None:
    a = Asked()
    (first,) = a.responses(a.ask())
    a.stage.wait(29 * SECOND)
    said = a.friend.routed(structs.replace(a.envelope, route=1))
    (again,) = a.responses(said)
    assert (again.signed, again.signature) == (first.signed, first.signature)
    assert again.route != first.route, "or relays would drop it"
    assert said.dials() == []


def test_repeat_is_answered_whatever_became_of_the_dials() -> None:
    a = Asked()
    a.ask()
    a.stage.fail(a.stage.dial_to(PEER.address))
    assert a.outcomes() == [Outcome.PRIMARY_FAILED]
    assert len(a.responses(a.friend.routed(structs.replace(a.envelope, route=1)))) == 1


def test_repeat_after_30_seconds_gets_no_answer() -> None:
    a = Asked()
    a.ask()
    a.stage.wait(30 * SECOND)
    said = a.friend.routed(structs.replace(a.envelope, route=1))
    assert a.responses(said) == [] and said.dials() == []
    assert a.count("request.late_repeat") == 1


def test_repeat_of_a_refused_request_gets_the_identical_refusal() -> None:
    a = Asked()
    request = a.make(endpoints=["10.0.0.1:4000"])
    envelope = PEER.asks(request)
    (first,) = a.friend.routed(envelope).envelopes(a.friend, MessageKind.CONNECT_REFUSED)
    said = a.friend.routed(structs.replace(envelope, route=1))
    (again,) = said.envelopes(a.friend, MessageKind.CONNECT_REFUSED)
    assert again.signed == first.signed


# -- matching


def test_pair_consolidates_when_primary_ack_and_secondary_are_there() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    assert len(primary.opening.bodies(primary, FrameKind.HELLO)) == 1
    assert a.ack(primary).bodies(primary, FrameKind.CONFIRMATION) == []
    secondary = a.secondary()
    said = secondary.opening
    confirmed = said.frames(primary, FrameKind.CONFIRMATION, Confirmation)
    assert confirmed == [Confirmation(a.attempt, one_way=False)]
    assert said.closed(secondary) is CloseCode.SECONDARY_DONE
    assert said.events(PeerUp) == [PeerUp(PEER.name, PEER.key, Direction.OUTBOUND)]


def test_order_of_secondary_and_ack_does_not_matter() -> None:
    a = Asked()
    a.ask()
    secondary = a.secondary()
    assert secondary.role() is LinkRole.SECONDARY
    primary = a.stage.connect(PEER)
    assert primary.role() is LinkRole.PRIMARY
    said = a.ack(primary)
    assert primary.role() is LinkRole.CONSOLIDATED
    assert said.closed(secondary) is CloseCode.SECONDARY_DONE


def test_secondary_that_came_and_went_has_proved_what_it_had_to() -> None:
    a = Asked()
    a.ask()
    a.secondary().lose()
    primary = a.stage.connect(PEER)
    a.ack(primary)
    assert primary.role() is LinkRole.CONSOLIDATED


def test_nothing_is_consolidated_without_our_own_primary() -> None:
    a = Asked()
    a.ask()
    a.secondary()
    a.stage.fail(a.stage.dial_to(PEER.address))
    assert a.stage.said.events(PeerUp)[1:] == []
    assert a.outcomes() == [Outcome.PRIMARY_FAILED]


def test_attacker_who_names_a_victims_endpoint_is_never_consolidated() -> None:
    a = Asked()
    request = a.make(STRANGER, endpoints=[VICTIM.address])
    a.attempt = request.attempt
    a.ask_as(STRANGER, request)
    a.secondary(STRANGER)
    wire = a.stage.connect(VICTIM)
    assert wire.opening.closed(wire) is CloseCode.WRONG_IDENTITY
    assert wire.opening.bodies(wire, FrameKind.HELLO) == [], "nothing is said to the victim"
    a.stage.wait(40 * SECOND)
    assert a.stage.core.table.names() == [FRIEND.name]


def test_ack_of_another_attempt_closes_the_primary() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    said = primary.say(FrameKind.ACK, Ack(bytes(16)))
    assert said.closed(primary) is CloseCode.BAD_FRAME
    assert a.outcomes() == [Outcome.PRIMARY_LOST]


def test_confirmation_from_the_requester_goes_the_wrong_way_and_closes() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    said = primary.say(FrameKind.CONFIRMATION, Confirmation(a.attempt, one_way=False))
    assert said.closed(primary) is CloseCode.BAD_FRAME
    assert said.events(PeerUp) == []


def test_ack_on_the_secondary_closes_it() -> None:
    a = Asked()
    a.ask()
    secondary = a.secondary()
    assert a.ack(secondary).closed(secondary) is CloseCode.BAD_FRAME


def test_secondary_of_a_stranger_closes_bad_hello() -> None:
    a = Asked()
    a.ask()
    wire = a.secondary(STRANGER)
    assert wire.opening.closed(wire) is CloseCode.BAD_HELLO


def test_secondary_of_another_process_of_the_same_key_closes_bad_hello() -> None:
    a = Asked()
    a.ask()
    wire = a.secondary(PEER.restarted())
    assert wire.opening.closed(wire) is CloseCode.BAD_HELLO


def test_second_secondary_closes_bad_hello() -> None:
    a = Asked()
    a.ask()
    a.secondary()
    again = a.secondary()
    assert again.opening.closed(again) is CloseCode.BAD_HELLO


def test_responder_is_not_waiting_for_a_primary() -> None:
    a = Asked()
    a.ask()
    wire = a.stage.accept(PEER)
    assert wire.hello(HelloRole.PRIMARY, a.attempt).closed(wire) is CloseCode.BAD_HELLO


def test_told_that_the_secondary_failed_ends_not_reachable() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    said = primary.say(FrameKind.SECONDARY_FAILED, SecondaryFailed(a.attempt))
    assert said.closed(primary) is CloseCode.NOT_REACHABLE
    assert a.outcomes() == [Outcome.NOT_REACHABLE]


def test_attempt_ends_after_30_seconds_with_all_it_owns() -> None:
    a = Asked()
    a.ask()
    secondary = a.secondary()
    primary = a.stage.connect(PEER)
    a.stage.wait(30 * SECOND - 1)
    assert a.outcomes() == []
    said = a.stage.wait(1)
    assert a.outcomes() == [Outcome.EXPIRED]
    assert said.closed(primary) is said.closed(secondary) is CloseCode.EXPIRED


def test_expiry_calls_off_the_dial_and_closes_it_if_it_connects_all_the_same() -> None:
    a = Asked()
    a.ask()
    dial = a.stage.dial_to(PEER.address)
    a.stage.wait(30 * SECOND)
    assert a.stage.cancelled == [dial]
    wire = a.stage.connect(PEER, dial)
    assert wire.opening.closed(wire) is CloseCode.NORMAL


def test_requester_that_lost_its_primary_ends_the_attempt_at_once() -> None:
    a = Asked()
    a.ask()
    a.stage.connect(PEER).lose()
    assert a.outcomes() == [Outcome.PRIMARY_LOST]


def test_next_endpoint_is_dialled_after_a_quarter_of_a_second() -> None:
    a = Asked()
    listed = ["127.0.0.70:4000", "127.0.0.71:4000"]
    said = a.ask_as(PEER, a.make(endpoints=listed))
    assert len(said.dials()) == 1
    assert a.stage.wait(SECOND // 4 - 1).dials() == []
    assert len(a.stage.wait(1).dials()) == 1


def test_at_most_four_of_eight_endpoints_are_dialled() -> None:
    a = Asked()
    listed = [f"127.0.0.{70 + number}:4000" for number in range(8)]
    said = a.ask_as(PEER, a.make(endpoints=listed))
    dialled = [*said.dials(), *a.stage.wait(5 * SECOND).dials()]
    assert len(dialled) == 4 and set(dialled) < set(listed)


# -- what is dropped


def wrongs(a: Asked) -> dict[str, Envelope]:
    """Return requests that are answered by nothing at all, by what is wrong with them."""
    name, key = a.stage.name, a.stage.core.key
    fine = a.request
    other = STRANGER.name
    reply = a.stage.core.table.names()[0]
    misdirected = structs.replace(fine, target=other)
    third = structs.replace(fine, reply_to=ViaAddress(reply, other))
    third_client = structs.replace(fine, reply_to=ClientAddress(name, VICTIM.key))
    to_group = structs.replace(fine, reply_to=GroupAddress(VICTIM.name))
    unvoted = structs.replace(fine, certificate=Certificate(other, other, []))
    stolen = structs.replace(fine, certificate=STRANGER.certificate)
    renamed = structs.replace(fine, certificate=PEER.renamed(FRIEND).certificate)
    kind, here = MessageKind.CONNECT_REQUEST, NodeAddress(name)
    ourselves = Person(0)
    assert ourselves.key == key
    return {
        "another target": PEER.seal(kind, here, misdirected),
        "answer to a third node": PEER.asks(third),
        "answer to a third client": PEER.asks(third_client),
        "answer to a group": PEER.asks(to_group),
        "certificate without votes": PEER.asks(unvoted),
        "certificate of another": PEER.asks(stolen),
        "certificate of his other name": PEER.asks(renamed),
        "bad signature": structs.replace(PEER.asks(fine), signature=bytes(64)),
        "source that is not his": PEER.seal(kind, here, fine, source=NodeAddress(other)),
        "origin that is not his": PEER.seal(
            kind, here, fine, source=NodeAddress(other), origin=other + other
        ),
        "rubbish": PEER.seal(kind, here, b"rubbish"),
        "nine endpoints": PEER.seal(kind, here, structs.replace(fine, endpoints=[""] * 9)),
        "ourselves": ourselves.asks(ourselves.request(name, hop=reply)),
    }


WRONGS = list(wrongs(Asked()))


@pytest.mark.parametrize("wrong", WRONGS)
def test_wrong_request_is_counted_and_answered_by_nothing(wrong: str) -> None:
    a = Asked()
    before = dict(a.stage.core.counters)
    said = a.friend.routed(wrongs(a)[wrong])
    assert said == [], "neither an answer nor a dial"
    counted = {name for name, count in a.stage.core.counters.items() if before.get(name) != count}
    reasons = {name for name in counted if not name.startswith("consumed.")}
    assert len(reasons) == 1, f"one reason is counted: {reasons}"


# -- crossing, restarts, connected already


def lower_and_higher() -> tuple[Person, Person]:
    """Return a person with a lower key than that of the core, and one with a higher."""
    own = Person(0).key
    persons = [Person(number) for number in range(10, 40)]
    return (
        next(each for each in persons if each.key < own),
        next(each for each in persons if each.key > own),
    )


LOWER, HIGHER = lower_and_higher()


def test_lower_key_answers_a_crossing_request_by_its_own_again() -> None:
    a = Asked()
    asked = a.friend.names(HIGHER.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST)
    said = a.ask_as(HIGHER, a.make(HIGHER))
    again = said.envelopes(a.friend, MessageKind.CONNECT_REQUEST)
    assert [each.signed for each in again] == [each.signed for each in asked]
    assert said.dials() == [] and a.responses(said) == []


def test_higher_key_drops_its_own_attempt_with_its_sockets_and_answers() -> None:
    a = Asked()
    (asked,) = a.friend.names(LOWER.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST)
    a.friend.routed(LOWER.answers(asked))
    secondary = a.stage.connect(LOWER)
    said = a.ask_as(LOWER, a.make(LOWER))
    assert said.closed(secondary) is CloseCode.LOST_PRIORITY
    assert a.outcomes() == [Outcome.LOST_PRIORITY]
    assert said.dials() == [LOWER.address] and len(a.responses(said)) == 1


def test_name_that_lost_priority_does_not_have_to_rest() -> None:
    a = Asked()
    a.friend.names(LOWER.name)
    request = a.make(LOWER)
    a.ask_as(LOWER, request)
    a.stage.fail(a.stage.dial_to(LOWER.address))
    assert len(a.friend.names(LOWER.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST)) == 1


def test_request_of_another_incarnation_ends_the_attempt_of_the_old_one() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    newer = PEER.restarted()
    said = a.ask_as(newer, a.make(newer))
    assert said.closed(primary) is CloseCode.REPLACED
    assert a.outcomes() == [Outcome.RESTARTED]
    assert said.dials() == [PEER.address]


@pytest.mark.parametrize("person", [LOWER, HIGHER], ids=["lower key", "higher key"])
def test_request_of_another_incarnation_ends_our_own_attempt_with_the_old_one(
    person: Person,
) -> None:
    a = Asked()
    (asked,) = a.friend.names(person.name).envelopes(a.friend, MessageKind.CONNECT_REQUEST)
    a.friend.routed(person.answers(asked))
    secondary = a.stage.connect(person)
    newer = person.restarted()
    said = a.ask_as(newer, a.make(newer))
    assert said.closed(secondary) is CloseCode.REPLACED
    assert a.outcomes() == [Outcome.RESTARTED]
    assert len(a.responses(said)) == 1
