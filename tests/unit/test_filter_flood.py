"""A flood pays for itself: honest entries outlive 2,000 bogus ones a second in a table of 1,024."""

from __future__ import annotations

import random

import pytest

from routing._filter import TimedFilter

__all__: list[str] = []

CAPACITY = 1_024
BOGUS_A_SECOND = 2_000
HONEST_A_SECOND = 20
SECONDS = 20


def share_that_survives(groups: int, *, by_source: bool, seed: int = 1) -> float:
    """Return which part of the honest entries is still there one second after it came."""
    dice = random.Random(seed)
    room: TimedFilter[str, str] = TimedFilter(
        60, capacity=CAPACITY, sources=(lambda key, value: value) if by_source else None, clock=None
    )
    survived = asked = 0
    waiting: list[tuple[float, str]] = []
    ticks = BOGUS_A_SECOND * SECONDS
    for tick in range(ticks):
        now = tick / BOGUS_A_SECOND
        room.insert(f"bogus {tick}", f"attacker {dice.randrange(groups)}", now=now)
        if dice.random() < HONEST_A_SECOND / BOGUS_A_SECOND:
            room.insert(f"honest {tick}", f"host {tick}", now=now)
            waiting.append((now, f"honest {tick}"))
        while waiting and waiting[0][0] <= now - 1:
            _, key = waiting.pop(0)
            asked += 1
            survived += room.remove(key) is not None
        if tick % 1_000 == 0:
            room.expire(now)
    room._check()
    assert asked > 300
    return survived / asked


@pytest.mark.parametrize("groups", [1, 16, 128, 512])
def test_honest_entries_survive_a_flood_from_many_groups(groups: int) -> None:
    assert share_that_survives(groups, by_source=True) >= 0.99


@pytest.mark.parametrize("groups", [1, 512])
def test_without_groups_hardly_any_would(groups: int) -> None:
    assert share_that_survives(groups, by_source=False) < 0.05
