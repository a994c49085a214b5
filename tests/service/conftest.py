"""Every test of the service runs on each loop, and eagerly too; it fails if anything stays open."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine

import pytest
import uvloop

__all__ = ["Run"]

Run = Callable[[Coroutine[None, None, None]], None]


def open_sockets() -> set[str]:
    """Return the sockets of this process, by inode."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            # The listing's own descriptor, closed by now.
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def eager_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of which each task begins at once, within the call that makes it."""
    loop = asyncio.new_event_loop()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    return loop


LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
if sys.version_info >= (3, 12):
    LOOPS["eager"] = eager_loop


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    factory = LOOPS[request.param]
    troubles: list[dict[str, object]] = []

    def run_once(body: Coroutine[None, None, None]) -> None:
        before = open_sockets()
        with asyncio.Runner(loop_factory=factory) as runner:
            loop = runner.get_loop()
            inside = open_sockets()
            loop.set_exception_handler(lambda _, context: troubles.append(context))
            try:
                runner.run(body)
            except BaseException as error:
                error.add_note(f"the loop reported {troubles}")
                raise
            assert open_sockets() == inside, "sockets left open"
            assert asyncio.all_tasks(loop) == set(), "tasks left over"
        gc.collect()
        assert open_sockets() == before
        assert troubles == []

    return run_once
