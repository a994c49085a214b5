"""The table of docs/protocol.md that says which frame is accepted, walked over its whole product.

Every role of a connection, every kind of frame, every state, on a real core; what the core does is
compared with what the table of the document says.
"""

from __future__ import annotations

import pytest

from routing.actions import Action, Close, Send
from routing.certificates import founding_certificate
from routing.core import Core, CoreConfig
from routing.errors import CloseCode
from routing.identity import Identity, IdentitySigner
from routing.inputs import Accepted, FrameReceived, Listening, StopRequested
from routing.limits import Nanos
from routing.links import Link
from routing.messages import (
    NO_ATTEMPT,
    FrameKind,
    Hello,
    HelloRole,
    SignedKind,
    encode,
    hello_body,
    signed_text,
)
from routing.names import network_tag
from routing.state import Connection, Detail, Direction, LinkRole, Token
from tools.docs_tables import HOST_KINDS, verdict

__all__: list[str] = []

TAG = network_tag("a test")
PEER = Identity.from_seed(b"\x02" * 32)
OURS = Identity.from_seed(b"\x01" * 32)
BINDING = b"\x03" * 32
TOKEN = Token(1 << 32 | 1)
NOW = Nanos(1)
RUNNING = [each for each in Detail if each is not Detail.TERMINATED]


def connection(token: int) -> Connection:
    return Connection(
        Token(token), "tcp", f"127.0.0.9:{4_000 + token % 100}", "", Direction.INBOUND
    )


def link(role: LinkRole) -> Link:
    """Return a connection of a role, as one that had come to it by the rules."""
    there = connection(TOKEN)
    name = b"\x77" * 32
    return Link(there, PEER.key, BINDING, role, 0, endpoint=there.peer, name=name)


def node(detail: Detail) -> Core:
    """Return a node in a state, made by what `State.of` looks at."""
    core = Core(CoreConfig(signer=IdentitySigner(OURS), secret=bytes(32), tag=TAG))
    core.handle(Listening(["127.0.0.1:4000"]), NOW)
    routing = {Detail.CONNECTED: 1, Detail.GROUP_CONNECTED: 8}.get(detail, 0)
    if detail is Detail.BOOTSTRAPPED:
        proxy = Link(connection(90), b"\x90" * 32, BINDING, LinkRole.BOOTSTRAP, 0, admitted=True)
        core.links[proxy.token] = proxy
    elif Detail.RELOCATED <= detail < Detail.TERMINATED:
        core.take_name(founding_certificate(core.key))
        core.founding.founder = detail is Detail.RELOCATED
    for number in range(routing):
        name = bytes([0x80 + number]) * 32
        peer = Link(connection(10 + number), name, BINDING, LinkRole.CONSOLIDATED, 0, name=name)
        core.links[peer.token] = peer
        core.table.add(name, name, peer.token)
    core.on_deadline(NOW)
    if detail is Detail.TERMINATED:
        core.handle(StopRequested(), NOW)
    core.take_actions()
    assert core.state.detail is detail
    return core


def closes(actions: list[Action]) -> list[CloseCode]:
    return [each.code for each in actions if isinstance(each, Close) and each.token == TOKEN]


def said(core: Core, kind: FrameKind, body: bytes) -> list[Action]:
    core.handle(FrameReceived(TOKEN, kind, body), NOW)
    return core.take_actions()


@pytest.mark.parametrize("detail", RUNNING, ids=[each.name for each in RUNNING])
@pytest.mark.parametrize("role", LinkRole, ids=[each.name for each in LinkRole])
def test_frames_meet_the_verdict_of_the_table(role: LinkRole, detail: Detail) -> None:
    kinds = [kind for kind in FrameKind if kind not in HOST_KINDS]
    for kind in kinds:
        if role is LinkRole.UNKNOWN and kind is FrameKind.HELLO:
            continue
        core = node(detail)
        core.links[TOKEN] = link(role)
        # No body is a valid record, so a frame that is allowed is refused for that and no more.
        actions = said(core, kind, b"")
        refused = core.counters.get(f"frame.not_allowed.{role.name.lower()}", 0)
        word = verdict(role, kind, detail)
        if word == "accept":
            assert refused == 0, (role, kind, detail)
        else:
            assert refused == 1, (role, kind, detail)
            assert closes(actions) == [CloseCode[word]], (role, kind, detail)


@pytest.mark.parametrize("role", HelloRole, ids=[each.name for each in HelloRole])
@pytest.mark.parametrize("detail", RUNNING, ids=[each.name for each in RUNNING])
def test_hello_on_a_fresh_connection_meets_the_verdict(role: HelloRole, detail: Detail) -> None:
    core = node(detail)
    core.handle(Accepted(connection(TOKEN), PEER.key, BINDING, NOW), NOW)
    body = hello_body(
        role,
        NO_ATTEMPT,
        ours=PEER.key,
        theirs=OURS.key,
        incarnation=bytes(8),
        binding=BINDING,
    )
    hello = Hello(
        role=role,
        attempt=NO_ATTEMPT,
        incarnation=bytes(8),
        lowest=PEER.key,
        endpoints=[],
        response=b"",
        signature=PEER.sign(signed_text(SignedKind.HELLO, TAG, body)),
    )
    actions = said(core, FrameKind.HELLO, encode(hello))
    answers = [each.kind for each in actions if isinstance(each, Send) and each.token == TOKEN]
    match verdict(LinkRole.UNKNOWN, FrameKind.HELLO, detail, role):
        case "greet":
            # No attempt is under way, so it is not one that we wait for.
            assert closes(actions) == [CloseCode.BAD_HELLO]
        case "admit":
            assert answers == [FrameKind.ADMIT]
        case "found or refuse":
            assert answers in ([FrameKind.ADMIT], [FrameKind.REFUSE])
        case other:
            pytest.fail(f"no case for {other}")


@pytest.mark.parametrize("role", LinkRole, ids=[each.name for each in LinkRole])
def test_stopping_closes_every_connection_with_the_code_of_the_table(role: LinkRole) -> None:
    core = node(Detail.DISCONNECTED)
    core.links[TOKEN] = link(role)
    core.handle(StopRequested(), NOW)
    word = verdict(role, FrameKind.PING, Detail.TERMINATED)
    assert closes(core.take_actions()) == [CloseCode[word]]
    assert said(core, FrameKind.PING, b"") == []
