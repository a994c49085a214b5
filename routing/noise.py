"""Noise_XX_25519_AESGCM_SHA256 and nothing else of Noise; no bytes of a socket, no identities.

The handshake of the Noise specification, revision 34, on the primitives of `cryptography`. Keys
come in from outside, so the same code runs the published vectors, a replay and a live connection.
What the payloads mean, how messages are framed and who the far end is, is the channel's affair.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from routing.errors import RoutingError

__all__ = [
    "KEY_BYTES",
    "NONCES_MAX",
    "PROTOCOL_NAME",
    "TAG_BYTES",
    "Cipher",
    "KeyPair",
    "Noise",
    "NoiseError",
]

PROTOCOL_NAME: Final = b"Noise_XX_25519_AESGCM_SHA256"

KEY_BYTES: Final = 32
"""X25519 keys, AES-256 keys and SHA-256 digests alike."""

TAG_BYTES: Final = 16
"""The AES-GCM tag behind every ciphertext."""

NONCES_MAX: Final = 1 << 48
"""A key seals fewer records than this: at 1,000,000 a second it lasts 8.9 years."""

_nonce: Final = struct.Struct(">4xQ").pack
"""AES-GCM in Noise: 32 zero bits, then the counter big-endian."""


_INTO: Final = hasattr(AESGCM, "encrypt_into")
"""Older versions of the library return what they have sealed, and it is copied."""


class NoiseError(RoutingError):
    """A handshake message or a ciphertext is not what the far end's keys would have made."""


class Cipher:
    """One direction of a connection: an AES-256-GCM key and the number of its next nonce.

    Nonces are counted, never sent: a record lost, repeated or swapped does not open. What OpenSSL
    makes of the key takes 2.5 KB and under a microsecond, so it is made when it is needed and
    `rest` gives it back; key and nonce stay.
    """

    __slots__ = ("_aead", "_key", "nonce")

    def __init__(self, key: bytes, nonce: int = 0) -> None:
        self._key = key
        self._aead: AESGCM | None = None
        self.nonce = nonce

    def rest(self) -> None:
        """Give memory back until the next record."""
        self._aead = None

    def seal(self, plaintext: bytes, associated: bytes | None = None) -> bytes:
        """Return ciphertext and tag.

        Raises:
            NoiseError: the key is used up (`NONCES_MAX`).
        """
        aead = self._aead or self._made()
        return aead.encrypt(_nonce(self._next()), plaintext, associated)

    def seal_into(self, plaintext: bytes, into: memoryview) -> None:
        """Write ciphertext and tag, 16 bytes more than the plaintext, without another copy of it.

        Raises:
            NoiseError: the key is used up (`NONCES_MAX`).
        """
        if _INTO:
            aead = self._aead or self._made()
            aead.encrypt_into(_nonce(self._next()), plaintext, None, into)
        else:
            into[:] = self.seal(plaintext)

    def open(self, sealed: bytes | memoryview, associated: bytes | None = None) -> bytes:
        """Return the plaintext; a failure uses up the nonce, so the direction is dead after it.

        Raises:
            NoiseError: the tag does not fit, or the key is used up.
        """
        aead = self._aead or self._made()
        try:
            return aead.decrypt(_nonce(self._next()), sealed, associated)
        except InvalidTag:
            raise NoiseError(f"ciphertext of {len(sealed)} bytes does not open") from None

    def _made(self) -> AESGCM:
        aead = self._aead = AESGCM(self._key)
        return aead

    def _next(self) -> int:
        nonce = self.nonce
        if nonce >= NONCES_MAX:
            raise NoiseError(
                f"nonce {nonce} reaches {NONCES_MAX}: close this connection, dial anew"
            )
        self.nonce = nonce + 1
        return nonce


class KeyPair:
    """An X25519 key with its public half, which takes as long to compute as an agreement.

    One pair may serve any number of handshakes at once; it never shows its private half.
    """

    __slots__ = ("_private", "public")

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw()
        """32 bytes."""

    def agree(self, theirs: X25519PublicKey) -> bytes:
        """Return the secret shared with whoever owns the public key `theirs`.

        Raises:
            NoiseError: it is all zeros: a point of small order, which anybody could guess.
        """
        try:
            return self._private.exchange(theirs)
        except ValueError:
            raise NoiseError("public key of small order") from None


class _Symmetric:
    """The SymmetricState: a transcript hash, a chaining key, and a cipher once there is a key."""

    __slots__ = ("_chaining", "_cipher", "hash")

    def __init__(self, prologue: bytes) -> None:
        self.hash = PROTOCOL_NAME.ljust(KEY_BYTES, b"\0")
        self._chaining = self.hash
        self._cipher: Cipher | None = None
        self.mix_hash(prologue)

    def mix_hash(self, part: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + part).digest()

    def mix_key(self, shared: bytes) -> None:
        self._chaining, key = self._derive(shared)
        self._cipher = Cipher(key)

    def seal(self, plaintext: bytes) -> bytes:
        """Encrypt where there is a key, else pass through; either way it enters the transcript."""
        sealed = plaintext if self._cipher is None else self._cipher.seal(plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        plaintext = sealed if self._cipher is None else self._cipher.open(sealed, self.hash)
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[Cipher, Cipher]:
        first, second = self._derive(b"")
        return Cipher(first), Cipher(second)

    def _derive(self, shared: bytes) -> tuple[bytes, bytes]:
        """Noise's HKDF with two outputs is RFC 5869's with an empty info and 64 bytes."""
        okm = HKDF(SHA256(), 2 * KEY_BYTES, self._chaining, b"").derive(shared)
        return okm[:KEY_BYTES], okm[KEY_BYTES:]


class Noise:
    """One end of one XX handshake: three messages, in turn, then two ciphers.

    Args:
        initiator: We send the first message.
        prologue: What both ends must have seen alike before.
        static: Our static key.
        ephemeral: A key made for this handshake alone.

    After a `NoiseError` the object is of no further use.
    """

    __slots__ = (
        "_ephemeral",
        "_initiator",
        "_static",
        "_symmetric",
        "_theirs",
        "_turn",
        "public",
        "remote",
    )

    def __init__(
        self, *, initiator: bool, prologue: bytes, static: KeyPair, ephemeral: KeyPair
    ) -> None:
        self._initiator = initiator
        self._static = static
        self._ephemeral = ephemeral
        self.public = static.public
        """Our own static public key."""
        self._symmetric = _Symmetric(prologue)
        self._theirs: X25519PublicKey | None = None
        self._turn = 0
        self.remote = b""
        """The far end's static public key, once it has come."""

    @property
    def complete(self) -> bool:
        """All three messages have passed."""
        return self._turn == 3

    @property
    def hash(self) -> bytes:
        """The transcript hash; once complete it names this session and no other."""
        return self._symmetric.hash

    def write(self, payload: bytes = b"") -> bytes:
        """Return our next message with this payload; it must be our turn."""
        assert not self.complete and (self._turn % 2 == 0) == self._initiator, "not our turn"
        state = self._symmetric
        parts: list[bytes] = []
        if self._turn < 2:
            state.mix_hash(self._ephemeral.public)
            parts.append(self._ephemeral.public)
        if self._turn == 1:
            self._mix(self._ephemeral, self._theirs)
        if self._turn > 0:
            parts.append(state.seal(self.public))
            self._mix(self._static, self._theirs)
        parts.append(state.seal(payload))
        self._turn += 1
        return b"".join(parts)

    def read(self, message: bytes) -> bytes:
        """Take the far end's next message and return its payload; it must be the far end's turn.

        Raises:
            NoiseError: it is too short, does not open, or holds a key of small order.
        """
        assert not self.complete and (self._turn % 2 == 0) != self._initiator, "not their turn"
        state, rest = self._symmetric, message
        if self._turn < 2:
            theirs, rest = _cut(rest, KEY_BYTES)
            state.mix_hash(theirs)
            self._theirs = X25519PublicKey.from_public_bytes(theirs)
        if self._turn == 1:
            self._mix(self._ephemeral, self._theirs)
        if self._turn > 0:
            sealed, rest = _cut(rest, KEY_BYTES + TAG_BYTES)
            self.remote = state.open(sealed)
            self._mix(self._ephemeral, X25519PublicKey.from_public_bytes(self.remote))
        if self._turn > 0 and len(rest) < TAG_BYTES:
            raise NoiseError(f"handshake message of {len(message)} bytes is too short")
        payload = state.open(rest)
        self._turn += 1
        return payload

    def split(self) -> tuple[Cipher, Cipher]:
        """Return (to send with, to receive with); the handshake must be complete."""
        assert self.complete, "the handshake is not complete"
        first, second = self._symmetric.split()
        return (first, second) if self._initiator else (second, first)

    def _mix(self, own: KeyPair, theirs: X25519PublicKey | None) -> None:
        assert theirs is not None, "their key has come by now"
        self._symmetric.mix_key(own.agree(theirs))


def _cut(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise NoiseError(f"handshake message ends {size - len(message)} bytes early")
    return message[:size], message[size:]
