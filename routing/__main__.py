"""`python -m routing`: the command line, or one line on how to get it."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        import click
        import rich
    except ImportError as error:
        print(
            f"python -m routing: the command line needs {error.name}; "
            "install it with: pip install 'routing[cli]'",
            file=sys.stderr,
        )
        return 2
    del click, rich
    from routing.cli import main as run_command_line

    return run_command_line()


if __name__ == "__main__":
    sys.exit(main())
