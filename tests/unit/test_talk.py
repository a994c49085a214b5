"""A peer gets so many log lines a minute and no more, and names are eight digits."""

from __future__ import annotations

import logging

import pytest

from routing.events import DescriptorsShort, PeerUp
from routing.limits import SECOND
from routing.state import Direction
from routing.talk import LINES_PER_PEER, PEERS_MAX, WINDOW_NS, Talk
from routing.views import log_event

__all__: list[str] = []

PEER = bytes([0xAB]) * 32


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "routing")
    return caplog


def test_names_are_eight_digits(lines: pytest.LogCaptureFixture) -> None:
    log_event(Talk(bytes(32)), PeerUp(PEER, PEER, Direction.OUTBOUND), 0)
    assert lines.messages == ["00000000: peer abababab up, outbound"]


def test_peer_that_flaps_is_silenced_until_the_next_window(
    lines: pytest.LogCaptureFixture,
) -> None:
    talk = Talk(bytes(32))
    for step in range(3 * LINES_PER_PEER):
        talk.of_peer(logging.INFO, PEER, step, "flaps")
    assert len(lines.messages) == LINES_PER_PEER
    assert talk.suppressed == 2 * LINES_PER_PEER
    talk.of_peer(logging.INFO, bytes(32), 0, "is another")
    talk.of_peer(logging.INFO, PEER, WINDOW_NS, "is back")
    assert len(lines.messages) == LINES_PER_PEER + 2


def test_strangers_do_not_fill_the_memory(lines: pytest.LogCaptureFixture) -> None:
    talk = Talk(bytes(32))
    for number in range(2 * PEERS_MAX):
        talk.of_peer(logging.INFO, number.to_bytes(32, "big"), SECOND, "came")
    assert len(talk._peers) == PEERS_MAX


@pytest.mark.parametrize(("used", "level"), [(5, logging.INFO), (95, logging.WARNING)])
def test_descriptors_are_a_warning_when_they_run_out(
    lines: pytest.LogCaptureFixture, used: int, level: int
) -> None:
    log_event(Talk(bytes(32)), DescriptorsShort(used, 100), 0)
    assert [record.levelno for record in lines.records] == [level]
