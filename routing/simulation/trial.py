"""One scenario with one seed: faults first, then rest, and what came of it.

In the first phase what must hold at any time is asserted. Then every fault ends, and within the
healing bound the network must be whole and every client hang on it; after that it must stay so. A
`Trial` and its `Outcome` are plain data: they go to another process and come back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module

from msgspec import Struct

from routing import actions as do
from routing.core import Core, CoreConfig
from routing.errors import UsageError
from routing.events import Message
from routing.limits import SECOND
from routing.messages import FrameKind
from routing.simulation.hosts import Host, Violation
from routing.simulation.links import Weather
from routing.simulation.scenarios import Run, named
from routing.simulation.script import Script
from routing.simulation.scriptfile import limits_of
from routing.simulation.stage import Stage
from routing.simulation.wires import End
from routing.simulation.world import World

__all__ = ["Outcome", "Sample", "Trial", "resolve", "run_trial"]

SAMPLES_MAX = 200
"""Points of time at which a run is looked at for its picture; then every second one is let go."""

SAMPLE_NS = 5 * SECOND

MOMENT_S = 5.0
"""Within which a network at rest is whole whenever it is looked at."""

_VARIABLE = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{6,}\b|\d+(?:\.\d+)?")


class Trial(Struct, frozen=True, kw_only=True):
    """What a worker needs to know."""

    script: Script
    seed: int
    command: str = ""
    """What shows this run again."""
    quiet_s: float = 0.0
    """How long the network is left alone once it has healed; it must be whole after that too."""
    maker: str = ""
    """`module:function` that makes the cores, for tests of the machinery; the real ones if empty"""
    checks_every: int = 1


class Sample(Struct, frozen=True, array_like=True):
    """How things stood at one time."""

    at_s: float
    nodes: int
    connections: float
    """Of a node, the mean."""
    frames: int
    """Sent in the whole network since the sample before."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of one run; times in virtual seconds."""

    scenario: str
    seed: int
    nodes: int
    ok: bool
    kind: str
    """Where it is not ok: what was broken, without numbers; equal for equal failures."""
    reason: str
    command: str
    bound_s: float
    """Within which the network must be whole once the faults have stopped."""
    formed_s: float | None = None
    """When it was whole for the first time."""
    healed_s: float | None = None
    """How long after the end of the faults it was whole and every client hung on it."""
    waits_s: tuple[float, ...] = ()
    """How long each `wait-whole` took."""
    ended_s: float = 0.0
    node_seconds: float = 0.0
    """Virtual seconds that nodes and clients lived, summed."""
    events: int = 0
    frames: dict[str, int] = {}
    frames_per_node: tuple[int, ...] = ()
    """Sent by each node and client that was ever started."""
    samples: tuple[Sample, ...] = ()
    counters: dict[str, int] = {}
    digest: str = ""


class Observer:
    """Looks on at a world: who sends how much, and how things stand every few seconds."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.frames: dict[int, int] = {}
        self.samples: list[Sample] = []
        self.node_ns = 0
        self._told = 0
        self._every = 1
        self._looks = 0
        world.network.witness = self
        world.clock.at(SAMPLE_NS, self._look)

    def sent_by(self) -> tuple[int, ...]:
        """Return the frames that each host sent."""
        return tuple(self.frames.get(host.index, 0) for host in self.world.hosts)

    def _look(self) -> None:
        world = self.world
        self.node_ns += SAMPLE_NS * sum(1 for host in world.hosts if host.alive)
        self._looks += 1
        if self._looks % self._every == 0:
            living, frames = world.alive, sum(self.frames.values())
            held = sum(len(host.core.table) for host in living)
            self.samples.append(
                Sample(
                    at_s=world.now / SECOND,
                    nodes=len(living),
                    connections=round(held / max(1, len(living)), 3),
                    frames=frames - self._told,
                )
            )
            self._told = frames
        if len(self.samples) > SAMPLES_MAX:
            self._halve()
        world.clock.at(world.now + SAMPLE_NS, self._look)

    def _halve(self) -> None:
        """Let every second sample go; what was sent is told by the one that stays."""
        pairs = zip(self.samples[::2], self.samples[1::2], strict=False)
        self.samples = [
            Sample(late.at_s, late.nodes, late.connections, early.frames + late.frames)
            for early, late in pairs
        ]
        self._every *= 2

    # -- a witness of the network

    def sent(self, end: End, kind: FrameKind, body: bytes) -> None:
        """A host puts a frame on a connection."""
        index = end.host.index
        self.frames[index] = self.frames.get(index, 0) + 1

    def delivered(self, host: Host, message: Message) -> None:
        """A host hands a message to its application: no business of ours."""

    def answered(self, host: Host, action: do.Answered | do.Failed) -> None:
        """A host tells what came of a message: no business of ours."""


def resolve(name: str) -> Callable[..., object]:
    """Return what `module:name` is.

    Raises:
        UsageError: there is no such module or name, or it cannot be called.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{name!r} is not found: {error}; give MODULE:NAME") from error
    if not callable(found):
        raise UsageError(f"{name!r} cannot be called; give MODULE:NAME of a function")
    return found  # type: ignore[no-any-return]


def run_trial(trial: Trial) -> Outcome:
    """Run one scenario with one seed.

    Raises:
        UsageError: the scenario cannot be run.
    """
    script = trial.script
    weather = script.weather
    world = World(
        trial.seed,
        limits=limits_of(script),
        weather=Weather(
            latency_low_ns=int(weather.latency_low_ms * 1_000_000),
            latency_high_ns=int(weather.latency_high_ms * 1_000_000),
            jitter_ns=int(weather.jitter_ms * 1_000_000),
            loss=weather.loss,
            duplication=weather.duplication,
        ),
        bytewise=script.depth == "bytes",
        checks_every=trial.checks_every,
        command=trial.command,
        make_core=_maker(trial.maker),
    )
    observer = Observer(world)
    run = Run(script.name, world)
    stage = Stage(script, run)
    kind, reason, healed_s = "", "", None
    try:
        healed_s = _run(stage, trial)
        if run.reason:
            kind = run.reason.partition(":")[0]
            reason = str(world.violation(run.reason, named(world, run.reason)))
    except Violation as error:
        kind, reason = _kind(str(error).partition("\n")[0].partition(": ")[2]), str(error)
    return Outcome(
        scenario=script.name,
        seed=trial.seed,
        nodes=script.nodes,
        ok=not reason,
        kind=kind,
        reason=reason,
        command=trial.command,
        bound_s=stage.bound_s,
        formed_s=None if run.formed_ns is None else run.formed_ns / SECOND,
        healed_s=healed_s,
        waits_s=tuple(took for took, _ in stage.waits),
        ended_s=world.now / SECOND,
        node_seconds=observer.node_ns / SECOND,
        events=world.clock.events,
        frames={kind.name: count for kind, count in sorted(world.links.frames.items())},
        frames_per_node=observer.sent_by(),
        samples=tuple(observer.samples),
        counters=world.counters(),
        digest=world.trace.digest(),
    )


def _run(stage: Stage, trial: Trial) -> float | None:
    """Carry out all steps, then end the faults; return how long healing took, None if it did not"""
    run, world = stage.run, stage.world
    for step in stage.script.steps:
        stage.do(step)
        if run.reason:
            return None
    stage.end_faults()
    ended_at = world.now
    healed_at = stage.wait_well("healing", stage.bound_s)
    if healed_at is None or not run.wait_rest():
        return None
    if trial.quiet_s:
        stage.pass_time(int(trial.quiet_s * SECOND))
        # A node that is about to agree with another is a moment away from being whole.
        stage.wait_well("left alone", MOMENT_S)
    return (healed_at - ended_at) / SECOND


def _maker(name: str) -> Callable[[CoreConfig], Core]:
    return resolve(name) if name else Core  # type: ignore[return-value]


def _kind(reason: str) -> str:
    return _VARIABLE.sub("#", reason)[:200]
