"""The XOR index gives back all it took, refusals and long answers included, in its own process."""

from __future__ import annotations

import pytest

from tests.leaks.growth import hold_flat

__all__: list[str] = []

SCRIPT = """
from hashlib import sha256

from routing._xor import XorIndex
from routing.errors import UsageError

index = XorIndex(600)
names = [sha256(number.to_bytes(4, "big")).digest() for number in range(600)]
extra = sha256(b"extra").digest()
target = sha256(b"target").digest()
counts = [sys.getrefcount(name) for name in (*names, extra, target)]

def refused(call, *arguments):
    try:
        call(*arguments)
    except (UsageError, TypeError):
        return
    raise AssertionError("not refused")

def work():
    for token, name in enumerate(names, 1):
        index.add(name, token)
    refused(index.add, names[0], 1)
    refused(index.add, extra, 1)
    refused(index.add, extra, 0)
    refused(index.closest, target, -1)
    refused(index.closest, target, "8")
    refused(index.next_hop, names[0], target, [names[1], b"short"])
    refused(index.next_hop_token, names[0], target, [*range(1, 40), 0])
    for name in names[::10]:
        assert index.closest(name, 20)[0] == name and index.token(name)
        index.closest_tokens(name, 20)
        index.next_hop(names[0], name, names[:3])
        index.next_hop_token(names[0], name, [1, 2, 3])
    assert len(index.closest(target, 600)) == len(index.closest_tokens(target, 600)) == 600
    index.next_hop(names[0], target, names)
    index.next_hop_token(names[0], target, range(1, 600))
    list(index)
    for name in names:
        assert index.remove(name) and not index.remove(name)
    del name

def after():
    assert len(index) == 0
    assert [sys.getrefcount(name) for name in (*names, extra, target)] == counts
"""

UNUSED = """
from routing._xor import XorIndex

def work():
    for number in range(1, 400):
        index = XorIndex(number)
        for token in range(1, number % 40 + 1):
            if token <= number:
                index.add(token.to_bytes(32, "big"), token)
"""


@pytest.mark.leaks
def test_xor_index_does_not_grow() -> None:
    hold_flat(SCRIPT, warm_up=10, rounds=600)


@pytest.mark.leaks
def test_index_let_go_gives_its_block_back() -> None:
    hold_flat(UNUSED, warm_up=5, rounds=200)
