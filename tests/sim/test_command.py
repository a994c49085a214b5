"""The simulation's doors: what is printed, and which exit code."""

from __future__ import annotations

import io
import json

import pytest

from routing.simulation import command
from routing.simulation.command import form_command
from routing.simulation.hosts import Violation
from routing.simulation.scenarios import Report, form, make_world
from routing.simulation.sweep import main
from routing.simulation.world import World

__all__: list[str] = []


def run(**options: int | bool | float) -> tuple[int, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    given = {"nodes": 4, "kill": 1, "seed": 2, **options}
    code = form_command(**given, out=out, errors=errors)  # type: ignore[arg-type]
    return code, out.getvalue(), errors.getvalue()


def test_whole_network_is_reported_to_people() -> None:
    code, text, errors = run()
    assert (code, errors) == (0, "")
    assert text.startswith("form: 4 nodes, seed 2\nwhole     after ")
    assert "healed    after " in text and text.endswith("\nok\n")


def test_json_is_exactly_one_object() -> None:
    code, text, _ = run(json=True)
    answer = json.loads(text)
    assert code == 0 and answer["ok"] is True
    assert (answer["nodes"], answer["killed"], answer["seed"]) == (4, 1, 2)
    assert answer["formed_s"] > 0 and answer["healed_s"] > 0
    assert answer["digest"] == form(make_world(2, command="x"), 4, 1).digest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": 0, "kill": 0}, "nodes=0 must be 1 to 2000"),
        ({"nodes": 4, "kill": 4}, "kill=4 must be 0 to 3"),
        ({"nodes": 4, "kill": -1}, "kill=-1 must be 0 to 3"),
        ({"loss": 1.0}, "loss=1.0 must be at least 0 and below 1"),
    ],
)
def test_unusable_arguments_are_one_line_and_code_2(options: dict[str, int], message: str) -> None:
    code, text, errors = run(**options)
    assert (code, text) == (2, "")
    assert message in errors and errors.count("\n") == 1


def test_network_that_stays_apart_is_code_1_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def apart(world: World, nodes: int, kill: int) -> Report:
        world.network.dialling.blocked.update((a, b) for a in range(9) for b in range(9))
        return form(world, nodes, kill)

    monkeypatch.setattr(command, "form", apart)
    code, text, _ = run()
    assert code == 1
    assert "whole     never" in text
    assert "NOT OK: forming: not whole after 300 s: node 1 has no name" in text


def test_broken_invariant_is_code_1_with_all_that_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(world: World, nodes: int, kill: int) -> Report:
        raise world.violation("a thing")

    monkeypatch.setattr(command, "form", broken)
    code, text, errors = run()
    assert (code, text) == (1, "")
    assert "seed 2" in errors and "a thing" in errors
    assert "python -m routing simulate form --nodes 4 --kill 1 --seed 2" in errors
    with pytest.raises(Violation):
        broken(make_world(2, command="x"), 4, 1)


@pytest.mark.parametrize(
    "scenario", ["form", "outage", "silence", "merge", "crowd", "partition", "rejoin", "chaos"]
)
def test_sweep_counts_what_was_ok(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([scenario, "--nodes", "3", "--kill", "1", "--seeds", "0:2"]) == 0
    assert "2 of 2 ok" in capsys.readouterr().out


def test_sweep_refuses_arguments_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["form", "--nodes", "3", "--kill", "3", "--seeds", "1"]) == 2
    assert "kill=3 must be 0 to 2" in capsys.readouterr().err
