"""A key that is connected already asks anew: is the old connection still alive?"""

from __future__ import annotations

import pytest

from routing.bodies import ConnectRefused
from routing.errors import CloseCode, Refusal
from routing.events import PeerDown, PeerUp
from routing.limits import SECOND
from routing.messages import FrameKind, HelloRole, MessageKind, Ping
from routing.state import LinkRole
from tests.asked import Asked
from tests.persons import Person
from tests.support import Said, Wire

__all__: list[str] = []

OTHER = Person(5)


class Again(Asked):
    """OTHER, consolidated, asks again, through FRIEND; perhaps as a new process."""

    def __init__(self, person: Person) -> None:
        super().__init__()
        self.old = self.stage.befriend(OTHER)
        self.person = person
        self.request = self.make(person)
        self.attempt = self.request.attempt

    def ask(self) -> Said:
        return self.ask_as(self.person, self.request)

    def nonce(self, said: Said) -> bytes:
        (ping,) = said.frames(self.old, FrameKind.PING, Ping)
        return ping.nonce

    def refused(self, said: Said) -> list[int]:
        """Return the reasons of the refusals sent, whichever way they went."""
        kind = MessageKind.CONNECT_REFUSED
        sent = [said.messages(wire, kind, ConnectRefused) for wire in (self.old, self.friend)]
        return [each.reason for refusals in sent for each in refusals]

    def pong(self, wire: Wire, nonce: bytes) -> Said:
        return wire.say(FrameKind.PONG, Ping(nonce))


PERSONS = pytest.mark.parametrize(
    "person", [OTHER, OTHER.restarted()], ids=["same process", "restarted"]
)


@PERSONS
def test_old_connection_is_asked_before_anything_else(person: Person) -> None:
    a = Again(person)
    said = a.ask()
    assert a.nonce(said)
    assert said.dials() == [] and a.responses(said) == []


@PERSONS
def test_answered_probe_refuses_already_connected(person: Person) -> None:
    a = Again(person)
    said = a.pong(a.old, a.nonce(a.ask()))
    assert a.refused(said) == [Refusal.ALREADY_CONNECTED]
    a.stage.wait(5 * SECOND)
    assert a.old.role() is LinkRole.CONSOLIDATED


def test_refusal_reaches_the_process_that_asked_by_the_first_hop_it_named() -> None:
    # Of two live processes with one identity the old connection leads to the other one.
    a = Again(OTHER.restarted())
    said = a.pong(a.old, a.nonce(a.ask()))
    assert a.refusals(said) == [Refusal.ALREADY_CONNECTED]


@PERSONS
def test_silent_connection_is_replaced_after_a_second(person: Person) -> None:
    a = Again(person)
    a.ask()
    a.stage.wait(SECOND - 1)
    assert a.old.open
    said = a.stage.wait(1)
    assert said.closed(a.old) is CloseCode.REPLACED
    assert said.events(PeerDown) == [PeerDown(OTHER.name, OTHER.key, CloseCode.REPLACED)]
    assert len(a.responses(said)) == 1
    primary = a.stage.connect(person)
    a.ack(primary)
    said = a.secondary(person).opening
    assert [up.name for up in said.events(PeerUp)] == [OTHER.name]


def test_connection_that_dies_while_it_is_asked_lets_the_attempt_go_on_at_once() -> None:
    a = Again(OTHER.restarted())
    a.ask()
    said = a.old.lose()
    assert len(a.responses(said)) == 1 and said.dials() == [OTHER.address]


def test_pong_with_another_nonce_answers_nothing() -> None:
    a = Again(OTHER)
    a.ask()
    a.pong(a.old, bytes(8))
    assert a.count("pong.unasked") == 1
    assert a.stage.wait(2 * SECOND).closed(a.old) is CloseCode.REPLACED


def test_pong_over_another_connection_answers_nothing() -> None:
    a = Again(OTHER)
    nonce = a.nonce(a.ask())
    a.pong(a.friend, nonce)
    relay = a.stage.accept(OTHER)
    relay.hello(HelloRole.JOIN)
    a.pong(relay, nonce)
    assert a.count("pong.unasked") == 2


def test_one_probe_at_a_time_serves_the_newest_request() -> None:
    a = Again(OTHER)
    nonce = a.nonce(a.ask())
    newer = a.make(OTHER)
    assert a.ask_as(OTHER, newer).frames(a.old, FrameKind.PING, Ping) == []
    said = a.pong(a.old, nonce)
    assert a.refused(said) == [Refusal.ALREADY_CONNECTED]


def test_late_pong_after_the_connection_was_replaced_does_no_harm() -> None:
    a = Again(OTHER)
    nonce = a.nonce(a.ask())
    a.stage.wait(2 * SECOND)
    primary = a.stage.connect(OTHER)
    a.ack(primary)
    a.secondary(OTHER)
    assert primary.role() is LinkRole.CONSOLIDATED
    a.pong(primary, nonce)
    assert primary.role() is LinkRole.CONSOLIDATED and a.count("pong.unasked") == 1


def test_ping_is_answered_at_once_with_its_nonce() -> None:
    a = Asked()
    said = a.friend.say(FrameKind.PING, Ping(b"12345678"))
    assert said.frames(a.friend, FrameKind.PONG, Ping) == [Ping(b"12345678")]
