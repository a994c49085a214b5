"""The picture of an accumulation: five nodes in the simulator, of which four speak as a group.

Like the other pictures it is recorded from real cores; nothing here is drawn by hand.
"""

from __future__ import annotations

from hashlib import sha256

from routing import actions as do
from routing.actions import Action
from routing.bodies import Ballot, Content, FindGroup, GroupIs, WholeWanted
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.messages import (
    Authority,
    AuthorityKind,
    Envelope,
    FrameKind,
    MessageKind,
    NodeAddress,
    Signed,
    decode,
    encode,
)
from routing.names import nearest
from routing.simulation.hosts import Host
from routing.simulation.links import Weather
from routing.simulation.trace import Trace
from routing.simulation.world import World

__all__ = ["accumulation_picture"]

NODES = 5
ELEMENT = bytes(range(32))
ID = bytes(15) + b"\x03"
"""One under which a voter, and not the receiver, would send the whole."""
AUTHORITY = Authority(AuthorityKind.ELEMENT_GROUP, ELEMENT)

_EVEN = Weather(latency_low_ns=SECOND // 50, latency_high_ns=SECOND // 50, jitter_ns=0)


class _Recorder(Trace):
    """A trace that keeps what belongs to the one message."""

    __slots__ = ("letters", "lines", "names")

    def __init__(self) -> None:
        super().__init__()
        self.letters: dict[int, str] = {}
        """Index of a host -> its letter in the picture."""
        self.names: dict[bytes, str] = {}
        self.lines: list[str] = []

    def action(self, now: int, node: int, action: Action) -> None:
        super().action(now, node, action)
        if node not in self.letters:
            return
        match action:
            case do.Send(kind=FrameKind.ROUTED, body=body):
                envelope = decode(Envelope, body)
                signed = None if envelope is None else decode(Signed, envelope.signed)
                if envelope is not None and signed is not None and envelope.hops == 0:
                    self._letter(node, signed)
            case do.Deliver(message=message):
                text = f"delivered, {message.proof.name}"
                self.lines.append(f"    Note over {self.letters[node]}: {text}")

    def _letter(self, node: int, signed: Signed) -> None:
        text = _described(signed)
        if text and isinstance(signed.destination, NodeAddress):
            whom = self.names[signed.destination.name]
            self.lines.append(f"    {self.letters[node]}->>{whom}: {text}")


def _described(signed: Signed) -> str:
    match signed.kind:
        case MessageKind.BALLOT:
            ballot = decode(Ballot, signed.body)
            assert ballot is not None
            return "BALLOT, the whole" if ballot.content else "BALLOT, a digest"
        case MessageKind.WHOLE_WANTED:
            wanted = decode(WholeWanted, signed.body)
            assert wanted is not None
            return "WHOLE_WANTED" if wanted.whole else "WHOLE_WANTED, a voice will do"
        case MessageKind.FIND_GROUP:
            find = decode(FindGroup, signed.body)
            return "FIND_GROUP" if find is not None and find.target == ELEMENT else ""
        case MessageKind.GROUP_IS:
            answer = decode(GroupIs, signed.body)
            return "GROUP_IS" if answer is not None and answer.target == ELEMENT else ""
        case _:
            return ""


def _vote(world: World, host: Host, to: bytes) -> None:
    fact = Submitted(
        reference=1,
        kind=MessageKind.MESSAGE,
        destination=NodeAddress(to),
        payload=b"so be it",
        id=b"",
        failed=False,
        timeout_ns=0,
        signed=False,
        authority=AUTHORITY,
        message_id=ID,
    )
    world.tell(host, fact)
    world.run(SECOND // 20)


def accumulation_picture() -> str:
    """Return how a message of a group comes together whose sender of the whole is late."""
    world = World(1, limits=Limits.recommended(), weather=_EVEN)
    first = world.add_node(first=True)
    for number in range(1, NODES):
        world.add_node([first.address], at=number * SECOND)
    whole = NODES - 1

    def formed() -> bool:
        return all(
            len(host.core.table) == whole and len(host.ends) == whole for host in world.hosts
        )

    if world.run_until(formed, limit_ns=120 * SECOND) is None:
        raise AssertionError("the nodes of the picture did not connect in two minutes")
    by_name = {host.core.name: host for host in world.hosts if host.core.name is not None}
    receiver, *voters = nearest(ELEMENT, by_name, NODES)
    content = encode(Content(ID, AUTHORITY, NodeAddress(receiver), b"so be it"))
    late = nearest(sha256(content).digest(), by_name, 1)[0]
    if late == receiver:
        raise AssertionError("the receiver itself would send the whole; take another ID")
    voters = [*(name for name in voters if name != late), late]
    recorder = _Recorder()
    letters = dict(zip([*voters, receiver], "ABCDR", strict=True))
    recorder.names = letters
    recorder.letters = {by_name[name].index: letter for name, letter in letters.items()}
    world.trace = world.network.trace = recorder
    for name in voters[:-1]:
        _vote(world, by_name[name], receiver)
    world.run(SECOND)
    _vote(world, by_name[late], receiver)
    head = ["```mermaid", "sequenceDiagram"]
    head += [f"    participant {letter} as {letter}, a member" for letter in "ABCD"]
    return "\n".join([*head, "    participant R as R, the receiver", *recorder.lines, "```"])
