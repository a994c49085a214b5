"""Who holds the most gives way, with his own oldest; nobody else does."""

from __future__ import annotations

from random import Random

from routing.shares import Shares

__all__: list[str] = []

A, B, C = b"a", b"b", b"c"


def item(number: int) -> bytes:
    return number.to_bytes(2, "big")


def test_nothing_gives_way_within_the_bound() -> None:
    shares = Shares(100)
    shares.put(A, item(1), 100)
    assert shares.victim() is None and shares.bytes == 100


def test_oldest_of_the_largest_gives_way() -> None:
    shares = Shares(100)
    shares.put(B, item(9), 40)
    for number in range(3):
        shares.put(A, item(number), 30)
    assert shares.victim() == (A, item(0))
    shares.remove(A, item(0))
    assert shares.victim() is None and shares.bytes == 100


def test_item_keeps_its_place_when_its_size_changes() -> None:
    shares = Shares(10)
    for number in range(3):
        shares.put(A, item(number), 5)
    shares.put(A, item(0), 6)
    assert shares.victim() == (A, item(0)) and shares.bytes == 16


def test_what_is_not_here_is_removed_without_a_word() -> None:
    shares = Shares(10)
    shares.remove(A, item(1))
    shares.put(A, item(1), 5)
    shares.remove(A, item(2))
    shares.remove(B, item(1))
    assert shares.bytes == 5


def test_sum_is_right_after_any_story() -> None:
    random = Random(5)
    shares = Shares(500)
    held: dict[tuple[bytes, bytes], int] = {}
    for _ in range(2_000):
        owner, what = random.choice([A, B, C]), item(random.randrange(30))
        if random.random() < 0.4:
            shares.remove(owner, what)
            held.pop((owner, what), None)
        else:
            size = random.randrange(1, 60)
            shares.put(owner, what, size)
            held[owner, what] = size
        while (victim := shares.victim()) is not None:
            owners = {o: sum(s for (w, _), s in held.items() if w == o) for o in (A, B, C)}
            assert owners[victim[0]] == max(owners.values())
            shares.remove(*victim)
            del held[victim]
        assert shares.bytes == sum(held.values()) <= 500
    shares.clear()
    assert shares.bytes == 0 and shares.victim() is None
