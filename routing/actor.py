"""One node or client that obeys the orders of the `network` command; no schedule of its own."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import Final

from routing.config import Config
from routing.errors import RoutingError
from routing.events import EventsLost, Message, Undelivered
from routing.limits import Limits
from routing.messages import GroupAddress, NodeAddress
from routing.node import Client, Node
from routing.orders import (
    Answer,
    Ask,
    Collect,
    Letter,
    Look,
    Order,
    Post,
    Pour,
    Report,
    Start,
    Stop,
    Tally,
)
from routing.state import Direction, Phase

__all__ = ["Actor", "open_sockets", "other_tasks"]

REQUESTER: Final = "attempt.requester."
ASKED_AT_ONCE: Final = 16
"""Requests a client has under way."""


def open_sockets() -> int:
    """Return how many sockets this process holds."""
    count = 0
    for number in os.listdir("/dev/fd"):
        try:
            count += stat.S_ISSOCK(os.fstat(int(number)).st_mode)
        except OSError:
            # The directory itself was open while it was read; it is not any more.
            continue
    return count


def other_tasks() -> int:
    """Return how many tasks there are on this loop."""
    return len(asyncio.all_tasks())


class Actor:
    """See the module. Orders are obeyed one at a time."""

    def __init__(self) -> None:
        self.door: Node | Client | None = None
        self._arrived: list[str] = []
        self._pouring: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._unsent = 0
        self._numbers: dict[int, str] = {}
        """Of messages poured: what the package calls it -> what we do."""
        self._failed: list[str] = []

    async def obey(self, order: Order) -> Answer:
        """Do as told and say what came of it; what the package refuses is an answer, too."""
        try:
            match order:
                case Start():
                    return await self._start(order)
                case Look():
                    return Answer(report=self._report())
                case Post(letters=letters):
                    return await self._post(letters)
                case Ask(letters=letters, timeout_s=timeout):
                    return await self._ask(letters, timeout)
                case Pour(letters=letters, seconds=seconds):
                    self._begin_pouring(letters, seconds)
                    return Answer()
                case Tally():
                    failed, self._failed = self._failed, []
                    waiting = self._door().stats()["messages.waiting"]
                    return Answer(ids=failed, waiting=self._unsent + waiting)
                case Collect():
                    arrived, self._arrived = self._arrived, []
                    return Answer(ids=arrived)
                case Stop(drain_s=drain):
                    report = self._report()
                    await self._door().stop(drain)
                    await self.rest()
                    return Answer(report=report)
        except RoutingError as error:
            return Answer(error=str(error))

    async def _start(self, order: Start) -> Answer:
        config = Config(
            listen=() if order.client else ("127.0.0.1:0",),
            contacts=order.contacts,
            first=order.first,
            identity=order.identity or None,
            network=order.network,
            limits=Limits.local(),
        )
        door = Client(config) if order.client else Node(config)
        door.on_messages(self._on_messages)
        door.on_request(self._on_request)
        await door.__aenter__()
        self.door = door
        return Answer(report=self._report())

    def _on_messages(self, messages: list[Message]) -> None:
        self._arrived += [message.payload.decode("ascii", "replace") for message in messages]

    def _on_request(self, message: Message) -> bytes:
        self._arrived.append(message.payload.decode("ascii", "replace"))
        return message.payload[::-1]

    async def _post(self, letters: list[Letter]) -> Answer:
        door, failed = self._door(), ""
        for letter in letters:
            try:
                await door.send(_address(letter), letter.id.encode())
            except RoutingError as error:
                failed = str(error)
        return Answer(error=failed)

    async def _ask(self, letters: list[Letter], timeout: float) -> Answer:
        door = self._door()
        places = asyncio.Semaphore(ASKED_AT_ONCE)
        failed = ""

        async def ask(letter: Letter) -> str | None:
            nonlocal failed
            payload = letter.id.encode()
            async with places:
                try:
                    reply = await door.request(_address(letter), payload, timeout=timeout)
                except RoutingError as error:
                    failed = str(error)
                    return None
            return letter.id if reply == payload[::-1] else None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(letter)) for letter in letters]
        replied = [task.result() for task in tasks]
        return Answer(error=failed, ids=[id for id in replied if id is not None])

    def _begin_pouring(self, letters: list[Letter], seconds: float) -> None:
        self._unsent = len(letters)
        self._watching = asyncio.create_task(self._watch(self._door()))
        self._pouring = asyncio.create_task(self._pour(letters, seconds))

    async def _pour(self, letters: list[Letter], seconds: float) -> None:
        door, loop = self._door(), asyncio.get_running_loop()
        began = loop.time()
        for number, letter in enumerate(letters):
            await asyncio.sleep(began + seconds * number / len(letters) - loop.time())
            try:
                self._numbers[await door.send(_address(letter), letter.id.encode())] = letter.id
            except RoutingError:
                self._failed.append(letter.id)
            self._unsent -= 1

    async def _watch(self, door: Node | Client) -> None:
        """Note what is reported as failed; a report that was overrun is as good as none."""
        async for event in door.events():
            if isinstance(event, Undelivered):
                self._failed.append(self._numbers.get(event.number, f"number {event.number}"))
            elif isinstance(event, EventsLost):
                self._failed.append(f"{event.count} events")

    async def rest(self) -> None:
        """Send and watch no more; the node has stopped, or is not to be heard of again."""
        for task in (self._pouring, self._watching):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _door(self) -> Node | Client:
        assert self.door is not None, "Start comes first"
        return self.door

    def _report(self) -> Report:
        door = self._door()
        peers, counts = door.peers(), door.stats()
        return Report(
            name="" if door.name is None else door.name.hex(),
            state=door.state.detail.name,
            connected=door.state.phase is Phase.CONNECTED,
            endpoint=next(iter(door.endpoints), ""),
            peers=[peer.name.hex() for peer in peers],
            outbound=sum(peer.direction is Direction.OUTBOUND for peer in peers),
            started=counts.get(f"{REQUESTER}started", 0),
            ended={
                name.removeprefix(REQUESTER): count
                for name, count in counts.items()
                if name.startswith(REQUESTER) and name != f"{REQUESTER}started"
            },
        )


def _address(letter: Letter) -> NodeAddress | GroupAddress:
    name = bytes.fromhex(letter.name)
    return GroupAddress(name) if letter.group else NodeAddress(name)
