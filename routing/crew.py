"""The nodes of the `network` command, each in this process or in one of its own; they only obey.

Every child is ended when the crew is closed, however that comes about; if this process dies, its
children see the end of their standard input and end themselves.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final, Protocol

import msgspec

from routing.actor import Actor
from routing.errors import RoutingError
from routing.orders import (
    LINE_BYTES_MAX,
    Answer,
    Look,
    Order,
    Report,
    Stop,
    read_answer,
    write_line,
)

__all__ = ["Child", "Hired", "Local", "Member"]

GRACE_S: Final = 5.0
"""A child that has not ended by then is killed."""


class Hired(Protocol):
    """How a member obeys: here or elsewhere."""

    async def order(self, order: Order) -> Answer:
        """Have an order obeyed.

        Raises:
            RoutingError: it cannot be reached any more.
        """

    async def kill(self) -> None:
        """End it without a chance to tidy up, as far as that can be done."""

    async def end(self) -> None:
        """See that nothing of it is left."""


class Local:
    """A node in this process."""

    def __init__(self) -> None:
        self._actor = Actor()

    async def order(self, order: Order) -> Answer:
        """See `Hired`."""
        return await self._actor.obey(order)

    async def kill(self) -> None:
        """Cut every connection; the kernel tells the peers, as it would for a dead process."""
        await self._actor.rest()
        if self._actor.door is not None:
            await self._actor.door.abandon()

    async def end(self) -> None:
        """See `Hired`."""
        await self._actor.rest()
        if self._actor.door is not None:
            await self._actor.door.stop(drain=0.0)


class Child:
    """A node in a process of its own."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def order(self, order: Order) -> Answer:
        """See `Hired`."""
        async with self._lock:
            process = await self._hire()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(write_line(order))
                await process.stdin.drain()
                line = await process.stdout.readline()
                return read_answer(line)
            except (OSError, ValueError, msgspec.DecodeError) as error:
                raise RoutingError(f"process {process.pid} does not answer: {error}") from None

    async def _hire(self) -> asyncio.subprocess.Process:
        if self._process is None:
            # A session of its own: Ctrl-C at the terminal is for us, and we end our children.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "routing.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
            )
        return self._process

    async def kill(self) -> None:
        """SIGKILL."""
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
        await self.end()

    async def end(self) -> None:
        """Close its standard input; kill it if it does not end then."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        except asyncio.CancelledError:
            # Called off in a hurry: the child is not asked twice.
            if process.returncode is None:
                process.kill()
            raise


class Member:
    """One place in the network: who fills it now, and how it stood when last looked at."""

    def __init__(self, index: int, *, client: bool, hired: Hired) -> None:
        self.index = index
        self.client = client
        self.hired = hired
        self.alive = False
        self.report = Report()
        self.leaked_sockets = 0
        self.leaked_tasks = 0

    @property
    def title(self) -> str:
        """How it is called in tables and messages."""
        return f"client {self.index}" if self.client else f"node {self.index}"

    async def order(self, order: Order) -> Answer:
        """Have an order obeyed and keep the report that comes with the answer.

        Raises:
            RoutingError: it could not be obeyed at all.
        """
        answer = await self.hired.order(order)
        if answer.report is not None:
            self.report = answer.report
        return answer

    async def look(self) -> None:
        """Bring the report up to date, if it is alive."""
        if self.alive:
            await self.order(Look())

    async def kill(self) -> None:
        """Look at it a last time and kill it."""
        await self.look()
        self.alive = False
        await self.hired.kill()

    async def stop(self) -> None:
        """Stop it in good order and note what it left open."""
        if self.alive:
            self.alive = False
            answer = await self.order(Stop(1.0))
            self.leaked_sockets, self.leaked_tasks = answer.leaked_sockets, answer.leaked_tasks
        await self.hired.end()
