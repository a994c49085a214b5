"""The example of clients behind proxies: rooms of people who hear each other, whoever dies."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from examples import chat
from routing.node import Client, Node
from routing.state import Phase
from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, eventually, local, network

__all__: list[str] = []

ROOT = Path(__file__).resolve().parent.parent.parent
NICKS = ("ada", "bob", "cy")


class Person:
    """Somebody in a room, and what he has heard."""

    def __init__(self, client: Client, room: str, nick: str) -> None:
        self.client = client
        self.heard: list[str] = []
        self.talker = chat.Talker(client, room, nick)
        self.talker.hear = lambda said: self.heard.append(f"{said.nick}: {said.text}")


async def people(stack: AsyncExitStack, nodes: list[Node], rooms: dict[str, str]) -> list[Person]:
    found = []
    for number, (nick, room) in enumerate(rooms.items()):
        # Each knows two nodes, so that one may die.
        contacts = [nodes[(number + step) % len(nodes)].endpoints[0] for step in (0, 1)]
        client = await stack.enter_async_context(Client(local(contacts=contacts)))
        await client.joined()
        found.append(Person(client, room, nick))
        await found[-1].talker.say()
    return found


def test_what_is_said_in_a_room_is_heard_once_by_all_others_and_nowhere_else(run: Run) -> None:
    async def body() -> None:
        async with network(5) as nodes, AsyncExitStack() as stack:
            for node in nodes:
                chat.Host(node)
            rooms = dict.fromkeys(NICKS, "garden") | {"dee": "cellar"}
            ada, bob, cy, dee = await people(stack, nodes, rooms)
            await ada.talker.say("good morning")
            await bob.talker.say("and to you")
            await dee.talker.say("hello?")
            await eventually(lambda: len(ada.heard) + len(bob.heard) + len(cy.heard) >= 4)
            await cy.talker.say("last")
            await eventually(lambda: "cy: last" in ada.heard and "cy: last" in bob.heard)
            assert sorted(ada.heard) == ["bob: and to you", "cy: last"]
            assert sorted(bob.heard) == ["ada: good morning", "cy: last"]
            assert sorted(cy.heard) == ["ada: good morning", "bob: and to you"]
            assert dee.heard == []

    run(body())


def test_talk_goes_on_when_a_proxy_dies(run: Run) -> None:
    async def body() -> None:
        async with network(5) as nodes, AsyncExitStack() as stack:
            for node in nodes:
                chat.Host(node)
            ada, bob, cy = await people(stack, nodes, dict.fromkeys(NICKS, "garden"))
            await ada.talker.say("one")
            await eventually(lambda: bob.heard and cy.heard)
            staying = [asyncio.create_task(each.talker.stay()) for each in (ada, bob, cy)]
            victim = next(node for node in nodes if node.name == bob.client.proxy)
            await victim.abandon()
            await bob.client.wait_for(Phase.CONNECTED, timeout=PATIENCE_S)
            await eventually(lambda: bob.client.proxy not in (None, victim.name))
            await bob.talker.say("I am back")
            await eventually(lambda: ada.heard and len(cy.heard) == 2)
            await ada.talker.say("two")
            await eventually(lambda: len(bob.heard) == 2 and len(cy.heard) == 3)
            assert (ada.heard, bob.heard) == (["bob: I am back"], ["ada: one", "ada: two"])
            assert cy.heard == ["ada: one", "bob: I am back", "ada: two"]
            for task in staying:
                task.cancel()
            await asyncio.gather(*staying, return_exceptions=True)

    run(body())


@pytest.mark.timeout(60)
def test_command_line_serves_and_joins() -> None:
    async def start(*arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "examples.chat", *arguments, "--local"),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=ROOT,
        )

    async def line_of(process: asyncio.subprocess.Process) -> str:
        assert process.stdout is not None
        return (await process.stdout.readline()).decode().strip()

    async def body() -> None:
        running = [await start("serve", "--first")]
        try:
            contact = ("--contact", await line_of(running[0]))
            running.append(await start("serve", *contact))
            await line_of(running[1])
            ada = await start("join", "garden", "--nick", "ada", *contact)
            bob = await start("join", "garden", "--nick", "bob", *contact)
            running += [ada, bob]
            assert ada.stdin is not None and bob.stdin is not None
            heard = asyncio.create_task(line_of(bob))
            while not heard.done():
                # Until bob is in the room nobody passes anything on to him.
                ada.stdin.write(b"hello\n")
                await asyncio.wait([heard], timeout=0.2)
            assert heard.result() == "ada: hello"
            ada.stdin.close()
            assert await ada.wait() == 0
        finally:
            for process in running:
                if process.returncode is None:
                    process.terminate()
                await process.communicate()
        refused = await start("join", "--contact", "nowhere:1")
        _, err = await refused.communicate()
        assert refused.returncode == 1 and b"nowhere" in err and err.count(b"\n") == 1

    asyncio.run(body())
