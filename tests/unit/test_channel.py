"""The channel: who is at the far end, over which bytes, and what a stranger gets for it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing._frames import FrameError
from routing.channel import (
    HANDSHAKE_BYTES_MAX,
    Channel,
    ChannelError,
    Handshake,
    preamble,
)
from routing.errors import CloseCode, DialFailure
from routing.identity import Identity, verify
from routing.messages import SignedKind, signed_text
from routing.noise import KeyPair, Noise, NoiseError

__all__: list[str] = []

TAG = sha256(b"routing:network:1" + b"test").digest()[:8]
ALICE, BOB, CAROL = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2, 3))


@dataclass
class End:
    """One end, its static and ephemeral private keys derived from a seed."""

    identity: Identity
    dialler: bool
    seed: int = 0
    tag: bytes = TAG
    expect: bytes | None = None
    versions: tuple[int, int] = (1, 1)
    sign: Callable[[bytes], bytes] | None = None
    handshake: Handshake = field(init=False)

    def __post_init__(self) -> None:
        secret = b"%d %d" % (self.seed, self.dialler)
        self.handshake = Handshake(
            dialler=self.dialler,
            sign=self.sign or self.identity.sign,
            verify=verify,
            key=self.identity.key,
            tag=self.tag,
            static=sha256(b"static" + secret).digest(),
            ephemeral=sha256(b"ephemeral" + secret).digest(),
            expect=self.expect,
            versions=self.versions,
        )

    @property
    def channel(self) -> Channel:
        assert self.handshake.channel is not None
        return self.handshake.channel


def dialogue(dialler: End, acceptor: End) -> list[bytes]:
    """Run both ends to the end and return what was written, the dialler's first."""
    written: list[bytes] = []
    sender, receiver = dialler, acceptor
    message = dialler.handshake.start()
    while message:
        written.append(message)
        message = receiver.handshake.receive(message)
        sender, receiver = receiver, sender
    return written


def joined() -> tuple[Channel, Channel]:
    dialler, acceptor = End(ALICE, True), End(BOB, False)
    dialogue(dialler, acceptor)
    return dialler.channel, acceptor.channel


def reason(run: Callable[[], object]) -> DialFailure:
    with pytest.raises(ChannelError) as caught:
        run()
    return caught.value.reason


# -- what a good handshake gives


def test_both_ends_know_each_other_and_share_one_binding() -> None:
    dialler, acceptor = joined()
    assert (dialler.key, acceptor.key) == (BOB.key, ALICE.key)
    assert dialler.binding == acceptor.binding
    assert len(dialler.binding) == 32
    assert dialler.version == acceptor.version == 1


def test_handshake_takes_the_bytes_the_protocol_says() -> None:
    sizes = [len(part) for part in dialogue(End(ALICE, True), End(BOB, False))]
    # Preamble; preamble; message 1; message 2 with key and signature; message 3 likewise.
    assert sizes == [16, 16, 2 + 32, 2 + 32 + 48 + 96 + 16, 2 + 48 + 96 + 16]


def test_no_two_connections_share_a_binding() -> None:
    bindings = set()
    for seed in range(4):
        dialler, acceptor = End(ALICE, True, seed), End(BOB, False, seed)
        dialogue(dialler, acceptor)
        bindings.add(dialler.channel.binding)
    assert len(bindings) == 4


def test_highest_common_version_is_chosen() -> None:
    dialler, acceptor = End(ALICE, True, versions=(1, 7)), End(BOB, False, versions=(2, 4))
    dialogue(dialler, acceptor)
    assert dialler.channel.version == acceptor.channel.version == 4


def test_acceptor_says_nothing_first() -> None:
    assert End(BOB, False).handshake.start() == b""
    assert End(ALICE, True).handshake.start() == preamble(TAG) == b"RTNG\0\1\0\1" + TAG


def early_dialogue(dialler: End, acceptor: End) -> list[bytes]:
    """As `dialogue`, message 1 right behind the preamble."""
    opening = dialler.handshake.start() + dialler.handshake.early()
    answer = acceptor.handshake.receive(opening)
    last = dialler.handshake.receive(answer)
    assert acceptor.handshake.receive(last) == b""
    return [opening, answer, last]


def test_first_message_behind_the_preamble_saves_a_round_trip() -> None:
    dialler, acceptor = End(ALICE, True), End(BOB, False)
    written = early_dialogue(dialler, acceptor)
    assert [len(part) for part in written] == [16 + 34, 16 + 194, 162]
    assert dialler.channel.binding == acceptor.channel.binding
    assert (dialler.channel.key, acceptor.channel.key) == (BOB.key, ALICE.key)


def test_first_message_is_the_same_early_or_late() -> None:
    late = dialogue(End(ALICE, True), End(BOB, False))
    early = early_dialogue(End(ALICE, True), End(BOB, False))
    assert early == [late[0] + late[2], late[1] + late[3], late[4]]


def test_acceptor_has_nothing_to_say_early() -> None:
    acceptor = End(BOB, False)
    assert acceptor.handshake.early() == b""
    dialogue(End(ALICE, True), acceptor)
    assert acceptor.channel.key == ALICE.key


def test_early_dialler_still_learns_why_it_is_refused() -> None:
    dialler, acceptor = End(ALICE, True, tag=bytes(8)), End(BOB, False)
    with pytest.raises(ChannelError) as caught:
        acceptor.handshake.receive(dialler.handshake.start() + dialler.handshake.early())
    answer = caught.value.answer
    assert answer == preamble(TAG)
    assert reason(lambda: dialler.handshake.receive(answer)) is DialFailure.WRONG_NETWORK


def test_expected_identity_is_accepted() -> None:
    dialler, acceptor = End(ALICE, True, expect=BOB.key), End(BOB, False)
    dialogue(dialler, acceptor)
    assert dialler.channel.key == BOB.key


@given(data=st.data())
def test_bytes_may_be_cut_anywhere(data: st.DataObject) -> None:
    dialler, acceptor = End(ALICE, True), End(BOB, False)
    waiting = {True: dialler.handshake.start(), False: b""}
    behind = b"the first record follows at once"
    for _ in range(2_000):
        towards = [side for side in (True, False) if waiting[side]]
        if not towards:
            break
        sender = data.draw(st.sampled_from(towards))
        size = data.draw(st.integers(1, len(waiting[sender])))
        part, waiting[sender] = waiting[sender][:size], waiting[sender][size:]
        receiver = acceptor if sender else dialler
        complete = dialler.handshake.channel is not None
        waiting[not sender] += receiver.handshake.receive(part)
        if not complete and dialler.handshake.channel is not None:
            waiting[True] += behind
    assert dialler.channel.binding == acceptor.channel.binding
    assert acceptor.handshake.leftover == behind
    assert dialler.handshake.leftover == b""


# -- records


def test_records_pass_both_ways_in_order() -> None:
    dialler, acceptor = joined()
    for sender, receiver in ((dialler, acceptor), (acceptor, dialler)):
        for number in range(4):
            record = sender.seal(b"frame" * number)
            (length,) = struct.unpack_from(">I", record)
            assert length == len(record) - 4 == 5 * number + 16
            assert receiver.open(memoryview(record)[4:]) == b"frame" * number
    assert dialler.sealed == 4


@pytest.mark.parametrize("place", [0, 3, -1])
def test_altered_record_does_not_open(place: int) -> None:
    dialler, acceptor = joined()
    sealed = bytearray(dialler.seal(b"frames")[4:])
    sealed[place] ^= 1
    with pytest.raises(FrameError) as caught:
        acceptor.open(bytes(sealed))
    assert caught.value.code is CloseCode.BAD_FRAME


def test_record_is_opened_once_and_in_its_place() -> None:
    dialler, acceptor = joined()
    first, second = dialler.seal(b"first")[4:], dialler.seal(b"second")[4:]
    assert acceptor.open(first) == b"first"
    with pytest.raises(FrameError):
        acceptor.open(first)
    with pytest.raises(FrameError):
        joined()[1].open(second)


def test_record_of_one_direction_does_not_open_in_the_other() -> None:
    dialler, _ = joined()
    with pytest.raises(FrameError):
        dialler.open(dialler.seal(b"echo")[4:])


def test_records_end_before_nonces_repeat() -> None:
    dialler, _ = joined()
    dialler._sending.nonce = (1 << 48) - 1
    dialler.seal(b"the last")
    with pytest.raises(NoiseError, match="close this connection"):
        dialler.seal(b"one too many")


# -- what a bad one gives


@pytest.mark.parametrize("dialler", [True, False], ids=["dialler", "acceptor"])
@pytest.mark.parametrize(
    ("garbage", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", DialFailure.NOT_OURS),
        (b"R\0", DialFailure.NOT_OURS),
        (b"SSH-2.0-", DialFailure.NOT_OURS),
        (b"RTNG\0\2\0\3" + TAG, DialFailure.WRONG_VERSION),
        (b"RTNG\0\0\0\0" + TAG, DialFailure.WRONG_VERSION),
        (b"RTNG\0\5\0\1" + TAG, DialFailure.WRONG_VERSION),
        (b"RTNG\0\1\0\1" + bytes(8), DialFailure.WRONG_NETWORK),
    ],
)
def test_preamble_that_does_not_fit_is_refused(
    dialler: bool, garbage: bytes, expected: DialFailure
) -> None:
    end = End(ALICE, dialler)
    with pytest.raises(ChannelError) as caught:
        end.handshake.receive(garbage)
    assert caught.value.reason is expected
    # The acceptor answers all the same: only so can the dialler tell why it was closed.
    assert caught.value.answer == (b"" if dialler else preamble(TAG))


def test_both_ends_derive_the_same_reason() -> None:
    dialler, acceptor = End(ALICE, True, tag=bytes(8)), End(BOB, False)
    with pytest.raises(ChannelError) as caught:
        acceptor.handshake.receive(dialler.handshake.start())
    assert caught.value.reason is DialFailure.WRONG_NETWORK
    answer = caught.value.answer
    assert reason(lambda: dialler.handshake.receive(answer)) is DialFailure.WRONG_NETWORK


def test_dialler_that_meets_itself_aborts_before_it_proves_anything() -> None:
    dialler, acceptor = End(ALICE, True), End(ALICE, False)
    answer = acceptor.handshake.receive(dialler.handshake.start())
    answer = acceptor.handshake.receive(dialler.handshake.receive(answer))
    assert reason(lambda: dialler.handshake.receive(answer)) is DialFailure.SELF
    assert dialler.handshake.channel is None and acceptor.handshake.channel is None


def test_acceptor_that_meets_itself_aborts() -> None:
    assert third_message_reason(ALICE, End(ALICE, False)) is DialFailure.SELF


def test_wrong_identity_is_refused_before_our_own_is_shown() -> None:
    dialler, acceptor = End(ALICE, True, expect=CAROL.key), End(BOB, False)
    assert reason(lambda: dialogue(dialler, acceptor)) is DialFailure.WRONG_IDENTITY
    assert acceptor.handshake.channel is None


def raw_dialler(acceptor: End) -> tuple[Noise, bytes]:
    """Play a dialler by hand up to message 2; return its Noise state and its static key."""
    answer = acceptor.handshake.receive(preamble(TAG))
    noise = Noise(
        initiator=True,
        prologue=preamble(TAG) + answer,
        static=KeyPair(b"\7" * 32),
        ephemeral=KeyPair(b"\x08" * 32),
    )
    answer = acceptor.handshake.receive(framed(noise.write()))
    noise.read(answer[2:])
    return noise, noise.public


def framed(message: bytes) -> bytes:
    return struct.pack(">H", len(message)) + message


def third_message_reason(
    identity: Identity,
    acceptor: End,
    alter: Callable[[bytes], bytes] = lambda payload: payload,
    text: Callable[[bytes], bytes] = lambda static: signed_text(SignedKind.CHANNEL, TAG, static),
) -> DialFailure:
    noise, static = raw_dialler(acceptor)
    payload = alter(identity.key + identity.sign(text(static)))
    return reason(lambda: acceptor.handshake.receive(framed(noise.write(payload))))


@pytest.mark.parametrize(
    "text",
    [
        lambda static: signed_text(SignedKind.CHANNEL, bytes(8), static),
        lambda static: signed_text(SignedKind.HELLO, TAG, static),
        lambda static: signed_text(SignedKind.CHANNEL, TAG, bytes(32)),
        lambda static: static,
    ],
    ids=["another network", "another kind", "another static key", "no prefix"],
)
def test_signature_over_anything_else_is_refused(text: Callable[[bytes], bytes]) -> None:
    found = third_message_reason(ALICE, End(BOB, False), text=text)
    assert found is DialFailure.BAD_HANDSHAKE


ORDER = 2**252 + 27742317777372353535851937790883648493


def with_larger_scalar(payload: bytes) -> bytes:
    """The same signature with S + L: equal modulo the group order, not canonical."""
    scalar = int.from_bytes(payload[64:], "little") + ORDER
    return payload[:64] + scalar.to_bytes(32, "little")


@pytest.mark.parametrize(
    "alter",
    [
        with_larger_scalar,
        lambda payload: (1).to_bytes(32, "little") + (1).to_bytes(32, "little") + bytes(32),
        lambda payload: bytes(32) + bytes(64),
        lambda payload: (
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
            + (1).to_bytes(32, "little")
            + bytes(32)
        ),
        lambda payload: (
            (2**255 - 18).to_bytes(32, "little") + (1).to_bytes(32, "little") + bytes(32)
        ),
        lambda payload: BOB.key + payload[32:],
        lambda payload: payload[:-1],
        lambda payload: payload + b"\0",
        lambda payload: b"",
    ],
    ids=[
        "S not canonical",
        "key and R the neutral point",
        "key zero",
        "key of order 8",
        "key not canonical",
        "somebody else's key",
        "too short",
        "too long",
        "empty",
    ],
)
def test_identity_that_anybody_could_forge_is_refused(alter: Callable[[bytes], bytes]) -> None:
    found = third_message_reason(ALICE, End(CAROL, False), alter)
    assert found is DialFailure.BAD_HANDSHAKE


def test_hand_played_dialler_with_its_own_identity_is_accepted() -> None:
    acceptor = End(BOB, False)
    noise, static = raw_dialler(acceptor)
    payload = ALICE.key + ALICE.sign(signed_text(SignedKind.CHANNEL, TAG, static))
    assert acceptor.handshake.receive(framed(noise.write(payload))) == b""
    assert acceptor.channel.key == ALICE.key


def test_first_message_may_carry_nothing() -> None:
    acceptor = End(BOB, False)
    acceptor.handshake.receive(preamble(TAG))
    pair = KeyPair(b"\7" * 32)
    noise = Noise(initiator=True, prologue=b"", static=pair, ephemeral=pair)
    message = framed(noise.write(b"early"))
    assert reason(lambda: acceptor.handshake.receive(message)) is DialFailure.BAD_HANDSHAKE


@pytest.mark.parametrize("length", [HANDSHAKE_BYTES_MAX + 1, 65_535])
def test_oversized_message_is_refused_at_its_length(length: int) -> None:
    acceptor = End(BOB, False)
    acceptor.handshake.receive(preamble(TAG))
    found = reason(lambda: acceptor.handshake.receive(struct.pack(">H", length)))
    assert found is DialFailure.BAD_HANDSHAKE


def test_longest_message_allowed_is_waited_for() -> None:
    acceptor = End(BOB, False)
    acceptor.handshake.receive(preamble(TAG))
    assert acceptor.handshake.receive(struct.pack(">H", HANDSHAKE_BYTES_MAX) + bytes(4_095)) == b""
    assert reason(lambda: acceptor.handshake.receive(b"\0")) is DialFailure.BAD_HANDSHAKE


def test_handshake_cut_short_never_yields_a_channel() -> None:
    written = dialogue(End(ALICE, True), End(BOB, False))
    to_acceptor = b"".join(written[0::2])
    for size in range(len(to_acceptor)):
        acceptor = End(BOB, False)
        acceptor.handshake.receive(to_acceptor[:size])
        assert acceptor.handshake.channel is None


def flips() -> list[tuple[int, int]]:
    """(message, byte) for every byte of a whole handshake, lengths and preambles included."""
    written = dialogue(End(ALICE, True), End(BOB, False))
    return [(turn, place) for turn, part in enumerate(written) for place in range(len(part))]


def run_with_flip(turn: int, place: int, bit: int) -> tuple[Handshake, Handshake]:
    dialler, acceptor = End(ALICE, True, versions=(1, 9)), End(BOB, False, versions=(1, 9))
    receiver, sender = acceptor, dialler
    message = dialler.handshake.start()
    for number in range(5):
        if number == turn:
            altered = bytearray(message)
            altered[place] ^= bit
            message = bytes(altered)
        message = receiver.handshake.receive(message)
        receiver, sender = sender, receiver
        if not message:
            break
    return dialler.handshake, acceptor.handshake


def test_every_flipped_byte_is_noticed() -> None:
    survivors = []
    for turn, place in flips():
        for bit in (1, 0x80):
            try:
                _, acceptor = run_with_flip(turn, place, bit)
            except ChannelError:
                continue
            # A flip that only lengthens a message leaves its reader waiting: also no channel.
            if acceptor.channel is not None:
                survivors.append((turn, place, bit))
    assert survivors == []


def test_handshake_replayed_on_another_connection_is_refused() -> None:
    recorded = dialogue(End(ALICE, True, seed=0), End(BOB, False, seed=0))
    acceptor = End(BOB, False, seed=1)
    acceptor.handshake.receive(recorded[0])
    acceptor.handshake.receive(recorded[2])
    found = reason(lambda: acceptor.handshake.receive(recorded[4]))
    assert found is DialFailure.BAD_HANDSHAKE


def test_stranger_in_the_middle_cannot_pass_for_either_end() -> None:
    """He relays the signature of Alice, made for her static key, under his own."""
    noise, _ = raw_dialler(acceptor := End(BOB, False))
    alices = End(ALICE, True)
    stolen = ALICE.key + ALICE.sign(
        signed_text(SignedKind.CHANNEL, TAG, sha256(b"static" + b"%d %d" % (0, True)).digest())
    )
    assert alices.handshake.channel is None
    found = reason(lambda: acceptor.handshake.receive(framed(noise.write(stolen))))
    assert found is DialFailure.BAD_HANDSHAKE


def test_unproved_peer_costs_at_most_one_message() -> None:
    acceptor = End(BOB, False)
    acceptor.handshake.receive(preamble(TAG))
    acceptor.handshake.receive(struct.pack(">H", HANDSHAKE_BYTES_MAX) + bytes(4_000))
    assert len(acceptor.handshake._unread) == 4_002
    with pytest.raises(ChannelError):
        acceptor.handshake.receive(bytes(8_000))
    assert acceptor.handshake._unread == b""
