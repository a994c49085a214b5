"""How recordings are laid out, as a number and a digest; it stands in the first line of each file.

The number is that of the format. The digest is of the shapes of all that a replay reads: records,
facts, the state of a core, frames and messages. Two builds of one version that differ in one of
them cannot read each other's recordings, and say so. It knows shapes and reads no record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from hashlib import blake2b
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Final, NewType, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from routing import bodies, messages
from routing.recordings import FACTS, OTHERS
from routing.snapshots import Memory

__all__ = ["FORMAT", "LINE_BYTES", "first_line", "is_recording", "shapes", "why_not"]

FORMAT: Final = 2

_NAME: Final = b"routing recording "
DIGEST_BYTES: Final = 8
LINE_BYTES: Final = len(_NAME) + 2 + 2 * DIGEST_BYTES + 1
"""Of every first line."""

BOUNDS: Final = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")


@cache
def first_line() -> bytes:
    """Return the first line of the recordings that this code writes and reads."""
    digest = blake2b("\n".join(shapes()).encode(), digest_size=DIGEST_BYTES).hexdigest()
    return b"%s%d %s\n" % (_NAME, FORMAT, digest.encode())


def is_recording(line: bytes) -> bool:
    """Tell whether this is the first line of a recording, be it of another format."""
    return line.startswith(_NAME)


def why_not(line: bytes) -> str:
    """Return why a file that begins so cannot be read, and what helps; empty if it can."""
    if line == first_line():
        return ""
    words = line.split()
    if not is_recording(line) or len(words) < 3:
        return "is no recording; name one"
    ours = first_line().split()
    number = words[2].decode("ascii", "backslashreplace")
    if words[2] != ours[2]:
        return f"is of format {number!r}, this is '{FORMAT}'; replay it with its own version"
    layout = words[3].decode("ascii", "backslashreplace") if len(words) > 3 else ""
    return (
        f"is laid out as {layout!r}, this code lays out as {ours[3].decode()!r}; "
        "replay it with the code that wrote it"
    )


def shapes() -> Iterator[str]:
    """Yield a line for each type that a replay reads, and for each type in one of them."""
    found: dict[type, str] = {}
    for tag, kind in [*enumerate(FACTS), *enumerate(OTHERS, 64)]:
        yield f"{tag} {_told(kind, found)}"
    for kind in [Memory, *_types_of(messages), *_types_of(bodies)]:
        _told(kind, found)
    yield from sorted(found.values())


def _types_of(module: ModuleType) -> list[type]:
    named = [getattr(module, name) for name in module.__all__]
    return [each for each in named if isinstance(each, type) and issubclass(each, (Struct, Enum))]


# Any: hints are of as many types as typing has forms.
def _told(hint: Any, found: dict[type, str]) -> str:
    """Return the name of a hint; what it consists of is put into `found`."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, *notes = get_args(hint)
        bounds = [
            f"{name}={getattr(note, name)}"
            for note in notes
            if isinstance(note, Meta)
            for name in BOUNDS
            if getattr(note, name) is not None
        ]
        return f"{_told(base, found)}<{','.join(bounds)}>"
    if origin in (Union, UnionType):
        return " | ".join(sorted(_told(each, found) for each in get_args(hint)))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(_told(each, found) for each in get_args(hint))}]"
    if isinstance(hint, NewType):
        return _told(hint.__supertype__, found)
    if hint in (Ellipsis, None, NoneType):
        return "..." if hint is Ellipsis else "None"
    if isinstance(hint, type) and hint not in found:
        _describe(hint, found)
    return str(getattr(hint, "__name__", hint))


def _describe(kind: type, found: dict[type, str]) -> None:
    """Put what a type of ours consists of into `found`; of others the name says it."""
    if issubclass(kind, Enum):
        values = (f"{each.name}={each.value}" for each in kind)
        found[kind] = f"{kind.__name__}: {', '.join(values)}"
        return
    if issubclass(kind, Struct):
        config = kind.__struct_config__
        form = "record" if kind in FACTS else f"array={config.array_like} tag={config.tag}"
        names = list(kind.__struct_fields__)
    elif is_dataclass(kind):
        form, names = "record", [each.name for each in fields(kind)]
    else:
        return
    found[kind] = ""  # It may be in itself.
    hints = get_type_hints(kind, include_extras=True)
    columns = (f"{name}: {_told(hints[name], found)}" for name in names)
    found[kind] = f"{kind.__name__} {form} ({', '.join(columns)})"
