"""`Node` and `Client`, as users meet them; what they share is in `doors`."""

from __future__ import annotations

from collections.abc import Iterable

from routing.config import Config
from routing.doors import Door
from routing.errors import ConfigError
from routing.limits import GROUP_SIZE
from routing.messages import Authority, AuthorityKind, NodeAddress
from routing.names import Name
from routing.state import LinkRole

__all__ = ["Client", "Node"]


class Node(Door):
    """A node: it listens, joins the network, routes for others.

    One that nobody can dial stops, or goes on as a client: then `state.client` is True, its name is
    the one of its key, and it is reached at `ClientAddress(proxy, key)`. See `Config.unreachable`.

    Raises:
        ConfigError: the configuration names nothing to listen on.
    """

    _client = False

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if not config.listen:
            raise ConfigError("a node must listen; give Config(listen=['127.0.0.1:0']) or the like")

    def group_of(self, name: bytes) -> list[Name]:
        """Return the at most 8 nodes nearest to a name of all we know, nearest first.

        We may be one of them ourselves. It is our own view: exact near our own name, and a guess
        far from it. A message to `GroupAddress(name)` finds the exact group. Empty once the node
        has gone on as a client.

        Raises:
            UsageError: the name is not 32 bytes, or the node is not started.
        """
        core, wanted = self._running(), Name(name)
        known = [] if core.client else core.table.group(wanted, GROUP_SIZE)
        return [Name(each) for each in known]

    def is_member(self, name: bytes) -> bool:
        """Tell whether we belong to the group around a name: whether its record is ours to keep.

        Raises:
            UsageError: the name is not 32 bytes, or the node is not started.
        """
        return self.name is not None and self.name in self.group_of(name)

    async def refresh(self, element: bytes, payload: bytes, *, to: Iterable[bytes]) -> int:
        """Say a record again to nodes that are new in its group, with the authority of that group.

        Each member calls this when it hears that the group has changed, as with
        `to=churn.concerns(element)`. Who is new is handed the record once, from
        `GroupAddress(element)` and proved by QUORUM, when a quorum of the members has said the
        same; until members that hold different versions have merged them, none of these is heard.

        Args:
            element: The name of the record, 32 bytes.
            payload: The record, the same at every member, at most 1,046,528 bytes with addresses.
            to: Names of nodes; our own is passed over.

        Returns:
            To how many it was said: 0 if we are not in the group any more, and so not asked.

        Raises:
            NotConnected, TooBusy, UsageError: as `send`.
        """
        if not self.is_member(element):
            return 0
        claim = Authority(AuthorityKind.ELEMENT_GROUP, element)
        others = [name for name in to if name != self.name]
        for name in others:
            await self.send(NodeAddress(name), payload, authority=claim)
        return len(others)

    def clients(self) -> list[bytes]:
        """Return the keys of the clients that hang on us."""
        return [link.key for link in self._running().links_of(LinkRole.CLIENT)]


class Client(Door):
    """A client: it hangs on one node, its proxy, listens to nobody and routes for nobody.

    Raises:
        ConfigError: the configuration is one of a node.
    """

    _client = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.listen:
            raise ConfigError("a client does not listen; leave Config(listen=) out")
        if config.first:
            raise ConfigError("a client founds no network; leave Config(first=) out")
        if config.relaxed or config.unreachable is not None:
            raise ConfigError(
                "a client is dialled by nobody; leave Config(relaxed=, unreachable=) out"
            )
        if not config.contacts and config.book is None and config.discover is None:
            raise ConfigError("a client must be told of a node; give Config(contacts=)")
