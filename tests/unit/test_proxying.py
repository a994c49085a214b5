"""Those who hang on us: who is admitted, who is refused and what he is told, who must go."""

from __future__ import annotations

import pytest

from routing.bodies import ConnectRequest, FindGroup, Reply, RequestName
from routing.errors import CloseCode, Refusal
from routing.limits import SECOND, Limits
from routing.messages import (
    Admit,
    ClientAddress,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    MessageKind,
    NodeAddress,
    Refuse,
)
from routing.state import LinkRole
from tests.persons import Person
from tests.support import Said, Stage, Wire, strict

__all__: list[str] = []

FRIEND, PEER, STRANGER = Person(1), Person(2), Person(3)


def proxy(*friends: Person, limits: Limits | None = None) -> Stage:
    return Stage.among(*(friends or (FRIEND,)), limits=limits)[0]


def hang(
    stage: Stage, person: Person, role: HelloRole = HelloRole.JOIN, *, source: str = ""
) -> tuple[Wire, Said]:
    wire = stage.accept(person, source=source)
    return wire, wire.hello(role)


def refusal(wire: Wire, said: Said) -> Refusal | None:
    found = said.frames(wire, FrameKind.REFUSE, Refuse)
    return Refusal(found[0].reason) if found else None


# -- admitted


ROLES = {
    HelloRole.JOIN: LinkRole.RELAY,
    HelloRole.CLIENT: LinkRole.CLIENT,
    HelloRole.FEEL: LinkRole.FELT,
}


@pytest.mark.parametrize("role", ROLES)
def test_admitted_one_is_told_our_name_and_the_address_we_see(role: HelloRole) -> None:
    stage = proxy()
    wire, said = hang(stage, PEER, role, source="127.0.0.44:51000")
    bound = (1_000, 8_388_608) if role is HelloRole.CLIENT else (0, 0)
    assert said.frames(wire, FrameKind.ADMIT, Admit) == [Admit(stage.name, "127.0.0.44", *bound)]
    assert wire.role() is ROLES[role]


def test_admitting_moves_no_state() -> None:
    stage = proxy()
    before = stage.core.state
    for number, role in enumerate(ROLES):
        hang(stage, Person(10 + number), role)
    assert stage.core.state == before


def test_key_that_comes_again_replaces_its_older_connection() -> None:
    stage = proxy()
    older, _ = hang(stage, PEER)
    newer, said = hang(stage, PEER)
    assert said.closed(older) is CloseCode.REPLACED and newer.role() is LinkRole.RELAY


def test_peer_may_hang_on_us_beside_its_consolidated_connection() -> None:
    stage = proxy()
    wire, said = hang(stage, FRIEND)
    assert wire.role() is LinkRole.RELAY
    assert len(said.bodies(wire, FrameKind.ADMIT)) == 1 and len(stage.core.table) == 1


# -- refused


def test_refused_one_is_told_why_and_at_most_eight_contacts_and_closed() -> None:
    contacts = [f"127.0.1.{number}:4000" for number in range(1, 20)]
    stage = Stage(contacts=contacts)
    stage.start()
    wire, said = hang(stage, PEER)
    (refuse,) = said.frames(wire, FrameKind.REFUSE, Refuse)
    assert refuse.reason == Refusal.NOT_CONNECTED
    assert 0 < len(refuse.contacts) <= 8 and set(refuse.contacts) < set(contacts)
    assert refuse.lowest == min(stage.core.key, PEER.key)
    assert said.closed(wire) is CloseCode.NOT_CONNECTED


def test_own_proxy_comes_first_among_the_contacts() -> None:
    stage, _ = Stage.named(FRIEND)
    for number in range(1, 20):
        hang(stage, Person(30 + number))
    wire, said = hang(stage, PEER)
    (refuse,) = said.frames(wire, FrameKind.REFUSE, Refuse)
    assert refuse.reason == Refusal.NOT_CONNECTED
    assert refuse.contacts[0] == FRIEND.address and len(refuse.contacts) == 8


def test_refused_one_is_not_sent_to_itself() -> None:
    stage = Stage(contacts=[PEER.address])
    stage.start()
    wire, said = hang(stage, PEER)
    (refuse,) = said.frames(wire, FrameKind.REFUSE, Refuse)
    assert PEER.address not in refuse.contacts


def test_full_proxy_names_its_peers_as_contacts() -> None:
    stage = proxy(limits=Limits().but(relays_max=1))
    hang(stage, PEER)
    wire, said = hang(stage, STRANGER)
    (refuse,) = said.frames(wire, FrameKind.REFUSE, Refuse)
    assert refuse.reason == Refusal.FULL and FRIEND.address in refuse.contacts
    assert said.closed(wire) is CloseCode.FULL


def test_client_of_a_network_of_one_is_refused_too_small() -> None:
    stage = Stage.founder()
    wire, said = hang(stage, PEER, HelloRole.CLIENT)
    assert refusal(wire, said) is Refusal.NETWORK_TOO_SMALL
    assert said.closed(wire) is CloseCode.NOT_CONNECTED


def test_client_is_admitted_from_the_second_node_on() -> None:
    wire, _ = hang(proxy(), PEER, HelloRole.CLIENT)
    assert wire.role() is LinkRole.CLIENT


def test_clients_may_be_refused_below_a_larger_network() -> None:
    stage = proxy(limits=Limits().but(clients_from_nodes=2))
    wire, said = hang(stage, PEER, HelloRole.CLIENT)
    assert refusal(wire, said) is Refusal.NETWORK_TOO_SMALL


# -- limits


def test_twenty_joiners_of_exempt_networks_and_no_more() -> None:
    stage = proxy()
    for number in range(20):
        assert hang(stage, Person(30 + number))[0].role() is LinkRole.RELAY
    wire, said = hang(stage, PEER)
    assert refusal(wire, said) is Refusal.FULL


def test_four_joiners_of_one_network_and_no_more() -> None:
    stage = proxy(limits=strict())
    for number in range(4):
        source = f"9.9.9.{number + 1}:5000"
        assert hang(stage, Person(30 + number), source=source)[0].role() is LinkRole.RELAY
    wire, said = hang(stage, PEER, source="9.9.9.200:5000")
    assert refusal(wire, said) is Refusal.FULL
    other, _ = hang(stage, STRANGER, source="9.9.8.1:5000")
    assert other.role() is LinkRole.RELAY


def test_eight_clients_of_one_address_and_no_more() -> None:
    stage = proxy(limits=strict())
    client = HelloRole.CLIENT
    for number in range(8):
        source = f"9.9.9.9:{5000 + number}"
        assert hang(stage, Person(30 + number), client, source=source)[0].open
    wire, said = hang(stage, PEER, client, source="9.9.9.9:6000")
    assert refusal(wire, said) is Refusal.FULL
    assert hang(stage, STRANGER, client, source="9.9.9.8:6000")[0].role() is LinkRole.CLIENT


def full_of_joiners(groups: dict[int, int]) -> tuple[Stage, list[Wire]]:
    """Return a proxy full of joiners: so many from each network."""
    stage = proxy(limits=strict(joiners_max=sum(groups.values())))
    wires: list[Wire] = []
    for group, count in groups.items():
        for _ in range(count):
            stage.wait(SECOND // 100)
            number = len(wires)
            source = f"9.9.{group}.{number + 1}:5000"
            wires.append(hang(stage, Person(30 + number), source=source)[0])
    assert all(wire.role() is LinkRole.RELAY for wire in wires)
    return stage, wires


def test_full_proxy_lets_the_oldest_of_the_largest_network_go_for_a_smaller_one() -> None:
    stage, wires = full_of_joiners({1: 1, 2: 3, 3: 2})
    wire, said = hang(stage, PEER, source="9.9.1.99:5000")
    assert wire.role() is LinkRole.RELAY
    assert said.closed(wires[1]) is CloseCode.FULL
    assert refusal(wires[1], said) is Refusal.FULL, "with contacts, not just closed"


def test_full_proxy_refuses_one_whose_network_is_smaller_by_one_only() -> None:
    stage, wires = full_of_joiners({1: 1, 2: 2})
    wire, said = hang(stage, PEER, source="9.9.1.99:5000")
    assert refusal(wire, said) is Refusal.FULL
    assert all(each.open for each in wires)


def test_at_most_a_hundred_hang_on_us() -> None:
    stage = proxy()
    for number in range(100):
        hang(stage, Person(200 + number), HelloRole.CLIENT)
    for role in ROLES:
        wire, said = hang(stage, PEER, role)
        assert refusal(wire, said) is Refusal.FULL


def test_place_of_one_that_left_is_free_again() -> None:
    stage = proxy(limits=Limits().but(relays_max=1))
    wire, _ = hang(stage, PEER)
    wire.lose()
    assert hang(stage, STRANGER)[0].role() is LinkRole.RELAY


def test_joiner_is_closed_after_180_seconds() -> None:
    stage = proxy()
    wire, _ = hang(stage, PEER)
    stage.wait(180 * SECOND - 1)
    assert wire.open
    assert stage.wait(1).closed(wire) is CloseCode.EXPIRED


def test_client_stays_as_long_as_it_likes() -> None:
    stage = proxy()
    wire, _ = hang(stage, PEER, HelloRole.CLIENT)
    stage.wait(600 * SECOND)
    assert wire.open


# -- what they may say


def messages(stage: Stage, person: Person) -> dict[MessageKind, Envelope]:
    """Return a right message of every kind from one that hangs on us."""
    own, reply_to = stage.name, ClientAddress(stage.name, person.key)
    request = ConnectRequest(
        person.fresh(),
        own,
        person.incarnation,
        [person.address],
        reply_to,
        person.certificate,
        True,
        False,
    )
    bodies = {
        MessageKind.CONNECT_REQUEST: request,
        MessageKind.REQUEST_NAME: RequestName(reply_to, None, []),
        MessageKind.FIND_GROUP: FindGroup(own, reply_to),
        MessageKind.REPLY: Reply(bytes(16), bytes(16), False, b"text"),
    }
    made = {}
    for kind in MessageKind:
        group = kind in (MessageKind.REQUEST_NAME, MessageKind.FIND_GROUP)
        destination = GroupAddress(own) if group else NodeAddress(own)
        made[kind] = person.seal(kind, destination, bodies.get(kind, b"text"), proxy=own)
    return made


MAY = {
    HelloRole.JOIN: {
        MessageKind.CONNECT_REQUEST,
        MessageKind.CONNECT_RESPONSE,
        MessageKind.CONNECT_REFUSED,
        MessageKind.REQUEST_NAME,
        MessageKind.REGISTER,
        MessageKind.FIND_GROUP,
    },
    HelloRole.FEEL: {
        MessageKind.CONNECT_REQUEST,
        MessageKind.CONNECT_RESPONSE,
        MessageKind.CONNECT_REFUSED,
        MessageKind.REQUEST_NAME,
        MessageKind.REGISTER,
        MessageKind.FIND_GROUP,
    },
    HelloRole.CLIENT: {
        MessageKind.ACKNOWLEDGED,
        MessageKind.BUSY,
        MessageKind.PART,
        MessageKind.MESSAGE,
        MessageKind.MESSAGES,
        MessageKind.REQUEST,
        MessageKind.REPLY,
        MessageKind.FIND_GROUP,
        MessageKind.WHOLE_WANTED,
        MessageKind.MOVED,
    },
}


@pytest.mark.parametrize("kind", MessageKind)
@pytest.mark.parametrize("role", ROLES)
def test_only_these_kinds_may_come_from_one_that_hangs_on_us(
    role: HelloRole, kind: MessageKind
) -> None:
    stage = proxy()
    wire, _ = hang(stage, PEER, role)
    said = wire.routed(messages(stage, PEER)[kind])
    allowed = kind in MAY[role]
    assert said.closed(wire) is (None if allowed else CloseCode.BAD_FRAME)
    assert stage.core.counters.get("frame.malformed", 0) == (not allowed)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("fault", ["another's key", "another proxy", "a node"])
def test_one_that_hangs_on_us_speaks_for_itself_only(role: HelloRole, fault: str) -> None:
    stage = proxy()
    wire, _ = hang(stage, PEER, role)
    kind = min(MAY[role])
    destination = NodeAddress(stage.name)
    envelope = {
        "another's key": STRANGER.seal(kind, destination, b"", proxy=stage.name),
        "another proxy": PEER.seal(kind, destination, b"", proxy=FRIEND.name),
        "a node": PEER.seal(kind, destination, b""),
    }[fault]
    assert wire.routed(envelope).closed(wire) is CloseCode.BAD_FRAME
