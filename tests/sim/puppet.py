"""A core without a mind: it remembers what it hears and says what a test puts into its mouth."""

from __future__ import annotations

from typing import TypeVar, cast

from routing.actions import Action, Close, Dial
from routing.core import Core, CoreConfig
from routing.inputs import (
    Accepted,
    ContactsLearnt,
    Dialled,
    Input,
    Lost,
)
from routing.limits import SECOND, Limits, Nanos
from routing.simulation.hosts import Host
from routing.simulation.links import Weather
from routing.simulation.world import World
from routing.state import Token

__all__ = ["Puppet", "connected", "do", "puppet", "puppets"]

T = TypeVar("T")


class Puppet:
    """Speaks the contract of a core; every connection it hears of is its own until it ends."""

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        self.key = config.signer.key
        self.state = "puppet"
        self.counters: dict[str, int] = {}
        self.links: dict[int, str] = {}
        self.heard: list[tuple[int, Input]] = []
        self.wakes: list[int] = []
        self.deadline: Nanos | None = None
        self.broken = False
        self._said: list[Action] = []

    def handle(self, fact: Input, now: Nanos) -> None:
        self.heard.append((now, fact))
        if isinstance(fact, Accepted | Dialled):
            self.links[fact.connection.token] = "open"
        elif isinstance(fact, Lost):
            del self.links[fact.token]

    def on_deadline(self, now: Nanos) -> None:
        self.wakes.append(now)
        if not self.broken:
            self.deadline = None

    def take_actions(self) -> list[Action]:
        said, self._said = self._said, []
        for action in said:
            if isinstance(action, Close):
                self.links.pop(action.token, None)
        return said

    def next_deadline(self) -> Nanos | None:
        return self.deadline

    def check(self) -> None:
        assert self.deadline is None or self.deadline >= 0

    def say(self, *actions: Action) -> None:
        self._said.extend(actions)

    def of(self, kind: type[T]) -> list[T]:
        """Return the facts of one kind it has heard, in order."""
        return [fact for _, fact in self.heard if isinstance(fact, kind)]

    def when(self, kind: type) -> list[int]:
        """Return when it heard them."""
        return [now for now, fact in self.heard if isinstance(fact, kind)]


def puppets(
    count: int,
    *,
    seed: int = 1,
    weather: Weather | None = None,
    limits: Limits | None = None,
    bytewise: bool = False,
) -> tuple[World, list[Host]]:
    """Return a world of so many started puppets."""
    world = World(
        seed,
        weather=weather,
        limits=limits,
        make_core=lambda config: cast(Core, Puppet(config)),
        command="a test",
        bytewise=bytewise,
    )
    hosts = [world.add_node() for _ in range(count)]
    world.run(1)
    return world, hosts


def puppet(host: Host) -> Puppet:
    """Return the puppet that a host drives."""
    return cast(Puppet, host.core)


def do(world: World, host: Host, *actions: Action) -> None:
    """Let a puppet say this now."""
    puppet(host).say(*actions)
    world.tell(host, ContactsLearnt([]))


def connected(world: World, one: Host, other: Host) -> tuple[Token, Token]:
    """Connect two puppets and return the token of each."""
    do(world, one, Dial(len(puppet(one).heard), other.address, None, 5 * SECOND))
    world.run(SECOND)
    return (
        puppet(one).of(Dialled)[-1].connection.token,
        puppet(other).of(Accepted)[-1].connection.token,
    )
