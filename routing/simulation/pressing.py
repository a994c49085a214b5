"""Sources press a slow client through its proxy, in a network whose relays do not read on.

Three clients hang on one proxy. Some nodes send to one, which reads little, as fast as they
are let: while half of what may wait on their way out is free, and what waits to be acknowledged is
within the window of a destination. The second talks to the third now and then; nobody else's
messages pass through it, as they do through any node. Everything must arrive, once; nobody is told
otherwise, no connection is lost for it, and who talks to the third client does not wait for the
slow one.
"""

from __future__ import annotations

from routing.limits import SECOND
from routing.messages import ClientAddress
from routing.simulation.hosts import Host
from routing.simulation.scenarios import Report, Run, begin
from routing.simulation.traffic import Ledger, Parcel
from routing.simulation.world import World
from routing.state import Token

__all__ = ["READS_BYTES_S", "Source", "press"]

READS_BYTES_S = 500_000
SOURCES = 5
PAYLOAD_BYTES = 4_000
LOOK_NS = SECOND // 20
ARRIVE_NS = 120 * SECOND
PROMPT_NS = 2 * SECOND
"""For a message that passes beside those that wait: hops at the latency of the weather."""


class Source:
    """One node that sends to one client, as fast as it is let or so often a second."""

    def __init__(self, ledger: Ledger, host: Host, to: Host, proxy: Host, *, per_s: int = 0):
        assert proxy.core.name is not None
        self.host, self.parcels, self._to = host, list[Parcel](), to
        self.waited = 0
        """How often it looked and was not let send."""
        self._ledger, self._proxy = ledger, proxy.core.name
        self._address = ClientAddress(self._proxy, to.key)
        self._gap = SECOND // per_s if per_s else 0
        self._next = 0

    @property
    def queued(self) -> int:
        """What waits on its way out."""
        core = self.host.core
        token = core.table.token(core.relay.first_hop(self._proxy))
        end = None if token is None else self.host.ends.get(Token(token))
        return 0 if end is None else end.out.backlog

    def go_on(self) -> None:
        """Send what it is let send now."""
        limits, now = self.host.network.limits, self._ledger.world.now
        if self._gap:
            if now >= self._next:
                self._next = now + self._gap
                self._send()
            return
        room, window = limits.write_bytes_max // 2, self.host.core.delivery.window
        while self.queued <= room and not window.is_full(self._address, PAYLOAD_BYTES):
            self._send()
        self.waited += 1

    def _send(self) -> None:
        parcel = self._ledger.submit(self.host, self._address, [self._to], signed=True)
        self.parcels.append(parcel)

    def longest_ns(self) -> int:
        """Return how long the slowest of its messages took."""
        return max(
            (each.delivered_at or self._ledger.world.now) - each.sent_at for each in self.parcels
        )


def press(world: World, nodes: int, seconds: int, *, holds_up: bool = True) -> Report:
    """Let nodes press a slow client for so many seconds; see the module.

    Args:
        world: Without nodes yet.
        nodes: How many form a network first.
        seconds: For so long they press.
        holds_up: Relays do not read what they cannot pass on; without it, it ends badly.
    """
    run = Run("press", world)
    if begin(run, nodes):
        world.network.holds_up = holds_up
        run.reason = _press(run, world, seconds)
        if not run.reason:
            run.healed_ns = world.now
    return run.report(nodes)


def _press(run: Run, world: World, seconds: int) -> str:
    proxy = world.hosts[0]
    hanging = [world.add_node([proxy.address], client=True) for _ in range(3)]
    slow, quick, other = hanging
    proxy_name = proxy.core.name

    def hang_on() -> bool:
        links = [client.core.bootstrapping.proxy() for client in hanging]
        return all(link is not None and link.name == proxy_name for link in links)

    if world.run_until(hang_on, limit_ns=60 * SECOND) is None:
        return "pressing: the clients do not hang on one proxy"
    near = [host for host in world.hosts[1:] if (host.core.name or b"") in proxy.core.table]
    if len(near) < SOURCES:
        return f"pressing: {len(near)} neighbours of the proxy; {SOURCES} are needed"
    ledger = Ledger(world, payload_bytes=PAYLOAD_BYTES)
    greedy = [Source(ledger, host, slow, proxy) for host in near[:SOURCES]]
    modest = Source(ledger, other, quick, proxy, per_s=5)
    world.slow_down(slow, READS_BYTES_S)
    run.harmed_ns = world.now
    end = world.now + seconds * SECOND
    while world.now < end:
        for source in (*greedy, modest):
            source.go_on()
        world.run(LOOK_NS)
    world.run_until(lambda: all(parcel.arrived for parcel in ledger.parcels), limit_ns=ARRIVE_NS)
    return _why_not(ledger, greedy, modest, proxy)


def _why_not(ledger: Ledger, greedy: list[Source], modest: Source, proxy: Host) -> str:
    """Return what is not as it should be, or ""."""
    missing = [each.number for each in ledger.parcels if not each.arrived]
    twice = [each.number for each in ledger.parcels if any(n > 1 for n in each.delivered.values())]
    told = [each.number for each in ledger.parcels if each.failures]
    for what, which in (("arrived not", missing), ("came twice", twice), ("failed", told)):
        if which:
            return f"pressing: {len(which)} of {len(ledger.parcels)} {what}, first {which[0]}"
    lost = sum(host.counts["slow.queue_full"] for host in ledger.world.hosts)
    if lost:
        return f"pressing: {lost} connections were lost as slow"
    if not proxy.counts["feeding.pauses"] or not all(source.waited for source in greedy):
        return "pressing: nobody was held up; let it be pressed for longer"
    if modest.longest_ns() > PROMPT_NS:
        return f"pressing: who sends elsewhere waited {modest.longest_ns() / SECOND:.1f} s"
    sent = [len(source.parcels) for source in greedy]
    if max(sent) > 2 * min(sent):
        return f"pressing: sources sent {sent}, not within a factor of 2"
    return ""
