"""Endpoints: IP literals with a port, their one spelling, and which of them may be dialled.

No host names, no resolver, no sockets: an address that a stranger lists is text until this module
has made it canonical and found it harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import Final, NamedTuple, TypeAlias

from routing.errors import UsageError

__all__ = [
    "ENDPOINTS_CONSIDERED",
    "ENDPOINT_BYTES_MAX",
    "UNSPECIFIED",
    "DialBan",
    "Endpoint",
    "Selection",
    "from_socket",
    "in_networks",
    "may_dial",
    "parse",
    "select",
    "source_group",
    "wide_group",
]

ENDPOINT_BYTES_MAX: Final = 64
"""On the wire; the longest canonical endpoint has 47."""

ENDPOINTS_CONSIDERED: Final = 8
"""Listed by one peer in one message; more are not read."""

UNSPECIFIED: Final = ("0.0.0.0", "::")
"""To a listener every address of its machine; to a dialler none."""

_LOW_PORT: Final = 1_024
_PORT_MAX: Final = 65_535

_Address: TypeAlias = IPv4Address | IPv6Address
_Network: TypeAlias = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ip_network(text) for text in texts)


_LOOPBACK: Final = _networks("127.0.0.0/8", "::1/128")

_PRIVATE: Final = _networks(
    "10.0.0.0/8",  # private use, RFC 1918
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",  # shared address space of carriers, RFC 6598
    "169.254.0.0/16",  # link-local, RFC 3927
    "fc00::/7",  # unique local, RFC 4193
    "fe80::/10",  # link-local, RFC 4291
)

# The registries of special-purpose addresses of IANA, less the ranges above. No peer lives in any
# of these; those that embed another address would let a stranger reach it past the checks.
_SPECIAL: Final = _networks(
    "0.0.0.0/8",  # this network, RFC 791
    "192.0.0.0/24",  # protocol assignments, RFC 6890
    "192.0.2.0/24",  # documentation, RFC 5737
    "192.31.196.0/24",  # AS112, RFC 7535
    "192.52.193.0/24",  # AMT, RFC 7450
    "192.88.99.0/24",  # 6to4 relays, withdrawn by RFC 7526
    "192.175.48.0/24",  # AS112, RFC 7534
    "198.18.0.0/15",  # benchmarking, RFC 2544
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and the broadcast address
    "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking, AMT, AS112
    "2001:db8::/32",  # documentation, RFC 3849
    "2002::/16",  # 6to4, embeds an IPv4 address
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation, RFC 9637
)

# Outside of it IANA has given out nothing for unicast but the ranges above; NAT64 (64:ff9b::),
# IPv4-compatible addresses, site-local, multicast and whatever comes are all special.
_UNICAST: Final = IPv6Network("2000::/3")


class DialBan(StrEnum):
    """Why an endpoint is not dialled; compare members, show the text."""

    UNPARSABLE = "not an IP address with a port"
    DUPLICATE = "listed twice"
    TOO_MANY = "listed beyond the first 8"
    PORT_ZERO = "port 0 cannot be dialled"
    LOW_PORT = "a port below 1024 belongs to a service; allow it by low_ports"
    SPECIAL = "an address of a special range is never dialled"
    LOOPBACK = "loopback is dialled only by a node that is itself on loopback alone"
    PRIVATE = "a private address is dialled only from the same network (/16, IPv6 /48)"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """An IP address in its one spelling, and a port. Ordered for determinism only.

    IPv4-mapped IPv6 addresses become IPv4.

    Raises:
        UsageError: the host is not an IP literal, or the port is out of 0 to 65,535.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        canonical = _canonical(self.host)
        if canonical != self.host:
            object.__setattr__(self, "host", canonical)
        if not 0 <= self.port <= _PORT_MAX:
            raise UsageError(f"endpoint port {self.port} must be 0 to {_PORT_MAX}")

    @staticmethod
    def parse(text: str, *, allow_zero: bool = False) -> Endpoint:
        """Return the endpoint written as `text`; see the function `parse`."""
        return parse(text, allow_zero=allow_zero)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the address is of this machine: 127.0.0.0/8 or ::1."""
        return _kind(self.host) is _Kind.LOOPBACK

    @property
    def is_private(self) -> bool:
        """Whether the address means something in one network only.

        That is private use, unique local, link-local and the shared space of carriers.
        """
        return _kind(self.host) is _Kind.PRIVATE

    @property
    def is_special(self) -> bool:
        """Whether no peer can live at the address: multicast, documentation, reserved, ..."""
        return _kind(self.host) is _Kind.SPECIAL


class Selection(NamedTuple):
    """What remains of a list of endpoints that a peer sent, and why the others do not."""

    allowed: list[Endpoint]
    """In the order of the list, each once."""
    refused: dict[str, int]
    """How many were left out, by `DialBan`."""


def parse(text: str, *, allow_zero: bool = False) -> Endpoint:
    """Return the endpoint written as `127.0.0.1:80` or `[::1]:80`.

    Args:
        text: An IP literal and a port in decimal digits; zone ids and host names are refused.
        allow_zero: Accept port 0, which means "any free port" to a listener.

    Raises:
        UsageError: one line with the text, what is wrong with it and the cure.
    """
    # Checked first: the rest is never run on text of a stranger's length.
    if len(text) > ENDPOINT_BYTES_MAX:
        raise UsageError(f"endpoint of {len(text)} characters exceeds {ENDPOINT_BYTES_MAX}")
    host, colon, digits = text.rpartition(":")
    if not colon or not host or "]" in digits:
        raise UsageError(f"endpoint {text!r} has no port; write 127.0.0.1:5483 or [::1]:5483")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if bracketed != (":" in host):
        raise UsageError(f"endpoint {text!r} is ambiguous; write 127.0.0.1:5483 or [::1]:5483")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5):
        raise UsageError(f"endpoint {text!r} has the port {digits!r}; it must be 1 to {_PORT_MAX}")
    port = int(digits)
    if port > _PORT_MAX or (port == 0 and not allow_zero):
        raise UsageError(f"endpoint {text!r} has the port {port}; it must be 1 to {_PORT_MAX}")
    return Endpoint(host, port)


def from_socket(address: tuple[object, ...]) -> Endpoint:
    """Return the endpoint of an address that a socket of ours gave, its zone id left out.

    Raises:
        UsageError: the address is not of IPv4 or IPv6.
    """
    if len(address) < 2 or not isinstance(address[0], str) or not isinstance(address[1], int):
        raise UsageError(f"socket address {address!r} must be of IPv4 or IPv6")
    return Endpoint(address[0].partition("%")[0], address[1])


def source_group(host: str) -> str:
    """Return the network that one person is taken to own: the /24 of IPv4, the /56 of IPv6."""
    return _cut(host, 24, 56)


def wide_group(host: str) -> str:
    """Return the single address (/32) for IPv4, and the /48, one customer's site, for IPv6."""
    return _cut(host, 32, 48)


def in_networks(host: str, networks: Sequence[str]) -> bool:
    """Tell whether an address lies in any of the networks, written as `127.0.0.0/8`."""
    return _in_networks(host, tuple(networks))


def may_dial(endpoint: Endpoint, own: Sequence[Endpoint], *, low_ports: bool) -> str | None:
    """Return None if an endpoint that somebody else named may be dialled, else the `DialBan`.

    Args:
        endpoint: Where somebody asks us to dial.
        own: Our advertised endpoints. With none we know of no network that is ours, so loopback
            and private addresses are refused.
        low_ports: Allow ports below 1024.
    """
    kind = _kind(endpoint.host)
    if kind is _Kind.SPECIAL:
        return DialBan.SPECIAL
    if endpoint.port == 0:
        return DialBan.PORT_ZERO
    if endpoint.port < _LOW_PORT and not low_ports:
        return DialBan.LOW_PORT
    if kind is _Kind.LOOPBACK and not (own and all(mine.is_loopback for mine in own)):
        return DialBan.LOOPBACK
    if kind is _Kind.PRIVATE:
        near = _cut(endpoint.host, 16, 48)
        if all(_cut(mine.host, 16, 48) != near for mine in own):
            return DialBan.PRIVATE
    return None


def select(
    endpoints: Sequence[str], own: Sequence[Endpoint], *, low_ports: bool = False
) -> Selection:
    """Return those endpoints a peer listed that may be dialled, and why the others may not.

    Only the first 8 are looked at; never raises for what a peer sent.
    """
    allowed: list[Endpoint] = []
    refused: dict[str, int] = {}
    for text in endpoints[:ENDPOINTS_CONSIDERED]:
        ban: str | None
        try:
            endpoint = parse(text, allow_zero=True)
        except UsageError:
            ban = DialBan.UNPARSABLE
        else:
            ban = may_dial(endpoint, own, low_ports=low_ports)
            if ban is None and endpoint in allowed:
                ban = DialBan.DUPLICATE
            if ban is None:
                allowed.append(endpoint)
        if ban is not None:
            refused[ban] = refused.get(ban, 0) + 1
    if len(endpoints) > ENDPOINTS_CONSIDERED:
        refused[DialBan.TOO_MANY] = len(endpoints) - ENDPOINTS_CONSIDERED
    return Selection(allowed, refused)


class _Kind(StrEnum):
    LOOPBACK = "loopback"
    PRIVATE = "private"
    SPECIAL = "special"
    GLOBAL = "global"


# The caches are bounded and pure; they hold the addresses of the peers met last. An exception is
# not kept, so a stranger cannot fill them with text that is no address.
_CACHED: Final = 4_096


@lru_cache(maxsize=_CACHED)
def _address(host: str) -> _Address:
    """Return the address of an IP literal, IPv4-mapped IPv6 as IPv4."""
    if "%" in host:
        raise UsageError(f"address {host!r} has a zone id, which means nothing to others; drop it")
    try:
        if ":" not in host:
            return IPv4Address(host)
        six = IPv6Address(host)
    except AddressValueError:
        raise UsageError(
            f"address {host!r} is not an IP literal; host names are not resolved, "
            "write 127.0.0.1 or ::1"
        ) from None
    return six.ipv4_mapped or six


@lru_cache(maxsize=_CACHED)
def _canonical(host: str) -> str:
    return str(_address(host))


@lru_cache(maxsize=_CACHED)
def _kind(host: str) -> _Kind:
    address = _address(host)
    if any(address in network for network in _LOOPBACK):
        return _Kind.LOOPBACK
    if any(address in network for network in _PRIVATE):
        return _Kind.PRIVATE
    if any(address in network for network in _SPECIAL):
        return _Kind.SPECIAL
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return _Kind.SPECIAL
    return _Kind.GLOBAL


@lru_cache(maxsize=_CACHED)
def _cut(host: str, four: int, six: int) -> str:
    """Return the network of `host` of the given prefix length, as text."""
    address = _address(host)
    if isinstance(address, IPv4Address):
        return str(IPv4Network((int(address), four), strict=False))
    return str(IPv6Network((int(address), six), strict=False))


@lru_cache(maxsize=_CACHED)
def _in_networks(host: str, networks: tuple[str, ...]) -> bool:
    address = _address(host)
    return any(address in ip_network(network, strict=False) for network in networks)
