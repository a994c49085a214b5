"""At the depth of bytes everything is as at the depth of frames, and the bytes are really made."""

from __future__ import annotations

from random import Random

import pytest

from routing._frames import FrameError
from routing.actions import Close, Send, Trust
from routing.errors import CloseCode
from routing.inputs import FrameReceived, Lost
from routing.limits import SECOND, Limits
from routing.messages import FrameKind
from routing.simulation.chaos import chaos
from routing.simulation.pipes import Pipe
from routing.simulation.scenarios import form, make_world
from routing.simulation.swarm import swarm
from tests.sim.puppet import connected, do, puppet, puppets

__all__: list[str] = []

LIMITS = Limits.recommended()


def pipe(seed: int = 1) -> Pipe:
    return Pipe(bytes(32), forward=True, limits=LIMITS, random=Random(seed))


@pytest.mark.parametrize("seed", range(20))
def test_frames_of_every_size_come_out_as_they_went_in(seed: int) -> None:
    draw = Random(seed)
    sizes = (0, 1, 100, 5_000, 70_000, 300_000)
    sent: list[tuple[FrameKind, bytes]] = []
    came: list[tuple[FrameKind, bytes]] = []
    carried, due = pipe(seed), 0
    while len(came) < 40:
        if len(sent) == len(came) or (draw.random() < 0.6 and len(sent) < 40):
            kind = draw.choice((FrameKind.PING, FrameKind.ROUTED))
            sent.append((kind, draw.randbytes(draw.choice(sizes))))
            due += draw.randint(0, 1)
            carried.write(*sent[-1], due)
        else:
            came.append(carried.read(trusted=True))
    assert came == sent[:40]


def test_frame_above_what_a_stranger_may_send_is_refused() -> None:
    body = bytes(LIMITS.frame_bytes_before_hello + 1)
    early, late = pipe(), pipe()
    early.write(FrameKind.HELLO, body, 0)
    with pytest.raises(FrameError):
        early.read(trusted=False)
    late.write(FrameKind.HELLO, body, 0)
    assert late.read(trusted=True) == (FrameKind.HELLO, body)


def test_two_lanes_do_not_share_a_key() -> None:
    ahead, back = pipe(), Pipe(bytes(32), forward=False, limits=LIMITS, random=Random(1))
    ahead.write(FrameKind.PING, b"here", 0)
    stream = ahead._sealed()
    with pytest.raises(FrameError):
        back._take_in(stream)


@pytest.mark.parametrize("nodes", [3, 12])
def test_same_seed_gives_the_same_trace_at_both_depths(nodes: int) -> None:
    frames, bytes_ = (
        form(make_world(4, command="", checks_every=8, bytewise=bytewise), nodes)
        for bytewise in (False, True)
    )
    assert frames.ok and bytes_.ok
    assert frames.digest == bytes_.digest


@pytest.mark.parametrize("seed", range(3))
def test_faults_are_the_same_at_both_depths(seed: int) -> None:
    """Resets, closes, stalls and slow readers leave streams unfinished, and never out of step."""
    frames, bytes_ = (
        swarm(make_world(seed, command="", checks_every=8, bytewise=bytewise), 7, 200)
        for bytewise in (False, True)
    )
    assert frames.ok and bytes_.ok, bytes_.reason
    assert frames.digest == bytes_.digest
    assert chaos(make_world(seed, command="", checks_every=8, bytewise=True), 5, 200).ok


def test_close_with_its_reason_and_reset_without_one_pass_through_the_stream() -> None:
    world, (a, b) = puppets(2, bytewise=True)
    at_a, at_b = connected(world, a, b)
    do(world, b, Trust(at_b))
    large = bytes(range(256)) * 2_000
    do(
        world,
        a,
        Send(at_a, FrameKind.DIRECT, large, 0),
        Send(at_a, FrameKind.PING, b"last", 0),
        Close(at_a, CloseCode.FULL, "no room"),
    )
    world.run(SECOND)
    assert [frame.body for frame in puppet(b).of(FrameReceived)] == [large, b"last"]
    assert puppet(b).of(Lost) == [Lost(at_b, CloseCode.FULL, "no room")]
    connected(world, a, b)
    world.kill(a, silent=False)
    world.run(SECOND)
    assert [lost.code for lost in puppet(b).of(Lost)] == [CloseCode.FULL, CloseCode.IO_ERROR]
