"""Signed routed messages over one hop, beside what Ed25519 allows: contestants of `bench.loopback`.

The destination is a neighbour, and `signed=True` has each message signed by its source, routed, and
verified by who consumes it. The source tells beside its stream how often its core signs and
verifies in a second, so that all three figures are of the same seconds; the far end verifies on
another core of the same kind. An acknowledgement is itself signed, one for many messages; a message
that is sent at most once has none. In lists, many messages share one signature, and their rate is
beyond what the primitives allow for messages that go alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable

import routing
from bench.counting import Contestant, Count, batch_of, play
from bench.loopback_peers import Ours
from routing.identity import Identity, verify
from routing.sending import Delivery

__all__ = ["NAMES", "main"]

SIGNED_BYTES = 200
"""About what is signed of a message with 64 bytes of payload."""

TOGETHER = 32
"""So many are sent before the loop has a turn."""

RATE_S = 0.1
"""So long each primitive is measured, before the stream and after it."""


def rate(run: Callable[[], object]) -> float:
    """Return how often it runs in a second of CPU."""
    times, began = 0, time.process_time()
    while (took := time.process_time() - began) < RATE_S:
        for _ in range(50):
            run()
        times += 50
    return times / took


def primitives() -> dict[str, float]:
    """Return what this core signs and verifies in a second, by the functions that a node uses."""
    identity, text = Identity.generate(), bytes(SIGNED_BYTES)
    signature = identity.sign(text)
    return {
        "sign_per_s": rate(lambda: identity.sign(text)),
        "verify_per_s": rate(lambda: verify(identity.key, text, signature)),
    }


class Spent(Count):
    """Counts the CPU time from first to last, too: others on the machine do not count in that."""

    def __init__(self) -> None:
        super().__init__()
        self.began: float | None = None

    def add(self, count: int) -> None:
        """See `Count`."""
        super().add(count)
        self.spent = time.process_time()
        if self.began is None:
            self.began = self.spent

    def figures(self) -> dict[str, float]:
        """See `Count`."""
        took = 0.0 if self.began is None else self.spent - self.began
        return {**super().figures(), "receiver_cpu_us": took / max(1, self.count) * 1e6}


class Signed(Ours):
    """Two nodes; each message is signed by itself."""

    counts = Spent

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery

    async def say(self, node: routing.Node, to: routing.NodeAddress, payload: bytes) -> int:
        """Send some messages and return how many."""
        sent = 0
        for _ in range(TOGETHER):
            try:
                await node.send(to, payload, signed=True, delivery=self.delivery)
                sent += 1
            except routing.TooBusy:
                # As many as may be are yet to be acknowledged.
                await asyncio.sleep(0.001)
        return sent

    def stream(self, port: str, size: int, seconds: float, connections: int) -> None:
        """See `Contestant`."""

        before = primitives()
        cpu_us = 0.0

        async def send(pair: tuple[routing.Node, routing.NodeAddress]) -> None:
            nonlocal cpu_us
            node, to = pair
            payload, sent, began = bytes(size), 0, time.process_time()
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                sent += await self.say(node, to, payload)
                await asyncio.sleep(0)
            cpu_us = (time.process_time() - began) / max(1, sent) * 1e6

        routing.run(self._as_client(port, send))
        after = primitives()
        found = {name: (before[name] + after[name]) / 2 for name in before}
        print(json.dumps({**found, "sender_cpu_us": cpu_us}), flush=True)


class Lists(Signed):
    """Two nodes; a list of messages has one signature."""

    async def say(self, node: routing.Node, to: routing.NodeAddress, payload: bytes) -> int:
        """See `Signed`."""
        many = [payload] * batch_of(len(payload))
        await node.send_many(to, many, signed=True, delivery=self.delivery)
        return len(many)


NAMES: dict[str, Callable[[], Contestant]] = {
    "routing, acknowledged": lambda: Signed("exactly_once"),
    "routing, at most once": lambda: Signed("at_most_once"),
    "routing, in lists": lambda: Lists("exactly_once"),
    "lists, at most once": lambda: Lists("at_most_once"),
}


def main(words: list[str]) -> int:
    """Be one end."""
    return play(NAMES, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
