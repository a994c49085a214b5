"""Every bound with its unit, its reason and its relations to the others; no behaviour.

Times are nanoseconds (`Nanos`), sizes bytes. `Limits` is frozen and checks on construction that its
members fit together, so a wrong constant stops the node at start and not one night at three.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from ipaddress import ip_network
from typing import Final, NewType

from routing.errors import ConfigError

__all__ = [
    "GROUP_SIZE",
    "HOPS_MAX",
    "MICROSECOND",
    "MILLISECOND",
    "NAME_BYTES",
    "QUORUM_SIZE",
    "ROUTES_MAX",
    "SECOND",
    "TABLE_LEAST",
    "Limits",
    "Nanos",
]

Nanos = NewType("Nanos", int)
"""Monotonic nanoseconds since the owner of the clock started; the first is 0."""

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
"""Nanoseconds in a second."""

NAME_BYTES = 32
"""SHA-256; collisions are out of reach and a comparison is four words."""

GROUP_SIZE = 8
"""A close group: with half the network hostile, 8 hold at least one honest node in 99.6 %."""

QUORUM_SIZE = 5
"""More than half of a full group."""

TABLE_LEAST = 32
"""Least `table_max` of a node on sockets. Computed for random names, where everybody holds the 8
nearest, those whose 8 nearest he is, and 2 of each bucket, a node needs up to 20 places among 40
nodes, 26 among 100 and 37 among 1,000. Simulated with 40 nodes, 28 and 32 places made every network
whole, 24 all but one in twelve, 16 none."""

HOPS_MAX = 32
"""Above log2 of any network that fits 256 entries per table; a loop ends here."""

ROUTES_MAX = 8
"""Route numbers 0 to 7: as many first hops as a close group has."""


_RISING: Final = (
    ("dial_timeout_ns", "responder_attempt_ns"),
    ("dial_timeout_private_ns", "dial_timeout_ns"),
    ("heartbeat_ns", "silence_ns"),
    ("feed_pause_ns", "quiet_ns"),
    ("acknowledge_gather_ns", "acknowledge_delay_ns"),
    ("acknowledge_delay_ns", "acknowledge_low_ns"),
    ("acknowledge_low_ns", "acknowledge_first_ns"),
    ("acknowledge_first_ns", "acknowledge_high_ns"),
    ("repeat_ns", "message_filter_ns"),
    ("payload_bytes_max", "unacknowledged_bytes"),
    ("find_retry_ns", "name_timeout_ns"),
    ("ballot_wanted_ns", "ballot_ns"),
    ("find_retry_ns", "ballot_ns"),
    ("frame_bytes_max", "ballot_bytes"),
    ("contact_backoff_first_ns", "contact_backoff_last_ns"),
    ("bootstrap_backoff_first_ns", "bootstrap_backoff_last_ns"),
    ("retry_name_first_ns", "retry_name_last_ns"),
    ("reachable_ns", "joiner_max_ns"),
    ("bucket_low", "bucket_size"),
    ("bucket_size", "table_max"),
    ("fill_requests_max", "requests_max"),
    ("payload_bytes_max", "frame_bytes_max"),
    ("part_bytes", "payload_bytes_max"),
    ("payload_bytes_max", "large_bytes_max"),
    ("large_bytes_max", "large_waiting_bytes"),
    ("large_idle_ns", "large_ns"),
    ("client_hold_ns", "client_moved_ns"),
    ("frame_bytes_before_hello", "record_bytes_max"),
    ("endpoints_tried", "endpoints_max"),
)
"""Pairs of limits of which the first may not be above the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All bounds of one node. Construct with `recommended()` or `local()` and `but(...)`.

    Raises:
        ConfigError: a value is not positive or breaks a relation between two of them.
    """

    # -- attempts
    attempts_max: int = 4_096
    """Attempts, expected and unknown connections, each."""
    requests_max: int = 64
    """Attempts of our own under way: a close group and two of every bucket are fewer, and nobody
    makes us ask for more by inventing names."""
    responder_attempt_ns: int = 30 * SECOND
    """T_B: a dial of 15 s, its answer and a route of some seconds, twice."""
    requester_slack_ns: int = 5 * SECOND
    """A outlives B by this, so that B's Confirmation always finds A waiting."""
    requester_first_answer_ns: int = 30 * SECOND
    """Until the first valid answer; four re-sends fit."""
    resend_ns: tuple[int, ...] = (1 * SECOND, 3 * SECOND, 8 * SECOND, 20 * SECOND)
    """After the first sending, each +- 25 %."""
    retry_name_first_ns: int = 20 * SECOND
    """Before the next attempt to a name that failed; doubles up to `retry_name_last_ns`."""
    retry_name_last_ns: int = 60 * SECOND
    probe_timeout_ns: int = 1 * SECOND
    """A consolidated connection must answer a Ping within this when its key comes again."""
    hello_deadline_ns: int = 10 * SECOND
    """From accept to an authenticated Hello, absolute: filling 512 slots takes 51 connects/s."""
    # -- dialling
    dial_timeout_ns: int = 15 * SECOND
    """go-libp2p's, for public addresses."""
    dial_timeout_private_ns: int = 5 * SECOND
    """go-libp2p's, for private addresses."""
    dial_stagger_ns: int = 250_000_000
    """Between the endpoints of one peer (happy eyeballs)."""
    endpoints_max: int = 8
    """Listed per peer; more are not read."""
    endpoints_tried: int = 4
    dials_max: int = 160
    """In flight; go-libp2p's descriptor bound."""
    dials_per_address: int = 8
    """In flight to one IP."""
    dials_per_address_per_minute: int = 12
    attempts_per_key_per_minute: int = 4
    refusals_per_key_per_minute: int = 4
    endpoint_backoff_first_ns: int = 5 * SECOND
    endpoint_backoff_last_ns: int = 300 * SECOND
    low_ports: bool = False
    """Dial ports below 1024: they belong to services that never asked for us."""
    # -- inbound
    unauthenticated_max: int = 512
    unauthenticated_per_ipv4: int = 8
    unauthenticated_per_ipv4_24: int = 32
    unauthenticated_per_ipv6_56: int = 8
    established_max: int = 12_000
    exempt_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Free of every quota per address and network: one machine is one person."""
    # -- bootstrapping
    round_dials: int = 3
    """Contacts dialled in parallel."""
    round_stagger_ns: int = 250_000_000
    admit_timeout_ns: int = 10 * SECOND
    """From our Hello to Admit or Refuse."""
    contact_backoff_first_ns: int = 5 * SECOND
    contact_backoff_last_ns: int = 60 * SECOND
    bootstrap_backoff_first_ns: int = 1 * SECOND
    bootstrap_backoff_last_ns: int = 60 * SECOND
    total_loss_jitter_ns: int = 1 * SECOND
    """The first round after losing everything starts within this."""
    mass_loss_jitter_ns: int = 15 * SECOND
    """The same after losing `mass_loss_peers` within `mass_loss_window_ns`: all lost together."""
    mass_loss_peers: int = 8
    mass_loss_window_ns: int = 5 * SECOND
    name_held_ns: int = 1_200 * SECOND
    name_timeout_ns: int = 20 * SECOND
    """From RequestName to a name, else another contact."""
    name_retry_ns: int = 1 * SECOND
    name_tries: int = 6
    # -- names of others
    name_renewed_ns: int = 1_200 * SECOND
    """A node tells the group of its client name what its name is this often, +- 10 %."""
    record_kept_ns: int = 3_600 * SECOND
    """A name is kept for so long since the node renewed it."""
    record_live_ns: int = 1_500 * SECOND
    """A key has no other name for so long since then: until it has missed a renewal. A node that
    was away for longer has lost the name it held and comes with another."""
    records_max: int = 4_096
    """Names kept of others, some 8 for each node there is near us; 1 KiB each."""
    registrations_per_key_per_minute: int = 4
    vouches_per_key_per_minute: int = 120
    """Questions of one node that a member answers: in a small network every peer has the same
    members. As many messages with records are taken of one member."""
    vouched_ns: int = 1_200 * SECOND
    """Who was vouched for, or connected with us, is not asked about again for so long."""
    vouched_max: int = 4_096
    vouches_max: int = 128
    """Requests that wait for others to vouch for the requester; fair by network."""
    vouch_retry_ns: int = 1 * SECOND
    """For the answers to one round of questions: a round trip over three hops each way."""
    vouch_tries: int = 9
    """Rounds in all, of questions who answers for the key and of questions to those."""
    join_proxy_ns: int = 60 * SECOND
    """The bootstrap connection is let go at the latest this long after joining was decided."""
    joiner_max_ns: int = 180 * SECOND
    """A proxy closes a joiner after this."""
    reachable_ns: int = 5 * SECOND
    """A proxy tells a joiner after this, at the latest, whether it could dial it."""
    unreachable_after_ns: int = 600 * SECOND
    """A node that has been dialled before is told for so long that it cannot be, in vain: a
    firewall that restarts, or an outage of the proxies, is no reason to stop."""
    refound_after_ns: int = 30 * SECOND
    refound_rounds: int = 3
    refound_any_rounds: int = 10
    """After so many rounds of nothing but NOT_CONNECTED the lowest-key condition lapses."""
    first_rounds: int = 2
    """Whole rounds without an answer before a node with `first=True` founds."""
    joiners_max: int = 20
    relays_max: int = 100
    joiners_per_group: int = 4
    clients_per_address: int = 8
    clients_from_nodes: int = 1
    """Clients are refused NETWORK_TOO_SMALL below this many routing peers."""
    refuse_contacts: int = 8
    # -- clients
    client_messages_per_s: int = 1_000
    """A proxy passes on so many of one client, and a burst of as many; it tells the client."""
    client_bytes_per_s: int = 8_388_608
    """The same in bytes: half of the largest payload."""
    client_moved_ns: int = 300 * SECOND
    """A proxy remembers where a client that hung on it went, and a client where it hung."""
    client_hold_ns: int = 5 * SECOND
    """For a client that has just gone messages are held so long: a round and a dial are shorter."""
    client_hold_bytes: int = 4_194_304
    """Held so for all clients that have gone: four of the largest that are not in parts."""
    replies_kept_ns: int = 60 * SECOND
    """A reply to a client that has not acknowledged it is kept for when it asks again elsewhere."""
    replies_kept_max: int = 4_096
    replies_kept_bytes: int = 33_554_432
    """Of all of them: two of the largest. Who asks again for one that was not kept is told so."""
    # -- feelers
    feeler_interval_ns: int = 60 * SECOND
    feeler_ask_ns: int = 10 * SECOND
    feeler_keep_ns: int = 60 * SECOND
    feelers_per_minute: int = 3
    feeler_news_delay_ns: int = 3 * SECOND
    feeler_hint_quiet_ns: int = 20 * SECOND
    feeler_hint_jitter_ns: int = 10 * SECOND
    # -- membership
    bucket_size: int = 8
    bucket_low: int = 2
    """Below this a bucket is repaired actively."""
    table_max: int = 256
    """Room for 8 in each bucket of any network there is, and for those whom few others hold."""
    unneeded_wait_ns: int = 5 * SECOND
    """For the answer whether a surplus connection may end; a round trip of the slowest."""
    unneeded_again_ns: int = 1_200 * SECOND
    """Who did not agree is not asked again before."""
    fill_requests_max: int = 16
    """Attempts of our own under way to fill buckets that hold enough to route; the other places of
    `requests_max` are for those that are needed."""
    fill_rest_ns: int = 3_600 * SECOND
    """A bucket that nobody else can be won for is left alone for so long, or until it loses one:
    who refused us because he had no place asks us when he has one."""
    wishers_max: int = 256
    """Names kept to be asked first when there is a place: whom we refused for want of one."""
    churn_damping_ns: int = 2 * SECOND
    """A change of the close group that does not last so long is not told to the application:
    nothing is handed over to who goes at once, and the losses of one fault are told together."""
    find_tries: int = 3
    find_retry_ns: int = 1_500_000_000
    group_list_max: int = 16
    """Names in a GroupIs: the answerer and 15 more."""
    group_cached_ns: int = 60 * SECOND
    """A resolved group is believed so long, or until the own table changes."""
    repair_gather_ns: int = 500_000_000
    repair_interval_ns: int = 30 * SECOND
    bucket_idle_ns: int = 120 * SECOND
    refresh_interval_ns: int = 120 * SECOND
    # -- connections at rest
    heartbeat_ns: int = 15 * SECOND
    silence_ns: int = 45 * SECOND
    clock_gap_ns: int = 30 * SECOND
    # -- bytes
    record_bytes_max: int = 262_144
    """Plaintext gathered into one record."""
    frame_bytes_max: int = 1_048_576
    frame_bytes_before_hello: int = 4_096
    write_bytes_max: int = 1_048_576
    write_bytes_total: int = 536_870_912
    slow_reader_ns: int = 20 * SECOND
    feed_pause_ns: int = 1 * SECOND
    """For which a relay does not read who feeds a full connection: nobody is doubted for that."""
    inbox_bytes: int = 16_777_216
    payload_bytes_max: int = 1_047_552
    """frame_bytes_max less 1 KiB for the envelope; what is larger travels in parts."""
    events_max: int = 1_024
    # -- acknowledgements
    acknowledge_first_ns: int = 1 * SECOND
    """For an acknowledgement, until a round trip has been measured; RFC 6298's."""
    acknowledge_delay_ns: int = 50_000_000
    """A request is acknowledged by its reply if that comes within this; a reply waits as long."""
    acknowledge_gather_ns: int = 1_000_000
    """What comes from one source within this is acknowledged together: one signature for all."""
    acknowledge_low_ns: int = 200_000_000
    """The shortest wait: what a busy relay may add to any round trip."""
    acknowledge_high_ns: int = 4 * SECOND
    """The longest wait, for an acknowledgement or for a consumer that was busy."""
    repeat_ns: int = 32 * SECOND
    """The 8 copies of a message take no longer: a consumer may forget it after this."""
    demoted_ns: int = 60 * SECOND
    """A first hop that missed an acknowledgement comes behind the others for so long: silence is
    noticed in 45 s."""
    round_trips_max: int = 1_024
    """Destinations whose round trips are remembered; the one longest not used is forgotten."""
    unacknowledged_max: int = 16_384
    """Messages of ours that wait for their acknowledgement; more are refused as busy."""
    unacknowledged_bytes: int = 67_108_864
    """The same in bytes of their signed parts."""
    confirm_delay_ns: int = 20_000_000
    """So long after the first, direct messages are asked about together; a reply says it before."""
    unconfirmed_max: int = 131_072
    """Direct messages of ours that are not known to have arrived: more than the buffers of their
    connections hold, so what waits is the sender; more are refused as busy."""
    # -- large payloads
    large_bytes_max: int = 16_777_216
    """Of a payload to one node or client; above `payload_bytes_max` it travels in parts."""
    large_waiting_bytes: int = 134_217_728
    """Of large messages of ours under way: 8 of the largest; more are refused as busy."""
    part_bytes: int = 131_072
    """A control frame waits behind one of them at most; smaller ones cost more signatures."""
    part_window: int = 4
    """Parts of one message on their way: half of what may wait on a connection."""
    parts_max: int = 1_024
    """In which a message may come: 16 KiB each if it is of the largest."""
    large_idle_ns: int = 60 * SECOND
    """Without a part taken in or acknowledged for so long, a message is given up at both ends."""
    large_ns: int = 600 * SECOND
    """For one message from its first part to its last: 28 KB/s for the largest."""
    reassembly_bytes: int = 67_108_864
    """Of messages that come in parts, counted whole from the first part on; 1/4 for one source."""
    reassembly_open: int = 8
    """Messages that one source sends in parts at a time."""
    # -- messages from groups
    ballot_ns: int = 60 * SECOND
    """For a quorum to come together; a voter answers for what it said as long."""
    ballot_wanted_ns: int = 500_000_000
    """Before a voter is asked for the whole, or a silent member for its voice: a route there."""
    ballot_bytes: int = 16_777_216
    """Voices that wait for a quorum, and contents we have voted for, each."""
    # -- silence of next hops
    quiet_ns: int = 2 * SECOND
    """A peer not heard for so long is asked whether it lives when something is passed on to it."""
    suspect_ns: int = 1 * SECOND
    """Without an answer in this time other ways are taken: a round trip and a busy loop."""
    # -- memory of messages
    message_filter_ns: int = 1_200 * SECOND
    message_filter_entries: int = 262_144
    """Of hashes of what was passed on; at some 50 bytes each, an eighth for one connection."""
    consumed_entries: int = 65_536
    contacts_max: int = 1_500
    contacts_per_group: int = 4
    descriptors_reserved: int = 128
    handler_ns: int = 60 * SECOND
    """For a handler of the application; then it is cancelled and its place is free again."""
    drain_ns: int = 5 * SECOND
    close_reset_ns: int = 2 * SECOND

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int):
                continue
            if value <= 0:
                raise ConfigError(f"limit {field.name}={value} must be positive")
        for network in self.exempt_networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise ConfigError(f"limit exempt_networks: {network!r}: {error}") from error
        for low, high in _RISING:
            self._ordered(low, high)
        if ROUTES_MAX * self.acknowledge_high_ns > self.repeat_ns:
            raise ConfigError(
                f"limit repeat_ns={self.repeat_ns} must be at least {ROUTES_MAX} times "
                f"acknowledge_high_ns={self.acknowledge_high_ns}"
            )
        self._check_names()
        if self.message_filter_entries < 16:
            raise ConfigError(
                f"limit message_filter_entries={self.message_filter_entries} must be at least 16: "
                "connections have shares of it"
            )
        self._check_parts()
        for name in ("client_messages_per_s", "client_bytes_per_s"):
            if getattr(self, name) >= 2**32:
                raise ConfigError(f"limit {name}={getattr(self, name)} must be below {2**32}")
        if list(self.resend_ns) != sorted(self.resend_ns):
            raise ConfigError(f"limit resend_ns={self.resend_ns} must rise")
        if self.resend_ns and self.resend_ns[-1] >= self.requester_first_answer_ns:
            raise ConfigError(
                f"limit resend_ns[-1]={self.resend_ns[-1]} must be below "
                f"requester_first_answer_ns={self.requester_first_answer_ns}"
            )

    def _check_names(self) -> None:
        self._ordered("name_renewed_ns", "record_live_ns")
        self._ordered("record_live_ns", "record_kept_ns")
        asking = self.vouch_tries * self.vouch_retry_ns
        if asking + self.dial_timeout_ns > self.responder_attempt_ns:
            raise ConfigError(
                f"limit vouch_tries={self.vouch_tries} times vouch_retry_ns={self.vouch_retry_ns} "
                f"and dial_timeout_ns={self.dial_timeout_ns} must not exceed "
                f"responder_attempt_ns={self.responder_attempt_ns}"
            )

    def _check_parts(self) -> None:
        if self.large_bytes_max > self.reassembly_bytes // 4:
            raise ConfigError(
                f"limit large_bytes_max={self.large_bytes_max} must not exceed a quarter of "
                f"reassembly_bytes={self.reassembly_bytes}"
            )
        if self.large_bytes_max >= self.parts_max * self.part_bytes:
            raise ConfigError(
                f"limit large_bytes_max={self.large_bytes_max} must be below "
                f"parts_max={self.parts_max} times part_bytes={self.part_bytes}"
            )

    def _ordered(self, low: str, high: str) -> None:
        if getattr(self, low) > getattr(self, high):
            raise ConfigError(
                f"limit {low}={getattr(self, low)} must not exceed {high}={getattr(self, high)}"
            )

    def but(self, **changes: object) -> Limits:
        """Return these limits with some replaced.

        Raises:
            ConfigError: an unknown limit, or a value that breaks a bound.
        """
        known = {field.name for field in fields(self)}
        for name in changes:
            if name not in known:
                raise ConfigError(f"limit {name!r} is unknown; see routing.Limits")
        return replace(self, **changes)  # type: ignore[arg-type]

    @classmethod
    def recommended(cls) -> Limits:
        """Return the limits for a node on a real network."""
        return cls()

    @classmethod
    def local(cls) -> Limits:
        """Return limits with fast timers, for tests and networks on one machine."""
        return cls(
            responder_attempt_ns=12 * SECOND,
            requester_first_answer_ns=12 * SECOND,
            join_proxy_ns=15 * SECOND,
            resend_ns=(400_000_000, 1 * SECOND, 3 * SECOND, 8 * SECOND),
            retry_name_first_ns=1 * SECOND,
            retry_name_last_ns=8 * SECOND,
            dial_timeout_ns=5 * SECOND,
            dial_timeout_private_ns=3 * SECOND,
            dial_stagger_ns=50_000_000,
            attempts_per_key_per_minute=60,
            refusals_per_key_per_minute=60,
            round_stagger_ns=250_000_000,
            contact_backoff_first_ns=500_000_000,
            contact_backoff_last_ns=4 * SECOND,
            bootstrap_backoff_first_ns=200_000_000,
            bootstrap_backoff_last_ns=4 * SECOND,
            total_loss_jitter_ns=200_000_000,
            mass_loss_jitter_ns=2 * SECOND,
            name_timeout_ns=8 * SECOND,
            reachable_ns=1 * SECOND,
            unreachable_after_ns=10 * SECOND,
            # A member that is busy has room again after 5 s: so long it is asked.
            name_retry_ns=300_000_000,
            name_tries=18,
            # Of a network that is started on one machine all join in the same second.
            joiners_max=100,
            vouch_retry_ns=400_000_000,
            refound_after_ns=6 * SECOND,
            feeler_interval_ns=6 * SECOND,
            feelers_per_minute=20,
            feeler_news_delay_ns=500_000_000,
            feeler_hint_quiet_ns=2 * SECOND,
            feeler_hint_jitter_ns=1 * SECOND,
            find_retry_ns=400_000_000,
            repair_gather_ns=100_000_000,
            repair_interval_ns=2 * SECOND,
            bucket_idle_ns=10 * SECOND,
            refresh_interval_ns=6 * SECOND,
            unneeded_wait_ns=1 * SECOND,
            unneeded_again_ns=60 * SECOND,
            fill_rest_ns=120 * SECOND,
            churn_damping_ns=200_000_000,
            heartbeat_ns=2 * SECOND,
            silence_ns=6 * SECOND,
            ballot_wanted_ns=200_000_000,
        )
