"""The token table and its twin, driven by the same operations, near the last generation too."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routing._tokens import TokenTable
from routing.errors import NameBound, TokenTableFull, UsageError
from tests.twin.tokens_twin import TokenTableTwin

__all__: list[str] = []

NAMES = st.sampled_from([bytes([number]) * 32 for number in range(5)])
FOREIGN = [0, -1, 1, 2**32, 2**63, 2**64, 2**64 + 2**32, 2**200]


class TokensMachine(RuleBasedStateMachine):
    """No two tokens are ever equal; a stale one never resolves; both answer alike."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @initialize(
        capacity=st.sampled_from([1, 2, 4, 20]),
        first=st.sampled_from([1, 2**31, 2**32 - 3, 2**32 - 1]),
    )
    def make(self, capacity: int, first: int) -> None:
        self.room: TokenTable[str] = TokenTable(capacity, first_generation=first)
        self.twin: TokenTableTwin[str] = TokenTableTwin(capacity)

    def some_token(self, draw: st.DataObject) -> int:
        return draw.draw(st.sampled_from([*sorted(self.twin.given)[-12:], *FOREIGN]))

    @rule()
    def add(self) -> None:
        self.count += 1
        connection = f"connection {self.count}"
        try:
            self.twin.may_add()
        except TokenTableFull:
            with pytest.raises(TokenTableFull):
                self.room.add(connection)
            return
        self.twin.added(self.room.add(connection), connection)

    @rule(draw=st.data())
    def remove(self, draw: st.DataObject) -> None:
        token = self.some_token(draw)
        assert self.room.remove(token) == self.twin.remove(token)

    @rule(draw=st.data(), name=NAMES)
    def bind(self, draw: st.DataObject, name: bytes) -> None:
        token = self.some_token(draw)
        try:
            self.twin.bind(token, name)
        except (NameBound, UsageError) as error:
            with pytest.raises(type(error)):
                self.room.bind(token, name)
        else:
            self.room.bind(token, name)

    @rule(draw=st.data())
    def unbind(self, draw: st.DataObject) -> None:
        token = self.some_token(draw)
        assert self.room.unbind(token) == self.twin.unbind(token)

    @rule(name=NAMES)
    def look_up(self, name: bytes) -> None:
        assert self.room.by_name(name) == self.twin.by_name(name)

    @invariant()
    def alike(self) -> None:
        if not hasattr(self, "room"):
            return
        self.room._check()
        assert len(self.room) == len(self.twin)
        assert list(self.room) == self.twin.in_order()
        for token in [*sorted(self.twin.given)[-20:], *FOREIGN]:
            assert self.room.get(token) == self.twin.get(token)
            assert self.room.name_of(token) == self.twin.name_of(token)
            assert (token in self.room) == (self.twin.get(token) is not None)


TestTokens = TokensMachine.TestCase
TestTokens.settings = settings(max_examples=200, stateful_step_count=60)
