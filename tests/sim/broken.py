"""What is broken on purpose for the machinery that has to find it, and an executor of our own."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import ClassVar

from routing.core import Core, CoreConfig
from routing.limits import Nanos
from routing.state import Detail

__all__ = [
    "always_due",
    "breaks_executors",
    "never_again",
    "no_executor",
    "threads",
]


class _AlwaysDue(Core):
    _advancing = False

    def _advance(self, now: Nanos) -> None:
        # In its own loop it would never come to an end, and nobody be told.
        self._advancing = True
        super()._advance(now)
        self._advancing = False

    def next_deadline(self) -> Nanos | None:
        due = super().next_deadline()
        silent = self.counters.get("peer.down.silent", 0)
        return Nanos(0) if due is not None and silent and not self._advancing else due


def always_due(config: CoreConfig) -> Core:
    """Return a core that claims to have a deadline at once, for ever, when a peer went silent."""
    return _AlwaysDue(config)


class _NeverAgain(Core):
    def next_deadline(self) -> Nanos | None:
        lost = self.counters.get("disconnected", 0)
        alone = lost and self.state.detail is Detail.DISCONNECTED
        return None if alone else super().next_deadline()


def never_again(config: CoreConfig) -> Core:
    """Return a core that looks for no network once it has lost one."""
    return _NeverAgain(config)


class Threads(ThreadPoolExecutor):
    """An executor that knows what it was given."""

    made: ClassVar[list[Threads]] = []

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs)
        self.submitted = 0
        self.most = 0
        self._open: list[Future[object]] = []
        self.made.append(self)

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.submitted += 1
        future = super().submit(fn, *args, **kwargs)
        self._open = [one for one in self._open if not one.done()] + [future]
        self.most = max(self.most, len(self._open))
        return future


def threads(jobs: int) -> Executor:
    """Return an executor of threads."""
    return Threads(jobs)


def no_executor(jobs: int) -> object:
    """Return what is no executor."""
    return jobs


def breaks_executors(config: CoreConfig) -> Core:
    """End the process of whoever makes a core, as one that runs out of memory would."""
    import os

    os._exit(9)
