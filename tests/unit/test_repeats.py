"""The relay's memory of what it passed on: no connection pushes out what others brought."""

from __future__ import annotations

import pytest

from routing.errors import ConfigError
from routing.limits import Limits
from routing.repeats import SHARES, Repeats

__all__: list[str] = []

CAPACITY = 4_096


def digest(lane: int, number: int) -> bytes:
    return lane.to_bytes(8, "big") + number.to_bytes(8, "big")


def brought(repeats: Repeats, lane: int, count: int, *, since: int = 0) -> None:
    for number in range(count):
        assert repeats.insert(digest(lane, number), lane, since + number)


def test_second_time_is_not_new_whoever_brings_it() -> None:
    repeats = Repeats(100_000, CAPACITY)
    assert repeats.insert(digest(1, 1), 1, 0)
    assert not repeats.insert(digest(1, 1), 1, 1)
    assert not repeats.insert(digest(1, 1), 2, 2)
    assert repeats.insert(digest(1, 1), 1, 100_000), "forgotten in the end"


def test_flood_over_one_connection_leaves_what_the_others_brought() -> None:
    repeats = Repeats(1_000_000, CAPACITY)
    brought(repeats, 2, 100)
    brought(repeats, 1, 5 * CAPACITY, since=100)
    assert not any(repeats.insert(digest(2, number), 3, 30_000) for number in range(100))
    assert repeats.held(1) <= CAPACITY // SHARES


def test_flood_pushes_out_its_own_oldest_and_keeps_its_latest() -> None:
    repeats = Repeats(1_000_000, CAPACITY)
    count = 2 * CAPACITY
    brought(repeats, 1, count)
    share = CAPACITY // (2 * SHARES)
    latest = range(count - share, count)
    assert not any(repeats.insert(digest(1, number), 1, count) for number in latest)
    assert repeats.insert(digest(1, count - share - 1), 1, count)


def test_eight_floods_at_once_stay_within_the_whole() -> None:
    repeats = Repeats(1_000_000, CAPACITY)
    for number in range(CAPACITY):
        for lane in range(12):
            repeats.insert(digest(lane, number), lane, number)
            assert repeats.held(lane) <= CAPACITY // SHARES
    assert len(repeats.lanes) <= SHARES and len(repeats) <= CAPACITY


def test_connection_that_no_longer_floods_shares_the_common_room_again() -> None:
    repeats = Repeats(1_000, CAPACITY)
    brought(repeats, 1, CAPACITY)
    assert repeats.held(1) > CAPACITY // (2 * SHARES)
    for number in range(CAPACITY):
        repeats.insert(digest(2, number), 2, CAPACITY + number)
    assert repeats.insert(digest(1, 10**6), 1, 2 * CAPACITY + 1_000)
    assert repeats.common.held[1] == 1 and len(repeats.lanes[1].filter) == 0


def test_span_is_what_nothing_is_missing_of() -> None:
    repeats = Repeats(1_000_000, CAPACITY)
    brought(repeats, 1, 100)
    assert repeats.span(100) == 1_000_000
    brought(repeats, 2, CAPACITY, since=100)
    assert 200 <= repeats.span(100 + CAPACITY) <= CAPACITY // (2 * SHARES)


def test_clear_forgets_everything() -> None:
    repeats = Repeats(1_000_000, CAPACITY)
    brought(repeats, 1, CAPACITY)
    repeats.clear()
    assert len(repeats) == 0 and repeats.held(1) == 0
    brought(repeats, 1, 10)


def test_too_few_entries_to_share_are_refused() -> None:
    with pytest.raises(ConfigError, match="message_filter_entries=15 must be at least 16"):
        Limits().but(message_filter_entries=15)
