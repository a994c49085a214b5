"""The slow twin of `routing._inbound`: what the core would decide by its table and its filter."""

from __future__ import annotations

from msgspec import structs

from routing._filter import MessageFilter
from routing._frames import FrameWriter
from routing.actions import BULK
from routing.limits import HOPS_MAX, ROUTES_MAX
from routing.messages import (
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    MessageKind,
    NodeAddress,
    Signed,
    ViaAddress,
    encode,
    open_envelope,
)
from routing.table import RoutingTable
from tests.twin.frames_twin import split_frames

__all__ = ["Inbound", "Way", "repeat_digest", "siphash"]

MASK = 2**64 - 1


def repeat_digest(secret: bytes, text: bytes) -> bytes:
    """SipHash-1-3 with 128 bits of output."""
    return siphash(secret, text, 1, 3)


def siphash(secret: bytes, text: bytes, each: int, last: int) -> bytes:
    """SipHash with 128 bits of output, so many rounds for each word and at the end."""
    k0, k1 = (int.from_bytes(secret[at : at + 8], "little") for at in (0, 8))
    v = [
        0x736F6D6570736575 ^ k0,
        0x646F72616E646F6D ^ k1 ^ 0xEE,
        0x6C7967656E657261 ^ k0,
        0x7465646279746573 ^ k1,
    ]

    def turned(value: int, bits: int) -> int:
        return (value << bits | value >> (64 - bits)) & MASK

    def rounds(count: int) -> None:
        for _ in range(count):
            for a, b, c, d, one, two in ((0, 1, 2, 3, 13, 16), (2, 1, 0, 3, 17, 21)):
                v[a] = (v[a] + v[b]) & MASK
                v[b] = turned(v[b], one) ^ v[a]
                v[a] = turned(v[a], 32)
                v[c] = (v[c] + v[d]) & MASK
                v[d] = turned(v[d], two) ^ v[c]

    padded = text + bytes(7 - len(text) % 8) + bytes([len(text) % 256])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        rounds(each)
        v[0] ^= word
    digest = b""
    for at, extra in ((2, 0xEE), (1, 0xDD)):
        v[at] ^= extra
        rounds(last)
        digest += (v[0] ^ v[1] ^ v[2] ^ v[3]).to_bytes(8, "little")
    return digest


class Way:
    """A connection: its writer, and what is said of it."""

    def __init__(self, writer: FrameWriter) -> None:
        self.writer = writer
        self.blocked = self.doubted = False
        self.heard = self.most = 0
        self.appended = 0


class Inbound:
    """One list of frames, gone through one by one."""

    def __init__(self, secret: bytes, *, quiet_ns: int, room: int) -> None:
        self.secret, self.quiet_ns, self.room = secret, quiet_ns, room
        self.table = RoutingTable(bytes(32))
        self.key = bytes(32)
        self.ways: dict[bytes, Way] = {}
        self.frames: list[tuple[int, bytes]] = []
        self.quiet: Way | None = None
        self.full: Way | None = None
        self.excused = 1 << 62
        self.left = self.forwarded = self.duplicates = 0

    def retable(self, own: bytes, key: bytes, entries: dict[bytes, Way]) -> None:
        self.table, self.key, self.ways = RoutingTable(own), key, entries
        for number, name in enumerate(entries):
            self.table.add(name, number.to_bytes(32, "big"), number + 1)

    def grant(
        self, room: MessageFilter | None, others: tuple[MessageFilter, ...], count: int
    ) -> None:
        self.filter, self.others = room, others
        self.left = count if room is not None else 0

    def open(self, plaintext: bytes, frame_max: int) -> bool:
        self.frames = split_frames(plaintext, frame_max)
        return any(kind == FrameKind.ROUTED for kind, _ in self.frames)

    def up(self, now: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        self.full = None
        while self.frames:
            kind, body = self.frames[0]
            ours = kind == FrameKind.ROUTED and self.onward(body, now) is not None
            if (ours and self.left) or not self.excuses(body):
                break
            found.append(self.frames.pop(0))
            if ours or self.quiet is not None:
                break
        return found

    def excuses(self, body: bytes) -> bool:
        """Tell whether a frame need not wait for room, or may be handed up without it."""
        if self.full is not None and self.excused <= 0:
            return False
        if self.full is not None:
            self.full = None
            self.excused -= len(body)
        return True

    def pass_on(self, now: int) -> int:
        entered = 0
        while self.frames and self.left:
            kind, body = self.frames[0]
            onward = self.onward(body, now) if kind == FrameKind.ROUTED else None
            if onward is None:
                break
            del self.frames[0]
            way, envelope, signed = onward
            digest = repeat_digest(self.secret, encode(envelope)[2:])
            new = not any(other.contains(digest, now) for other in self.others)
            if not (new and self.filter is not None and self.filter.insert(digest, now)):
                self.duplicates += 1
                continue
            entered += 1
            self.left -= 1
            again = encode(structs.replace(envelope, hops=envelope.hops + 1))
            priority = BULK if signed.kind is MessageKind.PART else 0
            way.writer.append(FrameKind.ROUTED, again, priority)
            way.appended += 5 + len(again)
            self.forwarded += 1
        return entered

    def onward(self, body: bytes, now: int) -> tuple[Way, Envelope, Signed] | None:
        """Return where it goes; None where the core has to look at it."""
        opened = open_envelope(body)
        if opened is None or encode(opened[0]) != body or encode(opened[1]) != opened[0].signed:
            return None
        envelope, signed = opened
        if envelope.route >= ROUTES_MAX or envelope.hops + 1 >= HOPS_MAX:
            return None
        if isinstance(signed.destination, GroupAddress) and envelope.route:
            return None
        match signed.destination:
            case NodeAddress(name) | GroupAddress(name):
                target = name
            case ViaAddress(first_hop, name):
                target = first_hop
                if name == self.table.own:
                    return None
            case ClientAddress(proxy, key):
                target = proxy
                if key == self.key:
                    return None
        if target == self.table.own:
            return None
        hop = self.table.next_hop(target, (signed.leave_out,) if signed.leave_out else ())
        way = None if hop is None else self.ways[hop]
        if way is None or way.blocked:
            return None
        if way.writer.queued > self.room or 0 < way.most <= way.writer.queued:
            if hop == target or not way.doubted:
                self.full = way
            return None
        if way.doubted:
            return None
        if now - way.heard >= self.quiet_ns:
            self.quiet = way
            return None
        return way, envelope, signed
