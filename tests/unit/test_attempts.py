"""The three timed filters of the two-way connect, and the one way an attempt ends."""

from __future__ import annotations

from routing.bodies import ConnectRequest, ConnectResponse
from routing.errors import CloseCode, Outcome
from routing.events import ConnectFailed
from routing.limits import SECOND, Limits
from routing.messages import FrameKind, HelloRole, MessageKind
from routing.state import Connection, LinkRole
from tests.asked import FRIEND, PEER, STRANGER, Asked
from tests.persons import Person
from tests.support import Stage, strict

__all__: list[str] = []


# -- attempts


def test_pair_has_at_most_one_attempt_alive() -> None:
    a = Asked()
    a.ask()
    a.ask_as(PEER, a.make())
    assert [each.name for each in a.stage.core.attempts.live()] == [PEER.name]


def test_attempt_is_found_by_id_name_and_key() -> None:
    a = Asked()
    a.ask()
    attempts = a.stage.core.attempts
    found = attempts.get(a.attempt)
    assert found is not None and found.expected and not found.requester
    assert attempts.with_name(PEER.name) is found and attempts.with_key(PEER.key) is found
    assert attempts.get(bytes(16)) is None and attempts.with_key(STRANGER.key) is None
    assert attempts.describe(found).startswith("<- ")


def test_requested_attempt_is_expected_only_with_a_response() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    (asked,) = friend.names(PEER.name).envelopes(friend, MessageKind.CONNECT_REQUEST)
    (attempt,) = stage.core.attempts.live()
    stages = [attempt.expected]
    assert stage.core.attempts.requested_count() == 1
    friend.routed(PEER.answers(asked))
    stages.append(attempt.expected)
    assert stages == [False, True]


def test_attempt_over_the_capacity_pushes_out_the_oldest_with_a_named_outcome() -> None:
    a = Asked(limits=Limits().but(attempts_max=3))
    persons = [Person(number) for number in range(20, 24)]
    for person in persons:
        a.ask_as(person, a.make(person))
        a.stage.wait(1)
    core = a.stage.core
    assert [each.name for each in core.attempts.live()] == [p.name for p in persons[1:]]
    (failed,) = a.stage.said.events(ConnectFailed)
    assert (failed.name, failed.outcome) == (persons[0].name, Outcome.EVICTED)


def test_flood_of_requests_does_not_push_out_an_attempt_of_our_own() -> None:
    a = Asked(limits=Limits().but(attempts_max=3))
    a.friend.names(STRANGER.name)
    for person in (Person(number) for number in range(20, 30)):
        a.ask_as(person, a.make(person))
        a.stage.wait(1)
    assert a.stage.core.attempts.with_name(STRANGER.name) is not None


# -- expected


def test_dialled_primary_is_expected_with_the_request_it_is_for() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    expected = a.stage.core.attempts.expected
    assert expected.get(primary.connection, now=0) == a.request
    assert isinstance(expected.get(primary.connection, now=0), ConnectRequest)


def test_dialled_secondary_is_expected_with_the_response_it_is_for() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    (asked,) = friend.names(PEER.name).envelopes(friend, MessageKind.CONNECT_REQUEST)
    friend.routed(PEER.answers(asked))
    secondary = stage.connect(PEER)
    expected = stage.core.attempts.expected.get(secondary.connection, now=0)
    assert isinstance(expected, ConnectResponse)


def test_connection_leaves_the_filter_when_it_is_lost_or_consolidated() -> None:
    a = Asked()
    a.ask()
    primary = a.stage.connect(PEER)
    primary.lose()
    assert len(a.stage.core.attempts.expected) == 0
    b = Asked()
    b.ask()
    primary = b.stage.connect(PEER)
    b.ack(primary)
    b.secondary()
    assert primary.role() is LinkRole.CONSOLIDATED
    assert len(b.stage.core.attempts.expected) == 0


def test_accepted_connections_are_never_expected() -> None:
    a = Asked()
    a.ask()
    assert a.secondary().role() is LinkRole.SECONDARY
    assert len(a.stage.core.attempts.expected) == 0


# -- unknown


def held(stage: Stage) -> list[Connection]:
    unknown = stage.core.attempts.unknown.deadlines(now=stage.core.now)
    return [connection for connection, _, _ in unknown]


def test_accepted_connection_is_unknown_until_its_hello() -> None:
    stage, _ = Stage.among(FRIEND)
    wire = stage.accept(PEER)
    assert held(stage) == [wire.connection]
    wire.hello(HelloRole.JOIN)
    assert held(stage) == []


def test_hello_is_due_ten_seconds_after_the_accept() -> None:
    stage, _ = Stage.among(FRIEND)
    wire = stage.accept(PEER)
    stage.wait(10 * SECOND - 1)
    assert wire.open
    assert stage.wait(1).closed(wire) is CloseCode.BAD_HELLO


def test_time_that_the_channel_took_counts_towards_the_ten_seconds() -> None:
    stage, _ = Stage.among(FRIEND)
    stage.wait(20 * SECOND)
    wire = stage.accept(PEER, age=7 * SECOND)
    stage.wait(3 * SECOND - 1)
    assert wire.open
    assert stage.wait(1).closed(wire) is CloseCode.BAD_HELLO


def test_hello_that_comes_with_the_deadline_is_too_late() -> None:
    stage, _ = Stage.among(FRIEND)
    wire = stage.accept(PEER)
    stage.now += 10 * SECOND
    said = wire.hello(HelloRole.JOIN)
    assert said.closed(wire) is CloseCode.BAD_HELLO
    assert said.bodies(wire, FrameKind.ADMIT) == []


def test_unknown_connections_are_bounded_and_the_largest_source_pays() -> None:
    stage, _ = Stage.among(FRIEND, limits=strict(unauthenticated_max=6))
    honest = stage.accept(PEER, source="8.8.8.8:5000")
    flood = [
        stage.accept(Person(100 + number), source=f"9.9.9.{number + 1}:5000")
        for number in range(20)
    ]
    assert honest.open, "the flood pushes out its own"
    assert sum(wire.open for wire in flood) == 5
    assert len(held(stage)) == 6


def test_lost_unknown_connection_leaves_nothing() -> None:
    stage, _ = Stage.among(FRIEND)
    stage.accept(PEER).lose()
    assert held(stage) == [] and stage.core.attempts.backlog == 0


# -- waiting before the next try


def test_name_that_failed_rests_20_40_60_seconds_or_so() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    rests = []
    for _ in range(4):
        ended = stage.now
        while not friend.names(PEER.name).envelopes(friend, MessageKind.CONNECT_REQUEST):
            stage.wait(SECOND // 4)
        rests.append((stage.now - ended) / SECOND)
        stage.wait(30 * SECOND)
    for rest, nominal in zip(rests, (0, 20, 40, 60), strict=True):
        assert nominal * 0.9 <= rest <= nominal * 1.1 + 0.25, rests


def test_success_forgives_what_failed_before() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    friend.names(PEER.name)
    stage.wait(30 * SECOND)
    assert not stage.core.attempts.may_try(PEER.name)
    wire = stage.befriend(PEER)
    wire.say(FrameKind.PING, b"")
    assert wire.role() is None, "closed for a malformed frame"
    stage.wait(23 * SECOND)
    assert stage.core.attempts.may_try(PEER.name), "as after a first failure"
