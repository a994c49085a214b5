"""The application hears of a change of the close group once, and only if it lasts."""

from __future__ import annotations

import pytest

from routing.core import Core
from routing.events import Churn, Disconnected
from routing.inputs import StopRequested
from routing.limits import SECOND, Limits, Nanos
from routing.messages import FrameKind, Neighbours
from routing.names import nearest
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []

MANY = [Person(number) for number in range(10, 40)]
DAMPING = Limits().churn_damping_ns
LITTLE = DAMPING // 4


def settled(count: int = 12) -> tuple[Stage, list[Wire]]:
    """Return a node whose application knows its close group, and its connections, nearest first."""
    often = Limits().but(attempts_per_key_per_minute=100)
    stage, wires = Stage.among(*MANY[:count], limits=often)
    stage.wait(2 * DAMPING)
    order = stage.core.table.names()
    return stage, sorted(wires, key=lambda wire: order.index(wire.person.name))


def churns(said: Said) -> list[Churn]:
    return said.events(Churn)


def names(*wires: Wire) -> tuple[bytes, ...]:
    return tuple(wire.person.name for wire in wires)


def test_first_close_group_is_told_once_it_has_settled() -> None:
    stage, _ = Stage.among(*MANY[:12])
    assert churns(stage.said) == []
    (churn,) = churns(stage.wait(2 * DAMPING))
    group = tuple(nearest(stage.name, [person.name for person in MANY[:12]], 8))
    assert churn.close_group == churn.joined == group and churn.left == ()
    assert churn.before == () and set(churn.after) == {stage.name, *(p.name for p in MANY[:12])}


def test_change_is_told_once_after_the_damping_with_who_came_and_who_went() -> None:
    stage, wires = settled()
    said = wires[2].lose()
    assert churns(said) == []
    assert churns(stage.wait(DAMPING - 1)) == []
    (churn,) = churns(stage.wait(1))
    assert churn.left == names(wires[2]) and churn.joined == names(wires[8])
    assert churn.close_group == names(*wires[:2], *wires[3:9])
    assert "lost: IO_ERROR" in churn.cause
    assert churns(stage.wait(20 * DAMPING)) == []


def test_change_outside_the_close_group_is_none() -> None:
    stage, wires = settled()
    wires[10].lose()
    assert churns(stage.wait(4 * DAMPING)) == []


def test_peer_that_comes_back_within_the_damping_is_not_told_of() -> None:
    stage, wires = settled()
    wires[0].lose()
    stage.wait(DAMPING - LITTLE)
    stage.befriend(wires[0].person)
    assert churns(stage.wait(10 * DAMPING)) == []
    assert stage.core.counters["churn.flapped"] == 1
    assert stage.core.churning.since == {} and stage.core.churning.causes == []


def test_peer_that_comes_and_goes_within_the_damping_is_not_told_of() -> None:
    stage, _ = settled(6)
    newcomer = stage.befriend(MANY[6])
    stage.wait(DAMPING - LITTLE)
    newcomer.lose()
    assert churns(stage.wait(10 * DAMPING)) == []


def test_peer_that_flaps_for_ever_is_never_told_of() -> None:
    stage, wires = settled(6)
    wire = wires[0]
    for _ in range(20):
        wire.lose()
        assert churns(stage.wait(DAMPING - LITTLE)) == []
        wire = stage.befriend(wire.person)
        assert churns(stage.wait(LITTLE)) == []


def test_changes_soon_after_each_other_are_told_once_with_their_causes() -> None:
    stage, wires = settled()
    said = Said()
    for wire in wires[:3]:
        said += wire.lose()
        said += stage.wait(LITTLE)
    said += stage.wait(2 * DAMPING)
    (churn,) = churns(said)
    assert churn.left == names(*wires[:3]) and churn.joined == names(*wires[8:11])
    assert churn.close_group == names(*wires[3:11])
    assert churn.cause.count("lost: IO_ERROR") == 3


def test_causes_beyond_eight_are_counted() -> None:
    stage, _ = Stage.among(*MANY[:8])
    stage.wait(2 * DAMPING)
    for person in MANY[8:30]:
        stage.befriend(person)
    (churn,) = churns(stage.wait(2 * DAMPING))
    changes = stage.core.counters["churn.told"]
    assert changes == 2
    assert churn.cause.count("consolidated") == 8 and churn.cause.endswith(" more")


def test_change_does_not_wait_for_ever_behind_others() -> None:
    stage, wires = settled()
    left, told = wires[0], Said()
    left.lose()
    since = stage.now
    flapping = wires[3]
    while not churns(told):
        assert stage.now - since <= 4 * DAMPING, "a change waits at most so long"
        told += flapping.lose()
        told += stage.wait(DAMPING // 2)
        flapping = stage.befriend(flapping.person)
        told += stage.wait(DAMPING // 2)
    (churn,) = churns(told)
    assert churn.left == names(left), "and the peer that flaps is not in it"


def test_repair_does_not_wait_for_the_damping() -> None:
    stage, wires = settled()
    wires[0].lose()
    said = stage.wait(Limits().repair_gather_ns)
    lists = [said.frames(wire, FrameKind.NEIGHBOURS, Neighbours) for wire in wires[1:]]
    assert any(lists) and churns(said) == []


def test_after_disconnected_everybody_is_new_again() -> None:
    stage, wires = settled(3)
    said = Said()
    for wire in wires:
        said += wire.lose()
    assert said.events(Disconnected) and churns(said) == []
    assert churns(stage.wait(0)) == [] and ("churn", b"") not in stage.core.alarms
    assert stage.core.churning.group == [] and stage.core.churning.known == []


def test_stopped_node_tells_of_no_churn() -> None:
    stage, wires = settled()
    wires[0].lose()
    stage.hear(StopRequested())
    assert churns(stage.wait(10 * DAMPING)) == stage.said.events(Churn)[1:] == []


@pytest.mark.parametrize("later", [0, LITTLE])
def test_restored_core_tells_the_same_churn(later: int) -> None:
    stage, wires = settled()
    wires[1].lose()
    stage.wait(later)
    other = Core(stage.config)
    other.restore(stage.core.snapshot())
    assert other.digest() == stage.core.digest()
    until = Nanos(stage.now + DAMPING)
    (expected,) = churns(stage.wait(DAMPING))
    other.on_deadline(until)
    assert churns(Said(other.take_actions())) == [expected]


def test_local_limits_tell_within_a_moment() -> None:
    assert Limits.local().churn_damping_ns < SECOND < DAMPING
