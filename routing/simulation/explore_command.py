"""`simulate explore` for the command line: explores, prints what was found, returns an exit code.

No argument parsing here; that is the door's.
"""

from __future__ import annotations

import json as json_module
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TextIO

from routing.errors import UsageError
from routing.simulation.broken_pairs import BROKEN
from routing.simulation.explore import SCENES, Exploration, Setting, explore
from routing.simulation.moments import Budget

__all__ = ["Timed", "as_json", "as_text", "explore_command", "explored", "spell_budget"]

EXIT_OK, EXIT_FOUND, EXIT_USAGE, EXIT_STOPPED = 0, 1, 2, 130


SINGULAR: Final = {
    "losses": "loss",
    "duplicates": "duplicate",
    "failed_dials": "failed dial",
    "expiries": "expiry",
    "crashes": "crash",
    "breaks": "break",
    "fills": "full table",
}


@dataclass(frozen=True, slots=True)
class Timed:
    """One exploration and how long it took; by the clock of whoever ran it, for people only."""

    done: Exploration
    seconds: float


def explore_command(
    *,
    scenes: Sequence[str] = tuple(SCENES),
    faults: Mapping[str, int | None] | None = None,
    broken: str = "",
    states_max: int,
    jobs: int = 1,
    json: bool = False,
    out: TextIO | None = None,
    errors: TextIO | None = None,
) -> int:
    """Explore, and print each scene as it is done; Ctrl-C leaves what was found until then.

    Args:
        scenes: Names of scenes.
        faults: Budgets in place of a scene's own, None where the scene's own is meant.
        broken: Explore this broken variant in the setting where it shows.
        states_max: An exploration ends incomplete beyond so many states.
        jobs: Scenes explored at a time, a process each.
        json: One JSON object in place of lines.
        out: Where results go.
        errors: Where progress and errors go.

    Returns:
        0 if nothing was found and all was looked at, or if what is `broken` was found; 1 for the
        contrary, 2 for unusable arguments, 130 when interrupted.
    """
    out, errors = out or sys.stdout, errors or sys.stderr
    changes = {name: count for name, count in (faults or {}).items() if count is not None}
    if broken:
        settings = [BROKEN[broken].setting]
    else:
        settings = [_setting(scene, changes) for scene in scenes]
    done: list[Timed] = []
    try:
        if jobs < 1:
            raise UsageError(f"jobs={jobs} must be at least 1")
        for each in _explored(settings, states_max, jobs, errors):
            done.append(each)
            if not json:
                print(as_text(each), file=out, flush=True)
    except UsageError as error:
        print(f"simulate explore: {error}", file=errors)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("simulate explore: interrupted; the scene under way is left out", file=errors)
        _finish(done, json=json, out=out)
        return EXIT_STOPPED
    _finish(done, json=json, out=out)
    if broken:
        return EXIT_OK if any(each.done.finding for each in done) else EXIT_FOUND
    return EXIT_OK if all(each.done.complete for each in done) else EXIT_FOUND


def _setting(scene: str, changes: Mapping[str, int]) -> Setting:
    budget: Budget = SCENES[scene].budget
    return Setting(scene=scene, budget=budget._replace(**changes))  # type: ignore[arg-type]


def _explored(
    settings: Sequence[Setting], states_max: int, jobs: int, errors: TextIO
) -> list[Timed] | map[Timed]:
    if jobs == 1 or len(settings) == 1:
        return map(partial(explored, states_max=states_max, errors=errors), settings)
    with ProcessPoolExecutor(min(jobs, len(settings))) as pool:
        return list(pool.map(partial(explored, states_max=states_max), settings))


def explored(setting: Setting, *, states_max: int, errors: TextIO | None = None) -> Timed:
    """Explore one setting; a function of the module, so that another process can run it."""
    began = time.perf_counter()
    watch = _progress(setting.scene, errors)
    done = explore(setting, states_max=states_max, watch=watch)
    return Timed(done, time.perf_counter() - began)


def _finish(done: Sequence[Timed], *, json: bool, out: TextIO) -> None:
    if json:
        print(as_json(done), file=out)
        return
    states = sum(each.done.states for each in done)
    found = sum(each.done.finding is not None for each in done)
    whole = all(each.done.complete or each.done.finding for each in done)
    print(f"{states:,} states, {found} found{'' if whole else ', not all looked at'}", file=out)


def as_text(each: Timed) -> str:
    """Return what one exploration looked at, and the dialogue of what it found."""
    done = each.done
    lines = [
        f"{done.setting.scene:<9} {spell_budget(done.setting.left)}: {done.states:,} states, "
        f"{done.steps:,} steps, {done.ends:,} ends, {done.connected:,} connected, "
        f"{each.seconds:.1f} s"
    ]
    if done.finding is not None:
        lines[0] += f": FOUND: {done.finding.breach}"
        lines += [f"  {number:>2}. {line}" for number, line in enumerate(done.finding.dialogue, 1)]
        lines.append(f"  {done.finding.text}")
    else:
        lines[0] += ": nothing found" if done.complete else ": nothing found so far, NOT COMPLETE"
    return "\n".join(lines)


def spell_budget(left: Budget) -> str:
    """Return what may happen, for people."""
    words = []
    for name, one in SINGULAR.items():
        count = getattr(left, name)
        if count:
            words.append(f"{count} {one if count == 1 else name.replace('_', ' ')}")
    return ", ".join(words) or "no faults"


def as_json(done: Sequence[Timed]) -> str:
    """Return all explorations as one JSON object on one line."""
    return json_module.dumps(
        {
            "states": sum(each.done.states for each in done),
            "found": sum(each.done.finding is not None for each in done),
            "explorations": [
                {
                    "scene": each.done.setting.scene,
                    "budget": each.done.setting.left._asdict(),
                    "states": each.done.states,
                    "steps": each.done.steps,
                    "core_steps": each.done.core_steps,
                    "ends": each.done.ends,
                    "connected": each.done.connected,
                    "complete": each.done.complete,
                    "seconds": round(each.seconds, 1),
                    "breach": _breach(each.done),
                    "text": None if each.done.finding is None else each.done.finding.text,
                    "dialogue": (
                        [] if each.done.finding is None else list(each.done.finding.dialogue)
                    ),
                }
                for each in done
            ],
        }
    )


def _breach(done: Exploration) -> str | None:
    return None if done.finding is None else done.finding.breach.name.lower()


def _progress(scene: str, errors: TextIO | None) -> Callable[[int], None]:
    """Return what tells a person at a terminal how far the exploration is."""
    shown = errors is not None and errors.isatty()

    def watch(states: int) -> None:
        if shown and states % 5_000 == 0:
            print(f"\r{scene}: {states:,} states ", end="\r", file=errors, flush=True)

    return watch
