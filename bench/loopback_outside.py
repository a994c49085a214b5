"""Contestants of `bench.loopback` that live in an interpreter of their own: `--peers PYTHON`.

Their demands would not go well with ours, so that interpreter needs bench/peers.txt and nothing of
this package: `python -m bench.loopback_outside NAME ROLE ...`, as said in `bench.counting`. Each is
written as its manual has it; what it lacks is told, and becomes a row of the table.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib import import_module
from itertools import cycle

# Any: the libraries are not required, and their types cannot be seen from here.
from typing import Any

from bench.counting import (
    ECHO,
    Contestant,
    Count,
    NotOffered,
    ask_all,
    batch_of,
    play,
    say_port,
    say_times,
)

__all__ = ["NAMES", "main"]

YIELD = 100
"""After so many sends that wait for nothing, others get a turn."""


def needed(name: str) -> Any:
    """Import a library, with all that it says while it is imported kept out of our output."""
    return import_module(name)


def run(what: Coroutine[Any, Any, None]) -> None:
    """Run it on uvloop, which is the faster loop for both libraries that are of asyncio."""
    needed("uvloop").run(what)


# -- websockets


class WebSockets(Contestant):
    """The asyncio implementation without compression, which is for the web and not for speed."""

    def __init__(self) -> None:
        needed("websockets")
        self.options = {"compression": None, "max_size": None, "ping_interval": None}

    def serve(self, connections: int, streamed: bool) -> None:
        """See `Contestant`."""
        run(self._serve(connections))

    async def _serve(self, connections: int) -> None:
        count, over = Count(), asyncio.Semaphore(0)

        async def take(wire: Any) -> None:
            async for payload in wire:
                if payload[:1] == ECHO:
                    await wire.send(payload)
                count.add(1)
            over.release()

        serve = needed("websockets.asyncio.server").serve
        async with serve(take, "127.0.0.1", 0, **self.options) as server:
            say_port(server.sockets[0].getsockname()[1])
            for _ in range(connections):
                await over.acquire()
        count.say()

    def _dial(self, port: str) -> Any:
        connect = needed("websockets.asyncio.client").connect
        return connect(f"ws://127.0.0.1:{port}", **self.options)

    async def _dial_all(self, stack: AsyncExitStack, port: str, connections: int) -> list[Any]:
        return [await stack.enter_async_context(self._dial(port)) for _ in range(connections)]

    def stream(self, port: str, size: int, seconds: float, connections: int) -> None:
        """See `Contestant`."""

        async def send() -> None:
            payload = bytes(size)
            async with AsyncExitStack() as stack:
                wires = await self._dial_all(stack, port, connections)
                until = time.perf_counter() + seconds
                for wire in cycle(wires):
                    if time.perf_counter() >= until:
                        break
                    for _ in range(batch_of(size)):
                        await wire.send(payload)

        run(send())

    def pingpong(self, port: str, size: int, rounds: int, connections: int) -> None:
        """See `Contestant`."""

        async def ask(wire: Any) -> None:
            await wire.send(payload)
            await wire.recv()

        async def all_of_them() -> None:
            async with AsyncExitStack() as stack:
                wires = await self._dial_all(stack, port, connections)
                await ask_all([partial(ask, wire) for wire in wires], rounds)

        payload = ECHO + bytes(size - 1)
        run(all_of_them())


# -- pyipv8


class Overlay:
    """A community of one kind of message, on a UDP socket of its own."""

    DATAGRAM = 65_507 - 23 - 2 - 74 - 64
    """What a datagram holds beside prefix, kind, key and signature."""

    END = b"\x02"

    def __init__(self, signed: bool) -> None:
        community = needed("ipv8.community")
        lazy = needed("ipv8.lazy_community")
        payloads = needed("ipv8.messaging.lazy_payload")
        self.signed = signed
        self.heard: Callable[[Any, bytes], None] = lambda sender, body: None

        class Said(payloads.VariablePayload):  # type: ignore[misc, name-defined]
            msg_id = 1
            format_list = ("raw",)
            names = ("body",)

        self.said: Any = Said
        wrapped = lazy.lazy_wrapper if signed else lazy.lazy_wrapper_unsigned
        outer = self

        class Spoken(community.Community):  # type: ignore[misc, name-defined]
            community_id = b"loopback" + bytes(12)

            @wrapped(Said)  # type: ignore[untyped-decorator]
            def on_said(self, sender: Any, payload: Any) -> None:
                outer.heard(getattr(sender, "address", sender), payload.body)

        self.kind = Spoken

    async def open(self) -> int:
        """Have a socket; return its port."""
        key = needed("ipv8.keyvault.crypto").default_eccrypto.generate_key("curve25519")
        endpoint = needed("ipv8.messaging.interfaces.udp.endpoint").UDPEndpoint(0, "127.0.0.1")
        await endpoint.open()
        self.community = self.kind(
            needed("ipv8.community").CommunitySettings(
                endpoint=endpoint,
                my_peer=needed("ipv8.peer").Peer(key),
                network=needed("ipv8.peerdiscovery.network").Network(),
            )
        )
        self.community.add_message_handler(self.said, self.community.on_said)
        return int(endpoint.get_address()[1])

    def send(self, to: Any, body: bytes) -> None:
        """Send one message; nobody waits and nobody knows whether it will arrive."""
        self.community._ez_senda(to, self.said(body), sig=self.signed)

    async def close(self) -> None:
        """Let go of the socket."""
        await self.community.unload()
        self.community.endpoint.close()


class PyIPv8(Contestant):
    """UDP: nothing holds the sender back, what is lost is lost; the receiver counts what came."""

    def __init__(self, signed: bool) -> None:
        needed("ipv8")
        self.signed = signed

    def serve(self, connections: int, streamed: bool) -> None:
        """See `Contestant`; there are no connections."""
        run(self._serve())

    async def _serve(self) -> None:
        count, over, overlay = Count(), asyncio.Event(), Overlay(self.signed)

        def heard(sender: Any, body: bytes) -> None:
            if body == Overlay.END:
                over.set()
                return
            if body[:1] == ECHO:
                overlay.send(sender, body)
            count.add(1)

        overlay.heard = heard
        say_port(await overlay.open())
        await over.wait()
        count.say()
        await overlay.close()

    def _fits(self, size: int) -> None:
        if size > Overlay.DATAGRAM:
            raise NotOffered(f"{size} bytes do not go into one datagram")

    def stream(self, port: str, size: int, seconds: float, connections: int) -> None:
        """See `Contestant`."""
        self._fits(size)

        async def send() -> None:
            overlays = [Overlay(self.signed) for _ in range(connections)]
            to, payload = ("127.0.0.1", int(port)), bytes(size)
            for overlay in overlays:
                await overlay.open()
            until = time.perf_counter() + seconds
            for overlay in cycle(overlays):
                if time.perf_counter() >= until:
                    break
                for _ in range(YIELD):
                    overlay.send(to, payload)
                await asyncio.sleep(0)
            # All send to one socket, which takes what comes in order: the last one's end ends it.
            await self._end(overlay, to)
            for other in overlays:
                if other is not overlay:
                    await other.close()

        run(send())

    async def _end(self, overlay: Overlay, to: tuple[str, int]) -> None:
        # The end may be lost as anything else; it is said so often that one comes through.
        for _ in range(20):
            await asyncio.sleep(0.02)
            overlay.send(to, Overlay.END)
        await overlay.close()

    def pingpong(self, port: str, size: int, rounds: int, connections: int) -> None:
        """See `Contestant`."""
        self._fits(size)

        async def asker() -> Callable[[], Awaitable[object]]:
            overlay, came = Overlay(self.signed), asyncio.Event()
            overlay.heard = lambda sender, body: came.set()
            await overlay.open()

            async def ask() -> None:
                came.clear()
                overlay.send(to, payload)
                await came.wait()

            return ask

        async def all_of_them() -> None:
            await ask_all([await asker() for _ in range(connections)], rounds)

        to, payload = ("127.0.0.1", int(port)), ECHO + bytes(size - 1)
        run(all_of_them())


# -- py-libp2p


class LibP2P(Contestant):
    """Noise and Yamux over TCP; `u32 length | body` on one stream, a write for each message.

    An empty one ends it. `together`: as many in a write as fill a batch, as a program in a hurry
    would have it.
    """

    PROTOCOL = "/loopback/1"

    def __init__(self, together: bool) -> None:
        self.trio = needed("trio")
        self.libp2p = needed("libp2p")
        self.address = needed("multiaddr").Multiaddr
        self.together = together

    def _host(self) -> Any:
        noise = needed("libp2p.security.noise.transport")
        pair = needed("libp2p.crypto.ed25519").create_new_key_pair()
        keys = needed("libp2p.crypto.x25519").create_new_key_pair()
        secure = {noise.PROTOCOL_ID: noise.Transport(pair, noise_privkey=keys.private_key)}
        return self.libp2p.new_host(key_pair=pair, sec_opt=secure, muxer_preference="YAMUX")

    def serve(self, connections: int, streamed: bool) -> None:
        """See `Contestant`."""
        self.trio.run(self._serve, connections)

    async def _serve(self, connections: int) -> None:
        count, over, host = Count(), self.trio.Semaphore(0), self._host()
        closed = needed("libp2p.network.stream.exceptions").StreamError

        async def take(stream: Any) -> None:
            rest = b""
            try:
                while data := await stream.read(1 << 20):
                    data, at, whole = rest + data, 0, 0
                    while len(data) - at >= 4:
                        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
                        if end > len(data):
                            break
                        if end == at + 4:
                            count.add(whole)
                            over.release()
                            return
                        if data[at + 4] == 1:
                            await stream.write(data[at:end])
                        at, whole = end, whole + 1
                    rest = data[at:]
                    if whole:
                        count.add(whole)
            except closed as error:
                print(repr(error), file=sys.stderr)
                over.release()

        host.set_stream_handler(self.PROTOCOL, take)
        async with host.run([self.address("/ip4/127.0.0.1/tcp/0")]):
            say_port(str(host.get_addrs()[0]))
            for _ in range(connections):
                await over.acquire()
            count.say()

    async def _dial(self, host: Any, address: str) -> Any:
        info = needed("libp2p.peer.peerinfo").info_from_p2p_addr(self.address(address))
        await host.connect(info)
        return await host.new_stream(info.peer_id, [self.PROTOCOL])

    async def _dial_all(self, stack: AsyncExitStack, port: str, connections: int) -> list[Any]:
        streams = []
        for _ in range(connections):
            # Two hosts are connected but once, so each connection is a host's.
            host = self._host()
            await stack.enter_async_context(host.run([]))
            streams.append(await self._dial(host, port))
        return streams

    def stream(self, port: str, size: int, seconds: float, connections: int) -> None:
        """See `Contestant`."""

        async def send() -> None:
            payload = struct.pack(">I", size) + bytes(size)
            payload *= batch_of(size) if self.together else 1
            async with AsyncExitStack() as stack:
                streams = await self._dial_all(stack, port, connections)
                until = time.perf_counter() + seconds
                for stream in cycle(streams):
                    if time.perf_counter() >= until:
                        break
                    await stream.write(payload)
                # What has been written may still be under way; the server hangs up when it has it.
                for stream in streams:
                    await stream.write(bytes(4))
                with suppress(needed("libp2p.network.stream.exceptions").StreamError):
                    await streams[0].read(1)

        self.trio.run(send)

    def pingpong(self, port: str, size: int, rounds: int, connections: int) -> None:
        """See `Contestant`."""

        payload = struct.pack(">I", size) + ECHO + bytes(size - 1)
        took: list[float] = []

        async def ask(stream: Any) -> None:
            for _ in range(rounds):
                began, held = time.perf_counter(), 0
                await stream.write(payload)
                while held < len(payload):
                    held += len(await stream.read(len(payload) - held))
                took.append(time.perf_counter() - began)

        async def all_of_them() -> None:
            async with AsyncExitStack() as stack:
                streams = await self._dial_all(stack, port, connections)
                began = time.perf_counter()
                async with self.trio.open_nursery() as nursery:
                    for stream in streams:
                        nursery.start_soon(ask, stream)
                say_times(took, time.perf_counter() - began)

        self.trio.run(all_of_them)


NAMES: dict[str, Callable[[], Contestant]] = {
    "websockets": WebSockets,
    "py-libp2p": lambda: LibP2P(together=False),
    "py-libp2p, batched": lambda: LibP2P(together=True),
    "pyipv8, unsigned": lambda: PyIPv8(signed=False),
    "pyipv8, signed": lambda: PyIPv8(signed=True),
}


def main(words: list[str]) -> int:
    """Be one end."""
    return play(NAMES, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
