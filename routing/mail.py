"""Who was written to and what arrived: the bookkeeping of the `network` command's messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random

from routing.limits import GROUP_SIZE
from routing.names import nearest
from routing.orders import Letter

__all__ = ["Mail", "Stream"]


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


class Stream:
    """Messages from node to node while some of them are killed: what became of each.

    Every one is to be delivered once or reported to its sender. What a node had acknowledged and
    took with it when it was killed is counted apart, and so is what a killed node had sent.

    Args:
        names: Index -> name of the nodes that send and receive.
        count: How many messages.
        random: Draws senders and receivers.
    """

    def __init__(self, names: Mapping[int, bytes], count: int, random: Random) -> None:
        self.letters: dict[int, list[Letter]] = {index: [] for index in names}
        self._way: dict[str, tuple[int, int]] = {}
        self._arrived: Counter[tuple[str, int]] = Counter()
        self._reported: set[str] = set()
        self._dead: set[int] = set()
        for number in range(count):
            sender, receiver = random.sample(sorted(names), 2)
            letter = Letter(f"stream-{number}", names[receiver].hex(), False)
            self.letters[sender].append(letter)
            self._way[letter.id] = sender, receiver

    @property
    def total(self) -> int:
        """All messages."""
        return len(self._way)

    def arrived(self, receiver: int, ids: Iterable[str]) -> None:
        """Letters have arrived at a node; those that are not ours are passed over."""
        self._arrived.update((id, receiver) for id in ids if id in self._way)

    def reported(self, ids: Iterable[str]) -> None:
        """Senders were told that these have failed."""
        self._reported.update(ids)

    def killed(self, index: int) -> None:
        """A node is no more."""
        self._dead.add(index)

    def count(self) -> dict[str, int]:
        """Return how many of the messages of living senders ended how, and the others' number."""
        counts = Counter(
            dict.fromkeys(
                ("sent", "delivered", "failed", "twice", "lost", "died_with", "orphaned"), 0
            )
        )
        for id, (sender, receiver) in self._way.items():
            if sender in self._dead:
                counts["orphaned"] += 1
            else:
                counts["sent"] += 1
                counts[self._fate(id, receiver)] += 1
        return dict(counts)

    def _fate(self, id: str, receiver: int) -> str:
        times = self._arrived[id, receiver]
        if times:
            return "delivered" if times == 1 else "twice"
        if id in self._reported:
            return "failed"
        return "died_with" if receiver in self._dead else "lost"

    def trouble(self) -> str:
        """Return a line on what went wrong, empty if nothing did."""
        living = {id: way for id, way in self._way.items() if way[0] not in self._dead}
        bad = [(id, self._fate(id, to)) for id, (_, to) in living.items()]
        wrong = [f"{id} {fate}" for id, fate in bad if fate in ("twice", "lost")]
        astray = [id for id, at in self._arrived if self._way[id][1] != at]
        unknown = sorted(self._reported - set(self._way))
        if not wrong and not astray and not unknown:
            return ""
        return (
            f"{len(wrong)} messages lost or twice {wrong[:3]}, {len(astray)} astray {astray[:3]}, "
            f"{len(unknown)} reports of what nobody sent {unknown[:3]}"
        )
