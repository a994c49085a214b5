"""The routing table: what enters, what is near, and who is the next hop."""

from __future__ import annotations

import pytest

from routing.errors import UsageError
from routing.names import flip_bit, nearest
from routing.table import RoutingTable

__all__: list[str] = []

OWN = bytes(32)


def at(number: int) -> bytes:
    """Return the name at this distance from `OWN`."""
    return number.to_bytes(32, "big")


def filled(*numbers: int) -> RoutingTable:
    table = RoutingTable(OWN)
    for number in numbers:
        table.add(at(number), b"key" + at(number), number)
    return table


def in_bucket(index: int, count: int) -> list[int]:
    """Return distances that all fall into one bucket."""
    return [(1 << 255 - index) + extra for extra in range(count)]


def test_own_name_never_enters() -> None:
    with pytest.raises(UsageError, match="is our own"):
        RoutingTable(OWN).add(OWN, b"key", 1)


def test_name_key_and_token_enter_once() -> None:
    table = filled(5)
    with pytest.raises(UsageError, match="name 00000000 is in the table"):
        table.add(at(5), b"other", 9)
    with pytest.raises(UsageError, match="key 6b657900 is in the table"):
        table.add(at(6), b"key" + at(5), 9)
    with pytest.raises(UsageError, match="token 0x5 is in the table"):
        table.add(at(6), b"other", 5)
    assert table.snapshot() == [(at(5), b"key" + at(5), 5)]
    assert table.bucket_size(253) == 1


def test_name_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError, match="name of 3 bytes"):
        RoutingTable(b"abc")
    with pytest.raises(UsageError, match="name of 31 bytes"):
        RoutingTable(OWN).add(bytes(31), b"key", 1)


def test_removed_peer_is_gone_from_every_index() -> None:
    table = filled(5)
    assert table.remove(at(5)) == 5
    assert table.remove(at(5)) is None
    assert at(5) not in table
    assert len(table) == 0
    assert table.name_of_token(5) is None
    assert table.name_of_key(b"key" + at(5)) is None
    assert table.token(at(5)) is None
    assert table.key(at(5)) is None
    table.add(at(5), b"key" + at(5), 5)


def test_own_name_is_told() -> None:
    assert RoutingTable(at(77)).own == at(77)


def test_names_come_nearest_first_and_the_close_group_is_their_head() -> None:
    table = filled(30, 1, 20, 2, 10, 3, 9, 4, 8, 5)
    assert table.names() == [at(n) for n in (1, 2, 3, 4, 5, 8, 9, 10, 20, 30)]
    assert table.close_group() == [at(n) for n in (1, 2, 3, 4, 5, 8, 9, 10)]


def test_group_holds_ourselves_where_we_belong() -> None:
    table = filled(1, 2, 3)
    assert table.group(at(2)) == [at(2), at(3), OWN, at(1)]
    assert table.group(at(2), 2) == [at(2), at(3)]
    assert table.group(at(2), 3) == [at(2), at(3), OWN]
    assert table.group(at(2), including_self=False) == [at(2), at(3), at(1)]
    assert table.group(OWN, 1) == [OWN]
    assert table.group(OWN, 0) == []


def test_empty_table_gives_a_group_of_ourselves() -> None:
    table = RoutingTable(OWN)
    assert table.group(at(9)) == [OWN]
    assert table.group(at(9), including_self=False) == []
    assert table.next_hop(at(9)) is None


def test_next_hop_is_the_destination_itself_if_we_hold_it() -> None:
    assert filled(4, 5, 6).next_hop(at(5)) == at(5)


def test_next_hop_is_none_when_nobody_is_strictly_nearer() -> None:
    table = filled(8, 16)
    assert table.next_hop(at(1)) is None
    assert table.next_hop(OWN) is None
    assert filled(1).next_hop(at(2)) is None
    assert filled(1).next_hop(at(3)) == at(1)


def test_next_hop_leaves_out_the_excluded() -> None:
    table = filled(4, 5, 6, 8)
    assert table.next_hops(at(7)) == [at(6), at(5), at(4)]
    assert table.next_hop(at(7), [at(6)]) == at(5)
    assert table.next_hop(at(7), {at(6), at(5), at(4)}) is None


def test_what_is_no_entry_leaves_nobody_out() -> None:
    table = filled(4, 5, 6, 8)
    for exclude in ([b""], (b"short", at(9)), {OWN}, {at(n) for n in range(100, 400)}):
        assert table.next_hop(at(7), exclude) == at(6)
        assert table.next_hops(at(7), exclude) == [at(6), at(5), at(4)]
    assert table.next_hop(at(7), [b"", at(6)]) == at(5)


def test_group_asked_for_nobody_is_empty() -> None:
    table = filled(1, 2, 3)
    for ours in (True, False):
        assert table.group(at(2), 0, ours) == []
        assert table.group(at(2), -1, ours) == []
        assert table.group(OWN, -5, ours) == []


def test_own_name_is_no_entry_to_anybody_who_asks() -> None:
    table = filled(*range(1, 21))
    for count in (1, 8, 20, 21, 1 << 70):
        assert OWN not in table.group(OWN, count, including_self=False)
        assert len(table.group(at(3), count, including_self=False)) == min(count, 20)
    assert len(table.group(at(3), 1 << 70)) == 21
    assert OWN not in table
    assert len(table) == 20
    assert OWN not in (*table.names(), *table.by_age(), *table.close_group(), *table.next_hops(OWN))
    assert all(OWN not in table.bucket(index) for index in range(256))
    assert table.remove(OWN) is None
    assert table.token(OWN) is None
    assert table.group(OWN, 2) == [OWN, at(1)]


def test_targets_of_another_length_are_refused() -> None:
    table = filled(1, 2)
    for ask in (table.group, table.next_hop, table.next_hops, table.wanted):
        with pytest.raises(UsageError, match="name of 31 bytes must have exactly 32"):
            ask(bytes(31))


@pytest.mark.parametrize("token", [0, -1, 1 << 64, 1 << 200])
def test_token_is_kept_as_it_is(token: int) -> None:
    table = RoutingTable(OWN)
    table.add(at(1), b"key", token)
    assert table.token(at(1)) == token
    assert table.name_of_token(token) == at(1)
    assert table.next_hop(at(1)) == at(1)
    assert table.remove(at(1)) == token


def test_refused_entry_leaves_no_trace() -> None:
    table = filled(5)
    for name, key, token in ((6, 5, 9), (6, 9, 5), (5, 9, 9), (0, 9, 9)):
        with pytest.raises(UsageError):
            table.add(at(name), b"key" + at(key), token)
        assert table.names() == table.by_age() == [at(5)]
        assert table.group(at(6)) == [at(5), OWN]
        assert table.next_hop(at(6)) == at(5)
    table.add(at(6), b"key" + at(6), 6)
    assert table.next_hop(at(6)) == at(6)


def test_peer_that_comes_back_is_the_youngest() -> None:
    table = filled(*range(1, 9), *in_bucket(0, 9))
    first, last = at(in_bucket(0, 9)[0]), at(in_bucket(0, 9)[-1])
    assert table.surplus() == last
    token = table.remove(first)
    assert token is not None
    assert table.surplus() is None
    table.add(first, b"again", token)
    assert table.surplus() == first
    assert table.by_age()[-1] == first


def test_bucket_holds_those_with_that_many_shared_bits() -> None:
    table = filled(1, 2, 3, 4, 7)
    assert table.bucket(255) == [at(1)]
    assert table.bucket(254) == [at(2), at(3)]
    assert table.bucket(253) == [at(4), at(7)]
    assert [table.bucket_size(index) for index in (252, 253, 254, 255)] == [0, 2, 2, 1]


@pytest.mark.parametrize("index", [-1, 256])
def test_bucket_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(UsageError, match=f"bucket {index} must be 0 to 255"):
        RoutingTable(OWN).bucket(index)
    with pytest.raises(UsageError, match=f"bucket {index} must be 0 to 255"):
        RoutingTable(OWN).bucket_size(index)


def test_full_bucket_wants_nobody_but_the_close_group_does() -> None:
    near = list(range(1, 9))
    far = in_bucket(0, 10)
    table = filled(*near, *far[:7])
    assert table.wanted(at(far[8]))
    table = filled(*near, *far[:8])
    assert not table.wanted(at(far[8]))
    assert table.wanted(at(near[-1] + 1)) is True
    assert table.wanted(at(far[0]))  # weighed as if it were not there
    assert not table.wanted(OWN)


def test_neighbour_is_wanted_however_full_its_bucket_is() -> None:
    crowd = in_bucket(3, 12)
    table = filled(*crowd[1:])
    assert table.wanted(at(crowd[0]))
    assert not table.wanted(at(crowd[-1] + 1))


def test_surplus_is_the_youngest_of_the_fullest_bucket_and_never_close() -> None:
    near = list(range(1, 9))
    fuller, full = in_bucket(0, 10), in_bucket(1, 9)
    table = filled(*near, *reversed(fuller), *full)
    assert table.surplus() == at(fuller[0])
    assert table.is_surplus(at(full[0]))
    assert not table.is_surplus(at(near[0]))
    assert not table.is_surplus(at(12345))
    table.remove(at(fuller[0]))
    assert table.surplus() == at(full[-1])
    table.remove(at(full[-1]))
    assert table.surplus() == at(fuller[1])
    table.remove(at(fuller[1]))
    assert table.surplus() is None


def test_close_group_is_no_surplus_even_if_its_bucket_overflows() -> None:
    crowd = in_bucket(3, 12)
    table = filled(*crowd)
    assert not table.is_surplus(at(crowd[7]))
    assert table.is_surplus(at(crowd[8]))
    assert table.surplus() == at(crowd[11])


def test_beyond_eight_are_the_youngest_of_the_fullest_bucket_first_and_never_the_oldest() -> None:
    near = list(range(1, 9))
    fuller, full = in_bucket(0, 10), in_bucket(1, 9)
    table = filled(*near, *reversed(fuller), *full)
    assert table.beyond(8) == [at(fuller[0]), at(fuller[1]), at(full[-1])]
    assert table.beyond(9) == [at(fuller[0])]
    assert table.beyond(10) == []


def test_beyond_leaves_the_close_group_out() -> None:
    crowd = in_bucket(3, 12)
    table = filled(*reversed(crowd))
    assert table.beyond(8) == [at(each) for each in crowd[8:]], "the nearest are the youngest here"
    assert table.beyond(0) == table.beyond(8)


def test_near_is_whose_close_group_we_may_be_in() -> None:
    table = filled(*in_bucket(0, 9), *range(1, 4))
    crowded, lonely = in_bucket(0, 9)[0], 1 << 254
    assert not table.is_near(at(crowded))
    assert table.is_near(at(lonely)) and table.is_near(at(1))


@pytest.mark.parametrize("place", [6, 7])
def test_youngest_is_no_surplus_while_it_is_close(place: int) -> None:
    crowd = in_bucket(3, 12)
    youngest = crowd.pop(place)
    table = filled(*crowd, youngest)
    assert table.surplus() == at(crowd[-1])


def test_table_added_by_age_is_the_same_table() -> None:
    table = filled(*reversed(in_bucket(0, 12)), 1, 2, 3, 4, 5, 6, 7, 8)
    again = RoutingTable(OWN)
    for name in table.by_age():
        key, token = table.key(name), table.token(name)
        assert key is not None and token is not None
        again.add(name, key, token)
    assert again.snapshot() == table.snapshot()
    assert again.surplus() == table.surplus()


def test_walk_agrees_with_sorting_on_a_table_of_full_size() -> None:
    own = flip_bit(OWN, 77, b"\x5a" * 32)
    table = RoutingTable(own)
    names = [flip_bit(own, i % 200, bytes([i, 255 - i]) * 16) for i in range(256)]
    for token, name in enumerate(dict.fromkeys(names), 1):
        table.add(name, name, token)
    for name in names:
        target = flip_bit(name, 250, bytes(32))
        assert table.group(target) == nearest(target, [*table.names(), own], 8)
