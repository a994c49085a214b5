"""Who is new in the group around a record follows from what was known and what is known."""

from __future__ import annotations

from hashlib import sha256

from routing.events import Churn
from routing.handover import group_around, newcomers
from routing.names import nearest

__all__: list[str] = []

NAMES = sorted(sha256(bytes([number])).digest() for number in range(40))
ELEMENT = bytes(32)
"""The names are sorted, and so by their distance to it."""
OWN, GROUP = NAMES[3], NAMES[:8]


def test_group_is_the_eight_nearest_of_those_known() -> None:
    assert group_around(ELEMENT, reversed(NAMES)) == GROUP
    assert group_around(ELEMENT, NAMES[:3]) == NAMES[:3]


def test_nobody_is_new_where_nothing_changed_that_is_near() -> None:
    assert newcomers(ELEMENT, own=OWN, before=NAMES[:20], after=NAMES[:30]) == []
    assert newcomers(ELEMENT, own=OWN, before=NAMES, after=NAMES[:9]) == []


def test_who_takes_the_place_of_one_that_left_is_new() -> None:
    after = [name for name in NAMES if name not in (NAMES[0], NAMES[5])]
    assert newcomers(ELEMENT, own=OWN, before=NAMES, after=after) == NAMES[8:10]


def test_who_came_nearer_than_others_is_new_and_nearest_comes_first() -> None:
    before = [name for name in NAMES if name not in (NAMES[6], NAMES[1])]
    assert newcomers(ELEMENT, own=OWN, before=before, after=NAMES) == [NAMES[1], NAMES[6]]


def test_everybody_but_ourselves_is_new_the_first_time() -> None:
    expected = [name for name in GROUP if name != OWN]
    assert newcomers(ELEMENT, own=OWN, before=[], after=NAMES) == expected


def test_record_of_others_is_no_concern_of_ours() -> None:
    assert newcomers(ELEMENT, own=NAMES[30], before=NAMES[10:], after=NAMES) == []


def test_record_that_others_keep_from_now_on_is_handed_over_to_them() -> None:
    own = NAMES[8]
    before = [name for name in NAMES if name != NAMES[2]]
    assert own in group_around(ELEMENT, before) and own not in group_around(ELEMENT, NAMES)
    assert newcomers(ELEMENT, own=own, before=before, after=NAMES) == [NAMES[2]]


def test_churn_says_to_whom_a_record_is_to_be_sent() -> None:
    after = (OWN, *(name for name in NAMES if name not in (OWN, NAMES[0])))
    churn = Churn((), "", before=(OWN, *NAMES[:3], *NAMES[4:]), after=after)
    assert churn.concerns(ELEMENT) == (NAMES[8],)
    assert churn.concerns(NAMES[39]) == ()
    assert Churn((), "").concerns(ELEMENT) == ()


def test_churn_that_people_see_does_not_list_the_whole_table() -> None:
    assert "before" not in repr(Churn((), "", before=tuple(NAMES), after=tuple(NAMES)))


def test_order_of_what_is_known_does_not_matter() -> None:
    backwards = newcomers(ELEMENT, own=OWN, before=NAMES[39:4:-1], after=NAMES[::-1])
    assert backwards == newcomers(ELEMENT, own=OWN, before=NAMES[5:], after=NAMES)
    assert backwards == nearest(ELEMENT, [n for n in NAMES[:5] if n != OWN], 8)
