"""Replies to clients are kept until they have them, and given again to one that has moved."""

from __future__ import annotations

from routing.actions import Deliver, Failed
from routing.bodies import Acknowledged, Part, Reply, Unroutable
from routing.core import Core
from routing.inputs import Submitted
from routing.limits import SECOND, Limits
from routing.messages import (
    ACKNOWLEDGE,
    ClientAddress,
    Envelope,
    MessageKind,
    NodeAddress,
    Signed,
)
from routing.requests import token_of
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

FRIEND, CLIENT, OLD, NEW = Person(1), Person(2), Person(3), Person(4)
REQUEST, REPLY, ACKNOWLEDGED = MessageKind.REQUEST, MessageKind.REPLY, MessageKind.ACKNOWLEDGED
ASKED = b"q" * 16
FROM_OLD, FROM_NEW = ClientAddress(OLD.name, CLIENT.key), ClientAddress(NEW.name, CLIENT.key)


def node(limits: Limits | None = None) -> tuple[Stage, Wire]:
    stage, (friend,) = Stage.among(FRIEND, limits=limits)
    return stage, friend


def ask(friend: Wire, proxy: Person, *, asked: bytes = ASKED, route: int = 0) -> Said:
    here = NodeAddress(friend.stage.name)
    envelope = CLIENT.seal(
        REQUEST, here, b"?", proxy=proxy.name, message_id=asked, flags=ACKNOWLEDGE, route=route
    )
    return friend.routed(envelope)


def answer(
    stage: Stage, to: ClientAddress = FROM_OLD, *, asked: bytes = ASKED, payload: bytes = b"answer"
) -> Said:
    token = token_of(asked, b"?")
    return stage.hear(Submitted(9, REPLY, to, payload, asked, False, SECOND, False, token=token))


def replies(said: Said, wire: Wire) -> list[Signed]:
    return [opened(Signed, each.signed) for each in said.envelopes(wire, REPLY)]


def test_client_that_asks_again_from_elsewhere_is_answered_again_and_handled_once() -> None:
    stage, friend = node()
    assert len(ask(friend, OLD).of(Deliver)) == 1
    (first,) = replies(answer(stage), friend)
    assert first.destination == FROM_OLD
    said = ask(friend, NEW)
    assert said.of(Deliver) == [] and len(said.envelopes(friend, ACKNOWLEDGED)) == 1
    (second,) = replies(said, friend)
    assert second.destination == FROM_NEW and second.body == first.body
    assert second.id != first.id and second.flags == ACKNOWLEDGE
    assert stage.core.counters["answer.repeated"] == 1


def test_reply_to_the_old_address_is_not_sent_again_nor_reported() -> None:
    stage, friend = node()
    ask(friend, OLD)
    answer(stage)
    (second,) = replies(ask(friend, NEW), friend)
    friend.routed(
        CLIENT.seal(ACKNOWLEDGED, NodeAddress(stage.name), Acknowledged(second.id), proxy=NEW.name)
    )
    said = stage.wait(60 * SECOND)
    assert replies(said, friend) == [] and said.of(Failed) == []


def test_reply_that_could_not_be_delivered_is_kept_for_the_client_that_asks_again() -> None:
    stage, friend = node()
    ask(friend, OLD)
    (first,) = replies(answer(stage), friend)
    unroutable = FRIEND.seal(MessageKind.UNROUTABLE, NodeAddress(stage.name), Unroutable(first.id))
    friend.routed(unroutable)
    assert len(stage.wait(30 * SECOND).of(Failed)) == 1
    (second,) = replies(ask(friend, NEW), friend)
    assert second.body == first.body


def test_reply_that_comes_after_the_move_goes_to_the_new_address() -> None:
    stage, friend = node()
    ask(friend, OLD)
    assert replies(ask(friend, NEW), friend) == []
    (reply,) = replies(answer(stage), friend)
    assert reply.destination == FROM_NEW


def test_repeat_from_the_same_address_is_only_acknowledged() -> None:
    stage, friend = node()
    ask(friend, OLD)
    answer(stage)
    said = ask(friend, OLD, route=1)
    assert replies(said, friend) == [] and len(said.envelopes(friend, ACKNOWLEDGED)) == 1


def test_reply_that_the_client_has_is_forgotten() -> None:
    stage, friend = node()
    ask(friend, OLD)
    (first,) = replies(answer(stage), friend)
    here = NodeAddress(stage.name)
    friend.routed(CLIENT.seal(ACKNOWLEDGED, here, Acknowledged(first.id), proxy=OLD.name))
    assert len(stage.core.answers.kept) == 0 and stage.core.answers.bytes == 0
    assert stage.core.answers.of_reply == {}
    assert replies(ask(friend, NEW), friend) == []


def test_reply_is_kept_for_a_minute() -> None:
    stage, friend = node()
    ask(friend, OLD)
    answer(stage)
    stage.wait(60 * SECOND)
    assert replies(ask(friend, NEW), friend) == []
    ask(friend, OLD, asked=b"r" * 16)
    assert stage.core.answers.bytes == 0


def test_replies_are_kept_within_a_bound_of_bytes_and_of_number() -> None:
    stage, friend = node(Limits().but(replies_kept_bytes=1_000, replies_kept_max=3))
    for number in range(5):
        asked = bytes((number,)) * 16
        ask(friend, OLD, asked=asked)
        answer(stage, asked=asked, payload=bytes(600))
        assert stage.core.answers.bytes <= 1_000
    assert len(stage.core.answers.kept) == 3
    assert stage.core.counters["answer.not_kept"] > 0
    assert len(stage.core.answers.of_reply) <= 3


def test_another_key_is_not_answered() -> None:
    stage, friend = node()
    ask(friend, OLD)
    answer(stage)
    here = NodeAddress(stage.name)
    envelope = NEW.seal(REQUEST, here, b"?", proxy=OLD.name, message_id=ASKED)
    said = friend.routed(envelope)
    assert replies(said, friend) == [] and len(said.of(Deliver)) == 1, "a request of its own"


def test_requests_of_nodes_are_not_kept() -> None:
    stage, friend = node()
    friend.routed(CLIENT.seal(REQUEST, NodeAddress(stage.name), b"?", message_id=ASKED))
    token = token_of(ASKED, b"?")
    to = NodeAddress(CLIENT.name)
    stage.hear(Submitted(9, REPLY, to, b"a", ASKED, False, SECOND, False, token=token))
    assert len(stage.core.answers.kept) == 0


def test_forged_repeat_moves_no_reply() -> None:
    stage, friend = node()
    ask(friend, OLD)
    answer(stage)
    here = NodeAddress(stage.name)
    right = CLIENT.seal(REQUEST, here, b"?", proxy=NEW.name, message_id=ASKED)
    said = friend.routed(Envelope(0, 0, right.signed, bytes(64)))
    assert replies(said, friend) == []
    kept = stage.core.answers.kept.get(CLIENT.key + ASKED, now=stage.now)
    assert kept is not None and kept.source == FROM_OLD


def test_replies_kept_survive_a_snapshot() -> None:
    stage, friend = node()
    ask(friend, OLD)
    answer(stage)
    ask(friend, OLD, asked=b"r" * 16)
    other = Core(stage.core.config)
    other.restore(stage.core.snapshot())
    assert other.digest() == stage.core.digest()
    assert other.answers.bytes == stage.core.answers.bytes > 0
    assert other.answers.of_reply == stage.core.answers.of_reply


LARGE = Limits().payload_bytes_max + 1


def parts(said: Said, wire: Wire) -> list[Signed]:
    return [opened(Signed, each.signed) for each in said.envelopes(wire, MessageKind.PART)]


def test_large_reply_goes_to_the_new_address_of_a_client_whose_proxy_has_died() -> None:
    stage, friend = node()
    ask(friend, OLD)
    (first,) = parts(answer(stage, payload=bytes(LARGE)), friend)
    assert first.destination == FROM_OLD
    (again,) = parts(ask(friend, NEW), friend)
    assert again.destination == FROM_NEW
    old, new = opened(Part, first.body), opened(Part, again.body)
    assert (new.digest, new.size, new.kind) == (old.digest, old.size, REPLY) and new.id != old.id
    assert len(stage.core.parts.open) == 1, "nothing more goes to the old one"
    assert stage.wait(2 * SECOND).of(Failed) == []


def test_large_reply_that_came_to_nothing_is_kept_for_the_client_that_asks_again() -> None:
    stage, friend = node()
    ask(friend, OLD)
    answer(stage, payload=bytes(LARGE))
    assert [each.reference for each in stage.wait(50 * SECOND).of(Failed)] == [9]
    (again,) = parts(ask(friend, NEW), friend)
    assert again.destination == FROM_NEW and opened(Part, again.body).index == 0


def test_large_reply_that_arrived_is_forgotten() -> None:
    stage, friend = node()
    ask(friend, OLD)
    said = answer(stage, payload=bytes(LARGE))
    here = NodeAddress(stage.name)
    while sent := parts(said, friend):
        said = Said()
        for each in sent:
            told = Acknowledged(each.id)
            said += friend.routed(CLIENT.seal(ACKNOWLEDGED, here, told, proxy=OLD.name))
    assert stage.core.counters["large.through"] == 1
    assert len(stage.core.answers.kept) == 0 and stage.core.answers.bytes == 0


def test_late_reply_is_kept_as_long_as_an_early_one() -> None:
    stage, friend = node()
    ask(friend, OLD)
    stage.wait(59 * SECOND)
    answer(stage)
    stage.wait(50 * SECOND)
    (again,) = replies(ask(friend, NEW), friend)
    assert again.destination == FROM_NEW


def test_who_asks_again_for_a_reply_there_was_no_room_for_is_told_so() -> None:
    stage, friend = node(Limits().but(replies_kept_bytes=100))
    ask(friend, OLD)
    (first,) = replies(answer(stage, payload=bytes(600)), friend)
    (again,) = replies(ask(friend, NEW), friend)
    reply = opened(Reply, again.body)
    assert reply.failed and reply.payload.startswith(b"the reply is lost") and reply.id == ASKED
    assert reply.token == opened(Reply, first.body).token
    counters = stage.core.counters
    assert (counters["answer.not_kept"], counters["answer.lost"]) == (1, 1)
