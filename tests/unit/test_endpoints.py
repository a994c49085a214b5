"""Endpoints: one spelling for each address, and the policy of what a stranger may make us dial."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.endpoints import (
    ENDPOINT_BYTES_MAX,
    DialBan,
    Endpoint,
    from_socket,
    in_networks,
    may_dial,
    parse,
    select,
    source_group,
    wide_group,
)
from routing.errors import UsageError

__all__: list[str] = []

GLOBAL, LOOPBACK, PRIVATE, SPECIAL = "global", "loopback", "private", "special"

# As a stranger may write it, the canonical form, and the kind. The ranges are those of the IANA
# registries of special-purpose addresses, first and last address where they have neighbours.
SPELLINGS = [
    ("0.0.0.0", "0.0.0.0", SPECIAL),
    ("0.0.0.1", "0.0.0.1", SPECIAL),
    ("0.255.255.255", "0.255.255.255", SPECIAL),
    ("1.0.0.0", "1.0.0.0", GLOBAL),
    ("8.8.8.8", "8.8.8.8", GLOBAL),
    ("9.255.255.255", "9.255.255.255", GLOBAL),
    ("10.0.0.0", "10.0.0.0", PRIVATE),
    ("10.255.255.255", "10.255.255.255", PRIVATE),
    ("11.0.0.0", "11.0.0.0", GLOBAL),
    ("100.63.255.255", "100.63.255.255", GLOBAL),
    ("100.64.0.0", "100.64.0.0", PRIVATE),
    ("100.127.255.255", "100.127.255.255", PRIVATE),
    ("100.128.0.0", "100.128.0.0", GLOBAL),
    ("126.255.255.255", "126.255.255.255", GLOBAL),
    ("127.0.0.0", "127.0.0.0", LOOPBACK),
    ("127.0.0.1", "127.0.0.1", LOOPBACK),
    ("127.1.2.3", "127.1.2.3", LOOPBACK),
    ("127.255.255.255", "127.255.255.255", LOOPBACK),
    ("128.0.0.0", "128.0.0.0", GLOBAL),
    ("169.253.255.255", "169.253.255.255", GLOBAL),
    ("169.254.0.0", "169.254.0.0", PRIVATE),
    ("169.254.169.254", "169.254.169.254", PRIVATE),
    ("169.255.0.0", "169.255.0.0", GLOBAL),
    ("172.15.255.255", "172.15.255.255", GLOBAL),
    ("172.16.0.0", "172.16.0.0", PRIVATE),
    ("172.31.255.255", "172.31.255.255", PRIVATE),
    ("172.32.0.0", "172.32.0.0", GLOBAL),
    ("191.255.255.255", "191.255.255.255", GLOBAL),
    ("192.0.0.0", "192.0.0.0", SPECIAL),
    ("192.0.0.9", "192.0.0.9", SPECIAL),
    ("192.0.0.170", "192.0.0.170", SPECIAL),
    ("192.0.1.0", "192.0.1.0", GLOBAL),
    ("192.0.2.1", "192.0.2.1", SPECIAL),
    ("192.0.3.0", "192.0.3.0", GLOBAL),
    ("192.31.196.1", "192.31.196.1", SPECIAL),
    ("192.52.193.1", "192.52.193.1", SPECIAL),
    ("192.88.99.1", "192.88.99.1", SPECIAL),
    ("192.167.255.255", "192.167.255.255", GLOBAL),
    ("192.168.0.0", "192.168.0.0", PRIVATE),
    ("192.168.255.255", "192.168.255.255", PRIVATE),
    ("192.169.0.0", "192.169.0.0", GLOBAL),
    ("192.175.48.1", "192.175.48.1", SPECIAL),
    ("198.17.255.255", "198.17.255.255", GLOBAL),
    ("198.18.0.0", "198.18.0.0", SPECIAL),
    ("198.19.255.255", "198.19.255.255", SPECIAL),
    ("198.20.0.0", "198.20.0.0", GLOBAL),
    ("198.51.100.7", "198.51.100.7", SPECIAL),
    ("203.0.113.255", "203.0.113.255", SPECIAL),
    ("203.0.114.0", "203.0.114.0", GLOBAL),
    ("223.255.255.255", "223.255.255.255", GLOBAL),
    ("224.0.0.0", "224.0.0.0", SPECIAL),
    ("239.255.255.255", "239.255.255.255", SPECIAL),
    ("240.0.0.0", "240.0.0.0", SPECIAL),
    ("255.255.255.254", "255.255.255.254", SPECIAL),
    ("255.255.255.255", "255.255.255.255", SPECIAL),
    ("::", "::", SPECIAL),
    ("0:0:0:0:0:0:0:0", "::", SPECIAL),
    ("::1", "::1", LOOPBACK),
    ("0:0:0:0:0:0:0:1", "::1", LOOPBACK),
    ("0000:0000:0000:0000:0000:0000:0000:0001", "::1", LOOPBACK),
    ("::0.0.0.1", "::1", LOOPBACK),
    ("::2", "::2", SPECIAL),
    ("::127.0.0.1", "::7f00:1", SPECIAL),
    ("::8.8.8.8", "::808:808", SPECIAL),
    ("::ffff:127.0.0.1", "127.0.0.1", LOOPBACK),
    ("::FFFF:7F00:1", "127.0.0.1", LOOPBACK),
    ("0:0:0:0:0:ffff:7f00:0001", "127.0.0.1", LOOPBACK),
    ("::ffff:10.1.2.3", "10.1.2.3", PRIVATE),
    ("::ffff:8.8.8.8", "8.8.8.8", GLOBAL),
    ("::ffff:0.0.0.0", "0.0.0.0", SPECIAL),
    ("::ffff:255.255.255.255", "255.255.255.255", SPECIAL),
    ("::ffff:0:127.0.0.1", "::ffff:0:7f00:1", SPECIAL),
    ("64:ff9b::", "64:ff9b::", SPECIAL),
    ("64:ff9b::127.0.0.1", "64:ff9b::7f00:1", SPECIAL),
    ("64:ff9b::8.8.8.8", "64:ff9b::808:808", SPECIAL),
    ("64:ff9b:1::10.0.0.1", "64:ff9b:1::a00:1", SPECIAL),
    ("100::", "100::", SPECIAL),
    ("100:0:0:1::", "100:0:0:1::", SPECIAL),
    ("200::1", "200::1", SPECIAL),
    ("1fff:ffff::", "1fff:ffff::", SPECIAL),
    ("2000::", "2000::", GLOBAL),
    ("2001::", "2001::", SPECIAL),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:4136:e378:8000:63bf:3fff:fdd2", SPECIAL),
    ("2001:1::1", "2001:1::1", SPECIAL),
    ("2001:2::1", "2001:2::1", SPECIAL),
    ("2001:3::1", "2001:3::1", SPECIAL),
    ("2001:4:112::1", "2001:4:112::1", SPECIAL),
    ("2001:20::1", "2001:20::1", SPECIAL),
    ("2001:30::1", "2001:30::1", SPECIAL),
    ("2001:1ff:ffff::", "2001:1ff:ffff::", SPECIAL),
    ("2001:200::1", "2001:200::1", GLOBAL),
    ("2001:db7:ffff::1", "2001:db7:ffff::1", GLOBAL),
    ("2001:db8::1", "2001:db8::1", SPECIAL),
    ("2001:0DB8:0:0:0:0:0:1", "2001:db8::1", SPECIAL),
    ("2001:db9::1", "2001:db9::1", GLOBAL),
    ("2001:4860:4860::8888", "2001:4860:4860::8888", GLOBAL),
    ("2001:4860:4860:0:0:0:0:8888", "2001:4860:4860::8888", GLOBAL),
    ("2002::", "2002::", SPECIAL),
    ("2002:7f00:1::", "2002:7f00:1::", SPECIAL),
    ("2002:a00:1::1", "2002:a00:1::1", SPECIAL),
    ("2003::1", "2003::1", GLOBAL),
    ("2620:4f:8000::1", "2620:4f:8000::1", SPECIAL),
    ("2620:4f:8001::1", "2620:4f:8001::1", GLOBAL),
    ("2a00:1450:4001:81b::200e", "2a00:1450:4001:81b::200e", GLOBAL),
    ("3ffe:ffff::1", "3ffe:ffff::1", GLOBAL),
    ("3fff::1", "3fff::1", SPECIAL),
    ("3fff:fff:ffff::", "3fff:fff:ffff::", SPECIAL),
    ("3fff:1000::", "3fff:1000::", GLOBAL),
    ("4000::", "4000::", SPECIAL),
    ("5f00::1", "5f00::1", SPECIAL),
    ("fbff::1", "fbff::1", SPECIAL),
    ("fc00::", "fc00::", PRIVATE),
    ("fd12:3456:789a::1", "fd12:3456:789a::1", PRIVATE),
    ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PRIVATE),
    ("fe00::1", "fe00::1", SPECIAL),
    ("fe80::1", "fe80::1", PRIVATE),
    ("FE80:0:0:0:0:0:0:1", "fe80::1", PRIVATE),
    ("febf:ffff::1", "febf:ffff::1", PRIVATE),
    ("fec0::1", "fec0::1", SPECIAL),
    ("ff02::1", "ff02::1", SPECIAL),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", SPECIAL),
]

REFUSED = [
    "",
    ":",
    ":80",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:99999",
    "127.0.0.1:000080",
    "127.0.0.1:-1",
    "127.0.0.1:+80",
    "127.0.0.1:8_0",
    "127.0.0.1: 80",
    "127.0.0.1:80 ",
    " 127.0.0.1:80",
    "127.0.0.1:0x50",
    "127.0.0.1:٨٠",
    "127.0.0.1:http",
    "127.0.0.1:80:80",
    "127.1:80",
    "127.0.0.01:80",
    "0127.0.0.1:80",
    "0x7f.0.0.1:80",
    "2130706433:80",
    "0x7f000001:80",
    "127.0.0.1.:80",
    "127.0.0.256:80",
    "127.0.0.1/8:80",
    "١٢٧.0.0.1:80",
    "localhost:80",
    "example.com:80",
    "http://127.0.0.1:80",
    "::1:80",
    "[::1]",
    "[::1]80",
    "[::1:80",
    "::1]:80",
    "[127.0.0.1]:80",
    "[[::1]]:80",
    "[]:80",
    "[:::1]:80",
    "[::1%eth0]:80",
    "[fe80::1%1]:80",
    "[fe80::1%25eth0]:80",
    "[1:2:3:4:5:6:7]:80",
    "[1:2:3:4:5:6:7:8:9]:80",
    "[12345::]:80",
    "[::ffff:127.0.0.256]:80",
    "[::1/128]:80",
    "[" + "0" * 70 + "::1]:80",
    "1" * 1_000_000 + ":80",
]


def written(host: str, port: int = 5483) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def test_table_of_spellings_is_as_long_as_promised() -> None:
    assert len(SPELLINGS) >= 100


@pytest.mark.parametrize(("text", "canonical", "kind"), SPELLINGS)
def test_every_spelling_has_one_form_and_one_kind(text: str, canonical: str, kind: str) -> None:
    endpoint = parse(written(text))
    assert endpoint == Endpoint(canonical, 5483) == Endpoint(text, 5483)
    assert endpoint.host == canonical
    assert str(endpoint) == written(canonical)
    assert parse(str(endpoint)) == endpoint
    flags = (endpoint.is_loopback, endpoint.is_private, endpoint.is_special)
    assert flags == (kind == LOOPBACK, kind == PRIVATE, kind == SPECIAL)


@pytest.mark.parametrize(("text", "canonical", "kind"), SPELLINGS)
def test_stranger_on_the_internet_reaches_global_addresses_only(
    text: str, canonical: str, kind: str
) -> None:
    own = [parse("8.8.4.4:5483")]
    allowed = may_dial(parse(written(text)), own, low_ports=False) is None
    assert allowed == (kind == GLOBAL)


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_other_text_is_refused_with_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 250


@given(st.text(max_size=70))
def test_no_text_brings_anything_but_an_endpoint_or_a_refusal(text: str) -> None:
    try:
        endpoint = parse(text, allow_zero=True)
    except UsageError:
        return
    assert len(str(endpoint)) <= ENDPOINT_BYTES_MAX
    assert parse(str(endpoint), allow_zero=True) == endpoint


@given(st.integers(0, 2**128 - 1), st.integers(1, 65_535))
def test_every_address_survives_the_wire(number: int, port: int) -> None:
    endpoint = Endpoint(str(ipaddress.IPv6Address(number)), port)
    assert parse(str(endpoint)) == endpoint
    assert len(str(endpoint)) <= ENDPOINT_BYTES_MAX


@given(st.integers(0, 2**32 - 1))
def test_no_address_that_is_not_global_is_taken_for_global(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    endpoint = Endpoint(str(address), 5483)
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert endpoint.is_loopback or endpoint.is_private or endpoint.is_special


def test_port_zero_is_for_listeners() -> None:
    assert parse("127.0.0.1:0", allow_zero=True) == Endpoint("127.0.0.1", 0)
    with pytest.raises(UsageError, match="has the port 0; it must be 1 to 65535"):
        parse("127.0.0.1:0")


def test_refusals_name_the_text_and_the_cure() -> None:
    with pytest.raises(UsageError, match="'localhost' is not an IP literal; host names are not"):
        parse("localhost:80")
    with pytest.raises(UsageError, match=r"'127\.0\.0\.1' has no port; write"):
        parse("127.0.0.1")
    with pytest.raises(UsageError, match="zone id"):
        parse("[fe80::1%eth0]:80")


def test_method_parse_is_the_function() -> None:
    assert Endpoint.parse("127.0.0.1:0", allow_zero=True) == Endpoint("127.0.0.1", 0)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_port_out_of_bounds_is_refused(port: int) -> None:
    with pytest.raises(UsageError, match=f"endpoint port {port} must be 0 to 65535"):
        Endpoint("127.0.0.1", port)


def test_endpoints_are_frozen_hashable_and_ordered() -> None:
    low, high = Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2)
    assert low < high
    assert len({low, high, Endpoint("::ffff:127.0.0.1", 1)}) == 2
    with pytest.raises(AttributeError):
        low.port = 3  # type: ignore[misc]


def test_socket_addresses_lose_their_zone() -> None:
    assert from_socket(("fe80::1%eth0", 80, 0, 2)) == Endpoint("fe80::1", 80)
    assert from_socket(("::ffff:127.0.0.1", 80, 0, 0)) == Endpoint("127.0.0.1", 80)
    assert from_socket(("127.0.0.1", 80)) == Endpoint("127.0.0.1", 80)


@pytest.mark.parametrize("address", [(), ("/run/socket",), (1, 2), ("::1", "80")])
def test_other_socket_addresses_are_refused(address: tuple[object, ...]) -> None:
    with pytest.raises(UsageError, match="must be of IPv4 or IPv6"):
        from_socket(address)


def test_source_group_is_the_24_or_the_56() -> None:
    assert source_group("10.1.2.3") == source_group("::ffff:10.1.2.200") == "10.1.2.0/24"
    assert source_group("2a00:1450:4001:8ff::1") == "2a00:1450:4001:800::/56"
    assert wide_group("10.1.2.3") == "10.1.2.3/32"
    assert wide_group("2a00:1450:4001:81b::1") == "2a00:1450:4001::/48"


def test_membership_in_networks() -> None:
    exempt = ["127.0.0.0/8", "::1/128"]
    assert in_networks("127.9.9.9", exempt)
    assert in_networks("::1", exempt)
    assert in_networks("::ffff:127.0.0.1", exempt)
    assert not in_networks("128.0.0.1", exempt)
    assert not in_networks("127.0.0.1", [])


def dial(text: str, *own: str, low_ports: bool = False) -> str | None:
    return may_dial(
        parse(text, allow_zero=True), [parse(each) for each in own], low_ports=low_ports
    )


def test_loopback_is_dialled_only_from_loopback_alone() -> None:
    assert dial("127.0.0.1:5483", "127.0.0.1:1", "[::1]:1") is None
    assert dial("[::1]:5483", "127.0.0.1:1") is None
    assert dial("127.0.0.1:5483", "127.0.0.1:1", "8.8.8.8:1") is DialBan.LOOPBACK
    assert dial("127.0.0.1:5483", "10.0.0.1:1") is DialBan.LOOPBACK
    assert dial("127.0.0.1:5483") is DialBan.LOOPBACK


def test_private_addresses_are_dialled_only_from_the_same_network() -> None:
    assert dial("10.1.2.3:5483", "10.1.200.1:1") is None
    assert dial("10.1.2.3:5483", "8.8.8.8:1", "10.1.200.1:1") is None
    assert dial("10.1.2.3:5483", "10.2.2.3:1") is DialBan.PRIVATE
    assert dial("10.1.2.3:5483") is DialBan.PRIVATE
    assert dial("192.168.1.1:5483", "192.168.2.2:1") is None
    assert dial("100.64.0.1:5483", "100.65.0.1:1") is DialBan.PRIVATE
    assert dial("169.254.169.254:5483", "10.0.0.1:1") is DialBan.PRIVATE
    assert dial("[fd00:1:2::1]:5483", "[fd00:1:2:3::9]:1") is None
    assert dial("[fd00:1:2::1]:5483", "[fd00:1:3::1]:1") is DialBan.PRIVATE
    assert dial("[fe80::1]:5483", "[fe80::2]:1") is None


def test_special_addresses_are_never_dialled_not_even_by_their_like() -> None:
    assert dial("224.0.0.1:5483", "224.0.0.1:1") is DialBan.SPECIAL
    assert dial("0.0.0.0:5483", "0.0.0.0:1") is DialBan.SPECIAL


def test_low_ports_are_dialled_only_on_request() -> None:
    assert dial("8.8.8.8:1023") is DialBan.LOW_PORT
    assert dial("8.8.8.8:1024") is None
    assert dial("8.8.8.8:22", low_ports=True) is None
    assert dial("8.8.8.8:0", low_ports=True) is DialBan.PORT_ZERO


def test_selection_keeps_the_order_and_counts_what_it_leaves_out() -> None:
    listed = [
        "8.8.8.8:5483",
        "example.com:80",
        "[::ffff:8.8.8.8]:5483",
        "127.0.0.1:5483",
        "8.8.8.8:22",
        "1.1.1.1:5483",
        "junk",
        "8.8.8.8:0",
        "9.9.9.9:5483",
        "9.9.9.10:5483",
    ]
    allowed, refused = select(listed, [parse("8.8.4.4:5483")])
    assert allowed == [Endpoint("8.8.8.8", 5483), Endpoint("1.1.1.1", 5483)]
    assert refused == {
        DialBan.UNPARSABLE: 2,
        DialBan.DUPLICATE: 1,
        DialBan.LOOPBACK: 1,
        DialBan.LOW_PORT: 1,
        DialBan.PORT_ZERO: 1,
        DialBan.TOO_MANY: 2,
    }


def test_selection_of_nothing_is_empty() -> None:
    assert select([], []) == ([], {})
