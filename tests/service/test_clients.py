"""Clients on real sockets: reached through proxies, moved to another, and held to their bound."""

from __future__ import annotations

import asyncio

import pytest

from routing.errors import RequestTimedOut, RoutingError, Unroutable
from routing.events import Message
from routing.limits import Limits
from routing.messages import ClientAddress, GroupAddress
from routing.node import Client, Node
from routing.state import Phase
from tests.service.conftest import Run
from tests.service.nodes import PATIENCE_S, address, eventually, local, network

__all__: list[str] = []


def there(client: Client) -> ClientAddress:
    """Return where a client can be reached now."""
    assert client.proxy is not None
    return ClientAddress(client.proxy, client.key)


def served(door: Node | Client) -> list[bytes]:
    """Let a door answer each request by its reverse; return a list of what it is asked."""
    asked = list[bytes]()

    def answer(request: Message) -> bytes:
        asked.append(request.payload)
        return request.payload[::-1]

    door.on_request(answer)
    return asked


def proxy_among(nodes: list[Node], client: Client) -> Node:
    return next(node for node in nodes if node.name == client.proxy)


def test_clients_and_nodes_ask_each_other_through_other_proxies(run: Run) -> None:
    async def body() -> None:
        async with (
            network(4) as nodes,
            Client(local(contacts=nodes[0].endpoints)) as one,
            Client(local(contacts=nodes[1].endpoints)) as two,
        ):
            await one.joined()
            await two.joined()
            doors: list[Node | Client] = [*nodes, one, two]
            for door in doors:
                served(door)
            assert await one.request(there(two), b"sideways") == b"syawedis"
            assert await two.request(there(one), b"and back") == b"kcab dna"
            assert await one.request(address(nodes[3]), b"to a node") == b"edon a ot"
            assert await nodes[3].request(there(one), b"to a client") == b"tneilc a ot"
            group = GroupAddress(bytes(range(32)))
            replies = await two.request_many(group, b"all", replies=4, timeout=PATIENCE_S)
            assert {reply.key for reply in replies} == {node.key for node in nodes}

    run(body())


@pytest.mark.parametrize("end", ["stops", "dies"])
def test_client_whose_proxy_ends_is_answered_through_the_next(run: Run, end: str) -> None:
    async def body() -> None:
        async with network(4) as nodes:
            contacts = [nodes[0].endpoints[0], nodes[1].endpoints[0]]
            async with Client(local(contacts=contacts)) as client:
                await client.joined()
                old, waits, asked = proxy_among(nodes, client), asyncio.Event(), asyncio.Event()
                seen = list[bytes]()

                async def answer(request: Message) -> bytes:
                    seen.append(request.payload)
                    asked.set()
                    await waits.wait()
                    return b"late"

                nodes[3].on_request(answer)
                pending = asyncio.create_task(
                    client.request(address(nodes[3]), b"before", timeout=PATIENCE_S)
                )
                await asyncio.wait_for(asked.wait(), PATIENCE_S)
                await (old.stop() if end == "stops" else old.abandon())
                waits.set()
                assert await pending == b"late" and seen == [b"before"]
                assert client.proxy not in (None, old.name)

    run(body())


def test_message_to_the_old_address_follows_a_client_to_its_new_proxy(run: Run) -> None:
    async def body() -> None:
        async with network(4) as nodes:
            contacts = [nodes[0].endpoints[0], nodes[1].endpoints[0]]
            async with Client(local(contacts=contacts)) as client:
                await client.joined()
                asked, old = served(client), proxy_among(nodes, client)
                address_then = there(client)
                core = old._running()
                # It takes no more clients, and lets this one go.
                core.limits = core.limits.but(clients_from_nodes=1_000)
                (link,) = [each for each in core.links.values() if each.key == client.key]
                line = old._host.tokens.get(link.token) if old._host is not None else None
                assert line is not None
                line.abort()
                assert await nodes[3].request(address_then, b"at once") == b"ecno ta"
                assert there(client) != address_then
                assert await nodes[3].request(address_then, b"later") == b"retal"
                assert asked == [b"at once", b"later"]
                assert old.stats()["forwarded.sent"] >= 2

    run(body())


def test_message_to_a_client_whose_proxy_is_dead_is_reported(run: Run) -> None:
    async def body() -> None:
        async with network(3) as nodes, Client(local(contacts=nodes[0].endpoints)) as client:
            await client.joined()
            old = there(client)
            await nodes[0].abandon()
            with pytest.raises((Unroutable, RequestTimedOut)):
                await nodes[1].request(old, b"nobody", timeout=PATIENCE_S)

    run(body())


def test_senders_of_a_client_wait_for_its_bound_and_all_arrives(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(client_messages_per_s=100)
        async with (
            network(3, limits=limits) as nodes,
            Client(local(contacts=nodes[0].endpoints)) as client,
        ):
            await client.joined()
            heard = list[bytes]()
            nodes[2].on_messages(lambda batch: heard.extend(each.payload for each in batch))
            said = [b"%d" % number for number in range(150)]
            await asyncio.gather(*(client.send(address(nodes[2]), each) for each in said))
            assert client.stats()["allowance.waited"] > 0, "more than a second may take"
            await eventually(lambda: len(heard) == 150)
            assert sorted(heard) == sorted(said)
            assert client.stats().get("message.throttled", 0) == 0
            assert nodes[0].stats().get("client.throttled", 0) == 0

    run(body())


def test_requests_of_a_client_wait_too_and_run_out_of_time_waiting(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(client_messages_per_s=1)
        async with (
            network(2, limits=limits) as nodes,
            Client(local(contacts=nodes[0].endpoints)) as client,
        ):
            await client.joined()
            served(nodes[1])
            assert await client.request(address(nodes[1]), b"one") == b"eno"
            with pytest.raises(RequestTimedOut):
                await client.request(address(nodes[1]), b"two", timeout=0.1)
            assert await client.request(address(nodes[1]), b"three") == b"eerht"

    run(body())


def test_client_that_floods_is_told_closed_and_admitted_again(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(client_messages_per_s=20)
        async with (
            network(2, limits=limits) as nodes,
            Client(local(contacts=nodes[0].endpoints)) as client,
        ):
            await client.joined()
            link = client._running().bootstrapping.proxy()
            assert link is not None
            link.allowance = None
            failures = list[str]()
            for number in range(200):
                try:
                    await client.send(
                        address(nodes[1]), b"%d" % number, delivery="at_most_once", wait=True
                    )
                except RoutingError as error:
                    failures.append(str(error))
            await eventually(lambda: nodes[0].stats().get("client.flooded") == 1)
            await client.wait_for(Phase.CONNECTED, timeout=PATIENCE_S)
            served(nodes[1])
            assert await client.request(address(nodes[1]), b"sorry", wait=True) == b"yrros"
            assert client.stats()["throttled.told"] > 0
            assert nodes[0].stats()["client.throttled"] >= 20

    run(body())


def test_small_network_that_takes_no_clients_says_so(run: Run) -> None:
    async def body() -> None:
        limits = Limits.local().but(clients_from_nodes=2)
        async with (
            network(2, limits=limits) as nodes,
            Client(local(contacts=nodes[0].endpoints)) as client,
        ):
            await eventually(lambda: nodes[0].stats().get("refused.network_too_small", 0) > 1)
            assert client.proxy is None
            contacts = nodes[0].endpoints[:1]
            config = local(listen=("127.0.0.1:0",), contacts=contacts, limits=limits)
            async with Node(config):
                await client.wait_for(Phase.CONNECTED, timeout=PATIENCE_S)

    run(body())
