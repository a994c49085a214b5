"""`Node` and `Client`, as users meet them; what they share is in `doors`."""

from __future__ import annotations

from routing.config import Config
from routing.doors import Door
from routing.errors import ConfigError
from routing.names import Name
from routing.state import LinkRole

__all__ = ["Client", "Node"]


class Node(Door):
    """A node: it listens, joins the network, routes for others.

    Raises:
        ConfigError: the configuration names nothing to listen on.
    """

    _client = False

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if not config.listen:
            raise ConfigError("a node must listen; give Config(listen=['127.0.0.1:0']) or the like")

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
        if not config.contacts and config.book is None and config.discover is None:
            raise ConfigError("a client must be told of a node; give Config(contacts=)")

    @property
    def proxy(self) -> Name | None:
        """The name of the node we hang on, or None."""
        link = self._running().bootstrapping.proxy()
        return None if link is None else Name(link.name)
