"""A world: real cores on one virtual clock, everything in it following from one seed.

`World` makes nodes, runs time and does harm (`faults`). It has no opinion on what should come of
it: that is said by `invariants` and asked for by `scenarios`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from random import Random
from typing import cast

from routing.book import ContactBook
from routing.core import Core, CoreConfig
from routing.errors import UsageError
from routing.inputs import Input
from routing.limits import MILLISECOND, SECOND, Limits, Nanos
from routing.names import network_tag
from routing.reachability import Unreachable
from routing.simulation.clock import Clock
from routing.simulation.faults import Harm
from routing.simulation.hosts import Host, Network, Violation
from routing.simulation.invariants import check_host
from routing.simulation.liar import Liar, Lie
from routing.simulation.links import Links, Weather
from routing.simulation.signer import make_signer
from routing.simulation.trace import Trace

__all__ = ["World"]

_REPORTED_EVENTS = 40


class World(Harm):
    """Any number of nodes and the network between them.

    Args:
        seed: Everything drawn follows from it.
        limits: Of every node; the recommended ones if None.
        weather: Latency, jitter, loss.
        real_signatures: Ed25519 in place of the cheap stand-in.
        checks_every: The local invariants are checked after every so many steps of a node.
        command: What reproduces this run, for the report of a violation.
        make_core: Another maker of cores, for tests of the world itself.
        bytewise: Frames travel as sealed bytes through the readers and writers of the service.
        holds_up: Relays do not read what they cannot pass on.
    """

    def __init__(
        self,
        seed: int,
        *,
        limits: Limits | None = None,
        weather: Weather | None = None,
        real_signatures: bool = False,
        checks_every: int = 1,
        command: str = "",
        make_core: Callable[[CoreConfig], Core] = Core,
        bytewise: bool = False,
        holds_up: bool = False,
    ) -> None:
        self.seed = seed
        self.limits = Limits.recommended() if limits is None else limits
        self.random = Random(f"world {seed}")
        self.clock = Clock()
        self.trace = Trace()
        weather = Weather() if weather is None else weather
        self.links = Links(
            self.clock,
            Random(f"links {seed}"),
            weather,
            self.limits,
            Random(f"bytes {seed}") if bytewise else None,
        )
        self.network = Network(self.clock, self.links, self.limits, self.trace)
        self.network.after = self._after
        self.network.holds_up = holds_up
        self.hosts: list[Host] = []
        self.command = command
        self._real_signatures = real_signatures
        self._checks_every = checks_every
        self._make_core = make_core

    # -- who there is

    def add_node(
        self,
        contacts: Sequence[str] = (),
        *,
        first: bool = False,
        client: bool = False,
        at: int = 0,
        network_id: str = "simulation",
        relaxed: bool = False,
        unreachable: Unreachable = Unreachable.ERROR,
    ) -> Host:
        """Make a node, or a client, that starts at `at` (or now if that is past)."""
        host = self._make(
            contacts,
            first=first,
            client=client,
            tag=network_tag(network_id),
            address=_address(len(self.hosts)),
            identity=len(self.hosts),
            certificate=None,
            relaxed=relaxed,
            unreachable=unreachable,
        )
        self.clock.at(at, host.start)
        return host

    def add_placed(self, *, network_id: str = "simulation") -> Host:
        """Make a node that listens and asks nobody: whoever places it tells it its name and peers.

        It runs by itself once it `settle_in`s.
        """
        host = self._make(
            (),
            first=False,
            client=False,
            tag=network_tag(network_id),
            address=_address(len(self.hosts)),
            identity=len(self.hosts),
            certificate=None,
        )
        host.listen()
        return host

    def add_liar(
        self, contacts: Sequence[str], lies: Sequence[Lie], *, network_id: str = "simulation"
    ) -> Host:
        """Make a node that starts now, gets itself connected, and lies from then on."""
        index = len(self.hosts)
        host = self._make(
            contacts,
            first=False,
            client=False,
            tag=network_tag(network_id),
            address=_address(index),
            identity=index,
            certificate=None,
        )
        host.honest = False
        # A liar has all of a core that hosts and worlds use.
        host.core = cast(Core, Liar(host.core, Random(f"liar {self.seed} {index}"), lies))
        self.clock.at(self.clock.now, host.start)
        return host

    def restart(
        self, old: Host, contacts: Sequence[str], *, fresh: bool = False, book: bool = False
    ) -> Host:
        """Start a dead node anew at its address, now, with its key and name or `fresh` ones.

        With `book` its contact book was on disk as well, as it was when the node died.
        """
        if old.alive:
            raise UsageError(f"node {old.index} is alive; kill or stop it before a restart")
        host = self._make(
            contacts,
            first=False,
            client=old.core.config.client,
            tag=old.tag,
            address=old.address,
            identity=len(self.hosts) if fresh else old.identity,
            certificate=None if fresh else old.certificate,
            relaxed=old.core.config.relaxed,
            unreachable=old.core.config.unreachable,
            book=_copy(old.core.book, self.limits) if book else None,
        )
        self.clock.at(self.clock.now, host.start)
        return host

    def _make(
        self,
        contacts: Sequence[str],
        *,
        first: bool,
        client: bool,
        tag: bytes,
        address: str,
        identity: int,
        certificate: bytes | None,
        relaxed: bool = False,
        unreachable: Unreachable = Unreachable.ERROR,
        book: ContactBook | None = None,
    ) -> Host:
        index = len(self.hosts)
        config = CoreConfig(
            signer=make_signer(self._bytes("identity", identity), real=self._real_signatures),
            secret=self._bytes("secret", index),
            tag=tag,
            limits=self.limits,
            client=client,
            first=first,
            contacts=tuple(contacts),
            certificate=certificate,
            relaxed=relaxed,
            unreachable=unreachable,
            book=book,
            born_ms=self.now // MILLISECOND,
        )
        core = self._make_core(config)
        host = Host(self.network, index, address, core, tag=tag, client=client, identity=identity)
        # What was on disk stays there until something else is written.
        host.certificate = certificate
        self.hosts.append(host)
        return host

    def _bytes(self, purpose: str, number: int) -> bytes:
        text = f"{purpose} {self.seed} {number}"
        return blake2b(text.encode(), digest_size=32, person=b"sim world").digest()

    @property
    def alive(self) -> list[Host]:
        """The honest nodes that run, clients left out."""
        return [host for host in self.hosts if host.alive and host.honest and not host.client]

    @property
    def liars(self) -> list[Host]:
        """The liars that run."""
        return [host for host in self.hosts if host.alive and not host.honest]

    @property
    def changes(self) -> int:
        """A number that grows with everything that may change who is connected with whom."""
        return sum(host.changes for host in self.hosts)

    # -- time

    @property
    def now(self) -> Nanos:
        """Virtual nanoseconds since the world began."""
        return self.clock.now

    def run(self, nanoseconds: int) -> None:
        """Let so much virtual time pass.

        Raises:
            Violation: an invariant broke; it says where, when, and how to see it again.
        """
        self._guard(lambda: self.clock.run(self.clock.now + nanoseconds))

    def run_until(
        self, condition: Callable[[], bool], *, limit_ns: int, step_ns: int = SECOND // 4
    ) -> Nanos | None:
        """Let time pass until `condition()` holds, looking every `step_ns`; None if never."""
        end = self.clock.now + limit_ns
        while not condition():
            if self.clock.now >= end:
                return None
            self.run(min(step_ns, end - self.clock.now))
        return self.clock.now

    def tell(self, host: Host, fact: Input) -> None:
        """Hand a fact of the test's own to a core, now."""
        self._guard(lambda: host.hear(fact))

    # -- what is looked at

    def counters(self) -> dict[str, int]:
        """Return the counters of all cores, summed, sorted by name."""
        total: Counter[str] = Counter()
        for host in self.hosts:
            total.update(host.core.counters)
        return dict(sorted(total.items()))

    def _after(self, host: Host) -> None:
        if host.honest and host.steps % self._checks_every == 0:
            check_host(host)

    def _guard(self, call: Callable[[], None]) -> None:
        """Run something; what breaks in it is told with all that is needed to see it again."""
        try:
            call()
        except Violation as error:
            if error.reported:
                raise
            raise self.violation(str(error), _present(self.network.acting)) from error
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise self.violation(text, _present(self.network.acting)) from error

    def violation(self, text: str, hosts: Iterable[Host] = ()) -> Violation:
        """Return a complete report for the caller to raise."""
        lines = [
            f"seed {self.seed}, at {self.now / SECOND:.6f} s, event {self.clock.events}: {text}",
            f"reproduce: {self.command or 'see the test; the seed is above'}",
        ]
        for host in hosts:
            lines.append(f"last of node {host.index} ({host.core.state}):")
            lines.extend(f"  {line}" for line in self.trace.recent(host.index)[-_REPORTED_EVENTS:])
        return Violation("\n".join(lines), reported=True)


def _address(index: int) -> str:
    return f"127.{1 + index // 62_500}.{index // 250 % 250}.{1 + index % 250}:4000"


def _copy(book: ContactBook, limits: Limits) -> ContactBook:
    """Return a book as it would be read from a file."""
    return ContactBook.decode(
        book.encode(),
        limits.contacts_max,
        limits.contacts_per_group,
        exempt=limits.exempt_networks,
        backoff_first=limits.contact_backoff_first_ns,
        backoff_last=limits.contact_backoff_last_ns,
    )


def _present(host: Host | None) -> Iterator[Host]:
    if host is not None:
        yield host
