"""The contact book: what it remembers, in which order it is tried, what strangers cannot do."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.book import BOOK_BYTES_MAX, CAPACITY_MAX, ContactBook
from routing.endpoints import Endpoint, parse
from routing.errors import BookError, UsageError

__all__: list[str] = []

S = 1_000_000_000


def at(group: int, host: int = 1) -> Endpoint:
    """Return an endpoint; those of one group share a /24."""
    return Endpoint(f"8.{group >> 8}.{group & 255}.{host}", 5483)


def book_of(*endpoints: Endpoint) -> ContactBook:
    book = ContactBook()
    for endpoint in endpoints:
        assert book.learn(endpoint)
    return book


def test_order_is_anchors_then_book_then_configured() -> None:
    book = ContactBook()
    book.configure(at(1))
    book.learn(at(2))
    book.learn(at(3))
    for group in (4, 5, 6, 7):
        book.proved(at(group), 0)
    book.failed(at(3), 0)
    assert book.anchors() == [at(7), at(6)]
    assert book.candidates(60 * S) == [at(g) for g in (7, 6, 5, 4, 2, 3, 1)]


def test_configured_contact_that_was_good_takes_its_place_in_the_book() -> None:
    book = book_of(at(2))
    book.configure(at(1))
    for group in (1, 3, 4):
        book.proved(at(group), 0)
    assert book.candidates(0) == [at(4), at(3), at(1), at(2)]


def test_failing_contact_rests_longer_each_time_up_to_the_bound() -> None:
    book = ContactBook()
    book.configure(at(1))
    now = 0
    for pause in (5, 10, 20, 40, 60, 60, 60, 60, 60, 60):
        book.failed(at(1), now)
        assert book.candidates(now + pause * S - 1) == []
        assert book.next_ready(now) == now + pause * S
        now += pause * S
        assert book.candidates(now) == [at(1)]


def test_contact_dead_for_very_long_still_rests_the_bound() -> None:
    book = ContactBook()
    book.configure(at(1))
    for _ in range(1_000):
        book.failed(at(1), 0)
    assert book.next_ready(0) == 60 * S


def test_resting_contacts_are_still_known() -> None:
    book = book_of(at(1), at(2))
    book.failed(at(1), 0)
    assert book.candidates(0) == [at(2)]
    assert book.all_contacts() == [at(2), at(1)]
    assert book.next_ready(0) == 0


def test_next_ready_of_an_empty_book_is_none() -> None:
    assert ContactBook().next_ready(5) is None


def test_proof_forgives_failures() -> None:
    book = book_of(at(1))
    book.failed(at(1), 0)
    book.proved(at(1), 1 * S)
    assert book.candidates(1 * S) == [at(1)]
    book.failed(at(1), 2 * S)
    assert book.next_ready(2 * S) == 7 * S


def test_stranger_that_never_answers_is_forgotten_after_eight_failures() -> None:
    book = book_of(at(1))
    book.configure(at(2))
    book.proved(at(3), 0)
    for _ in range(8):
        for group in (1, 2, 3):
            book.failed(at(group), 0)
    assert at(1) not in book
    assert at(2) in book
    assert at(3) in book
    assert book.counters == {"forgotten": 1}


def test_failure_of_an_unknown_endpoint_is_ignored() -> None:
    book = ContactBook()
    book.failed(at(1), 0)
    assert len(book) == 0


def test_own_endpoint_is_dropped_for_good() -> None:
    book = book_of(at(1))
    book.configure(at(2))
    book.proved(at(3), 0)
    for group in (1, 2, 3):
        book.mark_self(at(group))
    assert book.all_contacts() == book.anchors() == []
    assert not book.learn(at(1))
    book.configure(at(2))
    book.proved(at(3), 0)
    assert len(book) == 0
    assert book.counters == {"self": 1}


def test_own_endpoints_remembered_are_bounded() -> None:
    book = ContactBook()
    for group in range(257):
        book.mark_self(at(group))
    assert book.learn(at(0))
    assert not book.learn(at(1))


def test_one_network_gets_four_places_until_it_proves_itself() -> None:
    book = book_of(*(at(1, host) for host in range(1, 5)))
    assert not book.learn(at(1, 5))
    assert book.counters == {"group_full": 1}
    assert book.learn(at(2))
    book.proved(at(1, 1), 0)
    assert book.learn(at(1, 5))
    assert not book.learn(at(1, 6))


def test_failed_stranger_gives_its_place_to_another_of_its_network() -> None:
    book = book_of(*(at(1, host) for host in range(1, 5)))
    book.failed(at(1, 3), 0)
    assert book.learn(at(1, 9))
    assert at(1, 3) not in book
    assert len(book) == 4


def test_configured_contacts_do_not_count_for_their_network() -> None:
    book = ContactBook()
    for host in range(1, 10):
        book.configure(at(1, host))
    assert all(book.learn(at(1, host)) for host in range(11, 15))
    assert not book.learn(at(1, 15))
    book.configure(at(1, 11))
    assert book.learn(at(1, 15))


def test_exempt_networks_are_free_of_the_share() -> None:
    book = ContactBook()
    assert all(book.learn(Endpoint("127.0.0.1", port)) for port in range(1024, 1124))
    strict = ContactBook(exempt=())
    assert sum(strict.learn(Endpoint("127.0.0.1", port)) for port in range(1024, 1124)) == 4


def test_given_group_is_counted_instead_of_that_of_the_address() -> None:
    book = ContactBook(per_group=1)
    assert book.learn(at(1), "teller")
    assert not book.learn(at(2), "teller")
    assert book.learn(at(3))


def test_full_book_keeps_what_it_has_against_strangers() -> None:
    book = ContactBook(3)
    assert all(book.learn(at(group)) for group in (1, 2, 3))
    assert not book.learn(at(4))
    assert book.counters == {"book_full": 1}
    book.failed(at(2), 0)
    assert book.learn(at(4))
    assert at(2) not in book


def test_full_book_gives_a_place_of_the_largest_network_to_a_smaller_one() -> None:
    book = ContactBook(4)
    assert all(book.learn(at(1, host)) for host in (1, 2, 3))
    assert book.learn(at(2))
    assert book.learn(at(3))
    assert at(1, 1) not in book
    assert book.learn(at(4))
    assert at(1, 2) not in book
    assert not book.learn(at(5))
    assert book.all_contacts() == [at(1, 3), at(2), at(3), at(4)]


def test_place_is_taken_from_the_largest_network_and_not_from_the_oldest_contact() -> None:
    book = ContactBook(4)
    assert all(book.learn(endpoint) for endpoint in (at(9), at(1, 1), at(1, 2), at(1, 3)))
    assert book.learn(at(2))
    assert at(9) in book
    assert at(1, 1) not in book


def test_contact_that_let_us_in_for_nothing_is_no_anchor_and_comes_behind_the_others() -> None:
    book = ContactBook()
    for group in (1, 2, 3):
        book.configure(at(group))
    for group in (1, 2):
        book.proved(at(group), 0)
        book.disappointed(at(group), 0)
    assert book.anchors() == []
    assert book.candidates(0) == [at(3)], "the others rest"
    assert book.all_contacts()[0] == at(3)
    book.disappointed(at(9), 0)
    assert at(9) not in book
    book.proved(at(2), 10)
    assert book.anchors() == [at(2)]


def test_anchor_is_kept_however_often_it_fails() -> None:
    book = ContactBook(3)
    book.proved(at(1), 0)
    for _ in range(20):
        book.failed(at(1), 0)
    for group in range(2, 20):
        book.learn(at(group))
    assert book.anchors() == [at(1)]


def test_loaded_snapshot_is_the_same_book_and_goes_on_alike() -> None:
    book = ContactBook(5)
    book.configure(at(1))
    book.proved(at(2), 0)
    assert all(book.learn(at(3, host)) for host in (1, 2, 3))
    book.failed(at(3, 2), 7)
    book.mark_self(at(4))
    again = ContactBook(5)
    again.learn(at(99))
    again.load(book.snapshot())
    assert again.snapshot() == book.snapshot()
    assert again.all_contacts() == book.all_contacts()
    for each in (book, again):
        assert each.learn(at(5))
        assert not each.learn(at(4))
        each.proved(at(6), 9)
    assert again.snapshot() == book.snapshot()
    assert again.encode() == book.encode()


def test_flood_of_strangers_displaces_nothing_proved_or_configured() -> None:
    book = ContactBook(20)
    proven = [at(group) for group in range(10)]
    for endpoint in proven:
        book.proved(endpoint, 0)
    book.configure(at(500))
    for group in range(1_000, 6_000):
        book.learn(at(group))
        book.failed(at(group), 0)
    assert all(endpoint in book for endpoint in [*proven, at(500)])
    assert len(book) == 21


def test_proved_newcomer_takes_the_place_of_a_stranger_then_of_the_stalest() -> None:
    book = ContactBook(3)
    book.proved(at(1), 0)
    book.proved(at(2), 0)
    book.learn(at(3))
    book.proved(at(4), 0)
    assert at(3) not in book
    book.proved(at(5), 0)
    assert at(1) not in book
    assert book.all_contacts() == [at(5), at(4), at(2)]


def test_contact_that_was_good_long_ago_and_fails_gives_way() -> None:
    book = ContactBook(3)
    for group in (1, 2, 3):
        book.proved(at(group), 0)
    for _ in range(8):
        book.failed(at(1), 0)
    assert book.learn(at(4))
    assert at(1) not in book


def test_more_configured_contacts_than_the_capacity_are_refused() -> None:
    book = ContactBook(3)
    for group in (1, 2, 3, 3):
        book.configure(at(group))
    with pytest.raises(UsageError, match="exceeds the 3 that can be configured"):
        book.configure(at(4))
    assert book.learn(at(5))


@pytest.mark.parametrize(
    ("arguments", "bound"),
    [
        ({"capacity": 2}, "must be 3 to 10000"),
        ({"capacity": CAPACITY_MAX + 1}, "must be 3 to 10000"),
        ({"per_group": 0}, "must be positive"),
        ({"backoff_first": 0}, "must be positive"),
        ({"backoff_first": 2, "backoff_last": 1}, "at most 1"),
    ],
)
def test_bounds_of_the_book_are_checked(arguments: dict[str, int], bound: str) -> None:
    with pytest.raises(UsageError, match=bound):
        ContactBook(**arguments)  # type: ignore[arg-type]


# -- the file


def test_book_survives_its_file_in_order_and_rested() -> None:
    book = book_of(at(1), at(2))
    book.configure(at(3))
    book.configure(at(4))
    for group in (4, 5, 6, 7):
        book.proved(at(group), 0)
    book.failed(at(2), 0)
    again = ContactBook.decode(book.encode())
    # The configured contact that was never good is the configuration's to name.
    assert again.candidates(0) == [at(g) for g in (7, 6, 5, 4, 1, 2)]
    assert again.anchors() == [at(7), at(6)]
    assert again.encode() == book.encode()


def test_own_endpoints_are_not_kept_in_the_file() -> None:
    book = book_of(at(1))
    book.mark_self(at(1))
    assert ContactBook.decode(book.encode()).learn(at(1))


def test_largest_book_fits_its_file() -> None:
    book = ContactBook(CAPACITY_MAX)
    for number in range(CAPACITY_MAX):
        host = f"2a00:1111:{number + 4096:x}:ff00:ffff:ffff:ffff:ffff"
        assert book.learn(Endpoint(host, 65_535))
    content = book.encode()
    assert len(content) <= BOOK_BYTES_MAX
    assert len(ContactBook.decode(content, CAPACITY_MAX)) == CAPACITY_MAX


def test_file_of_a_larger_book_gives_its_best_contacts() -> None:
    book = ContactBook(100)
    for group in range(50):
        book.proved(at(group), 0)
    assert ContactBook.decode(book.encode(), 3).all_contacts() == [at(49), at(48), at(47)]


def sealed(body: bytes, version: bytes = b"1") -> bytes:
    return b"routing book " + version + b" " + sha256(body).hexdigest().encode() + b"\n" + body


DAMAGED = [
    (b"", "is no contact book"),
    (bytes(100), "is no contact book"),
    (b"x" * (BOOK_BYTES_MAX + 1), "more than 1048576"),
    (b"routing book 1", "checksum does not fit"),
    (sealed(b"{}", b"2"), "has version '2', this is '1'"),
    (sealed(b"{}")[:-1], "checksum does not fit"),
    (sealed(b"{}"), "is damaged"),
    (sealed(b"\xff\xfe"), "is damaged"),
    (sealed(b'{"anchors":["\xff"],"contacts":[]}'), "is damaged"),
    (sealed(b"[" * 100_000), "is damaged"),
    (sealed(b'{"anchors":[],"contacts":[],"more":1}'), "is damaged"),
    (sealed(b'{"anchors":["localhost:1"],"contacts":[]}'), "not an IP literal"),
    (sealed(b'{"anchors":[],"contacts":[["junk",true,0]]}'), "has no port"),
    (sealed(b'{"anchors":[],"contacts":[["8.8.8.8:80",1,0]]}'), "is damaged"),
    (sealed(b'{"anchors":[],"contacts":[["8.8.8.8:80",true]]}'), "is damaged"),
]


@pytest.mark.parametrize(("content", "fault"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_content_is_refused_with_its_fault(content: bytes, fault: str) -> None:
    with pytest.raises(BookError, match=fault) as caught:
        ContactBook.decode(content)
    assert "\n" not in str(caught.value)


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    content = bytearray(book_of(at(1), at(2)).encode())
    index = data.draw(st.integers(0, len(content) - 1))
    content[index] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BookError):
        ContactBook.decode(bytes(content))


def test_counts_beyond_their_bounds_in_a_file_are_clamped() -> None:
    body = b'{"anchors":[],"contacts":[["8.8.8.8:80",true,%d],["8.8.9.8:80",true,-5]]}' % 2**62
    book = ContactBook.decode(sealed(body))
    assert book.all_contacts() == [parse("8.8.8.8:80"), parse("8.8.9.8:80")]
    book.failed(parse("8.8.8.8:80"), 0)
    assert book.next_ready(0) == 0


def test_equal_books_have_equal_snapshots_and_others_not() -> None:
    one, other = book_of(at(1), at(2)), book_of(at(1), at(2))
    assert one.snapshot() == other.snapshot()
    one.failed(at(1), 0)
    assert one.snapshot() != other.snapshot()
    other.failed(at(1), 1)
    assert one.snapshot() != other.snapshot()


# -- bounds under any history

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["learn", "learn", "learn", "proved", "failed", "self", "configure"]),
        st.integers(0, 5),
        st.integers(1, 6),
        st.integers(0, 20),
    ),
    max_size=120,
)


@given(STEPS)
def test_bounds_hold_under_any_history(steps: list[tuple[str, int, int, int]]) -> None:
    book = ContactBook(8, 3)
    configured: set[Endpoint] = set()
    selves: set[Endpoint] = set()
    proved: set[Endpoint] = set()
    now = 0
    for step, group, host, pause in steps:
        now += pause * S
        endpoint = at(group, host)
        match step:
            case "learn":
                assert book.learn(endpoint) == (endpoint in book)
            case "proved":
                book.proved(endpoint, now)
                proved.add(endpoint)
                assert endpoint in selves or book.candidates(now)[0] == endpoint
            case "failed":
                book.failed(endpoint, now)
                assert endpoint not in book.candidates(now)
            case "self":
                book.mark_self(endpoint)
                selves.add(endpoint)
            case _ if len(configured) < 8:
                book.configure(endpoint)
                configured.add(endpoint)
        known = book.all_contacts()
        assert len(known) == len(set(known)) == len(book)
        assert set(known).isdisjoint(selves)
        assert configured - selves <= set(known)
        assert len(set(known) - configured) <= 8
        strangers = [each.host.rpartition(".")[0] for each in set(known) - configured - proved]
        assert all(strangers.count(each) <= 3 for each in strangers)
        assert len(book.anchors()) <= 2
        assert set(book.anchors()) <= set(known)
        ready = book.next_ready(now)
        assert (ready is None) == (not known)
        assert (ready == now) == bool(book.candidates(now))
    assert ContactBook.decode(book.encode(), 8, 3).encode() == book.encode()
