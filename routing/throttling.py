"""What clients may send in a second: the proxy's bound, and the client's own care to keep it.

The proxy tells its bound when it admits. What is beyond it is not passed on, and its sender is told
so; who goes on all the same is closed. Everything counts, routed or direct. Acknowledgements do
not, as many as there were messages to acknowledge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routing import actions as do
from routing.allowance import full_allowance
from routing.errors import CloseCode
from routing.inputs import Submitted
from routing.limits import SECOND
from routing.links import Link
from routing.lists import messages_in
from routing.messages import Admit, Envelope, FrameKind, MessageKind, Signed, Throttled
from routing.state import LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["ANSWERS", "Throttling"]

ANSWERS: Final = frozenset({MessageKind.ACKNOWLEDGED, MessageKind.BUSY})
"""What a client must say to what it is sent; it cannot choose how often."""

LENIENT_S: Final = 2
"""Seconds' worth that a proxy lets a client save up, one more than it tells it: what left within
the bound in two seconds may arrive in one."""

MILLISECOND: Final = SECOND // 1_000

WAIT_HIGH_MS: Final = 10_000
"""How long a proxy may make us wait at a time."""


class Throttling:
    """The allowance of clients, at both ends."""

    def __init__(self, core: Core) -> None:
        self.core = core

    # -- the proxy

    def begin(self, link: Link) -> tuple[int, int]:
        """Give one that is admitted its allowance; return messages and bytes to tell it of."""
        if link.role is not LinkRole.CLIENT:
            return 0, 0
        limits, now = self.core.limits, self.core.now
        told = limits.client_messages_per_s, limits.client_bytes_per_s
        link.allowance = full_allowance(*told, now=now, capacity_s=LENIENT_S)
        link.excess = full_allowance(*told, now=now)
        return told

    def allows_routed(self, link: Link, envelope: Envelope, signed: Signed) -> bool:
        """Tell whether one that hangs on us may send this routed message now; see `allows`."""
        size, count = len(envelope.signed), messages_in(signed)
        return self.allows(link, signed.kind, signed.id, size, count)

    def allows(
        self, link: Link, kind: MessageKind, message_id: bytes, size: int, count: int = 1
    ) -> bool:
        """Tell whether one that hangs on us may send this now.

        A client that may not is told, and closed if it has been told too often.

        Args:
            link: Whose message it is.
            kind: Of the message.
            message_id: The id by which its sender knows it.
            size: Of the signed part, or of the payload where nothing is signed.
            count: How many messages of its application it is.
        """
        core = self.core
        if link.allowance is None or link.excess is None:
            return True
        if kind in ANSWERS and link.owed:
            link.owed -= 1
            return True
        wait = link.allowance.wait(size, core.now, count)
        if not wait:
            link.allowance.reserve(size, core.now, count)
            return True
        core.count("client.throttled")
        if not link.excess.take(size, core.now, count):
            core.count("client.flooded")
            core.note(link.key, "closed: it floods us, whatever we tell it")
            core.frames.hang_up(link, CloseCode.BUSY, "sends more than it was allowed, and told")
            return False
        core.send(link, FrameKind.THROTTLED, Throttled(message_id, -(-wait // MILLISECOND)))
        return False

    def passed_on(self, link: Link) -> None:
        """A routed message goes to one that hangs on us: a client may answer it at no cost."""
        if link.allowance is not None and link.role is LinkRole.CLIENT:
            link.owed = min(link.owed + 1, self.core.limits.unacknowledged_max)

    # -- the client

    def on_admitted(self, link: Link, admit: Admit) -> None:
        """Our proxy tells what we may send."""
        if self.core.client:
            link.allowance = full_allowance(
                admit.messages_per_s, admit.bytes_per_s, now=self.core.now
            )

    def must_wait(self, size: int, now: int, count: int = 1) -> int:
        """Return in how many nanoseconds we may send messages of this size; 0 for at once."""
        proxy = self.core.bootstrapping.proxy() if self.core.client else None
        if proxy is None or proxy.allowance is None:
            return 0
        return proxy.allowance.wait(size, now, count)

    def reserve(self, size: int, count: int = 1) -> int:
        """Pay for messages of ours; return in how many nanoseconds they may leave."""
        if not self.core.client:
            return 0
        proxy = self.core.bootstrapping.proxy()
        if proxy is None or proxy.allowance is None:
            return 0
        return proxy.allowance.reserve(size, self.core.now, count)

    def pays(self, size: int) -> bool:
        """Pay for a message that leaves at once; False if it must wait: what is routed can."""
        if not self.core.client:
            return True
        if self.must_wait(size, self.core.now):
            return False
        self.reserve(size)
        return True

    def refuses(self, fact: Submitted) -> bool:
        """Fail what is beyond our allowance. Replies and parts wait instead, each its turn."""
        core = self.core
        if not core.client:
            return False
        size = len(fact.payload)
        if fact.kind is MessageKind.REPLY or core.parts.is_large(size):
            return False
        wait = self.must_wait(size, core.now)
        if not wait:
            return False
        self.refuse(fact.reference, wait)
        return True

    def refuse(self, reference: int, wait: int) -> None:
        """Fail what is beyond our allowance for so many nanoseconds more."""
        self.core.count("message.throttled")
        reason = f"throttled: our proxy allows no more now; wait {-(-wait // MILLISECOND)} ms"
        self.core.act(do.Failed(reference, reason))

    def on_throttled(self, throttled: Throttled) -> None:
        """Our proxy has not passed a message on: what is acknowledged leaves again later."""
        core, message_id = self.core, throttled.id
        core.count("throttled.told")
        if message_id in core.delivery.underway:
            core.delivery.put_off(message_id, bounded_wait(throttled.wait_ms))
            return
        if core.receipts.on_throttled(message_id, bounded_wait(throttled.wait_ms)):
            return
        pending = core.messaging.pending.get(message_id)
        reference = core.messaging.sent.get(message_id, now=core.now)
        if pending is not None:
            reference = pending.reference
        if reference is None:
            core.count("throttled.unasked")
            return
        reason = f"throttled: our proxy has not passed it on; wait {throttled.wait_ms} ms"
        core.messaging.fail(message_id, reference, reason)


def bounded_wait(wait_ms: int) -> int:
    """Return the nanoseconds to wait when we are told to, at least a millisecond."""
    return min(max(wait_ms, 1), WAIT_HIGH_MS) * MILLISECOND
