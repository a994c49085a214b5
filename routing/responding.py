"""The two-way connect at its responder (B): whom to dial back, whom to refuse, when it matches."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Struct

from routing._filter import TimedFilter
from routing.admission import Rate, who_yields
from routing.attempts import Attempt
from routing.bodies import ConnectRefused, ConnectRequest, ConnectResponse
from routing.certificates import certified_name, is_valid
from routing.dials import Purpose
from routing.errors import CloseCode, Outcome, Refusal
from routing.limits import SECOND
from routing.links import Arrival, Link
from routing.messages import (
    Address,
    ClientAddress,
    Confirmation,
    Envelope,
    FrameKind,
    Hello,
    MessageKind,
    NodeAddress,
    Signed,
    ViaAddress,
    decode,
    encode,
)
from routing.seniority import is_older
from routing.state import LinkRole

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["Responding", "is_own_reply_address"]


class Given(Struct):
    """The answer we gave to an attempt, so that a repeat gets the identical one."""

    envelope: Envelope
    reply_to: Address
    until: int
    """T_B after the answer; later repeats get none."""
    repeats: int = 0


def is_own_reply_address(reply_to: Address, signed: Signed) -> bool:
    """Tell whether a reply address leads back to the source: nobody has us write to a third."""
    match reply_to:
        case ClientAddress():
            return reply_to.key == signed.key
        case ViaAddress() | NodeAddress():
            source = signed.source
            return isinstance(source, NodeAddress) and source.name == reply_to.name
        case _:
            return False


class Responding:
    """Requests that came in."""

    def __init__(self, core: Core) -> None:
        self.core = core
        limits = core.limits
        self.given: TimedFilter[bytes, Given] = TimedFilter(
            2 * limits.responder_attempt_ns, capacity=limits.attempts_max, clock=None
        )
        self.attempt_rate = Rate(limits.attempts_per_key_per_minute, 60 * SECOND)
        self.refusal_rate = Rate(limits.refusals_per_key_per_minute, 60 * SECOND)

    def on_request(self, arrival: Arrival) -> None:
        """A routed ConnectRequest, its signature verified and addressed to our name."""
        core, signed = self.core, arrival.signed
        request = decode(ConnectRequest, signed.body)
        if request is None or not is_own_reply_address(request.reply_to, signed):
            core.count("request.malformed")
            return
        if signed.key == core.key or core.name is None or request.target != core.name:
            core.count("request.misaddressed")
            return
        given = self.given.get(request.attempt, now=core.now)
        if given is not None:
            self._repeat(given)
            return
        if core.vouching.holds(request.attempt):
            core.count("request.being_vouched")
            return
        name = certified_name(signed.key, request.certificate)
        if not is_valid(signed.key, request.certificate, signer=core.signer, tag=core.tag):
            core.count("request.bad_certificate")
            return
        source = signed.source
        if isinstance(source, NodeAddress) and source.name != name:
            core.count("request.bad_certificate")
            return
        self._weigh(arrival, request, name)

    def _repeat(self, given: Given) -> None:
        core = self.core
        if core.now >= given.until or given.repeats >= len(core.limits.resend_ns) + 4:
            core.count("request.late_repeat")
            return
        given.repeats += 1
        core.count("request.repeated")
        core.relay.answer(given.envelope, given.reply_to, route=given.repeats)

    def _weigh(self, arrival: Arrival, request: ConnectRequest, name: bytes) -> None:
        """A new valid request: crossing, already connected, wanted, within budget, vouched for?"""
        core, signed = self.core, arrival.signed
        if not self._has_precedence(signed, request, name):
            return
        held = core.table.name_of_key(signed.key)
        if held is not None:
            core.probing.probe(held, arrival)
            return
        self.go_on(arrival, request)

    def _has_precedence(self, signed: Signed, request: ConnectRequest, name: bytes) -> bool:
        """Tell whether a request goes on although we may have an attempt with its source."""
        core = self.core
        ours = core.attempts.with_name(name)
        if self._is_outdated(ours, signed.key, request, name):
            self.refuse(signed, request, Refusal.OUTDATED)
            return False
        if ours is not None:
            # An attempt that was disowned is asked anew, and crosses like one without an answer.
            known = bool(ours.incarnation) and not ours.disowned
            restarted = known and ours.incarnation != request.incarnation
            if ours.requester and not restarted:
                if not who_yields(core.key, signed.key) and not self._is_turned(ours, request):
                    core.count("request.crossing_won")
                    core.connecting.resend_now(ours)
                    return False
                core.count("request.crossing_lost")
                core.attempts.end(ours, Outcome.LOST_PRIORITY, CloseCode.LOST_PRIORITY)
            else:
                core.attempts.end(ours, Outcome.RESTARTED, CloseCode.REPLACED)
        return True

    def _is_outdated(
        self, ours: Attempt | None, key: bytes, request: ConnectRequest, name: bytes
    ) -> bool:
        """Tell whether a younger request of the key, or a younger process, is being served."""
        if ours is not None:
            if ours.incarnation and ours.incarnation != request.incarnation:
                return is_older(request.incarnation, ours.incarnation)
            return not ours.requester and is_older(request.attempt, ours.id)
        core = self.core
        waiting = core.probing.waiting(key) or core.vouching.waiting(key, name)
        if waiting is None:
            return False
        other = _request_of(waiting)
        if other.incarnation != request.incarnation:
            return is_older(request.incarnation, other.incarnation)
        return is_older(request.attempt, other.attempt)

    def _is_turned(self, ours: Attempt, request: ConnectRequest) -> bool:
        """Tell whether this asks in place of our own attempt: it was answered, and not dialled.

        Both are relaxed, and the answer is so old that nothing sent before it can still be on its
        way. A crossing request is younger and goes by the keys.
        """
        limits = self.core.limits
        whole = limits.responder_attempt_ns + limits.requester_slack_ns
        age = whole - (ours.deadline - self.core.now)
        relaxed = ours.relaxed and request.relaxed
        return relaxed and not ours.primary and age >= limits.dial_timeout_ns // 2

    def go_on(self, arrival: Arrival, request: ConnectRequest, *, vouched: bool = False) -> None:
        """The key is not connected with us (any longer): want it, or refuse.

        Args:
            arrival: What came.
            request: The request in it.
            vouched: Its name has been vouched for; budgets were looked at before.
        """
        core, signed = self.core, arrival.signed
        name = certified_name(signed.key, request.certificate)
        if core.name is None or core.attempts.with_name(name) is not None:
            core.count("request.overtaken")
            return
        reason = core.letting_go.why_no_place(name, urgent=request.urgent)
        if reason is not None:
            core.filling.on_wish(name)
            self.refuse(signed, request, reason)
            return
        if not vouched and not self.attempt_rate.allow(signed.key, core.now):
            self.refuse(signed, request, Refusal.BUSY)
            return
        targets = core.dials.choose(request.endpoints)
        if not targets:
            core.count("request.no_endpoint")
            self.refuse(signed, request, Refusal.NO_ENDPOINT)
            return
        if vouched or core.vouching.is_known(signed.key, name):
            self._respond(arrival, request, name, targets)
        elif not core.vouching.ask_for_request(arrival, request, name, targets[0]):
            self.refuse(signed, request, Refusal.BUSY)

    def on_vouched(self, arrival: Arrival, *, vouched: bool) -> None:
        """What was found out about the source of a request; meanwhile much may have changed."""
        core, signed = self.core, arrival.signed
        request = _request_of(arrival)
        name = certified_name(signed.key, request.certificate)
        if core.name is None or request.target != core.name:
            core.count("request.overtaken")
        elif not vouched:
            self.refuse(signed, request, Refusal.NAME_UNKNOWN)
        elif not self._has_precedence(signed, request, name):
            return
        elif core.table.name_of_key(signed.key) is not None:
            core.count("request.overtaken")
        else:
            self.go_on(arrival, request, vouched=True)

    def on_no_room(self, arrival: Arrival) -> None:
        """Another's request has taken the place of one that waited to be vouched for."""
        self.refuse(arrival.signed, _request_of(arrival), Refusal.BUSY)

    def _respond(
        self, arrival: Arrival, request: ConnectRequest, name: bytes, targets: list[str]
    ) -> None:
        core, limits, signed = self.core, self.core.limits, arrival.signed
        assert core.certificate is not None
        digest = sha256(arrival.envelope.signed).digest()
        response = ConnectResponse(
            attempt=request.attempt,
            request=digest,
            incarnation=core.incarnation,
            endpoints=core.endpoints,
            certificate=core.certificate,
            relaxed=core.config.relaxed,
        )
        envelope = core.relay.seal(MessageKind.CONNECT_RESPONSE, request.reply_to, encode(response))
        attempt = Attempt(
            id=request.attempt,
            requester=False,
            name=name,
            key=signed.key,
            request=request,
            envelope=envelope,
            request_hash=digest,
            certificate=request.certificate,
            endpoints=targets,
            incarnation=request.incarnation,
            relaxed=core.config.relaxed and request.relaxed,
        )
        core.attempts.add(attempt, limits.responder_attempt_ns)
        core.count("attempt.responder.started")
        core.note(name, "attempt as responder started; dialling the primary")
        self._give(request, envelope)
        if attempt.relaxed:
            core.alarm("primary", attempt.id, limits.dial_timeout_ns)
        core.dials.start(Purpose.PRIMARY, attempt.id, targets, expect=signed.key)

    def _give(self, request: ConnectRequest, envelope: Envelope) -> None:
        core = self.core
        until = core.now + core.limits.responder_attempt_ns
        given = Given(envelope, request.reply_to, until)
        self.given.insert(request.attempt, given, now=core.now)
        self.given.expire(now=core.now)
        core.relay.answer(envelope, request.reply_to, route=0)

    def refuse(self, signed: Signed, request: ConnectRequest, reason: Refusal) -> None:
        """Answer ConnectRefused, signed, within the budget of the key; else count and be silent."""
        core = self.core
        core.count(f"request.refused.{reason.name.lower()}")
        core.note(signed.key, f"its request refused: {reason.name}")
        if not self.refusal_rate.allow(signed.key, core.now):
            core.count("request.refusal_budget")
            return
        body = encode(ConnectRefused(request.attempt, reason))
        envelope = core.relay.seal(MessageKind.CONNECT_REFUSED, request.reply_to, body)
        self._give(request, envelope)

    # -- the secondary, and the match

    def greet_secondary(self, link: Link, attempt: Attempt, hello: Hello) -> None:
        """An authenticated Hello(SECONDARY): of an attempt we answer, from its key, once."""
        core = self.core
        same = attempt.key == link.key and attempt.incarnation == hello.incarnation
        if attempt.requester or not same or attempt.proved:
            core.count("hello.unexpected")
            core.close(link, CloseCode.BAD_HELLO, "not the secondary we wait for")
            return
        core.attempts.greeted(link)
        link.role = LinkRole.SECONDARY
        link.attempt = attempt.id
        attempt.secondary = link.token
        attempt.proved = True
        self.match(attempt)

    def match(self, attempt: Attempt) -> None:
        """Primary up, Ack on it and Hello(SECONDARY) seen, in any order: confirm, consolidate.

        Where both are relaxed, the word that there will be no secondary will do instead.
        """
        core = self.core
        primary = core.links.get(attempt.primary)
        if primary is None or not attempt.acked:
            return
        if not attempt.proved and not attempt.secondary_failed:
            return
        one_way = not attempt.proved
        core.send(primary, FrameKind.CONFIRMATION, Confirmation(attempt.id, one_way=one_way))
        core.connecting.consolidate(attempt, primary, one_way=one_way)


def _request_of(arrival: Arrival) -> ConnectRequest:
    request = decode(ConnectRequest, arrival.signed.body)
    assert request is not None, "it was decoded when it came"
    return request
