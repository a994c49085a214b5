"""Who should be connected with whom: join, repair, refresh."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from routing.bodies import ConnectRequest, FindGroup, GroupIs
from routing.errors import CloseCode
from routing.limits import SECOND
from routing.messages import (
    Ack,
    ClientAddress,
    Confirmation,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    Neighbours,
    NodeAddress,
    Signed,
    ViaAddress,
    encode,
)
from routing.names import bucket_index, nearest
from routing.state import Detail, LinkRole
from tests.persons import Person, opened
from tests.support import Said, Stage, Wire

__all__: list[str] = []

PROXY, PEER, OTHER = Person(1), Person(2), Person(3)
MANY = [Person(number) for number in range(10, 40)]
FIND, GROUP_IS, REQUEST = (
    MessageKind.FIND_GROUP,
    MessageKind.GROUP_IS,
    MessageKind.CONNECT_REQUEST,
)


def digest_of(names: list[bytes]) -> bytes:
    return blake2b(b"".join(names), digest_size=8).digest()


def lists(said: Said, wire: Wire) -> list[Neighbours]:
    return said.frames(wire, FrameKind.NEIGHBOURS, Neighbours)


def asked_for(said: Said, *wires: Wire) -> list[bytes]:
    """Return the names for which a connection is asked over these wires."""
    found = [said.messages(wire, REQUEST, ConnectRequest) for wire in wires]
    return [request.target for requests in found for request in requests]


def tell(wire: Wire, names: list[bytes], *, digest: bytes | None = None) -> Said:
    """Let a neighbour send its own list, or the digest of one it sent before."""
    right = digest_of(names) if digest is None else digest
    listed = [] if digest is not None else names
    return wire.say(FrameKind.NEIGHBOURS, Neighbours(wire.person.name, right, listed))


# -- (a) join


def test_join_asks_for_an_attempt_with_each_of_the_eight_nearest() -> None:
    stage, proxy = Stage.named(PROXY)
    names = nearest(stage.name, [person.name for person in MANY[:16]], 16)
    said = proxy.group_is(stage.name, *names)
    asked = asked_for(said, proxy)
    assert asked[:8] == names[:8]
    sizes = [bucket_index(stage.name, name) for name in names[:8]]
    fillers = [bucket_index(stage.name, name) for name in asked[8:]]
    assert all(sizes.count(bucket) < 2 for bucket in fillers), "else only for a thin bucket"


def test_unanswered_question_is_asked_three_times_in_all() -> None:
    stage, proxy = Stage.named(PROXY)
    times = []
    for _ in range(12):
        said = stage.wait(SECOND // 4)
        times += [stage.now] * len(said.envelopes(proxy, FIND))
    assert times == [3 * SECOND // 2, 3 * SECOND]


def test_join_is_asked_anew_while_nobody_could_be_connected_with() -> None:
    stage, proxy = Stage.named(PROXY)
    assert len(stage.wait(20 * SECOND).envelopes(proxy, FIND)) > 5


def test_joiner_without_a_connection_leaves_its_proxy_60_seconds_after_its_name() -> None:
    stage, proxy = Stage.named(PROXY)
    said = stage.wait(60 * SECOND)
    assert said.closed(proxy) is CloseCode.NORMAL
    assert stage.core.state.detail is Detail.DISCONNECTED


def consolidate(wire: Wire, person: Person, envelope: Envelope) -> Wire:
    """Let a person answer a request of the core that came over `wire`, and be consolidated."""
    stage = wire.stage
    request = opened(ConnectRequest, opened(Signed, envelope.signed).body)
    answer = person.answers(envelope)
    wire.routed(answer)
    stage.connect(person)
    primary = stage.accept(person)
    primary.hello(HelloRole.PRIMARY, request.attempt, response=encode(answer))
    primary.opening = primary.say(FrameKind.CONFIRMATION, Confirmation(request.attempt, False))
    assert primary.role() is LinkRole.CONSOLIDATED
    return primary


def test_joiner_closes_its_proxy_joined_once_all_is_decided() -> None:
    stage, proxy = Stage.named(PROXY)
    said = proxy.group_is(stage.name, PEER.name, OTHER.name)
    by_name = {
        opened(ConnectRequest, opened(Signed, each.signed).body).target: each
        for each in said.envelopes(proxy, REQUEST)
    }
    consolidate(proxy, PEER, by_name[PEER.name])
    assert proxy.open, "one attempt is not decided yet"
    peer = consolidate(proxy, OTHER, by_name[OTHER.name])
    assert peer.opening.closed(proxy) is CloseCode.JOINED


def test_proxy_itself_may_be_of_the_group_and_is_connected_with_like_any_other() -> None:
    stage, proxy = Stage.named(PROXY)
    (envelope,) = proxy.group_is(stage.name, PROXY.name).envelopes(proxy, REQUEST)
    peer = consolidate(proxy, PROXY, envelope)
    assert peer.opening.closed(proxy) is CloseCode.JOINED
    assert stage.core.table.names() == [PROXY.name]


def test_loss_of_the_proxy_is_harmless_once_one_is_connected() -> None:
    stage, proxy = Stage.named(PROXY)
    said = proxy.group_is(stage.name, PEER.name, OTHER.name)
    envelope = next(
        each
        for each in said.envelopes(proxy, REQUEST)
        if opened(Signed, each.signed).destination == NodeAddress(PEER.name)
    )
    consolidate(proxy, PEER, envelope)
    proxy.lose()
    assert stage.core.state.detail is Detail.CONNECTED


def test_unasked_answer_is_counted_and_forgotten() -> None:
    stage, proxy = Stage.named(PROXY)
    said = proxy.group_is(PEER.name, OTHER.name)
    assert asked_for(said, proxy) == [] and stage.core.counters["group.unasked"] == 1


def test_question_is_answered_once() -> None:
    stage, proxy = Stage.named(PROXY)
    proxy.group_is(stage.name, PEER.name)
    assert asked_for(proxy.group_is(stage.name, OTHER.name), proxy) == []


def test_own_name_in_an_answer_is_passed_over() -> None:
    stage, proxy = Stage.named(PROXY)
    assert asked_for(proxy.group_is(stage.name, stage.name), proxy) == []


# -- answering


def ask(wire: Wire, target: bytes, *, asker: Person = PEER) -> Said:
    reply_to = ViaAddress(wire.person.name, asker.name)
    body = FindGroup(target, reply_to)
    return wire.routed(asker.seal(FIND, GroupAddress(target), body))


def own_target(stage: Stage) -> bytes:
    return bytes([*stage.name[:31], stage.name[31] ^ 1])


def test_answer_names_ourselves_and_the_nearest_first_at_most_sixteen() -> None:
    stage, wires = Stage.among(*MANY)
    target = own_target(stage)
    (answer,) = ask(wires[0], target).messages(wires[0], GROUP_IS, GroupIs)
    names = [stage.name, *(person.name for person in MANY)]
    assert answer == GroupIs(target, nearest(target, names, 16))


def test_answer_leaves_the_asker_out() -> None:
    stage, wires = Stage.among(*MANY[:5])
    asker = MANY[1]
    said = ask(wires[1], own_target(stage), asker=asker)
    (answer,) = said.messages(wires[1], GROUP_IS, GroupIs)
    assert asker.name not in answer.names and stage.name in answer.names


def test_answer_holds_consolidated_nodes_only() -> None:
    stage, wires = Stage.among(*MANY[:3])
    joiner = stage.accept(OTHER)
    joiner.hello(HelloRole.JOIN)
    request = OTHER.request(stage.name, proxy=stage.name)
    joiner.routed(OTHER.asks(request, proxy=stage.name))
    stage.connect(OTHER)
    (answer,) = ask(wires[0], own_target(stage)).messages(wires[0], GROUP_IS, GroupIs)
    assert OTHER.name not in answer.names


def test_question_with_an_answer_to_a_third_is_malformed() -> None:
    stage, wires = Stage.among(*MANY[:3])
    body = FindGroup(own_target(stage), ViaAddress(MANY[0].name, OTHER.name))
    said = wires[0].routed(PEER.seal(FIND, GroupAddress(own_target(stage)), body))
    assert said == [] and stage.core.counters["find.malformed"] == 1


def test_question_in_the_name_of_another_asker_is_malformed() -> None:
    stage, wires = Stage.among(*MANY[:3])
    body = FindGroup(own_target(stage), ViaAddress(MANY[0].name, PEER.name))
    target = GroupAddress(own_target(stage))
    wires[0].routed(PEER.seal(FIND, target, body, leave_out=OTHER.name))
    assert stage.core.counters["find.malformed"] == 1


def test_joiner_gets_its_answer_through_its_proxy() -> None:
    stage, _ = Stage.among(*MANY[:3])
    joiner = stage.accept(OTHER)
    joiner.hello(HelloRole.JOIN)
    target = own_target(stage)
    body = FindGroup(target, ClientAddress(stage.name, OTHER.key))
    said = joiner.routed(OTHER.seal(FIND, GroupAddress(target), body, proxy=stage.name))
    assert len(said.messages(joiner, GROUP_IS, GroupIs)) == 1


# -- (b) repair


def test_change_of_the_close_group_is_told_to_it_after_half_a_second() -> None:
    stage, (peer,) = Stage.among(PEER)
    assert lists(stage.wait(SECOND // 2 - 1), peer) == []
    (told,) = lists(stage.wait(1), peer)
    names = [stage.name, PEER.name]
    assert told == Neighbours(stage.name, digest_of(names), names)


def test_changes_within_half_a_second_are_gathered() -> None:
    stage, (peer,) = Stage.among(PEER)
    stage.wait(SECOND // 4)
    stage.befriend(OTHER)
    said = stage.wait(SECOND)
    (told,) = lists(said, peer)
    assert set(told.names) == {stage.name, PEER.name, OTHER.name}


def test_unchanged_list_is_told_by_its_digest_every_30_seconds_or_so() -> None:
    stage, (peer,) = Stage.among(PEER)
    (full,) = lists(stage.wait(SECOND), peer)
    times = []
    while stage.now < 300 * SECOND:
        said = stage.wait(SECOND // 2)
        for again in lists(said, peer):
            assert again == Neighbours(stage.name, full.digest, [])
            times.append(stage.now)
    gaps = [after - before for before, after in zip([0, *times], times, strict=False)]
    assert all(15 * SECOND <= gap <= 45 * SECOND + SECOND // 2 for gap in gaps[1:]), gaps
    assert len(set(gaps[1:])) > 1, "jittered"


def test_newcomer_gets_the_whole_list_where_the_others_get_its_digest() -> None:
    stage, (peer, other) = Stage.among(PEER, OTHER)
    stage.wait(SECOND)
    other.lose()
    again = stage.befriend(OTHER)
    said = stage.wait(SECOND)
    (to_newcomer,), (to_peer,) = lists(said, again), lists(said, peer)
    assert to_newcomer.digest == to_peer.digest
    assert len(to_newcomer.names) == 3 and to_peer.names == []


def test_name_told_of_that_belongs_to_us_is_asked_for_through_the_teller() -> None:
    _, (peer, other) = Stage.among(PEER, OTHER)
    said = tell(peer, [PEER.name, MANY[0].name])
    assert asked_for(said, peer) == [MANY[0].name] and asked_for(said, other) == []


def test_name_that_belongs_nowhere_is_not_asked_for() -> None:
    stage, wires = Stage.among(*MANY)
    names = [person.name for person in MANY]
    strangers = [Person(number).name for number in range(100, 160)]
    crowded = [
        name
        for name in strangers
        if name not in nearest(stage.name, [*names, name], 8)
        and stage.core.table.bucket_size(bucket_index(stage.name, name)) >= 2
    ]
    assert asked_for(tell(wires[0], crowded[:16]), *wires) == []


def test_name_for_a_bucket_that_holds_fewer_than_two_is_asked_for() -> None:
    stage, wires = Stage.among(*MANY)
    stranger = next(
        name
        for name in (Person(number).name for number in range(100, 2_000))
        if stage.core.table.bucket_size(bucket_index(stage.name, name)) < 2
    )
    assert asked_for(tell(wires[0], [MANY[0].name, stranger]), *wires) == [stranger]


def test_name_that_failed_in_the_last_20_seconds_is_not_asked_for_again() -> None:
    stage, (peer,) = Stage.among(PEER)
    tell(peer, [PEER.name, OTHER.name])
    stage.wait(30 * SECOND)
    assert asked_for(tell(peer, [PEER.name, OTHER.name]), peer) == []


def test_digest_of_the_last_list_weighs_its_names_again() -> None:
    stage, (peer,) = Stage.among(PEER)
    names = [PEER.name, OTHER.name]
    tell(peer, names)
    stage.wait(60 * SECOND)
    assert asked_for(tell(peer, names, digest=digest_of(names)), peer) == [OTHER.name]


def test_digest_of_a_list_that_was_never_sent_is_counted() -> None:
    stage, (peer,) = Stage.among(PEER)
    assert tell(peer, [], digest=bytes(8)) == []
    assert stage.core.counters["list.unknown_digest"] == 1


def test_list_that_misses_one_of_its_senders_close_group_is_completed() -> None:
    stage, (peer, _) = Stage.among(PEER, OTHER)
    said = tell(peer, [PEER.name, stage.name])
    (answer,) = lists(said, peer)
    assert answer.target == PEER.name and answer.names == [OTHER.name]


def test_complete_list_is_not_answered() -> None:
    stage, (peer, _) = Stage.among(PEER, OTHER)
    assert lists(tell(peer, [PEER.name, stage.name, OTHER.name]), peer) == []


def test_list_of_somebody_else_closes() -> None:
    _, (peer, _) = Stage.among(PEER, OTHER)
    names = [OTHER.name]
    said = peer.say(FrameKind.NEIGHBOURS, Neighbours(OTHER.name, digest_of(names), names))
    assert said.closed(peer) is CloseCode.BAD_FRAME


# -- (c) refresh


def test_own_name_is_asked_for_through_a_random_entry_every_two_minutes_or_so() -> None:
    stage, wires = Stage.among(*MANY[:4])
    times = []
    while stage.now < 900 * SECOND:
        said = stage.wait(SECOND)
        for wire in wires:
            finds = said.messages(wire, FIND, FindGroup)
            if finds:
                assert finds[0].target == stage.name
                assert finds[0].reply_to == ViaAddress(wire.person.name, stage.name)
                times.append(stage.now)
    rounds = [at for at in times if all(abs(at - t) > 5 * SECOND for t in times if t < at)]
    gaps = [after - before for before, after in zip([0, *rounds], rounds, strict=False)]
    assert all(60 * SECOND <= gap <= 181 * SECOND for gap in gaps), gaps


def test_retries_go_through_other_first_hops() -> None:
    stage, wires = Stage.among(*MANY[:8])
    used: list[bytes] = []
    while len(used) < 3:
        said = stage.wait(SECOND // 2)
        for wire in wires:
            used += [wire.person.name] * len(said.envelopes(wire, FIND))
    assert len(set(used)) > 1


# -- the close group


@pytest.mark.parametrize("count", [1, 3, 8])
def test_everybody_is_in_the_close_group_of_a_small_network(count: int) -> None:
    stage, _ = Stage.among(*MANY[:count])
    assert set(stage.core.table.close_group()) == {person.name for person in MANY[:count]}


# -- buckets


def joined(count: int) -> tuple[Stage, Wire, Said]:
    """Return a node that has just decided its join with so many peers, and what it did then."""
    stage, proxy = Stage.named(PROXY)
    persons = {person.name: person for person in MANY}
    names = nearest(stage.name, persons, count)
    said = proxy.group_is(stage.name, *names)
    for envelope in said.envelopes(proxy, REQUEST):
        request = opened(ConnectRequest, opened(Signed, envelope.signed).body)
        said = consolidate(proxy, persons[request.target], envelope).opening
    assert not proxy.open
    return stage, proxy, said


def targets(stage: Stage, said: Said) -> list[bytes]:
    found = []
    for wire in list(stage.open.values()):
        found += [find.target for find in said.messages(wire, FIND, FindGroup)]
    return found


def test_joined_node_asks_for_every_farther_bucket_that_holds_fewer_than_two() -> None:
    stage, _, said = joined(9)
    table = stage.core.table
    farthest = bucket_index(stage.name, table.close_group()[-1])
    thin = [index for index in range(farthest) if table.bucket_size(index) < 2]
    assert [bucket_index(stage.name, each) for each in targets(stage, said)] == thin
    assert thin, "there is something to ask for"


def test_thin_bucket_is_asked_for_again_at_each_repair() -> None:
    stage, _, said = joined(9)
    thin = {bucket_index(stage.name, each) for each in targets(stage, said)}
    asked: list[set[int]] = []
    for _ in range(4):
        stage.wait(15 * SECOND)
        again = stage.wait(45 * SECOND)
        asked.append({bucket_index(stage.name, each) for each in targets(stage, again)})
    assert all(thin <= each for each in asked)


def test_idle_bucket_is_asked_for_after_two_minutes_or_so() -> None:
    stage, _ = Stage.among(*MANY)
    farthest = bucket_index(stage.name, stage.core.table.close_group()[-1])
    full = [index for index in range(farthest) if stage.core.table.bucket_size(index) >= 2]
    assert full
    stage.wait(50 * SECOND)
    asked: list[int] = []
    for _ in range(40):
        said = stage.wait(15 * SECOND)
        buckets = {bucket_index(stage.name, each) for each in targets(stage, said)}
        asked += [index for index in full if index in buckets]
    for index in full:
        # 600 s, one question each 60 to 180 s and at the next repair, at most 45 s later.
        assert 2 <= asked.count(index) <= 25, asked


def test_join_that_is_not_decided_after_a_minute_lets_the_proxy_go_all_the_same() -> None:
    stage, proxy = Stage.named(PROXY)
    proxy.group_is(stage.name, PEER.name)
    stage.wait(40 * SECOND)
    # The first attempt has expired and the question is asked anew; now others ask us, and go on.
    proxy.group_is(stage.name, MANY[0].name)
    request = OTHER.request(stage.name, hop=PROXY.name)
    here = ClientAddress(PROXY.name, stage.core.key)
    proxy.routed(OTHER.seal(REQUEST, here, request))
    primary = stage.connect(OTHER)
    primary.say(FrameKind.ACK, Ack(request.attempt))
    stage.accept(OTHER).hello(HelloRole.SECONDARY, request.attempt)
    assert primary.role() is LinkRole.CONSOLIDATED
    assert proxy.open, "an attempt of ours is not decided yet"
    assert stage.wait(60 * SECOND - stage.now).closed(proxy) is CloseCode.JOINED
    assert stage.core.state.detail is Detail.CONNECTED
