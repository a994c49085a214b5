"""Which concern hears which alarm; the one place where their names stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routing.core import Core

__all__ = ["alarm_handlers"]


def alarm_handlers(core: Core) -> dict[str, Callable[[bytes], None]]:
    """Return the name of every alarm with who hears it; the subject is its argument."""
    return {
        "dial": core.dials.on_stagger,
        "resend": core.connecting.on_resend,
        "primary": core.connecting.on_primary_timeout,
        "secondary": core.connecting.on_secondary_timeout,
        "probe": core.probing.on_timeout,
        "round": core.bootstrapping.on_round_due,
        "stagger": core.bootstrapping.on_stagger,
        "admit": core.bootstrapping.on_admit_timeout,
        "name": core.naming.on_retry,
        "nameless": core.naming.on_timeout,
        "register": core.registrar.on_due,
        "vouch": core.vouching.on_due,
        "joining": core.membership.on_join_timeout,
        "rejoin": core.membership.on_rejoin,
        "find": core.membership.on_find_retry,
        "gather": core.membership.on_gather,
        "repair": core.membership.on_repair,
        "refresh": core.membership.on_refresh,
        "unneeded": core.letting_go.on_timeout,
        "churn": core.churning.on_due,
        "relay": core.proxying.on_relay_timeout,
        "reach": core.reachability.on_timeout,
        "held": core.moving.on_held_due,
        "doubt": core.moving.on_doubt_due,
        "proxy": core.moving.on_proxy_silent,
        "feel": core.feelers.on_due,
        "felt": core.feelers.on_timeout,
        "news": core.feelers.on_news,
        "request": core.messaging.on_timeout,
        "retry": core.delivery.on_retry,
        "owed": core.owing.on_due,
        "bundle": core.owing.on_bundle_due,
        "receipt": core.receipts.on_broken,
        "batches": core.batching.on_again,
        "parts": core.parts.on_due,
        "assembly": core.assembly.on_expired,
        "suspect": core.suspects.on_timeout,
        "group": core.groups.on_timeout,
        "ballots": core.ballots.on_tick,
    }
