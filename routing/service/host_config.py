"""What a host needs to know besides its core."""

from __future__ import annotations

from dataclasses import dataclass, field

from routing.identity import Identity
from routing.limits import Limits

__all__ = ["HostConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """What a host needs to know besides its core."""

    listen: tuple[str, ...] = ()
    """ "ip:port" each, port 0 for any; empty for clients."""
    advertise: tuple[str, ...] | None = None
    """What others shall dial, where it is not what we listen on."""
    tag: bytes
    """Network tag, 8 bytes."""
    identity: Identity
    limits: Limits = field(default_factory=Limits)
    busy_poll_ns: int | None = None
    """See `Config.busy_poll_us`."""
