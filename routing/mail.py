"""Who was written to and what arrived: the bookkeeping of the `network` command's messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from routing.limits import GROUP_SIZE
from routing.names import nearest
from routing.orders import Letter

__all__ = ["Mail"]


class Mail:
    """Letters and their addressed receivers; one letter to a group has several.

    Nodes are known by their index here, clients by theirs below zero.
    """

    def __init__(self) -> None:
        self._expected: set[tuple[str, int]] = set()
        self._arrived: Counter[tuple[str, int]] = Counter()

    def round_robin(self, sender: int, names: Mapping[int, bytes]) -> list[Letter]:
        """Return a letter from one node to every other."""
        return [
            self._letter(f"{sender}-{receiver}", name, [receiver])
            for receiver, name in sorted(names.items())
            if receiver != sender
        ]

    def to_group(self, sender: int, target: bytes, names: Mapping[int, bytes]) -> Letter:
        """Return a letter to the group of a name: the at most 8 nodes nearest to it."""
        group = nearest(target, names.values(), GROUP_SIZE)
        receivers = [index for index, name in sorted(names.items()) if name in group]
        return self._letter(f"{sender}-group-{target[:4].hex()}", target, receivers, group=True)

    def asked(self, client: int, names: Mapping[int, bytes]) -> list[Letter]:
        """Return a request of a client to every node; the reply to it is a letter, too."""
        letters = []
        for receiver, name in sorted(names.items()):
            letter = self._letter(f"client-{client}-{receiver}", name, [receiver])
            self._expected.add((letter.id, -1 - client))
            letters.append(letter)
        return letters

    def arrived(self, receiver: int, ids: Iterable[str]) -> None:
        """Letters have arrived at a node."""
        self._arrived.update((id, receiver) for id in ids)

    def replied(self, client: int, ids: Iterable[str]) -> None:
        """Replies have arrived at a client."""
        self._arrived.update((id, -1 - client) for id in ids)

    @property
    def sent(self) -> int:
        """Letters, counted for each addressed receiver."""
        return len(self._expected)

    @property
    def delivered(self) -> int:
        """Those that arrived exactly once, less what arrived where it was not addressed to."""
        once = sum(self._arrived[each] == 1 for each in self._expected)
        astray = sum(each not in self._expected for each in self._arrived)
        return max(0, once - astray)

    @property
    def complete(self) -> bool:
        """All have arrived, each once, and nothing else has."""
        return self.sent == self.delivered

    def trouble(self) -> str:
        """Return a line on what is missing or too much."""
        missing = sorted(each for each in self._expected if not self._arrived[each])
        twice = sorted(each for each, times in self._arrived.items() if times > 1)
        astray = sorted(each for each in self._arrived if each not in self._expected)
        return (
            f"{len(missing)} messages missing {missing[:3]}, {len(twice)} came more than once "
            f"{twice[:3]}, {len(astray)} went astray {astray[:3]}"
        )

    def _letter(
        self, id: str, name: bytes, receivers: Iterable[int], *, group: bool = False
    ) -> Letter:
        self._expected.update((id, receiver) for receiver in receivers)
        return Letter(id, name.hex(), group)
