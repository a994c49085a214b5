"""Named deadlines: each name once, fired in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from routing.alarms import Alarm, Alarms

__all__: list[str] = []

A, B = ("kind", b"a"), ("kind", b"b")


def fired(alarms: Alarms, now: int) -> list[Alarm]:
    due = []
    while (alarm := alarms.pop_due(now)) is not None:
        due.append(alarm)
    return due


def test_alarm_is_due_at_its_time_and_not_before() -> None:
    alarms = Alarms()
    alarms.set(A, 5)
    assert alarms.pop_due(4) is None
    assert alarms.pop_due(5) == A
    assert alarms.pop_due(5) is None


def test_setting_a_name_again_moves_it() -> None:
    alarms = Alarms()
    alarms.set(A, 5)
    alarms.set(A, 9)
    assert alarms.at(A) == 9 and len(alarms) == 1
    assert alarms.pop_due(8) is None


def test_cancelled_alarm_never_fires_and_cancelling_nothing_is_harmless() -> None:
    alarms = Alarms()
    alarms.cancel(A)
    alarms.set(A, 5)
    alarms.cancel(A)
    assert A not in alarms and alarms.at(A) is None and alarms.first is None
    assert alarms.pop_due(100) is None


def test_ties_fire_in_the_order_they_were_set() -> None:
    alarms = Alarms()
    alarms.set(B, 5)
    alarms.set(A, 5)
    assert fired(alarms, 5) == [B, A]


def test_name_moved_to_the_same_time_goes_behind_the_others() -> None:
    alarms = Alarms()
    alarms.set(A, 5)
    alarms.set(B, 5)
    alarms.set(A, 5)
    assert fired(alarms, 5) == [B, A]


def test_clear_forgets_all() -> None:
    alarms = Alarms()
    alarms.set(A, 5)
    alarms.clear()
    assert len(alarms) == 0 and alarms.first is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=30))
def test_export_taken_back_fires_the_same(entries: list[tuple[int, int]]) -> None:
    alarms, other = Alarms(), Alarms()
    other.set(A, 1)
    for number, at in entries:
        alarms.set(("kind", bytes((number,))), at)
    other.load(alarms.export())
    assert other.export() == alarms.export()
    assert fired(other, 10) == fired(alarms, 10)
    assert other.first == alarms.first


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=30))
def test_next_is_the_earliest_of_what_was_set_last(entries: list[tuple[int, int]]) -> None:
    alarms = Alarms()
    for number, at in entries:
        alarms.set(("kind", bytes((number,))), at)
    last = dict(entries)
    assert alarms.first == min(last.values(), default=None)


@given(st.lists(st.tuples(st.sampled_from("scp"), st.integers(0, 40), st.integers(0, 20))))
def test_they_are_a_map_of_names_to_times_whatever_is_called_off(
    steps: list[tuple[str, int, int]],
) -> None:
    alarms = Alarms()
    model: dict[Alarm, tuple[int, int]] = {}
    for number, (what, who, at) in enumerate(steps):
        name = ("kind", bytes((who,)))
        if what == "s":
            alarms.set(name, at)
            model[name] = (at, number)
        elif what == "c":
            alarms.cancel(name)
            model.pop(name, None)
        else:
            due = min(model, key=lambda each: model[each], default=None)
            wanted = due if due is not None and model[due][0] <= at else None
            assert alarms.pop_due(at) == wanted
            if wanted is not None:
                del model[wanted]
        assert alarms.first == min((at for at, _ in model.values()), default=None)
        assert len(alarms) == len(model)
    assert [(at, name) for at, name, _ in alarms.export()] == [
        (model[each][0], each[0]) for each in sorted(model, key=lambda each: model[each])
    ]


def test_what_is_called_off_takes_no_more_room_than_what_is_set_and_a_little() -> None:
    alarms = Alarms()
    for number in range(10):
        alarms.set(("lasting", bytes((number,))), number)
    for number in range(10_000):
        alarms.set(("passing", number.to_bytes(4, "big")), 1_000 + number)
        alarms.set(("moving", b""), 100_000 - number)
        alarms.cancel(("passing", number.to_bytes(4, "big")))
    assert len(alarms) == 11
    assert len(alarms._heap) < 100
