"""Every test of the service runs on both loops, and fails if it leaves anything open."""

from __future__ import annotations

import asyncio
import gc
import os
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


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
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
