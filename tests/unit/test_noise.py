"""Noise XX against published vectors and against an independent implementation, in both roles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection

from routing.noise import NONCES_MAX, PROTOCOL_NAME, Cipher, KeyPair, Noise, NoiseError

__all__: list[str] = []

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "noise_xx.json").read_text(encoding="utf-8")
)

STATIC_A, EPHEMERAL_A, STATIC_B, EPHEMERAL_B = (bytes([number]) * 32 for number in range(1, 5))

SMALL_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 19 - 1).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 19 + 1).to_bytes(32, "little"),
]
"""Points every exchange with which ends in zeros; the last two are non-canonical spellings."""


def ends(vector: dict[str, Any]) -> tuple[Noise, Noise]:
    initiator, responder = (
        Noise(
            initiator=side == "init",
            prologue=bytes.fromhex(vector[f"{side}_prologue"]),
            static=KeyPair(bytes.fromhex(vector[f"{side}_static"])),
            ephemeral=KeyPair(bytes.fromhex(vector[f"{side}_ephemeral"])),
        )
        for side in ("init", "resp")
    )
    return initiator, responder


def played(*, initiator: bool) -> Noise:
    """Return one end of a handshake between A, who begins, and B."""
    static, ephemeral = (STATIC_A, EPHEMERAL_A) if initiator else (STATIC_B, EPHEMERAL_B)
    return Noise(
        initiator=initiator, prologue=b"", static=KeyPair(static), ephemeral=KeyPair(ephemeral)
    )


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["protocol_name"] for vector in VECTORS])
def test_published_vector_is_met_byte_for_byte(vector: dict[str, Any]) -> None:
    assert vector["protocol_name"].encode() == PROTOCOL_NAME
    sender, receiver = ends(vector)
    initiator, responder = sender, receiver
    steps = [
        (bytes.fromhex(step["payload"]), bytes.fromhex(step["ciphertext"]))
        for step in vector["messages"]
    ]
    for payload, expected in steps[:3]:
        assert sender.write(payload) == expected
        assert receiver.read(expected) == payload
        sender, receiver = receiver, sender
    assert initiator.hash == responder.hash == bytes.fromhex(vector["handshake_hash"])
    sending, receiving = initiator.split()
    theirs_sending, theirs_receiving = responder.split()
    # The third message was the initiator's, so the responder sends the next.
    turns = [(theirs_sending, receiving), (sending, theirs_receiving)]
    for number, (payload, expected) in enumerate(steps[3:]):
        seal, opens = turns[number % 2]
        assert seal.seal(payload) == expected
        assert opens.open(expected) == payload


def oracle(*, initiator: bool, static: bytes, ephemeral: bytes) -> Any:
    other = NoiseConnection.from_name(PROTOCOL_NAME)
    other.set_as_initiator() if initiator else other.set_as_responder()
    other.set_prologue(b"as agreed")
    other.set_keypair_from_private_bytes(Keypair.STATIC, static)
    other.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
    with pytest.warns(UserWarning, match="OK for testing"):
        other.start_handshake()
    return other


@pytest.mark.parametrize("ours_initiates", [True, False], ids=["we-initiate", "we-respond"])
def test_independent_implementation_agrees(ours_initiates: bool) -> None:
    ours = Noise(
        initiator=ours_initiates,
        prologue=b"as agreed",
        static=KeyPair(STATIC_A),
        ephemeral=KeyPair(EPHEMERAL_A),
    )
    other = oracle(initiator=not ours_initiates, static=STATIC_B, ephemeral=EPHEMERAL_B)
    for turn in range(3):
        payload = bytes([turn]) * 40
        if (turn % 2 == 0) == ours_initiates:
            assert bytes(other.read_message(ours.write(payload))) == payload
        else:
            assert ours.read(bytes(other.write_message(payload))) == payload
    assert ours.complete and other.handshake_finished
    assert ours.hash == other.get_handshake_hash()
    assert (
        ours.remote == X25519PrivateKey.from_private_bytes(STATIC_B).public_key().public_bytes_raw()
    )
    sending, receiving = ours.split()
    for number in range(5):
        text = b"record %d" % number
        assert bytes(other.decrypt(sending.seal(text))) == text
        assert receiving.open(bytes(other.encrypt(text))) == text


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:8])
def test_ephemeral_key_of_small_order_is_refused(point: bytes) -> None:
    responder = Noise(
        initiator=False, prologue=b"", static=KeyPair(STATIC_A), ephemeral=KeyPair(EPHEMERAL_A)
    )
    responder.read(point)
    with pytest.raises(NoiseError, match="small order"):
        responder.write(b"")


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_message_cut_anywhere_is_refused(turn: int) -> None:
    for size in range(32 if turn == 0 else 96):
        initiator, responder = (
            Noise(
                initiator=True,
                prologue=b"",
                static=KeyPair(STATIC_A),
                ephemeral=KeyPair(EPHEMERAL_A),
            ),
            Noise(
                initiator=False,
                prologue=b"",
                static=KeyPair(STATIC_B),
                ephemeral=KeyPair(EPHEMERAL_B),
            ),
        )
        sender, receiver = initiator, responder
        for _ in range(turn):
            receiver.read(sender.write())
            sender, receiver = receiver, sender
        message = sender.write()
        if size < len(message):
            with pytest.raises(NoiseError):
                receiver.read(message[:size])


def test_cipher_refuses_once_its_nonces_are_used_up() -> None:
    last = Cipher(bytes(32), NONCES_MAX - 1)
    last.seal(b"the last one")
    with pytest.raises(NoiseError, match=r"nonce 281474976710656 reaches 281474976710656"):
        last.seal(b"one too many")


def test_ciphertext_opens_only_in_its_place() -> None:
    sending, receiving = Cipher(bytes(32)), Cipher(bytes(32))
    sending.seal(b"lost on the way")
    with pytest.raises(NoiseError, match="does not open"):
        receiving.open(sending.seal(b"the second"))


def test_cipher_at_rest_goes_on_where_it_was() -> None:
    sealing, opening = Cipher(bytes(32)), Cipher(bytes(32))
    for text in (b"one", b"two", b"three"):
        assert opening.open(sealing.seal(text)) == text
        sealing.rest()
        opening.rest()
    assert sealing.nonce == opening.nonce == 3
    assert Cipher(bytes(32), 2).seal(b"three") != Cipher(bytes(32), 3).seal(b"three")


def test_one_pair_serves_many_handshakes() -> None:
    pair = KeyPair(STATIC_A)
    hashes = set()
    for number in (1, 2):
        initiator = Noise(
            initiator=True, prologue=b"", static=pair, ephemeral=KeyPair(bytes([number]) * 32)
        )
        responder = played(initiator=False)
        responder.read(initiator.write())
        initiator.read(responder.write())
        responder.read(initiator.write())
        assert responder.remote == pair.public
        hashes.add(responder.hash)
    assert len(hashes) == 2
