"""The words a scenario is written in: a `Script` is a network, its weather and a list of steps.

Every value has its type and its bounds here and nowhere else, so that a file and a program are held
to the same. A step says what is done and how hard; whom it strikes is drawn from the seed. It does
nothing itself (`stage` does) and reads no files (`scriptfile` does).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from routing.simulation.swarm import Fault

__all__ = [
    "NODES_MAX",
    "Allow",
    "Block",
    "Churn",
    "Eclipse",
    "HalfOpen",
    "Heal",
    "Kill",
    "Liars",
    "Offline",
    "Online",
    "Part",
    "Reset",
    "Rest",
    "Restart",
    "Roll",
    "RunShort",
    "Script",
    "Sleep",
    "SlowDown",
    "Spell",
    "Stall",
    "Start",
    "Step",
    "Stop",
    "Strikes",
    "Swarm",
    "Talk",
    "Wait",
    "WaitWhole",
    "Weather",
    "Worsen",
]

NODES_MAX = 2_000
STEPS_MAX = 1_000
STRIKES_MAX = 10_000
SECONDS_MAX = 1_000_000

Share = Annotated[float, Meta(gt=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=1, le=NODES_MAX)]
Seconds = Annotated[float, Meta(ge=0.0, le=SECONDS_MAX)]
Positive = Annotated[float, Meta(gt=0.0, le=SECONDS_MAX)]
Chance = Annotated[float, Meta(ge=0.0, lt=1.0)]
Milliseconds = Annotated[float, Meta(ge=0.0, le=60_000.0)]
Latency = Annotated[float, Meta(ge=0.001, le=60_000.0)]
Title = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
About = Annotated[str, Meta(min_length=1, max_length=400)]
Who = Literal["nodes", "clients", "contacts", "first"]


class Base(
    Struct,
    kw_only=True,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="do",
):
    """What every step may say."""

    at_s: Seconds | None = None
    """Not before so many virtual seconds since the beginning."""


class Some(Base, kw_only=True, frozen=True):
    """A step that strikes some of those there are: a count, or a share of them."""

    count: Count | None = None
    share: Share | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.share is not None:
            raise ValueError("count and share are both given; leave one out")

    def of(self, many: int) -> int:
        """Return how many of so many are meant: one at least where there is one."""
        if self.count is not None:
            return min(self.count, many)
        share = 1.0 if self.share is None else self.share
        return min(many, max(1, round(many * share)))


class Start(Some, tag="start", frozen=True):
    """Start so many of the nodes (or clients) of the scenario, spread over some time."""

    who: Literal["nodes", "clients"] = "nodes"
    over_s: Seconds = 10.0
    known: Literal["earlier", "contacts"] = "earlier"
    """What each is told of: the first node and two earlier ones, or the first three nodes only."""
    hidden: bool = False
    """Behind a NAT, where nobody can dial them: nodes go on as clients when they find out."""


class Wait(Base, tag="wait", frozen=True):
    """Let time pass."""

    for_s: Positive


class WaitWhole(Base, tag="wait-whole", frozen=True):
    """Let time pass until the network is whole; it fails where that takes longer."""

    within_s: Positive | None = None
    """The healing bound if it is not said."""


class Rest(Base, tag="rest", frozen=True):
    """Let time pass until every node has been at rest, and require that it stays whole."""


class Kill(Some, tag="kill", frozen=True):
    """End some: a machine vanishes without a word, or a process dies and its kernel says so."""

    who: Who = "nodes"
    silent: bool | None = None
    """Drawn for each if it is not said."""
    over_s: Seconds = 0.0
    for_good: bool = False
    """They stay dead when the faults stop; all others are started anew then."""


class Stop(Some, tag="stop", frozen=True):
    """Stop some in good order."""

    who: Who = "nodes"
    over_s: Seconds = 0.0


class Restart(Some, tag="restart", frozen=True):
    """Start some of the dead anew at their addresses."""

    fresh: bool | None = False
    """With another key; drawn for each if it is not said."""
    book: bool = False
    """Their contact book was on disk."""
    over_s: Seconds = 0.0


class Roll(Some, tag="roll", frozen=True):
    """Restart some, one after the other: each stops in good order or, if `silent`, vanishes."""

    down_s: Seconds = 5.0
    gap_s: Seconds = 10.0
    silent: bool = False
    fresh: bool = False


class Churn(Base, tag="churn", frozen=True):
    """Let nodes die and newcomers take their place; sessions are exponential."""

    median_s: Positive
    for_s: Positive
    silent: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    """The share of deaths that nobody is told of."""


class Part(Some, tag="part", frozen=True):
    """Cut some of the nodes off from the others; half of them if no number is given."""

    one_way: bool = False
    """Only what those say is lost."""


class Heal(Base, tag="heal", frozen=True):
    """End every partition."""


class Offline(Some, tag="offline", frozen=True):
    """No packet reaches or leaves some of them."""

    who: Who = "nodes"
    abrupt: bool = True
    """Their connections break at once; else they go silent."""


class Online(Base, tag="online", frozen=True):
    """Packets pass again."""


class Reset(Some, tag="reset", frozen=True):
    """Break some of all connections."""


class HalfOpen(Some, tag="half-open", frozen=True):
    """Let nothing more arrive on one direction of some of all connections."""


class Stall(Some, tag="stall", frozen=True):
    """Let nothing pass on the connections of some for a while; then all of it, in order."""

    lasts_s: Positive


class SlowDown(Some, tag="slow-down", frozen=True):
    """Let some read only so many bytes in a second."""

    bytes_per_s: Annotated[int, Meta(ge=0, le=1_000_000_000)]
    """0 for as many as come."""


class Sleep(Some, tag="sleep", frozen=True):
    """Suspend some for a while."""

    lasts_s: Positive
    counted: bool = True
    """Their clocks go on meanwhile."""


class RunShort(Some, tag="run-short", frozen=True):
    """Leave some with so few descriptors for a while."""

    descriptors: Annotated[int, Meta(ge=0, le=100_000)]
    lasts_s: Positive


class Block(Some, tag="block", frozen=True):
    """Let no dial reach some of them, of others as many as `dialled_by` says; dials out pass."""

    dialled_by: Share = 1.0


class Allow(Base, tag="allow", frozen=True):
    """Let every dial pass again."""


class Eclipse(Some, tag="eclipse", frozen=True):
    """Surround some: they lose all connections and reach nobody but a few others."""

    attackers: Count = 3
    lying: bool = False
    """The few are newcomers that lie."""


class Liars(Some, tag="liars", frozen=True):
    """Let nodes join that lie, so many as count or share of the nodes says; they end at the end."""


class Worsen(Base, tag="worsen", frozen=True):
    """Lose and double so large a share of routed messages at each hop."""

    loss: Chance = 0.0
    duplication: Chance = 0.0


class Talk(Base, tag="talk", frozen=True):
    """Let nodes send messages to each other and to groups."""

    for_s: Positive
    per_s: Annotated[float, Meta(gt=0.0, le=1_000.0)] = 1.0
    bytes: Annotated[int, Meta(ge=0, le=1_000_000)] = 100


class Swarm(Base, tag="swarm", frozen=True):
    """Have faults of the kinds that the seed draws, as hard as it draws, at drawn times."""

    for_s: Positive


class Spell(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One fault of a `Strikes`."""

    at_ns: Annotated[int, Meta(ge=0)]
    fault: Fault
    lasts_ns: Annotated[int, Meta(ge=1)]
    dice: int


class Strikes(Base, tag="strikes", frozen=True):
    """Have these faults: what a swarm of one seed is, spelt out."""

    for_s: Positive
    faults: Annotated[list[Spell], Meta(max_length=STRIKES_MAX)]


Step = (
    Start
    | Wait
    | WaitWhole
    | Rest
    | Kill
    | Stop
    | Restart
    | Roll
    | Churn
    | Part
    | Heal
    | Offline
    | Online
    | Reset
    | HalfOpen
    | Stall
    | SlowDown
    | Sleep
    | RunShort
    | Block
    | Allow
    | Eclipse
    | Liars
    | Worsen
    | Talk
    | Swarm
    | Strikes
)


class Weather(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the network between the nodes is like from the beginning."""

    latency_low_ms: Latency = 5.0
    latency_high_ms: Latency = 60.0
    jitter_ms: Milliseconds = 10.0
    loss: Chance = 0.0
    duplication: Chance = 0.0

    def __post_init__(self) -> None:
        if self.latency_low_ms > self.latency_high_ms:
            raise ValueError(
                f"latency_low_ms={self.latency_low_ms} must not exceed "
                f"latency_high_ms={self.latency_high_ms}; swap them"
            )


class Script(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One scenario."""

    name: Title
    about: About
    nodes: Count = 12
    clients: Annotated[int, Meta(ge=0, le=NODES_MAX)] = 0
    limits: Literal["recommended", "local"] = "recommended"
    limits_but: dict[str, int | list[str]] = field(default_factory=dict)
    """Single limits that are otherwise."""
    depth: Literal["inputs", "bytes"] = "inputs"
    """How far down frames go: handed over as they are, or sealed, framed and read again."""
    weather: Weather = Weather()
    steps: Annotated[list[Step], Meta(min_length=1, max_length=STEPS_MAX)]

    def __post_init__(self) -> None:
        if not isinstance(self.steps[0], Start) or self.steps[0].who != "nodes":
            raise ValueError('the first step must start nodes; begin with do = "start"')
        starts = [step for step in self.steps if isinstance(step, Start)]
        if any(step.who == "clients" for step in starts) and not self.clients:
            raise ValueError("clients=0, but a step starts clients; say clients = N")
        times = [step.at_s for step in self.steps if step.at_s is not None]
        if times != sorted(times):
            raise ValueError(f"at_s must rise from step to step, got {times}; put them in order")
