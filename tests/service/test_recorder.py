"""A recorded node on real sockets: its file replays in another process and explains its peers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from routing import playback
from routing.blanking import blank_digest, blank_state
from routing.cli import main
from routing.errors import ConfigError, StartError
from routing.identity import Identity
from routing.layout import LINE_BYTES, first_line
from routing.node import Client, Node
from routing.playback import Playback
from routing.recordings import BLOCK_HEAD, Passed
from routing.replaying import Replay
from routing.service.segments import Segments, older
from routing.version import VERSION
from tests.recording import block_of
from tests.service.nodes import LOOPBACK, address, closed_port, eventually, local, network

__all__: list[str] = []

SEED = bytes(range(100, 132))


def told(*arguments: object) -> tuple[int, str, str]:
    """Run a command of the package in a process of its own: exit code, output, errors."""
    command = [sys.executable, "-m", "routing", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def digest_at_the_end(node: Node | Client) -> str:
    core = node._core
    assert core is not None
    return blank_digest(blank_state(core)).hex()


async def met(nodes: list[Node]) -> None:
    await eventually(lambda: all(len(node.peers()) == len(nodes) - 1 for node in nodes))


async def a_life(path: Path) -> tuple[str, dict[str, str]]:
    """A node among others, of which one dies and one stops; its digest, and who is who."""
    others: list[Node] = []
    who = {}
    dead = closed_port()
    first = await Node(local(listen=LOOPBACK, first=True)).__aenter__()
    contacts = [first.endpoints[0], dead]
    node = Node(
        local(listen=LOOPBACK, contacts=contacts, record=path, identity=Identity.from_seed(SEED))
    )
    await node.__aenter__()
    try:
        for _ in range(3):
            other = Node(local(listen=LOOPBACK, contacts=contacts[:1]))
            others.append(other)
            await other.__aenter__()
        everybody = [first, node, *others]
        arrived: list[object] = []
        for each in everybody:
            each.on_messages(arrived.extend)
            each.on_request(lambda message: message.payload[::-1])
        await met(everybody)
        await first.send_many(address(node), [b"secret plans"] * 500 + [bytes(n) for n in range(9)])
        await node.send_many(address(first), [b"secret plans"] * 500)
        await node.send(address(others[0]), os.urandom(200_000))
        assert await node.request(address(others[1]), b"abc") == b"cba"
        killed, stopped = others[1:]
        assert killed.name is not None
        assert stopped.name is not None
        assert first.name is not None
        who = {"killed": killed.name.hex(), "stopped": stopped.name.hex()}
        who["stayed"] = first.name.hex()
        who["seen"] = others[0].key.hex()
        # What may not have arrived is routed, and what is routed is recorded whole.
        await node.send_many(address(killed), [b"last words"] * 500)
        await killed.abandon()
        await stopped.stop()
        await eventually(lambda: len(node.peers()) == 2 and len(arrived) >= 1_010)
    finally:
        await node.stop()
        digest = digest_at_the_end(node)
        for each in [first, *others]:
            await each.stop(drain=0.5)
    return digest, who


def test_recording_replays_in_another_process_and_explains_peers(tmp_path: Path) -> None:
    path = tmp_path / "flight"
    digest, who = asyncio.run(a_life(path))
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    assert SEED not in content
    assert b"secret plans" not in content, "payloads of batches are not recorded"

    code, out, error = told("simulate", "replay", path)
    assert (code, error) == (0, "")
    assert digest in out.splitlines()[-1]
    assert "event   PeerUp" in out
    assert "noted   " in out

    code, out, _ = told("explain", path, who["killed"])
    assert code == 0
    last = out.splitlines()[-1]
    assert last.startswith("not connected: ")
    assert "IO_ERROR" in last or "CONNECTION_REFUSED" in last
    assert "the connection was lost: IO_ERROR" in out

    code, out, _ = told("explain", path, who["stopped"][:12])
    assert code == 0
    assert "it closed the connection: STOPPING" in out

    code, out, _ = told("explain", path, who["stayed"])
    assert code == 0
    assert "the recorded node stopped at" in out.splitlines()[-1]
    assert told("explain", path, who["seen"])[0] == 0


def test_recording_of_a_client_replays(tmp_path: Path) -> None:
    path = tmp_path / "client"

    async def life() -> str:
        async with network(2) as (node, _):
            node.on_request(lambda message: message.payload)
            client = Client(local(contacts=[node.endpoints[0]], record=path))
            async with client:
                await client.joined()
                assert await client.request(address(node), b"abc") == b"abc"
                await client.send_many(address(node), [b"x"] * 20)
            return digest_at_the_end(client)

    digest = asyncio.run(life())
    replay = Replay()
    for _ in replay.steps(Playback(path).records()):
        pass
    assert replay.fault == ""
    assert replay.digest.hex() == digest
    assert replay.ended


def test_what_a_relay_passes_on_beside_the_core_is_in_its_recording(tmp_path: Path) -> None:
    path = tmp_path / "relay"

    async def life() -> tuple[str, int]:
        relay = Node(local(listen=LOOPBACK, first=True, record=path))
        async with relay:
            contacts = [relay.endpoints[0]]
            async with Node(local(listen=LOOPBACK, contacts=contacts)) as one:
                await eventually(lambda: len(relay.peers()) == 1)
                async with Node(local(listen=LOOPBACK, contacts=contacts)) as two:
                    await eventually(lambda: len(relay.peers()) == 2 and len(two.peers()) == 2)
                    await pass_through(one, two)
                    await eventually(lambda: relay.stats().get("routed.forwarded", 0) >= 300)
            passed = relay.stats()["routed.forwarded"]
        return digest_at_the_end(relay), passed

    digest, passed = asyncio.run(life())
    replay = Replay()
    digests = 0
    for step in replay.steps(Playback(path).records()):
        if isinstance(step.heard, Passed):
            digests += len(step.heard.digests) // 16
    assert digests >= 300
    assert replay.fault == ""
    assert replay.digest.hex() == digest
    assert replay.totals["routed.forwarded"] >= passed


async def pass_through(source: Node, target: Node) -> None:
    """Have the source put frames for the target on its other connection."""
    from bench.forward import core_of, sealed
    from routing.messages import FrameKind, encode

    assert target.name is not None
    relay = next(peer.name for peer in source.peers() if peer.name != target.name)
    token = core_of(source).table.token(relay)
    assert token is not None
    line = source._serving().tokens.get(token)
    assert line is not None
    for number, envelope in enumerate(sealed(source, bytes(target.name), 300)):
        line.send(FrameKind.ROUTED, encode(envelope), 0)
        if number % 3 == 0:
            line.send(FrameKind.ROUTED, encode(envelope), 0)
        line.flush()
        await asyncio.sleep(0)


# -- files


def test_full_file_takes_the_place_of_the_older_one_and_both_are_read(tmp_path: Path) -> None:
    path = tmp_path / "flight"

    async def life() -> str:
        async with network(2) as (other, _):
            other.on_messages(lambda messages: None)
            config = local(
                listen=LOOPBACK,
                contacts=[other.endpoints[0]],
                record=path,
                record_bytes=1 << 20,
            )
            async with Node(config) as node:
                await eventually(lambda: len(node.peers()) == 2)
                for _ in range(8):
                    await node.send(address(other), bytes(300_000))
                assert node.stats()["recorder.rotated"] >= 3
            return digest_at_the_end(node)

    digest = asyncio.run(life())
    read = Playback(path)
    assert read.paths == [older(path), path]
    assert read.beginning.serial >= 2
    for file in read.paths:
        # Half of the bytes configured, one block more, and a state with payloads under way.
        assert file.stat().st_size < 4 << 20
        assert file.stat().st_mode & 0o777 == 0o600
    replay = Replay()
    for _ in replay.steps(read.records()):
        pass
    assert (replay.fault, read.trouble) == ("", "")
    assert len(replay.beginnings) == 2
    assert replay.digest.hex() == digest


def a_file(path: Path) -> None:
    async def life() -> None:
        async with Node(local(listen=LOOPBACK, first=True, record=path)) as node:
            assert node.stats()["recorder.bytes"] >= 0

    asyncio.run(life())


def test_former_recording_is_set_aside_and_other_files_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "flight"
    a_file(path)
    former = path.read_bytes()
    a_file(path)
    assert older(path).read_bytes() == former
    assert Playback(path).paths == [path], "it is of another run"
    path.write_text("my thesis")
    with pytest.raises(StartError, match="no recording"):
        a_file(path)
    assert path.read_text() == "my thesis"
    with pytest.raises(StartError, match="cannot be written"):
        a_file(tmp_path / "nowhere" / "flight")


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """As `told`, in this process."""
    code = main([*map(str, arguments)])
    return code, *capsys.readouterr()


def test_commands_refuse_in_one_line_what_they_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "flight"
    a_file(path)
    content = path.read_bytes()
    cases = {
        "cannot be read": tmp_path / "missing",
        "is no recording": tmp_path / "text",
        "of format '1', this is '2'": tmp_path / "format",
        "laid out as '": tmp_path / "layout",
        "cut off before": tmp_path / "begun",
        "is damaged": tmp_path / "damaged",
    }
    (tmp_path / "text").write_text("no recording at all")
    (tmp_path / "format").write_bytes(first_line().replace(b" 2 ", b" 1 ") + content[LINE_BYTES:])
    (tmp_path / "layout").write_bytes(content[: LINE_BYTES - 2] + b"x" + content[LINE_BYTES - 1 :])
    (tmp_path / "begun").write_bytes(content[:LINE_BYTES])
    (tmp_path / "damaged").write_bytes(content.replace(b"\xa50.1", b"\xa59.9", 1))
    for text, name in cases.items():
        for command in (("simulate", "replay", name), ("explain", name, "abcdef")):
            code, out, error = said(capsys, *command)
            assert (code, out, error.count("\n")) == (2, "", 1)
            assert text in error
    for peer in ("ab", "nothex", "0123456789"):
        code, out, error = said(capsys, "explain", path, peer)
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert "peer" in error
    monkeypatch.setattr(playback, "VERSION", "9.9.9")
    code, out, error = said(capsys, "simulate", "replay", path)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert f"was made by version '{VERSION}', this is '9.9.9'" in error


def test_of_a_truncated_or_damaged_recording_what_is_whole_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flight"
    a_file(path)
    content = path.read_bytes()
    for changed, word in (
        (content[:-1], "cut off"),
        (content[:-1] + bytes([content[-1] ^ 1]), "damaged"),
    ):
        path.write_bytes(changed)
        code, out, error = said(capsys, "simulate", "replay", path)
        assert (code, error) == (0, "")
        assert f"truncated: {path.name} is {word}" in out


def test_writer_says_when_it_has_no_room_and_when_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import routing.service.segments as module

    monkeypatch.setattr(module, "QUEUED_BYTES_MAX", 3_000)
    segments = Segments(tmp_path / "flight")
    with segments._lock:
        segments._queued = 2_900
    assert not segments.has_room
    assert not segments.put(block_of(200))
    with segments._lock:
        segments._queued = 0
    assert segments.put(block_of(2_500))
    segments.rotate()
    assert segments.put(block_of(7))
    segments.close()
    assert older(tmp_path / "flight").stat().st_size > 2_000
    assert (tmp_path / "flight").read_bytes().endswith(bytes(7))

    class Full:
        def write(self, content: bytes) -> int:
            raise OSError(28, f"no room for {len(content)}")

        def close(self) -> None:
            """Nothing is open."""

    large = Segments(tmp_path / "large")
    assert large.put(block_of(5_000)), "one block alone always has room"
    large.close()
    assert (tmp_path / "large").stat().st_size > 5_000

    broken = Segments(tmp_path / "other")
    broken._file.close()
    broken._file = Full()  # type: ignore[assignment]
    assert broken.put(block_of(1))
    broken.close()
    assert broken.fault == f"no room for {BLOCK_HEAD + len(block_of(1))}"
    assert not broken.put(block_of(1))


def test_configuration_of_the_recorder_is_checked() -> None:
    with pytest.raises(ConfigError, match="record_bytes=5"):
        local(record="x", record_bytes=5)
    with pytest.raises(ConfigError, match="record="):
        local(record=7)
