"""What a node or client is told before it starts; checked here, acted upon elsewhere.

Every wrong value is one clear line that names it and the cure. Nothing is read from the disk or the
environment: paths are only looked at when the node starts.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from routing.endpoints import ENDPOINTS_CONSIDERED, UNSPECIFIED, parse
from routing.errors import ConfigError, UsageError
from routing.identity import Identity
from routing.limits import MICROSECOND, TABLE_LEAST, Limits
from routing.reachability import Unreachable

__all__ = ["NETWORK_ID_BYTES_MAX", "Config", "Discover", "WhenUnreachable"]

NETWORK_ID_BYTES_MAX: Final = 255
"""Only its hash travels; the bound keeps a file that was pasted by mistake out."""

LISTEN_MAX: Final = ENDPOINTS_CONSIDERED
"""More could not be told to anybody: no peer reads more endpoints than these."""

RECORD_BYTES_MIN: Final = 1 << 20
RECORD_BYTES_MAX: Final = 1 << 36
"""Below the least a recording would be states and little else."""

BUSY_POLL_US_MAX: Final = 1_000
"""A look that long without anything to read has lost fifty times what sleeping costs."""

WhenUnreachable: TypeAlias = Literal["error", "client", "node"]
"""What a node does that nobody can dial; see `Config.unreachable`."""

Discover: TypeAlias = Callable[[], Awaitable[Iterable[str]]]
"""Asked for contacts ("ip:port") when the node knows nobody who answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration of one node or client.

    Endpoints are IP literals with a port, `127.0.0.1:5483` or `[::1]:5483`; host names are not
    resolved. Lists are kept as tuples in their one spelling.

    Raises:
        ConfigError: a value is of the wrong kind or out of its bounds.
    """

    listen: Sequence[str] = ()
    """Where a node accepts connections; port 0 is any free one. Empty for clients."""
    contacts: Sequence[str] = ()
    """Where other nodes may be; never forgotten."""
    first: bool = False
    """Found a network if nobody answers. One node of a network, seldom two, should have it."""
    network: str = "routing"
    """The id of the network; nodes of different ids never connect."""
    identity: Identity | str | os.PathLike[str] | None = None
    """A file (made at first start), an identity, or None for a fresh key with every start."""
    book: str | os.PathLike[str] | None = None
    """The file of the contact book; None keeps contacts in memory only."""
    advertise: Sequence[str] | None = None
    """What others shall dial, where it is not what we listen on: behind a NAT, the router."""
    relaxed: bool = False
    """Be connected also where only one of two nodes can dial the other, if both are relaxed."""
    unreachable: WhenUnreachable | None = None
    """When proxies say that nobody can dial us: "error" stops with one line, "client" goes on as a
    client, "node" (of a relaxed node only) goes on as it is. None is "node" where `relaxed`, else
    "error"."""
    limits: Limits = field(default_factory=Limits.recommended)
    discover: Discover | None = None
    """Called when a bootstrap round found nobody; what it returns is tried like contacts."""
    record: str | os.PathLike[str] | None = None
    """The file of the flight recorder: all that the node hears, for a replay; None for none.
    See docs/recorder.md for what is in it."""
    record_bytes: int = 256 << 20
    """Of records in that file and the older one beside it (`.1`); each begins with a state."""
    busy_poll_us: int | None = None
    """For how long the loop looks for more to read before it sleeps, after anything was read or
    written; 0 for not at all, None for 100 as long as two looks of three find something. Answers
    come sooner and streams are faster, and a core is kept busy."""

    def __post_init__(self) -> None:
        self._normalise("listen", allow_zero=True, at_most=LISTEN_MAX)
        self._normalise("contacts", allow_zero=False, at_most=self._checked_limits().contacts_max)
        if self.advertise is not None:
            self._normalise("advertise", allow_zero=False, at_most=LISTEN_MAX)
            if not self.listen:
                raise ConfigError("config advertise is given but listen is empty; give both")
            self._check_advertised(self.advertise)
        self._check_unreachable()
        self._check_kinds()
        if self.identity == "fresh":
            raise ConfigError(
                "config identity='fresh' (a new key with every round) is not offered; "
                "use None, or './fresh' for a file of that name"
            )
        if not isinstance(self.identity, Identity):
            self._check_path("identity", self.identity)
        self._check_path("book", self.book)
        self._check_path("record", self.record)
        self._check_record_bytes()
        self._check_busy_poll()
        if self.discover is not None and not callable(self.discover):
            raise ConfigError(f"config discover={self.discover!r} must be an async function")

    @property
    def when_unreachable(self) -> Unreachable:
        """What `unreachable` comes to."""
        if self.unreachable is None:
            return Unreachable.NODE if self.relaxed else Unreachable.ERROR
        return Unreachable(self.unreachable)

    def _check_advertised(self, advertised: Sequence[str]) -> None:
        if not advertised:
            raise ConfigError(
                "config advertise is empty: nobody could dial the node; name where others can, "
                "or leave it out to advertise what it listens on"
            )
        for text in advertised:
            if parse(text).host in UNSPECIFIED:
                raise ConfigError(
                    f"config advertise: {text} is no address that others can dial; name one, "
                    "or leave advertise out to have it found"
                )

    def _check_unreachable(self) -> None:
        relaxed: object = self.relaxed
        if not isinstance(relaxed, bool):
            raise ConfigError(f"config relaxed={relaxed!r} must be True or False")
        known = get_args(WhenUnreachable)
        if self.unreachable is not None and self.unreachable not in known:
            words = " or ".join(map(repr, known))
            raise ConfigError(f"config unreachable={self.unreachable!r} must be {words}")
        if self.unreachable == "node" and not relaxed:
            raise ConfigError(
                "config unreachable='node' needs relaxed=True: a strict network connects nobody "
                "who cannot be dialled"
            )

    def _check_kinds(self) -> None:
        # Somebody who does not use a type checker gives anything.
        first: object = self.first
        if not isinstance(first, bool):
            raise ConfigError(f"config first={first!r} must be True or False")
        network: object = self.network
        size = len(network.encode()) if isinstance(network, str) else 0
        if not 0 < size <= NETWORK_ID_BYTES_MAX:
            raise ConfigError(
                f"config network={str(network)[:32]!r} must be text of 1 to "
                f"{NETWORK_ID_BYTES_MAX} bytes"
            )

    def _check_record_bytes(self) -> None:
        size: object = self.record_bytes
        if not isinstance(size, int) or not RECORD_BYTES_MIN <= size <= RECORD_BYTES_MAX:
            raise ConfigError(
                f"config record_bytes={size!r} must be {RECORD_BYTES_MIN} to {RECORD_BYTES_MAX}"
            )

    def _check_busy_poll(self) -> None:
        given: object = self.busy_poll_us
        if given is None:
            return
        if type(given) is not int or not 0 <= given <= BUSY_POLL_US_MAX:
            raise ConfigError(
                f"config busy_poll_us={given!r} must be 0 to {BUSY_POLL_US_MAX} microseconds; "
                "0 lets the loop sleep at once, None looks where it finds something"
            )

    @property
    def busy_poll_ns(self) -> int | None:
        """`busy_poll_us` in nanoseconds."""
        return None if self.busy_poll_us is None else self.busy_poll_us * MICROSECOND

    def _checked_limits(self) -> Limits:
        limits: object = self.limits
        if not isinstance(limits, Limits):
            raise ConfigError(f"config limits={limits!r} must be Limits; try Limits.recommended()")
        if limits.table_max < TABLE_LEAST:
            raise ConfigError(
                f"config limits.table_max={limits.table_max} must be at least {TABLE_LEAST}: "
                "with fewer places some nodes find none at those whom they need"
            )
        return limits

    def _normalise(self, name: str, *, allow_zero: bool, at_most: int) -> None:
        given: object = getattr(self, name)
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ConfigError(f"config {name}={given!r} must be a list of endpoints")
        if len(given) > at_most:
            raise ConfigError(
                f"config {name} has {len(given)} endpoints, at most {at_most} allowed"
            )
        endpoints: list[str] = []
        for text in given:
            if not isinstance(text, str):
                raise ConfigError(f"config {name}: endpoint {text!r} must be text")
            try:
                endpoint = str(parse(text, allow_zero=allow_zero))
            except UsageError as error:
                raise ConfigError(f"config {name}: {error}") from None
            if endpoint in endpoints and not endpoint.endswith(":0"):
                raise ConfigError(f"config {name} has {endpoint} twice; name it once")
            endpoints.append(endpoint)
        object.__setattr__(self, name, tuple(endpoints))

    def _check_path(self, name: str, value: object) -> None:
        if value is None:
            return
        if not isinstance(value, str | os.PathLike) or not os.fspath(value):
            raise ConfigError(f"config {name}={value!r} must be the path of a file")
