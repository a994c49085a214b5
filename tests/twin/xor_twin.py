"""The XOR index as a dict, sorted anew for each question: slow and plainly right."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["XorIndexTwin"]


def gap(a: bytes, b: bytes) -> int:
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


class XorIndexTwin:
    """What `XorIndex` is, without its refusals."""

    def __init__(self) -> None:
        self.tokens: dict[bytes, int] = {}

    def add(self, name: bytes, token: int) -> None:
        self.tokens[name] = token

    def remove(self, name: bytes) -> int:
        return self.tokens.pop(name, 0)

    def token(self, name: bytes) -> int:
        return self.tokens.get(name, 0)

    def closest(self, target: bytes, count: int) -> list[bytes]:
        return sorted(self.tokens, key=lambda name: gap(name, target))[:count]

    def closest_tokens(self, target: bytes, count: int) -> list[int]:
        return [self.tokens[name] for name in self.closest(target, count)]

    def hops(self, own: bytes, target: bytes) -> list[bytes]:
        """Return every name strictly nearer to the target than our own, nearest first."""
        ours = gap(own, target)
        return [name for name in self.closest(target, len(self.tokens)) if gap(name, target) < ours]

    def next_hop(self, own: bytes, target: bytes, exclude: Collection[bytes]) -> bytes | None:
        return next((name for name in self.hops(own, target) if name not in exclude), None)

    def next_hop_token(self, own: bytes, target: bytes, exclude: Collection[int]) -> int:
        tokens = [self.tokens[name] for name in self.hops(own, target)]
        return next((token for token in tokens if token not in exclude), 0)

    def in_order(self) -> list[bytes]:
        return sorted(self.tokens)
