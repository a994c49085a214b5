"""A network that is there already: nodes placed in it, named and connected, without having joined.

Forming a network for real costs some thousand events for each node. `place` gives every node at
once what the rules of membership would have given it: a name with votes for it, its 8 nearest, and
so many of each bucket farther away. The cores are real and go on by themselves from there. It is
no shortcut for those who come later: they join through the protocol.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from routing._xor import XorIndex
from routing.attempts import Attempt
from routing.bodies import ConnectRequest
from routing.certificates import certified_name, founding_certificate
from routing.errors import UsageError
from routing.limits import GROUP_SIZE, NAME_BYTES
from routing.links import Link
from routing.messages import (
    Certificate,
    Envelope,
    NodeAddress,
    SignedKind,
    Vote,
    encode,
    signed_text,
    vote_body,
)
from routing.names import NAME_BITS
from routing.simulation.hosts import Host
from routing.simulation.world import World
from routing.state import LinkRole

__all__ = ["PLACED_MAX", "place"]

PLACED_MAX = 20_000
"""Nodes placed at once: more do not fit the memory of one machine."""

_DRAWS = 8
"""Draws in a bucket for one entry whose own bucket has a place, before any entry will do."""

_ENVELOPE = Envelope(0, 0, b"", bytes(64))
"""Nobody looks at the envelope of an attempt that has ended."""


def place(world: World, nodes: int, *, per_bucket: int | None = None) -> list[Host]:
    """Add so many nodes to a world, named and connected with one another; time is not moved.

    Args:
        world: A world without nodes.
        nodes: How many.
        per_bucket: Entries that each node asked for in every bucket farther than its close group;
            `Limits.bucket_low` if None. Others ask too, so that most hold more.

    Raises:
        UsageError: a number is out of its bounds, or the world has nodes.
    """
    per_bucket = world.limits.bucket_low if per_bucket is None else per_bucket
    if not 1 <= nodes <= PLACED_MAX:
        raise UsageError(f"nodes={nodes} must be 1 to {PLACED_MAX}")
    if not 1 <= per_bucket <= world.limits.bucket_size:
        raise UsageError(f"per_bucket={per_bucket} must be 1 to {world.limits.bucket_size}")
    if world.hosts:
        raise UsageError(f"a world of {len(world.hosts)} nodes; place in an empty one")
    hosts = [world.add_placed() for _ in range(nodes)]
    for host, certificate in zip(hosts, _certificates(hosts), strict=True):
        host.core.take_name(certificate)
        host.certificate = encode(certificate)
    plan = _Plan(world, hosts, per_bucket)
    for one, other in plan.pairs():
        _tie(world, hosts[one], hosts[other])
    for host in hosts:
        host.settle_in()
    return hosts


# -- names


def _certificates(hosts: list[Host]) -> list[Certificate]:
    """Return a certificate for each host, voted for by the group of those named before it."""
    index = XorIndex(len(hosts) + 1)
    certificates: list[Certificate] = []
    for number, host in enumerate(hosts):
        core = host.core
        group = index.closest_tokens(core.client_name, GROUP_SIZE)
        names = index.closest(core.client_name, 2)
        certificate = founding_certificate(core.key)
        if names:
            certificate = _voted(host, names[0], names[-1], [hosts[voter - 1] for voter in group])
        index.add(certified_name(core.key, certificate), number + 1)
        certificates.append(certificate)
    return certificates


def _voted(host: Host, n1: bytes, n2: bytes, group: list[Host]) -> Certificate:
    """Return a certificate with the votes of a group's majority, as a joiner takes it."""
    core, size = host.core, len(group)
    text = signed_text(SignedKind.VOTE, core.tag, vote_body(core.key, n1, n2, size))
    voters = [voter.core for voter in group[: size // 2 + 1]]
    return Certificate(n1, n2, [Vote(v.key, size, v.signer.sign(text)) for v in voters])


# -- who is connected with whom


@dataclass(slots=True)
class _Seat:
    """A node of the plan: its name as a number, who it holds, and how many of each bucket."""

    own: int
    held: set[int]
    buckets: dict[int, int]


class _Plan:
    """Who is connected with whom; nodes by their place in the order of names."""

    def __init__(self, world: World, hosts: list[Host], per_bucket: int) -> None:
        self.random = world.random
        self.per_bucket = per_bucket
        self.bucket_size = world.limits.bucket_size
        named = [(int.from_bytes(_name(host), "big"), host.index) for host in hosts]
        named.sort()
        self.numbers = [number for number, _ in named]
        self.indices = [index for _, index in named]
        self.seats = [_Seat(number, set(), {}) for number in self.numbers]
        self.edges: list[tuple[int, int]] = []

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield the indices of hosts to be connected, the one that dials first."""
        index = XorIndex(len(self.numbers) + 1)
        for place, number in enumerate(self.numbers):
            index.add(number.to_bytes(NAME_BYTES, "big"), place + 1)
        nearest = []
        for place, number in enumerate(self.numbers):
            name = number.to_bytes(NAME_BYTES, "big")
            nearest.append([at - 1 for at in index.closest_tokens(name, GROUP_SIZE + 1)][1:])
            for other in nearest[place]:
                self._connect(place, other)
        for place in self.random.sample(range(len(self.numbers)), len(self.numbers)):
            if len(nearest[place]) == GROUP_SIZE:
                self._fill(place, _bucket(self.numbers[place], self.numbers[nearest[place][-1]]))
        for one, other in self.edges:
            yield self.indices[one], self.indices[other]

    def _connect(self, one: int, other: int) -> None:
        if other in self.seats[one].held:
            return
        bucket = _bucket(self.numbers[one], self.numbers[other])
        for seat, far in ((self.seats[one], other), (self.seats[other], one)):
            seat.held.add(far)
            seat.buckets[bucket] = seat.buckets.get(bucket, 0) + 1
        self.edges.append((one, other))

    def _fill(self, place: int, buckets: int) -> None:
        """Give a node the entries it asks for in every bucket farther than its close group."""
        seat = self.seats[place]
        for bucket in range(buckets):
            low, high = self._members(seat.own, bucket)
            wanted = min(self.per_bucket, high - low)
            draws = 0
            while seat.buckets.get(bucket, 0) < wanted:
                other = self.random.randrange(low, high)
                draws += 1
                full = self.seats[other].buckets.get(bucket, 0) >= self.bucket_size
                if full and draws < _DRAWS * self.bucket_size:
                    continue
                self._connect(place, other)

    def _members(self, own: int, bucket: int) -> tuple[int, int]:
        """Return from where to where, in the order of names, the members of a bucket stand."""
        shift = NAME_BITS - 1 - bucket
        first = (own >> shift ^ 1) << shift
        return bisect_left(self.numbers, first), bisect_left(self.numbers, first + (1 << shift))


def _bucket(one: int, other: int) -> int:
    return NAME_BITS - (one ^ other).bit_length()


# -- the connections themselves


def _tie(world: World, dialler: Host, acceptor: Host) -> None:
    """Connect two hosts, and have both cores hold the connection consolidated."""
    wire = world.links.tie(dialler, acceptor)
    attempt_id = dialler.core.dice.bytes(16)
    # The responder of an attempt dials the connection that stays.
    request = _request(attempt_id, acceptor, dialler)
    for near, far, end in ((dialler, acceptor, wire.dialler), (acceptor, dialler, wire.acceptor)):
        assert end.connection is not None, "both ends of a tied connection have a token"
        link = Link(
            end.connection,
            far.key,
            wire.binding,
            LinkRole.PRIMARY,
            near.core.now,
            endpoint=far.address,
        )
        attempt = Attempt(
            id=attempt_id,
            requester=near is acceptor,
            name=_name(far),
            key=far.key,
            request=request,
            envelope=_ENVELOPE,
            request_hash=bytes(32),
            certificate=_certificate(far),
            endpoints=[far.address],
            incarnation=far.core.incarnation,
            primary=link.token,
        )
        near.core.links[link.token] = link
        near.core.peers.up(link, attempt)


def _request(attempt_id: bytes, requester: Host, responder: Host) -> ConnectRequest:
    return ConnectRequest(
        attempt_id,
        _name(responder),
        requester.core.incarnation,
        [requester.address],
        NodeAddress(_name(requester)),
        _certificate(requester),
        urgent=True,
        relaxed=False,
    )


def _name(host: Host) -> bytes:
    assert host.core.name is not None, "every placed node has a name"
    return host.core.name


def _certificate(host: Host) -> Certificate:
    assert host.core.certificate is not None, "every placed node has a certificate"
    return host.core.certificate
