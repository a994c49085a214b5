"""A recorded list of facts replays a whole life to the same actions, from any point of it."""

from __future__ import annotations

import pytest

from routing.actions import Action
from routing.core import Core, CoreConfig
from routing.inputs import Input
from routing.limits import SECOND, Nanos
from routing.simulation.scenarios import form
from routing.simulation.world import World

__all__: list[str] = []

Step = tuple[Nanos, Input | None, list[Action]]


class Recorder(Core):
    """A core that keeps what it heard, what it said, and its state now and then."""

    def __init__(self, config: CoreConfig) -> None:
        super().__init__(config)
        self.steps: list[Step] = []
        self.states: list[tuple[int, bytes]] = []
        self._heard: tuple[Nanos, Input | None] | None = None

    def handle(self, fact: Input, now: Nanos) -> None:
        self._heard = (now, fact)
        super().handle(fact, now)

    def on_deadline(self, now: Nanos) -> None:
        self._heard = (now, None)
        super().on_deadline(now)

    def take_actions(self) -> list[Action]:
        actions = super().take_actions()
        if self._heard is not None:
            self.steps.append((*self._heard, actions))
            self._heard = None
            if len(self.steps) % 7 == 0:
                self.states.append((len(self.steps), self.snapshot()))
        return actions


def recorded(seed: int) -> list[Recorder]:
    world = World(seed, make_core=Recorder)
    assert form(world, 7, 2).ok
    return [host.core for host in world.hosts if isinstance(host.core, Recorder)]


def replay(core: Core, steps: list[Step]) -> None:
    for number, (now, fact, said) in enumerate(steps):
        if fact is None:
            core.on_deadline(now)
        else:
            core.handle(fact, now)
        assert core.take_actions() == said, f"step {number} at {now / SECOND:.6f} s: {fact}"


@pytest.mark.parametrize("seed", [1, 2])
def test_same_facts_give_the_same_actions(seed: int) -> None:
    for recorder in recorded(seed):
        assert len(recorder.steps) > 50
        core = Core(recorder.config)
        replay(core, recorder.steps)
        assert core.digest() == recorder.digest()


@pytest.mark.parametrize("seed", [1, 2])
def test_restored_core_goes_on_as_the_original_did(seed: int) -> None:
    for recorder in recorded(seed):
        assert len(recorder.states) > 5
        for done, state in recorder.states:
            core = Core(recorder.config)
            core.restore(state)
            assert core.snapshot() == state, f"after {done} steps"
            replay(core, recorder.steps[done:])
            assert core.digest() == recorder.digest()
