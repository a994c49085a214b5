"""A node that lies: it has a valid key, a name and connections, and an honest core it misuses.

The core inside gets it into the network and keeps it there; as soon as it is connected everything
that core hears and says goes through the liar, who keeps back, forges, repeats and invents as its
`Lie`s say. It can do what a stranger with a key of his own can do, and no more: it signs with its
own key only, and it speaks over its own connections only. Nothing it does is asserted of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from random import Random

from msgspec.structs import replace

from routing.actions import Action, Send
from routing.bodies import (
    Acknowledged,
    ConnectRequest,
    FindGroup,
    GroupIs,
    NameVote,
    Unroutable,
    Vouched,
)
from routing.book import ContactBook
from routing.core import Core, CoreConfig
from routing.inputs import FrameReceived, Input
from routing.limits import GROUP_SIZE, NAME_BYTES, SECOND, Nanos
from routing.links import Link
from routing.messages import (
    Ack,
    Address,
    Admit,
    Certificate,
    ClientAddress,
    Confirmation,
    Contacts,
    Envelope,
    FrameKind,
    MessageKind,
    NameIs,
    Neighbours,
    NodeAddress,
    Ping,
    Reachable,
    Refuse,
    SecondaryFailed,
    Signed,
    SignedKind,
    Throttled,
    Unneeded,
    decode,
    encode,
    open_envelope,
    signed_text,
    vote_body,
)
from routing.names import client_name
from routing.state import LinkRole, State

__all__ = ["LIES", "Liar", "Lie"]


class Lie(StrEnum):
    """One habit of a liar; it may have several."""

    BAD_SIGNATURES = "bad-signatures"
    """Spoils the signature of every fourth thing it signs."""
    REPLAYS = "replays"
    """Says again, to anybody, what it has heard."""
    FLOODS = "floods"
    """Sends ConnectRequests, questions and messages by the hundred."""
    WRONG_ROLES = "wrong-roles"
    """Says what belongs to another role, another time or nowhere."""
    FALSE_GROUPS = "false-groups"
    """Lists dead and invented names as its neighbours and as everybody's group."""
    FALSE_VOUCHERS = "false-vouchers"
    """Votes for other names than the others, and vouches for nobody."""
    FALSE_ACKS = "false-acks"
    """Acknowledges what it was to pass on, and keeps it."""
    UNROUTABLE = "unroutable"
    """Says of everything it was to pass on that there is nobody to have it."""
    SWALLOWS = "swallows"
    """Passes nothing on, and answers every ping."""


LIES = tuple(Lie)

_HEARD_MAX = 256
"""Frames and names kept to be said again."""

_FLOOD_MAX = 100
"""Frames of one flood."""

_REPLAYS_MAX = 20
_PAUSE_NS_MAX = 5 * SECOND
"""Between two misdeeds."""

_KEPT = (Lie.SWALLOWS, Lie.UNROUTABLE, Lie.FALSE_ACKS)
"""What is done with other people's messages; one habit is drawn for each message."""


class Liar:
    """Speaks the contract of a core; see the module."""

    def __init__(self, core: Core, random: Random, lies: Sequence[Lie]) -> None:
        self.core = core
        self.lies = tuple(lies)
        self.told: dict[Lie, int] = dict.fromkeys(self.lies, 0)
        """How often it lied in each way."""
        self._random = random
        self._heard: deque[tuple[FrameKind, bytes]] = deque(maxlen=_HEARD_MAX)
        self._names: deque[bytes] = deque(maxlen=_HEARD_MAX)
        self._said: list[Send] = []
        self._next = 0

    # -- what a host and a world look at

    @property
    def key(self) -> bytes:
        """Its key, which is valid."""
        return self.core.key

    @property
    def name(self) -> bytes | None:
        """Its name, which the network gave it."""
        return self.core.name

    @property
    def config(self) -> CoreConfig:
        """Of the core inside."""
        return self.core.config

    @property
    def state(self) -> State:
        """Of the core inside."""
        return self.core.state

    @property
    def book(self) -> ContactBook:
        """Of the core inside."""
        return self.core.book

    @property
    def links(self) -> dict[int, Link]:
        """Its connections, which are real."""
        return self.core.links

    @property
    def counters(self) -> dict[str, int]:
        """Its lies; what the core inside counts is of no interest."""
        return {f"liar.{lie}": count for lie, count in self.told.items()}

    @property
    def active(self) -> bool:
        """It lies while it is connected; before that it would only keep itself out."""
        return len(self.core.table) > 0

    # -- the contract of a core

    def handle(self, fact: Input, now: Nanos) -> None:
        """Take in a fact, and keep some from the core inside."""
        if isinstance(fact, FrameReceived) and self.active and self._keeps(fact):
            return
        self.core.handle(fact, now)

    def on_deadline(self, now: Nanos) -> None:
        """Let the core inside do what is due, then do some harm."""
        self.core.on_deadline(now)
        if now >= self._next:
            self._next = now + self._random.randint(1, _PAUSE_NS_MAX)
            if self.active:
                self._misbehave()

    def take_actions(self) -> list[Action]:
        """Hand over what the core inside says, twisted, and what it never said."""
        said, self._said = self._said, []
        actions = [self._twist(action) for action in self.core.take_actions()]
        return [*actions, *(send for send in said if send.token in self.core.links)]

    def next_deadline(self) -> Nanos | None:
        """Return when the core inside wants to be woken, or the next misdeed is due."""
        due = self.core.next_deadline()
        return None if due is None else Nanos(min(due, self._next))

    # -- what it hears

    def _keeps(self, fact: FrameReceived) -> bool:
        """Tell whether the core inside must not hear of a frame, and lie about it."""
        self._heard.append((fact.kind, fact.body))
        if fact.kind is FrameKind.NEIGHBOURS:
            neighbours = decode(Neighbours, fact.body)
            if neighbours is not None:
                self._names.extend(neighbours.names)
        opened = open_envelope(fact.body) if fact.kind is FrameKind.ROUTED else None
        habits = [lie for lie in _KEPT if lie in self.lies]
        if opened is None or not habits or self._is_ours(opened[1].destination):
            return False
        signed, lie = opened[1], self._random.choice(habits)
        self.told[lie] += 1
        if lie is Lie.UNROUTABLE:
            self._answer(signed, MessageKind.UNROUTABLE, encode(Unroutable(signed.id)))
        elif lie is Lie.FALSE_ACKS:
            self._answer(signed, MessageKind.ACKNOWLEDGED, encode(Acknowledged(signed.id)))
        return True

    def _is_ours(self, destination: Address) -> bool:
        return isinstance(destination, NodeAddress) and destination.name == self.core.name

    def _answer(self, signed: Signed, kind: MessageKind, body: bytes) -> None:
        link = self._anybody()
        if link is not None:
            self._say_routed(link, kind, signed.source, body)

    # -- what it says

    def _twist(self, action: Action) -> Action:
        if not isinstance(action, Send) or not self.active:
            return action
        if action.kind is FrameKind.NEIGHBOURS and Lie.FALSE_GROUPS in self.lies:
            neighbours = decode(Neighbours, action.body)
            assert neighbours is not None, "the core inside speaks the protocol"
            self.told[Lie.FALSE_GROUPS] += 1
            lied = replace(neighbours, names=self._invented(neighbours.target), digest=bytes(8))
            return Send(action.token, action.kind, encode(lied), action.priority)
        if action.kind is FrameKind.NAME_IS:
            return Send(action.token, action.kind, self._false_answer(action.body), action.priority)
        if action.kind is FrameKind.ROUTED:
            opened = open_envelope(action.body)
            assert opened is not None, "the core inside speaks the protocol"
            envelope, signed = opened
            if signed.key == self.key:
                body = encode(self._forged(envelope, signed))
                return Send(action.token, action.kind, body, action.priority)
        return action

    def _false_answer(self, body: bytes) -> bytes:
        """Return what it says to a peer that asks whether a name is right, and who answers."""
        answer = decode(NameIs, body)
        assert answer is not None, "the core inside speaks the protocol"
        if Lie.FALSE_VOUCHERS in self.lies:
            self.told[Lie.FALSE_VOUCHERS] += 1
            answer = replace(answer, vouched=False)
        if Lie.FALSE_GROUPS in self.lies and answer.names:
            self.told[Lie.FALSE_GROUPS] += 1
            answer = replace(answer, names=self._invented(client_name(answer.key)))
        return encode(answer)

    def _forged(self, envelope: Envelope, signed: Signed) -> Envelope:
        """Return what it says in place of what the core inside has said."""
        body: bytes | None = None
        if signed.kind is MessageKind.GROUP_IS and Lie.FALSE_GROUPS in self.lies:
            group = decode(GroupIs, signed.body)
            assert group is not None, "the core inside speaks the protocol"
            self.told[Lie.FALSE_GROUPS] += 1
            body = encode(GroupIs(group.target, self._invented(group.target)))
        elif Lie.FALSE_VOUCHERS in self.lies:
            body = self._false_voice(signed)
        if body is not None:
            text = encode(replace(signed, body=body))
            envelope = Envelope(envelope.hops, envelope.route, text, self._sign(text))
        if Lie.BAD_SIGNATURES in self.lies and self._random.random() < 0.25:
            self.told[Lie.BAD_SIGNATURES] += 1
            signature = bytearray(envelope.signature)
            signature[self._random.randrange(len(signature))] ^= 1
            envelope = replace(envelope, signature=bytes(signature))
        return envelope

    def _false_voice(self, signed: Signed) -> bytes | None:
        core, random = self.core, self._random
        if signed.kind is MessageKind.VOUCHED:
            vouched = decode(Vouched, signed.body)
            assert vouched is not None, "the core inside speaks the protocol"
            self.told[Lie.FALSE_VOUCHERS] += 1
            return encode(replace(vouched, vouched=False))
        vote = decode(NameVote, signed.body) if signed.kind is MessageKind.NAME_VOTE else None
        if vote is None:
            return None
        self.told[Lie.FALSE_VOUCHERS] += 1
        n1, n2 = sorted((random.randbytes(NAME_BYTES), random.randbytes(NAME_BYTES)))
        joiner = signed.destination.key if isinstance(signed.destination, ClientAddress) else n1
        text = signed_text(SignedKind.VOTE, core.tag, vote_body(joiner, n1, n2, vote.size))
        return encode(replace(vote, n1=n1, n2=n2, signature=core.signer.sign(text)))

    def _sign(self, text: bytes) -> bytes:
        core = self.core
        return core.signer.sign(signed_text(SignedKind.ROUTED, core.tag, text))

    def _invented(self, target: bytes) -> list[bytes]:
        """Return names of nobody, all very near to the target, and some it once heard of."""
        random = self._random
        near = [target[:-8] + random.randbytes(8) for _ in range(GROUP_SIZE)]
        known = random.sample(list(self._names), min(len(self._names), GROUP_SIZE // 2))
        return [name for name in dict.fromkeys([*near, *known]) if name != target]

    # -- what it does of its own accord

    def _misbehave(self) -> None:
        deeds = {
            Lie.REPLAYS: self._replay,
            Lie.FLOODS: self._flood,
            Lie.WRONG_ROLES: self._break_rules,
        }
        habits = [lie for lie in self.lies if lie in deeds]
        if habits:
            lie = self._random.choice(habits)
            self.told[lie] += 1
            deeds[lie]()

    def _anybody(self) -> Link | None:
        links = self.core.links_of(LinkRole.CONSOLIDATED)
        return self._random.choice(links) if links else None

    def _replay(self) -> None:
        links = self.core.links_of(*LinkRole)
        for _ in range(min(self._random.randint(1, _REPLAYS_MAX), len(self._heard))):
            kind, body = self._random.choice(self._heard)
            self._say(self._random.choice(links), kind, body)

    def _flood(self) -> None:
        kind = self._random.randrange(3)
        for _ in range(self._random.randint(1, _FLOOD_MAX)):
            link = self._anybody()
            if link is None:
                return
            name = self._random.randbytes(NAME_BYTES)
            if kind == 0:
                self._ask_for_connection(link)
            elif kind == 1:
                own = NodeAddress(self.core.name or name)
                self._say_routed(
                    link, MessageKind.FIND_GROUP, NodeAddress(name), encode(FindGroup(name, own))
                )
            else:
                known = self._random.choice(self._names) if self._names else name
                payload = self._random.randbytes(self._random.randint(0, 2_000))
                self._say_routed(link, MessageKind.MESSAGE, NodeAddress(known), payload)

    def _ask_for_connection(self, link: Link) -> None:
        """Ask somebody to dial somebody else."""
        core, random = self.core, self._random
        target = random.choice(self._names) if self._names else link.name
        others = [link.connection.peer for link in core.links.values()]
        request = ConnectRequest(
            random.randbytes(16),
            target,
            core.incarnation,
            [random.choice(others) for _ in range(random.randint(0, 8))],
            NodeAddress(core.name or target),
            core.certificate or Certificate(target, target, []),
            random.random() < 0.5,
            random.random() < 0.5,
        )
        self._say_routed(link, MessageKind.CONNECT_REQUEST, NodeAddress(target), encode(request))

    def _break_rules(self) -> None:
        random = self._random
        attempt, name = random.randbytes(16), random.randbytes(NAME_BYTES)
        link = random.choice(self.core.links_of(*LinkRole))
        kind, body = random.choice(
            [
                (FrameKind.HELLO, random.randbytes(200)),
                (FrameKind.ACK, encode(Ack(attempt))),
                (FrameKind.CONFIRMATION, encode(Confirmation(attempt, False))),
                (FrameKind.SECONDARY_FAILED, encode(SecondaryFailed(attempt))),
                (FrameKind.ADMIT, encode(Admit(name, "127.0.0.1", 0, 0))),
                (FrameKind.REFUSE, encode(Refuse(random.randrange(9), name, []))),
                (FrameKind.PONG, encode(Ping(name[:8]))),
                (FrameKind.ROUTED, random.randbytes(300)),
                (FrameKind.GROUP_COPY, random.randbytes(300)),
                (FrameKind.NEIGHBOURS, encode(Neighbours(name, name[:8], [name]))),
                (FrameKind.CONTACTS, encode(Contacts(["127.0.0.1:1", link.connection.peer]))),
                (FrameKind.REACHABLE, encode(Reachable(False))),
                (FrameKind.UNNEEDED, encode(Unneeded(random.random() < 0.5))),
                (FrameKind.NAME_IS, encode(NameIs(name, name, True, True, [name]))),
                (FrameKind.THROTTLED, encode(Throttled(attempt, 1_000))),
                (FrameKind.DIRECT, random.randbytes(300)),
            ]
        )
        self._say(link, kind, body)

    def _say_routed(self, link: Link, kind: MessageKind, target: Address, body: bytes) -> None:
        envelope = self.core.relay.seal(kind, target, body)
        self._say(link, FrameKind.ROUTED, encode(self._forged_signature(envelope)))

    def _forged_signature(self, envelope: Envelope) -> Envelope:
        signed = decode(Signed, envelope.signed)
        assert signed is not None, "it was sealed just now"
        return self._forged(envelope, signed)

    def _say(self, link: Link, kind: FrameKind, body: bytes) -> None:
        """Say it, if the far end can take a frame of this size at all."""
        trusted = link.role is not LinkRole.UNKNOWN and link.role is not LinkRole.SECONDARY
        small = len(body) <= self.core.limits.frame_bytes_before_hello
        if small or (trusted and len(body) <= self.core.limits.frame_bytes_max):
            self._said.append(Send(link.token, kind, body, 0))
