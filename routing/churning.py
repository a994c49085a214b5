"""Telling the application of changes of our close group: once each, and only if they last.

Repair does not wait for this: `membership` hears of every change at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routing import events as told
from routing.names import nearest

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Churning"]

CAUSES_MAX: Final = 8
"""Causes told with one Churn: as many as a close group has members."""

PATIENCE: Final = 4
"""So many times the damping a change waits at most for those that follow it."""


class Churning:
    """What the application believes our close group to be, and what has changed since."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.group: list[bytes] = []
        """Our close group as it was told last."""
        self.known: list[bytes] = []
        """Every node we knew then, ourselves first."""
        self.since: dict[bytes, int] = {}
        """Who has come or gone since -> when."""
        self.causes: list[str] = []
        self.unsaid = 0
        """Causes beyond those."""

    def on_change(self, group: list[bytes]) -> None:
        """The close group is another one: whoever differs from what was told is watched."""
        core = self.core
        differing = [name for name in group if name not in self.group]
        differing += [name for name in self.group if name not in group]
        self.since = {name: self.since.get(name, core.now) for name in differing}
        if not differing:
            core.count("churn.flapped")
            self.causes, self.unsaid = [], 0
            core.alarms.cancel(("churn", b""))
            return
        if len(self.causes) < CAUSES_MAX:
            self.causes.append(core.cause)
        else:
            self.unsaid += 1
        self._schedule()

    def _schedule(self) -> None:
        """When the youngest change has lasted; but the oldest does not wait for ever."""
        core = self.core
        damping = core.limits.churn_damping_ns
        started = self.since.values()
        due = min(max(started) + damping, min(started) + PATIENCE * damping)
        core.alarm("churn", b"", due - core.now)

    def on_due(self, _subject: bytes) -> None:
        """Alarm: tell of the changes that have lasted."""
        core = self.core
        lasting = core.now - core.limits.churn_damping_ns
        settled = [name for name, at in self.since.items() if at <= lasting]
        assert settled, "the oldest change has lasted"
        own = core.table.own
        left = [name for name in self.group if name in settled]
        joined = [name for name in settled if name not in self.group]
        stayed = [name for name in self.group if name not in left]
        before, self.known = self.known, [own, *core.table.names()]
        self.group = nearest(own, [*stayed, *joined], len(stayed) + len(joined))
        core.count("churn.told")
        core.tell(
            told.Churn(
                tuple(self.group),
                self._cause(),
                joined=tuple(nearest(own, joined, len(joined))),
                left=tuple(left),
                before=tuple(before),
                after=tuple(self.known),
            )
        )
        for name in settled:
            del self.since[name]
        self.causes, self.unsaid = [], 0
        if self.since:
            self.causes.append(core.cause)
            self._schedule()

    def _cause(self) -> str:
        more = [f"{self.unsaid} more"] if self.unsaid else []
        return "; ".join([*self.causes, *more])

    def on_disconnected(self) -> None:
        """`Disconnected` has told that nobody is left; the next Churn starts from there."""
        self.core.alarms.cancel(("churn", b""))
        self.group = []
        self.known = []
        self.since = {}
        self.causes, self.unsaid = [], 0
