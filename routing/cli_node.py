"""`python -m routing node` and `client`: one real node or client in the foreground."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from typing import get_args

import click

from routing import events as told
from routing.config import Config, WhenUnreachable
from routing.errors import UsageError
from routing.events import Event
from routing.names import short
from routing.node import Client, Node
from routing.runner import run
from routing.watch import Events

__all__ = ["client", "node"]

DRAIN_S = 1.0
"""Ctrl-C ends it within 2 s; half of that is for goodbyes."""


@click.command()
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    default=("127.0.0.1:0",),
    show_default=True,
    help="Where to accept connections; port 0 is any free one.",
)
@click.option(
    "--advertise",
    multiple=True,
    metavar="HOST:PORT",
    help="What others shall dial, where it is not what we listen on.",
)
@click.option("--contact", "contacts", multiple=True, metavar="HOST:PORT", help="A known node.")
@click.option("--first", is_flag=True, help="Found a network if nobody answers.")
@click.option("--network", default="routing", show_default=True, metavar="ID")
@click.option("--identity", metavar="FILE", help="Its key; made at the first start.")
@click.option("--book", metavar="FILE", help="Its contact book.")
@click.option("--record", metavar="FILE", help="Its recording, for `explain` and a replay.")
@click.option("--relaxed", is_flag=True, help="Be connected one way where both ends allow it.")
@click.option(
    "--unreachable",
    type=click.Choice(get_args(WhenUnreachable)),
    help="If nobody can dial it.  [default: error; with --relaxed: node]",
)
def node(
    listen: tuple[str, ...],
    advertise: tuple[str, ...],
    contacts: tuple[str, ...],
    first: bool,
    network: str,
    identity: str | None,
    book: str | None,
    record: str | None,
    relaxed: bool,
    unreachable: WhenUnreachable | None,
) -> int:
    """Run one node until Ctrl-C or SIGTERM."""
    config = Config(
        listen=listen,
        advertise=advertise or None,
        contacts=contacts,
        first=first,
        network=network,
        identity=identity,
        book=book,
        record=record,
        relaxed=relaxed,
        unreachable=unreachable,
    )
    run(_serve(Node(config)))
    return 0


@click.command()
@click.option("--contact", "contacts", multiple=True, metavar="HOST:PORT", help="A known node.")
@click.option("--network", default="routing", show_default=True, metavar="ID")
@click.option("--identity", metavar="FILE", help="Its key; made at the first start.")
@click.option("--book", metavar="FILE", help="Its contact book.")
@click.option("--record", metavar="FILE", help="Its recording, for `explain` and a replay.")
def client(
    contacts: tuple[str, ...],
    network: str,
    identity: str | None,
    book: str | None,
    record: str | None,
) -> int:
    """Run one client until Ctrl-C or SIGTERM."""
    if not contacts and book is None:
        raise UsageError("a client must be told of a node; give --contact HOST:PORT")
    config = Config(contacts=contacts, network=network, identity=identity, book=book, record=record)
    run(_serve(Client(config)))
    return 0


async def _serve(door: Node | Client) -> None:
    # Its own log lines would say the same twice; warnings and errors are for the reader.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, over.set)
    events = door.events()
    try:
        async with door:
            click.echo(f"key {short(door.key)}")
            elsewhere = door.config.advertise or ()
            for endpoint in door.endpoints:
                verb = "advertising" if endpoint in elsewhere else "listening on"
                click.echo(f"{verb} {endpoint}")
            printing = loop.create_task(_print(events))
            # The events end where the node stops by itself; leaving the block says why.
            printing.add_done_callback(lambda _: over.set())
            try:
                await over.wait()
                await door.stop(DRAIN_S)
            finally:
                printing.cancel()
                with suppress(asyncio.CancelledError):
                    await printing
        click.echo("stopped")
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _print(events: Events) -> None:
    async for event in events:
        line = _line(event)
        if line is not None:
            click.echo(line)


def _line(event: Event) -> str | None:
    match event:
        case told.StateChanged(new=new, cause=cause):
            return f"state {new}: {cause}"
        case told.Founded(name=name):
            return f"founded a network as {short(name)}"
        case told.Bootstrapped(proxy=proxy, endpoint=endpoint):
            return f"proxy {short(proxy)} at {endpoint}"
        case told.PeerUp(name=name, direction=direction, one_way=one_way):
            return f"peer {short(name)} up, {direction.name.lower()}{', one way' * one_way}"
        case told.PeerDown(name=name, code=code):
            return f"peer {short(name)} down: {code.name}"
        case told.Renamed(old=old, new=new, own=True):
            return f"renamed from {short(old)} to {short(new)}"
        case told.NotReachable(endpoints=endpoints):
            return f"nobody can dial us at {', '.join(endpoints)}"
        case told.ListenerFailed(endpoint=endpoint, reason=reason):
            return f"listening on {endpoint} failed: {reason}"
        case told.DescriptorsShort(used=used, limit=limit):
            return f"descriptors {used} of {limit} taken"
        case told.EventsLost(count=count):
            return f"{count} events lost"
    return None
