"""The third principal: what an attacker may do to two cores, move by move.

He has keys of his own, one of them that of a neighbour of both, so that every routed message
between them goes through him. He may drop, keep and repeat what he hears, ask and answer under his
own name listing anybody's endpoint, dial anybody, hang up, cut connections and make dials fail, and
let time pass. He cannot sign for a key he does not have: he signs with his own signers only, and
what another has signed he can but repeat. What would be closed at once for its kind alone is not
sent: hanging up does the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b, sha256

from msgspec import Struct

from routing.bodies import ConnectRefused, ConnectRequest, ConnectResponse
from routing.certificates import certified_name, origin_of
from routing.core import Core
from routing.errors import CloseCode, DialFailure, Refusal
from routing.identity import Signer
from routing.inputs import FrameReceived, Lost
from routing.limits import ROUTES_MAX, SECOND, Nanos
from routing.messages import (
    NO_ATTEMPT,
    Ack,
    Address,
    Admit,
    Certificate,
    Confirmation,
    FrameKind,
    Hello,
    HelloRole,
    MessageKind,
    NodeAddress,
    Refuse,
    SecondaryFailed,
    Signed,
    SignedKind,
    ViaAddress,
    decode,
    encode,
    hello_body,
    open_envelope,
    signed_text,
)
from routing.seniority import numbered
from routing.simulation.hearsay import Known, attempt_of, routed, spell
from routing.simulation.siege import (
    MALLORY,
    WHO,
    Line,
    Moment,
    Siege,
    Step,
    shut,
    with_new,
)
from routing.state import ALLOWED, LinkRole, Token

__all__ = ["Attacker", "Mask"]


@dataclass(frozen=True, slots=True)
class Mask:
    """One identity of the attacker's own."""

    signer: Signer
    certificate: Certificate

    @property
    def key(self) -> bytes:
        """Its public key."""
        return self.signer.key

    @property
    def name(self) -> bytes:
        """Its name, valid as anybody's."""
        return certified_name(self.key, self.certificate)


class Attacker:
    """Yields every move that is open to him in a moment.

    Args:
        siege: The cores and wires he attacks.
        neighbour: His identity that is consolidated with both cores.
        stranger: His identity that neither knows yet; requests are in its name.
        tag: The network's.
        relaxed: What he says of himself in requests and responses.
        waits: He may let time pass; else it stands still.
    """

    def __init__(
        self,
        siege: Siege,
        neighbour: Mask,
        stranger: Mask,
        *,
        tag: bytes,
        relaxed: bool,
        waits: bool,
    ) -> None:
        self.siege = siege
        self.neighbour = neighbour
        self.stranger = stranger
        self.tag = tag
        self.relaxed = relaxed
        self.waits = waits

    def passes(self, moment: Moment) -> Iterator[Step]:
        """Yield what he does as an honest relay would: it costs him nothing."""
        for frame in moment.known:
            whom = self.siege.seat_of(frame) if frame[0] is FrameKind.ROUTED else None
            if whom is not None and not _sendings(moment, frame, whom):
                label = f"M passes {spell(frame)} on to {WHO[whom]}"
                yield label, partial(self._route, moment, whom, frame)

    def moves(self, moment: Moment) -> Iterator[Step]:
        """Yield his moves; each costs one."""
        if not moment.left:
            return
        moment = replace(moment, left=moment.left - 1)
        yield from self._asks(moment)
        yield from self._answers(moment)
        yield from self._repeats(moment)
        yield from self._dials(moment)
        for index, line in enumerate(moment.lines):
            if MALLORY in line.ends:
                yield from self._speaks(moment, index)
            else:
                label = f"M cuts a connection of {WHO[line.ends[0]]} to {WHO[line.ends[1]]}"
                yield label, partial(_cut, moment, index)
        for flight in moment.flights:
            label = f"M lets {WHO[flight.who]}'s dial of {WHO[flight.whom]}'s endpoint time out"
            yield label, partial(self.siege.fail, moment, flight, DialFailure.TIMED_OUT)
        if self.waits:
            limits = self.siege.seats[0].config.limits
            for span in (limits.probe_timeout_ns, self.patience):
                label = f"{span / SECOND:.0f} s pass"
                yield label, partial(self.wait, moment, span)

    @property
    def patience(self) -> int:
        """Nanoseconds after which no core remembers an attempt."""
        return 2 * self.siege.seats[0].config.limits.responder_attempt_ns + SECOND

    # -- routed messages

    def _road(self, moment: Moment, who: int) -> int | None:
        """Return the index of an open consolidated connection of his with a core."""
        view = self.siege.view(moment, who)
        for index, line in enumerate(moment.lines):
            for side in (0, 1):
                if line.ends[side] == who and line.ends[1 - side] == MALLORY:
                    role, _ = view.links.get(line.tokens[side], (LinkRole.UNKNOWN, b""))
                    if role is LinkRole.CONSOLIDATED:
                        return index
        return None

    def _route(self, moment: Moment, who: int, frame: Known) -> Moment:
        """Send an envelope to a core under the next route number, so that it is taken for new."""
        road = self._road(moment, who)
        opened = open_envelope(frame[1])
        assert opened is not None, "he keeps envelopes only"
        times = _sendings(moment, frame, who)
        if frame in moment.known:
            rest = [entry for entry in moment.sent if entry[:2] != (frame[1], who)]
            moment = replace(moment, sent=tuple(sorted([*rest, (frame[1], who, times + 1)])))
        if road is None:
            return moment
        body = routed(opened[0].signed, opened[0].signature, min(times, ROUTES_MAX - 1))
        return self._say(moment, road, FrameKind.ROUTED, body)

    def _asks(self, moment: Moment) -> Iterator[Step]:
        """Requests under his own name, listing anybody's endpoint."""
        for who in (0, 1):
            if self._road(moment, who) is None:
                continue
            for whose, address in enumerate(self.siege.addresses):
                if whose != who:
                    label = f"M asks {WHO[who]} for a connection, listing {WHO[whose]}'s endpoint"
                    yield label, partial(self._ask, moment, who, address)

    def _ask(self, moment: Moment, who: int, address: str) -> Moment:
        mask = self.stranger
        request = ConnectRequest(
            # Each the younger: an older one would be refused.
            attempt=numbered(moment.serial, _draw("attempt", moment.serial, 16)),
            target=self.siege.seats[who].name,
            incarnation=_draw("incarnation", 0, 8),
            endpoints=[address],
            reply_to=ViaAddress(self.neighbour.name, mask.name),
            certificate=mask.certificate,
            urgent=True,
            relaxed=self.relaxed,
        )
        to = NodeAddress(request.target)
        return self._new(moment, who, MessageKind.CONNECT_REQUEST, to, request)

    def _answers(self, moment: Moment) -> Iterator[Step]:
        """Responses and refusals under his own name, to anybody's request."""
        for asked in moment.known:
            request = _request(asked)
            if request is None or request[0].key in self.siege.masks:
                continue
            signed, body = request
            who = [seat.key for seat in self.siege.seats].index(signed.key)
            digest = sha256(_signed(asked)).digest()
            for whose, address in enumerate(self.siege.addresses):
                if whose != who:
                    label = f"M answers {WHO[who]}'s request, listing {WHO[whose]}'s endpoint"
                    response = self._response(body.attempt, digest, address)
                    yield (
                        label,
                        partial(
                            self._new,
                            moment,
                            who,
                            MessageKind.CONNECT_RESPONSE,
                            body.reply_to,
                            response,
                        ),
                    )
            refused = ConnectRefused(body.attempt, Refusal.ALREADY_CONNECTED)
            yield (
                f"M refuses {WHO[who]}'s request",
                partial(
                    self._new, moment, who, MessageKind.CONNECT_REFUSED, body.reply_to, refused
                ),
            )

    def _response(self, attempt: bytes, digest: bytes, address: str) -> ConnectResponse:
        return ConnectResponse(
            attempt=attempt,
            request=digest,
            incarnation=_draw("incarnation", 0, 8),
            endpoints=[address],
            certificate=self.stranger.certificate,
            relaxed=self.relaxed,
        )

    def _new(
        self, moment: Moment, who: int, kind: MessageKind, to: Address, body: Struct
    ) -> Moment:
        """Seal a message of his own and send it."""
        moment = replace(moment, serial=moment.serial + 1)
        frame = FrameKind.ROUTED, self._seal(kind, to, body, moment.serial)
        if kind is MessageKind.CONNECT_REQUEST:
            # He may come back to it; answers of his own he can make anew.
            moment = self.siege.learn(moment, frame)
        return self._route(moment, who, frame)

    def _seal(self, kind: MessageKind, to: Address, body: Struct, serial: int) -> bytes:
        mask = self.stranger
        signed = encode(
            Signed(
                destination=to,
                kind=kind,
                leave_out=b"",
                flags=0,
                id=_draw("message", serial, 16),
                source=NodeAddress(mask.name),
                key=mask.key,
                origin=origin_of(mask.certificate),
                authority=None,
                body=encode(body),
            )
        )
        signature = mask.signer.sign(signed_text(SignedKind.ROUTED, self.tag, signed))
        return routed(signed, signature, 0)

    def _repeats(self, moment: Moment) -> Iterator[Step]:
        """Every routed message he has heard, to anybody, once more."""
        for frame in moment.known:
            if frame[0] is not FrameKind.ROUTED:
                continue
            for who in (0, 1):
                times = _sendings(moment, frame, who)
                first = self.siege.seat_of(frame) == who and not times
                if not first and times < ROUTES_MAX and self._road(moment, who) is not None:
                    label = f"M sends {WHO[who]} {spell(frame)} again"
                    yield label, partial(self._route, moment, who, frame)

    # -- connections

    def _dials(self, moment: Moment) -> Iterator[Step]:
        """Connections to anybody, with every Hello he can make or has heard.

        To dial and to speak is one move: until the Hello a connection does nothing but wait.
        """
        for who in (0, 1):
            shown = [(self.stranger.key, "")]
            if self.siege.claimed:
                shown.append((self.siege.seats[1 - who].key, f" as if he were {WHO[1 - who]}"))
            for key, guise in shown:
                line = Line(
                    ends=(MALLORY, who),
                    tokens=(1, 0),
                    keys=(key, self.siege.seats[who].key),
                    towards=((), ()),
                    binding=_binding(moment.serial + 1),
                )
                for frame in self._hellos(moment, line):
                    again = ", heard before," if frame in moment.known else ""
                    label = f"M dials {WHO[who]}{guise} and says {spell(frame)}{again}"
                    yield label, partial(self._dial, moment, line, frame)

    def _dial(self, moment: Moment, line: Line, frame: Known) -> Moment:
        after = with_new(replace(moment, serial=moment.serial + 1), line)
        after = self.siege.accept(after, after.lines.index(line))
        index = _index(after, line.binding)
        if index is not None:
            after = self._say(after, index, *frame)
        if _index(after, line.binding) is None:
            # Closed at once: the number has left no trace and may be used again.
            after = replace(after, serial=moment.serial)
        return after

    def _speaks(self, moment: Moment, index: int) -> Iterator[Step]:
        """Whatever the far end may take just now, of what he can make or has heard; or hang up."""
        line = moment.lines[index]
        side = line.ends.index(MALLORY)
        whom = line.ends[1 - side]
        view = self.siege.view(moment, whom)
        role, attempt = view.links[line.tokens[1 - side]]
        for frame in self._frames(moment, role, attempt):
            if frame[0] in ALLOWED[role]:
                again = " (heard before)" if frame in moment.known else ""
                label = f"M says {spell(frame)} to {WHO[whom]}{again}"
                yield label, partial(self._say, moment, index, frame[0], frame[1])
        if role is not LinkRole.CONSOLIDATED or self.neighbour.key not in line.keys:
            yield f"M hangs up on {WHO[whom]}", partial(self._hang_up, moment, index)

    def _frames(self, moment: Moment, role: LinkRole, own: bytes) -> Iterator[Known]:
        """Yield what may be said on a connection of this role and attempt."""
        if role is LinkRole.PRIMARY:
            for attempt in [own, *[each for each in _attempts(moment) if each != own][:1]]:
                yield FrameKind.ACK, encode(Ack(attempt))
                yield FrameKind.CONFIRMATION, encode(Confirmation(attempt, one_way=False))
                yield FrameKind.CONFIRMATION, encode(Confirmation(attempt, one_way=True))
                yield FrameKind.SECONDARY_FAILED, encode(SecondaryFailed(attempt))
        elif role in (LinkRole.FEELER, LinkRole.BOOTSTRAP):
            yield FrameKind.ADMIT, encode(Admit(self.neighbour.name, "", 0, 0))
            yield FrameKind.REFUSE, encode(Refuse(1, self.neighbour.key, []))
        else:
            pings = [body for kind, body in moment.known if kind is FrameKind.PING]
            yield from ((FrameKind.PONG, body) for body in pings)

    def _hellos(self, moment: Moment, line: Line) -> Iterator[Known]:
        """Hellos he has heard, and of his own, bound to this connection as they should be."""
        yield from (frame for frame in moment.known if frame[0] is FrameKind.HELLO)
        if line.keys[0] not in self.siege.masks:
            return
        yield self._hello(line, HelloRole.JOIN, NO_ATTEMPT)
        for attempt in _attempts(moment):
            yield self._hello(line, HelloRole.SECONDARY, attempt)
        for frame in moment.known:
            opened = open_envelope(frame[1]) if frame[0] is FrameKind.ROUTED else None
            if opened is None:
                continue
            if opened[1].kind is MessageKind.CONNECT_RESPONSE:
                yield self._hello(line, HelloRole.PRIMARY, attempt_of(frame), frame[1])
            elif opened[1].kind is MessageKind.CONNECT_REQUEST:
                # A response of his own that has not gone the routed way.
                address = self.siege.addresses[MALLORY]
                digest = sha256(opened[0].signed).digest()
                response = self._response(attempt_of(frame), digest, address)
                to = NodeAddress(self.siege.seats[line.ends[1]].name)
                sealed = self._seal(MessageKind.CONNECT_RESPONSE, to, response, 0)
                yield self._hello(line, HelloRole.PRIMARY, attempt_of(frame), sealed)

    def _hello(self, line: Line, role: HelloRole, attempt: bytes, response: bytes = b"") -> Known:
        incarnation = _draw("incarnation", 0, 8)
        body = hello_body(
            role,
            attempt,
            ours=line.keys[0],
            theirs=line.keys[1],
            incarnation=incarnation,
            binding=line.binding,
        )
        signer = self._signer(line.keys[0])
        signature = signer.sign(signed_text(SignedKind.HELLO, self.tag, body))
        hello = Hello(role, attempt, incarnation, line.keys[0], [], response, signature)
        return FrameKind.HELLO, encode(hello)

    def _signer(self, key: bytes) -> Signer:
        """Return the signer of one of his own keys; he has no other."""
        return {mask.key: mask.signer for mask in (self.neighbour, self.stranger)}[key]

    def _say(self, moment: Moment, index: int, kind: FrameKind, body: bytes) -> Moment:
        line = moment.lines[index]
        side = 1 - line.ends.index(MALLORY)
        fact = FrameReceived(Token(line.tokens[side]), kind, body)
        return self.siege.hear(moment, line.ends[side], fact)

    def _hang_up(self, moment: Moment, index: int) -> Moment:
        line = moment.lines[index]
        side = 1 - line.ends.index(MALLORY)
        moment = shut(shut(moment, index, 0), index, 1)
        fact = Lost(Token(line.tokens[side]), CloseCode.NORMAL, "")
        return self.siege.hear(moment, line.ends[side], fact)

    # -- time

    def wait(self, moment: Moment, span: int) -> Moment:
        """Let time pass for both."""
        moment = replace(moment, now=Nanos(moment.now + span))
        for who in (0, 1):
            moment = self.siege.urge(moment, who, "wait", partial(Core.on_deadline, now=moment.now))
        return moment


def _cut(moment: Moment, index: int) -> Moment:
    """A connection between the cores breaks: what is on its way is lost, both ends will be told."""
    line = moment.lines[index]
    told = tuple((CloseCode.IO_ERROR,) if token else () for token in line.tokens)
    lines = list(moment.lines)
    lines[index] = replace(line, towards=(told[0], told[1]))
    return replace(moment, lines=tuple(line for line in lines if any(line.tokens)))


def _binding(serial: int) -> bytes:
    """Return the channel binding of a connection he dials."""
    return (bytes((MALLORY,)) + serial.to_bytes(3, "big")).ljust(32, b"b")


def _index(moment: Moment, binding: bytes) -> int | None:
    """Return where the connection of this binding stands, None if it has ended."""
    found = (index for index, line in enumerate(moment.lines) if line.binding == binding)
    return next(found, None)


def _sendings(moment: Moment, frame: Known, who: int) -> int:
    for body, whom, times in moment.sent:
        if body == frame[1] and whom == who:
            return times
    return 0


def _attempts(moment: Moment) -> list[bytes]:
    """Return the attempts he has heard of, his own among them."""
    found = {attempt_of(frame) for frame in moment.known}
    return sorted(found - {b"", NO_ATTEMPT})


def _signed(frame: Known) -> bytes:
    opened = open_envelope(frame[1])
    assert opened is not None, "he keeps envelopes only"
    return opened[0].signed


def _request(frame: Known) -> tuple[Signed, ConnectRequest] | None:
    opened = open_envelope(frame[1]) if frame[0] is FrameKind.ROUTED else None
    if opened is None or opened[1].kind is not MessageKind.CONNECT_REQUEST:
        return None
    request = decode(ConnectRequest, opened[1].body)
    return None if request is None else (opened[1], request)


def _draw(what: str, serial: int, size: int) -> bytes:
    return blake2b(f"{what} {serial}".encode(), digest_size=size, person=b"sim attacker").digest()
