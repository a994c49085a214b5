"""What happened, in order: a running digest of all of it, and the last of it to show to people.

The digest covers (time, node, fact or action) in a spelling of our own for the frequent ones and
`repr` for the rest; records, enums, lists and bytes spell the same under any PYTHONHASHSEED.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from hashlib import blake2b
from struct import Struct as Packing

from routing.actions import Action, Send
from routing.inputs import FrameReceived, Input, fields_of
from routing.limits import SECOND

__all__ = ["RECENT_EVENTS", "Trace", "describe"]

RECENT_EVENTS = 60
"""Kept of each node for the report of a violation."""

_FRAME = Packing(">BQHQBI")
_OTHER = Packing(">BQH")
_FACT_FRAME, _ACTION_SEND, _FACT, _ACTION, _WAKE = range(1, 6)


class Trace:
    """The digest of a run and the recent events of each node."""

    __slots__ = ("_hash", "_recent")

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=16)
        self._recent: dict[int, deque[tuple[int, Input | Action | None]]] = {}

    def fact(self, now: int, node: int, fact: Input) -> None:
        """A core is about to hear this."""
        if isinstance(fact, FrameReceived):
            head = _FRAME.pack(_FACT_FRAME, now, node, fact.token, fact.kind, len(fact.body))
            self._hash.update(head + fact.body)
        else:
            self._hash.update(_OTHER.pack(_FACT, now, node) + repr(fact).encode())
        self._remember(now, node, fact)

    def action(self, now: int, node: int, action: Action) -> None:
        """A core has said this."""
        if isinstance(action, Send):
            head = _FRAME.pack(_ACTION_SEND, now, node, action.token, action.kind, len(action.body))
            self._hash.update(head + action.body)
        else:
            self._hash.update(_OTHER.pack(_ACTION, now, node) + repr(action).encode())
        self._remember(now, node, action)

    def wake(self, now: int, node: int) -> None:
        """The deadline of a core has come."""
        self._hash.update(_OTHER.pack(_WAKE, now, node))
        self._remember(now, node, None)

    def digest(self) -> str:
        """Return the digest of everything so far, 32 hexadecimal digits."""
        return self._hash.hexdigest()

    def recent(self, node: int) -> list[str]:
        """Return the last events of a node, oldest first, one line each."""
        return [
            f"{now / SECOND:10.4f} s node {node} {describe(what)}"
            for now, what in self._recent.get(node, ())
        ]

    def _remember(self, now: int, node: int, what: Input | Action | None) -> None:
        recent = self._recent.get(node)
        if recent is None:
            recent = self._recent[node] = deque(maxlen=RECENT_EVENTS)
        recent.append((now, what))


def describe(what: Input | Action | None) -> str:
    """Return one line about a fact or an action, long byte strings shortened."""
    if what is None:
        return "deadline"
    parts = []
    for name in fields_of(what):
        value = getattr(what, name)
        if isinstance(value, bytes):
            text = value.hex() if len(value) <= 8 else f"{value[:4].hex()}..{len(value)}"
        else:
            text = value.name if isinstance(value, Enum) else repr(value)
        parts.append(f"{name}={text[:120]}")
    return f"{type(what).__name__}({', '.join(parts)})"
