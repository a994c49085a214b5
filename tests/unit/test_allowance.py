"""A token bucket in whole numbers: nothing is gained or lost by how often it is asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from routing.allowance import Allowance, full_allowance
from routing.limits import SECOND

__all__: list[str] = []


def bucket(messages: int = 10, size: int = 1_000, *, capacity_s: int = 1) -> Allowance:
    return full_allowance(messages, size, now=0, capacity_s=capacity_s)


def test_burst_of_one_second_passes_and_the_next_waits_for_its_share() -> None:
    allowance = bucket(10)
    assert all(allowance.take(1, 0) for _ in range(10))
    assert not allowance.take(1, 0)
    assert allowance.wait(1, 0) == SECOND // 10
    assert not allowance.take(1, SECOND // 10 - 1)
    assert allowance.take(1, SECOND // 10)


def test_several_at_once_cost_as_much_as_one_by_one() -> None:
    together, alone = bucket(10), bucket(10)
    assert together.take(6, 0, 6) and all(alone.take(1, 0) for _ in range(6))
    assert together == alone
    assert not together.take(1, 0, 5) and together.wait(1, 0, 5) == SECOND // 10


def test_more_at_once_than_a_second_has_pass_when_it_is_full_and_leave_a_debt() -> None:
    allowance = bucket(10)
    assert allowance.wait(1, 0, 30) == 0
    allowance.reserve(1, 0, 30)
    assert allowance.wait(1, 0) == 2 * SECOND + SECOND // 10


def test_bytes_are_bounded_beside_messages() -> None:
    allowance = bucket(10, 1_000)
    assert allowance.take(900, 0)
    assert allowance.wait(200, 0) == SECOND // 10
    assert allowance.take(100, 0)


def test_refusal_costs_nothing() -> None:
    allowance = bucket(1)
    assert allowance.take(1, 0)
    for at in range(0, SECOND, SECOND // 100):
        assert not allowance.take(1, at)
    assert allowance.take(1, SECOND)


def test_no_more_is_saved_up_than_the_capacity() -> None:
    allowance = bucket(5, capacity_s=2)
    assert sum(allowance.take(1, 3_600 * SECOND) for _ in range(100)) == 10


def test_message_above_the_capacity_passes_when_all_is_saved_up_and_leaves_a_debt() -> None:
    allowance = bucket(100, 1_000)
    assert allowance.take(5_000, 0)
    assert allowance.wait(1, 0) == 4 * SECOND + SECOND // 1_000
    assert not allowance.take(5_000, 4 * SECOND)
    assert allowance.take(5_000, 5 * SECOND)


def test_who_reserves_is_told_when_and_has_paid() -> None:
    allowance = bucket(10)
    assert [allowance.reserve(1, 0) for _ in range(12)] == [0] * 10 + [SECOND // 10, SECOND // 5]
    assert allowance.wait(1, SECOND // 5) == SECOND // 10


def test_rate_of_nothing_is_no_bound_and_no_debt() -> None:
    allowance = bucket(0, 0)
    assert all(allowance.take(1 << 30, 0) for _ in range(1_000))
    assert allowance.reserve(1 << 30, 0) == 0
    assert allowance.bytes > -(1 << 63) and allowance.messages >= -SECOND


@given(
    rate=st.integers(1, 50),
    sizes=st.lists(st.tuples(st.integers(0, SECOND // 3), st.integers(0, 300)), max_size=60),
)
def test_never_more_than_rate_times_time_and_one_burst(
    rate: int, sizes: list[tuple[int, int]]
) -> None:
    allowance, now, messages, size_taken, largest = bucket(rate, 500), 0, 0, 0, 0
    for passed, size in sizes:
        now += passed
        wait = allowance.wait(size, now)
        taken = allowance.take(size, now)
        assert taken is (wait == 0)
        if taken:
            messages, size_taken, largest = messages + 1, size_taken + size, max(largest, size)
        else:
            assert allowance.wait(size, now + wait - 1) > 0
            assert allowance.wait(size, now + wait) == 0
        assert messages * SECOND <= rate * (now + SECOND)
        assert size_taken * SECOND <= 500 * (now + SECOND) + largest * SECOND
