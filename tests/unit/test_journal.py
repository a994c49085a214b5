"""What answers "why": counts and the last decisions about each peer, bounded."""

from __future__ import annotations

from routing.journal import NOTES_MAX, SUBJECTS_MAX, Journal
from routing.limits import SECOND

__all__: list[str] = []


def subject(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_counts_add_up_by_name() -> None:
    journal = Journal()
    for what in ("a", "b", "a"):
        journal.count(what)
    assert journal.counters == {"a": 2, "b": 1}


def test_decisions_are_explained_oldest_first_with_their_times() -> None:
    journal = Journal()
    journal.note(subject(1), 0, "asked")
    journal.note(subject(1), SECOND * 3 // 2, "refused")
    assert journal.explain(subject(1)) == ["0.000 s asked", "1.500 s refused"]


def test_nothing_is_known_of_a_stranger() -> None:
    assert Journal().explain(subject(1)) == []


def test_oldest_decisions_of_a_peer_make_room() -> None:
    journal = Journal()
    for number in range(NOTES_MAX + 3):
        journal.note(subject(1), 0, str(number))
    told = journal.explain(subject(1))
    assert len(told) == NOTES_MAX and told[0] == "0.000 s 3"


def test_peer_longest_without_news_is_forgotten_first() -> None:
    journal = Journal()
    for number in range(SUBJECTS_MAX):
        journal.note(subject(number), 0, "met")
    journal.note(subject(0), 1, "met again")
    journal.note(subject(SUBJECTS_MAX), 1, "met")
    assert journal.explain(subject(1)) == []
    assert len(journal.explain(subject(0))) == 2
    assert journal.explain(subject(2)) != []


def test_forgotten_peer_starts_anew() -> None:
    journal = Journal()
    for number in range(SUBJECTS_MAX + 1):
        journal.note(subject(number), 0, "met")
    journal.note(subject(0), 1, "again")
    assert journal.explain(subject(0)) == ["0.000 s again"]


def test_repr_shows_short_names_only() -> None:
    journal = Journal()
    journal.note(b"\xab" * 32, 0, "met")
    assert repr(journal) == "Journal(0 counters, ['abababab'])"
