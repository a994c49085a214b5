"""What a frame costs on its way into a record, out of a buffer, and through the channel."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from routing import _frames
from routing.channel import Channel, Handshake
from routing.identity import Identity, verify
from tests.twin import frames_twin

__all__: list[str] = []

ROOMS = pytest.mark.parametrize("room", [_frames, frames_twin], ids=["c", "twin"])
SHAPES = pytest.mark.parametrize(("count", "size"), [(64, 64), (60, 1_024), (1, 16_384)])


@ROOMS
@SHAPES
@pytest.mark.benchmark(group="frames.write")
def test_write(benchmark: BenchmarkFixture, room: ModuleType, count: int, size: int) -> None:
    body = bytes(size)

    def run() -> None:
        writer = room.FrameWriter()
        for _ in range(count):
            writer.append(11, body, 1)
        writer.take()

    benchmark(run)


@ROOMS
@SHAPES
@pytest.mark.benchmark(group="frames.split")
def test_split(benchmark: BenchmarkFixture, room: ModuleType, count: int, size: int) -> None:
    plaintext = (size.to_bytes(4, "big") + b"\x0b" + bytes(size)) * count
    benchmark(room.split_frames, plaintext)


@pytest.mark.parametrize("size", [100, 4_000, 60_000])
@pytest.mark.benchmark(group="frames.read")
def test_read_one_record(benchmark: BenchmarkFixture, size: int) -> None:
    reader = _frames.RecordReader(1_048_640)
    record = size.to_bytes(4, "big") + bytes(size)

    def run() -> None:
        reader.feed(record)
        reader.next_record()

    benchmark(run)


def handshake() -> tuple[Channel, Channel]:
    ends = [
        Handshake(
            dialler=dialler,
            sign=identity.sign,
            verify=verify,
            key=identity.key,
            tag=bytes(8),
            static=bytes([3 + dialler]) * 32,
            ephemeral=bytes([5 + dialler]) * 32,
        )
        for dialler, identity in ((True, DIALLER), (False, ACCEPTOR))
    ]
    message, turn = ends[0].start(), 1
    while message:
        message = ends[turn].receive(message)
        turn = 1 - turn
    assert ends[0].channel is not None and ends[1].channel is not None
    return ends[0].channel, ends[1].channel


DIALLER, ACCEPTOR = Identity.from_seed(b"\1" * 32), Identity.from_seed(b"\2" * 32)


@pytest.mark.benchmark(group="channel.handshake/both ends")
def test_handshake(benchmark: BenchmarkFixture) -> None:
    run: Callable[[], tuple[Channel, Channel]] = handshake
    benchmark(run)


@pytest.mark.parametrize("size", [64, 1_024, 65_536])
@pytest.mark.benchmark(group="channel.seal and open")
def test_seal_and_open(benchmark: BenchmarkFixture, size: int) -> None:
    sender, receiver = handshake()
    plaintext = bytes(size)

    def run() -> None:
        receiver.open(memoryview(sender.seal(plaintext))[4:])

    benchmark(run)
