"""Rare paths that a long run must take: a run that never reached them has not tested them.

Each is the name of a counter of the cores, which count what they do and refuse anyway. The list
holds what is rare in a quiet network and is reached by the scenarios of the package; what only an
attacker can do is left to the tests of attackers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["PROBES", "why_not_reached"]

PROBES: Final = (
    "acknowledged.unasked",
    "action.too_late",
    "attempt.requester.disconnected",
    "attempt.requester.name_unknown",
    "attempt.requester.not_reachable",
    "attempt.requester.primary_lost",
    "attempt.requester.refused",
    "attempt.requester.stopped",
    "attempt.responder.disconnected",
    "attempt.responder.expired",
    "attempt.responder.not_reachable",
    "attempt.responder.primary_failed",
    "attempt.responder.primary_lost",
    "attempt.responder.restarted",
    "attempt.too_many",
    "churn.flapped",
    "contact.refused",
    "delivery.reroute",
    "delivery.retry",
    "delivery.undeliverable",
    "delivery.unroutable",
    "descriptors.short",
    "dial.backoff",
    "dial.failed.closed",
    "dial.failed.connection_refused",
    "dial.failed.no_descriptors",
    "dial.failed.unreachable",
    "dial.failed.wrong_identity",
    "direct.again",
    "direct.confirmed",
    "endpoint.refused",
    "feeler.failed.blocked",
    "feeler.failed.connection_refused",
    "feeler.failed.timed_out",
    "feeler.failed.unreachable",
    "feeler.name_confirmed",
    "feeler.news",
    "feeler.news_told",
    "find.unanswered",
    "frame.malformed",
    "frame.not_allowed.bootstrap",
    "frame.not_allowed.consolidated",
    "frame.not_allowed.feeler",
    "frame.not_allowed.primary",
    "group.repeated",
    "group.resolved",
    "group.unanswered",
    "group.unasked",
    "hello.no_attempt",
    "hop.demoted",
    "hop.restored",
    "list.unknown_digest",
    "message.direct",
    "message.duplicate",
    "message.failed",
    "message.routed",
    "moved.announced",
    "moved.doubted",
    "moved.duplicate",
    "moved.heard",
    "moved.noted",
    "moved.stranger",
    "moved.to_another_proxy",
    "moved.unheard",
    "name.timed_out",
    "name_request.busy",
    "peer.down.bad_frame",
    "peer.down.bad_hello",
    "peer.down.io_error",
    "peer.down.replaced",
    "peer.down.slow_reader",
    "peer.down.stopping",
    "pong.unasked",
    "probe.started",
    "proxy.silent",
    "proxy.suspected",
    "reachability.believed",
    "reachability.checked",
    "reachability.doubted",
    "refusal.unasked",
    "refused.network_too_small",
    "refused.not_connected",
    "refused_by_contact",
    "request.late_repeat",
    "request.no_endpoint",
    "request.refusal_budget",
    "request.refused.already_connected",
    "request.refused.busy",
    "request.refused.name_unknown",
    "request.refused.no_endpoint",
    "request.refused.not_wanted",
    "response.unasked",
    "round.no_answer",
    "round.refused",
    "routed.duplicate",
    "routed.forged",
    "routed.not_for_us",
    "send.joining",
    "send.no_path",
    "surplus.asked",
    "surplus.needed",
    "surplus.not_agreed",
    "surplus.unasked",
    "suspect.cleared",
    "vote.recorded",
    "vouch.not_ours",
    "vouch.views_differ",
)


def why_not_reached(counters: Mapping[str, int]) -> list[str]:
    """Return a line that names the probes nobody reached; none if there are none of these."""
    missing = [name for name in PROBES if not counters.get(name)]
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(PROBES)} probes not reached: {', '.join(missing)}; give more seeds"
    ]
