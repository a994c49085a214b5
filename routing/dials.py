"""Dials in flight: budgets, staggering, and the promise that each is answered once.

A *flight* is one Dial given to the host. A *plan* is the endpoints of one peer still to be tried
for one purpose, 250 ms apart; the first that connects wins and the rest are called off.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from routing import actions as do
from routing.admission import Rate
from routing.endpoints import in_networks, parse, select
from routing.errors import CloseCode, DialFailure
from routing.inputs import DialFailed, Dialled
from routing.limits import SECOND
from routing.links import Link, host_of
from routing.state import ON_CONNECT, Direction, LinkRole, OnConnect

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Dials", "Purpose"]


class Purpose(IntEnum):
    """What a dial is for."""

    BOOTSTRAP = 1
    PRIMARY = 2
    SECONDARY = 3
    FEELER = 4
    CHECK = 5
    """Can a joiner of ours be dialled? The connection is closed at once."""


class Flight(Struct):
    """One Dial that the host has not answered yet."""

    purpose: Purpose
    owner: bytes
    endpoint: str
    cancelled: bool = False


class Plan(Struct):
    """Endpoints still to be tried."""

    endpoints: list[str]
    expect: bytes
    skipped: bool = False
    """A budget, or want of descriptors, kept us from dialling one of them."""


class Dials:
    """All dials of one core. Owners hear `on_dialled` once, or `on_dials_failed` once."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.last = 0
        self.flights: dict[int, Flight] = {}
        self.plans: dict[bytes, Plan] = {}
        self.failures: dict[bytes, tuple[int, int]] = {}
        limits = core.limits
        self.rate = Rate(limits.dials_per_address_per_minute, 60 * SECOND)

    # -- starting and giving up

    def start(
        self, purpose: Purpose, owner: bytes, endpoints: list[str], expect: bytes = b""
    ) -> None:
        """Dial these endpoints in turn for `owner`; `expect` is the far end's key, if known."""
        self.plans[_plan_key(purpose, owner)] = Plan(list(endpoints), expect)
        self._launch(purpose, owner)

    def cancel(self, purpose: Purpose, owner: bytes) -> None:
        """Give up every dial of this purpose and owner; nothing is told to the owner."""
        key = _plan_key(purpose, owner)
        self.plans.pop(key, None)
        self.core.alarms.cancel(("dial", key))
        for dial, flight in self.flights.items():
            if flight.purpose is purpose and flight.owner == owner and not flight.cancelled:
                flight.cancelled = True
                self.core.act(do.CancelDial(dial))

    def on_stop(self) -> None:
        """Call everything off."""
        self.plans.clear()
        for dial, flight in self.flights.items():
            if not flight.cancelled:
                flight.cancelled = True
                self.core.act(do.CancelDial(dial))

    def on_stagger(self, key: bytes) -> None:
        """Alarm: the next endpoint of a plan is due."""
        self._launch(Purpose(key[0]), key[1:])

    def choose(self, listed: list[str]) -> list[str]:
        """Return those of a peer's endpoints that we dial, shuffled; refused ones are counted."""
        core, limits = self.core, self.core.limits
        own = [parse(endpoint) for endpoint in core.endpoints]
        allowed, refused = select(listed, own, low_ports=limits.low_ports)
        for _ in range(sum(refused.values())):
            core.count("endpoint.refused")
        targets = [str(endpoint) for endpoint in core.dice.shuffled(allowed)]
        return targets[: limits.endpoints_tried]

    def is_exempt(self, host: str) -> bool:
        """Tell whether quotas per address do not hold for this IP."""
        return in_networks(host, self.core.limits.exempt_networks)

    def _launch(self, purpose: Purpose, owner: bytes) -> None:
        key = _plan_key(purpose, owner)
        plan = self.plans.get(key)
        if plan is None:
            return
        while plan.endpoints:
            endpoint = plan.endpoints.pop(0)
            if self._take_off(purpose, owner, endpoint, plan.expect):
                if plan.endpoints:
                    self.core.alarm("dial", key, self.core.limits.dial_stagger_ns)
                return
            plan.skipped = True
        if not self._in_flight(purpose, owner):
            del self.plans[key]
            self._tell_failed(purpose, owner, DialFailure.BLOCKED)

    def _take_off(self, purpose: Purpose, owner: bytes, endpoint: str, expect: bytes) -> bool:
        core, limits = self.core, self.core.limits
        host = host_of(endpoint)
        if len(self.flights) >= limits.dials_max:
            core.count("dial.budget")
            return False
        if not self.is_exempt(host):
            same = sum(1 for flight in self.flights.values() if host_of(flight.endpoint) == host)
            if same >= limits.dials_per_address or not self.rate.allow(host.encode(), core.now):
                core.count("dial.address_budget")
                return False
        if purpose is Purpose.PRIMARY and self._backs_off(endpoint, expect):
            core.count("dial.backoff")
            return False
        self.last += 1
        self.flights[self.last] = Flight(purpose, owner, endpoint)
        private = parse(endpoint).is_private or parse(endpoint).is_loopback
        timeout = limits.dial_timeout_private_ns if private else limits.dial_timeout_ns
        if purpose is Purpose.CHECK:
            timeout = min(timeout, limits.reachable_ns)
        core.act(do.Dial(self.last, endpoint, expect or None, timeout))
        core.count("dial.started")
        return True

    def tries(self, purpose: Purpose, owner: bytes) -> bool:
        """Tell whether this owner still has a dial under way, or an endpoint to be tried."""
        return _plan_key(purpose, owner) in self.plans

    def _in_flight(self, purpose: Purpose, owner: bytes) -> bool:
        return any(
            flight.purpose is purpose and flight.owner == owner and not flight.cancelled
            for flight in self.flights.values()
        )

    # -- answers

    def on_dialled(self, fact: Dialled) -> None:
        """A dial has become a channel: it goes to its owner, or is closed."""
        core = self.core
        flight = self.flights.pop(fact.dial, None)
        link = Link(
            fact.connection,
            fact.key,
            fact.binding,
            LinkRole.UNKNOWN,
            core.now,
        )
        core.links[link.token] = link
        if flight is None or flight.cancelled or core.stopped:
            core.count("dial.late")
            core.close(link, CloseCode.NORMAL, "no longer wanted")
            return
        link.endpoint = flight.endpoint
        purpose, owner = flight.purpose, flight.owner
        self.forgive(fact.key, host_of(flight.endpoint))
        rule = ON_CONNECT[core.client, core.detail, Direction.OUTBOUND]
        fits = (
            rule is OnConnect.BOOTSTRAP
            if purpose is Purpose.BOOTSTRAP
            else rule is OnConnect.EXPECTED
        )
        if not fits:
            core.count("dial.unfit")
            core.close(link, CloseCode.NORMAL, "not wanted in this state")
            self.cancel(purpose, owner)
            self._tell_failed(purpose, owner, DialFailure.CANCELLED)
            return
        self.cancel(purpose, owner)
        core.act(do.Trust(link.token))
        match purpose:
            case Purpose.BOOTSTRAP:
                core.bootstrapping.on_dialled(link)
            case Purpose.PRIMARY:
                core.book.proved(parse(link.endpoint), core.now)
                core.connecting.on_primary_dialled(owner, link)
            case Purpose.SECONDARY:
                core.book.proved(parse(link.endpoint), core.now)
                core.connecting.on_secondary_dialled(owner, link)
            case Purpose.FEELER:
                core.feelers.on_dialled(link)
            case Purpose.CHECK:
                core.reachability.on_dialled(owner, link)

    def on_failed(self, fact: DialFailed) -> None:
        """A dial has come to nothing: try the next endpoint, or tell the owner."""
        flight = self.flights.pop(fact.dial, None)
        if flight is None or flight.cancelled:
            return
        core = self.core
        core.count(f"dial.failed.{fact.reason.name.lower()}")
        purpose, owner = flight.purpose, flight.owner
        key = _plan_key(purpose, owner)
        plan = self.plans.get(key)
        if plan is None:
            return
        if fact.reason is DialFailure.SELF:
            core.book.mark_self(parse(flight.endpoint))
        plan.skipped = plan.skipped or fact.reason is DialFailure.NO_DESCRIPTORS
        if purpose is Purpose.PRIMARY:
            self._remember_failure(flight.endpoint, plan.expect)
        if plan.endpoints:
            core.alarms.cancel(("dial", key))
            self._launch(purpose, owner)
        elif not self._in_flight(purpose, owner):
            del self.plans[key]
            self._tell_failed(purpose, owner, DialFailure.BLOCKED if plan.skipped else fact.reason)

    def _tell_failed(self, purpose: Purpose, owner: bytes, reason: DialFailure) -> None:
        core = self.core
        match purpose:
            case Purpose.BOOTSTRAP:
                core.bootstrapping.on_dials_failed(owner.decode(), reason)
            case Purpose.PRIMARY:
                core.connecting.on_primary_failed(owner, reason)
            case Purpose.SECONDARY:
                core.connecting.on_secondary_failed(owner, reason)
            case Purpose.FEELER:
                core.feelers.on_dials_failed(reason)
            case Purpose.CHECK:
                core.reachability.on_dials_failed(owner, reason)

    # -- endpoints that failed, per requester

    def _backs_off(self, endpoint: str, key: bytes) -> bool:
        _, until = self.failures.get(endpoint.encode() + key, (0, 0))
        return self.core.now < until

    def _remember_failure(self, endpoint: str, key: bytes) -> None:
        limits = self.core.limits
        subject = endpoint.encode() + key
        count, _ = self.failures.pop(subject, (0, 0))
        delay = min(limits.endpoint_backoff_first_ns << count, limits.endpoint_backoff_last_ns)
        self.failures[subject] = (min(count + 1, 8), self.core.now + delay)
        if len(self.failures) > limits.attempts_max:
            del self.failures[next(iter(self.failures))]

    def forgive(self, key: bytes, host: str) -> None:
        """The key has authenticated from this IP: what it listed there may be dialled again."""
        if not self.failures:
            return
        for subject in list(self.failures):
            if subject.endswith(key) and host_of(subject[: -len(key)].decode()) == host:
                del self.failures[subject]


def _plan_key(purpose: Purpose, owner: bytes) -> bytes:
    return bytes((purpose,)) + owner
