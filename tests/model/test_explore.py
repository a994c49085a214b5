"""Two production cores connect in every order, and cores that lack a rule are found out.

What is explored here is the gate: every scene whole within its budget, and every broken variant.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import lru_cache

import pytest

from routing.cli import main
from routing.core import Core
from routing.errors import UsageError
from routing.inputs import Accepted, Input
from routing.limits import Nanos
from routing.simulation import explore_command
from routing.simulation.broken_pairs import BROKEN
from routing.simulation.explore import (
    SCENES,
    Breach,
    Exploration,
    Setting,
    explore,
    judge,
    judge_end,
    set_up,
)
from routing.simulation.explore_command import spell_budget
from routing.simulation.moments import DOWN, Budget, Moment
from routing.simulation.pair import Pair
from routing.state import LinkRole

__all__: list[str] = []

STATES = {
    "one": 12_000,
    "other": 12_000,
    "crossing": 14_000,
    "crossed": 25_000,
    "twice": 36_000,
    "kept": 15_000,
    "fresh": 18_000,
    "full": 15_000,
    "breaks": 18_000,
    "barred": 500,
    "one-way": 2_000,
    "turned": 6_000,
}
"""How many there are at the least within the budget of each scene: some 80 in 100."""

MUTANTS_LEAST = 12
GATE = 100_000


@lru_cache
def without(rule: str) -> Exploration:
    """Return what comes of it without this rule."""
    return explore(BROKEN[rule].setting)


def told(done: Exploration) -> str:
    return "" if done.finding is None else "\n".join((done.finding.text, *done.finding.dialogue))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scene", list(SCENES))
def test_two_cores_agree_in_every_order_and_connect_if_nothing_fails(scene: str) -> None:
    done = explore(Setting(scene=scene))
    print(f"{scene}: {done.states:,} states, {done.ends:,} ends, {done.connected:,} connected")
    assert done.finding is None, told(done)
    assert done.complete and done.states >= STATES[scene]
    assert (done.connected > 0) is (scene != "barred")


def test_gate_is_as_wide_as_promised() -> None:
    assert set(STATES) == set(SCENES) and sum(STATES.values()) >= GATE
    assert len(BROKEN) >= MUTANTS_LEAST


@pytest.mark.parametrize("scene", ["one", "other", "crossing", "crossed"])
def test_without_a_fault_every_end_is_connected(scene: str) -> None:
    asks = SCENES[scene].budget.asks
    done = explore(Setting(scene=scene, budget=Budget(asks=asks)))
    assert done.complete and done.connected == done.ends >= 1


# -- one rule off at a time


@pytest.mark.timeout(180)
@pytest.mark.parametrize("rule", list(BROKEN))
def test_each_rule_taken_off_is_found(rule: str) -> None:
    done = without(rule)
    print(f"{rule}: found after {done.states:,} states")
    assert done.finding is not None and done.finding.breach is BROKEN[rule].breach, told(done)


def controls() -> list[Setting]:
    """Return the settings of the variants with every rule in its place, each once.

    One that is a whole scene as it is has been explored as such.
    """
    settings = [replace(each.setting, make_core=Core) for each in BROKEN.values()]
    once = dict.fromkeys((each.scene, each.left) for each in settings)
    return [
        Setting(scene=scene, budget=left) for scene, left in once if left != SCENES[scene].budget
    ]


@pytest.mark.parametrize(
    "setting", controls(), ids=lambda each: f"{each.scene}-{spell_budget(each.left)}"
)
def test_same_setting_with_the_rule_in_place_is_clean(setting: Setting) -> None:
    done = explore(setting)
    assert done.complete and done.finding is None, told(done)


def test_shortest_way_is_told_as_a_dialogue() -> None:
    finding = without("secondary-lost").finding
    assert finding is not None
    assert finding.dialogue[0].startswith("Y hears ConnectRequest of ")
    assert any("Y closes SECONDARY_DONE" in line for line in finding.dialogue)
    assert finding.text == "nothing was made to fail, and the two are not connected"


def test_core_that_raises_is_found_with_the_way_to_it() -> None:
    class Raises(Core):
        def handle(self, fact: Input, now: Nanos) -> None:
            if isinstance(fact, Accepted):
                raise KeyError("a connection")
            super().handle(fact, now)

    finding = explore(Setting(budget=Budget(), make_core=Raises)).finding
    assert finding is not None and finding.breach is Breach.LOCAL
    assert finding.text == "KeyError: 'a connection'"
    assert finding.dialogue[-1].endswith("hears a connection from Y")


def test_table_of_each_may_become_full() -> None:
    done = explore(Setting(scene="full", budget=Budget(fills=2)))
    assert done.complete and done.finding is None, told(done)


# -- what the judges see


def at_rest(pair: Pair, moment: Moment) -> Moment:
    """Return where the first way leads."""
    while True:
        step = next(pair.steps(moment), None)
        if step is None:
            return moment
        moment = step[1]()


def test_judge_sees_another_at_the_far_end() -> None:
    pair, start = set_up(Setting(budget=Budget()))
    moment = at_rest(pair, start)
    (line,) = moment.lines
    assert list(judge(pair, moment, start=start.left)) == []
    wrong = replace(moment, lines=(replace(line, keys=(bytes(32), bytes(32))),))
    assert {breach for breach, _ in judge(pair, wrong, start=start.left)} == {Breach.FAR_END}


def test_judge_sees_a_connection_that_one_end_has_and_the_other_has_not() -> None:
    pair, start = set_up(Setting(budget=Budget()))
    moment = at_rest(pair, start)
    (line,) = moment.lines
    wrong = replace(moment, lines=(replace(line, tokens=(line.tokens[0], 0)),))
    assert Breach.OWNER in {breach for breach, _ in judge(pair, wrong, start=start.left)}
    assert [breach for breach, _ in judge_end(pair, wrong, start=start.left)] == [Breach.DISAGREE]


def test_judge_sees_what_is_still_pending() -> None:
    pair, start = set_up(Setting(budget=Budget()))
    breaches = [breach for breach, _ in judge_end(pair, start, start=start.left)]
    assert breaches == [Breach.PENDING, Breach.APART]


def test_core_that_starts_anew_asks_and_is_another_process() -> None:
    pair, start = set_up(Setting(scene="kept"))
    crash = next(step for label, step in pair.faults(start) if label == "Y crashes")
    down = crash()
    assert down.lives[1] == DOWN and not any(label == "Y asks" for label, _ in pair.asks(down))
    reborn = next(step for label, step in pair.idle_steps(down) if label == "Y starts anew")()
    assert pair.core(reborn, 1).incarnation != pair.core(start, 1).incarnation
    assert pair.core(reborn, 1).key == pair.core(start, 1).key
    assert [trial.requester for trial in pair.view(reborn, 1).trials] == [True]


def test_dead_end_that_says_nothing_is_noticed_by_its_silence() -> None:
    pair, start = set_up(Setting(scene="kept"))
    moment = at_rest(pair, start)
    down = next(step for label, step in pair.faults(moment) if label == "Y crashes")()
    notice = next(step for label, step in pair.idle_steps(down) if label.startswith("X notices"))
    roles = [link.role for link in pair.core(notice(), 0).links.values()]
    assert roles == [LinkRole.CONSOLIDATED], "the neighbour alone is left"


# -- the command


def run(**options: object) -> tuple[int, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    defaults: dict[str, object] = {"scenes": ["one"], "states_max": 100_000}
    code = explore_command.explore_command(
        **{**defaults, **options},  # type: ignore[arg-type]
        out=out,
        errors=errors,
    )
    return code, out.getvalue(), errors.getvalue()


NONE = {"losses": 0, "duplicates": 0, "failed_dials": 0, "expiries": 0, "crashes": None}


def test_command_prints_what_was_looked_at_and_that_nothing_was_found() -> None:
    code, out, _ = run(faults=NONE)
    assert code == 0
    assert out.startswith("one       no faults: 52 states") and "nothing found" in out
    assert out.endswith("52 states, 0 found\n")


def test_command_finds_what_is_broken_and_tells_how() -> None:
    code, out, _ = run(broken="no-ack")
    assert code == 0 and f"FOUND: {Breach.UNGREETED}" in out and "   1. " in out


def test_command_that_is_cut_short_says_so() -> None:
    code, out, _ = run(states_max=10)
    assert code == 1 and "NOT COMPLETE" in out and "not all looked at" in out


def test_command_explores_scenes_in_processes_of_their_own() -> None:
    code, out, _ = run(scenes=["one", "other"], faults=NONE, jobs=2, json=True)
    told = json.loads(out)
    assert code == 0 and told["states"] == 104 and told["found"] == 0
    assert [each["scene"] for each in told["explorations"]] == ["one", "other"]
    assert told["explorations"][0]["budget"]["losses"] == 0


def test_interrupted_command_tells_what_was_found_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(explore_command, "explore", interrupted)
    code, out, errors = run()
    assert code == 130 and out == "0 states, 0 found\n"
    assert "interrupted" in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenario", "none"], "'none' is not one of"),
        (["--losses", "-1"], "-1"),
        (["--broken", "no-ack", "--losses", "1"], "brings its own scenario"),
    ],
)
def test_wrong_arguments_end_with_one_line_and_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "explore", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_command_line_reaches_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--scenario", "one", "--losses", "0", "--duplicates", "0"]
    arguments += ["--failed-dials", "0", "--expiries", "0"]
    assert main(["simulate", "explore", *arguments]) == 0
    assert "52 states, 0 found" in capsys.readouterr().out


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="scene='none' must be one of one, "):
        set_up(Setting(scene="none"))
    with pytest.raises(UsageError, match="losses=-1 must be at least 0"):
        set_up(Setting(budget=Budget(losses=-1)))
    code, _, errors = run(jobs=0)
    assert code == 2 and "jobs=0 must be at least 1" in errors
