"""A copy behind others that are being acknowledged is waited for; one that was left out is not."""

from __future__ import annotations

import pytest

from routing.actions import Failed
from routing.bodies import Acknowledged
from routing.inputs import Submitted
from routing.limits import SECOND
from routing.messages import Envelope, GroupAddress, MessageKind, NodeAddress, Signed
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ONE, TWO, FAR = Person(1), Person(2), Person(50)
MESSAGE = MessageKind.MESSAGE
STEP = 2 * SECOND // 5
"""Longer than the shortest patience, shorter than the first."""


class Sender:
    """Sends to FAR, and counts the copies of each message by when they leave."""

    def __init__(self, count: int, gap: int = 1) -> None:
        self.stage, self.wires = Stage.among(ONE, TWO)
        self.began = self.stage.now
        self.ids: list[bytes] = []
        self.left: dict[bytes, list[tuple[int, int]]] = {}
        """Of each message: (route, nanoseconds since the beginning) of every copy."""
        for _ in range(count):
            self.note(self.submit())
            self.ids = list(self.left)
            self.wait(gap)

    def submit(self) -> Said:
        fact = Submitted(7, MESSAGE, NodeAddress(FAR.name), b"text", b"", False, 0, True, True)
        return self.stage.hear(fact)

    def note(self, said: Said) -> None:
        assert said.of(Failed) == []
        for wire in self.wires:
            for envelope in said.envelopes(wire, MESSAGE):
                self._add(envelope)

    def _add(self, envelope: Envelope) -> None:
        message_id = opened(Signed, envelope.signed).id
        at = self.stage.now - self.began
        self.left.setdefault(message_id, []).append((envelope.route, at))

    def wait(self, nanoseconds: int) -> None:
        """Let time pass, a little at a time, so that the time of every copy is known."""
        end = self.stage.now + nanoseconds
        while self.stage.now < end:
            self.note(self.stage.wait(min(SECOND // 1_000, end - self.stage.now)))

    def acknowledge(self, *places: int, route: int = 0) -> None:
        """Have the far end acknowledge messages, the latest first."""
        ids = [self.ids[place] for place in places]
        body = Acknowledged(ids[0], 0, ids[1:])
        told = FAR.seal(MessageKind.ACKNOWLEDGED, NodeAddress(self.stage.name), body, route=route)
        wire: Wire = self.wires[0]
        self.note(wire.routed(told))

    def counted(self, what: str) -> int:
        return self.stage.core.counters.get(f"delivery.{what}", 0)

    def copies(self, place: int) -> list[tuple[int, int]]:
        return self.left[self.ids[place]]


def test_who_is_slow_and_acknowledges_in_order_is_sent_nothing_again() -> None:
    sender = Sender(8)
    for place in range(8):
        sender.wait(STEP)
        sender.acknowledge(place)
    sender.wait(10 * SECOND)
    assert [len(sender.copies(place)) for place in range(8)] == [1] * 8
    assert sender.counted("behind") > 0
    assert sender.counted("retry") == 0


def test_what_left_at_the_same_moment_is_behind_too() -> None:
    sender = Sender(2, 0)
    sender.wait(STEP)
    sender.acknowledge(0)
    sender.wait(SECOND)
    assert len(sender.copies(1)) == 1 and sender.counted("behind") == 1


def test_one_that_was_left_out_is_sent_again_in_its_time() -> None:
    sender = Sender(4)
    sender.wait(STEP)
    sender.acknowledge(3, 2)
    sender.acknowledge(0)
    sender.wait(SECOND - STEP + SECOND // 100)
    ((_, first), (route, again)) = sender.copies(1)
    assert route == 1 and SECOND <= again - first < SECOND + SECOND // 100
    assert sender.counted("behind") == 0


def test_when_no_more_is_acknowledged_the_rest_is_sent_again() -> None:
    sender = Sender(3)
    sender.wait(STEP)
    sender.acknowledge(0)
    patience = sender.stage.core.hops.patience(FAR.name, 0)
    assert patience > SECOND - STEP, "it begins anew with the acknowledgement"
    sender.wait(3 * SECOND)
    for place in (1, 2):
        route, again = sender.copies(place)[1]
        assert route == 1 and 0 <= again - STEP - patience < SECOND // 100


def test_none_is_waited_for_longer_than_any_copy_is() -> None:
    sender = Sender(20)
    high = sender.stage.core.limits.acknowledge_high_ns
    for place in range(10):
        sender.wait(STEP - SECOND // 100)
        sender.acknowledge(place)
    sender.wait(SECOND // 2)
    route, again = sender.copies(19)[1]
    assert route == 1 and high <= again - sender.copies(19)[0][1] < high + SECOND // 100


def test_repeat_that_was_acknowledged_says_nothing_of_first_copies() -> None:
    sender = Sender(2)
    sender.acknowledge(0)
    sender.wait(2 * SECOND)
    before = sender.stage.core.hops.trips[FAR.name].reached
    assert sender.copies(1)[1][0] == 1
    sender.acknowledge(1, route=1)
    trip = sender.stage.core.hops.trips[FAR.name]
    assert trip.reached == before and trip.heard < sender.stage.now


@pytest.mark.parametrize("acknowledged", [1, 5])
def test_what_is_known_survives_a_snapshot(acknowledged: int) -> None:
    sender = Sender(6)
    sender.wait(STEP)
    sender.acknowledge(*reversed(range(acknowledged)))
    other = Stage(0, first=True)
    other.core.restore(sender.stage.core.snapshot())
    assert other.core.digest() == sender.stage.core.digest()
    trip = other.core.hops.trips[FAR.name]
    assert trip == sender.stage.core.hops.trips[FAR.name]
    assert (trip.heard, trip.reached) == (STEP + 6, acknowledged - 1)


def test_group_is_sent_again_in_its_time_whatever_a_node_of_its_name_does() -> None:
    sender = Sender(2)
    group = GroupAddress(FAR.name)
    sent = sender.stage.hear(Submitted(9, MESSAGE, group, b"all", b"", False, 0, True, True))
    sender.note(sent)
    (message_id,) = set(sender.left) - set(sender.ids)
    limits = sender.stage.core.limits
    patience = limits.find_retry_ns + limits.acknowledge_low_ns
    sender.wait(patience - SECOND // 100)
    sender.acknowledge(1)
    assert len(sender.left[message_id]) == 1
    sender.wait(SECOND // 50)
    assert len(sender.left[message_id]) == 2
