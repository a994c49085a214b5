"""Who may name himself, and when: the first node, and the one that founds a lost network anew.

Several founders are legal; feelers make them one network. A node that nobody answers never founds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routing import events as told
from routing.certificates import founding_certificate
from routing.events import RoundOutcome
from routing.names import short

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Founding"]


class Founding:
    """The founder's right."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.founder = False
        self.lowest = core.key
        """The lowest key heard of since we became DISCONNECTED, our own among them."""
        self.unanswered_rounds = 0
        """Whole rounds in a row in which no contact admitted us."""
        self.refused_rounds: list[bool] = []
        """Of the last rounds: at least one answer, and every answer NOT_CONNECTED."""

    def heard(self, lowest: bytes, key: bytes) -> None:
        """A Hello or a Refuse carries the lowest key its sender has heard of."""
        self.lowest = min(self.lowest, lowest, key)

    def on_disconnected(self) -> None:
        """We lost our network: what we heard of the old one no longer counts."""
        self.lowest = self.core.key
        self.unanswered_rounds = 0
        self.refused_rounds = []

    def on_admitted(self) -> None:
        """A proxy admitted us: there is a network."""
        self.unanswered_rounds = 0
        self.refused_rounds = []

    def may_found_at_start(self) -> bool:
        """(a) A first node that knows nobody founds at once."""
        core = self.core
        return core.config.first and not core.client and not core.bootstrapping.has_contacts()

    def may_found_for_joiner(self) -> bool:
        """(b) A node without contacts founds when the first authenticated Hello asks for it."""
        core = self.core
        return (
            not core.client
            and core.name is None
            and not core.bootstrapping.admitted_count()
            and core.addresses.listens
            and not core.config.first
            and not core.bootstrapping.has_contacts()
        )

    def after_round(self, outcome: RoundOutcome) -> bool:
        """Weigh a round that ended without Admit; found, and tell True, if that is right now."""
        core, limits = self.core, self.core.limits
        if core.client or core.name is not None or not core.addresses.listens:
            return False
        self.unanswered_rounds += 1
        refused = outcome is RoundOutcome.REFUSED
        self.refused_rounds = [*self.refused_rounds, refused][-limits.refound_any_rounds :]
        if core.config.first and self.unanswered_rounds >= limits.first_rounds:
            self.found("first, and no contact admitted us")
            return True
        if self._may_refound():
            self.found("every contact is as lost as we are")
            return True
        return False

    def _may_refound(self) -> bool:
        """(c) All who answer are disconnected too, and our key is the lowest of those heard of."""
        core, limits = self.core, self.core.limits
        since = core.bootstrapping.disconnected_at
        if core.now - since < limits.refound_after_ns:
            return False
        last = self.refused_rounds[-limits.refound_rounds :]
        if len(last) < limits.refound_rounds or not all(last):
            return False
        if self.lowest == core.key:
            return True
        many = self.refused_rounds[-limits.refound_any_rounds :]
        return len(many) >= limits.refound_any_rounds and all(many)

    def found(self, why: str) -> None:
        """Name ourselves, by the held name if there is one: a network begins here."""
        core = self.core
        held = core.naming.take_held()
        core.take_name(held if held is not None else founding_certificate(core.key))
        assert core.name is not None
        self.founder = True
        core.cause = f"founded: {why}"
        core.count("founded")
        core.note(core.key, f"founded as {short(core.name)}: {why}")
        core.tell(told.Founded(core.name))
        core.naming.keep()
        core.bootstrapping.on_founded()
        core.feelers.on_founded()
