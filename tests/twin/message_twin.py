"""Messages, slowly and obviously: what `routing._message` must be."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Message"]


@dataclass(frozen=True)
class Message:
    """One message; all nine are what they were given as."""

    source: object
    destination: object
    payload: bytes
    key: bytes
    proof: object
    id: bytes
    request: bool
    token: bytes = b""
    authority: object = None
