"""What a host is told before it passes messages on beside the core, and what it tells."""

from __future__ import annotations

from routing.inputs import Heard
from routing.limits import SECOND, Nanos
from routing.messages import MessageKind, NodeAddress
from routing.state import Token
from tests.persons import Person
from tests.support import Stage, Wire

__all__: list[str] = []

ONE, TWO, THREE = Person(1), Person(2), Person(3)


def among() -> tuple[Stage, list[Wire]]:
    return Stage.among(ONE, TWO, THREE)


def suspected() -> tuple[Stage, list[Wire]]:
    """Return a node with a first peer that was asked whether it lives, and did not answer."""
    stage, (one, two, three) = among()
    stage.wait(3 * SECOND)
    two.routed(TWO.seal(MessageKind.MESSAGE, NodeAddress(ONE.name), b"text"))
    stage.wait(2 * SECOND)
    assert ONE.name in stage.core.suspects.names
    return stage, [one, two, three]


def test_view_names_every_peer_and_holds_until_one_goes() -> None:
    stage, (one, two, _) = among()
    passing = stage.core.passing
    view = passing.view()
    assert view.own == stage.name
    assert {entry.name: entry.token for entry in view.entries}[TWO.name] == two.token
    assert passing.is_as(view)
    one.lose()
    assert not passing.is_as(view)
    assert ONE.name not in [entry.name for entry in passing.view().entries]


def test_view_tells_who_is_doubted_and_ends_with_the_doubt() -> None:
    stage, (one, *_) = suspected()
    passing = stage.core.passing
    view = passing.view()
    assert [entry.name for entry in view.entries if entry.doubted] == [ONE.name]
    stage.hear(Heard(one.token))
    assert not passing.is_as(view) and stage.core.counters["suspect.cleared"] == 1


def test_what_is_heard_is_taken_in_beside_the_facts_only_where_nothing_follows_from_it() -> None:
    stage, (one, two, _) = suspected()
    passing, now = stage.core.passing, Nanos(stage.now + 5)
    assert passing.hear(two.token, now) and passing.heard(two.token) == now == stage.core.now
    assert not passing.hear(one.token, now), "it was suspected, which ends now"
    assert not passing.hear(Token(7), now), "nobody"
    due = stage.core.next_deadline()
    assert due is not None and not passing.hear(two.token, due)
    assert passing.heard(two.token) == now, "nothing has changed"


def test_hop_that_is_being_asked_is_quiet_again_when_that_is_decided() -> None:
    stage, (one, two, _) = among()
    limits, passing = stage.core.limits, stage.core.passing
    stage.wait(3 * SECOND)
    asked = stage.now
    two.routed(TWO.seal(MessageKind.MESSAGE, NodeAddress(ONE.name), b"text"))
    assert passing.heard(one.token) == asked + limits.suspect_ns - limits.quiet_ns


def test_closed_connection_was_never_heard() -> None:
    stage, (one, *_) = among()
    one.lose()
    assert stage.core.passing.heard(one.token) == 0
    stage.hear(Heard(one.token))
    assert stage.core.counters["frame.dead_token"] == 1


def test_what_was_passed_on_is_counted_and_remembered() -> None:
    stage, (one, two, _) = among()
    passing, seen = stage.core.passing, stage.core.relay.seen
    grant = passing.grant(one.token)
    assert grant.most > 0 and grant.others == ()
    grant.window.filter.insert(bytes(range(16)), stage.now)
    passing.took(one.token, grant, at=grant.now, entered=1, passed=1, repeats=2)
    assert seen.held(one.token) == 1
    assert not seen.insert(bytes(range(16)), two.token, stage.now)
    counters = stage.core.counters
    assert (counters["routed.forwarded"], counters["routed.duplicate"]) == (1, 2)
