"""Whole runs, recorded and replayed: every core comes to the state it had, from every segment."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.inputs import Submitted, SubmittedMany
from routing.limits import SECOND
from routing.messages import Address, ClientAddress, GroupAddress, MessageKind, NodeAddress
from routing.simulation.links import Weather
from routing.simulation.scenarios import form, grow
from routing.simulation.world import World
from tests.recording import RecordedCore, replayed

__all__: list[str] = []


def cores_of(world: World) -> list[RecordedCore]:
    return [host.core for host in world.hosts if isinstance(host.core, RecordedCore)]


def judge(cores: list[RecordedCore]) -> int:
    """Replay all cores, whole and from each segment, and return how many digests were equal."""
    equal = 0
    for core in cores:
        core.recorder.finish()
        equal += replayed(core).equal
        for number in range(len(core.tape.segments)):
            assert replayed(core, number).equal >= 1
    return equal


@pytest.mark.parametrize("seed", [1, 2])
def test_every_node_of_a_network_replays_to_its_digest(seed: int) -> None:
    world = World(seed, make_core=RecordedCore)
    assert form(world, 7, 2).ok
    cores = cores_of(world)
    assert len(cores) == 7
    assert judge(cores) >= 7
    assert any(len(core.tape.segments) > 1 for core in cores), "a segment was full"


Speech = tuple[int, int, int, int]


@given(
    seed=st.integers(0, 1 << 30),
    speeches=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 5), st.integers(0, 2_000)),
        max_size=12,
    ),
    kill=st.integers(0, 5),
    silent=st.booleans(),
    loss=st.sampled_from([0.0, 0.05]),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_runs_replay_to_equal_digests(
    seed: int, speeches: list[Speech], kill: int, silent: bool, loss: float
) -> None:
    world = World(seed, make_core=RecordedCore, weather=Weather(loss=loss, duplication=loss / 2))
    hosts = grow(world, 5, gap_low_ns=SECOND // 2, gap_high_ns=SECOND)
    client = world.add_node([host.address for host in hosts[:3]], client=True)
    world.run(15 * SECOND)
    for number, (source, target, how, size) in enumerate(speeches):
        speak(world, number * 100 + 1, source, target, how, size)
        world.run(SECOND // 20)
        if number == kill:
            world.kill(hosts[kill % 5], silent=silent)
    world.run(20 * SECOND)
    assert client in world.hosts
    assert judge(cores_of(world)) >= 6


def speak(world: World, reference: int, source: int, target: int, how: int, size: int) -> None:
    """Have one node say something: a batch or lists, a request, to a group, to a client."""
    host, core = world.hosts[source], world.hosts[target].core
    if not host.alive or core.name is None:
        return
    to: Address = NodeAddress(core.name)
    kind, payload = MessageKind.MESSAGE, bytes(reversed(range(256))) * (size // 256 + 1)
    if how in (0, 4, 5):
        many = [payload[: size % 700], *[payload[:100]] * 20]
        far = to if how != 5 else ClientAddress(core.name, world.hosts[5].key)
        world.tell(host, SubmittedMany(reference, far, many, True, how == 4))
        return
    if how == 1:
        kind = MessageKind.REQUEST
    elif how == 2:
        to = GroupAddress(core.name)
    else:
        to = ClientAddress(core.name, world.hosts[5].key)
    timeout = 5 * SECOND
    world.tell(host, Submitted(reference, kind, to, payload, b"", False, timeout, how == 3))
