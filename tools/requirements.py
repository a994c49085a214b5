"""Print what pyproject.toml asks for, one requirement a line; it installs nothing.

`python tools/requirements.py build test` prints the build requirements, the hard dependencies and
those of the extra `test`. The Makefile feeds the result to pip, so that the work tree itself is
never installed and `python -m routing` always runs the files that are being edited.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

__all__ = ["requirements"]

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(groups: list[str]) -> list[str]:
    """Return the requirements of these groups, each once, extras of our own resolved.

    Raises:
        KeyError: a group is neither `build` nor an extra of pyproject.toml.
    """
    settings = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    extras: dict[str, list[str]] = settings["project"]["optional-dependencies"]
    found: list[str] = list(settings["project"]["dependencies"])
    waiting, seen = list(groups), set[str]()
    while waiting:
        group = waiting.pop()
        if group in seen:
            continue
        seen.add(group)
        lines = settings["build-system"]["requires"] if group == "build" else extras[group]
        for line in lines:
            own = re.fullmatch(r"routing\[([\w,]+)\]", line)
            if own:
                waiting += own[1].split(",")
            else:
                found.append(line)
    return sorted(set(found))


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
