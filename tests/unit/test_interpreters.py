"""What the compiled rooms say of interpreters and locks is what happens: they declare neither."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import routing

__all__: list[str] = []

PACKAGE = Path(routing.__file__).parent

# A second interpreter of the process imports after the first, which then goes on.
SECOND = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
from routing import TimedFilter
table = TimedFilter(10, clock=None)
table["one"] = 1
told = '''
import sys
sys.path[:] = {path!r}
try:
    import routing
except ImportError as error:
    assert "interpreter" in str(error), error
else:
    raise AssertionError("routing was imported a second time")
'''.format(path=sys.path)
second = interpreters.create()
failed = interpreters.run_string(second, told)
assert failed is None, failed
interpreters.destroy(second)
table["two"] = 2
assert table.get("one") == 1 and len(table.clear()) == 2
print("undisturbed")
"""


def test_second_interpreter_is_refused_and_the_first_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SECOND],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "undisturbed\n"), done.stderr


@pytest.mark.parametrize("directive", ["freethreading_compatible", "subinterpreters_compatible"])
def test_no_compiled_room_declares_what_no_test_has_shown(directive: str) -> None:
    sources = [*PACKAGE.glob("*.pyx"), *PACKAGE.glob("*.pxd")]
    setup = PACKAGE.parent / "setup.py"
    assert sources, "there are compiled rooms"
    for source in [*sources, *([setup] if setup.exists() else [])]:
        assert directive not in source.read_text(encoding="utf-8"), source.name


@pytest.mark.skipif(not hasattr(sys, "_is_gil_enabled"), reason="before 3.13 there is but one lock")
def test_interpreter_lock_is_on_once_the_rooms_are_imported() -> None:
    assert vars(sys)["_is_gil_enabled"]()
