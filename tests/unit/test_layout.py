"""The first line of a recording: another layout has another digest, and is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, make_dataclass
from enum import IntEnum
from typing import Annotated

import pytest
from msgspec import Meta, Struct, defstruct

from routing import layout
from routing.layout import FORMAT, LINE_BYTES, first_line, is_recording, shapes, why_not

__all__: list[str] = []


def test_own_line_is_read_and_has_its_length() -> None:
    assert why_not(first_line()) == ""
    assert len(first_line()) == LINE_BYTES
    assert is_recording(first_line())
    assert first_line() == layout.first_line.__wrapped__(), "it does not change within a process"


def test_other_lines_are_refused_in_one_clause() -> None:
    ours = first_line()
    other = ours.replace(b" %d " % FORMAT, b" 1 ")
    assert why_not(other) == f"is of format '1', this is '{FORMAT}'; replay it with its own version"
    assert is_recording(other)
    moved = ours[:-3] + b"xy\n"
    assert why_not(moved).startswith("is laid out as '")
    assert "replay it with the code that wrote it" in why_not(moved)
    assert why_not(ours[:-9]).startswith("is laid out as '")
    assert "'\\xff'" in why_not(b"routing recording 2 \xff\n").replace("\\\\", "\\")
    for line in (b"", b"#!/bin/sh\n", b"routing recording ", b"routing"):
        assert why_not(line) == "is no recording; name one"


def test_every_type_that_is_read_is_in_it_once() -> None:
    lines = [*shapes()]
    for text in (
        "6 FrameReceived",
        "64 Batched",
        "FrameReceived record (token: int, kind: FrameKind, body: bytes)",
        "Passed array=True tag=None (token: int, now: int, digests: bytes)",
        "SeenMemory array=False tag=None (",
        "NodeAddress array=True tag=1 (name: bytes<min_length=32,max_length=32>)",
        "ConnectRequest array=True",
        "FrameKind: ",
    ):
        assert len([line for line in lines if line.startswith(text)]) == 1, text


class Colour(IntEnum):
    RED = 1


class Paint(IntEnum):
    RED = 2


Short = Annotated[bytes, Meta(max_length=3)]
Long = Annotated[bytes, Meta(max_length=4)]


def a_struct(kind: object, name: str = "it") -> type:
    return defstruct("Thing", [(name, kind)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: a_struct(int),
        lambda: a_struct(str),
        lambda: a_struct(int, "that"),
        lambda: a_struct(list[int]),
        lambda: a_struct(dict[int, bytes]),
        lambda: a_struct(int | None),
        lambda: a_struct(tuple[int, ...]),
        lambda: a_struct(Short),
        lambda: a_struct(Long),
        lambda: a_struct(Colour),
        lambda: a_struct(Paint),
        lambda: a_struct(a_struct(int)),
        lambda: defstruct("Thing", [("it", int)], array_like=True),
        lambda: defstruct("Thing", [("it", int)], tag=7),
        lambda: make_dataclass("Thing", [("it", int, field())]),
    ],
)
def test_each_difference_of_a_shape_shows(
    make: Callable[[], type], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for kind in (a_struct(float), make()):
        monkeypatch.setattr(layout, "Memory", kind)
        seen.append(layout.first_line.__wrapped__())
        assert len(seen[-1]) == LINE_BYTES
    assert seen[0] != seen[1]


class Tree(Struct):
    twigs: list[Tree]


def test_what_is_in_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "Memory", Tree)
    assert "Tree array=False tag=None (twigs: list[Tree])" in [*shapes()]
