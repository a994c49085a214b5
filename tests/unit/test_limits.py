"""Every bound is positive and fits the others, or a node does not start."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from routing.errors import ConfigError
from routing.limits import GROUP_SIZE, HOPS_MAX, QUORUM_SIZE, ROUTES_MAX, SECOND, Limits

__all__: list[str] = []

NUMBERS = [field.name for field in fields(Limits) if type(getattr(Limits(), field.name)) is int]

STATED = {
    "responder_attempt_ns": 30 * SECOND,
    "requester_slack_ns": 5 * SECOND,
    "requester_first_answer_ns": 30 * SECOND,
    "resend_ns": (1 * SECOND, 3 * SECOND, 8 * SECOND, 20 * SECOND),
    "retry_name_first_ns": 20 * SECOND,
    "retry_name_last_ns": 60 * SECOND,
    "probe_timeout_ns": 1 * SECOND,
    "hello_deadline_ns": 10 * SECOND,
    "dial_timeout_ns": 15 * SECOND,
    "dial_timeout_private_ns": 5 * SECOND,
    "dial_stagger_ns": SECOND // 4,
    "dials_max": 160,
    "dials_per_address": 8,
    "dials_per_address_per_minute": 12,
    "attempts_per_key_per_minute": 4,
    "attempts_max": 4_096,
    "unauthenticated_max": 512,
    "unauthenticated_per_ipv4": 8,
    "unauthenticated_per_ipv4_24": 32,
    "unauthenticated_per_ipv6_56": 8,
    "established_max": 12_000,
    "bootstrap_backoff_first_ns": 1 * SECOND,
    "bootstrap_backoff_last_ns": 60 * SECOND,
    "contact_backoff_first_ns": 5 * SECOND,
    "contact_backoff_last_ns": 60 * SECOND,
    "name_held_ns": 20 * 60 * SECOND,
    "name_timeout_ns": 20 * SECOND,
    "name_retry_ns": 1 * SECOND,
    "joiner_max_ns": 180 * SECOND,
    "joiners_max": 20,
    "joiners_per_group": 4,
    "relays_max": 100,
    "clients_per_address": 8,
    "clients_from_nodes": 1,
    "refuse_contacts": 8,
    "table_max": 256,
    "bucket_size": 8,
    "heartbeat_ns": 15 * SECOND,
    "silence_ns": 45 * SECOND,
    "frame_bytes_max": 1 << 20,
    "record_bytes_max": 256 << 10,
    "frame_bytes_before_hello": 4 << 10,
    "large_bytes_max": 16 << 20,
    "reassembly_bytes": 64 << 20,
    "write_bytes_max": 1 << 20,
    "write_bytes_total": 512 << 20,
    "slow_reader_ns": 20 * SECOND,
    "feed_pause_ns": 1 * SECOND,
    "contacts_max": 1_500,
    "contacts_per_group": 4,
    "descriptors_reserved": 128,
}
"""What the design states, by name."""


@pytest.mark.parametrize("name", STATED)
def test_recommended_limit_is_what_the_design_states(name: str) -> None:
    assert getattr(Limits.recommended(), name) == STATED[name]


def test_constants_are_what_the_design_states() -> None:
    assert (GROUP_SIZE, QUORUM_SIZE, HOPS_MAX, ROUTES_MAX) == (8, 5, 32, 8)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1])
def test_limit_that_is_not_positive_is_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"limit {name}={value} must be positive"):
        Limits().but(**{name: value})


ORDERED = [
    ("dial_timeout_ns", "responder_attempt_ns"),
    ("dial_timeout_private_ns", "dial_timeout_ns"),
    ("heartbeat_ns", "silence_ns"),
    ("find_retry_ns", "name_timeout_ns"),
    ("contact_backoff_first_ns", "contact_backoff_last_ns"),
    ("bootstrap_backoff_first_ns", "bootstrap_backoff_last_ns"),
    ("retry_name_first_ns", "retry_name_last_ns"),
    ("bucket_low", "bucket_size"),
    ("bucket_size", "table_max"),
    ("payload_bytes_max", "frame_bytes_max"),
    ("part_bytes", "payload_bytes_max"),
    ("large_bytes_max", "large_waiting_bytes"),
    ("large_idle_ns", "large_ns"),
    ("frame_bytes_before_hello", "record_bytes_max"),
    ("endpoints_tried", "endpoints_max"),
]


@pytest.mark.parametrize(("low", "high"), ORDERED)
def test_limits_that_do_not_fit_together_are_refused_with_both_values(low: str, high: str) -> None:
    above = getattr(Limits(), high) + 1
    with pytest.raises(ConfigError, match=rf"limit {low}={above} must not exceed {high}="):
        Limits().but(**{low: above})


def test_resends_must_rise_and_end_before_the_attempt() -> None:
    with pytest.raises(ConfigError, match="must rise"):
        Limits().but(resend_ns=(3, 1))
    with pytest.raises(ConfigError, match="must be below"):
        Limits().but(resend_ns=(31 * SECOND,))
    assert Limits().but(resend_ns=()).resend_ns == ()


def test_large_payloads_must_fit_their_room_and_their_parts() -> None:
    with pytest.raises(ConfigError, match="must not exceed a quarter of reassembly_bytes=67108864"):
        Limits().but(large_bytes_max=16_777_217)
    with pytest.raises(ConfigError, match="must be below parts_max=128 times part_bytes=131072"):
        Limits().but(parts_max=128)
    with pytest.raises(ConfigError, match="payload_bytes_max=1047552 must not exceed large_bytes"):
        Limits().but(large_bytes_max=1_000_000)


def test_unknown_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="limit 'dial_timeout' is unknown"):
        Limits().but(dial_timeout=1)


def test_bad_exempt_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="exempt_networks"):
        Limits().but(exempt_networks=("127.0.0.1/8",))


def test_limits_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Limits().dials_max = 1  # type: ignore[misc]


def test_local_preset_is_never_slower_than_the_recommended_one() -> None:
    local, recommended = Limits.local(), Limits.recommended()
    slower = [
        name
        for name in NUMBERS
        if name.endswith("_ns") and getattr(local, name) > getattr(recommended, name)
    ]
    assert slower == []
