"""Records sealed together, into one piece of memory, are those sealed one by one."""

from __future__ import annotations

import struct

import pytest

from tests.unit.test_channel import joined

__all__: list[str] = []


@pytest.mark.parametrize("into", [True, False], ids=["in place", "as returned"])
@pytest.mark.parametrize(
    "sizes", [[], [0], [5], [65_535], [65_536], [0, 1, 70_000], [65_536, 65_536]]
)
def test_records_sealed_together_are_those_sealed_one_by_one(
    sizes: list[int], into: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not into:
        # What versions of the library do that cannot seal in place.
        monkeypatch.setattr("routing.noise._INTO", False)
    dialler, acceptor = joined()
    plaintexts = [bytes([number]) * size for number, size in enumerate(sizes)]
    together, opened = bytes(dialler.seal_all(plaintexts)), []
    while together:
        (length,) = struct.unpack_from(">I", together)
        opened.append(acceptor.open(together[4 : 4 + length]))
        together = together[4 + length :]
    assert opened == plaintexts and dialler.sealed == len(sizes)
