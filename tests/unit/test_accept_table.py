"""The accept/connect table, every cell walked against a real core that got there by the rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import Struct

from routing._batch import pack
from routing.actions import Dial
from routing.bodies import FindGroup
from routing.certificates import founding_certificate
from routing.dials import Flight, Purpose
from routing.errors import CloseCode
from routing.inputs import StopRequested
from routing.limits import SECOND
from routing.links import Link
from routing.messages import (
    Ack,
    Admit,
    ClientAddress,
    Close,
    Confirmation,
    Contacts,
    Direct,
    Envelope,
    FrameKind,
    GroupAddress,
    HelloRole,
    IsName,
    MessageKind,
    NameIs,
    Neighbours,
    NodeAddress,
    Ping,
    Reachable,
    Refuse,
    SecondaryFailed,
    Throttled,
    Unneeded,
    encode,
)
from routing.state import Detail, Direction, LinkRole
from tests.accept_table import CONNECT, FRAMES, HELLO, connect_cells, frame_cells
from tests.asked import Asked
from tests.persons import Person
from tests.support import Said, Stage, Wire

__all__: list[str] = []

PROXY, PEER, OTHER = Person(1), Person(2), Person(9)
NODES = [Detail.DISCONNECTED, Detail.BOOTSTRAPPED, Detail.RELOCATED, Detail.CONNECTED]


def node(detail: Detail) -> Stage:
    """Return a node with contacts, in a round or beyond it, that has come to this detail."""
    if detail is Detail.DISCONNECTED:
        stage = Stage(contacts=[PROXY.address, OTHER.address])
        stage.start()
        return stage
    if detail is Detail.BOOTSTRAPPED:
        return Stage.admitted(PROXY)[0]
    stage, proxy = Stage.named(PROXY)
    if detail is Detail.RELOCATED:
        return stage
    if detail is Detail.TERMINATED:
        stage.hear(StopRequested())
        return stage
    for number in range(10, 11 if detail is Detail.CONNECTED else 18):
        consolidate_as_requester(stage, proxy, Person(number))
    return stage


def consolidate_as_requester(stage: Stage, proxy: Wire, person: Person) -> Wire:
    request = person.request(stage.name, hop=PROXY.name)
    destination = ClientAddress(PROXY.name, stage.core.key)
    # A joiner is asked through its proxy like anybody else who can be named.
    envelope = person.seal(MessageKind.CONNECT_REQUEST, destination, request)
    proxy.routed(envelope)
    primary = stage.connect(person)
    primary.say(FrameKind.ACK, Ack(request.attempt))
    stage.accept(person).hello(HelloRole.SECONDARY, request.attempt)
    assert primary.role() is LinkRole.CONSOLIDATED
    return primary


def client(detail: Detail) -> Stage:
    """Return a client in this detail; those it can never reach are forced upon it."""
    if detail is Detail.BOOTSTRAPPED:
        return Stage.admitted(PROXY, client=True)[0]
    stage = Stage(contacts=[PROXY.address], client=True)
    stage.start()
    core = stage.core
    if detail is Detail.TERMINATED:
        stage.hear(StopRequested())
    elif detail >= Detail.RELOCATED:
        core.take_name(founding_certificate(core.key))
        core.founding.founder = True
        for number in range({Detail.RELOCATED: 0, Detail.CONNECTED: 1}.get(detail, 8)):
            person = Person(20 + number)
            wire = stage._wire(person, Direction.OUTBOUND, person.address, "", b"")
            core.links[wire.token] = Link(
                wire.connection, person.key, b"", LinkRole.CONSOLIDATED, 0, name=person.name
            )
            core.table.add(person.name, person.key, wire.token)
        stage.wait(0)
    return stage


def stage_of(is_client: bool, detail: Detail) -> Stage:
    stage = (client if is_client else node)(detail)
    assert stage.core.state.detail is detail
    return stage


INBOUND = [cell for cell in connect_cells() if cell[2] is Direction.INBOUND]
OUTBOUND = [cell for cell in connect_cells() if cell[2] is Direction.OUTBOUND]


@pytest.mark.parametrize(("is_client", "detail", "direction"), INBOUND)
def test_accepted_connection_meets_its_cell(
    is_client: bool, detail: Detail, direction: Direction
) -> None:
    stage = stage_of(is_client, detail)
    wire = stage.accept(PEER)
    word = CONNECT[is_client, detail, direction]
    if word == "hold":
        assert wire.role() is LinkRole.UNKNOWN and wire.opening == []
    else:
        assert wire.opening.closed(wire) is CloseCode[word]
        assert wire.link is None


@pytest.mark.parametrize(("is_client", "detail", "direction"), OUTBOUND)
def test_bootstrap_dial_that_connects_meets_its_cell(
    is_client: bool, detail: Detail, direction: Direction
) -> None:
    stage = stage_of(is_client, detail)
    word = CONNECT[is_client, detail, direction]
    wire = late_dial(stage, called_off=word == "bootstrap")
    if word == "bootstrap" and detail is Detail.DISCONNECTED:
        assert wire.role() is LinkRole.BOOTSTRAP
        assert len(wire.opening.bodies(wire, FrameKind.HELLO)) == 1
    else:
        # Beyond DISCONNECTED one proxy is kept already: what comes late of its round is closed.
        assert wire.opening.closed(wire) is CloseCode.NORMAL
        assert wire.opening.bodies(wire, FrameKind.HELLO) == []


def late_dial(stage: Stage, *, called_off: bool) -> Wire:
    """Let a bootstrap dial connect: the one under way, or one that its round left behind."""
    if stage.core.bootstrapping.round is not None:
        return stage.connect(PROXY)
    return left_behind(
        stage, Flight(Purpose.BOOTSTRAP, OTHER.address.encode(), OTHER.address), called_off
    )


def left_behind(stage: Stage, flight: Flight, called_off: bool) -> Wire:
    number = stage.core.dials.last + 1_000
    flight.cancelled = called_off
    stage.core.dials.flights[number] = flight
    stage.dialling[number] = Dial(number, flight.endpoint, None, SECOND)
    return stage.connect(OTHER, number)


def test_every_cell_of_an_attempts_dial_is_met() -> None:
    for is_client, detail, direction in OUTBOUND:
        word = CONNECT[is_client, detail, direction]
        stage = stage_of(is_client, detail)
        if word != "expected":
            # No attempt lives in these states, so the dial is one that an ended attempt left.
            wire = left_behind(stage, Flight(Purpose.PRIMARY, bytes(16), OTHER.address), False)
            assert wire.opening.closed(wire) is CloseCode.NORMAL
            continue
        link = stage.core.bootstrapping.proxy()
        if link is None:
            (link, *_) = stage.core.links_of(LinkRole.CONSOLIDATED)
        wire = stage.open[link.token]
        stage.trust(PEER)
        request = PEER.request(stage.name, hop=wire.person.name)
        destination = (
            ClientAddress(wire.person.name, stage.core.key)
            if link.role is LinkRole.BOOTSTRAP
            else NodeAddress(stage.name)
        )
        wire.routed(PEER.seal(MessageKind.CONNECT_REQUEST, destination, request))
        primary = stage.connect(PEER)
        assert primary.role() is LinkRole.PRIMARY, detail


@pytest.mark.parametrize(("detail", "role"), HELLO)
def test_hello_meets_its_cell(detail: Detail, role: HelloRole) -> None:
    stage = stage_of(False, detail)
    word = HELLO[detail, role]
    wire = stage.accept(PEER)
    if word == "STOPPING":
        assert wire.opening.closed(wire) is CloseCode.STOPPING
        return
    said = wire.hello(role)
    if word == "ADMIT":
        assert len(said.bodies(wire, FrameKind.ADMIT)) == 1 and wire.open
    elif word == "REFUSE":
        assert len(said.bodies(wire, FrameKind.REFUSE)) == 1
        assert said.closed(wire) is CloseCode.NOT_CONNECTED
    else:
        assert said.closed(wire) is CloseCode[word]


# -- frames


def unknown() -> Wire:
    return Stage.among(PROXY)[0].accept(PEER)


def primary_outbound() -> Wire:
    asked = Asked()
    asked.ask()
    return asked.stage.connect(PEER)


def primary_inbound() -> Wire:
    stage, (friend,) = Stage.among(PROXY)
    (asked,) = friend.names(PEER.name).envelopes(friend, MessageKind.CONNECT_REQUEST)
    wire = stage.accept(PEER)
    (attempt,) = stage.core.attempts.live()
    wire.hello(HelloRole.PRIMARY, attempt.id, response=encode(PEER.answers(asked)))
    stage.connect(PEER)
    return wire


def secondary() -> Wire:
    asked = Asked()
    asked.ask()
    return asked.secondary()


def consolidated() -> Wire:
    return Stage.among(PROXY)[1][0]


def hanging(role: HelloRole) -> Callable[[], Wire]:
    def make() -> Wire:
        wire = Stage.among(PROXY)[0].accept(PEER)
        wire.hello(role)
        return wire

    return make


def bootstrap() -> Wire:
    stage = Stage(contacts=[PEER.address])
    stage.start()
    return stage.connect(PEER)


def bootstrap_admitted() -> Wire:
    return Stage.admitted(PEER)[1]


def client_admitted() -> Wire:
    return Stage.admitted(PEER, client=True)[1]


def feeler() -> Wire:
    stage, (friend,) = Stage.among(PROXY)
    friend.say(FrameKind.CONTACTS, Contacts([PEER.address]))
    stage.wait(10 * SECOND)
    return stage.connect(PEER)


MAKERS: dict[str, tuple[LinkRole, Callable[[], Wire]]] = {
    "UNKNOWN": (LinkRole.UNKNOWN, unknown),
    "PRIMARY we dialled": (LinkRole.PRIMARY, primary_outbound),
    "PRIMARY they dialled": (LinkRole.PRIMARY, primary_inbound),
    "SECONDARY": (LinkRole.SECONDARY, secondary),
    "CONSOLIDATED": (LinkRole.CONSOLIDATED, consolidated),
    "BOOTSTRAP": (LinkRole.BOOTSTRAP, bootstrap),
    "BOOTSTRAP admitted": (LinkRole.BOOTSTRAP, bootstrap_admitted),
    "BOOTSTRAP of a client": (LinkRole.BOOTSTRAP, client_admitted),
    "RELAY": (LinkRole.RELAY, hanging(HelloRole.JOIN)),
    "CLIENT": (LinkRole.CLIENT, hanging(HelloRole.CLIENT)),
    "FEELER": (LinkRole.FEELER, feeler),
    "FELT": (LinkRole.FELT, hanging(HelloRole.FEEL)),
}

ELSEWHERE = {
    ("PRIMARY we dialled", FrameKind.CONFIRMATION),
    ("PRIMARY they dialled", FrameKind.ACK),
    ("PRIMARY they dialled", FrameKind.SECONDARY_FAILED),
    ("BOOTSTRAP admitted", FrameKind.ADMIT),
    ("BOOTSTRAP", FrameKind.DIRECT),
    ("BOOTSTRAP admitted", FrameKind.DIRECT),
    ("BOOTSTRAP", FrameKind.THROTTLED),
    ("BOOTSTRAP", FrameKind.REACHABLE),
    ("BOOTSTRAP of a client", FrameKind.REACHABLE),
    ("BOOTSTRAP admitted", FrameKind.THROTTLED),
}
"""Allowed in the role, but not from this end or at this time: BAD_FRAME all the same."""

ENDS = {
    ("PRIMARY we dialled", FrameKind.SECONDARY_FAILED): CloseCode.NOT_REACHABLE,
    ("BOOTSTRAP", FrameKind.REFUSE): CloseCode.NORMAL,
    ("BOOTSTRAP admitted", FrameKind.REFUSE): CloseCode.NORMAL,
    ("BOOTSTRAP of a client", FrameKind.REFUSE): CloseCode.NORMAL,
    ("BOOTSTRAP of a client", FrameKind.ADMIT): CloseCode.BAD_FRAME,
    ("FEELER", FrameKind.REFUSE): CloseCode.NORMAL,
}
"""Accepted, and by what it says the end of the connection."""


def say(wire: Wire, kind: FrameKind) -> Said:
    """Let the far end say a frame of this kind that is right for this connection."""
    core, person = wire.stage.core, wire.person
    link = wire.link
    assert link is not None
    own = core.name or core.client_name
    hanger = link.role in (LinkRole.RELAY, LinkRole.CLIENT, LinkRole.FELT)
    proxy = core.name if hanger else None
    find = FindGroup(own, ClientAddress(own, person.key))
    envelope: Envelope
    if link.role is LinkRole.CLIENT:
        destination = NodeAddress(own)
        envelope = person.seal(MessageKind.MESSAGE, destination, b"text", proxy=own)
    else:
        envelope = person.seal(MessageKind.FIND_GROUP, GroupAddress(own), find, proxy=proxy or b"")
    copy = person.seal(MessageKind.MESSAGE, GroupAddress(own), b"text")
    bodies: dict[FrameKind, Struct | bytes] = {
        FrameKind.HELLO: person.hello(HelloRole.JOIN, to=core.key, binding=wire.binding),
        FrameKind.ACK: Ack(link.attempt),
        FrameKind.CONFIRMATION: Confirmation(link.attempt, False),
        FrameKind.SECONDARY_FAILED: SecondaryFailed(link.attempt),
        FrameKind.REACHABLE: Reachable(True),
        FrameKind.UNNEEDED: Unneeded(False),
        FrameKind.THROTTLED: Throttled(bytes(16), 0),
        FrameKind.ADMIT: Admit(person.name, "127.0.0.1", 0, 0),
        FrameKind.REFUSE: Refuse(1, person.key, []),
        FrameKind.PING: Ping(bytes(8)),
        FrameKind.PONG: Ping(bytes(8)),
        FrameKind.CLOSE: Close(0, ""),
        FrameKind.ROUTED: envelope,
        FrameKind.GROUP_COPY: copy,
        FrameKind.NEIGHBOURS: Neighbours(own, bytes(8), [person.name]),
        FrameKind.CONTACTS: Contacts([OTHER.address]),
        FrameKind.DIRECT: Direct(MessageKind.MESSAGE, bytes(16), b"text"),
        FrameKind.BATCH: pack(bytes(16), [b"text"])[0],
        FrameKind.IS_NAME: IsName(person.key, person.certificate, True),
        FrameKind.NAME_IS: NameIs(person.key, person.name, True, True, []),
    }
    return wire.say(kind, b"" if kind is FrameKind.HEARTBEAT else bodies[kind])


@pytest.mark.parametrize("kind", FrameKind)
@pytest.mark.parametrize("place", MAKERS)
def test_frame_meets_its_cell(place: str, kind: FrameKind) -> None:
    role, make = MAKERS[place]
    wire = make()
    assert wire.role() is role
    said = say(wire, kind)
    word = FRAMES[role, kind]
    counters = wire.stage.core.counters
    refused = counters.get(f"frame.not_allowed.{role.name.lower()}", 0)
    if word != "accept":
        assert said.closed(wire) is CloseCode[word] and refused == 1
    elif (place, kind) in ELSEWHERE:
        assert said.closed(wire) is CloseCode.BAD_FRAME
    else:
        assert said.closed(wire) is ENDS.get((place, kind)) and refused == 0


def test_every_role_is_among_those_walked() -> None:
    assert {role for role, _ in MAKERS.values()} == {role for role, _ in frame_cells()}


@pytest.mark.parametrize("place", MAKERS)
def test_stop_closes_a_connection_of_every_role(place: str) -> None:
    wire = MAKERS[place][1]()
    said = wire.stage.hear(StopRequested())
    assert said.closed(wire) is not None and not wire.stage.open
