"""The benchmarks of readers that stand still lose nothing, and draw what they saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import relay_stalled, stalled, standstill


def found(**changes: Any) -> dict[str, Any]:
    size = {"size": 9, "sent": 7, "arrived": 7, "queued_bound": 2**20}
    direct = {
        "sender_bound": 65 * 2**20,
        "reader_bound": 2**24,
        "columns": stalled.COLUMNS,
        "curve": [[0.0, *[0] * 5], [0.1, *[2**20] * 5]],
    }
    relayed = {
        "room": 2**19,
        "twice": 0,
        "lost_as_slow": 0,
        "read_at": 0.2,
        "columns": relay_stalled.COLUMNS,
        "curve": [[0.0, *[0] * 7], [0.1, *[2**20] * 7]],
        **changes,
    }
    every = {"direct": {**size, **direct}, "relayed": {**size, **relayed}}
    return {"python": "3.11", "load": {"before": "0 0 0"}, **every}


@pytest.mark.parametrize("change", [{"arrived": 6}, {"twice": 1}, {"lost_as_slow": 1}])
def test_what_is_missing_or_came_twice_is_a_failure(change: dict[str, int]) -> None:
    assert standstill.whole(found())
    assert not standstill.whole(found(**change))


def test_the_picture_has_curves_and_bounds(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = tmp_path / "stalled.json"
    results.write_text(standstill.as_text(found()), encoding="utf-8")

    assert standstill.main(["--drawn", "--results", str(results)]) == 0

    drawn = (tmp_path / "stalled.svg").read_text(encoding="utf-8")
    labels = ("queued at A", "queued at B", "sources and feeders wait: 0.5", "sender may hold: 65")
    assert [label for label in labels if f"<!-- {label} -->" not in drawn] == []


def test_without_results_the_picture_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")

    assert standstill.main(["--drawn", "--results", str(tmp_path / "none.json")]) == 2

    assert "measure first: python -m bench.standstill" in capsys.readouterr().err


def test_without_matplotlib_it_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(standstill, "find_spec", lambda name: None)

    assert standstill.main([]) == 2

    assert "pip install matplotlib" in capsys.readouterr().err


def test_results_have_a_line_for_each_point_and_are_read_back() -> None:
    text = standstill.as_text(found())

    assert json.loads(text) == json.loads(json.dumps(found()))
    assert "[0.1, 1048576, 1048576, 1048576, 1048576, 1048576]" in text


def test_both_run_and_lose_nothing() -> None:
    measured = standstill.measure(0.3, 1_000)

    assert standstill.whole(measured)
    for each in (measured["direct"], measured["relayed"]):
        assert each["sent"] > 0
        assert all(len(point) == len(each["columns"]) for point in each["curve"])
