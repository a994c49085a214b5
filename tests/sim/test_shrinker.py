"""A failure becomes small: what has nothing to do with it is left out, and it still fails so."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from routing.cli import main
from routing.simulation import script as steps
from routing.simulation.script import Script, Spell
from routing.simulation.scriptfile import library, parse, write
from routing.simulation.shrinking import shrink
from routing.simulation.stage import spell_out
from routing.simulation.trial import Outcome, Trial, run_trial

__all__: list[str] = []

BROKEN = "tests.sim.broken"


def failed(trial: Trial, kind: str = "broken") -> Outcome:
    return Outcome(
        scenario=trial.script.name,
        seed=trial.seed,
        nodes=trial.script.nodes,
        ok=not kind,
        kind=kind,
        reason=kind,
        command="",
        bound_s=1.0,
    )


def many_steps() -> Script:
    return Script(
        name="many",
        about="many steps, of which two matter",
        nodes=20,
        clients=4,
        steps=[
            steps.Start(over_s=30.0),
            steps.Start(who="clients"),
            steps.Part(),
            steps.Wait(for_s=100.0),
            steps.Heal(),
            steps.Swarm(for_s=300.0),
            steps.Kill(share=0.5, silent=True),
            steps.Worsen(loss=0.1),
            steps.Restart(),
        ],
    )


def test_what_does_not_matter_is_left_out() -> None:
    """A judge that wants a silent kill, one reset and five nodes is left with just these."""
    runs: list[Trial] = []

    def judge(trial: Trial) -> Outcome:
        runs.append(trial)
        script = trial.script
        kills = any(isinstance(step, steps.Kill) and step.silent for step in script.steps)
        resets = [
            spell
            for step in script.steps
            if isinstance(step, steps.Strikes)
            for spell in step.faults
            if spell.fault is wanted
        ]
        return failed(trial, "broken" if kills and resets and script.nodes >= 5 else "")

    trial = Trial(script=many_steps(), seed=5, quiet_s=60.0)
    swarm = next(step for step in trial.script.steps if isinstance(step, steps.Swarm))
    wanted = spell_out(swarm, 5).faults[0].fault
    shrunk = shrink(trial, failed(trial), run=judge)
    script = shrunk.trial.script
    assert [type(step) for step in script.steps] == [steps.Start, steps.Strikes, steps.Kill]
    assert isinstance(script.steps[1], steps.Strikes) and len(script.steps[1].faults) == 1
    assert (script.nodes, script.clients, shrunk.trial.quiet_s) == (5, 0, 0.0)
    assert shrunk.steps_after == 4 < shrunk.steps_before
    assert judge(shrunk.trial).kind == "broken" and shrunk.runs == len(runs) - 1
    assert parse(write(script), "again") == script


def test_other_failures_do_not_count() -> None:
    trial = Trial(script=many_steps(), seed=5)
    shrunk = shrink(trial, failed(trial, "one"), run=lambda smaller: failed(smaller, "another"))
    assert shrunk.trial == trial


def test_shrinking_ends_after_so_many_runs() -> None:
    runs: list[Trial] = []

    def judge(trial: Trial) -> Outcome:
        runs.append(trial)
        return failed(trial)

    trial = Trial(script=many_steps(), seed=5)
    assert shrink(trial, failed(trial), runs_max=7, run=judge).runs == len(runs) == 7


def test_swarm_is_the_same_spelt_out() -> None:
    script = replace(library()["swarm"], nodes=6)
    spelt = [spell_out(step, 2) if isinstance(step, steps.Swarm) else step for step in script.steps]
    one = run_trial(Trial(script=script, seed=2, checks_every=8))
    other = run_trial(Trial(script=replace(script, steps=spelt), seed=2, checks_every=8))
    assert one.digest == other.digest
    strikes = next(step for step in spelt if isinstance(step, steps.Strikes))
    assert strikes.faults and all(isinstance(spell, Spell) for spell in strikes.faults)


def test_broken_core_is_found_and_its_scenario_becomes_small() -> None:
    """A core that goes mad when a peer falls silent: two nodes and one silent death are enough."""
    trial = Trial(script=many_steps(), seed=1, maker=f"{BROKEN}:always_due")
    trial = replace(trial, script=replace(trial.script, nodes=8))
    failure = run_trial(trial)
    assert not failure.ok and "a deadline in the past" in failure.kind
    assert "last of node" in failure.reason and "seed 1, at" in failure.reason
    shrunk = shrink(trial, failure, runs_max=120)
    assert shrunk.outcome.kind == failure.kind
    assert shrunk.trial.script.nodes <= 3 and len(shrunk.trial.script.steps) <= 3
    assert run_trial(shrunk.trial).digest == shrunk.outcome.digest


def test_command_prints_the_smallest_scenario_as_a_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["simulate", "run", "mass-failure", "--nodes", "5", "--seeds", "0", "--shrink"]
    assert main([*arguments, "--jobs", "1", "--core", f"{BROKEN}:always_due"]) == 1
    out = capsys.readouterr().out
    assert "FAILED mass-failure, seed 0" in out
    text = out[out.index("# ") :]
    script = parse(text.partition("\n# ")[2].partition("\n")[2], "printed")
    failure = run_trial(Trial(script=script, seed=0, maker=f"{BROKEN}:always_due"))
    assert "a deadline in the past" in failure.kind and len(script.steps) <= 3
