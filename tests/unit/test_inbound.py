"""The corridor: what it passes on by itself, and what it leaves to the core."""

from __future__ import annotations

import pytest
from msgspec import structs

from routing import _inbound
from routing._filter import MessageFilter
from routing._frames import FrameError, FrameWriter, split_frames
from routing._inbound import Inbound, Way, repeat_digest
from routing.errors import CloseCode, UsageError
from routing.limits import HOPS_MAX, ROUTES_MAX
from routing.messages import (
    Address,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    ViaAddress,
    decode,
    encode,
)
from tests.twin.inbound_twin import siphash

__all__: list[str] = []

SECRET = bytes(range(32))
KEY = bytes([9]) * 32
OWN, ONE, TWO = bytes([1]) * 32, bytes([0x40]) * 32, bytes([0x80]) * 32
MESSAGE = MessageKind.MESSAGE


class Passage:
    """A corridor between us and two peers, and what came of each record."""

    def __init__(self, *, room: int = 1_000_000, quiet_ns: int = 100) -> None:
        self.inbound = Inbound(
            SECRET,
            hops_max=HOPS_MAX,
            routes_max=ROUTES_MAX,
            kind_max=max(MessageKind),
            kind_bulk=MessageKind.PART,
            quiet_ns=quiet_ns,
            room=room,
        )
        self.one, self.two = Way("one", FrameWriter()), Way("two", FrameWriter())
        self.inbound.retable(OWN, KEY, {ONE: self.one, TWO: self.two})
        self.filter = MessageFilter(1_000, capacity=100, clock=None)
        self.others: tuple[MessageFilter, ...] = ()
        self.now = 50

    def take(self, *bodies: bytes, kind: int = FrameKind.ROUTED, count: int = 100) -> list[bytes]:
        """Go through one record; return the bodies that were handed up."""
        writer = FrameWriter()
        for body in bodies:
            writer.append(kind, body)
        (plaintext,) = writer.take()
        handed: list[bytes] = []
        self.inbound.open(plaintext, 1_048_576)
        self.inbound.grant(self.filter, self.others, count)
        while True:
            handed += [body for _, body in self.inbound.up(self.now)]
            if self.inbound.done:
                break
            self.inbound.forgive()
            self.inbound.pass_on(self.now)
        self.inbound.shut()
        return handed


def sent(way: Way) -> list[Envelope]:
    frames = [frame for plaintext in way.writer.take() for frame in split_frames(plaintext)]
    assert all(kind == FrameKind.ROUTED for kind, _ in frames)
    opened = [decode(Envelope, body) for _, body in frames]
    return [each for each in opened if each is not None]


def envelope(
    destination: Address,
    *,
    kind: MessageKind = MESSAGE,
    leave_out: bytes = b"",
    hops: int = 0,
    route: int = 0,
    body: bytes = b"text",
) -> Envelope:
    signed = Signed(
        destination=destination,
        kind=kind,
        leave_out=leave_out,
        flags=1,
        id=bytes(16),
        source=NodeAddress(TWO),
        key=KEY,
        origin=bytes(64),
        authority=None,
        body=body,
    )
    return Envelope(hops, route, encode(signed), bytes(64))


@pytest.mark.parametrize(
    "destination",
    [
        NodeAddress(ONE),
        NodeAddress(bytes([0x41]) * 32),
        GroupAddress(ONE),
        ClientAddress(ONE, bytes(32)),
        ViaAddress(ONE, bytes(32)),
    ],
    ids=["node", "near", "group", "client", "via"],
)
def test_message_for_others_goes_on_with_one_hop_more(destination: Address) -> None:
    passage = Passage()
    message = envelope(destination, hops=3, route=0 if isinstance(destination, GroupAddress) else 2)
    assert passage.take(encode(message)) == []
    assert sent(passage.one) == [structs.replace(message, hops=4)] and sent(passage.two) == []
    assert passage.inbound.forwarded == 1


@pytest.mark.parametrize(
    "message",
    [
        envelope(NodeAddress(OWN)),
        envelope(ViaAddress(OWN, ONE)),
        envelope(ViaAddress(ONE, OWN)),
        envelope(ClientAddress(OWN, bytes(32))),
        envelope(ClientAddress(ONE, KEY)),
        envelope(NodeAddress(bytes(32))),
        envelope(GroupAddress(bytes([2]) * 32)),
        envelope(NodeAddress(ONE), hops=HOPS_MAX - 1),
        envelope(NodeAddress(ONE), hops=255),
        envelope(GroupAddress(ONE), route=1),
        envelope(NodeAddress(ONE), route=ROUTES_MAX),
        structs.replace(envelope(NodeAddress(ONE)), signed=b"rubbish"),
    ],
    ids=[
        "us",
        "via",
        "through",
        "ours",
        "key",
        "nobody",
        "group",
        "hops",
        "more",
        "repeat to a group",
        "route",
        "rubbish",
    ],
)
def test_message_about_which_there_is_more_to_say_is_handed_up(message: Envelope) -> None:
    passage = Passage()
    body = encode(message)
    assert passage.take(body) == [body]
    assert sent(passage.one) == [] and sent(passage.two) == []
    assert len(passage.filter) == 0, "it is for the core to remember it"


def test_second_copy_is_dropped_and_counted() -> None:
    passage = Passage()
    message = envelope(NodeAddress(ONE))
    again = structs.replace(message, hops=9)
    assert passage.take(encode(message), encode(again), encode(message)) == []
    assert len(sent(passage.one)) == 1
    assert (passage.inbound.forwarded, passage.inbound.duplicates) == (1, 2)


def test_copy_that_another_room_holds_is_dropped() -> None:
    passage = Passage()
    other = MessageFilter(1_000, capacity=10, clock=None)
    message = encode(envelope(NodeAddress(ONE)))
    other.insert(repeat_digest(SECRET, message[2:]), 0)
    passage.others = (other,)
    assert passage.take(message) == [] and passage.inbound.duplicates == 1


def test_other_route_number_is_another_message() -> None:
    passage = Passage()
    passage.take(*(encode(envelope(NodeAddress(ONE), route=route)) for route in range(8)))
    assert [each.route for each in sent(passage.one)] == list(range(8))


def test_name_left_out_is_not_the_next_hop() -> None:
    passage = Passage()
    near_two = bytes([0xC0]) * 32
    passage.take(encode(envelope(NodeAddress(near_two), leave_out=TWO)))
    assert sent(passage.two) == []
    passage.take(encode(envelope(NodeAddress(near_two), leave_out=ONE)))
    assert len(sent(passage.two)) == 1


def test_connection_that_is_blocked_doubted_or_full_gets_nothing() -> None:
    passage = Passage(room=50)
    body = encode(envelope(NodeAddress(ONE)))
    passage.one.blocked = True
    assert passage.take(body) == [body]
    passage.one.blocked, passage.one.doubted = False, True
    assert passage.take(body) == [body]
    passage.one.doubted = False
    passage.one.writer.append(15, bytes(51))
    assert passage.take(body) == [body]
    passage.one.writer.take()
    assert passage.take(body) == []


def test_peer_not_heard_for_long_is_named_and_its_message_handed_up() -> None:
    passage = Passage(quiet_ns=100)
    body = encode(envelope(NodeAddress(ONE)))
    inbound = passage.inbound
    passage.now = 100
    writer = FrameWriter()
    writer.append(FrameKind.ROUTED, body)
    inbound.open(writer.take()[0], 1_000)
    inbound.grant(passage.filter, (), 10)
    assert inbound.up(passage.now) == [(FrameKind.ROUTED, body)]
    assert inbound.quiet is passage.one
    inbound.forgive(60)
    inbound.shut()
    assert passage.one.heard == 60
    assert passage.take(body) == [], "it has been heard since"


def test_nothing_is_passed_on_beyond_what_was_granted() -> None:
    passage = Passage()
    bodies = [encode(envelope(NodeAddress(ONE), route=route)) for route in range(5)]
    assert passage.take(*bodies, count=3) == bodies[3:]
    assert len(sent(passage.one)) == 3


def test_large_parts_go_behind_everything_else() -> None:
    passage = Passage()
    part = envelope(NodeAddress(ONE), kind=MessageKind.PART, body=bytes(100_000))
    short = envelope(NodeAddress(ONE))
    passage.take(encode(part))
    passage.take(encode(short))
    assert [each.signed for each in sent(passage.one)] == [short.signed, part.signed]


def test_touched_names_each_connection_once_with_its_bytes() -> None:
    passage = Passage()
    bodies = [encode(envelope(NodeAddress(ONE), route=route)) for route in range(3)]
    passage.take(*bodies)
    (way,) = passage.inbound.touched()
    assert way is passage.one and way.line == "one"
    assert Inbound.settle(way) == way.writer.queued == 3 * (5 + len(bodies[0]))
    assert Inbound.settle(way) == 0 and passage.inbound.touched() == []


def test_record_of_frames_that_are_none_is_refused_before_any_is_taken() -> None:
    passage = Passage()
    good = encode(envelope(NodeAddress(ONE)))
    plain = len(good).to_bytes(4, "big") + bytes([FrameKind.ROUTED]) + good
    for text in (b"", plain + b"\0", plain + (5).to_bytes(4, "big") + b"\x0babc"):
        with pytest.raises(FrameError) as caught:
            passage.inbound.open(text, 1_000_000)
        assert caught.value.code is CloseCode.BAD_FRAME
    with pytest.raises(FrameError) as caught:
        passage.inbound.open(plain, len(good) - 1)
    assert caught.value.code is CloseCode.TOO_LARGE
    assert sent(passage.one) == []


def test_digest_is_siphash_1_3_of_128_bits() -> None:
    """Its authors publish vectors for 2-4; the twin has them, and is ours with fewer rounds."""
    key = bytes(range(16))
    assert siphash(key, b"", 2, 4).hex() == "a3817f04ba25a8e66df67214c7550293"
    assert siphash(key, b"\0\1", 2, 4).hex() == "8177228da4a45dc7fca38bdef60affe4"
    for size in (*range(20), 255, 256, 700):
        text = bytes(range(256)) * 3
        assert repeat_digest(key, text[:size]) == siphash(key, text[:size], 1, 3)


def test_wrong_arguments_are_refused() -> None:
    passage = Passage()
    with pytest.raises(UsageError, match="it must have 32 bytes"):
        passage.inbound.retable(bytes(31), KEY, {})
    with pytest.raises(UsageError, match="must have 16 or more"):
        repeat_digest(bytes(15), b"")
    with pytest.raises(TypeError, match="must be filters"):
        passage.inbound.grant(passage.filter, (3,), 1)  # type: ignore[arg-type]
    assert passage.take(encode(envelope(NodeAddress(ONE)))) == [], "nothing has changed"


def test_numbers_of_the_room_are_those_of_the_messages() -> None:
    assert _inbound.ROUTED == FrameKind.ROUTED
    assert sorted(MessageKind) == list(range(1, max(MessageKind) + 1)), "no gap to fall through"
