"""Where we can be dialled: what we were told, and for a wildcard what we learn on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routing.endpoints import UNSPECIFIED, Endpoint, parse
from routing.errors import UsageError
from routing.links import Link, host_of

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Addresses"]


class Addresses:
    """The endpoints we advertise, best first, at most 8.

    A concrete listening address is advertised as it is. A wildcard stands for every address of the
    machine: the local IP of a connection, and the IP a proxy sees us come from, each with the bound
    port, are learnt as they show.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.advertised: list[str] = []
        self.wildcards: list[str] = []

    @property
    def listens(self) -> bool:
        """Tell whether anybody could dial us at all."""
        return bool(self.advertised or self.wildcards)

    def own(self, link: Link) -> list[Endpoint]:
        """Return where we are, for the endpoint policy; a client by the connection it is on."""
        if self.advertised:
            return [parse(endpoint) for endpoint in self.advertised]
        try:
            return [Endpoint(host_of(link.connection.local), 1)]
        except UsageError:
            return []

    def on_listening(self, endpoints: list[str]) -> None:
        """The host has bound these."""
        self.advertised = []
        self.wildcards = []
        for text in endpoints:
            endpoint = parse(text)
            if endpoint.host in UNSPECIFIED:
                self.wildcards.append(str(endpoint))
            else:
                self._advertise(str(endpoint))

    def on_listener_lost(self, endpoint: str) -> None:
        """Nobody listens there any more: it is advertised no longer."""
        self.core.count("listener.lost")
        lost, gone = parse(endpoint), endpoint in self.wildcards
        # With a wildcard goes what was learnt for it: whatever has its port, in its family.
        self.advertised = [
            each
            for each in self.advertised
            if each != endpoint and not (gone and _stands_for(lost, parse(each)))
        ]
        self.wildcards = [each for each in self.wildcards if each != endpoint]

    def learn_local(self, link: Link) -> None:
        """A connection shows by which of our addresses it goes."""
        self._learn(host_of(link.connection.local))

    def learn_observed(self, host: str) -> None:
        """A proxy tells which address it sees us come from."""
        self._learn(host)

    def _learn(self, host: str) -> None:
        for wildcard in map(parse, self.wildcards):
            try:
                endpoint = Endpoint(host, wildcard.port)
            except UsageError:
                self.core.count("address.unusable")
                return
            if _stands_for(wildcard, endpoint) and not endpoint.is_special:
                self._advertise(str(endpoint))

    def _advertise(self, endpoint: str) -> None:
        if endpoint not in self.advertised:
            limit = self.core.limits.endpoints_max
            self.advertised = [*self.advertised, endpoint][:limit]
            # A contact that is ourselves would be ready for ever and never be dialled.
            self.core.book.mark_self(parse(endpoint))


def _stands_for(wildcard: Endpoint, endpoint: Endpoint) -> bool:
    """Tell whether a wildcard includes an endpoint; one of one family says nothing of the other."""
    same_family = (":" in endpoint.host) is (":" in wildcard.host)
    return same_family and endpoint.port == wildcard.port
