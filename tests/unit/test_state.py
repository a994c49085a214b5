"""The state is a function of confirmed facts, and its tables have every cell."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import msgspec
import pytest

from routing.errors import CloseCode
from routing.events import StateChanged
from routing.limits import SECOND
from routing.messages import FrameKind, HelloRole
from routing.state import (
    ALLOWED,
    ON_CONNECT,
    ON_HELLO,
    Connection,
    Detail,
    Direction,
    LinkRole,
    OnConnect,
    OnHello,
    Phase,
    State,
    Token,
)
from tests.accept_table import (
    CONNECT,
    FRAMES,
    HELLO,
    HOST_KINDS,
    connect_cells,
    frame_cells,
)
from tests.persons import Person
from tests.support import Stage

__all__: list[str] = []

FRIEND, STRANGER = Person(1), Person(9)


@dataclass(frozen=True)
class Facts:
    client: bool
    stopped: bool
    routing: int
    bootstrap: int
    named: bool
    founder: bool
    round_runs: bool

    def state(self) -> State:
        return State.of(
            client=self.client,
            stopped=self.stopped,
            routing=self.routing,
            bootstrap=self.bootstrap,
            named=self.named,
            founder=self.founder,
            round_runs=self.round_runs,
        )


TRUTHS = (False, True)
ALL = [
    Facts(*each)
    for each in product(TRUTHS, TRUTHS, (0, 1, 2, 7, 8, 9, 256), (0, 1, 2), TRUTHS, TRUTHS, TRUTHS)
]

LINES: list[tuple[Detail, Callable[[Facts], bool]]] = [
    (Detail.TERMINATED, lambda f: f.stopped),
    (Detail.GROUP_CONNECTED, lambda f: f.routing >= 8),
    (Detail.CONNECTED, lambda f: f.routing >= 1),
    (Detail.RELOCATED, lambda f: f.named and (f.bootstrap >= 1 or f.founder)),
    (Detail.BOOTSTRAPPED, lambda f: f.bootstrap >= 1),
    (Detail.DISCONNECTED, lambda f: True),
]
"""The first line that holds."""

PHASES = {
    Detail.TERMINATED: Phase.TERMINATED,
    Detail.GROUP_CONNECTED: Phase.CONNECTED,
    Detail.CONNECTED: Phase.CONNECTED,
    Detail.RELOCATED: Phase.BOOTSTRAPPING,
}


def test_detail_is_the_first_line_that_holds_over_the_full_product() -> None:
    assert len(ALL) == 2 * 2 * 7 * 3 * 2 * 2 * 2
    for facts in ALL:
        assert facts.state().detail is next(d for d, holds in LINES if holds(facts)), facts


def test_phase_follows_the_detail_over_the_full_product() -> None:
    for facts in ALL:
        state = facts.state()
        if state.detail is Detail.BOOTSTRAPPED:
            expected = Phase.CONNECTED if facts.client else Phase.BOOTSTRAPPING
        elif state.detail is Detail.DISCONNECTED:
            expected = Phase.BOOTSTRAPPING if facts.round_runs else Phase.DISCONNECTED
        else:
            expected = PHASES[state.detail]
        assert (state.phase, state.client) == (expected, facts.client), facts


def test_connection_is_equal_and_hashed_by_its_token_alone() -> None:
    one = Connection(Token(7), "tcp", "127.0.0.1:1", "127.0.0.1:2", Direction.INBOUND)
    same = Connection(Token(7), "udp", "127.0.0.9:9", "", Direction.OUTBOUND)
    other = Connection(Token(8), "tcp", "127.0.0.1:1", "127.0.0.1:2", Direction.INBOUND)
    assert one == same and hash(one) == hash(same)
    assert one not in (other, "7")


def test_copy_of_a_connection_is_known_by_its_token() -> None:
    one = Connection(Token(7), "tcp", "127.0.0.1:1", "127.0.0.1:2", Direction.INBOUND)
    for copied in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert copied == one and hash(copied) == hash(one) and copied.peer == one.peer


def test_decoded_connections_are_known_by_their_tokens() -> None:
    """A decoder makes objects without their constructor."""
    made = [
        Connection(Token(token), "tcp", "127.0.0.1:1", "127.0.0.1:2", Direction.INBOUND)
        for token in (7, 8)
    ]
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=list[Connection])
    assert decoded == made and len(set(decoded)) == 2 and decoded[0] != made[1]


# -- the tables against the promise


def test_every_cell_of_the_connect_table_is_written_as_promised() -> None:
    words = {
        OnConnect.BOOTSTRAP: {"bootstrap"},
        OnConnect.EXPECTED: {"expected"},
        OnConnect.HOLD: {"hold"},
        OnConnect.CLOSE: {"close", *CloseCode.__members__},
    }
    assert set(ON_CONNECT) == set(CONNECT) == set(connect_cells())
    for cell, rule in ON_CONNECT.items():
        assert CONNECT[cell] in words[rule], cell


def test_every_cell_of_the_hello_table_is_written_as_promised() -> None:
    words = {
        OnHello.GREET: "BAD_HELLO",
        OnHello.ADMIT: "ADMIT",
        OnHello.FOUND_OR_REFUSE: "REFUSE",
        OnHello.CLOSE: "STOPPING",
    }
    assert set(ON_HELLO) == set(HELLO) == set(product(Detail, HelloRole))
    assert {cell: words[rule] for cell, rule in ON_HELLO.items()} == HELLO


def test_every_cell_of_the_frame_table_is_written_as_promised() -> None:
    assert set(FRAMES) == set(frame_cells()) == set(product(LinkRole, FrameKind))
    allowed = {cell for cell, word in FRAMES.items() if word == "accept"}
    assert allowed == {(role, kind) for role, kinds in ALLOWED.items() for kind in kinds}


def test_frames_of_the_host_are_allowed_nowhere_in_the_core() -> None:
    for kinds in ALLOWED.values():
        assert kinds.isdisjoint(HOST_KINDS)


# -- only authenticated events move the state


def disconnected() -> Stage:
    stage = Stage(contacts=[FRIEND.address])
    stage.start()
    return stage


DETAILS: dict[Detail, Callable[[], Stage]] = {
    Detail.DISCONNECTED: disconnected,
    Detail.BOOTSTRAPPED: lambda: Stage.admitted(FRIEND)[0],
    Detail.RELOCATED: lambda: Stage.named(FRIEND)[0],
    Detail.CONNECTED: lambda: Stage.among(FRIEND)[0],
    Detail.GROUP_CONNECTED: lambda: Stage.among(*map(Person, range(1, 9)))[0],
}


@pytest.mark.parametrize("detail", DETAILS)
def test_raw_accepts_move_nothing(detail: Detail) -> None:
    stage = DETAILS[detail]()
    assert stage.core.state.detail is detail
    before = stage.core.state
    for _ in range(50):
        assert stage.accept(STRANGER).opening == []
    assert stage.core.state == before


@pytest.mark.parametrize("detail", DETAILS)
def test_hello_with_a_wrong_signature_moves_nothing(detail: Detail) -> None:
    stage = DETAILS[detail]()
    before = stage.core.state
    wire = stage.accept(STRANGER)
    hello = STRANGER.hello(HelloRole.JOIN, to=stage.core.key, binding=bytes(32))
    assert wire.say(FrameKind.HELLO, hello).closed(wire) is CloseCode.BAD_HELLO
    assert stage.core.state == before


def test_scan_during_start_up_does_not_make_a_node_found() -> None:
    stage = Stage()
    stage.start()
    for number in range(100):
        stage.accept(Person(number + 10))
    stage.wait(11 * SECOND)
    assert stage.core.name is None and stage.core.state.detail is Detail.DISCONNECTED


def test_dial_that_is_not_answered_moves_nothing() -> None:
    stage = disconnected()
    assert stage.core.state == State(Phase.BOOTSTRAPPING, Detail.DISCONNECTED, False)
    wire = stage.connect(FRIEND)
    assert wire.open
    assert stage.core.state == State(Phase.BOOTSTRAPPING, Detail.DISCONNECTED, False)


def test_state_follows_each_confirmed_fact_and_tells_each_change_of_detail_once() -> None:
    persons = [Person(number) for number in range(1, 10)]
    stage, wires = Stage.among(*persons)
    details = [each.new.detail for each in stage.said.events(StateChanged)]
    assert details == [Detail.RELOCATED, Detail.CONNECTED, Detail.GROUP_CONNECTED]
    after = []
    for wire in wires:
        wire.lose()
        after.append(stage.core.state.detail)
    # Nine were there: eight are left after the first, none after the last.
    down = [Detail.GROUP_CONNECTED, *[Detail.CONNECTED] * 7, Detail.DISCONNECTED]
    assert after == down


@pytest.mark.parametrize("client", [False, True])
def test_stop_leads_to_terminated_from_everywhere(client: bool) -> None:
    states = {facts.state() for facts in ALL if facts.stopped and facts.client is client}
    assert states == {State(Phase.TERMINATED, Detail.TERMINATED, client)}
