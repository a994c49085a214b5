"""A message as a picture, recorded in the simulator: lost behind the first hop, and made good.

A network is placed, a message is sent whose way is long enough, and the relay behind the first hop
dies without a word just before. What the picture shows is what the cores then did.
"""

from __future__ import annotations

from routing import actions as do
from routing.bodies import Acknowledged
from routing.events import Message
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.messages import FrameKind, MessageKind, NodeAddress, decode, open_envelope
from routing.simulation.hosts import Host
from routing.simulation.links import Weather
from routing.simulation.placement import place
from routing.simulation.wires import End
from routing.simulation.world import World

__all__ = ["message_picture"]

_NODES = 60
_EVEN = Weather(latency_low_ns=SECOND // 50, latency_high_ns=SECOND // 50, jitter_ns=0)


class _Recorder:
    """Keeps every frame that carries one message, or its acknowledgement."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.path: list[int] = []
        """Whom the first copy reached, in order, its source first."""
        self.ends: list[int] = []
        """Everybody in the picture, in order of appearance."""
        self._id = b""

    def sent(self, end: End, kind: FrameKind, body: bytes) -> None:
        """A host puts a frame on a connection."""
        opened = open_envelope(body) if kind is FrameKind.ROUTED else None
        if opened is None:
            return
        envelope, signed = opened
        if signed.kind is MessageKind.MESSAGE:
            self._id = signed.id
        elif signed.kind is MessageKind.ACKNOWLEDGED:
            answer = decode(Acknowledged, signed.body)
            if answer is None or answer.id != self._id:
                return
        else:
            return
        near, far = end.host.index, end.far.host.index
        if signed.kind is MessageKind.MESSAGE and envelope.route == 0:
            self.path = self.path or [near]
            self.path.append(far)
        heard = end.far.open and far not in self.silent
        arrow = "->>" if heard else "-x"
        text = f"{signed.kind.name} route {envelope.route}, hops {envelope.hops}"
        for host in (near, far):
            if host not in self.ends:
                self.ends.append(host)
        self.lines.append(f"    n{near}{arrow}n{far}: {text}")

    silent: tuple[int, ...] = ()
    """Hosts that died without a word."""

    def delivered(self, host: Host, message: Message) -> None:
        """A host hands a message to its application."""
        self.lines.append(f"    Note over n{host.index}: delivered once")

    def answered(self, host: Host, action: do.Answered | do.Failed) -> None:
        """A host tells its application what came of a message."""
        self.lines.append(f"    Note over n{host.index}: {action}")


def _run(pair: tuple[int, int], dead: tuple[int, ...] = ()) -> _Recorder:
    world = World(1, limits=Limits.recommended(), weather=_EVEN)
    hosts = place(world, _NODES)
    world.run(SECOND)
    recorder = _Recorder()
    recorder.silent = dead
    for index in dead:
        world.kill(hosts[index], silent=True)
    world.network.witness = recorder
    source, destination = hosts[pair[0]], hosts[pair[1]]
    assert destination.core.name is not None
    to = NodeAddress(destination.core.name)
    kind = MessageKind.MESSAGE
    source.hear(Submitted(1, kind, to, b"hello", bytes(16), False, 60 * SECOND, False))
    world.run(8 * SECOND)
    return recorder


def message_picture() -> str:
    """Return a message's way over three hops, its second relay silently dead, as a sequence."""
    for pair in ((one, other) for one in range(8) for other in range(8, 24)):
        path = _run(pair).path
        if len(path) == 4:
            break
    else:
        raise AssertionError("no way of three hops was found for the picture")
    recorder = _run(pair, (path[2],))
    if not any("delivered" in line for line in recorder.lines):
        raise AssertionError("the message of the picture was not delivered")
    titles = {pair[0]: "S, source", pair[1]: "D, destination", path[2]: "dead, unnoticed yet"}
    relays = [host for host in recorder.ends if host not in titles]
    titles |= {host: f"R{number}, relay" for number, host in enumerate(relays, 1)}
    order = [pair[0], *[host for host in recorder.ends if host not in pair], pair[1]]
    head = ["```mermaid", "sequenceDiagram"]
    head += [f"    participant n{host} as {titles[host]}" for host in order]
    return "\n".join([*head, *recorder.lines, "```"])
