"""Many trials at once over any `concurrent.futures.Executor`, and what they came to together.

A campaign keeps a bounded number of trials under way and hands out each outcome as it comes. Some
are run a second time in a process of their own with another hash seed: the traces must be equal.
It prints nothing and decides nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from itertools import islice

import msgspec

from routing.errors import RoutingError, UsageError
from routing.simulation.trial import Outcome, Trial, resolve, run_trial

__all__ = [
    "Factory",
    "WorkerLost",
    "again",
    "outcomes",
    "print_digest",
    "processes",
    "resolve_executor",
]

Factory = Callable[[int], Executor]
"""Makes an executor for so many jobs."""


class WorkerLost(RoutingError):
    """An executor lost a worker, and with it a trial."""


AHEAD = 2
"""Trials handed to an executor for each job: one runs, the next waits for it."""

_CHILD = "from routing.simulation.campaign import print_digest; print_digest()"

AGAIN_TIMEOUT_S = 600
"""For one trial in a process of its own."""


def processes(jobs: int) -> Executor:
    """Return a pool of so many processes on this machine, which end at Ctrl-C."""
    return ProcessPoolExecutor(jobs, initializer=_die_quietly)


def _die_quietly() -> None:
    """Let Ctrl-C end a worker at once and without a word: who asked for it tells what is known."""
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))


def resolve_executor(name: str) -> Factory:
    """Return the factory that `module:name` is.

    Raises:
        UsageError: there is none.
    """
    factory = resolve(name)

    def make(jobs: int) -> Executor:
        made = factory(jobs)
        for method in ("submit", "shutdown"):
            if not callable(getattr(made, method, None)):
                raise UsageError(
                    f"{name!r} made a {type(made).__name__}, which has no {method}(); "
                    "return a concurrent.futures.Executor"
                )
        return made  # type: ignore[return-value]

    return make


def outcomes(
    trials: Sequence[Trial], *, jobs: int, factory: Factory = processes
) -> Iterator[Outcome]:
    """Run all trials and yield each outcome as it comes; leaving early ends what is not begun.

    Args:
        trials: What to run.
        jobs: At most so many at a time.
        factory: Makes the executor.

    Raises:
        UsageError: a scenario cannot be run.
    """
    waiting = iter(trials)
    executor = factory(jobs)
    pending: set[Future[Outcome]] = set()
    try:
        while True:
            for trial in islice(waiting, jobs * AHEAD - len(pending)):
                pending.add(executor.submit(run_trial, trial))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenExecutor as error:
        raise WorkerLost(
            f"a worker is gone: {error}; try fewer jobs or smaller scenarios"
        ) from None
    finally:
        # Not every executor knows `cancel_futures`, so each is asked by itself.
        for future in pending:
            future.cancel()
        executor.shutdown(wait=False)


def again(trial: Trial, hash_seed: int) -> str:
    """Run a trial in a process of its own under another hash seed; return the digest of its trace.

    Raises:
        UsageError: the process failed.
    """
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD],
        input=msgspec.json.encode(trial),
        env=environment,
        capture_output=True,
        timeout=AGAIN_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UsageError(f"the second run of seed {trial.seed} failed: {text}")
    return done.stdout.decode().strip()


def print_digest() -> None:
    """Run the trial that standard input describes and print the digest of its trace."""
    print(run_trial(msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)).digest)
