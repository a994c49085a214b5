"""The two-way connect between two real cores wired back to back."""

from __future__ import annotations

import pytest

from routing.errors import CloseCode, Outcome
from routing.events import ConnectFailed, PeerDown, PeerUp
from routing.limits import SECOND
from routing.state import LinkRole
from tests.pair import Pair

__all__: list[str] = []

LOW, HIGH = 0, 1


def outcomes(pair: Pair, index: int) -> list[Outcome]:
    return [each.outcome for each in pair.stages[index].said.events(ConnectFailed)]


@pytest.mark.parametrize("starter", [LOW, HIGH])
def test_one_initiator_ends_with_one_connection(starter: int) -> None:
    pair = Pair()
    pair.ask(starter)
    pair.run()
    pair.assert_connected()
    assert outcomes(pair, LOW) == outcomes(pair, HIGH) == []


def test_survivor_was_dialled_by_the_responder() -> None:
    pair = Pair()
    pair.ask(LOW)
    pair.run()
    assert not pair.links(LOW)[0].outbound and pair.links(HIGH)[0].outbound


@pytest.mark.parametrize("first", [LOW, HIGH])
@pytest.mark.parametrize("together", [True, False], ids=["on the way at once", "one after other"])
def test_crossing_requests_end_with_one_connection(first: int, together: bool) -> None:
    pair = Pair()
    pair.ask(first)
    if together:
        pair.ask(1 - first)
    else:
        held = pair.queue.pop()
        pair.ask(1 - first)
        pair.queue.append(held)
    pair.run()
    pair.assert_connected()
    assert outcomes(pair, HIGH) == [Outcome.LOST_PRIORITY] and outcomes(pair, LOW) == []
    assert not pair.links(LOW)[0].outbound, "the attempt of the lower key went on"


def test_crossing_request_that_the_higher_key_sends_late_finds_them_connected() -> None:
    pair = Pair()
    pair.ask(HIGH)
    pair.queue.clear()
    pair.ask(LOW)
    pair.run()
    pair.assert_connected()
    assert pair.stages[HIGH].core.counters["request.crossing_lost"] == 1


def test_request_of_the_lower_key_lost_in_crossing_is_sent_again_at_once() -> None:
    pair = Pair()
    pair.ask(LOW)
    pair.drop("CONNECT_REQUEST")
    pair.ask(HIGH)
    pair.step("CONNECT_REQUEST")
    assert pair.labels == ["CONNECT_REQUEST"], "the lower key answers by its own request"
    pair.run()
    pair.assert_connected()


def test_lost_request_is_sent_again_and_connects() -> None:
    pair = Pair()
    pair.ask(LOW)
    pair.drop("CONNECT_REQUEST")
    pair.wait(2 * SECOND)
    pair.assert_connected()


def test_lost_response_does_not_delay_the_pair() -> None:
    pair = Pair()
    pair.ask(LOW)
    pair.step("CONNECT_REQUEST")
    pair.drop("CONNECT_RESPONSE")
    pair.run()
    pair.assert_connected()


def test_secondary_that_is_up_before_the_primary_connects_the_pair() -> None:
    pair = Pair()
    pair.ask(LOW)
    pair.step("CONNECT_REQUEST")
    pair.step("CONNECT_RESPONSE")
    primary = pair.queue.pop(0)
    pair.run()
    assert pair.roles() == [[LinkRole.SECONDARY]] * 2
    pair.queue.append(primary)
    pair.run()
    pair.assert_connected()


def test_secondary_that_is_up_after_the_ack_connects_the_pair() -> None:
    pair = Pair()
    pair.ask(LOW)
    pair.step("CONNECT_REQUEST")
    pair.step("CONNECT_RESPONSE")
    secondary = pair.queue.pop(1)
    pair.run()
    assert pair.roles() == [[LinkRole.PRIMARY]] * 2
    pair.queue.append(secondary)
    pair.run()
    pair.assert_connected()


def test_requester_that_cannot_be_dialled_ends_the_attempt_at_both_ends() -> None:
    pair = Pair()
    pair.unreachable.add(LOW)
    pair.ask(LOW)
    pair.run()
    assert outcomes(pair, HIGH) == [Outcome.PRIMARY_FAILED]
    pair.wait(40 * SECOND)
    assert outcomes(pair, LOW) == [Outcome.EXPIRED]
    assert pair.roles() == [[], []]
    pair.assert_nothing_pending()


def test_responder_that_cannot_be_dialled_ends_the_attempt_at_both_ends() -> None:
    pair = Pair()
    pair.unreachable.add(HIGH)
    pair.ask(LOW)
    pair.wait(20 * SECOND)
    assert outcomes(pair, HIGH) == [Outcome.NOT_REACHABLE]
    assert outcomes(pair, LOW)[0] in (Outcome.NOT_REACHABLE, Outcome.PRIMARY_LOST)
    assert pair.roles() == [[], []]
    pair.assert_nothing_pending()


def test_neither_end_tells_of_a_peer_before_both_directions_are_proved() -> None:
    pair = Pair()
    pair.unreachable.add(HIGH)
    pair.ask(LOW)
    pair.wait(20 * SECOND)
    for stage in pair.stages:
        assert [up.name for up in stage.said.events(PeerUp)] == [pair.relay.name]


def test_primary_lost_before_the_confirmation_ends_both() -> None:
    pair = Pair()
    pair.ask(LOW)
    pair.run_until("ACK")
    pair.queue.clear()
    for index in (LOW, HIGH):
        (primary,) = (link for link in pair.links(index) if link.role is LinkRole.PRIMARY)
        pair.stages[index].open[primary.token].lose()
    pair.run()
    assert outcomes(pair, LOW) == outcomes(pair, HIGH) == [Outcome.PRIMARY_LOST]
    pair.assert_nothing_pending()


# -- connected already


def connected() -> Pair:
    pair = Pair()
    pair.ask(LOW)
    pair.run()
    pair.assert_connected()
    return pair


def forget(pair: Pair, index: int) -> None:
    """Let one end lose the connection unseen by the other, and its wish to wait."""
    (link,) = pair.links(index)
    cable = pair._cable(index, link.token)
    assert cable is not None
    cable.ends[index] = None
    pair.stages[index].open[link.token].lose()
    pair._post()
    pair.stages[index].core.attempts.failed.clear()


def test_half_open_connection_is_replaced_when_its_other_end_asks_anew() -> None:
    pair = connected()
    forget(pair, LOW)
    pair.ask(LOW)
    pair.wait(4 * SECOND)
    pair.assert_connected()
    downs = pair.stages[HIGH].said.events(PeerDown)
    assert [down.code for down in downs] == [CloseCode.REPLACED]
