"""The token table said slowly: a dict that never forgets which tokens were given out."""

from __future__ import annotations

from typing import Generic, TypeVar

from routing.errors import NameBound, TokenTableFull, UsageError

__all__ = ["TokenTableTwin"]

C = TypeVar("C")


class TokenTableTwin(Generic[C]):
    """What `TokenTable` is; the tokens themselves are told to it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.connections: dict[int, C] = {}
        self.names: dict[int, bytes] = {}
        self.given: set[int] = set()

    def may_add(self) -> None:
        if len(self.connections) >= self.capacity:
            raise TokenTableFull

    def added(self, token: int, connection: C) -> None:
        assert token != 0 and 0 < token < 2**64
        assert token not in self.given, "a token came twice"
        assert token & 0xFFFFFFFF not in {held & 0xFFFFFFFF for held in self.connections}
        self.given.add(token)
        self.connections[token] = connection

    def get(self, token: int) -> C | None:
        return self.connections.get(token)

    def remove(self, token: int) -> C | None:
        self.names.pop(token, None)
        return self.connections.pop(token, None)

    def bind(self, token: int, name: bytes) -> None:
        if token not in self.connections:
            raise UsageError
        holder = self.by_name(name)
        if holder not in (0, token):
            raise NameBound
        if self.names.get(token, name) != name:
            raise UsageError
        self.names[token] = name

    def unbind(self, token: int) -> bytes | None:
        return self.names.pop(token, None)

    def by_name(self, name: bytes) -> int:
        return next((token for token, held in self.names.items() if held == name), 0)

    def name_of(self, token: int) -> bytes | None:
        return self.names.get(token)

    def __len__(self) -> int:
        return len(self.connections)

    def in_order(self) -> list[int]:
        return sorted(self.connections, key=lambda token: token & 0xFFFFFFFF)
