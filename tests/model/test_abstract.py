"""The rules of the two-way connect hold in small; each that is left out is missed."""

from __future__ import annotations

from functools import lru_cache

import pytest

from tests.model.abstract import PROPOSAL, WRITTEN, Budget, Result, Rules, explore

__all__: list[str] = []

SCOPES = {
    "one": ((0, 0), (0,)),
    "higher": ((0, 0), (1,)),
    "at once": ((0, 0), (0, 1)),
    "crossing": ((0, 1), (0,)),
    "twice": ((1, 0), (0,)),
}
"""How often each side may still ask, and who has asked at the beginning."""

FAULTS = {
    "none": (0, 0, 0, 0),
    "a loss": (1, 0, 0, 0),
    "a duplicate": (0, 1, 0, 0),
    "a failed dial": (0, 0, 1, 0),
    "an early expiry": (0, 0, 0, 1),
    "one of each": (1, 1, 1, 1),
}

WITHOUT = {
    "crossing": ("at once", "none"),
    "ack": ("one", "none"),
    "secondary_may_go": ("one", "none"),
    "closes": ("one", "an early expiry"),
    "resends": ("one", "a loss"),
}
"""The scope in which a rule that is left out is missed."""


@lru_cache
def explored(scope: str, faults: str, rules: Rules = WRITTEN) -> Result:
    asks, first = SCOPES[scope]
    return explore(Budget(asks, *FAULTS[faults]), rules, first)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("faults", list(FAULTS))
@pytest.mark.parametrize("scope", list(SCOPES))
def test_two_agree_in_every_order_and_connect_if_nothing_fails(scope: str, faults: str) -> None:
    result = explored(scope, faults)
    print(f"{scope}, {faults}: {result.states:,} states, {result.ends:,} ends")
    assert result.bad == [] and result.ungreeted == 0
    assert result.connected > 0
    if faults in ("none", "a loss", "a duplicate"):
        assert result.connected == result.ends


def test_explored_is_what_can_happen_and_no_more() -> None:
    """As many states as there were when the model was read: a rule that changes shows here."""
    assert [explored(scope, "none").states for scope in SCOPES] == [38, 38, 129, 167, 38]


@pytest.mark.parametrize("rule", list(WITHOUT))
def test_each_rule_that_is_left_out_is_missed(rule: str) -> None:
    result = explored(*WITHOUT[rule], WRITTEN._replace(**{rule: False}))
    assert result.bad or result.ungreeted


def test_every_rule_is_left_out_once() -> None:
    assert set(WITHOUT) == set(Rules._fields)


@pytest.mark.parametrize("scope", ["at once", "crossing", "twice"])
def test_the_written_proposal_leaves_the_two_apart_though_nothing_fails(scope: str) -> None:
    result = explored(scope, "none", PROPOSAL)
    print(f"proposal, {scope}: {len(result.bad)} of {result.ends} ends are bad")
    assert any("not connected" in bad for bad in result.bad)
    assert result.ungreeted > 0
