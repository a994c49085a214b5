"""Random choices follow from a secret and a counter, and lie within their bounds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.dice import Dice

__all__: list[str] = []

SECRET, OTHER = bytes(32), bytes([1]) * 32
seeds = st.binary(min_size=32, max_size=32)


def test_same_secret_and_counter_give_the_same() -> None:
    one, same = Dice(SECRET), Dice(SECRET)
    assert [one.bytes(16) for _ in range(5)] == [same.bytes(16) for _ in range(5)]


def test_counter_taken_back_repeats_what_followed() -> None:
    dice = Dice(SECRET)
    dice.bytes(8)
    at, then = dice.counter, dice.bytes(8)
    dice.counter = at
    assert dice.bytes(8) == then


def test_other_secret_gives_others() -> None:
    assert Dice(SECRET).bytes(32) != Dice(OTHER).bytes(32)


def test_no_draw_repeats_an_earlier_one() -> None:
    dice = Dice(SECRET)
    assert len({dice.bytes(16) for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize("size", [1, 8, 16, 64])
def test_draw_has_the_size_asked_for(size: int) -> None:
    assert len(Dice(SECRET).bytes(size)) == size


@given(seeds, st.integers(1, 2**62))
def test_below_lies_below(seed: bytes, bound: int) -> None:
    assert 0 <= Dice(seed).below(bound) < bound


@given(seeds, st.integers(0, 2**60), st.integers(0, 2**60))
def test_between_lies_within_both_ends(seed: bytes, low: int, more: int) -> None:
    assert low <= Dice(seed).between(low, low + more) <= low + more


def test_between_reaches_both_ends() -> None:
    dice = Dice(SECRET)
    assert {dice.between(3, 6) for _ in range(200)} == {3, 4, 5, 6}


@given(seeds, st.integers(0, 2**50), st.integers(0, 100))
def test_around_strays_no_more_than_its_percentage(seed: bytes, base: int, percent: int) -> None:
    drawn = Dice(seed).around(base, percent)
    assert abs(drawn - base) <= base * percent // 100


def test_around_strays_both_ways() -> None:
    dice = Dice(SECRET)
    drawn = [dice.around(1_000, 25) for _ in range(200)]
    assert min(drawn) < 800 and max(drawn) > 1_200


@given(seeds, st.lists(st.integers(), max_size=20))
def test_shuffled_holds_the_same_items_and_leaves_the_list_alone(
    seed: bytes, items: list[int]
) -> None:
    before = list(items)
    assert Counter(Dice(seed).shuffled(items)) == Counter(items)
    assert items == before


def test_shuffled_reaches_every_order() -> None:
    dice = Dice(SECRET)
    assert len({tuple(dice.shuffled([1, 2, 3])) for _ in range(200)}) == 6


def test_choice_reaches_every_item() -> None:
    dice = Dice(SECRET)
    assert {dice.choice(["a", "b", "c"]) for _ in range(100)} == {"a", "b", "c"}
