"""Faults that simulations and real networks have shown, each a scenario with its name.

A scenario says in one line what went wrong; the seed is the one that showed it. Later changes move
what a seed does, so where the fault can be made without luck it is made by hand as well.
"""

from __future__ import annotations

import pytest

from routing.certificates import has_majority, is_valid
from routing.events import Proof
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.messages import (
    Certificate,
    GroupAddress,
    MessageKind,
    SignedKind,
    Vote,
    signed_text,
    vote_body,
)
from routing.names import nearest, network_tag
from routing.simulation.comebacks import comebacks
from routing.simulation.hosts import Host
from routing.simulation.invariants import why_not_whole
from routing.simulation.liar import Lie
from routing.simulation.placement import place
from routing.simulation.scenarios import flash_crowd, form, grow, make_world, outage
from routing.simulation.signer import make_signer
from routing.simulation.world import World
from routing.state import Detail

__all__: list[str] = []

TAG = network_tag("simulation")


def grown(seed: int, nodes: int) -> World:
    world = make_world(seed, command="", checks_every=8)
    grow(world, nodes, gap_low_ns=SECOND // 4, gap_high_ns=SECOND)

    def is_whole() -> bool:
        return len(world.alive) == nodes and why_not_whole(world) is None

    assert world.run_until(is_whole, limit_ns=300 * SECOND) is not None, why_not_whole(world)
    return world


def placed_world(seed: int, nodes: int) -> World:
    world = World(seed)
    place(world, nodes)
    world.run(5 * SECOND)
    return world


def test_joiner_whose_registrars_hold_different_neighbours_gets_a_name() -> None:
    """Votes were split 4, 3 and 1 over three pairs of names, at every asking, for ever."""
    report = flash_crowd(make_world(4, command="", loss=0.1, checks_every=8), 40)
    assert report.ok, report.reason


def test_certificate_is_judged_by_its_own_votes_at_both_ends() -> None:
    """A joiner took a name by the sizes in all votes; everybody else saw only those that agreed."""
    joiner = make_signer(b"j" * 32, real=False)
    voters = [make_signer(bytes([i]) * 32, real=False) for i in range(4)]
    n1, n2 = b"1" * 32, b"2" * 32

    def vote(index: int, size: int) -> Vote:
        signer = voters[index]
        text = signed_text(SignedKind.VOTE, TAG, vote_body(joiner.key, n1, n2, size))
        return Vote(signer.key, size, signer.sign(text))

    short = [vote(0, 8), vote(1, 8), vote(2, 8)]
    assert not has_majority(short)
    assert not is_valid(joiner.key, Certificate(n1, n2, short), signer=joiner, tag=TAG)
    enough = [vote(0, 5), vote(1, 5), vote(2, 8)]
    assert has_majority(enough)
    assert is_valid(joiner.key, Certificate(n1, n2, enough), signer=joiner, tag=TAG)


@pytest.mark.parametrize(("nodes", "seed"), [(5, 24), (12, 77)])
def test_late_timer_does_not_speak_to_a_connection_reported_lost(nodes: int, seed: int) -> None:
    """An alarm due before `Lost` was served in the same step and sent on the dead token."""
    report = outage(make_world(seed, command="", checks_every=3), nodes, 60)
    assert report.ok, report.reason


def test_attempt_to_a_dead_name_does_not_keep_its_bucket_empty() -> None:
    """A request to a dead name held the place of a live one in its bucket until it expired."""
    report = form(make_world(9, command="", limits=Limits.local(), checks_every=8), 40, 5)
    assert report.ok, report.reason
    healed = report.heal_seconds
    first_answer = Limits.local().requester_first_answer_ns / SECOND
    silence = Limits.local().silence_ns / SECOND
    assert healed is not None and healed < silence + first_answer


@pytest.mark.parametrize("seed", range(3))
def test_message_to_any_group_reaches_each_of_the_eight_nearest_once(seed: int) -> None:
    """The first node knew its own close group, and not that of a name beside it."""
    world = grown(seed, 30)
    names = {host.index: host.core.name or b"" for host in world.alive}
    for sender in world.alive[:10]:
        target = world.random.randbytes(32)
        before = {host.index: len(host.messages) for host in world.alive}
        world.tell(sender, to_group(target))
        world.run(5 * SECOND)
        got = [host.index for host in world.alive if len(host.messages) > before[host.index]]
        once = all(len(h.messages) - before[h.index] <= 1 for h in world.alive)
        group = nearest(target, names.values(), 8)
        assert once
        assert sorted(got) == sorted(i for i, name in names.items() if name in group)


def to_group(target: bytes) -> Submitted:
    return Submitted(
        reference=1,
        kind=MessageKind.MESSAGE,
        destination=GroupAddress(target),
        payload=b"to all of you",
        id=bytes(16),
        failed=False,
        timeout_ns=SECOND,
        signed=False,
    )


def test_group_message_is_proved_by_the_signature_of_its_source() -> None:
    world = grown(1, 10)
    sender: Host = world.alive[3]
    world.tell(sender, to_group(bytes(32)))
    world.run(5 * SECOND)
    proofs = {m.proof for host in world.alive for m in host.messages}
    assert proofs == {Proof.SIGNATURE}


@pytest.mark.parametrize("seed", range(4))
def test_newcomer_is_not_shut_out_by_the_one_member_nearest_to_it(seed: int) -> None:
    """All ways to its group ended at a liar: it got no name, and nobody vouched for one."""
    world = grown(seed, 12)
    silent = (Lie.SWALLOWS, Lie.UNROUTABLE, Lie.FALSE_ACKS)
    liar = world.add_liar([host.address for host in world.hosts[:3]], silent)
    world.run(60 * SECOND)
    newcomer = newcomer_beside(world, liar.core.name or b"")
    joined = world.run_until(
        lambda: len(newcomer.core.table) >= 8 and why_not_whole(world) is None,
        limit_ns=300 * SECOND,
    )
    assert joined is not None, why_not_whole(world)


def test_two_proxies_that_get_nobody_a_name_do_not_take_turns_for_ever() -> None:
    """Each became an anchor by admitting the newcomer, and so came before all others again."""
    world = grown(2, 12)
    known = [host.address for host in world.hosts[:3]]
    liars = [world.add_liar(known, (Lie.SWALLOWS,)) for _ in range(2)]
    world.run(60 * SECOND)
    contacts = [*(liar.address for liar in liars), known[0]]
    newcomer = world.add_node(contacts, at=world.now)
    joined = world.run_until(lambda: len(newcomer.core.table) >= 8, limit_ns=120 * SECOND)
    assert joined is not None, newcomer.core.counters


def newcomer_beside(world: World, name: bytes) -> Host:
    """Start a node whose client name has this name nearest to it; the others never start."""
    names = [host.core.name or b"" for host in [*world.alive, *world.liars]]
    contacts = [host.address for host in world.alive[:3]]
    for _ in range(200):
        host = world.add_node(contacts, at=world.now + 10**15)
        if nearest(host.core.client_name, names, 1) == [name]:
            world.clock.at(world.now, host.start)
            world.run(SECOND)
            return host
    raise AssertionError("no key fits")


def test_client_outlives_all_that_it_was_told_of() -> None:
    """A client knew nobody but its contacts; once they had gone it was alone for ever."""
    world = grown(7, 6)
    contacts = world.alive[:2]
    client = world.add_node([host.address for host in contacts], client=True)
    world.run(10 * SECOND)
    for host in world.alive:
        world.add_node([other.address for other in world.alive], at=world.now)
        world.run(60 * SECOND)
        world.kill(host, silent=False)
        world.run(150 * SECOND)
    assert all(not host.alive for host in contacts)
    assert client.core.state.detail is Detail.BOOTSTRAPPED


@pytest.mark.parametrize("fresh", [False, True])
def test_node_that_crashed_in_silence_is_back_at_once(fresh: bool) -> None:
    """With a new key it took 32 s: its neighbours held the old one, which nobody else could be."""
    world = placed_world(2, 12)
    took = comebacks(world, 12, fresh=fresh)
    assert max(took) <= 5 * SECOND
    if fresh:
        assert world.counters()["suspect.displaced"] > 0


def test_name_is_held_after_a_late_restart() -> None:
    """A held name was believed to have run out if the clock had begun long before the process."""
    world = placed_world(3, 12)
    world.run(3_600 * SECOND)
    victim = world.alive[5]
    world.kill(victim, silent=False)
    host = world.restart(victim, [world.alive[0].address])
    world.run(10 * SECOND)
    assert host.core.name == victim.core.name is not None
    assert host.core.counters["name.asked"] == 1
