"""The secure channel without its socket: preamble, handshake with identities, sealed records.

Both sides send 16 bytes in the clear (magic `RTNG`, u16 lowest and u16 highest version, 8 bytes of
network tag; big-endian), the dialler at once, the acceptor when it has read the dialler's. Then
Noise XX, each message behind a u16 length, its prologue the dialler's 16 bytes and the acceptor's.
The payloads of messages 2 and 3 are the sender's Ed25519 key (32) and its signature (64) over the
kind CHANNEL and the Noise static key, so whoever completes the handshake owns both keys.

It depends on no clock, draws nothing and waits for nothing: private keys and bytes come in, bytes
go out; how long the ciphers took is for its meter. How long a handshake may take and who may start
one are decided elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from routing._frames import FrameError
from routing._meter import Meter
from routing.errors import CloseCode, DialFailure, RoutingError
from routing.messages import SignedKind, signed_text
from routing.noise import KEY_BYTES, TAG_BYTES, Cipher, KeyPair, Noise, NoiseError

__all__ = [
    "HANDSHAKE_BYTES_MAX",
    "PREAMBLE_BYTES",
    "VERSIONS",
    "Channel",
    "ChannelError",
    "Handshake",
    "preamble",
]

MAGIC: Final = b"RTNG"

PREAMBLE_BYTES: Final = 16

VERSIONS: Final = (1, 1)
"""Lowest and highest version of the protocol that this package speaks."""

HANDSHAKE_BYTES_MAX: Final = 4_096
"""Of one handshake message: what a stranger can make us hold before it has proved anything."""

SIGNATURE_BYTES: Final = 64

LENGTH_BYTES: Final = 4
RECORD_BYTES: Final = LENGTH_BYTES + TAG_BYTES
"""That a record is larger than its plaintext."""

COPIED_BYTES: Final = 65_536
"""A smaller record is put behind its length; a larger one is sealed where it is to be."""

_preamble: Final = struct.Struct(">4sHH8s")
_length: Final = struct.Struct(">H")
_record_length: Final = struct.Struct(">I").pack

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes, bytes], bool]


class ChannelError(RoutingError):
    """The handshake cannot go on; `answer` is still to be written before the FIN (or is empty)."""

    def __init__(self, reason: DialFailure, text: str, answer: bytes = b"") -> None:
        super().__init__(text)
        self.reason = reason
        self.answer = answer


def preamble(tag: bytes, versions: tuple[int, int] = VERSIONS) -> bytes:
    """Return our first 16 bytes; `tag` is the network tag, 8 bytes."""
    assert len(tag) == 8, "a network tag has 8 bytes"
    return _preamble.pack(MAGIC, *versions, tag)


class Channel:
    """A finished handshake: who is at the far end, and a cipher for each direction.

    Records must be opened in the order they were sealed; one that does not open ends the channel.
    """

    __slots__ = ("_receiving", "_sending", "binding", "key", "meter", "version")

    def __init__(
        self, *, key: bytes, binding: bytes, version: int, sending: Cipher, receiving: Cipher
    ) -> None:
        self.key = key
        """The far end's Ed25519 key, proved."""
        self.binding = binding
        """The handshake hash, 32 bytes: the same at both ends and on no other connection."""
        self.version = version
        self._sending = sending
        self._receiving = receiving
        self.meter = Meter()
        """Counts our records; a host puts the one that all its channels share in its place."""

    @property
    def sealed(self) -> int:
        """Records sealed so far."""
        return self._sending.nonce

    def rest_sending(self) -> None:
        """Give memory back until we have something to say."""
        self._sending.rest()

    def rest_receiving(self) -> None:
        """Give memory back until the far end has something to say."""
        self._receiving.rest()

    def seal(self, plaintext: bytes) -> bytes:
        """Return one record: u32 length of what follows, ciphertext, tag.

        Raises:
            NoiseError: 2^48 records were sealed; the connection has to be closed.
        """
        meter = self.meter
        meter.start()
        body = self._sending.seal(plaintext)
        meter.sealed(1)
        return _record_length(len(body)) + body

    def seal_all(self, plaintexts: list[bytes]) -> bytes | bytearray:
        """Return the records of several plaintexts, one behind the other; as `seal` for each."""
        if len(plaintexts) == 1 and len(plaintexts[0]) < COPIED_BYTES:
            return self.seal(plaintexts[0])
        sealed = bytearray(sum(map(len, plaintexts)) + len(plaintexts) * RECORD_BYTES)
        at, view = 0, memoryview(sealed)
        self.meter.start()
        for plaintext in plaintexts:
            end = at + RECORD_BYTES + len(plaintext)
            view[at : at + LENGTH_BYTES] = _record_length(end - at - LENGTH_BYTES)
            self._sending.seal_into(plaintext, view[at + LENGTH_BYTES : end])
            at = end
        self.meter.sealed(len(plaintexts))
        return sealed

    def open(self, sealed: bytes | memoryview) -> bytes:
        """Return the plaintext of a record, given without its length.

        Raises:
            FrameError: it was not sealed by the far end as its next record (BAD_FRAME).
        """
        meter = self.meter
        meter.start()
        try:
            return self._receiving.open(sealed)
        except NoiseError as error:
            raise FrameError(CloseCode.BAD_FRAME, str(error)) from None
        finally:
            meter.opened()


class Handshake:
    """One end of one handshake, from the first byte to a `Channel`.

    Args:
        dialler: We dialled; we speak first.
        sign: Returns the Ed25519 signature of a text under our key.
        verify: Tells whether (key, text, signature) hold together, by strict rules.
        key: Our Ed25519 public key.
        tag: The network tag, 8 bytes.
        static: Our X25519 key; the pair, where one serves many handshakes.
        ephemeral: An X25519 private key made for this handshake alone.
        expect: The key that the far end must prove, or None for anybody but ourselves.
        versions: Lowest and highest version offered.

    Write what `start` and `receive` return. It holds at most one unfinished message
    (`HANDSHAKE_BYTES_MAX` + 2 bytes) besides what the last `receive` was given.
    """

    __slots__ = (
        "_dialler",
        "_early",
        "_ephemeral",
        "_expect",
        "_failed",
        "_key",
        "_noise",
        "_ours",
        "_sign",
        "_static",
        "_tag",
        "_unread",
        "_verify",
        "_version",
        "_versions",
        "channel",
    )

    def __init__(
        self,
        *,
        dialler: bool,
        sign: Sign,
        verify: Verify,
        key: bytes,
        tag: bytes,
        static: bytes | KeyPair,
        ephemeral: bytes,
        expect: bytes | None = None,
        versions: tuple[int, int] = VERSIONS,
    ) -> None:
        self._dialler = dialler
        self._sign = sign
        self._verify = verify
        self._key = key
        self._tag = tag
        self._static: bytes | KeyPair = static
        self._ephemeral = ephemeral
        self._early: KeyPair | None = None
        self._expect = expect
        self._versions = versions
        self._ours = preamble(tag, versions)
        self._unread = b""
        self._noise: Noise | None = None
        self._version = 0
        self._failed = False
        self.channel: Channel | None = None
        """The channel, once the last message has been read or returned for writing."""

    @property
    def leftover(self) -> bytes:
        """What came behind the last handshake message: the beginning of the first record."""
        return self._unread if self.channel is not None else b""

    @property
    def greeted(self) -> bool:
        """The far end has shown a preamble that fits ours."""
        return self._noise is not None

    def start(self) -> bytes:
        """Return what to write before anything has been read; empty for an acceptor."""
        return self._ours if self._dialler else b""

    def early(self) -> bytes:
        """Return what a dialler may write right behind `start`; empty for an acceptor.

        It is message 1, a key made for this handshake: it depends on nothing that the far end says,
        and if written now is not returned again, which saves a round trip. Write it with `start`.
        """
        if not self._dialler:
            return b""
        self._early = KeyPair(self._ephemeral)
        return _framed(self._early.public)

    def receive(self, arrived: bytes) -> bytes:
        """Take bytes as they come, cut anywhere, and return what to write (often nothing).

        Raises:
            ChannelError: with the reason; write its `answer`, then close.
        """
        assert not self._failed, "a failed handshake is over"
        self._unread += arrived
        if self.channel is not None:
            return b""
        answers: list[bytes] = []
        try:
            self._advance(answers)
        except ChannelError as error:
            self._failed = True
            self._unread = b""
            error.answer = b"".join(answers)
            raise
        except NoiseError as error:
            self._failed = True
            self._unread = b""
            raise ChannelError(DialFailure.BAD_HANDSHAKE, str(error), b"".join(answers)) from None
        return b"".join(answers)

    def _advance(self, answers: list[bytes]) -> None:
        """Go as far as the bytes allow; what is to be written holds even if a later step fails."""
        if self._noise is None:
            theirs = self._read_preamble(answers)
            if theirs is None:
                return
            if self._dialler:
                answers.append(self._begin(self._ours + theirs))
            else:
                self._begin(theirs + self._ours)
        while self.channel is None:
            message = self._next_message()
            if message is None:
                return
            answers.append(self._step(message))

    def _read_preamble(self, answers: list[bytes]) -> bytes | None:
        """Return the far end's 16 bytes once they are there and fit.

        An acceptor answers with its own 16 in any case, so that the dialler can tell why.
        """
        unread = self._unread
        is_ours = MAGIC.startswith(unread[: len(MAGIC)])
        if is_ours and len(unread) < PREAMBLE_BYTES:
            return None
        if not self._dialler:
            answers.append(self._ours)
        if not is_ours:
            raise ChannelError(DialFailure.NOT_OURS, "the far end does not speak this protocol")
        theirs, self._unread = unread[:PREAMBLE_BYTES], unread[PREAMBLE_BYTES:]
        _, lowest, highest, tag = _preamble.unpack(theirs)
        self._version = min(highest, self._versions[1])
        if lowest > highest or self._version < max(lowest, self._versions[0]):
            text = f"version {lowest} to {highest} offered, {self._versions} spoken"
            raise ChannelError(DialFailure.WRONG_VERSION, text)
        if tag != self._tag:
            text = f"network tag {tag.hex()} offered, ours is {self._tag.hex()}"
            raise ChannelError(DialFailure.WRONG_NETWORK, text)
        return theirs

    def _begin(self, prologue: bytes) -> bytes:
        """Build the Noise state; a dialler returns its first message."""
        static = self._static
        self._noise = Noise(
            initiator=self._dialler,
            prologue=prologue,
            static=static if isinstance(static, KeyPair) else KeyPair(static),
            ephemeral=self._early or KeyPair(self._ephemeral),
        )
        self._static = self._ephemeral = b""
        if not self._dialler:
            return b""
        message = _framed(self._noise.write())
        return b"" if self._early else message

    def _next_message(self) -> bytes | None:
        unread = self._unread
        if len(unread) < _length.size:
            return None
        (length,) = _length.unpack_from(unread)
        if length > HANDSHAKE_BYTES_MAX:
            text = f"handshake message of {length} bytes exceeds {HANDSHAKE_BYTES_MAX}"
            raise ChannelError(DialFailure.BAD_HANDSHAKE, text)
        end = _length.size + length
        if len(unread) < end:
            return None
        self._unread = unread[end:]
        return unread[_length.size : end]

    def _step(self, message: bytes) -> bytes:
        noise = self._noise
        assert noise is not None
        payload = noise.read(message)
        if not noise.remote:
            if payload:
                text = f"first message carries {len(payload)} bytes, none are allowed"
                raise ChannelError(DialFailure.BAD_HANDSHAKE, text)
            return _framed(noise.write(self._proof(noise)))
        key = self._check(payload, noise.remote)
        answer = b"" if noise.complete else _framed(noise.write(self._proof(noise)))
        sending, receiving = noise.split()
        self.channel = Channel(
            key=key,
            binding=noise.hash,
            version=self._version,
            sending=sending,
            receiving=receiving,
        )
        return answer

    def _proof(self, noise: Noise) -> bytes:
        return self._key + self._sign(signed_text(SignedKind.CHANNEL, self._tag, noise.public))

    def _check(self, payload: bytes, static: bytes) -> bytes:
        """Return the key that the far end has proved to own.

        The signature is checked first: whoever merely claims our key has not shown that he is us.
        """
        if len(payload) != KEY_BYTES + SIGNATURE_BYTES:
            text = f"identity of {len(payload)} bytes, must be {KEY_BYTES + SIGNATURE_BYTES}"
            raise ChannelError(DialFailure.BAD_HANDSHAKE, text)
        key, signature = payload[:KEY_BYTES], payload[KEY_BYTES:]
        if not self._verify(key, signed_text(SignedKind.CHANNEL, self._tag, static), signature):
            text = f"identity {key.hex()[:8]} is not signed by its key"
            raise ChannelError(DialFailure.BAD_HANDSHAKE, text)
        if key == self._key:
            raise ChannelError(DialFailure.SELF, "the far end is ourselves")
        if self._expect is not None and key != self._expect:
            text = f"far end is {key.hex()[:8]}, expected {self._expect.hex()[:8]}"
            raise ChannelError(DialFailure.WRONG_IDENTITY, text)
        return key


def _framed(message: bytes) -> bytes:
    return _length.pack(len(message)) + message
