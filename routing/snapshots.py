"""The whole state of a core as bytes, and back; canonical, so equal states have equal digests.

Everything that decides what a core does next is listed in `Memory`, by type. What only reports
(counters, notes) is left out, and so are the actions the host has not fetched yet: a snapshot is
taken between steps.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from routing.admission import Rate
from routing.attempts import Attempt
from routing.bodies import ConnectRequest, ConnectResponse
from routing.bootstrapping import Round
from routing.client_memory import ClientMemory, capture_clients, restore_clients
from routing.dials import Flight, Plan
from routing.filling import Walk
from routing.inquiries import VouchingMemory
from routing.links import Link
from routing.membership import Find
from routing.message_memory import (
    MessageMemory,
    capture_messages,
    refill,
    restore_messages,
)
from routing.messages import Certificate, decode, encode
from routing.naming import Cast
from routing.probing import Probe
from routing.reachability import ReachabilityMemory
from routing.registrar import RegistrarMemory
from routing.responding import Given
from routing.rivals import RivalsMemory
from routing.state import ExpectedConnection, State
from routing.table import RoutingTable

if TYPE_CHECKING:
    from routing.core import Core

__all__ = [
    "Memory",
    "capture",
    "digest_of",
    "memory_of",
    "read",
    "restore",
    "restore_memory",
    "write",
]

Grants = list[tuple[bytes, tuple[int, ...]]]


class CoreMemory(Struct):
    """What `Core` itself holds."""

    now: int
    stopped: bool
    reading_held: bool
    client: bool
    cause: str
    draws: int
    incarnation: bytes
    filter_secret: bytes
    advertised: list[str]
    wildcards: list[str]
    certificate: Certificate | None
    table: list[tuple[bytes, bytes, int]]
    links: list[Link]
    alarms: list[tuple[int, str, bytes]]
    state: State
    book: bytes


class ConnectMemory(Struct):
    """Attempts, dials, probes and the answers given."""

    attempts: list[tuple[bytes, Attempt, float]]
    expected: list[tuple[int, bool, bytes, float]]
    """(token, is it a request, its bytes, deadline)."""
    unknown: list[tuple[int, float]]
    failed: dict[bytes, tuple[int, int]]
    given: list[tuple[bytes, Given, float]]
    attempt_rate: Grants
    refusal_rate: Grants
    last_dial: int
    flights: dict[int, Flight]
    plans: dict[bytes, Plan]
    dial_failures: dict[bytes, tuple[int, int]]
    dial_rate: Grants
    probes: dict[bytes, Probe]


class NetworkMemory(Struct):
    """Bootstrapping, founding, naming, peers, membership, feelers."""

    round: Round | None
    rounds: int
    begun: bool
    backoff: int
    disconnected_at: int
    configured: list[str]
    founder: bool
    lowest: bytes
    unanswered_rounds: int
    refused_rounds: list[bool]
    held: Certificate | None
    held_until: int
    old_name: bytes
    asking: bool
    tries: int
    votes: dict[bytes, Cast]
    proposed: list[bytes]
    confirming: int
    served: list[tuple[bytes, bool, float]]
    registrar: RegistrarMemory
    rivals: RivalsMemory
    vouching: VouchingMemory
    close_group: list[bytes]
    recent_losses: list[int]
    peer_endpoints: dict[bytes, list[str]]
    joining: bool
    finds: dict[bytes, Find]
    lists: dict[bytes, list[bytes]]
    sent_lists: dict[bytes, bytes]
    bucket_due: dict[int, int]
    surplus_asked: bytes
    surplus_kept: dict[bytes, int]
    surplus_promised: dict[bytes, int]
    walks: dict[int, Walk]
    rests: dict[int, int]
    fill_asked: dict[bytes, int]
    fill_calm: tuple[int, int]
    unwanted: list[tuple[bytes, bool, float]]
    wishers: list[tuple[bytes, int, float]]
    churn: tuple[list[bytes], list[bytes], dict[bytes, int], list[str], int]
    """(group told, known then, since, causes, unsaid)."""
    feeler: tuple[int, bool, bool, int, int, int]
    """(token, dialling, kept, hinted at, turn, burst)."""
    feeler_names: tuple[list[bytes], list[str], list[str]]
    """(won, lost, hints)."""
    feeler_rate: Grants
    reachability: ReachabilityMemory


class Memory(Struct):
    """Everything."""

    core: CoreMemory
    connect: ConnectMemory
    network: NetworkMemory
    messages: MessageMemory
    clients: ClientMemory


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Memory)


def capture(core: Core) -> bytes:
    """Return the state of a core between two steps."""
    return write(memory_of(core))


def memory_of(core: Core) -> Memory:
    """Return the state of a core between two steps; what is in it is still the core's own."""
    return Memory(
        _capture_core(core),
        _capture_connect(core),
        _capture_network(core),
        capture_messages(core),
        capture_clients(core),
    )


def write(memory: Memory) -> bytes:
    """Return a state as bytes."""
    return _encoder.encode(memory)


def read(state: bytes) -> Memory:
    """Return what `write` wrote.

    Raises:
        msgspec.DecodeError: it did not write that.
    """
    return _decoder.decode(state)


def digest_of(core: Core) -> bytes:
    """Return 32 bytes that equal states share."""
    return blake2b(capture(core), digest_size=32).digest()


def restore(core: Core, state: bytes) -> None:
    """Make a core of the same configuration what `capture` described."""
    restore_memory(core, read(state))


def restore_memory(core: Core, memory: Memory) -> None:
    """As `restore`; what is in `memory` becomes the core's own."""
    _restore_core(core, memory.core)
    _restore_connect(core, memory.connect)
    _restore_network(core, memory.network)
    restore_messages(core, memory.messages)
    restore_clients(core, memory.clients)


def _capture_core(core: Core) -> CoreMemory:
    return CoreMemory(
        now=core.now,
        stopped=core.stopped,
        reading_held=core.reading_held,
        client=core.client,
        cause=core.cause,
        draws=core.dice.counter,
        incarnation=core.incarnation,
        filter_secret=core.filter_secret,
        advertised=core.addresses.advertised,
        wildcards=core.addresses.wildcards,
        certificate=core.certificate,
        table=[(core.links[t].name, core.links[t].key, t) for t in _tokens_by_age(core)],
        links=list(core.links.values()),
        alarms=core.alarms.export(),
        state=core.state,
        book=core.book.snapshot(),
    )


def _tokens_by_age(core: Core) -> list[int]:
    """The youngest entry is the first to be let go, so the order is part of the state."""
    return [core.link_to(name).token for name in core.table.by_age()]


def _restore_core(core: Core, memory: CoreMemory) -> None:
    core.now = memory.now
    core.stopped = memory.stopped
    core.reading_held = memory.reading_held
    core.client = memory.client
    core.cause = memory.cause
    core.dice.counter = memory.draws
    core.incarnation = memory.incarnation
    core.filter_secret = memory.filter_secret
    core.addresses.advertised = memory.advertised
    core.addresses.wildcards = memory.wildcards
    if memory.certificate is not None:
        core.take_name(memory.certificate)
    else:
        core.certificate = core.name = None
        core.table = RoutingTable(core.client_name)
    for name, key, token in memory.table:
        core.table.add(name, key, token)
    core.links = {link.token: link for link in memory.links}
    core.alarms.load(memory.alarms)
    core.state = memory.state
    core.book.load(memory.book)


def _capture_connect(core: Core) -> ConnectMemory:
    attempts, responding, now = core.attempts, core.connecting.responding, core.now
    return ConnectMemory(
        attempts=attempts.by_id.deadlines(now=now),
        expected=[
            (connection.token, isinstance(what, ConnectRequest), encode(what), at)
            for connection, what, at in attempts.expected.deadlines(now=now)
        ],
        unknown=[(c.token, at) for c, _, at in attempts.unknown.deadlines(now=now)],
        failed=attempts.failed,
        given=responding.given.deadlines(now=now),
        attempt_rate=_grants(responding.attempt_rate),
        refusal_rate=_grants(responding.refusal_rate),
        last_dial=core.dials.last,
        flights=core.dials.flights,
        plans=core.dials.plans,
        dial_failures=core.dials.failures,
        dial_rate=_grants(core.dials.rate),
        probes=core.probing.probes,
    )


def _restore_connect(core: Core, memory: ConnectMemory) -> None:
    attempts, responding, now = core.attempts, core.connecting.responding, core.now
    attempts.known = False
    refill(attempts.by_id, memory.attempts, now)
    attempts.by_name = {attempt.name: attempt.id for _, attempt, _ in memory.attempts}
    attempts.expected.clear()
    for token, is_request, body, at in memory.expected:
        what: ExpectedConnection | None
        what = decode(ConnectRequest, body) if is_request else decode(ConnectResponse, body)
        assert what is not None
        connection = core.links[token].connection
        attempts.expected.insert(connection, what, now=now, ttl=at - now)
    attempts.unknown.clear()
    for token, at in memory.unknown:
        attempts.unknown.insert(core.links[token].connection, None, now=now, ttl=at - now)
    attempts.failed = memory.failed
    refill(responding.given, memory.given, now)
    responding.attempt_rate.load([*memory.attempt_rate])
    responding.refusal_rate.load([*memory.refusal_rate])
    core.dials.last = memory.last_dial
    core.dials.flights = memory.flights
    core.dials.plans = memory.plans
    core.dials.failures = memory.dial_failures
    core.dials.rate.load([*memory.dial_rate])
    core.probing.probes = memory.probes


def _capture_network(core: Core) -> NetworkMemory:
    boot, founding, naming = core.bootstrapping, core.founding, core.naming
    peers, members, feelers = core.peers, core.membership, core.feelers
    surplus, filling, churn = core.letting_go, core.filling, core.churning
    return NetworkMemory(
        round=boot.round,
        rounds=boot.rounds,
        begun=boot.begun,
        backoff=boot.backoff,
        disconnected_at=boot.disconnected_at,
        configured=boot.configured,
        founder=founding.founder,
        lowest=founding.lowest,
        unanswered_rounds=founding.unanswered_rounds,
        refused_rounds=founding.refused_rounds,
        held=naming.held,
        held_until=naming.held_until,
        old_name=naming.old_name,
        asking=naming.asking,
        tries=naming.tries,
        votes=naming.votes,
        proposed=naming.proposed,
        confirming=naming.confirming,
        served=naming.served.deadlines(now=core.now),
        registrar=core.registrar.export(),
        rivals=core.rivals.export(),
        vouching=core.vouching.export(),
        close_group=peers.close_group,
        recent_losses=peers.recent_losses,
        peer_endpoints=peers.endpoints,
        joining=members.joining,
        finds=members.finds,
        lists=members.lists,
        sent_lists=members.sent,
        bucket_due=members.bucket_due,
        surplus_asked=surplus.asked,
        surplus_kept=surplus.kept,
        surplus_promised=surplus.promised,
        walks=filling.walks,
        rests=filling.rests,
        fill_asked=filling.asked,
        fill_calm=(filling.changed_at, filling.passed),
        unwanted=filling.unwanted.deadlines(now=core.now),
        wishers=filling.wishers.deadlines(now=core.now),
        churn=(churn.group, churn.known, churn.since, churn.causes, churn.unsaid),
        feeler=(
            feelers.token,
            feelers.dialling,
            feelers.kept,
            feelers.hinted_at,
            feelers.turn,
            feelers.burst,
        ),
        feeler_names=(feelers.won, feelers.lost, feelers.hints),
        feeler_rate=_grants(feelers.rate),
        reachability=core.reachability.export(),
    )


def _restore_network(core: Core, memory: NetworkMemory) -> None:
    boot, founding, naming = core.bootstrapping, core.founding, core.naming
    peers, members, feelers = core.peers, core.membership, core.feelers
    for name in ("round", "rounds", "begun", "backoff", "disconnected_at", "configured"):
        setattr(boot, name, getattr(memory, name))
    for name in ("founder", "lowest", "unanswered_rounds", "refused_rounds"):
        setattr(founding, name, getattr(memory, name))
    for name in (
        "held",
        "held_until",
        "old_name",
        "asking",
        "tries",
        "votes",
        "proposed",
        "confirming",
    ):
        setattr(naming, name, getattr(memory, name))
    refill(naming.served, memory.served, core.now)
    core.registrar.load(memory.registrar)
    core.rivals.load(memory.rivals)
    core.vouching.load(memory.vouching)
    peers.close_group = memory.close_group
    peers.recent_losses = memory.recent_losses
    peers.endpoints = memory.peer_endpoints
    members.joining = memory.joining
    members.finds = memory.finds
    members.lists = memory.lists
    members.sent = memory.sent_lists
    members.bucket_due = memory.bucket_due
    _restore_table_keeping(core, memory)
    (
        feelers.token,
        feelers.dialling,
        feelers.kept,
        feelers.hinted_at,
        feelers.turn,
        feelers.burst,
    ) = memory.feeler
    feelers.won, feelers.lost, feelers.hints = memory.feeler_names
    feelers.rate.load([*memory.feeler_rate])
    core.reachability.load(memory.reachability)


def _restore_table_keeping(core: Core, memory: NetworkMemory) -> None:
    """Surplus, filling, churn."""
    surplus, filling, churn = core.letting_go, core.filling, core.churning
    surplus.asked = memory.surplus_asked
    surplus.kept = memory.surplus_kept
    surplus.promised = memory.surplus_promised
    filling.walks = memory.walks
    filling.rests = memory.rests
    filling.asked = memory.fill_asked
    filling.changed_at, filling.passed = memory.fill_calm
    refill(filling.unwanted, memory.unwanted, core.now)
    refill(filling.wishers, memory.wishers, core.now)
    churn.group, churn.known, churn.since, churn.causes, churn.unsaid = memory.churn


def _grants(rate: Rate) -> Grants:
    """The core's rates are all kept for bytes."""
    return [(key, grants) for key, grants in rate.snapshot() if isinstance(key, bytes)]
