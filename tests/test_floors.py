"""Imports go down only, nothing low touches the outside world, and nobody imports in a circle.

It reads the sources (compiled rooms included) and imports nothing.
"""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

__all__: list[str] = []

PACKAGE = Path(__file__).resolve().parent.parent / "routing"

FLOORS: dict[str, int] = {
    # 0: facts
    "names": 0,
    "errors": 0,
    "version": 0,
    "limits": 0,
    # 1: compiled rooms
    "_blocks": 1,
    "_lengths": 1,
    "_queue": 1,
    "_filter": 1,
    "_seen": 1,
    "_siphash": 1,
    "_shelf": 1,
    "_slots": 1,
    "_tokens": 1,
    "_xor": 1,
    "_tape": 1,
    "_frames": 1,
    "_inbound": 1,
    "_meter": 1,
    # 2: vocabulary and tables
    "_message": 2,
    "_batch": 2,
    "proofs": 2,
    "identity": 2,
    "book": 2,
    "channel": 2,
    "messages": 2,
    "bodies": 2,
    "noise": 2,
    "state": 2,
    "inputs": 2,
    "actions": 2,
    "events": 2,
    "consumed": 2,
    "repeats": 2,
    "table": 2,
    "admission": 2,
    "seniority": 2,
    "authority": 2,
    "shares": 2,
    "hop_shares": 2,
    "certificates": 2,
    "endpoints": 2,
    "handover": 2,
    "wholeness": 2,
    # 3: thought
    "addresses": 3,
    "agreement": 3,
    "alarms": 3,
    "allowance": 3,
    "answers": 3,
    "assembly": 3,
    "attempts": 3,
    "ballots": 3,
    "batching": 3,
    "blanking": 3,
    "bootstrapping": 3,
    "churning": 3,
    "casting": 3,
    "client_memory": 3,
    "connecting": 3,
    "core": 3,
    "dials": 3,
    "dice": 3,
    "feelers": 3,
    "filling": 3,
    "founding": 3,
    "frames": 3,
    "groups": 3,
    "hearers": 3,
    "invariants": 3,
    "journal": 3,
    "layout": 3,
    "links": 3,
    "lists": 3,
    "window": 3,
    "letting_go": 3,
    "membership": 3,
    "delivery": 3,
    "hops": 3,
    "recall": 3,
    "owing": 3,
    "receipts": 3,
    "suspects": 3,
    "message_memory": 3,
    "messaging": 3,
    "moving": 3,
    "naming": 3,
    "parts": 3,
    "passing": 3,
    "peers": 3,
    "probing": 3,
    "recordings": 3,
    "registrar": 3,
    "rivals": 3,
    "replaying": 3,
    "vouching": 3,
    "inquiries": 3,
    "proxying": 3,
    "reachability": 3,
    "relay": 3,
    "requests": 3,
    "responding": 3,
    "snapshots": 3,
    "stand_ins": 3,
    "throttling": 3,
    # 4: hands
    "service": 4,
    "simulation": 4,
    # 5: doors
    "actor": 5,
    "gathering": 5,
    "cli": 5,
    "cli_attack": 5,
    "cli_explore": 5,
    "cli_network": 5,
    "cli_replay": 5,
    "cli_node": 5,
    "cli_scenarios": 5,
    "cli_seeds": 5,
    "cli_simulate": 5,
    "cli_table": 5,
    "config": 5,
    "crew": 5,
    "descriptors": 5,
    "doors": 5,
    "experiment": 5,
    "inbox": 5,
    "reading": 5,
    "keeping": 5,
    "mail": 5,
    "node": 5,
    "sending": 5,
    "orders": 5,
    "outbox": 5,
    "peer_story": 5,
    "playback": 5,
    "portions": 5,
    "pressure": 5,
    "recording": 5,
    "retelling": 5,
    "runner": 5,
    "talk": 5,
    "views": 5,
    "watch": 5,
    "worker": 5,
    "__main__": 6,
    "": 6,  # routing/__init__.py: the public names
}
"""The floor of each module of `routing`; those of a subpackage share its floor."""

OUTSIDE = {
    "asyncio",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
    "uvloop",
}
"""Clocks, randomness, sockets and loops: for the hosts (floor 4) and the doors above them."""

ALLOWED_OUTSIDE = {("_filter", "time"), ("_seen", "time")}
"""The filters default to `time.monotonic` for those who use them alone; the core passes `now`."""

CYTHON_IMPORT = re.compile(r"^\s*(?:from\s+(\S+)\s+c?import\s+(.+)|c?import\s+(.+))$")


def module_of(path: Path) -> str:
    """Return the dotted name of a source file below the package, `""` for the package itself."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def python_imports(text: str, package: str) -> set[str]:
    """Return the absolute dotted names that Python source imports, each `from` name included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            found |= {base} - {"routing"} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def cython_imports(text: str) -> set[str]:
    """Return the absolute dotted names that Cython source imports or cimports."""
    found: set[str] = set()
    for line in text.splitlines():
        match = CYTHON_IMPORT.match(line.split("#")[0].rstrip())
        if match is None:
            continue
        base, names, modules = match.groups()
        if base:
            base = re.sub(r"^\.", "routing.", base).rstrip(".")
            words = re.findall(r"(\w+)(?:\s+as\s+\w+)?", names)
            found |= {base} - {"routing"} | {f"{base}.{word}" for word in words}
        else:
            found |= {part.split(" as ")[0].strip() for part in modules.split(",")}
    return found


def imports_of(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".pyx", ".pxd"):
        return cython_imports(text)
    dotted = "routing." + module_of(path)
    package = dotted if path.stem == "__init__" else dotted.rsplit(".", 1)[0]
    return python_imports(text, package.rstrip("."))


def floor_of(module: str) -> int | None:
    return FLOORS.get(module.partition(".")[0])


SOURCES = sorted(
    path for suffix in ("py", "pyi", "pyx", "pxd") for path in PACKAGE.rglob(f"*.{suffix}")
)
MODULES = {module_of(path) for path in SOURCES}
IDS = [str(path.relative_to(PACKAGE)) for path in SOURCES]


def own_modules(names: set[str]) -> set[str]:
    """Reduce imported names to modules of ours; `""` is the package itself, the highest of all."""
    found = set()
    for name in names:
        if name == "routing":
            found.add("")
        elif name.startswith("routing."):
            inner = name.removeprefix("routing.")
            while inner and inner not in MODULES:
                inner = inner.rpartition(".")[0]
            found.add(inner)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_module_has_a_floor(path: Path) -> None:
    assert floor_of(module_of(path)) is not None, (
        f"give {path.name} a floor in {Path(__file__).name}"
    )


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_imports_go_down_only(path: Path) -> None:
    here = floor_of(module_of(path))
    assert here is not None
    for module in own_modules(imports_of(path)):
        there = floor_of(module)
        assert there is not None and there <= here, (
            f"{module_of(path) or 'routing'} (floor {here}) imports {module} (floor {there})"
        )


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_nothing_below_the_hosts_touches_the_outside(path: Path) -> None:
    module = module_of(path)
    floor = floor_of(module)
    if floor is None or floor >= FLOORS["service"]:
        return
    used = {name.split(".")[0] for name in imports_of(path)} & OUTSIDE
    assert {name for name in used if (module, name) not in ALLOWED_OUTSIDE} == set()


def test_no_two_modules_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        module = module_of(path)
        graph.setdefault(module, set()).update(own_modules(runtime_imports(path)) - {module})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import in a circle: {' -> '.join(error.args[1])}")


def runtime_imports(path: Path) -> set[str]:
    """As `imports_of`, of what happens when the module itself is imported."""
    if path.suffix == ".pyi":
        return set()
    if path.suffix != ".py":
        return imports_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kept: list[ast.stmt] = [
        node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    dotted = "routing." + module_of(path)
    package = dotted if path.stem == "__init__" else dotted.rsplit(".", 1)[0]
    return python_imports(ast.unparse(ast.Module(kept, [])), package.rstrip("."))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "from routing._tokens cimport TokenTable",
            {"routing._tokens", "routing._tokens.TokenTable"},
        ),
        ("from libc.stdint cimport uint64_t as u64", {"libc.stdint", "libc.stdint.uint64_t"}),
        ("cimport cython", {"cython"}),
        ("import time, asyncio", {"time", "asyncio"}),
        ("from .errors import UsageError", {"routing.errors", "routing.errors.UsageError"}),
    ],
)
def test_imports_of_compiled_rooms_are_seen(line: str, expected: set[str]) -> None:
    assert cython_imports(line) == expected


def test_upward_import_is_seen() -> None:
    names = python_imports("from routing.core import Core\nfrom . import node", "routing")
    assert {"routing.core", "routing.node"} <= names
