"""Scenarios as files: those of the package run and heal, and what is no scenario is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from routing.errors import UsageError
from routing.limits import SECOND, Limits
from routing.simulation import script as steps
from routing.simulation.healing import TERMS, healing_bound, healing_terms
from routing.simulation.scenarios import Run, make_world
from routing.simulation.script import Script
from routing.simulation.scriptfile import FILE_BYTES_MAX, library, limits_of, load, parse, write
from routing.simulation.stage import Stage
from routing.simulation.swarm import Fault
from routing.simulation.trial import Trial, run_trial
from routing.state import Detail

__all__: list[str] = []

NAMES = [
    "asymmetric-nat",
    "churn",
    "eclipse",
    "flash-crowd",
    "mass-failure",
    "partition-heal",
    "rebootstrap-storm",
    "rolling-restart",
    "slow-readers",
    "swarm",
]

HEAD = 'name = "mine"\nabout = "a test"\n'
START = '[[steps]]\ndo = "start"\n'


def test_library_is_what_the_manual_promises() -> None:
    assert sorted(library()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_scenario_of_the_library_heals_within_the_bound(name: str) -> None:
    script = replace(library()[name], nodes=9)
    outcome = run_trial(Trial(script=script, seed=3, checks_every=4))
    assert (outcome.ok, outcome.reason) == (True, "")
    assert outcome.healed_s is not None and outcome.healed_s <= outcome.bound_s
    assert outcome.node_seconds > 9 * 60


@pytest.mark.parametrize("name", NAMES)
def test_scenario_is_written_as_it_was_read(name: str) -> None:
    script = library()[name]
    assert parse(write(script), "again") == script


def test_every_step_can_be_written_and_read() -> None:
    told: dict[type, dict[str, Any]] = {
        steps.Wait: {"for_s": 1.5},
        steps.Churn: {"median_s": 60.0, "for_s": 5.0},
        steps.Stall: {"lasts_s": 2.0},
        steps.Sleep: {"lasts_s": 2.0, "counted": False},
        steps.SlowDown: {"bytes_per_s": 10},
        steps.RunShort: {"descriptors": 3, "lasts_s": 4.0},
        steps.Talk: {"for_s": 1.0},
        steps.Swarm: {"for_s": 1.0},
        steps.Strikes: {
            "for_s": 9.0,
            "faults": [
                steps.Spell(at_ns=1, fault=Fault.RESET, lasts_ns=2, dice=2**64 - 1),
                steps.Spell(at_ns=3, fault=Fault.PART, lasts_ns=2, dice=0),
            ],
        },
    }
    everything = [kind(**told.get(kind, {})) for kind in get_args(steps.Step)]
    first = [steps.Start(), *everything]
    script = Script(name="all", about='a "quoted" line\n and another', clients=1, steps=first)
    assert parse(write(script), "again") == script


@pytest.mark.parametrize(
    ("head", "tail", "line"),
    [
        ("nodes = 0", "", "f.toml: nodes: expected int >= 1, got 0; correct it"),
        ("nodes = '3'", "", 'f.toml: nodes: expected int, got str, got "3"; correct it'),
        ("speed = 3", "", "f.toml: speed: unknown key; remove it or see the keys in docs/"),
        ("", "share = 3.0", "f.toml: steps[0].share: expected float <= 1.0, got 3.0; correct it"),
        ("", "share = nan", "f.toml: steps[0].share: expected float > 0.0, got NaN"),
        ("", "color = 1", "f.toml: steps[0].color: unknown key; remove it"),
        ("", "count = 1\nshare = 0.5", "f.toml: steps[0]: count and share are both given; leave"),
        (
            "",
            '[[steps]]\ndo = "fly"',
            "f.toml: steps[1].do: invalid value 'fly', got \"fly\"; name",
        ),
        ("", '[[steps]]\ndo = "wait"', "f.toml: steps[1]: object missing required field for_s"),
        ("", 'who = "clients"', "the first step must start nodes; begin with"),
        (
            "",
            '[[steps]]\ndo = "start"\nwho = "clients"',
            "clients=0, but a step starts clients; say clients = N",
        ),
        (
            "",
            '[[steps]]\ndo = "heal"\nat_s = 9\n[[steps]]\ndo = "heal"\nat_s = 3',
            "at_s must rise from step to step, got [9.0, 3.0]; put them in order",
        ),
        ("[weather]\nloss = 1.0", "", "f.toml: weather.loss: expected float < 1.0, got 1.0"),
        (
            "[weather]\nlatency_low_ms = 100",
            "",
            "latency_low_ms=100.0 must not exceed latency_high_ms=60.0; swap them",
        ),
        ("[limits_but]\nspeed = 3", "", "limits_but: limit 'speed' is unknown"),
        ("[limits_but]\nsilence_ns = 3", "", "heartbeat_ns=15000000000 must not exceed silence_ns"),
        ("[limits_but]\nsilence_ns = []", "", "limit silence_ns=[] must be like 45000000000"),
        ("a line", "", "f.toml: not TOML: Expected '=' after a key"),
    ],
)
def test_what_is_no_scenario_is_refused_in_one_line(head: str, tail: str, line: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse(f"{HEAD}{head}\n{START}{tail}\n", "f.toml")
    assert line in str(refusal.value) and "\n" not in str(refusal.value)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    big, binary = tmp_path / "big.toml", tmp_path / "binary.toml"
    big.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    binary.write_bytes(b"\xff\xfe")
    for path, text in (
        (tmp_path / "none.toml", "cannot be read"),
        (big, f"more than {FILE_BYTES_MAX} bytes"),
        (binary, "cannot be read"),
    ):
        with pytest.raises(UsageError, match=text):
            load(str(path))
    with pytest.raises(UsageError, match="scenario 'chrun' is unknown; name"):
        load("chrun")


def test_scenario_of_a_person_is_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'{HEAD}nodes = 4\nlimits = "local"\n{START}over_s = 2\n')
    outcome = run_trial(Trial(script=load(str(path)), seed=1))
    assert outcome.ok and outcome.nodes == 4 and outcome.bound_s == healing_bound(Limits.local(), 4)


def test_single_limits_may_be_otherwise() -> None:
    script = parse(f"{HEAD}[limits_but]\nexempt_networks = []\ndials_max = 9\n{START}", "f.toml")
    assert limits_of(script) == Limits().but(exempt_networks=(), dials_max=9)


def test_nodes_that_nobody_can_dial_go_on_as_clients() -> None:
    """The NAT of asymmetric-nat is one: without it the three would be nodes."""
    script = library()["asymmetric-nat"]
    world = make_world(1, command="", checks_every=8, limits=limits_of(script))
    stage = Stage(script, Run("nat", world))
    for step in script.steps:
        stage.do(step)
        if isinstance(step, steps.Block):
            break
    hidden = [host for host in stage.places if host.index in world.network.dialling.shielded]
    assert len(hidden) == 3
    assert world.run_until(lambda: all(host.client for host in hidden), limit_ns=120 * SECOND)
    assert world.network.dialling.blocked


def test_client_without_a_node_is_not_well() -> None:
    script = parse(
        f'{HEAD}nodes = 3\nclients = 1\n{START}[[steps]]\ndo = "start"\nwho = "clients"\n', "f.toml"
    )
    world = make_world(1, command="", checks_every=8)
    stage = Stage(script, Run("clients", world))
    for step in script.steps:
        stage.do(step)
    assert stage.wait_well("test", 60.0) is not None
    client = stage.places[-1]
    world.take_offline([client], abrupt=True)
    world.run(SECOND)
    assert client.core.state.detail is Detail.DISCONNECTED
    assert stage.why_not_well() == f"client {client.index} is DISCONNECTED"
    assert stage.wait_well("test", 1.0) is None
    assert "test: not whole within 1 s: client 3" in stage.run.reason
    stage.end_faults()
    stage.run.reason = ""
    assert stage.wait_well("healing", stage.bound_s) is not None


def test_bound_of_healing_follows_from_the_limits() -> None:
    limits = Limits()
    terms = healing_terms(limits, 12)
    assert terms.keys() == TERMS.keys()
    assert healing_bound(limits, 12) == sum(terms.values()) == 855.0
    slower = limits.but(bootstrap_backoff_last_ns=120 * SECOND)
    assert healing_bound(slower, 12) == 855.0 + limits.refound_rounds * 60.0
    assert healing_bound(limits, 1_000) - healing_bound(limits, 12) == 6 * 30.0
    assert healing_bound(Limits.local(), 12) < healing_bound(limits, 12) / 4
