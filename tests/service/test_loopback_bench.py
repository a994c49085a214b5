"""The benchmark beside others says what it could not measure, and draws what it could."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import loopback, loopback_plot

MUTE = "raise SystemExit('it has no such library')"
SERVES = """
import sys
if sys.argv[1] == "server":
    print('{"port": 1}', flush=True)
    sys.stdin.read()
else:
    print("about to fail", file=sys.stderr)
    sys.exit("no more than 7 bytes go in")
"""
COUNTS = """
import sys
print('{"port": 1}' if sys.argv[1] == "server" else '{"sign_per_s": 9}')
if sys.argv[1] == "server":
    print('{"count": 10, "seconds": 0.5}')
"""


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def found(**rates: float) -> dict[str, Any]:
    stream = {
        "role": "stream",
        "size": 64,
        "connections": 1,
        "rates": rates,
        "failed": {"absent": "no such library"},
    }
    times = {name: {"p50_us": 2.0, "p99_us": 9.0, "per_second": 1.0} for name in rates}
    trips = {"role": "pingpong", "size": 64, "connections": 64, "times": times, "failed": {}}
    rows = [stream, trips, {"role": "signed", "size": 64, "rates": {}, "failed": {}}]
    return {"runs": 5, "python": "3.11", "load": {"before": "0 0 0"}, "rows": rows}


def test_a_contestant_that_fails_is_a_row_with_its_last_words() -> None:
    contestants = {"mute": program(MUTE), "refuses": program(SERVES), "counts": program(COUNTS)}

    measured, failed = loopback.in_turn(contestants, loopback.STREAM, 64, 0.1, runs=2)

    assert failed == {"mute": "it has no such library", "refuses": "no more than 7 bytes go in"}
    assert measured == {"counts": [{"count": 10, "seconds": 0.5, "sign_per_s": 9}] * 2}


def test_a_python_that_is_not_there_is_a_reason() -> None:
    _, failed = loopback.in_turn({"absent": ["/no/such/python"]}, loopback.STREAM, 64, 0.1, runs=1)

    assert "/no/such/python" in failed["absent"]


def test_the_picture_names_everybody_and_what_was_not_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    source, picture = tmp_path / "found.json", tmp_path / "found.svg"
    source.write_text(json.dumps(found(**{"C, plaintext": 2e6, "routing": 1e6})), encoding="utf-8")

    assert loopback_plot.main(["--results", str(source), "--to", str(picture)]) == 0

    drawn = picture.read_text(encoding="utf-8")
    assert all(f"<!-- {text} -->" in drawn for text in ("C, plaintext", "routing"))
    assert "<!-- not measured: absent: no such library -->" in drawn
    assert "0.5 × C" in drawn


def test_without_results_the_picture_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loopback_plot.main(["--results", str(tmp_path / "none.json")]) == 2

    assert "measure first: python -m bench.loopback --write" in capsys.readouterr().err
