"""A core restored from its snapshot is the same core: same digest, same further actions."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from routing.actions import Action
from routing.bodies import Register
from routing.core import Core, CoreConfig
from routing.errors import CloseCode
from routing.inputs import BootstrapRequested, ContactsLearnt, Input, Lost, StopRequested, Submitted
from routing.limits import SECOND, Limits, Nanos
from routing.messages import (
    Address,
    Contacts,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
)
from routing.names import client_name
from routing.simulation.scenarios import grow
from routing.simulation.world import World
from routing.state import Phase
from tests.asked import FRIEND, PEER, STRANGER, Asked
from tests.council import Asking, Council
from tests.inquest import Inquest
from tests.persons import Person
from tests.resolving import Resolving
from tests.support import Stage

__all__: list[str] = []


class Shadowed(Core):
    """A core beside which, from random points on, a restored one hears the same."""

    compared = 0

    def __init__(self, config: CoreConfig) -> None:
        super().__init__(config)
        self.random = Random(config.secret)
        self.shadow: Core | None = None

    def handle(self, fact: Input, now: Nanos) -> None:
        super().handle(fact, now)
        if self.shadow is not None:
            self.shadow.handle(fact, now)

    def on_deadline(self, now: Nanos) -> None:
        super().on_deadline(now)
        if self.shadow is not None:
            self.shadow.on_deadline(now)

    def take_actions(self) -> list[Action]:
        actions = super().take_actions()
        if self.shadow is not None:
            assert self.shadow.take_actions() == actions
            assert self.shadow.next_deadline() == self.next_deadline()
            assert self.shadow.state == self.state
            Shadowed.compared += 1
        if self.random.random() < 0.02:
            if self.shadow is not None:
                assert self.shadow.digest() == self.digest()
            self.shadow = restored(self)
        return actions


def restored(core: Core) -> Core:
    other = Core(core.config)
    other.restore(core.snapshot())
    assert other.snapshot() == core.snapshot()
    assert other.digest() == core.digest()
    return other


def world_of(seed: int, limits: Limits | None = None) -> World:
    return World(seed, limits=limits, make_core=Shadowed, checks_every=1_000, command="a test")


@pytest.mark.parametrize("seed", [1, 2])
def test_restored_core_acts_like_the_original_through_a_whole_run(seed: int) -> None:
    before = Shadowed.compared
    world = world_of(seed)
    grow(world, 7, gap_low_ns=SECOND // 2, gap_high_ns=SECOND)
    contacts = [host.address for host in world.hosts[:3]]
    client = world.add_node(contacts, client=True, at=8 * SECOND)
    world.run(30 * SECOND)
    payload, to = b"text", world.hosts[1].core.name
    assert to is not None and client.core.bootstrapping.proxy() is not None
    destinations: list[Address] = [NodeAddress(to), GroupAddress(bytes(32))]
    for number, destination in enumerate(destinations):
        kind = MessageKind.REQUEST
        fact = Submitted(number, kind, destination, payload, b"", False, 9 * SECOND, True)
        world.tell(client, fact)
    world.run(SECOND)
    proxy = client.core.bootstrapping.proxy()
    assert proxy is not None
    world.kill(world.hosts[contacts.index(proxy.endpoint)], silent=True)
    world.kill(world.hosts[3], silent=False)
    world.run(90 * SECOND)
    assert client.core.counters["moved.announced"] == 1
    assert Shadowed.compared - before > 200, "there is something to compare"


def test_restored_core_acts_like_the_original_through_a_total_outage() -> None:
    world = world_of(3)
    hosts = grow(world, 5, gap_low_ns=SECOND // 2, gap_high_ns=SECOND)
    world.run(20 * SECOND)
    world.take_offline(hosts, abrupt=True)
    world.run(30 * SECOND)
    world.bring_online(hosts)
    world.run(120 * SECOND)
    world.stop(hosts[2])
    world.run(5 * SECOND)


# -- one of everything, looked at closely


def attempt_of_ours() -> Core:
    stage, (friend,) = Stage.among(FRIEND)
    (asked,) = friend.names(PEER.name).envelopes(friend, MessageKind.CONNECT_REQUEST)
    friend.routed(PEER.answers(asked))
    stage.connect(PEER)
    stage.accept(STRANGER)
    return stage.core


def attempt_of_theirs() -> Core:
    a = Asked()
    a.ask()
    a.stage.connect(PEER)
    a.secondary()
    return a.stage.core


def probe_under_way() -> Core:
    a = Asked()
    a.stage.befriend(PEER)
    a.ask_as(PEER, a.make())
    return a.stage.core


def round_under_way() -> Core:
    stage = Stage(contacts=[each.address for each in (FRIEND, PEER, STRANGER)])
    stage.start()
    stage.wait(SECOND)
    stage.connect(FRIEND)
    return stage.core


def name_held() -> Core:
    stage, (friend,) = Stage.among(FRIEND)
    friend.lose()
    return stage.core


def name_asked() -> Core:
    stage, wire = Stage.admitted(FRIEND)
    wire.routed(PEER.votes(stage.core.key, PEER.name, FRIEND.name, 3, proxy=FRIEND.name))
    return stage.core


def names_recorded() -> Core:
    stage, (friend,) = Stage.among(FRIEND)
    told = PEER.seal(
        MessageKind.REGISTER, GroupAddress(client_name(PEER.key)), Register(PEER.certificate)
    )
    friend.say(FrameKind.GROUP_COPY, told)
    assert stage.core.registrar.vouch(STRANGER.key, STRANGER.certificate, FRIEND.key)
    return stage.core


def name_asked_about() -> Core:
    i = Inquest()
    i.voices(i.views(i.asked()), True, False)
    return i.stage.core


def those_that_hang() -> Core:
    stage, _ = Stage.among(FRIEND)
    for number, role in enumerate((HelloRole.JOIN, HelloRole.CLIENT, HelloRole.FEEL)):
        stage.accept(Person(60 + number)).hello(role)
    return stage.core


def feeler_out() -> Core:
    stage, (friend,) = Stage.among(FRIEND)
    friend.say(FrameKind.CONTACTS, Contacts([PEER.address]))
    stage.wait(10 * SECOND)
    feeler = stage.connect(PEER)
    feeler.admit()
    feeler.group_is(stage.name, STRANGER.name)
    return stage.core


def request_pending() -> Core:
    stage, _ = Stage.among(FRIEND)
    destination = NodeAddress(Person(99).name)
    for kind in (MessageKind.MESSAGE, MessageKind.REQUEST):
        stage.hear(Submitted(1, kind, destination, b"text", b"", False, 5 * SECOND, False))
    return stage.core


def group_being_resolved() -> Core:
    return Resolving().stage.core


def votes_counted() -> Core:
    c = Council()
    c.votes(c.members[:3], c.content())
    c.votes(c.members[2:4], c.content(chosen=bytes(16)), whole=9)
    c.vote(c.members[0], c.content(b"other"))
    c.votes(c.members[:5], c.content(chosen=bytes(range(16))))
    return c.stage.core


def votes_that_wait() -> Core:
    c = Council(far=True)
    c.votes(c.members[:6], c.content(), whole=9)
    c.answer(c.members[0], *c.group)
    return c.stage.core


def vote_of_ours() -> Core:
    c = Council()
    fact = Submitted(1, MessageKind.MESSAGE, NodeAddress(bytes(32)), b"we", b"", False, 0, False)
    fact.authority = c.authority  # type: ignore[misc]
    c.stage.hear(fact)
    return c.stage.core


def quorum_of_replies() -> Core:
    a = Asking(far=True)
    a.replies(a.members[:3])
    a.reply(a.members[3], b"no")
    return a.stage.core


def stopped() -> Core:
    stage, _ = Stage.among(FRIEND)
    stage.hear(StopRequested())
    return stage.core


SCENES: dict[str, Callable[[], Core]] = {
    make.__name__: make
    for make in (
        attempt_of_ours,
        attempt_of_theirs,
        probe_under_way,
        round_under_way,
        name_held,
        name_asked,
        names_recorded,
        name_asked_about,
        those_that_hang,
        feeler_out,
        request_pending,
        group_being_resolved,
        votes_counted,
        votes_that_wait,
        vote_of_ours,
        quorum_of_replies,
        stopped,
    )
}


def run_on(core: Core, seconds: int) -> list[tuple[int, Action]]:
    """Let a core be alone with time, then lose everything it holds; return all it does."""
    done: list[tuple[int, Action]] = []
    now = core.now

    def note() -> None:
        done.extend((now, action) for action in core.take_actions())

    end = now + seconds * SECOND
    while (due := core.next_deadline()) is not None and due <= end:
        now = due
        core.on_deadline(Nanos(now))
        note()
    for token in list(core.links):
        if token in core.links:
            link = core.links[token]
            core.handle(Lost(link.token, CloseCode.IO_ERROR, ""), Nanos(now))
            note()
    core.handle(ContactsLearnt(["127.0.5.5:4000"]), Nanos(now))
    core.on_deadline(Nanos(now + 20 * SECOND))
    note()
    return done


@pytest.mark.parametrize("scene", SCENES)
def test_core_restored_in_the_middle_of_anything_goes_on_the_same(scene: str) -> None:
    core = SCENES[scene]()
    other = restored(core)
    assert run_on(other, 100) == run_on(core, 100)
    assert other.digest() == core.digest()
    other.check()


@pytest.mark.parametrize("scene", SCENES)
def test_restoring_replaces_whatever_a_core_was(scene: str) -> None:
    core = SCENES[scene]()
    for used in (round_under_way(), attempt_of_theirs()):
        if used.config.contacts == core.config.contacts:
            used.restore(core.snapshot())
            assert used.digest() == core.digest()


@pytest.mark.parametrize("scene", SCENES)
def test_looking_at_a_core_changes_nothing(scene: str) -> None:
    core = SCENES[scene]()
    digest = core.digest()
    core.snapshot()
    core.check()
    core.explain(core.key)
    core.next_deadline()
    assert core.digest() == digest and len(digest) == 32


def test_different_states_have_different_digests() -> None:
    digests = {make().digest() for make in SCENES.values()}
    assert len(digests) == len(SCENES)


def test_restored_core_goes_on_from_the_state_it_was_given() -> None:
    """What it had settled in before counts for nothing, also where the same facts come back."""
    looking = Stage(0, contacts=[FRIEND.address])
    looking.start()
    looking.core.restore(Stage(0, contacts=[FRIEND.address]).core.snapshot())
    looking.core.handle(BootstrapRequested(), Nanos(looking.now))
    assert looking.core.state.phase is Phase.BOOTSTRAPPING
