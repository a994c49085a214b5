"""The token table gives back all it took, over a million operations, in a process of its own."""

from __future__ import annotations

import pytest

from tests.leaks.growth import hold_flat

__all__: list[str] = []

SCRIPT = """
from routing._tokens import TokenTable
from routing.errors import NameBound, TokenTableFull

room = TokenTable(500)
mark = object()
count = sys.getrefcount(mark)
names = [number.to_bytes(32, "big") for number in range(500)]

def work():
    tokens = [room.add(mark) for _ in range(500)]
    try:
        room.add(mark)
    except TokenTableFull:
        for token, name in zip(tokens, names):
            room.bind(token, name)
    try:
        room.bind(tokens[0], names[1])
    except NameBound:
        assert room.by_name(names[1]) == tokens[1]
    list(room)
    for token in tokens[::2]:
        room.unbind(token)
    for token in tokens:
        assert room.remove(token) is mark and room.get(token) is None

def after():
    assert len(room) == 0 and sys.getrefcount(mark) == count
"""


@pytest.mark.leaks
def test_token_table_does_not_grow() -> None:
    hold_flat(SCRIPT, warm_up=20, rounds=600)
