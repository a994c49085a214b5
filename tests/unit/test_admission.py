"""Who yields, how often, and who goes: the pure policies of admission."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.admission import Rate, choose_victim, oldest_of_largest, who_yields
from routing.errors import UsageError

__all__: list[str] = []

keys = st.binary(min_size=32, max_size=32)


@given(keys, keys)
def test_of_two_that_ask_at_once_exactly_the_higher_yields(one: bytes, other: bytes) -> None:
    if one == other:
        assert not who_yields(one, other)
        return
    assert who_yields(one, other) != who_yields(other, one)
    assert who_yields(one, other) == (int.from_bytes(one) > int.from_bytes(other))


def test_rate_grants_the_limit_and_no_more() -> None:
    rate = Rate(3, 100)
    assert [rate.allow("a", 0) for _ in range(5)] == [True, True, True, False, False]


def test_rate_counts_each_key_apart() -> None:
    rate = Rate(1, 100)
    assert rate.allow("a", 0)
    assert rate.allow("b", 0)
    assert not rate.allow("a", 1)


def test_rate_window_slides_and_its_end_is_exclusive() -> None:
    rate = Rate(2, 100)
    assert rate.allow("a", 0)
    assert rate.allow("a", 60)
    assert not rate.allow("a", 99)
    assert rate.allow("a", 100)
    assert not rate.allow("a", 159)
    assert rate.allow("a", 160)


def test_refusals_do_not_put_off_the_next_grant() -> None:
    rate = Rate(1, 100)
    assert rate.allow("a", 0)
    assert not any(rate.allow("a", now) for now in range(1, 100))
    assert rate.allow("a", 100)


def test_rate_remembers_a_bounded_number_of_keys_and_forgets_the_oldest() -> None:
    rate = Rate(1, 100, keys_max=2)
    assert rate.allow("a", 0)
    assert rate.allow("b", 1)
    assert rate.allow("c", 2)
    assert len(rate) == 2
    assert not rate.allow("b", 3)
    assert rate.allow("a", 3)


def test_rate_keeps_no_key_whose_window_is_over() -> None:
    rate = Rate(2, 100)
    for number in range(50):
        assert rate.allow(f"key {number}", number)
    assert rate.allow("key 0", 60)
    assert rate.allow("late", 149)
    assert rate.snapshot() == [("key 0", (0, 60)), ("late", (149,))]


def test_rate_loaded_from_a_snapshot_goes_on_as_the_old_one() -> None:
    rate = Rate(2, 100)
    for now in (0, 60):
        assert rate.allow("a", now)
    assert rate.allow("b", 70)
    again = Rate(2, 100)
    assert again.allow("forgotten", 0)
    again.load(rate.snapshot())
    assert again.snapshot() == rate.snapshot()
    assert not again.allow("a", 99)
    assert again.allow("a", 100)
    assert rate.snapshot() == [("a", (0, 60)), ("b", (70,))]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=60))
def test_no_span_of_the_window_holds_more_than_the_limit(steps: list[tuple[str, int]]) -> None:
    rate = Rate(3, 100)
    granted: dict[str, list[int]] = {"a": [], "b": []}
    now = 0
    for key, pause in steps:
        now += pause
        recent = [at for at in granted[key] if now < at + 100]
        assert rate.allow(key, now) == (len(recent) < 3)
        if len(recent) < 3:
            granted[key].append(now)
    assert all(first <= second for times in granted.values() for first, second in pairwise(times))


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_rate_with_a_bound_that_is_not_positive_is_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="must have a positive one"):
        Rate(*arguments)


def test_newcomer_displaces_the_oldest_of_a_group_larger_by_two() -> None:
    entries = [(1, "x", 30), (2, "x", 10), (3, "y", 0)]
    assert choose_victim(entries, "z") == 2


def test_newcomer_of_a_group_smaller_by_one_is_refused() -> None:
    entries = [(1, "x", 30), (2, "x", 10), (3, "y", 0)]
    assert choose_victim(entries, "y") is None
    assert choose_victim(entries, "x") is None


def test_newcomer_displaces_nobody_where_all_are_alone_or_nobody_is() -> None:
    assert choose_victim([(1, "x", 0), (2, "y", 1)], "z") is None
    assert choose_victim([], "z") is None


def test_oldest_of_several_largest_groups_goes() -> None:
    entries = [(1, "x", 9), (2, "x", 8), (3, "y", 3), (4, "y", 7), (5, "z", 0)]
    assert oldest_of_largest(entries) == 3
    assert oldest_of_largest([(9, "x", 5), (4, "x", 5)]) == 4
    assert oldest_of_largest([]) is None


def test_crowd_of_one_group_does_not_throw_itself_out_and_makes_room_for_others() -> None:
    dice = random.Random(1)
    entries = [(token, "crowd", token) for token in range(20)]
    assert all(choose_victim(entries, "crowd") is None for _ in range(100))
    for token in range(20, 200):
        group = dice.choice(["crowd", "a", "b", "c"])
        victim = choose_victim(entries, group)
        if victim is not None:
            entries = [each for each in entries if each[0] != victim]
            entries.append((token, group, token))
    sizes = sorted(sum(1 for each in entries if each[1] == group) for group in ("crowd", *"abc"))
    assert sum(sizes) == 20
    assert sizes[-1] - sizes[0] <= 1
