"""How a key comes by its name, and how anybody checks it; arithmetic and signatures, no opinion.

A certificate proves that some voters signed; whether those voters were the right ones is asked of
the network elsewhere.
"""

from __future__ import annotations

from routing.identity import Signer
from routing.messages import Certificate, SignedKind, Vote, signed_text, vote_body
from routing.names import client_name, network_name

__all__ = ["certified_name", "founding_certificate", "has_majority", "is_valid", "origin_of"]


def founding_certificate(key: bytes) -> Certificate:
    """Return the certificate of a node that names itself: n1 = n2 = its own client name."""
    own = client_name(key)
    return Certificate(own, own, [])


def certified_name(key: bytes, certificate: Certificate) -> bytes:
    """Return the 32-byte name that follows from the certificate for this key."""
    return network_name(client_name(key), certificate.n1, certificate.n2)


def origin_of(certificate: Certificate) -> bytes:
    """Return n1 | n2, what an envelope carries so that its source's name can be recomputed."""
    return certificate.n1 + certificate.n2


def has_majority(votes: list[Vote]) -> bool:
    """Tell whether these votes are more than half of the lower median of the sizes they state."""
    sizes = sorted(vote.size for vote in votes)
    return bool(sizes) and len(sizes) * 2 > sizes[(len(sizes) - 1) // 2]


def is_valid(key: bytes, certificate: Certificate, *, signer: Signer, tag: bytes) -> bool:
    """Tell whether arithmetic and signatures hold for this key.

    The founder's form needs no vote. Any other needs distinct voters other than the key itself,
    each with a right signature, that are more than half of the lower median of the group sizes
    they state.
    """
    own = client_name(key)
    if certificate.n1 == own and certificate.n2 == own:
        return not certificate.votes
    votes = certificate.votes
    voters = {vote.key for vote in votes}
    if len(voters) != len(votes) or key in voters or not has_majority(votes):
        return False
    for vote in votes:
        text = signed_text(
            SignedKind.VOTE, tag, vote_body(key, certificate.n1, certificate.n2, vote.size)
        )
        if not signer.verify_kept(vote.key, text, vote.signature):
            return False
    return True
