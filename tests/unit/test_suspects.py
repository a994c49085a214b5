"""Peers that may have died in silence: asked when used, avoided until they are heard."""

from __future__ import annotations

from routing.actions import Close
from routing.errors import CloseCode
from routing.limits import SECOND
from routing.messages import FrameKind, GroupAddress, MessageKind, NodeAddress, Ping
from routing.names import nearest
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ASKER, FAR = Person(60), Person(50)
PEERS = tuple(Person(number) for number in range(1, 5))


def relay() -> tuple[Stage, Wire, list[Wire]]:
    """Return a relay, who asks it, and its peers that are nearer to FAR than it, nearest first."""
    stage, wires = Stage.among(ASKER, *PEERS)
    by_name = {wire.person.name: wire for wire in wires[1:]}
    order = nearest(FAR.name, [*by_name, stage.name], len(by_name) + 1)
    ways = [by_name[name] for name in order[: order.index(stage.name)]]
    assert len(ways) >= 2, "the story needs another way"
    return stage, wires[0], ways


def passed(asker: Wire, group: bool = False) -> Said:
    """Have a message passed on towards FAR."""
    to = GroupAddress(FAR.name) if group else NodeAddress(FAR.name)
    return asker.routed(ASKER.seal(MessageKind.MESSAGE, to, b"text"))


def pings(said: Said, wire: Wire) -> list[Ping]:
    return said.frames(wire, FrameKind.PING, Ping)


def test_peer_heard_of_lately_is_not_asked() -> None:
    stage, asker, (best, *_) = relay()
    stage.wait(2 * SECOND - 1)
    said = passed(asker)
    assert len(said.envelopes(best, MessageKind.MESSAGE)) == 1 and pings(said, best) == []


def test_quiet_peer_is_asked_once_along_with_what_is_passed_on() -> None:
    stage, asker, (best, *_) = relay()
    stage.wait(2 * SECOND)
    said = passed(asker)
    assert len(said.envelopes(best, MessageKind.MESSAGE)) == 1 and len(pings(said, best)) == 1
    assert pings(passed(asker), best) == []


def test_peer_that_does_not_answer_is_passed_by_until_it_is_heard() -> None:
    stage, asker, (best, other, *_) = relay()
    stage.wait(2 * SECOND)
    (ping,) = pings(passed(asker), best)
    stage.wait(SECOND)
    assert stage.core.suspects.names == [best.person.name]
    said = passed(asker)
    assert said.envelopes(best, MessageKind.MESSAGE) == []
    assert len(said.envelopes(other, MessageKind.MESSAGE)) == 1
    best.say(FrameKind.PONG, ping)
    assert stage.core.suspects.names == []
    assert len(passed(asker).envelopes(best, MessageKind.MESSAGE)) == 1
    assert "pong.unasked" not in stage.core.counters


def test_any_frame_in_time_is_an_answer() -> None:
    stage, asker, (best, *_) = relay()
    stage.wait(2 * SECOND)
    passed(asker)
    best.say(FrameKind.PING, Ping(bytes(8)))
    stage.wait(SECOND)
    assert stage.core.suspects.names == []


def test_silent_peer_is_still_taken_where_nobody_else_is_nearer() -> None:
    stage, wires = Stage.among(ASKER, FAR)
    stage.wait(2 * SECOND)
    for _ in range(2):
        assert len(passed(wires[0]).envelopes(wires[1], MessageKind.MESSAGE)) == 1
        stage.wait(SECOND)
    assert stage.core.suspects.names == [FAR.name]


def test_silent_peer_comes_last_as_a_first_hop() -> None:
    stage, asker, (best, *_) = relay()
    assert stage.core.hops.ways(FAR.name)[0] == best.person.name
    stage.wait(2 * SECOND)
    passed(asker)
    stage.wait(SECOND)
    assert stage.core.hops.ways(FAR.name)[-1] == best.person.name


def test_suspicion_ends_with_the_connection() -> None:
    stage, asker, (best, *_) = relay()
    stage.wait(2 * SECOND)
    passed(asker)
    best.lose()
    stage.wait(SECOND)
    assert stage.core.suspects.names == []


def test_peer_in_whose_place_another_listens_is_closed_if_it_is_silent() -> None:
    stage, _, (best, other, *_) = relay()
    stage.wait(2 * SECOND)
    for wire in (best, other):
        stage.core.suspects.displace(stage.core.link_to(wire.person.name))
    other.say(FrameKind.PING, Ping(bytes(8)))
    said = stage.wait(SECOND)
    (closed,) = said.of(Close)
    assert (closed.token, closed.code) == (best.token, CloseCode.SILENT)
    assert best.person.name not in stage.core.table and other.person.name in stage.core.table


def test_peer_that_is_silent_already_is_closed_at_once_when_another_listens_there() -> None:
    stage, asker, (best, *_) = relay()
    stage.wait(2 * SECOND)
    passed(asker)
    stage.wait(SECOND)
    stage.core.suspects.displace(stage.core.link_to(best.person.name))
    assert best.person.name not in stage.core.table
    assert stage.core.suspects.names == []


def test_suspicion_survives_a_snapshot() -> None:
    stage, asker, (_best, *_) = relay()
    stage.wait(2 * SECOND)
    passed(asker)
    stage.wait(SECOND)
    other = Stage(0, first=True)
    other.core.restore(stage.core.snapshot())
    assert other.core.suspects.names == stage.core.suspects.names != []
    assert other.core.digest() == stage.core.digest()
