"""The corridor against its twin: the same streams, cut anywhere, the same decisions and bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routing import _frames, _inbound
from routing._filter import MessageFilter
from routing.limits import HOPS_MAX, ROUTES_MAX
from routing.messages import (
    Authority,
    AuthorityKind,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    ViaAddress,
    encode,
)
from tests.twin import frames_twin, inbound_twin

__all__ = ["Corridor"]

SECRET = bytes(range(32))
KEY = bytes([9]) * 32
FRAME_MAX = 70_000
QUIET = 100

# Names that are near to each other in every way: the first byte places them, the last tells apart.
NAMES = [bytes([first]) + bytes(30) + bytes([last]) for first in (0, 1, 64, 200) for last in (1, 2)]
OWN = bytes([3]) + bytes(31)

names = st.sampled_from([*NAMES, OWN, bytes(32), bytes([255]) * 32])
keys = st.sampled_from([KEY, bytes([8]) * 32])
addresses = st.one_of(
    st.builds(NodeAddress, names),
    st.builds(GroupAddress, names),
    st.builds(ClientAddress, names, keys),
    st.builds(ViaAddress, names, names),
)
signed = st.builds(
    Signed,
    destination=addresses,
    kind=st.sampled_from(MessageKind),
    leave_out=st.one_of(st.just(b""), names, st.binary(max_size=32)),
    flags=st.integers(0, 1),
    id=st.sampled_from([bytes(16), bytes([1]) * 16]),
    source=addresses,
    key=keys,
    origin=st.sampled_from([b"", bytes(64)]),
    authority=st.one_of(st.none(), st.builds(Authority, st.sampled_from(AuthorityKind), names)),
    body=st.sampled_from([b"", b"x", bytes(200), bytes(300), bytes(700)]),
)
envelopes = st.builds(
    lambda hops, route, inner: encode(Envelope(hops, route, encode(inner), bytes(64))),
    st.one_of(st.integers(0, HOPS_MAX - 2), st.sampled_from([30, 31, 32, 33, 127, 128, 255])),
    st.one_of(st.integers(0, ROUTES_MAX - 1), st.sampled_from([8, 127, 128, 255])),
    signed,
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """An envelope with a byte changed, cut off or added, mostly where it is read."""
    body = bytearray(draw(envelopes))
    at = draw(st.integers(0, min(len(body) - 1, 320)))
    match draw(st.integers(0, 2)):
        case 0:
            body[at] = draw(st.integers(0, 255))
        case 1:
            del body[at]
        case _:
            body.insert(at, draw(st.integers(0, 255)))
    return bytes(body)


frames = st.one_of(
    st.tuples(st.just(int(FrameKind.ROUTED)), envelopes),
    st.tuples(st.just(int(FrameKind.ROUTED)), spoilt()),
    st.tuples(st.sampled_from([1, 9, 10, 12, 15, 200]), st.binary(max_size=40)),
)


class Corridor(RuleBasedStateMachine):
    """Both go through the same records; what is handed up, sent on and counted is the same."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000
        self.inbound = _inbound.Inbound(
            SECRET,
            hops_max=HOPS_MAX,
            routes_max=ROUTES_MAX,
            kind_max=max(MessageKind),
            kind_bulk=MessageKind.PART,
            quiet_ns=QUIET,
            room=100_000,
        )
        self.twin = inbound_twin.Inbound(SECRET, quiet_ns=QUIET, room=100_000)
        self.filters = [MessageFilter(500, capacity=4, clock=None) for _ in range(4)]
        self.reader = _frames.RecordReader(FRAME_MAX + 64)
        self.twin_reader = frames_twin.RecordReader(FRAME_MAX + 64)
        self.ways = {
            name: (_inbound.Way(name, _frames.FrameWriter()), inbound_twin.Way(self.twin_writer()))
            for name in NAMES
        }
        self.known: list[tuple[int, bytes]] = []

    @staticmethod
    def twin_writer() -> _frames.FrameWriter:
        return frames_twin.FrameWriter()  # type: ignore[return-value]

    @initialize()
    def begin(self) -> None:
        self.retable(NAMES)
        self.wait(0, set())

    @rule(entries=st.lists(st.sampled_from(NAMES), unique=True, min_size=4))
    def retable(self, entries: list[bytes]) -> None:
        self.inbound.retable(OWN, KEY, {name: self.ways[name][0] for name in entries})
        self.twin.retable(OWN, KEY, {name: self.ways[name][1] for name in entries})

    @rule(
        name=st.sampled_from(NAMES),
        blocked=st.sampled_from([False, False, True]),
        doubted=st.sampled_from([False, False, True]),
        most=st.sampled_from([0, 0, 1, 2_000]),
    )
    def mark(self, name: bytes, blocked: bool, doubted: bool, most: int) -> None:
        for way in self.ways[name]:
            way.blocked, way.doubted, way.most = blocked, doubted, most

    @rule(passed=st.sampled_from([0, 1, 20, QUIET, 600]), deaf=st.sets(st.integers(0, 7)))
    def wait(self, passed: int, deaf: set[int]) -> None:
        """Time goes by, and all but a few are heard."""
        self.now += passed
        for number in range(len(NAMES)):
            for way in self.ways[NAMES[number]] if number not in deaf else ():
                way.heard = self.now

    @rule(fresh=st.lists(frames, max_size=6), again=st.lists(st.integers(0, 30), max_size=4))
    def arrive(self, fresh: list[tuple[int, bytes]], again: list[int]) -> None:
        both = [*fresh, *fresh[:1]] + [
            self.known[at % len(self.known)] for at in again if self.known
        ]
        self.known = [*self.known, *fresh][-30:]
        writer = _frames.FrameWriter()
        for kind, body in both:
            writer.append(kind, body)
        stream = b"".join(
            (len(plain) + 16).to_bytes(4, "big") + plain + bytes(16) for plain in writer.take()
        )
        self.reader.feed(stream)
        self.twin_reader.feed(stream)

    @rule(stream=st.data())
    def cut(self, stream: st.DataObject) -> None:
        """The same bytes, in pieces that end anywhere."""
        body = stream.draw(envelopes)
        writer = _frames.FrameWriter()
        writer.append(FrameKind.ROUTED, body)
        (plain,) = writer.take()
        text = (len(plain) + 16).to_bytes(4, "big") + plain + bytes(16)
        at = stream.draw(st.integers(0, len(text)))
        for piece in (text[:at], text[at:]):
            self.reader.feed(piece)
            self.twin_reader.feed(piece)
            self.read(50)

    @rule(count=st.sampled_from([0, 1, 3, 50, 50]), excused=st.sampled_from([0, 1, 900, 1 << 62]))
    def read(self, count: int, excused: int = 1 << 62) -> None:
        """Take every record that is complete, granted so many digests at a time.

        What begins with a frame whose hop is full is left, once so much of that was handed up.
        """
        self.inbound.excused = self.twin.excused = excused
        while True:
            record, other = self.reader.next_record(), self.twin_reader.next_record()
            assert (record is None) == (other is None)
            if record is None:
                return
            self.take(bytes(record)[:-16], count)

    def take(self, plaintext: bytes, count: int) -> None:
        one, two = self.inbound, self.twin
        assert one.open(plaintext, FRAME_MAX) == two.open(plaintext, FRAME_MAX)
        one.grant(self.filters[0], (self.filters[1],), count)
        two.grant(self.filters[2], (self.filters[3],), count)
        while True:
            up = one.up(self.now)
            assert up == two.up(self.now)
            assert (one.quiet is None) == (two.quiet is None)
            one.forgive()
            two.quiet = None
            assert (one.full is None) == (two.full is None)
            assert one.excused == two.excused
            assert one.done == (not two.frames)
            if one.done:
                break
            if one.full is not None and not up:
                left = frames_twin.split_frames(one.rest)
                assert left == two.frames
                two.frames = []
                break
            assert one.pass_on(self.now) == two.pass_on(self.now)
        one.shut()

    @rule(number=st.integers(0, 40))
    def remember_elsewhere(self, number: int) -> None:
        """What a room of another connection holds is no news either."""
        if self.known:
            kind, body = self.known[number % len(self.known)]
            if kind == FrameKind.ROUTED:
                digest = _inbound.repeat_digest(SECRET, body[2:])
                for each in (self.filters[1], self.filters[3]):
                    each.insert(digest, self.now)

    @rule(name=st.sampled_from(NAMES), size=st.integers(0, 70_000), priority=st.integers(0, 3))
    def send(self, name: bytes, size: int, priority: int) -> None:
        """Frames of our own go between those that are passed on."""
        for way in self.ways[name]:
            way.writer.append(15, bytes(size), priority)

    @rule(name=st.sampled_from(NAMES), room=st.sampled_from([-1, 0, 1, 70_000]))
    def write(self, name: bytes, room: int) -> None:
        one, two = self.ways[name]
        assert one.writer.take(room) == two.writer.take(room)

    @invariant()
    def counts_agree(self) -> None:
        assert self.inbound.forwarded == self.twin.forwarded
        assert self.inbound.duplicates == self.twin.duplicates
        for one, two in self.ways.values():
            assert one.writer.queued == two.writer.queued
            assert len(one.writer) == len(two.writer)
            assert one.appended == two.appended

    def teardown(self) -> None:
        for one, two in self.ways.values():
            assert one.writer.take() == two.writer.take()


Corridor.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestCorridor = Corridor.TestCase


@given(st.binary(max_size=70), st.binary(min_size=16, max_size=32))
def test_digest_is_that_of_the_twin(text: bytes, secret: bytes) -> None:
    assert _inbound.repeat_digest(secret, text) == inbound_twin.repeat_digest(secret, text)
