"""Runs one coroutine on the fastest loop the platform has; nothing about nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

__all__ = ["LoopFactory", "loop_factory", "run"]

T = TypeVar("T")


def loop_factory() -> LoopFactory | None:
    """Return what makes a loop: uvloop's where the platform has it, else None, asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


# `Any` stands for what a coroutine yields to its loop and is sent by it: asyncio's own business.
def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end and return its result.

    Ctrl-C cancels `main`; once it has tidied up, `KeyboardInterrupt` is raised. What is left of
    tasks and asynchronous generators is ended before this returns.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)
