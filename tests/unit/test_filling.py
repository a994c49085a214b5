"""Buckets that hold fewer than 8 are filled calmly, and left alone once nobody is to be had."""

from __future__ import annotations

from itertools import islice

from routing.bodies import ConnectRefused, ConnectRequest, FindGroup
from routing.core import Core
from routing.errors import Refusal
from routing.limits import SECOND, Limits, Nanos
from routing.messages import MessageKind, NodeAddress
from routing.names import bucket_index, flip_bit, nearest
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []

TICK = 45 * SECOND
"""The longest time to the next round of repair."""
REQUEST = MessageKind.CONNECT_REQUEST


def in_bucket(own: bytes, index: int, count: int) -> list[Person]:
    persons = (Person(number) for number in range(100, 100_000))
    return list(islice((p for p in persons if bucket_index(own, p.name) == index), count))


class Thin:
    """A node with a close group in bucket 3 and `held` entries in bucket 0, and nothing between.

    Who lives in bucket 0 besides is known to the test only.
    """

    def __init__(self, *, held: int = 2, limits: Limits | None = None, others: int = 40) -> None:
        self.stage = stage = Stage.founder(limits=limits)
        self.close = [stage.befriend(person) for person in in_bucket(stage.name, 3, 8)]
        persons = in_bucket(stage.name, 0, held + others)
        self.held = [stage.befriend(person) for person in persons[:held]]
        self.others = {person.name: person for person in persons[held:]}
        # As if all of them had been there for long.
        stage.core.filling.changed_at = -stage.core.limits.repair_interval_ns
        for bucket in (1, 2):
            # Nobody lives there: these buckets need no more questions.
            stage.core.filling.rests[bucket] = 1 << 62
            stage.core.filling.rests[3] = 1 << 62

    def wires(self) -> list[Wire]:
        return list(self.stage.open.values())

    def questions(self, said: Said) -> list[bytes]:
        """Return the targets in bucket 0 that are asked for, the regular two-minute ones too."""
        found = [said.messages(wire, MessageKind.FIND_GROUP, FindGroup) for wire in self.wires()]
        targets = dict.fromkeys(find.target for each in found for find in each)
        return [t for t in targets if bucket_index(self.stage.name, t) == 0]

    def question(self) -> bytes:
        """Let time pass until the next question of the walk, and return its target."""
        until = self.stage.now + TICK
        while True:
            said = self.stage.wait(SECOND // 2)
            asked = [t for t in self.questions(said) if t in self.stage.core.filling.asked]
            if asked:
                return asked[0]
            assert self.stage.now < until, "it asks at each tick"

    def answer(self, target: bytes, names: list[bytes] | None = None) -> Said:
        """Answer as a node would that knows everybody in bucket 0."""
        everybody = [*self.others, *(wire.person.name for wire in self.held)]
        listed = nearest(target, everybody, 16) if names is None else names
        return self.close[0].group_is(target, *listed)

    def requests(self, said: Said) -> list[ConnectRequest]:
        sent = [said.messages(wire, REQUEST, ConnectRequest) for wire in self.wires()]
        return list({r.attempt: r for each in sent for r in each}.values())

    def refuse(self, request: ConnectRequest, reason: Refusal = Refusal.NOT_WANTED) -> Said:
        person = self.others[request.target]
        body = ConnectRefused(request.attempt, reason)
        here = NodeAddress(self.stage.name)
        return self.close[0].routed(person.seal(MessageKind.CONNECT_REFUSED, here, body))


def test_bucket_below_eight_is_asked_for_and_filled_without_urgency() -> None:
    thin = Thin()
    requests = thin.requests(thin.answer(thin.question()))
    assert len(requests) == 6, "as many as it lacks"
    assert all(request.target in thin.others and not request.urgent for request in requests)


def test_full_bucket_asks_for_nobody() -> None:
    thin = Thin(held=8)
    thin.stage.wait(4 * TICK)
    assert "fill.asked" not in thin.stage.core.counters


def test_bucket_that_holds_fewer_than_two_is_urgent_and_no_matter_of_filling() -> None:
    thin = Thin(held=0)
    said = thin.answer(thin.question())
    assert [request.urgent for request in thin.requests(said)][:2] == [True, True]


def test_who_refused_for_want_of_a_place_is_not_asked_again() -> None:
    thin = Thin()
    asked: list[bytes] = []
    for _ in range(40):
        for request in thin.requests(thin.answer(thin.question())):
            asked.append(request.target)
            thin.refuse(request)
        if 0 in thin.stage.core.filling.rests:
            break
    assert len(asked) == len(set(asked))
    assert set(asked) == set(thin.others), "one walk asks everybody"
    assert thin.stage.core.counters["fill.walked"] == 1


def test_filling_waits_until_the_close_group_has_rested_but_not_for_ever() -> None:
    thin = Thin()
    counters, filling = thin.stage.core.counters, thin.stage.core.filling
    while not counters.get("fill.asked"):
        # Somebody comes or goes all the time.
        filling.on_close_group_changed()
        thin.stage.wait(SECOND)
    assert counters["fill.waited"] == 3 and thin.stage.now < 4 * TICK
    filling.on_close_group_changed()
    thin.stage.wait(TICK)
    waited = thin.stage.core.counters["fill.waited"]
    thin.stage.wait(2 * TICK)
    assert thin.stage.core.counters["fill.waited"] == waited <= 4, "it has rested"


def test_walked_bucket_rests_until_it_loses_one() -> None:
    thin = Thin(others=4)
    target = thin.question()
    for request in thin.requests(thin.answer(target)):
        thin.refuse(request)
    assert thin.stage.core.counters["fill.walked"] == 1
    core = thin.stage.core
    asked = core.counters["fill.asked"]
    thin.stage.wait(10 * TICK)
    assert core.counters["fill.asked"] == asked
    thin.held[0].lose()
    thin.question()
    assert core.counters["fill.asked"] == asked + 1


def test_rest_ends_after_an_hour_or_so() -> None:
    thin = Thin(others=0)
    thin.answer(thin.question())
    assert thin.stage.core.counters["fill.walked"] == 1
    asked = thin.stage.core.counters["fill.asked"]
    thin.stage.wait(Limits().fill_rest_ns // 2)
    assert thin.stage.core.counters["fill.asked"] == asked
    thin.stage.wait(Limits().fill_rest_ns)
    assert thin.stage.core.counters["fill.asked"] > asked


def test_answer_that_shows_all_of_a_bucket_ends_the_walk_at_once() -> None:
    thin = Thin(others=0)
    target = thin.question()
    thin.answer(target, [wire.person.name for wire in thin.close[:3]])
    assert thin.stage.core.counters["fill.walked"] == 1


def test_unanswered_question_is_asked_again() -> None:
    thin = Thin()
    target = thin.question()
    thin.stage.wait(4 * Limits().find_retry_ns)
    assert thin.question() == target


def test_question_of_another_concern_fills_nothing() -> None:
    thin = Thin()
    target = flip_bit(thin.stage.name, 0, bytes(32))
    thin.stage.core.membership.find(target)
    assert thin.requests(thin.answer(target)) == []


def test_one_whom_we_refused_is_asked_first_when_there_is_a_place() -> None:
    thin = Thin(held=8)
    wisher = next(iter(thin.others.values()))
    friend = thin.close[0]
    request = wisher.request(thin.stage.name, hop=friend.person.name, urgent=False)
    said = friend.routed(wisher.asks(request))
    (refused,) = said.messages(friend, MessageKind.CONNECT_REFUSED, ConnectRefused)
    assert refused.reason == Refusal.NOT_WANTED
    thin.held[0].lose()
    asked = thin.requests(thin.stage.wait(TICK))
    assert [each.target for each in asked] == [wisher.name]
    thin.refuse(asked[0])
    assert thin.requests(thin.stage.wait(TICK)) == [], "he has none any more, and knows of us"


def test_one_that_cannot_be_connected_with_is_tried_four_times() -> None:
    thin = Thin(held=7, others=1)
    tried = len(thin.requests(thin.answer(thin.question())))
    for _ in range(20):
        tried += len(thin.requests(thin.stage.wait(TICK)))
    # An unanswered request is sent again four times under the same id and counts once.
    (name,) = thin.others
    assert thin.stage.core.counters["fill.started"] == 4
    assert thin.stage.core.filling.unwanted.contains(name, now=thin.stage.now)
    assert tried >= 4


def test_refusal_for_another_reason_is_no_answer_about_places() -> None:
    thin = Thin(held=7, others=1)
    (request,) = thin.requests(thin.answer(thin.question()))
    thin.refuse(request, Refusal.BUSY)
    assert [r.target for r in thin.requests(thin.stage.wait(TICK))] == [request.target]


def test_refused_name_that_is_needed_by_now_is_asked_urgently_at_once() -> None:
    thin = Thin()
    request, *_ = thin.requests(thin.answer(thin.question()))
    for wire in thin.held:
        wire.lose()
    said = thin.refuse(request)
    again = [r for r in thin.requests(said) if r.target == request.target]
    assert [r.urgent for r in again] == [True]


def test_only_so_many_are_under_way_at_once() -> None:
    thin = Thin(limits=Limits().but(fill_requests_max=3))
    assert len(thin.requests(thin.answer(thin.question()))) == 3


def test_quarter_of_the_table_is_left_to_those_who_are_needed() -> None:
    thin = Thin(limits=Limits().but(table_max=16))
    assert len(thin.requests(thin.answer(thin.question()))) == 2


def test_walk_waits_while_the_close_group_is_repaired() -> None:
    thin = Thin(limits=Limits().but(repair_gather_ns=100 * SECOND))
    thin.close[0].lose()
    thin.stage.wait(TICK)
    assert "fill.asked" not in thin.stage.core.counters


def test_names_of_other_buckets_in_an_answer_are_left_alone() -> None:
    thin = Thin()
    stranger = in_bucket(thin.stage.name, 3, 9)[8].name
    target = thin.question()
    said = thin.answer(target, [stranger])
    assert [r.target for r in thin.requests(said) if r.target == stranger] in ([], [stranger])
    assert not any(r.target == stranger and not r.urgent for r in thin.requests(said))


def test_wishes_of_strangers_are_bounded() -> None:
    thin = Thin(held=8, others=0)
    friend = thin.close[0]
    for person in in_bucket(thin.stage.name, 0, 308)[8:]:
        friend.routed(
            person.asks(person.request(thin.stage.name, hop=friend.person.name, urgent=False))
        )
    assert len(thin.stage.core.filling.wishers) == Limits().wishers_max


def test_disconnected_node_knows_nothing_of_buckets() -> None:
    thin = Thin()
    thin.answer(thin.question())
    for wire in thin.wires():
        if wire.open:
            wire.lose()
    filling = thin.stage.core.filling
    assert not (filling.walks or filling.rests or filling.asked)
    assert len(filling.wishers) == len(filling.unwanted) == 0


def test_restored_core_goes_on_walking_and_wishing() -> None:
    thin = Thin()
    requests = thin.requests(thin.answer(thin.question()))
    thin.refuse(requests[0])
    thin.refuse(requests[1], Refusal.BUSY)
    thin.question()
    core = thin.stage.core
    assert core.filling.walks and core.filling.asked and len(core.filling.wishers)
    other = Core(thin.stage.config)
    other.restore(core.snapshot())
    assert other.digest() == core.digest()
    until = Nanos(thin.stage.now + 2 * TICK)
    said = thin.stage.wait(2 * TICK)
    while (due := other.next_deadline()) is not None and due <= until:
        other.on_deadline(due)
    other.on_deadline(until)
    assert Said(other.take_actions()) == said
