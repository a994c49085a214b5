"""Room for as many open files as a local network needs; touches only the soft limit."""

from __future__ import annotations

import resource
from typing import Final

from routing.errors import StartError
from routing.limits import Limits

__all__ = ["descriptors_needed", "raise_descriptor_limit"]

TABLE_TYPICAL: Final = 20
"""Connections of a node in a network of some dozens: its close group and two per bucket."""

PER_CHILD: Final = 4
"""Pipes to a process, and what its start takes for a moment."""


def descriptors_needed(nodes: int, clients: int, *, processes: bool) -> int:
    """Return how many descriptors the busiest process needs at least."""
    reserved = Limits.local().descriptors_reserved
    connections = min(nodes - 1, TABLE_TYPICAL) + 2
    if processes:
        return reserved + max(PER_CHILD * (nodes + clients), connections)
    return reserved + nodes * connections + 2 * clients


def raise_descriptor_limit(nodes: int, clients: int, *, processes: bool) -> None:
    """Raise the soft limit to min(hard, 256 + 64 per node).

    Raises:
        StartError: that is still too low; one line with both numbers.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 256 + 64 * (nodes + clients)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    needed = descriptors_needed(nodes, clients, processes=processes)
    if soft != resource.RLIM_INFINITY and soft < needed:
        raise StartError(
            f"{nodes} nodes need {needed} descriptors and {soft} are allowed; "
            "raise the hard limit (ulimit -Hn) or start fewer"
        )
