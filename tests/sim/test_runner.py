"""Many seeds over any executor, told in a table, as JSON or in a picture; some run twice."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as Xml
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from routing.cli import main
from routing.cli_seeds import watched
from routing.errors import UsageError
from routing.simulation.campaign import (
    AHEAD,
    WorkerLost,
    again,
    outcomes,
    processes,
    resolve_executor,
)
from routing.simulation.picture import why_no_picture
from routing.simulation.script import Rest, Script, Start
from routing.simulation.sitting import Demands, drive, trials_of
from routing.simulation.trial import Outcome, Trial, resolve, run_trial
from tests.sim.broken import Threads

__all__: list[str] = []

SMALL = Script(
    name="small",
    about="three nodes start",
    nodes=3,
    limits="local",
    steps=[Start(over_s=1.0), Rest()],
)
BROKEN = "tests.sim.broken"


def small(seeds: int, maker: str = "") -> list[Trial]:
    return [Trial(script=SMALL, seed=seed, maker=maker) for seed in range(seeds)]


def threads() -> Threads:
    return Threads.made[-1]


# -- executors


def test_processes_and_threads_find_the_same() -> None:
    trials = small(4)
    alone = {trial.seed: run_trial(trial).digest for trial in trials}
    factory = resolve_executor(f"{BROKEN}:threads")
    for make in (processes, factory):
        found = list(outcomes(trials, jobs=2, factory=make))
        assert {one.seed: one.digest for one in found} == alone


def test_executor_is_given_a_few_trials_at_a_time_and_every_one_once() -> None:
    found = list(outcomes(small(9), jobs=2, factory=resolve_executor(f"{BROKEN}:threads")))
    assert sorted(one.seed for one in found) == list(range(9))
    assert threads().submitted == 9 and threads().most <= 2 * AHEAD


def test_who_leaves_early_leaves_nothing_running() -> None:
    some = outcomes(small(50), jobs=1, factory=resolve_executor(f"{BROKEN}:threads"))
    assert isinstance(some, Iterator)
    next(some)
    some.close()  # type: ignore[attr-defined]
    assert threads().submitted < 50
    threads().shutdown(wait=True)


def test_dask_runs_trials() -> None:
    distributed = pytest.importorskip("distributed")
    trials = small(3)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = list(outcomes(trials, jobs=2, factory=lambda jobs: client.get_executor(pure=False)))
    assert sorted(one.seed for one in found) == [0, 1, 2] and all(one.ok for one in found)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nothing", "'nothing' is not found"),
        ("routing.nowhere:make", "'routing.nowhere:make' is not found"),
        ("routing.core:nothing", "'routing.core:nothing' is not found"),
        ("routing.limits:SECOND", "'routing.limits:SECOND' cannot be called"),
    ],
)
def test_factory_that_is_none_is_refused(name: str, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        resolve(name)


def test_factory_that_makes_no_executor_is_refused() -> None:
    with pytest.raises(UsageError, match="made a int, which has no submit"):
        resolve_executor(f"{BROKEN}:no_executor")(1)


def test_lost_worker_is_told_and_not_waited_for() -> None:
    with pytest.raises(WorkerLost, match="a worker is gone"):
        list(outcomes(small(2, maker=f"{BROKEN}:breaks_executors"), jobs=1))


# -- what is demanded of all


def test_part_of_the_trials_is_run_twice_with_equal_traces() -> None:
    sitting = drive(small(5), jobs=1, demands=Demands(again=0.4))
    assert (sitting.ok, sitting.repeated, sitting.complaints) == (True, 2, [])


def test_trace_that_differs_is_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routing.simulation.sitting.again", lambda trial, hash_seed: "another")
    sitting = drive(small(2), jobs=1, demands=Demands(again=0.5))
    assert not sitting.ok and "small, seed 0: another trace under" in sitting.complaints[0]


def test_second_run_that_fails_is_told() -> None:
    trial = replace(small(1)[0], maker="routing.nowhere:make")
    with pytest.raises(UsageError, match=r"the second run of seed 0 failed: .*routing\.nowhere"):
        again(trial, 1)


def test_too_few_hours_are_a_complaint() -> None:
    sitting = drive(small(1), jobs=1, demands=Demands(node_hours=9))
    assert not sitting.ok and "node-hours, 9 were asked for" in sitting.complaints[0]


def test_interrupted_run_tells_what_is_known_so_far() -> None:
    def somebody_stops(found: Iterable[Outcome]) -> Iterator[Outcome]:
        for number, outcome in enumerate(found):
            if number == 2:
                raise KeyboardInterrupt
            yield outcome

    sitting = drive(small(50), jobs=1, watch=somebody_stops)
    assert (sitting.interrupted, sitting.ok, sitting.tally.runs) == (True, False, 2)


def test_scenarios_take_turns() -> None:
    other = replace(SMALL, name="other")
    trials = trials_of(
        [("my own.toml", SMALL), ("other", other)], range(5, 8), options=" --x", quiet_s=0, maker=""
    )
    assert [trial.script.name for trial in trials] == ["small", "other", "small"]
    assert trials[0].command == "python -m routing simulate run 'my own.toml' --seeds 5 --x"
    assert trials[1].command == "python -m routing simulate run other --seeds 6 --x"


# -- the command


def run(*arguments: str) -> int:
    return main(["simulate", *arguments])


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(
        'name = "small"\nabout = "three nodes start"\nnodes = 3\nlimits = "local"\n'
        '[[steps]]\ndo = "start"\nover_s = 1\n[[steps]]\ndo = "wait-whole"\n'
    )
    return str(path)


def test_run_prints_a_table(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", file, "--seeds", "0:3", "--jobs", "1") == 0
    out = capsys.readouterr().out
    assert "small        3   3" in out and "3 of 3 ok" in out and "the bound is" in out


def test_run_prints_one_json_object(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", file, "--seeds", "4", "--nodes", "4", "--again", "1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["runs"], told["repeated"], told["complaints"]) == (True, 1, 1, [])
    assert told["scenarios"][0]["scenario"] == "small" and told["counters"]["peer.up"] == 12
    assert told["runs_of"][0]["digest"] and told["worst"]["seed"] == 4


def test_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    assert "flash-crowd         24 nodes  all nodes start" in capsys.readouterr().out


def test_sweep_runs_scenarios_in_turn(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", file, "flash-crowd", "--nodes", "3", "--seeds", "0:3", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["scenario"]: row["runs"] for row in told["scenarios"]} == {
        "flash-crowd": 1,
        "small": 2,
    }


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "nothing"], "scenario 'nothing' is unknown"),
        (["run", "churn", "--seeds", "3:3"], "'3:3' is 0 seeds; give 1 to"),
        (["run", "churn", "--seeds", "x"], "'x' must be one seed, or FIRST:END"),
        (["run", "churn", "--nodes", "0"], "0 is not in the range"),
        (["run", "churn", "--executor", "nothing"], "'nothing' is not found"),
        (["run", "churn", "--core", "nothing"], "'nothing' is not found"),
        (["run", "churn", "--plot", "a.pdf"], "--plot a.pdf must end in .svg or .png"),
        (["run", "churn", "--plot", "/nowhere/a.svg"], "there is no such folder"),
        (["sweep", "churn", "--again", "2"], "2.0 is not in the range"),
    ],
)
def test_unusable_arguments_are_one_line_and_code_2(
    arguments: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("routing.simulation.picture.find_spec", lambda name: object())
    assert run(*arguments) == 2
    errors = capsys.readouterr().err
    assert line in errors and errors.count("\n") == 1


def test_failure_is_code_1_with_all_that_is_needed(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The healing of a broken core takes for ever, and its last events are told."""
    path = Path(file)
    path.write_text(path.read_text() + '[[steps]]\ndo = "offline"\n')
    core = f"{BROKEN}:never_again"
    assert run("run", file, "--seeds", "7", "--core", core, "--json") == 1
    (failure,) = json.loads(capsys.readouterr().out)["failures"]
    assert "seed 7, at" in failure["reason"] and "last of node" in failure["reason"]
    command = f"python -m routing simulate run {file} --seeds 7 --quiet-s 60 --core {core}"
    assert f"reproduce: {command}" in failure["reason"] and failure["command"] == command


def test_interrupted_command_is_code_130(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(found: Iterable[Outcome], many: int, errors: object) -> Iterator[Outcome]:
        yield next(iter(found))
        raise KeyboardInterrupt

    monkeypatch.setattr("routing.cli_seeds.watched", stops)
    assert run("run", file, "--seeds", "0:9", "--jobs", "1") == 130
    out = capsys.readouterr().out
    assert "interrupted; this is what was known by then" in out and "1 of 1 ok" in out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_and_nowhere_else() -> None:
    found = [run_trial(trial) for trial in small(3)]
    for errors, shown in ((io.StringIO(), False), (Terminal(), True)):
        assert list(watched(found, 3, errors)) == found
        assert ("3/3" in errors.getvalue()) is shown


# -- pictures


def test_picture_without_matplotlib_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routing.simulation.picture.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'routing\[plot\]'"):
        why_no_picture("a.svg")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_picture_is_drawn(file: str, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"picture.{suffix}"
    assert run("run", file, "--seeds", "0:3", "--jobs", "1", "--plot", str(path)) == 0
    if suffix == "svg":
        assert Xml.parse(path).getroot().tag.endswith("svg")
    else:
        assert path.read_bytes().startswith(b"\x89PNG")
