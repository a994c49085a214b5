"""The stand-in keeps the shape of Ed25519: sizes, refusals, and what follows from a seed."""

from __future__ import annotations

import pytest

from routing.simulation.signer import make_signer

__all__: list[str] = []


@pytest.mark.parametrize("real", [False, True], ids=["cheap", "ed25519"])
def test_signature_is_accepted_only_for_its_key_and_message(real: bool) -> None:
    ours, theirs = make_signer(bytes(32), real=real), make_signer(b"1" * 32, real=real)
    signature = ours.sign(b"message")
    assert (len(ours.key), len(signature)) == (32, 64)
    assert theirs.verify(ours.key, b"message", signature)
    assert not theirs.verify(theirs.key, b"message", signature)
    assert not theirs.verify(ours.key, b"massage", signature)
    assert not theirs.verify(ours.key, b"message", signature[:-1] + bytes((signature[-1] ^ 1,)))
    assert not theirs.verify(ours.key, b"message", signature[:-1])
    assert not theirs.verify(ours.key[:-1], b"message", signature)


@pytest.mark.parametrize("real", [False, True], ids=["cheap", "ed25519"])
def test_key_follows_from_the_seed(real: bool) -> None:
    assert make_signer(b"7" * 32, real=real).key == make_signer(b"7" * 32, real=real).key
