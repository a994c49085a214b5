"""What `explain` says of a peer: refused, lost, never dialled, unreachable, still there."""

from __future__ import annotations

import pytest

from routing import actions as do
from routing.core import Core, CoreConfig
from routing.errors import CloseCode, DialFailure, Outcome, Refusal, UsageError
from routing.events import ConnectFailed, PeerDown, PeerUp
from routing.identity import Identity, IdentitySigner
from routing.inputs import Accepted, DialFailed, Dialled, FrameReceived, Input, Lost, StopRequested
from routing.limits import SECOND, Nanos
from routing.messages import FrameKind, Neighbours, Refuse, encode
from routing.peer_story import Story, conclusion
from routing.replaying import Note, Step
from routing.state import Connection, Direction, Token

__all__: list[str] = []

NAME, KEY, OTHER = b"n" * 32, b"k" * 32, b"o" * 32
PLACE = "10.0.0.9:5483"


def connection(token: int, direction: Direction) -> Connection:
    return Connection(Token(token), "tcp", PLACE, "10.0.0.1:1", direction)


class Tale:
    """Steps told to a story, one a second."""

    def __init__(self) -> None:
        signer = IdentitySigner(Identity.from_seed(bytes(32)))
        self.core = Core(CoreConfig(signer=signer, secret=bytes(32), tag=bytes(8)))
        self.story = Story()
        self.now = 0

    def step(self, heard: Input, *actions: do.Action, notes: tuple[Note, ...] = ()) -> None:
        self.now += SECOND
        self.story.take(Step(self.now, heard, list(actions), list(notes)), self.core)

    def end(self, digits: str) -> str:
        peer = self.story.find(digits)
        return conclusion(self.story, peer, self.story.of(peer), self.core)


@pytest.fixture
def tale() -> Tale:
    tale = Tale()
    tale.step(Accepted(connection(1, Direction.INBOUND), KEY, bytes(32), Nanos(0)))
    return tale


def refusal(reason: Refusal) -> bytes:
    return encode(Refuse(reason, bytes(32), []))


def test_peer_that_refused_us(tale: Tale) -> None:
    tale.step(FrameReceived(Token(1), FrameKind.REFUSE, refusal(Refusal.FULL)))
    assert tale.end(KEY.hex()) == "not connected: it refused us: FULL, at 2.000 s"


def test_peer_that_we_refused(tale: Tale) -> None:
    refuse = do.Send(Token(1), FrameKind.REFUSE, refusal(Refusal.NOT_CONNECTED), 0)
    tale.step(StopRequested(), refuse)
    assert tale.end(KEY.hex()[:6]) == "not connected: we refused it: NOT_CONNECTED, at 2.000 s"


def test_attempt_that_was_refused(tale: Tale) -> None:
    failed = ConnectFailed(NAME, Outcome.REFUSED, Refusal.NOT_WANTED, requester=True)
    tale.step(StopRequested(), do.Tell(failed))
    assert "attempt of ours failed: REFUSED, refused: NOT_WANTED" in tale.end(NAME.hex())


def test_peer_that_was_lost_and_one_that_is_there(tale: Tale) -> None:
    tale.step(StopRequested(), do.Tell(PeerUp(NAME, KEY, Direction.INBOUND)))
    assert tale.end(NAME.hex()) == tale.end(KEY.hex()) == "connected since 2.000 s"
    down = do.Tell(PeerDown(NAME, KEY, CloseCode.SILENT))
    tale.step(Lost(Token(1), CloseCode.SILENT, ""), down)
    assert tale.end(NAME.hex()) == "not connected: not a peer any more: SILENT, at 3.000 s"
    texts = [line.text for line in tale.story.of(tale.story.find(KEY.hex()))]
    assert "the connection was lost: SILENT" in texts


def test_peer_that_was_there_until_the_node_stopped(tale: Tale) -> None:
    tale.step(StopRequested(), do.Tell(PeerUp(NAME, KEY, Direction.INBOUND)))
    tale.step(StopRequested(), do.Tell(PeerDown(NAME, KEY, CloseCode.STOPPING)))
    assert "the recorded node stopped at 3.000 s; until then" in tale.end(NAME.hex())


def test_peer_that_cannot_be_dialled_at_a_place_where_it_was_before(tale: Tale) -> None:
    tale.step(StopRequested(), do.Dial(1, PLACE, None, 5))
    tale.step(Dialled(1, connection(2, Direction.OUTBOUND), OTHER, bytes(32)))
    tale.step(Lost(Token(2), CloseCode.STOPPING, "bye"))
    assert tale.end(OTHER.hex()).startswith("not connected: it closed the connection: STOPPING")
    tale.step(StopRequested(), do.Dial(2, PLACE, None, 5))
    tale.step(DialFailed(2, DialFailure.CONNECTION_REFUSED))
    assert "failed: CONNECTION_REFUSED" in tale.end(OTHER.hex())


def test_peer_that_was_only_named_by_others(tale: Tale) -> None:
    listed = encode(Neighbours(NAME, bytes(8), [OTHER]))
    tale.step(FrameReceived(Token(1), FrameKind.NEIGHBOURS, listed))
    end = tale.end(OTHER.hex())
    assert end.startswith("not connected: never dialled, and it has not dialled us; known since 2.")
    assert "named by 6b6b6b6b as a neighbour" in end


def test_decisions_about_a_peer_are_told_in_order(tale: Tale) -> None:
    tale.step(StopRequested(), notes=(Note(5, KEY, "refused: BUSY"),))
    texts = [line.text for line in tale.story.of(tale.story.find(KEY.hex()))]
    assert texts == [f"it dialled us from {PLACE}", "refused: BUSY"]


def test_the_node_itself_and_nobody(tale: Tale) -> None:
    tale.step(StopRequested(), notes=(Note(5, tale.core.key, "founded"),))
    assert tale.end(tale.core.key.hex()) == "this is the recorded node itself"
    with pytest.raises(UsageError, match="is unknown"):
        tale.end("00112233")
    with pytest.raises(UsageError, match="4 or more"):
        tale.end("6b6")
    tale.step(StopRequested(), notes=(Note(5, KEY[:31] + b"x", "another"),))
    with pytest.raises(UsageError, match="may be 2 peers"):
        tale.end("6b6b6b6b")
