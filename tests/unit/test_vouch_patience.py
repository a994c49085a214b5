"""How long answers about names are waited for: as long as they are seen to take, within bounds."""

from __future__ import annotations

from routing.errors import Refusal
from routing.limits import SECOND, Limits
from tests.inquest import Inquest

__all__: list[str] = []


def test_where_answers_take_long_repeats_wait_for_them() -> None:
    i = Inquest()
    said = i.views(i.asked())
    i.stage.wait(SECOND // 2)
    for each in i.vouches(said)[:2]:
        i.voice(*each)
    (inquiry,) = i.stage.core.vouching.open.values()
    assert i.vouches(i.stage.wait(SECOND // 2)), "the first wait had begun already"
    assert i.vouches(i.stage.wait(SECOND)) == [] and inquiry.tries == 2
    assert i.vouches(i.stage.wait(SECOND // 2)), "half a second was measured: one and a half"


def test_patience_is_bounded_and_ends_with_the_inquiry() -> None:
    i = Inquest(limits=Limits().but(vouch_retry_ns=SECOND // 10))
    said = i.views(i.asked())
    i.stage.wait(SECOND // 2)
    i.voice(*i.vouches(said)[4])
    (inquiry,) = i.stage.core.vouching.open.values()
    assert i.count("vouched.not_counted") == 0 and inquiry.tries == 6
    assert i.refusals(i.stage.wait(SECOND * 4 // 10 - 1)) == []
    assert i.refusals(i.stage.wait(1)) == [Refusal.NAME_UNKNOWN], "nine tenths after it began"


def test_answer_to_a_question_that_was_repeated_is_no_measure() -> None:
    i = Inquest()
    said = i.views(i.asked())
    i.stage.wait(3 * SECOND)
    i.voice(*i.vouches(said)[0])
    assert i.stage.core.vouching.usual.average == 0
