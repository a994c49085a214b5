"""The compiled rooms and the switches they are built with; everything else is in pyproject.toml.

An extension that does not build fails the whole build: there is no slower fallback to hide behind.

Switches, each `1` or absent:
    ROUTING_DEBUG      asserts, bounds checks, wrong-thread checks; not optimised
    ROUTING_SANITIZE   as ROUTING_DEBUG, under the address and undefined-behaviour sanitizers
    ROUTING_TRACE      line tracing for coverage
    ROUTING_BENCH      `bench._calls` too, which calls the rooms as another compiled room would
"""

from __future__ import annotations

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

# One line for each compiled room.
NAMES = (
    "_meter",
    "_message",
    "_batch",
    "_filter",
    "_seen",
    "_shelf",
    "_frames",
    "_inbound",
    "_tokens",
    "_xor",
    "_lengths",
    "_blocks",
    "_tape",
)


def switch(name: str) -> bool:
    """Tell whether an environment switch is on."""
    return os.environ.get(name, "0") not in ("", "0")


SANITIZE = switch("ROUTING_SANITIZE")
DEBUG = switch("ROUTING_DEBUG") or SANITIZE
TRACE = switch("ROUTING_TRACE")

compile_flags = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-cast-function-type", "-g"]
compile_flags += ["-O1", "-UNDEBUG", "-fno-omit-frame-pointer"] if DEBUG else ["-O3"]
link_flags: list[str] = []
macros: list[tuple[str, str | None]] = [("ROUTING_DEBUG", "1" if DEBUG else "0")]
if SANITIZE:
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    compile_flags += sanitizers
    link_flags += sanitizers
if TRACE:
    macros += [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]

modules = [f"routing.{name}" for name in NAMES]
if switch("ROUTING_BENCH"):
    modules.append("bench._calls")

variant = "sanitize" if SANITIZE else "debug" if DEBUG else "release"
setup(
    ext_modules=cythonize(
        [
            Extension(
                module,
                [f"{module.replace('.', '/')}.pyx"],
                extra_compile_args=compile_flags,
                extra_link_args=link_flags,
                define_macros=macros,
            )
            for module in modules
        ],
        build_dir=f"build/cython/{variant}{'-trace' if TRACE else ''}",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
            "binding": False,
            "linetrace": TRACE,
        },
    )
)
