"""A group's answer is what a quorum of its members replied, byte for byte, or a reason why not."""

from __future__ import annotations

from routing.actions import Answered, Failed
from routing.inputs import StopRequested
from routing.limits import SECOND
from routing.messages import GroupAddress
from tests.council import Asking
from tests.persons import Person
from tests.support import Said

__all__: list[str] = []

STRANGER = Person(5_000)


def test_fifth_equal_reply_answers_with_the_group_as_its_source() -> None:
    a = Asking()
    assert a.replies(a.members[:4]).of(Answered) == []
    (answer,) = a.reply(a.members[4]).of(Answered)
    assert answer == Answered(7, b"yes", GroupAddress(a.element), b"")
    assert a.stage.core.messaging.pending == {} and a.stage.core.agreement.asked == {}
    assert a.stage.core.agreement.bytes == 0


def test_minority_that_says_otherwise_is_outvoted() -> None:
    a = Asking()
    a.replies(a.members[:2], b"no")
    (answer,) = a.replies(a.members[2:7]).of(Answered)
    assert answer.payload == b"yes"


def test_one_member_counts_once() -> None:
    a = Asking()
    for _ in range(6):
        assert a.reply(a.members[0]).of(Answered) == []
    assert a.count("reply.repeated") == 5


def test_reply_of_one_that_is_no_member_is_refused() -> None:
    a = Asking()
    a.replies(a.members[:4])
    assert a.replies([STRANGER, *a.outsiders[:3]]).of(Answered) == []
    assert a.count("reply.not_member") == 4


def test_request_fails_once_no_quorum_can_agree() -> None:
    a = Asking()
    a.replies(a.members[:2], b"yes")
    a.replies(a.members[2:4], b"no")
    assert a.reply(a.members[4], b"perhaps").of(Failed) == [], "3 silent could join 2"
    (failed,) = a.reply(a.members[5], b"never").of(Failed)
    assert failed.reason.startswith("no quorum: 2 of 8 members agree, 5 are needed")
    assert a.stage.core.agreement.bytes == 0


def test_handlers_that_fail_are_no_agreement() -> None:
    a = Asking()
    said = Said()
    for person in a.members[:5]:
        said += a.reply(person, b"ValueError", failed=True)
    (failed,) = said.of(Failed)
    assert said.of(Answered) == []
    assert failed.reason == "handler failed: ValueError"


def test_replies_wait_until_the_members_are_known() -> None:
    a = Asking(far=True)
    assert a.asked(a.said) == a.asked(a.said) != []
    assert a.replies([*a.outsiders[:5], *a.members[:5]]).of(Answered) == []
    (answer,) = a.answer_all().of(Answered)
    assert answer.payload == b"yes" and a.count("reply.not_member") == 5


def test_flood_of_replies_before_the_members_are_known_is_bounded() -> None:
    a = Asking(far=True)
    a.replies([Person(6_000 + number) for number in range(40)])
    assert a.count("reply.too_many") == 8


def test_replies_are_held_within_a_bound() -> None:
    a = Asking(far=True)
    for number in range(20):
        a.reply(Person(6_000 + number), bytes((number,)) * 1_000_000)
    limit = a.stage.core.limits.ballot_bytes
    assert a.stage.core.agreement.bytes <= limit and a.count("reply.no_room") == 4


def test_quorum_that_does_not_come_times_out() -> None:
    a = Asking()
    a.replies(a.members[:4])
    (failed,) = a.stage.wait(9 * SECOND).of(Failed)
    assert failed.reason == "timed out"
    assert a.reply(a.members[4]).of(Answered) == [] and a.stage.core.agreement.bytes == 0


def test_stop_ends_a_request_that_waits_for_a_quorum() -> None:
    a = Asking()
    a.replies(a.members[:4])
    (failed,) = a.stage.hear(StopRequested()).of(Failed)
    assert failed.reason == "stopped" and a.stage.core.agreement.asked == {}


def test_several_replies_without_a_quorum_come_from_members_where_these_are_known() -> None:
    a = Asking(agree=False, replies=2)
    assert a.reply(STRANGER).of(Answered) == [] and a.count("reply.not_member") == 1
    assert len(a.replies(a.members[:2]).of(Answered)) == 2


def test_where_the_members_are_not_known_nobody_is_asked_for_them() -> None:
    a = Asking(far=True, agree=False)
    assert a.asked(a.said) == []
    assert len(a.reply(a.outsiders[0]).of(Answered)) == 1
