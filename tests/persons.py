"""A scripted principal for tests: says anything, signed rightly unless it is told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b, sha256
from typing import TypeVar

from msgspec import Struct

from routing.bodies import ConnectRequest, ConnectResponse, NameVote
from routing.certificates import certified_name, founding_certificate, origin_of
from routing.messages import (
    NO_ATTEMPT,
    Address,
    Authority,
    Certificate,
    ClientAddress,
    Envelope,
    Hello,
    HelloRole,
    MessageKind,
    NodeAddress,
    Signed,
    SignedKind,
    ViaAddress,
    Vote,
    decode,
    encode,
    hello_body,
    signed_text,
    vote_body,
)
from routing.names import network_tag
from routing.seniority import numbered
from routing.simulation.signer import CheapSigner

__all__ = ["TAG", "Person", "opened"]

TAG = network_tag("tests")

S = TypeVar("S", bound=Struct)


def opened(kind: type[S], body: bytes) -> S:
    """Return the record in these bytes; a core must never send anything else."""
    record = decode(kind, body)
    assert record is not None, f"{body!r} is no {kind.__name__}"
    return record


class Person:
    """A principal with a key, a valid name and a mind of the test's own."""

    def __init__(self, number: int, *, address: str = "") -> None:
        self.number = number
        self.signer = CheapSigner(number.to_bytes(32, "big"))
        self.key = self.signer.key
        self.incarnation = number.to_bytes(8, "big")
        self.address = address or f"127.0.{number // 250}.{number % 250 + 1}:4000"
        self.certificate = founding_certificate(self.key)
        self.name = certified_name(self.key, self.certificate)
        self._drawn = 0
        self._lives = 0

    def __repr__(self) -> str:
        return f"Person({self.number})"

    def renamed(self, voter: Person) -> Person:
        """Return the same key in a new process, under the name that a lonely voter gives it."""
        other = self.restarted()
        body = vote_body(self.key, voter.name, voter.name, 1)
        signature = voter.signer.sign(signed_text(SignedKind.VOTE, TAG, body))
        vote = Vote(voter.key, 1, signature)
        other.certificate = Certificate(voter.name, voter.name, [vote])
        other.name = certified_name(self.key, other.certificate)
        return other

    def restarted(self) -> Person:
        """Return the same key and name in a new process."""
        other = Person(self.number, address=self.address)
        other._lives = self._lives + 1
        other.incarnation = numbered(other._lives, self.fresh(8))
        other._drawn = self._drawn + 1_000
        return other

    def rewind(self) -> None:
        """Draw the same ids again, for a second telling of one story."""
        self._drawn = 0

    def fresh(self, size: int = 16) -> bytes:
        """Return bytes this person has not used before."""
        self._drawn += 1
        text = f"{self.number} {self._drawn}".encode()
        return blake2b(text, digest_size=size).digest()

    def hello(
        self,
        role: HelloRole,
        attempt: bytes = NO_ATTEMPT,
        *,
        to: bytes,
        binding: bytes,
        endpoints: Sequence[str] | None = None,
        response: bytes = b"",
        lowest: bytes = b"",
    ) -> Hello:
        """Return a Hello bound to the channel with the holder of the key `to`."""
        body = hello_body(
            role,
            attempt,
            ours=self.key,
            theirs=to,
            incarnation=self.incarnation,
            binding=binding,
        )
        joins = role in (HelloRole.JOIN, HelloRole.FEEL)
        listed = ([self.address] if joins else []) if endpoints is None else list(endpoints)
        signature = self.signer.sign(signed_text(SignedKind.HELLO, TAG, body))
        return Hello(
            role, attempt, self.incarnation, lowest or self.key, listed, response, signature
        )

    def seal(
        self,
        kind: MessageKind,
        destination: Address,
        body: Struct | bytes,
        *,
        proxy: bytes = b"",
        source: Address | None = None,
        origin: bytes | None = None,
        message_id: bytes = b"",
        leave_out: bytes | None = None,
        flags: int = 0,
        authority: Authority | None = None,
        hops: int = 0,
        route: int = 0,
    ) -> Envelope:
        """Return a signed envelope; with `proxy` the source is our address at that proxy."""
        if source is None:
            source = ClientAddress(proxy, self.key) if proxy else NodeAddress(self.name)
        if origin is None:
            origin = origin_of(self.certificate) if isinstance(source, NodeAddress) else b""
        if leave_out is None:
            leave_out = self.name if kind is MessageKind.FIND_GROUP else b""
        signed = encode(
            Signed(
                destination=destination,
                kind=kind,
                leave_out=leave_out,
                flags=flags,
                id=message_id or self.fresh(),
                source=source,
                key=self.key,
                origin=origin,
                authority=authority,
                body=body if isinstance(body, bytes) else encode(body),
            )
        )
        signature = self.signer.sign(signed_text(SignedKind.ROUTED, TAG, signed))
        return Envelope(hops, route, signed, signature)

    def _attempt(self) -> bytes:
        """Return the id of an attempt younger than those before."""
        return numbered(self._drawn + 1, self.fresh())

    def request(
        self,
        target: bytes,
        *,
        hop: bytes = b"",
        proxy: bytes = b"",
        attempt: bytes = b"",
        endpoints: Sequence[str] | None = None,
        certificate: Certificate | None = None,
        reply_to: Address | None = None,
        urgent: bool = True,
        relaxed: bool = False,
    ) -> ConnectRequest:
        """Return a ConnectRequest, answered through `hop` (a neighbour) or `proxy`."""
        if reply_to is None:
            reply_to = (
                ClientAddress(proxy, self.key) if proxy else ViaAddress(hop or self.name, self.name)
            )
        return ConnectRequest(
            attempt=attempt or self._attempt(),
            target=target,
            incarnation=self.incarnation,
            endpoints=[self.address] if endpoints is None else list(endpoints),
            reply_to=reply_to,
            certificate=certificate or self.certificate,
            urgent=urgent,
            relaxed=relaxed,
        )

    def asks(self, request: ConnectRequest, *, proxy: bytes = b"", route: int = 0) -> Envelope:
        """Return the envelope of a ConnectRequest, to the target it names."""
        destination = NodeAddress(request.target)
        return self.seal(
            MessageKind.CONNECT_REQUEST, destination, request, proxy=proxy, route=route
        )

    def answers(
        self,
        asked: Envelope,
        *,
        digest: bytes = b"",
        endpoints: Sequence[str] | None = None,
        certificate: Certificate | None = None,
        relaxed: bool = False,
    ) -> Envelope:
        """Return the envelope of the ConnectResponse to a request."""
        request = opened(ConnectRequest, opened(Signed, asked.signed).body)
        response = ConnectResponse(
            attempt=request.attempt,
            request=digest or sha256(asked.signed).digest(),
            incarnation=self.incarnation,
            endpoints=[self.address] if endpoints is None else list(endpoints),
            certificate=certificate or self.certificate,
            relaxed=relaxed,
        )
        return self.seal(MessageKind.CONNECT_RESPONSE, request.reply_to, response)

    def votes(self, key: bytes, n1: bytes, n2: bytes, size: int, *, proxy: bytes = b"") -> Envelope:
        """Return the envelope of a vote for the name of `key`, to its address at `proxy`."""
        text = signed_text(SignedKind.VOTE, TAG, vote_body(key, n1, n2, size))
        vote = NameVote(n1, n2, size, self.signer.sign(text))
        return self.seal(MessageKind.NAME_VOTE, ClientAddress(proxy or self.name, key), vote)
