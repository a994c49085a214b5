"""Files, functions and lines stay small. The ratchet may only shrink.

It counts lines; it has no opinion on what they say.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__: list[str] = []

ROOT = Path(__file__).resolve().parent.parent
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
LINE_COLUMNS_MAX = 100

RATCHET: dict[str, int] = {}
"""`path` or `path:function` -> lines still tolerated. Lower or remove one, never add one."""

CYTHON_FUNCTION = re.compile(r"^(\s*)(?:def|cdef|cpdef)\b(?!\s+class\b)[^=]*?(\w+)\s*\(")

SOURCES = sorted(
    path
    for folder in ("routing", "tests", "bench", "tools", "examples")
    for suffix in ("py", "pyi", "pyx", "pxd")
    for path in (ROOT / folder).rglob(f"*.{suffix}")
)
IDS = [str(path.relative_to(ROOT)) for path in SOURCES]


def python_functions(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def cython_functions(text: str) -> Iterator[tuple[str, int]]:
    """Find functions by indentation: Cython has no parser for us to borrow."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        match = CYTHON_FUNCTION.match(line)
        if match is None:
            continue
        indent, name = len(match[1]), match[2]
        end = start
        for index in range(start + 1, len(lines)):
            inner = lines[index]
            deeper = len(inner) - len(inner.lstrip()) > indent
            if inner.strip() and not deeper and not inner.lstrip().startswith(")"):
                break
            if inner.strip():
                end = index
        yield name, end - start + 1


def functions(path: Path) -> list[tuple[str, int]]:
    text = path.read_text(encoding="utf-8")
    return list(
        cython_functions(text) if path.suffix == ".pyx" else python_functions_of(path, text)
    )


def python_functions_of(path: Path, text: str) -> Iterator[tuple[str, int]]:
    return iter(()) if path.suffix == ".pxd" else python_functions(text)


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_module_is_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= RATCHET.get(str(path.relative_to(ROOT)), MODULE_LINES_MAX)


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_functions_are_short(path: Path) -> None:
    own = path.relative_to(ROOT)
    long = {
        name: lines
        for name, lines in functions(path)
        if lines > RATCHET.get(f"{own}:{name}", FUNCTION_LINES_MAX)
    }
    assert long == {}


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_lines_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    long = [
        number for number, line in enumerate(text.splitlines(), 1) if len(line) > LINE_COLUMNS_MAX
    ]
    assert long == []


def test_ratchet_holds_nothing_that_is_already_short() -> None:
    stale = []
    for entry, allowed in RATCHET.items():
        name, _, function = entry.partition(":")
        path = ROOT / name
        if function:
            now = max(lines for found, lines in functions(path) if found == function)
        else:
            now = len(path.read_text(encoding="utf-8").splitlines())
        if now < allowed:
            stale.append(f"{entry}: lower it to {now}")
    assert stale == []


def test_long_functions_of_compiled_rooms_are_seen() -> None:
    text = (
        "cdef class A:\n    cdef int f(self) except -1:\n"
        + "        pass\n" * 70
        + "\ndef g(): 1\n"
    )
    assert dict(cython_functions(text)) == {"f": 71, "g": 1}
