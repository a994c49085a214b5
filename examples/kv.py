"""A replicated key-value store: put, get and delete by quorum, records handed over on churn.

    python -m examples.kv serve --listen 127.0.0.1:5483 --first
    python -m examples.kv put colour green --contact 127.0.0.1:5483

A record lives at the group around SHA-256 of its key: the 8 nodes nearest to it. A write is done
when 5 of them have it, and a read asks 5, so the two always share a member. Versions are (time,
writer); the highest wins everywhere, so copies may arrive in any order and any number of times. A
deleted record stays as a version without a value.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
import sys
import time
from collections.abc import Iterator

import msgspec

import routing

GROUP, QUORUM = 8, 5
TRIES, PATIENCE_S = 12, 2.0
"""Whoever takes longer counts as gone; the next try finds who took its place."""
RECORDS_MAX, VALUE_MAX, BATCH_BYTES = 100_000, 65_536, 262_144


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One version of what is stored under an element (SHA-256 of a key)."""

    element: bytes
    version: tuple[int, bytes]
    value: bytes | None


class Write(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Keep these, where they are newer than what you have."""

    records: list[Record]


class Read(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What do you have?"""

    element: bytes


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A member's answer: what it has, and how large it knows its group to be."""

    group: int
    record: Record | None


encode = msgspec.msgpack.encode
questions: msgspec.msgpack.Decoder[Write | Read] = msgspec.msgpack.Decoder(Write | Read)
answers = msgspec.msgpack.Decoder(Held)


class StoreError(routing.RoutingError):
    """The store could not do it; one line says why."""


class Member:
    """The records that one node keeps, and its part in handing them over."""

    def __init__(self, node: routing.Node) -> None:
        self.node = node
        self.records: dict[bytes, Record] = {}
        self.holders: dict[bytes, set[bytes]] = {}
        """Element -> names of members known to have its record."""
        node.on_request(self.answer)

    def answer(self, request: routing.Message) -> bytes:
        """Answer one question; an exception becomes the asker's HandlerFailed."""
        question = questions.decode(request.payload)
        records = question.records if isinstance(question, Write) else []
        for record in records:
            self._keep(record)
            source = request.source
            if self.records[record.element] == record and isinstance(source, routing.NodeAddress):
                # Whoever hands a record over has it: it need not be handed back.
                self.holders[record.element].add(source.name)
        element = records[0].element if isinstance(question, Write) else question.element
        return encode(Held(len(self.node.group_of(element)), self.records.get(element)))

    def _keep(self, record: Record) -> None:
        old = self.records.get(record.element)
        if old is not None and old.version >= record.version:
            return
        if old is None and len(self.records) >= RECORDS_MAX:
            raise StoreError(f"this member holds {RECORDS_MAX} records and takes no more")
        self.records[record.element] = record
        # A new version is written to the whole group; who missed it gets it by handing over.
        self.holders[record.element] = set()

    async def follow(self) -> None:
        """Hand records over whenever the nodes around us change, for as long as we run."""
        async for event in self.node.events():
            # A newcomer may belong to the group of a record and not to ours.
            if isinstance(event, routing.Churn | routing.PeerUp | routing.EventsLost):
                await self.hand_over()

    async def hand_over(self) -> None:
        """Bring every record to the members of its group that may not have it; drop strangers'."""
        wanting: dict[bytes, list[Record]] = {}
        for element, record in self.records.items():
            for name in self.node.group_of(element):
                if name not in self.holders[element] and name != self.node.name:
                    wanting.setdefault(name, []).append(record)
        await asyncio.gather(*(self._give(name, records) for name, records in wanting.items()))
        for element in list(self.records):
            group = self.node.group_of(element)
            if self.node.name not in group and self.holders[element] >= set(group):
                del self.records[element], self.holders[element]

    async def _give(self, name: bytes, records: list[Record]) -> None:
        for batch in _batches(records):
            body = encode(Write(batch))
            try:
                await self.node.request(routing.NodeAddress(name), body, timeout=PATIENCE_S)
            except routing.RoutingError as error:
                # It has gone again, or the change that follows finds it once more.
                print(f"{name.hex()[:8]} did not take {len(batch)}: {error}", file=sys.stderr)
                return
            for record in batch:
                if self.records.get(record.element) is record:
                    self.holders[record.element].add(name)


class Store:
    """The store as a node or client of the network sees it."""

    def __init__(self, network: routing.Node | routing.Client) -> None:
        self.network = network
        self._group = GROUP
        """How large the groups are; smaller than 8 in a network of fewer nodes."""

    async def put(self, key: bytes, value: bytes | None) -> None:
        """Store a value, or delete with None; returns when a quorum has it."""
        if value is not None and len(value) > VALUE_MAX:
            raise StoreError(f"value of {len(value)} bytes exceeds {VALUE_MAX}; split it")
        record = Record(_element(key), (time.time_ns(), self.network.key[:8]), value)
        await self._ask(record.element, Write([record]))

    async def get(self, key: bytes) -> bytes | None:
        """Return the newest value that a quorum knows of, None if there is none."""
        held = await self._ask(_element(key), Read(_element(key)))
        records = [each.record for each in held if each.record is not None]
        newest = max(records, key=lambda record: record.version, default=None)
        if newest is not None and len({each.record == newest for each in held}) > 1:
            # What we return must not be unknown again to the next reader.
            await self._ask(newest.element, Write([newest]))
        return None if newest is None else newest.value

    async def _ask(self, element: bytes, question: Write | Read) -> list[Held]:
        """Ask the group until a quorum has answered."""
        to, body = routing.GroupAddress(element), encode(question)
        error: routing.RoutingError | None = None
        for attempt in range(TRIES):
            least = min(QUORUM, self._group // 2 + 1)
            try:
                replies = await self.network.request_many(
                    to, body, replies=least, timeout=PATIENCE_S, wait=True
                )
            except routing.RequestTimedOut as late:
                error, replies = late, late.replies
            except routing.RoutingError as refused:
                error, replies = refused, []
                await asyncio.sleep(0.1 * attempt)
            held = [answers.decode(reply.payload) for reply in replies]
            self._group = max((each.group for each in held), default=self._group)
            if held and len(held) >= min(QUORUM, self._group // 2 + 1):
                return held
        raise StoreError(f"no quorum of the group answered in {TRIES} tries; the last: {error}")


def _element(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _batches(records: list[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        if sum(len(each.value or b"") + 128 for each in batch) > BATCH_BYTES:
            yield batch
            batch = []
        batch.append(record)
    yield batch


async def serve(args: argparse.Namespace, limits: routing.Limits) -> None:
    """Be a member until SIGTERM or Ctrl-C."""
    config = routing.Config(
        listen=[args.listen], contacts=args.contact, first=args.first, limits=limits
    )
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with routing.Node(config) as node:
        following = asyncio.create_task(Member(node).follow())
        print(json.dumps({"endpoints": node.endpoints, "key": node.key.hex()}), flush=True)
        await ended.wait()
        following.cancel()


async def ask(args: argparse.Namespace, limits: routing.Limits) -> None:
    """Do one thing and print what came of it."""
    async with routing.Client(routing.Config(contacts=args.contact, limits=limits)) as client:
        store, key = Store(client), args.key.encode()
        if args.command != "get":
            await store.put(key, args.value.encode() if args.command == "put" else None)
        elif (value := await store.get(key)) is not None:
            print(value.decode(errors="replace"))
        else:
            raise StoreError(f"nothing is stored under {args.key!r}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 0 if all went well, 1 if the store could not, 2 for a wrong use."""
    parser = argparse.ArgumentParser(prog="python -m examples.kv")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("serve", "put", "get", "delete"):
        command = commands.add_parser(name)
        command.add_argument("--contact", action="append", default=[], metavar="IP:PORT")
        command.add_argument("--local", action="store_true", help="fast timers, for one machine")
        if name == "serve":
            command.add_argument("--listen", default="127.0.0.1:0", metavar="IP:PORT")
            command.add_argument("--first", action="store_true", help="found the network")
        else:
            command.add_argument("key")
        if name == "put":
            command.add_argument("value")
    args = parser.parse_args(argv)
    limits = routing.Limits.local() if args.local else routing.Limits.recommended()
    try:
        routing.run(serve(args, limits) if args.command == "serve" else ask(args, limits))
    except routing.RoutingError as error:
        print(f"kv: {error}", file=sys.stderr)
        return 1 if isinstance(error, StoreError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
