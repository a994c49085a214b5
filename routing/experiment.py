"""The run of the `network` command: form, talk, kill, heal, rejoin, stop; and what came of it.

It gives orders and judges by what the nodes report; it knows no socket and prints nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from routing.actor import open_sockets, other_tasks
from routing.crew import Child, Local, Member
from routing.errors import RoutingError
from routing.limits import GROUP_SIZE, NAME_BYTES
from routing.mail import Mail, Stream
from routing.orders import Answer, Ask, Collect, Letter, Post, Pour, Start, Tally
from routing.wholeness import pairs_of, why_not_whole

__all__ = ["Experiment", "Plan", "Summary"]

LOOK_EVERY_S: Final = 0.2
"""Between two looks at the network; the figures are as coarse as that."""

CONTACTS: Final = 3
"""Given to each node: the first, and two random earlier ones."""

GROUPS: Final = 4
"""Messages to groups that the first nodes send, one each."""

MESSAGES: Final = 10_000
"""Sent during the kills unless the plan says otherwise, by 40 nodes or more; fewer send fewer, as
there are fewer pairs of them."""

PAIRS: Final = 40 * 40

STREAM_PER_S: Final = 500
"""At this pace; all nodes of a run share the machine, and may share one process."""

SETTLE_S: Final = 60.0
"""After the last message has left: the 8 copies of one take half of that."""

NETWORK: Final = "network command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is wanted."""

    nodes: int
    clients: int
    kill: int
    messages: int | None = None
    """To be sent during the kills; None: some for each node."""
    seed: int
    timeout: float
    processes: bool
    folder: Path
    """Where identity files go; somebody else's to remove."""


@dataclass(slots=True, kw_only=True)
class Summary:
    """What came of it; the fields of the JSON object, in its order."""

    ok: bool = False
    nodes: int
    group_connected: int = 0
    formed_s: float | None = None
    connections: int = 0
    started: int = 0
    consolidated: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    delivered: int = 0
    during_kills: dict[str, int] | None = None
    """Messages by their fate; None if nobody was killed."""
    killed: int = 0
    healed_s: float | None = None
    rejoined: int | None = None
    rejoined_s: float | None = None
    leaked_sockets: int = 0
    leaked_tasks: int = 0
    trouble: list[str] = field(default_factory=list)
    """What went wrong, for people; not part of the object."""

    # Values of several kinds, ready for the JSON encoder.
    def as_object(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "ok": self.ok,
            "nodes": self.nodes,
            "group_connected": self.group_connected,
            "formed_s": self.formed_s,
            "connections": self.connections,
            "attempts": {
                "started": self.started,
                "consolidated": self.consolidated,
                "failed": self.failed,
            },
            "messages": {"sent": self.sent, "delivered": self.delivered},
            "killed": self.killed,
            "during_kills": self.during_kills,
            "healed_s": self.healed_s,
            "rejoined": self.rejoined,
            "rejoined_s": self.rejoined_s,
            "leaked_sockets": self.leaked_sockets,
            "leaked_tasks": self.leaked_tasks,
        }


class Experiment:
    """One run.

    Args:
        plan: What is wanted.
        show: Called with the members and a line on what is going on, after every look.
    """

    def __init__(self, plan: Plan, show: Callable[[list[Member], str], None]) -> None:
        self.plan = plan
        self._show = show
        self._random = Random(plan.seed)
        self._members: list[Member] = []
        self._buried: list[Member] = []
        self._summary = Summary(nodes=plan.nodes)

    async def run(self) -> Summary:
        """Run it all; whatever happens, every node is stopped and every child ended."""
        sockets, tasks = open_sockets(), other_tasks()
        summary = self._summary
        try:
            done = await self._stages()
            await self._look("done")
            self._count()
        except RoutingError as error:
            done = False
            summary.trouble.append(str(error))
        finally:
            await self._close()
        summary.leaked_sockets += open_sockets() - sockets
        summary.leaked_tasks += other_tasks() - tasks
        if summary.leaked_sockets or summary.leaked_tasks:
            summary.trouble.append(
                f"{summary.leaked_sockets} sockets and {summary.leaked_tasks} tasks are left open"
            )
        summary.ok = done and not summary.trouble and summary.sent == summary.delivered
        return summary

    async def _stages(self) -> bool:
        """Form, talk, kill and heal, rejoin; tell whether all of it came about."""
        plan, summary = self.plan, self._summary
        began = time.monotonic()
        await self._form()
        summary.formed_s = await self._until_whole("forming", began)
        if summary.formed_s is None:
            return False
        await self._talk()
        if plan.kill == 0:
            return True
        stream = await self._begin_stream()
        victims = await self._kill(stream)
        began = time.monotonic()
        summary.healed_s = await self._until_whole("healing", began)
        if summary.healed_s is None:
            return False
        await self._end_stream(stream)
        began = time.monotonic()
        await self._rejoin(victims)
        summary.rejoined_s = await self._until_whole("rejoining", began)
        summary.rejoined = sum(member.report.connected for member in victims if member.alive)
        return summary.rejoined_s is not None

    # -- stages

    async def _form(self) -> None:
        plan = self.plan
        for index in range(plan.nodes):
            contacts = self._contacts(self._members)
            member = self._join(index, client=False)
            await self._start(member, contacts, first=index == 0)
            self._show(self._members, f"starting node {index}")
        nodes = list(self._members)
        for index in range(plan.clients):
            await self._start(self._join(index, client=True), self._contacts(nodes), first=False)

    def _join(self, index: int, *, client: bool) -> Member:
        member = Member(index, client=client, hired=Child() if self.plan.processes else Local())
        self._members.append(member)
        return member

    def _contacts(self, earlier: Iterable[Member]) -> list[str]:
        known = [member.report.endpoint for member in earlier if member.alive]
        others = self._random.sample(known[1:], min(CONTACTS - 1, len(known[1:])))
        return [*known[:1], *others]

    async def _start(
        self, member: Member, contacts: list[str], *, first: bool, fresh: bool = False
    ) -> None:
        identity = "" if member.client or fresh else str(self.plan.folder / f"node-{member.index}")
        order = Start(member.client, first, contacts, identity, NETWORK)
        answer = await member.order(order)
        if answer.error:
            raise RoutingError(f"{member.title} did not start: {answer.error}")
        member.alive = True

    async def _talk(self) -> None:
        """Everybody writes to everybody, some to groups, clients ask; then wait for the mail."""
        mail = Mail()
        nodes = self._nodes()
        names = {member.index: bytes.fromhex(member.report.name) for member in nodes}
        posts = {member: mail.round_robin(member.index, names) for member in nodes}
        for member in nodes[:GROUPS]:
            target = self._random.randbytes(NAME_BYTES)
            posts[member].append(mail.to_group(member.index, target, names))
        clients = [member for member in self._members if member.client]
        asks = {member: mail.asked(member.index, names) for member in clients}
        await self._in_parallel(self._post(member, posts[member]) for member in nodes)
        await self._in_parallel(self._ask(member, asks[member], mail) for member in clients)
        deadline = time.monotonic() + min(self.plan.timeout, 30.0)
        while not mail.complete and time.monotonic() < deadline:
            await self._collect(mail)
            await self._look(f"{mail.delivered} of {mail.sent} messages have arrived")
            if not mail.complete:
                await asyncio.sleep(LOOK_EVERY_S)
        # Once more: what comes twice, or to the wrong node, may come late.
        await self._collect(mail)
        self._summary.sent, self._summary.delivered = mail.sent, mail.delivered
        if not mail.complete:
            self._summary.trouble.append(mail.trouble())

    async def _post(self, member: Member, letters: list[Letter]) -> None:
        self._note(member, await member.order(Post(letters)))

    async def _ask(self, member: Member, letters: list[Letter], mail: Mail) -> None:
        answer = await member.order(Ask(letters, min(self.plan.timeout, 10.0)))
        self._note(member, answer)
        mail.replied(member.index, answer.ids)

    def _note(self, member: Member, answer: Answer) -> None:
        if answer.error:
            self._summary.trouble.append(f"{member.title}: {answer.error}")

    async def _collect(self, mail: Mail) -> None:
        for member in self._nodes():
            answer = await member.order(Collect())
            mail.arrived(member.index, answer.ids)

    async def _begin_stream(self) -> Stream:
        """Have every node begin to write to others, for as long as the killing takes."""
        nodes = self._nodes()
        count = self.plan.messages
        if count is None:
            count = min(MESSAGES, MESSAGES * len(nodes) ** 2 // PAIRS)
        names = {member.index: bytes.fromhex(member.report.name) for member in nodes}
        stream = Stream(names, count if len(nodes) > 1 else 0, self._random)
        seconds = stream.total / STREAM_PER_S
        await self._in_parallel(
            member.order(Pour(stream.letters[member.index], seconds)) for member in nodes
        )
        return stream

    async def _kill(self, stream: Stream) -> list[Member]:
        """Kill the first node and others that the seed draws, one after the other."""
        nodes = self._nodes()
        drawn = self._random.sample(nodes[1:], self.plan.kill - 1)
        victims = [nodes[0], *sorted(drawn, key=lambda member: member.index)]
        pause = stream.total / STREAM_PER_S / (len(victims) + 1)
        for member in victims:
            await asyncio.sleep(pause)
            await self._hear_of(stream, member)
            await member.kill()
            stream.killed(member.index)
            self._summary.killed += 1
            self._show(self._members, f"killing, {member.title}")
        return victims

    async def _hear_of(self, stream: Stream, member: Member) -> int:
        """Note what has arrived at a node and what it was told; return how many it waits for."""
        stream.arrived(member.index, (await member.order(Collect())).ids)
        told = await member.order(Tally())
        stream.reported(told.ids)
        return told.waiting

    async def _end_stream(self, stream: Stream) -> None:
        """Wait until every message has arrived or was reported, and say what became of them."""
        deadline = time.monotonic() + min(self.plan.timeout, SETTLE_S)
        while True:
            waiting = [await self._hear_of(stream, member) for member in self._nodes()]
            await self._look(f"settling, {sum(waiting)} messages are under way")
            if not any(waiting) or time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_EVERY_S)
        # What was acknowledged a moment ago is on its way to its handler.
        for member in self._nodes():
            await self._hear_of(stream, member)
        self._summary.during_kills = stream.count()
        if any(waiting):
            self._summary.trouble.append(f"{sum(waiting)} messages are still under way")
        if stream.trouble():
            self._summary.trouble.append(stream.trouble())

    async def _rejoin(self, victims: list[Member]) -> None:
        """Start them anew, the first half with their identity file, the others fresh."""
        with_identity = (len(victims) + 1) // 2
        for number, old in enumerate(victims):
            contacts = self._contacts(self._nodes())
            member = Member(
                old.index, client=False, hired=Child() if self.plan.processes else Local()
            )
            self._buried.append(old)
            self._members[self._members.index(old)] = member
            victims[number] = member
            await self._start(member, contacts, first=False, fresh=number >= with_identity)

    # -- looking

    def _nodes(self) -> list[Member]:
        return [member for member in self._members if member.alive and not member.client]

    async def _look(self, doing: str) -> None:
        await self._in_parallel(member.look() for member in self._members)
        self._show(self._members, doing)

    async def _until_whole(self, doing: str, began: float) -> float | None:
        """Return after how many seconds it was whole, None if not in time."""
        while True:
            await self._look(f"{doing}, {time.monotonic() - began:.1f} s")
            passed = time.monotonic() - began
            reason = self._why_not_whole()
            if reason is None:
                return round(passed, 3)
            if passed > self.plan.timeout:
                self._summary.trouble.append(f"{doing}: not whole after {passed:.0f} s: {reason}")
                return None
            await asyncio.sleep(LOOK_EVERY_S)

    def _held(self) -> dict[bytes, set[bytes]]:
        return {
            bytes.fromhex(member.report.name): {bytes.fromhex(name) for name in member.report.peers}
            for member in self._nodes()
            if member.report.name
        }

    def _why_not_whole(self) -> str | None:
        nodes, held = self._nodes(), self._held()
        if len(nodes) == 1 and self._summary.killed:
            # It has nobody to hold, and keeps its name for when somebody comes back.
            return None
        for member in nodes:
            if not member.report.name:
                return f"{member.title} has no name"
        if len(held) < len(nodes):
            return "two nodes have one name"
        reason = why_not_whole(held)
        if reason is not None:
            return reason
        for member in self._members:
            if len(nodes) > GROUP_SIZE and not member.client and member.alive:
                if member.report.state != "GROUP_CONNECTED":
                    return f"{member.title} is {member.report.state}"
            elif member.client and not member.report.connected:
                return f"{member.title} has no proxy"
        return None

    def _count(self) -> None:
        summary, ended = self._summary, Counter[str]()
        for member in [*self._members, *self._buried]:
            summary.started += member.report.started
            ended.update(member.report.ended)
        summary.consolidated = ended.pop("consolidated", 0)
        summary.failed = dict(sorted(ended.items()))
        summary.group_connected = sum(
            len(member.report.peers) >= GROUP_SIZE for member in self._nodes()
        )
        summary.connections = len(pairs_of(self._held()))

    # -- ends

    async def _close(self) -> None:
        everybody = [*self._members, *self._buried]
        results = await asyncio.gather(
            *(member.stop() for member in everybody), return_exceptions=True
        )
        for member, result in zip(everybody, results, strict=True):
            self._summary.leaked_sockets += member.leaked_sockets
            self._summary.leaked_tasks += member.leaked_tasks
            if isinstance(result, BaseException):
                self._summary.trouble.append(f"{member.title} did not stop: {result}")
                await member.hired.kill()

    async def _in_parallel(self, work: Iterable[Any]) -> None:
        await asyncio.gather(*work)
