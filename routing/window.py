"""How much of ours waits to be acknowledged by one destination, and who waits for less.

What is routed passes relays that hold up who feeds a full connection, and ends at a consumer that
verifies it. Of either a source knows nothing but how long acknowledgements take: so it sends no
more than a window to each destination, and the rest waits where it is made. Parts of large messages
have a window of their own; requests and votes are counted and never refused here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routing import actions as do
from routing.authority import is_of_group
from routing.messages import Address, ClientAddress, MessageKind

if TYPE_CHECKING:
    from routing.core import Core
    from routing.delivery import Underway
    from routing.inputs import Submitted

__all__ = ["BUSY", "WINDOW_BYTES", "Window", "target_of"]

BUSY: Final = "busy: too many messages wait to be acknowledged"

WINDOW_BYTES: Final = 524_288
"""Of acknowledged messages on their way to one destination: half of what a relay lets wait for one
peer. So the source waits, and no relay closes the connection of a peer that is slow."""


class Window:
    """What one core has under way, by destination; `delivery` tells of every message."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.flying: dict[bytes, int] = {}
        """Target -> bytes that wait to be acknowledged; it follows from `delivery`."""
        self.pressed = False
        """Messages were refused for want of room, and there is no room yet."""

    def load(self, *, pressed: bool) -> None:
        """Become what a snapshot holds; `delivery` has what is under way."""
        self.pressed = pressed
        self.flying.clear()
        for entry in self.core.delivery.underway.values():
            self.account(entry, 1)

    def account(self, entry: Underway, sign: int) -> None:
        """A message begins, or ends, to wait for its acknowledgement."""
        if entry.part:
            return
        target = target_of(entry.destination)
        held = self.flying.get(target, 0) + sign * len(entry.envelope.signed)
        if held:
            self.flying[target] = held
        else:
            self.flying.pop(target, None)

    def is_full(self, destination: Address, size: int) -> bool:
        """Tell whether so much more has to wait; alone, anything may go."""
        held = self.flying.get(target_of(destination), 0)
        return held > 0 and held + size > WINDOW_BYTES

    def is_awaited(self, destination: Address, size: int) -> bool:
        """Tell whether there will be word, `Relieved`, when so much more may go.

        As there is when a neighbour has taken more of what it was sent directly.
        """
        if self.pressed and self.is_full(destination, size):
            return True
        core = self.core
        return core.batching.way(destination) is not None and core.receipts.refuses(size)

    def takes(self, fact: Submitted) -> bool:
        """Tell whether there is room for one more acknowledged message; a refusal is counted."""
        core, size = self.core, len(fact.payload)
        if core.receipts.refuses(size):
            # Who sends to a neighbour may wait: what has been taken there is soon known.
            core.batching.pressed = True
        elif not core.delivery.refuses(size):
            if fact.kind is not MessageKind.MESSAGE or not self.is_full(fact.destination, size):
                return True
            if not self._is_routed(fact):
                return True
            self.pressed = True
        core.count("message.busy")
        return False

    def _is_routed(self, fact: Submitted) -> bool:
        """Tell whether it goes by relays. Votes do, and wait for nobody: the others count them."""
        if fact.authority is not None:
            return not is_of_group(fact.authority)
        return fact.signed or self.core.messaging.direct(fact.destination) is None

    def relieve(self, entry: Underway) -> None:
        """A message waits no more: tell who was refused of room, once half of it is free."""
        limits, delivery = self.core.limits, self.core.delivery
        if (
            self.pressed
            and self.flying.get(target_of(entry.destination), 0) <= WINDOW_BYTES // 2
            and len(delivery.underway) < max(1, limits.unacknowledged_max // 2)
            and delivery.bytes < limits.unacknowledged_bytes // 2
        ):
            self.pressed = False
            self.core.act(do.Relieved())


def target_of(destination: Address) -> bytes:
    """Return what the round trips of a destination are remembered under."""
    return destination.key if isinstance(destination, ClientAddress) else destination.name
