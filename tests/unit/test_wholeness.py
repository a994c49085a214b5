"""A network is called whole exactly when it is; mail lost, doubled or astray is seen."""

from __future__ import annotations

import itertools
from collections import Counter
from hashlib import sha256
from random import Random

import pytest

from routing.limits import GROUP_SIZE
from routing.mail import Mail, Stream
from routing.names import bucket_index, nearest
from routing.table import BUCKET_SIZE
from routing.wholeness import connections_bound, pairs_of, why_not_filled, why_not_whole

__all__: list[str] = []


def names_of(count: int) -> list[bytes]:
    return [sha256(bytes([number])).digest() for number in range(count)]


def everybody_holds_all(count: int) -> dict[bytes, set[bytes]]:
    names = names_of(count)
    return {own: {name for name in names if name != own} for own in names}


def cut(held: dict[bytes, set[bytes]], one: bytes, other: bytes) -> None:
    held[one].discard(other)
    held[other].discard(one)


@pytest.mark.parametrize("count", [1, 2, 8, 9, 30])
def test_full_mesh_is_whole(count: int) -> None:
    held = everybody_holds_all(count)
    assert why_not_whole(held) is None
    assert len(pairs_of(held)) == count * (count - 1) // 2


def test_missing_neighbour_is_seen() -> None:
    held = everybody_holds_all(30)
    own = names_of(1)[0]
    cut(held, own, nearest(own, held.keys() - {own}, 8)[-1])
    assert "lacks" in str(why_not_whole(held))


def test_missing_far_node_is_no_fault_while_its_bucket_holds_two() -> None:
    held = everybody_holds_all(30)
    own = names_of(1)[0]
    far = [name for name in held if bucket_index(own, name) == 0]
    for name in far[2:]:
        groups = (nearest(a, held.keys() - {a}, GROUP_SIZE) for a in (own, name))
        if name not in next(groups) and own not in next(groups):
            cut(held, own, name)
            break
    else:
        pytest.fail("the names leave nothing to cut")
    assert why_not_whole(held) is None


def test_empty_bucket_is_seen() -> None:
    held = everybody_holds_all(30)
    own = names_of(1)[0]
    for name in held:
        if bucket_index(own, name) == 0:
            cut(held, own, name)
    assert str(why_not_whole(held)).endswith("in its bucket 0")


def test_dead_name_is_seen() -> None:
    held = everybody_holds_all(5)
    dead = names_of(1)[0]
    del held[dead]
    assert "dead" in str(why_not_whole(held))


def test_one_sided_connection_is_seen() -> None:
    held = everybody_holds_all(3)
    held[names_of(1)[0]].clear()
    assert "does not hold it" in str(why_not_whole(held))


def thinned(count: int) -> dict[bytes, set[bytes]]:
    """Return a network whose nodes hold their close groups, and 8 of each bucket if both can."""
    held: dict[bytes, set[bytes]] = {name: set() for name in names_of(count)}
    sizes: Counter[tuple[bytes, int]] = Counter()

    def link(one: bytes, other: bytes) -> None:
        if other not in held[one]:
            held[one].add(other)
            held[other].add(one)
            bucket = bucket_index(one, other)
            sizes.update([(one, bucket), (other, bucket)])

    for own in held:
        for name in nearest(own, held.keys() - {own}, GROUP_SIZE):
            link(own, name)
    for one, other in itertools.combinations(held, 2):
        bucket = bucket_index(one, other)
        if max(sizes[one, bucket], sizes[other, bucket]) < BUCKET_SIZE:
            link(one, other)
    return held


@pytest.mark.parametrize("count", [1, 2, 9, 12, 30])
def test_full_mesh_is_filled_while_it_is_small(count: int) -> None:
    assert why_not_filled(everybody_holds_all(count)) is None


def test_nobody_lacks_whoever_has_no_place_for_him() -> None:
    held = thinned(60)
    assert why_not_filled(held) is None
    assert len(pairs_of(held)) < 60 * 59 // 2, "not everybody holds everybody"


def test_pair_with_room_at_both_ends_is_seen() -> None:
    held = thinned(60)
    one, other = next(
        pair
        for pair in itertools.combinations(held, 2)
        if pair[1] in held[pair[0]]
        and bucket_index(*pair) == 0
        and all(sum(bucket_index(own, n) == 0 for n in held[own]) <= 8 for own in pair)
    )
    cut(held, one, other)
    assert str(why_not_filled(held)).endswith("both have room in bucket 0")


def test_more_connections_than_a_network_of_its_size_needs_are_seen() -> None:
    held = everybody_holds_all(100)
    assert str(why_not_filled(held)).endswith("holds 99, more than 69")
    assert connections_bound(1) == 16 and connections_bound(1_024) == 96


def posted() -> tuple[Mail, list[tuple[str, int]]]:
    """Return mail among three nodes and one client, with who ought to get what."""
    mail, names = Mail(), dict(enumerate(names_of(3)))
    expected = [
        (letter.id, next(index for index, name in names.items() if name.hex() == letter.name))
        for sender in names
        for letter in mail.round_robin(sender, names)
    ]
    group = mail.to_group(0, bytes(32), names)
    expected += [(group.id, index) for index in names]
    asked = mail.asked(0, names)
    expected += [(letter.id, index) for index, letter in enumerate(asked)]
    for id, index in expected:
        mail.arrived(index, [id])
    mail.replied(0, [letter.id for letter in asked])
    return mail, expected


def test_mail_that_all_arrived_once_is_complete() -> None:
    mail, expected = posted()
    assert mail.sent == 6 + 3 + 3 + 3 == len(expected) + 3
    assert mail.complete


@pytest.mark.parametrize("kind", ["twice", "astray"])
def test_mail_too_much_is_seen(kind: str) -> None:
    mail, expected = posted()
    id, receiver = expected[0]
    mail.arrived(receiver if kind == "twice" else 99, [id])
    assert mail.delivered == mail.sent - 1
    assert id in mail.trouble()


def test_missing_mail_is_seen() -> None:
    mail, names = Mail(), dict(enumerate(names_of(3)))
    letters = list(itertools.chain(*(mail.round_robin(sender, names) for sender in names)))
    assert (mail.sent, mail.delivered, mail.complete) == (6, 0, False)
    assert all(letter.id in {"0-1", "0-2", "1-0", "1-2", "2-0", "2-1"} for letter in letters)


def test_group_of_a_large_network_has_eight_receivers() -> None:
    mail, names = Mail(), dict(enumerate(names_of(20)))
    mail.to_group(0, bytes(32), names)
    assert mail.sent == GROUP_SIZE


def streamed(dead: int | None = None) -> tuple[Stream, list[tuple[str, int, int]]]:
    """Return a stream among three nodes, one of them killed, and (id, sender, receiver) of each."""
    names = dict(enumerate(names_of(3)))
    stream = Stream(names, 60, Random(1))
    indices = {name.hex(): index for index, name in names.items()}
    ways = [
        (letter.id, sender, indices[letter.name])
        for sender, letters in stream.letters.items()
        for letter in letters
    ]
    if dead is not None:
        stream.killed(dead)
    return stream, ways


def test_message_that_arrived_once_or_was_reported_is_no_trouble() -> None:
    stream, ways = streamed()
    for number, (id, _, receiver) in enumerate(ways):
        if number % 2:
            stream.arrived(receiver, [id])
        else:
            stream.reported([id])
    counts = stream.count()
    assert (counts["sent"], counts["delivered"], counts["failed"]) == (60, 30, 30)
    assert counts["lost"] == counts["twice"] == 0 and stream.trouble() == ""


def test_message_neither_delivered_nor_reported_is_lost() -> None:
    stream, ways = streamed()
    for id, _, receiver in ways[1:]:
        stream.arrived(receiver, [id])
    assert stream.count()["lost"] == 1 and f"{ways[0][0]} lost" in stream.trouble()


def test_message_delivered_twice_is_seen_though_it_was_reported() -> None:
    stream, ways = streamed()
    for id, _, receiver in ways:
        stream.arrived(receiver, [id])
    stream.arrived(ways[0][2], [ways[0][0]])
    stream.reported([ways[0][0]])
    assert stream.count()["twice"] == 1 and f"{ways[0][0]} twice" in stream.trouble()


def test_message_at_the_wrong_node_and_report_of_none_are_seen() -> None:
    stream, ways = streamed()
    for id, _, receiver in ways:
        stream.arrived(receiver, [id])
    stream.arrived(99, [ways[0][0]])
    stream.reported(["1024 events"])
    assert "1 astray" in stream.trouble() and "1024 events" in stream.trouble()


def test_messages_of_a_killed_sender_and_with_a_killed_receiver_are_counted_apart() -> None:
    stream, ways = streamed(dead=1)
    counts = stream.count()
    assert counts["orphaned"] == sum(sender == 1 for _, sender, _ in ways)
    assert counts["died_with"] == sum(receiver == 1 for _, _, receiver in ways)
    assert counts["sent"] == 60 - counts["orphaned"]
    assert counts["lost"] == counts["sent"] - counts["died_with"]
