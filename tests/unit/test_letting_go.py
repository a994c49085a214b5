"""A surplus connection ends when both ends agree, and never one that either needs."""

from __future__ import annotations

import pytest

from routing.bodies import ConnectRefused, ConnectRequest
from routing.core import Core
from routing.errors import CloseCode, Refusal
from routing.events import PeerDown
from routing.limits import SECOND, Limits, Nanos
from routing.messages import FrameKind, MessageKind, Unneeded
from routing.names import bucket_index, distance
from routing.state import LinkRole
from tests.pair import Pair
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []

ASK, AGREE = Unneeded(agreed=False), Unneeded(agreed=True)
TICK = 45 * SECOND
"""The longest time to the next round of repair."""
WAIT = Limits().unneeded_wait_ns
AGAIN = Limits().unneeded_again_ns


def in_bucket(own: bytes, index: int, count: int, *, within: int = 1 << 256) -> list[Person]:
    """Return persons of one bucket, nearer than `within`."""
    found = []
    for number in range(100, 100_000):
        person = Person(number)
        near = distance(own, person.name) < within
        if near and bucket_index(own, person.name) == index:
            found.append(person)
            if len(found) == count:
                return found
    raise AssertionError("there are not so many")


def count(core: Core, what: str) -> int:
    return core.counters.get(what, 0)


# -- two real cores that could do without each other


class Spare:
    """A pair that is connected; each holds the other as its only, or first, surplus entry."""

    def __init__(self) -> None:
        self.pair = pair = Pair()
        names = [stage.name for stage in pair.stages]
        self.bucket = bucket = bucket_index(*names)
        beside = [bucket_index(name, pair.relay.name) == bucket for name in names]
        self.b = beside.index(True)
        self.a = 1 - self.b
        self.friends: list[list[Wire]] = [[], []]
        self.crowd(self.a, within=distance(*names))
        for stage, other in (pair.stages, reversed(pair.stages)):
            stage.trust(other.person)
        pair.ask(self.b)
        pair.run()
        pair.assert_connected()
        far = min(distance(names[self.b], other) for other in (names[self.a], pair.relay.name))
        self.crowd(self.b, within=far)

    def crowd(self, index: int, *, within: int) -> None:
        own = self.pair.stages[index].name
        persons = in_bucket(own, self.bucket, 8, within=within)
        self.friends[index] = [self.pair.befriend(index, person) for person in persons]

    def core(self, index: int) -> Core:
        return self.pair.stages[index].core

    def asks(self, index: int) -> None:
        """Let time pass for one until it asks; what else it says is lost."""
        until = self.pair.stages[index].now + TICK
        while not self.core(index).letting_go.asked:
            assert self.pair.stages[index].now < until, "it asks at its next tick"
            self.pair.wait_alone(index, SECOND)
        self.quiet()

    def quiet(self) -> None:
        for label in self.pair.labels:
            if label != "UNNEEDED":
                self.pair.drop(label)

    def downs(self, index: int) -> list[CloseCode]:
        name = self.pair.stages[1 - index].name
        told = self.pair.stages[index].said.events(PeerDown)
        return [event.code for event in told if event.name == name]

    def assert_let_go(self) -> None:
        assert self.pair.roles() == [[], []]
        assert [self.downs(0), self.downs(1)] == [[CloseCode.UNNEEDED]] * 2
        self.pair.assert_nothing_pending()
        for index in (0, 1):
            held = self.core(index).table.bucket_size(self.bucket)
            assert held >= 8, "nobody lacks anything"
            assert not self.core(index).letting_go.asked


@pytest.mark.parametrize("who", ["a", "b"])
def test_surplus_of_both_ends_is_let_go_by_agreement(who: str) -> None:
    spare = Spare()
    index = spare.a if who == "a" else spare.b
    spare.asks(index)
    spare.pair.step("UNNEEDED")
    assert spare.pair.roles() == [[LinkRole.CONSOLIDATED]] * 2, "who asked looks again, and closes"
    spare.pair.step("UNNEEDED")
    assert spare.downs(index) == [CloseCode.UNNEEDED] and spare.downs(1 - index) == []
    spare.pair.run()
    spare.assert_let_go()


def test_both_ask_at_once_and_both_let_go() -> None:
    spare = Spare()
    spare.asks(0)
    spare.asks(1)
    assert spare.pair.labels == ["UNNEEDED", "UNNEEDED"]
    spare.pair.run()
    spare.assert_let_go()


def test_what_was_let_go_is_not_made_again() -> None:
    spare = Spare()
    spare.asks(spare.a)
    spare.pair.run()
    spare.assert_let_go()
    spare.pair.relays[0].names(spare.pair.stages[1].name)
    spare.pair.relays[1].names(spare.pair.stages[0].name)
    spare.pair.wait(10 * SECOND)
    spare.assert_let_go()


def test_letting_go_is_no_reason_for_repair_and_no_mass_loss() -> None:
    spare = Spare()
    spare.asks(spare.a)
    before = [spare.core(index).peers.recent_losses for index in (0, 1)]
    groups = [spare.core(index).peers.close_group for index in (0, 1)]
    spare.pair.run()
    assert [spare.core(index).peers.recent_losses for index in (0, 1)] == before
    assert [spare.core(index).peers.close_group for index in (0, 1)] == groups
    assert ("gather", b"") not in spare.core(spare.a).alarms


def test_agreement_that_comes_when_it_is_needed_again_ends_nothing() -> None:
    spare = Spare()
    spare.asks(spare.a)
    spare.pair.step("UNNEEDED")
    spare.friends[spare.a][0].lose()
    spare.pair.run()
    assert spare.pair.roles() == [[LinkRole.CONSOLIDATED]] * 2
    assert count(spare.core(spare.a), "surplus.needed") == 1
    assert count(spare.core(spare.b), "surplus.agreed") == 1
    spare.pair.wait_alone(spare.b, 2 * WAIT)
    assert spare.pair.roles() == [[LinkRole.CONSOLIDATED]] * 2


def test_close_that_comes_when_it_is_needed_again_does_not_keep_it_from_coming_back() -> None:
    spare = Spare()
    spare.asks(spare.a)
    spare.pair.step("UNNEEDED")
    spare.pair.step("UNNEEDED")
    assert spare.pair.labels == ["close UNNEEDED"]
    b, name = spare.core(spare.b), spare.pair.stages[spare.a].name
    for friend in spare.friends[spare.b]:
        friend.lose()
    spare.pair.run()
    assert b.membership.needs(name) and b.attempts.may_try(name)
    spare.pair.ask(spare.b)
    spare.pair.run()
    spare.pair.assert_connected()


def test_who_does_not_hold_us_as_surplus_is_silent_and_is_not_asked_again_soon() -> None:
    spare = Spare()
    a, b = spare.core(spare.a), spare.core(spare.b)
    for friend in spare.friends[spare.b][:3]:
        friend.lose()
    spare.asks(spare.a)
    spare.pair.run()
    assert spare.pair.roles() == [[LinkRole.CONSOLIDATED]] * 2
    assert count(b, "surplus.needed") == 1 and count(b, "surplus.agreed") == 0
    spare.pair.wait_alone(spare.a, WAIT)
    spare.quiet()
    assert (count(a, "surplus.not_agreed"), a.letting_go.asked) == (1, b"")
    spare.pair.wait_alone(spare.a, AGAIN - SECOND)
    spare.quiet()
    assert count(a, "surplus.asked") == 1
    spare.asks(spare.a)
    assert spare.pair.labels == ["UNNEEDED"] and count(a, "surplus.asked") == 2


def test_question_ends_with_its_connection() -> None:
    spare = Spare()
    spare.asks(spare.a)
    stage = spare.pair.stages[spare.a]
    (link,) = spare.pair.links(spare.a)
    stage.open[link.token].lose()
    assert stage.core.letting_go.asked == b""
    assert ("unneeded", b"") not in stage.core.alarms
    assert spare.downs(spare.a) == [CloseCode.IO_ERROR]


# -- one core among persons


def crowded(beyond: int, *, limits: Limits | None = None) -> tuple[Stage, list[Wire]]:
    """Return a node with a close group of its own and 8 + `beyond` entries in bucket 0."""
    stage = Stage.founder(limits=limits)
    for person in in_bucket(stage.name, 3, 8):
        stage.befriend(person)
    wires = [stage.befriend(person) for person in in_bucket(stage.name, 0, 8 + beyond)]
    return stage, wires


def asked(said: Said, wires: list[Wire]) -> list[Wire]:
    return [wire for wire in wires if ASK in said.frames(wire, FrameKind.UNNEEDED, Unneeded)]


def agreed(said: Said, wires: list[Wire]) -> list[Wire]:
    return [wire for wire in wires if AGREE in said.frames(wire, FrameKind.UNNEEDED, Unneeded)]


def test_youngest_beyond_eight_are_asked_one_by_one_and_the_oldest_never() -> None:
    stage, wires = crowded(3)
    order: list[Wire] = []
    for _ in range(20):
        found = asked(stage.wait(TICK // 3), wires)
        assert len(found) <= 1
        order += found
    assert order == [wires[10], wires[9], wires[8]]
    assert all(wire.open for wire in wires), "nobody agreed"


def test_bucket_of_eight_has_no_surplus() -> None:
    stage, wires = crowded(0)
    assert asked(stage.wait(4 * TICK), wires) == []


def test_only_so_many_are_agreed_with_as_are_beyond_eight() -> None:
    stage, wires = crowded(2)
    said = Said()
    for wire in wires[:5]:
        said += wire.say(FrameKind.UNNEEDED, ASK)
    assert agreed(said, wires) == wires[:2]
    assert count(stage.core, "surplus.needed") == 3
    said = stage.wait(2 * WAIT + 1)
    assert agreed(wires[4].say(FrameKind.UNNEEDED, ASK), wires) == [wires[4]], "they did not close"


def test_own_question_counts_among_those_that_may_go() -> None:
    stage, wires = crowded(1)
    while not asked(stage.wait(SECOND), wires):
        assert stage.now < TICK
    said = wires[0].say(FrameKind.UNNEEDED, ASK)
    assert agreed(said, wires) == [] and wires[0].open


def test_member_of_the_close_group_is_never_agreed_with() -> None:
    stage = Stage.founder()
    wires = [stage.befriend(person) for person in in_bucket(stage.name, 0, 12)]
    by_distance = sorted(wires, key=lambda wire: distance(stage.name, wire.person.name))
    said = Said()
    for wire in wires:
        said += wire.say(FrameKind.UNNEEDED, ASK)
    assert all(wire in by_distance[8:] for wire in agreed(said, wires))
    assert len(agreed(said, wires)) == 4


def test_agreement_nobody_asked_for_ends_nothing() -> None:
    stage, wires = crowded(2)
    wires[0].say(FrameKind.UNNEEDED, AGREE)
    assert wires[0].open and count(stage.core, "surplus.unasked") == 1


def test_agreement_that_comes_too_late_ends_nothing() -> None:
    stage, wires = crowded(1)
    assert asked(stage.wait(TICK + WAIT), wires) == [wires[8]]
    wires[8].say(FrameKind.UNNEEDED, AGREE)
    assert wires[8].open and count(stage.core, "surplus.unasked") == 1


def test_disconnected_node_has_no_question_left() -> None:
    stage, _ = crowded(1)
    stage.wait(TICK)
    for wire in list(stage.open.values()):
        if wire.open:
            wire.lose()
    assert stage.core.letting_go.asked == b"" and stage.core.letting_go.promised == {}


def test_restored_core_remembers_what_it_asked_and_with_whom_it_agreed() -> None:
    stage, wires = crowded(3)
    stage.wait(TICK)
    while not stage.core.letting_go.asked:
        stage.wait(SECOND)
    wires[0].say(FrameKind.UNNEEDED, ASK)
    going = stage.core.letting_go
    assert going.kept and going.promised and going.asked
    other = Core(stage.config)
    other.restore(stage.core.snapshot())
    assert other.digest() == stage.core.digest()
    for each in (stage.core, other):
        each.on_deadline(Nanos(stage.now + WAIT))
    assert other.take_actions() == stage.core.take_actions()


# -- who has a place


def ask_for_a_place(stage: Stage, friend: Wire, person: Person, *, urgent: bool) -> Refusal | None:
    stage.trust(person)
    request = person.request(stage.name, hop=friend.person.name, urgent=urgent)
    said = friend.routed(person.asks(request))
    refused = said.messages(friend, MessageKind.CONNECT_REFUSED, ConnectRefused)
    if refused:
        assert said.dials() == []
        return Refusal(refused[0].reason)
    assert said.dials() == [person.address]
    return None


def test_request_that_fits_nowhere_is_not_wanted_unless_its_sender_needs_us() -> None:
    stage, wires = crowded(0)
    *_, one, other = in_bucket(stage.name, 0, 12)
    assert ask_for_a_place(stage, wires[0], one, urgent=False) is Refusal.NOT_WANTED
    assert ask_for_a_place(stage, wires[0], other, urgent=True) is None


def test_bucket_has_no_more_places_than_eight_those_under_way_counted() -> None:
    stage = Stage.founder()
    for person in in_bucket(stage.name, 3, 8):
        friend = stage.befriend(person)
    persons = in_bucket(stage.name, 0, 10)
    answers = [ask_for_a_place(stage, friend, person, urgent=False) for person in persons]
    assert answers == [None] * 8 + [Refusal.NOT_WANTED] * 2


def test_full_table_takes_only_whom_it_needs() -> None:
    stage, wires = crowded(0, limits=Limits().but(table_max=16))
    (fits,) = in_bucket(stage.name, 1, 1)
    (beyond,) = in_bucket(stage.name, 0, 9)[8:]
    (close,) = in_bucket(stage.name, 5, 1)
    friend = wires[0]
    assert ask_for_a_place(stage, friend, beyond, urgent=True) is Refusal.FULL
    assert ask_for_a_place(stage, friend, beyond, urgent=False) is Refusal.NOT_WANTED
    assert ask_for_a_place(stage, friend, fits, urgent=False) is None, "the bucket holds none"
    assert ask_for_a_place(stage, friend, close, urgent=True) is None


def test_last_quarter_of_a_table_is_for_those_who_are_needed_or_in_need() -> None:
    stage, wires = crowded(0, limits=Limits().but(table_max=22))
    *two, idle, needing = in_bucket(stage.name, 1, 4)
    for person in two:
        stage.befriend(person)
    assert stage.core.letting_go.places() == 4 < 22 // 4
    assert ask_for_a_place(stage, wires[0], idle, urgent=False) is Refusal.FULL
    assert ask_for_a_place(stage, wires[0], needing, urgent=True) is None


def test_newcomer_that_is_needed_displaces_the_youngest_of_the_fullest_bucket() -> None:
    stage, wires = crowded(2, limits=Limits().but(table_max=18))
    (close,) = in_bucket(stage.name, 5, 1)
    peer = stage.befriend(close)
    assert peer.open and len(stage.core.table) == 18
    assert stage.said.closed(wires[-1]) is CloseCode.FULL
    assert [wire for wire in wires if not wire.open] == [wires[-1]]
    assert not stage.core.attempts.may_try(wires[-1].person.name), "not dialled again at once"


def test_newcomer_that_is_needed_no_longer_goes_itself() -> None:
    stage, wires = crowded(0, limits=Limits().but(table_max=17))
    first, second = in_bucket(stage.name, 0, 10)[8:]
    friend, requests = wires[0], []
    stage.trust(first, second)
    for person in (first, second):
        requests.append(person.request(stage.name, hop=friend.person.name))
        friend.routed(person.asks(requests[-1]))
    assert len(stage.dialling) == 1, "the place is taken by the one under way"


def test_full_table_asks_at_once_who_would_go() -> None:
    stage, wires = crowded(2, limits=Limits().but(table_max=18))
    assert stage.core.letting_go.asked == wires[9].person.name
    said = stage.wait(WAIT)
    assert asked(said, wires) == [wires[8]], "and the next one when he does not"
    wires[8].say(FrameKind.UNNEEDED, AGREE)
    assert stage.said.closed(wires[8]) is CloseCode.UNNEEDED


def test_request_says_that_it_is_urgent_only_if_its_sender_needs_the_other() -> None:
    stage = Stage.founder()
    friends = [stage.befriend(person) for person in in_bucket(stage.name, 3, 8)]
    for person in in_bucket(stage.name, 0, 2):
        stage.befriend(person)
    spare = in_bucket(stage.name, 0, 3)[2].name
    (needed,) = (person.name for person in in_bucket(stage.name, 1, 1))
    stage.core.connecting.start(spare)
    stage.core.connecting.start(needed)
    said = stage.wait(1)
    found = [said.messages(wire, MessageKind.CONNECT_REQUEST, ConnectRequest) for wire in friends]
    found += [
        said.messages(w, MessageKind.CONNECT_REQUEST, ConnectRequest) for w in stage.open.values()
    ]
    urgent = {request.target: request.urgent for each in found for request in each}
    assert urgent == {spare: False, needed: True}
