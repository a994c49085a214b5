"""What a node keeps on disk it finds again; a bad file is one clear line and never overwritten."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from routing import keeping
from routing.errors import BookError, IdentityError
from routing.identity import Identity
from routing.node import Client, Node
from routing.service.bookfile import load_book
from routing.state import Phase
from tests.service.conftest import Run
from tests.service.nodes import LOOPBACK, PATIENCE_S, eventually, local, network

__all__: list[str] = []


def test_identity_file_is_made_and_brings_back_key_and_name(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        path = tmp_path / "identity"
        async with network(3) as nodes:
            config = local(listen=LOOPBACK, contacts=nodes[0].endpoints, identity=path)
            async with Node(config) as node:
                await asyncio.wait_for(node.joined(), PATIENCE_S)
                key, name = node.key, node.name
            assert Identity.load(path).certificate is not None
            async with Node(config) as again:
                await asyncio.wait_for(again.joined(), PATIENCE_S)
                assert (again.key, again.name) == (key, name)

    run(body())


def test_given_identity_is_used_and_learns_its_certificate(run: Run) -> None:
    async def body() -> None:
        identity = Identity.from_seed(bytes(32))
        async with Node(local(listen=LOOPBACK, first=True, identity=identity)) as node:
            assert node.key == identity.key
            assert identity.certificate is not None

    run(body())


def test_client_keeps_its_key(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        async with network(2) as nodes:
            config = local(contacts=nodes[0].endpoints, identity=tmp_path / "identity")
            keys = []
            for _ in range(2):
                async with Client(config) as client:
                    await asyncio.wait_for(client.joined(), PATIENCE_S)
                    keys.append(client.key)
            assert keys[0] == keys[1]

    run(body())


@pytest.mark.parametrize(
    ("content", "mode", "text"),
    [("rubbish", 0o600, "is no identity file"), ("", 0o644, "wider than 0600")],
)
def test_unusable_identity_is_one_line_and_left_alone(
    run: Run, tmp_path: Path, content: str, mode: int, text: str
) -> None:
    async def body() -> None:
        path = tmp_path / "identity"
        path.write_text(content)
        path.chmod(mode)
        with pytest.raises(IdentityError, match=text) as caught:
            await Node(local(listen=LOOPBACK, identity=path)).__aenter__()
        assert "\n" not in str(caught.value)
        assert path.read_text() == content

    run(body())


def test_certificate_that_cannot_be_saved_costs_a_line_and_not_the_node(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        path = tmp_path / "there" / "identity"
        path.parent.mkdir()
        node = Node(local(listen=LOOPBACK, first=True, contacts=["127.0.0.1:1"], identity=path))
        async with node:
            path.unlink()
            path.parent.rmdir()
            await eventually(lambda: node.name is not None)
            await eventually(lambda: "cannot be written" in caplog.text)
            assert node.state.phase is Phase.BOOTSTRAPPING

    with caplog.at_level(logging.WARNING, "routing"):
        run(body())


def test_book_alone_is_enough_to_come_back(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        book = tmp_path / "book"
        async with network(3) as nodes:
            config = local(listen=LOOPBACK, contacts=nodes[0].endpoints, book=book)
            async with Node(config) as node:
                await asyncio.wait_for(node.joined(), PATIENCE_S)
            assert load_book(book).book.anchors()
            async with Node(local(listen=LOOPBACK, book=book)) as again:
                await asyncio.wait_for(again.joined(), PATIENCE_S)

    run(body())


def test_book_is_written_while_the_node_runs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        book = tmp_path / "book"
        monkeypatch.setattr(keeping, "BOOK_SAVED_EVERY_S", 0.01)
        async with network(2) as nodes:
            config = local(listen=LOOPBACK, contacts=nodes[0].endpoints, book=book)
            async with Node(config) as node:
                await asyncio.wait_for(node.joined(), PATIENCE_S)
                await eventually(lambda: book.exists() and load_book(book).book.anchors())

    run(body())


def test_corrupt_book_is_set_aside_with_a_line(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        book = tmp_path / "book"
        book.write_text("rubbish")
        async with Node(local(listen=LOOPBACK, first=True, book=book)):
            pass
        assert (tmp_path / "book.corrupt-1").read_text() == "rubbish"
        assert len(load_book(book).book) == 0

    with caplog.at_level(logging.WARNING, "routing"):
        run(body())
    assert len([line for line in caplog.messages if "corrupt-1" in line]) == 1


def test_unreadable_book_is_one_line(run: Run, tmp_path: Path) -> None:
    async def body() -> None:
        with pytest.raises(BookError) as caught:
            await Node(local(listen=LOOPBACK, book=tmp_path)).__aenter__()
        assert "\n" not in str(caught.value)

    run(body())


def test_book_that_cannot_be_written_costs_a_line(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with Node(local(listen=LOOPBACK, first=True, book=tmp_path / "no" / "book")):
            pass

    with caplog.at_level(logging.WARNING, "routing"):
        run(body())
    assert "cannot be written" in caplog.text
