"""What must be true of one node after every step, and of all nodes once the faults have stopped.

It only looks; it looks at the cores' own tables and at the simulated connections beside each other,
because what both ends believe is worth nothing unless it is the same connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from routing.limits import GROUP_SIZE, SECOND
from routing.names import NAME_BITS, short
from routing.simulation.hosts import Host
from routing.state import Detail, LinkRole
from routing.wholeness import why_not_filled as why_names_not_filled

if TYPE_CHECKING:
    from routing.simulation.world import World

__all__ = [
    "check_host",
    "check_identities",
    "why_host_not_at_rest",
    "why_not_at_rest",
    "why_not_filled",
    "why_not_one_network",
    "why_not_whole",
    "why_stranded",
]

_BUCKET_LOW = 2
_ROUND_EVERY_NS = 61 * SECOND
"""A node that is Disconnected starts a round within 60 s; one more for the way."""

_PAIRS = {
    LinkRole.CONSOLIDATED: LinkRole.CONSOLIDATED,
    LinkRole.BOOTSTRAP: LinkRole.RELAY,
    LinkRole.FEELER: LinkRole.FELT,
}
"""What a connection at rest is to its two ends; a client's bootstrap is a CLIENT at the proxy."""


def check_host(host: Host) -> None:
    """Assert what must hold at one node after each of its steps.

    Raises:
        Violation: host and core disagree about which connections are open.
        AssertionError: the core's own invariants.
    """
    core = host.core
    if host.alive and host.ends.keys() != core.links.keys():
        ours, theirs = sorted(host.ends), sorted(core.links)
        raise host.violation(f"open at the host {ours}, owned by the core {theirs}")
    core.check()


def check_identities(world: World) -> None:
    """Assert that whoever is routed to over a connection is who is at its far end.

    Raises:
        Violation: a consolidated connection leads to another key than the table says.
    """
    for host in world.alive:
        for token, link in host.core.links.items():
            far = host.ends[link.token].far.host
            if link.role is LinkRole.CONSOLIDATED and link.key != far.key:
                text = f"token {token:#x} is bound to {short(link.name)}, node {far.index} is there"
                raise world.violation(text, (host,))


def why_not_whole(world: World, among: Sequence[Host] | None = None) -> str | None:
    """Return None if the network is whole, else the first thing that is missing.

    Whole: of n live nodes each holds its min(8, n - 1) nearest live ones consolidated, at both ends
    on the same connection; no table holds a dead name; every bucket farther than the 8th nearest
    in which anybody lives holds at least 2 of them, or all there are; from 9 nodes on all are
    GROUP_CONNECTED. A liar has its place in a table and in a close group, and need not be held.

    Args:
        world: The world to look at.
        among: The nodes that ought to be a network of their own; all that are alive if None.
    """
    hosts = world.alive if among is None else [host for host in among if host.alive]
    by_number: dict[int, Host] = {}
    for host in [*hosts, *world.liars]:
        name = host.core.name
        if name is None:
            if not host.honest:
                continue
            return f"node {host.index} has no name"
        number = int.from_bytes(name, "big")
        if number in by_number:
            return f"nodes {by_number[number].index} and {host.index} have one name"
        by_number[number] = host
    numbers = sorted(by_number)
    for own in numbers:
        if not by_number[own].honest:
            continue
        reason = _why_not_settled(by_number[own], own, numbers, by_number)
        if reason is not None:
            return reason
    return None


def _why_not_settled(
    host: Host, own: int, numbers: list[int], by_number: dict[int, Host]
) -> str | None:
    held: set[int] = set()
    for link in host.core.links.values():
        if link.role is LinkRole.CONSOLIDATED:
            number = int.from_bytes(link.name, "big")
            peer = by_number.get(number)
            if peer is None:
                return f"node {host.index} holds {short(link.name)}, which is dead or elsewhere"
            reason = _why_not_agreed(host, peer, link.token) if peer.honest else None
            if reason is not None:
                return reason
            held.add(number)
    if held != {int.from_bytes(name, "big") for name in host.core.table.names()}:
        return f"table and connections of node {host.index} differ"
    others = sorted((other for other in numbers if other != own), key=lambda other: other ^ own)
    for rank, near in enumerate(others[:GROUP_SIZE]):
        if near not in held and by_number[near].honest:
            return f"node {host.index} lacks node {by_number[near].index}, its nearest but {rank}"
    required = [other for other in others if by_number[other].honest]
    if len(required) >= GROUP_SIZE and host.core.state.detail is not Detail.GROUP_CONNECTED:
        return f"node {host.index} is {host.core.state}"
    return _why_bucket_empty(host, own, others, held, required)


def _why_not_agreed(host: Host, peer: Host, token: int) -> str | None:
    end = host.ends[host.core.links[token].connection.token]
    far = end.far
    if end.out.dead or far.out.dead:
        return f"node {host.index} holds node {peer.index} on a connection that is half-open"
    if far.host is not peer or not far.open:
        return f"node {host.index} holds node {peer.index} on a connection that leads elsewhere"
    link = peer.core.links.get(far.token)
    if link is None or link.role is not LinkRole.CONSOLIDATED or link.name != host.core.name:
        return f"node {peer.index} does not hold node {host.index} on the same connection"
    return None


def _why_bucket_empty(
    host: Host, own: int, others: list[int], held: set[int], required: list[int]
) -> str | None:
    members: dict[int, int] = {}
    entries: dict[int, int] = {}
    for other in others:
        bucket = NAME_BITS - (other ^ own).bit_length()
        entries[bucket] = entries.get(bucket, 0) + (other in held)
    for other in required:
        bucket = NAME_BITS - (other ^ own).bit_length()
        members[bucket] = members.get(bucket, 0) + 1
    if len(others) <= GROUP_SIZE:
        return None
    nearest = NAME_BITS - (others[GROUP_SIZE - 1] ^ own).bit_length()
    for bucket in range(nearest):
        wanted = min(_BUCKET_LOW, members.get(bucket, 0))
        if entries.get(bucket, 0) < wanted:
            return f"node {host.index} holds {entries.get(bucket, 0)} of bucket {bucket}"
    return None


def why_not_filled(world: World) -> str | None:
    """Return None if nobody lacks a connection that both ends have room for, else who does.

    For every node and every bucket that holds fewer than 8, these are all that belong there, or all
    others hold 8 in theirs and refuse. It takes its time: nobody waits for a full bucket.
    """
    held = {host.core.name: set(host.core.table.names()) for host in world.alive}
    return why_names_not_filled({own: names for own, names in held.items() if own is not None})


def why_not_one_network(world: World) -> str | None:
    """Return None if the consolidated connections join all live nodes, else who stands apart."""
    hosts = world.alive
    if not hosts:
        return None
    reached = {hosts[0].index}
    front = [hosts[0]]
    while front:
        host = front.pop()
        for token, end in host.ends.items():
            far = end.far.host.index
            if not world.hosts[far].honest:
                continue
            if host.core.links[token].role is LinkRole.CONSOLIDATED and far not in reached:
                reached.add(far)
                front.append(world.hosts[far])
    apart = [host.index for host in hosts if host.index not in reached]
    return f"nodes {apart} are not joined to node {hosts[0].index}" if apart else None


def why_not_at_rest(world: World) -> str | None:
    """Return None if nothing is pending anywhere at this instant, else the first thing that is."""
    if world.links.in_flight:
        return f"{world.links.in_flight} frames on their way"
    reasons = (why_host_not_at_rest(world, host) for host in world.hosts if host.alive)
    return next(filter(None, reasons), None)


def why_host_not_at_rest(world: World, host: Host) -> str | None:
    """Return None if nothing of this node is pending, else what is.

    At rest it has no dial, attempt or unknown connection, and every connection it holds is held at
    the far end too and is the same to both. A large network is never at rest as a whole: somebody
    always feels for more.
    """
    attempts = host.core.attempts
    if host.dials:
        return f"node {host.index} has {len(host.dials)} dials in flight"
    if attempts.live() or attempts.unknown.deadlines(now=host.core.now):
        return f"node {host.index} has attempts or unknown connections"
    return _why_one_sided(world, host)


def _why_one_sided(world: World, host: Host) -> str | None:
    for token, end in host.ends.items():
        link = host.core.links[token]
        if not end.far.open:
            return f"node {host.index} holds {link.role.name} {token:#x}, the far end is closed"
        if end is not end.wire.dialler and link.role is not LinkRole.CONSOLIDATED:
            continue
        far = world.hosts[end.far.host.index].core.links[end.far.token].role
        expected = _PAIRS.get(link.role)
        if host.client and link.role is LinkRole.BOOTSTRAP:
            expected = LinkRole.CLIENT
        if far is not expected:
            return f"node {host.index} holds {link.role.name}, node {end.far.host.index} {far.name}"
    return None


def why_stranded(world: World) -> str | None:
    """Return None, or which node has been Disconnected for more than a minute without a round."""
    for host in world.hosts:
        awake = host.alive and host.honest and not host.asleep
        if not awake or host.core.state.detail is not Detail.DISCONNECTED:
            continue
        if host.core.bootstrapping.running or world.now - host.idle_since <= _ROUND_EVERY_NS:
            continue
        return f"node {host.index} has looked for no network since {host.idle_since / SECOND:.1f} s"
    return None
