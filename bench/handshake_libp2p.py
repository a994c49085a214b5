"""py-libp2p's connections in a second: `python handshake_libp2p.py COUNT IN_FLIGHT`.

Run by an interpreter that has it, as a program of its own: it needs nothing of this package. Noise
and Yamux over TCP; two processes. Prints {"per second": ...}, or ends with what is missing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import import_module

# Any: the library is not required, and has no types that could be seen from here.
from typing import Any

__all__: list[str] = []


def host() -> Any:
    """Return one with the defaults of the library."""
    pair = import_module("libp2p.crypto.ed25519").create_new_key_pair()
    return import_module("libp2p").new_host(key_pair=pair)


def address_of(text: str) -> Any:
    return import_module("multiaddr").Multiaddr(text)


async def accept() -> None:
    """Print the address, then wait for the end of stdin."""
    trio: Any = import_module("trio")
    made = host()
    async with made.run([address_of("/ip4/127.0.0.1/tcp/0")]):
        print(made.get_addrs()[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def dial(address: str, count: int, in_flight: int) -> None:
    """Connect so often, each time as somebody else, for one pair is connected but once."""
    trio: Any = import_module("trio")
    info = import_module("libp2p.peer.peerinfo").info_from_p2p_addr(address_of(address))
    places = trio.CapacityLimiter(in_flight)
    over = trio.Event()
    made = 0

    async def one() -> None:
        nonlocal made
        dialler = host()
        async with dialler.run([]):
            async with places:
                await dialler.connect(info)
            made += 1
            if made == count:
                over.set()
            await over.wait()

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
        await over.wait()
        print(json.dumps({"per second": count / (time.perf_counter() - began)}), flush=True)
        nursery.cancel_scope.cancel()


def main() -> None:
    trio: Any = import_module("trio")
    if sys.argv[1] == "accept":
        trio.run(accept)
        return
    with subprocess.Popen(
        [sys.executable, __file__, "accept"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as acceptor:
        assert acceptor.stdout is not None
        try:
            trio.run(dial, acceptor.stdout.readline().strip(), int(sys.argv[1]), int(sys.argv[2]))
        finally:
            acceptor.kill()


if __name__ == "__main__":
    main()
