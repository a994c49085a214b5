"""A certificate is right by arithmetic and signatures, or it is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from routing.certificates import (
    certified_name,
    founding_certificate,
    has_majority,
    is_valid,
    origin_of,
)
from routing.messages import Certificate, SignedKind, Vote, signed_text, vote_body
from routing.names import client_name, network_name, network_tag
from tests.persons import TAG, Person

__all__: list[str] = []

HOLDER, OTHER = Person(1), Person(2)
VOTERS = [Person(number) for number in range(10, 18)]
N1, N2 = VOTERS[0].name, VOTERS[1].name


def vote(voter: Person, size: int, *, n2: bytes = N2, key: bytes = HOLDER.key) -> Vote:
    text = signed_text(SignedKind.VOTE, TAG, vote_body(key, N1, n2, size))
    return Vote(voter.key, size, voter.signer.sign(text))


def certificate(*votes: Vote) -> Certificate:
    return Certificate(N1, N2, list(votes))


def valid(cert: Certificate, *, key: bytes = HOLDER.key, tag: bytes = TAG) -> bool:
    return is_valid(key, cert, signer=OTHER.signer, tag=tag)


def test_name_follows_from_key_and_the_two_nearest() -> None:
    expected = network_name(client_name(HOLDER.key), N1, N2)
    assert certified_name(HOLDER.key, certificate()) == expected
    assert certified_name(OTHER.key, certificate()) != expected


def test_origin_is_both_names() -> None:
    assert origin_of(certificate()) == N1 + N2


def test_founder_needs_no_vote() -> None:
    assert valid(founding_certificate(HOLDER.key))


def test_founders_form_is_of_no_use_to_another_key() -> None:
    assert not valid(founding_certificate(HOLDER.key), key=OTHER.key)


def test_founders_form_with_a_vote_is_refused() -> None:
    own = client_name(HOLDER.key)
    assert not valid(Certificate(own, own, [vote(VOTERS[0], 1)]))


@pytest.mark.parametrize("count", range(9))
def test_more_than_half_of_the_group_must_have_voted(count: int) -> None:
    votes = [vote(voter, 8) for voter in VOTERS[:count]]
    assert valid(certificate(*votes)) is (count > 4)


def test_lower_median_of_the_sizes_counts() -> None:
    three = [vote(VOTERS[0], 5), vote(VOTERS[1], 5), vote(VOTERS[2], 8)]
    assert valid(certificate(*three)), "three of five"
    three = [vote(VOTERS[0], 5), vote(VOTERS[1], 8), vote(VOTERS[2], 8)]
    assert not valid(certificate(*three)), "three of eight"


def test_lonely_voter_of_a_group_of_one_is_enough() -> None:
    assert valid(certificate(vote(VOTERS[0], 1)))


def test_voter_counts_once() -> None:
    assert not valid(certificate(vote(VOTERS[0], 1), vote(VOTERS[0], 1)))


def test_one_wrong_signature_spoils_all() -> None:
    forged = structs.replace(vote(VOTERS[1], 3), signature=bytes(64))
    assert not valid(certificate(vote(VOTERS[0], 3), vote(VOTERS[2], 3), forged))


@pytest.mark.parametrize(
    "wrong",
    [
        vote(VOTERS[0], 1, n2=N1),
        vote(VOTERS[0], 1, key=OTHER.key),
        structs.replace(vote(VOTERS[0], 1), key=VOTERS[1].key),
        structs.replace(vote(VOTERS[0], 2), size=1),
    ],
    ids=["for other names", "for another key", "of another voter", "of another size"],
)
def test_vote_for_something_else_is_none(wrong: Vote) -> None:
    assert not valid(certificate(wrong))


def test_vote_of_another_network_is_none() -> None:
    assert not valid(certificate(vote(VOTERS[0], 1)), tag=network_tag("another"))


def test_key_does_not_vote_for_itself() -> None:
    assert not valid(certificate(vote(HOLDER, 1)))
    assert not valid(certificate(vote(HOLDER, 3), vote(VOTERS[0], 3)))


def test_no_votes_are_no_majority() -> None:
    assert not has_majority([])


@given(st.lists(st.integers(1, 8), min_size=1, max_size=8))
def test_majority_is_more_than_half_of_the_lower_median(sizes: list[int]) -> None:
    votes = [Vote(bytes(32), size, bytes(64)) for size in sizes]
    below = [m for m in sizes if 2 * sum(size < m for size in sizes) < len(sizes)]
    median = next(m for m in below if 2 * sum(size <= m for size in sizes) >= len(sizes))
    assert has_majority(votes) is (2 * len(sizes) > median)
