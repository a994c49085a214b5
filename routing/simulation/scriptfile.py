"""Scenarios as TOML files: read strictly, written back, and those that come with the package.

A file that is not understood is refused in one line that names it, the key, the value, what is
wrong and the cure. What the values mean is said in `script`.
"""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import get_args

import msgspec

from routing.errors import ConfigError, UsageError
from routing.limits import Limits
from routing.simulation.script import Script, Step

__all__ = ["FILE_BYTES_MAX", "library", "limits_of", "load", "parse", "write"]

FILE_BYTES_MAX = 1_048_576
"""A scenario of a thousand steps is a tenth of this."""

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)
_PART = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
_VALUE_CHARACTERS_MAX = 60
_FIRST = ("name", "about")
_STEPS = sorted(str(kind.__struct_config__.tag) for kind in get_args(Step))


def library() -> dict[str, Script]:
    """Return the scenarios that come with the package, by name."""
    folder = files("routing.simulation") / "library"
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    scripts = [parse((folder / name).read_text(encoding="utf-8"), name) for name in found]
    return {script.name: script for script in scripts}


def load(what: str) -> Script:
    """Return the scenario of a file, or the one of this name that comes with the package.

    Raises:
        UsageError: there is neither, or the file is not a scenario; one line says why.
    """
    path = Path(what)
    if path.suffix != ".toml" and "/" not in what:
        known = library()
        if what not in known:
            names = ", ".join(known)
            raise UsageError(f"scenario {what!r} is unknown; name a .toml file or one of {names}")
        return known[what]
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise UsageError(f"{what}: more than {FILE_BYTES_MAX} bytes; split the scenario")
        return parse(content.decode("utf-8"), what)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{what}: cannot be read: {error}; name a readable UTF-8 file") from error


def parse(text: str, name: str) -> Script:
    """Return the scenario that a text of TOML describes.

    Args:
        text: The text.
        name: What it is called in a refusal.

    Raises:
        UsageError: it is not a scenario; one line says why.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not TOML: {error}; mend the line") from error
    try:
        script = msgspec.convert(raw, Script)
    except msgspec.ValidationError as error:
        raise UsageError(f"{name}: {_explain(str(error), raw)}") from None
    try:
        limits_of(script)
    except ConfigError as error:
        raise UsageError(f"{name}: limits_but: {error}; see docs/limits.md") from None
    return script


def limits_of(script: Script) -> Limits:
    """Return the limits of every node of a scenario.

    Raises:
        ConfigError: there is no such limit, or they do not fit together.
    """
    limits = Limits.local() if script.limits == "local" else Limits.recommended()
    changes: dict[str, object] = {}
    for name, value in script.limits_but.items():
        known = getattr(limits, name, None)
        fits = isinstance(known, tuple) if isinstance(value, list) else isinstance(known, int)
        if known is not None and not fits:
            raise ConfigError(f"limit {name}={value!r} must be like {known!r}")
        changes[name] = tuple(value) if isinstance(value, list) else value
    return limits.but(**changes)


def write(script: Script) -> str:
    """Return a scenario as TOML; what is as it is by default is left out."""
    plain = {"nodes": script.nodes, **msgspec.to_builtins(script)}
    tables = {name: plain.pop(name) for name in ("limits_but", "weather") if name in plain}
    steps = plain.pop("steps")
    lines = [f"{key} = {_value(plain[key])}" for key in ("name", "about")]
    lines += [f"{key} = {_value(value)}" for key, value in plain.items() if key not in _FIRST]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    for step in steps:
        lines += ["", "[[steps]]", *(f"{key} = {_value(value)}" for key, value in step.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    """Spell a value as TOML does; its strings, numbers and truths are spelt as those of JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(what)}" for key, what in value.items()) + " }"
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return "[\n" + "".join(f"    {_value(what)},\n" for what in value) + "]"
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _explain(text: str, raw: dict[str, object]) -> str:
    """Turn a refusal of msgspec into one that names the key, the value and the cure."""
    match = _AT.match(text)
    assert match is not None, "the expression matches anything"
    what, path = match["what"], match["path"] or ""
    where = path.removeprefix(".")
    unknown = _UNKNOWN.search(what)
    if unknown is not None:
        key = f"{where}.{unknown[1]}" if where else unknown[1]
        return f"{key}: unknown key; remove it or see the keys in docs/simulation.md"
    what = what[:1].lower() + what[1:].replace("`", "")
    if ";" in what:
        # Said by the scenario itself, with the value and the cure.
        return f"{where}: {what}" if where else what
    cure = "correct it"
    if where.endswith(".do"):
        cure = f"name one of {', '.join(_STEPS)}"
    value = json.dumps(_look_up(raw, path), ensure_ascii=False, default=str)
    if len(value) > _VALUE_CHARACTERS_MAX:
        value = value[:_VALUE_CHARACTERS_MAX] + "..."
    return f"{where or 'the file'}: {what}, got {value}; {cure}"


def _look_up(raw: object, path: str) -> object:
    for match in _PART.finditer(path):
        key, index = match[1], match[2]
        if key is not None and isinstance(raw, dict):
            raw = raw.get(key, "nothing")
        elif index is not None and isinstance(raw, list):
            raw = raw[int(index)]
    return raw
