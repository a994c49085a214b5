"""What a host drives: the contract of the core, as far as a host needs it."""

from __future__ import annotations

from typing import Protocol

from routing import actions as do
from routing.inputs import Input
from routing.limits import Nanos

__all__ = ["Machine"]


class Machine(Protocol):
    """The contract of the core, as far as a host needs it."""

    def handle(self, fact: Input, now: Nanos) -> None:
        """Take in one fact."""

    def on_deadline(self, now: Nanos) -> None:
        """Run everything due."""

    def take_actions(self) -> list[do.Action]:
        """Hand over what is to be done."""

    def next_deadline(self) -> Nanos | None:
        """Return when `on_deadline` is wanted."""
