"""Nobody on a loop waits for all that one line has to write: an answer to a ping least of all."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from routing import actions as do
from routing.inputs import Accepted, FrameReceived, Input
from routing.messages import FrameKind
from routing.service.owner import AT_A_TIME
from tests.service.conftest import Run
from tests.service.puppet import Peer, frame, hosted

__all__: list[str] = []

MESSAGE = bytes(65_536)
MESSAGES = 12


class Taking:
    """A transport whose kernel takes all that it is given, at once."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written: list[int] = []

    def write(self, data: bytes) -> None:
        self.written.append(len(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def test_answer_to_a_ping_leaves_before_what_came_behind_the_ping_is_looked_at(run: Run) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint, number=8)
            token = (await stage.core.wait(Accepted)).connection.token
            stage.do(do.Trust(token))
            line, waiting = stage.host.tokens.get(token), []

            def answer(fact: Input) -> list[do.Action]:
                assert isinstance(fact, FrameReceived) and line is not None
                if fact.kind == FrameKind.PING:
                    return [do.Send(token, FrameKind.PONG, fact.body, 0)]
                waiting.append(line.backlog)
                return []

            stage.core.replies[FrameReceived] = answer
            assert peer.channel is not None
            ping, other = frame(FrameKind.PING, bytes(9)), frame(FrameKind.HELLO, b"")
            peer.write(peer.channel.seal(ping) + peer.channel.seal(other))
            await stage.core.wait(FrameReceived, 2)
            assert waiting == [0]
            await peer.end()

    run(body())


def test_line_that_has_much_to_write_seals_a_little_of_it_in_each_turn(
    run: Run,
) -> None:
    async def body() -> None:
        async with hosted(1) as stage:
            peer = await Peer.joined(stage.endpoint, number=8)
            token = (await stage.core.wait(Accepted)).connection.token
            stage.do(do.Trust(token))
            line = stage.host.tokens.get(token)
            assert line is not None and line._transport is not None
            transport = line._transport
            taking = Taking(transport)
            line._transport = cast(asyncio.Transport, taking)
            stage.do(*(do.Send(token, FrameKind.DIRECT, MESSAGE, 1) for _ in range(MESSAGES)))
            turns = 0
            while line.backlog:
                await asyncio.sleep(0)
                turns += 1
                assert len(taking.written) == turns
            assert max(taking.written) < 2 * AT_A_TIME, "two records of less"
            assert sum(taking.written) > MESSAGES * len(MESSAGE) and turns == 2
            line._transport = transport
            await peer.end()

    run(body())
