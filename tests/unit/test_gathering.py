"""Messages sent one by one leave together, in order, and never more of them than there is room."""

from __future__ import annotations

import pytest

from routing.gathering import GATHERED_BYTES, Gathering
from routing.inputs import SubmittedMany
from routing.limits import Limits
from routing.messages import Address, GroupAddress, NodeAddress
from tests.persons import Person
from tests.support import Stage

__all__: list[str] = []

ONE, FAR = Person(1), Person(50)
TO = NodeAddress(ONE.name)


class Begun:
    """A gathering beside a core that holds ONE, and what was handed over."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.stage = Stage.among(ONE, limits=limits)[0]
        self.handed: list[SubmittedMany] = []
        self.gathering = Gathering(self.handed.append)

    def open(self, to: Address = TO, delivery: str = "exactly_once") -> bool:
        return self.gathering.open(self.stage.core, to, delivery)


def test_what_follows_is_handed_over_as_one() -> None:
    a = Begun()
    assert a.open() and a.gathering.takes(TO, b"x", "exactly_once")
    assert [a.gathering.add(b"%d" % number, 7 + number) for number in range(3)] == [True] * 3
    assert a.handed == []
    a.gathering.close()
    assert a.handed == [SubmittedMany(7, TO, [b"0", b"1", b"2"], True)]
    a.gathering.close()
    assert len(a.handed) == 1 and not a.gathering.takes(TO, b"x", "exactly_once")


@pytest.mark.parametrize(
    ("to", "payload", "delivery"),
    [
        (NodeAddress(FAR.name), b"x", "exactly_once"),
        (GroupAddress(ONE.name), b"x", "exactly_once"),
        (TO, bytearray(b"x"), "exactly_once"),
        (TO, b"x", "at_most_once"),
        (TO, b"x", "twice"),
    ],
)
def test_what_is_different_does_not_follow(to: Address, payload: object, delivery: str) -> None:
    a = Begun()
    assert a.open() and not a.gathering.takes(to, payload, delivery)


def test_equal_address_follows() -> None:
    a = Begun()
    assert a.open() and a.gathering.takes(NodeAddress(bytes(ONE.name)), b"x", "exactly_once")


@pytest.mark.parametrize(
    "to", [NodeAddress(FAR.name), GroupAddress(ONE.name)], ids=["far", "group"]
)
def test_only_a_neighbour_s_are_gathered(to: Address) -> None:
    assert not Begun().open(to)


def test_batch_is_full_with_a_record() -> None:
    a = Begun()
    assert a.open() and a.gathering.add(bytes(GATHERED_BYTES - 4), 1)
    assert not a.gathering.add(b"", 2)


def test_number_that_does_not_follow_begins_anew() -> None:
    """A request in between took one: the references of a batch are consecutive."""
    a = Begun()
    assert a.open() and a.gathering.add(b"x", 1) and not a.gathering.add(b"y", 3)


def test_no_more_are_gathered_than_may_be_unconfirmed() -> None:
    a = Begun(Limits.recommended().but(unconfirmed_max=2))
    assert a.open() and a.gathering.add(b"x", 1) and a.gathering.add(b"y", 2)
    assert not a.gathering.add(b"z", 3)
    a.gathering.close()
    a.stage.hear(a.handed[0])
    assert not a.open(), "nothing is confirmed yet"
    assert a.open(delivery="at_most_once"), "these are not watched"


def test_empty_batch_is_not_handed_over() -> None:
    a = Begun()
    assert a.open()
    a.gathering.close()
    assert a.handed == []
