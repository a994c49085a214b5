"""One name for one key, across whole networks: liars, returners, newcomers, and who remembers."""

from __future__ import annotations

import pytest

from routing.certificates import certified_name, is_valid
from routing.events import PeerUp
from routing.inputs import ContactsLearnt
from routing.limits import SECOND
from routing.messages import Certificate, SignedKind, Vote, signed_text, vote_body
from routing.names import client_name, nearest
from routing.registrar import Word
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.scenarios import grow, make_world, merge
from routing.simulation.signer import make_signer
from routing.simulation.world import World

__all__: list[str] = []

NODES = 20
SEEDS = range(3)


def grown(seed: int, nodes: int = NODES, *, loss: float = 0.0) -> World:
    world = make_world(seed, command="", checks_every=8, loss=loss)
    grow(world, nodes, gap_low_ns=SECOND // 4, gap_high_ns=SECOND)
    world.run(nodes * SECOND)
    settle(world)
    # By now everybody has told its name over connections of its own.
    world.run(31 * SECOND)
    return world


def settle(world: World) -> None:
    whole = world.run_until(lambda: why_not_whole(world) is None, limit_ns=300 * SECOND)
    assert whole is not None, why_not_whole(world)


def name_of(host: Host) -> bytes:
    assert host.core.name is not None
    return host.core.name


def self_made(host: Host, *, signed: bool = True) -> Certificate:
    """Return a certificate by voters that somebody invented; they sign, or only seem to."""
    voters = [make_signer(bytes([number]) * 32, real=False) for number in (1, 2, 3)]
    n1, n2 = b"1" * 32, b"2" * 32
    text = signed_text(SignedKind.VOTE, host.core.tag, vote_body(host.key, n1, n2, 4))
    votes = [Vote(v.key, 4, v.sign(text) if signed else bytes(64)) for v in voters]
    certificate = Certificate(n1, n2, votes)
    assert is_valid(host.key, certificate, signer=voters[0], tag=host.core.tag) is signed
    return certificate


def impose(world: World, host: Host, certificate: Certificate) -> bytes:
    """Have a node go by this certificate as soon as it might ask for a name; return the name."""

    def asks() -> bool:
        return host.alive and host.core.naming.asking

    assert world.run_until(asks, limit_ns=60 * SECOND, step_ns=SECOND // 1_000) is not None
    host.core.naming._take(certificate)
    world.tell(host, ContactsLearnt([]))
    return certified_name(host.key, certificate)


def was_held(world: World, name: bytes) -> bool:
    return any(
        isinstance(event, PeerUp) and event.name == name
        for host in world.hosts
        for _, event in host.events
    )


def twin(world: World, host: Host) -> Host:
    """Start a second process with the key of a node, and without its certificate."""
    other = world._make(
        [each.address for each in world.alive if each is not host][:3],
        first=False,
        client=False,
        tag=host.tag,
        address=f"127.9.9.{len(world.hosts)}:4000",
        identity=host.identity,
        certificate=None,
    )
    world.clock.at(world.now, other.start)
    return other


# -- who lies


@pytest.mark.parametrize("seed", SEEDS)
def test_name_whose_voters_never_signed_is_connected_with_nobody(seed: int) -> None:
    world = grown(seed)
    liar = world.add_node([world.hosts[0].address])
    forged = impose(world, liar, self_made(liar, signed=False))
    world.run(59 * SECOND)
    assert liar.core.name == forged and not len(liar.core.table)
    assert not was_held(world, forged)
    assert world.counters()["request.bad_certificate"] > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_second_name_of_a_key_is_refused_when_its_node_comes_back_under_it(seed: int) -> None:
    world = grown(seed)
    host = world.hosts[5]
    first = name_of(host)
    world.kill(host, silent=True)
    world.run(50 * SECOND)
    host.certificate = None
    liar = world.restart(host, [world.hosts[0].address])
    second = impose(world, liar, self_made(liar))
    assert second != first
    world.run(59 * SECOND)
    assert not len(liar.core.table) and liar.core.name == second
    counters = world.counters()
    assert counters["request.refused.name_unknown"] > 0 and counters["record.other_name"] > 0
    # Left alone it offers its second name to be confirmed, and is given the one it has.
    settle(world)
    assert not was_held(world, second) and name_of(liar) == first


@pytest.mark.parametrize("seed", SEEDS)
def test_second_process_of_a_key_gets_no_second_name(seed: int) -> None:
    world = grown(seed)
    host = world.hosts[7]
    first = name_of(host)
    liar = twin(world, host)
    second = impose(world, liar, self_made(liar))
    world.run(59 * SECOND)
    assert not was_held(world, second)
    assert name_of(host) == first and len(host.core.table) >= 8
    holders = [each for each in world.alive if first in each.core.table]
    assert len(holders) >= 8


def test_name_that_a_fresh_key_has_made_itself_is_taken() -> None:
    """That is what vouching does not prove: it knows one name of a key, not who issued it."""
    world = grown(1)
    liar = world.add_node([world.hosts[0].address])
    made = impose(world, liar, self_made(liar))
    world.run(60 * SECOND)
    assert liar.core.name == made and was_held(world, made)


@pytest.mark.parametrize("seed", SEEDS)
def test_name_invented_for_another_key_does_not_keep_its_node_out(seed: int) -> None:
    world = grown(seed)
    newcomer = world.add_node([world.hosts[0].address], at=int(world.now) + SECOND)
    invented = self_made(newcomer)
    liar = world.hosts[3].key
    for host in list(world.alive):
        if host.core.registrar.answers_for(newcomer.key):
            assert host.core.registrar.vouch(newcomer.key, invented, liar)
    world.run(2 * SECOND)
    settle(world)
    assert name_of(newcomer) != certified_name(newcomer.key, invented)
    assert len(world.alive) == NODES + 1


# -- who comes back


@pytest.mark.parametrize("seed", SEEDS)
def test_node_that_lost_its_certificate_is_given_the_name_it_had(seed: int) -> None:
    world = grown(seed)
    host = world.hosts[4]
    name = name_of(host)
    world.kill(host, silent=False)
    world.run(5 * SECOND)
    host.certificate = None
    back = world.restart(host, [world.hosts[0].address])
    world.run(10 * SECOND)
    settle(world)
    assert name_of(back) == name and world.counters()["vote.recorded"] > 0


def test_node_that_was_away_until_its_name_was_no_longer_live_comes_back_under_another() -> None:
    world = grown(2)
    host = world.hosts[4]
    name = name_of(host)
    world.kill(host, silent=True)
    world.run(26 * 60 * SECOND)
    host.certificate = None
    back = world.restart(host, [world.hosts[0].address])
    world.run(10 * SECOND)
    settle(world)
    assert name_of(back) != name


def test_node_without_its_network_for_half_an_hour_is_taken_in_again() -> None:
    world = grown(3)
    host = world.hosts[6]
    world.take_offline([host], abrupt=True)
    world.run(30 * 60 * SECOND)
    world.bring_online([host])
    world.run(10 * SECOND)
    settle(world)


# -- who remembers


def holders(world: World, host: Host) -> int:
    """Return how many of the 8 who should know a node's name by its own word do."""
    others = {name_of(each): each for each in world.alive if each is not host}
    group = nearest(client_name(host.key), others, 8)
    known = 0
    for name in group:
        core = others[name].core
        entry = core.registrar.records.get(host.key, now=core.now)
        known += entry is not None and entry.name == host.core.name and entry.word > Word.HEARSAY
    return known


@pytest.mark.parametrize("seed", [*SEEDS, 15])
def test_all_who_answer_for_a_node_know_its_name(seed: int) -> None:
    world = grown(seed)
    # Who came into a group after a name was told hears of it from its members, a repair later.
    world.run_until(
        lambda: all(holders(world, host) == 8 for host in world.alive), limit_ns=60 * SECOND
    )
    assert [holders(world, host) for host in world.alive] == [8] * NODES


@pytest.mark.parametrize("seed", SEEDS)
def test_names_are_handed_over_as_nodes_come_and_go(seed: int) -> None:
    world = grown(seed)
    old = list(world.alive)
    for number in range(10):
        world.kill(world.random.choice([h for h in old if h.alive]), silent=number % 2 == 0)
        known = world.random.sample(world.alive, 3)
        world.add_node([host.address for host in known], at=int(world.now) + SECOND)
        world.run(60 * SECOND)
    settle(world)
    stayed = [host for host in old if host.alive]
    # Nobody has renewed his name: what the new members know they were told by the old ones.
    newest = max(each.core.registrar.registered_at for each in stayed)
    assert newest < world.now - 9 * 60 * SECOND
    held = [holders(world, host) for host in stayed]
    assert min(held) >= 5 and sum(held) >= 7 * len(held), held


def test_names_are_renewed_and_the_dead_forgotten_after_an_hour() -> None:
    world = grown(1, 12)
    dead = world.hosts[5]
    world.kill(dead, silent=False)
    world.run(40 * 60 * SECOND)
    assert any(dead.key in each.core.registrar.records for each in world.alive)
    world.run(30 * 60 * SECOND)
    for host in world.alive:
        records = host.core.registrar.records
        assert records.get(dead.key, now=host.core.now) is None
        assert holders(world, host) >= 7, "the first one reached may not know all eight"


# -- honest networks


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_in_an_honest_network_nobody_is_refused_for_his_name(loss: float) -> None:
    world = grown(4, 30, loss=loss)
    counters = world.counters()
    assert counters["vouch.done"] > 100
    assert counters.get("vouch.refused", 0) == counters.get("record.other_name", 0) == 0
    assert counters.get("vouch.failed", 0) <= (counters["vouch.begun"] // 50 if loss else 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_networks_that_meet_vouch_for_each_others_names(seed: int) -> None:
    report = merge(make_world(seed, command="", checks_every=8), 12)
    assert report.ok, report.reason
    assert report.counters["vouch.done"] > 50
    assert report.counters.get("record.other_name", 0) == 0
    assert report.heal_seconds is not None and report.heal_seconds < 120


# -- two names at once


def split(world: World, host: Host, *, other: int) -> tuple[bytes, bytes]:
    """Have so many who answer for a node hold another name of it; return both, the lower first."""
    second = self_made(host)
    others = {name_of(each): each for each in world.alive if each is not host}
    for name in nearest(client_name(host.key), others, 8)[:other]:
        registrar = others[name].core.registrar
        registrar.records.remove(host.key)
        assert registrar.record(host.key, second, Word.OWN)
    first, invented = sorted((name_of(host), certified_name(host.key, second)))
    return first, invented


@pytest.mark.parametrize(("seed", "other"), [(0, 4), (1, 4), (2, 3), (3, 5)])
def test_node_of_which_two_names_are_recorded_is_given_one_of_them_at_once(
    seed: int, other: int
) -> None:
    world = grown(seed)
    host = world.hosts[5]
    world.kill(host, silent=False)
    world.run(5 * SECOND)
    names = split(world, host, other=other)
    host.certificate = None
    back = world.restart(host, [world.hosts[0].address])
    world.run(30 * SECOND)
    assert back.core.name in names
    settle(world)
    assert world.now < 200 * SECOND
    assert holders(world, back) >= 5
