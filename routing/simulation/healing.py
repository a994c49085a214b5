"""The healing property, as a number: within how many seconds of rest a network is whole again.

From any state that any schedule of faults may reach, once the faults have stopped, every live node
holds its nearest and every client hangs on a proxy within `healing_bound` virtual seconds. Each
term is one thing that may have to run out before the next can begin; nothing here is measured.
"""

from __future__ import annotations

from math import ceil, log2

from routing.limits import SECOND, Limits

__all__ = ["TERMS", "healing_bound", "healing_terms"]


def healing_terms(limits: Limits, nodes: int = 12) -> dict[str, float]:
    """Return what the bound is made of, by name, in seconds.

    Args:
        limits: Of every node.
        nodes: How many there are: what is learnt in one place is everywhere after log2 of it.
    """
    spreading = ceil(log2(max(2, nodes)))
    attempt_ns = limits.responder_attempt_ns + limits.requester_slack_ns
    found_ns = {
        "silence": limits.silence_ns,
        "first round": limits.mass_loss_jitter_ns,
        "contacts": limits.contact_backoff_last_ns,
        "rounds": limits.refound_rounds
        * (limits.bootstrap_backoff_last_ns + limits.dial_timeout_ns + limits.admit_timeout_ns),
        "name": limits.name_timeout_ns + limits.join_proxy_ns,
        "attempts": attempt_ns + limits.retry_name_last_ns + attempt_ns,
        "feelers": limits.feeler_interval_ns * 3 // 2 + limits.feeler_keep_ns,
        "spreading": spreading * limits.repair_interval_ns,
    }
    return {name: value / SECOND for name, value in found_ns.items()}


TERMS = {
    "silence": "a connection whose far end is gone without a word is noticed",
    "first round": "those who lost everything together begin apart",
    "contacts": "a contact that failed is tried again",
    "rounds": "rounds in vain before somebody founds a network anew",
    "name": "a proxy that does not get us a name, or no neighbours, is given up",
    "attempts": "an attempt in vain, the pause after it, and another one",
    "feelers": "networks that know nothing of each other meet",
    "spreading": "what one has learnt goes from neighbour to neighbour",
}
"""Why each term is there."""


def healing_bound(limits: Limits, nodes: int = 12) -> float:
    """Return within how many virtual seconds after the last fault a network is whole.

    Args:
        limits: Of every node.
        nodes: How many there are.
    """
    return sum(healing_terms(limits, nodes).values())
