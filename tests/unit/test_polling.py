"""A loop that looks again: for as long as allowed, and less where looking finds nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest

from routing.limits import MICROSECOND, Nanos
from routing.service.polling import (
    ADAPTIVE_NS,
    CREDIT_MAX,
    TRIED_ADAPTIVE,
    TRIED_TOLD,
    BusyPoll,
)

__all__: list[str] = []

BUDGET = 50 * MICROSECOND
TURN = 10 * MICROSECOND


class Turns:
    """A loop and a clock: each turn takes `TURN`."""

    def __init__(self) -> None:
        self.time = Nanos(0)
        self.ready: deque[Callable[[], None]] = deque()

    def call_soon(self, call: Callable[[], None]) -> None:
        self.ready.append(call)

    def now(self) -> Nanos:
        return self.time

    def turn(self) -> bool:
        """Run what is ready; tell whether the loop would sleep afterwards."""
        self.time = Nanos(self.time + TURN)
        for _ in range(len(self.ready)):
            self.ready.popleft()()
        return not self.ready

    def turns_until_asleep(self) -> int:
        count = 0
        while self.ready:
            self.turn()
            count += 1
        return count


def polling(budget: int | None = BUDGET) -> tuple[Turns, BusyPoll]:
    turns = Turns()
    return turns, BusyPoll(cast(Any, turns), turns.now, budget)


def looks(turns: Turns, poll: BusyPoll, chances: int) -> list[bool]:
    """Tell of so many chances to look which were taken; nothing is ever found."""
    taken = []
    for _ in range(chances):
        poll.heard()
        taken.append(turns.turns_until_asleep() > 0)
    return taken


def find(turns: Turns, poll: BusyPoll) -> None:
    """Have it find something once, while it looks."""
    while not turns.ready:
        poll.heard()
    poll.heard()


def test_without_a_budget_nobody_looks() -> None:
    turns, poll = polling(0)
    assert (poll.heard(), poll.said()) == (0, 0)
    assert not turns.ready
    assert poll.counts() == {"busy_poll.found": 0, "busy_poll.vain": 0}


@pytest.mark.parametrize("first", ["heard", "said"])
def test_the_loop_turns_until_the_budget_is_spent(first: str) -> None:
    turns, poll = polling()
    assert (poll.heard() if first == "heard" else poll.said()) == 0
    assert turns.turns_until_asleep() == BUDGET // TURN
    assert poll.counts() == {"busy_poll.found": 0, "busy_poll.vain": 1}


def test_what_is_read_meanwhile_is_found_and_begins_the_budget_anew() -> None:
    turns, poll = polling()
    poll.said()
    turns.turn()
    turns.turn()
    assert poll.heard() == 2 * TURN
    assert len(turns.ready) == 1, "one look at a time"
    assert turns.turns_until_asleep() == BUDGET // TURN
    assert poll.counts() == {"busy_poll.found": 1, "busy_poll.vain": 1}


def test_what_is_written_meanwhile_begins_the_budget_anew() -> None:
    turns, poll = polling()
    poll.heard()
    turns.turn()
    poll.said()
    assert turns.turns_until_asleep() == BUDGET // TURN
    assert poll.counts()["busy_poll.found"] == 0


def test_where_nothing_is_found_but_every_eighth_chance_is_taken() -> None:
    turns, poll = polling()
    found = looks(turns, poll, CREDIT_MAX + 2 * TRIED_TOLD)
    assert found[:CREDIT_MAX] == [True] * CREDIT_MAX
    assert found[CREDIT_MAX:] == ([False] * (TRIED_TOLD - 1) + [True]) * 2


def test_who_finds_something_looks_every_time_again() -> None:
    turns, poll = polling()
    looks(turns, poll, CREDIT_MAX * 2)
    find(turns, poll)
    turns.turns_until_asleep()
    for _ in range(CREDIT_MAX - 1):
        poll.said()
        assert turns.turns_until_asleep()


def test_stopped_it_leaves_nothing_on_the_loop() -> None:
    turns, poll = polling()
    poll.heard()
    poll.stop()
    assert turns.turn()
    poll.heard()
    poll.said()
    assert not turns.ready
    assert poll.counts() == {"busy_poll.found": 0, "busy_poll.vain": 0}


def test_told_nothing_it_gives_up_sooner_and_tries_again_less_often() -> None:
    turns, poll = polling(None)
    found = looks(turns, poll, CREDIT_MAX // 2 + 2 * TRIED_ADAPTIVE)
    assert found[: CREDIT_MAX // 2] == [True] * (CREDIT_MAX // 2)
    assert found[CREDIT_MAX // 2 :] == ([False] * (TRIED_ADAPTIVE - 1) + [True]) * 2


def test_told_nothing_it_looks_for_its_own_budget() -> None:
    turns, poll = polling(None)
    poll.said()
    assert turns.turns_until_asleep() == ADAPTIVE_NS // TURN


def test_told_nothing_it_goes_on_looking_while_two_of_three_looks_find_something() -> None:
    turns, poll = polling(None)
    looks(turns, poll, CREDIT_MAX)
    find(turns, poll)
    for _ in range(CREDIT_MAX):
        poll.heard()
    turns.turns_until_asleep()
    for _ in range(10 * TRIED_ADAPTIVE):
        poll.said()
        turns.turn()
        poll.heard()
        poll.heard()
        assert turns.turns_until_asleep(), "two found, one in vain"


def test_told_nothing_it_stops_where_one_look_of_two_finds_nothing() -> None:
    turns, poll = polling(None)
    vain = 0
    for _ in range(CREDIT_MAX):
        poll.said()
        poll.heard()
        vain += turns.turns_until_asleep() > 0
    assert looks(turns, poll, TRIED_ADAPTIVE).count(True) == 1
    assert vain < CREDIT_MAX
