"""An attacker does his worst to two production cores and gets nowhere; weaker cores he gets into.

The channel proves keys in production. Where it says `claimed` it proves none, so that the locks
behind it are tried alone.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import lru_cache
from itertools import chain

import pytest

from routing.cli import main
from routing.core import Core
from routing.errors import UsageError
from routing.messages import FrameKind
from routing.simulation import attack_command
from routing.simulation.attack import SCENES, Breach, Search, Setting, besiege, judge, search
from routing.simulation.attacker import Attacker
from routing.simulation.siege import MALLORY, Moment, Siege
from routing.simulation.weakened import WEAKENED, Unacknowledged
from routing.state import LinkRole

__all__: list[str] = []

GATE = [
    (Setting(scene="quiet", moves=3, claimed=True, sniff=True), 15_000),
    (Setting(scene="asking", moves=1, claimed=True, sniff=True), 6_000),
    (Setting(scene="crossing", moves=1), 19_000),
    (Setting(scene="connected", moves=2, claimed=True, sniff=True), 900),
    (Setting(scene="later", moves=2, claimed=True, sniff=True), 16_000),
    (Setting(scene="asking", moves=1, relaxed=True), 4_000),
]
"""What is searched, and how many states there are at the least: some 60,000 in all."""


@lru_cache
def searched(setting: Setting) -> Search:
    """Return what comes of a search to its end: several tests look at the same one."""
    return search(setting)


@lru_cache
def without(lock: str) -> Search:
    """Return what comes of a search with this lock off."""
    weakness = WEAKENED[lock]
    return search(weakness.setting, goals=[weakness.breach], states_max=60_000)


@pytest.mark.parametrize(("setting", "states"), GATE, ids=[each.scene for each, _ in GATE])
def test_attacker_gets_nowhere_against_production_cores(setting: Setting, states: int) -> None:
    result = searched(setting)
    told = "" if result.finding is None else "\n".join(result.finding.dialogue)
    assert result.finding is None, f"{result.finding}\n{told}"
    assert result.complete and result.states > states


def test_search_reaches_states_in_which_harm_could_be_done() -> None:
    result = search(Setting(scene="asking", moves=0))
    assert result.consolidated["X to Y"] > 0 and result.consolidated["Y to X"] > 0
    own = searched(GATE[0][0])
    assert own.consolidated["X to M"] > 0, "under his own name he is a peer like any other"


# -- one lock off at a time


@pytest.mark.parametrize("lock", sorted(WEAKENED))
def test_each_lock_taken_off_is_found(lock: str) -> None:
    finding = without(lock).finding
    assert finding is not None and finding.breach is WEAKENED[lock].breach


@pytest.mark.parametrize("lock", sorted(WEAKENED))
def test_same_setting_with_the_lock_on_finds_nothing_in_as_many_states(lock: str) -> None:
    whole = replace(WEAKENED[lock].setting, make_core=Core)
    assert search(whole, states_max=without(lock).states).finding is None


def test_hello_that_is_not_bound_to_its_connection_is_replayed_on_another() -> None:
    finding = without("binding").finding
    assert finding is not None and finding.text == "X routes to Y; M is at the far end"
    moves = [line for line in finding.dialogue if line.startswith("M dials")]
    assert len(moves) == 1 and "as if he were Y and says Hello(PRIMARY)" in moves[0]
    assert "heard before" in moves[0]


def test_without_the_ack_a_stranger_names_anothers_endpoint_and_is_taken_for_it() -> None:
    finding = without("ack").finding
    assert finding is not None and finding.text == "X routes to M; Y is at the far end"
    assert "listing Y's endpoint" in finding.dialogue[0]


def test_channel_alone_keeps_out_who_replays_an_unbound_hello() -> None:
    weak = replace(WEAKENED["binding"].setting, claimed=False)
    assert search(weak, states_max=without("binding").states).finding is None


def test_without_the_ack_a_connection_counts_that_its_far_end_has_not_greeted() -> None:
    weak = Setting(make_core=Unacknowledged, scene="asking", moves=0)
    finding = search(weak).finding
    assert finding is not None and finding.breach is Breach.UNGREETED, "no attacker is needed"


def test_peer_that_took_no_part_in_the_attempt_is_a_breach_of_its_own() -> None:
    finding = search(WEAKENED["ack"].setting, goals=[Breach.NO_PART]).finding
    assert finding is not None and finding.breach is Breach.NO_PART


def test_broken_invariant_of_one_core_is_told_with_the_way_to_it() -> None:
    class Touchy(Core):
        def check(self) -> None:
            super().check()
            if self.links_of(LinkRole.PRIMARY):
                raise AssertionError("0: a primary")

    finding = search(Setting(make_core=Touchy, scene="asking", moves=0)).finding
    assert finding is not None and finding.breach is Breach.LOCAL
    assert finding.text == "0: a primary"
    assert finding.dialogue[-1] == "Y's dial of X's endpoint connects"


# -- the attacker himself


def first(setting: Setting, *wanted: str) -> tuple[Siege, Attacker, Moment]:
    """Go the steps whose labels begin like this, one after the other."""
    siege, attacker, moment = besiege(setting)
    for text in wanted:
        steps = chain(siege.steps(moment), attacker.passes(moment), attacker.moves(moment))
        moment = next(step for label, step in steps if label.startswith(text))()
    return siege, attacker, moment


def test_frames_between_the_two_are_heard_only_by_one_who_sniffs() -> None:
    way = ("M passes ConnectRequest", "Y's dial of X's endpoint connects")
    kinds = []
    for sniff in (False, True):
        _, _, moment = first(Setting(scene="asking", moves=0, sniff=sniff), *way)
        kinds.append({kind for kind, _ in moment.known})
    assert kinds == [{FrameKind.ROUTED}, {FrameKind.ROUTED, FrameKind.HELLO}]


def test_he_dials_under_anothers_key_only_where_the_channel_proves_none() -> None:
    for claimed in (False, True):
        way = ("M passes ConnectRequest", "Y's dial of X's endpoint connects")
        _, attacker, moment = first(
            Setting(scene="asking", moves=1, claimed=claimed, sniff=True), *way
        )
        labels = [label for label, _ in attacker.moves(moment)]
        assert any("as if he were Y" in label for label in labels) is claimed


def test_he_signs_with_his_own_keys_only() -> None:
    siege, attacker, _ = besiege(Setting(scene="quiet", moves=1))
    keys = {attacker.neighbour.key, attacker.stranger.key}
    assert keys == set(siege.masks)
    assert keys.isdisjoint(seat.key for seat in siege.seats)


def test_moves_are_over_when_the_budget_is() -> None:
    _, attacker, moment = first(Setting(scene="quiet", moves=1), "M asks X")
    assert moment.left == 0 and list(attacker.moves(moment)) == []


def test_his_endpoint_is_his_whoever_is_expected_there() -> None:
    way = ("M asks X for a connection, listing M's endpoint", "X's dial of M's endpoint connects")
    siege, _, moment = first(Setting(scene="quiet", moves=1), *way)
    (line,) = [line for line in moment.lines if line.ends == (0, MALLORY) and line.roles[0] == 1]
    assert line.keys[1] == siege.masks[1] and list(judge(siege, moment)) == []


def test_equal_settings_are_searched_alike() -> None:
    one, other = (search(WEAKENED["ack"].setting) for _ in range(2))
    assert (one.states, one.steps, one.finding) == (other.states, other.steps, other.finding)


def test_real_signatures_make_no_difference() -> None:
    cheap = search(Setting(scene="asking", moves=0))
    real = search(Setting(scene="asking", moves=0, real_signatures=True))
    assert real.finding is None and real.complete
    assert real.states == cheap.states
    weak = replace(WEAKENED["ack"].setting, real_signatures=True)
    assert search(weak, goals=[Breach.FAR_END]).finding is not None


def test_unknown_scene_and_negative_budget_are_refused() -> None:
    with pytest.raises(UsageError, match="scene='siesta' must be one of quiet, asking"):
        besiege(Setting(scene="siesta", moves=1))
    with pytest.raises(UsageError, match="moves=-1 must be at least 0"):
        besiege(Setting(moves=-1))


# -- the command


def test_command_says_what_was_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "attack", "--scene", "quiet", "--moves", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("quiet      1 moves: ") and lines[0].endswith(": nothing found")
    assert lines[1].endswith(" states, 0 found")


def test_command_shows_what_a_lock_keeps_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "attack", "--broken", "ack"]) == 0
    out = capsys.readouterr().out
    assert "FOUND: routes to one over a connection whose far end is another" in out
    assert "\n   1. M asks X for a connection, listing Y's endpoint: X sends " in out


def test_lock_that_is_not_missed_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "attack", "--broken", "ack", "--moves", "1"]) == 1
    assert "nothing found" in capsys.readouterr().out


def test_json_holds_every_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "attack", "--moves", "0", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [each["scene"] for each in answer["searches"]] == list(SCENES)
    assert answer["found"] == 0 and all(each["complete"] for each in answer["searches"])


def test_search_that_was_cut_short_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "attack", "--scene", "asking", "--states", "10"]) == 1
    assert "NOT COMPLETE" in capsys.readouterr().out


def test_broken_brings_its_own_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "attack", "--broken", "ack", "--sniff"]) == 2
    assert "brings its own scene" in capsys.readouterr().err


def test_interrupt_prints_what_is_known_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(setting: Setting, **_options: object) -> Search:
        if setting.scene == "asking":
            raise KeyboardInterrupt
        return search(setting)

    monkeypatch.setattr(attack_command, "search", interrupted)
    out, errors = io.StringIO(), io.StringIO()
    code = attack_command.attack_command(moves=0, states_max=100, out=out, errors=errors)
    assert code == 130 and "interrupted" in errors.getvalue()
    assert out.getvalue().splitlines()[0].startswith("quiet ")
    assert out.getvalue().splitlines()[-1].endswith(" states, 0 found")
