"""Pictures in Mermaid, drawn from what the code does: the states, and a connect as it was recorded.

The states come from `State.of` over every chain of events; the sequences from two real cores in the
simulator. Nothing here is drawn by hand, so a picture that is wrong is a fault of the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from routing import actions as do
from routing.actions import Action
from routing.errors import CloseCode
from routing.events import Founded, PeerUp, StateChanged
from routing.limits import SECOND, Limits
from routing.messages import Envelope, FrameKind, Hello, Signed, decode
from routing.simulation.hosts import Host
from routing.simulation.links import Weather
from routing.simulation.trace import Trace
from routing.simulation.world import World
from routing.state import Detail, State

__all__ = ["connect_picture", "first_nodes_picture", "state_edges", "state_picture"]

# -- the states

_PEERS_MAX = 9
"""One peer more than GROUP_CONNECTED needs."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What `State.of` is computed from."""

    client: bool
    stopped: bool = False
    routing: int = 0
    bootstrap: int = 0
    named: bool = False
    founder: bool = False
    round_runs: bool = False

    @property
    def state(self) -> State:
        return State.of(
            client=self.client,
            stopped=self.stopped,
            routing=self.routing,
            bootstrap=self.bootstrap,
            named=self.named,
            founder=self.founder,
            round_runs=self.round_runs,
        )


def _settled(facts: Facts) -> Facts:
    """A node that has come to DISCONNECTED holds its name and goes without."""
    return replace(facts, named=False) if facts.state.detail is Detail.DISCONNECTED else facts


def _next(facts: Facts) -> Iterator[tuple[str, Facts]]:
    """Yield each event that may come now, and the facts after it."""
    if facts.stopped:
        return
    yield "stop()", replace(facts, stopped=True)
    if facts.state.detail is Detail.DISCONNECTED:
        if facts.round_runs:
            yield "round ends", replace(facts, round_runs=False)
            yield "admitted by a proxy", replace(facts, round_runs=False, bootstrap=1)
        else:
            yield "round starts", replace(facts, round_runs=True)
        if not facts.client:
            yield "founds", replace(facts, named=True, founder=True, round_runs=False)
    if facts.bootstrap:
        yield "proxy lost or let go", _settled(replace(facts, bootstrap=0))
        if not facts.client and not facts.named:
            yield "named by the group", replace(facts, named=True)
    if facts.named and facts.routing < _PEERS_MAX:
        yield "peer consolidated", replace(facts, routing=facts.routing + 1, founder=False)
    if facts.routing:
        yield "peer lost", _settled(replace(facts, routing=facts.routing - 1))


def state_edges(client: bool) -> list[tuple[Detail, str, Detail]]:
    """Return every change of detail that a chain of events can bring, each once, in order."""
    seen = {Facts(client)}
    waiting = [Facts(client)]
    found: set[tuple[Detail, str, Detail]] = set()
    while waiting:
        facts = waiting.pop()
        for event, after in _next(facts):
            if after.state.detail is not facts.state.detail:
                found.add((facts.state.detail, event, after.state.detail))
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return sorted(found)


def state_picture(client: bool) -> str:
    """Return the states of a node, or of a client, as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Detail.DISCONNECTED.name}"]
    lines += [f"    {old.name} --> {new.name} : {event}" for old, event, new in state_edges(client)]
    lines.append("```")
    return "\n".join(lines)


# -- a connect, as it was recorded


@dataclass(frozen=True, slots=True)
class Said:
    """One action of one of the two cores."""

    who: int
    whom: int
    arrow: str
    text: str
    of_attempt: bool

    def line(self) -> str:
        return f"    {'AB'[self.who]}{self.arrow}{'AB'[self.whom]}: {self.text}"


class _Recorder(Trace):
    """A trace that also keeps what is to be seen in a picture."""

    __slots__ = ("said", "world")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.said: list[Said | str] = []

    def action(self, now: int, node: int, action: Action) -> None:
        super().action(now, node, action)
        host = self.world.hosts[node]
        # The joiner asks, so it is drawn as A, on the left.
        who = 1 - node
        match action:
            case do.Dial():
                self.said.append(Said(who, 1 - who, "-->>", "dial, channel", True))
            case do.Send(kind=kind, body=body):
                text, of_attempt = _described(kind, body)
                self.said.append(Said(who, 1 - who, "->>", text, of_attempt))
            case do.Close(code=code):
                of_attempt = code is CloseCode.SECONDARY_DONE
                self.said.append(Said(who, 1 - who, "-x", f"CLOSE {code.name}", of_attempt))
            case do.Tell(event=Founded() | PeerUp() | StateChanged() as event):
                self._note(who, host, event)
            case _:
                return

    def _note(self, who: int, host: Host, event: Founded | PeerUp | StateChanged) -> None:
        match event:
            case StateChanged():
                text = event.new.detail.name
            case Founded():
                text = "founds the network"
            case PeerUp():
                text = "consolidated"
        self.said.append(f"    Note over {'AB'[who]}: {text}")


def _described(kind: FrameKind, body: bytes) -> tuple[str, bool]:
    """Return the words for a frame, and whether it belongs to the two-way connect."""
    if kind is FrameKind.HELLO:
        hello = decode(Hello, body)
        assert hello is not None
        return f"HELLO {hello.role.name}", hello.role.name in ("PRIMARY", "SECONDARY")
    if kind in (FrameKind.ROUTED, FrameKind.GROUP_COPY):
        envelope = decode(Envelope, body)
        signed = None if envelope is None else decode(Signed, envelope.signed)
        assert signed is not None
        name = signed.kind.name
        return f"{kind.name} {name}", name.startswith("CONNECT_")
    return kind.name, kind in (FrameKind.ACK, FrameKind.CONFIRMATION)


_EVEN = Weather(latency_low_ns=SECOND // 50, latency_high_ns=SECOND // 50, jitter_ns=0)
"""Every way takes as long as every other, so the order of a picture follows from the protocol."""


def _recorded(until: Callable[[World], bool]) -> list[Said | str]:
    """Return what two nodes say, from the start of the second until a condition holds."""
    world = World(1, limits=Limits.recommended(), weather=_EVEN)
    recorder = _Recorder(world)
    world.trace = world.network.trace = recorder
    first = world.add_node(first=True)
    world.add_node([first.address], at=SECOND)
    if world.run_until(lambda: until(world), limit_ns=60 * SECOND, step_ns=SECOND // 100) is None:
        raise AssertionError("the two nodes of the picture did not connect in a minute")
    return recorder.said


def _whole(world: World) -> bool:
    """Both nodes hold each other, and nothing else is open or on its way."""
    joined = [host for host in world.hosts if len(host.core.table) == 1 and len(host.ends) == 1]
    return len(joined) == 2


def first_nodes_picture() -> str:
    """Return how the second node of a network finds, joins and connects with the first."""
    lines = [each if isinstance(each, str) else each.line() for each in _recorded(_whole)]
    head = ["```mermaid", "sequenceDiagram"]
    head += ["    participant A as A, joins", "    participant B as B, the first node"]
    return "\n".join([*head, *lines, "```"])


def connect_picture() -> str:
    """Return the two-way connect alone, from ConnectRequest to the close of the secondary."""
    said = _recorded(_whole)
    begin = next(
        index
        for index, each in enumerate(said)
        if isinstance(each, Said) and each.text.endswith("CONNECT_REQUEST")
    )
    lines = [
        each if isinstance(each, str) else each.line()
        for each in said[begin:]
        if (each.endswith("consolidated") if isinstance(each, str) else each.of_attempt)
    ]
    head = ["```mermaid", "sequenceDiagram"]
    head += ["    participant A as A, requester", "    participant B as B, responder"]
    return "\n".join([*head, *lines, "```"])
