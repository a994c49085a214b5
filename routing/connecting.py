"""The two-way connect at its requester (A), and what both ends do with the connections of one.

A asks, B dials A (the primary), A dials B (the secondary), A acknowledges the primary, B confirms
on it: then each side has been dialled by the other over a channel that proves who is there. B's
half of the asking is in `responding`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from routing.attempts import Attempt
from routing.bodies import ConnectRefused, ConnectRequest, ConnectResponse
from routing.certificates import certified_name, is_valid
from routing.dials import Purpose
from routing.errors import CloseCode, DialFailure, Outcome, Refusal
from routing.inputs import Accepted
from routing.limits import MILLISECOND, ROUTES_MAX
from routing.links import Arrival, Link
from routing.messages import (
    NO_ATTEMPT,
    Ack,
    Address,
    ClientAddress,
    Confirmation,
    Envelope,
    FrameKind,
    Hello,
    HelloRole,
    MessageKind,
    NodeAddress,
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
from routing.names import short
from routing.responding import Responding
from routing.seniority import is_older, numbered
from routing.state import ON_CONNECT, Direction, LinkRole, OnConnect

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Connecting"]


class Connecting:
    """Attempts in motion."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.responding = Responding(core)

    # -- A: asking

    def start(self, name: bytes, *, teller: bytes = b"", via: Link | None = None) -> bool:
        """Start an attempt with a name, unless there is a reason not to; tell whether it began.

        Args:
            name: The peer's.
            teller: Who named it; if we hold a connection with him he is the first hop.
            via: A proxy or feeler to send through; our own table if None.
        """
        core = self.core
        if core.name is None or name == core.name or name in core.table:
            return False
        if not core.attempts.may_try(name) or not core.endpoints:
            return False
        if core.vouching.expects(name):
            core.count("attempt.expected")
            return False
        via = core.relay.way_out(via)
        if via is None and not len(core.table):
            return False
        hop = b"" if via is not None else core.relay.first_hop(name, teller)
        reply_to: Address
        if via is not None:
            reply_to = ClientAddress(via.name, core.key)
        elif hop:
            reply_to = ViaAddress(hop, core.name)
        else:
            return False
        return self._ask(name, NodeAddress(name), reply_to, via=via, hop=hop)

    def turn_round(self, attempt: Attempt) -> None:
        """B, relaxed: A has dialled us and we cannot dial A, so we ask A to dial us as a responder.

        Its network does not know A yet: our request goes where the answer to A's would have gone.
        """
        core, name = self.core, attempt.name
        core.attempts.end(attempt, Outcome.PRIMARY_FAILED, CloseCode.EXPIRED)
        if core.name is None or name in core.table:
            return
        core.count("attempt.turned_round")
        self._ask(name, attempt.request.reply_to, NodeAddress(core.name))

    def _ask(
        self,
        name: bytes,
        to: Address,
        reply_to: Address,
        *,
        via: Link | None = None,
        hop: bytes = b"",
    ) -> bool:
        core = self.core
        if core.attempts.requested_count() >= core.limits.requests_max:
            core.count("attempt.too_many")
            return False
        assert core.certificate is not None
        attempt_id = numbered(core.now // MILLISECOND, core.dice.bytes(16))
        request = ConnectRequest(
            attempt=attempt_id,
            target=name,
            incarnation=core.incarnation,
            endpoints=core.endpoints,
            reply_to=reply_to,
            certificate=core.certificate,
            urgent=core.membership.needs(name),
            relaxed=core.config.relaxed,
        )
        envelope = core.relay.seal(MessageKind.CONNECT_REQUEST, to, encode(request), via=via)
        attempt = Attempt(
            id=attempt_id,
            requester=True,
            name=name,
            key=b"",
            request=request,
            envelope=envelope,
            request_hash=sha256(envelope.signed).digest(),
            via=0 if via is None else via.token,
            teller=hop,
        )
        core.attempts.add(attempt, core.limits.requester_first_answer_ns)
        core.count("attempt.requester.started")
        core.note(name, "attempt as requester started")
        self._send_request(attempt)
        return True

    def _send_request(self, attempt: Attempt) -> None:
        core = self.core
        envelope = Envelope(
            0,
            min(attempt.sendings, ROUTES_MAX - 1),
            attempt.envelope.signed,
            attempt.envelope.signature,
        )
        via = core.links.get(attempt.via) if attempt.via else None
        hop = attempt.teller if attempt.sendings == 0 else b""
        signed = decode(Signed, envelope.signed)
        assert signed is not None, "we have sealed it ourselves"
        core.relay.launch(envelope, signed.destination, via=via, hop=hop, rank=attempt.sendings)
        if attempt.sendings < len(core.limits.resend_ns):
            before = core.limits.resend_ns[attempt.sendings - 1] if attempt.sendings else 0
            gap = core.limits.resend_ns[attempt.sendings] - before
            core.alarm("resend", attempt.id, core.dice.around(gap, 25))
        attempt.sendings += 1

    def on_resend(self, attempt_id: bytes) -> None:
        """Alarm: no answer yet, the identical request goes out once more."""
        attempt = self.core.attempts.get(attempt_id)
        if attempt is not None and attempt.requester and attempt.unanswered:
            self.core.count("attempt.resent")
            self._send_request(attempt)

    def resend_now(self, attempt: Attempt) -> None:
        """Answer a crossing request of the higher key: ours goes on, here it is again."""
        if attempt.unanswered:
            self._send_request(attempt)

    # -- A: the answer

    def on_response(self, arrival: Arrival) -> None:
        """A routed ConnectResponse, its signature verified."""
        signed = arrival.signed
        response = decode(ConnectResponse, signed.body)
        attempt = None if response is None else self.core.attempts.get(response.attempt)
        if response is None or attempt is None or not attempt.requester:
            self.core.count("response.unasked")
            return
        if not self._accept_response(attempt, signed.key, response):
            self.core.count("response.refused")

    def on_refused(self, arrival: Arrival) -> None:
        """A routed ConnectRefused: believed from the target of a pending attempt only."""
        signed = arrival.signed
        refused = decode(ConnectRefused, signed.body)
        attempt = None if refused is None else self.core.attempts.get(refused.attempt)
        if refused is None or attempt is None or not attempt.requester:
            self.core.count("refusal.unasked")
            return
        source = signed.source
        if not isinstance(source, NodeAddress) or source.name != attempt.name:
            self.core.count("refusal.forged")
            return
        if attempt.response is not None:
            self.core.count("refusal.late")
            return
        try:
            reason = Refusal(refused.reason)
        except ValueError:
            reason = Refusal.BUSY
        if reason is Refusal.NAME_UNKNOWN:
            self.core.registrar.on_not_vouched()
        self.core.attempts.end(attempt, Outcome.REFUSED, CloseCode.NORMAL, reason)

    def _accept_response(self, attempt: Attempt, key: bytes, response: ConnectResponse) -> bool:
        """Check a response, and go from REQUESTED to EXPECTED with the first valid one.

        One of a younger process takes its place, once; no other ever does.
        """
        core = self.core
        if response.request != attempt.request_hash or key == core.key:
            return False
        if certified_name(key, response.certificate) != attempt.name:
            return False
        if attempt.response is not None:
            if attempt.key != key or attempt.incarnation == response.incarnation:
                return attempt.key == key
            if attempt.inherited or not is_older(attempt.incarnation, response.incarnation):
                core.count("response.outdated")
                return False
        if not is_valid(key, response.certificate, signer=core.signer, tag=core.tag):
            return False
        if attempt.response is not None:
            core.attempts.start_over(attempt)
        attempt.key = key
        attempt.response = response
        attempt.certificate = response.certificate
        attempt.incarnation = response.incarnation
        attempt.endpoints = list(response.endpoints)
        attempt.relaxed = attempt.request.relaxed and response.relaxed
        core.alarms.cancel(("resend", attempt.id))
        limits = core.limits
        core.attempts.extend(attempt, limits.responder_attempt_ns + limits.requester_slack_ns)
        if core.vouching.is_known(key, attempt.name):
            self._dial_secondary(attempt)
        else:
            core.vouching.ask_for_attempt(attempt, response.certificate)
        return True

    def on_vouched(self, attempt_id: bytes, *, vouched: bool) -> None:
        """Those who answer for the responder's key vouch for its name, or too few of them do."""
        core = self.core
        attempt = core.attempts.get(attempt_id)
        if attempt is None:
            return
        if vouched:
            self._dial_secondary(attempt)
        else:
            core.attempts.end(attempt, Outcome.NAME_UNKNOWN, CloseCode.NORMAL)

    def _dial_secondary(self, attempt: Attempt) -> None:
        core = self.core
        core.note(attempt.name, "response received; dialling the secondary")
        core.alarm("secondary", attempt.id, core.limits.dial_timeout_ns)
        targets = core.dials.choose(attempt.endpoints)
        core.dials.start(Purpose.SECONDARY, attempt.id, targets, expect=attempt.key)

    def on_secondary_failed(self, attempt_id: bytes, reason: DialFailure) -> None:
        """All dials of the secondary failed; B hears it when the full time has run out."""
        attempt = self.core.attempts.get(attempt_id)
        if attempt is not None:
            self.core.note(attempt.name, f"secondary cannot be dialled: {reason.name}")

    def on_secondary_timeout(self, attempt_id: bytes) -> None:
        """Alarm: the dial timeout has run out in full, so telling B gives nothing away."""
        attempt = self.core.attempts.get(attempt_id)
        if attempt is None or attempt.proved:
            return
        attempt.secondary_failed = True
        # What has been given up must not come through after all: B may be told so already.
        self.core.dials.cancel(Purpose.SECONDARY, attempt.id)
        primary = self.core.links.get(attempt.primary)
        if primary is not None:
            self.core.send(primary, FrameKind.SECONDARY_FAILED, SecondaryFailed(attempt.id))

    # -- connections we dialled

    def on_primary_dialled(self, attempt_id: bytes, link: Link) -> None:
        """B: our dial of the requester is up."""
        core = self.core
        attempt = core.attempts.get(attempt_id)
        if attempt is None or link.key != attempt.key:
            core.close(link, CloseCode.WRONG_IDENTITY if attempt else CloseCode.EXPIRED)
            return
        link.role = LinkRole.PRIMARY
        attempt.primary = link.token
        core.attempts.expect(link, attempt.request, attempt)
        self.say_hello(link, HelloRole.PRIMARY, attempt.id, encode(attempt.envelope))

    def on_primary_failed(self, attempt_id: bytes, reason: DialFailure) -> None:
        """B: no endpoint of the requester could be dialled; the attempt cannot succeed."""
        attempt = self.core.attempts.get(attempt_id)
        if attempt is not None:
            self.core.note(attempt.name, f"primary cannot be dialled: {reason.name}")
            if ("primary", attempt.id) not in self.core.alarms:
                self.core.attempts.end(attempt, Outcome.PRIMARY_FAILED, CloseCode.EXPIRED)

    def on_primary_timeout(self, attempt_id: bytes) -> None:
        """Alarm: B, relaxed: the dial timeout has run out in full; without a primary we ask A.

        Only an A that has dialled us is asked, and never before: how a dial ended is not told.
        """
        attempt = self.core.attempts.get(attempt_id)
        if attempt is None or attempt.primary:
            return
        if attempt.proved:
            self.turn_round(attempt)
        elif not self.core.dials.tries(Purpose.PRIMARY, attempt.id):
            self.core.attempts.end(attempt, Outcome.PRIMARY_FAILED, CloseCode.EXPIRED)

    def on_secondary_dialled(self, attempt_id: bytes, link: Link) -> None:
        """A: our dial of the responder is up."""
        core = self.core
        attempt = core.attempts.get(attempt_id)
        if attempt is None or link.key != attempt.key or attempt.response is None:
            core.close(link, CloseCode.WRONG_IDENTITY if attempt else CloseCode.EXPIRED)
            return
        link.role = LinkRole.SECONDARY
        attempt.secondary = link.token
        attempt.proved = True
        core.alarms.cancel(("secondary", attempt.id))
        core.attempts.expect(link, attempt.response, attempt)
        self.say_hello(link, HelloRole.SECONDARY, attempt.id)

    def say_hello(
        self, link: Link, role: HelloRole, attempt: bytes = NO_ATTEMPT, response: bytes = b""
    ) -> None:
        """Send the first frame on a connection we dialled, bound to its channel."""
        core = self.core
        body = hello_body(
            role,
            attempt,
            ours=core.key,
            theirs=link.key,
            incarnation=core.incarnation,
            binding=link.binding,
        )
        joins = role in (HelloRole.JOIN, HelloRole.FEEL)
        hello = Hello(
            role=role,
            attempt=attempt,
            incarnation=core.incarnation,
            lowest=core.founding.lowest,
            endpoints=core.endpoints if joins else [],
            response=response,
            signature=core.signer.sign(signed_text(SignedKind.HELLO, core.tag, body)),
        )
        core.send(link, FrameKind.HELLO, hello)

    # -- connections we accepted

    def on_accepted(self, fact: Accepted) -> None:
        """The one handler of a new accepted connection: hold it, or close it, by the table."""
        core = self.core
        link = Link(fact.connection, fact.key, fact.binding, LinkRole.UNKNOWN, fact.accepted_at)
        core.links[link.token] = link
        if ON_CONNECT[core.client, core.detail, Direction.INBOUND] is OnConnect.CLOSE:
            core.close(link, CloseCode.STOPPING if core.stopped else CloseCode.NORMAL)
        elif fact.key == core.key:
            core.close(link, CloseCode.SELF)
        else:
            core.attempts.hold(link, fact.accepted_at)

    def on_greeting(self, link: Link, hello: Hello) -> None:
        """An authenticated Hello(PRIMARY) or Hello(SECONDARY): one we wait for, or BAD_HELLO."""
        core = self.core
        attempt = core.attempts.get(hello.attempt)
        if attempt is None:
            core.count("hello.no_attempt")
            core.close(link, CloseCode.BAD_HELLO, "no such attempt")
        elif hello.role is HelloRole.PRIMARY:
            self._greet_primary(link, attempt, hello)
        else:
            self.responding.greet_secondary(link, attempt, hello)

    def _greet_primary(self, link: Link, attempt: Attempt, hello: Hello) -> None:
        core = self.core
        rides = attempt.requester and self._rides(link, attempt, hello)
        if not rides or attempt.primary:
            core.count("hello.unexpected")
            core.close(link, CloseCode.BAD_HELLO, "not the primary we wait for")
            return
        core.attempts.greeted(link)
        link.role = LinkRole.PRIMARY
        link.attempt = attempt.id
        attempt.primary = link.token
        core.send(link, FrameKind.ACK, Ack(attempt.id))
        if attempt.secondary_failed:
            core.send(link, FrameKind.SECONDARY_FAILED, SecondaryFailed(attempt.id))

    def _rides(self, link: Link, attempt: Attempt, hello: Hello) -> bool:
        """Tell whether the Response in a Hello(PRIMARY) is the far end's, and valid."""
        core = self.core
        opened = open_envelope(hello.response)
        if opened is None or opened[1].kind is not MessageKind.CONNECT_RESPONSE:
            return False
        envelope, signed = opened
        response = decode(ConnectResponse, signed.body)
        if response is None or response.attempt != attempt.id or signed.key != link.key:
            return False
        if response.incarnation != hello.incarnation:
            return False
        text = signed_text(SignedKind.ROUTED, core.tag, envelope.signed)
        if not core.signer.verify_kept(signed.key, text, envelope.signature):
            return False
        return self._accept_response(attempt, link.key, response)

    # -- frames of an attempt

    def on_ack(self, link: Link, ack: Ack) -> None:
        """B: the requester says the primary is its own."""
        attempt = self._owner(link, ack.attempt, outbound=True)
        if attempt is not None:
            attempt.acked = True
            self.responding.match(attempt)

    def on_confirmation(self, link: Link, confirmation: Confirmation) -> None:
        """A: the responder says both directions are proved."""
        attempt = self._owner(link, confirmation.attempt, outbound=False)
        if attempt is None:
            return
        agreed = attempt.relaxed and attempt.secondary_failed
        right = agreed if confirmation.one_way else attempt.proved
        if attempt.response is None or not right:
            self.core.close(link, CloseCode.BAD_FRAME, "one-way was not agreed")
            self.on_lost(link)
            return
        self.consolidate(attempt, link, one_way=confirmation.one_way)

    def on_told_secondary_failed(self, link: Link, failed: SecondaryFailed) -> None:
        """B: the requester could not dial us; unless both are relaxed, that is the end of it."""
        attempt = self._owner(link, failed.attempt, outbound=True)
        if attempt is None:
            return
        if attempt.relaxed:
            attempt.secondary_failed = True
            self.responding.match(attempt)
        else:
            self.core.attempts.end(attempt, Outcome.NOT_REACHABLE, CloseCode.NOT_REACHABLE)

    def _owner(self, link: Link, attempt_id: bytes, *, outbound: bool) -> Attempt | None:
        """Return the attempt whose primary this is, or close a frame that came the wrong way."""
        attempt = self.core.attempts.get(attempt_id)
        right = attempt is not None and attempt.primary == link.token
        if not right or link.outbound is not outbound:
            self.core.count("frame.misplaced")
            self.core.close(link, CloseCode.BAD_FRAME, "not on this connection")
            self.on_lost(link)
            return None
        return attempt

    def consolidate(self, attempt: Attempt, link: Link, *, one_way: bool) -> None:
        """Hand over exactly the primary; the rest of the attempt is closed."""
        core = self.core
        taken = attempt.name in core.table and core.table.key(attempt.name) != attempt.key
        if taken:
            core.attempts.end(attempt, Outcome.NAME_TAKEN, CloseCode.NORMAL)
            return
        core.attempts.end(attempt, Outcome.CONSOLIDATED, CloseCode.NORMAL)
        core.attempts.forget_link(link)
        link.one_way = one_way
        core.peers.up(link, attempt)
        if attempt.requester:
            core.membership.on_attempt_ended()
            core.feelers.on_attempt_ended()

    def on_lost(self, link: Link, code: CloseCode = CloseCode.BAD_FRAME) -> None:
        """A connection of an attempt is gone: the primary ends it, the secondary never at A."""
        core = self.core
        attempt = core.attempts.get(link.attempt)
        if attempt is None:
            return
        if link.token == attempt.primary:
            attempt.primary = 0
            core.note(attempt.name, f"primary lost ({short(attempt.name)})")
            told = attempt.secondary_failed and code is CloseCode.NOT_REACHABLE
            outcome = Outcome.NOT_REACHABLE if told else Outcome.PRIMARY_LOST
            core.attempts.end(attempt, outcome, CloseCode.NORMAL)
        elif link.token == attempt.secondary:
            attempt.secondary = 0
            if attempt.requester and code is CloseCode.BAD_HELLO and not attempt.disowned:
                # Who answered is gone, and we have stopped asking whoever is there instead.
                attempt.disowned = True
                core.count("attempt.disowned")
                self._send_request(attempt)
