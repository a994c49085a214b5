"""One end of one contestant of `bench.loopback`: `python -m bench.loopback_peers NAME ROLE ...`.

The roles are those of `bench.counting`. Each contestant is written as its own manual would have it
for speed; what a library must do for its users (encrypt, frame, queue) it does.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import cycle
from pathlib import Path

# Any: the peers are not required, and have no types.
from typing import Any

import uvloop

import routing
from bench.counting import (
    ECHO,
    Contestant,
    Count,
    ask_all,
    batch_of,
    play,
    say_port,
    say_times,
)

__all__ = ["NAMES", "main"]

# -- ours


class Ours(Contestant):
    """Two nodes: `send_many` to a handler that takes lists; `request` for the round trip.

    Many connections to stream over are as many pairs of nodes, each a network of its own: nodes of
    one network would connect with each other, too. Many to ask over are clients of one node.
    """

    together = True
    busy_poll_us: int | None = None
    counts: type[Count] = Count

    def serve(self, connections: int, streamed: bool) -> None:
        """See `Contestant`."""
        asked_by_many = connections > 1 and not streamed
        routing.run(self._serve_clients(connections) if asked_by_many else self._serve(connections))

    async def _serve(self, connections: int) -> None:
        config = routing.Config(
            listen=["127.0.0.1:0"],
            first=True,
            limits=routing.Limits.local(),
            busy_poll_us=self.busy_poll_us,
        )
        count = self.counts()
        readings, heard = [], []
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(routing.Node(config)) for _ in range(connections)
            ]
            for node in nodes:
                readings.append(self._take(node, count))
                node.on_request(lambda request: request.payload)
                heard.append(node.events())
            say_port(",".join(str(port_of(node)) for node in nodes))
            for events in heard:
                async for event in events:
                    if isinstance(event, routing.PeerDown):
                        break
        for reading in readings:
            if reading is not None:
                await reading
        count.say()

    async def _serve_clients(self, connections: int) -> None:
        """Serve until killed; a node that has no peer takes no clients, so it has one."""
        limits = wide(connections)
        config = routing.Config(
            listen=["127.0.0.1:0"], first=True, limits=limits, busy_poll_us=self.busy_poll_us
        )
        async with routing.Node(config) as node:
            second = routing.Config(listen=["127.0.0.1:0"], contacts=node.endpoints, limits=limits)
            async with routing.Node(second) as other:
                for each in (node, other):
                    await each.joined()
                    each.on_request(lambda request: request.payload)
                say_port(port_of(node))
                await asyncio.Event().wait()

    def _take(self, node: routing.Node, count: Count) -> asyncio.Task[None] | None:
        """Have messages counted; return the task that does, if there is one."""
        node.on_messages(lambda messages: count.add(len(messages)))
        return None

    def stream(self, port: str, size: int, seconds: float, connections: int) -> None:
        """See `Contestant`."""

        async def send(*pairs: tuple[routing.Node, routing.NodeAddress]) -> None:
            payload, until = bytes(size), time.perf_counter() + seconds
            many = [payload] * batch_of(size)
            for node, to in cycle(pairs):
                if time.perf_counter() >= until:
                    break
                if self.together:
                    await node.send_many(to, many)
                else:
                    for _ in range(100):
                        await node.send(to, payload)

        routing.run(self._as_client(port, send))

    def pingpong(self, port: str, size: int, rounds: int, connections: int) -> None:
        """See `Contestant`."""

        async def ask(pair: tuple[routing.Node, routing.NodeAddress]) -> None:
            (node, to), payload = pair, bytes(size)
            await ask_all([lambda: node.request(to, payload)], rounds)

        if connections == 1:
            routing.run(self._as_client(port, ask))
        else:
            routing.run(self._as_clients(port, bytes(size), rounds, connections))

    async def _as_clients(self, port: str, payload: bytes, rounds: int, connections: int) -> None:
        """Ask from so many clients: nodes would connect with each other, too."""
        config = routing.Config(
            contacts=[f"127.0.0.1:{port}"],
            limits=wide(connections),
            busy_poll_us=self.busy_poll_us,
        )
        async with AsyncExitStack() as stack:
            asks = list[Callable[[], Awaitable[object]]]()
            for _ in range(connections):
                client = await stack.enter_async_context(routing.Client(config))
                await client.joined()
                assert client.proxy is not None
                to = routing.NodeAddress(client.proxy)
                asks.append(partial(client.request, to, payload))
            await ask_all(asks, rounds)

    async def _as_client(self, ports: str, act: Any) -> None:
        """Be a node beside each of theirs, and act with all of them and whom they reach."""
        pairs = []
        async with AsyncExitStack() as stack:
            for port in ports.split(","):
                config = routing.Config(
                    listen=["127.0.0.1:0"],
                    contacts=[f"127.0.0.1:{port}"],
                    limits=routing.Limits.local(),
                    busy_poll_us=self.busy_poll_us,
                )
                node = await stack.enter_async_context(routing.Node(config))
                await node.joined()
                (peer,) = node.peers()
                pairs.append((node, routing.NodeAddress(peer.name)))
            await act(*pairs)
            # Stopping drains: what is queued goes out first.


def port_of(node: routing.Node) -> int:
    return int(node.endpoints[0].rpartition(":")[2])


def wide(connections: int) -> routing.Limits:
    """Return limits under which one address may have so many clients, and each may say much."""
    return replace(
        routing.Limits.local(),
        clients_per_address=connections,
        client_messages_per_s=1_000_000,
    )


class OursOneByOne(Ours):
    """The same with `send` for each message, and each read by itself."""

    together = False

    def _take(self, node: routing.Node, count: Count) -> asyncio.Task[None] | None:
        async def read(messages: routing.Messages) -> None:
            async for _ in messages:
                count.add(1)

        return asyncio.create_task(read(node.messages()))


class OursSleeping(Ours):
    """The same, and both ends sleep as soon as there is nothing to do."""

    busy_poll_us = 0


# -- uvloop, framing in Python


class Framed(asyncio.Protocol):
    """`u32 length | body` on a stream; what asks for it is sent back, unless we asked."""

    def __init__(self, count: Count, over: asyncio.Semaphore, echoes: bool) -> None:
        self.count, self.over, self.echoes = count, over, echoes
        self.rest = b""
        self.transport: asyncio.Transport | None = None
        self.heard = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio`."""
        assert isinstance(transport, asyncio.Transport) or True
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """See `asyncio`."""
        data, at, count = self.rest + data, 0, 0
        while len(data) - at >= 4:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > len(data):
                break
            if self.echoes and data[at + 4] == 1:
                assert self.transport is not None
                self.transport.write(data[at:end])
            at, count = end, count + 1
        self.rest = data[at:]
        if count:
            self.count.add(count)
            self.heard.set()

    def pause_writing(self) -> None:
        """See `asyncio`."""
        self.room.clear()

    def resume_writing(self) -> None:
        """See `asyncio`."""
        self.room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio`."""
        self.over.release()


class Streamed(Contestant):
    """uvloop's transports, in the clear or with TLS 1.3."""

    def __init__(self, tls: bool) -> None:
        self.tls = tls

    def serve(self, connections: int, streamed: bool) -> None:
        """See `Contestant`."""
        uvloop.run(self._serve(connections))

    async def _serve(self, connections: int) -> None:
        count, over = Count(), asyncio.Semaphore(0)
        loop = asyncio.get_running_loop()
        context = certified() if self.tls else None
        server = await loop.create_server(
            lambda: Framed(count, over, True), "127.0.0.1", 0, ssl=context
        )
        say_port(server.sockets[0].getsockname()[1])
        for _ in range(connections):
            await over.acquire()
        count.say()

    async def _dial(self, port: str) -> Framed:
        context = None
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        loop = asyncio.get_running_loop()
        made = Framed(Count(), asyncio.Semaphore(0), False)
        await loop.create_connection(lambda: made, "127.0.0.1", int(port), ssl=context)
        return made

    def stream(self, port: str, size: int, seconds: float, connections: int) -> None:
        """See `Contestant`."""

        async def run() -> None:
            wires = [await self._dial(port) for _ in range(connections)]
            many = (struct.pack(">I", size) + bytes(size)) * batch_of(size)
            until = time.perf_counter() + seconds
            for wire in cycle(wires):
                if time.perf_counter() >= until:
                    break
                assert wire.transport is not None
                wire.transport.write(many)
                await wire.room.wait()
                await asyncio.sleep(0)
            for wire in wires:
                assert wire.transport is not None
                wire.transport.close()
                await wire.over.acquire()

        uvloop.run(run())

    def pingpong(self, port: str, size: int, rounds: int, connections: int) -> None:
        """See `Contestant`."""

        async def run() -> None:
            wires = [await self._dial(port) for _ in range(connections)]
            asked = struct.pack(">I", size) + ECHO + bytes(size - 1)
            await ask_all([self._asker(wire, asked) for wire in wires], rounds)
            for wire in wires:
                assert wire.transport is not None
                wire.transport.close()

        uvloop.run(run())

    @staticmethod
    def _asker(wire: Framed, asked: bytes) -> Callable[[], Awaitable[object]]:
        """Return how to ask once over this connection."""
        transport, heard = wire.transport, wire.heard
        assert transport is not None

        async def ask() -> None:
            heard.clear()
            transport.write(asked)
            await heard.wait()

        return ask


def certified() -> ssl.SSLContext:
    """Return a server's context with a certificate of its own making."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(path)
    return context


# -- ZeroMQ


class ZeroMQ(Contestant):
    """pyzmq's blocking sockets, which are its fastest; PAIR, so that one socket does both.

    Of many peers one thread hears streams by a PULL and questions by a ROUTER; they come from as
    many PUSHes in turn, or as many DEALERs and a poller.
    """

    END = b"\x02"
    COPIED_BYTES = 65_536
    """Messages below this are handed over by a copy, which takes less time for them."""

    def __init__(self, curve: bool) -> None:
        self.zmq: Any = import_module("zmq")
        self.context: Any = self.zmq.Context()
        self.curve = curve

    def _socket(self, kind: int) -> Any:
        made = self.context.socket(kind)
        made.sndhwm = made.rcvhwm = 10_000
        return made

    def serve(self, connections: int, streamed: bool) -> None:
        """See `Contestant`."""
        many = self.zmq.PULL if streamed else self.zmq.ROUTER
        wire = self._socket(self.zmq.PAIR if connections == 1 else many)
        if self.curve:
            wire.curve_secretkey, wire.curve_publickey = SERVER_SECRET, SERVER_PUBLIC
            wire.curve_server = True
        say_port(wire.bind_to_random_port("tcp://127.0.0.1"))
        while connections > 1 and not streamed:
            wire.send_multipart(wire.recv_multipart())
        count, over = Count(), 0
        while over < connections:
            payload = wire.recv()
            if payload == self.END:
                over += 1
                continue
            if payload[:1] == ECHO:
                wire.send(payload)
            count.add(1)
        count.say()
        wire.close(0)

    def _dial(self, port: str, kind: int) -> Any:
        wire = self._socket(kind)
        if self.curve:
            wire.curve_publickey, wire.curve_secretkey = self.zmq.curve_keypair()
            wire.curve_serverkey = SERVER_PUBLIC
        wire.connect(f"tcp://127.0.0.1:{port}")
        return wire

    def stream(self, port: str, size: int, seconds: float, connections: int) -> None:
        """See `Contestant`."""
        kind, payload = self.zmq.PAIR if connections == 1 else self.zmq.PUSH, bytes(size)
        wires = [self._dial(port, kind) for _ in range(connections)]
        until = time.perf_counter() + seconds
        for wire in cycle(wires):
            if time.perf_counter() >= until:
                break
            for _ in range(100):
                wire.send(payload, copy=size < self.COPIED_BYTES)
        for wire in wires:
            wire.send(self.END)
            wire.close(10_000)

    def pingpong(self, port: str, size: int, rounds: int, connections: int) -> None:
        """See `Contestant`."""
        payload = ECHO + bytes(size - 1)
        if connections > 1:
            self._ask_many(port, payload, rounds, connections)
            return
        wire, took = self._dial(port, self.zmq.PAIR), []
        start = time.perf_counter()
        for _ in range(rounds):
            began = time.perf_counter()
            wire.send(payload)
            wire.recv()
            took.append(time.perf_counter() - began)
        say_times(took, time.perf_counter() - start)
        wire.close(0)

    def _ask_many(self, port: str, payload: bytes, rounds: int, connections: int) -> None:
        wires = [self._dial(port, self.zmq.DEALER) for _ in range(connections)]
        poller, began, took = self.zmq.Poller(), dict[Any, float](), list[float]()
        for wire in wires:
            # The first round is not timed: it waits for the connection to be made.
            wire.send(payload)
            wire.recv()
            poller.register(wire, self.zmq.POLLIN)
        left = dict.fromkeys(wires, rounds)
        start = time.perf_counter()
        for wire in wires:
            began[wire] = time.perf_counter()
            wire.send(payload)
        while len(took) < rounds * connections:
            for wire, _ in poller.poll():
                wire.recv()
                took.append(time.perf_counter() - began[wire])
                left[wire] -= 1
                if left[wire]:
                    began[wire] = time.perf_counter()
                    wire.send(payload)
        say_times(took, time.perf_counter() - start)
        for wire in wires:
            wire.close(0)


SERVER_PUBLIC = b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
SERVER_SECRET = b"JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
"""The example keys of ZeroMQ's own documentation of CURVE; nothing is secret here."""

NAMES: dict[str, Callable[[], Contestant]] = {
    "routing": Ours,
    "routing, one by one": OursOneByOne,
    "routing, sleeping": OursSleeping,
    "uvloop, plaintext": lambda: Streamed(tls=False),
    "uvloop, TLS 1.3": lambda: Streamed(tls=True),
    "pyzmq, plaintext": lambda: ZeroMQ(curve=False),
    "pyzmq, CURVE": lambda: ZeroMQ(curve=True),
}


def main(words: list[str]) -> int:
    """Be one end."""
    return play(NAMES, words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
