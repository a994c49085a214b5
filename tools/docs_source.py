"""What the sources say of themselves: docstrings of classes and of their members, read by `ast`.

A comment string below a member is no attribute at run time, so it is read from the file. Nothing is
rendered here.
"""

from __future__ import annotations

import ast
import inspect
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROOT", "Described", "described", "members", "one_line"]

ROOT = Path(__file__).resolve().parent.parent


class Described(NamedTuple):
    """A class as its source describes it."""

    text: str
    """Its docstring, on one line."""
    members: dict[str, str]
    """Member -> the string below it; empty where there is none."""


def one_line(text: str | None) -> str:
    """Return a docstring as one line."""
    return " ".join((text or "").split())


def described(cls: type) -> Described:
    """Return what the source of `cls` says of it and of each of its members."""
    path = Path(inspect.getsourcefile(cls) or "")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__:
            return Described(one_line(ast.get_docstring(node)), _members(node))
    raise LookupError(f"class {cls.__name__} is not at the top level of {path}")


def members(kind: type[IntEnum]) -> list[tuple[str, int, str]]:
    """Return (name, number, description) of every member of an enumeration, by number."""
    texts = described(kind).members
    return [(each.name, each.value, texts[each.name]) for each in sorted(kind)]


def _members(node: ast.ClassDef) -> dict[str, str]:
    found: dict[str, str] = {}
    last = ""
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = ""
                last = name
            case ast.Expr(value=ast.Constant(value=str(text))) if last:
                found[last] = one_line(text)
            case _:
                last = ""
    return found
