"""Chat rooms: clients behind proxies talk in rooms that nodes keep the lists of.

    python -m examples.chat serve --listen 127.0.0.1:5483 --first
    python -m examples.chat serve --contact 127.0.0.1:5483
    python -m examples.chat join garden --nick ada --contact 127.0.0.1:5483

A room lives at the group around SHA-256 of its name. What a client says is a request to that group,
so every member knows who is there, and where; the three nearest to the room pass it on to everybody
else, so two may die unnoticed. A client shows each line once. Who is silent for a minute is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct
from msgspec.msgpack import Decoder, encode

import routing

RELAYS, STAY_S, JOIN_EVERY_S, PATIENCE_S, TRIES = 3, 60.0, 15.0, 2.0, 10
ROOMS_MAX, MEMBERS_MAX, HEARD_MAX = 1_000, 200, 1_000


class Said(Struct, frozen=True):
    """One line of one author, who numbers his lines; an empty one says that he is there."""

    room: str
    nick: str
    number: int
    text: str


decode_said, decode_line = Decoder(Said).decode, Decoder(tuple[bytes, Said]).decode


class Host:
    """What one node does for the rooms near its name."""

    def __init__(self, node: routing.Node) -> None:
        self.node = node
        # Room -> key of who is there -> where he hangs, and until when we believe it.
        self.rooms: dict[str, dict[bytes, tuple[routing.Address, float]]] = {}
        node.on_request(self.answer)

    async def answer(self, request: routing.Message) -> bytes:
        """Note who speaks, pass on what he says; an exception becomes his HandlerFailed."""
        said, now = decode_said(request.payload), asyncio.get_running_loop().time()
        there = self.rooms.get(said.room, {})
        others = {k: each for k, each in there.items() if each[1] > now and k != request.key}
        if len(others) >= MEMBERS_MAX:
            raise OverflowError(f"{said.room} is full")
        # He may have changed his proxy: where he speaks from is where he is.
        self.rooms.pop(said.room, None)
        self.rooms[said.room] = others | {request.key: (request.source, now + STAY_S)}
        if len(self.rooms) > ROOMS_MAX:
            del self.rooms[next(iter(self.rooms))]  # the quietest
        own, target = bytes(self.node.name or b""), hashlib.sha256(said.room.encode()).digest()
        names = [own, *(bytes(peer.name) for peer in self.node.peers())]
        names.sort(key=lambda name: int.from_bytes(name) ^ int.from_bytes(target))
        for address, _ in others.values() if said.text and own in names[:RELAYS] else []:
            await self.node.send(address, encode((request.key, said)))
        return encode(len(others))


class Talker:
    """One client in one room; `hear` is called with each line of others, once."""

    hear: Callable[[Said], object] = print

    def __init__(self, client: routing.Client, room: str, nick: str) -> None:
        self.client, self.room, self.nick = client, room, nick
        self._number = 0
        self._heard = deque[tuple[bytes, int]](maxlen=HEARD_MAX)
        client.on_messages(self._take)

    def _take(self, messages: list[routing.Message]) -> None:
        for author, said in (decode_line(message.payload) for message in messages):
            if (author, said.number) not in self._heard:
                self._heard.append((author, said.number))
                self.hear(said)

    async def say(self, text: str = "") -> None:
        """Say something to everybody in the room, or nothing: then we are only there."""
        self._number += 1
        to = routing.GroupAddress(hashlib.sha256(self.room.encode()).digest())
        body = encode(Said(self.room, self.nick, self._number, text))
        for _ in range(TRIES):
            with suppress(routing.RequestTimedOut, routing.NotConnected):
                await self.client.request(to, body, timeout=PATIENCE_S, wait=True)
                return
        raise routing.RequestTimedOut(f"nobody has answered in {TRIES} tries")

    async def stay(self) -> None:
        """Be there for as long as we run, wherever we hang."""
        events = self.client.events()
        while True:
            await self.say()
            with suppress(TimeoutError):
                async with asyncio.timeout(JOIN_EVERY_S):
                    async for event in events:
                        if isinstance(event, routing.Connected):
                            break


async def run(args: argparse.Namespace) -> None:
    """Be a node until Ctrl-C, or a client until the end of the input."""
    limits = routing.Limits.local() if args.local else routing.Limits.recommended()
    if args.command == "serve":
        there = {"listen": [args.listen], "contacts": args.contact, "first": args.first}
        async with routing.Node(routing.Config(**there, limits=limits)) as node:
            Host(node)
            print(*node.endpoints, flush=True)
            await asyncio.Event().wait()
    keys, loop = asyncio.StreamReader(), asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(keys), sys.stdin)
    async with routing.Client(routing.Config(contacts=args.contact, limits=limits)) as client:
        talker = Talker(client, args.room, args.nick)
        talker.hear = lambda said: print(f"{said.nick}: {said.text}", flush=True)
        staying = asyncio.create_task(talker.stay())
        async for line in keys:
            await talker.say(line.decode(errors="replace").strip())
        staying.cancel()


def main() -> None:
    """Run the command line; if it cannot, one line says why."""
    parser = argparse.ArgumentParser(prog="python -m examples.chat")
    parser.add_argument("command", choices=["serve", "join"])
    parser.add_argument("room", nargs="?", default="lobby", help="join: where to talk")
    parser.add_argument("--nick", default="somebody", help="join: who talks")
    parser.add_argument("--contact", action="append", default=[], metavar="IP:PORT")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="IP:PORT", help="serve: where")
    parser.add_argument("--first", action="store_true", help="serve: found the network")
    parser.add_argument("--local", action="store_true", help="fast timers, for one machine")
    try:
        with suppress(KeyboardInterrupt):
            routing.run(run(parser.parse_args()))
    except routing.RoutingError as error:
        sys.exit(f"chat: {error}")


if __name__ == "__main__":
    main()
