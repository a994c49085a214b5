"""Two real cores that know each other through a relay only, and everything on its way between them.

What is on its way waits in one queue, oldest first, each item with a label; a test lets it arrive,
loses it, or picks which comes next. The relay passes on at once what arrives at it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from routing import actions as do
from routing.actions import Action
from routing.errors import DialFailure
from routing.limits import Limits
from routing.links import Link
from routing.messages import Address, Envelope, FrameKind, NodeAddress, Signed, ViaAddress
from routing.state import LinkRole, Token
from tests.persons import Person, opened
from tests.support import Stage, Wire

__all__ = ["Pair"]

RELAY = 90


@dataclass(eq=False)
class Cable:
    """One connection between the two; an end is None before it is accepted and after it closed."""

    ends: list[Wire | None]


@dataclass(eq=False)
class Item:
    """Something on its way."""

    label: str
    towards: int
    arrive: Callable[[], None]


class Pair:
    """`stages[0]` has the lower key. Each is connected with the relay, neither with the other."""

    def __init__(
        self, *, limits: Limits | None = None, relaxed: tuple[bool, bool] = (False, False)
    ) -> None:
        self.relay = Person(RELAY)
        # By key, lower first: who is relaxed is said of the lower and of the higher.
        numbers = sorted((1, 2), key=lambda number: Person(number).key)
        self.stages = [
            Stage.founder(number, limits=limits, relaxed=each)
            for number, each in zip(numbers, relaxed, strict=True)
        ]
        self.relays = [stage.befriend(self.relay) for stage in self.stages]
        self.queue: list[Item] = []
        self.unreachable: set[int] = set()
        """Those that cannot be dialled."""
        self._cables: list[Cable] = []
        self._elsewhere: list[tuple[int, Token]] = []
        """Connections of either with persons of the test's own; nothing said on them travels."""
        self._heard: list[tuple[int, Action]] = []
        for index, stage in enumerate(self.stages):
            stage.listener = partial(self._hear, index)

    def _hear(self, index: int, action: Action) -> None:
        self._heard.append((index, action))

    # -- what a test does

    def ask(self, index: int) -> None:
        """Let the relay tell one of the other, so that it asks for a connection."""
        self.relays[index].names(self.stages[1 - index].name)
        self._post()

    def befriend(self, index: int, person: Person) -> Wire:
        """Let a person of the test's own be consolidated with one of the two."""
        before = list(self.stages[index].open)
        wire = self.stages[index].befriend(person)
        self._heard = [(who, each) for who, each in self._heard if who != index]
        self._elsewhere += [(index, t) for t in self.stages[index].open if t not in before]
        return wire

    def wait_alone(self, index: int, nanoseconds: int) -> None:
        """Let time pass for one of the two only; what it says stays on its way."""
        self.stages[index].wait(nanoseconds)
        self._post()

    @property
    def labels(self) -> list[str]:
        """What is on its way, oldest first."""
        return [item.label for item in self.queue]

    def _find(self, label: str) -> Item:
        for item in self.queue:
            if item.label == label:
                return item
        raise AssertionError(f"{label} is not on its way: {self.labels}")

    def step(self, label: str) -> None:
        """Let the oldest item of this label arrive, before all others."""
        self._arrive(self._find(label))

    def drop(self, label: str) -> None:
        """Lose the oldest item of this label."""
        self.queue.remove(self._find(label))

    def run(self) -> None:
        """Let everything arrive in order, until nothing is on its way."""
        for _ in range(1_000):
            if not self.queue:
                return
            self._arrive(self.queue[0])
        raise AssertionError(f"never at rest: {self.labels}")

    def run_until(self, label: str) -> None:
        """Let everything arrive until an item of this label is next."""
        for _ in range(1_000):
            if self.queue and self.queue[0].label == label:
                return
            assert self.queue, f"{label} never came"
            self._arrive(self.queue[0])

    def wait(self, nanoseconds: int) -> None:
        """Let time pass for both; whatever is said arrives at once."""
        target = self.stages[0].now + nanoseconds
        while self.stages[0].now < target:
            due = [stage.core.next_deadline() for stage in self.stages]
            until = min([target, *(at for at in due if at is not None)])
            for stage in self.stages:
                stage.wait(max(0, until - stage.now))
            self._post()
            self.run()

    def links(self, index: int) -> list[Link]:
        """Return what one core holds of connections with the other."""
        links = self.stages[index].core.links.values()
        return [link for link in links if link.key == self.stages[1 - index].core.key]

    def roles(self) -> list[list[LinkRole]]:
        """Return the roles of the connections between the two, at each."""
        return [[link.role for link in self.links(index)] for index in (0, 1)]

    def assert_connected(self) -> None:
        """Assert one and the same connection at both ends, and nothing pending."""
        assert self.roles() == [[LinkRole.CONSOLIDATED]] * 2, self.roles()
        cables = [cable for cable in self._cables if any(cable.ends)]
        assert len(cables) == 1 and all(cables[0].ends), "one and the same"
        self.assert_nothing_pending()

    def assert_nothing_pending(self) -> None:
        """Assert that no attempt, no dial and no unknown connection is left."""
        for stage in self.stages:
            core = stage.core
            assert core.attempts.live() == [] and len(core.attempts.unknown) == 0
            assert stage.dialling == {} and core.dials.flights == {} and core.dials.plans == {}
            assert len(core.attempts.expected) == 0

    # -- on its way

    def _arrive(self, item: Item) -> None:
        self.queue.remove(item)
        item.arrive()
        self._post()

    def _post(self) -> None:
        heard, self._heard = self._heard, []
        for index, action in heard:
            match action:
                case do.Send(token=token):
                    self._post_frame(index, token, action)
                case do.Dial(dial=dial):
                    self._put("dial", 1 - index, partial(self._dial, index, dial))
                case do.Close(token=token, code=code):
                    found = self._cable(index, token)
                    if found is not None:
                        found.ends[index] = None
                        self._put(
                            f"close {code.name}", 1 - index, partial(self._shut, found, action)
                        )
                case _:
                    pass

    def _put(self, label: str, towards: int, arrive: Callable[[], None]) -> None:
        self.queue.append(Item(label, towards, arrive))

    def _cable(self, index: int, token: Token) -> Cable | None:
        for cable in self._cables:
            end = cable.ends[index]
            if end is not None and end.token == token:
                return cable
        return None

    def _post_frame(self, index: int, token: Token, action: do.Send) -> None:
        other = 1 - index
        if token == self.relays[index].token:
            if action.kind is not FrameKind.ROUTED:
                return
            envelope = opened(Envelope, action.body)
            signed = opened(Signed, envelope.signed)
            if _name_of(signed.destination) == self.stages[other].core.name:
                passed = Envelope(
                    envelope.hops + 1, envelope.route, envelope.signed, envelope.signature
                )
                arrive = partial(self._say, self.relays[other], FrameKind.ROUTED, passed)
                self._put(signed.kind.name, other, arrive)
            return
        if (index, token) in self._elsewhere:
            return
        cable = self._cable(index, token)
        assert cable is not None, f"a frame on a connection with nobody: {action}"
        self._put(action.kind.name, other, partial(self._deliver, cable, other, action))

    def _say(self, wire: Wire, kind: FrameKind, record: Envelope) -> None:
        if wire.open:
            wire.say(kind, record)

    def _deliver(self, cable: Cable, to: int, action: do.Send) -> None:
        wire = cable.ends[to]
        if wire is not None and wire.open:
            wire.say(action.kind, action.body)

    def _shut(self, cable: Cable, action: do.Close) -> None:
        for index, wire in enumerate(cable.ends):
            cable.ends[index] = None
            if wire is not None and wire.open:
                wire.lose(action.code)

    def _dial(self, index: int, dial: int) -> None:
        stage, other = self.stages[index], self.stages[1 - index]
        if dial in stage.cancelled:
            stage.fail(dial, DialFailure.CANCELLED)
        elif 1 - index in self.unreachable:
            stage.fail(dial, DialFailure.TIMED_OUT)
        else:
            binding = other.person.fresh(32)
            cable = Cable([None, None])
            self._cables.append(cable)
            # The arrival at the far end comes before anything that is said on the connection.
            self._put("accept", 1 - index, partial(self._accept, cable, 1 - index, binding))
            cable.ends[index] = stage.connect(other.person, dial, binding=binding)

    def _accept(self, cable: Cable, to: int, binding: bytes) -> None:
        caller = self.stages[1 - to].person
        cable.ends[to] = self.stages[to].accept(caller, binding=binding)


def _name_of(destination: Address) -> bytes:
    match destination:
        case NodeAddress() | ViaAddress():
            return destination.name
        case _:
            return b""
