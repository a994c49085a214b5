"""The waiting room and the ledger, without a loop."""

from __future__ import annotations

import asyncio
import gc
import resource
import weakref

import pytest

from routing.limits import Limits
from routing.service.ledger import Ledger, ledger_of
from routing.service.waiting import WaitingRoom

__all__: list[str] = []


def room(**changes: object) -> WaitingRoom:
    return WaitingRoom(Limits.recommended().but(**changes))


def test_oldest_of_the_largest_group_leaves() -> None:
    waiting = room(unauthenticated_max=5)
    for serial, host in enumerate(["1.0.0.1", "2.0.0.1", "2.0.0.2", "3.0.0.1", "2.0.0.3"]):
        assert waiting.enter(serial, host) is None
    assert waiting.enter(5, "4.0.0.1") == 1
    assert waiting.enter(6, "5.0.0.1") == 2
    # Now all groups have one: the oldest of them all.
    assert waiting.enter(7, "6.0.0.1") == 0
    assert len(waiting) == 5


def test_honest_entries_survive_a_flood_from_many_networks() -> None:
    waiting = room(unauthenticated_max=512)
    honest = range(40)
    for serial in honest:
        waiting.enter(serial, f"9.9.{serial}.1")
    for serial in range(100, 4_100):
        network = serial % 200
        waiting.enter(serial, f"10.{network}.0.{serial % 250 + 1}")
    assert all(serial in waiting for serial in honest)
    assert len(waiting) == 512


def test_quotas_count_only_who_is_inside() -> None:
    waiting = room(unauthenticated_per_ipv4=2, unauthenticated_per_ipv4_24=3)
    for serial in (1, 2):
        assert waiting.refuses("9.0.0.1") is None
        waiting.enter(serial, "9.0.0.1")
    assert waiting.refuses("9.0.0.1") == "accept.per_ipv4"
    waiting.enter(3, "9.0.0.2")
    assert waiting.refuses("9.0.0.3") == "accept.per_ipv4_24"
    assert waiting.refuses("9.0.1.1") is None
    waiting.leave(1)
    waiting.leave(1)
    assert waiting.refuses("9.0.0.1") is None


def test_ipv6_counts_by_customer() -> None:
    waiting = room(unauthenticated_per_ipv6_56=2)
    waiting.enter(1, "2001:db9:0:100::1")
    waiting.enter(2, "2001:db9:0:1ff::2")
    assert waiting.refuses("2001:db9:0:123::9") == "accept.per_ipv6_56"
    assert waiting.refuses("2001:db9:0:200::9") is None


def test_ledger_gives_no_more_than_it_has() -> None:
    ledger = Ledger(2, 100)
    assert ledger.take() and ledger.take()
    assert not ledger.take()
    ledger.give()
    assert ledger.take()
    ledger.give()
    ledger.give()
    with pytest.raises(AssertionError, match="never taken"):
        ledger.give()


def test_those_who_wait_are_woken_once_with_a_margin() -> None:
    ledger = Ledger(64, 100)
    while ledger.take():
        pass
    woken: list[int] = []
    ledger.when_free(1, lambda: woken.append(1))
    ledger.when_free(2, lambda: woken.append(2))
    ledger.forget(2)
    for _ in range(3):
        ledger.give()
    assert woken == []
    for _ in range(3):
        ledger.give()
    assert woken == [1]


def test_queued_bytes_are_charged_and_bounded() -> None:
    ledger = Ledger(1, 100)
    ledger.charge(100)
    before = ledger.is_overdrawn
    assert not before
    ledger.charge(1)
    overdrawn = ledger.is_overdrawn
    assert overdrawn
    ledger.charge(-101)
    with pytest.raises(AssertionError, match="more bytes were written"):
        ledger.charge(-1)


def test_one_ledger_for_each_loop_which_dies_with_it() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    ledger = ledger_of(first, reserved=128, bytes_max=7)
    assert ledger_of(first, reserved=1, bytes_max=1) is ledger
    assert ledger_of(second, reserved=128, bytes_max=7) is not ledger
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < ledger.descriptors_max <= max(soft, 1) - min(128, soft // 2)
    seen = weakref.ref(first)
    first.close()
    second.close()
    del first
    gc.collect()
    assert seen() is None
