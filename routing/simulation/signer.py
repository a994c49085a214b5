"""A cheap deterministic stand-in for Ed25519, for simulations only: anybody could forge with it.

Verification recomputes the signature from the public key, so it proves nothing to anybody; what it
keeps is the shape (32-byte keys, 64-byte signatures, a changed byte is refused) at a fortieth of
the cost. Never hand it to a node that talks to strangers.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from routing.identity import KEY_BYTES, SIGNATURE_BYTES, Identity, IdentitySigner, Signer

__all__ = ["CheapSigner", "make_signer"]

_PERSON: Final = b"sim signer"


class CheapSigner:
    """Signs by hashing key and message."""

    __slots__ = ("_key",)

    def __init__(self, seed: bytes) -> None:
        self._key = blake2b(seed, digest_size=KEY_BYTES, person=_PERSON).digest()

    @property
    def key(self) -> bytes:
        """The key, 32 bytes, that follows from the seed."""
        return self._key

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes that follow from key and message."""
        return _signature(self._key, message)

    def verify(self, key: bytes, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is what `sign` of the holder of `key` returns."""
        return len(key) == KEY_BYTES and compare_digest(_signature(key, message), signature)

    def verify_kept(self, key: bytes, message: bytes, signature: bytes) -> bool:
        """As `verify`: it costs less than to remember."""
        return self.verify(key, message, signature)


def _signature(key: bytes, message: bytes) -> bytes:
    return blake2b(message, digest_size=SIGNATURE_BYTES, key=key, person=_PERSON).digest()


def make_signer(seed: bytes, *, real: bool) -> Signer:
    """Return the signer of a seed of 32 bytes: Ed25519 with `real`, else the cheap one."""
    return IdentitySigner(Identity.from_seed(seed)) if real else CheapSigner(seed)
