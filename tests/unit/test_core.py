"""The contract of the core: one fact in, actions out, one timer, and a stop that leaves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from routing.actions import CancelDial, Close, Dial, Failed, Tell
from routing.errors import CloseCode, DialFailure
from routing.events import (
    DescriptorsShort,
    ListenerFailed,
    PeerDown,
    StateChanged,
    Terminated,
)
from routing.inputs import (
    Accepted,
    BootstrapRequested,
    ContactsLearnt,
    DescriptorsRanShort,
    DialFailed,
    ListenerLost,
    Listening,
    Lost,
    StopRequested,
)
from routing.limits import SECOND, Nanos
from routing.messages import Ack, ClientAddress, Contacts, FrameKind, HelloRole, MessageKind
from routing.state import Connection, Detail, Direction, Phase, Token
from tests.asked import FRIEND, PEER, STRANGER, Asked
from tests.persons import Person
from tests.support import Said, Stage

__all__: list[str] = []


def looking() -> Stage:
    stage = Stage(contacts=[each.address for each in (FRIEND, PEER, STRANGER)])
    stage.start()
    stage.wait(SECOND)
    stage.connect(FRIEND)
    return stage


def busy() -> Stage:
    """Return a node with one of everything: peer, joiner, client, stranger, attempts both ways."""
    a = Asked()
    stage = a.stage
    for number, role in enumerate((HelloRole.JOIN, HelloRole.CLIENT, HelloRole.FEEL)):
        stage.accept(Person(60 + number)).hello(role)
    stage.accept(Person(70))
    a.friend.names(Person(71).name)
    a.ask()
    stage.connect(PEER)
    a.secondary()
    other = Person(72)
    a.ask_as(other, a.make(other))
    return stage


def feeling() -> Stage:
    stage, (friend,) = Stage.among(FRIEND)
    friend.say(FrameKind.CONTACTS, Contacts([PEER.address]))
    stage.wait(10 * SECOND)
    stage.connect(PEER)
    return stage


SCENES: dict[str, Callable[[], Stage]] = {
    "new": Stage,
    "looking": looking,
    "waiting for the next round": lambda: Stage(contacts=[]),
    "bootstrapped": lambda: Stage.admitted(FRIEND)[0],
    "client": lambda: Stage.admitted(FRIEND, client=True)[0],
    "relocated": lambda: Stage.named(FRIEND)[0],
    "founder": Stage.founder,
    "connected and busy": busy,
    "with a feeler": feeling,
    "group connected": lambda: Stage.among(*map(Person, range(1, 10)))[0],
}


def told(make: Callable[[], Stage]) -> Stage:
    """Return the stage of a story that is the same each time it is told."""
    for person in (FRIEND, PEER, STRANGER):
        person.rewind()
    return make()


SCENE = pytest.mark.parametrize("scene", SCENES)


# -- stop


@SCENE
def test_stop_closes_everything_and_leaves_no_deadline(scene: str) -> None:
    stage = SCENES[scene]()
    said = stage.hear(StopRequested())
    assert stage.open == {} and not stage.core.links
    assert stage.core.next_deadline() is None
    assert len(said.events(Terminated)) == 1
    assert stage.core.state.detail is Detail.TERMINATED
    assert stage.core.attempts.live() == [] and not stage.core.table


@SCENE
def test_stop_calls_off_every_dial(scene: str) -> None:
    stage = SCENES[scene]()
    stage.hear(StopRequested())
    assert sorted(stage.cancelled) == sorted(set(stage.cancelled))
    assert set(stage.dialling) <= set(stage.cancelled)


@SCENE
def test_stopped_core_says_nothing_more_unasked(scene: str) -> None:
    stage = SCENES[scene]()
    stage.hear(StopRequested())
    assert stage.wait(300 * SECOND) == []
    assert stage.hear(StopRequested()) == [], "Terminated is told once"
    for fact in (BootstrapRequested(), ContactsLearnt([PEER.address]), Listening([])):
        assert stage.hear(fact) == []


@SCENE
def test_stopped_core_closes_what_still_comes_up(scene: str) -> None:
    stage = SCENES[scene]()
    stage.hear(StopRequested())
    wire = stage.accept(Person(99))
    assert wire.opening.closed(wire) is CloseCode.STOPPING
    for dial in list(stage.dialling):
        late = stage.connect(Person(98), dial)
        assert late.opening.closed(late) is not None
    assert stage.open == {}


def test_stopped_core_takes_the_answers_to_its_dials() -> None:
    stage = looking()
    stage.hear(StopRequested())
    for dial in list(stage.dialling):
        assert stage.fail(dial, DialFailure.CANCELLED) == []
    assert stage.core.dials.flights == {}


def test_peers_are_told_down_when_the_node_stops() -> None:
    stage, _ = Stage.among(FRIEND, PEER)
    said = stage.hear(StopRequested())
    downs = {(each.name, each.code) for each in said.events(PeerDown)}
    assert downs == {(FRIEND.name, CloseCode.STOPPING), (PEER.name, CloseCode.STOPPING)}


def joining() -> Stage:
    """Return a node that joins through its proxy and has nine peers and an attempt under way."""
    stage, proxy = Stage.named(FRIEND)
    here = ClientAddress(FRIEND.name, stage.core.key)
    for person in map(Person, range(80, 92)):
        stage.trust(person)
        request = person.request(stage.name, hop=FRIEND.name)
        proxy.routed(person.seal(MessageKind.CONNECT_REQUEST, here, request))
        primary = stage.connect(person)
        primary.say(FrameKind.ACK, Ack(request.attempt))
        stage.accept(person).hello(HelloRole.SECONDARY, request.attempt)
    proxy.group_is(stage.name, PEER.name)
    assert stage.core.membership.joining and stage.core.attempts.requested_count() == 1
    return stage


@pytest.mark.parametrize("make", [busy, joining, feeling], ids=["busy", "joining", "feeling"])
def test_stop_sends_nothing_new_to_anybody(make: Callable[[], Stage]) -> None:
    said = make().hear(StopRequested())
    kinds = {type(action) for action in said}
    assert kinds <= {Close, CancelDial, Tell, Failed}, kinds
    assert {each.code for each in said.of(Close)} == {CloseCode.STOPPING}


def test_last_thing_told_is_terminated() -> None:
    stage = busy()
    told = [each.event for each in stage.hear(StopRequested()).of(Tell)]
    assert isinstance(told[-1], Terminated)
    changes = [each for each in told if isinstance(each, StateChanged)]
    assert [each.new.phase for each in changes] == [Phase.TERMINATED]


# -- time


@SCENE
def test_spurious_wake_up_is_harmless(scene: str) -> None:
    stage, same = told(SCENES[scene]), told(SCENES[scene])
    for core in (stage.core, same.core):
        core.take_actions()
    for _ in range(3):
        stage.core.on_deadline(Nanos(stage.now))
    assert stage.core.take_actions() == []
    assert stage.core.digest() == same.core.digest()


@SCENE
def test_deadline_is_ahead_after_every_step(scene: str) -> None:
    stage = SCENES[scene]()
    for _ in range(50):
        due = stage.core.next_deadline()
        if due is None:
            break
        assert due > stage.now
        stage.wait(due - stage.now)


def test_time_that_goes_backwards_counts_as_the_latest() -> None:
    stage, _ = Stage.among(FRIEND)
    stage.wait(10 * SECOND)
    stage.core.on_deadline(Nanos(0))
    assert stage.core.now == 10 * SECOND


def asking() -> Stage:
    a = Asked()
    a.friend.names(STRANGER.name)
    return a.stage


def test_overdue_deadlines_are_run_at_their_own_times_before_a_fact() -> None:
    late, punctual = told(asking), told(asking)
    late.now = 29 * SECOND
    late.hear(ContactsLearnt([]))
    punctual.wait(29 * SECOND)
    assert late.said == punctual.said
    assert late.core.digest() == punctual.core.digest()


def test_same_facts_at_the_same_times_give_the_same_actions() -> None:
    one, other = told(busy), told(busy)
    assert one.said == other.said
    assert one.core.digest() == other.core.digest()


def test_actions_are_handed_over_once_and_in_order() -> None:
    stage = Stage(contacts=[FRIEND.address])
    stage.core.handle(BootstrapRequested(), Nanos(0))
    actions = stage.core.take_actions()
    assert [type(action) for action in actions] == [Tell, Dial]
    assert stage.core.take_actions() == []


# -- a peer's fault is data


def test_answer_to_no_dial_is_counted_and_closed() -> None:
    stage, _ = Stage.among(FRIEND)
    assert stage.hear(DialFailed(77, DialFailure.TIMED_OUT)) == []
    assert stage.hear(Lost(Token(77), CloseCode.NORMAL, "")) == []


def test_node_that_is_dialled_by_itself_closes() -> None:
    stage, _ = Stage.among(FRIEND)
    wire = stage.accept(stage.person)
    assert wire.opening.closed(wire) is CloseCode.SELF


def test_accept_before_the_start_is_held() -> None:
    stage = Stage()
    wire = stage.accept(PEER)
    assert wire.open and wire.opening == []


# -- views


def test_why_we_are_or_are_not_connected_can_be_asked() -> None:
    a = Asked()
    a.ask()
    a.stage.fail(a.stage.dial_to(PEER.address))
    why = a.stage.core.explain(PEER.name)
    assert any("PRIMARY_FAILED" in line for line in why), why
    assert a.stage.core.explain(FRIEND.name), "and of one we are connected with"


def test_links_are_listed_by_role_oldest_first() -> None:
    stage, wires = Stage.among(FRIEND, PEER)
    from routing.state import LinkRole

    listed = stage.core.links_of(LinkRole.CONSOLIDATED)
    assert [link.token for link in listed] == [wire.token for wire in wires]
    assert stage.core.link_to(PEER.name).token == wires[1].token


def test_endpoints_are_those_we_listen_on() -> None:
    assert Stage(endpoints=["127.0.0.1:4000", "[::1]:4000"]).core.endpoints == [
        "127.0.0.1:4000",
        "[::1]:4000",
    ]


def test_wildcard_listener_advertises_the_address_a_proxy_sees() -> None:
    stage = Stage(contacts=[FRIEND.address], endpoints=["0.0.0.0:4000"])
    assert stage.core.endpoints == []
    stage.start()
    wire = stage.connect(FRIEND)
    wire.admit(observed="9.9.9.9")
    assert "9.9.9.9:4000" in stage.core.endpoints


def test_listing_of_endpoints_is_bounded() -> None:
    listed = [f"127.0.0.{number}:4000" for number in range(1, 30)]
    assert len(Stage(endpoints=listed).core.endpoints) == 8


def test_token_of_a_lost_connection_is_dead_for_every_later_fact() -> None:
    stage, (friend,) = Stage.among(FRIEND)
    friend.lose()
    said = Said()
    stage.core.handle(Lost(friend.token, CloseCode.NORMAL, ""), Nanos(0))
    said.extend(stage.core.take_actions())
    assert said == []
    connection = Connection(Token(5 << 32 | 1), "tcp", "127.0.0.9:1", "", Direction.INBOUND)
    stage.core.handle(Accepted(connection, PEER.key, bytes(32), Nanos(0)), Nanos(0))
    assert stage.core.links[connection.token].key == PEER.key


# -- a timer that is run late, in the step that hears the end of what it is about


def test_late_timer_says_nothing_on_the_connection_whose_loss_is_heard() -> None:
    stage, (friend, peer) = Stage.among(FRIEND, PEER)
    stage.now += SECOND
    said = friend.lose()
    assert said.bodies(peer, FrameKind.NEIGHBOURS), "the overdue list goes to the other"
    assert said.bodies(friend, FrameKind.NEIGHBOURS) == []


def test_late_timer_does_not_close_a_connection_whose_loss_is_heard() -> None:
    stage, _ = Stage.among(FRIEND)
    stranger = stage.accept(PEER)
    stage.now += 10 * SECOND
    assert stranger.lose().closed(stranger) is None
    assert stage.core.attempts.backlog == 0


@pytest.mark.parametrize("connects", [True, False])
def test_late_timer_does_not_call_off_a_dial_whose_answer_is_heard(connects: bool) -> None:
    a = Asked()
    a.ask()
    dial = a.stage.dial_to(PEER.address)
    a.stage.now += 30 * SECOND
    if connects:
        late = a.stage.connect(PEER, dial)
        assert late.opening.closed(late) is CloseCode.NORMAL
        assert late.opening.of(CancelDial) == []
    else:
        assert a.stage.fail(dial).of(CancelDial) == []
    assert a.stage.core.dials.flights == {}


# -- addresses


def test_wildcard_listener_learns_from_the_local_end_of_a_connection() -> None:
    stage = Stage(contacts=[FRIEND.address], endpoints=["0.0.0.0:4001"])
    stage.start()
    stage.connect(FRIEND)
    assert stage.core.endpoints == ["127.0.0.1:4001"]


@pytest.mark.parametrize("observed", ["nonsense", "", "0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_observed_address_that_is_none_is_not_advertised(observed: str) -> None:
    stage = Stage(contacts=[FRIEND.address], endpoints=["0.0.0.0:4001"])
    stage.start()
    stage.connect(FRIEND).admit(observed=observed)
    assert stage.core.endpoints == ["127.0.0.1:4001"]


def test_node_that_listens_nowhere_takes_what_a_stranger_says_without_harm() -> None:
    stage = Stage(endpoints=[])
    stage.start()
    wire = stage.accept(PEER)
    wire.hello(HelloRole.JOIN, endpoints=[PEER.address, "nonsense"])
    assert stage.core.endpoints == []


def test_shortage_of_descriptors_is_told_and_counted() -> None:
    stage = looking()
    said = stage.hear(DescriptorsRanShort(250, 256))
    assert said.events(DescriptorsShort) == [DescriptorsShort(250, 256)]
    assert stage.core.counters["descriptors.short"] == 1


def test_lost_listener_is_told_and_advertised_no_longer() -> None:
    stage = looking()
    (endpoint,) = stage.core.endpoints
    said = stage.hear(ListenerLost(endpoint, "Invalid argument"))
    assert said.events(ListenerFailed) == [ListenerFailed(endpoint, "Invalid argument")]
    assert stage.core.endpoints == []
