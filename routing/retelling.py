"""`simulate replay`: a recording run again and told in lines; it decides nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from routing import actions as do
from routing import inputs as told
from routing.errors import Refusal
from routing.limits import SECOND
from routing.messages import FrameKind, Refuse, decode
from routing.names import short
from routing.playback import Playback
from routing.recordings import Beginning, Deadline, Heard, Passed
from routing.replaying import Replay, Step

__all__ = ["describe", "reason_of", "replay_command", "tell_step", "verdict"]

ROUTINE: Final = (
    Deadline,
    Heard,
    Passed,
    told.FrameReceived,
    told.Heard,
    told.Submitted,
    told.SubmittedMany,
    told.ReadingHeld,
)
"""The traffic of the application and of others: told with `--all` only."""

DECISIONS: Final = (
    do.Dial,
    do.CancelDial,
    do.Close,
    do.Tell,
    do.Failed,
    do.Unlisten,
    do.KeepCertificate,
)

WORDS: Final = ("refus", "malformed", "not_allowed", "bad_", "dropped", "busy", "full", "flood")
"""A counter with one of these in its name counts something that was turned down."""

TEXT_MAX: Final = 120


def replay_command(path: str, *, everything: bool) -> int:
    """Replay a recording, print what was decided, and return the exit code.

    Raises:
        UsageError: no such file, no recording, or one of another version.
    """
    playback, replay = Playback(path), Replay()
    print(heading(playback.beginning, len(playback.paths)))
    for step in replay.steps(playback.records()):
        for line in tell_step(step, everything=everything):
            print(line)
    for line in verdict(playback, replay):
        print(line)
    return 1 if replay.fault else 0


def heading(beginning: Beginning, segments: int) -> str:
    """Return the line about where and when a recording begins."""
    when = datetime.fromtimestamp(beginning.wall_ns / SECOND, UTC)
    what = "client" if beginning.setup.client else "node"
    return (
        f"recording {beginning.recording.hex()[:8]} of {what} {short(beginning.setup.key)}, "
        f"from {when:%Y-%m-%d %H:%M:%S} UTC, {segments} segment{'s' * (segments > 1)} "
        f"from number {beginning.serial}, version {beginning.version}"
    )


def verdict(playback: Playback, replay: Replay) -> Iterator[str]:
    """Yield the lines at the end: was it all, and was it the same?"""
    for gap in replay.gaps:
        yield f"gap: {gap.steps} steps before {gap.now / SECOND:.3f} s were not recorded"
    refused = {what: n for what, n in sorted(replay.totals.items()) if _is_refusal(what)}
    if refused:
        yield "refused: " + ", ".join(f"{what} {times}" for what, times in refused.items())
    if playback.trouble:
        yield f"truncated: {playback.trouble}; what is whole was replayed"
    elif not replay.ended and not replay.fault:
        yield "open end: the node runs still, or ended without a word"
    if replay.fault:
        yield f"DIFFERS: {replay.fault}"
    state = "" if replay.core is None else f", state {replay.core.state}"
    yield (
        f"{replay.count} steps replayed, {replay.equal} digests equal"
        f"{f', the last {replay.digest.hex()}' if replay.digest else ''}{state}"
    )


def tell_step(step: Step, *, everything: bool) -> Iterator[str]:
    """Yield the lines of one step; what is routine only with `everything`."""
    at = f"{step.now / SECOND:12.6f} s"
    heard = step.heard
    routine = isinstance(heard, ROUTINE)
    if everything or not routine:
        yield f"{at}  heard   {describe(heard)}"
    for note in step.notes:
        yield f"{note.now / SECOND:12.6f} s  noted   {short(note.subject)}: {note.text}"
    for what, times in step.counted.items():
        if everything or _is_refusal(what):
            yield f"{at}  counted {what} {times}"
    for action in step.actions:
        if isinstance(action, do.Tell):
            yield f"{at}  event   {describe(action.event)}"
        elif isinstance(action, do.Send) and action.kind is FrameKind.REFUSE:
            refuse = decode(Refuse, action.body)
            reason = "" if refuse is None else f": {reason_of(refuse)}"
            yield f"{at}  refused connection {action.token}{reason}"
        elif everything or isinstance(action, DECISIONS):
            yield f"{at}  decided {describe(action)}"


def reason_of(refuse: Refuse) -> str:
    """Return the name of its reason, or the number if there is no such reason."""
    try:
        return Refusal(refuse.reason).name
    except ValueError:
        return str(refuse.reason)


def _is_refusal(counter: str) -> bool:
    return any(word in counter for word in WORDS)


def describe(what: object) -> str:
    """Return one line about a fact, an action or an event; long values are shortened."""
    if isinstance(what, Passed):
        return f"Passed(token={what.token}, messages={len(what.digests) // 16})"
    if isinstance(what, told.Input | do.Action):
        names = told.fields_of(what)
    elif is_dataclass(what) and not isinstance(what, type):
        names = tuple(each.name for each in fields(what))
    else:
        return repr(what)[:TEXT_MAX]
    parts = [f"{name}={_value(getattr(what, name))}" for name in names]
    return f"{type(what).__name__}({', '.join(parts)})"


def _value(value: object) -> str:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 8 else f"{value[:4].hex()}..{len(value)}"
    if isinstance(value, list | tuple):
        if len(value) > 8 or any(isinstance(each, bytes) and len(each) > 32 for each in value):
            return f"{len(value)} items"
        return "[" + ", ".join(_value(each) for each in value) + "]"
    if is_dataclass(value):
        return describe(value)[:TEXT_MAX]
    return repr(value)[:TEXT_MAX]
