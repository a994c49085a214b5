"""`simulate attack` for the command line: searches, prints what was found, returns an exit code.

No argument parsing here; that is the door's.
"""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TextIO

from routing.errors import UsageError
from routing.simulation.attack import SCENES, Breach, Search, Setting, search
from routing.simulation.weakened import WEAKENED

__all__ = ["MOVES", "as_json", "as_text", "attack_command"]

EXIT_OK, EXIT_FOUND, EXIT_USAGE, EXIT_STOPPED = 0, 1, 2, 130

MOVES: Final = {"quiet": 3, "asking": 1, "crossing": 1, "connected": 2, "later": 2}
"""Moves of the attacker that are searched whole in some ten seconds, for each scene."""


def attack_command(
    *,
    scenes: Sequence[str] = SCENES,
    moves: int | None = None,
    broken: str = "",
    sniff: bool = False,
    claimed: bool = False,
    relaxed: bool = False,
    waits: bool = False,
    states_max: int,
    json: bool = False,
    out: TextIO | None = None,
    errors: TextIO | None = None,
) -> int:
    """Search, and print each scene as it is done; Ctrl-C leaves what was found until then.

    Returns:
        0 if nothing was found and all was looked at, or if what is `broken` was found; 1 for the
        contrary, 2 for unusable arguments, 130 when interrupted.
    """
    out, errors = out or sys.stdout, errors or sys.stderr
    settings = [
        Setting(
            moves=MOVES[scene] if moves is None else moves,
            scene=scene,
            claimed=claimed,
            sniff=sniff,
            relaxed=relaxed,
            waits=waits,
        )
        for scene in scenes
    ]
    goals: tuple[Breach, ...] = tuple(Breach)
    if broken:
        weakness = WEAKENED[broken]
        settings, goals = [weakness.setting], (weakness.breach,)
        if moves is not None:
            settings = [replace(weakness.setting, moves=moves)]
    done: list[Search] = []
    try:
        for setting in settings:
            watch = _progress(setting.scene, errors)
            done.append(search(setting, goals=goals, states_max=states_max, watch=watch))
            if not json:
                print(as_text(done[-1]), file=out, flush=True)
    except UsageError as error:
        print(f"simulate attack: {error}", file=errors)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("simulate attack: interrupted; the scene under way is left out", file=errors)
        _finish(done, json=json, out=out)
        return EXIT_STOPPED
    _finish(done, json=json, out=out)
    if broken:
        return EXIT_OK if any(each.finding for each in done) else EXIT_FOUND
    return EXIT_OK if all(each.complete for each in done) else EXIT_FOUND


def _finish(done: Sequence[Search], *, json: bool, out: TextIO) -> None:
    if json:
        print(as_json(done), file=out)
        return
    states = sum(each.states for each in done)
    found = sum(each.finding is not None for each in done)
    whole = "" if all(each.complete or each.finding for each in done) else ", not all looked at"
    print(f"{states:,} states, {found} found{whole}", file=out)


def as_text(each: Search) -> str:
    """Return what one search looked at, and the dialogue of what it found."""
    setting = each.setting
    strength = [
        word
        for word, on in (
            ("keys only claimed", setting.claimed),
            ("reads all", setting.sniff),
            ("relaxed", setting.relaxed),
            ("time passes", setting.waits),
        )
        if on
    ]
    suffix = f" ({', '.join(strength)})" if strength else ""
    lines = [
        f"{setting.scene:<10} {setting.moves} moves{suffix}: {each.states:,} states, "
        f"{each.steps:,} steps"
    ]
    if each.finding is not None:
        lines[0] += f": FOUND: {each.finding.breach}"
        lines += [f"  {number:>2}. {line}" for number, line in enumerate(each.finding.dialogue, 1)]
        lines.append(f"  {each.finding.text}")
    else:
        lines[0] += ": nothing found" if each.complete else ": nothing found so far, NOT COMPLETE"
    return "\n".join(lines)


def as_json(done: Sequence[Search]) -> str:
    """Return all searches as one JSON object on one line."""
    return json_module.dumps(
        {
            "states": sum(each.states for each in done),
            "found": sum(each.finding is not None for each in done),
            "searches": [
                {
                    "scene": each.setting.scene,
                    "moves": each.setting.moves,
                    "claimed": each.setting.claimed,
                    "sniff": each.setting.sniff,
                    "relaxed": each.setting.relaxed,
                    "waits": each.setting.waits,
                    "states": each.states,
                    "steps": each.steps,
                    "complete": each.complete,
                    "consolidated": dict(sorted(each.consolidated.items())),
                    "breach": None if each.finding is None else each.finding.breach.name.lower(),
                    "text": None if each.finding is None else each.finding.text,
                    "dialogue": [] if each.finding is None else list(each.finding.dialogue),
                }
                for each in done
            ],
        }
    )


def _progress(scene: str, errors: TextIO) -> Callable[[int], None]:
    """Return what tells a person at a terminal how far the search is."""
    shown = errors.isatty()

    def watch(states: int) -> None:
        if shown and states % 5_000 == 0:
            print(f"\r{scene}: {states:,} states ", end="\r", file=errors, flush=True)

    return watch
