"""Whether a node can be dialled: what its proxy finds out, and when a node believes it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from routing import actions as do
from routing.actions import Dial
from routing.core import Core
from routing.errors import CloseCode, DialFailure
from routing.events import NotReachable, Terminated
from routing.inputs import Dialled, ListenerLost
from routing.limits import SECOND, Limits, Nanos
from routing.messages import Confirmation, FrameKind, Hello, HelloRole, Reachable, encode
from routing.reachability import Unreachable
from routing.state import Detail, LinkRole, Phase
from tests.persons import Person
from tests.support import Said, Stage, Wire, strict

__all__: list[str] = []

FRIEND, PEER, STRANGER = Person(1), Person(2), Person(3)
VERDICT = FrameKind.REACHABLE
IN_FULL = 5 * SECOND


def verdicts(said: Said, wire: Wire) -> list[bool]:
    return [each.reachable for each in said.frames(wire, VERDICT, Reachable)]


# -- the proxy


class Joined:
    """A joiner that a proxy has just admitted, by its Hello; quotas hold on loopback too."""

    def __init__(
        self,
        endpoints: Sequence[str] | None = None,
        *,
        source: str = "",
        role: HelloRole = HelloRole.JOIN,
        limits: Limits | None = None,
    ) -> None:
        self.stage, _ = Stage.among(FRIEND, limits=limits or strict())
        self.wire = self.stage.accept(PEER, source=source)
        self.said = self.wire.hello(role, endpoints=endpoints)
        assert self.wire.open

    def told(self) -> list[bool]:
        return verdicts(self.stage.said, self.wire)


def test_joiner_is_dialled_where_it_comes_from_and_told_yes() -> None:
    a = Joined()
    (dial,) = a.said.of(Dial)
    assert (dial.endpoint, dial.expect) == (PEER.address, PEER.key)
    assert a.told() == []
    back = a.stage.connect(PEER)
    assert back.opening.closed(back) is CloseCode.NORMAL
    assert back.opening.bodies(back, FrameKind.HELLO) == []
    assert a.told() == [True] and a.wire.role() is LinkRole.RELAY


def test_no_other_address_is_ever_dialled() -> None:
    listed = ["127.0.0.77:4000", "127.0.0.3:4001", "127.0.0.78:4000", "127.0.0.3:4002"]
    a = Joined(listed)
    a.stage.wait(5 * SECOND)
    dialled = [each for each in a.stage.said.dials() if each in listed]
    assert dialled == ["127.0.0.3:4001", "127.0.0.3:4002"], "the source is 127.0.0.3"
    a.stage.wait(60 * SECOND)
    later = {each for each in a.stage.said.dials() if each in listed}
    assert later <= set(dialled), "a feeler may go there, but never elsewhere"


def test_joiner_that_advertises_no_endpoint_at_its_source_is_told_no_at_once() -> None:
    a = Joined(["127.0.0.77:4000"])
    assert a.said.dials() == [] and verdicts(a.said, a.wire) == [False]


def test_joiner_without_any_endpoint_is_told_no() -> None:
    assert Joined([]).told() == [False]


@pytest.mark.parametrize(
    ("source", "listed"),
    [
        ("[::ffff:127.0.0.3]:5000", "127.0.0.3:4000"),
        ("127.0.0.3:5000", "[::ffff:127.0.0.3]:4000"),
        ("[::ffff:7f00:3]:5000", "[::ffff:127.0.0.3]:4000"),
    ],
)
def test_mapped_address_is_the_address_it_maps(source: str, listed: str) -> None:
    assert Joined([listed], source=source).said.dials() == ["127.0.0.3:4000"]


@pytest.mark.parametrize("listed", ["127.0.0.3:80", "127.0.0.3:0", "nowhere", "localhost:4000"])
def test_endpoint_that_nobody_may_dial_is_a_no(listed: str) -> None:
    a = Joined([listed])
    assert a.said.dials() == [] and a.told() == [False]


def test_at_most_four_endpoints_are_dialled() -> None:
    a = Joined([f"127.0.0.3:{4000 + number}" for number in range(8)])
    a.stage.wait(IN_FULL)
    checks = [each for each in a.stage.said.dials() if each.startswith("127.0.0.3:")]
    assert len(checks) == 4


def test_exempt_network_is_not_checked_and_nothing_is_said() -> None:
    a = Joined(limits=Limits())
    a.stage.wait(60 * SECOND)
    assert a.said.dials() == [] and a.told() == []


@pytest.mark.parametrize("role", [HelloRole.CLIENT, HelloRole.FEEL])
def test_only_joiners_are_checked(role: HelloRole) -> None:
    a = Joined(role=role)
    a.stage.wait(20 * SECOND)
    assert PEER.address not in a.stage.said.dials() and a.told() == []


REASONS = [
    DialFailure.CONNECTION_REFUSED,
    DialFailure.TIMED_OUT,
    DialFailure.NOT_OURS,
    DialFailure.WRONG_IDENTITY,
    DialFailure.CLOSED,
]


@pytest.mark.parametrize("reason", REASONS)
def test_no_comes_when_the_time_has_run_out_in_full_whatever_the_reason(
    reason: DialFailure,
) -> None:
    a = Joined()
    a.stage.fail(a.stage.dial_to(PEER.address), reason)
    a.stage.wait(IN_FULL - 1)
    assert a.told() == []
    a.stage.wait(1)
    assert a.told() == [False] and a.wire.open


def test_dial_without_an_answer_is_called_off_after_five_seconds() -> None:
    a = Joined()
    number = a.stage.dial_to(PEER.address)
    assert a.stage.dialling[number].timeout_ns <= IN_FULL
    a.stage.wait(IN_FULL)
    assert a.told() == [False] and number in a.stage.cancelled
    late = a.stage.connect(PEER, number)
    assert late.opening.closed(late) is CloseCode.NORMAL and a.told() == [False]


def test_second_endpoint_that_answers_is_a_yes() -> None:
    a = Joined([PEER.address, "127.0.0.3:4001"])
    a.stage.fail(a.stage.dial_to(PEER.address))
    a.stage.connect(PEER, a.stage.dial_to("127.0.0.3:4001"))
    assert a.told() == [True]


@pytest.mark.parametrize("reason", [DialFailure.NO_DESCRIPTORS, DialFailure.CANCELLED])
def test_failure_of_our_own_says_nothing_about_the_joiner(reason: DialFailure) -> None:
    a = Joined()
    a.stage.fail(a.stage.dial_to(PEER.address), reason)
    a.stage.wait(20 * SECOND)
    assert a.told() == [] and a.stage.core.counters["reachability.unsure"] == 1


def test_check_keeps_to_the_budget_of_dials_and_then_says_nothing() -> None:
    a = Joined(limits=strict(dials_per_address_per_minute=2))
    listed = [f"127.0.0.9:{4000 + number}" for number in range(4)]
    wire = a.stage.accept(STRANGER, source="127.0.0.9:5000")
    said = wire.hello(HelloRole.JOIN, endpoints=listed)
    said += a.stage.wait(SECOND)
    assert len([each for each in said.dials() if each in listed]) == 2
    for endpoint in listed[:2]:
        a.stage.fail(a.stage.dial_to(endpoint))
    said = a.stage.wait(20 * SECOND)
    assert verdicts(said, wire) == [], "two of the four were never tried"
    assert a.stage.core.counters["dial.address_budget"] == 2


def test_one_key_is_checked_four_times_a_minute_at_most() -> None:
    stage, _ = Stage.among(FRIEND, limits=strict())
    said = Said()
    for _ in range(6):
        wire = stage.accept(PEER)
        said += wire.hello(HelloRole.JOIN)
        wire.lose()
    assert said.dials() == [PEER.address] * 4
    assert stage.core.counters["reachability.budget"] == 2


def test_one_joiner_is_checked_once() -> None:
    a = Joined()
    a.stage.connect(PEER)
    a.stage.wait(20 * SECOND)
    assert a.told() == [True] and a.stage.said.dials().count(PEER.address) == 1


def test_joiner_that_leaves_takes_its_check_along() -> None:
    a = Joined()
    number = a.stage.dial_to(PEER.address)
    a.wire.lose()
    core = a.stage.core
    assert number in a.stage.cancelled and core.dials.plans == {}
    assert not [alarm for alarm in core.alarms.export() if alarm[1] == "reach"]


def test_failed_check_does_not_count_against_the_endpoint() -> None:
    a = Joined()
    a.stage.fail(a.stage.dial_to(PEER.address))
    assert a.stage.core.dials.failures == {}
    request = PEER.request(a.stage.name, proxy=a.stage.name)
    said = a.wire.routed(PEER.asks(request, proxy=a.stage.name))
    assert said.dials() == [PEER.address]


def test_proxy_restored_in_the_middle_of_a_check_goes_on_the_same() -> None:
    a = Joined()
    other = Core(a.stage.config)
    other.restore(a.stage.core.snapshot())
    assert other.digest() == a.stage.core.digest()
    number = a.stage.dial_to(PEER.address)
    wire = a.stage.connect(PEER, number)
    other.handle(Dialled(number, wire.connection, PEER.key, wire.binding), Nanos(a.stage.core.now))
    assert other.take_actions() == list(wire.opening)
    assert other.digest() == a.stage.core.digest()


# -- the joiner


PROXIES = [Person(20 + number) for number in range(4)]


class Joining:
    """A node that joins through one proxy after the other, and is told what they found out."""

    def __init__(
        self,
        unreachable: Unreachable = Unreachable.ERROR,
        *,
        endpoints: Sequence[str] | None = None,
        relaxed: bool = False,
    ) -> None:
        self.stage = Stage(
            contacts=[proxy.address for proxy in PROXIES],
            unreachable=unreachable,
            endpoints=endpoints,
            relaxed=relaxed,
        )
        self.stage.start()
        self.wire = self.admitted()

    @property
    def core(self) -> Core:
        return self.stage.core

    def admitted(self, *, observed: str = "127.0.0.1", by: str = "") -> Wire:
        """Let one of the proxies that are dialled admit the node, or the one at this address."""
        waited = 0
        waiting: list[int] = []
        while not waiting and waited < 60 * SECOND:
            self.stage.wait(2 * SECOND)
            waited += 2 * SECOND
            dialled = [d for d in self.stage.dialling if d not in self.stage.cancelled]
            waiting = [d for d in dialled if by in self.stage.dialling[d].endpoint]
            if not waiting:
                for dial in dialled:
                    self.stage.fail(dial)
        assert waiting, "it looks for a proxy"
        endpoint = self.stage.dialling[waiting[0]].endpoint
        proxy = next(each for each in PROXIES if each.address == endpoint)
        wire = self.stage.connect(proxy, waiting[0])
        wire.admit(observed=observed)
        return wire

    def told(self, reachable: bool) -> Said:
        return self.wire.say(VERDICT, Reachable(reachable))

    def told_no_twice(self) -> Said:
        self.told(False)
        self.wire = self.admitted()
        return self.told(False)

    def events(self) -> list[NotReachable]:
        return self.stage.said.events(NotReachable)


def test_yes_changes_nothing() -> None:
    a = Joining()
    assert a.told(True) == [] and a.wire.open and a.events() == []


def test_one_no_is_not_believed_and_another_proxy_is_asked() -> None:
    a = Joining()
    said = a.told(False)
    assert said.closed(a.wire) is CloseCode.NORMAL and a.events() == []
    other = a.admitted()
    assert other.person is not a.wire.person
    assert a.core.state.detail is Detail.BOOTSTRAPPED and a.events() == []


def test_second_no_in_a_row_is_believed_and_stops_the_node() -> None:
    a = Joining()
    said = a.told_no_twice()
    assert said.events(NotReachable) == [NotReachable((a.stage.person.address,))]
    assert len(said.events(Terminated)) == 1
    assert a.core.state.phase is Phase.TERMINATED and a.stage.open == {}
    assert a.stage.wait(600 * SECOND) == []


def test_yes_between_two_noes_counts() -> None:
    a = Joining()
    a.told(False)
    a.wire = a.admitted()
    a.told(True)
    a.wire.lose()
    a.wire = a.admitted()
    a.told(False)
    assert a.events() == []
    a.wire = a.admitted()
    a.told(False)
    assert len(a.events()) == 1


def test_node_with_a_routing_connection_believes_nobody() -> None:
    a = Joining()
    a.told(False)
    a.wire = a.admitted()
    consolidate(a)
    assert a.told(False).events(NotReachable) == [] and a.wire.open
    assert a.core.counters["reachability.disbelieved"] == 1
    assert a.core.reachability.doubts == 0, "it has been dialled"


def consolidate(a: Joining) -> Wire:
    """Connect the node with its proxy; it waits for another, and so keeps the proxy as such."""
    proxy = a.wire.person
    a.wire.routed(proxy.votes(a.core.key, proxy.name, proxy.name, 1))
    a.wire.group_is(a.stage.name, proxy.name, STRANGER.name)
    attempt = a.core.attempts.with_name(proxy.name)
    assert attempt is not None
    primary = a.stage.accept(proxy)
    answer = encode(proxy.answers(attempt.envelope))
    primary.hello(HelloRole.PRIMARY, attempt.id, response=answer)
    a.stage.connect(proxy)
    primary.say(FrameKind.CONFIRMATION, Confirmation(attempt.id, one_way=False))
    assert primary.role() is LinkRole.CONSOLIDATED
    return primary


def test_node_that_was_dialled_before_believes_it_after_ten_minutes_only() -> None:
    a = Joining()
    peer = consolidate(a)
    a.wire.lose()
    peer.lose()
    began = a.stage.now
    while not a.events():
        a.wire = a.admitted()
        a.told(False)
    assert 600 * SECOND <= a.stage.now - began < 720 * SECOND
    assert a.core.counters["reachability.doubted"] > 3, "it asked again and again"


def test_proxy_that_says_no_again_is_still_one_where_another_has_admitted_the_node() -> None:
    """A liar among the contacts stopped newcomers for good: the others said nothing either way."""
    a = Joining()
    liar = a.wire.person
    a.told(False)
    a.wire = a.admitted()
    assert a.wire.person is not liar
    a.wire.lose()
    a.wire = a.admitted(by=liar.address)
    assert a.wire.person is liar
    assert a.told(False).closed(a.wire) is CloseCode.NORMAL and a.events() == []
    assert a.core.counters["reachability.said_again"] == 1
    assert a.core.state.detail is not Detail.TERMINATED


def test_verdict_about_less_than_we_advertise_by_now_does_not_count() -> None:
    a = Joining(endpoints=["0.0.0.0:4000"])
    a.wire.lose()
    a.wire = a.admitted(observed="127.0.0.99")
    assert a.core.endpoints == ["127.0.0.1:4000", "127.0.0.99:4000"]
    assert a.told(False).closed(a.wire) is CloseCode.NORMAL
    assert a.core.counters["reachability.outdated"] == 1 and a.core.reachability.doubts == 0
    a.wire = a.admitted(observed="127.0.0.99")
    a.told_no_twice()
    assert a.events() == [NotReachable(("127.0.0.1:4000", "127.0.0.99:4000"))]


def test_node_that_cannot_be_dialled_goes_on_as_a_client() -> None:
    a = Joining(Unreachable.CLIENT)
    said = a.told_no_twice()
    assert said.events(NotReachable) == [NotReachable((a.stage.person.address,))]
    assert len(said.of(do.Unlisten)) == 1 and a.stage.open == {}
    assert a.core.state.client and a.core.endpoints == [] and a.core.key == a.stage.person.key
    a.wire = a.admitted()
    (hello,) = a.stage.said.frames(a.wire, FrameKind.HELLO, Hello)
    assert hello.role is HelloRole.CLIENT and hello.endpoints == []
    assert (a.core.state.phase, a.core.state.client) == (Phase.CONNECTED, True)
    assert a.core.name is None and a.events() == said.events(NotReachable)


def test_node_that_had_a_name_gives_it_up_as_a_client() -> None:
    a = Joining(Unreachable.CLIENT)
    a.told(False)
    a.wire = a.admitted()
    proxy = a.wire.person
    a.wire.routed(proxy.votes(a.core.key, proxy.name, proxy.name, 1))
    a.wire.group_is(a.stage.name, proxy.name, STRANGER.name)
    assert len(a.core.attempts.live()) == 2
    a.told(False)
    assert a.core.name is None and a.core.attempts.live() == []
    a.wire = a.admitted()
    assert a.core.state.detail is Detail.BOOTSTRAPPED


def test_who_has_gone_on_as_a_client_accepts_nobody_and_founds_nothing() -> None:
    a = Joining(Unreachable.CLIENT)
    a.told_no_twice()
    wire = a.stage.accept(PEER)
    assert wire.opening.closed(wire) is CloseCode.NORMAL
    a.stage.wait(600 * SECOND)
    assert a.core.name is None and not a.core.founding.founder


def test_core_restored_after_it_became_a_client_is_one() -> None:
    a = Joining(Unreachable.CLIENT)
    a.told(False)
    for _ in range(2):
        other = Core(a.stage.config)
        other.restore(a.core.snapshot())
        assert other.digest() == a.core.digest() and other.state == a.core.state
        assert other.next_deadline() == a.core.next_deadline()
        a.wire = a.admitted()
        if not a.core.client:
            a.told(False)


def test_relaxed_node_is_told_and_goes_on() -> None:
    a = Joining(Unreachable.NODE, relaxed=True)
    said = a.told(False)
    assert said.events(NotReachable) == [NotReachable((a.stage.person.address,))]
    assert a.wire.open and not a.core.stopped


def test_second_verdict_on_one_connection_closes_it() -> None:
    a = Joining()
    a.told(True)
    assert a.told(True).closed(a.wire) is CloseCode.BAD_FRAME


def test_verdict_before_the_admission_closes() -> None:
    stage = Stage(contacts=[PEER.address])
    stage.start()
    wire = stage.connect(PEER)
    assert wire.say(VERDICT, Reachable(False)).closed(wire) is CloseCode.BAD_FRAME


# -- what is advertised


def test_wildcard_that_is_lost_takes_along_what_was_learnt_for_it() -> None:
    a = Joining(endpoints=["0.0.0.0:4000", "127.0.0.50:4001"])
    assert a.core.endpoints == ["127.0.0.50:4001", "127.0.0.1:4000"]
    a.stage.hear(ListenerLost("0.0.0.0:4000", "gone"))
    assert a.core.endpoints == ["127.0.0.50:4001"]


def test_wildcard_is_told_to_the_proxy_by_the_address_that_leads_to_it() -> None:
    a = Joining(endpoints=["0.0.0.0:4000", "[::]:4000"])
    (hello,) = a.stage.said.frames(a.wire, FrameKind.HELLO, Hello)
    assert hello.endpoints == ["127.0.0.1:4000"]
