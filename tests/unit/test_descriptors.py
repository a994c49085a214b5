"""The soft limit of descriptors is raised as far as allowed, and too few are told in one line."""

from __future__ import annotations

import resource

import pytest

from routing.descriptors import descriptors_needed, raise_descriptor_limit
from routing.errors import StartError

__all__: list[str] = []


class System:
    """The limits of a process that is not this one."""

    def __init__(self, soft: int, hard: int) -> None:
        self.limits = (soft, hard)

    def get(self, _: int) -> tuple[int, int]:
        return self.limits

    def set(self, _: int, limits: tuple[int, int]) -> None:
        self.limits = limits


def raised(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, *, nodes: int, processes: bool = False
) -> int:
    system = System(soft, hard)
    monkeypatch.setattr(resource, "getrlimit", system.get)
    monkeypatch.setattr(resource, "setrlimit", system.set)
    raise_descriptor_limit(nodes, 0, processes=processes)
    assert system.limits[1] == hard
    return system.limits[0]


def test_soft_limit_is_raised_to_what_the_nodes_want(monkeypatch: pytest.MonkeyPatch) -> None:
    assert raised(monkeypatch, 256, 100_000, nodes=12) == 256 + 64 * 12


def test_soft_limit_is_raised_to_the_hard_one_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert raised(monkeypatch, 256, 512, nodes=12) == 512


def test_soft_limit_is_never_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert raised(monkeypatch, 50_000, 100_000, nodes=1) == 50_000


def test_no_limit_at_all_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = resource.RLIM_INFINITY
    assert raised(monkeypatch, endless, endless, nodes=500) == endless


def test_too_few_descriptors_are_told_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError) as caught:
        raised(monkeypatch, 256, 256, nodes=40)
    needed = descriptors_needed(40, 0, processes=False)
    assert str(needed) in str(caught.value)
    assert "256" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_processes_of_their_own_need_fewer_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert raised(monkeypatch, 256, 512, nodes=40, processes=True) == 512
