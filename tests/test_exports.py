"""Every module says what it exports, exports what it says, and the public face is made of those."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest

import routing

__all__: list[str] = []

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(routing.__path__, "routing.")
    # Importing it would start the program.
    if not found.name.endswith(".__main__")
)


@pytest.fixture(params=["routing", *MODULES])
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def test_compiled_rooms_are_among_the_modules() -> None:
    assert {"routing._filter", "routing._tokens"} <= set(MODULES)


def test_module_exports_what_it_says(module: ModuleType) -> None:
    assert hasattr(module, "__all__"), f"{module.__name__} has no __all__"
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert missing == []


def test_module_exports_each_name_once(module: ModuleType) -> None:
    assert len(module.__all__) == len(set(module.__all__))


def test_public_names_are_exported_by_the_module_they_come_from() -> None:
    offered = {name for module in MODULES for name in importlib.import_module(module).__all__}
    assert set(routing.__all__) - {"__version__"} <= offered


def test_module_has_a_docstring(module: ModuleType) -> None:
    assert module.__doc__, f"{module.__name__} does not say what it is"
