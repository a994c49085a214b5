"""What every contestant of `bench.loopback` shares: how it counts, times and tells its parent.

Standard library only, for some contestants run in an interpreter that has nothing else of ours.

    NAME server CONNECTIONS ROLE           prints {"port": ...}, then {"count": ..., "seconds": ...}
    NAME stream PORT SIZE SECONDS CONNECTIONS
    NAME pingpong PORT SIZE ROUNDS CONNECTIONS
                                           prints {"p50_us": ..., "p99_us": ..., "per_second": ...}

The server of a stream ends by itself when all has come; that of round trips may be killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping

__all__ = [
    "ECHO",
    "LIST_BYTES",
    "Contestant",
    "Count",
    "NotOffered",
    "ask_all",
    "batch_of",
    "play",
    "say_port",
    "say_times",
]

LIST_BYTES = 262_144
"""What is handed over in one call, or written at once, by all who can."""

ECHO = b"\x01"
"""The first byte of a message that is to be sent back."""


class NotOffered(Exception):
    """This contestant cannot do what is asked, for a reason that belongs into the table."""


class Count:
    """What a server has heard, and from when to when."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = 0.0

    def add(self, count: int) -> None:
        """So many more messages are here."""
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.count += count

    def figures(self) -> dict[str, float]:
        """Return what the parent is told."""
        return {"count": self.count, "seconds": self.last - self.first}

    def say(self) -> None:
        """Print it for the parent."""
        print(json.dumps(self.figures()), flush=True)


def say_port(port: int | str) -> None:
    """Tell the parent where the server is, in a word that the client will understand."""
    print(json.dumps({"port": port}), flush=True)


def batch_of(size: int) -> int:
    return max(1, LIST_BYTES // (size + 5))


def say_times(took: list[float], seconds: float) -> None:
    """Tell the parent how long the round trips took, and all of them together."""
    took.sort()
    rounds = len(took)
    times = {
        "p50_us": took[rounds // 2] * 1e6,
        "p99_us": took[rounds * 99 // 100] * 1e6,
        "per_second": rounds / seconds,
    }
    print(json.dumps(times), flush=True)


async def ask_all(asks: list[Callable[[], Awaitable[object]]], rounds: int) -> None:
    """Time round trips over connections that are open, one under way on each of them."""
    took: list[float] = []

    async def turn(ask: Callable[[], Awaitable[object]]) -> None:
        for _ in range(rounds):
            began = time.perf_counter()
            await ask()
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*map(turn, asks))
    say_times(took, time.perf_counter() - began)


class Contestant(ABC):
    """Both ends of one way to move messages."""

    @abstractmethod
    def serve(self, connections: int, streamed: bool) -> None:
        """Count and echo until all have hung up; so many are expected, to stream or to ask."""

    @abstractmethod
    def stream(self, port: str, size: int, seconds: float, connections: int) -> None:
        """Send as many messages as go in the time, over each connection in turn."""

    @abstractmethod
    def pingpong(self, port: str, size: int, rounds: int, connections: int) -> None:
        """Send one and wait for it to come back, so often on each connection at once."""


def play(names: Mapping[str, Callable[[], Contestant]], words: list[str]) -> int:
    """Be one end; what a contestant lacks or does not offer is the last line of stderr."""
    name, role, *rest = words
    try:
        contestant = names[name]()
        if role == "server":
            contestant.serve(int(rest[0]), rest[1] == "stream")
        elif role == "stream":
            contestant.stream(rest[0], int(rest[1]), float(rest[2]), int(rest[3]))
        else:
            contestant.pingpong(rest[0], *map(int, rest[1:4]))
    except (NotOffered, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
