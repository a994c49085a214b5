"""`explain`: why a recorded node is, or is not, connected with a peer; from a replay, in lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from routing import actions as do
from routing import events
from routing import inputs as told
from routing.core import Core
from routing.dials import Purpose
from routing.errors import CloseCode, UsageError
from routing.limits import NAME_BYTES, SECOND
from routing.messages import FrameKind, Neighbours, Refuse, decode
from routing.names import short
from routing.playback import Playback
from routing.replaying import Replay, Step
from routing.retelling import reason_of, verdict
from routing.state import Direction

__all__ = ["Story", "explain_command"]

DIGITS_MIN: Final = 4
"""Fewer would mean anybody."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened with a peer, known by name, key or endpoint."""

    now: int
    subjects: tuple[bytes, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Dialling:
    """A dial that the core has begun."""

    subjects: tuple[bytes, ...]
    text: str


class Story:
    """What happened with all peers, gathered from the steps of a replay, in order."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.known: dict[bytes, str] = {}
        """Every name and key that came up -> when and how first."""
        self.keys: dict[bytes, bytes] = {}
        """Name -> key, of those with whom there was a connection."""
        self.endpoints: dict[bytes, list[bytes]] = {}
        """Key -> endpoints where it answered."""
        self.up: dict[bytes, int] = {}
        """Name -> since when it is connected."""
        self.until_stop: dict[bytes, int] = {}
        """Name -> the same, of those who were when the recorded node stopped."""
        self.stopped_at: int | None = None
        self._dials: dict[int, Dialling] = {}
        self._tokens: dict[int, bytes] = {}
        self._dialled: dict[int, str] = {}

    def take(self, step: Step, core: Core) -> None:
        """Take in one step, done by this core."""
        self._hear(step)
        for note in step.notes:
            self._say(note.now, (note.subject,), note.text)
        for action in step.actions:
            self._act(step.now, action, core)

    # -- what was heard

    def _hear(self, step: Step) -> None:
        now, heard = step.now, step.heard
        match heard:
            case told.Accepted(connection=connection, key=key):
                self._tokens[connection.token] = key
                self._say(now, (key,), f"it dialled us from {connection.peer}")
            case told.Dialled(dial=dial, connection=connection, key=key):
                self._tokens[connection.token] = key
                endpoint = self._dialled.pop(dial, connection.peer)
                self._dials.pop(dial, None)
                self.endpoints.setdefault(key, []).append(endpoint.encode())
                self._say(now, (key,), f"our dial to {endpoint} is through")
            case told.DialFailed(dial=dial, reason=reason):
                self._dialled.pop(dial, None)
                dialling = self._dials.pop(dial, None)
                if dialling is not None:
                    self._say(now, dialling.subjects, f"{dialling.text} failed: {reason.name}")
            case told.Lost(token=token, code=code, text=text):
                broken = code in (CloseCode.IO_ERROR, CloseCode.SILENT)
                how = "the connection was lost" if broken else "it closed the connection"
                self._end(now, token, f"{how}: {_code(code, text)}")
            case told.FrameReceived(token=token, kind=FrameKind.NEIGHBOURS, body=body):
                self._gossip(now, token, body)
            case told.FrameReceived(token=token, kind=FrameKind.REFUSE, body=body):
                refuse = decode(Refuse, body)
                if refuse is not None and token in self._tokens:
                    self._say(now, (self._tokens[token],), f"it refused us: {reason_of(refuse)}")
            case told.StopRequested():
                self.stopped_at = now

    def _gossip(self, now: int, token: int, body: bytes) -> None:
        listed = decode(Neighbours, body)
        who = short(self._tokens.get(token, b"?"))
        for name in listed.names if listed is not None else ():
            self.known.setdefault(name, f"{now / SECOND:.3f} s, named by {who} as a neighbour")

    # -- what was done

    def _act(self, now: int, action: do.Action, core: Core) -> None:
        match action:
            case do.Dial(dial=dial, endpoint=endpoint, expect=expect):
                self._dial(now, dial, endpoint, expect or b"", core)
            case do.Close(token=token, code=code, text=text):
                self._end(now, token, f"we closed the connection: {_code(code, text)}")
            case do.Send(token=token, kind=FrameKind.REFUSE, body=body):
                refuse = decode(Refuse, body)
                if refuse is not None and token in self._tokens:
                    self._say(now, (self._tokens[token],), f"we refused it: {reason_of(refuse)}")
            case do.Tell(event=events.PeerUp(name=name, key=key, direction=direction)):
                self.keys[name] = key
                self.up[name] = now
                by = "we dialled" if direction is Direction.OUTBOUND else "it dialled"
                self._say(now, (name, key), f"connected; {by} the connection that stays")
            case do.Tell(event=events.PeerDown(name=name, key=key, code=code)):
                since = self.up.pop(name, now)
                if code is CloseCode.STOPPING and self.stopped_at is not None:
                    self.until_stop[name] = since
                self._say(now, (name, key), f"not a peer any more: {code.name}")
            case do.Tell(event=events.ConnectFailed() as failed):
                why = "" if failed.refusal is None else f", refused: {failed.refusal.name}"
                side = "ours" if failed.requester else "its"
                text = f"attempt of {side} failed: {failed.outcome.name}{why}"
                self._say(now, (failed.name,), text)

    def _dial(self, now: int, dial: int, endpoint: str, expect: bytes, core: Core) -> None:
        flight = core.dials.flights.get(dial)
        purpose = "" if flight is None else f", {flight.purpose.name.lower()}"
        subjects: tuple[bytes, ...] = (endpoint.encode(),)
        if expect:
            subjects = (*subjects, expect)
        if flight is not None and flight.purpose in (Purpose.PRIMARY, Purpose.SECONDARY):
            owners = (name for name, id in core.attempts.by_name.items() if id == flight.owner)
            subjects = (*subjects, *owners)
        dialling = Dialling(subjects, f"our dial to {endpoint} ({dial}{purpose})")
        self._dials[dial] = dialling
        self._dialled[dial] = endpoint
        self._say(now, subjects, f"we dial {endpoint} ({dial}{purpose})")

    def _end(self, now: int, token: int, text: str) -> None:
        key = self._tokens.pop(token, None)
        if key is not None:
            self._say(now, (key,), text)

    def _say(self, now: int, subjects: tuple[bytes, ...], text: str) -> None:
        for subject in subjects:
            if len(subject) == NAME_BYTES:
                self.known.setdefault(subject, f"{now / SECOND:.3f} s, {text}")
        self.lines.append(Line(now, subjects, text))

    # -- what is told of one

    def find(self, digits: str) -> frozenset[bytes]:
        """Return the name and key that hexadecimal digits begin, as far as they are known.

        Raises:
            UsageError: too few, no digits, nobody, or several peers.
        """
        digits = digits.lower()
        if len(digits) < DIGITS_MIN or any(each not in "0123456789abcdef" for each in digits):
            raise UsageError(
                f"peer {digits[:80]!r} must be {DIGITS_MIN} or more hexadecimal digits of its "
                "name or key"
            )
        found = [each for each in self.known if each.hex().startswith(digits)]
        if not found:
            raise UsageError(
                f"peer {digits[:80]!r} is unknown: of {len(self.known)} names and keys in the "
                "recording none begins so"
            )
        groups = {self._all_of(each) for each in found}
        if len(groups) > 1:
            raise UsageError(f"peer {digits[:80]!r} may be {len(groups)} peers; give more digits")
        return groups.pop()

    def _all_of(self, subject: bytes) -> frozenset[bytes]:
        """A key may have had several names."""
        key = self.keys.get(subject, subject)
        return frozenset({subject, key, *(name for name, each in self.keys.items() if each == key)})

    def of(self, peer: frozenset[bytes]) -> list[Line]:
        """Return what happened with a peer."""
        places = {place for each in peer for place in self.endpoints.get(each, ())}
        wanted = peer | places
        return [line for line in self.lines if not wanted.isdisjoint(line.subjects)]


def explain_command(path: str, digits: str) -> int:
    """Print why a recorded node is, or is not, connected with a peer; return the exit code.

    Raises:
        UsageError: no recording that can be replayed, or an unknown peer.
    """
    playback, replay, story = Playback(path), Replay(), Story()
    for step in replay.steps(playback.records()):
        assert replay.core is not None, "a core has done the step"
        story.take(step, replay.core)
    peer = story.find(digits)
    lines = story.of(peer)
    for subject in sorted(peer, key=lambda each: each in story.keys, reverse=True):
        what = "name" if subject in story.keys else "key or name"
        print(f"{what} {subject.hex()}")
    for line in lines:
        print(f"{line.now / SECOND:12.6f} s  {line.text}")
    print(conclusion(story, peer, lines, replay.core))
    for text in verdict(playback, replay):
        if text.startswith(("gap", "truncated", "DIFFERS")):
            print(text)
    return 1 if replay.fault else 0


def conclusion(story: Story, peer: frozenset[bytes], lines: list[Line], core: Core | None) -> str:
    """Return the last line: connected or not, and why."""
    if core is not None and core.key in peer:
        return "this is the recorded node itself"
    for name in sorted(peer):
        if name in story.up:
            return f"connected since {_at(story.up[name])}"
        if name in story.until_stop and story.stopped_at is not None:
            return (
                f"not connected: the recorded node stopped at {_at(story.stopped_at)}; until then "
                f"it was, since {_at(story.until_stop[name])}"
            )
    for link in () if core is None else core.links.values():
        if link.key in peer:
            return f"connected since {_at(link.since)}, as {link.role.name.lower()} only"
    reasons = [line for line in lines if _is_reason(line.text)]
    if reasons:
        return f"not connected: {reasons[-1].text}, at {_at(reasons[-1].now)}"
    if lines:
        return f"not connected, nothing has come of it yet: {lines[-1].text}"
    first = next(story.known[each] for each in sorted(peer) if each in story.known)
    return (
        "not connected: never dialled, and it has not dialled us; "
        f"known since {first}{_need(core, peer)}"
    )


def _at(now: int) -> str:
    return f"{now / SECOND:.3f} s"


def _need(core: Core | None, peer: frozenset[bytes]) -> str:
    """Return why nobody would dial it, if the table tells."""
    name = min(peer)
    if core is None or core.stopped or core.name is None:
        return ""
    if not core.table.wanted(name):
        return "; our table has no need of it"
    return "; our table has room for it, nobody has asked yet"


def _is_reason(text: str) -> bool:
    words = ("failed", "refused", "lost", "closed", "any more", "cannot", "ended")
    return any(word in text for word in words)


def _code(code: CloseCode, text: str) -> str:
    return code.name + (f" ({text})" if text else "")
