"""Whose share of a queue is how large, and when it is free again."""

from __future__ import annotations

from routing import actions as do
from routing.hop_shares import Shares, sent_again
from routing.messages import FrameKind
from routing.state import Token

__all__: list[str] = []


def test_one_feeder_may_have_all_the_room() -> None:
    shares = Shares(1_000)
    assert not shares.add(1, 999)
    assert shares.add(1, 1)
    assert shares.share == 1_000


def test_feeders_have_equal_shares_and_the_modest_is_not_charged_for_the_greedy() -> None:
    shares = Shares(1_000)
    shares.add(1, 900)
    assert not shares.add(2, 100)
    assert shares.share == 500
    assert shares.add(1, 1)
    assert not shares.add(2, 399)
    assert shares.add(2, 1)


def test_newcomer_finds_its_share_free_and_the_greedy_has_none_left() -> None:
    shares = Shares(1_000)
    assert shares.left(1) == 1_000
    shares.add(1, 900)
    assert shares.left(1) == 100
    assert shares.left(2) == 500
    assert not shares.has_others(1)
    assert shares.has_others(2)
    shares.add(2, 200)
    assert (shares.left(1), shares.left(2)) == (0, 300)


def test_who_waits_with_nothing_in_the_queue_has_a_share_too() -> None:
    shares = Shares(900)
    shares.add(1, 900)
    shares.wait(2)
    shares.wait(3)
    assert shares.share == 300
    assert shares.waiting == [2, 3]
    shares.go(2)
    assert shares.share == 450
    assert shares.waiting == [3]


def test_oldest_bytes_leave_first() -> None:
    shares = Shares(1_000)
    shares.add(1, 300)
    shares.add(2, 200)
    shares.add(1, 100)
    shares.drain(350)
    assert (shares.of(1), shares.of(2)) == (150, 200)
    shares.drain(100)
    assert (shares.of(1), shares.of(2)) == (100, 0)
    assert shares.share == 1_000, "who has nothing there and does not wait feeds it no more"
    shares.drain(0)
    assert (shares.of(1), shares.of(2)) == (0, 0)


def test_more_left_than_was_fed_takes_nothing_off() -> None:
    shares = Shares(1_000)
    shares.add(1, 300)
    shares.drain(700)
    assert shares.of(1) == 300


def test_who_waited_goes_on_when_half_of_its_share_and_the_queue_have_room() -> None:
    shares = Shares(1_000)
    shares.add(1, 1_000)
    shares.wait(1)
    shares.drain(501)
    assert not shares.may_go(1, 501)
    shares.drain(500)
    assert shares.may_go(1, 500)
    assert not shares.may_go(1, 1_001), "others fill the queue"


def test_what_is_sent_again_by_its_source_gives_way_and_nothing_else_does() -> None:
    def send(kind: FrameKind, route: int, priority: int) -> do.Send:
        return do.Send(Token(1), kind, bytes([0x94, 3, route, 0xC4]), priority)

    assert sent_again(send(FrameKind.ROUTED, 0, 0)) == ""
    assert sent_again(send(FrameKind.ROUTED, 1, 0)) == "repeat"
    assert sent_again(send(FrameKind.ROUTED, 0, do.BULK)) == "bulk"
    assert sent_again(send(FrameKind.PING, 1, do.BULK)) == ""
