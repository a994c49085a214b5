"""A remembered signature is one that was found good, of exactly this key, text and signature."""

from __future__ import annotations

import pytest

from routing.identity import Identity, IdentitySigner, verify
from routing.proofs import Proofs

__all__: list[str] = []

HOLDER = Identity.from_seed(bytes(32))
TEXT = b"what is signed"
GOOD = HOLDER.sign(TEXT)


class Counting:
    """The real verification, counted."""

    def __init__(self) -> None:
        self.computed = 0

    def verify(self, key: bytes, text: bytes, signature: bytes) -> bool:
        self.computed += 1
        return verify(key, text, signature)


def test_what_was_good_is_computed_once() -> None:
    counting = Counting()
    proofs = Proofs(counting.verify)
    assert [proofs.verify(HOLDER.key, TEXT, GOOD) for _ in range(3)] == [True] * 3
    assert counting.computed == 1


def test_what_was_bad_is_not_remembered() -> None:
    counting = Counting()
    proofs = Proofs(counting.verify)
    assert not proofs.verify(HOLDER.key, b"another text", GOOD)
    assert not proofs.verify(HOLDER.key, b"another text", GOOD)
    assert (counting.computed, len(proofs)) == (2, 0)


@pytest.mark.parametrize(
    ("key", "text", "signature"),
    [
        (Identity.from_seed(bytes([1]) * 32).key, TEXT, GOOD),
        (HOLDER.key, TEXT + b"!", GOOD),
        (HOLDER.key, TEXT[:-1], GOOD),
        (HOLDER.key, TEXT, GOOD[:-1] + bytes([GOOD[-1] ^ 1])),
        # The same bytes in a row, cut elsewhere.
        (HOLDER.key + GOOD[:1], TEXT, GOOD[1:]),
        (HOLDER.key, TEXT[1:], GOOD + TEXT[:1]),
        (HOLDER.key[:-1], TEXT, HOLDER.key[-1:] + GOOD),
    ],
)
def test_a_good_one_makes_no_other_good(key: bytes, text: bytes, signature: bytes) -> None:
    signer = IdentitySigner(HOLDER)
    assert signer.verify_kept(HOLDER.key, TEXT, GOOD)
    assert not signer.verify_kept(key, text, signature)


def test_it_remembers_no_more_than_it_may() -> None:
    proofs = Proofs(lambda key, text, signature: True, entries_max=8)
    sizes = []
    for number in range(100):
        assert proofs.verify(HOLDER.key, bytes([number]), GOOD)
        sizes.append(len(proofs))
    assert max(sizes) == 8


def test_what_is_asked_about_stays_and_the_oldest_goes() -> None:
    counting = Counting()
    proofs = Proofs(counting.verify, entries_max=4)
    proofs.verify(HOLDER.key, TEXT, GOOD)
    for number in range(20):
        text = bytes([number])
        proofs.verify(HOLDER.key, text, HOLDER.sign(text))
        proofs.verify(HOLDER.key, TEXT, GOOD)
    assert counting.computed == 21
    proofs.verify(HOLDER.key, bytes([0]), HOLDER.sign(bytes([0])))
    assert counting.computed == 22


def test_forgotten_it_is_computed_again() -> None:
    counting = Counting()
    proofs = Proofs(counting.verify)
    proofs.verify(HOLDER.key, TEXT, GOOD)
    proofs.forget()
    assert len(proofs) == 0
    assert proofs.verify(HOLDER.key, TEXT, GOOD)
    assert counting.computed == 2
