"""The example store on real processes: what a quorum has written survives who wrote it."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import routing
from examples import kv

__all__: list[str] = []

ROOT = Path(__file__).resolve().parent.parent.parent
PUTS = 500
AT_ONCE = 4
KILL_EVERY_S = 2.5


class Server:
    """One member in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, endpoint: str) -> None:
        self.process = process
        self.endpoint = endpoint

    @classmethod
    async def start(cls, *contacts: str) -> Server:
        options = [part for contact in contacts for part in ("--contact", contact)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "examples.kv", "serve", "--local", *(options or ["--first"])),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
        )
        assert process.stdout is not None
        line = await process.stdout.readline()
        return cls(process, json.loads(line)["endpoints"][0])


class Members:
    """The members that run, and what becomes of them."""

    def __init__(self, running: list[Server]) -> None:
        self.running = running
        self.ended: list[Server] = []
        self.dice = random.Random(7)

    async def replace_one(self) -> None:
        """Kill one, and start another that knows three of those left."""
        victim = self.running.pop(self.dice.randrange(len(self.running)))
        victim.process.kill()
        self.ended.append(victim)
        known = [each.endpoint for each in self.dice.sample(self.running, 3)]
        self.running.append(await Server.start(*known))

    async def replace_until(self, done: asyncio.Event) -> int:
        replaced = 0
        while not done.is_set():
            await self.replace_one()
            replaced += 1
            try:
                await asyncio.wait_for(done.wait(), KILL_EVERY_S)
            except TimeoutError:
                continue
        return replaced


@asynccontextmanager
async def members(count: int) -> AsyncIterator[Members]:
    first = await Server.start()
    others = [Server.start(first.endpoint) for _ in range(count - 1)]
    held = Members([first, *await asyncio.gather(*others)])
    try:
        yield held
    finally:
        for server in held.running:
            server.process.terminate()
        for server in [*held.running, *held.ended]:
            await server.process.wait()


@asynccontextmanager
async def store(held: Members) -> AsyncIterator[kv.Store]:
    contacts = [server.endpoint for server in held.running]
    config = routing.Config(contacts=contacts, limits=routing.Limits.local())
    async with routing.Client(config) as client:
        await client.joined()
        yield kv.Store(client)


def value_of(number: int) -> bytes:
    return b"value %d " % number * 8


@pytest.mark.timeout(300)
def test_five_hundred_records_survive_nodes_that_are_killed_and_started_throughout() -> None:
    async def body() -> None:
        async with members(20) as held, store(held) as stored:
            await stored.put(b"the network is up", b"yes")
            done, places = asyncio.Event(), asyncio.Semaphore(AT_ONCE)

            async def put(number: int) -> None:
                async with places:
                    await stored.put(b"key %d" % number, value_of(number))
                    # The pace, so that the kills fall among the puts and not behind them.
                    await asyncio.sleep(0.15)

            killing = asyncio.create_task(held.replace_until(done))
            await asyncio.gather(*map(put, range(PUTS)))
            done.set()
            assert await killing >= 3

            async def get(number: int) -> bytes | None:
                async with places:
                    return await stored.get(b"key %d" % number)

            found = await asyncio.gather(*map(get, range(PUTS)))
            assert found == [value_of(number) for number in range(PUTS)]

    routing.run(body())


@pytest.mark.timeout(120)
def test_command_line_puts_gets_and_deletes_in_a_network_smaller_than_a_group() -> None:
    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "examples.kv", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def body() -> None:
        async with members(3) as held:
            there = ["--local", "--contact", held.running[0].endpoint]
            assert await run("put", "colour", "green", *there) == (0, "", "")
            assert await run("get", "colour", *there) == (0, "green\n", "")
            assert await run("put", "colour", "blue", *there) == (0, "", "")
            assert await run("get", "colour", *there) == (0, "blue\n", "")
            assert await run("delete", "colour", *there) == (0, "", "")
            code, out, err = await run("get", "colour", *there)
            assert (code, out) == (1, "")
            assert err == "kv: nothing is stored under 'colour'\n"
        code, _, err = await run("get", "colour", "--contact", "nowhere:1")
        assert code == 2 and err.count("\n") == 1 and "nowhere" in err

    routing.run(body())
