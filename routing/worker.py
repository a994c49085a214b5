"""One node in a process of its own, under orders on standard input; not for people.

It ends when it is told to, or when its standard input ends: whoever started it is gone then.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from routing.actor import Actor, open_sockets, other_tasks
from routing.orders import LINE_BYTES_MAX, Answer, Stop, read_order, write_line
from routing.runner import run

__all__ = ["main", "work"]


async def work() -> None:
    """Obey line by line until `Stop` or the end of standard input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    pipe, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    sockets, tasks = open_sockets(), other_tasks()
    actor = Actor()
    try:
        while line := await reader.readline():
            order = read_order(line)
            answer = await actor.obey(order)
            if isinstance(order, Stop):
                answer = Answer(
                    error=answer.error,
                    report=answer.report,
                    leaked_sockets=open_sockets() - sockets,
                    leaked_tasks=other_tasks() - tasks,
                )
            sys.stdout.buffer.write(write_line(answer))
            sys.stdout.buffer.flush()
            if isinstance(order, Stop):
                return
    finally:
        if actor.door is not None:
            await actor.door.stop(drain=0.0)
        pipe.close()


def main() -> int:
    """Run; Ctrl-C is the business of whoever started us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    try:
        run(work())
    except BrokenPipeError:
        # Nobody reads our answers any more, so nobody wants them.
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
